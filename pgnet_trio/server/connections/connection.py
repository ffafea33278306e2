"""One connection of a client: handshake, log-in, then reading its requests."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import trio

from pgnet_trio.connection import Connection
from pgnet_trio.errors import CryptoError, Disconnected, ProtocolError, StorageError, bare
from pgnet_trio.protocol import v1, v2
from pgnet_trio.protocol.events import (
    FullStateRequested,
    Goodbye,
    LogIn,
    QuestionAnswered,
    RequestReceived,
    Resume,
    ServerEvent,
)
from pgnet_trio.protocol.v2.server_delivery import WINDOW, ServerDelivery
from pgnet_trio.server.accounts import AccountRefusal
from pgnet_trio.server.context import Host, TooBusy
from pgnet_trio.server.limits import LOCAL
from pgnet_trio.server.refusals import SHUTTING_DOWN
from pgnet_trio.server.requests import carry_out
from pgnet_trio.server.sessions.sender import SenderV1, SenderV2
from pgnet_trio.storage.interface import UserRecord

if TYPE_CHECKING:
    from pgnet_trio.server.room.player import Sender
    from pgnet_trio.server.sessions.session import Session
    from pgnet_trio.transport import Transport, WebSocketImplementation

__all__ = ["handle_stream", "handle_transport"]

logger = logging.getLogger("pgnet_trio.server")

GOING_AWAY = 1001
"""RFC 6455, section 7.4.1: the server ends the connection, and the client did nothing wrong."""

Protocol = v1.ServerProtocol | v2.ServerProtocol

TOO_OLD = "This server speaks protocol 2 and later, and your client does not; update it."
SESSION_OVER = "The server was restarted, or you were away for too long."


async def handle_stream(
    host: Host, implementation: WebSocketImplementation, stream: trio.SocketStream
) -> None:
    """Serve one TCP connection, from its WebSocket handshake to its end.

    Nothing that goes wrong with it comes out, and the connection is closed when this returns.
    """
    try:
        address: str = stream.socket.getpeername()[0]
    except OSError:
        # It was reset before it was looked at.
        await trio.aclose_forcefully(stream)
        return
    opening = implementation.accept(
        stream,
        subprotocols=[v2.SUBPROTOCOL],
        max_message_size=host.limits.max_login_message_size,
        peer=address,
    )
    await _serve(host, address, opening, functools.partial(trio.aclose_forcefully, stream))


async def handle_transport(host: Host, transport: Transport) -> None:
    """Serve a link that is open already; it is closed when this returns.

    Nothing that goes wrong with it comes out. One with the address `LOCAL` has no limits.
    """
    if transport.peer != LOCAL:
        transport.max_message_size = host.limits.max_login_message_size
    await _serve(host, transport.peer, contextlib.nullcontext(transport), transport.aclose)


async def _serve(
    host: Host,
    address: str,
    opening: AbstractAsyncContextManager[Transport],
    refuse: Callable[[], Awaitable[None]],
) -> None:
    refusal = host.counts.admit(address)
    if refusal:
        logger.info("Refused a connection from %s: %s", address, refusal)
        await refuse()
        return
    admission = _Admission(host, address)
    login_timeout = None if address == LOCAL else host.limits.login_timeout
    try:
        with trio.CancelScope() as login_scope:
            login_scope.deadline = trio.current_time() + (login_timeout or math.inf)
            async with opening as transport:
                await _converse(host, transport, admission, login_scope)
        if login_scope.cancelled_caught:
            logger.info("%s did not log in in time", address)
    except* (trio.BrokenResourceError, trio.ClosedResourceError, trio.EndOfChannel) as group:
        logger.info("The connection from %s failed: %s", address, group.exceptions[0])
    except* Exception as group:
        logger.exception("The connection from %s failed, and is closed", address)
        host.environment.note_failure(bare(group))
    finally:
        admission.end()


class _TooManyFailures(AccountRefusal):
    """Refused unheard, so it does not count as one more failure."""


class _NotNow(AccountRefusal):
    """Refused for reasons that pass, so a client that comes back by itself may try again."""


class _Admission:
    """One admitted connection's place in the counts."""

    def __init__(self, host: Host, address: str) -> None:
        self._counts = host.counts
        self._address = address
        self._logging_in = True

    def end_login(self) -> None:
        if self._logging_in:
            self._logging_in = False
            self._counts.logged_in(self._address)

    def end(self) -> None:
        self.end_login()
        self._counts.closed(self._address)


class _Link:
    """A connection as its session sees it.

    Attributes:
        reason: Why the session has ended it; empty while it has not.
        scope: Ends the reading.
    """

    def __init__(self, connection: Connection[ServerEvent], protocol: Protocol) -> None:
        self.flush = connection.flush
        self.reason = ""
        self.scope = trio.CancelScope()
        self._protocol = protocol

    def end(self, reason: str, *, for_good: bool) -> None:
        """Close the connection; see `pgnet_trio.server.sessions.session.Link`."""
        self.reason = self.reason or reason
        if for_good:
            self._protocol.part(reason)
        else:
            self._protocol.abandon()
        self.scope.cancel()


