"""Plain data: the data that every wire format here can carry."""

from __future__ import annotations

import gc
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, Union

from msgspec import Meta

from pgnet_trio.codec.faults import (
    MAX_DEPTH,
    Fault,
    Inside,
    TooLarge,
    too_deep,
    value_name,
)

__all__ = [
    "HIGHEST_INT",
    "LOWEST_INT",
    "Int64",
    "ShallowData",
    "ShallowDict",
    "collector_paused",
    "count_nested",
    "is_plain",
    "normalised",
]

# JSON in other languages, msgpack and SQLite can all hold these.
LOWEST_INT = -(2**63)
HIGHEST_INT = 2**63 - 1

_TEXT_BOOL_NONE = frozenset({str, bool, type(None)})
_PLAIN_TYPES = _TEXT_BOOL_NONE | {int, float, list, dict}
_TEXT = frozenset({str})

# Most messages have far fewer levels; each one doubles the types that msgspec makes.
_SHALLOW = 6


def _levels(count: int) -> Any:
    # The limits exclude the infinities, and NaN too, for which every comparison is false.
    finite = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
    data: Any = Union[None, bool, str, Int64, finite]  # noqa: UP007 - put together at run time
    for _ in range(count):
        data = Union[None, bool, str, Int64, finite, list[data], dict[str, data]]  # noqa: UP007 - as above
    return data


Int64: TypeAlias = Annotated[int, Meta(ge=LOWEST_INT, le=HIGHEST_INT)]
"""An int that can travel, as a type for msgspec."""

# Plain data of few levels, as a type for msgspec: the parser checks in passing what it reads as
# this. Data that it refuses may be plain data of more levels.
if TYPE_CHECKING:
    ShallowData: TypeAlias = Any
    ShallowDict: TypeAlias = dict[str, Any]
else:
    ShallowData = _levels(_SHALLOW)
    ShallowDict = dict[str, _levels(_SHALLOW - 1)]


def is_plain(value: Any, depth: int = 0) -> bool:
    """Return whether data is plain data already, so that it can go to an encoder as it is.

    Where `normalised` would change or refuse something, this is False, with two exceptions for the
    encoder: it refuses lone surrogates itself, and writes tuples as lists.

    Args:
        value: The data.
        depth: How many dicts and lists it is inside of.
    """
    kind = type(value)
    items: Iterable[Any]
    if kind is dict:
        items = value.values()
        for key in value:
            if type(key) is not str:
                return False
    elif kind is list or kind is tuple:
        items = value
    else:
        return (
            kind in _TEXT_BOOL_NONE
            or (kind is int and LOWEST_INT <= value <= HIGHEST_INT)
            or (kind is float and math.isfinite(value))
        )
    if depth == MAX_DEPTH:
        return False
    # Items are checked in this loop: a call for each number would take longer than all the rest.
    for item in items:
        kind = type(item)
        if kind in _TEXT_BOOL_NONE:
            continue
        if kind is int:
            if not LOWEST_INT <= item <= HIGHEST_INT:
                return False
        elif kind is float:
            if not math.isfinite(item):
                return False
        elif not is_plain(item, depth + 1):
            return False
    return True


