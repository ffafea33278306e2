"""The clock of a game that is updated so many times a second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from pgnet_trio.server.room.instance import GameInstance
    from pgnet_trio.server.room.queue import Call, TurnQueue

__all__ = ["Ticker"]


class Ticker:
    """Asks for a game's updates, at times that do not drift.

    Args:
        instance: The game.
        queue: Takes the turns.

    Attributes:
        missed: How many updates were skipped because the one before was late.
    """

    def __init__(self, instance: GameInstance, queue: TurnQueue) -> None:
        self.missed = 0
        self._instance = instance
        self._queue = queue

    # Ctrl-C is for a game that does not come to an end, and not for what is about to wake it.
    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Go on until cancelled."""
        instance = self._instance
        game = instance.game

        def update() -> Any:
            # One that waited behind the turn that raised is not for the game that came after.
            return game.update() if game is instance.game else None

        interval = 1 / game.update_rate
        deadline = trio.current_time() + interval
        call: Call | None = None
        while True:
            await trio.sleep_until(deadline)
            late = int((trio.current_time() - deadline) / interval)
            deadline += (late + 1) * interval
            self.missed += late
            if call is None or call.done.is_set():
                call = self._queue.post(update, limited=True)
            else:
                self.missed += 1
