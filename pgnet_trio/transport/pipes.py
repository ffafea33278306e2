"""Byte pipes: they write without waiting, over a socket or over any Trio stream."""

from __future__ import annotations

import contextlib
import math
import socket
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from pgnet_trio.transport.readiness import LONG_READ_SIZE
from pgnet_trio.transport.rules import CLOSED_HERE
from pgnet_trio.transport.streams import (
    broken,
    close_at_once,
    detach,
    helper_nursery,
    peer_address,
    round_trip,
)
from pgnet_trio.transport.traffic import Traffic

if sys.platform == "linux":
    from pgnet_trio.transport.epoll import watch
else:
    from pgnet_trio.transport.readiness import Readiness

    watch = Readiness

if TYPE_CHECKING:
    from pgnet_trio.transport.rounds import TakeData

__all__ = [
    "BytePipe",
    "SocketPipe",
    "StreamPipe",
    "open_pipe",
]


class BytePipe(ABC):
    """Bytes both ways. One task reads. Writing never waits: the pipe keeps what does not go out.

    Attributes:
        peer: The address of the other end, without a port.
        last_sent: When unsent bytes last went out, in seconds of ``trio.current_time()``; minus
            infinity where none ever did.
        take_data: Called with bytes that come while a `read` waits, where the pipe takes part in
            rounds of reading; that `read` returns what this returns, or waits on where that is
            nothing. What it raises, that `read` raises. None to have `read` return the bytes.
    """

    peer: str
    last_sent: float = -math.inf
    take_data: TakeData | None = None

    @property
    def source(self) -> socket.socket | None:
        """The connection itself, which the pipe owns; None where its bytes are not the pipe's."""
        return None

    @property
    def round_trip(self) -> float | None:
        """Seconds from here to the other end and back, as the system measures it."""
        source = self.source
        return None if source is None else round_trip(source)

    @property
    @abstractmethod
    def unsent(self) -> bool:
        """Whether bytes wait inside the pipe to be sent."""

    @abstractmethod
    async def read(self) -> bytes:
        """Wait for bytes; cancellation loses none.

        Returns:
            At least one byte; none when the peer sends no more.

        Raises:
            trio.BrokenResourceError: The connection broke.
            trio.ClosedResourceError: `interrupt` or `close` was called.
        """

    @abstractmethod
    def write_nowait(self, data: bytes) -> bool:
        """Write as much as goes out at once, behind what is unsent; keep the rest.

        Returns:
            Whether nothing is left unsent.

        Raises:
            trio.BrokenResourceError: The connection broke.
        """

    @abstractmethod
    async def flush(self) -> None:
        """Wait until nothing is left unsent; cancellation changes nothing.

        Raises:
            trio.BrokenResourceError: The connection broke.
            trio.ClosedResourceError: `interrupt` or `close` was called.
        """

    @abstractmethod
    def half_close(self) -> None:
        """Tell the peer that no more bytes come, where the connection can say that."""

    @abstractmethod
    def interrupt(self) -> None:
        """Make a `read` and a `flush` that wait raise; the pipe can still be used."""

    @abstractmethod
    async def close(self) -> None:
        """Close at once, without waiting for anything, even when cancelled; idempotent."""


