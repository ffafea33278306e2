"""The life of a client's session: connecting, and coming back after a drop.

It is a little long: every way in which a connection can end is told here, side by side.
"""

from __future__ import annotations

import logging
import math
from types import EllipsisType
from typing import TYPE_CHECKING, Protocol

import trio

from pgnet_trio.client.backoff import CONNECT_TIMEOUT, LONGEST_PAUSE, REACH_TIMEOUT, Backoff
from pgnet_trio.client.connector import MAX_MESSAGE_SIZE, unreached
from pgnet_trio.client.failures import SentElsewhere, ServerRestarts, all_of, sentence
from pgnet_trio.client.login import LogIn, LogInOwner
from pgnet_trio.connection import Connection
from pgnet_trio.errors import (
    ConnectFailed,
    Disconnected,
    LoginRefused,
    PGNetError,
    ProtocolError,
    ServerKeyMismatch,
    first_error,
)
from pgnet_trio.foreign_text import one_line
from pgnet_trio.protocol import v1, v2
from pgnet_trio.protocol.events import (
    ClientEvent,
    Goodbye,
    LoggedIn,
    Moved,
    Restarting,
    Resumed,
)

if TYPE_CHECKING:
    from pgnet_trio.client.endpoint import ClientEndpoint, Credentials
    from pgnet_trio.client.outbox import Outbox
    from pgnet_trio.client.route import Route
    from pgnet_trio.environment import Environment
    from pgnet_trio.transport import Transport

__all__ = ["ClientSession", "SessionOwner"]

logger = logging.getLogger("pgnet_trio.client")

MISMATCH_PATIENCE = 5.0
"""Seconds for which a client goes on trying while the server shows another key than the first.

The first key hardly ever comes back: a server that restarts without a key file has a new one for
good. But a client that gave up at once would let whoever answers a single try in the server's place
end the session. As it is, they have to answer every try for this long, and whoever can do that
could as well cut the connection."""

DEFAULT_RECONNECT = 60.0
"""Seconds for which a client tries to come back where neither its program nor its server says."""

PING_INTERVAL = 15.0
KEEPALIVE_TIMEOUT = 20.0


class SessionOwner(LogInOwner, Protocol):
    """What a session needs of the run that it belongs to. None of these calls waits."""

    def session_opened(self, *, again: bool) -> None:
        """Note that the user is logged in; *again* where the server forgot an earlier session."""

    def online_changed(self, *, online: bool, restarting: bool = False) -> None:
        """Note that the connection dropped, or that there is one again.

        Args:
            online: Whether there is one.
            restarting: Whether it is gone because the server restarts, which the server has said.
        """

    def take_event(self, event: ClientEvent) -> None:
        """Act on something that the server sent."""

    def session_ended(self, reason: str, code: str, cause: PGNetError | None) -> None:
        """Note that the session is over, and that nothing more will come.

        Args:
            reason: Why, for people.
            code: Why, for programs; empty where the server has not said.
            cause: What the client has to raise for it; None where nothing.
        """


