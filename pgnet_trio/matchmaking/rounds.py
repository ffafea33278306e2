"""One look at a queue: its rule finds the matches, and nothing wrong that a rule says is done."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from pgnet_trio.matchmaking.tickets import Rule, Ticket

if TYPE_CHECKING:
    from pgnet_trio.matchmaking.queue import Queue

__all__ = ["Round", "play_round"]

Round: TypeAlias = Generator[Sequence[Ticket] | None, None, float]
"""Yields matches, or None for a pause; returns after how many seconds to look again."""


def play_round(queue: Queue, tickets: Sequence[Ticket]) -> Round:
    """Find the matches among the tickets of a queue.

    Args:
        queue: The queue, whose rule decides.
        tickets: All who wait, those who wait longest first.

    Yields:
        A match, or None for a pause.

    Returns:
        After how many seconds to look again if nobody comes or goes; infinite for never.

    Raises:
        Exception: What the author's rule raises.
        TypeError: That rule returns something else than sequences of tickets.
        ValueError: It puts a user into two matches, or returns a ticket that is none of these.
    """
    if queue.rule is None:
        return queue.widening.matches(tickets)
    return _follow(queue.rule, queue.every, tickets)


def _follow(rule: Rule, every: float, tickets: Sequence[Ticket]) -> Round:
    """Have an author's rule decide, and check what it says."""
    left = {ticket.username: ticket for ticket in tickets}
    match: Any
    for match in rule(tickets):
        if match is None:
            yield None
            continue
        if not isinstance(match, Sequence) or isinstance(match, str) or not match:
            raise TypeError(
                "expected the rule to return matches, each a list or tuple of tickets, got "
                f"{type(match).__name__}"
            )
        for ticket in match:
            if not isinstance(ticket, Ticket):
                raise TypeError(
                    f"expected the rule to return matches of tickets, got {type(ticket).__name__}"
                )
            if left.pop(ticket.username, None) is not ticket:
                raise ValueError(
                    f"expected the rule to return each ticket once, and none of its own making, "
                    f"got one of {ticket.username!r}"
                )
        yield tuple(match)
    return every if left else math.inf
