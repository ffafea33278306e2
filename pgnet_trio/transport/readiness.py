"""Reading a socket when it can be read: here Trio itself waits, which works on every system."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import trio

from pgnet_trio.transport.streams import broken

if TYPE_CHECKING:
    from pgnet_trio.transport.rounds import TakeData
    from pgnet_trio.transport.traffic import Traffic

__all__ = ["LONG_READ_SIZE", "READ_SIZE", "Readiness"]

READ_SIZE = 4096
"""Bytes to ask for where little is expected, which is nearly always.

Python allocates as many bytes as it asks for, and then shrinks the object in place: with more, the
heap gets full of holes.
"""

LONG_READ_SIZE = 65536
"""Bytes to ask for in the middle of something long."""


class Readiness:
    """Reads a socket for the one task that waits for its bytes.

    Args:
        source: The socket. It must not block, and must stay open until `close` was called.
        traffic: Counts the bytes that come.

    Attributes:
        take_data: Takes what a round of reading reads while that task waits; see
            `pgnet_trio.transport.pipes.BytePipe`. Only some implementations have rounds.
        left: What a round has left to that task, which it has woken: bytes, or an error to raise.
    """

    __slots__ = ("_read_size", "_socket", "_traffic", "left", "take_data")

    def __init__(self, source: socket.socket, traffic: Traffic) -> None:
        self._socket = source
        self._traffic = traffic
        self._read_size = READ_SIZE
        self.take_data: TakeData | None = None
        self.left: bytes | BaseException | None = None

    async def wait(self) -> None:
        """Wait until the socket may be readable, or `wake` is called.

        Cancellation changes nothing.

        Raises:
            trio.ClosedResourceError: `wake` was called; some implementations return instead.
        """
        await trio.lowlevel.wait_readable(self._socket)

    def read_once(self) -> bytes | None:
        """Return what has come, empty at the end; None where nothing has.

        Raises:
            trio.BrokenResourceError: The connection broke.
        """
        size = self._read_size
        try:
            data = self._socket.recv(size)
        except BlockingIOError:
            self.drained()
            return None
        except OSError as exc:
            raise broken(exc) from exc
        self._traffic.received += len(data)
        if len(data) < size:
            self.drained()
        self._read_size = READ_SIZE if len(data) < READ_SIZE else LONG_READ_SIZE
        return data

    def drained(self) -> None:
        """Record that all bytes that had come were read."""

    def wake(self) -> None:
        """Make a `wait` that goes on return or raise."""
        trio.lowlevel.notify_closing(self._socket)

    def close(self) -> None:
        """Stop watching; call it once, before the socket is closed."""
