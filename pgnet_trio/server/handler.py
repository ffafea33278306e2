"""One connection of a client: handshake, log-in, then reading its requests."""

from __future__ import annotations

import functools
import logging
import math
from typing import TYPE_CHECKING

import trio

from pgnet_trio.connection import Connection
from pgnet_trio.errors import CryptoError, Disconnected, ProtocolError, StorageError
from pgnet_trio.protocol.events import LogIn, Request, ServerEvent
from pgnet_trio.protocol.v1 import ServerProtocol
from pgnet_trio.server.accounts import AccountRefusal
from pgnet_trio.server.host import Host, TooBusy
from pgnet_trio.server.limits import LOCAL, TokenBucket
from pgnet_trio.server.requests import carry_out
from pgnet_trio.server.session import Session
from pgnet_trio.storage.interface import UserRecord

if TYPE_CHECKING:
    from pgnet_trio.transport import Transport, WebSocketImplementation

__all__ = ["handle_stream", "handle_transport"]

logger = logging.getLogger("pgnet_trio.server")

GOING_AWAY = 1001
"""RFC 6455, section 7.4.1: the server ends the connection, and the client did nothing wrong."""

SHUTTING_DOWN = "The server is shutting down."


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
    refusal = host.counts.admit(address)
    if refusal:
        logger.info("Refused a connection from %s: %s", address, refusal)
        await trio.aclose_forcefully(stream)
        return
    admission = _Admission(host, address)
    try:
        with trio.CancelScope() as login_scope:
            login_scope.deadline = trio.current_time() + (host.limits.login_timeout or math.inf)
            async with implementation.accept(
                stream, max_message_size=host.limits.max_login_message_size, peer=address
            ) as transport:
                await _converse(host, transport, admission, login_scope)
        if login_scope.cancelled_caught:
            logger.info("%s did not log in in time", address)
    except* (trio.BrokenResourceError, trio.ClosedResourceError, trio.EndOfChannel) as group:
        logger.info("The connection from %s failed: %s", address, group.exceptions[0])
    except* Exception:
        logger.exception("The connection from %s failed, and is closed", address)
    finally:
        admission.end()


async def handle_transport(host: Host, transport: Transport) -> None:
    """Serve one link inside the process; it is closed when this returns."""
    try:
        await _converse(host, transport, _Admission(host, transport.peer), trio.CancelScope())
    except* Exception:
        logger.exception("A connection inside the process failed, and is closed")


class _TooManyFailures(AccountRefusal):
    """Refused unheard, so it does not count as one more failure."""


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


async def _converse(
    host: Host, transport: Transport, admission: _Admission, login_scope: trio.CancelScope
) -> None:
    local = transport.peer == LOCAL
    limits = host.limits
    protocol = ServerProtocol(None if local else host.key, host.environment.random_bytes)
    connection: Connection[ServerEvent] = Connection(
        transport,
        protocol,
        ping_interval=None if local else limits.ping_interval,
        keepalive_timeout=None if local else limits.keepalive_timeout,
    )
    async with connection.open():
        session = None
        scope = trio.CancelScope()
        reason = ""
        try:
            session = await _log_in(host, connection, protocol, scope)
            if session is None:
                return
            admission.end_login()
            login_scope.deadline = math.inf
            transport.max_message_size = limits.max_message_size
            with scope:
                await _read(connection, session, None if local else limits.requests_per_second)
        except (Disconnected, ProtocolError) as error:
            reason = str(error)
            who = session.username if session is not None else "Somebody"
            logger.info("%s at %s is gone: %s", who, transport.peer, reason)
        finally:
            if session is not None:
                session.end(reason or "The connection failed.")
        if session is not None and not reason:
            await connection.aclose(GOING_AWAY, session.end_reason or "")


async def _log_in(
    host: Host,
    connection: Connection[ServerEvent],
    protocol: ServerProtocol,
    scope: trio.CancelScope,
) -> Session | None:
    address = connection.transport.peer
    (event,) = await connection.receive()
    if not isinstance(event, LogIn):
        raise ProtocolError(f"expected a log-in, got {type(event).__name__}")
    try:
        if host.closing:
            raise AccountRefusal(SHUTTING_DOWN)
        await _authenticate(host, event, address)
        if event.username in host.sessions:
            raise AccountRefusal(f"The user {event.username!r} is connected already.")
    except AccountRefusal as refusal:
        logger.info("Refused a log-in from %s: %s", address, refusal)
        protocol.refuse(str(refusal))
        connection.flush()
        return None
    session = Session(
        event.username,
        lobby=host.lobby,
        outlet=protocol,
        flush=connection.flush,
        carry_out=functools.partial(carry_out, host),
        max_in_flight=host.limits.max_requests_in_flight or math.inf,
        verbose=lambda: host.verbose_logging,
        on_end=scope.cancel,
    )
    host.sessions[session.username] = session
    host.services.start_soon(host.run_session, session)
    logger.info("%s logged in from %s", session.username, address)
    protocol.accept(f"Welcome, {session.username}.")
    connection.flush()
    return session


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
        raise AccountRefusal("The server is busy with other log-ins; try again soon.") from None
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


async def _read(
    connection: Connection[ServerEvent], session: Session, requests_per_second: float | None
) -> None:
    bucket = TokenBucket(requests_per_second, trio.current_time())
    while True:
        for event in await connection.receive():
            if not isinstance(event, Request):
                raise ProtocolError(f"expected a request, got {type(event).__name__}")
            delay = bucket.delay(trio.current_time())
            if delay:
                await trio.sleep(delay)
            session.request(event.id, event.packet)
        await session.wait_capacity()
