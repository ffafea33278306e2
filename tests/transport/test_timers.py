"""Timers that share a task, and the connections that look for silence by them."""

from __future__ import annotations

import math
import weakref
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from pgnet_trio.connection import Connection
from pgnet_trio.errors import Disconnected
from pgnet_trio.timers import Timer
from pgnet_trio.transport import MemoryTransport, memory_pair
from tests.kit.tasks import running_tasks

TIMES = st.none() | st.integers(0, 20)


@given(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 3), TIMES), max_size=60))
def test_a_timer_fires_at_the_time_that_was_set_last(
    steps: list[tuple[int, int, int | None]],
) -> None:
    fired: list[tuple[float, int]] = []
    expected: list[tuple[float, int]] = []

    async def run() -> None:
        def note(which: int) -> None:
            fired.append((trio.current_time() - start, which))

        start = trio.current_time()
        timers = [Timer(lambda which=which: note(which)) for which in range(4)]  # type: ignore[misc]  # mypy has no type for such a lambda
        due: dict[int, float] = {}
        now = 0.0
        for pause, which, wanted in [*steps, (50, 0, None)]:
            now += pause
            for other, at in sorted(due.items()):
                if at <= now:
                    expected.append((at, other))
                    del due[other]
            # A moment later, so that whatever is due at this time comes before.
            await trio.sleep_until(start + now + 0.25)
            if wanted is None:
                timers[which].set(math.inf)
                due.pop(which, None)
            else:
                timers[which].set(start + now + wanted + 0.5)
                due[which] = now + wanted + 0.5
        for timer in timers:
            timer.close()

    trio.run(run, clock=MockClock(autojump_threshold=0))
    assert sorted(fired) == sorted(expected)


async def test_one_task_waits_for_all_timers_and_soon_none_where_none_is_set(
    autojump_clock: MockClock,
) -> None:
    def tasks() -> int:
        return trio.lowlevel.current_statistics().tasks_living

    before = tasks()
    for _ in range(2):
        for _ in range(3):
            timers = [Timer(lambda: None) for _ in range(100)]
            for timer in timers:
                timer.set(trio.current_time() + 100)
            await trio.lowlevel.checkpoint()
            assert tasks() == before + 1
            for timer in timers:
                timer.close()
            await trio.lowlevel.checkpoint()
            assert tasks() <= before + 1
        await trio.sleep(1)
        assert tasks() == before


async def test_a_timer_that_is_closed_holds_nothing() -> None:
    class Owner:
        def fire(self) -> None:
            raise AssertionError

    owner = Owner()
    alive = weakref.ref(owner)
    timer = Timer(owner.fire)
    timer.set(trio.current_time() + 1000)
    timer.close()
    timer.set(trio.current_time() - 1)
    del owner
    assert alive() is None
    await wait_all_tasks_blocked()


class Pinged:
    """A protocol that counts its pings, and passes on what it hears."""

    closing = False
    private = False
    waiting = False
    owes_flush = False
    emptied = False

    def __init__(self) -> None:
        self.pings: list[float] = []

    def receive(self, message: str | bytes) -> Sequence[str]:
        return [str(message)]

    def ping(self) -> bool:
        self.pings.append(trio.current_time())
        return True

    def next_message(self) -> None:
        return None


@asynccontextmanager
async def connected(
    ping_interval: float | None, keepalive_timeout: float | None
) -> AsyncIterator[tuple[Connection[str], Pinged, MemoryTransport]]:
    ours, theirs = memory_pair()
    protocol = Pinged()
    connection = Connection(
        ours, protocol, ping_interval=ping_interval, keepalive_timeout=keepalive_timeout
    )
    async with trio.open_nursery() as helpers, connection.open(helpers):
        yield connection, protocol, theirs
    await theirs.aclose()


async def hear(connection: Connection[str], heard: list[float]) -> None:
    """Read to the end; note when that was."""
    try:
        while True:
            await connection.receive()
    except Disconnected:
        heard.append(trio.current_time())


