"""How many connections and requests are too many.

Everything here is pure: whoever asks brings the time along. An address of None stands for a link
inside the process (`pgnet_trio.transport.Transport.inside_process`), which is never limited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgnet_trio.server.sources import add_count, source_of

if TYPE_CHECKING:
    from pgnet_trio.server.limits import Limits

__all__ = [
    "ArrivalPace",
    "ConnectionCounts",
    "InvitationPace",
    "TokenBucket",
]

MAX_ADDRESSES = 10_000
"""Of how many addresses it is remembered how often they connect; a few MiB. The oldest go first."""

MAX_INVITED = 10_000
"""Of how many users it is remembered who has invited them. The oldest go first."""

TOLD_AGAIN_AFTER = 30.0
"""Seconds after which a user may invite the same one again, to whatever game."""


class TokenBucket:
    """Says how long the next request has to wait.

    A request that costs much leaves a debt, for which the next one waits.

    Args:
        rate: Requests a second in the long run; None for any number. Twice that may come at once.
        now: The time, in seconds of whichever clock `delay` is asked with.
    """

    def __init__(self, rate: float | None, now: float) -> None:
        self._rate = rate
        self._burst = 0.0 if rate is None else max(2.0 * rate, 1.0)
        self._tokens = self._burst
        self._then = now

    def delay(self, now: float, cost: float = 1.0) -> float:
        """Count one request, and return the seconds that it has to wait.

        Args:
            now: The time.
            cost: What it costs, in ordinary requests; 0 only asks how long one would have to wait.
        """
        if self._rate is None:
            return 0.0
        self._tokens = min(self._burst, self._tokens + (now - self._then) * self._rate) - cost
        self._then = now
        return -self._tokens / self._rate if self._tokens < 0 else 0.0

    def take_back(self, cost: float = 1.0) -> None:
        """Count a request less, which had this cost."""
        self._tokens = min(self._burst, self._tokens + cost)

    def spent(self, now: float) -> float:
        """Return what was counted, and is not made up for by time yet."""
        self.delay(now, 0.0)
        return self._burst - self._tokens


class ArrivalPace:
    """Says how long a new connection has to wait, by how often its address has connected.

    Args:
        rate: Connections a second from one address; None for any number.
    """

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._buckets: dict[str, TokenBucket] = {}

    def delay(self, address: str | None, now: float, cost: float = 1.0) -> float:
        """Count a connection, and return the seconds that it has to wait.

        Args:
            address: Where it comes from.
            now: The time.
            cost: What it counts as.
        """
        if address is None or self._rate is None:
            return 0.0
        source = source_of(address)
        bucket = self._buckets.pop(source, None) or TokenBucket(self._rate, now)
        # Last in the order: the first is the one whose address has been quiet for longest.
        self._buckets[source] = bucket
        if len(self._buckets) > MAX_ADDRESSES:
            del self._buckets[next(iter(self._buckets))]
        return bucket.delay(now, cost)

    def take_back(self, address: str | None) -> None:
        """Count a connection no more that `delay` has counted."""
        bucket = None if address is None else self._buckets.get(source_of(address))
        if bucket is not None:
            bucket.take_back()


class ConnectionCounts:
    """Counts connections, and says when one is too many.

    A connection is counted when it is opened, and for its address once that is known: behind a
    proxy the handshake tells it. It counts until `logged_in` and `closed`, and then `ended`, have
    been called for it. One that turns out to ask for pages is counted by `admit_http` instead. A
    link inside the process is counted nowhere.

    Args:
        limits: How many there may be.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._total = 0
        self._open: dict[str, int] = {}
        self._logging_in: dict[str, int] = {}
        self._http_total = 0
        self._http: dict[str, int] = {}

    @property
    def total(self) -> int:
        """How many connections there are, without those inside the process or for pages."""
        return self._total

    @property
    def http(self) -> int:
        """How many connections ask for pages."""
        return self._http_total

    @property
    def logging_in(self) -> int:
        """How many of them are not logged in yet."""
        return self._total - sum(self._open.values()) + sum(self._logging_in.values())

    def begin(self) -> str | None:
        """Count a new connection, or return the reason to refuse it."""
        most = self._limits.max_connections
        if most is not None and self._total >= most:
            return "The server is full."
        self._total += 1
        return None

    def ended(self) -> None:
        """Note that a connection is gone that `begin` has counted."""
        self._total -= 1

    def admit(self, address: str | None) -> str | None:
        """Count a connection for its address, or return the reason to refuse it."""
        if address is None:
            return None
        limits, source = self._limits, source_of(address)
        for count, limit, reason in (
            (
                self._open.get(source, 0),
                limits.max_connections_per_address,
                "Too many connections from your address.",
            ),
            (
                self._logging_in.get(source, 0),
                limits.max_logins_per_address,
                "Too many connections from your address are logging in.",
            ),
        ):
            if limit is not None and count >= limit:
                return reason
        add_count(self._open, source, 1)
        add_count(self._logging_in, source, 1)
        return None

    def admit_http(self, address: str | None) -> str | None:
        """Count a connection that asks for pages, or return the reason to refuse it.

        Args:
            address: Its address; None where it is a proxy's, which asks for many.
        """
        limits = self._limits
        if _is_reached(limits.max_http_connections, self._http_total):
            return "Too many connections ask for pages."
        if address is not None:
            source = source_of(address)
            most = limits.max_http_connections_per_address
            if _is_reached(most, self._http.get(source, 0)):
                return "Too many connections from your address ask for pages."
            add_count(self._http, source, 1)
        self._http_total += 1
        return None

    def http_closed(self, address: str | None) -> None:
        """Note that a connection is gone that `admit_http` has counted."""
        self._http_total -= 1
        if address is not None:
            add_count(self._http, source_of(address), -1)

    def logged_in(self, address: str | None) -> None:
        """Note that an admitted connection is done with logging in, successfully or not."""
        if address is not None:
            add_count(self._logging_in, source_of(address), -1)

    def closed(self, address: str | None) -> None:
        """Note that an admitted connection is gone; `logged_in` was called for it before."""
        if address is not None:
            add_count(self._open, source_of(address), -1)


def _is_reached(limit: int | None, count: int) -> bool:
    return limit is not None and count >= limit


class InvitationPace:
    """Who has invited whom lately: nobody fills another's screen, however many games they make."""

    def __init__(self) -> None:
        # By who was invited, the oldest first, when each inviter has done so.
        self._told: dict[str, dict[str, float]] = {}

    def may_tell(self, username: str, inviter: str, now: float) -> bool:
        """Return whether a user may be told that this one invites them."""
        told = self._told.get(username, {}).get(inviter)
        return told is None or now >= told + TOLD_AGAIN_AFTER

    def note(self, username: str, inviter: str, now: float) -> None:
        """Note that a user was told so."""
        told = self._told.pop(username, {})
        lately = {each: time for each, time in told.items() if now < time + TOLD_AGAIN_AFTER}
        self._told[username] = {**lately, inviter: now}
        if len(self._told) > MAX_INVITED:
            del self._told[next(iter(self._told))]

    def forget(self, username: str) -> None:
        """Note that a user has come: they may be invited again at once."""
        self._told.pop(username, None)
