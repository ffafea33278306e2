"""The clock of a game that is updated so many times a second."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from pgnet_trio.server.room.queue import Call
    from pgnet_trio.server.room.runner import Runner

__all__ = ["Ticker"]


class Ticker:
    """Queues a game's updates, at times that do not drift.

    Args:
        runner: Runs them.

    Attributes:
        missed: How many updates were skipped because the one before was late.
    """

    def __init__(self, runner: Runner) -> None:
        self.missed = 0
        self._runner = runner

    # Ctrl-C is for a game that does not come to an end, and not for what is about to wake it.
    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Queue one update after the other, until cancelled."""
        runner = self._runner
        instance, queue = runner.instance, runner.queue
        game = instance.game

        def update() -> Awaitable[None] | None:
            # An update that waited behind the turn that raised is not for the restarted game.
            if game is not instance.game:
                return None
            result = game.update()
            return runner.steps_of(result, delayable=True) if inspect.isawaitable(result) else None

        interval = 1 / game.update_rate
        deadline = trio.current_time() + interval
        call: Call | None = None
        while True:
            await trio.sleep_until(deadline)
            late = int((trio.current_time() - deadline) / interval)
            deadline += (late + 1) * interval
            self.missed += late
            if call is None or call.done.is_set():
                call = queue.post(update, delayable=True)
            else:
                self.missed += 1
