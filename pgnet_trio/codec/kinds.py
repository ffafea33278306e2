"""The types of fields: what each is on the wire, and whether the parts of a union differ there."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, MutableSequence, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from itertools import combinations
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NewType,
    Union,
    get_args,
    get_origin,
)

import attrs

__all__ = [
    "DICTS",
    "LISTS",
    "SCALARS",
    "UNSENT",
    "clash",
    "field_names",
    "is_below",
    "is_model",
    "is_union",
    "literal_values",
    "origin",
    "stripped",
    "unsent_field",
    "wire_types",
]

SCALARS = (str, int, float, bool, NoneType)
LISTS = (list, Sequence, MutableSequence)
DICTS = (dict, Mapping, MutableMapping)

UNSENT = (
    "a field with init=False does not travel, and is not saved; leave out init=False, or make it a "
    "property"
)

_ALL: frozenset[type] = frozenset({*SCALARS, list, dict})


def origin(kind: Any) -> Any:
    """Return ``list`` for ``list[int]``, and a type without arguments as it is."""
    return get_origin(kind) or kind


def is_below(kind: Any, *bases: type) -> bool:
    """Return whether a type is a subclass of one of these; ``list[int]`` is no class."""
    return isinstance(kind, type) and issubclass(kind, bases)


def is_model(kind: Any) -> bool:
    """Return whether a type is an attrs class or a dataclass, with arguments or without."""
    return attrs.has(origin(kind)) or is_dataclass(origin(kind))


def field_names(kind: Any) -> list[str]:
    """Return the names of a model's fields, of a class without arguments."""
    return [field.name for field in _fields_of(kind)]


def unsent_field(kind: Any) -> str | None:
    """Return the first field of a model that its class does not take as an argument, or None."""
    return next((field.name for field in _fields_of(origin(kind)) if not field.init), None)


def _fields_of(kind: Any) -> tuple[Any, ...]:
    return attrs.fields(kind) if attrs.has(kind) else fields(kind)


def is_union(kind: Any) -> bool:
    """Return whether a type is a union, in any spelling."""
    return origin(kind) in (Union, UnionType)


def stripped(kind: Any) -> Any:
    """Return the type that another one travels as: what a `NewType` or an alias stands for."""
    while True:
        if isinstance(kind, NewType):
            kind = kind.__supertype__
        elif get_origin(kind) in (Annotated, Final):
            kind = get_args(kind)[0]
        elif type(kind).__name__ == "TypeAliasType":  # of Python 3.12
            kind = kind.__value__
        else:
            return NoneType if kind is None else kind


def literal_values(kind: Any) -> list[Any]:
    """Return the options of a literal as they are on the wire."""
    return [option.value if isinstance(option, Enum) else option for option in get_args(kind)]


def wire_types(kind: Any) -> frozenset[type]:
    """Return the types of plain data that a field of this type can be on the wire."""
    kind = stripped(kind)
    if kind is Any:
        return _ALL
    if is_union(kind):
        return frozenset(found for part in get_args(kind) for found in wire_types(part))
    if origin(kind) is Literal:
        return frozenset(type(value) for value in literal_values(kind))
    if is_below(kind, Enum):
        return frozenset(type(member.value) for member in kind)
    if kind is float:
        # Programs in other languages write 5 for 5.0.
        return frozenset({float, int})
    if kind in SCALARS:
        return frozenset({kind})
    if kind in (datetime, bytes):
        return frozenset({str})
    if origin(kind) in (*LISTS, tuple):
        return frozenset({list})
    if origin(kind) in DICTS or is_model(kind):
        return frozenset({dict})
    return frozenset()


def clash(kind: Any) -> tuple[Any, Any, type] | None:
    """Return two parts of a union that look alike on the wire.

    Models count as different from each other here: the converter finds out whether they are.

    Returns:
        The two, and the type of plain data that both travel as; None where there are none.
    """
    for one, other in combinations(map(stripped, get_args(kind)), 2):
        alike = wire_types(one) & wire_types(other)
        if alike and not _is_harmless(one, other):
            return one, other, min(alike, key=lambda wire_type: wire_type.__name__)
    return None


def _is_harmless(one: Any, other: Any) -> bool:
    if {one, other} == {int, float}:
        return True
    if is_model(one) and is_model(other):
        return True
    for part, literal in ((one, other), (other, one)):
        # The value is the same, whichever of the two it is read as.
        if part in (*SCALARS, Any) and origin(literal) is Literal:
            return not any(isinstance(option, Enum) for option in get_args(literal))
        if part is Any and literal in SCALARS:
            return True
    return False
