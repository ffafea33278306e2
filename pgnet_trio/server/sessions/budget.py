"""What one user may cost the server."""

from __future__ import annotations

import trio

from pgnet_trio.server.admission import TokenBucket

__all__ = ["OWN_REQUEST_COST", "RETURN_COST", "Budget"]

FULL_RATE = 200.0
"""Requests a second from which on costs count in full: the default of the limit."""

OWN_REQUEST_COST = 20
"""What a request to the server itself costs, in ordinary requests: it may make a game."""

RETURN_COST = 20
"""The same of a client that comes back: a handshake, and the whole state."""


class Budget:
    """Counts a user's requests, and what they cost; whoever spends more than that waits.

    Costs are counted in ordinary requests: short ones, which a game answers at once. A low rate
    says how often somebody may ask, and not what that may cost the server. So it makes costs count
    less.

    Args:
        rate: Requests a second; None for any number.
        spent: What the user has spent already, as another `Budget` has said it.

    Attributes:
        limited: Whether anything is counted.
    """

    def __init__(self, rate: float | None, spent: float = 0.0) -> None:
        self.limited = rate is not None
        self._bucket = None if rate is None else TokenBucket(rate, trio.current_time())
        self._weight = 1.0 if rate is None else min(1.0, rate / FULL_RATE)
        if self._bucket is not None:
            self._bucket.delay(trio.current_time(), spent)

    @property
    def spent(self) -> float:
        """What the user has spent, and time has not made up for yet."""
        return 0.0 if self._bucket is None else self._bucket.spent(trio.current_time())

    def delay(self, cost: float = 1.0) -> float:
        """Count a request, and return the seconds that the next one has to wait.

        Args:
            cost: What it costs.
        """
        if self._bucket is None:
            return 0.0
        if cost != 1:
            cost = 1 + (cost - 1) * self._weight
        return self._bucket.delay(trio.current_time(), cost)

    def charge(self, cost: float) -> None:
        """Count what something else costs."""
        if self._bucket is not None:
            self._bucket.delay(trio.current_time(), cost * self._weight)

    def take_back(self, cost: float) -> None:
        """Count no more what `charge` has counted."""
        if self._bucket is not None:
            self._bucket.take_back(cost * self._weight)

    def debt(self) -> float:
        """Return the seconds that the next request has to wait."""
        return 0.0 if self._bucket is None else self._bucket.delay(trio.current_time(), 0.0)
