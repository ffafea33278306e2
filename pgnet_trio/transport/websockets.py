"""WebSockets with the ``websockets`` library's Sans-I/O protocol, driven by whoever reads."""

from __future__ import annotations

import functools
import logging
import ssl
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

import trio
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import Protocol, Side, State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from pgnet_trio.foreign_text import one_line
from pgnet_trio.transport.handshake import (
    TOO_EARLY,
    HeadEnd,
    make_host_header,
    open_stream,
    refuse,
)
from pgnet_trio.transport.pipes import BytePipe, open_pipe
from pgnet_trio.transport.rules import (
    INVALID_TEXT,
    MAX_HANDSHAKE_SIZE,
    closed_by_peer,
)
from pgnet_trio.transport.upgrade import choose
from pgnet_trio.transport.websocket import WebSocketTransport

if TYPE_CHECKING:
    from pgnet_trio.transport.interface import Transport
    from pgnet_trio.transport.upgrade import Upgrade

try:
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

__all__ = ["WebsocketsLibraryTransport", "accept", "connect"]

# The library would log each connection, and log with a traceback what a hostile peer sends. All of
# that is an exception here, so the library gets a logger that passes nothing on.
_SILENT = logging.getLogger("pgnet_trio.transport.websockets")
_SILENT.setLevel(logging.CRITICAL + 1)


def accept(
    pipe: BytePipe,
    data: bytes,
    upgrade: Upgrade | None = None,
    *,
    subprotocols: Sequence[str] = (),
    max_message_size: int | None,
) -> AbstractAsyncContextManager[Transport]:
    """Take a client's connection as a WebSocket; it is closed at exit.

    Nothing here has a deadline. A client may stop in the middle of the handshake: the caller's
    cancel scope has to end the wait.

    Args:
        pipe: The accepted connection. Its `peer` is known.
        data: What was read of the client's request.
        upgrade: The request, where it is a usual one, as `read_upgrade` returns it.
        subprotocols: The subprotocols of this server, the best first. A client that asks for none
            of them is accepted without one.
        max_message_size: As in `Transport`.

    Raises:
        trio.BrokenResourceError: The client is gone; or it asked for something that is no
            WebSocket, and got an HTTP error.
    """
    return _Accepted(functools.partial(_open, pipe, data, upgrade, subprotocols, max_message_size))


class _Accepted:
    """Closes a connection at exit, and holds less for so long than a generator would."""

    __slots__ = ("_opening", "_transport")

    def __init__(self, opening: Callable[[], Awaitable[Transport]]) -> None:
        self._opening = opening

    async def __aenter__(self) -> Transport:
        self._transport = await self._opening()
        # Nobody needs the request any more, for as long as the connection lasts.
        del self._opening
        return self._transport

    async def __aexit__(self, *_: object) -> None:
        await self._transport.aclose()


async def _open(
    pipe: BytePipe,
    data: bytes,
    upgrade: Upgrade | None,
    subprotocols: Sequence[str],
    max_message_size: int | None,
) -> Transport:
    if upgrade is None:
        offered, subprotocol = await _accept_with_library(pipe, data, subprotocols)
    else:
        offered = upgrade.offered
        subprotocol = choose(subprotocols, offered)
        pipe.write_nowait(upgrade.accept(subprotocol, time.time()))
        await pipe.flush()
    return WebsocketsLibraryTransport(
        pipe,
        is_client=False,
        peer=pipe.peer,
        subprotocol=subprotocol,
        offered_subprotocols=offered,
        max_message_size=max_message_size,
    )


