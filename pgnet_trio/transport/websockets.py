"""WebSockets with the ``websockets`` library's Sans-I/O protocol, driven by whoever reads.

There is no task beside the caller's. The task that receives reads the socket, takes all messages
out of what came in one read, and answers pings; the task that sends writes to the socket at once.
"""

from __future__ import annotations

import logging
import ssl
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import trio
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, PayloadTooBig
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from pgnet_trio.transport.interface import Transport
from pgnet_trio.transport.pipes import BytePipe, open_pipe
from pgnet_trio.transport.rules import (
    BUSY_RECEIVING,
    BUSY_SENDING,
    CLOSE_TIMEOUT,
    CLOSED_HERE,
    INVALID_TEXT,
    MAX_FRAGMENTS,
    MAX_HANDSHAKE_SIZE,
    MESSAGE_TOO_BIG,
    MESSAGES_PER_PASS,
    POLICY_VIOLATION,
    check_close_code,
    closed_by_peer,
    cut_reason,
    printable,
    too_big,
    too_many_fragments,
)

__all__ = ["WebSocketsTransport", "accept", "connect"]

# The library would log each connection, and what hostile peers send with tracebacks. Everything
# that it has to say comes out as an exception here, so it gets a logger that passes nothing on.
_SILENT = logging.getLogger("pgnet_trio.transport.websockets")
_SILENT.setLevel(logging.CRITICAL + 1)

_MAX_PING_SIZE = 125


