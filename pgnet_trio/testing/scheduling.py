"""Trio's order of tasks, made repeatable by a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trio

__all__ = ["seeded_scheduler"]


@contextmanager
def seeded_scheduler(seed: int | str) -> Iterator[bool]:
    """Let Trio choose the order of tasks by a seed, for as long as the block lasts.

    Trio shuffles the tasks that are ready with a private source of randomness, and has no public
    way to seed it. With a release of Trio without that source, nothing is repeatable, and nothing
    fails.

    Args:
        seed: What the order depends on.

    Yields:
        Whether the order depends on the seed.
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
    # Trio keeps ready tasks in a set, whose order depends on addresses; this sorts them first.
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True
    try:
        yield True
    finally:
        source.setstate(state)
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = sorts
