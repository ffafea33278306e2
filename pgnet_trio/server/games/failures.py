"""What games raise: told in the log, but not again and again; and games that cannot be loaded."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import attrs
import trio

from pgnet_trio.foreign_text import one_line
from pgnet_trio.server.causes import Cause, cause_of, error_id

if TYPE_CHECKING:
    from pgnet_trio.storage.interface import SavedGame

__all__ = ["MAX_LOADS", "FailedLoads", "FailureLog"]

logger = logging.getLogger("pgnet_trio.server")

QUIET_TIME = 60.0
"""Seconds in which the same line of code is named in the log once."""

MAX_CAUSES = 256
"""Lines of code that are remembered; the oldest is forgotten."""

MAX_LOADS = 3
"""How often a saved game is loaded in vain."""


@attrs.define
class _Told:
    since: float
    unsaid: int = 0


class FailureLog:
    """Logs what games raise: each cause, with its traceback, once in `QUIET_TIME`.

    Players choose how often a game raises that does so whenever somebody joins.
    """

    def __init__(self) -> None:
        self._told: dict[Cause, _Told] = {}

    def log(self, error: BaseException, what: str) -> None:
        """Log an error, or count it where the log has just told the same."""
        cause = cause_of(error)
        now = trio.current_time()
        told = self._told.get(cause)
        if told is not None and now < told.since + QUIET_TIME:
            told.unsaid += 1
            return
        self._told.pop(cause, None)
        if len(self._told) >= MAX_CAUSES:
            del self._told[next(iter(self._told))]
        self._told[cause] = _Told(now)
        id = error_id(error)
        text = f"{what}, as error {id}{_more(told)}"
        logger.error("%s", one_line(text), exc_info=error, extra={"error_id": id})

    def finish(self) -> None:
        """Log how often each cause came that was only counted since."""
        for (kind, place), told in self._told.items():
            if told.unsaid:
                where = f"{kind.__name__} at {place}" if place else kind.__name__
                logger.error("%s came %d more times", one_line(where), told.unsaid)
        self._told.clear()


def _more(told: _Told | None) -> str:
    return f" (the same came {told.unsaid} more times)" if told is not None and told.unsaid else ""


class FailedLoads:
    """Counts how often each saved game was loaded in vain, from the same save string."""

    def __init__(self) -> None:
        self._failed: dict[str, tuple[SavedGame, int]] = {}

    def note(self, game: SavedGame) -> bool:
        """Note that a game raised before anybody was in it; return whether it is now kept aside."""
        before, count = self._failed.get(game.name, (game, 0))
        count = count + 1 if before == game else 1
        self._failed[game.name] = (game, count)
        return count == MAX_LOADS

    def forget(self, name: str) -> None:
        """Forget a game that was played, or is no more."""
        self._failed.pop(name, None)

    def is_aside(self, game: SavedGame) -> bool:
        """Return whether a game is not to be loaded any more."""
        before, count = self._failed.get(game.name, (game, 0))
        return count >= MAX_LOADS and before == game
