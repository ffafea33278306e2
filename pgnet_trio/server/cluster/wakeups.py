"""Notes that a node should look for what is new to it; they only wake."""

from __future__ import annotations

import trio

__all__ = ["LOOK_INTERVAL", "Wakeups"]

LOOK_INTERVAL = 1.0
"""Seconds after which a node looks for what is new to it, should the note that wakes it be lost."""


class Wakeups:
    """Wakes those who wait for news of a node."""

    def __init__(self) -> None:
        self._waiting: dict[int, trio.Event] = {}
        self._woken: set[int] = set()
        # Notes for other nodes come here too, and are not remembered.
        self._watched: set[int] = set()

    def watch(self, node: int) -> None:
        """Remember, from now on, when a node is woken while nobody waits."""
        self._watched.add(node)

    def forget(self, node: int) -> None:
        """Remember nothing of a node any more."""
        self._watched.discard(node)
        self._woken.discard(node)

    def wake(self, node: int) -> None:
        """Wake whoever waits for news of a node, or who does so next."""
        event = self._waiting.pop(node, None)
        if event is not None:
            event.set()
        elif node in self._watched:
            self._woken.add(node)

    async def wait(self, node: int) -> None:
        """Wait for the next `wake`, at most for `LOOK_INTERVAL`."""
        if node in self._woken:
            await trio.lowlevel.checkpoint()
            self._woken.discard(node)
            return
        event = self._waiting.setdefault(node, trio.Event())
        try:
            with trio.move_on_after(LOOK_INTERVAL):
                await event.wait()
        finally:
            if self._waiting.get(node) is event and not event.statistics().tasks_waiting:
                del self._waiting[node]
