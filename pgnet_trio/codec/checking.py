"""The check whether a class can travel at all: made when the class is, not when a game is on."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import pathlib
import uuid
from collections import deque
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Any, Literal, Self, TypeVar, get_args, get_type_hints, is_typeddict

import attrs

from pgnet_trio.codec.faults import Fault, author_error, kind_name
from pgnet_trio.codec.kinds import (
    DICTS,
    SCALARS,
    UNSENT,
    clash,
    is_below,
    is_model,
    is_union,
    literal_values,
    origin,
    stripped,
    unsent_field,
    wire_types,
)
from pgnet_trio.codec.models import converter, distinguisher
from pgnet_trio.codec.plain_data import is_plain, normalised
from pgnet_trio.codec.readers import note_model
from pgnet_trio.errors import CodecError

__all__ = ["check_model", "model_fields"]

_CONTAINERS = (list, tuple, dict)

_INSTEAD = {
    datetime.date: "datetime, or str",
    datetime.time: "datetime, or str",
    datetime.timedelta: "float, of seconds",
    decimal.Decimal: "str",
    complex: "tuple[float, float]",
    uuid.UUID: "str",
    pathlib.PurePath: "str",
    bytearray: "bytes",
    memoryview: "bytes",
    object: "Any",
}


class _UnknownName(CodecError):
    """A field names a type that is not there, or not there yet."""


def check_model(kind: Any, *, may_be_early: bool = False) -> None:
    """Check that values of a type can travel; call it when a class is made.

    The check goes into the fields, their items, and the models in these.

    Args:
        kind: An attrs class, or another type of a field.
        may_be_early: Whether nothing is checked where a field names what is not known yet.

    Raises:
        CodecError: A field can never travel. The message names the field, its type, and what to
            declare instead. The error is a ``TypeError`` too.
    """
    try:
        for place, part in _parts(kind, "", {}, set()):
            if is_model(part):
                missing = unsent_field(part)
                if missing is not None:
                    raise CodecError(f"{kind_name(origin(part))}.{missing}: {UNSENT}")
            problem = _problem(part)
            if problem is not None:
                raise CodecError(f"{place}: {problem}" if place else problem)
    except _UnknownName:
        if may_be_early:
            return
        raise
    try:
        converter.get_structure_hook(kind)
        converter.get_unstructure_hook(kind)
    except Exception as error:
        raise CodecError(f"{kind_name(kind)}: {error}") from author_error(error)
    note_model(kind)


def _parts(
    kind: Any, place: str, variables: dict[Any, Any], seen: set[Any]
) -> Iterator[tuple[str, Any]]:
    """Iterate over a type and all the types inside it, each with the field that has it."""
    kind = stripped(variables.get(kind, kind))
    yield place, kind
    if origin(kind) is Literal:
        return
    if is_model(kind):
        if kind not in seen:
            seen.add(kind)
            for name, field_kind, names in model_fields(kind, variables):
                field_place = f"{kind_name(origin(kind))}.{name}"
                yield from _parts(field_kind, field_place, names, seen)
        return
    for part in get_args(kind):
        if part is not ...:
            yield from _parts(part, place, variables, seen)


def model_fields(kind: Any, variables: dict[Any, Any]) -> list[tuple[str, Any, dict[Any, Any]]]:
    """Return the fields of a model that travel.

    Args:
        kind: The model, with arguments or without.
        variables: What type variables stand for around it.

    Returns:
        Each field's name, its type, and what type variables stand for in that.

    Raises:
        CodecError: The types of the fields cannot be read.
    """
    owner = origin(kind)
    names = {**_variables(kind, variables), Self: kind}
    try:
        if attrs.has(owner):
            # The converter needs this too: it does not resolve the name in ``list["Move"]``.
            attrs.resolve_types(owner, include_extras=True)
            hints = {field.name: field.type for field in attrs.fields(owner) if field.init}
        else:
            known = get_type_hints(owner, include_extras=True)
            hints = {
                field.name: known[field.name] for field in dataclasses.fields(owner) if field.init
            }
    except NameError as error:
        raise _UnknownName(
            f"{kind_name(owner)}: its fields name {error.name}, which is not known; "
            f"define {error.name} at the top level of a module, before this class is used"
        ) from None
    except (TypeError, SyntaxError) as error:
        raise CodecError(f"{kind_name(owner)}: its types cannot be read: {error}") from None
    # A field without a type, which `attrs.field` allows, holds anything.
    return [(name, Any if hint is None else hint, names) for name, hint in hints.items()]


def _variables(kind: Any, outer: dict[Any, Any]) -> dict[Any, Any]:
    """Return what the type variables of a generic class, and of its bases, stand for."""
    owner = origin(kind)
    given = [outer.get(argument, argument) for argument in get_args(kind)]
    found = dict(zip(getattr(owner, "__parameters__", ()), given, strict=False))
    for base in getattr(owner, "__orig_bases__", ()):
        if get_args(base):
            found = {**_variables(base, found), **found}
    return found


def _problem(kind: Any) -> str | None:
    """Return what is wrong with a type itself, apart from the types inside it; None if nothing."""
    if isinstance(kind, TypeVar):
        return f"what {kind_name(kind)} stands for is not said; declare it, as in Name[int]"
    if is_union(kind):
        return _union_problem(kind)
    if is_below(kind, Enum) or origin(kind) is Literal:
        return _values_problem(kind)
    if origin(kind) in DICTS:
        return _keys_problem(kind)
    if is_below(origin(kind), AbstractSet, deque) or origin(kind) is AbstractSet:
        arguments = ", ".join(map(kind_name, get_args(kind)))
        return f"{kind_name(kind)} cannot travel; declare list{arguments and f'[{arguments}]'}"
    if wire_types(kind):
        return None
    owner = origin(kind)
    if not isinstance(owner, type) or (owner is not kind and not is_below(owner, *_CONTAINERS)):
        return f"{kind_name(kind)} cannot travel; declare plain data, or an attrs class"
    if not is_typeddict(kind) and not hasattr(kind, "_fields"):
        for base in (*SCALARS, datetime.datetime, bytes, *_CONTAINERS):
            if issubclass(owner, base):
                return f"{kind_name(kind)} would arrive as {base.__name__}; declare that"
        for base in kind.__mro__:
            if base in _INSTEAD and (base is not object or kind is object):
                return f"{kind_name(kind)} cannot travel; declare {_INSTEAD[base]}"
    return f"{kind_name(kind)} cannot travel; make it an attrs class, with @attrs.define"


def _union_problem(kind: Any) -> str | None:
    alike = clash(kind)
    if alike is not None:
        one, other, wire_type = alike
        return (
            f"{kind_name(one)} and {kind_name(other)} cannot be told apart in {kind_name(kind)}, "
            f"since both travel as {wire_type.__name__}; declare one of them, or a model for each"
        )
    models = [part for part in map(stripped, get_args(kind)) if is_model(part)]
    if len(models) > 1:
        try:
            distinguisher(models)
        except Exception:
            return (
                f"{' and '.join(map(kind_name, models))} cannot be told apart; give each a field "
                "without default that the others do not have, or a field of one name with a "
                'literal of its own, as in kind: Literal["rock"] = "rock"'
            )
    return None


def _values_problem(kind: Any) -> str | None:
    values = (
        literal_values(kind)
        if origin(kind) is Literal
        else [member.value for member in kind.__members__.values()]
    )
    for value in values:
        if type(value) not in SCALARS or not is_plain(value):
            return (
                f"{kind_name(kind)} has {value!r}, which cannot travel; give it values of str or "
                "int of at most 64 bits"
            )
        try:
            normalised(value)
        except Fault as error:
            return f"{kind_name(kind)} has {value!r}: {error}"
    return None


def _keys_problem(kind: Any) -> str | None:
    key_kind = stripped((*get_args(kind), str)[0])
    if key_kind in (int, str, Any) or isinstance(key_kind, TypeVar):
        return None
    is_of_values = is_below(key_kind, Enum) or origin(key_kind) is Literal
    if is_of_values and wire_types(key_kind) == {str}:
        return None
    return (
        f"{kind_name(kind)} has keys of {kind_name(key_kind)}, and keys are text on the wire; "
        "declare str, int, or an enum of text"
    )