class SocketPipe(BytePipe):
    """Bytes over a connected socket, without Trio's own socket object.

    Trio's socket first tries to read, in vain where nothing has come yet, and passes through the
    scheduler once more than is needed. That is a third of the cost of carrying a short message.

    Args:
        source: The socket, which the pipe owns from here on.
        peer: The address of the other end, without a port.
        traffic: Counts the bytes; None for nobody who wants to know.
    """

    def __init__(self, source: socket.socket, peer: str, traffic: Traffic | None = None) -> None:
        self.peer = peer
        self._socket = source
        self._traffic = traffic or Traffic()
        source.setblocking(False)
        self._readiness = watch(self._socket, self._traffic)
        self._unsent: memoryview | None = None
        self._interrupts = 0
        self._flushing = 0
        self._closed = False

    @property
    def source(self) -> socket.socket:
        """The connection itself."""
        return self._socket

    @property
    def unsent(self) -> bool:
        """Whether bytes wait inside the pipe to be sent."""
        return self._unsent is not None

    @property
    def take_data(self) -> TakeData | None:
        """What takes bytes in rounds of reading; see `BytePipe`."""
        return self._readiness.take_data

    @take_data.setter
    def take_data(self, take: TakeData | None) -> None:
        self._readiness.take_data = take

    async def read(self) -> bytes:
        """Wait for bytes; see `BytePipe.read`."""
        interrupts, readiness = self._interrupts, self._readiness
        while True:
            if self._closed:
                raise trio.ClosedResourceError(CLOSED_HERE)
            if readiness.left is None:
                await readiness.wait()
            else:
                await trio.lowlevel.checkpoint()
            if self._interrupts != interrupts:
                raise trio.ClosedResourceError(CLOSED_HERE)
            left, readiness.left = readiness.left, None
            if isinstance(left, BaseException):
                raise left
            data = readiness.read_once() if left is None else left
            if data is not None:
                return data

    def write_nowait(self, data: bytes) -> bool:
        """Write what goes out at once; see `BytePipe.write_nowait`."""
        if self._unsent is not None:
            if data:
                self._unsent = memoryview(bytes(self._unsent) + data)
            return self._send_unsent()
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as exc:
            raise broken(exc) from exc
        self._traffic.sent += sent
        if sent == len(data):
            return True
        self._unsent = memoryview(data)[sent:]
        return False

    async def flush(self) -> None:
        """Wait until nothing is left unsent; see `BytePipe.flush`."""
        interrupts = self._interrupts
        while self._unsent is not None:
            if self._closed:
                raise trio.ClosedResourceError(CLOSED_HERE)
            self._flushing += 1
            try:
                await trio.lowlevel.wait_writable(self._socket)
            finally:
                self._flushing -= 1
            if self._interrupts != interrupts:
                raise trio.ClosedResourceError(CLOSED_HERE)
            self._send_unsent()

    def half_close(self) -> None:
        """Tell the peer that no more bytes come."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def interrupt(self) -> None:
        """Make a `read` and a `flush` that wait raise."""
        # A task that was woken before, but has not run yet, notices the interruption by this alone.
        self._interrupts += 1
        if not self._closed:
            self._readiness.wake()
            if self._flushing:
                trio.lowlevel.notify_closing(self._socket)

    async def close(self) -> None:
        """Close at once; idempotent."""
        self.interrupt()
        if not self._closed:
            self._closed = True
            self._readiness.close()
            # It holds those above, who hold it: or the garbage collector would have to find them.
            self._readiness.take_data = None
            self._socket.close()

    def _send_unsent(self) -> bool:
        if self._unsent is not None:
            try:
                sent = self._socket.send(self._unsent)
                self._traffic.sent += sent
                self._unsent = self._unsent[sent:] or None
                self.last_sent = trio.current_time()
            except BlockingIOError:
                return False
            except OSError as exc:
                self._unsent = None
                raise broken(exc) from exc
        return self._unsent is None


class StreamPipe(BytePipe):
    """Bytes over any Trio stream: TLS, or a stream in memory.

    A stream cannot write without waiting, so a task of the pipe, `run`, does the writing.

    Args:
        stream: The stream; the pipe owns it.
        peer: The address of the other end, without a port.
        traffic: Counts the bytes; None for nobody who wants to know.
    """

    def __init__(self, stream: trio.abc.Stream, peer: str, traffic: Traffic | None = None) -> None:
        self.peer = peer
        self._traffic = traffic or Traffic()
        self._stream = stream
        self._unsent = bytearray()
        self._written = trio.Event()
        self._flushed = trio.Event()
        self._reading = trio.CancelScope()
        self._read_ended: trio.Event | None = None
        self._flushing = trio.CancelScope()
        self._failure: Exception | None = None
        self._closed = False

    @property
    def unsent(self) -> bool:
        """Whether bytes wait inside the pipe to be sent."""
        return bool(self._unsent)

    async def run(self) -> None:
        """Write until the pipe is closed or cancelled, or the stream breaks."""
        while not self._closed:
            await self._written.wait()
            self._written = trio.Event()
            while self._unsent:
                data = bytes(self._unsent)
                try:
                    await self._stream.send_all(data)
                except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
                    self._failure = exc
                    self._wake_flush()
                    return
                self._traffic.sent += len(data)
                del self._unsent[: len(data)]
                self.last_sent = trio.current_time()
            self._wake_flush()

    async def read(self) -> bytes:
        """Wait for bytes; see `BytePipe.read`."""
        while self._read_ended is not None:
            # A read that was interrupted may take a while to leave the stream, as with TLS.
            await self._read_ended.wait()
        if self._closed:
            raise trio.ClosedResourceError(CLOSED_HERE)
        self._read_ended = read_ended = trio.Event()
        try:
            with trio.CancelScope() as self._reading:
                data = bytes(await self._stream.receive_some(LONG_READ_SIZE))
                self._traffic.received += len(data)
                return data
        except trio.BrokenResourceError as exc:
            raise broken(exc) from exc
        finally:
            self._read_ended = None
            read_ended.set()
        raise trio.ClosedResourceError(CLOSED_HERE)

    def write_nowait(self, data: bytes) -> bool:
        """Write what goes out at once; see `BytePipe.write_nowait`."""
        self._check()
        self._unsent += data
        self._written.set()
        return not self._unsent

    async def flush(self) -> None:
        """Wait until nothing is left unsent; see `BytePipe.flush`."""
        with trio.CancelScope() as self._flushing:
            while self._unsent:
                self._check()
                await self._flushed.wait()
            return
        raise trio.ClosedResourceError(CLOSED_HERE)

    def half_close(self) -> None:
        """Do nothing: TLS cannot close one direction alone."""

    def interrupt(self) -> None:
        """Make a `read` and a `flush` that wait raise."""
        self._reading.cancel()
        self._flushing.cancel()

    async def close(self) -> None:
        """Close at once; idempotent."""
        if not self._closed:
            self._closed = True
            self._written.set()
            self.interrupt()
            await close_at_once(self._stream)

    def _wake_flush(self) -> None:
        self._flushed.set()
        self._flushed = trio.Event()

    def _check(self) -> None:
        if self._failure is not None:
            raise broken(self._failure) from self._failure


@asynccontextmanager
async def open_pipe(
    stream: socket.socket | trio.abc.Stream,
    peer: str | None = None,
    traffic: Traffic | None = None,
) -> AsyncGenerator[BytePipe, None]:
    """Make the pipe that suits a connection, and close it at exit.

    Args:
        stream: The connection. This function owns it, and closes it whatever happens.
        peer: The address of the other end, without a port; None to ask the connection.
        traffic: Counts the bytes; None for nobody who wants to know.

    Raises:
        trio.BrokenResourceError: The peer is gone already.
    """
    pipe: SocketPipe | StreamPipe
    try:
        peer = peer or peer_address(stream)
        if isinstance(stream, trio.SocketStream):
            stream = detach(stream)
        if isinstance(stream, socket.socket):
            pipe = SocketPipe(stream, peer, traffic)
        else:
            pipe = StreamPipe(stream, peer, traffic)
    except BaseException:
        if isinstance(stream, socket.socket):
            stream.close()
        else:
            await close_at_once(stream)
        raise
    try:
        if isinstance(pipe, SocketPipe):
            yield pipe
        else:
            async with helper_nursery() as nursery:
                nursery.start_soon(pipe.run)
                yield pipe
    finally:
        await pipe.close()
