"""A round of reading: one task reads all sockets that are ready; what it causes leaves after it.

`pgnet_trio.transport.epoll` holds the rounds. What a round has read goes up from part to part, by
plain calls. Each part does at once what it can do without waiting, or leaves it to its own task.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import TypeAlias

__all__ = [
    "LONGEST_ROUND",
    "MOST_ROOMS",
    "MOST_SOCKETS",
    "ROUNDS_BEFORE_DELAY",
    "Round",
    "TakeData",
    "TakeMessage",
    "are_on",
]

LONGEST_ROUND = 0.0005
"""Seconds after which a round reads nothing more; what was said has as long to be written. So it
holds up nobody for 1 ms, but for what one turn, or the words of one game, take by themselves."""

ROUNDS_BEFORE_DELAY = 3
"""Rounds in a row that have to let sockets wait, before any does."""

MOST_SOCKETS = 256
"""Sockets that one round reads."""

MOST_ROOMS = 16
"""Rooms of which a round holds back what they say. That all leaves then, before it reads on."""


class Round:
    """What one round of reading has caused, and how long it may go on.

    Args:
        now: When it begins, in seconds of ``trio.current_time()``.

    Attributes:
        now: When it began.
        until: When its time is up, in seconds of ``time.perf_counter()``. That is real time, also
            under the clock of a test: it is about how long others really wait.
        flushes: What writes what was said, each once.
        delay: How many seconds all for whom something came let sockets wait after such rounds;
            infinite where nothing came that somebody has to say that of.
    """

    __slots__ = ("_end", "_is_late", "delay", "flushes", "now", "until")

    def __init__(self, now: float) -> None:
        self.now = now
        self.until = time.perf_counter() + LONGEST_ROUND
        # When the time is up for writing what was said, and whether it is.
        self._end = self.until + LONGEST_ROUND
        self._is_late = False
        self.flushes: dict[Callable[[], None], None] = {}
        self.delay = math.inf

    def is_over(self) -> bool:
        """Return whether the time of this round is up: what comes then is left to other tasks."""
        return time.perf_counter() >= self.until

    def after(self, flush: Callable[[], None]) -> None:
        """Have what was said written after the round, once however often this is called.

        Args:
            flush: Writes it. It must not raise: nobody is there who could handle the error.
        """
        self.flushes[flush] = None

    def flush(self) -> None:
        """Write what was said so far, as far as there is time; what is left stays in `flushes`.

        One game's is written in any case.
        """
        flushes, self.flushes = self.flushes, {}
        for written, flush in enumerate(flushes):
            if self._is_late:
                self.flushes = dict.fromkeys(list(flushes)[written:])
                return
            flush()
            self._is_late = time.perf_counter() >= self._end


TakeData: TypeAlias = Callable[[bytes, Round], bytes]
"""Takes bytes that a round has read; returns those that the task in ``read`` has to look at."""

TakeMessage: TypeAlias = Callable[[str | bytes, Round], bool]
"""Takes a message that a round has read; returns False for one that ``receive`` has to return."""


def are_on() -> bool:
    """Return whether rounds may read: the variable PGNET_SHORT_WAY=0 leaves it to the tasks."""
    return os.environ.get("PGNET_SHORT_WAY") != "0"
