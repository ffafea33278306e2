"""The life of a client's session: connecting, logging in, and coming back after a drop."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import attrs
import trio

from pgnet_trio.client.connector import unreached
from pgnet_trio.connection import Connection
from pgnet_trio.crypto import KeyPair
from pgnet_trio.errors import (
    ConnectFailed,
    Disconnected,
    LoginRefused,
    PGNetError,
    ProtocolError,
    ServerKeyMismatch,
    first_error,
)
from pgnet_trio.protocol import v1, v2
from pgnet_trio.protocol.events import (
    ClientEvent,
    Goodbye,
    LoggedIn,
    LoginRefusal,
    Resumed,
    ResumeRefusal,
)
from pgnet_trio.protocol.v2.server_delivery import ClientDelivery

if TYPE_CHECKING:
    from pgnet_trio.client.connector import Connector
    from pgnet_trio.client.outbox import Outbox
    from pgnet_trio.environment import Environment
    from pgnet_trio.transport import Transport

__all__ = ["ClientSession", "Credentials", "Observer"]

logger = logging.getLogger("pgnet_trio.client")

CONNECT_TIMEOUT = 15.0
"""Seconds for connecting and logging in; a busy server may take some for the password."""

RESUME_TIMEOUT = 5.0
"""Seconds for coming back, which costs the server next to nothing. A connection that broke
unnoticed half way must not use up the time that there is for it. Each try that took longer
doubles it for the next one, up to `CONNECT_TIMEOUT`: a slow network needs it."""

FIRST_BACKOFF, LONGEST_BACKOFF = 0.1, 5.0
"""Seconds between tries to come back, at most: full jitter, so that many do not come at once."""

MISMATCH_PATIENCE = 5.0
"""Seconds for which another server key than the first is borne at a reconnect. It is hardly ever
right again: a server that was restarted without a key file has a new one for good. But giving up at
once would let whoever answers a single try in the server's place end the session; as it is, they
have to answer each try for as long as that, and then they could as well cut the connection."""

MAX_MESSAGE_SIZE = 1024 * 1024
PING_INTERVAL = 15.0
KEEPALIVE_TIMEOUT = 20.0


@attrs.frozen
class Credentials:
    """Who logs in, and to whom."""

    username: str
    password: str = attrs.field(repr=False)
    invite_code: str = attrs.field(repr=False)
    verify_server_pubkey: str


class TellsWhetherAgain(Protocol):
    """Takes note of being logged in."""

    def __call__(self, *, again: bool) -> None: ...


class TellsWhetherOnline(Protocol):
    """Takes note of the connection."""

    def __call__(self, *, online: bool) -> None: ...


@attrs.frozen(kw_only=True)
class Observer:
    """Who is told of what happens to a session. Nothing here waits.

    An object of its own: were these the public methods of `Client`, who subclasses it could
    override one by chance.

    Attributes:
        set_status: Called with how things are, in words for people.
        session_opened: The client is logged in; *again* after an earlier session turned out to be
            gone.
        session_lost: The session is gone, with all that was under way; a new one is about to be
            opened. Called with the reason.
        online_changed: The session's connection was lost, or there is one again.
        take_event: Called with what came.
        session_ended: It is over, and nothing more will come. Called with the reason, and with
            what the client has to raise for it, or None.
    """

    set_status: Callable[[str], None]
    session_opened: TellsWhetherAgain
    session_lost: Callable[[str], None]
    online_changed: TellsWhetherOnline
    take_event: Callable[[ClientEvent], None]
    session_ended: Callable[[str, PGNetError | None], None]


class ClientSession:
    """One user's session at one server, over one connection after the other.

    Args:
        connector: The way to the server.
        credentials: Who logs in.
        environment: Randomness.
        outbox: What waits to be asked.
        observer: Who is told of what happens.
        minimum_protocol: 2 to refuse servers that speak protocol 1 only.
        reconnect_for: Seconds for which a dropped connection is tried to be replaced; None for
            ever.

    Attributes:
        end_reason: Why the session ended; None while it lasts.
        end_error: The error that it ended with; None where it only ended.
        protocol: The version that is spoken; None before there was a connection.
        server_pubkey: The server's public key in base64; None where it has none, or before.
    """

    def __init__(
        self,
        connector: Connector,
        credentials: Credentials,
        environment: Environment,
        outbox: Outbox,
        observer: Observer,
        *,
        minimum_protocol: int,
        reconnect_for: float | None,
    ) -> None:
        self.end_reason: str | None = None
        self.end_error: PGNetError | None = None
        self.protocol: int | None = None
        self.server_pubkey: str | None = None
        self._connector = connector
        self._credentials = credentials
        self._environment = environment
        self._outbox = outbox
        self._observer = observer
        self._minimum_protocol = minimum_protocol
        self._reconnect_for = math.inf if reconnect_for is None else reconnect_for
        self._token = b""
        # Whether the session before this one is gone, which is to be told when there is one again.
        self._lost = False
        self._drop_reason = ""
        # Of the tries to come back: kept over connections that get nothing done. A request that
        # breaks each of them would be tried for ever else, and without a pause.
        self._backoff = FIRST_BACKOFF
        self._resume_timeout = RESUME_TIMEOUT
        self._give_up_at = math.inf
        self._is_stuck = False
        self._delivery = ClientDelivery(outbox.next_request)
        self._connection: Connection[ClientEvent] | None = None
        self._speaker: v1.ClientProtocol | v2.ClientProtocol | None = None
        self._scope = trio.CancelScope()
        self._reading = trio.CancelScope()

    @property
    def online(self) -> bool:
        """Whether there is a connection now."""
        return self._connection is not None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Connect, log in, and stay until `end`, or the end of all hope.

        Started once logged in. Cancellation closes the connection.

        Raises:
            ConnectFailed: The first connection or log-in failed.
        """
        with self._scope:
            await self._converse(task_status)
            while self.end_reason is None:
                await self._come_back()
        if self.protocol is None:
            raise ConnectFailed(f"{self.end_reason} before it was logged in")

    def end(self, reason: str) -> None:
        """End the session, for good: the server is told, and the user's seat is free."""
        if self.end_reason is None and self._speaker is not None:
            self._speaker.part(reason)
        self._end(reason)

    def flush(self) -> None:
        """Write what waits, as far as there is room."""
        speaker = self._speaker
        if self._connection is None or speaker is None:
            return
        if isinstance(speaker, v1.ClientProtocol) and speaker.unanswered < speaker.window:
            packet = self._outbox.next_packet()
            if packet is not None:
                speaker.request(packet)
        self._connection.flush()

    def want_state(self) -> None:
        """Ask for the whole state, since a patch does not fit."""
        if isinstance(self._speaker, v2.ClientProtocol):
            self._speaker.want_state()
            self.flush()

    def _end(self, reason: str, error: PGNetError | None = None) -> None:
        if self.end_reason is not None:
            return
        self.end_reason, self.end_error = reason, error
        if self._connection is not None:
            self._connection.flush()
            self._reading.cancel()
        else:
            self._scope.cancel()
        self._observer.session_ended(reason, error)

    async def _come_back(self) -> None:
        """Try to go on over another connection, until it was lost too or time is up."""
        if not self._is_stuck:
            self._give_up_at = trio.current_time() + self._reconnect_for
        deadline, failure = self._give_up_at, self._drop_reason
        # What the last try failed by, if it is that, and since when each try has.
        mismatch: ServerKeyMismatch | None = None
        mismatched_since = math.inf
        is_told = False
        while self.end_reason is None and trio.current_time() < deadline:
            share = int.from_bytes(self._environment.random_bytes(4)) / 2**32
            await trio.sleep_until(min(trio.current_time() + share * self._backoff, deadline))
            self._backoff = min(2 * self._backoff, LONGEST_BACKOFF)
            if trio.current_time() >= deadline:
                break
            try:
                await self._converse(trio.TASK_STATUS_IGNORED, deadline)
            except LoginRefused as refused:
                failure, mismatch = str(refused), None
                break
            except ServerKeyMismatch as error:
                if mismatch is None:
                    mismatched_since = trio.current_time()
                    self._tell_mismatch(error, again=is_told)
                failure, mismatch, is_told = str(error), error, True
                lasts = trio.current_time() - mismatched_since
                if lasts >= MISMATCH_PATIENCE and self._reconnect_for < math.inf:
                    break
            except PGNetError as error:
                failure, mismatch = str(error), None
                self._observer.set_status(f"Not back yet: {failure}")
            else:
                return
        self._end(failure, mismatch)

    def _tell_mismatch(self, mismatch: ServerKeyMismatch, *, again: bool) -> None:
        where = str(self._connector)
        logger.log(
            logging.INFO if again else logging.WARNING,
            "%s, at %s: %s. This client told it nothing secret. A server keeps its key over a "
            "restart if it has a save_file or a key_file.",
            self._credentials.username,
            where,
            mismatch,
        )
        self._observer.set_status(f"Not back yet: at {where}, {sentence(mismatch)}")

    async def _converse(
        self, task_status: trio.TaskStatus[None], deadline: float = math.inf
    ) -> None:
        """Connect, log in or resume, and read until the connection or the session ends.

        Raises:
            ConnectFailed: It did not get as far as that.
        """
        where = str(self._connector)
        if not self._token:
            self._observer.set_status(f"Connecting to {where}...")
        reached = False
        timeout = self._resume_timeout if self._token else CONNECT_TIMEOUT
        start = trio.current_time()
        with trio.CancelScope(deadline=min(start + timeout, deadline)) as scope:
            try:
                async with self._connector.connect(MAX_MESSAGE_SIZE) as transport:
                    reached = True
                    speaker = self._make_protocol(transport)
                    local = not self._connector.encrypted
                    connection: Connection[ClientEvent] = Connection(
                        transport,
                        speaker,
                        ping_interval=None if local else PING_INTERVAL,
                        keepalive_timeout=None if local else KEEPALIVE_TIMEOUT,
                        reads_while_stalled=True,
                    )
                    async with connection.open():
                        events = await self._introduce(connection, speaker, scope, deadline)
                        scope.deadline = math.inf
                        if scope.cancel_called:
                            # Time was up in that very step, which no later deadline undoes.
                            await trio.lowlevel.checkpoint()
                        self._reading = trio.CancelScope()
                        self._connection, self._speaker = connection, speaker
                        since, before = trio.current_time(), self._progress
                        self._take(events)
                        task_status.started()
                        try:
                            with self._reading:
                                await self._read(connection)
                        except trio.Cancelled:
                            self.end("the client's program went on without it")
                            raise
                        lasted = trio.current_time() - since
                        if self._progress != before or lasted >= LONGEST_BACKOFF:
                            self._resume_timeout = RESUME_TIMEOUT
                            self._backoff = FIRST_BACKOFF
                            self._is_stuck = False
                        else:
                            self._is_stuck = self._delivery.unsettled > 0
                        self._connection = self._speaker = None
                        await connection.aclose(reason=self.end_reason or "")
            except Exception as error:
                bare = first_error(error)
                if not reached and isinstance(bare, (OSError, trio.BrokenResourceError)):
                    failure = unreached(self._connector, bare)
                    raise failure from failure.__cause__
                raise bare from bare.__cause__
            finally:
                self._connection = self._speaker = None
        if scope.cancelled_caught:
            self._resume_timeout = min(2 * self._resume_timeout, CONNECT_TIMEOUT)
            waited = trio.current_time() - start
            raise ConnectFailed(f"{where} did not answer within {waited:.2g} s.")

    @property
    def _progress(self) -> tuple[int, int, int]:
        """What changes when a connection gets something done."""
        delivery = self._delivery
        return delivery.received, delivery.last_request, delivery.unsettled

    def _make_protocol(self, transport: Transport) -> v1.ClientProtocol | v2.ClientProtocol:
        who, encrypted = self._credentials, self._connector.encrypted
        random_bytes = self._environment.random_bytes
        if transport.subprotocol == v2.SUBPROTOCOL:
            return v2.ClientProtocol(
                username=who.username,
                password=who.password,
                invite_code=who.invite_code,
                encrypted=encrypted,
                random_bytes=random_bytes,
                offered=transport.offered_subprotocols,
                max_frame_size=MAX_MESSAGE_SIZE,
                delivery=self._delivery,
                token=self._token,
                verify_server_pubkey=self.server_pubkey or who.verify_server_pubkey,
            )
        is_first_contact = self.protocol is None
        if self._minimum_protocol > 1 or not is_first_contact or who.verify_server_pubkey:
            raise ConnectFailed(
                f"The server at {self._connector} does not speak protocol 2, or somebody between "
                "hides it. Protocol 1 is only spoken at a first contact, with no key to verify "
                "and without minimum_protocol=2."
            )
        return v1.ClientProtocol(
            username=who.username,
            password=who.password,
            invite_code=who.invite_code,
            key=KeyPair.generate(random_bytes) if encrypted else None,
            random_bytes=random_bytes,
        )

    async def _introduce(
        self,
        connection: Connection[ClientEvent],
        speaker: v1.ClientProtocol | v2.ClientProtocol,
        scope: trio.CancelScope,
        deadline: float,
    ) -> list[ClientEvent]:
        """Log in, or resume; gives what came right behind the server's consent.

        Where the session is gone, *scope* gets the time for a log-in, until *deadline* at most.
        """
        if not self._token:
            self._observer.set_status("Logging in...")
        connection.flush()
        while True:
            try:
                first, *more = await connection.receive()
            except (Disconnected, ProtocolError) as error:
                raise ConnectFailed(
                    f"The server did not log this client in: {sentence(error)}"
                ) from error
            if isinstance(first, LoginRefusal):
                raise LoginRefused(first.reason)
            if isinstance(first, Goodbye):
                raise ConnectFailed(
                    f"The server did not log this client in: {sentence(first.reason)}"
                )
            if isinstance(first, ResumeRefusal) and isinstance(speaker, v2.ClientProtocol):
                self._lose_session(first.reason)
                speaker.log_in(self._delivery)
                scope.deadline = min(trio.current_time() + CONNECT_TIMEOUT, deadline)
                connection.flush()
                continue
            break
        self.protocol = self._outbox.version = speaker.version
        self.server_pubkey = speaker.server_pubkey
        if isinstance(speaker, v2.ClientProtocol):
            self._outbox.max_size = speaker.max_envelope_size
        if isinstance(first, LoggedIn):
            self._token = first.token
        return [first, *more]

    def _lose_session(self, reason: str) -> None:
        self._token = b""
        self._lost = True
        self._delivery = ClientDelivery(self._outbox.next_request)
        self._observer.session_lost(reason)

    def _take(self, events: list[ClientEvent]) -> None:
        first, *more = events
        if isinstance(first, LoggedIn):
            self._observer.session_opened(again=self._lost)
        if isinstance(first, Resumed) or self._lost:
            self._lost = False
            self._observer.online_changed(online=True)
        for event in more:
            self._observer.take_event(event)
        self.flush()

    async def _read(self, connection: Connection[ClientEvent]) -> None:
        try:
            while True:
                for event in await connection.receive():
                    if isinstance(event, Goodbye):
                        self._end(event.reason)
                        return
                    self._observer.take_event(event)
                if self.protocol == 1:
                    self.flush()
        except ProtocolError as error:
            self._end(str(error))
        except Disconnected as error:
            self._drop_reason = str(error)
            if not self._token or self._reconnect_for <= 0:
                self._end(str(error))
            else:
                self._connection = None
                self._observer.online_changed(online=False)


def sentence(text: object) -> str:
    """End a text with a full stop, where it has none."""
    return f"{str(text).rstrip('.')}."
