"""How many failed log-ins, wrong passwords and new users are too many.

Everything here is pure: whoever asks brings the time along. An address of None stands for a link
inside the process (`pgnet_trio.transport.Transport.inside_process`), which is never limited.
"""

from __future__ import annotations

from collections import deque

import attrs

from pgnet_trio.server.sources import add_count, sources

__all__ = ["MAX_KNOWN_ADDRESSES", "Attempts", "FailedLogins", "Registrations", "WrongGuesses"]

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
        add_count(self._counts, key, 1)
        while len(self._events) > self._capacity:
            self._forget_oldest()

    def reached(self, limits: dict[tuple[str, ...], int], now: float) -> bool:
        """Whether there are as many events of one of these keys as there may be."""
        while self._events and self._events[0][0] <= now - self.window:
            self._forget_oldest()
        return any(self._counts.get(key, 0) >= limit for key, limit in limits.items())

    def _forget_oldest(self) -> None:
        _, key = self._events.popleft()
        add_count(self._counts, key, -1)


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


def _address_limits(address: str, limit: int | None) -> dict[tuple[str, ...], int]:
    if limit is None:
        return {}
    network, source = sources(address)
    limits: dict[tuple[str, ...], int] = {("address", source): limit}
    if network != source:
        limits["network", network] = NETWORKS * limit
    return limits
