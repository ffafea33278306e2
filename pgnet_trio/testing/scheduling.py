"""The same seed, the same order of tasks: Trio's scheduler made repeatable."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trio

__all__ = ["seeded_scheduler"]


@contextmanager
def seeded_scheduler(seed: int | str) -> Iterator[bool]:
    """Have Trio choose the order of tasks by a seed, for as long as the block lasts.

    Trio shuffles the tasks that are ready with a private source of randomness, and has no public
    way to seed it. With a release of Trio that has it no more, nothing is repeatable, and
    nothing fails.

    Args:
        seed: What the order depends on.

    Yields:
        Whether it could be done.
    """
    scheduler: Any = getattr(getattr(trio, "_core", None), "_run", None)
    source = getattr(scheduler, "_r", None)
    if not isinstance(source, random.Random) or not hasattr(
        scheduler, "_ALLOW_DETERMINISTIC_SCHEDULING"
    ):
        yield False
        return
    state, sorts = source.getstate(), scheduler._ALLOW_DETERMINISTIC_SCHEDULING
    source.seed(f"scheduler {seed}")
    # Ready tasks come out of sets, in the order of their addresses; this sorts them first.
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True
    try:
        yield True
    finally:
        source.setstate(state)
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = sorts
