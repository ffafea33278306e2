"""WebSockets with ``trio-websocket``, which is always installed; its faults stay in this module.

The library does the handshake, and handles what is no plain message: fragments, pings, the peer's
close, and whatever breaks a rule. Its faults, and how each is contained:

- An exception in its reader task ends the nursery that the task runs in. The library is given
  `_Library` as its nursery, which turns the exception into the end of this one connection.
- It waits for ever for a handshake that can no longer come. `_Library` ends that wait.
- Its size limit counts characters, and it keeps any number of empty fragments. Its limit is off
  here: the transport counts bytes and fragments before the library sees them.
- A connection that it closes for a broken limit keeps its socket and tasks, and after an error in
  the peer's frames it goes on buffering. Here it has no socket, and gets no more bytes.
- It answers no ping while its queue is full, and a ping that comes while it closes makes it raise.
  Here only the receiving task gives it bytes, and nobody asks it to close.
- A send that is cancelled leaves half a frame. Here its sends do not wait.
"""

from __future__ import annotations

import logging
import ssl
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias, cast

import trio
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    wrap_client_stream,
    wrap_server_stream,
)

from pgnet_trio.foreign_text import one_line
from pgnet_trio.transport.frames import FINAL_CLOSE
from pgnet_trio.transport.handshake import (
    TOO_EARLY,
    HeadEnd,
    make_host_header,
    open_stream,
    refuse,
)
from pgnet_trio.transport.pipes import BytePipe, open_pipe
from pgnet_trio.transport.rules import CLOSED_HERE, closed_by_peer, cut_reason
from pgnet_trio.transport.streams import helper_nursery
from pgnet_trio.transport.upgrade import choose
from pgnet_trio.transport.websocket import WebSocketTransport

if TYPE_CHECKING:
    from pgnet_trio.transport.interface import Transport
    from pgnet_trio.transport.upgrade import Upgrade

__all__ = ["TrioWebSocketTransport", "accept", "connect"]

_log = logging.getLogger(__name__)

# How many messages may wait inside the library. When they are that many, it stops reading.
_QUEUE_SIZE = 16
_READ_SIZE = 64 * 1024

_Opener: TypeAlias = Callable[[], Awaitable[WebSocketConnection]]


