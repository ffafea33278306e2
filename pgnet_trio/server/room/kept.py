"""What is kept of a room beside its game's save string."""

from __future__ import annotations

import re
from typing import Any

import attrs

from pgnet_trio.game import Seat

__all__ = ["NOTHING_KEPT", "Kept", "kept_of"]

_ID = re.compile(r"[0-9a-f]{32}")

MAX_TIME = 1e10
"""Seconds that a room's time may have, likewise: some hundred years."""

MAX_SEATS = 10_000
"""Seats that a save may have: a file that somebody has written by hand must not fill memory."""


@attrs.frozen
class Kept:
    """What a room had, which the next one of its game has too.

    Attributes:
        host: Who is host; None for whoever joins first.
        seats: The seats that are taken, each with who has it.
        unlisted: Whether it is not in the directory.
        ready: Who was ready in a check that went on when the game moved.
        invited: Who was invited when the game moved.
        game: The id of the game, in hexadecimal; empty where nobody has to know it again.
        queue: The queue whose ratings the game changes; None for a game that is not rated.
        began: When it began, in seconds since 1970; None for now.
        time: The room's time in seconds, of a game that counts its ticks; 0 for others.
        played: Who has played in it; None where nobody knows, as for a save that does not say it.
    """

    host: str | None = None
    seats: tuple[tuple[Seat, str], ...] = ()
    unlisted: bool = False
    ready: tuple[str, ...] = ()
    invited: tuple[str, ...] = ()
    game: str = ""
    queue: str | None = None
    began: float | None = None
    played: tuple[str, ...] | None = ()
    time: float = 0.0

    def plain(self) -> dict[str, Any]:
        """Return this as plain data for `kept_of`; empty for nothing."""
        found: dict[str, Any] = {
            "host": self.host,
            "seats": [[*each] for each in self.seats],
            "unlisted": self.unlisted,
            "ready": [*self.ready],
            "invited": [*self.invited],
            "game": self.game,
            "time": self.time,
        }
        kept = {name: value for name, value in found.items() if value}
        # A queue's name may be empty, and so may the list of those who have played.
        if self.queue is not None:
            kept["queue"] = self.queue
        if self.began is not None:
            kept["began"] = self.began
            if self.played is not None:
                kept["played"] = [*self.played]
        return kept


NOTHING_KEPT = Kept()
"""What a new game of nobody's has."""


def kept_of(data: object) -> Kept:
    """Return what `Kept.plain` has returned; without what is no such thing, as in an edited file.

    Args:
        data: Anything.
    """
    found = data if isinstance(data, dict) else {}
    host, seats, ready = found.get("host"), found.get("seats"), found.get("ready")
    time = found.get("time")
    game, queue, began = found.get("game"), found.get("queue"), found.get("began")
    return Kept(
        host=host if isinstance(host, str) and host else None,
        seats=tuple(filter(None, map(_seat, _list(seats)[:MAX_SEATS]))),
        unlisted=found.get("unlisted") is True,
        ready=_names(ready),
        invited=_names(found.get("invited")),
        game=game if isinstance(game, str) and _ID.fullmatch(game) else "",
        queue=queue if isinstance(queue, str) else None,
        began=began if isinstance(began, float) else None,
        time=time if isinstance(time, float) and 0 < time < MAX_TIME else 0.0,
        played=_names(found["played"]) if "played" in found else None,
    )


def _names(data: object) -> tuple[str, ...]:
    return tuple(name for name in _list(data) if isinstance(name, str))


def _list(data: object) -> list[Any]:
    return data if isinstance(data, list) else []


def _seat(data: object) -> tuple[Seat, str] | None:
    match data:
        case [int() | str() as seat, str() as holder] if not isinstance(seat, bool):
            return seat, holder
    return None
