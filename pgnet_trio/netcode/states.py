"""States of one object, a ship say: copies of them, and what is between two of them.

A state is an instance of an attrs class, or a dict of plain data. Only + - * / and square roots are
used: these give the same in Python as in JavaScript, to the last bit.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Callable, Sequence
from operator import attrgetter, itemgetter
from typing import Any

import attrs

from pgnet_trio.author_classes import near_miss

__all__ = [
    "LONGEST",
    "Offset",
    "StateFields",
    "added",
    "check_seconds",
    "copied",
    "is_leap",
    "shorter_way",
    "size",
]

LONGEST = 5.0
"""The most seconds that something may be shown late, or wrong: more are meant as milliseconds, and
no interpolator keeps states for longer."""

Offset = tuple[float, ...]
"""How far two states are from each other, field by field."""


def check_seconds(name: str, seconds: float) -> None:
    """Check for how long something is to be shown wrong.

    Raises:
        ValueError: It is no such time.
    """
    if not 0 <= seconds <= LONGEST:
        raise ValueError(f"{name}: expected 0 to {LONGEST:g} s, got {seconds!r}")


# As in `pgnet_trio/web/states.js`, to the bit.
HALF_TURN = 3.141592653589793
TURN = 6.283185307179586

_ATOMS = frozenset({int, float, bool, str, bytes, type(None)})
_set = object.__setattr__
_Copier = tuple[tuple[str, ...], Callable[[Any], Any]]
_copiers: dict[type, _Copier] = {}


def copied(value: Any) -> Any:
    """Return a copy of a state, which shares nothing with it that can change."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is dict:
        return {key: copied(item) for key, item in value.items()}
    if kind is list:
        return [copied(item) for item in value]
    if kind is tuple:
        return tuple([copied(item) for item in value])
    if attrs.has(kind):
        names, read = _copiers.get(kind) or _copier(kind)
        copy = object.__new__(kind)
        for name, item in zip(names, read(value), strict=True):
            _set(copy, name, item if type(item) in _ATOMS else copied(item))
        return copy
    return value


def _copier(kind: type) -> _Copier:
    names = tuple(field.name for field in attrs.fields(kind))
    _copiers[kind] = names, _reader(attrgetter, names)
    return _copiers[kind]


def _reader(getter: Callable[..., Any], names: Sequence[str]) -> Callable[[Any], Any]:
    """Return what reads so many values at once, always as a sequence."""
    if len(names) > 1:
        return typing.cast(Callable[[Any], Any], getter(*names))
    if not names:
        return lambda state: ()
    read = getter(names[0])
    return lambda state: (read(state),)


class StateFields:
    """The numbers of a state that change little by little, and so have values in between.

    Args:
        example: Any state, or the attrs class of all.
        fields: Their names; None for all fields that the attrs class declares as ``float``.
        angle: The names of those that are angles in radians: they change the shorter way around.

    Raises:
        TypeError: *fields* is None, and the states are of no attrs class, or of one without floats.
        ValueError: A state has no such field.
    """

    def __init__(
        self, example: object, fields: Sequence[str] | None, angle: str | Sequence[str]
    ) -> None:
        names = (fields,) if isinstance(fields, str) else fields
        angles = (angle,) if isinstance(angle, str) else tuple(angle)
        kind: Any = example if isinstance(example, type) else type(example)
        is_model = attrs.has(kind)
        if names is None:
            if not is_model:
                raise TypeError(
                    f"fields: expected the names of the numbers that move, for states that are a "
                    f"{kind.__name__}; only an attrs class says by itself which are floats"
                )
            hints = typing.get_type_hints(kind)
            names = [each.name for each in attrs.fields(kind) if hints.get(each.name) is float]
            if not names and not angles:
                raise TypeError(
                    f"fields: expected a {kind.__name__} with fields that are declared as float, "
                    "which have values in between; or the names of such fields, and [] for none"
                )
        self.names = tuple(dict.fromkeys([*names, *angles]))
        known = (
            [each.name for each in attrs.fields(kind)]
            if is_model
            else list(typing.cast("dict[str, Any]", example))
        )
        for name in self.names:
            if name not in known:
                meant = near_miss(name, known)
                hint = f"; did you mean {meant}?" if meant else f", only {', '.join(known)}"
                raise ValueError(f"fields: a {kind.__name__} has no {name!r}{hint}")
        self._turning = tuple(name in angles for name in self.names)
        self._turns = any(self._turning)
        self._read = _reader(attrgetter if is_model else itemgetter, self.names)
        self._write: Callable[[Any, str, Any], None] = _set if is_model else dict.__setitem__

    def difference(self, one: Any, other: Any) -> Offset:
        """Return what has to be added to *other* to get to *one*."""
        pairs = zip(self._read(one), self._read(other), strict=True)
        found = tuple([here - there for here, there in pairs])
        if not self._turns:
            return found
        return tuple(
            shorter_way(each) if turning else each
            for each, turning in zip(found, self._turning, strict=True)
        )

    def moved(self, state: Any, offset: Offset, share: float) -> Any:
        """Return a copy of a state that is moved by a share of an offset."""
        copy = copied(state)
        write = self._write
        for name, value, by in zip(self.names, self._read(state), offset, strict=True):
            write(copy, name, value + by * share)
        return copy

    def between(self, older: Any, newer: Any, way: float) -> Any:
        """Return a copy of the older state on its way to the newer one; beyond 1, past that."""
        return self.moved(older, self.difference(newer, older), way)


def shorter_way(way: float) -> float:
    """Return the shorter way round between two angles in radians, by any way between them.

    What is endless, or no number, stays as it is.
    """
    if not HALF_TURN < abs(way) < math.inf:
        return way
    turns = way / TURN
    whole = float(int(turns + 0.5 if turns >= 0 else turns - 0.5))
    return way - whole * TURN


def is_leap(offset: Offset, snap: float) -> bool:
    """Return whether a number has changed by more than *snap*, or to what is no number.

    Then it was nowhere in between.
    """
    return not all(abs(each) <= snap and abs(each) < math.inf for each in offset)


def size(offset: Offset) -> float:
    """Return the length of an offset."""
    total = 0.0
    for each in offset:
        total += each * each
    return math.sqrt(total)


def added(one: Offset, other: Offset, share: float) -> Offset:
    """Return the first offset and a share of the other one."""
    return tuple([here + there * share for here, there in zip(one, other, strict=True)])