@pytest.mark.parametrize(
    ("says", "pings", "end"),
    [
        ([], [15], 20),
        ([10], [25], 30),
        ([14, 28], [43], 48),
        ([16], [15, 31], 36),
        ([16, 33], [15, 31, 48], 53),
    ],
)
async def test_a_silent_peer_is_pinged_in_time_and_given_up_in_time(
    says: list[float], pings: list[float], end: float, autojump_clock: MockClock
) -> None:
    start = trio.current_time()
    ended: list[float] = []
    async with connected(15, 20) as (connection, protocol, peer), trio.open_nursery() as nursery:
        nursery.start_soon(hear, connection, ended)
        for time in says:
            await trio.sleep_until(start + time)
            await peer.send("still here")
    assert [time - start for time in protocol.pings] == pytest.approx(pings)
    assert ended[0] - start == pytest.approx(end)
    assert connection.close_reason == "nothing was heard of the other side for 20 s"


@pytest.mark.parametrize("interval", [None, 20.0, 30.0])
async def test_without_pings_a_silent_peer_is_given_up_all_the_same(
    interval: float | None, autojump_clock: MockClock
) -> None:
    start = trio.current_time()
    ended: list[float] = []
    async with connected(interval, 20) as (connection, protocol, _):
        await hear(connection, ended)
    assert (protocol.pings, ended) == ([], [start + 20])


async def test_a_peer_that_is_heard_in_the_moment_of_its_ping_is_pinged_again(
    autojump_clock: MockClock,
) -> None:
    start = trio.current_time()
    ended: list[float] = []
    pings: list[float] = []

    async def hear_one_that_speaks_once() -> None:
        async with connected(15, 20) as (connection, protocol, peer), trio.open_nursery() as both:
            both.start_soon(hear, connection, ended)
            await trio.sleep_until(start + 15)
            await peer.send("still here")
        pings.append(protocol.pings[-1])

    async with trio.open_nursery() as nursery:
        # Which of several tasks runs first is left to chance.
        for _ in range(30):
            nursery.start_soon(hear_one_that_speaks_once)
    assert pings == [start + 30] * 30
    assert ended == [start + 35] * 30


async def test_idle_connections_have_no_task_of_their_own() -> None:
    async with connected(15, 20), AsyncExitStack() as stack:
        await wait_all_tasks_blocked()
        before = len(running_tasks())
        for _ in range(10):
            await stack.enter_async_context(connected(15, 20))
        await wait_all_tasks_blocked()
        assert len(running_tasks()) == before


async def test_a_task_that_helps_and_fails_ends_its_own_connection_alone(
    autojump_clock: MockClock,
) -> None:
    class Faulty(Pinged):
        def ping(self) -> bool:
            raise ValueError("a fault of our own")

    faulty, good = memory_pair(), memory_pair()
    ended: list[float] = []
    async with trio.open_nursery() as nursery:
        others = Connection(good[0], Pinged(), ping_interval=None, keepalive_timeout=None)
        async with others.open(nursery):
            connection = Connection(faulty[0], Faulty(), ping_interval=5, keepalive_timeout=20)
            with pytest.raises(ValueError, match="a fault of our own"):
                async with connection.open(nursery):
                    await hear(connection, ended)
            await good[1].send("still here")
            assert await others.receive() == ["still here"]
    assert ended == [5]
    with pytest.raises(trio.EndOfChannel):
        await faulty[1].receive()


async def test_no_task_is_left_of_a_connection_that_was_closed_while_one_helped(
    autojump_clock: MockClock,
) -> None:
    class Full(MemoryTransport):
        """Never has room."""

        def send_nowait(self, message: str | bytes) -> bool:
            return False

        async def drain(self) -> None:
            await trio.sleep_forever()

    class Talking(Pinged):
        waiting = True

        def next_message(self) -> str | None:  # type: ignore[override]  # text where the other has nothing
            return "something"

    async with trio.open_nursery() as nursery:
        before = len(nursery.child_tasks)
        connection = Connection(
            Full(1, None, None), Talking(), ping_interval=None, keepalive_timeout=None
        )
        async with connection.open(nursery):
            connection.flush()
            await wait_all_tasks_blocked()
            assert len(nursery.child_tasks) == before + 1
        assert len(nursery.child_tasks) == before
