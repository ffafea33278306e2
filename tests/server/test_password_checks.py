"""Password hashes: whose is next, how many at once, and for whom none is begun."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pgnet_trio import Client, RequestFailed
from pgnet_trio.crypto import PasswordHasher
from pgnet_trio.environment import Environment
from pgnet_trio.errors import ConnectFailed
from pgnet_trio.protocol.events import LogIn
from pgnet_trio.server import password_checks
from pgnet_trio.server.accounts import TemporaryRefusal
from pgnet_trio.server.attempts import FailedLogins
from pgnet_trio.server.hash_queue import HashQueue
from pgnet_trio.server.limits import Limits
from pgnet_trio.server.memory import free_memory
from pgnet_trio.server.password_checks import MAX_WAITING_HASHES, PasswordChecks, TooBusy
from pgnet_trio.storage import UserRecord
from pgnet_trio.testing import SimulatedNetwork, hosting, playing
from tests.kit.hosting import SLOWER_HASHER, Recorder

if TYPE_CHECKING:
    from trio.testing import MockClock

# The queue


def drained(queue: HashQueue[Any]) -> list[Any]:
    return [queue.take() for _ in range(len(queue))]


def test_addresses_take_turns() -> None:
    queue = HashQueue[str](100)
    for number in range(3):
        queue.put("10.0.0.1", f"a{number}")
    queue.put("10.0.0.2", "b0")
    queue.put(None, "inside")
    assert queue.take() == "a0"
    queue.put("10.0.0.3", "c0")
    assert drained(queue) == ["b0", "inside", "a1", "c0", "a2"]
    with pytest.raises(LookupError):
        queue.take()


def test_a_site_with_many_ipv6_addresses_has_one_turn_and_its_customers_share_it() -> None:
    queue = HashQueue[str](100)
    for number in range(3):
        queue.put(f"2001:db8:1:{number}::1", f"site{number}")
        queue.put("2001:db8:1:0::2", "again")
    queue.put("2001:db8:2::1", "other")
    assert drained(queue) == ["site0", "other", "site1", "site2", "again", "again", "again"]


def test_who_has_most_gives_way() -> None:
    queue = HashQueue[str](4)
    for number in range(4):
        assert queue.put("10.0.0.1", f"a{number}") is None
    assert queue.put("10.0.0.1", "a4") == "a4"
    assert queue.put("10.0.0.2", "b0") == "a3"
    assert queue.put("10.0.0.3", "c0") == "a2"
    assert queue.put("10.0.0.2", "b1") == "b1"
    assert drained(queue) == ["a0", "b0", "c0", "a1"]


@given(
    st.lists(st.tuples(st.sampled_from("ptd"), st.integers(0, 5), st.integers(0, 9)), max_size=100)
)
def test_the_queue_holds_what_was_put_and_not_taken(steps: list[tuple[str, int, int]]) -> None:
    addresses = [
        "10.0.0.1", "10.0.0.2", "2001:db8:1:1::1", "2001:db8:1:2::1", "2001:db8:2::1", None,
    ]  # fmt: skip
    queue, there = HashQueue[object](5), dict[object, str | None]()
    for what, place, which in steps:
        if what == "p":
            item = object()
            there[item] = addresses[place]
            out = queue.put(addresses[place], item)
            assert (out is not None) == (len(there) > 5)
            if out is not None:
                # Nobody has more than the one who had to give way.
                mine = there[out]
                assert all(
                    sum(each == other for each in there.values())
                    <= sum(each == mine for each in there.values())
                    or ":" in (other or "")
                    for other in there.values()
                ) or ":" in (mine or "")
                del there[out]
        elif what == "t" and there:
            del there[queue.take()]
        elif there:
            item, address = list(there.items())[which % len(there)]
            queue.discard(address, item)
            del there[item]
        assert len(queue) == len(there)
    assert set(drained(queue)) == set(there)


# Memory

MIB = 2**20


def system(root: Path, files: dict[str, object]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return root


MACHINE = {"proc/meminfo": "MemTotal: 999999 kB\nMemAvailable:  819200 kB"}


def test_what_is_left_of_the_machine(tmp_path: Path) -> None:
    assert free_memory(system(tmp_path, {**MACHINE})) == 800 * MIB


def test_a_system_that_says_nothing(tmp_path: Path) -> None:
    assert free_memory(tmp_path) is None
    assert free_memory(system(tmp_path, {"proc/meminfo": "MemAvailable: lots"})) is None


@pytest.mark.parametrize("path", ["/", "/game.service", "/outside/of/this/container"])
def test_what_is_left_of_a_cgroup(tmp_path: Path, path: str) -> None:
    inner = "" if path != "/game.service" else path
    files = {
        **MACHINE,
        "proc/self/cgroup": f"0::{path}",
        f"sys/fs/cgroup{inner}/memory.max": 512 * MIB,
        f"sys/fs/cgroup{inner}/memory.current": 300 * MIB,
        f"sys/fs/cgroup{inner}/memory.stat": f"anon 1\ninactive_file {100 * MIB}",
    }
    assert free_memory(system(tmp_path, {**files})) == 312 * MIB


def test_the_tightest_limit_counts(tmp_path: Path) -> None:
    files = {
        **MACHINE,
        "proc/self/cgroup": "0::/a/b",
        "sys/fs/cgroup/a/memory.max": 100 * MIB,
        "sys/fs/cgroup/a/memory.current": 40 * MIB,
        "sys/fs/cgroup/a/b/memory.max": "max",
        "sys/fs/cgroup/a/b/memory.current": 30 * MIB,
    }
    assert free_memory(system(tmp_path, {**files})) == 60 * MIB
    system(tmp_path, {"sys/fs/cgroup/a/memory.current": 140 * MIB})
    assert free_memory(tmp_path) == 0


def test_what_is_left_of_a_cgroup_of_version_1(tmp_path: Path) -> None:
    files = {
        **MACHINE,
        "proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/game\n0::/",
        "sys/fs/cgroup/memory/game/memory.limit_in_bytes": 256 * MIB,
        "sys/fs/cgroup/memory/game/memory.usage_in_bytes": 200 * MIB,
        "sys/fs/cgroup/memory/game/memory.stat": f"total_inactive_file {20 * MIB}",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": 2**63 - 4096,
        "sys/fs/cgroup/memory/memory.usage_in_bytes": 300 * MIB,
    }
    assert free_memory(system(tmp_path, {**files})) == 76 * MIB


# Hashes

ANN = UserRecord("ann", "", "$argon2id$ann")


@attrs.define
class Hashes:
    """Takes the place of threads that hash, a second each.

    Attributes:
        begun: Which passwords were begun with, in order.
        most: How many there were at once.
    """

    begun: list[str] = attrs.field(factory=list)
    running: int = 0
    most: int = 0

    async def run(
        self,
        function: Any,
        password: str,
        *args: str,
        abandon_on_cancel: bool,
        limiter: object,
    ) -> Any:
        assert not abandon_on_cancel
        self.begun.append(password)
        self.running += 1
        self.most = max(self.most, self.running)
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
        self.running -= 1
        return "record"


def checks_of(
    monkeypatch: pytest.MonkeyPatch, *, cores: int = 1, free: int | None = None, **limits: Any
) -> tuple[PasswordChecks, Hashes]:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    hashes, hasher = Hashes(), PasswordHasher()

    def left() -> int | None:
        return None if free is None else free - hashes.running * hasher.memlimit

    monkeypatch.setattr(password_checks, "free_memory", left)
    environment = Environment(run_blocking=hashes.run, password_hasher=hasher)
    return PasswordChecks(environment, FailedLogins(5, 20), Limits(**limits)), hashes


@pytest.mark.parametrize(
    ("cores", "free", "most"),
    [
        (16, None, 15),
        (2, 64 * 2**30, 1),
        (1, None, 1),
        # Half of what is left has room for three of 64 MiB.
        (16, 450 * MIB, 3),
        (16, 10 * MIB, 1),
    ],
)
async def test_as_many_at_once_as_cores_and_memory_allow_beside_the_games(
    cores: int,
    free: int | None,
    most: int,
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checks, hashes = checks_of(monkeypatch, cores=cores, free=free)
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(checks.hash, str(number))
    assert (len(hashes.begun), hashes.most) == (20, most)


async def test_who_floods_the_queue_is_the_one_who_is_told_to_wait(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks, hashes = checks_of(monkeypatch)
    refused: list[str] = []

    async def hash(password: str, address: str) -> None:
        try:
            await checks.hash(password, address=address)
        except TooBusy:
            refused.append(password)

    async with trio.open_nursery() as nursery:
        for number in range(MAX_WAITING_HASHES + 10):
            nursery.start_soon(hash, f"flood{number}", "10.0.0.1")
        await trio.sleep(0.1)
        nursery.start_soon(hash, "ann", "10.0.0.2")
    assert len(refused) == 10
    assert "ann" not in refused
    # The next one after what was under way, and one of the others.
    assert "ann" in hashes.begun[:3]


async def test_a_hash_is_not_begun_where_no_time_is_left_for_it(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks, hashes = checks_of(monkeypatch)
    await checks.hash("first")
    with trio.move_on_after(0.6) as scope, pytest.raises(TooBusy):
        await checks.hash("late")
    assert not scope.cancelled_caught
    assert hashes.begun == ["first"]
    # It may have been slow for once: that is found out.
    with trio.move_on_after(0.6):
        await checks.hash("tried")
    assert hashes.begun == ["first", "tried"]


async def test_who_is_cancelled_leaves_the_queue(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks, hashes = checks_of(monkeypatch)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(checks.hash, "first")
        await trio.sleep(0.1)
        with trio.move_on_after(0.1):
            await checks.hash("gone")
        nursery.start_soon(checks.hash, "next")
    assert hashes.begun == ["first", "next"]
    # All places are free again.
    await checks.hash("last")


async def test_who_waited_is_refused_after_others_have_failed(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks, hashes = checks_of(monkeypatch)
    log_in = LogIn("ann", "guess", "")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(checks.hash, "first")
        await trio.sleep(0.1)
        for _ in range(5):
            checks.note_failure("ann", "10.0.0.1")
        with pytest.raises(TemporaryRefusal, match="Too many failed log-ins"):
            await checks.verify(log_in, ANN, "10.0.0.1")
    assert hashes.begun == ["first"]


async def test_new_users_are_limited_by_address_before_they_cost_a_hash(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks, hashes = checks_of(monkeypatch, cores=8, registrations_per_address=2)
    refused = 0

    async def register(number: int) -> None:
        nonlocal refused
        try:
            await checks.hash_new(str(number), "10.0.0.1")
        except TemporaryRefusal:
            refused += 1

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(register, number)
    assert (len(hashes.begun), refused) == (2, 3)
    await checks.hash_new("other", "10.0.0.2")
    await trio.sleep(3600)
    await checks.hash_new("later", "10.0.0.1")


# With a server


async def test_a_hash_is_not_begun_for_who_has_left(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    begun: list[Any] = []

    async def run(
        function: Callable[..., Any],
        *args: Any,
        abandon_on_cancel: bool,
        limiter: object = None,
    ) -> Any:
        if isinstance(getattr(function, "__self__", None), PasswordHasher):
            begun.append(args[0])
            with trio.CancelScope(shield=True):
                await trio.sleep(3)
        return function(*args)

    network = SimulatedNetwork()
    environment = attrs.evolve(
        network.environment("server"), run_blocking=run, password_hasher=SLOWER_HASHER
    )
    async with hosting(Recorder, network=network, environment=environment) as server:

        async def log_in(name: str) -> None:
            with contextlib.suppress(ConnectFailed):
                await server.client(name, f"the password of {name}", reconnect_for=0).run()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(log_in, "ann")
            await trio.sleep(0.5)
            nursery.start_soon(log_in, "bob")
            await trio.sleep(0.5)
            network.cut("bob")
            await trio.sleep(8)
            nursery.cancel_scope.cancel()
    assert begun == ["the password of ann"]


async def test_passwords_of_games_are_guessed_a_few_times_a_minute(
    autojump_clock: MockClock,
) -> None:
    async with (
        hosting(Recorder) as server,
        playing(server, "ann", "bob", "cleo") as (ann, bob, cleo),
    ):
        await ann.create_game("table 1", password="right")
        await cleo.create_game("table 2")
        await cleo.leave_game()
        for _ in range(5):
            with pytest.raises(RequestFailed, match="not right"):
                await bob.join_game("table 1", password="guess")
        with pytest.raises(RequestFailed, match="Too many wrong passwords"):
            await bob.join_game("table 1", password="right")
        # What takes no password is open to them, and so is the game to others.
        await bob.create_game("table 3", password="mine")
        await bob.leave_game()
        await cleo.join_game("table 1", password="right")
        await trio.sleep(60)
        await bob.join_game("table 1", password="right")


async def test_a_first_user_can_register_where_many_have(autojump_clock: MockClock) -> None:
    network = SimulatedNetwork()
    async with hosting(Recorder, network=network, registrations_per_address=2) as server:

        async def register(name: str, host: str) -> None:
            connector = network.connector(server, host)
            environment = network.environment(name)
            async with Client(connector, username=name, password="pw", environment=environment):
                pass

        await register("user1", "a cafe")
        await register("user2", "a cafe")
        with pytest.raises(ConnectFailed, match="Too many new users from your address"):
            await register("user3", "a cafe")
        # Those who are users already come in.
        await register("user1", "a cafe")
        await register("user3", "at home")
