"""One run of a client: its tasks, the order in which they end, and what it knows meanwhile.

It is a little long: all that a session tells its run stands here, beside what follows from it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from types import EllipsisType
from typing import TYPE_CHECKING, Any

import trio

from pgnet_trio.client.callbacks import CAPACITY, CallbackQueue, Hooks
from pgnet_trio.client.current_game import CurrentGame
from pgnet_trio.client.game_view import GameView
from pgnet_trio.client.limits import MAX_CALLS, MAX_CALLS_SIZE, MAX_STATUS
from pgnet_trio.client.outbox import Callback, Outbox, PendingRequest
from pgnet_trio.client.search import CurrentSearch
from pgnet_trio.client.session import ClientSession
from pgnet_trio.client.timing import Timing
from pgnet_trio.errors import (
    Disconnected,
    PGNetError,
    ProtocolError,
    SendQueueFull,
    SessionLost,
    first_error,
)
from pgnet_trio.foreign_text import one_line
from pgnet_trio.messages import (
    PLAYERS,
    SERVER_PREFIX,
    Packet,
    Request,
    Response,
    Status,
    note_cause,
)
from pgnet_trio.netcode import ServerClock
from pgnet_trio.protocol.events import (
    ClientEvent,
    GameChanged,
    Pushed,
    QuietAck,
    ResponseReceived,
    SearchTold,
)
from pgnet_trio.protocol.v2 import TAKEN_OVER
from pgnet_trio.protocol.v2.features import FEATURES, NETCODE
from pgnet_trio.protocol.v2.input_stream import check_input, check_seen
from pgnet_trio.reason_codes import ReasonCode

if TYPE_CHECKING:
    from pgnet_trio.client.endpoint import Credentials
    from pgnet_trio.client.route import Route
    from pgnet_trio.environment import Environment

__all__ = ["CLOSED_HERE", "NOT_CONNECTED", "ClientRun"]

logger = logging.getLogger("pgnet_trio.client")

TAKEN_OVER_STATUS = "You logged in from elsewhere; this program is out of the game."

CLOSED_HERE = "disconnected by this client"
NOT_CONNECTED = "This client is not connected."
LEAVE_DEADLINE = 10.0
"""Seconds that leaving waits until everything that was sent before has left, with its callbacks."""


class ClientRun:
    """What a client is from one connect to the next, made whole and used once.

    Its tasks, and the order of ending, which is that of the nesting from the inside out::

        callbacks           makes the calls of callbacks and events
        └ session           connection after connection; the heartbeats beside it
          └ the body        the user's code

    So nobody reads the wire for a body that is gone, and whatever the end of a session has to
    tell is still called.

    It is the owner that `ClientSession` and `GameView` tell what happens. These calls never wait.

    Args:
        hooks: The events to call, looked up at each call: they may be assigned at any time.
        route: The ways to the server.
        credentials: Who logs in.
        environment: Randomness.
        status: How things are before the run begins.
        minimum_protocol: 2 to refuse servers that speak protocol 1 only.
        reconnect_for: Seconds for which the session tries to replace a dropped connection; None
            for ever, ``...`` for as long as the server says.

    Attributes:
        callbacks: The calls that wait.
        outbox: What was asked and has no response yet.
        session: The session.
        view: What the server told of the game.
        in_use: Whether the run has begun and neither the session nor the body has ended.
        ended: Set when the session is over.
        connected: Whether the user is logged in.
        online: Whether there is a connection now.
        game: Knows which game the user is in.
        search: Knows the search for a game that goes on.
        status: How things are, for people.
        close_reason: Why the session ended; empty before that.
        close_code: The server's code for that; empty where it has said none.
        drops: How many connections dropped.
    """

    def __init__(
        self,
        hooks: Hooks,
        route: Route,
        credentials: Credentials,
        environment: Environment,
        *,
        status: str,
        minimum_protocol: int,
        reconnect_for: float | EllipsisType | None,
    ) -> None:
        self._hooks = hooks
        self._username = one_line(credentials.username, 100)
        self._route = route
        self.callbacks = CallbackQueue()
        self.outbox = self._make_outbox()
        self.session = ClientSession(
            route,
            credentials,
            environment,
            self.outbox,
            self,
            minimum_protocol=minimum_protocol,
            reconnect_for=reconnect_for,
        )
        clock = ServerClock(trio.current_time, environment.slept)
        timing = Timing(clock, trio.current_time, self.session.request_time)
        self.view = GameView(hooks, self, timing)
        self.in_use = False
        self.ended = trio.Event()
        self.connected = False
        self.online = False
        self.game = CurrentGame(hooks, self._username, self.view, self)
        self.search = CurrentSearch(self)
        self.status = status
        self.close_reason = self.close_code = ""
        self.drops = 0
        self._outbox_changed = trio.lowlevel.ParkingLot()
        self._logs_in_again = False

    def _make_outbox(self) -> Outbox:
        return Outbox()

    # What the client's program does.

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Connect, log in, and stay connected around the body.

        Raises:
            ConnectFailed: The first connection or log-in failed.
            ServerKeyMismatch: The server has another key than it should, or than before.
            Disconnected: The body ended, and some of what it sent did not leave in time.
            Exception: What the body, a callback or an event raised, bare; the body's comes first.
        """
        body_error: Exception | None = None
        error: BaseException | None = None
        self.in_use = True
        try:
            async with trio.open_nursery() as calling:
                calling.start_soon(self.callbacks.run)
                try:
                    async with trio.open_nursery() as connected:
                        await connected.start(self.session.run)
                        connected.start_soon(self._send_heartbeats)
                        try:
                            yield
                            await self._wait_all_sent()
                        except Exception as raised:
                            body_error = raised
                            reason = first_error(raised)
                            if isinstance(reason, Disconnected):
                                # A program that goes no further says why by the status.
                                self.session.end(str(reason))
                        finally:
                            self.session.end(CLOSED_HERE)
                except Exception as raised:
                    error = first_error(raised)
                    self.session.end(str(error))
                finally:
                    # Before the last calls are made: an event may begin the next run.
                    self.in_use = False
                    self.callbacks.close()
        except BaseExceptionGroup as group:
            error = first_error(group)
        if body_error is not None:
            raise body_error
        if error is None:
            error = self.session.end_error
        if error is not None:
            raise error

    async def request(self, packet: Packet, *, do_next: bool = False) -> Response:
        """Send a packet and wait for the response; see `Client.request`.

        Args:
            packet: The packet.
            do_next: Whether it goes before everything else that waits.
        """
        return await self._wait_response(PendingRequest(packet, done=trio.Event()), do_next=do_next)

    async def _wait_response(self, request: PendingRequest, *, do_next: bool = False) -> Response:
        if not (self.connected or self._logs_in_again):
            await trio.lowlevel.checkpoint()
            raise Disconnected(self.close_reason or NOT_CONNECTED, code=self.close_code)
        assert request.done is not None
        try:
            # Those who wait one by one are as many as their tasks, so they are not counted.
            self.outbox.put(request, do_next=do_next, waiting_callbacks=0)
        except Exception:
            await trio.lowlevel.checkpoint()
            raise
        self.session.flush()
        try:
            await request.done.wait()
        finally:
            self.outbox.withdraw(request)
        if request.error is not None:
            raise request.error
        assert request.response is not None
        return request.response

    def send(self, packet: Packet, callback: Callback | None, *, do_next: bool) -> None:
        """Queue a packet; never waits. See `Client.send`."""
        if not (self.connected or self._logs_in_again):
            logger.warning("Not connected, so this is dropped: %.300r", packet)
            return
        quiet = callback is None and not packet.message.startswith(SERVER_PREFIX)
        if quiet:
            logger.debug(
                "%s sends %.300r; without a callback, no answer is shown", self._username, packet
            )
        self.outbox.put(
            PendingRequest(packet, callback, quiet=quiet),
            do_next=do_next,
            waiting_callbacks=self.callbacks.answers,
        )
        self.session.flush()

    def play(self, packet: Packet, seen: float) -> int:
        """Have an input leave next; never waits. See `Client.input`.

        Returns:
            The input's number.
        """
        inputs = self.outbox.inputs
        payload = check_input(packet.payload)
        check_seen(seen)
        number = inputs.put(payload, seen, trio.current_time(), self.view.timing.rate)
        if self.online and NETCODE not in self.features:
            inputs.drop()
            self.send(packet, None, do_next=False)
        elif self.game.name is None:
            # No game would hear it.
            inputs.drop()
        else:
            self.session.flush()
        return number

    @property
    def last_input(self) -> int:
        """The number of the last input that was made."""
        return self.outbox.inputs.number

    # What a search asks for: see `SearchOwner`.

    @property
    def lacks(self) -> frozenset[str]:
        """The features that this connection does not have; none while there is no connection."""
        return FEATURES - self.features if self.online else frozenset()

    def tell_server(self, packet: Packet) -> None:
        """Queue a packet before all others, whose response nobody needs; never waits or raises."""
        if not (self.connected or self._logs_in_again):
            return
        try:
            self.outbox.put(PendingRequest(packet), do_next=True, waiting_callbacks=0)
        except SendQueueFull:
            # The server puts out whoever confirms nothing.
            logger.warning("%s could not tell the server: %.300r", self._username, packet)
            return
        self.session.flush()

    def tell_current(self, hook: str) -> None:
        """Call an event that was assigned only now with what it has missed."""
        if self.in_use and self.connected:
            self.view.tell_current(hook)

    def events(self, models: Sequence[type[Any]]) -> AsyncIterator[Any]:
        """Iterate over what happens in the game; see `Client.events`."""
        is_over = not self.in_use or self.ended.is_set()
        return self.view.events(
            models,
            Disconnected(self.close_reason or NOT_CONNECTED, code=self.close_code)
            if is_over
            else None,
        )

    # What the session tells: see `SessionOwner`.

    def set_status(self, status: str) -> None:
        """Note how things are."""
        self.status = status = one_line(status, MAX_STATUS)
        logger.log(self._route.current.status_level, "%s: %s", self._username, one_line(status))
        self.call(self._hooks.on_status, status, len(status))

    def session_opened(self, *, again: bool) -> None:
        """Note that the user is logged in; *again* after a lost session, join the game anew."""
        self.connected = self.online = True
        self._logs_in_again = False
        protocol = self.session.protocol
        self.game.begin(protocol)
        self.call(self._hooks.on_connection, True)
        self.set_status(f"Logged in as {self._username} at {self._route}, protocol {protocol}.")
        # The last of them goes first.
        for request in (self.game.make_way_back(), self.search.make_request()) if again else ():
            if request is not None:
                self.outbox.put(request, do_next=True, waiting_callbacks=0, is_first=True)
        self.outbox.is_held = False

    def session_lost(self, reason: str, code: str) -> None:
        """Fail all that waits: the server has forgotten it."""
        error = SessionLost(reason, code=code)
        # First of all: an answer within the scope of its question ends with that scope.
        self.view.lose(error)
        self.outbox.fail_all(error)
        self.search.forget()
        self.connected = False
        self._logs_in_again = True
        # The request that leads back into the game goes before all that is asked from here on.
        self.outbox.is_held = True
        self.call(self._hooks.on_connection, False)
        self.game.lose(reason)

    def online_changed(self, *, online: bool, restarting: bool = False) -> None:
        """Note whether there is a connection."""
        self.online = online
        self.drops += not online
        if online:
            self.view.timing.change_link()
        self.call(self._hooks.on_online, online)
        if online:
            self.set_status("Online again.")
        elif restarting:
            self.set_status("The server restarts; coming back...")
        else:
            self.set_status("The connection dropped; coming back...")

    def session_ended(self, reason: str, code: str, cause: PGNetError | None) -> None:
        """Tell everybody who waits that the session is over."""
        self.ended.set()
        self._logs_in_again = False
        self.close_reason, self.close_code = reason, code
        error = Disconnected(reason, code=code)
        error.__cause__ = cause
        unsent = self.outbox.unsent
        if unsent:
            logger.warning("Disconnected before %d messages of `send` were sent", unsent)
        self.outbox.fail_all(error)
        self._outbox_changed.unpark_all()
        self.search.fail(error)
        # A program that wanted the end has lost nothing: its iterators just stop.
        self.view.end(None if reason == CLOSED_HERE else error)
        self.game.end()
        self.online = False
        if self.connected:
            self.connected = False
            self.call(self._hooks.on_connection, False)
        # An older server says no code.
        is_taken_over = code == ReasonCode.TAKEN_OVER or reason == TAKEN_OVER
        self.set_status(TAKEN_OVER_STATUS if is_taken_over else f"Disconnected: {reason}")

    def take_event(self, event: ClientEvent) -> None:
        """Act on something that the server sent."""
        if self.session.end_reason is not None:
            # Something before it in the same frame has ended the session.
            return
        if isinstance(event, ResponseReceived):
            self._take_response(self.outbox.take(event.id), event.response, event.size)
            self._outbox_changed.unpark_all()
            return
        if isinstance(event, SearchTold):
            if event.state == "joined":
                self.game.note_seated(event.options)
            self.search.take(event, self.game.name)
            return
        try:
            self.view.take(event)
        except ProtocolError as error:
            self.session.end(str(error))
            return
        if isinstance(event, QuietAck):
            self._outbox_changed.unpark_all()
        elif isinstance(event, Pushed):
            if event.push.message == PLAYERS:
                self.game.note_watching()
        elif isinstance(event, GameChanged):
            self.game.take(event)

    def _take_response(self, request: PendingRequest, response: Response, size: int) -> None:
        self.search.note_response(request, response)
        self.game.note_response(request, response, size, self.session.protocol)
        if response.status != Status.OK:
            note_cause(response, self._route.current.cause_of(response.message))
        self.call(request.callback, response, size, is_answer=True)
        if request.question is not None:
            request.was_late = not self.view.is_open(request.question)
        request.succeed(response)
        if request.question is not None and response.status == Status.OK:
            # After `succeed`: whoever answered may wait within the question's scope, which this
            # cancels.
            self.view.close_question(request.question)
        if response.disconnecting:
            self.session.end(one_line(response.message))

    # What the game and its view ask for: see `CurrentGameOwner` and `GameViewOwner`.

    @property
    def features(self) -> frozenset[str]:
        """The features of the protocol that are in use."""
        return self.session.features

    def call_hook(self, hook: Callable[..., Any] | None, argument: Any, size: int = 0) -> None:
        """Queue the call of an event that a game causes; too many of them end the session."""
        if hook is not None and len(self.callbacks) < MAX_CALLS:
            self.call(hook, argument, size)
        elif hook is not None:
            self._end_overwhelmed()

    def call_once(self, function: Callable[[], Any]) -> None:
        """Queue the call of a function, unless the same call waits already."""
        self.callbacks.put_once(function)

    def request_full_state(self) -> None:
        """Ask the server for the whole state."""
        self.session.request_full_state()

    def call(
        self,
        function: Callable[..., Any] | None,
        argument: Any,
        size: int = 0,
        *,
        is_answer: bool = False,
    ) -> None:
        """Queue the call of a callback or an event; too many of them end the session.

        Args:
            function: What is called; None is nothing.
            argument: With what.
            size: How many bytes that is.
            is_answer: Whether it is the response to a request.
        """
        if function is None:
            return
        callbacks = self.callbacks
        callbacks.put(function, argument, size, is_answer=is_answer)
        if len(callbacks) > CAPACITY or callbacks.size > MAX_CALLS_SIZE:
            self._end_overwhelmed()

    async def answer_question(self, question: int, packet: Packet) -> Response:
        """Answer a question of the game, and wait for what the game says of it."""
        request = PendingRequest(packet, done=trio.Event(), question=question)
        response = await self._wait_response(request)
        return response if request.was_late else response.raise_for_status()

    # Its own.

    async def _send_heartbeats(self) -> None:
        while not self.ended.is_set():
            if self.game.name is None or not self.game.heartbeat_rate:
                await self.game.wait_change()
                continue
            with trio.move_on_after(1 / self.game.heartbeat_rate) as pause:
                await self.game.wait_change()
            if not pause.cancelled_caught or self.game.name is None or not self.online:
                continue
            packet = Packet(Request.HEARTBEAT_UPDATE, self._hooks.heartbeat_payload())
            try:
                response = await self.request(packet)
            except (Disconnected, SendQueueFull):
                continue
            if response.game is not None:
                self.call(self._hooks.on_heartbeat, response)

    async def _wait_all_sent(self) -> None:
        """Wait until everything of `send` has left, and what has a callback is answered.

        Raises:
            Disconnected: It lasts longer than `LEAVE_DEADLINE`.
        """
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(LEAVE_DEADLINE):
            while self.outbox.owed:
                await self._outbox_changed.park()
        owed, unsent = self.outbox.owed, self.outbox.unsent
        if owed:
            raise Disconnected(
                f"{unsent} messages of `send` were not sent, and {owed - unsent} have no answer, "
                f"{LEAVE_DEADLINE:g} s after the client's program had ended"
            )

    def _end_overwhelmed(self) -> None:
        self.session.end(
            f"more than {MAX_CALLS} calls of events wait, or more than {MAX_CALLS_SIZE} bytes: "
            "they take longer than new ones come"
        )
