"""The limits that every transport keeps, each with its reason, and the texts of their errors."""

from __future__ import annotations

from pgnet_trio.foreign_text import one_line

__all__ = [
    "BUSY_RECEIVING",
    "BUSY_SENDING",
    "CLOSED_HERE",
    "CLOSE_TIMEOUT",
    "FRAMES_PER_PASS",
    "GOING_AWAY",
    "INVALID_TEXT",
    "MAX_FRAGMENTS",
    "MAX_HANDSHAKE_SIZE",
    "MESSAGES_PER_PASS",
    "MESSAGE_TOO_BIG",
    "POLICY_VIOLATION",
    "TRY_AGAIN_LATER",
    "byte_size",
    "check_close_code",
    "closed_by_peer",
    "cut_reason",
    "too_big",
    "too_many_fragments",
]

# Seconds that closing waits until everything is out and the peer has answered. A peer that answers
# does so in one round trip; a peer that does not answer must not hold up a shutdown.
CLOSE_TIMEOUT = 1.0

# Fragments of one message. Each costs memory and time beside its bytes, so a limit of bytes alone
# would let a peer send empty ones without end. Programs that stream send fragments of 1 KiB or
# more; so many of those make the longest message that this package ever sends, 1 MiB.
MAX_FRAGMENTS = 1024

# Bytes of the HTTP request of a handshake, headers included. Browsers stay below 4 KiB, and nobody
# has logged in at this point. h11 has the same limit.
MAX_HANDSHAKE_SIZE = 16 * 1024

# Messages that a receiver takes out of what has arrived before it lets other tasks run. Letting
# them run costs as much as parsing a message. At 50 us a message, nobody waits longer than 1 ms.
MESSAGES_PER_PASS = 16

# Frames that are no whole message, such as pings and fragments, that a library handles before other
# tasks run. Each takes some ten microseconds, and hundreds fit into one read.
FRAMES_PER_PASS = 32

# Close codes of RFC 6455, section 7.4.1.

GOING_AWAY = 1001
"""This end goes away, or it has not heard of the peer for too long."""

INVALID_TEXT = 1007
"""The peer sent a text message that is not UTF-8."""

POLICY_VIOLATION = 1008
"""The peer broke the rules, and no other code says which of them."""

MESSAGE_TOO_BIG = 1009
"""The peer sent a message over the limit."""

TRY_AGAIN_LATER = 1013
"""The server has too many connections now."""

CLOSED_HERE = "this link was closed at this end"
BUSY_RECEIVING = "another task is already receiving from this link"
BUSY_SENDING = "an earlier message still waits inside the transport: await drain() first"

_MAX_REASON_SIZE = 123


def byte_size(message: str | bytes) -> int:
    """Return the size of a message on the wire, in bytes.

    Raises:
        UnicodeEncodeError: The text has a lone surrogate, which UTF-8 cannot carry.
    """
    if isinstance(message, bytes) or message.isascii():
        return len(message)
    return len(message.encode())


def check_close_code(code: int) -> None:
    """Check that an endpoint may send a close code.

    Raises:
        ValueError: It may not (RFC 6455, section 7.4).
    """
    if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        raise ValueError(
            f"expected a close code from 1000-1003, 1007-1014 or 3000-4999, got {code}"
        )


def cut_reason(reason: str) -> str:
    """Return as much of a reason as fits into a close frame: 123 bytes, and whole characters."""
    return reason.encode(errors="replace")[:_MAX_REASON_SIZE].decode(errors="ignore")


def closed_by_peer(code: int, reason: str) -> str:
    """Return the text of the error that says that the peer closed the link."""
    text = f"the peer closed the link with code {code}"
    return f"{text}: {one_line(reason)}" if reason else text


def too_big(limit: int) -> str:
    """Return what both ends are told about a message over the limit, which is in bytes."""
    return f"message over the limit of {limit} bytes"


def too_many_fragments() -> str:
    """Return what both ends are told about a message in too many fragments."""
    return f"message in more than {MAX_FRAGMENTS} fragments"
