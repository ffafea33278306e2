"""The limits that keep one client from costing the others anything; all of them pure."""

from __future__ import annotations

from collections import deque
from typing import Any

import attrs

__all__ = ["LOCAL", "ConnectionCounts", "FailedLogins", "Limits", "TokenBucket"]

LOCAL = "memory"
"""The address of a link inside the process, which is never limited."""


def _positive(instance: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise ValueError(f"{attribute.name} has to be a number over 0, or None; got {value!r}.")


@attrs.frozen(kw_only=True)
class Limits:
    """What a server allows; None switches a limit off.

    Args:
        max_message_size: Bytes of one message of a logged-in client.
        max_login_message_size: Bytes of one message before log-in.
        login_timeout: Seconds for the handshake and the log-in together.
        ping_interval: Seconds of silence until a client is asked for a sign of life.
        keepalive_timeout: Seconds of silence until a client is dropped.
        max_connections: Connections at the same time.
        max_connections_per_address: Connections at the same time from one address.
        max_logins_per_address: Of these, how many that are not logged in yet.
        failed_logins_per_account: Failed log-ins a minute to one account, from anywhere.
        failed_logins_per_address: Failed log-ins a minute from one address.
        requests_per_second: Requests a second of one user, with twice that as a burst; what is
            beyond it waits.
        max_requests_in_flight: Unanswered requests of one user; what is beyond it waits.
    """

    max_message_size: int | None = attrs.field(default=64 * 1024, validator=_positive)
    max_login_message_size: int | None = attrs.field(default=16 * 1024, validator=_positive)
    login_timeout: float | None = attrs.field(default=10.0, validator=_positive)
    ping_interval: float | None = attrs.field(default=15.0, validator=_positive)
    keepalive_timeout: float | None = attrs.field(default=20.0, validator=_positive)
    max_connections: int | None = attrs.field(default=10_000, validator=_positive)
    max_connections_per_address: int | None = attrs.field(default=64, validator=_positive)
    max_logins_per_address: int | None = attrs.field(default=16, validator=_positive)
    failed_logins_per_account: int | None = attrs.field(default=5, validator=_positive)
    failed_logins_per_address: int | None = attrs.field(default=20, validator=_positive)
    requests_per_second: float | None = attrs.field(default=200.0, validator=_positive)
    max_requests_in_flight: int | None = attrs.field(default=64, validator=_positive)


class TokenBucket:
    """Says how long the next request has to wait.

    Args:
        rate: Requests a second in the long run; None for any number.
        now: The time, in seconds of any clock that `delay` is asked with.
    """

    def __init__(self, rate: float | None, now: float) -> None:
        self._rate = rate
        self._burst = 0.0 if rate is None else max(2.0 * rate, 1.0)
        self._tokens = self._burst
        self._then = now

    def delay(self, now: float) -> float:
        """Count one request, and give the seconds that it has to wait."""
        if self._rate is None:
            return 0.0
        self._tokens = min(self._burst, self._tokens + (now - self._then) * self._rate) - 1
        self._then = now
        return -self._tokens / self._rate if self._tokens < 0 else 0.0


class FailedLogins:
    """Counts failed log-ins, and refuses more before they cost a password hash.

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

    def refuse(self, account: str, address: str, now: float) -> str | None:
        """Give the reason to refuse a log-in unheard, or None."""
        self._forget(now)
        for key in self._keys(account, address):
            limit = self._limits[key[0]]
            if limit is not None and self._counts.get(key, 0) >= limit:
                return f"Too many failed log-ins; try again in {self._window:g} seconds."
        return None

    def record(self, account: str, address: str, now: float) -> None:
        """Count a failed log-in."""
        self._forget(now)
        for key in self._keys(account, address):
            self._failures.append((now, key))
            self._counts[key] = self._counts.get(key, 0) + 1

    def _keys(self, account: str, address: str) -> list[tuple[str, str]]:
        if address == LOCAL:
            return []
        return [("account", account), ("address", address)]

    def _forget(self, now: float) -> None:
        while self._failures and self._failures[0][0] <= now - self._window:
            _, key = self._failures.popleft()
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]


class ConnectionCounts:
    """Counts connections, and says when one is too many."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._total = 0
        self._open: dict[str, int] = {}
        self._logging_in: dict[str, int] = {}

    def admit(self, address: str) -> str | None:
        """Count a new connection, or give the reason to refuse it."""
        limits = self._limits
        checks = (
            (self._total, limits.max_connections, "The server is full."),
            (
                self._open.get(address, 0),
                limits.max_connections_per_address,
                "Too many connections from your address.",
            ),
            (
                self._logging_in.get(address, 0),
                limits.max_logins_per_address,
                "Too many connections from your address are logging in.",
            ),
        )
        if address != LOCAL:
            for count, limit, reason in checks:
                if limit is not None and count >= limit:
                    return reason
            self._total += 1
            _count(self._open, address, 1)
            _count(self._logging_in, address, 1)
        return None

    def logged_in(self, address: str) -> None:
        """Note that an admitted connection is done with logging in, one way or the other."""
        if address != LOCAL:
            _count(self._logging_in, address, -1)

    def closed(self, address: str) -> None:
        """Note that an admitted connection is gone; `logged_in` was called for it before."""
        if address != LOCAL:
            self._total -= 1
            _count(self._open, address, -1)


def _count(counts: dict[str, int], key: str, by: int) -> None:
    counts[key] = counts.get(key, 0) + by
    if not counts[key]:
        del counts[key]
