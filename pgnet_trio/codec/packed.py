"""What one server packs up for another one, as bytes with a version number.

The form is for servers of ours alone: MessagePack with bytes as they are, and fields by their
places. Nothing of it goes to clients.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from pgnet_trio.codec.faults import too_deep
from pgnet_trio.errors import CodecError

__all__ = ["Packed", "pack", "unpack"]

_bytes_of = msgspec.msgpack.Encoder().encode

PackedT = TypeVar("PackedT", bound="Packed")
ReadT = TypeVar("ReadT")


class Packed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An array of fields. A new one goes to the end, with a default, or takes a new version."""

    def __repr__(self) -> str:
        # Tokens are in some, and what players say to each other.
        return f"<{type(self).__name__}>"


class _Versioned(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    version: int
    content: msgspec.Raw


def pack(value: Packed, version: int) -> bytes:
    """Return a value as bytes.

    Raises:
        CodecError: Something in it cannot travel.
    """
    try:
        return _bytes_of([version, value])
    except (msgspec.MsgspecError, UnicodeError, TypeError, OverflowError) as error:
        raise CodecError(f"{_name(type(value))} cannot be packed up: {error}") from None
    except RecursionError:
        raise CodecError(f"{_name(type(value))} cannot be packed up: {too_deep()}") from None


def unpack(data: bytes, kind: type[PackedT], version: int) -> PackedT:
    """Return the value that `pack` has packed up.

    Args:
        data: The bytes.
        kind: Its class.
        version: The version that is understood.

    Raises:
        CodecError: The bytes are something else, or of another version; the message says which.
    """
    outer = _read(data, _Versioned, kind)
    if outer.version != version:
        raise CodecError(
            f"expected {_name(kind)} of version {version}, got version {outer.version}: "
            "the server that packed it up is of another version of pgnet_trio"
        )
    return _read(outer.content, kind, kind)


def _read(data: bytes | msgspec.Raw, wanted: type[ReadT], kind: type[Packed]) -> ReadT:
    try:
        return msgspec.msgpack.decode(data, type=wanted)
    except (msgspec.MsgspecError, UnicodeError, TypeError, ValueError) as error:
        raise CodecError(f"expected {_name(kind)}, got something else: {error}") from None
    except RecursionError:
        raise CodecError(f"expected {_name(kind)}: {too_deep()}") from None


def _name(kind: type) -> str:
    words = kind.__name__.removeprefix("Packed")
    return "a packed " + "".join(f" {c.lower()}" if c.isupper() else c for c in words).strip()