class ClientSession:
    """One user's session at one server, over one connection after the other.

    Args:
        route: The ways to the server.
        credentials: Who logs in.
        environment: Randomness.
        outbox: What waits to be sent.
        owner: Whom the session tells what happens.
        minimum_protocol: 2 to refuse servers that speak protocol 1 only.
        reconnect_for: Seconds for which the session tries to replace a dropped connection; None
            for ever, ``...`` for as long as the server says.

    Attributes:
        end_reason: Why the session ended; None while it lasts.
        end_error: The error that the client raises for the end; None where it raises none.
    """

    def __init__(
        self,
        route: Route,
        credentials: Credentials,
        environment: Environment,
        outbox: Outbox,
        owner: SessionOwner,
        *,
        minimum_protocol: int,
        reconnect_for: float | EllipsisType | None,
    ) -> None:
        self.end_reason: str | None = None
        self.end_error: PGNetError | None = None
        self._route = route
        self._environment = environment
        self._outbox = outbox
        self._owner = owner
        self._login = LogIn(
            credentials, environment, outbox, owner, minimum_protocol=minimum_protocol
        )
        # Whether the server says how long to try, and the program does not.
        self._is_told_how_long = isinstance(reconnect_for, EllipsisType)
        self._reconnect_for = DEFAULT_RECONNECT
        if not isinstance(reconnect_for, EllipsisType):
            self._reconnect_for = math.inf if reconnect_for is None else reconnect_for
        # Where the server has sent this client; None where it has not.
        self._moved: Moved | None = None
        # Whether a server has sent this client to another address since the addresses were tried.
        self._was_sent = False
        # When the last try began, after how many seconds a server sent the client on, None where
        # none did, and whether nobody was reached at all.
        self._tried_at = 0.0
        self._sent_after: float | None = None
        self._was_in_vain = False
        # Whether the owner was told that there is no connection.
        self._is_offline = False
        self._drop_reason = ""
        self._backoff = Backoff(self._reconnect_for)
        self._connection: Connection[ClientEvent] | None = None
        self._endpoint: ClientEndpoint | None = None
        self._scope = trio.CancelScope()
        self._reading = trio.CancelScope()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Connect, log in, and stay until `end`, or until the session cannot come back.

        Started once logged in. Cancellation ends the session and closes the connection.

        Raises:
            ConnectFailed: The first connection or log-in failed.
        """
        with self._scope:
            await self._get_in(task_status)
            while self.end_reason is None:
                if self._moved is None or not await self._move(self._moved):
                    await self._come_back()
        if self.protocol is None:
            raise ConnectFailed(f"{self.end_reason} before it was logged in")

    def use_password(self, password: str) -> None:
        """Log in with another password from now on."""
        self._login.use_password(password)

    def end(self, reason: str) -> None:
        """End the session for good: tell the server, which frees the user's seat."""
        if self.end_reason is None and self._endpoint is not None:
            self._endpoint.goodbye(reason)
        self._end(reason)

    @property
    def protocol(self) -> int | None:
        """The version of the protocol; None before there was a connection."""
        return self._login.protocol

    @property
    def server_pubkey(self) -> str | None:
        """The server's public key in base64; None where it has none, or before."""
        return self._login.server_pubkey

    @property
    def features(self) -> frozenset[str]:
        """The features that are in use on this connection; none where there is none."""
        endpoint = self._endpoint
        return endpoint.features if isinstance(endpoint, v2.ClientProtocol) else frozenset()

    def flush(self) -> None:
        """Send what waits, as far as the connection and the window have room."""
        endpoint = self._endpoint
        if self._connection is None or endpoint is None:
            return
        if isinstance(endpoint, v1.ClientProtocol) and endpoint.unanswered < endpoint.window:
            packet = self._outbox.next_packet()
            if packet is not None:
                endpoint.request(packet)
        self._connection.flush()

    def request_full_state(self) -> None:
        """Ask for the whole state, since a patch does not fit."""
        if isinstance(self._endpoint, v2.ClientProtocol):
            self._endpoint.request_full_state()
            self.flush()

    def request_time(self, id: int) -> bool:
        """Ask what time it is in the game's room; return whether that is possible."""
        endpoint = self._endpoint
        if not isinstance(endpoint, v2.ClientProtocol) or not endpoint.request_time(id):
            return False
        self.flush()
        return True

    def _end(self, reason: str, error: PGNetError | None = None, *, code: str = "") -> None:
        if self.end_reason is not None:
            return
        # First of all: whoever is told below may call `end` again, which has to change nothing.
        self.end_reason, self.end_error = reason, error
        if self._connection is not None:
            # Before the cancellation: the goodbye is the last thing to be sent.
            self._connection.flush()
            self._reading.cancel()
        else:
            self._scope.cancel()
        self._owner.session_ended(reason, code, error)

    async def _get_in(self, task_status: trio.TaskStatus[None]) -> None:
        """Connect for the first time, at one address after the other.

        A server may send this client to one that is gone, until it learns of that. So then all of
        them are tried again, with pauses as after a drop.

        Raises:
            ConnectFailed: The client was let in at none of them.
        """
        failures: list[ConnectFailed] = []
        give_up_at = trio.current_time() + min(self._reconnect_for, DEFAULT_RECONNECT)
        while True:
            try:
                await self._try(task_status)
                return
            except LoginRefused:
                raise
            except ConnectFailed as failure:
                failures.append(failure)
                is_last = not self._route.has_others
                if is_last:
                    error = all_of(failures)
                    is_final = isinstance(error, ServerKeyMismatch) or not self._was_sent
                    if is_final or trio.current_time() >= give_up_at:
                        raise error from failure.__cause__
                    failures, self._was_sent = [], False
                elif isinstance(failure, ServerKeyMismatch):
                    self._tell_mismatch(failure, again=False)
                self._owner.set_status(f"Not yet: {failure}")
            if is_last:
                await self._pause(give_up_at)
            self._route.go_back()

    async def _move(self, moved: Moved) -> bool:
        """Go on where the server has sent this client, without a pause.

        Nobody is told of a connection that is gone, unless the client is not let in there.

        Returns:
            Whether the client was let in, or the session has ended.
        """
        self._moved = None
        self._backoff.note_drop(trio.current_time())
        try:
            self._follow(moved)
            await self._try(trio.TASK_STATUS_IGNORED)
        except LoginRefused as refused:
            self._end(str(refused), code=refused.code)
        except PGNetError as error:
            self._drop_reason = str(error)
            if self._reconnect_for <= 0:
                self._end(str(error))
            else:
                self._note_offline()
                self._owner.set_status(f"Not back yet: {error}")
                if isinstance(error, ServerKeyMismatch):
                    self._tell_mismatch(error, again=False)
                self._route.go_back()
                return False
        return True

    async def _come_back(self) -> None:
        """Try to go on over another connection, until that one drops too or time is up."""
        self._backoff.note_drop(trio.current_time())
        deadline, failure = self._backoff.give_up_at, self._drop_reason
        # The last try's error if it was a key mismatch, and when the unbroken run of them began.
        mismatch: ServerKeyMismatch | None = None
        mismatched_since = math.inf
        is_told = False
        has_others = False
        while self.end_reason is None and trio.current_time() < deadline:
            # An address at which nobody is costs no pause as long as there are others.
            if not (self._was_in_vain and has_others):
                await self._pause(deadline)
            if trio.current_time() >= deadline:
                break
            has_others = self._route.has_others
            try:
                await self._try(trio.TASK_STATUS_IGNORED, deadline)
            except LoginRefused as refused:
                self._end(str(refused), code=refused.code)
                return
            except ServerKeyMismatch as error:
                if mismatch is None:
                    mismatched_since = trio.current_time()
                    self._tell_mismatch(error, again=is_told)
                failure, mismatch, is_told = str(error), error, True
                lasts = trio.current_time() - mismatched_since
                for_ever = self._reconnect_for == math.inf and not self._is_told_how_long
                if lasts >= MISMATCH_PATIENCE and not for_ever:
                    break
            except PGNetError as error:
                failure, mismatch = str(error), None
                self._owner.set_status(f"Not back yet: {failure}")
            else:
                return
            self._route.go_back()
        self._end(failure, mismatch)

    async def _pause(self, deadline: float) -> None:
        """Wait before the next try, until *deadline* at most."""
        share = int.from_bytes(self._environment.random_bytes(4)) / 2**32
        pause = self._backoff.next_pause(share, sent_after=self._sent_after)
        await trio.sleep_until(min(trio.current_time() + pause, deadline))

    def _tell_mismatch(self, mismatch: ServerKeyMismatch, *, again: bool) -> None:
        where = str(self._route)
        logger.log(
            logging.INFO if again else logging.WARNING,
            "%s, at %s: %s. This client told it nothing secret. A server keeps its key over a "
            "restart if it has a save_file or a key_file.",
            one_line(self._login.username),
            where,
            one_line(mismatch),
        )
        self._owner.set_status(f"Not back yet: at {where}, {sentence(mismatch)}")

    async def _try(self, task_status: trio.TaskStatus[None], deadline: float = math.inf) -> None:
        """Connect at the current address, and wherever a server sends this client before it is in.

        Returns once the connection on which the client was let in has ended.

        Raises:
            ConnectFailed: The client was not logged in.
        """
        self._tried_at, self._sent_after = trio.current_time(), None
        while True:
            try:
                await self._run_connection(task_status, deadline)
                return
            except SentElsewhere as sent:
                self._follow(sent.moved)

    def _follow(self, moved: Moved) -> None:
        """Take the way to where the server sends this client.

        Raises:
            ConnectFailed: It leads nowhere that the client goes.
        """
        self._was_sent = True
        self._login.take_login_token(moved.login_token)
        self._sent_after = None
        self._route.follow(moved.address)
        self._sent_after = trio.current_time() - self._tried_at
        self._owner.set_status(f"Going on at {self._route}...")

    async def _run_connection(
        self, task_status: trio.TaskStatus[None], deadline: float = math.inf
    ) -> None:
        """Connect, log in or resume, and read until the connection or the session ends.

        Raises:
            ConnectFailed: The client was not logged in.
        """
        where, way = str(self._route), self._route.current
        if not self._login.may_resume:
            self._owner.set_status(f"Connecting to {where}...")
        reached = False
        self._was_in_vain = self._sent_after is None
        timeout = self._backoff.resume_timeout if self._login.may_resume else CONNECT_TIMEOUT
        start = trio.current_time()
        # Do not wait long for an address that is silent while there are others.
        patience = min(timeout, REACH_TIMEOUT) if self._route.has_others else timeout
        with trio.CancelScope(deadline=min(start + patience, deadline)) as scope:
            try:
                async with way.connect(MAX_MESSAGE_SIZE) as transport:
                    reached, self._was_in_vain = True, False
                    scope.deadline = min(start + timeout, deadline)
                    endpoint = self._login.make_endpoint(transport, where, encrypted=way.encrypted)
                    connection = self._make_connection(transport, endpoint)
                    async with trio.open_nursery() as helpers, connection.open(helpers):
                        events = await self._login.run(connection, endpoint, scope, deadline)
                        scope.deadline = math.inf
                        if self.end_reason is not None:
                            # The program ended the session in that very step: free its seat.
                            endpoint.goodbye(self.end_reason)
                        if scope.cancel_called or self.end_reason is not None:
                            # So did the time, or the session. Be cancelled here, and not once the
                            # owner was told of a log-in: no later deadline undoes it.
                            await trio.lowlevel.checkpoint()
                        await self._serve(connection, endpoint, events, task_status)
            except Exception as error:
                bare = first_error(error)
                if not reached and isinstance(bare, (OSError, trio.BrokenResourceError)):
                    failure = unreached(way, bare)
                    raise failure from failure.__cause__
                raise bare from bare.__cause__
            finally:
                self._connection = self._endpoint = None
        if scope.cancelled_caught:
            self._backoff.note_timeout()
            waited = trio.current_time() - start
            raise ConnectFailed(f"{where} did not answer within {waited:.2g} s.")

    async def _serve(
        self,
        connection: Connection[ClientEvent],
        endpoint: ClientEndpoint,
        events: list[ClientEvent],
        task_status: trio.TaskStatus[None],
    ) -> None:
        """Read from a connection that is logged in, until it or the session ends."""
        # A scope of its own for each connection: `_end` cancels what it finds here.
        self._reading = trio.CancelScope()
        self._connection, self._endpoint = connection, endpoint
        since, before = trio.current_time(), self._progress
        self._route.note_let_in()
        self._begin(events)
        task_status.started()
        try:
            with self._reading:
                await self._read(connection)
        except trio.Cancelled:
            self.end("the client's program went on without it")
            raise
        lasted, progressed = trio.current_time() - since, self._progress != before
        self._backoff.note_connection(
            lasted, progressed=progressed, unsettled=self._login.delivery.unsettled > 0
        )
        if progressed or lasted >= LONGEST_PAUSE:
            self._route.note_progress()
        self._connection = self._endpoint = None
        await connection.aclose(reason=self.end_reason or "")

    @property
    def _progress(self) -> tuple[int, int, int]:
        """What differs before and after a connection that gets something done."""
        delivery = self._login.delivery
        return delivery.received, delivery.last_request, delivery.unsettled

    def _make_connection(
        self, transport: Transport, endpoint: ClientEndpoint
    ) -> Connection[ClientEvent]:
        local = not self._route.current.encrypted
        return Connection(
            transport,
            endpoint,
            ping_interval=None if local else PING_INTERVAL,
            keepalive_timeout=None if local else KEEPALIVE_TIMEOUT,
            reads_while_stalled=True,
        )

    def _begin(self, events: list[ClientEvent]) -> None:
        first, *more = events
        again = self._login.note_told()
        if isinstance(first, LoggedIn):
            if self._is_told_how_long and first.reconnect_for is not None:
                self._reconnect_for = first.reconnect_for
                self._backoff.reconnect_for = first.reconnect_for
            self._owner.session_opened(again=again)
        if isinstance(first, Resumed) or again:
            if self._is_offline:
                self._is_offline = False
                self._owner.online_changed(online=True)
            elif isinstance(first, Resumed):
                self._owner.set_status(f"Goes on at {self._route}.")
        for event in more:
            self._owner.take_event(event)
        self.flush()

    async def _read(self, connection: Connection[ClientEvent]) -> None:
        try:
            while True:
                for event in await connection.receive():
                    if isinstance(event, Goodbye):
                        self._end(event.reason, code=event.code)
                        return
                    if isinstance(event, Restarting):
                        # As after a drop: the client finds its session gone, and logs in anew.
                        raise ServerRestarts(event.reason)
                    if isinstance(event, Moved):
                        self._moved = event
                        return
                    self._owner.take_event(event)
                if self.protocol == 1:
                    self.flush()
        except ProtocolError as error:
            self._end(str(error))
        except Disconnected as error:
            self._drop_reason = str(error)
            if not self._login.may_resume or self._reconnect_for <= 0:
                self._end(str(error))
            else:
                self._connection = None
                self._note_offline(restarting=isinstance(error, ServerRestarts))

    def _note_offline(self, *, restarting: bool = False) -> None:
        self._is_offline = True
        self._owner.online_changed(online=False, restarting=restarting)
