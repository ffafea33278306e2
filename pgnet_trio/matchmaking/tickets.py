"""A ticket: one user who looks for a game, as a rule sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

__all__ = ["Rule", "Ticket"]


# A Struct, because each look at a queue makes one for each ticket: msgspec makes it in C.
class Ticket(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One user who looks for a game, at the moment of a look at the queue.

    Attributes:
        username: Who it is; the tickets of one look are of different users.
        waited: For how many seconds they have looked.
        rating: How well they play; 0 in a queue without ratings.
        properties: What they look for, as their program says it; plain data. A rule must not change
            it.
    """

    username: str
    waited: float
    rating: float = 0.0
    properties: Mapping[str, Any] = {}


Rule: TypeAlias = Callable[[Sequence[Ticket]], Iterable[Sequence[Ticket] | None]]
"""Says which tickets make a match: called with all tickets, those who wait longest first.

It returns the matches, or yields one after the other; no ticket is in two. It may yield None in
between: nothing else runs from one step to the next.
"""
