"""Pairs of transports for tests, and WebSocket peers that a test plays frame by frame."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import attrs
import trio

from pgnet_trio.transport import Transport, WebSocketImplementation, choose, memory_pair
from pgnet_trio.transport.pipes import open_pipe
from pgnet_trio.transport.upgrade import read_upgrade

CERTIFICATE = Path(__file__).with_name("certificate.pem")

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

REQUEST = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
# A second Connection header is allowed, and so rare that a library has to read the request.
UNUSUAL_REQUEST = REQUEST[:-2] + b"Connection: keep-alive\r\n\r\n"
SERVER_NAMES = ["trio-websocket", "websockets"]


@attrs.frozen
class TransportPair:
    """Two transports that are joined, and how.

    Attributes:
        server: The implementation of the server's end; "memory" for a pair in memory.
        client: That of the client's end.
        first: Which end comes first: "server" or "client".
    """

    server: str
    client: str
    first: str

    @property
    def id(self) -> str:
        if self.server == "memory":
            return "memory"
        short = {"trio-websocket": "tws", "websockets": "ws"}
        return f"{self.first} of {short[self.server]} server, {short[self.client]} client"

    @property
    def is_memory(self) -> bool:
        return self.server == "memory"

    @property
    def first_library(self) -> str:
        return self.server if self.first == "server" else self.client

    @asynccontextmanager
    async def open(
        self,
        *,
        max_message_size: int | None = None,
        accepts: tuple[str, ...] = (),
        proposes: tuple[str, ...] = (),
        tls: bool = False,
    ) -> AsyncGenerator[tuple[Transport, Transport], None]:
        """Open both ends; the limit holds for both."""
        if self.is_memory:
            one, other = memory_pair()
            one.max_message_size = other.max_message_size = max_message_size
            try:
                yield one, other
            finally:
                with trio.CancelScope(shield=True):
                    await one.aclose()
                    await other.aclose()
            return
        server, client = choose(self.server), choose(self.client)
        client_tls = ssl.create_default_context(cafile=str(CERTIFICATE)) if tls else None
        async with listening() as (listener, port), trio.open_nursery() as nursery:
            done = trio.Event()
            ends: dict[str, Transport] = {}

            async def hold(name: str, end: AbstractAsyncContextManager[Transport]) -> None:
                async with end as transport:
                    ends[name] = transport
                    both_open.release()
                    await done.wait()

            async def serve() -> None:
                stream: trio.abc.Stream = await listener.accept()
                if tls:
                    stream = server_tls(stream)
                await hold(
                    "server", accept(server, stream, accepts, max_message_size=max_message_size)
                )

            both_open = trio.Semaphore(0)
            nursery.start_soon(serve)
            connection = client.connect(
                "127.0.0.1",
                port,
                ssl_context=client_tls,
                subprotocols=proposes,
                max_message_size=max_message_size,
            )
            nursery.start_soon(hold, "client", connection)
            await both_open.acquire()
            await both_open.acquire()
            second = "client" if self.first == "server" else "server"
            try:
                yield ends[self.first], ends[second]
            finally:
                done.set()


MEMORY = TransportPair("memory", "memory", "server")
WEBSOCKET_PAIRS = [
    TransportPair(server, client, first)
    for server in SERVER_NAMES
    for client in SERVER_NAMES
    for first in ("server", "client")
]
ALL_PAIRS = [MEMORY, *WEBSOCKET_PAIRS]
# For tests that move megabytes: each end of each implementation once.
ONE_LIBRARY_PAIRS = [MEMORY, *(pair for pair in WEBSOCKET_PAIRS if pair.server == pair.client)]


@asynccontextmanager
async def accept(
    implementation: WebSocketImplementation,
    stream: trio.abc.Stream,
    subprotocols: tuple[str, ...] = (),
    *,
    max_message_size: int | None = None,
) -> AsyncGenerator[Transport, None]:
    """Accept a client's connection over any stream as a server does; it is closed at exit."""
    async with open_pipe(stream) as pipe:
        data = await pipe.read()
        async with implementation.accept(
            pipe,
            data,
            read_upgrade(data),
            subprotocols=subprotocols,
            max_message_size=max_message_size,
        ) as transport:
            del data
            yield transport


def server_tls(stream: trio.abc.Stream) -> trio.abc.Stream:
    """Return a stream that speaks TLS as a server."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    return trio.SSLStream(stream, context, server_side=True, https_compatible=True)


@asynccontextmanager
async def listening() -> AsyncGenerator[tuple[trio.SocketListener, int], None]:
    """Listen on loopback, on a free port."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        yield listener, listener.socket.getsockname()[1]


