"""The rule of a queue that has none of its own: whoever waits longer is less choosy.

Two tickets can meet where their properties are equal. Around each ticket there is a window of
ratings, which opens with the time: at first it has `within` on either side, and after `wait`
seconds it takes everybody. A match is made around one ticket, of those in its window that are
nearest. Those who have waited longest choose first. So two things hold after each look:

- Nobody could be the middle of one more match.
- Whoever has waited for `wait` seconds is in a match, unless too few are left who want the same.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import attrs
import msgspec

if TYPE_CHECKING:
    from pgnet_trio.matchmaking.tickets import Ticket

__all__ = ["STRIDE", "Widening"]

STRIDE = 512
"""Tickets from one pause to the next: a millisecond or two."""

_bytes_of = msgspec.msgpack.Encoder(order="deterministic").encode


@attrs.frozen
class Widening:
    """Matches those who are alike, and with the time anybody.

    Args:
        size: How many tickets a match has.
        min_size: How many are enough when one of them has waited for `wait` seconds.
        within: How far two ratings may be apart at first.
        wait: Seconds after which ratings do not count any more.
    """

    size: int
    min_size: int
    within: float
    wait: float

    def opens_at(self, distance: float) -> float:
        """Return after how long a wait a window takes ratings that are so far apart.

        After half of `wait` it is twice as wide as at first, and after nine tenths ten times.
        """
        if distance <= self.within:
            return 0.0
        return self.wait * (1 - self.within / distance)

    def matches(
        self, tickets: Sequence[Ticket]
    ) -> Generator[tuple[Ticket, ...] | None, None, float]:
        """Find all matches; each look takes out who is in one before it finds the next.

        Args:
            tickets: All who wait. Of those who have waited equally long, the first one chooses
                first; the order means nothing else.

        Yields:
            A match, the one around whom it is made first; or None now and then, for a pause.

        Returns:
            After how many seconds a window will have opened so far that there may be another
            match, if nobody comes or goes; infinite for never.
        """
        alike: dict[bytes, list[Ticket]] = {}
        for number, ticket in enumerate(tickets, 1):
            wanted = _bytes_of(ticket.properties) if ticket.properties else b""
            alike.setdefault(wanted, []).append(ticket)
            if not number % STRIDE:
                yield None
        soonest = math.inf
        for group in alike.values():
            if len(group) >= self.min_size:
                soonest = min(soonest, (yield from self._match(group)))
        return soonest

    def _match(self, tickets: list[Ticket]) -> Generator[tuple[Ticket, ...] | None, None, float]:
        """Find the matches of those who want the same; see `matches`."""
        tickets.sort(key=_waited, reverse=True)
        if len(tickets) > STRIDE:
            yield None
        # In the order of their ratings, as numbers of their places in `tickets`. The sort is
        # stable, so those with equal ratings stay in the order of their waiting.
        ratings = [ticket.rating for ticket in tickets]
        order = sorted(range(len(tickets)), key=ratings.__getitem__)
        if len(tickets) > STRIDE:
            yield None
        left = _Left(ratings, order)
        soonest = math.inf
        for chosen, ticket in enumerate(tickets):
            if not chosen % STRIDE and chosen:
                yield None
            if left.is_taken(chosen):
                continue
            nearest, distance = left.nearest(chosen, self.size - 1)
            count, opens_at = 1 + len(nearest), self.wait
            if count < self.min_size:
                continue
            if count == self.size:
                opens_at = self.opens_at(distance)
            if ticket.waited >= opens_at:
                left.take([chosen, *nearest])
                yield (ticket, *[tickets[each] for each in nearest])
            else:
                soonest = min(soonest, opens_at - ticket.waited)
        return soonest


class _Left:
    """Those who are in no match yet, each with its neighbours by rating.

    Args:
        ratings: The ratings; a ticket is known by its place in here.
        order: The tickets by their ratings.
    """

    def __init__(self, ratings: list[float], order: list[int]) -> None:
        count = len(ratings)
        # One entry more on each side stands for the end: nothing is near to it.
        self._ratings = [*ratings, math.inf, -math.inf]
        self._after = [0] * (count + 2)
        self._before = [0] * (count + 2)
        line = [count + 1, *order, count]
        for one, other in pairwise(line):
            self._after[one], self._before[other] = other, one
        self._taken = bytearray(count)

    def is_taken(self, one: int) -> bool:
        """Whether a ticket is in a match already."""
        return self._taken[one] == 1

    def nearest(self, one: int, most: int) -> tuple[list[int], float]:
        """Return those whose ratings are nearest to that of one, and the distance of the last."""
        ratings, rating = self._ratings, self._ratings[one]
        before, after = self._before[one], self._after[one]
        found: list[int] = []
        distance = 0.0
        while len(found) < most:
            below, above = rating - ratings[before], ratings[after] - rating
            if below < above:
                found.append(before)
                distance, before = below, self._before[before]
            elif above < math.inf:
                found.append(after)
                distance, after = above, self._after[after]
            else:
                break
        return found, distance

    def take(self, match: list[int]) -> None:
        """Take out those who are in a match."""
        for one in match:
            before, after = self._before[one], self._after[one]
            self._after[before], self._before[after] = after, before
            self._taken[one] = 1


def _waited(ticket: Ticket) -> float:
    return ticket.waited
