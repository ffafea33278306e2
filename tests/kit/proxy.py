"""Somebody between clients and a server, who sees and changes every byte that passes."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import trio

__all__ = ["Middleman", "Passage", "in_the_middle"]

Edit = Callable[[bytes], bytes]


@attrs.define(eq=False)
class Passage:
    """One connection that goes through.

    Attributes:
        sent: What the client sent.
        received: What it was sent.
    """

    client: trio.SocketStream
    server: trio.SocketStream
    sent: bytearray = attrs.field(factory=bytearray)
    received: bytearray = attrs.field(factory=bytearray)

    async def reset(self) -> None:
        """Reset the connection at both ends, as a router does that has forgotten it."""
        for stream in (self.client, self.server):
            try:
                # Closing with a linger time of 0 sends an RST.
                linger = struct.pack("ii", 1, 0)
                stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            except OSError:
                continue
            await trio.aclose_forcefully(stream)


@attrs.define(eq=False)
class Middleman:
    """Takes connections, and passes what comes on to a server.

    Attributes:
        port: Where clients connect.
        target: The server's port.
        to_server: Changes what clients send.
        to_client: Changes what servers send.
        passages: All connections so far.
    """

    port: int
    target: int
    to_server: Edit = bytes
    to_client: Edit = bytes
    passages: list[Passage] = attrs.field(factory=list)

    async def reset(self) -> None:
        """Reset every connection."""
        for passage in self.passages:
            await passage.reset()

    async def serve(self, client: trio.SocketStream) -> None:
        async with client, await trio.open_tcp_stream("127.0.0.1", self.target) as server:
            passage = Passage(client, server)
            self.passages.append(passage)

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
                    await passage.reset()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(pass_on, client, server, passage.sent, True)
                nursery.start_soon(pass_on, server, client, passage.received, False)


@asynccontextmanager
async def in_the_middle(target: int | None) -> AsyncIterator[Middleman]:
    """Have somebody stand before a server's port for as long as the block lasts."""
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        middleman = Middleman(listener.socket.getsockname()[1], target or 0)
        nursery.start_soon(trio.serve_listeners, middleman.serve, [listener])
        yield middleman
        nursery.cancel_scope.cancel()
