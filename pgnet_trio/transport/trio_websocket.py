"""WebSockets with ``trio-websocket``, which is always there; its faults stay inside this module.

What the library gets wrong, and how it is contained:

- An exception in its reader task ends the nursery that it runs in. It runs in a nursery of its
  own, inside `_host`, which turns the exception into the end of this one link.
- It waits for ever for a handshake that can no longer come. `_WatchedStream` ends that wait.
- Its size limit counts characters, and it keeps empty fragments without end. Its limit is off:
  `FrameWatch` counts bytes and fragments before the library sees them.
- A connection closed for a broken limit keeps its socket and tasks. Closing the transport always
  closes the socket, and with it the reader.
- After an error in the peer's frames it goes on buffering what comes. The watched stream stops.
- A send that is cancelled leaves half a frame. So that closes the link.
"""

from __future__ import annotations

import logging
import re
import ssl
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import cast

import trio
from trio_websocket import (
    CloseReason,
    ConnectionClosed,
    WebSocketConnection,
    wrap_client_stream,
    wrap_server_stream,
)

from pgnet_trio.transport.frames import FINAL_CLOSE, FrameWatch, close_frame
from pgnet_trio.transport.interface import Transport
from pgnet_trio.transport.pipes import close_at_once, helper_nursery, peer_address
from pgnet_trio.transport.rules import (
    BUSY_RECEIVING,
    BUSY_SENDING,
    CLOSE_TIMEOUT,
    CLOSED_HERE,
    byte_size,
    check_close_code,
    closed_by_peer,
    cut_reason,
    printable,
)

__all__ = ["TrioWebSocketTransport", "accept", "connect"]

_log = logging.getLogger(__name__)

# Messages that may wait to be received. While it is full the library answers no pings; and each
# may be as long as the limit: sixteen of the server's default, 64 KiB, are 1 MiB, which is also
# what a session may have waiting. A connection's reader always receives, so it hardly ever fills.
_QUEUE_SIZE = 16
_READ_SIZE = 16 * 1024

# As h11 finds the end of the headers.
_BLANK_LINE = re.compile(rb"\n\r?\n")


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
    watched = _WatchedStream(stream, max_message_size, is_client=False)

    async def open_connection(nursery: trio.Nursery) -> WebSocketConnection:
        request = await wrap_server_stream(nursery, watched, _QUEUE_SIZE, sys.maxsize, _READ_SIZE)
        offered = watched.offered_subprotocols = request.proposed_subprotocols
        chosen = next((name for name in subprotocols if name in offered), None)
        # No checkpoint comes between here and the moment when the library expects frames.
        watched.in_handshake = False
        return await request.accept(subprotocol=chosen)

    async with _open_link(watched, open_connection, peer) as transport:
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
    if host_header is None:
        name = f"[{host}]" if ":" in host else host
        default_port = 80 if ssl_context is None else 443
        host_header = name if port == default_port else f"{name}:{port}"
    tcp = await trio.open_tcp_stream(host, port)
    stream: trio.abc.Stream = tcp
    if ssl_context is not None:
        stream = trio.SSLStream(tcp, ssl_context, server_hostname=host, https_compatible=True)
    watched = _WatchedStream(stream, max_message_size, is_client=True)
    watched.offered_subprotocols = tuple(subprotocols)

    async def open_connection(nursery: trio.Nursery) -> WebSocketConnection:
        return await wrap_client_stream(
            nursery,
            # It takes any stream, as its documentation says and its annotation does not.
            cast(trio.SocketStream, watched),
            host_header,
            resource,
            subprotocols=subprotocols,
            message_queue_size=_QUEUE_SIZE,
            max_message_size=sys.maxsize,
            receive_buffer_size=_READ_SIZE,
        )

    async with _open_link(watched, open_connection, None) as transport:
        yield transport