@asynccontextmanager
async def accept(
    pipe: BytePipe,
    data: bytes,
    upgrade: Upgrade | None = None,
    *,
    subprotocols: Sequence[str] = (),
    max_message_size: int | None,
) -> AsyncGenerator[Transport, None]:
    """Take a client's connection as a WebSocket; it is closed at exit.

    Nothing here has a deadline. A client may stop in the middle of the handshake: the caller's
    cancel scope has to end the wait.

    Args:
        pipe: The accepted connection. Its `peer` is known.
        data: What was read of the client's request.
        upgrade: Is not looked at: the library reads the request, whatever it is.
        subprotocols: The subprotocols of this server, the best first. A client that asks for none
            of them is accepted without one.
        max_message_size: As in `Transport`.

    Raises:
        trio.BrokenResourceError: The client is gone; or it asked for something that is no
            WebSocket, and got an HTTP error.
    """
    async with helper_nursery() as helpers:
        library = _Library(pipe, helpers, data, is_client=False)
        offered: tuple[str, ...] = ()
        del data, upgrade

        async def shake_hands() -> WebSocketConnection:
            nonlocal offered
            request = await wrap_server_stream(
                library.nursery, library, _QUEUE_SIZE, sys.maxsize, _READ_SIZE
            )
            if library.first:
                await request.reject(400, body=TOO_EARLY.encode())
                await library.aclose()
                raise trio.BrokenResourceError(TOO_EARLY.rstrip())
            offered = request.proposed_subprotocols
            return await request.accept(subprotocol=choose(subprotocols, offered))

        connection = await library.open(shake_hands)
        transport = TrioWebSocketTransport(
            connection,
            library,
            pipe,
            peer=pipe.peer,
            offered_subprotocols=offered,
            max_message_size=max_message_size,
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
        host_header: How the request names the server, if not by `host` and `port`.
        ssl_context: The context for TLS (``wss://``); None for none.
        subprotocols: The subprotocols of this client, the best first.
        max_message_size: As in `Transport`.

    Raises:
        OSError: The host could not be reached.
        trio.BrokenResourceError: Whoever answered is no WebSocket server, or refused; or TLS
            failed. The message says what came.
    """
    host_header = host_header or make_host_header(host, port, tls=ssl_context is not None)
    stream = await open_stream(host, port, ssl_context)
    async with open_pipe(stream) as pipe, helper_nursery() as helpers:
        library = _Library(pipe, helpers, is_client=True)

        async def shake_hands() -> WebSocketConnection:
            return await wrap_client_stream(
                library.nursery,
                # The library takes any stream: its documentation says so, its annotation does not.
                cast(trio.SocketStream, library),
                host_header,
                resource,
                subprotocols=subprotocols,
                message_queue_size=_QUEUE_SIZE,
                max_message_size=sys.maxsize,
                receive_buffer_size=_READ_SIZE,
            )

        connection = await library.open(shake_hands)
        transport = TrioWebSocketTransport(
            connection,
            library,
            pipe,
            peer=pipe.peer,
            offered_subprotocols=tuple(subprotocols),
            max_message_size=max_message_size,
        )
        async with transport:
            yield transport


class TrioWebSocketTransport(WebSocketTransport):
    """A WebSocket whose rare frames ``trio-websocket`` handles; `accept` and `connect` make them.

    Args:
        connection: The library's connection, its handshake done.
        library: What the connection runs in.
        pipe: The connection's bytes. The transport closes it.
        peer: The peer's address; see `Transport`.
        offered_subprotocols: As in `Transport`.
        max_message_size: As in `Transport`.
    """

    def __init__(
        self,
        connection: WebSocketConnection,
        library: _Library,
        pipe: BytePipe,
        *,
        peer: str,
        offered_subprotocols: tuple[str, ...],
        max_message_size: int | None,
    ) -> None:
        super().__init__(
            pipe,
            is_client=connection.is_client,
            peer=peer,
            subprotocol=connection.subprotocol,
            offered_subprotocols=offered_subprotocols,
            max_message_size=max_message_size,
        )
        self._connection = connection
        self._library = library
        # How many messages the library got, and how many it has returned.
        self._given = 0
        self._came_out = 0
        # Whether everything that the library made of its bytes was taken out of it.
        self._settled = True
        library.answer = self._answer
        if library.first:
            self._take_in(library.first)

    @property
    def _library_is_idle(self) -> bool:
        return self._settled

    async def _library_idle(self) -> None:
        try:
            while self._came_out < self._given:
                message = await self._connection.get_message()
                self._came_out += 1
                if not self._closed:
                    self._messages.append(message)
        except ConnectionClosed:
            # The library found one of them wrong, and returns none after it.
            self._came_out = self._given
        await self._library.idle.wait()
        self._settled = True
        close = self._connection.closed
        if close is None:
            if self._library.ended:
                self._end(trio.BrokenResourceError, "the WebSocket library failed")
        elif self._library.answered_close:
            self._end(trio.EndOfChannel, closed_by_peer(close.code, close.reason or ""))
        else:
            # The library reports an error in the peer's frames as if the peer had closed with it.
            text = one_line(close.reason or "")
            self._send_close(close.code, cut_reason(text))
            self._end(trio.BrokenResourceError, f"the peer broke the rules of WebSocket: {text}")

    def _give_to_library(self, data: bytes) -> None:
        self._library.feed(data)
        self._given = self.watch.messages
        self._settled = False


class _Library(trio.abc.Stream):
    """Runs the library, which takes this object for its network and for its nursery.

    During the handshake the library reads from the pipe and writes to it. After that it reads the
    bytes that `feed` gets, and what it writes goes to `answer`: so it never waits for the network.

    Args:
        pipe: The connection.
        nursery: The nursery for the library's task.
        read: What was read of the client's request already.
        is_client: Whether this is the client's end.

    Attributes:
        first: Bytes that came behind the handshake, in the same read.
        idle: Set while the library waits for bytes, and after it has ended.
        ended: Whether the library's task has ended.
        answered_close: Whether the library has answered the peer's close.
        answer: Called with each frame that the library sends; None during the handshake.
    """

    def __init__(
        self, pipe: BytePipe, nursery: trio.Nursery, read: bytes = b"", *, is_client: bool
    ) -> None:
        self.first = b""
        self.idle = trio.Event()
        self.ended = False
        self.answered_close = False
        self.answer: Callable[[bytes], None] | None = None
        self._pipe = pipe
        self._nursery = nursery
        self._is_client = is_client
        self._read = read
        self._fed = b""
        self._more = trio.Event()
        # Cancelled when the handshake can no longer succeed, or the library would wait for ever.
        self._handshake = trio.CancelScope()
        self._head: bytearray | None = bytearray()
        self._head_end = HeadEnd()
        self._status: str | None = None
        self._failure: str | None = None
        self._raised: Exception | None = None

    @property
    def nursery(self) -> trio.Nursery:
        """This object, as the library's nursery: the library calls nothing but `start_soon`."""
        return cast(trio.Nursery, self)

    def start_soon(self, task: Callable[[], Awaitable[object]]) -> None:
        """Start the library's task; an exception of it ends nothing else."""
        self._nursery.start_soon(self._run, task)

    async def open(self, shake_hands: _Opener) -> WebSocketConnection:
        """Shake hands.

        Raises:
            trio.BrokenResourceError: The handshake failed.
        """
        with self._handshake:
            try:
                return await shake_hands()
            except Exception as error:
                self._raised = self._raised or error
        raise self._no_handshake() from self._raised

    async def _run(self, task: Callable[[], Awaitable[object]]) -> None:
        try:
            await task()
        except Exception as error:
            self._raised = error
            _log.debug("a WebSocket ended: the library raised", exc_info=True)
        finally:
            self._finish()
            # Cut the circle of references: the transport holds this object too.
            self.answer = None

    def feed(self, data: bytes) -> None:
        """Let the library read these bytes."""
        if not self.ended:
            self._fed += data
            self.idle = trio.Event()
            self._more.set()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return the next bytes to the library."""
        if self._head is not None:
            return await self._read_head(self._head)
        if not self._fed:
            self.idle.set()
            await self._more.wait()
        if self.ended:
            raise trio.ClosedResourceError(CLOSED_HERE)
        data, self._fed = self._fed, b""
        self._more = trio.Event()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Take one frame, or a part of the handshake, that the library sends."""
        if self.answer is not None:
            self.answered_close = self.answered_close or data[0] == FINAL_CLOSE
            self.answer(bytes(data))
            await trio.lowlevel.checkpoint()
            return
        if not self._is_client and self._status is None:
            self._status = bytes(data[9:12]).decode()
        try:
            self._pipe.write_nowait(bytes(data))
            await self._pipe.flush()
        except trio.BrokenResourceError as exc:
            self._fail(exc)
            raise

    async def wait_send_all_might_not_block(self) -> None:
        """Return: sending never waits. The library does not call this."""
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Record that the library has ended; the transport closes the pipe."""
        try:
            if self.answer is None and self._status is not None and not self._is_client:
                # The library has refused, perhaps before it read the whole request.
                await refuse(self._pipe, b"")
            else:
                await trio.lowlevel.checkpoint()
        except trio.BrokenResourceError as exc:
            self._fail(exc)
        finally:
            self._finish()

    async def _read_head(self, head: bytearray) -> bytes:
        data, self._read = self._read, b""
        try:
            if data:
                # Whoever read this has waited for it.
                await trio.lowlevel.checkpoint_if_cancelled()
            else:
                data = await self._pipe.read()
        except trio.BrokenResourceError as exc:
            self._fail(exc)
            raise
        if not data:
            self._handshake.cancel()
            return data
        head += data
        end = self._head_end.find(data)
        if end is None:
            return data
        if self._is_client:
            self._status = head[9:12].decode("latin-1")
            if self._status != "101":
                head.clear()
                return data
        self._head = None
        self.first = data[end:]
        return data[:end]

    def _fail(self, error: trio.BrokenResourceError) -> None:
        self._failure = str(error)
        self._handshake.cancel()

    def _finish(self) -> None:
        self.ended = True
        self.idle.set()
        self._more.set()
        self._handshake.cancel()

    def _no_handshake(self) -> trio.BrokenResourceError:
        if self._is_client and self._status not in (None, "101"):
            answer = f"it answered with HTTP {one_line(self._status or '')}"
            return trio.BrokenResourceError(f"the server did not open a WebSocket: {answer}")
        if self._raised is not None and str(self._raised):
            why = one_line(self._raised)
        else:
            why = self._failure or (
                "no valid WebSocket handshake" if self._status else "the connection ended"
            )
        if self._is_client:
            return trio.BrokenResourceError(f"the server did not open a WebSocket ({why})")
        text = f"the peer did not open a WebSocket ({why})"
        if self._status is not None:
            text += f"; it was answered with HTTP {self._status}"
        return trio.BrokenResourceError(text)
