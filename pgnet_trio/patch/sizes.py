"""How many bytes values take in msgpack."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["encode", "head_size", "int_size", "packed_size", "text_size"]


encode = msgspec.msgpack.Encoder().encode


def packed_size(value: Any, enough: float = float("inf")) -> int:
    """Return the size of plain data; stop counting when it is known to be enough."""
    kind = type(value)
    if kind is str:
        return text_size(value)
    if kind is int:
        return int_size(value)
    if kind is float:
        return 9
    if kind is not dict and kind is not list:
        return 1
    total = head_size(len(value))
    if kind is dict:
        for key, item in value.items():
            if total >= enough:
                break
            total += text_size(key)
            total += packed_size(item, enough - total)
    else:
        for item in value:
            if total >= enough:
                break
            total += packed_size(item, enough - total)
    return total


def head_size(count: int) -> int:
    """Return the size of what stands before the items of a map or array of so many."""
    return 1 if count < 16 else 3 if count < 65_536 else 5


def text_size(text: str) -> int:
    """Return the size of a text."""
    count = len(text) if text.isascii() else len(text.encode())
    return count + (1 if count < 32 else 2 if count < 256 else 3 if count < 65_536 else 5)


def int_size(number: int) -> int:
    """Return the size of an int of at most 64 bits."""
    if -32 <= number < 128:
        return 1
    bits = number.bit_length() if number >= 0 else (-1 - number).bit_length() + 1
    return 2 if bits <= 8 else 3 if bits <= 16 else 5 if bits <= 32 else 9
