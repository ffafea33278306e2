"""The clock of a game that is updated so many times a second."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from time import perf_counter
from typing import TYPE_CHECKING

import trio

from pgnet_trio.server.room.tape import TICK

if TYPE_CHECKING:
    from pgnet_trio.server.room.lateness import Lateness
    from pgnet_trio.server.room.queue import Call
    from pgnet_trio.server.room.runner import Runner

__all__ = ["Ticker"]


class Ticker:
    """Queues a game's updates, at times that do not drift.

    Args:
        runner: Runs them.
        lateness: Counts those that were skipped.
    """

    def __init__(self, runner: Runner, lateness: Lateness) -> None:
        self._runner = runner
        self._lateness = lateness

    # Ctrl-C is for a game that does not come to an end, and not for what is about to wake it.
    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Queue one update after the other, until cancelled."""
        runner, lateness = self._runner, self._lateness
        instance, queue = runner.instance, runner.queue
        game = instance.game

        simulation = runner.publisher.simulation
        rate = game.update_rate
        interval = 1 / rate
        due = simulation.tick

        def update() -> Awaitable[None] | None:
            # An update that waited behind the turn that raised is not for the restarted game.
            if game is not instance.game:
                return None
            lateness.note_update()
            simulation.begin_tick(due)
            began = perf_counter()
            result = game.update()
            if inspect.isawaitable(result):
                return self._finish(result, began)
            simulation.end_tick()
            lateness.note_update_end()
            instance.counters.ticks.add(perf_counter() - began)
            return None

        call: Call | None = None
        while True:
            # From the beginning of the room's time, and no sum of intervals: that would drift.
            at = (due + 1) * interval
            if instance.tape is None:
                await trio.sleep_until(instance.start + at)
                now = trio.current_time() - instance.start
            else:
                now = await instance.tape.wait_until_due(TICK, instance.start + at)
            late = max(0, int((now - at) / interval))
            due += late + 1
            is_busy = call is not None and not call.done.is_set()
            lateness.note_ticks(late + 1, late + is_busy, rate)
            instance.counters.ticks_due += late + 1
            instance.counters.ticks_missed += late + is_busy
            if not is_busy:
                call = queue.post(update, delayable=True)

    async def _finish(self, update: Awaitable[None], began: float) -> None:
        try:
            await self._runner.steps_of(update, delayable=True)
            self._runner.publisher.simulation.end_tick()
        finally:
            self._lateness.note_update_end()
            self._runner.instance.counters.ticks.add(perf_counter() - began)
