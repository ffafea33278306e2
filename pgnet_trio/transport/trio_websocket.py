"""WebSockets with ``trio-websocket``, which is always there; its faults stay inside this module.

The library does the handshake, and gets what is no plain message: fragments, pings, the peer's
closing, whatever breaks a rule. What it gets wrong, and how it is contained:

- An exception in its reader task ends the nursery that it runs in. What it gets for a nursery is
  `_Library`, which turns the exception into the end of this one link.
- It waits for ever for a handshake that can no longer come. `_Library` ends that wait.
- Its size limit counts characters, and it keeps empty fragments without end. Its limit is off:
  the link counts bytes and fragments before the library sees them.
- A connection closed for a broken limit keeps its socket and tasks, and after an error in the
  peer's frames it goes on buffering what comes. It has no socket here, and is given no more.
- It answers no ping while its queue is full, and one that comes while it closes makes it raise.
  Only the receiving task gives it anything, and it is not asked to close.
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

from pgnet_trio.transport.frames import FINAL_CLOSE
from pgnet_trio.transport.handshake import TOO_EARLY, HeadEnd, open_stream, refuse
from pgnet_trio.transport.pipes import BytePipe, helper_nursery, open_pipe
from pgnet_trio.transport.rules import CLOSED_HERE, closed_by_peer, cut_reason, printable
from pgnet_trio.transport.websocket import WebSocketLink

if TYPE_CHECKING:
    from pgnet_trio.transport.interface import Transport

__all__ = ["TrioWebSocketTransport", "accept", "connect"]

_log = logging.getLogger(__name__)

# Messages that may wait inside the library: with them full, it waits until they are taken out.
_QUEUE_SIZE = 16
_READ_SIZE = 64 * 1024

_Opener: TypeAlias = Callable[[], Awaitable[WebSocketConnection]]


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
    async with open_pipe(stream) as pipe, helper_nursery() as helpers:
        library = _Library(pipe, helpers, is_client=False)
        offered: tuple[str, ...] = ()

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
            chosen = next((name for name in subprotocols if name in offered), None)
            return await request.accept(subprotocol=chosen)

        connection = await library.open(shake_hands)
        transport = TrioWebSocketTransport(
            connection,
            library,
            pipe,
            peer=peer or pipe.peer,
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
    stream = await open_stream(host, port, ssl_context)
    async with open_pipe(stream) as pipe, helper_nursery() as helpers:
        library = _Library(pipe, helpers, is_client=True)

        async def shake_hands() -> WebSocketConnection:
            return await wrap_client_stream(
                library.nursery,
                # It takes any stream, as its documentation says and its annotation does not.
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


class TrioWebSocketTransport(WebSocketLink):
    """A WebSocket of the library ``trio-websocket``; `accept` and `connect` make them.

    Args:
        connection: The library's connection, its handshake done.
        library: Where it runs.
        pipe: Where its bytes come from and go to. The transport closes it.
        peer: What to say as `peer`.
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
        # How many messages the library was given, and how many came out of it.
        self._given = 0
        self._came_out = 0
        # Whether all that the library makes of what it was given is taken note of.
        self._settled = True
        library.answer = self._answer
        if library.first:
            self._take(library.first)

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
            # It found something wrong with one of them, and none comes after that.
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
            text = printable(close.reason or "")
            self._send_close(close.code, cut_reason(text))
            self._end(trio.BrokenResourceError, f"the peer broke the rules of WebSocket: {text}")

    def _give_to_library(self, data: bytes) -> None:
        self._library.feed(data)
        self._given = self._watch.messages
        self._settled = False


class _Library(trio.abc.Stream):
    """Runs the library, and is what it takes for the network.

    During the handshake it reads from the pipe and writes to it. After that it reads what it is
    fed, and what it writes goes to `answer`, so that it never waits for the network.

    Args:
        pipe: The connection.
        nursery: Where the library's task is to run.
        is_client: Which side this is.

    Attributes:
        first: What came together with the handshake, behind it.
        idle: Set while the library waits to be fed, and when it does nothing any more.
        ended: Whether it does nothing any more.
        answered_close: Whether it answered a close of the peer's.
        answer: Where to send what it wants to be sent.
    """

    def __init__(self, pipe: BytePipe, nursery: trio.Nursery, *, is_client: bool) -> None:
        self.first = b""
        self.idle = trio.Event()
        self.ended = False
        self.answered_close = False
        self.answer: Callable[[bytes], None] | None = None
        self._pipe = pipe
        self._nursery = nursery
        self._is_client = is_client
        self._fed = b""
        self._more = trio.Event()
        # Cancelled when the handshake can no longer succeed: the library would wait for ever.
        self._handshake = trio.CancelScope()
        self._head: bytearray | None = bytearray()
        self._head_end = HeadEnd()
        self._status: str | None = None
        self._failure: str | None = None
        self._raised: Exception | None = None

    @property
    def nursery(self) -> trio.Nursery:
        """What the library takes for a nursery: it calls nothing but `start_soon`."""
        return cast(trio.Nursery, self)

    def start_soon(self, task: Callable[[], Awaitable[object]]) -> None:
        """Run the library's task, whatever it raises."""
        self._nursery.start_soon(self._run, task)

    async def open(self, shake_hands: _Opener) -> WebSocketConnection:
        """Shake hands.

        Raises:
            trio.BrokenResourceError: There was no handshake.
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
            # What it would answer with leads back to here, by way of the link.
            self.answer = None

    def feed(self, data: bytes) -> None:
        """Let the library read these bytes next."""
        if not self.ended:
            self._fed += data
            self.idle = trio.Event()
            self._more.set()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Give the library what it reads."""
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
        """Take what the library sends: one frame, or a part of the handshake."""
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
        """Return: sending never waits; the library does not use it."""
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Take note that the library is at its end; the link closes the pipe."""
        try:
            if self.answer is None and self._status is not None and not self._is_client:
                # It has just refused, and may not have read all of the request.
                await refuse(self._pipe, b"")
            else:
                await trio.lowlevel.checkpoint()
        except trio.BrokenResourceError as exc:
            self._fail(exc)
        finally:
            self._finish()

    async def _read_head(self, head: bytearray) -> bytes:
        try:
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
            answer = f"it answered with HTTP {printable(self._status or '')}"
            return trio.BrokenResourceError(f"the server did not open a WebSocket: {answer}")
        if self._raised is not None and str(self._raised):
            why = printable(str(self._raised))
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
