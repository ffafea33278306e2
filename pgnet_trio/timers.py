"""Timers that cost no task each: one task of a run of Trio waits for all of them.

A connection looks every few seconds whether its peer is silent. A task for that would hold more
memory than all else of an idle connection.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
from collections.abc import Callable

import trio

__all__ = ["Timer"]

FEW = 64
"""Entries of timers that have moved on which are not worth a clean-up."""

LINGER = 0.1
"""Seconds that the task goes on without a timer: to start another one costs more than to wait."""


class Timer:
    """Calls a function at a time that may be moved; made in a task of Trio.

    Args:
        function: Called once for each time that is reached. It must neither wait nor raise.

    Attributes:
        deadline: When it is called next, in seconds of ``trio.current_time()``; infinity for never.
    """

    __slots__ = ("_function", "_timers", "deadline")

    def __init__(self, function: Callable[[], None]) -> None:
        self.deadline = math.inf
        self._function: Callable[[], None] | None = function
        self._timers = _current_timers()

    def set(self, deadline: float) -> None:
        """Have the function called at this time, and not at an earlier or later one."""
        if self._function is not None and deadline != self.deadline:
            self._timers.move(self, deadline)

    def close(self) -> None:
        """Never call the function again, and forget it."""
        if self._function is not None:
            self._timers.move(self, math.inf)
            self._function = None

    def fire(self) -> None:
        """Call the function; for the task that waits for all timers."""
        self.deadline = math.inf
        if self._function is not None:
            self._function()


class _Timers:
    """The timers of one run of Trio, and the task that waits for them."""

    def __init__(self) -> None:
        # Where a timer was moved, its earlier entries stay for a while, and mean nothing.
        self._entries: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._set = 0
        self._is_running = False
        self._waiting = trio.CancelScope()

    def move(self, timer: Timer, deadline: float) -> None:
        self._set += (deadline < math.inf) - (timer.deadline < math.inf)
        timer.deadline = deadline
        entries = self._entries
        if deadline < math.inf:
            heapq.heappush(entries, (deadline, next(self._numbers), timer))
            self._waiting.deadline = min(self._waiting.deadline, deadline)
        if len(entries) > FEW + 2 * self._set:
            entries[:] = [entry for entry in entries if entry[0] == entry[2].deadline]
            heapq.heapify(entries)
        if not self._set:
            self._waiting.deadline = min(self._waiting.deadline, trio.current_time() + LINGER)
        elif not self._is_running:
            self._is_running = True
            # RuntimeError: the run is over but for system tasks, and nobody waits any more.
            with contextlib.suppress(RuntimeError):
                trio.lowlevel.spawn_system_task(self._run)

    async def _run(self) -> None:
        """Fire timers, as long as any is set."""
        while self._set:
            with trio.CancelScope(deadline=self._entries[0][0]) as self._waiting:
                await trio.sleep_forever()
            self._fire_due(trio.current_time())
        self._is_running = False
        self._entries.clear()

    def _fire_due(self, now: float) -> None:
        entries = self._entries
        while entries and entries[0][0] <= now:
            deadline, _, timer = heapq.heappop(entries)
            if deadline == timer.deadline:
                self._set -= 1
                timer.fire()


_timers: trio.lowlevel.RunVar[_Timers] = trio.lowlevel.RunVar("pgnet_trio timers")


def _current_timers() -> _Timers:
    try:
        return _timers.get()
    except LookupError:
        timers = _Timers()
        _timers.set(timers)
        return timers
