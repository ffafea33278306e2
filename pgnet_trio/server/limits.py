"""The limits that keep one client from costing the others anything; all of them pure."""

from __future__ import annotations

import ipaddress
import math
from collections import deque
from typing import Any, TypeVar

import attrs

from pgnet_trio.protocol.v2 import MIN_FRAME_SIZE

__all__ = ["LOCAL", "ConnectionCounts", "FailedLogins", "Limits", "TokenBucket"]

KeyT = TypeVar("KeyT")

LOCAL = "memory"
"""The address of a link inside the process, which is never limited."""


MAX_FAILURES = 20_000
"""Failed log-ins that are remembered at most, some MiB of them; beyond that the oldest go."""

_MAX_ACCOUNT_LENGTH = 64
"""As much of an account's name as is remembered: no registered user's is longer."""


def _check_whole(limits: Limits, attribute: attrs.Attribute[Any], value: object) -> None:
    least: int = attribute.metadata["least"]
    if value is not None and (type(value) is not int or value < least):
        raise ValueError(
            f"{attribute.name}: expected a whole number of at least {least:,}, or None for no "
            f"limit; got {value!r}"
        )


def _check_number(limits: Limits, attribute: attrs.Attribute[Any], value: object) -> None:
    is_bool = isinstance(value, bool)
    if value is None or (isinstance(value, int | float) and not is_bool and 0 < value < math.inf):
        return
    raise ValueError(
        f"{attribute.name}: expected a number over 0, or None for no limit; got {value!r}"
    )


def _whole(default: int, *, least: int = 1) -> Any:
    return attrs.field(default=default, validator=_check_whole, metadata={"least": least})


def _number(default: float) -> Any:
    return attrs.field(default=default, validator=_check_number)


@attrs.frozen(kw_only=True)
class Limits:
    """What a server allows; None switches a limit off. The defaults are after other servers'.

    Args:
        max_message_size: Bytes of one message of a logged-in client (Nakama and Colyseus: 4 KiB,
            websockets: 1 MiB); 1,024 at least, which protocol 2 relies on.
        max_login_message_size: Bytes of one message before log-in, when nobody is known yet;
            1,024 at least, or nobody with a long password could log in.
        login_timeout: Seconds for the handshake and the log-in together (Nakama, websockets).
        ping_interval: Seconds of silence until a client is asked for a sign of life (Nakama: 15,
            websockets: 20).
        keepalive_timeout: Seconds of silence until a client is dropped; more than
            `ping_interval` (Nakama: 25, websockets: 20).
        max_connections: Connections at the same time.
        max_connections_per_address: Connections at the same time from one address.
        max_logins_per_address: Of these, how many that are not logged in yet (OpenSSH's
            MaxStartups and its penalties for each source).
        failed_logins_per_account: Failed log-ins a minute to one account, from anywhere
            (Nakama: 5).
        failed_logins_per_address: Failed log-ins a minute from one address.
        requests_per_second: Requests a second of one user, with twice that as a burst; what is
            beyond it waits (Colyseus has the option).
        max_requests_in_flight: Unanswered requests of one user. With protocol 1 what is beyond it
            waits; with protocol 2 it ends the session, and there are at least 64, which clients
            rely on.
        max_unacknowledged_messages: Messages to one user that wait until the client says that it
            has them, while its connection is dropped too; beyond that the session ends (Nakama:
            64 messages).
        max_unacknowledged_bytes: The same in bytes (NATS: 64 MiB).

    Raises:
        ValueError: A value is not what is expected.
    """

    max_message_size: int | None = _whole(64 * 1024, least=MIN_FRAME_SIZE)
    max_login_message_size: int | None = _whole(16 * 1024, least=MIN_FRAME_SIZE)
    login_timeout: float | None = _number(10.0)
    ping_interval: float | None = _number(15.0)
    keepalive_timeout: float | None = _number(20.0)
    max_connections: int | None = _whole(10_000)
    max_connections_per_address: int | None = _whole(64)
    max_logins_per_address: int | None = _whole(16)
    failed_logins_per_account: int | None = _whole(5)
    failed_logins_per_address: int | None = _whole(20)
    requests_per_second: float | None = _number(200.0)
    max_requests_in_flight: int | None = _whole(64)
    max_unacknowledged_messages: int | None = _whole(4096)
    max_unacknowledged_bytes: int | None = _whole(1024 * 1024)

    def __attrs_post_init__(self) -> None:
        interval, timeout = self.ping_interval, self.keepalive_timeout
        if interval is not None and timeout is not None and timeout <= interval:
            raise ValueError(
                f"keepalive_timeout: expected more than ping_interval, which is {interval:g} s, "
                f"or a client is dropped before it is asked for a sign of life; got {timeout:g} s"
            )


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

    A log-in that is let through counts only when it has failed, so those under way at the same
    time are let through together. Ask once more when the hash's turn has come.

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
        for key, limit in self._keys(account, address):
            if self._counts.get(key, 0) >= limit:
                return f"Too many failed log-ins; try again in {self._window:g} seconds."
        return None

    def record(self, account: str, address: str, now: float) -> None:
        """Count a failed log-in."""
        self._forget(now)
        for key, _ in self._keys(account, address):
            self._failures.append((now, key))
            self._counts[key] = self._counts.get(key, 0) + 1
        while len(self._failures) > MAX_FAILURES:
            self._forget_oldest()

    def _keys(self, account: str, address: str) -> list[tuple[tuple[str, str], int]]:
        if address == LOCAL:
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
    """Counts connections, and says when one is too many; those inside the process are not counted.

    An admitted connection is counted until `logged_in` and then `closed` were called for it.

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
        """How many connections there are."""
        return self._total

    def admit(self, address: str) -> str | None:
        """Count a new connection, or give the reason to refuse it."""
        if address == LOCAL:
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

    def logged_in(self, address: str) -> None:
        """Note that an admitted connection is done with logging in, one way or the other."""
        if address != LOCAL:
            _count(self._logging_in, _source(address), -1)

    def closed(self, address: str) -> None:
        """Note that an admitted connection is gone; `logged_in` was called for it before."""
        if address != LOCAL:
            self._total -= 1
            _count(self._open, _source(address), -1)


def _source(address: str) -> str:
    """What counts as one address: of IPv6, the 64 bits that one customer has all the rest of."""
    if ":" not in address:
        return address
    try:
        ip = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if ip.ipv4_mapped is not None:
        # How a socket for both families shows IPv4.
        return str(ip.ipv4_mapped)
    return str(ipaddress.IPv6Network((ip, 64), strict=False))


def _count(counts: dict[KeyT, int], key: KeyT, by: int) -> None:
    counts[key] = counts.get(key, 0) + by
    if not counts[key]:
        del counts[key]
