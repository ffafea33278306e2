"""The limits: whoever breaks one waits or is refused, and nobody else notices."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pgnet_trio.server import attempts
from pgnet_trio.server.admission import ConnectionCounts, TokenBucket
from pgnet_trio.server.attempts import FailedLogins, Registrations, WrongGuesses
from pgnet_trio.server.limits import Limits

INSIDE = None
"""The address of a link inside the process."""

# The options


def test_the_defaults() -> None:
    assert attrs.asdict(Limits()) == {
        "max_message_size": 65_536,
        "max_login_message_size": 16_384,
        "login_timeout": 10,
        "ping_interval": 15,
        "keepalive_timeout": 20,
        "max_connections": 10_000,
        "max_connections_per_address": 64,
        "max_logins_per_address": 16,
        "max_http_connections": 1000,
        "max_http_connections_per_address": 64,
        "http_keepalive_timeout": 5,
        "failed_logins_per_account": 5,
        "failed_logins_per_address": 20,
        "registrations_per_address": 100,
        "requests_per_second": 200,
        "max_requests_in_flight": 64,
        "max_bytes_in_flight": 1_048_576,
        "max_unacknowledged_messages": 4096,
        "max_unacknowledged_bytes": 1_048_576,
        "max_games": 1000,
        "max_games_per_user": 8,
        "max_options_size": 1024,
        "empty_games_expire_after": 30 * 24 * 3600,
    }


OPTIONS = [field.name for field in attrs.fields(Limits)]
WHOLE = [field.name for field in attrs.fields(Limits) if isinstance(field.default, int)]


def limits(**options: Any) -> Limits:
    return Limits(**options)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_limit_can_be_switched_off(option: str) -> None:
    assert getattr(limits(**{option: None}), option) is None


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "10", True, [1]])
@pytest.mark.parametrize("option", OPTIONS)
def test_a_limit_that_is_none_is_refused(option: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"^{option}: expected .*, or None for no limit; got "):
        limits(**{option: value})


@pytest.mark.parametrize("option", WHOLE)
def test_what_is_counted_is_whole(option: str) -> None:
    with pytest.raises(ValueError, match=rf"^{option}: expected a whole number"):
        limits(**{option: 2.5})


@pytest.mark.parametrize("option", ["max_message_size", "max_login_message_size"])
def test_messages_may_have_the_size_that_protocol_2_relies_on(option: str) -> None:
    with pytest.raises(ValueError, match=rf"^{option}: expected .* at least 1,024, .*; got 1023$"):
        limits(**{option: 1023})
    limits(**{option: 1024})


def test_a_client_is_asked_for_a_sign_of_life_before_it_is_dropped() -> None:
    with pytest.raises(ValueError, match="keepalive_timeout: expected more than ping_interval"):
        Limits(ping_interval=20, keepalive_timeout=20)
    Limits(ping_interval=None, keepalive_timeout=1)
    Limits(ping_interval=100, keepalive_timeout=None)


# Requests a second


def test_a_burst_goes_through_and_more_has_to_wait() -> None:
    bucket = TokenBucket(10, now=100.0)
    assert [bucket.delay(100.0) for _ in range(20)] == [0.0] * 20
    assert bucket.delay(100.0) == pytest.approx(0.1)
    assert bucket.delay(100.0) == pytest.approx(0.2)
    assert bucket.delay(100.2) == pytest.approx(0.1)
    # Whoever is quiet for a while may burst again, and no more than before.
    assert [bucket.delay(1000.0) for _ in range(20)] == [0.0] * 20
    assert bucket.delay(1000.0) > 0


def test_no_rate_is_no_limit() -> None:
    bucket = TokenBucket(None, now=0.0)
    assert not any(bucket.delay(0.0) for _ in range(1000))


def test_a_slow_rate_lets_the_first_request_through() -> None:
    bucket = TokenBucket(0.1, now=0.0)
    assert bucket.delay(0.0) == 0
    assert bucket.delay(0.0) == pytest.approx(10)


@given(
    rate=st.floats(0.1, 1000),
    pauses=st.lists(st.floats(0, 10) | st.just(0.0), min_size=1, max_size=60),
)
def test_whoever_waits_as_told_keeps_to_the_rate(rate: float, pauses: list[float]) -> None:
    bucket = TokenBucket(rate, now=0.0)
    now = 0.0
    done = []
    for pause in pauses:
        now += pause
        now += bucket.delay(now)
        done.append(now)
    burst = max(2 * rate, 1)
    for count, time in enumerate(done, start=1):
        assert count <= burst + rate * time + 1e-6 * count


# Failed log-ins


def fail(failed: FailedLogins, account: str, address: str | None, times: int, now: float) -> None:
    for _ in range(times):
        assert failed.refuse(account, address, now=now) is None
        failed.record(account, address, now=now)


def test_who_guesses_shuts_nobody_else_out() -> None:
    failed = FailedLogins(5, 20)
    fail(failed, "ann", "10.0.0.1", 5, now=0)
    reason = failed.refuse("ann", "10.0.0.1", now=5)
    assert reason is not None
    assert "Too many failed log-ins; try again in 60 seconds" in reason
    # Neither the owner, nor others at the address of who guesses.
    assert failed.refuse("ann", "10.0.0.2", now=5) is None
    assert failed.refuse("bob", "10.0.0.1", now=5) is None
    # The minute is over.
    assert failed.refuse("ann", "10.0.0.1", now=60) is None


def test_many_addresses_are_one_where_nobody_has_logged_in_from_any() -> None:
    failed = FailedLogins(5, 20)
    failed.record_success("ann", "10.0.1.1")
    for number in range(20):
        fail(failed, "ann", f"10.0.0.{number}", 1, now=0)
    assert failed.refuse("ann", "10.0.0.99", now=0) is not None
    # Whoever has logged in from there before has places of their own.
    fail(failed, "ann", "10.0.1.1", 5, now=0)
    assert failed.refuse("ann", "10.0.1.1", now=0) is not None
    assert failed.refuse("bob", "10.0.0.99", now=0) is None


def test_failures_from_one_address_leave_a_place_to_who_was_there_before() -> None:
    failed = FailedLogins(5, 20)
    failed.record_success("ann", "10.0.0.1")
    for number in range(20):
        fail(failed, f"user{number}", "10.0.0.1", 1, now=0)
    assert failed.refuse("bob", "10.0.0.1", now=59) is not None
    assert failed.refuse("ann", "10.0.0.1", now=59) is None
    assert failed.refuse("bob", "10.0.0.2", now=59) is None
    assert failed.refuse("bob", "10.0.0.1", now=60) is None


def test_an_account_is_known_from_its_latest_addresses_only() -> None:
    failed = FailedLogins(1, None)
    for number in range(5):
        failed.record_success("ann", f"10.0.0.{number}")
    for number in range(4):
        failed.record("ann", f"10.0.1.{number}", now=0)
    refused = [failed.refuse("ann", f"10.0.0.{number}", now=0) is not None for number in range(5)]
    assert refused == [True, False, False, False, False]


def test_an_ipv6_site_has_the_failures_of_a_few_addresses() -> None:
    failed = FailedLogins(None, 1)
    for number in range(4):
        fail(failed, f"user{number}", f"2001:db8:1:{number}::1", 1, now=0)
    assert failed.refuse("ann", "2001:db8:1:9::1", now=0) is not None
    assert failed.refuse("ann", "2001:db8:2:9::1", now=0) is None


def test_new_users_are_counted_for_an_hour() -> None:
    registrations = Registrations(2)
    for _ in range(2):
        assert registrations.refuse("10.0.0.1", now=0) is None
        registrations.record("10.0.0.1", now=0)
    assert registrations.refuse("10.0.0.1", now=3599) == (
        "Too many new users from your address; try again later."
    )
    assert registrations.refuse("10.0.0.2", now=3599) is None
    assert registrations.refuse(INSIDE, now=3599) is None
    assert registrations.refuse("10.0.0.1", now=3600) is None


def test_wrong_passwords_of_games_are_counted_by_user_and_by_address() -> None:
    guesses = WrongGuesses(2, 3)
    for _ in range(2):
        assert guesses.refuse("ann", "10.0.0.1", now=0) is None
        guesses.record("ann", "10.0.0.1", now=0)
    # By user, wherever they are; by address, whoever they are.
    assert "Too many wrong passwords" in (guesses.refuse("ann", "10.0.0.2", now=0) or "")
    assert guesses.refuse("bob", "10.0.0.1", now=0) is None
    guesses.record("bob", "10.0.0.1", now=0)
    assert guesses.refuse("cleo", "10.0.0.1", now=0) is not None
    assert guesses.refuse("cleo", "10.0.0.2", now=0) is None
    assert guesses.refuse("ann", INSIDE, now=0) is None
    assert guesses.refuse("ann", "10.0.0.1", now=60) is None


def test_being_refused_does_not_make_it_longer() -> None:
    failed = FailedLogins(1, None)
    failed.record("ann", "10.0.0.1", now=0)
    for now in range(60):
        assert failed.refuse("ann", "10.0.0.1", now=now) is not None
    assert failed.refuse("ann", "10.0.0.1", now=60) is None


def test_a_local_client_never_fails_too_often() -> None:
    failed = FailedLogins(1, 1)
    for _ in range(10):
        failed.record("ann", INSIDE, now=0)
    assert failed.refuse("ann", INSIDE, now=0) is None
    assert failed.refuse("ann", "10.0.0.1", now=0) is None


def test_without_limits_nothing_is_refused() -> None:
    failed = FailedLogins(None, None)
    for _ in range(100):
        failed.record("ann", "10.0.0.1", now=0)
    assert failed.refuse("ann", "10.0.0.1", now=0) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2:3::4", "2001:db8:1:2:ffff::1", True),
        ("2001:db8:1:2:3::4", "2001:db8:1:3:3::4", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("10.0.0.1", "10.0.0.2", False),
        ("a proxy", "a proxy", True),
    ],
)
def test_an_address_is_what_one_customer_has(one: str, other: str, same: bool) -> None:
    failed = FailedLogins(None, 1)
    failed.record("ann", one, now=0)
    assert (failed.refuse("bob", other, now=0) is not None) == same
    counts = ConnectionCounts(Limits(max_connections_per_address=1))
    assert counts.admit(one) is None
    assert (counts.admit(other) is not None) == same


def test_memory_is_bounded_however_many_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "MAX_FAILURES", 100)
    monkeypatch.setattr(attempts, "MAX_KNOWN_ACCOUNTS", 100)
    failed = FailedLogins(5, 20)
    for number in range(1000):
        address = f"10.0.{number // 256}.{number % 256}"
        failed.record("x" * 16_000 + str(number), address, now=0)
        failed.record_success(f"user{number}", address)
    counts = failed._counts
    assert total_size(counts) < 100_000
    assert len(failed._known) == 100
    failed.refuse("ann", "10.0.0.1", now=60)
    assert total_size(counts) < 3_000


def total_size(thing: object) -> int:
    return len(repr(vars(thing)))


# Connections


def test_one_address_cannot_have_them_all() -> None:
    counts = ConnectionCounts(Limits(max_connections_per_address=3, max_logins_per_address=2))
    assert counts.admit("10.0.0.1") is None
    assert counts.admit("10.0.0.1") is None
    assert counts.admit("10.0.0.1") == "Too many connections from your address are logging in."
    counts.logged_in("10.0.0.1")
    assert counts.admit("10.0.0.1") is None
    counts.logged_in("10.0.0.1")
    assert counts.admit("10.0.0.1") == "Too many connections from your address."
    assert counts.admit("10.0.0.2") is None
    assert counts.admit(INSIDE) is None
    counts.closed("10.0.0.1")
    assert counts.admit("10.0.0.1") is None


def test_a_full_server_takes_nobody_whatever_their_address() -> None:
    counts = ConnectionCounts(Limits(max_connections=2))
    assert (counts.begin(), counts.begin()) == (None, None)
    assert counts.begin() == "The server is full."
    counts.ended()
    assert counts.begin() is None


def test_a_connection_logs_in_before_its_address_is_known_too() -> None:
    counts = ConnectionCounts(Limits())
    counts.begin()
    assert (counts.total, counts.logging_in) == (1, 1)
    counts.admit("10.0.0.1")
    assert (counts.total, counts.logging_in) == (1, 1)
    counts.logged_in("10.0.0.1")
    assert (counts.total, counts.logging_in) == (1, 0)
    counts.closed("10.0.0.1")
    counts.ended()
    assert (counts.total, counts.logging_in) == (0, 0)


ADDRESSES = st.sampled_from(["10.0.0.1", "10.0.0.2", "2001:db8::1", INSIDE])


class CountsMachine(RuleBasedStateMachine):
    """The counts against plain lists of the connections that there are."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = ConnectionCounts(
            Limits(max_connections_per_address=4, max_logins_per_address=2)
        )
        self.logging_in: list[str | None] = []
        self.logged_in: list[str | None] = []

    @rule(address=ADDRESSES)
    def admit(self, address: str | None) -> None:
        everybody = self.logging_in + self.logged_in
        full = address != INSIDE and (
            everybody.count(address) >= 4 or self.logging_in.count(address) >= 2
        )
        assert (self.counts.admit(address) is not None) == full
        if not full:
            self.logging_in.append(address)

    @rule(data=st.data())
    def log_in(self, data: st.DataObject) -> None:
        if self.logging_in:
            address = data.draw(st.sampled_from(self.logging_in))
            self.counts.logged_in(address)
            self.logging_in.remove(address)
            self.logged_in.append(address)

    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        if self.logged_in:
            address = data.draw(st.sampled_from(self.logged_in))
            self.counts.closed(address)
            self.logged_in.remove(address)

    @invariant()
    def nothing_is_kept_of_those_who_are_gone(self) -> None:
        remote = {other for other in self.logging_in + self.logged_in if other != INSIDE}
        if not remote:
            assert vars(self.counts) == vars(ConnectionCounts(vars(self.counts)["_limits"]))


TestCountsMachine = CountsMachine.TestCase
TestCountsMachine.settings = settings(max_examples=40, stateful_step_count=25)
