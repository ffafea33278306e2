"""One connection of a client: accept it, choose its protocol, log in, read, end."""

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
from pgnet_trio.errors import Disconnected, ProtocolError, bare
from pgnet_trio.foreign_text import one_line
from pgnet_trio.protocol import v1, v2
from pgnet_trio.server.admission import TokenBucket
from pgnet_trio.server.connections.login import Login
from pgnet_trio.server.connections.reader import read_requests
from pgnet_trio.server.sessions.handle import ConnectionHandle
from pgnet_trio.transport.rules import GOING_AWAY

if TYPE_CHECKING:
    from pgnet_trio.protocol.events import ServerEvent
    from pgnet_trio.server.admission import ConnectionCounts
    from pgnet_trio.server.context import ServerContext
    from pgnet_trio.transport import Transport, WebSocketImplementation

__all__ = ["handle_stream", "handle_transport"]

logger = logging.getLogger("pgnet_trio.server")

MIN_CONTROL_RATE = 100.0
"""Pings and acknowledgements a second that each connection may send, however few requests."""

LONGEST_PAUSE = 10.0
"""Seconds that a connection waits at most for what it sent, so that it is not taken for gone."""


async def handle_stream(
    context: ServerContext, implementation: WebSocketImplementation, stream: trio.SocketStream
) -> None:
    """Serve one TCP connection, from its WebSocket handshake to its end.

    No error of the connection comes out, and the connection is closed when this returns.
    """
    try:
        address: str = stream.socket.getpeername()[0]
    except OSError:
        # The peer has reset the connection already.
        await trio.aclose_forcefully(stream)
        return
    opening = implementation.accept(
        stream,
        subprotocols=v2.SUBPROTOCOLS,
        max_message_size=context.options.limits.max_login_message_size,
        peer=address,
    )
    await _serve(context, address, opening, functools.partial(trio.aclose_forcefully, stream))


async def handle_transport(context: ServerContext, transport: Transport) -> None:
    """Serve a link that is open already; it is closed when this returns.

    No error of the link comes out. A link inside the process has no limits.
    """
    address = None
    if not transport.inside_process:
        address = transport.peer
        transport.max_message_size = context.options.limits.max_login_message_size
    await _serve(context, address, contextlib.nullcontext(transport), transport.aclose)


async def _serve(
    context: ServerContext,
    address: str | None,
    opening: AbstractAsyncContextManager[Transport],
    refuse: Callable[[], Awaitable[None]],
) -> None:
    peer = "memory" if address is None else address
    refusal = context.counts.admit(address)
    if refusal:
        logger.info("Refused a connection from %s: %s", peer, refusal)
        await refuse()
        return
    admitted = _Admitted(context.counts, address)
    login_timeout = None if address is None else context.options.limits.login_timeout
    try:
        with trio.CancelScope() as login_scope:
            now = trio.current_time()
            login_scope.deadline = now + (login_timeout or math.inf)
            # Before the handshake, which is what costs most.
            delay = context.arrivals.delay(address, now)
            if delay:
                await _wait_in_line(delay, refuse)
            async with opening as transport:
                await _converse(context, transport, admitted, login_scope)
        if login_scope.cancelled_caught:
            logger.info("%s did not log in in time", peer)
    except* (trio.BrokenResourceError, trio.ClosedResourceError, trio.EndOfChannel) as group:
        logger.info("The connection from %s failed: %s", peer, one_line(group.exceptions[0]))
    except* Exception as group:
        logger.exception("The connection from %s failed, and is closed", peer)
        context.options.environment.note_failure(bare(group))
    finally:
        admitted.end()


async def _wait_in_line(delay: float, refuse: Callable[[], Awaitable[None]]) -> None:
    waited = False
    try:
        await trio.sleep(delay)
        waited = True
    finally:
        if not waited:
            # Nobody else has the link yet, who could close it.
            await refuse()


class _Admitted:
    """One admitted connection's place in the counts."""

    def __init__(self, counts: ConnectionCounts, address: str | None) -> None:
        self._counts = counts
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
    context: ServerContext, transport: Transport, admitted: _Admitted, login_scope: trio.CancelScope
) -> None:
    trusted = transport.inside_process
    limits = context.options.limits
    protocol = _choose_protocol(context, transport)
    connection: Connection[ServerEvent] = Connection(
        transport,
        protocol,
        ping_interval=None if trusted else limits.ping_interval,
        keepalive_timeout=None if trusted else limits.keepalive_timeout,
        pace=None if trusted else _pace_of(protocol, limits.requests_per_second),
    )
    handle = ConnectionHandle(connection, protocol)
    async with connection.open():
        session = None
        reason, for_good = "", False
        try:
            session = await Login(context, connection, protocol, handle).run()
            if session is None:
                return
            admitted.end_login()
            login_scope.deadline = math.inf
            transport.max_message_size = limits.max_message_size
            await read_requests(connection, handle, session)
        except (Disconnected, ProtocolError) as error:
            reason, for_good = str(error), isinstance(error, ProtocolError)
            if session is None:
                logger.info("Somebody at %s did not log in: %s", transport.peer, one_line(reason))
        finally:
            if session is not None:
                session.detach(handle, reason or "The connection failed.", for_good=for_good)
                if session.end_reason is None and not session.online:
                    logger.info(
                        "%s lost the connection, and may come back within %g s: %s",
                        session.username,
                        context.options.resume_grace,
                        one_line(reason),
                    )
        if session is not None and not reason:
            # The session's last words go out first: they say why the link closes.
            connection.flush()
            await connection.aclose(GOING_AWAY, handle.end_reason)


def _pace_of(
    protocol: v1.ServerProtocol | v2.ServerProtocol, rate: float | None
) -> Callable[[], float] | None:
    """Return what says how long a connection waits for what it sent beside its requests."""
    if rate is None or not isinstance(protocol, v2.ServerProtocol):
        # Of protocol 1 every message is a request.
        return None
    bucket = TokenBucket(max(rate, MIN_CONTROL_RATE), trio.current_time())

    def pace() -> float:
        count, protocol.uncharged = protocol.uncharged, 0
        return min(bucket.delay(trio.current_time(), count), LONGEST_PAUSE) if count else 0.0

    return pace


def _choose_protocol(
    context: ServerContext, transport: Transport
) -> v1.ServerProtocol | v2.ServerProtocol:
    # Nobody can read a link inside the process, so nothing on it is encrypted.
    key = None if transport.inside_process else context.key
    random_bytes = context.options.environment.random_bytes
    if transport.subprotocol in v2.SUBPROTOCOLS:
        return v2.ServerProtocol(
            key,
            random_bytes,
            offered=transport.offered_subprotocols,
            subprotocol=transport.subprotocol,
            max_frame_size=context.options.limits.max_message_size,
        )
    return v1.ServerProtocol(key, random_bytes)
