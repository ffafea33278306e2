"""Models, plain data, JSON text and MessagePack, through one strict converter.

Plain data is what every wire format here can carry: ``dict`` with text keys, ``list``, ``str``,
``int`` of 64 bits, finite ``float``, ``bool`` and ``None``, nested at most `MAX_DEPTH` levels.
Models are attrs classes of plain data, other models, enums, literals, unions, lists, tuples and
dicts, of times with a timezone (ISO 8601 text on the wire) and of bytes (base64 text). The sender
refuses data that cannot travel. The receiver takes data only if each type is exactly the declared
one. Every failure is a `CodecError` that says where.
"""

from __future__ import annotations

from pgnet_trio.codec.checking import check_model
from pgnet_trio.codec.conversion import (
    decode_json,
    decode_msgpack,
    decode_plain,
    encode_json,
    encode_msgpack,
    encode_plain,
    from_parsed,
    from_plain,
    plain,
    to_plain,
)
from pgnet_trio.codec.faults import MAX_DEPTH
from pgnet_trio.codec.packed import Packed, pack, unpack
from pgnet_trio.codec.plain_data import Int64, ShallowDict, count_nested, is_plain

__all__ = [
    "MAX_DEPTH",
    "Int64",
    "Packed",
    "ShallowDict",
    "check_model",
    "count_nested",
    "decode_json",
    "decode_msgpack",
    "decode_plain",
    "encode_json",
    "encode_msgpack",
    "encode_plain",
    "from_parsed",
    "from_plain",
    "is_plain",
    "pack",
    "plain",
    "to_plain",
    "unpack",
]
