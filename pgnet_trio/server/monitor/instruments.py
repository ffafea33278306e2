"""What is measured only for a monitor: garbage, the log, and how late the event loop is."""

from __future__ import annotations

import contextlib
import gc
import logging
from collections import Counter
from collections.abc import Iterator
from time import perf_counter
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from pgnet_trio.server.counters import Histogram

__all__ = ["Instruments"]

LAG_INTERVAL = 0.5
"""Seconds from one look at how late the event loop is to the next."""


class _GarbageTimes:
    """Notes how often Python has collected garbage, by generation, and how long that took."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.collections = Counter[int]()
        self._began = 0.0

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began = perf_counter()
        else:
            self.seconds += perf_counter() - self._began
            self.collections[info["generation"]] += 1


class _LogCounts(logging.Handler):
    """Counts what is worth a look in the log, by its level."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.counts = Counter[str]({"WARNING": 0, "ERROR": 0, "CRITICAL": 0})

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelname in self.counts:
            self.counts[record.levelname] += 1


class Instruments:
    """Measures what nothing else in the server measures.

    Args:
        lag: Counts by how much the event loop was late.

    Attributes:
        garbage: How often Python has collected garbage, and how long that took.
        log: How many entries the log of this package has that are worth a look.
    """

    def __init__(self, lag: Histogram) -> None:
        self.garbage = _GarbageTimes()
        self.log = _LogCounts()
        self._lag = lag

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        """Count garbage, and the entries of the log, during the block."""
        logger = logging.getLogger("pgnet_trio")
        gc.callbacks.append(self.garbage)
        logger.addHandler(self.log)
        try:
            yield
        finally:
            logger.removeHandler(self.log)
            gc.callbacks.remove(self.garbage)

    async def watch_lag(self) -> None:
        """Note by how much the event loop is late, now and then, until cancelled.

        It takes a task that sleeps: to look at each pass of the loop would cost much more.
        """
        while True:
            due = trio.current_time() + LAG_INTERVAL
            await trio.sleep_until(due)
            self._lag.add(trio.current_time() - due)
