"""A TCP proxy between clients and a server, which records and may change every byte."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import trio

__all__ = ["InterceptingProxy", "ProxiedConnection", "intercepting"]

Edit = Callable[[bytes], bytes]


@attrs.define(eq=False)
class ProxiedConnection:
    """One connection through the proxy.

    Attributes:
        client: The proxy's end of the client's connection.
        server: The proxy's end of the connection to the server.
        sent: The bytes that the client sent.
        received: The bytes that the server sent.
    """

    client: trio.SocketStream
    server: trio.SocketStream
    sent: bytearray = attrs.field(factory=bytearray)
    received: bytearray = attrs.field(factory=bytearray)

    async def reset(self) -> None:
        """Reset the connection at both ends, as a router does that forgot it."""
        for stream in (self.client, self.server):
            try:
                # Closing with a linger time of 0 sends an RST.
                linger = struct.pack("ii", 1, 0)
                stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            except OSError:
                continue
            await trio.aclose_forcefully(stream)


@attrs.define(eq=False)
class InterceptingProxy:
    """Accepts connections, and passes what it reads on to a server.

    Attributes:
        port: The port that clients connect to.
        target: The server's port.
        to_server: Called with what a client sends; returns what to pass on.
        to_client: Called with what the server sends; returns what to pass on.
        refusing: Whether new connections are closed at once, as if the network were down.
        connections: All connections so far.
    """

    port: int
    target: int
    to_server: Edit = bytes
    to_client: Edit = bytes
    refusing: bool = False
    connections: list[ProxiedConnection] = attrs.field(factory=list)

    async def reset(self) -> None:
        """Reset every connection."""
        for connection in self.connections:
            await connection.reset()

    async def serve(self, client: trio.SocketStream) -> None:
        """Pass on one connection, until both ends have closed it."""
        if self.refusing:
            await trio.aclose_forcefully(client)
            return
        async with client, await trio.open_tcp_stream("127.0.0.1", self.target) as server:
            connection = ProxiedConnection(client, server)
            self.connections.append(connection)

            async def pass_on(
                source: trio.SocketStream,
                sink: trio.SocketStream,
                record: bytearray,
                to_server: bool,
            ) -> None:
                try:
                    while data := await source.receive_some(65536):
                        record += data
                        await sink.send_all((self.to_server if to_server else self.to_client)(data))
                    await sink.send_eof()
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    await connection.reset()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(pass_on, client, server, connection.sent, True)
                nursery.start_soon(pass_on, server, client, connection.received, False)


@asynccontextmanager
async def intercepting(target: int | None) -> AsyncIterator[InterceptingProxy]:
    """Run a proxy before a server's port for as long as the block lasts."""
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        proxy = InterceptingProxy(listener.socket.getsockname()[1], target or 0)
        nursery.start_soon(trio.serve_listeners, proxy.serve, [listener])
        yield proxy
        nursery.cancel_scope.cancel()
