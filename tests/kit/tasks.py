"""Trio's tasks, as tests look at them: which there are, and whether others run meanwhile."""

from __future__ import annotations

import trio


class Bystander:
    """A task beside others, which counts how often it has had its turn."""

    def __init__(self) -> None:
        self.turns = 0

    async def run(self) -> None:
        while True:
            await trio.lowlevel.checkpoint()
            self.turns += 1


def running_tasks() -> set[trio.lowlevel.Task]:
    """All of Trio's tasks at this moment."""
    found: set[trio.lowlevel.Task] = set()
    root = trio.lowlevel.current_root_task()
    waiting = [root] if root is not None else []
    while waiting:
        task = waiting.pop()
        found.add(task)
        waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found
