"""One connection of a client: accept it, choose its protocol, log in, read, end."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import trio

from pgnet_trio.connection import Connection
from pgnet_trio.errors import Disconnected, ProtocolError, bare
from pgnet_trio.foreign_text import one_line
from pgnet_trio.protocol import v1, v2
from pgnet_trio.server.admission import TokenBucket
from pgnet_trio.server.causes import error_id
from pgnet_trio.server.connections.gate import GatedConnection
from pgnet_trio.server.connections.login import Login
from pgnet_trio.server.connections.place import ConnectionRefused, Place
from pgnet_trio.server.connections.reader import read_requests
from pgnet_trio.server.log_fields import new_connection, user_of_task
from pgnet_trio.server.sessions.handle import ConnectionHandle
from pgnet_trio.server.sources import is_loopback
from pgnet_trio.server.workers.passed import PassedConnection
from pgnet_trio.server.workers.passing import NotPassed
from pgnet_trio.transport.handshake import accept_tls, read_proxy_header
from pgnet_trio.transport.pipes import open_pipe
from pgnet_trio.transport.rules import GOING_AWAY, TRY_AGAIN_LATER

if TYPE_CHECKING:
    from pgnet_trio.protocol.events import ServerEvent
    from pgnet_trio.server.context import ServerContext
    from pgnet_trio.server.http.opening import Opening
    from pgnet_trio.server.http.pages import Pages
    from pgnet_trio.transport import Transport, WebSocketImplementation
    from pgnet_trio.transport.pipes import BytePipe

__all__ = ["handle_passed", "handle_socket", "handle_transport"]

logger = logging.getLogger("pgnet_trio.server")

MIN_CONTROL_RATE = 100.0
"""Pings and acknowledgements a second that each connection may send, however few requests."""

LONGEST_PAUSE = 10.0
"""Seconds that a connection waits at most for what it sent, so that it is not taken for gone."""


async def handle_socket(
    context: ServerContext,
    implementation: WebSocketImplementation,
    source: socket.socket,
    address: str,
) -> None:
    """Serve one TCP connection, from its WebSocket handshake to its end.

    No error of the connection comes out, and the connection is closed when this returns.

    Args:
        context: What the server's tasks share.
        implementation: Makes a WebSocket of the connection.
        source: The connection, which this owns.
        address: The address of its other end, without a port.
    """
    place = Place(context.counts, context.arrivals, address)
    login_scope = _scope_for_login(context)
    opening = _accept(context, implementation, source, place, login_scope)
    await _serve(context, opening, place, login_scope)


async def handle_passed(
    context: ServerContext,
    implementation: WebSocketImplementation,
    source: socket.socket,
    connection: PassedConnection,
) -> None:
    """Serve one TCP connection that another process has accepted, and has read a request of.

    No error of the connection comes out, and the connection is closed when this returns.

    Args:
        context: What the server's tasks share.
        implementation: Makes a WebSocket of the connection.
        source: The connection, which this owns.
        connection: What is known of it.
    """
    place = Place(context.counts, context.arrivals, connection.peer)
    login_scope = _scope_for_login(context)
    login_scope.deadline = min(login_scope.deadline, trio.current_time() + connection.seconds)
    opening = _accept(context, implementation, source, place, login_scope, connection.data)
    await _serve(context, opening, place, login_scope)


async def handle_transport(
    context: ServerContext, transport: Transport, *, is_local: bool = False
) -> None:
    """Serve a link that is open already; it is closed when this returns.

    No error of the link comes out. A link inside the process has no limits.

    Args:
        context: What the server's tasks share.
        transport: The link.
        is_local: Whether it comes from a program on this machine, and nobody has passed it on.
    """
    limits = context.options.limits
    place = Place(context.counts, context.arrivals, transport.peer)
    place.is_local = is_local
    if transport.inside_process:
        await _serve(context, contextlib.nullcontext(transport), place, trio.CancelScope())
    else:
        transport.max_message_size = limits.max_login_message_size
        await _serve(context, _admit(transport, place), place, _scope_for_login(context))


def _scope_for_login(context: ServerContext) -> trio.CancelScope:
    """Return a scope that ends when the time for the handshake and the log-in is over."""
    scope = trio.CancelScope()
    scope.deadline = _login_deadline(context)
    return scope


def _login_deadline(context: ServerContext) -> float:
    timeout = context.options.limits.login_timeout
    return math.inf if timeout is None else trio.current_time() + timeout


@contextlib.asynccontextmanager
async def _accept(
    context: ServerContext,
    implementation: WebSocketImplementation,
    source: socket.socket,
    place: Place,
    login_scope: trio.CancelScope,
    data: bytes = b"",
) -> AsyncGenerator[Transport | None, None]:
    """Open the WebSocket, and learn whose it is: a trusted proxy passes on those of others.

    A client that asks for pages gets them here. There is no WebSocket where it asks for nothing
    else, nor where it leaves without a word, as browsers do that connect before they need to, nor
    where it asks for another process of this server, which then serves it.

    Args:
        context: What the server's tasks share.
        implementation: Makes a WebSocket of the connection.
        source: The connection, which this owns.
        place: Its place in the counts.
        login_scope: Ends when the time for the log-in is over.
        data: What another process has read of it, before that one passed it on.

    Raises:
        ConnectionRefused: There are too many connections, or it is a page's that may not connect.
        trio.BrokenResourceError: The handshake failed.
    """
    options, pages, peer = context.options, context.pages, place.peer
    proxies = options.trusted_proxies
    try:
        place.begin()
        passed_on = bool(data) or (peer in proxies and options.proxy_protocol)
        if passed_on and not data:
            peer = await read_proxy_header(source) or peer
        by_header = peer in proxies
        if not by_header:
            # Before the handshake, which is what costs most.
            delay = place.identify(peer)
            if delay:
                await trio.sleep(delay)
    except BaseException:
        # Nobody else has the socket yet, who could close it.
        source.close()
        raise
    stream: socket.socket | trio.abc.Stream = source
    if options.certificate is not None:
        stream = await accept_tls(source, options.certificate.context(trio.current_time()))
    async with open_pipe(stream, peer, context.counters.traffic) as pipe:
        opening = await pages.read_opening(pipe, data)
        if opening is not None and not opening.asks_for_websocket:
            login_scope.deadline = math.inf
            async with _refusing(pages, pipe):
                place.turn_to_pages()
            opening = await pages.serve(pipe, opening, functools.partial(proxies.client_of, peer))
            login_scope.deadline = _login_deadline(context)
            if opening is not None:
                # Proxies use a connection for another request, and browsers may.
                async with _refusing(pages, pipe):
                    delay = place.turn_to_player()
                await trio.sleep(delay)
        if opening is None:
            yield None
            return
        workers = context.workers
        other = None if data or workers is None else workers.find_other(opening.path)
        if other is not None:
            await _pass_on(context, pipe, opening, other, login_scope)
            yield None
            return
        await _check_origin(context, pipe, opening)
        place.is_local = is_loopback(peer) and not (passed_on or by_header or opening.is_forwarded)
        if by_header:
            pipe.peer = proxies.client_of(peer, opening.forwarded_for)
        data, upgrade = opening.data, opening.upgrade
        del opening
        async with implementation.accept(
            pipe,
            data,
            upgrade,
            subprotocols=v2.SUBPROTOCOLS,
            max_message_size=options.limits.max_login_message_size,
        ) as transport:
            # Nobody needs the request any more, for as long as the connection lasts.
            del data, upgrade
            if by_header:
                await _identify(transport, place)
            yield transport


async def _pass_on(
    context: ServerContext,
    pipe: BytePipe,
    opening: Opening,
    other: int,
    login_scope: trio.CancelScope,
) -> None:
    """Have another process of this server serve a connection.

    Raises:
        ConnectionRefused: It does not, and the client has been told, where that is possible.
        trio.BrokenResourceError: It does not, and the client is gone too.
    """
    assert context.workers is not None
    assert pipe.source is not None
    seconds = login_scope.deadline - trio.current_time()
    connection = PassedConnection(pipe.peer, seconds, opening.data)
    try:
        await context.workers.pass_on(other, pipe.source, connection)
    except NotPassed as error:
        if error.is_untouched:
            await context.pages.refuse(pipe, 503, str(error))
        raise ConnectionRefused(f"it asked for process {other}: {error}") from error


@contextlib.asynccontextmanager
async def _refusing(pages: Pages, pipe: BytePipe) -> AsyncGenerator[None, None]:
    """Tell a client why its connection is one too many."""
    try:
        yield
    except ConnectionRefused as refusal:
        await pages.refuse(pipe, 503, str(refusal))
        raise


async def _check_origin(context: ServerContext, pipe: BytePipe, opening: Opening) -> None:
    """Refuse a WebSocket for a page of another origin.

    Raises:
        ConnectionRefused: It was refused.
    """
    host, origin = opening.host, opening.origin
    refusal = context.options.origins.refuse_handshake(host, origin)
    if refusal is not None:
        await context.pages.refuse(pipe, 403, refusal)
        raise ConnectionRefused(f"a page of {origin!r} asked for {host!r}: {refusal}")


@contextlib.asynccontextmanager
async def _admit(transport: Transport, place: Place) -> AsyncGenerator[Transport, None]:
    """Count a link over a network that is open already, and close it at exit.

    Raises:
        ConnectionRefused: There are too many connections.
    """
    try:
        place.begin()
        await _identify(transport, place)
        yield transport
    finally:
        await transport.aclose()


async def _identify(transport: Transport, place: Place) -> None:
    try:
        delay = place.identify(transport.peer)
    except ConnectionRefused as refusal:
        await transport.aclose(TRY_AGAIN_LATER, str(refusal))
        raise
    await trio.sleep(delay)


async def _serve(
    context: ServerContext,
    opening: AbstractAsyncContextManager[Transport | None],
    place: Place,
    login_scope: trio.CancelScope,
) -> None:
    new_connection()
    try:
        with login_scope:
            async with opening as transport:
                if transport is not None:
                    await _converse(context, transport, place, login_scope)
        if login_scope.cancelled_caught:
            logger.info("%s did not log in in time", place.peer)
    except* ConnectionRefused as refused:
        logger.info("Refused a connection from %s: %s", place.peer, one_line(refused.exceptions[0]))
    except* (trio.BrokenResourceError, trio.ClosedResourceError, trio.EndOfChannel) as group:
        logger.info("The connection from %s failed: %s", place.peer, one_line(group.exceptions[0]))
    except* Exception as group:
        logger.exception(
            "The connection from %s failed, and is closed, as error %s",
            place.peer,
            error_id(group),
            extra={"error_id": error_id(group)},
        )
        context.options.environment.note_failure(bare(group))
    finally:
        place.end()


async def _converse(
    context: ServerContext, transport: Transport, place: Place, login_scope: trio.CancelScope
) -> None:
    trusted = transport.inside_process
    limits = context.options.limits
    protocol = _choose_protocol(context, transport)
    kind: type[Connection[ServerEvent]] = Connection
    if context.cluster is not None:
        kind = GatedConnection
    connection = kind(
        transport,
        protocol,
        ping_interval=None if trusted else limits.ping_interval,
        keepalive_timeout=None if trusted else limits.keepalive_timeout,
        pace=None if trusted else _pace_of(protocol, limits.requests_per_second),
    )
    handle = ConnectionHandle(connection, protocol, is_local=place.is_local)
    async with connection.open(context.connections):
        session = None
        reason, for_good = "", False
        try:
            session = await Login(context, connection, protocol, handle).run()
            if session is None:
                return
            user_of_task.set(session.username)
            place.end_login()
            login_scope.deadline = math.inf
            transport.max_message_size = limits.max_message_size
            await read_requests(connection, protocol, handle, session)
        except (Disconnected, ProtocolError) as error:
            reason, for_good = str(error), isinstance(error, ProtocolError)
            if session is None:
                # Whoever only asks for the server's key, as clients do first, closes like this.
                logger.log(
                    logging.DEBUG if connection.closed_by_peer else logging.INFO,
                    "Somebody at %s did not log in: %s",
                    transport.peer,
                    one_line(reason),
                )
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
