"""The short way to read models of plain fields: msgspec reads these, and the class is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from enum import Enum
from itertools import combinations
from types import GenericAlias, NoneType
from typing import Any, Literal, Union, get_args

import attrs
import msgspec

from pgnet_trio.codec.kinds import (
    SCALARS,
    is_below,
    is_union,
    origin,
    wire_types,
)

__all__ = ["Reader", "make_reader", "note_model", "short_reader"]

Reader = Callable[[bytes], Any]

# Of each class that the converter can read: its reader, if it has one.
_readers: dict[type, Reader | None] = {}

_MISSING = Enum.__dict__["_missing_"].__func__

_values = msgspec.structs.astuple


class _OnlyConverter(Exception):
    """A type that msgspec would not read just as the converter does."""


def short_reader(kind: Any) -> Reader | None:
    """Return the reader of a class, if it is known and has one."""
    # The type may be no class, and have no hash.
    return _readers.get(kind) if isinstance(kind, type) else None


def note_model(kind: Any) -> None:
    """Note that the converter can read a type; its reader, if it is to have one, is made now."""
    if isinstance(kind, type) and kind not in _readers:
        _readers[kind] = make_reader(kind)


def make_reader(kind: type) -> Reader | None:
    """Return a function that makes a model of MessagePack, in a fifth of the converter's time.

    It takes what `encode_plain` returns for plain data. It gives what the converter gives, or
    raises some exception: then only the converter knows whether, and how, the data is wrong.

    Args:
        kind: The class. The converter can read it, so its types are resolved.

    Returns:
        The function; None where it could be unlike the converter.
    """
    if not attrs.has(kind):
        return None
    fields = attrs.fields(kind)
    try:
        parameters = inspect.signature(kind).parameters.values()
        # The converter passes its values by name, and this passes them by position.
        if [(each.name, each.kind) for each in parameters] != [
            (field.alias, inspect.Parameter.POSITIONAL_OR_KEYWORD) for field in fields
        ]:
            return None
        # All fields have to come, and nothing else: defaults are the class's own business.
        struct = msgspec.defstruct(
            "Fields",
            [(f"f{index}", _as_read(field.type)) for index, field in enumerate(fields)],
            rename={f"f{index}": field.name for index, field in enumerate(fields)},
            forbid_unknown_fields=True,
            gc=False,
        )
        decode = msgspec.msgpack.Decoder(struct).decode
    except (_OnlyConverter, TypeError, ValueError):
        return None

    def read(packed: bytes) -> Any:
        return kind(*_values(decode(packed)))

    return read


def _as_read(kind: Any) -> Any:
    """Return the type with which msgspec takes and gives the same as the converter.

    Raises:
        _OnlyConverter: There is none.
    """
    kind = NoneType if kind is None else kind
    if kind is Any or kind in SCALARS:
        return kind
    if is_union(kind):
        return _union(kind)
    container, arguments = origin(kind), get_args(kind)
    if container is list:
        return GenericAlias(list, (_as_read((*arguments, Any)[0]),))
    if container is dict and (not arguments or arguments[0] is str):
        return GenericAlias(dict, (str, _as_read((*arguments, Any, Any)[1])))
    if container is tuple and arguments:
        items = tuple(each if each is ... else _as_read(each) for each in arguments)
        return GenericAlias(tuple, items)
    if container is Literal and {*map(type, arguments)} <= {str, int, NoneType}:
        return kind
    if is_below(kind, Enum) and _has_plain_lookup(kind):
        return kind
    raise _OnlyConverter(kind)


def _has_plain_lookup(kind: type[Enum]) -> bool:
    """Return whether exactly the values of an enum's members stand for them, all of one type."""
    missing: Any = kind._missing_
    # A flag has its own way to make members of other values.
    return missing.__func__ is _MISSING and (
        {type(member.value) for member in kind} in ({str}, {int})
    )


def _union(kind: Any) -> Any:
    parts = get_args(kind)
    for one, other in combinations(parts, 2):
        # Of an int, both ways make a float only where no int is declared.
        if {one, other} != {int, float} and wire_types(one) & wire_types(other):
            raise _OnlyConverter(kind)
    return Union[tuple(map(_as_read, parts))]  # noqa: UP007 - put together at run time