@asynccontextmanager
async def connect(
    host: str,
    port: int,
    *,
    resource: str = "/",
    host_header: str | None = None,
    ssl_context: ssl.SSLContext | None = None,
    subprotocols: Sequence[str] = (),
    max_message_size: int | None = None,
) -> AsyncGenerator[Transport, None]:
    """Connect to a WebSocket server; the connection is closed at exit.

    Nothing here has a deadline: use a cancel scope.

    Args:
        host: A name or an address.
        port: The TCP port.
        resource: Path and query.
        host_header: How the request names the server, if not by `host` and `port`.
        ssl_context: The context for TLS (``wss://``); None for none.
        subprotocols: The subprotocols of this client, the best first.
        max_message_size: As in `Transport`.

    Raises:
        OSError: The host could not be reached.
        trio.BrokenResourceError: Whoever answered is no WebSocket server, or refused; or TLS
            failed. The message says what came.
    """
    protocol = ClientProtocol(
        WebSocketURI(ssl_context is not None, host, port, resource, ""),
        subprotocols=[Subprotocol(name) for name in subprotocols] or None,
        max_size=None,
        logger=_SILENT,
    )
    host_header = host_header or make_host_header(host, port, tls=ssl_context is not None)
    async with open_pipe(await open_stream(host, port, ssl_context)) as pipe:
        first = await _shake_hands_as_client(protocol, pipe, host_header)
        transport = WebsocketsLibraryTransport(
            pipe,
            is_client=True,
            peer=pipe.peer,
            subprotocol=protocol.subprotocol,
            offered_subprotocols=tuple(subprotocols),
            max_message_size=max_message_size,
            first=first,
        )
        del protocol
        async with transport:
            yield transport


class WebsocketsLibraryTransport(WebSocketTransport):
    """A WebSocket whose rare frames the library ``websockets`` handles.

    `accept` and `connect` make them. Most connections never need the library after the handshake,
    so its protocol object is made when the first such frame comes.

    Args:
        pipe: The connection, its handshake done. The transport closes it.
        is_client: Whether this is the client's end.
        peer: The peer's address; see `Transport`.
        subprotocol: As in `Transport`.
        offered_subprotocols: As in `Transport`.
        max_message_size: As in `Transport`.
        first: Bytes that came behind the handshake, in the same read.
    """

    _library_is_idle = True

    def __init__(
        self,
        pipe: BytePipe,
        *,
        is_client: bool,
        peer: str,
        subprotocol: str | None,
        offered_subprotocols: tuple[str, ...],
        max_message_size: int | None,
        first: bytes = b"",
    ) -> None:
        super().__init__(
            pipe,
            is_client=is_client,
            peer=peer,
            subprotocol=subprotocol,
            offered_subprotocols=offered_subprotocols,
            max_message_size=max_message_size,
            mask=apply_mask,
        )
        self._protocol: Protocol | None = None
        # The fragmented message that is arriving.
        self._assembled = bytearray()
        self._assembled_is_text = False
        if first:
            self._take_in(first)

    async def _library_idle(self) -> None:
        """Return: the library does everything at once, when it gets the bytes."""

    def _give_to_library(self, data: bytes) -> None:
        protocol = self._protocol
        if protocol is None:
            # No limit here: this transport counts by itself.
            side = Side.CLIENT if self._is_client else Side.SERVER
            protocol = self._protocol = Protocol(side, max_size=None, logger=_SILENT)
        protocol.receive_data(data)
        for event in protocol.events_received():
            if isinstance(event, Frame) and self._receive_error is None:
                self._take_frame(event)
        for answer in protocol.data_to_send():
            if answer:
                self._answer(answer)
        if protocol.state is not State.OPEN:
            self._end(*_why_over(protocol))

    def _take_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.TEXT or frame.opcode is Opcode.BINARY:
            self._assembled_is_text = frame.opcode is Opcode.TEXT
        elif frame.opcode is not Opcode.CONT:
            return
        self._assembled += frame.data
        if not frame.fin:
            return
        assembled, self._assembled = self._assembled, bytearray()
        try:
            self._messages.append(
                assembled.decode() if self._assembled_is_text else bytes(assembled)
            )
        except UnicodeDecodeError:
            self._fail(INVALID_TEXT, "text message that is not UTF-8")


def _why_over(protocol: Protocol) -> tuple[type[Exception], str, BaseException | None]:
    cause, close = protocol.parser_exc, protocol.close_rcvd
    if cause is None and close is not None:
        return trio.EndOfChannel, closed_by_peer(close.code, close.reason), None
    text = f"the peer broke the rules of WebSocket: {one_line(cause)}"
    return trio.BrokenResourceError, text, cause