def count_nested(data: Any) -> int | None:
    """Return how many dicts and lists are in decoded data; None if it is not plain data.

    It goes through the data level by level, in functions written in C: a call for each dict and
    list would take ten times as long as the parser that has made them.

    Args:
        data: What the parser has returned: it has no subclasses of plain types, and no tuples.
    """
    items: list[Any] = [data]
    count = 0
    for depth in range(MAX_DEPTH + 1):
        kinds = set(map(type, items))
        if not kinds <= _PLAIN_TYPES or not _are_finite(items, kinds):
            return None
        lists: list[Any] = _of_type(list, items, kinds)
        dicts: list[Any] = _of_type(dict, items, kinds)
        if not (lists or dicts):
            return count
        count += len(lists) + len(dicts)
        if depth == MAX_DEPTH or not _TEXT.issuperset(map(type, chain.from_iterable(dicts))):
            break
        values = chain.from_iterable(map(dict.values, dicts))
        items = list(chain(chain.from_iterable(lists), values))
    return None


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keep the garbage collector from running while a parser makes many objects in this block.

    It would look through all objects of the program again and again, in vain: data has no cycles.
    """
    if gc.isenabled():
        gc.disable()
        try:
            yield
        finally:
            gc.enable()
    else:
        yield


def _are_finite(items: list[Any], kinds: set[type]) -> bool:
    """Return whether the numbers among the items can travel."""
    if int in kinds:
        numbers = _of_type(int, items, kinds)
        if min(numbers) < LOWEST_INT or max(numbers) > HIGHEST_INT:
            return False
    return float not in kinds or all(map(math.isfinite, _of_type(float, items, kinds)))


def _of_type(kind: type, items: list[Any], kinds: set[type]) -> list[Any]:
    if kind not in kinds:
        return []
    return items if len(kinds) == 1 else [item for item in items if type(item) is kind]


def normalised(value: Any, depth: int = 0) -> Any:
    """Check data, and return a copy of it in which every type is exactly a plain one.

    Args:
        value: The data.
        depth: How many dicts and lists it is inside of.

    Raises:
        Fault: Something in it cannot travel.
    """
    kind = type(value)
    if kind is str:
        return value if value.isascii() else _text(value)
    if kind is int:
        if LOWEST_INT <= value <= HIGHEST_INT:
            return value
        raise TooLarge(
            f"expected an int of at most 64 bits, got one of {value.bit_length()}; send it as text"
        )
    if value is None or kind is bool:
        return value
    if kind is float:
        if math.isfinite(value):
            return value
        raise TooLarge(f"expected a finite float, got {value}; send None, or text")
    if kind is dict:
        if depth == MAX_DEPTH:
            raise too_deep()
        depth += 1
        pairs = {}
        # Most items are no dicts or lists. A call for each of them would take longer than the rest.
        for key, item in value.items():
            name = key if type(key) is str and key.isascii() else _key(key)
            kind = type(item)
            if (
                (kind is int and LOWEST_INT <= item <= HIGHEST_INT)
                or (kind is str and item.isascii())
                or (kind is float and math.isfinite(item))
                or item is None
                or kind is bool
            ):
                pairs[name] = item
                continue
            try:
                pairs[name] = normalised(item, depth)
            except Fault as error:
                raise Inside(name, error) from None
        if len(pairs) < len(value):
            raise _one_key(value)
        return pairs
    if kind is list or kind is tuple:
        if depth == MAX_DEPTH:
            raise too_deep()
        depth += 1
        items: list[Any] = []
        for index, item in enumerate(value):
            kind = type(item)
            if (
                (kind is int and LOWEST_INT <= item <= HIGHEST_INT)
                or (kind is str and item.isascii())
                or (kind is float and math.isfinite(item))
                or item is None
                or kind is bool
            ):
                items.append(item)
                continue
            try:
                items.append(normalised(item, depth))
            except Fault as error:
                raise Inside(index, error) from None
        return items
    return normalised(_without_subclass(value), depth)


def _without_subclass(value: object) -> object:
    # Call the methods of the plain types: the `__str__` of an enum would return its name.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, list | tuple):
        return list(value)
    raise Fault(
        f"expected dict, list, str, int, float, bool or None, got {type(value).__name__};"
        " turn it into one of these"
    )


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Fault(
            f"expected text that UTF-8 can carry, got a lone surrogate at index {error.start};"
            " remove it"
        ) from None
    return value


def _one_key(pairs: dict[Any, Any]) -> Fault:
    """Return the fault of a dict with two keys that would travel as one text."""
    [(name, _)] = Counter(map(_key, pairs)).most_common(1)
    kinds = [value_name(key) for key in pairs if _key(key) == name]
    return Fault(
        f"expected keys that differ as text, got {' and '.join(kinds)}, which both become {name!r}"
    )


def _key(key: object) -> str:
    if isinstance(key, str):
        return _text(str.__str__(key))
    if isinstance(key, int) and not isinstance(key, bool):
        if LOWEST_INT <= key <= HIGHEST_INT:
            return int.__repr__(key)
        raise TooLarge("expected int keys of at most 64 bits, got a larger one; use text")
    raise Fault(f"expected keys of str or int, got {value_name(key)}; use text")
