"""A user's presence on the server, and the task that carries out what the user asks."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

import trio

from pgnet_trio.errors import CodecError
from pgnet_trio.messages import ADMIN_USERNAME, Packet, Request, Response, Status
from pgnet_trio.protocol.v2 import TAKEN_OVER
from pgnet_trio.protocol.v2.server_delivery import (
    WINDOW,
    DeliveryOverflow,
    ServerDelivery,
    Snapshot,
)
from pgnet_trio.server.limits import TokenBucket
from pgnet_trio.server.room.player import PacketTurn

if TYPE_CHECKING:
    from pgnet_trio.protocol.events import QuestionAnswered, RequestReceived
    from pgnet_trio.server.games.lobby import Lobby
    from pgnet_trio.server.room.player import OpenQuestion, Sender
    from pgnet_trio.server.room.room import RoomTask

__all__ = ["CarryOut", "Link", "Session"]

logger = logging.getLogger("pgnet_trio.server")


class Link(Protocol):
    """A session's connection."""

    def flush(self) -> None:
        """Write what waits, as far as there is room; never waits."""

    def end(self, reason: str, *, for_good: bool) -> None:
        """Close the connection; never waits.

        Args:
            reason: Why.
            for_good: Whether the client is told that its session is over.
        """


class Settings(Protocol):
    """What may be changed while sessions run."""

    verbose_logging: bool


CarryOut = Callable[["Session", Packet], Awaitable[Response]]
"""Carries out a request that is not for a game."""

OWN_REQUESTS = frozenset(Request) - {Request.HEARTBEAT_UPDATE}
"""The messages that no game gets to see."""

MAX_REASON = 200
"""Characters of what is wrong with an answer that cannot travel: this has to fit instead."""

MAX_REPLACED = 16
"""Of how many clients a session knows that another one has come in their place. An earlier one
finds its session gone, as after a restart."""

NOT_RESUMED = "The connection was lost, and the client did not come back in time."


