"""The clock of a game that is updated so many times a second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from pgnet_trio.server.room.instance import Hosted
    from pgnet_trio.server.room.queue import Errand, Inbox

__all__ = ["Ticks"]


class Ticks:
    """Asks for a game's updates, at times that do not drift.

    Args:
        hosted: The game.
        inbox: Takes the turns.

    Attributes:
        missed: How many updates were skipped because the one before was late.
    """

    def __init__(self, hosted: Hosted, inbox: Inbox) -> None:
        self.missed = 0
        self._hosted = hosted
        self._inbox = inbox

    # Ctrl-C is for a game that does not come to an end, and not for what is about to wake it.
    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Go on until cancelled."""
        hosted = self._hosted
        game = hosted.game

        def update() -> Any:
            # One that waited behind the turn that raised is not for the game that came after.
            return game.update() if game is hosted.game else None

        interval = 1 / game.update_rate
        deadline = trio.current_time() + interval
        errand: Errand | None = None
        while True:
            await trio.sleep_until(deadline)
            late = int((trio.current_time() - deadline) / interval)
            deadline += (late + 1) * interval
            self.missed += late
            if errand is None or errand.done.is_set():
                errand = self._inbox.post(update, limited=True)
            else:
                self.missed += 1
