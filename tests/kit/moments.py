"""Moments at which a test has something happen: a step of a task, or a message on its way."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from pgnet_trio.testing.network import Record

__all__ = ["Cancelling", "at_message"]


class Cancelling(trio.abc.Instrument):
    """Cancels a scope before the step of a task with this number."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.steps = 0
        self.scope = trio.CancelScope()
        self.task: trio.lowlevel.Task | None = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.steps += 1
            if self.steps == self.number:
                self.scope.cancel()


def at_message(number: int, act: Callable[[], object]) -> Callable[[Record, bytes], None]:
    """Return what, as `SimulatedNetwork.on_record`, does something at the message of a number."""
    left = number

    def note(record: Record, frame: bytes) -> None:
        nonlocal left
        left -= 1
        if not left:
            act()

    return note