class Session:
    """One logged-in user: carries out their requests in the order of arrival.

    What is for the user's game goes straight to the game's room; everything else is done here.
    A session lasts longer than a connection where its sender's client can resume it.

    Args:
        username: Who it is.
        lobby: Knows which game the user is in.
        carry_out: Carries out what is not for a game.
        max_in_flight: How many requests may be unanswered; infinite for any number.
        requests_per_second: How many requests a second are taken; None for any number.
        settings: Say whether to log every packet and response now.
        on_presence: Called with False when it goes on without a connection, and with True when
            that is over, one way or the other.

    Attributes:
        username: Who it is.
        token: What a client resumes this session with; empty where it cannot.
        sender: Where what the user is told goes.
        delivery: What is kept for the client until it has it; None where nothing is.
        end_reason: Why the session ended; None while it lasts.
        ended: Set when the user is out of their game, and their seat is free.
    """

    def __init__(
        self,
        username: str,
        *,
        lobby: Lobby[RoomTask],
        carry_out: CarryOut,
        max_in_flight: float,
        requests_per_second: float | None,
        settings: Settings,
        on_presence: Callable[[bool], None] = lambda online: None,
    ) -> None:
        self.username = username
        self.token = b""
        self.sender: Sender
        self.delivery: ServerDelivery | None = None
        self.end_reason: str | None = None
        self.ended = trio.Event()
        self._lobby = lobby
        self._carry_out = carry_out
        self._max_in_flight = max_in_flight
        self._bucket = (
            None
            if requests_per_second is None
            else TokenBucket(requests_per_second, trio.current_time())
        )
        self._settings = settings
        self._on_presence = on_presence
        self._is_detached = False
        self._link: Link | None = None
        self._grace = 0.0
        self._unanswered = 0
        self._own_requests = 0
        self._answered = trio.lowlevel.ParkingLot()
        # How many wait there: a parking lot takes longer to tell.
        self._awaits_answers = 0
        self._scope = trio.CancelScope()
        # What the clients could resume the session with in whose place another one has come.
        self._replaced_tokens: tuple[bytes, ...] = ()
        # Twice what one client may have under way: another may have come in its place.
        capacity = 2 * max(max_in_flight, WINDOW) + 2
        self._submit, self._submitted = trio.open_memory_channel[PacketTurn](capacity)

    @property
    def is_admin(self) -> bool:
        """Whether this is the server's admin."""
        return self.username == ADMIN_USERNAME

    @property
    def game(self) -> str | None:
        """The name of the game that the user is in, or None."""
        entry = self._lobby.game_of(self.username)
        return None if entry is None else entry.name

    @property
    def online(self) -> bool:
        """Whether the user has a connection now."""
        return self._link is not None

    @property
    def takes_pushes(self) -> bool:
        """Whether the user's protocol can carry what was not asked for."""
        return self.sender.takes_pushes

    # What connections do.

    def end_if_late(self) -> None:
        """End a session whose grace has run out just now: its task has not run since."""
        if self._scope.cancel_called:
            self.end(NOT_RESUMED)

    def attach(self, link: Link, *, grace: float) -> None:
        """Go on over this connection; the one before is closed. Never waits.

        The user's game hears of it where there was none.

        Args:
            link: The connection.
            grace: Seconds that the session outlives it; 0 for none.
        """
        before = self._go_online(link, grace)
        if before is not None:
            before.end("The user has come back over another connection.", for_good=False)
        entry = self._lobby.game_of(self.username)
        if entry is not None:
            entry.room.catch_up(self)
        self._tell_return()

    def take_over(self, link: Link, sender: Sender, token: bytes, *, grace: float) -> None:
        """Go on with another client of the user: it is shown everything afresh. Never waits.

        Args:
            link: Its connection.
            sender: Where what the user is told goes from now on.
            token: What it can resume the session with.
            grace: Seconds that the session outlives a connection.
        """
        before = self._go_online(link, grace)
        if before is not None:
            before.end(TAKEN_OVER, for_good=True)
        if self.token:
            self._replaced_tokens = (*self._replaced_tokens, self.token)[-MAX_REPLACED:]
        self.sender, self.token = sender, token
        entry = self._lobby.game_of(self.username)
        if entry is not None:
            # Before the turn that tells of the return, so that it need not wait for that.
            entry.room.introduce(self)
        self._tell_return()

    def was_taken_over(self, proves: Callable[[bytes], bool]) -> bool:
        """Whether another client has come in the place of one that wants to resume this session.

        Args:
            proves: Says whether that client has proved that it holds a token.
        """
        return self.end_reason is None and any(map(proves, self._replaced_tokens))

    def detach(self, link: Link, reason: str, *, for_good: bool = False) -> None:
        """Note that a connection is gone; the session ends, or waits for the next one.

        A connection that is not the session's any more changes nothing.

        Args:
            link: The connection.
            reason: Why it is gone.
            for_good: Whether the session ends with it.
        """
        if self._link is not link:
            return
        self._link = None
        if for_good or self._grace <= 0:
            self.end(reason)
            return
        self._scope.deadline = trio.current_time() + self._grace
        self._note_presence(online=False)
        entry = self._lobby.game_of(self.username)
        if entry is not None:
            entry.room.drop(self.username)

    def delay(self) -> float:
        """Count one request, and give the seconds that it has to wait."""
        return 0.0 if self._bucket is None else self._bucket.delay(trio.current_time())

    def request(self, asked: RequestReceived) -> None:
        """Take a request in. Never waits."""
        if self.end_reason is not None:
            return
        packet = asked.packet
        packet.username = self.username
        if self._settings.verbose_logging:
            own = packet.message in OWN_REQUESTS
            # The payload of a request to the server may hold a password or an invite code.
            logger.info("from %s: %s", self.username, repr(packet) if own else packet.debug_repr)
        self._unanswered += 1
        sender = self.sender
        turn = PacketTurn(self, sender, asked.id, packet, asked.quiet)
        if self._own_requests or not self._take_to_game(turn):
            try:
                self._submit.send_nowait(turn)
            except trio.WouldBlock:
                self.end("Too many requests are under way.")
            else:
                self._own_requests += 1

    def answer_question(self, answered: QuestionAnswered) -> None:
        """Take the answer to a question in. Never waits."""
        if self.end_reason is not None:
            return
        self._unanswered += 1
        turn = PacketTurn(self, self.sender, answered.id, answered.packet)
        entry = self._lobby.game_of(self.username)
        if entry is None:
            self.answer(turn, Response("You are in no game.", status=Status.UNEXPECTED))
            self.flush()
        else:
            entry.room.handle_answer(turn, answered.question)

    async def wait_capacity(self) -> None:
        """Wait until one more request may come in."""
        while self._unanswered >= self._max_in_flight and self.end_reason is None:
            await self._wait_for_answer()

    # What rooms do.

    def answer(self, turn: PacketTurn, response: Response) -> None:
        """Answer a request; `flush` writes it."""
        self._unanswered -= 1
        if self._awaits_answers:
            self._answered.unpark_all()
        sender = turn.sender
        # Who has come with another client since has not asked this.
        if self.end_reason is not None or sender is not self.sender:
            return
        if sender.answers_in_order:
            response.game = self.game
        if self._settings.verbose_logging:
            # What the server answers itself may hold invite codes.
            own = turn.packet.message in OWN_REQUESTS
            shown = f"status {int(response.status)}" if own else response.debug_repr
            logger.info("to %s: %s", self.username, shown)
        try:
            try:
                sender.respond(turn.request_id, response)
            except CodecError as error:
                logger.error("An answer to %s cannot travel: %s", self.username, error)
                sender.respond(
                    turn.request_id,
                    Response(
                        f"The answer cannot travel: {str(error)[:MAX_REASON]}",
                        status=Status.UNEXPECTED,
                        game=response.game,
                    ),
                )
        except DeliveryOverflow as error:
            self._end_slow_reader(error)

    def enter_game(self, name: str, heartbeat_rate: float, time: float) -> None:
        """Tell the user that they are in a game."""
        self._tell(self.sender.enter_game, name, heartbeat_rate, time)

    def exit_game(self, reason: str, message: str, time: float) -> None:
        """Tell the user that they are in no game any more."""
        self._tell(self.sender.exit_game, reason, message, time)

    def push(self, envelope: bytes) -> None:
        """Send the user an encoded push."""
        self._tell(self.sender.push, envelope)

    def show(self, snapshot: Snapshot) -> None:
        """Have a state sent to the user."""
        self.sender.show(snapshot)

    def ask(self, question: OpenQuestion) -> None:
        """Show the user a question."""
        self._tell(self.sender.ask, question, question.time)
        self.flush()

    def withdraw(self, question: OpenQuestion) -> None:
        """Tell the user that a question is no longer open."""
        self._tell(self.sender.withdraw, question)
        self.flush()

    def flush(self) -> None:
        """Write what waits, as far as the link has room."""
        if self._link is not None:
            self._link.flush()

    async def run(self) -> None:
        """Carry out requests until the session is ended; then the user is out of their game.

        Cancellation ends the session too.
        """
        try:
            with self._scope:
                async for turn in self._submitted:
                    await self._do(turn)
                    self._own_requests -= 1
                    # Else what was asked would stay in memory until something else is.
                    del turn
        finally:
            self.end(NOT_RESUMED)
            entry = self._lobby.leave(self.username)
            if entry is not None:
                entry.room.leave(self.username, player=self)

    def end(self, reason: str) -> None:
        """End the session: nothing more is carried out or answered. Idempotent; never waits."""
        if self.end_reason is None:
            self.end_reason = reason
            self._note_presence(online=True)
            self._scope.cancel()
            self._answered.unpark_all()
            link, self._link = self._link, None
            if link is not None:
                link.end(reason, for_good=True)

    def _go_online(self, link: Link, grace: float) -> Link | None:
        """Go on over this connection; gives the one before, which is to be closed."""
        before, self._link = self._link, link
        self._grace = grace
        self._scope.deadline = math.inf
        return before

    def _tell_return(self) -> None:
        if self._note_presence(online=True):
            entry = self._lobby.game_of(self.username)
            if entry is not None:
                entry.room.resume(self.username)

    def _note_presence(self, *, online: bool) -> bool:
        """Tell whether the session waits for a connection; True where that has changed."""
        changed = self._is_detached is online
        if changed:
            self._is_detached = not online
            self._on_presence(online)
        return changed

    async def _do(self, turn: PacketTurn) -> None:
        if self._take_to_game(turn):
            return
        # Where answers leave in the order of the requests, what the game still works at is first.
        while turn.sender.answers_in_order and self._unanswered > self._own_requests:
            await self._wait_for_answer()
        self.answer(turn, await self._carry_out(self, turn.packet))
        self.flush()

    def _take_to_game(self, turn: PacketTurn) -> bool:
        if turn.packet.message in OWN_REQUESTS:
            return False
        entry = self._lobby.game_of(self.username)
        if entry is None:
            return False
        entry.room.handle(turn)
        return True

    async def _wait_for_answer(self) -> None:
        self._awaits_answers += 1
        try:
            await self._answered.park()
        finally:
            self._awaits_answers -= 1

    def _tell(self, function: Callable[..., None], *args: Any) -> None:
        if self.end_reason is not None:
            return
        try:
            function(*args)
        except DeliveryOverflow as error:
            self._end_slow_reader(error)
        except CodecError as error:
            # Longer than this client takes: what comes after it would leave a gap.
            logger.info("%s cannot be told something: %s", self.username, error)
            self.end(f"Something is too long for this client: {error}")

    def _end_slow_reader(self, error: DeliveryOverflow) -> None:
        logger.info("%s reads too slowly, or is away too long: %s", self.username, error)
        self.end(str(error))
