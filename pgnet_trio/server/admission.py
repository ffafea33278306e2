"""Who is let in: how many connections, failed log-ins and requests are too many.

Everything here is pure: whoever asks brings the time along. An address of None stands for a link
inside the process (`pgnet_trio.transport.Transport.inside_process`), which is never limited.
"""

from __future__ import annotations

import ipaddress
from collections import deque
from typing import TYPE_CHECKING, TypeVar

import attrs

if TYPE_CHECKING:
    from pgnet_trio.server.limits import Limits

__all__ = [
    "ArrivalPace",
    "ConnectionCounts",
    "FailedLogins",
    "Registrations",
    "TokenBucket",
    "WrongGuesses",
    "sources",
]

KeyT = TypeVar("KeyT")

MAX_ADDRESSES = 10_000
"""Of how many addresses it is remembered how often they connect; a few MiB. The oldest go first."""

MAX_FAILURES = 20_000
"""How many counts of failed log-ins are remembered, which takes a few MiB. The oldest go first."""

STRANGERS = 4
"""How many times the failures from one address an account takes from all new addresses together."""

NETWORKS = 4
"""How many times the failures from one address are taken from an IPv6 network of many."""

MAX_KNOWN_ADDRESSES = 4
"""From how many addresses an account is known."""

MAX_KNOWN_ACCOUNTS = 20_000
"""Of how many accounts it is remembered where they were used from, which takes a few MiB."""

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

    def take_back(self) -> None:
        """Count one request less."""
        self._tokens = min(self._burst, self._tokens + 1.0)

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
        source = _source(address)
        bucket = self._buckets.pop(source, None) or TokenBucket(self._rate, now)
        # Last in the order: the first is the one whose address has been quiet for longest.
        self._buckets[source] = bucket
        if len(self._buckets) > MAX_ADDRESSES:
            del self._buckets[next(iter(self._buckets))]
        return bucket.delay(now, cost)

    def take_back(self, address: str | None) -> None:
        """Count a connection no more that `delay` has counted."""
        bucket = None if address is None else self._buckets.get(_source(address))
        if bucket is not None:
            bucket.take_back()


class _Counts:
    """Counts events by key, each for the time of a window.

    Args:
        window: Seconds for which an event counts.
        capacity: How many events are remembered. The oldest go first.
    """

    def __init__(self, window: float, capacity: int) -> None:
        self.window = window
        self._capacity = capacity
        self._events: deque[tuple[float, tuple[str, ...]]] = deque()
        self._counts: dict[tuple[str, ...], int] = {}

    def add(self, key: tuple[str, ...], now: float) -> None:
        self._events.append((now, key))
        _count(self._counts, key, 1)
        while len(self._events) > self._capacity:
            self._forget_oldest()

    def reached(self, limits: dict[tuple[str, ...], int], now: float) -> bool:
        """Whether there are as many events of one of these keys as there may be."""
        while self._events and self._events[0][0] <= now - self.window:
            self._forget_oldest()
        return any(self._counts.get(key, 0) >= limit for key, limit in limits.items())

    def _forget_oldest(self) -> None:
        _, key = self._events.popleft()
        _count(self._counts, key, -1)


class FailedLogins:
    """Counts failed log-ins, and refuses more before they cost a password hash.

    A log-in that is let through counts only once it has failed, so several at the same time are
    let through together. Ask again when the turn of a log-in's hash has come.

    Failures are counted for an account and an address together. So nobody who guesses shuts out
    those who log in from elsewhere, nor those who share an address with them and have logged in
    from there before. Only whoever comes from a new place shares its limits with all others who
    do: `STRANGERS` times *per_account* failures to one account, from everywhere together, and
    *per_address* from one address.

    Args:
        per_account: How many a window to one account from one address; None for any number.
        per_address: How many a window from one address; None for any number.
        window: Seconds.
    """

    def __init__(
        self, per_account: int | None, per_address: int | None, window: float = 60.0
    ) -> None:
        self._per_account = per_account
        self._per_address = per_address
        self._counts = _Counts(window, MAX_FAILURES)
        # Where users have logged in from, the latest last.
        self._known: dict[str, tuple[str, ...]] = {}

    @property
    def window(self) -> float:
        """Seconds for which a failure counts."""
        return self._counts.window

    def refuse(self, account: str, address: str | None, now: float) -> str | None:
        """Return the reason to refuse a log-in unheard, or None."""
        if address is None or not self._counts.reached(self.current_limits(account, address), now):
            return None
        return self.reason()

    def reason(self) -> str:
        """Return what is said to whoever is refused."""
        return f"Too many failed log-ins; try again in {self.window:g} seconds."

    def record(self, account: str, address: str | None, now: float) -> None:
        """Count a failed log-in."""
        if address is not None:
            for key in self.current_limits(account, address):
                self._counts.add(key, now)

    def record_success(self, account: str, address: str | None) -> None:
        """Note that a user has logged in from an address, and keep a place for them there."""
        if address is None:
            return
        _, source = sources(address)
        earlier = self._known.pop(account, ())
        others = tuple(each for each in earlier if each != source)
        self._known[account] = (*others[-MAX_KNOWN_ADDRESSES + 1 :], source)
        if len(self._known) > MAX_KNOWN_ACCOUNTS:
            del self._known[next(iter(self._known))]

    def current_limits(self, account: str, address: str) -> dict[tuple[str, ...], int]:
        """Return `limits` for whoever is known here by what was recorded."""
        account = account[:_MAX_ACCOUNT_LENGTH]
        is_known = sources(address)[1] in self._known.get(account, ())
        return self.limits(account, address, is_known=is_known)

    def limits(self, account: str, address: str, *, is_known: bool) -> dict[tuple[str, ...], int]:
        """Return what counts for a log-in, and how many of each there may be in the window.

        Args:
            account: The username.
            address: Where the log-in comes from.
            is_known: Whether the user has logged in from there.
        """
        account = account[:_MAX_ACCOUNT_LENGTH]
        _, source = sources(address)
        limits: dict[tuple[str, ...], int] = {}
        if self._per_account is not None:
            limits["account", account, source] = self._per_account
            if not is_known:
                limits["strangers", account] = STRANGERS * self._per_account
        if not is_known:
            limits |= _address_limits(address, self._per_address)
        return limits


