"""What makes a game late: counted, and told in the log once a minute."""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from typing import Any

import attrs
import trio

from pgnet_trio.foreign_text import one_line

__all__ = ["LONG_TURN", "Lateness"]

logger = logging.getLogger("pgnet_trio.server")

LONG_TURN = 1.0
"""Seconds from which on a turn that waits is a long one."""

QUIET_TIME = 60.0
"""Seconds in which the log tells of one game's long turns once, and of its late updates once."""


@attrs.define
class _Turns:
    """The long turns since the log last told of them."""

    count: int = 0
    longest: float = 0.0
    where: str = ""


@attrs.define
class _Ticks:
    """The updates of a minute, until the log tells of them."""

    since: float
    due: int = 0
    missed: int = 0
    longest: float = 0.0
    is_told: bool = False


class Lateness:
    """Counts a game's long turns, and its updates that were skipped.

    Args:
        game_name: The game's name, for the log.

    Attributes:
        long_turns: How many turns waited for `LONG_TURN` or longer, while no other could begin.
        missed_ticks: How many updates were skipped because the one before was late.
    """

    def __init__(self, game_name: str) -> None:
        self.long_turns = 0
        self.missed_ticks = 0
        self._game_name = game_name
        self._turns = _Turns()
        self._turns_told = -QUIET_TIME
        self._ticks = _Ticks(trio.current_time())
        # Since when an update has been running; None for none.
        self._update_began: float | None = None

    def note_turn(self, hook: Coroutine[Any, Any, Any], seconds: float) -> None:
        """Note how long a turn has waited for a hook."""
        if seconds < LONG_TURN:
            return
        self.long_turns += 1
        turns = self._turns
        turns.count += 1
        if seconds > turns.longest:
            turns.longest, turns.where = seconds, _describe(hook)
        now = trio.current_time()
        if now >= self._turns_told + QUIET_TIME:
            self._turns_told, self._turns = now, _Turns()
            more = f" (the longest of {turns.count} such turns)" if turns.count > 1 else ""
            logger.warning(
                "The game %r took no other turn for %.1f s, while %s waited%s. Start a task for "
                "what takes long: self.room.nursery.start_soon(...)",
                self._game_name,
                turns.longest,
                one_line(turns.where),
                more,
            )

    def note_update(self) -> None:
        """Note that an update begins."""
        self._update_began = trio.current_time()

    def note_update_end(self) -> None:
        """Note that it has ended."""
        self._note_duration()
        self._update_began = None

    def _note_duration(self) -> None:
        if self._update_began is not None:
            seconds = trio.current_time() - self._update_began
            self._ticks.longest = max(self._ticks.longest, seconds)

    def note_ticks(self, due: int, missed: int, rate: float) -> None:
        """Note how many updates were due, and how many of them were skipped.

        Args:
            due: How many were due since the last call.
            missed: How many of these were skipped.
            rate: How many there are to be a second.
        """
        self.missed_ticks += missed
        ticks = self._ticks
        now = trio.current_time()
        if now >= ticks.since + QUIET_TIME:
            ticks = self._ticks = _Ticks(now)
        # One that still waits may be what keeps the next ones waiting.
        self._note_duration()
        ticks.due += due
        ticks.missed += missed
        # A second in a minute: a hitch is no news.
        if ticks.missed >= rate and not ticks.is_told:
            ticks.is_told = True
            if ticks.longest * rate > 1:
                advice = "Do less in update(), or set a lower update_rate."
            else:
                advice = "Something else kept them waiting: another turn, or another game."
            logger.warning(
                "The game %r is late: %d of %d updates were skipped. There are to be %g a second, "
                "and the longest took %.2f s. %s",
                self._game_name,
                ticks.missed,
                ticks.due,
                rate,
                ticks.longest,
                advice,
            )


def _describe(hook: Coroutine[Any, Any, Any]) -> str:
    """Return a hook's name, and where its code is."""
    name = getattr(hook, "__qualname__", "a hook")
    code = getattr(hook, "cr_code", None)
    return name if code is None else f"{name}, at {code.co_filename}:{code.co_firstlineno},"
