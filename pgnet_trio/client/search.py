"""A client's search for a game: how it goes, and what the server is told of it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import trio

from pgnet_trio.client.outbox import PendingRequest
from pgnet_trio.errors import PGNetError, SessionLost
from pgnet_trio.messages import Packet, Request, RequestFailed, Response, Status, note_code
from pgnet_trio.protocol.v2.features import MATCHMAKING
from pgnet_trio.reason_codes import ReasonCode

if TYPE_CHECKING:
    from pgnet_trio.protocol.events import SearchTold

__all__ = ["CurrentSearch", "Search", "SearchOwner"]


class SearchOwner(Protocol):
    """What a search needs of the run that it belongs to."""

    @property
    def lacks(self) -> frozenset[str]:
        """The features that this connection does not have; none while there is no connection."""

    async def request(self, packet: Packet, *, do_next: bool = False) -> Response:
        """Send a packet and wait for the response."""

    def tell_server(self, packet: Packet) -> None:
        """Queue a packet before all others, whose response nobody needs; never waits or raises."""


class Search:
    """A search for a game, which `Client.find_game` has begun.

    Iterating over it yields the search itself whenever something has changed, and ends when the
    user is in a game, or `cancel` was called.

    Attributes:
        position: Which place the user has among those who look; 1 is who has looked longest. None
            while the server has not said, after a lost session say.
        is_found: Whether there is a match, which waits for all of its users to confirm it.
        game: The name of the game that the user is in now; None while there is none.
    """

    def __init__(
        self,
        owner: SearchOwner,
        id: int,
        queue: str,
        properties: dict[str, Any] | None,
        *,
        accepts: bool,
    ) -> None:
        """Use `Client.find_game` instead."""
        self.position: int | None = None
        self.is_found = False
        self.game: str | None = None
        self.id = id
        self._owner = owner
        self._accepts = accepts
        payload: dict[str, Any] = {"id": id}
        if queue:
            payload["queue"] = queue
        if properties:
            payload["properties"] = properties
        self._wish = Packet(Request.FIND_GAME, payload)
        self._since: float | None = None
        self._match = 0
        self._deadline = math.inf
        self._is_over = False
        # Whether the server has said yes once.
        self.is_begun = False
        self._error: PGNetError | None = None
        self._changes = 0
        self._seen = 0
        self._changed = trio.lowlevel.ParkingLot()

    def __repr__(self) -> str:
        if self.game is not None:
            state = f"has found {self.game!r}"
        elif self._is_over:
            state = "is over"
        else:
            state = f"position {self.position}, {self.waited:.0f} s"
        return f"<{type(self).__name__} {state}>"

    @property
    def waited(self) -> float:
        """For how many seconds the user has looked, as the server counts them."""
        return 0.0 if self._since is None else max(0.0, trio.current_time() - self._since)

    @property
    def seconds_left(self) -> float:
        """The seconds until a match that is found has to be accepted; infinite for none."""
        return max(0.0, self._deadline - trio.current_time()) if self.is_found else math.inf

    @property
    def is_over(self) -> bool:
        """Whether the search has ended, with a game or without one."""
        return self._is_over

    def __aiter__(self) -> Search:
        return self

    async def __anext__(self) -> Search:
        """Wait for the next change; errors are as of `joined`."""
        await trio.lowlevel.checkpoint()
        while self._seen == self._changes and not self._is_over:
            await self._changed.park()
        self._seen = self._changes
        self._raise_error()
        if self._is_over:
            raise StopAsyncIteration
        return self

    async def joined(self) -> str | None:
        """Wait until the user is in the game, and return its name; None after `cancel`.

        Raises:
            RequestFailed: The server has ended the search; the error says why.
            Disconnected: The connection ended first.
        """
        await trio.lowlevel.checkpoint()
        while not self._is_over:
            await self._changed.park()
        self._raise_error()
        return self.game

    async def accept(self) -> None:
        """Confirm that the user is there for the match that is found.

        Raises:
            RequestFailed: There is no such match any more; the search may go on.
            Disconnected: The connection ended first.
        """
        packet = Packet(Request.CONFIRM_MATCH, {"id": self.id, "match": self._match})
        (await self._owner.request(packet, do_next=True)).raise_for_status()

    def cancel(self) -> None:
        """Look no more; never waits. A match that is not made yet is called off.

        Whoever is in the game already stays there.
        """
        if not self._is_over:
            self._withdraw()
            self._end()

    # What the run tells.

    @property
    def wish(self) -> Packet:
        """The request to look for a game, for a server that has forgotten it."""
        return self._wish

    def note_response(self, response: Response) -> None:
        """Note what the server says to the request for the search."""
        if response.status != Status.OK:
            self.fail(RequestFailed(response))
            return
        self.is_begun = True
        if self._since is None:
            self._since = trio.current_time()
        position = response.payload.get("position")
        if isinstance(position, int):
            self.position = position
        self._note_change()

    def take(self, told: SearchTold, game: str | None) -> None:
        """Take in what the server says of the search; never waits.

        Args:
            told: What it says.
            game: The game that the user is in.
        """
        if self._is_over:
            return
        if told.state == "waiting":
            self.position, self.is_found = told.position, False
            self._since = trio.current_time() - told.waited
        elif told.state == "found":
            self.is_found, self._match = True, told.match
            self._deadline = trio.current_time() + told.seconds
            if self._accepts:
                self._owner.tell_server(
                    Packet(Request.CONFIRM_MATCH, {"id": self.id, "match": told.match})
                )
        elif told.state == "joined":
            self.game = game
            self._end()
        elif told.state == "over":
            response = Response(told.reason, status=Status.UNEXPECTED)
            self.fail(RequestFailed(note_code(response, told.code)))
        self._note_change()

    def forget(self) -> None:
        """Note that the server has forgotten the search, and is asked for it anew."""
        self.position, self.is_found, self._since = None, False, None
        self._note_change()

    def fail(self, error: PGNetError) -> None:
        """End the search with an error."""
        if not self._is_over:
            self._error = error
            self._end()

    def abandon(self) -> None:
        """Leave no search behind, and not the game that it has found either; never waits."""
        if self._error is None:
            self._withdraw()
        self._end()

    def _withdraw(self) -> None:
        self._owner.tell_server(Packet(Request.LEAVE_QUEUE, {"id": self.id}))

    def _end(self) -> None:
        self._is_over, self.is_found = True, False
        self._note_change()

    def _note_change(self) -> None:
        self._changes += 1
        self._changed.unpark_all()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error


class CurrentSearch:
    """Knows a client's one search for a game, and tells it what the server says.

    Args:
        owner: Asks the server.
    """

    def __init__(self, owner: SearchOwner) -> None:
        self._owner = owner
        self._search: Search | None = None
        # How many there were: the server is told by their numbers which one is meant.
        self._count = 0

    def look(
        self, queue: str, properties: dict[str, Any] | None, *, accept: bool
    ) -> AbstractAsyncContextManager[Search]:
        """Look for a game around a block; see `Client.find_game`."""
        self._count += 1
        return self._looking(Search(self._owner, self._count, queue, properties, accepts=accept))

    @asynccontextmanager
    async def _looking(self, search: Search) -> AsyncIterator[Search]:
        await trio.lowlevel.checkpoint()
        if MATCHMAKING in self._owner.lacks:
            text = "This server has no matchmaking: it is older, or one of PGNet."
            raise RequestFailed(
                note_code(Response(text, status=Status.UNEXPECTED), ReasonCode.UNKNOWN_QUEUE)
            )
        if self._search is not None:
            raise RuntimeError("This client looks for a game already: one search at a time.")
        self._search = search
        try:
            await self._begin(search)
            yield search
            await search.joined()
        except BaseException:
            search.abandon()
            raise
        finally:
            self._search = None

    async def _begin(self, search: Search) -> None:
        """Ask for the search until the server has said something to it."""
        while True:
            try:
                response = await self._owner.request(search.wish, do_next=True)
            except SessionLost:
                # The server has forgotten the request too; the next one waits for the next session.
                continue
            search.note_response(response.raise_for_status())
            return

    # What the run tells. Nothing here waits.

    def make_request(self) -> PendingRequest | None:
        """Return the request for the search, for a server that has forgotten it; None for none."""
        search = self._search
        if search is None or search.is_over or not search.is_begun:
            return None
        return PendingRequest(search.wish)

    def note_response(self, request: PendingRequest, response: Response) -> None:
        """Note what the server says to the request that `make_request` has returned."""
        search = self._search
        if search is not None and request.packet is search.wish and request.done is None:
            search.note_response(response)

    def take(self, told: SearchTold, game: str | None) -> None:
        """Take in what the server says of a search.

        Args:
            told: What it says.
            game: The game that the user is in.
        """
        search = self._search
        if search is not None and search.id == told.id and not search.is_over:
            search.take(told, game)
        elif told.state == "found":
            # Nobody waits for that match: its others need not wait either.
            self._owner.tell_server(Packet(Request.LEAVE_QUEUE, {"id": told.id}))

    def forget(self) -> None:
        """Note that the server has forgotten the search."""
        if self._search is not None:
            self._search.forget()

    def fail(self, error: PGNetError) -> None:
        """End the search with an error."""
        if self._search is not None:
            self._search.fail(error)
