"""Who is let in: how many connections, failed log-ins and requests are too many.

Everything here is pure: whoever asks brings the time along. An address of None stands for a link
inside the process (`pgnet_trio.transport.Transport.inside_process`), which is never limited.
"""

from __future__ import annotations

import ipaddress
from collections import deque
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from pgnet_trio.server.limits import Limits

__all__ = ["ArrivalPace", "ConnectionCounts", "FailedLogins", "TokenBucket"]

KeyT = TypeVar("KeyT")

MAX_ADDRESSES = 10_000
"""Of how many addresses it is remembered how often they connect; a few MiB. The oldest go first."""

MAX_FAILURES = 20_000
"""How many failed log-ins are remembered, which takes a few MiB. The oldest go first."""

_MAX_ACCOUNT_LENGTH = 64
"""How many characters of an account's name are remembered: no registered name is longer."""


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


class ArrivalPace:
    """Says how long a new connection has to wait, by how often its address has connected.

    Args:
        rate: Connections a second from one address; None for any number.
    """

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._buckets: dict[str, TokenBucket] = {}

    def delay(self, address: str | None, now: float) -> float:
        """Count a connection, and return the seconds that it has to wait."""
        if address is None or self._rate is None:
            return 0.0
        source = _source(address)
        bucket = self._buckets.pop(source, None) or TokenBucket(self._rate, now)
        # Last in the order: the first is the one whose address has been quiet for longest.
        self._buckets[source] = bucket
        if len(self._buckets) > MAX_ADDRESSES:
            del self._buckets[next(iter(self._buckets))]
        return bucket.delay(now)


class FailedLogins:
    """Counts failed log-ins, and refuses more before they cost a password hash.

    A log-in that is let through counts only once it has failed, so several at the same time are
    let through together. Ask again when the turn of a log-in's hash has come.

    Args:
        per_account: How many a window to one account; None for any number.
        per_address: How many a window from one address; None for any number.
        window: Seconds.
    """

    def __init__(
        self, per_account: int | None, per_address: int | None, window: float = 60.0
    ) -> None:
        self._limits = {"account": per_account, "address": per_address}
        self._window = window
        self._failures: deque[tuple[float, tuple[str, str]]] = deque()
        self._counts: dict[tuple[str, str], int] = {}

    def refuse(self, account: str, address: str | None, now: float) -> str | None:
        """Return the reason to refuse a log-in unheard, or None."""
        self._forget(now)
        for key, limit in self._keys(account, address):
            if self._counts.get(key, 0) >= limit:
                return f"Too many failed log-ins; try again in {self._window:g} seconds."
        return None

    def record(self, account: str, address: str | None, now: float) -> None:
        """Count a failed log-in."""
        self._forget(now)
        for key, _ in self._keys(account, address):
            self._failures.append((now, key))
            self._counts[key] = self._counts.get(key, 0) + 1
        while len(self._failures) > MAX_FAILURES:
            self._forget_oldest()

    def _keys(self, account: str, address: str | None) -> list[tuple[tuple[str, str], int]]:
        if address is None:
            return []
        names = {"account": account[:_MAX_ACCOUNT_LENGTH], "address": _source(address)}
        return [
            ((kind, names[kind]), limit)
            for kind, limit in self._limits.items()
            if limit is not None
        ]

    def _forget(self, now: float) -> None:
        while self._failures and self._failures[0][0] <= now - self._window:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, key = self._failures.popleft()
        _count(self._counts, key, -1)


class ConnectionCounts:
    """Counts connections, and says when one is too many.

    An admitted connection counts until `logged_in` and then `closed` have been called for it.

    Args:
        limits: How many there may be.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._total = 0
        self._open: dict[str, int] = {}
        self._logging_in: dict[str, int] = {}

    @property
    def total(self) -> int:
        """How many connections there are, without those inside the process."""
        return self._total

    @property
    def logging_in(self) -> int:
        """How many of them are not logged in yet."""
        return sum(self._logging_in.values())

    def admit(self, address: str | None) -> str | None:
        """Count a new connection, or return the reason to refuse it."""
        if address is None:
            return None
        limits, source = self._limits, _source(address)
        for count, limit, reason in (
            (self._total, limits.max_connections, "The server is full."),
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
        self._total += 1
        _count(self._open, source, 1)
        _count(self._logging_in, source, 1)
        return None

    def logged_in(self, address: str | None) -> None:
        """Note that an admitted connection is done with logging in, successfully or not."""
        if address is not None:
            _count(self._logging_in, _source(address), -1)

    def closed(self, address: str | None) -> None:
        """Note that an admitted connection is gone; `logged_in` was called for it before."""
        if address is not None:
            self._total -= 1
            _count(self._open, _source(address), -1)


def _source(address: str) -> str:
    """Return what counts as one address: of IPv6, the 64-bit prefix that one customer holds."""
    if ":" not in address:
        return address
    try:
        ip = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if ip.ipv4_mapped is not None:
        # A socket for both families shows IPv4 addresses like this.
        return str(ip.ipv4_mapped)
    return str(ipaddress.IPv6Network((ip, 64), strict=False))


def _count(counts: dict[KeyT, int], key: KeyT, by: int) -> None:
    counts[key] = counts.get(key, 0) + by
    if not counts[key]:
        del counts[key]
