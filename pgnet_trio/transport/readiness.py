"""Waiting until a socket can be read, where many sockets wait at once.

Trio arms its epoll set anew for each wait, by a system call. A connection that reads for all of its
life waits once for each message, so here each socket is registered once, edge-triggered, in a set
of its own, and Trio waits for that set. Elsewhere than on Linux, Trio does all of it.
"""

from __future__ import annotations

import select
import socket
import sys
from collections.abc import Awaitable
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from typing import Any

__all__ = ["Readiness", "watch"]


class Readiness:
    """Whether one socket can be read, for the one task that reads it.

    Args:
        source: The socket; it does not block.
    """

    __slots__ = ("_socket",)

    def __init__(self, source: socket.socket) -> None:
        self._socket = source

    def wait(self) -> Awaitable[Any]:
        """Wait until it may be readable, or `wake` was called; to be awaited at once."""
        return trio.lowlevel.wait_readable(self._socket)  # noqa: ASYNC105

    def drained(self) -> None:
        """Note that all that had come is read."""

    def wake(self) -> None:
        """Have whoever waits look again, by an error or without one."""
        trio.lowlevel.notify_closing(self._socket)

    def close(self) -> None:
        """Note that the socket is about to be closed."""


def watch(source: socket.socket) -> Readiness:
    """Watch a socket in the way that costs least here.

    Args:
        source: A connected socket that does not block; it is open until `Readiness.close`.
    """
    if sys.platform != "linux":
        return Readiness(source)
    readable = _readable.get(None)
    if readable is None:
        readable = _Set()
        _readable.set(readable)
        trio.lowlevel.spawn_system_task(readable.run)
    return _Watched(source, readable)


if sys.platform == "linux":
    _ENDED = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR

    class _Set:
        """The sockets of one run of Trio; it lasts as long as there are any."""

        def __init__(self) -> None:
            self._epoll = select.epoll()
            self._scope = trio.CancelScope()
            self._watched: dict[int, _Watched] = {}

        def add(self, fd: int, watched: _Watched) -> None:
            self._watched[fd] = watched
            self._epoll.register(fd, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)

        def remove(self, fd: int) -> None:
            del self._watched[fd]
            if not self._epoll.closed:
                self._epoll.unregister(fd)
            if not self._watched:
                self._scope.cancel()
                _readable.set(None)

        async def run(self) -> None:
            """Wake those whose sockets can be read, until there are none, or the run ends."""
            watched, poll = self._watched, self._epoll.poll
            with self._epoll, self._scope:
                while True:
                    await trio.lowlevel.wait_readable(self._epoll.fileno())
                    for fd, flags in poll(0):
                        watched[fd].note(ended=bool(flags & _ENDED))

    class _Watched(Readiness):
        """A socket in a set. An edge is told once, so it is remembered until all is read."""

        __slots__ = ("_ended", "_fd", "_may_read", "_set", "_task")

        def __init__(self, source: socket.socket, readable: _Set) -> None:
            super().__init__(source)
            self._may_read = False
            # Nothing more comes then, and no edge with it: the end itself is still to be read.
            self._ended = False
            self._task: trio.lowlevel.Task | None = None
            self._set: _Set | None = readable
            self._fd = source.fileno()
            readable.add(self._fd, self)

        def wait(self) -> Awaitable[Any]:
            if self._may_read:
                return trio.lowlevel.checkpoint()  # noqa: ASYNC105
            self._task = trio.lowlevel.current_task()
            return trio.lowlevel.wait_task_rescheduled(self._stop)  # noqa: ASYNC105

        def drained(self) -> None:
            self._may_read = self._ended

        def wake(self) -> None:
            task, self._task = self._task, None
            if task is not None:
                trio.lowlevel.reschedule(task)

        def close(self) -> None:
            readable, self._set = self._set, None
            if readable is not None:
                readable.remove(self._fd)

        def note(self, *, ended: bool) -> None:
            """Take an edge in."""
            self._may_read = True
            self._ended = self._ended or ended
            self.wake()

        def _stop(self, _: object) -> trio.lowlevel.Abort:
            self._task = None
            return trio.lowlevel.Abort.SUCCEEDED

    _readable: trio.lowlevel.RunVar[_Set | None] = trio.lowlevel.RunVar("pgnet_trio readable")
