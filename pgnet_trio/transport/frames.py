"""Finds the WebSocket frames in a stream of bytes, and watches over what a message may cost."""

from __future__ import annotations

from pgnet_trio.transport.rules import (
    MAX_FRAGMENTS,
    MESSAGE_TOO_BIG,
    POLICY_VIOLATION,
    too_big,
    too_many_fragments,
)

__all__ = ["FINAL_CLOSE", "FrameWatch", "close_frame"]

_CONTINUATION, _BINARY, _CLOSE = 0, 2, 8

# The first byte of every close frame.
FINAL_CLOSE = 0x80 | _CLOSE


class FrameWatch:
    """Reads along with a WebSocket library, and stops a message that breaks a limit.

    It looks at nothing but what its limits need; what else is wrong with a frame, the library
    finds.

    Attributes:
        max_message_size: The longest message in bytes that may pass, or None. It holds for frames
            whose header comes after it was assigned.
        close_seen: Whether the peer sent a close frame. What comes after it is not looked at.
        violation: The limit that was broken, as the close code and the reason to give; or None.
    """

    def __init__(self, max_message_size: int | None) -> None:
        self.max_message_size = max_message_size
        self.close_seen = False
        self.violation: tuple[int, str] | None = None
        self._header = b""
        self._payload_left = 0
        self._message_size = 0
        self._fragments = 0

    def passes(self, data: bytes) -> int:
        """Look at the bytes that came next.

        Returns:
            How many of them may pass: all, or those before the frame that broke a limit.
        """
        if self.violation is not None:
            return 0
        before = len(self._header)
        if before:
            data, self._header = self._header + data, b""
        position, end = self._payload_left, len(data)
        while position < end and not self.close_seen:
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
        self._payload_left = max(0, position - end)
        return end - before

    def _count(self, opcode: int, length: int, *, final: bool) -> tuple[int, str] | None:
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


def close_frame(code: int, reason: str, *, masked: bool) -> bytes:
    """A close frame, for when the library cannot send one.

    Args:
        code: The close code.
        reason: Text for the peer, at most 123 bytes of UTF-8.
        masked: Whether a client sends it. The masking key is zero: it protects against content
            that somebody else chose, and there is none.
    """
    payload = code.to_bytes(2) + reason.encode()
    head = bytes((FINAL_CLOSE, len(payload) | (0x80 if masked else 0)))
    return head + (bytes(4) if masked else b"") + payload
