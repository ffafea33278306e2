"""From models to plain data to JSON text or MessagePack, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

import attrs
import msgspec

from pgnet_trio.codec.faults import Fault, author_error, codec_error, kind_name, too_deep
from pgnet_trio.codec.kinds import is_model, origin
from pgnet_trio.codec.models import converter, locate
from pgnet_trio.codec.plain_data import (
    ShallowData,
    collector_paused,
    count_nested,
    is_plain,
    normalised,
)
from pgnet_trio.codec.readers import Reader, note_model, short_reader
from pgnet_trio.errors import CodecError

__all__ = [
    "decode_json",
    "decode_msgpack",
    "decode_plain",
    "encode_json",
    "encode_msgpack",
    "encode_plain",
    "from_parsed",
    "from_plain",
    "plain",
    "to_plain",
]

T = TypeVar("T")

_json_bytes = msgspec.json.Encoder().encode
_json_data = msgspec.json.Decoder().decode
_shallow_json_data = msgspec.json.Decoder(ShallowData).decode
_msgpack_bytes = msgspec.msgpack.Encoder().encode
_msgpack_data = msgspec.msgpack.Decoder().decode
_shallow_msgpack_data = msgspec.msgpack.Decoder(ShallowData).decode
_parser_errors = (msgspec.MsgspecError, UnicodeError, TypeError, RecursionError)


def encode_json(model: object, path: str | None = None) -> str:
    """Encode a model, or plain data, as JSON text.

    Args:
        model: An instance of an attrs class, or plain data.
        path: The name of the data in errors; None for that of the model's class.

    Raises:
        CodecError: Something in it cannot travel; the message says where.
    """
    return _encoded(model, _json_bytes, path).decode()


def decode_json(text: str | bytes, kind: type[T], path: str | None = None) -> T:
    """Decode JSON text that should be a ``kind``.

    Args:
        text: The text, or its UTF-8 bytes.
        kind: The attrs class, or other type, that is expected.
        path: The name of the data in errors; None for that of a model's class.

    Raises:
        CodecError: The text is no JSON, or no ``kind``; the message says where.
    """
    try:
        data = _shallow_json_data(text)
    except _parser_errors:
        data = _read(_json_data, text, "JSON text in UTF-8")
    return from_parsed(data, kind, path)


def encode_msgpack(model: object) -> bytes:
    """Encode a model, or plain data, as MessagePack.

    Args:
        model: An instance of an attrs class, or plain data.

    Raises:
        CodecError: Something in it cannot travel; the message says where.
    """
    return _encoded(model, _msgpack_bytes)


@overload
def decode_msgpack(data: bytes) -> Any: ...


@overload
def decode_msgpack(data: bytes, kind: type[T]) -> T: ...


def decode_msgpack(data: bytes, kind: Any = Any) -> Any:
    """Decode MessagePack that should be a ``kind``.

    Args:
        data: The bytes.
        kind: The attrs class, or other type, that is expected; any plain data by default.

    Raises:
        CodecError: The data is no MessagePack, or no ``kind``; the message says where.
    """
    try:
        content = _shallow_msgpack_data(data)
    except _parser_errors:
        content = _read(_msgpack_data, data, "MessagePack")
    return from_parsed(content, kind)


def plain(value: object, path: str = "payload") -> Any:
    """Check data that an author hands over, and return a copy that is plain data.

    Subclasses of the plain types (an ``IntEnum``, a ``defaultdict``, a named tuple) become the
    plain types, tuples become lists, and integer keys become text.

    Args:
        value: The data.
        path: The name of the data in errors.

    Raises:
        CodecError: Something in it cannot travel; the message says where.
    """
    try:
        return normalised(value)
    except Fault as error:
        raise codec_error(error, path) from None


def to_plain(model: object, path: str | None = None) -> Any:
    """Return a model as plain data; of plain data, return a checked copy.

    Args:
        model: An instance of an attrs class, or plain data.
        path: The name of the data in errors; None for that of the model's class.

    Raises:
        CodecError: A field does not hold what its class declares, or holds something that
            cannot travel; the message says where.
    """
    try:
        return normalised(_unstructured(model, path))
    except Fault as error:
        raise codec_error(error, _name(type(model)) if path is None else path) from None


def from_plain(data: object, kind: type[T], path: str | None = None) -> T:
    """Turn plain data into a ``kind``.

    Args:
        data: The data, for example from `decode_json` or `to_plain`.
        kind: The attrs class, or other type, that is expected.
        path: The name of the data in errors; None for that of a model's class.

    Raises:
        CodecError: The data is no ``kind``; the message says where.
    """
    read = short_reader(kind)
    if read is not None and is_plain(data):
        model: T | None = _read_shortly(read, data)
        if model is not None:
            return model
    return _converted(plain(data, path or ""), kind, path)


def from_parsed(data: Any, kind: type[T], path: str | None = None) -> T:
    """Turn data that a parser has found to be plain into a ``kind``, faster than `from_plain`.

    Args:
        data: Plain data. It is not checked, and what is made may share parts with it.
        kind: The attrs class, or other type, that is expected.
        path: The name of the data in errors; None for that of a model's class.

    Raises:
        CodecError: The data is no ``kind``; the message says where.
    """
    read = short_reader(kind)
    if read is not None:
        model: T | None = _read_shortly(read, data)
        if model is not None:
            return model
    return _converted(data, kind, path)


def encode_plain(data: Any) -> bytes:
    """Encode data that a parser has found to be plain, and that has to wait: it takes less memory.

    Args:
        data: Plain data. It is not checked.
    """
    # msgspec returns bytes with spare memory behind them.
    return bytes(memoryview(_msgpack_bytes(data)))


def decode_plain(packed: bytes) -> Any:
    """Return the data that `encode_plain` has encoded."""
    with collector_paused():
        return _msgpack_data(packed)


def _encoded(model: object, encode: Callable[[Any], bytes], path: str | None = None) -> bytes:
    data = _unstructured(model, path)
    if is_plain(data):
        try:
            return encode(data)
        except UnicodeError:
            # The check below says where the text is that cannot travel.
            pass
    return encode(plain(data, _name(type(model)) if path is None else path))


def _read(parse: Callable[[Any], Any], source: str | bytes, expected: str) -> Any:
    # The fast parser has refused the source: it has many levels, or is wrong. This parser finds out
    # which, and where.
    try:
        data = parse(source)
    except RecursionError:
        raise CodecError(f"data: {too_deep()}") from None
    except _parser_errors as error:
        raise CodecError(f"data: expected {expected}: {error}") from None
    return data if count_nested(data) is not None else plain(data, "")


def _read_shortly(read: Reader, data: Any) -> Any:
    """Return plain data as a model; None where only the converter can say what is wrong, if any."""
    try:
        return read(_msgpack_bytes(data))
    except Exception:
        return None


def _unstructured(model: object, path: str | None = None) -> Any:
    kind = type(model)
    if not attrs.has(kind):
        return model
    try:
        return converter.unstructure(model)
    except Exception as error:
        path = _name(kind) if path is None else path
        raise codec_error(locate(model, kind, error), path) from author_error(error)


def _converted(data: Any, kind: type[T], path: str | None = None) -> T:
    try:
        model = converter.structure(data, kind)
    except Exception as error:
        path = _name(kind) if path is None else path
        raise codec_error(error, path) from author_error(error)
    note_model(kind)
    return model


def _name(kind: Any) -> str:
    """Return the name of a model, with which the places of its fields begin; empty for others."""
    return kind_name(origin(kind)) if is_model(kind) else ""
