"""What every transport keeps to: limits with their reasons, and the wording of its errors."""

from __future__ import annotations

__all__ = [
    "BUSY_RECEIVING",
    "BUSY_SENDING",
    "CLOSED_HERE",
    "CLOSE_TIMEOUT",
    "GOING_AWAY",
    "INVALID_TEXT",
    "MAX_FRAGMENTS",
    "MAX_HANDSHAKE_SIZE",
    "MESSAGES_PER_PASS",
    "MESSAGE_TOO_BIG",
    "POLICY_VIOLATION",
    "byte_size",
    "check_close_code",
    "closed_by_peer",
    "cut_reason",
    "printable",
    "too_big",
    "too_many_fragments",
]

# How long closing waits, in seconds, for what is still on its way out and for the peer's answer.
# A peer that answers does so in one round trip; one that does not must not hold up a shutdown.
CLOSE_TIMEOUT = 1.0

# Pieces of one message. Each costs memory and time beside its bytes, so a limit of bytes alone
# leaves empty pieces free. Those who stream send pieces of 1 KiB or more: with so many of them
# a message is as long as the longest that this package ever sends, 1 MiB.
MAX_FRAGMENTS = 1024

# The HTTP request of a handshake, headers included; h11 has the same limit. Browsers stay below
# 4 KiB, and nobody has logged in at this point.
MAX_HANDSHAKE_SIZE = 16 * 1024

# Messages that a receiver takes from what has already arrived before other tasks get a turn. A
# turn costs as much as parsing a message does; at 50 us for a message, nobody waits for 1 ms.
MESSAGES_PER_PASS = 16

# Close codes of RFC 6455, section 7.4.1. GOING_AWAY: this end leaves, or heard nothing of the peer
# for too long. POLICY_VIOLATION: the peer broke a rule for which there is no code of its own.
GOING_AWAY = 1001
INVALID_TEXT = 1007
POLICY_VIOLATION = 1008
MESSAGE_TOO_BIG = 1009

CLOSED_HERE = "this link was closed at this end"
BUSY_RECEIVING = "another task is already receiving from this link"
BUSY_SENDING = "an earlier message still waits inside the transport: await drain() first"

_MAX_REASON_SIZE = 123
_MAX_SHOWN = 200


def byte_size(message: str | bytes) -> int:
    """The size of a message on the wire, in bytes.

    Raises:
        UnicodeEncodeError: The text has a lone surrogate, which UTF-8 cannot carry.
    """
    if isinstance(message, bytes) or message.isascii():
        return len(message)
    return len(message.encode())


def check_close_code(code: int) -> None:
    """Refuse a close code that may not be sent.

    Raises:
        ValueError: It is none of those that RFC 6455, section 7.4, lets an endpoint send.
    """
    if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        raise ValueError(
            f"expected a close code from 1000-1003, 1007-1014 or 3000-4999, got {code}"
        )


def cut_reason(reason: str) -> str:
    """A close reason as far as a close frame can carry it: whole characters, at most 123 bytes."""
    return reason.encode(errors="replace")[:_MAX_REASON_SIZE].decode(errors="ignore")


def closed_by_peer(code: int, reason: str) -> str:
    """What an error says when the peer closed the link."""
    text = f"the peer closed the link with code {code}"
    return f"{text}: {printable(reason)}" if reason else text


def printable(text: str) -> str:
    """Text of the peer's for an error message: no control characters, and not long."""
    return "".join(char if char.isprintable() else "?" for char in text[:_MAX_SHOWN])


def too_big(limit: int) -> str:
    """What both ends are told when a message is over the limit, which is in bytes."""
    return f"message over the limit of {limit} bytes"


def too_many_fragments() -> str:
    """What both ends are told when a message comes in too many pieces."""
    return f"message in more than {MAX_FRAGMENTS} fragments"