class TrioWebSocketTransport(Transport):
    """A WebSocket of ``trio-websocket``, after its handshake; `accept` and `connect` make them.

    The library's reader task runs all the time: pings are answered while nobody receives, until
    16 messages wait. It writes only in a task that waits, so `send_nowait` always leaves its
    message to `drain`.

    Args:
        connection: The library's connection, over `watched`.
        watched: What the library reads from and writes to.
        nursery: Where to run what must not be waited for.
        peer: What to say as `peer`.
    """

    def __init__(
        self,
        connection: WebSocketConnection,
        watched: _WatchedStream,
        nursery: trio.Nursery,
        peer: str,
    ) -> None:
        self.peer = peer
        self.subprotocol = connection.subprotocol
        self.offered_subprotocols = watched.offered_subprotocols
        self._connection = connection
        self._watched = watched
        self._nursery = nursery
        self._receiving = False
        self._waiting: str | bytes | None = None
        self._pinging = False
        self._closed = False
        self._gone: trio.Event | None = None

    @property
    def max_message_size(self) -> int | None:
        """The longest message in bytes that is accepted, or None."""
        return self._watched.watch.max_message_size

    @max_message_size.setter
    def max_message_size(self, limit: int | None) -> None:
        self._watched.watch.max_message_size = limit

    @property
    def last_received(self) -> float:
        """When any byte last came in, in seconds of ``trio.current_time()``."""
        return self._watched.last_received

    @last_received.setter
    def last_received(self, seconds: float) -> None:
        self._watched.last_received = seconds

    async def receive(self) -> str | bytes:
        """Wait for the next message; see `Transport.receive`."""
        if self._receiving:
            raise trio.BusyResourceError(BUSY_RECEIVING)
        if self._closed:
            raise trio.ClosedResourceError(CLOSED_HERE)
        self._receiving = True
        try:
            return await self._connection.get_message()
        except ConnectionClosed as exc:
            if self._closed:
                raise trio.ClosedResourceError(CLOSED_HERE) from None
            raise self._why_over(exc.reason) from None
        finally:
            self._receiving = False

    def send_nowait(self, message: str | bytes) -> bool:
        """Keep a message for `drain`; see `Transport.send_nowait`."""
        if self._closed:
            raise trio.ClosedResourceError(CLOSED_HERE)
        if self._connection.closed is not None:
            raise trio.BrokenResourceError(str(self._why_over(self._connection.closed)))
        if self._waiting is not None:
            raise trio.BusyResourceError(BUSY_SENDING)
        if not isinstance(message, str | bytes):
            raise TypeError(f"message: expected str or bytes, got {type(message).__name__}")
        byte_size(message)  # Text that UTF-8 cannot carry fails here and not half way.
        self._waiting = message
        return False

    async def drain(self) -> None:
        """Send the message that waits; see `Transport.drain`."""
        if self._closed:
            raise trio.ClosedResourceError(CLOSED_HERE)
        if self._waiting is None:
            await trio.lowlevel.checkpoint()
            return
        try:
            await self._connection.send_message(self._waiting)
        except ConnectionClosed as exc:
            if self._closed:
                raise trio.ClosedResourceError(CLOSED_HERE) from None
            raise trio.BrokenResourceError(str(self._why_over(exc.reason))) from None
        except trio.Cancelled:
            # Half a frame may be out, so whatever came next would be read as its other half.
            await self._close_stream()
            raise
        self._waiting = None

    def ping(self) -> None:
        """Send a ping in the background; see `Transport.ping`.

        One at a time: while a ping is not answered, another would not help.
        """
        if not self._pinging and not self._closed and self._connection.closed is None:
            self._pinging = True
            self._nursery.start_soon(self._ping)

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close the link; see `Transport.aclose`."""
        check_close_code(code)
        if self._gone is not None:
            try:
                await self._gone.wait()
            finally:
                await self._close_stream()
            return
        self._gone = trio.Event()
        already_closed, self._closed = self._closed, True
        watched = self._watched
        watched.closing_here = True
        try:
            with trio.move_on_after(CLOSE_TIMEOUT):
                await trio.lowlevel.checkpoint()
                if not already_closed and watched.watch.violation is None:
                    with watched.reading:
                        await self._connection.aclose(code, cut_reason(reason))
                        if watched.watch.close_seen:
                            # The reader may be about to answer it.
                            await watched.close_sent.wait()
                if watched.watch.violation is not None or watched.reading.cancelled_caught:
                    await watched.linger()
        finally:
            await self._close_stream()

    async def _close_stream(self) -> None:
        self._closed = True
        await close_at_once(self._watched.stream)
        if self._gone is not None:
            self._gone.set()

    async def _ping(self) -> None:
        try:
            await self._connection.ping()
        except (ConnectionClosed, trio.ClosedResourceError):
            return
        finally:
            self._pinging = False

    def _why_over(self, close: CloseReason | None) -> trio.EndOfChannel | trio.BrokenResourceError:
        watch = self._watched.watch
        if watch.violation is not None:
            return trio.BrokenResourceError(f"the peer sent a {watch.violation[1]}")
        if close is None or close.code == 1006:
            return trio.BrokenResourceError(
                self._watched.failure or "the connection ended without a WebSocket close"
            )
        if watch.close_seen:
            return trio.EndOfChannel(closed_by_peer(close.code, close.reason or ""))
        # The library reports an error in the peer's frames as if the peer had closed with it.
        text = printable(close.reason or "")
        return trio.BrokenResourceError(f"the peer broke the rules of WebSocket: {text}")


@asynccontextmanager
async def _open_link(
    watched: _WatchedStream,
    open_connection: Callable[[trio.Nursery], Awaitable[WebSocketConnection]],
    peer: str | None,
) -> AsyncGenerator[Transport, None]:
    try:
        peer = peer or peer_address(watched.stream)
        async with helper_nursery() as nursery:
            connection = await nursery.start(_host, watched, open_connection)
            transport = TrioWebSocketTransport(connection, watched, nursery, peer)
            try:
                yield transport
            finally:
                await transport.aclose()
    finally:
        await close_at_once(watched.stream)


async def _host(
    watched: _WatchedStream,
    open_connection: Callable[[trio.Nursery], Awaitable[WebSocketConnection]],
    *,
    task_status: trio.TaskStatus[WebSocketConnection],
) -> None:
    """Open a connection and be the parent of the library's tasks, whatever they raise."""
    opened = False
    try:
        async with trio.open_nursery() as nursery:
            connection: WebSocketConnection | None = None
            with watched.handshake:
                connection = await open_connection(nursery)
            if connection is None:
                raise trio.BrokenResourceError(watched.why_no_handshake(None))
            watched.connection = connection
            opened = True
            task_status.started(connection)
            await trio.sleep_forever()
    except BaseExceptionGroup as group:
        errors, others = group.split(Exception)
        if errors is None or others is not None:
            raise
        if not opened:
            raise trio.BrokenResourceError(watched.why_no_handshake(errors)) from errors
        _log.debug("a WebSocket ended: the library raised", exc_info=errors)
    finally:
        watched.reading.cancel()


