"""A user's presence on the server, and the task that carries out what the user asks."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

import trio

from pgnet_trio.errors import CodecError
from pgnet_trio.messages import ADMIN_USERNAME, Packet, Request, Response, Status

if TYPE_CHECKING:
    from pgnet_trio.server.lobby import Lobby
    from pgnet_trio.server.room import Room

__all__ = ["CarryOut", "Outlet", "Session"]

logger = logging.getLogger("pgnet_trio.server")


class Outlet(Protocol):
    """Where a session's answers go: the protocol of its connection."""

    def respond(self, request_id: int, response: Response, /) -> None:
        """Answer a request; raises CodecError where the answer cannot travel."""


CarryOut = Callable[["Session", Packet], Awaitable[Response]]
"""Carries out a request that is not for a game."""

OWN_REQUESTS = frozenset(Request) - {Request.HEARTBEAT_UPDATE}
"""The messages that no game gets to see."""


class Session:
    """One logged-in user: carries out their requests in the order of arrival.

    What is for the user's game goes straight to the game's room; everything else is done here,
    after all earlier requests have been answered.

    Args:
        username: Who it is.
        lobby: Knows which game the user is in.
        outlet: Where answers go.
        flush: Has the connection write what the outlet holds; never waits.
        carry_out: Carries out what is not for a game.
        max_in_flight: How many requests may be unanswered; None for any number.
        verbose: Says whether to log every packet and response now.
        on_end: Called once, when the session ends.

    Attributes:
        username: Who it is.
        end_reason: Why the session ended; None while it lasts.
        ended: Set when the user is out of their game, and their seat is free.
    """

    def __init__(
        self,
        username: str,
        *,
        lobby: Lobby[Room],
        outlet: Outlet,
        flush: Callable[[], None],
        carry_out: CarryOut,
        max_in_flight: float,
        verbose: Callable[[], bool],
        on_end: Callable[[], None],
    ) -> None:
        self.username = username
        self.end_reason: str | None = None
        self.ended = trio.Event()
        self._lobby = lobby
        self._outlet = outlet
        self._flush = flush
        self._carry_out = carry_out
        self._max_in_flight = max_in_flight
        self._verbose = verbose
        self._on_end = on_end
        self._unanswered = 0
        self._own_requests = 0
        self._answered = trio.lowlevel.ParkingLot()
        self._scope = trio.CancelScope()
        self._submit, self._submitted = trio.open_memory_channel[tuple[int, Packet]](max_in_flight)

    @property
    def is_admin(self) -> bool:
        """Whether this is the server's admin."""
        return self.username == ADMIN_USERNAME

    @property
    def game(self) -> str | None:
        """The name of the game that the user is in, or None."""
        entry = self._lobby.game_of(self.username)
        return entry.name if entry is not None else None

    def request(self, request_id: int, packet: Packet) -> None:
        """Take a request; its answer follows in time. Never waits."""
        packet.username = self.username
        if self._verbose():
            # What the server itself is asked may hold passwords, and its answer an invite code.
            own = packet.message in OWN_REQUESTS
            logger.info("%s: %s", self.username, repr(packet) if own else packet.debug_repr)
        self._unanswered += 1
        if self._own_requests or not self._take_to_game(request_id, packet):
            self._own_requests += 1
            self._submit.send_nowait((request_id, packet))

    async def wait_capacity(self) -> None:
        """Wait until one more request may come in."""
        while self._unanswered >= self._max_in_flight and self.end_reason is None:
            await self._answered.park()

    def answer(self, request_id: int, response: Response) -> None:
        """Answer a request, and write the answer if the link has room. Never waits."""
        self._answer(request_id, response, own=False)

    def _answer(self, request_id: int, response: Response, *, own: bool) -> None:
        self._unanswered -= 1
        self._answered.unpark_all()
        if self.end_reason is not None:
            return
        response.game = self.game
        if self._verbose():
            shown = f"status {int(response.status)}" if own else response.debug_repr
            logger.info("to %s: %s", self.username, shown)
        try:
            self._outlet.respond(request_id, response)
        except CodecError as error:
            logger.error("An answer to %s cannot travel: %s", self.username, error)
            self._outlet.respond(
                request_id,
                Response(
                    f"The answer cannot travel: {error}",
                    status=Status.UNEXPECTED,
                    game=response.game,
                ),
            )
        self._flush()

    async def run(self) -> None:
        """Carry out requests until the session is ended; then the user is out of their game.

        Cancellation ends the session too.
        """
        try:
            with self._scope:
                async for request_id, packet in self._submitted:
                    await self._do(request_id, packet)
                    self._own_requests -= 1
        finally:
            self.end("The session ended.")
            entry = self._lobby.leave(self.username)
            if entry is not None:
                entry.room.leave(self.username)

    def end(self, reason: str) -> None:
        """End the session: nothing more is carried out or answered. Idempotent; never waits."""
        if self.end_reason is None:
            self.end_reason = reason
            self._scope.cancel()
            self._answered.unpark_all()
            self._on_end()

    async def _do(self, request_id: int, packet: Packet) -> None:
        if self._take_to_game(request_id, packet):
            return
        # Answers leave in the order of the requests, so what the game still works at comes first.
        while self._unanswered > self._own_requests:
            await self._answered.park()
        self._answer(request_id, await self._carry_out(self, packet), own=True)

    def _take_to_game(self, request_id: int, packet: Packet) -> bool:
        if packet.message in OWN_REQUESTS:
            return False
        entry = self._lobby.game_of(self.username)
        if entry is None:
            return False
        entry.room.handle(self, request_id, packet)
        return True
