"""The queues of a server, and the searches of its users in them: what is known of each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, Protocol

import attrs

from pgnet_trio.matchmaking import Entry, Pool, Queue
from pgnet_trio.protocol.v2.envelopes import SearchEnvelope, cut, encode
from pgnet_trio.server.sessions.session import Session

if TYPE_CHECKING:
    from pgnet_trio.server.sessions.packed import PackedSearch

__all__ = ["Line", "Search", "SearchKeeper"]

REPORT_PAUSE = 1.0
"""Seconds from one report of the places in a queue to the next."""


class SearchKeeper(Protocol):
    """Whoever has the searches in its queues. Nothing here waits."""

    def note_online(self, search: Search, online: bool, /) -> None:
        """Note that a user's connection dropped, or that they are back."""

    def pack(self, search: Search, /) -> PackedSearch | None:
        """Return a search for another server; None where it is over."""

    def stop(self, search: Search, /) -> None:
        """End a search."""


@attrs.define(eq=False)
class Search:
    """One search of a user; to their session it is a `SessionSearch`.

    Attributes:
        keeper: Has it in its queues.
        session: The user's session.
        id: What their client calls the search.
        line: The queue in which they look.
        entry: Their place in it.
        state: Whether they are in the pool, are on the way into a game, or look no more.
        game: The game that was found; empty for none.
        told: Which place they were told last; 0 for none.
    """

    keeper: SearchKeeper = attrs.field(repr=False)
    session: Session
    id: int
    line: Line
    entry: Entry
    state: Literal["in the pool", "seated", "over"] = "in the pool"
    game: str = ""
    told: int = 0

    @property
    def is_open(self) -> bool:
        """Whether the user still looks for a game."""
        return self.state != "over"

    def note_online(self, online: bool) -> None:
        """Keep the place of a user who is away, but put them into no match."""
        self.keeper.note_online(self, online)

    def pack(self) -> PackedSearch | None:
        """Return the search for another server; see `SessionSearch.pack`."""
        return self.keeper.pack(self)

    def stop(self) -> None:
        """Look no more, and tell the user nothing."""
        self.keeper.stop(self)

    def end(self, reason: str, code: str) -> None:
        """End the search of a user who is in no pool any more, if it is open, and tell them why."""
        if self.is_open:
            self.state = "over"
            self.tell("over", reason=cut(reason), code=code)

    def tell(self, state: str, **fields: Any) -> None:
        """Tell the user how the search goes."""
        self.session.tell_search(encode(SearchEnvelope(self.id, state, **fields)))


@attrs.define(eq=False)
class Line:
    """A queue of this server.

    Attributes:
        name: Its name; empty for the only one.
        queue: What the game's class says of it.
        pool: Who is in it.
        searches: The searches, by username.
        has_changed: Whether somebody came, went, or may be put into a match again.
        look_at: When to look again though nothing has changed.
        rests_until: Before when not to look in any case.
        reported_at: When the places were told last.
        has_moved: Whether places have changed since.
    """

    name: str
    queue: Queue
    pool: Pool = attrs.field(factory=Pool)
    searches: dict[str, Search] = attrs.field(factory=dict)
    has_changed: bool = False
    look_at: float = math.inf
    rests_until: float = -math.inf
    reported_at: float = -math.inf
    has_moved: bool = False

    @property
    def next_look(self) -> float:
        """When to look at it."""
        return max(self.rests_until, -math.inf if self.has_changed else self.look_at)

    @property
    def next_report(self) -> float:
        """When to tell the places."""
        return self.reported_at + REPORT_PAUSE if self.has_moved else math.inf

    @property
    def next_deadline(self) -> float:
        """When the time to confirm a match is up."""
        deadline = self.pool.deadline
        return math.inf if deadline is None else deadline