async def _converse(
    host: Host, transport: Transport, admission: _Admission, login_scope: trio.CancelScope
) -> None:
    local = transport.peer == LOCAL
    limits = host.limits
    protocol = _choose_protocol(host, transport)
    connection: Connection[ServerEvent] = Connection(
        transport,
        protocol,
        ping_interval=None if local else limits.ping_interval,
        keepalive_timeout=None if local else limits.keepalive_timeout,
    )
    async with connection.open():
        session = None
        link = _Link(connection, protocol)
        reason, for_good = "", False
        try:
            session = await _log_in(host, connection, protocol, link)
            if session is None:
                return
            admission.end_login()
            login_scope.deadline = math.inf
            transport.max_message_size = limits.max_message_size
            with link.scope:
                await _read(connection, session)
        except (Disconnected, ProtocolError) as error:
            reason, for_good = str(error), isinstance(error, ProtocolError)
            if session is None:
                logger.info("Somebody at %s did not log in: %s", transport.peer, reason)
        finally:
            if session is not None:
                session.detach(link, reason or "The connection failed.", for_good=for_good)
                if session.end_reason is None and not session.online:
                    logger.info(
                        "%s lost the connection, and may come back within %g s: %s",
                        session.username,
                        host.resume_grace,
                        reason,
                    )
        if session is not None and not reason:
            connection.flush()
            await connection.aclose(GOING_AWAY, link.reason)


def _choose_protocol(host: Host, transport: Transport) -> Protocol:
    local = transport.peer == LOCAL
    key, random_bytes = None if local else host.key, host.environment.random_bytes
    if transport.subprotocol == v2.SUBPROTOCOL:
        return v2.ServerProtocol(
            key,
            random_bytes,
            offered=transport.offered_subprotocols,
            max_frame_size=host.limits.max_message_size,
        )
    return v1.ServerProtocol(key, random_bytes)


async def _log_in(
    host: Host, connection: Connection[ServerEvent], protocol: Protocol, link: _Link
) -> Session | None:
    connection.flush()
    if protocol.version < host.minimum_protocol:
        # A client that has not sent its first message yet would find the connection closed when
        # it does, and not read why.
        await connection.transport.receive()
        protocol.refuse(TOO_OLD)
        connection.flush()
        return None
    while True:
        events = await connection.receive()
        for event in reversed(events):
            if isinstance(event, Goodbye):
                raise Disconnected(f"the client has left: {event.reason}")
        for event in events:
            if isinstance(event, Resume) and isinstance(protocol, v2.ServerProtocol):
                try:
                    session = _resume(host, protocol, link, event)
                finally:
                    connection.flush()
                if session is not None:
                    logger.info("%s is back from %s", event.username, connection.transport.peer)
                    return session
                if protocol.closing:
                    logger.info(
                        "%s was away at %s when another client took over, and stays out",
                        event.username,
                        connection.transport.peer,
                    )
                    return None
            elif isinstance(event, LogIn):
                try:
                    return await _seat(host, connection, protocol, link, event)
                except AccountRefusal as refusal:
                    logger.info("Refused a log-in from %s: %s", connection.transport.peer, refusal)
                    if isinstance(refusal, _NotNow) and protocol.version > 1:
                        protocol.part(str(refusal))
                    else:
                        protocol.refuse(str(refusal))
                    connection.flush()
                    return None
            else:
                raise ProtocolError(f"expected a log-in, got {type(event).__name__}")


def _resume(host: Host, protocol: v2.ServerProtocol, link: _Link, event: Resume) -> Session | None:
    """Give the client its session back; there is no await, so nothing happens in between."""
    session = host.session_of(event.username)
    if (
        session is None
        or session.delivery is None
        or session.end_reason is not None
        or host.closing
        or not protocol.proves(event.proof, session.token)
    ):
        if session is not None and session.was_taken_over(
            functools.partial(protocol.proves, event.proof)
        ):
            # It was away just then. Told no more than that its session is gone, it would log in,
            # and throw out the one that the user has turned to.
            protocol.refuse(v2.TAKEN_OVER)
        else:
            protocol.refuse_resume(SESSION_OVER)
        return None
    protocol.resume(session.delivery, event.received)
    session.attach(link, grace=host.resume_grace)
    return session