class _WatchedStream(trio.abc.Stream):
    """Between the library and the network: sees what comes, and stops what must not pass.

    Args:
        stream: The connection; it belongs to this.
        max_message_size: As in `Transport`.
        is_client: Which side this is.
    """

    def __init__(
        self, stream: trio.abc.Stream, max_message_size: int | None, *, is_client: bool
    ) -> None:
        self.stream = stream
        self.watch = FrameWatch(max_message_size)
        self.last_received = trio.current_time()
        self.connection: WebSocketConnection | None = None
        self.failure: str | None = None
        self.offered_subprotocols: tuple[str, ...] = ()
        # Cancelled when the handshake can no longer succeed, and when nothing reads any more:
        # the library would wait for ever.
        self.handshake = trio.CancelScope()
        self.reading = trio.CancelScope()
        self.in_handshake = True
        self.closing_here = False
        self.close_sent = trio.Event()
        self._is_client = is_client
        self._head = b""
        self._status: str | None = None
        self._sending = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Pass on what comes, as far as it breaks no limit."""
        while True:
            self._stop_if_over()
            if self.watch.violation is not None:
                code, reason = self.watch.violation
                await self._tell(code, reason)
                raise trio.BrokenResourceError(reason)
            try:
                data = await self.stream.receive_some(max_bytes)
            except trio.BrokenResourceError as exc:
                self._fail(exc)
                raise
            if not data:
                self.handshake.cancel()
                return data
            self.last_received = trio.current_time()
            start = self._frames_start(data) if self.in_handshake else 0
            if self.in_handshake:
                return data
            data = data[: start + self.watch.passes(bytes(data[start:]))]
            if data:
                return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Pass on what the library sends."""
        if self.watch.violation is not None:
            raise trio.BrokenResourceError(self.watch.violation[1])
        if self.in_handshake and not self._is_client and self._status is None:
            self._status = bytes(data[9:12]).decode()
        self._sending = True
        try:
            await self.stream.send_all(data)
        except trio.BrokenResourceError as exc:
            self._fail(exc)
            raise
        finally:
            self._sending = False
            # The library sends one frame at a time.
            if data[0] == FINAL_CLOSE:
                self.close_sent.set()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until sending would not wait; the library does not use it."""
        await self.stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the connection, as the library wants it; the transport does so by itself."""
        if self.closing_here:
            await trio.lowlevel.checkpoint()
            return
        try:
            if self.in_handshake and self._status is not None:
                # It has just refused, and may not have read all of the request.
                with trio.move_on_after(CLOSE_TIMEOUT):
                    await self.linger()
        finally:
            self.handshake.cancel()
            await self.stream.aclose()

    async def linger(self) -> None:
        """Throw away what still comes, until the peer has closed.

        Closing with something left to read would make the kernel reset the connection, and the
        peer lose the reason.
        """
        try:
            if not self._is_client and isinstance(self.stream, trio.SocketStream):
                await self.stream.send_eof()
            while await self.stream.receive_some(_READ_SIZE):
                continue
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            # It is gone, or the library still reads; there is nothing more to be done.
            return

    def why_no_handshake(self, errors: BaseException | None) -> str:
        """What to say when there was no handshake."""
        if self._is_client:
            if self._status is not None and self._status != "101":
                answer = f"it answered with HTTP {printable(self._status)}"
                return f"the server did not open a WebSocket: {answer}"
            return f"the server did not open a WebSocket ({self._explain(errors)})"
        text = f"the peer did not open a WebSocket ({self._explain(errors)})"
        if self._status is not None:
            text += f"; it was answered with HTTP {self._status}"
        return text

    def _explain(self, errors: BaseException | None) -> str:
        while isinstance(errors, BaseExceptionGroup):
            errors = errors.exceptions[0]
        if errors is not None and str(errors):
            return printable(str(errors))
        return self.failure or (
            "no valid WebSocket handshake" if self._status else "the connection ended"
        )

    def _frames_start(self, data: bytes | bytearray) -> int:
        """Where the frames begin in what a client got; ends the handshake when they do."""
        if not self._is_client:
            return 0
        before = len(self._head)
        self._head += data
        blank = _BLANK_LINE.search(self._head)
        if blank is None:
            return 0
        self._status = self._head[9:12].decode("latin-1")
        self._head = b""
        self.in_handshake = self._status != "101"
        return blank.end() - before

    def _fail(self, error: trio.BrokenResourceError) -> None:
        # TLS errors have their text in the cause of Trio's error, whose own is empty.
        self.failure = f"the link broke: {str(error) or error.__cause__}"
        self.handshake.cancel()

    def _stop_if_over(self) -> None:
        # After an error in the peer's frames the library would go on to read and buffer.
        connection = self.connection
        if connection is None or self.closing_here or self.watch.close_seen:
            return
        if connection.closed is not None:
            raise trio.BrokenResourceError("the peer broke the rules of WebSocket")

    async def _tell(self, code: int, reason: str) -> None:
        if self._sending:
            return
        try:
            with trio.move_on_after(CLOSE_TIMEOUT):
                await self.stream.send_all(close_frame(code, reason, masked=self._is_client))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
