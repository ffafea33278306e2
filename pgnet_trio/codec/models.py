"""The one converter between models and plain data: cattrs, made strict."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, MutableMapping, MutableSequence, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import attrs
from cattrs import Converter
from cattrs.disambiguators import create_default_dis_func

from pgnet_trio.codec.faults import Fault, Inside, kind_name, not_among, value_name

__all__ = ["converter", "locate"]

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
    # cattrs takes the hook of str for every class below it, and so for a `StrEnum`.
    if _is_below(declared, Enum):
        return _structure_enum(value, declared)
    if declared is kind:
        raise Fault(f"expected {expected}, got {value_name(value)}")
    raise Fault(f"expected a model without {kind_name(declared)}; declare {kind.__name__}")


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


def _unchanged(value: Any) -> Any:
    return value


def _origin(kind: Any) -> Any:
    return get_origin(kind) or kind


def _structure_model(kind: Any, converter: Converter) -> StructureHook:
    structure_fields = converter.gen_structure_attrs_fromdict(kind)

    def structure(value: Any, _: Any) -> Any:
        if type(value) is dict:
            return structure_fields(value, kind)
        raise Fault(
            f"expected a dict with the fields of {kind_name(kind)}, got {value_name(value)}"
        )

    return structure


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
        # All plain data is this already, and every payload passes here.
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
    scalars = {part for part in get_args(kind) if part in (str, int, float, bool, NoneType)}
    others = [part for part in get_args(kind) if part not in scalars]
    if len(others) == 1:
        structure_other = converter.get_structure_hook(others[0])
    elif others:
        choose: Callable[[Any], Any] = create_default_dis_func(converter, *others)

    def structure(value: Any, _: Any) -> Any:
        if type(value) in scalars:
            return value
        if type(value) is int and float in scalars:
            return float(value)
        if len(others) == 1:
            return structure_other(value, others[0])
        if not others or type(value) is not dict:
            raise Fault(f"expected {expected}, got {value_name(value)}")
        try:
            chosen = choose(value)
        except (KeyError, TypeError, ValueError):
            raise Fault(f"expected {expected}, got keys or a tag of none of these") from None
        return converter.structure(value, chosen)

    return structure


def _structure_int_key(value: str, _: Any) -> int:
    # Only the way in which the sender wrote it: two spellings would be one key.
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
        # Python finds `True` and `1.0` where `1` is meant.
        if type(member.value) is type(value):
            return member
    except (TypeError, ValueError):
        pass
    raise not_among([member.value for member in kind], value)


def _structure_literal(value: Any, kind: Any) -> Any:
    values = [option.value if isinstance(option, Enum) else option for option in get_args(kind)]
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
    # Left to itself, cattrs calls `bytes`, which makes a billion of them from a number.
    converter.register_structure_hook(bytes, _refuse)
    converter.register_unstructure_hook(str, _unstructure_str)
    converter.register_unstructure_hook_func(lambda kind: kind is int, _unstructure_int)
    converter.register_unstructure_hook_func(lambda kind: kind is bool, _unstructure_bool)
    converter.register_unstructure_hook_func(lambda kind: kind is float, _unstructure_float)
    for predicate, factory in (
        (lambda kind: attrs.has(kind) or is_dataclass(kind), _structure_model),
        (lambda kind: _origin(kind) in (list, Sequence, MutableSequence), _structure_list),
        (lambda kind: _origin(kind) is tuple, _structure_tuple),
        (lambda kind: _origin(kind) in (dict, Mapping, MutableMapping), _structure_dict),
        (lambda kind: _origin(kind) in (Union, UnionType), _structure_union),
    ):
        converter.register_structure_hook_factory(predicate, factory)
    for is_kind, hook in (
        (lambda kind: _is_below(kind, Enum), _structure_enum),
        (lambda kind: _origin(kind) is Literal, _structure_literal),
        (lambda kind: _is_below(_origin(kind), AbstractSet, deque, bytearray), _refuse),
    ):
        converter.register_structure_hook_func(is_kind, hook)
    # What is in data of any kind is checked afterwards, as a whole.
    converter.register_unstructure_hook_func(lambda kind: kind is Any, _unchanged)
    converter.register_unstructure_hook_func(
        lambda kind: kind == dict[str, Any], _unstructure_payload
    )
    return converter


def _is_below(kind: Any, *bases: type) -> bool:
    return isinstance(kind, type) and issubclass(kind, bases)


converter = _strict_converter()


def locate(value: Any, kind: Any, error: Exception) -> Exception:
    """Find which part of a model it was that the converter could not turn into plain data.

    Args:
        value: The model, or a part of it.
        kind: The type that it is declared as.
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
    elif isinstance(value, list | tuple) and _origin(kind) in (list, tuple, Sequence):
        kinds = get_args(kind) or (Any,)
        one_for_each = len(kinds) == len(value) and kinds[-1] is not Ellipsis
        for index, item in enumerate(value):
            yield index, item, kinds[index if one_for_each else 0]
    elif isinstance(value, dict) and len(get_args(kind)) == 2:
        for key, item in value.items():
            yield str(key), item, get_args(kind)[1]
