"""Plain data: what every wire format here can carry."""

from __future__ import annotations

import math
from typing import Any

from pgnet_trio.codec.faults import MAX_DEPTH, Fault, Inside, too_deep, value_name

__all__ = ["normalised"]

# What JSON in other languages, msgpack and SQLite all hold.
_LOWEST = -(2**63)
_HIGHEST = 2**63 - 1


def normalised(value: Any, depth: int = 0) -> Any:
    """Check data, and give a copy of it that has the plain types themselves.

    Args:
        value: The data.
        depth: How many dicts and lists it lies in.

    Raises:
        Fault: Something in it cannot travel.
    """
    kind = type(value)
    if kind is str:
        return value if value.isascii() else _text(value)
    if kind is int:
        if _LOWEST <= value <= _HIGHEST:
            return value
        raise Fault(
            f"expected an int of at most 64 bits, got one of {value.bit_length()}; send it as text"
        )
    if value is None or kind is bool:
        return value
    if kind is float:
        if math.isfinite(value):
            return value
        raise Fault(f"expected a finite float, got {value}; send None, or text")
    if kind is dict:
        if depth == MAX_DEPTH:
            raise too_deep()
        depth += 1
        pairs = {}
        for key, item in value.items():
            name = key if type(key) is str and key.isascii() else _key(key)
            try:
                pairs[name] = normalised(item, depth)
            except Fault as error:
                raise Inside(name, error) from None
        return pairs
    if kind is list or kind is tuple:
        if depth == MAX_DEPTH:
            raise too_deep()
        depth += 1
        items: list[Any] = []
        for index, item in enumerate(value):
            try:
                items.append(normalised(item, depth))
            except Fault as error:
                raise Inside(index, error) from None
        return items
    return normalised(_without_subclass(value), depth)


def _without_subclass(value: object) -> object:
    # The methods of the plain types themselves, since an enum's own `__str__` gives its name.
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


def _key(key: object) -> str:
    if isinstance(key, str):
        return _text(str.__str__(key))
    if isinstance(key, int) and not isinstance(key, bool):
        if _LOWEST <= key <= _HIGHEST:
            return int.__repr__(key)
        raise Fault("expected int keys of at most 64 bits, got a larger one; use text")
    raise Fault(f"expected keys of str or int, got {value_name(key)}; use text")
