"""Waiting until a socket can be read, on Linux, with fewer system calls than Trio needs.

Trio arms its epoll set anew for each wait, by a system call, and a connection waits once for each
message. Here each socket is registered once, edge-triggered, in a set of our own; Trio waits for
that set (epoll(7), "Level-triggered and edge-triggered"). The task of the set reads sockets too, in
rounds: see `pgnet_trio.transport.rounds`.
"""

from __future__ import annotations

import contextlib
import logging
import math
import select
import socket
import sys
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING

import trio

from pgnet_trio.transport.readiness import LONG_READ_SIZE, READ_SIZE, Readiness
from pgnet_trio.transport.rounds import (
    MOST_ROOMS,
    MOST_SOCKETS,
    ROUNDS_BEFORE_DELAY,
    Round,
    are_on,
)
from pgnet_trio.transport.streams import broken

if TYPE_CHECKING:
    from pgnet_trio.transport.traffic import Traffic

assert not TYPE_CHECKING or sys.platform == "linux"

__all__ = ["watch"]

_log = logging.getLogger(__name__)

_ENDED = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


def watch(source: socket.socket, traffic: Traffic) -> Readiness:
    """Watch a socket, by Trio itself where a set of our own is not possible.

    It is not possible where the system has no room for a set or for another socket in it, and at
    the end of a run of Trio, when no task can be started any more.

    Args:
        source: The socket. It must not block, and must stay open until `Readiness.close` was
            called.
        traffic: Counts the bytes that come.
    """
    try:
        watched = _current.get(None)
        if watched is None or watched.ended:
            watched = _Set()
            trio.lowlevel.spawn_system_task(watched.run)
            _current.set(watched)
        return _Watched(source, traffic, watched)
    except (OSError, RuntimeError):
        return Readiness(source, traffic)


