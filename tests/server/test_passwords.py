"""Passwords of users: one is one, however its characters are composed."""

from __future__ import annotations

import time
import unicodedata
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pgnet_trio import LoginRefused
from pgnet_trio.crypto import PasswordHasher, normalize_password
from pgnet_trio.testing import HostedServer, SimulatedNetwork
from tests.kit.hosting import CountingHasher, Recorder

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def hosted() -> tuple[HostedServer, CountingHasher]:
    network, hasher = SimulatedNetwork(), CountingHasher()
    environment = attrs.evolve(network.environment("server"), password_hasher=hasher)
    return HostedServer(Recorder, network=network, environment=environment), hasher


async def log_in(server: HostedServer, password: str, *, protocol: int = 2) -> None:
    async with server.client("ann", password, protocol=protocol):
        pass


@pytest.mark.parametrize("protocol", [1, 2])
@pytest.mark.parametrize("first", [COMPOSED, DECOMPOSED])
async def test_a_user_logs_in_from_a_system_that_composes_characters_otherwise(
    first: str, protocol: int, autojump_clock: MockClock
) -> None:
    server, hasher = hosted()
    async with server.running():
        await log_in(server, first, protocol=protocol)
        for password in (COMPOSED, DECOMPOSED):
            await log_in(server, password, protocol=protocol)
        # One hash each: the form that fits is tried first.
        assert hasher.verified == 2
        with pytest.raises(LoginRefused, match="not right"):
            await log_in(server, "cafe", protocol=protocol)
        assert hasher.verified == 3


async def test_a_record_of_a_password_as_it_was_typed_holds_and_is_made_anew(
    autojump_clock: MockClock,
) -> None:
    server, hasher = hosted()
    async with server.running():
        await log_in(server, COMPOSED)
        user = server.store.state.users["ann"]
        as_typed = attrs.evolve(user, password=hasher.hash(DECOMPOSED))
        server.store.state.users["ann"] = as_typed
    async with server.running():
        await log_in(server, DECOMPOSED)
        await wait_all_tasks_blocked()
        assert hasher.verified == 2
        assert server.store.state.users["ann"] != as_typed
        await log_in(server, COMPOSED)
        assert hasher.verified == 3


async def test_the_administrators_password_is_one_too(autojump_clock: MockClock) -> None:
    server = HostedServer(Recorder, admin_password=DECOMPOSED)
    async with server.running(), server.client("admin", COMPOSED):
        pass


def test_what_is_too_long_to_be_typed_stays_as_it_is() -> None:
    # The time that it takes grows with the square of the length, and nothing else runs meanwhile.
    long = "a" + "\u0301\u0323" * 500
    assert normalize_password(long) == long
    short = long[:1000]
    start = time.perf_counter()
    assert normalize_password(short) == unicodedata.normalize("NFC", short) != short
    assert time.perf_counter() - start < 0.5


def test_what_looks_alike_but_is_another_character_stays_another() -> None:
    # NFKC would make these equal, and passwords weaker.
    for text in ("\ufb01", "\u00b2", "\uff21", "\ud800"):
        assert normalize_password(text) == text


async def test_a_hash_that_is_cheaper_than_a_thread_is_made_at_once() -> None:
    async def run(function: Any, *args: Any, **options: Any) -> Any:
        assert getattr(function, "__self__", None) is not hasher
        await trio.lowlevel.checkpoint()
        return function(*args)

    hasher, network = CountingHasher(), SimulatedNetwork()
    environment = attrs.evolve(
        network.environment("server"), password_hasher=hasher, run_blocking=run
    )
    async with HostedServer(Recorder, network=network, environment=environment).running() as server:
        await log_in(server, "pw")
        await log_in(server, "pw")
        with pytest.raises(LoginRefused, match="not right"):
            await log_in(server, "other")
    assert hasher.verified == 2


@pytest.mark.parametrize(("memlimit", "is_quick"), [(8192, True), (2**26, False)])
def test_what_is_quick_is_said_by_the_record_and_else_by_the_hasher(
    memlimit: int, is_quick: bool
) -> None:
    hasher = PasswordHasher(opslimit=2, memlimit=memlimit)
    assert hasher.is_quick() == is_quick
    for one in (PasswordHasher(opslimit=1, memlimit=8192), hasher):
        assert one.is_quick(hasher.hash("pw")) == is_quick
        assert one.is_quick("0" * 64)