@asynccontextmanager
async def connected_sockets() -> AsyncIterator[tuple[trio.SocketStream, trio.SocketStream]]:
    """Open a TCP connection: the server's end and the client's."""
    async with listening() as (listener, port):
        client = await trio.open_tcp_stream("127.0.0.1", port)
        server = await listener.accept()
    try:
        yield server, client
    finally:
        with contextlib.suppress(OSError):
            client.socket.close()
        server.socket.close()


def frame(
    opcode: int, payload: bytes = b"", *, final: bool = True, masked: bool = True, bits: int = 0
) -> bytes:
    """Return a WebSocket frame; its masking key is zero, so the payload stays as it is."""
    head = bytes((opcode | bits | (0x80 if final else 0),))
    mask = 0x80 if masked else 0
    if len(payload) < 126:
        head += bytes((mask | len(payload),))
    elif len(payload) < 65536:
        head += bytes((mask | 126,)) + struct.pack("!H", len(payload))
    else:
        head += bytes((mask | 127,)) + struct.pack("!Q", len(payload))
    return head + (bytes(4) if masked else b"") + payload


class RawPeer:
    """One end of a WebSocket, frame by frame; it follows no rule by itself."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.buffer = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def read_head(self) -> bytes:
        """Read HTTP up to the empty line."""
        while b"\r\n\r\n" not in self.buffer:
            self.buffer += await self._more()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        return head

    async def read_frame(self) -> tuple[int, bytes]:
        """Read one frame: opcode and payload."""
        head = await self._exactly(2)
        length = head[1] & 0x7F
        if length >= 126:
            length = int.from_bytes(await self._exactly(2 if length == 126 else 8))
        mask = await self._exactly(4) if head[1] & 0x80 else bytes(4)
        payload = await self._exactly(length)
        return head[0] & 0x0F, bytes(b ^ mask[i % 4] for i, b in enumerate(payload))

    async def read_close(self) -> tuple[int, str]:
        """Read up to the close frame: its code and reason."""
        while True:
            opcode, payload = await self.read_frame()
            if opcode == CLOSE:
                return int.from_bytes(payload[:2]), payload[2:].decode()

    async def read_to_end(self) -> bytes:
        """Read until the other end closes."""
        while data := await self.stream.receive_some():
            self.buffer += data
        return self.buffer

    async def send_eof(self) -> None:
        """Send no more, and go on reading."""
        assert isinstance(self.stream, trio.SocketStream)
        await self.stream.send_eof()

    def number(self) -> int:
        """Return the file descriptor, to write to without a checkpoint."""
        assert isinstance(self.stream, trio.SocketStream)
        return self.stream.socket.fileno()

    def reset(self) -> None:
        """End the connection by a TCP reset."""
        assert isinstance(self.stream, trio.SocketStream)
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.socket.close()

    async def _exactly(self, count: int) -> bytes:
        while len(self.buffer) < count:
            self.buffer += await self._more()
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    async def _more(self) -> bytes:
        data = await self.stream.receive_some()
        if not data:
            raise EOFError("the other end closed")
        return bytes(data)


@asynccontextmanager
async def raw_client(
    server: str,
    *,
    max_message_size: int | None = None,
    small_buffers: bool = False,
    request: bytes = REQUEST,
) -> AsyncGenerator[tuple[Transport, RawPeer], None]:
    """Open a server's end, and a client that the test plays; the handshake is done."""
    async with connected_sockets() as (stream, other):
        if small_buffers:
            for each in (stream, other):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32_768)
                each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
        raw = RawPeer(other)
        await raw.send(request)
        end = accept(choose(server), stream, max_message_size=max_message_size)
        async with end as transport:
            assert b" 101 " in await raw.read_head()
            yield transport, raw


@asynccontextmanager
async def raw_server(
    client: str,
    answer: Callable[[RawPeer, bytes], Awaitable[None]],
    *,
    max_message_size: int | None = None,
) -> AsyncGenerator[AbstractAsyncContextManager[Transport], None]:
    """Run a server that the test plays, and yield what connects a client to it.

    Args:
        client: The implementation of the client's end.
        answer: Plays the server; called with the head of the client's request.
        max_message_size: The client's limit.
    """
    async with listening() as (listener, port), trio.open_nursery() as nursery:

        async def serve() -> None:
            async with await listener.accept() as stream:
                raw = RawPeer(stream)
                try:
                    await answer(raw, await raw.read_head())
                except (trio.BrokenResourceError, EOFError):
                    return

        nursery.start_soon(serve)
        yield choose(client).connect("127.0.0.1", port, max_message_size=max_message_size)
        nursery.cancel_scope.cancel()
