"""Models, plain data and JSON text, through one strict converter.

Plain data is what every wire format here can carry: ``dict`` with text keys, ``list``, ``str``,
``int`` of 64 bits, finite ``float``, ``bool`` and ``None``, nested at most `MAX_DEPTH` levels.
Models are attrs classes of plain data, other models, enums, literals, unions, lists, tuples and
dicts. What cannot travel is refused at the sender, and what arrives is taken only if its type is
exactly the declared one. Every failure is a `CodecError` that says where.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from itertools import islice
from textwrap import shorten
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import attrs
import msgspec
from cattrs import ClassValidationError, Converter, ForbiddenExtraKeysError
from cattrs.disambiguators import create_default_dis_func

from pgnet_trio.errors import CodecError

__all__ = ["MAX_DEPTH", "decode_json", "encode_json", "from_plain", "plain", "to_plain"]

MAX_DEPTH = 100
"""Levels of dicts and lists in one message; game data needs few, and parsers recurse."""

T = TypeVar("T")
StructureHook = Callable[[Any, Any], Any]

# What JSON in other languages, msgpack and SQLite all hold.
_LOWEST = -(2**63)
_HIGHEST = 2**63 - 1

# A message with more mistakes than these is explained well enough by the first ones.
_PROBLEMS_NAMED = 3

# Enough to find any place in a sensible message; in a senseless one the path has no end.
_STEPS_NAMED = 12


class _Fault(Exception):
    """A value that cannot travel, or is not what was expected; the message says what came."""


class _Inside(_Fault):
    """A fault, or an error of cattrs, in the item of a dict or list."""

    def __init__(self, step: str | int, error: Exception) -> None:
        super().__init__(step, error)
        self.step = step
        self.error = error


def encode_json(model: object) -> str:
    """Turn a model, or plain data, into JSON text.

    Args:
        model: An instance of an attrs class, or plain data.

    Raises:
        CodecError: Something in it cannot travel; the message says where.
    """
    return _encode(to_plain(model)).decode()


def decode_json(text: str | bytes, kind: type[T]) -> T:
    """Read JSON text that should be a ``kind``.

    Args:
        text: The text, or its UTF-8 bytes.
        kind: The attrs class, or other type, that is expected.

    Raises:
        CodecError: It is no JSON, or no ``kind``; the message says where.
    """
    try:
        data = _decode(text)
    except RecursionError:
        raise CodecError(f"data: {_too_deep()}") from None
    except (msgspec.MsgspecError, UnicodeError, TypeError) as error:
        raise CodecError(f"data: expected JSON text in UTF-8: {error}") from None
    return from_plain(data, kind)


def plain(value: object, path: str = "payload") -> Any:
    """Check data that an author hands over, and give a copy of plain data.

    Subclasses of the plain types (an ``IntEnum``, a ``defaultdict``, a named tuple) become the
    plain types, tuples become lists, and integer keys become text.

    Args:
        value: The data.
        path: What errors call the data.

    Raises:
        CodecError: Something in it cannot travel; the message says where.
    """
    try:
        return _normal(value, 0)
    except _Fault as error:
        raise _codec_error(error, path) from None


def to_plain(model: object) -> Any:
    """Turn a model into plain data; plain data becomes a checked copy.

    Args:
        model: An instance of an attrs class, or plain data.

    Raises:
        CodecError: A field does not hold what its class declares, or something that cannot
            travel; the message says where.
    """
    if not attrs.has(type(model)):
        return plain(model, "")
    try:
        data = _converter.unstructure(model)
    except Exception as error:
        raise _codec_error(_locate(model, type(model), error), "") from _foreign(error)
    return plain(data, "")


def from_plain(data: object, kind: type[T], path: str = "") -> T:
    """Read plain data that should be a ``kind``.

    Args:
        data: The data, for example from `decode_json` or `to_plain`.
        kind: The attrs class, or other type, that is expected.
        path: What errors call the data.

    Raises:
        CodecError: It is no ``kind``; the message says where.
    """
    try:
        return _converter.structure(_normal(data, 0), kind)
    except Exception as error:
        raise _codec_error(error, path) from _foreign(error)


# Plain data


def _normal(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is str:
        return value if value.isascii() else _text(value)
    if kind is int:
        if _LOWEST <= value <= _HIGHEST:
            return value
        raise _Fault(_too_large(value))
    if value is None or kind is bool:
        return value
    if kind is float:
        if math.isfinite(value):
            return value
        raise _Fault(f"expected a finite float, got {value}; send None, or text")
    if kind is dict:
        if depth == MAX_DEPTH:
            raise _Fault(_too_deep())
        depth += 1
        pairs = {}
        for key, item in value.items():
            name = key if type(key) is str and key.isascii() else _key(key)
            try:
                pairs[name] = _normal(item, depth)
            except _Fault as error:
                raise _Inside(name, error) from None
        return pairs
    if kind is list or kind is tuple:
        if depth == MAX_DEPTH:
            raise _Fault(_too_deep())
        depth += 1
        items: list[Any] = []
        for index, item in enumerate(value):
            try:
                items.append(_normal(item, depth))
            except _Fault as error:
                raise _Inside(index, error) from None
        return items
    return _normal(_without_subclass(value), depth)


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
    raise _Fault(
        f"expected dict, list, str, int, float, bool or None, got {type(value).__name__};"
        " turn it into one of these"
    )


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _Fault(
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
        raise _Fault("expected int keys of at most 64 bits, got a larger one; use text")
    raise _Fault(f"expected keys of str or int, got {_name(key)}; use text")


# Models


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
    if isinstance(declared, type) and issubclass(declared, Enum):
        return _structure_enum(value, declared)
    if declared is kind:
        raise _Fault(f"expected {expected}, got {_name(value)}")
    raise _Fault(f"expected a model without {_kind_name(declared)}; declare {kind.__name__}")


def _unstructure_str(value: Any) -> Any:
    if isinstance(value, str):
        return value
    raise _Fault(f"expected a str, got {_name(value)}")


def _unstructure_int(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise _Fault(f"expected an int, got {_name(value)}")


def _unstructure_float(value: Any) -> Any:
    if isinstance(value, float | int) and not isinstance(value, bool):
        return value
    raise _Fault(f"expected a float, got {_name(value)}")


def _unstructure_bool(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    raise _Fault(f"expected a bool, got {_name(value)}")


def _unstructure_payload(value: Any) -> Any:
    if isinstance(value, dict):
        return value
    raise _Fault(f"expected a dict, got {_name(value)}")


def _unchanged(value: Any) -> Any:
    return value


def _origin(kind: Any) -> Any:
    return get_origin(kind) or kind


def _structure_model(kind: Any, converter: Converter) -> StructureHook:
    structure_fields = converter.gen_structure_attrs_fromdict(kind)

    def structure(value: Any, _: Any) -> Any:
        if type(value) is dict:
            return structure_fields(value, kind)
        raise _Fault(f"expected a dict with the fields of {kind.__name__}, got {_name(value)}")

    return structure


def _structure_list(kind: Any, converter: Converter) -> StructureHook:
    item_kind = (*get_args(kind), Any)[0]
    hook = converter.get_structure_hook(item_kind)

    def structure(value: Any, _: Any) -> list[Any]:
        if type(value) is not list:
            raise _Fault(f"expected a list, got {_name(value)}")
        items: list[Any] = []
        for index, item in enumerate(value):
            try:
                items.append(hook(item, item_kind))
            except Exception as error:
                raise _Inside(index, error) from None
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
            raise _Fault(f"expected a list of {len(hooks)}, got {_name(value)}")
        items: list[Any] = []
        for index, (hook, item_kind) in enumerate(hooks):
            try:
                items.append(hook(value[index], item_kind))
            except Exception as error:
                raise _Inside(index, error) from None
        return tuple(items)

    return structure


def _structure_payload(value: Any, _: Any) -> Any:
    if type(value) is dict:
        return value
    raise _Fault(f"expected a dict, got {_name(value)}")


def _structure_dict(kind: Any, converter: Converter) -> StructureHook:
    key_kind, item_kind = get_args(kind) or (str, Any)
    if key_kind is str and item_kind is Any:
        # All plain data is this already, and every payload passes here.
        return _structure_payload
    key_hook = _structure_int_key if key_kind is int else converter.get_structure_hook(key_kind)
    hook = converter.get_structure_hook(item_kind)

    def structure(value: Any, _: Any) -> dict[Any, Any]:
        if type(value) is not dict:
            raise _Fault(f"expected a dict, got {_name(value)}")
        pairs = {}
        for key, item in value.items():
            try:
                pairs[key_hook(key, key_kind)] = hook(item, item_kind)
            except Exception as error:
                raise _Inside(key, error) from None
        return pairs

    return structure


def _structure_union(kind: Any, converter: Converter) -> StructureHook:
    expected = " or ".join(map(_kind_name, get_args(kind)))
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
            raise _Fault(f"expected {expected}, got {_name(value)}")
        try:
            chosen = choose(value)
        except (KeyError, TypeError, ValueError):
            raise _Fault(f"expected {expected}, got keys or a tag of none of these") from None
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
    raise _Fault("expected a key that is an int as text, got other text")


def _structure_enum(value: Any, kind: Any) -> Any:
    try:
        member = kind(value)
        # Python finds `True` and `1.0` where `1` is meant.
        if type(member.value) is type(value):
            return member
    except (TypeError, ValueError):
        pass
    raise _Fault(_not_among([member.value for member in kind], value))


def _structure_literal(value: Any, kind: Any) -> Any:
    values = [option.value if isinstance(option, Enum) else option for option in get_args(kind)]
    for option, known in zip(get_args(kind), values, strict=True):
        if type(known) is type(value) and known == value:
            return option
    raise _Fault(_not_among(values, value))


def _refuse_set(value: Any, _: Any = None) -> Any:
    raise _Fault("expected a model without sets, which cannot travel; declare a list")


def _make_converter() -> Converter:
    converter = Converter(forbid_extra_keys=True)
    converter.register_structure_hook(str, _strict(str, "a str"))
    converter.register_structure_hook(int, _strict(int, "an int"))
    converter.register_structure_hook(bool, _strict(bool, "a bool"))
    converter.register_structure_hook(float, _structure_float)
    converter.register_structure_hook(NoneType, _strict(NoneType, "None"))
    converter.register_unstructure_hook(str, _unstructure_str)
    converter.register_unstructure_hook_func(lambda kind: kind is int, _unstructure_int)
    converter.register_unstructure_hook_func(lambda kind: kind is bool, _unstructure_bool)
    converter.register_unstructure_hook_func(lambda kind: kind is float, _unstructure_float)
    for predicate, factory in (
        (attrs.has, _structure_model),
        (lambda kind: _origin(kind) in (list, Sequence), _structure_list),
        (lambda kind: _origin(kind) is tuple, _structure_tuple),
        (lambda kind: _origin(kind) in (dict, Mapping, MutableMapping), _structure_dict),
        (lambda kind: _origin(kind) in (Union, UnionType), _structure_union),
    ):
        converter.register_structure_hook_factory(predicate, factory)
    for is_kind, hook in (
        (lambda kind: isinstance(kind, type) and issubclass(kind, Enum), _structure_enum),
        (lambda kind: _origin(kind) is Literal, _structure_literal),
        (lambda kind: _is_set(_origin(kind)), _refuse_set),
    ):
        converter.register_structure_hook_func(is_kind, hook)
    # What is in data of any kind is checked afterwards, as a whole.
    converter.register_unstructure_hook_func(lambda kind: kind is Any, _unchanged)
    converter.register_unstructure_hook_func(
        lambda kind: kind == dict[str, Any], _unstructure_payload
    )
    return converter


def _is_set(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, AbstractSet)


_converter = _make_converter()
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


# Errors


def _kind_name(kind: Any) -> str:
    if kind is NoneType:
        return "None"
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)


def _name(value: object) -> str:
    # Never the value itself: it may be a password in the wrong place.
    return "None" if value is None else type(value).__name__


def _too_deep() -> str:
    return f"expected at most {MAX_DEPTH} levels of nesting, got more; make the data flatter"


def _too_large(value: int) -> str:
    return f"expected an int of at most 64 bits, got one of {value.bit_length()}; send it as text"


def _not_among(values: Sequence[object], value: object) -> str:
    return f"expected one of {', '.join(map(repr, values))}, got {reprlib.repr(value)}"


def _codec_error(error: Exception, path: str) -> CodecError:
    problems = [
        f"{_path(path, steps)}: {_problem(leaf, steps)}" for steps, leaf in _leaves(error, ())
    ]
    return CodecError("; ".join(problems))


def _foreign(error: Exception) -> Exception | None:
    """Find the error whose traceback an author needs: their own validator's, say."""
    for _, leaf in _leaves(error, ()):
        if not isinstance(leaf, _Fault | KeyError | ForbiddenExtraKeysError | RecursionError):
            return leaf
    return None