@asynccontextmanager
async def accept(
    stream: trio.abc.Stream,
    *,
    subprotocols: Sequence[str] = (),
    max_message_size: int | None,
    peer: str | None = None,
) -> AsyncGenerator[Transport, None]:
    """Take a client's connection as a WebSocket; it is closed at exit.

    Nothing here has a deadline: a client that stops in the middle of the handshake is waited for
    until the caller's cancel scope ends it.

    Args:
        stream: The accepted connection. It belongs to this function, whatever happens.
        subprotocols: What this server speaks, the best first. A client that asks for none of
            them is accepted without one.
        max_message_size: As in `Transport`.
        peer: The client's address, where it is known better than from the socket.

    Raises:
        trio.BrokenResourceError: The client is gone, or asked for something that is no WebSocket;
            in that case it got an HTTP error.
    """
    offered: tuple[str, ...] = ()

    def select(_: ServerProtocol, proposed: Sequence[Subprotocol]) -> Subprotocol | None:
        nonlocal offered
        offered = tuple(proposed)
        return next((Subprotocol(name) for name in subprotocols if name in offered), None)

    protocol = ServerProtocol(
        select_subprotocol=select, max_size=_library_limit(max_message_size), logger=_SILENT
    )
    async with open_pipe(stream) as pipe:
        await _shake_hands_as_server(protocol, pipe)
        transport = WebSocketsTransport(
            protocol, pipe, peer or pipe.peer, offered, max_message_size
        )
        async with transport:
            yield transport


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
        host_header: What to name the server in the request, if not `host` and `port`.
        ssl_context: Speak TLS with this context (``wss://``).
        subprotocols: What this client speaks, the best first.
        max_message_size: As in `Transport`.

    Raises:
        OSError: The host was not reached.
        trio.BrokenResourceError: Something is there, but it is not a WebSocket server, or it
            refused; or TLS failed. The message says what came.
    """
    protocol = ClientProtocol(
        WebSocketURI(ssl_context is not None, host, port, resource, ""),
        subprotocols=[Subprotocol(name) for name in subprotocols] or None,
        max_size=_library_limit(max_message_size),
        logger=_SILENT,
    )
    tcp = await trio.open_tcp_stream(host, port)
    stream: trio.abc.Stream = tcp
    if ssl_context is not None:
        stream = trio.SSLStream(tcp, ssl_context, server_hostname=host, https_compatible=True)
    async with open_pipe(stream) as pipe:
        await _shake_hands_as_client(protocol, pipe, host_header)
        transport = WebSocketsTransport(
            protocol, pipe, pipe.peer, tuple(subprotocols), max_message_size
        )
        async with transport:
            yield transport


class WebSocketsTransport(Transport):
    """A WebSocket over a `BytePipe`, after its handshake; `accept` and `connect` make them.

    Reading is what drives it: pings are answered, and the peer's closing is noticed, by the task
    that is in `receive`. While nobody receives, all that waits in the kernel. So a connection's
    reader always receives, and nothing else waits for long between two calls. A pong that finds
    the socket full goes out with what is written or read next.

    A change of `max_message_size` holds for messages that begin to arrive after it: what came
    in the same read as the message before was judged then.

    Args:
        protocol: Open, its handshake done.
        pipe: Where its bytes come from and go to. The transport closes it.
        peer: What to say as `peer`.
        offered_subprotocols: As in `Transport`.
        max_message_size: As in `Transport`.
    """

    def __init__(
        self,
        protocol: ServerProtocol | ClientProtocol,
        pipe: BytePipe,
        peer: str,
        offered_subprotocols: tuple[str, ...],
        max_message_size: int | None,
    ) -> None:
        self.peer = peer
        self.subprotocol = protocol.subprotocol
        self.offered_subprotocols = offered_subprotocols
        self.last_received = trio.current_time()
        self._protocol = protocol
        self.max_message_size = max_message_size
        self._pipe = pipe
        self._messages: deque[str | bytes] = deque()
        self._taken_in_pass = 0
        self._receiving = False
        # The fragmented message that is arriving.
        self._fragments = 0
        self._fragments_are_text = False
        self._assembled = bytearray()
        # Whether send_nowait returned False, and drain has not returned since.
        self._owes_drain = False
        # The latest ping and pong that could not be written because half a frame was unsent.
        # More are not kept (RFC 6455, section 5.5.3, allows it), so pings without end cost nothing.
        self._late: dict[Opcode, bytes] = {}
        # Why nothing more comes in, or goes out. A link that refuses bytes may still have
        # messages to read, and a peer's close among them: so these are two.
        self._receive_error: tuple[type[Exception], str, BaseException | None] | None = None
        self._send_error: str | None = None
        self._closed = False
        self._gone: trio.Event | None = None
        # What came together with the handshake.
        self._process_input()

    async def __aenter__(self) -> WebSocketsTransport:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def max_message_size(self) -> int | None:
        """The longest message in bytes that `receive` accepts, or None."""
        return self._limit

    @max_message_size.setter
    def max_message_size(self, limit: int | None) -> None:
        self._limit = limit
        self._protocol.max_message_size = _library_limit(limit)

    async def receive(self) -> str | bytes:
        """Wait for the next message; see `Transport.receive`.

        A message that arrived together with the one before costs no pass through the scheduler,
        except once in a while. Waiting for the socket is a checkpoint of its own; but a peer
        that sends short messages fast would otherwise be charged a pass for each, or, without
        any, could keep this task from ever letting others run.
        """
        if self._receiving:
            raise trio.BusyResourceError(BUSY_RECEIVING)
        self._receiving = True
        try:
            if self._messages:
                self._taken_in_pass += 1
                if self._taken_in_pass < MESSAGES_PER_PASS:
                    await trio.lowlevel.checkpoint_if_cancelled()
                else:
                    self._taken_in_pass = 0
                    await trio.lowlevel.checkpoint()
            while not self._messages:
                if self._closed or self._receive_error is not None:
                    self._raise_receive_error()
                if self._late or self._pipe.unsent:
                    self._write_late()
                self._taken_in_pass = 0
                try:
                    data = await self._pipe.read()
                except trio.BrokenResourceError as exc:
                    self._receive_error = (trio.BrokenResourceError, str(exc), exc.__cause__)
                    raise
                if self._closed:
                    raise trio.ClosedResourceError(CLOSED_HERE)
                self.last_received = trio.current_time()
                if data:
                    self._protocol.receive_data(data)
                else:
                    self._protocol.receive_eof()
                self._process_input()
            return self._messages.popleft()
        finally:
            self._receiving = False

    def send_nowait(self, message: str | bytes) -> bool:
        """Frame a message and write it to the socket at once; see `Transport.send_nowait`."""
        self._check_sendable()
        if self._owes_drain:
            raise trio.BusyResourceError(BUSY_SENDING)
        if isinstance(message, str):
            self._protocol.send_text(message.encode())
        elif isinstance(message, bytes):
            self._protocol.send_binary(message)
        else:
            raise TypeError(f"message: expected str or bytes, got {type(message).__name__}")
        if self._late:
            self._write_late()
        if self._write(b"".join(self._protocol.data_to_send())):
            return True
        self._check_sendable()
        self._owes_drain = True
        return False

    async def drain(self) -> None:
        """Wait until the socket took all of the message that waits; see `Transport.drain`."""
        self._check_sendable()
        if not (self._owes_drain and self._pipe.unsent):
            self._owes_drain = False
            await trio.lowlevel.checkpoint()
            return
        try:
            await self._pipe.flush()
        except trio.BrokenResourceError as exc:
            self._send_error = str(exc)
            raise
        except trio.Cancelled:
            # Half a frame may be out, so whatever came next would be read as its other half.
            await self._close_pipe()
            raise
        self._owes_drain = False
        if self._late:
            self._write_late()

    def ping(self) -> None:
        """Send a ping, after the message that is on its way out; see `Transport.ping`."""
        if not self._closed and self._send_error is None and self._protocol.state is State.OPEN:
            self._protocol.send_ping(b"")
            self._late[Opcode.PING] = b"".join(self._protocol.data_to_send())
            self._write_late()

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close the link; see `Transport.aclose`.

        The peer's answer is waited for, a second at most, and what it sends meanwhile is thrown
        away: closing a socket with something left to read would make the kernel reset the
        connection, and the peer lose the last messages and the reason.
        """
        check_close_code(code)
        if self._gone is not None:
            try:
                await self._gone.wait()
            finally:
                await self._close_pipe()
            return
        self._gone = trio.Event()
        try:
            if self._closed:
                await trio.lowlevel.checkpoint()
                return
            self._closed = True
            self._messages.clear()
            self._pipe.interrupt()
            with trio.move_on_after(CLOSE_TIMEOUT):
                await self._say_goodbye(code, cut_reason(reason))
        finally:
            await self._close_pipe()

    async def _say_goodbye(self, code: int, reason: str) -> None:
        protocol, pipe = self._protocol, self._pipe
        if self._send_error is None:
            if protocol.state is State.OPEN:
                protocol.send_close(code, reason)
            self._write(b"".join(protocol.data_to_send()))
        try:
            await trio.lowlevel.checkpoint()
            await pipe.flush()
            if isinstance(protocol, ServerProtocol):
                # Clients wait for the server to end the TCP connection (RFC 6455, section 7.1.1).
                pipe.half_close()
            while protocol.close_rcvd is None and protocol.state is not State.CLOSED:
                data = await pipe.read()
                if not data:
                    break
                protocol.receive_data(data)
                protocol.events_received()
                protocol.data_to_send()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # Gone is gone: there is nobody left to tell.
            return

    async def _close_pipe(self) -> None:
        self._closed = True
        self._messages.clear()
        await self._pipe.close()
        if self._gone is not None:
            self._gone.set()

    def _raise_receive_error(self) -> None:
        if self._closed or self._receive_error is None:
            raise trio.ClosedResourceError(CLOSED_HERE)
        kind, text, cause = self._receive_error
        raise kind(text) from cause

    def _check_sendable(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError(CLOSED_HERE)
        if self._send_error is not None:
            raise trio.BrokenResourceError(self._send_error)

    def _write(self, data: bytes) -> bool:
        """Write behind what is unsent; a link that breaks is noted, and False returned."""
        try:
            return self._pipe.write_nowait(data)
        except trio.BrokenResourceError as exc:
            self._send_error = str(exc)
            return False

    def _write_late(self) -> None:
        """Write the ping and the pong that wait, once nothing is unsent before them."""
        if self._send_error is not None or (self._pipe.unsent and not self._write(b"")):
            return
        late = b"".join(self._late.values())
        self._late.clear()
        if late:
            self._write(late)

    def _process_input(self) -> None:
        """Take what the protocol made of the bytes that came in, and write its answers."""
        protocol = self._protocol
        for event in protocol.events_received():
            if isinstance(event, Frame) and self._receive_error is None:
                self._take_frame(event)
        if protocol.state is not State.OPEN and self._receive_error is None:
            self._receive_error = self._why_over()
        answers = protocol.data_to_send()
        if self._receive_error is not None:
            if self._send_error is None:
                self._write(b"".join(answers))
                self._send_error = self._send_error or self._receive_error[1]
        elif answers:
            if self._pipe.unsent:
                self._late[Opcode.PONG] = answers[-1]
                self._write_late()
            elif self._send_error is None:
                self._write(b"".join(answers))

    def _take_frame(self, frame: Frame) -> None:
        opcode = frame.opcode
        if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
            if self._limit is not None and len(frame.data) > self._limit:
                self._fail(MESSAGE_TOO_BIG, too_big(self._limit))
            elif frame.fin:
                self._take_message(frame.data, opcode is Opcode.TEXT)
            else:
                self._fragments = 1
                self._fragments_are_text = opcode is Opcode.TEXT
                self._assembled = bytearray(frame.data)
        elif opcode is Opcode.CONT:
            self._fragments += 1
            self._assembled += frame.data
            if self._fragments > MAX_FRAGMENTS:
                self._fail(POLICY_VIOLATION, too_many_fragments())
            elif self._limit is not None and len(self._assembled) > self._limit:
                self._fail(MESSAGE_TOO_BIG, too_big(self._limit))
            elif frame.fin:
                assembled, self._assembled = self._assembled, bytearray()
                self._take_message(assembled, self._fragments_are_text)

    def _take_message(self, data: bytes | bytearray | memoryview, is_text: bool) -> None:
        try:
            self._messages.append(str(data, "utf-8") if is_text else bytes(data))
        except UnicodeDecodeError:
            self._fail(INVALID_TEXT, "text message that is not UTF-8")

    def _fail(self, code: int, text: str) -> None:
        self._assembled = bytearray()
        self._protocol.fail(code, text)
        self._receive_error = (trio.BrokenResourceError, f"the peer sent a {text}", None)

    def _why_over(self) -> tuple[type[Exception], str, BaseException | None]:
        cause, close = self._protocol.parser_exc, self._protocol.close_rcvd
        if cause is None and close is not None:
            return trio.EndOfChannel, closed_by_peer(close.code, close.reason), None
        if isinstance(cause, PayloadTooBig) and self._limit is not None:
            text = f"the peer sent a {too_big(self._limit)}"
        elif cause is None or isinstance(cause, EOFError):
            text = "the connection ended without a WebSocket close"
        else:
            text = f"the peer broke the rules of WebSocket: {printable(str(cause))}"
        return trio.BrokenResourceError, text, cause


def _library_limit(limit: int | None) -> int | None:
    # The library counts a ping between two fragments as if it were one more. So its own limit,
    # which keeps it from buffering, has room for a ping, and `_take_frame` has the exact limit.
    return None if limit is None else limit + _MAX_PING_SIZE


async def _shake_hands_as_server(protocol: ServerProtocol, pipe: BytePipe) -> None:
    size = 0
    response: Response | None = None
    while True:
        data = await pipe.read()
        if not data:
            raise trio.BrokenResourceError("the peer was gone before the WebSocket handshake")
        size += len(data)
        protocol.receive_data(data)
        events = protocol.events_received()
        if events or protocol.handshake_exc is not None:
            break
        if size > MAX_HANDSHAKE_SIZE:
            response = protocol.reject(431, f"more than {MAX_HANDSHAKE_SIZE} bytes of headers\n")
            break
    answer = b"".join(protocol.data_to_send())
    if events and isinstance(events[0], Request):
        if len(events) > 1 or answer or protocol.close_expected():
            response = protocol.reject(400, "something came with the handshake\n")
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
    with trio.move_on_after(CLOSE_TIMEOUT):
        pipe.write_nowait(answer)
        await pipe.flush()
        # Closing with something left to read would take the answer back.
        pipe.half_close()
        while await pipe.read():
            continue
    status = answer.split(b" ", 2)[1].decode()
    raise trio.BrokenResourceError(
        f"the peer did not open a WebSocket ({_explain(protocol.handshake_exc)}); "
        f"it was answered with HTTP {status}"
    )


async def _shake_hands_as_client(
    protocol: ClientProtocol, pipe: BytePipe, host_header: str | None
) -> None:
    request = protocol.connect()
    if host_header is not None:
        del request.headers["Host"]
        request.headers["Host"] = host_header
    protocol.send_request(request)
    pipe.write_nowait(b"".join(protocol.data_to_send()))
    await pipe.flush()
    while protocol.state is State.CONNECTING and protocol.handshake_exc is None:
        data = await pipe.read()
        if data:
            protocol.receive_data(data)
        else:
            protocol.receive_eof()
    error = protocol.handshake_exc
    if isinstance(error, InvalidStatus):
        status, phrase = error.response.status_code, printable(error.response.reason_phrase)
        raise trio.BrokenResourceError(
            f"the server did not open a WebSocket: it answered with HTTP {status} {phrase}"
        ) from error
    if error is not None:
        raise trio.BrokenResourceError(
            f"the server did not open a WebSocket ({_explain(error)})"
        ) from error


def _explain(error: BaseException | None) -> str:
    parts = []
    while error is not None:
        parts.append(str(error))
        error = error.__cause__
    return printable(": ".join(parts))
