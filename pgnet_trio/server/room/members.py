"""Who is in a game: players in the order of joining, and spectators."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from pgnet_trio.game import ReadyState, SeatPlan
from pgnet_trio.messages import wall_clock
from pgnet_trio.server.room.host import Host
from pgnet_trio.server.room.invitations import Invitations
from pgnet_trio.server.room.kept import NOTHING_KEPT, Kept
from pgnet_trio.server.room.outcome import Outcome

if TYPE_CHECKING:
    from pgnet_trio.game import BotPlayer
    from pgnet_trio.protocol.v2.server_delivery import Snapshot
    from pgnet_trio.server.room.player import OpenQuestion, Player

__all__ = ["Member", "Members"]


class Member:
    """A player or spectator of a game.

    Attributes:
        player: Their session.
        seat: The player's name; None for a spectator.
        entered: Whether they were told that they are in.
        early: Pushes kept back until `entered` is True.
        marked: Of which tick they were last told that their state is; -1 for none.
        shown: The state that was last sent to them.
        missed_presence: Whether somebody came or went while they were away.
        kicked: Whether the game has sent them away.
    """

    __slots__ = (
        "early",
        "entered",
        "kicked",
        "marked",
        "missed_presence",
        "player",
        "seat",
        "shown",
    )

    def __init__(self, player: Player, *, is_spectator: bool = False) -> None:
        self.player = player
        self.seat = None if is_spectator else player.username
        self.entered = False
        self.early: list[bytes] = []
        self.marked = -1
        self.shown: Snapshot | None = None
        self.missed_presence = False
        self.kicked = False

    @property
    def is_spectator(self) -> bool:
        """Whether this member only watches."""
        return self.seat is None

    def show(self, snapshot: Snapshot) -> None:
        """Send the member a state."""
        self.shown = snapshot
        self.player.show(snapshot)

    def push(self, envelope: bytes) -> None:
        """Send the member a push, or keep it until they are in."""
        if self.entered:
            self.player.push(envelope)
        else:
            self.early.append(envelope)

    def ask(self, question: OpenQuestion) -> None:
        """Show the member a question; one who is not in yet is shown it when they are."""
        if self.entered:
            self.player.ask(question)

    def withdraw(self, question: OpenQuestion) -> None:
        """Tell the member that a question is no longer open."""
        if self.entered:
            self.player.withdraw(question)


class Members:
    """The members of a game, by username, and who of them is what.

    Args:
        kept: What an earlier room of the game had; for a new game, who creates it.

    Attributes:
        unlisted: Whether it is only for those who know its name.
        host: Whose table it is.
        seats: Who has which seat.
        ready: Who is ready.
        invitations: Who was invited.
        outcome: Which game it is, for its result.
        bots: The bots that are in the game, or about to join: their names are taken.
        get: Returns a member by name; None if there is none of that name.
    """

    def __init__(self, kept: Kept = NOTHING_KEPT) -> None:
        self.host = Host(kept.host)
        self.seats = SeatPlan()
        self.seats.holders.update(kept.seats)
        self.ready = ReadyState()
        self.ready.remembered = frozenset(kept.ready)
        self.invitations = Invitations(kept.invited)
        self.unlisted = kept.unlisted
        began = wall_clock.get()().timestamp() if kept.began is None else kept.began
        self.outcome = Outcome(kept.game, kept.queue, began=began, left=kept.played)
        self.bots: dict[str, BotPlayer] = {}
        self._by_name: dict[str, Member] = {}
        # Hot path: the dict's own method, which saves a call for each packet.
        self.get: Callable[[str], Member | None] = self._by_name.get

    def __iter__(self) -> Iterator[Member]:
        return iter(list(self._by_name.values()))

    def __len__(self) -> int:
        return len(self._by_name)

    def __contains__(self, username: object) -> bool:
        return username in self._by_name

    @property
    def players(self) -> list[str]:
        """The players' names in the order of joining."""
        return [name for name, member in self._by_name.items() if member.seat is not None]

    @property
    def entered_players(self) -> list[str]:
        """The names of those players who were told that they are in."""
        return [
            name
            for name, member in self._by_name.items()
            if member.seat is not None and member.entered
        ]

    @property
    def presence(self) -> dict[str, bool]:
        """Whether each player is connected, of those who were told that they are in."""
        return {
            name: member.player.online
            for name, member in self._by_name.items()
            if member.seat is not None and member.entered
        }

    @property
    def users(self) -> dict[str, bool]:
        """Whether each player is connected, of those who are no bots."""
        return {
            name: member.player.online
            for name, member in self._by_name.items()
            if member.seat is not None and name not in self.bots
        }

    @property
    def spectators(self) -> list[str]:
        """The names of those who only watch."""
        return [name for name, member in self._by_name.items() if member.is_spectator]

    @property
    def entered(self) -> list[Member]:
        """The members who were told that they are in."""
        return [member for member in self._by_name.values() if member.entered]

    def add(self, member: Member) -> None:
        """Add a member."""
        self._by_name[member.player.username] = member

    def remove(self, username: str) -> Member | None:
        """Remove a member, and return it; None if there is none of that name."""
        return self._by_name.pop(username, None)

    def clear(self) -> None:
        """Remove everybody."""
        self._by_name.clear()

    def begin_anew(self) -> None:
        """Go on with another game, for the same people, which has a result of its own."""
        self.outcome.begin_anew(wall_clock.get()().timestamp())

    def kept(self, *, moves: bool = False, time: float = 0.0) -> Kept:
        """Return what the next room of this game is to have too.

        Args:
            moves: Whether the game goes on at once, at another server.
            time: The room's time of its save, of a game that counts its ticks; 0 for others.
        """
        outcome = self.outcome
        return Kept(
            host=self.host.name if moves or self.host.is_used else None,
            seats=tuple(self.seats.holders.items()),
            unlisted=self.unlisted,
            ready=self.ready.ready if moves and self.ready.is_open else (),
            invited=self.invitations.names if moves else (),
            game=outcome.id.hex() if outcome.is_kept else "",
            queue=outcome.queue,
            began=outcome.began if moves or outcome.is_kept else None,
            played=self._played() if moves or outcome.is_kept else None,
            time=time,
        )

    def _played(self) -> tuple[str, ...] | None:
        left = self.outcome.left
        return None if left is None else tuple(sorted(left.union(self.users)))

    def select(self, to: str | Iterable[str] | None, exclude: str | Iterable[str]) -> list[Member]:
        """Return the members that are named and not excluded.

        Args:
            to: A username, or several; None for everybody.
            exclude: A username, or several, to leave out.
        """
        left_out = {exclude} if isinstance(exclude, str) else set(exclude)
        if to is None:
            if not left_out:
                return list(self._by_name.values())
            names: Iterable[str] = self._by_name
        else:
            names = (to,) if isinstance(to, str) else dict.fromkeys(to)
        found = []
        for name in names:
            member = self._by_name.get(name)
            if member is not None and name not in left_out:
                found.append(member)
        return found
