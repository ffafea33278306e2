"""Whether a game that raised is made again, from its last save."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio

from pgnet_trio.server.refusals import SaveRefused

if TYPE_CHECKING:
    from pgnet_trio.server.room.instance import GameInstance
    from pgnet_trio.server.room.owner import RoomOwner

__all__ = ["RESTARTS", "Restarts"]

RESTARTS = 3
"""How often a game that raises is restarted within `RESTART_WINDOW`, before it is closed."""

RESTART_WINDOW = 60.0
"""Seconds."""


class Restarts:
    """Counts how often a game was restarted.

    Args:
        instance: The game.
        owner: Is told what the game raises when it is asked.
    """

    def __init__(self, instance: GameInstance, owner: RoomOwner) -> None:
        self._instance = instance
        self._owner = owner
        self._crashes: deque[float] = deque(maxlen=RESTARTS)

    def may_restart(self, error: BaseException) -> bool:
        """Note that the game raised; return whether it is to be made again."""
        try:
            # A script that a refused save has ended goes on from what was to be saved.
            if self._instance.game.on_crash != "restart" and not isinstance(error, SaveRefused):
                return False
        except BaseException as another:
            name = self._instance.name
            self._owner.note_failure(another, f"Game {name!r} raised when it had crashed")
            return False
        now = trio.current_time()
        too_many = len(self._crashes) == RESTARTS and self._crashes[0] > now - RESTART_WINDOW
        self._crashes.append(now)
        return not too_many
