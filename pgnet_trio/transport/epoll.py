"""Waiting until a socket can be read, on Linux, with fewer system calls than Trio needs.

Trio arms its epoll set anew for each wait, by a system call, and a connection waits once for each
message. Here each socket is registered once, edge-triggered, in a set of our own; Trio waits for
that set (epoll(7), "Level-triggered and edge-triggered").
"""

from __future__ import annotations

import contextlib
import select
import socket
import sys
from typing import TYPE_CHECKING

import trio

from pgnet_trio.transport.readiness import Readiness

assert not TYPE_CHECKING or sys.platform == "linux"

__all__ = ["watch"]

_ENDED = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


def watch(source: socket.socket) -> Readiness:
    """Watch a socket, by Trio itself where a set of our own is not possible.

    It is not possible where the system has no room for a set or for another socket in it, and at
    the end of a run of Trio, when no task can be started any more.

    Args:
        source: The socket. It must not block, and must stay open until `Readiness.close` was
            called.
    """
    try:
        watched = _current.get(None)
        if watched is None or watched.ended:
            watched = _Set()
            trio.lowlevel.spawn_system_task(watched.run)
            _current.set(watched)
        return _Watched(source, watched)
    except (OSError, RuntimeError):
        return Readiness(source)


class _Set:
    """The sockets of one run of Trio. The set ends when the last of them is removed."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._scope = trio.CancelScope()
        self._watched: dict[int, _Watched] = {}

    @property
    def ended(self) -> bool:
        """Whether the set wakes nobody any more."""
        return self._epoll.closed

    def add(self, fd: int, watched: _Watched) -> None:
        self._epoll.register(fd, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)
        self._watched[fd] = watched

    def remove(self, fd: int) -> None:
        del self._watched[fd]
        if not self.ended:
            self._epoll.unregister(fd)
        if not self._watched:
            self._scope.cancel()
            if _current.get(None) is self:
                _current.set(None)

    async def run(self) -> None:
        """Wake the tasks whose sockets can be read, until no socket is left or the run ends."""
        try:
            # OSError: Trio has no room for the set. The sockets are left to Trio then.
            with self._epoll, self._scope, contextlib.suppress(OSError):
                while True:
                    await trio.lowlevel.wait_readable(self._epoll.fileno())
                    for fd, flags in self._epoll.poll(0):
                        self._watched[fd].note_edge(ended=bool(flags & _ENDED))
        finally:
            for watched in self._watched.values():
                watched.leave_to_trio()


class _Watched(Readiness):
    """A socket in a set. The kernel reports an edge once, so it is remembered until all is read."""

    __slots__ = ("_ended", "_fd", "_left_to_trio", "_may_read", "_set", "_task")

    def __init__(self, source: socket.socket, watched: _Set) -> None:
        super().__init__(source)
        self._may_read = False
        # After the end no edge comes any more, but the end itself has to be read.
        self._ended = False
        self._left_to_trio = False
        self._task: trio.lowlevel.Task | None = None
        self._set = watched
        self._fd = source.fileno()
        watched.add(self._fd, self)

    async def wait(self) -> None:
        if self._left_to_trio:
            await super().wait()
        elif self._may_read:
            await trio.lowlevel.checkpoint()
        else:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._stop_waiting)

    def drained(self) -> None:
        self._may_read = self._ended

    def wake(self) -> None:
        self._resume()
        if self._left_to_trio:
            super().wake()

    def close(self) -> None:
        self._set.remove(self._fd)

    def note_edge(self, *, ended: bool) -> None:
        """Record that bytes have come, and whether the peer sends no more."""
        self._may_read = True
        self._ended = self._ended or ended
        self._resume()

    def leave_to_trio(self) -> None:
        """Let Trio itself wait from now on, because the set has ended."""
        self._left_to_trio = True
        self._resume()

    def _resume(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    def _stop_waiting(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED


_current: trio.lowlevel.RunVar[_Set | None] = trio.lowlevel.RunVar("pgnet_trio sockets")
