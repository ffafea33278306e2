"""Waiting until a socket can be read, in Trio's own way, which works on every system."""

from __future__ import annotations

import socket

import trio

__all__ = ["Readiness"]


class Readiness:
    """Whether one socket can be read, for the one task that reads it.

    Args:
        source: The socket. It does not block, and is open until `close` was called.
    """

    __slots__ = ("_socket",)

    def __init__(self, source: socket.socket) -> None:
        self._socket = source

    async def wait(self) -> None:
        """Wait until it may be readable, or until `wake`; cancellation changes nothing.

        Raises:
            trio.ClosedResourceError: `wake` was called, perhaps.
        """
        await trio.lowlevel.wait_readable(self._socket)

    def drained(self) -> None:
        """Note that all that had come is read."""

    def wake(self) -> None:
        """End a `wait`; it returns, or raises."""
        trio.lowlevel.notify_closing(self._socket)

    def close(self) -> None:
        """Watch it no more; once, before it is closed."""
