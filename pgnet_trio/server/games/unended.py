"""Games that are over, and whose code goes on: they are named in the log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from pgnet_trio.foreign_text import one_line

if TYPE_CHECKING:
    from pgnet_trio.server.room.room import RoomTask

__all__ = ["UnendedRooms"]

logger = logging.getLogger("pgnet_trio.server")

LONGEST_END = 5.0
"""Seconds that a game may take to end before the log says that it goes on."""

MOST_SILENCE = 60.0
"""Seconds after which the log says it again, at the latest."""


class UnendedRooms:
    """The rooms that take no more turns, and whose tasks go on."""

    def __init__(self) -> None:
        self._rooms: set[RoomTask] = set()

    async def see_off(self, room: RoomTask) -> None:
        """Name a game in the log, again and again, until its code has come to its end."""
        since = trio.current_time()
        wait = LONGEST_END
        self._rooms.add(room)
        while True:
            with trio.move_on_after(wait):
                await room.ended.wait()
                self._rooms.discard(room)
                return
            logger.error(
                "The game %r is over, and its code has gone on for %.0f s since: it does not let "
                "itself be cancelled. %s",
                room.name,
                trio.current_time() - since,
                one_line(_where(room)),
            )
            wait = min(2 * wait, MOST_SILENCE)

    def describe(self) -> str:
        """Return which games have not ended although they are over, and where they wait."""
        return "; ".join(
            f"{room.name!r}: {_where(room)}" for room in self._rooms if not room.ended.is_set()
        )


def _where(room: RoomTask) -> str:
    lines = room.lines()
    return f"It waits at {'; at '.join(lines)}" if lines else "None of its code waits"
