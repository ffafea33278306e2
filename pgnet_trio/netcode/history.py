"""Where things were a moment ago: for hits by what a player saw when they shot."""

from __future__ import annotations

import copy
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pgnet_trio.netcode.states import shorter_way

__all__ = ["HISTORY_SECONDS", "History", "Past", "Rewind"]

HISTORY_SECONDS = 0.5
"""Seconds for which a game remembers where things were, for everybody alike."""


LARGEST = sys.float_info.max


class Rewind:
    """Which fields of things a game remembers, for `Room.rewind`.

    Args:
        fields: Names of fields that are numbers, one at least.
        angle: Those of them that are angles in radians: between two, the way is the short one.
        snap: Where a field changes by more than this from one tick to the next, the thing has
            jumped: it was at no place between. None for never.

    Raises:
        TypeError: There is no field, one is no name, or is there twice.
        ValueError: *snap* is not above 0.
    """

    __slots__ = ("angles", "fields", "snap")

    def __init__(
        self, *fields: str, angle: str | Iterable[str] = (), snap: float | None = None
    ) -> None:
        angles = (angle,) if isinstance(angle, str) else tuple(angle)
        # An angle need not be named twice.
        names = (*fields, *(name for name in angles if name not in fields))
        for name in names:
            if not isinstance(name, str) or not name.isidentifier():
                raise TypeError(f"Rewind: expected names of fields, got {name!r}")
        if not names or len(set(names)) != len(names):
            raise TypeError(f"Rewind: expected fields, each of them once, got {names!r}")
        if snap is not None and not snap > 0:
            raise ValueError(f"Rewind: expected a snap above 0, or None, got {snap!r}")
        self.fields: tuple[str, ...] = names
        self.angles = frozenset(angles)
        # What is more is endless, or no number.
        self.snap = LARGEST if snap is None else min(snap, LARGEST)

    def __repr__(self) -> str:
        return f"Rewind({', '.join(map(repr, self.fields))})"

    def read(self, thing: Any) -> tuple[float, ...]:
        """Return the fields of a thing."""
        return tuple([getattr(thing, name) for name in self.fields])

    def between(
        self, before: tuple[float, ...], after: tuple[float, ...], share: float
    ) -> tuple[float, ...]:
        """Return the fields between two ticks: *before* at a share of 0, *after* at 1.

        Raises:
            TypeError: A field is no number.
        """
        found = []
        snap = self.snap
        for name, one, other in zip(self.fields, before, after, strict=True):
            try:
                way = other - one
            except TypeError as error:
                raise TypeError(
                    f"rewinds: expected a number in the field {name!r} of each thing, at every "
                    f"tick; got {one!r}, and then {other!r}"
                ) from error
            if name in self.angles:
                way = shorter_way(way)
            # As a client shows it: see `is_leap`.
            if not -snap <= way <= snap:
                return before if share < 1 else after
            found.append(one + way * share)
        return tuple(found)


def _by_place(name: str, things: Any) -> Iterable[tuple[int, Any]]:
    """Return the things of an attribute that is no mapping, each with its place."""
    try:
        return enumerate(things)
    except TypeError as error:
        raise TypeError(
            f"rewinds: expected a dict or a list of things in the attribute {name!r} of the game, "
            f"which may be empty, got {things!r}"
        ) from error


_Things = dict[Any, tuple[Any, tuple[float, ...]]]


class History:
    """Remembers the declared things of a game, tick by tick, for `HISTORY_SECONDS`.

    Args:
        declared: By the name of an attribute of the game, what of the things in it to remember.
    """

    def __init__(self, declared: Mapping[str, Rewind]) -> None:
        self._declared = dict(declared)
        self._ticks: deque[tuple[float, dict[str, _Things]]] = deque()

    def __len__(self) -> int:
        return len(self._ticks)

    def record(self, time: float, game: Any) -> None:
        """Remember where things are after a tick.

        Args:
            time: The room's time of the tick, later than that of the tick before.
            game: The game. Each declared attribute is a mapping from keys to things, or a
                sequence, in which things are known by their place.

        Raises:
            AttributeError: The game has no such attribute, or a thing no such field.
            TypeError: A declared attribute is neither a mapping nor a sequence.
        """
        taken = {}
        for name, fields in self._declared.items():
            try:
                things = getattr(game, name)
                pairs = things.items() if isinstance(things, Mapping) else _by_place(name, things)
                read = fields.read
                taken[name] = {key: (thing, read(thing)) for key, thing in pairs}
            except AttributeError as error:
                raise AttributeError(
                    f"rewinds: expected an attribute {name!r} of the game, whose things have the "
                    f"fields {', '.join(fields.fields)}: {error}"
                ) from error
        self._ticks.append((time, taken))
        # One that is older than that stays, for what is between it and the next.
        while len(self._ticks) > 2 and self._ticks[1][0] <= time - HISTORY_SECONDS:
            self._ticks.popleft()

    def forget(self) -> None:
        """Forget everything: another game begins."""
        self._ticks.clear()

    def at(self, time: float) -> Past:
        """Return where things were at a time of the room.

        A time before what is remembered stands for the earliest, and one after it for the latest.
        """
        ticks = self._ticks
        if not ticks:
            return Past(time, self._declared, {}, {}, 0.0)
        latest = ticks[-1][0]
        time = min(max(time, ticks[0][0], latest - HISTORY_SECONDS), latest)
        later = ticks[-1]
        for tick in reversed(ticks):
            if tick[0] <= time:
                before = tick
                break
            later = tick
        if later[0] <= before[0]:
            return Past(time, self._declared, before[1], before[1], 0.0)
        share = (time - before[0]) / (later[0] - before[0])
        return Past(time, self._declared, before[1], later[1], share)


class Past:
    """A game's declared things as they were at a time.

    Each declared name is an attribute: a mapping from the keys of that time to copies of the
    things, whose declared fields are as they were then. All else of a copy is as it is now.

    Attributes:
        time: The time of the room, in seconds.
    """

    def __init__(
        self,
        time: float,
        declared: Mapping[str, Rewind],
        before: Mapping[str, _Things],
        after: Mapping[str, _Things],
        share: float,
    ) -> None:
        self.time = time
        self._declared = declared
        self._before = before
        self._after = after
        self._share = share

    def __getattr__(self, name: str) -> Mapping[Any, Any]:
        fields = self._declared.get(name) if not name.startswith("_") else None
        if fields is None:
            raise AttributeError(
                f"expected one of {', '.join(self._declared)}, which the game declares in "
                f"rewinds, got {name!r}"
            )
        found = _Rewound(fields, self._before.get(name, {}), self._after.get(name, {}), self._share)
        self.__dict__[name] = found
        return found


class _Rewound(Mapping[Any, Any]):
    """The things of one name; each is copied when it is asked for."""

    def __init__(self, fields: Rewind, before: _Things, after: _Things, share: float) -> None:
        self._fields = fields
        self._before = before
        self._after = after
        self._share = share
        self._copies: dict[Any, Any] = {}

    def __len__(self) -> int:
        return len(self._before)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._before)

    def __getitem__(self, key: Any) -> Any:
        found = self._copies.get(key)
        if found is None:
            thing, values = self._before[key]
            later = self._after.get(key)
            if later is not None:
                values = self._fields.between(values, later[1], self._share)
            found = self._copies[key] = copy.copy(thing)
            for name, value in zip(self._fields.fields, values, strict=True):
                # Also of a frozen class: nobody has the copy yet.
                object.__setattr__(found, name, value)
        return found

    def __repr__(self) -> str:
        return f"<{len(self)} things as they were>"
