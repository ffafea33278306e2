"""A client's inputs on one connection: each is told by how it differs from the one before.

Both ends begin anew with each connection. So what a drop has lost changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgnet_trio.codec import is_plain, plain
from pgnet_trio.errors import CodecError, ProtocolError
from pgnet_trio.protocol.events import FEW_BYTES, InputReceived
from pgnet_trio.protocol.v2.envelopes import InputEnvelope, encode, encode_input

if TYPE_CHECKING:
    from pgnet_trio.netcode import QueuedInput

__all__ = [
    "LONGEST_ENVELOPE",
    "MAX_FIELDS",
    "MAX_INPUT_SIZE",
    "InputReader",
    "InputWriter",
    "check_input",
    "check_seen",
]

MAX_INPUT_SIZE = 900
"""Bytes of the fields of one input, in MessagePack: there are many a second."""

LONGEST_ENVELOPE = MAX_INPUT_SIZE + 21
"""Bytes of an input's envelope; it fits into the shortest frame."""

MAX_FIELDS = 64
"""How many fields an input has at most: the server keeps the latest of each."""

LARGEST = 2**53
"""Numbers and times stay below this, so that JavaScript knows each of them."""

MILLISECONDS = 1000


def check_input(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of an input as plain data.

    Raises:
        CodecError: They cannot travel, or they are too many or too long.
    """
    if not is_plain(payload):
        payload = plain(payload)
    if len(payload) > MAX_FIELDS:
        raise CodecError(
            f"input: expected at most {MAX_FIELDS} fields, got {len(payload)}; an input is for one "
            "tick: send what is larger with client.send"
        )
    size = len(encode(payload))
    if size > MAX_INPUT_SIZE:
        raise CodecError(
            f"input: expected at most {MAX_INPUT_SIZE:,} bytes, got {size:,}; an input is for one "
            "tick: send what is larger with client.send"
        )
    return payload


def check_seen(seen: float) -> None:
    """Check what time a player is said to have seen: at sending it nobody could hear of it.

    Raises:
        ValueError: It is no time.
    """
    if not isinstance(seen, int | float) or not abs(seen) < LARGEST / MILLISECONDS / 2:
        raise ValueError(f"seen: expected seconds of the room's time, got {seen!r}")


class InputWriter:
    """The client's end."""

    __slots__ = ("_number", "_payload", "_seen")

    def __init__(self) -> None:
        self._number = 0
        self._seen = 0
        self._payload: dict[str, Any] = {}

    def write(self, queued: QueuedInput) -> bytes:
        """Return the envelope of the next input."""
        seen = round(queued.seen * MILLISECONDS)
        before, payload = self._payload, queued.payload
        whole = not before.keys() <= payload.keys()
        changes = {
            name: value
            for name, value in payload.items()
            # An int is no float, and True is no 1: the server has to get what is meant.
            if whole or name not in before or not _is_same(before[name], value)
        }
        number, since = queued.number - self._number, seen - self._seen
        envelope = encode_input(number, since, changes, whole=whole)
        self._number, self._seen, self._payload = queued.number, seen, payload
        return envelope


def _is_same(before: Any, value: Any) -> bool:
    kind = type(value)
    if kind is not type(before) or before != value:
        return False
    if kind is float:
        # -0.0 equals 0.0.
        return bool(value) or str(value) == str(before)
    return kind is not list and kind is not dict


class InputReader:
    """The server's end."""

    __slots__ = ("_number", "_payload", "_seen")

    def __init__(self) -> None:
        self._number = 0
        self._seen = 0
        self._payload: dict[str, Any] = {}

    def read(self, envelope: InputEnvelope, size: int) -> InputReceived:
        """Return the input in an envelope.

        Args:
            envelope: The envelope.
            size: How many bytes it has at most.

        Raises:
            ProtocolError: It is larger than an input may be.
        """
        self._number = number = self._number + envelope.number
        self._seen = seen = self._seen + envelope.seen
        if not (-LARGEST < number < LARGEST and -LARGEST < seen < LARGEST):
            raise ProtocolError("expected an input with numbers of at most 53 bits")
        changes = envelope.changes
        if changes or envelope.whole:
            if size > FEW_BYTES and len(encode(changes)) > MAX_INPUT_SIZE:
                raise ProtocolError(f"expected an input of at most {MAX_INPUT_SIZE} bytes")
            self._payload = changes if envelope.whole else {**self._payload, **changes}
            if len(self._payload) > MAX_FIELDS:
                raise ProtocolError(f"expected an input of at most {MAX_FIELDS} fields")
        return InputReceived(number, seen / MILLISECONDS, self._payload)
