"""A program in virtual time that runs in the same way again for the same seed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio
import trio.testing

from pgnet_trio.testing.scheduling import seeded_scheduler

__all__ = ["simulate"]

ResultT = TypeVar("ResultT")


def simulate(
    main: Callable[..., Awaitable[ResultT]], /, *args: object, seed: int | str = 0
) -> ResultT:
    """Run an async function in virtual time, as `trio.run` does in real time.

    The clock stands still while any task can run, and jumps when all tasks wait. With the same
    seed, the tasks run in the same order.

    Args:
        main: The function; make a `SimulatedNetwork` of the same seed in it.
        *args: Its arguments.
        seed: What the order of the tasks depends on.

    Returns:
        What *main* returns.

    Raises:
        BaseException: What *main* raises, with the seed in a note.
    """
    with seeded_scheduler(seed):
        try:
            return trio.run(main, *args, clock=trio.testing.MockClock(autojump_threshold=0))
        except BaseException as error:
            error.add_note(f"This was a simulation with the seed {seed!r}.")
            raise
