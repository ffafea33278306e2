"""What games raise, as the log tells it: a line each; and games that cannot be loaded."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import attrs
import trio

from pgnet_trio.errors import first_error
from pgnet_trio.foreign_text import one_line
from pgnet_trio.server.causes import Cause, cause_of, error_id

if TYPE_CHECKING:
    from pgnet_trio.storage.interface import SavedGame

__all__ = ["MAX_LOADS", "FailedLoads", "FailureLog"]

logger = logging.getLogger("pgnet_trio.server")

QUIET_TIME = 60.0
"""Seconds in which the log has the traceback of the same line of code once."""

MOST_LINES = 20
"""Failures of the same line of code in that time that get a line each, after the traceback."""

MAX_CAUSES = 256
"""Lines of code that are remembered; the oldest is forgotten."""

MAX_LOADS = 3
"""How often a saved game is loaded in vain."""


@attrs.define
class _Told:
    since: float
    id: str
    lines: int = 0
    unsaid: int = 0


class FailureLog:
    """Logs what games raise: each failure by its id, each cause with its traceback.

    Players choose how often a game raises that does so whenever somebody joins. So in `QUIET_TIME`
    a cause has one traceback and `MOST_LINES` lines; more failures are only counted.
    """

    def __init__(self) -> None:
        self._told: dict[Cause, _Told] = {}

    def log(self, error: BaseException, what: str, user: str = "", connection: int = 0) -> None:
        """Log an error, or count it where the log has told the same often enough.

        Args:
            error: The error.
            what: What has come of it.
            user: Whose request it was raised over; empty for nobody's.
            connection: The number of that user's connection; 0 for none.
        """
        cause, id = cause_of(error), error_id(error)
        whose = f", over what {user} sent" if user else ""
        fields = {"error_id": id, "user": user, "connection": connection}
        now = trio.current_time()
        told = self._told.get(cause)
        if told is not None and now < told.since + QUIET_TIME:
            if told.lines == MOST_LINES:
                told.unsaid += 1
                return
            told.lines += 1
            kind = type(first_error(error)).__name__
            text = f"{what}, as error {id}{whose}: {kind}, with the traceback of error {told.id}"
            logger.error("%s", one_line(text), extra=fields)
            return
        self._told.pop(cause, None)
        if len(self._told) >= MAX_CAUSES:
            del self._told[next(iter(self._told))]
        self._told[cause] = _Told(now, id)
        text = f"{what}, as error {id}{whose}{_more(told)}"
        logger.error("%s", one_line(text), exc_info=error, extra=fields)

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