class WrongGuesses:
    """Counts wrong passwords and codes of games, and says when one user or address gave too many.

    Args:
        per_user: How many a window of one user; None for any number.
        per_address: How many a window from one address; None for any number.
        window: Seconds.
    """

    def __init__(self, per_user: int | None, per_address: int | None, window: float = 60.0) -> None:
        self._per_user = per_user
        self._per_address = per_address
        self._counts = _Counts(window, MAX_FAILURES)

    @property
    def window(self) -> float:
        """Seconds for which a wrong password counts."""
        return self._counts.window

    def refuse(self, username: str, address: str | None, now: float) -> str | None:
        """Return the reason to refuse a password unheard, or None."""
        limits = self.limits(username, address)
        return self.reason() if self._counts.reached(limits, now) else None

    def reason(self) -> str:
        """Return what is said to whoever is refused."""
        return f"Too many wrong passwords or codes; try again in {self.window:g} seconds."

    def record(self, username: str, address: str | None, now: float) -> None:
        """Count a wrong password."""
        for key in self.limits(username, address):
            self._counts.add(key, now)

    def limits(self, username: str, address: str | None) -> dict[tuple[str, ...], int]:
        """Return what counts for a password, and how many of each there may be in the window."""
        if address is None:
            return {}
        limits = _address_limits(address, self._per_address)
        if self._per_user is not None:
            limits["user", username] = self._per_user
        return limits


class Registrations:
    """Counts new users, and says when too many come from one address.

    Args:
        per_address: How many a window from one address; None for any number.
        window: Seconds.
    """

    def __init__(self, per_address: int | None, window: float = 3600.0) -> None:
        self._per_address = per_address
        self._counts = _Counts(window, MAX_FAILURES)

    @property
    def window(self) -> float:
        """Seconds for which a new user counts."""
        return self._counts.window

    def refuse(self, address: str | None, now: float) -> str | None:
        """Return the reason not to register another user, or None."""
        return self.reason() if self._counts.reached(self.limits(address), now) else None

    def reason(self) -> str:
        """Return what is said to whoever is refused."""
        return "Too many new users from your address; try again later."

    def record(self, address: str | None, now: float) -> None:
        """Count a new user."""
        for key in self.limits(address):
            self._counts.add(key, now)

    def limits(self, address: str | None) -> dict[tuple[str, ...], int]:
        """Return what counts for a new user, and how many of each there may be in the window."""
        return {} if address is None else _address_limits(address, self._per_address)


@attrs.frozen
class Attempts:
    """What a server counts of those who try to get in.

    Attributes:
        failed_logins: The log-ins that failed.
        registrations: The new users.
        wrong_guesses: The wrong passwords of games.
    """

    failed_logins: FailedLogins
    registrations: Registrations
    wrong_guesses: WrongGuesses


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
        limits, source = self._limits, _source(address)
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
        _count(self._open, source, 1)
        _count(self._logging_in, source, 1)
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
            source = _source(address)
            most = limits.max_http_connections_per_address
            if _is_reached(most, self._http.get(source, 0)):
                return "Too many connections from your address ask for pages."
            _count(self._http, source, 1)
        self._http_total += 1
        return None

    def http_closed(self, address: str | None) -> None:
        """Note that a connection is gone that `admit_http` has counted."""
        self._http_total -= 1
        if address is not None:
            _count(self._http, _source(address), -1)

    def logged_in(self, address: str | None) -> None:
        """Note that an admitted connection is done with logging in, successfully or not."""
        if address is not None:
            _count(self._logging_in, _source(address), -1)

    def closed(self, address: str | None) -> None:
        """Note that an admitted connection is gone; `logged_in` was called for it before."""
        if address is not None:
            _count(self._open, _source(address), -1)


def sources(address: str | None) -> tuple[str, str]:
    """Return which network and which address count, of an address or of the inside (None).

    Of IPv6 it is the 48-bit prefix that a site may hold, and the 64-bit prefix that each customer
    holds. Of IPv4 both are the address itself.
    """
    if address is None or ":" not in address:
        return address or "", address or ""
    try:
        ip = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address, address
    if ip.ipv4_mapped is not None:
        # A socket for both families shows IPv4 addresses like this.
        return str(ip.ipv4_mapped), str(ip.ipv4_mapped)
    site, customer = (str(ipaddress.IPv6Network((ip, bits), strict=False)) for bits in (48, 64))
    return site, customer


def _is_reached(limit: int | None, count: int) -> bool:
    return limit is not None and count >= limit


def _source(address: str) -> str:
    return sources(address)[1]


def _address_limits(address: str, limit: int | None) -> dict[tuple[str, ...], int]:
    if limit is None:
        return {}
    network, source = sources(address)
    limits: dict[tuple[str, ...], int] = {("address", source): limit}
    if network != source:
        limits["network", network] = NETWORKS * limit
    return limits


def _count(counts: dict[KeyT, int], key: KeyT, by: int) -> None:
    counts[key] = counts.get(key, 0) + by
    if not counts[key]:
        del counts[key]
