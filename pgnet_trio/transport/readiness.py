"""Waiting until a socket can be read, by Trio itself, which works on every system."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from pgnet_trio.transport.rounds import Round

__all__ = ["Readiness"]


class Readiness:
    """Tells the one task that reads a socket when it can be read.

    Args:
        source: The socket. It must not block, and must stay open until `close` was called.

    Attributes:
        read_now: Reads the socket once, in a round of reading, while the task waits; returns False
            to have the task woken. None to wake it at once. Only some implementations have rounds.
    """

    __slots__ = ("_socket", "read_now")

    def __init__(self, source: socket.socket) -> None:
        self._socket = source
        self.read_now: Callable[[Round], bool] | None = None

    async def wait(self) -> None:
        """Wait until the socket may be readable, or `wake` is called.

        Cancellation changes nothing.

        Raises:
            trio.ClosedResourceError: `wake` was called; some implementations return instead.
        """
        await trio.lowlevel.wait_readable(self._socket)

    def drained(self) -> None:
        """Record that all bytes that had come were read."""

    def wake(self) -> None:
        """Make a `wait` that goes on return or raise."""
        trio.lowlevel.notify_closing(self._socket)

    def close(self) -> None:
        """Stop watching; call it once, before the socket is closed."""