def _leaves(
    error: Exception, steps: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], Exception]]:
    if isinstance(error, _Inside):
        yield from _leaves(error.error, (*steps, error.step))
    elif isinstance(error, ClassValidationError):
        noted, others = error.group_exceptions()
        for part, note in islice(noted, _PROBLEMS_NAMED):
            yield from _leaves(part, (*steps, note.name))
        for part in others:
            yield from _leaves(part, steps)
    else:
        yield steps, error


def _path(path: str, steps: tuple[str | int, ...]) -> str:
    for step in steps[:_STEPS_NAMED]:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step.isidentifier() and len(step) <= 50:
            path += f".{step}"
        else:
            path += f"[{reprlib.repr(step)}]"
    if len(steps) > _STEPS_NAMED:
        path += "..."
    path = path.removeprefix(".")
    return path if path and path[0] != "[" else f"data{path}"


def _problem(error: Exception, steps: tuple[str | int, ...]) -> str:
    if isinstance(error, ForbiddenExtraKeysError):
        known = ", ".join(field.name for field in attrs.fields(error.cl)) or "no fields"
        unknown = ", ".join(reprlib.repr(key) for key in sorted(error.extra_fields)[:3])
        return f"expected only the keys {known}, got {unknown}"
    if isinstance(error, KeyError) and steps and error.args == (steps[-1],):
        return "expected a value, got none; the key is missing"
    if isinstance(error, RecursionError):
        return _too_deep()
    if isinstance(error, _Fault):
        return str(error)
    # From an author's validator, say. attrs gives its own more arguments than the text.
    text = str(error.args[0]) if error.args else ""
    return f"expected a valid value, got {type(error).__name__}: {shorten(text, 200)}"


def _locate(value: Any, kind: Any, error: Exception) -> Exception:
    """Say which part of a model it was that the converter could not turn into plain data."""
    for step, part, part_kind in _parts(value, kind):
        try:
            _converter.unstructure(part, part_kind)
        except RecursionError:
            return error
        except Exception as part_error:
            return _Inside(step, _locate(part, part_kind, part_error))
    if isinstance(error, _Fault) or (isinstance(kind, type) and isinstance(value, kind)):
        return error
    return _Fault(f"expected {_kind_name(kind)}, got {_name(value)}")


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
