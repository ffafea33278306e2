"""Proxies between clients and a server that drop and stall what passes; loopback only."""

from __future__ import annotations

import random
import socket
import struct

import attrs
import trio

__all__ = ["FaultyProxy"]

# Each read takes as much at first, and leaves a hole when it is cut to what came: with 64 KiB the
# heap's holes grew by half a MiB a minute, which looked like a leak.
CHUNK = 4096

# SO_LINGER with no time to linger: closing then resets the connection.
RESET = struct.pack("ii", 1, 0)


@attrs.frozen(eq=False)
class _ProxiedConnection:
    near: trio.SocketStream
    far: trio.SocketStream

    def abort(self, *, reset: bool) -> None:
        for stream in (self.near, self.far):
            if reset:
                try:
                    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                except OSError:
                    # It is closed already.
                    continue
            stream.socket.close()


class FaultyProxy:
    """Takes connections on a port of its own, and passes them on.

    Args:
        seed: Decides how connections are dropped.

    Attributes:
        port: Where it listens; there once it was started.
        target: The port on which the server listens; None while there is none.
    """

    def __init__(self, seed: str) -> None:
        self.port = 0
        self.target: int | None = None
        self._chance = random.Random(seed)
        self._connections: set[_ProxiedConnection] = set()
        self._stalled = False
        self._changed = trio.lowlevel.ParkingLot()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Pass connections on until cancelled."""
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, self._pass_on, [listener])
            task_status.started()

    async def connect(self) -> trio.SocketStream:
        """Connect to the server."""
        assert self.target is not None
        return await trio.open_tcp_stream("127.0.0.1", self.target)

    def drop(self) -> None:
        """Break all connections."""
        for connection in list(self._connections):
            connection.abort(reset=self._chance.random() < 0.5)

    def stall(self, stalled: bool) -> None:
        """Let nothing pass, or let it pass again."""
        self._stalled = stalled
        self._changed.unpark_all()

    async def _pass_on(self, near: trio.SocketStream) -> None:
        async with near:
            try:
                if self.target is None:
                    return
                far = await self.connect()
            except OSError:
                return
            connection = _ProxiedConnection(near, far)
            self._connections.add(connection)
            try:
                async with far, trio.open_nursery() as nursery:
                    nursery.start_soon(self._pump, near, far, nursery.cancel_scope)
                    nursery.start_soon(self._pump, far, near, nursery.cancel_scope)
            finally:
                self._connections.remove(connection)

    async def _pump(
        self, source: trio.SocketStream, sink: trio.SocketStream, both: trio.CancelScope
    ) -> None:
        try:
            while data := await source.receive_some(CHUNK):
                await self._wait()
                await sink.send_all(data)
            await self._wait()
            await sink.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await self._wait()
            both.cancel()

    async def _wait(self) -> None:
        while self._stalled:
            await self._changed.park()
