"""WebSocket frames in a stream of bytes: plain ones are read and written here, others are watched.

A plain frame is all of one message, as nearly all frames of a game are. It needs no rule that only
a library knows, and costs a tenth without one. A library handles all other frames.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, MutableSequence
from typing import TypeAlias

from pgnet_trio.transport.rules import (
    MAX_FRAGMENTS,
    MESSAGE_TOO_BIG,
    POLICY_VIOLATION,
    too_big,
    too_many_fragments,
)

__all__ = [
    "FINAL_BINARY",
    "FINAL_CLOSE",
    "FINAL_PING",
    "FINAL_PONG",
    "FINAL_TEXT",
    "NO_MASK",
    "FrameWatch",
    "Mask",
    "apply_mask",
    "close_frame",
    "frame",
    "only_message",
    "take_plain",
]

_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10

# The first byte of a frame that is the whole message.
FINAL_TEXT, FINAL_BINARY = 0x80 | _TEXT, 0x80 | _BINARY
FINAL_CLOSE, FINAL_PING, FINAL_PONG = 0x80 | _CLOSE, 0x80 | _PING, 0x80 | _PONG

# The masking key of frames whose content is our own. Masking is there so that whoever chooses the
# content of a frame cannot choose the bytes on the wire; here, nobody else chose the content.
NO_MASK = bytes(4)

Mask: TypeAlias = Callable[[bytes, bytes], bytes]

_PLAIN = frozenset((FINAL_TEXT, FINAL_BINARY))

_SHORT = struct.Struct("!BB").pack
_MEDIUM = struct.Struct("!BBH").pack
_LONG = struct.Struct("!BBQ").pack


def apply_mask(data: bytes, key: bytes) -> bytes:
    """Return a payload with a mask of four bytes put on, or taken off."""
    size = len(data)
    keys = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(data) ^ int.from_bytes(keys)).to_bytes(size)


def frame(
    first: int, payload: bytes, *, key: bytes | None = None, mask: Mask = apply_mask
) -> bytes:
    """Return a frame.

    Args:
        first: Its first byte: the opcode, and whether the frame is the last of its message.
        payload: Any number of bytes; at most 125 in a control frame.
        key: The masking key, where a client sends the frame.
        mask: Applies the key.
    """
    size = len(payload)
    bit = 0
    if key is not None:
        bit = 0x80
        payload = key + (payload if key is NO_MASK else mask(payload, key))
    if size < 126:
        return _SHORT(first, bit | size) + payload
    if size < 65536:
        return _MEDIUM(first, bit | 126, size) + payload
    return _LONG(first, bit | 127, size) + payload


def close_frame(code: int, reason: str, *, masked: bool) -> bytes:
    """Return a close frame.

    Args:
        code: The close code.
        reason: Text for the peer, at most 123 bytes of UTF-8.
        masked: Whether a client sends the frame.
    """
    payload = code.to_bytes(2) + reason.encode()
    return frame(FINAL_CLOSE, payload, key=NO_MASK if masked else None)


def take_plain(
    data: bytes,
    messages: MutableSequence[str | bytes],
    *,
    limit: int | None,
    unmask: Mask | None,
    most: float = math.inf,
) -> int:
    """Take plain messages from the beginning of `data`.

    This stops before the first frame that is not a whole message: a control frame, a fragment, the
    beginning of a frame, a message over the limit, anything that breaks a rule. The caller has to
    hand all the bytes from there on to those who judge such frames.

    Args:
        data: The bytes that came. They begin with a frame, and no fragmented message is under way.
        messages: The queue for the messages: ``str`` for text, ``bytes`` for binary.
        limit: The longest message in bytes, or None.
        unmask: Takes the mask off frames of a client; None for those of a server, which have none.
        most: How many messages to take.

    Returns:
        How many bytes were taken.
    """
    start, end = 0, len(data)
    while end - start >= 2 and len(messages) < most:
        first, size = data[start], data[start + 1]
        if first not in _PLAIN or (size >= 0x80) is (unmask is None):
            break
        size &= 0x7F
        position = start + 2
        if size >= 126:
            position += 2 if size == 126 else 8
            announced = int.from_bytes(data[start + 2 : position])
            if announced < (126 if size == 126 else 65536):
                break
            size = announced
        payload = position if unmask is None else position + 4
        stop = payload + size
        if stop > end or (limit is not None and size > limit):
            break
        content = data[payload:stop]
        if unmask is not None:
            content = unmask(content, data[position:payload])
        if first == FINAL_BINARY:
            messages.append(content)
        else:
            try:
                messages.append(content.decode())
            except UnicodeDecodeError:
                break
        start = stop
    return start


def only_message(data: bytes, limit: int | None, unmask: Mask) -> str | bytes | None:
    """Return the message that `data` is, where it is one plain frame of a client and no more.

    As nearly all that is read at once from a client. For everything else the answer is None, and
    `take_plain` says what it is.

    Args:
        data: The bytes that came, as for `take_plain`.
        limit: The longest message in bytes, or None.
        unmask: Takes the mask off.
    """
    size = len(data)
    if size < 6:
        return None
    first, length = data[0], data[1]
    # The highest bit says that there is a mask.
    if length == 254:
        start = 8
        if size < 134 or (data[2] << 8 | data[3]) + 8 != size:
            return None
    elif length < 254 and length == size + 122:
        start = 6
    else:
        return None
    if first not in _PLAIN or (limit is not None and size - start > limit):
        return None
    content = unmask(data[start:], data[start - 4 : start])
    if first == FINAL_BINARY:
        return content
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


class FrameWatch:
    """Reads the bytes before a WebSocket library does, and stops a message that breaks a limit.

    It checks the limits alone; the library finds everything else that is wrong with a frame.

    Attributes:
        max_message_size: The longest message in bytes that may pass, or None. A new value holds
            for frames whose header comes after it was assigned.
        between_messages: Whether the next byte begins a message or a control frame.
        messages: How many messages have passed completely.
        close_seen: Whether the peer sent a close frame. Bytes after it are not checked.
        violation: The close code and the reason to send for a broken limit; None where none was
            broken.
    """

    def __init__(self, max_message_size: int | None) -> None:
        self.max_message_size = max_message_size
        self.between_messages = True
        self.messages = 0
        self.close_seen = False
        self.violation: tuple[int, str] | None = None
        self._header = b""
        self._payload_left = 0
        self._message_size = 0
        self._fragments = 0
        # Whether the frame whose payload is arriving is the last of a message.
        self._ends_message = False

    def passes(self, data: bytes, most: float = math.inf) -> int:
        """Check the bytes that came next.

        Args:
            data: The bytes.
            most: How many frames to check at most. The bytes behind them have to come again.

        Returns:
            How many of them may pass: all that were checked, or only those before a frame that
            breaks a limit.
        """
        passing = 0 if self.violation is not None else self._check(data, most)
        self.between_messages = not (
            self._payload_left
            or self._header
            or self._fragments
            or self.close_seen
            or self.violation is not None
        )
        return passing

    def _check(self, data: bytes, most: float) -> int:
        before = len(self._header)
        if before:
            data, self._header = self._header + data, b""
        position, end = self._payload_left, len(data)
        if 0 < position <= end:
            self.messages += self._ends_message
        checked = 0
        while position < end and not self.close_seen:
            if checked == most:
                self._payload_left = 0
                return position - before
            checked += 1
            start = position
            length = end - start >= 2 and data[start + 1] & 0x7F
            size = 2 + (8 if length == 127 else 2 if length == 126 else 0)
            masked = end - start >= 2 and data[start + 1] & 0x80
            if end - start < size + (4 if masked else 0):
                self._header = data[start:]
                position = end
                break
            if size > 2:
                length = int.from_bytes(data[start + 2 : start + size])
            position = start + size + (4 if masked else 0) + length
            self.violation = self._count(data[start] & 0x0F, length, final=data[start] >= 0x80)
            if self.violation is not None:
                return max(0, start - before)
            if position <= end:
                self.messages += self._ends_message
        self._payload_left = max(0, position - end)
        return end - before

    def _count(self, opcode: int, length: int, *, final: bool) -> tuple[int, str] | None:
        self._ends_message = final and opcode <= _BINARY
        if opcode > _BINARY:
            self.close_seen = opcode == _CLOSE
            return None
        if opcode != _CONTINUATION:
            self._message_size = self._fragments = 0
        self._message_size += length
        self._fragments += 1
        if self.max_message_size is not None and self._message_size > self.max_message_size:
            return MESSAGE_TOO_BIG, too_big(self.max_message_size)
        if self._fragments > MAX_FRAGMENTS:
            return POLICY_VIOLATION, too_many_fragments()
        if final:
            self._message_size = self._fragments = 0
        return None