class _Set:
    """The sockets of one run of Trio. The set ends when the last of them is removed."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._reads = are_on()
        self._watched: dict[int, _Watched] = {}
        # The sockets that rounds have to look at, the one that waited longest first.
        self._ready: deque[_Watched] = deque()
        # What writes what was said in a round that had no time left for it.
        self._flushes: dict[Callable[[], None], None] = {}
        self._waiting = False
        # How long sockets may wait after the rounds before this one, and after how many in a row.
        self._delay = 0.0
        self._delaying_rounds = 0
        self._current_time = trio.lowlevel.current_clock().current_time

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
            if self._waiting:
                # No cancellation: a scope that some game's code has left open may shield the task.
                trio.lowlevel.notify_closing(self._epoll.fileno())
            if _current.get(None) is self:
                _current.set(None)

    async def run(self) -> None:
        """Wake the tasks whose sockets can be read, until no socket is left or the run ends."""
        try:
            # OSError: Trio has no room for the set. The sockets are left to Trio then.
            with self._epoll, contextlib.suppress(OSError, trio.ClosedResourceError):
                while self._watched:
                    await self._hold_rounds()
        finally:
            for flush in self._flushes:
                flush()
            for watched in self._watched.values():
                watched.leave_to_trio()

    async def _hold_rounds(self) -> None:
        try:
            # A game's code that runs in a round may leave a scope of its own open in this task. If
            # that one is cancelled, closing this one around it repairs the task, and says so.
            with trio.CancelScope():
                while self._watched:
                    await self._wait()
                    self._hold_round()
        except RuntimeError as error:
            if not isinstance(error.__context__, trio.Cancelled):
                raise
            _log.error("A cancel scope was left open in a round of reading", exc_info=error)

    async def _wait(self) -> None:
        """Wait until a socket is ready; where one is already, let the other tasks run first."""
        if self._ready or self._flushes:
            await trio.lowlevel.checkpoint()
            return
        if self._delaying_rounds >= ROUNDS_BEFORE_DELAY:
            await trio.sleep(self._delay)
            if not self._watched:
                return
        self._waiting = True
        try:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
        finally:
            self._waiting = False

    def _hold_round(self) -> None:
        """Read once from each socket that is ready, as far as the limits of a round allow."""
        ready = self._ready
        for fd, flags in self._epoll.poll(0, MOST_SOCKETS):
            watched = self._watched[fd]
            watched.may_read = True
            if flags & _ENDED:
                watched.ended = True
            if not self._reads:
                watched.wake_reader()
            elif not watched.is_queued:
                watched.is_queued = True
                ready.append(watched)
        if not (ready or self._flushes):
            return
        round = Round(self._current_time())
        if self._flushes:
            # Nothing new is said before all that was said is written.
            round.flushes = self._flushes
            round.flush()
            self._flushes = round.flushes
        if self._flushes or not ready:
            return
        try:
            for _ in range(min(len(ready), MOST_SOCKETS)):
                watched = ready.popleft()
                watched.is_queued = False
                if watched.read(round):
                    watched.is_queued = True
                    ready.append(watched)
                if len(round.flushes) >= MOST_ROOMS:
                    round.flush()
                # As `is_over`, without a call for each socket.
                if perf_counter() >= round.until:
                    break
        finally:
            round.flush()
            self._flushes = round.flushes
        if round.delay <= 0:
            self._delaying_rounds = 0
        elif round.delay < math.inf:
            self._delay = round.delay
            self._delaying_rounds += 1


class _Watched(Readiness):
    """A socket in a set. The kernel reports an edge once, so it is remembered until all is read.

    Attributes:
        may_read: Whether there may be something to read.
        ended: Whether the peer sends no more. No edge comes any more then, but the end itself has
            to be read.
        is_queued: Whether a round is going to look at it.
    """

    __slots__ = ("_fd", "_left_to_trio", "_set", "_task", "ended", "is_queued", "may_read")

    def __init__(self, source: socket.socket, traffic: Traffic, watched: _Set) -> None:
        super().__init__(source, traffic)
        self.may_read = False
        self.ended = False
        self._left_to_trio = False
        self._task: trio.lowlevel.Task | None = None
        self.is_queued = False
        self._set = watched
        self._fd = source.fileno()
        watched.add(self._fd, self)

    async def wait(self) -> None:
        if self._left_to_trio:
            await super().wait()
        elif self.may_read:
            await trio.lowlevel.checkpoint()
        else:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._stop_waiting)

    def drained(self) -> None:
        self.may_read = self.ended

    def wake(self) -> None:
        self.wake_reader()
        if self._left_to_trio:
            super().wake()

    def close(self) -> None:
        self._set.remove(self._fd)

    def read(self, round: Round) -> bool:
        """Read once for the task that waits, or wake it; return whether there is more to read."""
        # A task that does not wait, because it was cancelled, say, reads for itself.
        task = self._task
        if task is None or not self.may_read:
            return False
        take = self.take_data
        if take is not None:
            try:
                # As `read_once`, without a call for each message.
                size = self._read_size
                try:
                    data = self._socket.recv(size)
                except BlockingIOError:
                    self.may_read = self.ended
                    return self.may_read
                except OSError as exc:
                    raise broken(exc) from exc
                count = len(data)
                self._traffic.received += count
                if count < size:
                    self.may_read = self.ended
                self._read_size = READ_SIZE if count < READ_SIZE else LONG_READ_SIZE
                # In the context of that task: what the code of an author sets there stays there.
                if data and not (data := task.context.run(take, data, round)):
                    return self.may_read
                self.left = data
            except BaseException as exc:
                # For the task that reads: here it would end the reading of all sockets.
                self.left = exc
        # Nobody knows what that task is going to do with it.
        round.delay = 0.0
        self.wake_reader()
        return False

    def leave_to_trio(self) -> None:
        """Let Trio itself wait from now on, because the set has ended."""
        self._left_to_trio = True
        self.wake_reader()

    def wake_reader(self) -> None:
        """Wake the task that waits, if any."""
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    def _stop_waiting(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED


_current: trio.lowlevel.RunVar[_Set | None] = trio.lowlevel.RunVar("pgnet_trio sockets")