async def _seat(
    host: Host,
    connection: Connection[ServerEvent],
    protocol: Protocol,
    link: _Link,
    log_in: LogIn,
) -> Session:
    username, address = log_in.username, connection.transport.peer
    if host.closing:
        raise _NotNow(SHUTTING_DOWN)
    await _authenticate(host, log_in, address)
    while (session := host.session_of(username)) is not None and session.end_reason is not None:
        await session.ended.wait()
        if host.accounts.check(log_in, trusted=address == LOCAL) == "new":
            raise AccountRefusal("This user was deleted.")
    if host.closing:
        raise _NotNow(SHUTTING_DOWN)
    if session is not None and (protocol.version == 1 or host.duplicate_login == "refuse"):
        raise AccountRefusal(f"The user {username!r} is connected already.")
    if session is None and host.is_full:
        raise _NotNow("The server is full.")
    # From here on there is no await, so that exactly one holds the seat.
    delivery, token, grace = None, b"", 0.0
    sender: Sender
    if isinstance(protocol, v2.ServerProtocol):
        delivery = ServerDelivery(
            max_messages=host.limits.max_unacknowledged_messages,
            max_bytes=host.limits.max_unacknowledged_bytes,
            window=_window(host),
        )
        sender, grace = SenderV2(delivery), host.resume_grace
        token = host.environment.random_bytes(v2.TOKEN_BYTES)
        protocol.accept(f"Welcome, {username}.", token, delivery)
    else:
        sender = SenderV1(protocol)
        protocol.accept(f"Welcome, {username}.")
    if session is not None:
        logger.info("%s took over from %s", username, address)
        session.delivery = delivery
        session.take_over(link, sender, token, grace=grace)
    else:
        logger.info("%s logged in from %s", username, address)
        session = host.open_session(
            username,
            functools.partial(carry_out, host),
            None if address == LOCAL else host.limits.requests_per_second,
        )
        session.delivery, session.sender, session.token = delivery, sender, token
        session.attach(link, grace=grace)
        host.services.start_soon(host.run_session, session)
    connection.flush()
    return session


def _window(host: Host) -> int | None:
    """How many requests of protocol 2 may be under way: its clients rely on at least `WINDOW`."""
    most = host.limits.max_requests_in_flight
    return None if most is None else max(most, WINDOW)


async def _authenticate(host: Host, log_in: LogIn, address: str) -> None:
    def check_failures() -> None:
        now = trio.current_time()
        refusal = host.failed_logins.refuse(log_in.username, address, now)
        if refusal:
            raise _TooManyFailures(refusal)

    check_failures()
    accounts, hasher = host.accounts, host.environment.password_hasher
    try:
        found = accounts.check(log_in, trusted=address == LOCAL)
        if found == "new":
            record = await host.hash_password(hasher.hash, log_in.password)
            with accounts.registering(log_in, record) as changes:
                await host.archive.write(changes)
        elif isinstance(found, UserRecord):
            right = await host.hash_password(
                hasher.verify, log_in.password, found.salt, found.password, check=check_failures
            )
            if not right:
                raise AccountRefusal("The password is not right.")
            if found.salt or hasher.needs_upgrade(found.password):
                found = await _upgrade(host, found, log_in.password)
            accounts.confirm(found)
    except _TooManyFailures:
        raise
    except AccountRefusal:
        host.failed_logins.record(log_in.username, address, trio.current_time())
        raise
    except TooBusy:
        raise _NotNow("The server is busy with other log-ins; try again soon.") from None
    except CryptoError as error:
        raise AccountRefusal(f"This log-in cannot be checked: {error}.") from None
    except StorageError as error:
        logger.error("A registration could not be saved: %s", error)
        raise AccountRefusal("The server cannot save registrations now; try again later.") from None


async def _upgrade(host: Host, found: UserRecord, password: str) -> UserRecord:
    record = await host.hash_password(host.environment.password_hasher.hash, password)
    try:
        with host.accounts.upgrading(found, record) as changes:
            await host.archive.write(changes)
    except StorageError as error:
        # The old record still works; the next log-in tries again.
        logger.error("A stronger password record could not be saved: %s", error)
        return found
    return changes.users[found.name] or found


async def _read(connection: Connection[ServerEvent], session: Session) -> None:
    while True:
        # No await comes until all of a message is taken in: the session counts it as received.
        delay, shows_again = 0.0, False
        for event in await connection.receive():
            if isinstance(event, RequestReceived):
                delay = session.delay()
                session.request(event)
            elif isinstance(event, QuestionAnswered):
                delay = session.delay()
                session.answer_question(event)
            elif isinstance(event, FullStateRequested):
                # It costs as much as a request, and many in one message no more than one.
                delay = delay if shows_again else session.delay()
                shows_again = True
            elif isinstance(event, Goodbye):
                session.end("The user has left.")
                return
            else:
                raise ProtocolError(f"expected a request, got {type(event).__name__}")
        # Else the last request would stay in memory until the next one comes.
        del event
        if shows_again and session.delivery is not None:
            session.delivery.show_again()
            connection.flush()
        if delay:
            await trio.sleep(delay)
        if session.sender.answers_in_order:
            await session.wait_capacity()