class _Handshake(ServerProtocol):
    """The library's side of a server's handshake.

    It chooses the first subprotocol of the server that the client offers.

    Args:
        subprotocols: The subprotocols of the server, the best first.

    Attributes:
        offered: The subprotocols as the client offered them.
    """

    def __init__(self, subprotocols: Sequence[str]) -> None:
        super().__init__(max_size=None, logger=_SILENT)
        self.offered: tuple[str, ...] = ()
        self._ours = subprotocols

    def select_subprotocol(self, subprotocols: Sequence[Subprotocol]) -> Subprotocol | None:
        """Return the best subprotocol that the client offers, or None."""
        self.offered = tuple(subprotocols)
        chosen = choose(self._ours, subprotocols)
        return None if chosen is None else Subprotocol(chosen)


async def _accept_with_library(
    pipe: BytePipe, data: bytes, subprotocols: Sequence[str]
) -> tuple[tuple[str, ...], str | None]:
    """Have the library read a request and answer it.

    Returns:
        The subprotocols that the client offers, and the one that was chosen.

    Args:
        pipe: The connection.
        data: What was read of the request.
        subprotocols: The subprotocols of the server, the best first.

    Raises:
        trio.BrokenResourceError: The client is gone, or its request was refused.
    """
    protocol = _Handshake(subprotocols)
    try:
        await _shake_hands_as_server(protocol, pipe, data)
        return protocol.offered, protocol.subprotocol
    finally:
        # The protocol and its parser hold each other, and the request with all its headers, which
        # nobody needs any more. Cut the circle here, or the garbage collector has to find it.
        protocol.parser.close()


async def _shake_hands_as_server(protocol: ServerProtocol, pipe: BytePipe, data: bytes) -> None:
    size, head_end = 0, HeadEnd()
    response: Response | None = None
    while True:
        if not data:
            raise trio.BrokenResourceError("the peer was gone before the WebSocket handshake")
        size += len(data)
        end = head_end.find(data)
        protocol.receive_data(data[:end])
        events = protocol.events_received()
        if events or protocol.handshake_exc is not None or end is not None:
            break
        if size > MAX_HANDSHAKE_SIZE:
            response = protocol.reject(431, f"more than {MAX_HANDSHAKE_SIZE} bytes of headers\n")
            break
        data = await pipe.read()
    answer = b"".join(protocol.data_to_send())
    if events and isinstance(events[0], Request):
        if end != len(data):
            response = protocol.reject(400, TOO_EARLY)
        else:
            protocol.send_response(protocol.accept(events[0]))
            answer = b"".join(protocol.data_to_send())
            if protocol.state is State.OPEN:
                pipe.write_nowait(answer)
                await pipe.flush()
                return
    elif not answer and response is None:
        response = protocol.reject(400, "this is no WebSocket handshake\n")
    if response is not None:
        answer = response.serialize()
    await refuse(pipe, answer)
    status = answer.split(b" ", 2)[1].decode()
    raise trio.BrokenResourceError(
        f"the peer did not open a WebSocket ({_explain(protocol.handshake_exc)}); "
        f"it was answered with HTTP {status}"
    )


async def _shake_hands_as_client(
    protocol: ClientProtocol, pipe: BytePipe, host_header: str
) -> bytes:
    """Shake hands, and return the bytes that came behind the server's answer."""
    request = protocol.connect()
    del request.headers["Host"]
    request.headers["Host"] = host_header
    protocol.send_request(request)
    pipe.write_nowait(b"".join(protocol.data_to_send()))
    await pipe.flush()
    head_end = HeadEnd()
    rest = b""
    while protocol.state is State.CONNECTING and protocol.handshake_exc is None:
        data = rest or await pipe.read()
        if data:
            # Hand over the headers alone: frames behind them have to pass this transport's checks.
            end = head_end.find(data)
            protocol.receive_data(data[:end])
            rest = b"" if end is None else data[end:]
        else:
            protocol.receive_eof()
    error = protocol.handshake_exc
    if isinstance(error, InvalidStatus):
        status, phrase = error.response.status_code, one_line(error.response.reason_phrase)
        raise trio.BrokenResourceError(
            f"the server did not open a WebSocket: it answered with HTTP {status} {phrase}"
        ) from error
    if error is not None:
        raise trio.BrokenResourceError(
            f"the server did not open a WebSocket ({_explain(error)})"
        ) from error
    return rest


def _explain(error: BaseException | None) -> str:
    parts = []
    while error is not None:
        parts.append(str(error))
        error = error.__cause__
    return one_line(": ".join(parts))
