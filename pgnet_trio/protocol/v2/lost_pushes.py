"""Which pushes the server drops where too much waits for a client, and what stands in their places.

The oldest pushes of games are dropped, and nothing else. What was sent has a number, which the
client may have counted: an empty stand-in keeps its place until the client has said how far it got.
"""

from __future__ import annotations

from collections.abc import Sequence

from pgnet_trio.protocol.v2.envelopes import encode_lost, is_presence

__all__ = [
    "ENTRY_OVERHEAD",
    "GAME",
    "LOST_PUSH",
    "OTHER",
    "PUSH",
    "join_stand_ins",
    "pushes_to_drop",
]

ENTRY_OVERHEAD = 64
"""Bytes of memory that a kept envelope costs beside its own bytes, and that count like them.

They are the overhead of a Python object and of a place in each of two lists.
"""

KEPT = 15 / 16
"""The share of what may wait that is kept where the oldest pushes are dropped.

Dropping looks at all that waits, so it makes room for many pushes at a time.
"""

# What a kept envelope is. A number above 0 is the request that it answers.
OTHER = 0
PUSH = -1
GAME = -2
LOST_PUSH = -3
"""One push was here; each number below it stands for one push more."""


def pushes_to_drop(
    entries: Sequence[bytes],
    kinds: Sequence[int],
    sent: int,
    *,
    messages: tuple[int, float],
    size: tuple[int, float],
) -> list[int]:
    """Return which pushes to drop, so that what waits is within the limits, with some room.

    Args:
        entries: The envelopes that are not acknowledged.
        kinds: What each of them is.
        sent: How many of them were sent.
        messages: How many there are without those that were dropped before, and the limit.
        size: How many bytes they take, and the limit.

    Returns:
        Their places, in order.
    """
    count, most = messages
    total, most_bytes = size
    dropped: list[int] = []
    for at, (envelope, kind) in enumerate(zip(entries, kinds, strict=True)):
        if kind != PUSH or is_presence(envelope):
            continue
        freed = len(envelope) + (ENTRY_OVERHEAD if at >= sent else 0)
        if (
            count <= most
            and total <= most_bytes
            and count <= KEPT * most
            and total - freed < KEPT * most_bytes
        ):
            break
        dropped.append(at)
        count -= 1
        total -= freed
    return dropped


def join_stand_ins(
    entries: Sequence[bytes], kinds: Sequence[int], sent: int, state_after: int, *, tells: bool
) -> tuple[list[bytes], list[int], int]:
    """Make one envelope of all that stands where pushes of one game were, or none.

    What was sent keeps its place, because the client may have counted it.

    Args:
        entries: The envelopes that are not acknowledged.
        kinds: What each of them is.
        sent: How many of them were sent.
        state_after: How many of them go before the next state.
        tells: Whether the client is told how many pushes were dropped.

    Returns:
        The same three: the envelopes, what they are, and how many go before the next state.
    """
    joined_entries: list[bytes] = []
    joined_kinds: list[int] = []
    # Where the pushes of the game were; None where there is nothing that tells of any yet.
    joined: int | None = None
    new_state_after = state_after
    for at, (envelope, kind) in enumerate(zip(entries, kinds, strict=True)):
        if kind > LOST_PUSH or at < sent:
            joined_entries.append(envelope)
            joined_kinds.append(kind)
            if kind == GAME:
                joined = None
        elif tells:
            if joined is None:
                joined = len(joined_entries)
                joined_entries.append(b"")
                joined_kinds.append(kind)
            else:
                joined_kinds[joined] += kind - LOST_PUSH - 1
            joined_entries[joined] = encode_lost(LOST_PUSH + 1 - joined_kinds[joined])
        if at + 1 == state_after:
            new_state_after = len(joined_entries)
    return joined_entries, joined_kinds, new_state_after
