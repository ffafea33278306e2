"""Forms for typed messages: what a page needs to know of a model's fields. Pure."""

from __future__ import annotations

from enum import Enum
from types import NoneType
from typing import Any, Literal, get_args, get_type_hints

import attrs

from pgnet_trio.codec import to_plain
from pgnet_trio.codec.kinds import is_below, is_union, literal_values, origin, stripped
from pgnet_trio.errors import CodecError

__all__ = ["FieldForm", "Form", "form_of"]

_KINDS = {str: "text", int: "int", float: "float", bool: "bool"}


@attrs.frozen
class FieldForm:
    """One field of a form.

    Attributes:
        name: The field's name.
        kind: ``"text"``, ``"int"``, ``"float"``, ``"bool"``, ``"choice"``, or ``"json"`` for all
            others.
        hint: Its type, for people.
        choices: What there is to choose.
        nullable: Whether it may be None.
        required: Whether it has no default.
        default: The default as plain data; None where there is none.
    """

    name: str
    kind: str
    hint: str
    choices: tuple[Any, ...]
    nullable: bool
    required: bool
    default: Any


@attrs.frozen
class Form:
    """What a message is made of.

    Attributes:
        message: What it is called.
        fields: Its fields.
    """

    message: str
    fields: tuple[FieldForm, ...]


def form_of(message: str, model: type) -> Form:
    """Return the form for a message.

    Args:
        message: What it is called.
        model: Its class: attrs, or a dataclass.
    """
    try:
        hints = get_type_hints(model)
    except Exception:
        # Names that only a type checker knows.
        hints = {}
    fields: Any = getattr(model, "__attrs_attrs__", None) or getattr(
        model, "__dataclass_fields__", {}
    )
    found = fields.values() if isinstance(fields, dict) else fields
    return Form(
        message, tuple(_field(each, hints.get(each.name, each.type)) for each in found if each.init)
    )


def _field(field: Any, kind: Any) -> FieldForm:
    kind, nullable = _without_none(stripped(kind))
    choices: tuple[Any, ...] = ()
    name = "json"
    if origin(kind) is Literal:
        name, choices = "choice", tuple(literal_values(kind))
    elif is_below(kind, Enum):
        name, choices = "choice", tuple(member.value for member in kind)
    elif kind in _KINDS:
        name = _KINDS[kind]
    required, default = _default(field)
    hint = kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)
    return FieldForm(
        field.name, name, hint.replace("typing.", ""), choices, nullable, required, default
    )


def _without_none(kind: Any) -> tuple[Any, bool]:
    if not is_union(kind):
        return kind, False
    parts = [part for part in get_args(kind) if part is not NoneType]
    nullable = len(parts) < len(get_args(kind))
    # Of several types, JSON says which one is meant.
    return (stripped(parts[0]), nullable) if len(parts) == 1 else (kind, nullable)


def _default(field: Any) -> tuple[bool, Any]:
    """Return whether a field has no default, and the default as plain data where it is a value."""
    factory = getattr(field, "default_factory", None)
    value = field.default
    missing = value is attrs.NOTHING or type(value).__name__ == "_MISSING_TYPE"
    if missing and (factory is None or type(factory).__name__ == "_MISSING_TYPE"):
        return True, None
    if missing or type(value).__name__ == "Factory":
        return False, None
    try:
        return False, value.value if isinstance(value, Enum) else to_plain(value)
    except CodecError:
        return False, None
