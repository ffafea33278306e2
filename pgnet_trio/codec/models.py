"""The one converter between models and plain data: cattrs, with strict hooks."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from enum import Enum
from types import NoneType
from typing import Any, Literal, get_args

import attrs
from cattrs import Converter
from cattrs.disambiguators import create_default_dis_func

from pgnet_trio.codec.faults import Fault, Inside, kind_name, not_among, value_name
from pgnet_trio.codec.kinds import (
    DICTS,
    LISTS,
    SCALARS,
    UNSENT,
    clash,
    field_names,
    is_below,
    is_model,
    is_union,
    literal_values,
    origin,
    stripped,
    unsent_field,
    wire_types,
)

__all__ = ["converter", "distinguisher", "locate"]

StructureHook = Callable[[Any, Any], Any]


def _strict(kind: type, expected: str) -> StructureHook:
    def structure(value: Any, declared: Any) -> Any:
        if type(value) is kind and declared is kind:
            return value
        return _structure_subclass(value, declared, kind, expected)

    return structure


def _structure_float(value: Any, declared: Any) -> Any:
    if type(value) is float and declared is float:
        return value
    if type(value) is int and declared is float:
        return float(value)
    return _structure_subclass(value, declared, float, "a float")


def _structure_subclass(value: Any, declared: Any, kind: type, expected: str) -> Any:
    # cattrs uses the hook of str for every subclass of it, and so for a `StrEnum`.
    if is_below(declared, Enum):
        return _structure_enum(value, declared)
    if declared is kind:
        raise Fault(f"expected {expected}, got {value_name(value)}")
    raise _declare(declared, kind)


def _unstructure_str(value: Any) -> Any:
    if isinstance(value, str):
        return value
    raise Fault(f"expected a str, got {value_name(value)}")


def _unstructure_int(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise Fault(f"expected an int, got {value_name(value)}")


def _unstructure_float(value: Any) -> Any:
    if isinstance(value, float | int) and not isinstance(value, bool):
        return value
    raise Fault(f"expected a float, got {value_name(value)}")


def _unstructure_bool(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    raise Fault(f"expected a bool, got {value_name(value)}")


def _unstructure_payload(value: Any) -> Any:
    if isinstance(value, dict):
        return value
    raise Fault(f"expected a dict, got {value_name(value)}")


def _structure_datetime(value: Any, declared: Any) -> Any:
    if declared is not datetime:
        raise _declare(declared, datetime)
    if type(value) is not str:
        raise Fault(f"expected an ISO 8601 time as text, got {value_name(value)}")
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise Fault("expected an ISO 8601 time as text, got other text") from None
    if moment.utcoffset() is None:
        raise Fault("expected a time with a timezone, got one without")
    return moment


def _unstructure_datetime(value: Any) -> Any:
    if not isinstance(value, datetime):
        raise Fault(f"expected a datetime, got {value_name(value)}")
    if value.utcoffset() is None:
        raise Fault(
            "expected a datetime with a timezone, got one without; add one, as in datetime.now(UTC)"
        )
    return value.isoformat()


def _structure_bytes(value: Any, declared: Any) -> Any:
    if declared is not bytes:
        raise _declare(declared, bytes)
    if type(value) is not str:
        raise Fault(f"expected bytes as base64 text, got {value_name(value)}")
    try:
        data = a2b_base64(value, strict_mode=True)
        # The last character may hold bits without a meaning, so that two texts would be one value.
        if b2a_base64(data, newline=False).decode() == value:
            return data
    except ValueError:
        pass
    raise Fault("expected bytes as base64 text, got other text")


def _unstructure_bytes(value: Any) -> Any:
    if isinstance(value, bytes):
        return b2a_base64(value, newline=False).decode()
    raise Fault(f"expected bytes, got {value_name(value)}")


def _declare(declared: Any, kind: type) -> Fault:
    return Fault(f"expected a model without {kind_name(declared)}; declare {kind.__name__}")


def _unchanged(value: Any) -> Any:
    return value


def _unstructure_model(kind: Any, converter: Converter) -> Callable[[Any], Any]:
    _check_fields(kind)
    unstructure_fields = converter.gen_unstructure_attrs_fromdict(kind)
    declared = origin(kind)
    known = frozenset(field_names(declared))

    def unstructure(value: Any) -> Any:
        actual = type(value)
        if actual is not declared and is_model(actual):
            lost = [name for name in field_names(actual) if name not in known]
            if lost:
                raise Fault(
                    f"expected {kind_name(declared)}, got {kind_name(actual)}, whose "
                    f"{', '.join(lost)} would be lost; declare "
                    f"{kind_name(declared)} | {kind_name(actual)}"
                )
        return unstructure_fields(value)

    return unstructure


def _structure_model(kind: Any, converter: Converter) -> StructureHook:
    _check_fields(kind)
    structure_fields = converter.gen_structure_attrs_fromdict(kind)

    def structure(value: Any, _: Any) -> Any:
        if type(value) is dict:
            return structure_fields(value, kind)
        raise Fault(
            f"expected a dict with the fields of {kind_name(kind)}, got {value_name(value)}"
        )

    return structure


def _check_fields(kind: Any) -> None:
    """Refuse a model with a field that is left out when it travels."""
    missing = unsent_field(kind)
    if missing is not None:
        raise Fault(f"expected a model without {kind_name(origin(kind))}.{missing}: {UNSENT}")


def _structure_list(kind: Any, converter: Converter) -> StructureHook:
    item_kind = (*get_args(kind), Any)[0]
    hook = converter.get_structure_hook(item_kind)

    def structure(value: Any, _: Any) -> list[Any]:
        if type(value) is not list:
            raise Fault(f"expected a list, got {value_name(value)}")
        items: list[Any] = []
        for index, item in enumerate(value):
            try:
                items.append(hook(item, item_kind))
            except Exception as error:
                raise Inside(index, error) from None
        return items

    return structure


def _structure_tuple(kind: Any, converter: Converter) -> StructureHook:
    kinds = get_args(kind) or (Any, ...)
    if kinds[-1] is ...:
        structure_items = _structure_list(kind, converter)
        return lambda value, _: tuple(structure_items(value, kind))
    hooks = [(converter.get_structure_hook(item_kind), item_kind) for item_kind in kinds]

    def structure(value: Any, _: Any) -> tuple[Any, ...]:
        if type(value) is not list or len(value) != len(hooks):
            raise Fault(f"expected a list of {len(hooks)}, got {value_name(value)}")
        items: list[Any] = []
        for index, (hook, item_kind) in enumerate(hooks):
            try:
                items.append(hook(value[index], item_kind))
            except Exception as error:
                raise Inside(index, error) from None
        return tuple(items)

    return structure


def _structure_payload(value: Any, _: Any) -> Any:
    if type(value) is dict:
        return value
    raise Fault(f"expected a dict, got {value_name(value)}")


def _structure_dict(kind: Any, converter: Converter) -> StructureHook:
    key_kind, item_kind = get_args(kind) or (str, Any)
    if key_kind is str and item_kind is Any:
        # Nothing to convert, and every payload passes here.
        return _structure_payload
    key_hook = _structure_int_key if key_kind is int else converter.get_structure_hook(key_kind)
    hook = converter.get_structure_hook(item_kind)

    def structure(value: Any, _: Any) -> dict[Any, Any]:
        if type(value) is not dict:
            raise Fault(f"expected a dict, got {value_name(value)}")
        pairs = {}
        for key, item in value.items():
            try:
                pairs[key_hook(key, key_kind)] = hook(item, item_kind)
            except Exception as error:
                raise Inside(key, error) from None
        return pairs

    return structure


def _structure_union(kind: Any, converter: Converter) -> StructureHook:
    expected = " or ".join(map(kind_name, get_args(kind)))
    if clash(kind) is not None:
        raise Fault(f"expected a model without {expected}, which look alike when they arrive")
    scalars = {part for part in map(stripped, get_args(kind)) if part in SCALARS}
    others = [part for part in get_args(kind) if stripped(part) not in scalars]
    models = [part for part in others if is_model(part)]
    hooks: dict[type, tuple[StructureHook, Any]] = {
        wire_type: (converter.get_structure_hook(part), part)
        for part in others
        for wire_type in wire_types(part)
    }
    if len(models) > 1:
        choose = distinguisher(models)

        def structure_model(value: Any, _: Any) -> Any:
            try:
                chosen = choose(value)
            except (KeyError, TypeError, ValueError):
                raise Fault(f"expected {expected}, got keys or a tag of none of these") from None
            return converter.structure(value, chosen)

        hooks[dict] = structure_model, kind
    # Where one other part is left, its hook gives the best account of what is wrong with a value.
    otherwise = (converter.get_structure_hook(others[0]), others[0]) if len(others) == 1 else None

    def structure(value: Any, _: Any) -> Any:
        if type(value) in scalars:
            return value
        if type(value) is int and float in scalars:
            return float(value)
        found = hooks.get(type(value), otherwise)
        if found is None:
            raise Fault(f"expected {expected}, got {value_name(value)}")
        hook, part = found
        return hook(value, part)

    return structure


def distinguisher(models: Sequence[Any]) -> Callable[[Any], Any]:
    """Return the function that tells from plain data which of these models it is.

    Raises:
        TypeError: The models cannot be told apart.
    """
    return create_default_dis_func(converter, *models)


def _structure_int_key(value: str, _: Any) -> int:
    # Take one spelling alone, the sender's: two spellings would become one key.
    try:
        key = int(value)
        if str(key) == value:
            return key
    except ValueError:
        pass
    raise Fault("expected a key that is an int as text, got other text")


def _structure_enum(value: Any, kind: Any) -> Any:
    try:
        member = kind(value)
        # `True` and `1.0` find the member whose value is `1`: they are equal.
        if type(member.value) is type(value):
            return member
    except (TypeError, ValueError):
        pass
    raise not_among([member.value for member in kind], value)


def _structure_literal(value: Any, kind: Any) -> Any:
    values = literal_values(kind)
    for option, known in zip(get_args(kind), values, strict=True):
        if type(known) is type(value) and known == value:
            return option
    raise not_among(values, value)


def _refuse(value: Any, kind: Any) -> Any:
    raise Fault(
        f"expected a model without {kind_name(kind)}, which cannot travel; declare a str or list"
    )


def _strict_converter() -> Converter:
    converter = Converter(forbid_extra_keys=True)
    converter.register_structure_hook(str, _strict(str, "a str"))
    converter.register_structure_hook(int, _strict(int, "an int"))
    converter.register_structure_hook(bool, _strict(bool, "a bool"))
    converter.register_structure_hook(float, _structure_float)
    converter.register_structure_hook(NoneType, _strict(NoneType, "None"))
    # By default cattrs would call `bytes`, which makes as many zero bytes as a number says.
    converter.register_structure_hook(bytes, _structure_bytes)
    converter.register_structure_hook(datetime, _structure_datetime)
    converter.register_unstructure_hook(bytes, _unstructure_bytes)
    converter.register_unstructure_hook(datetime, _unstructure_datetime)
    converter.register_unstructure_hook(str, _unstructure_str)
    converter.register_unstructure_hook_func(lambda kind: kind is int, _unstructure_int)
    converter.register_unstructure_hook_func(lambda kind: kind is bool, _unstructure_bool)
    converter.register_unstructure_hook_func(lambda kind: kind is float, _unstructure_float)
    for predicate, factory in (
        (is_model, _structure_model),
        (lambda kind: origin(kind) in LISTS, _structure_list),
        (lambda kind: origin(kind) is tuple, _structure_tuple),
        (lambda kind: origin(kind) in DICTS, _structure_dict),
        (is_union, _structure_union),
    ):
        converter.register_structure_hook_factory(predicate, factory)
    converter.register_unstructure_hook_factory(is_model, _unstructure_model)
    for is_kind, hook in (
        (lambda kind: is_below(kind, Enum), _structure_enum),
        (lambda kind: origin(kind) is Literal, _structure_literal),
        (lambda kind: is_below(origin(kind), AbstractSet, deque, bytearray), _refuse),
    ):
        converter.register_structure_hook_func(is_kind, hook)
    # The content of a field of type Any is checked later, with the whole of the data.
    converter.register_unstructure_hook_func(lambda kind: kind is Any, _unchanged)
    converter.register_unstructure_hook_func(
        lambda kind: kind == dict[str, Any], _unstructure_payload
    )
    return converter


converter = _strict_converter()


def locate(value: Any, kind: Any, error: Exception) -> Exception:
    """Return the error with the part of a model that the converter could not turn into plain data.

    Args:
        value: The model, or a part of it.
        kind: The declared type.
        error: What the converter raised.
    """
    for step, part, part_kind in _parts(value, kind):
        try:
            converter.unstructure(part, part_kind)
        except RecursionError:
            return error
        except Exception as part_error:
            return Inside(step, locate(part, part_kind, part_error))
    if isinstance(error, Fault) or (isinstance(kind, type) and isinstance(value, kind)):
        return error
    return Fault(f"expected {kind_name(kind)}, got {value_name(value)}")


def _parts(value: Any, kind: Any) -> Iterator[tuple[str | int, Any, Any]]:
    if attrs.has(type(value)):
        for field in attrs.fields(type(value)):
            yield field.name, getattr(value, field.name, None), field.type
    elif isinstance(value, list | tuple) and origin(kind) in (list, tuple, Sequence):
        kinds = get_args(kind) or (Any,)
        one_for_each = len(kinds) == len(value) and kinds[-1] is not Ellipsis
        for index, item in enumerate(value):
            yield index, item, kinds[index if one_for_each else 0]
    elif isinstance(value, dict) and len(get_args(kind)) == 2:
        for key, item in value.items():
            yield str(key), item, get_args(kind)[1]
