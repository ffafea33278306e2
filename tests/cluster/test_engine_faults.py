"""An engine in memory that is paused, cut, late, full or restarted, in virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from pgnet_trio.server.cluster.base import PATIENCE
from pgnet_trio.server.cluster.errors import EngineUnavailable, OutcomeUnknown
from pgnet_trio.server.cluster.records import Created, Found, NewRoom, Restored, RoomSave, Unsettled
from pgnet_trio.server.cluster.wakeups import LOOK_INTERVAL
from pgnet_trio.testing.engine import SimulatedDatabase, SimulatedEngine

if TYPE_CHECKING:
    from trio.testing import MockClock

LEASE = 10.0
ROOM = NewRoom()


@pytest.fixture
async def database() -> SimulatedDatabase:
    return SimulatedDatabase(lease=LEASE)


@pytest.fixture
async def engine(database: SimulatedDatabase) -> SimulatedEngine:
    return SimulatedEngine(database)


@pytest.fixture
async def other(database: SimulatedDatabase) -> SimulatedEngine:
    return SimulatedEngine(database)


async def test_a_paused_node_fails_in_time_and_changes_nothing(
    autojump_clock: MockClock, engine: SimulatedEngine, other: SimulatedEngine
) -> None:
    node = (await engine.register("north", "")).node
    engine.pause()
    start = trio.current_time()
    with pytest.raises(EngineUnavailable, match="did not answer within 5 s"):
        await engine.claim(node, "table 1", new=ROOM)
    assert trio.current_time() - start == PATIENCE
    engine.resume()
    assert await other.directory() == []


async def test_a_call_goes_on_where_a_short_pause_ends(
    autojump_clock: MockClock, engine: SimulatedEngine, nursery: trio.Nursery
) -> None:
    node = (await engine.register("north", "")).node
    engine.pause()

    async def resume() -> None:
        await trio.sleep(PATIENCE / 2)
        engine.resume()

    nursery.start_soon(resume)
    assert isinstance(await engine.claim(node, "table 1", new=ROOM), Created)


async def test_a_node_that_is_cut_off_loses_its_rooms_after_its_own_deadline(
    autojump_clock: MockClock, engine: SimulatedEngine, other: SimulatedEngine
) -> None:
    lease = await engine.register("north", "")
    south = (await other.register("south", "")).node
    room = await engine.claim(lease.node, "table 1", new=ROOM)
    assert isinstance(room, Created)
    await engine.save([RoomSave("table 1", room.epoch, "board")])
    engine.cut = True
    while isinstance(found := await other.claim(south, "table 1"), Found):
        with trio.move_on_after(1) as tried:
            await engine.renew(lease.node)
        assert tried.cancelled_caught
        await other.renew(south)
    assert isinstance(found, Restored)
    assert engine.now() > lease.deadline
    assert engine.now() < lease.deadline + 2


async def test_an_answer_that_is_late_is_waited_for_also_where_the_call_is_cancelled(
    autojump_clock: MockClock,
    engine: SimulatedEngine,
) -> None:
    node = (await engine.register("north", "")).node
    engine.answer_delay = 3.0
    with trio.move_on_after(1) as scope:
        room = await engine.claim(node, "table 1", new=ROOM)
        assert isinstance(room, Created)
        assert trio.current_effective_deadline() == -float("inf")
        await trio.lowlevel.checkpoint()
        raise AssertionError("the checkpoint was to raise the cancellation")
    assert scope.cancelled_caught


async def test_a_call_that_is_cancelled_in_time_changes_nothing(
    autojump_clock: MockClock, engine: SimulatedEngine, other: SimulatedEngine
) -> None:
    node = (await engine.register("north", "")).node
    engine.request_delay = 3.0
    with trio.move_on_after(1) as scope:
        await engine.claim(node, "table 1", new=ROOM)
    assert scope.cancelled_caught
    await trio.sleep(10)
    assert await other.directory() == []


async def test_a_lost_answer_is_read_back(
    autojump_clock: MockClock, engine: SimulatedEngine
) -> None:
    node = (await engine.register("north", "")).node
    engine.lost_answers = 1
    room = await engine.claim(node, "table 1", new=ROOM)
    assert isinstance(room, Created)
    assert [listing.node for listing in await engine.directory()] == [node]
    assert (await engine.claim(node, "table 1", new=ROOM)) == Found(
        (await engine.nodes())[0], room.epoch
    )


async def test_the_caller_reads_back_what_the_engine_could_not(
    autojump_clock: MockClock, database: SimulatedDatabase, engine: SimulatedEngine
) -> None:
    node = (await engine.register("north", "")).node
    engine.lost_answers = 2
    with pytest.raises(OutcomeUnknown) as caught:
        await engine.claim(node, "table 1", new=ROOM)
    operation = caught.value.operation
    assert operation
    room = await engine.claim(node, "table 1", new=ROOM, operation=operation)
    assert isinstance(room, Created)
    # It may be tried when there is no engine, too.
    engine.lost_answers = 1
    database.loses_notes = True

    async def stop_soon() -> None:
        await trio.sleep(0.5)
        database.stop()

    engine.request_delay = 0.3
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop_soon)
        with pytest.raises(OutcomeUnknown) as caught:
            await engine.give_back(RoomSave("table 1", room.epoch, "board"), operation=b"back")
    assert caught.value.operation == b"back"
    database.start()
    await engine.give_back(RoomSave("table 1", room.epoch, "board"), operation=b"back")
    assert isinstance(await engine.claim(node, "table 1"), Restored)


async def test_an_answer_that_never_comes_is_not_waited_for_without_end(
    autojump_clock: MockClock,
    engine: SimulatedEngine,
) -> None:
    node = (await engine.register("north", "")).node
    engine.answer_delay = 1000.0
    start = trio.current_time()
    with pytest.raises(OutcomeUnknown):
        await engine.claim(node, "table 1", new=ROOM)
    assert trio.current_time() - start < 4 * PATIENCE


@pytest.mark.parametrize("fault", ["read_only", "full"])
async def test_an_engine_that_takes_no_writes_can_still_be_read(
    autojump_clock: MockClock, database: SimulatedDatabase, engine: SimulatedEngine, fault: str
) -> None:
    node = (await engine.register("north", "")).node
    room = await engine.claim(node, "table 1", new=ROOM)
    assert isinstance(room, Created)
    setattr(database, fault, True)
    for call in (
        engine.renew(node),
        engine.save([RoomSave("table 1", room.epoch, "x")]),
        engine.claim(node, "table 2", new=ROOM),
    ):
        with pytest.raises(EngineUnavailable):
            await call
    assert [listing.name for listing in await engine.directory()] == ["table 1"]
    setattr(database, fault, False)
    assert await engine.save([RoomSave("table 1", room.epoch, "x")]) == frozenset()


async def test_nobody_takes_rooms_when_the_engine_is_just_back(
    autojump_clock: MockClock,
    database: SimulatedDatabase,
    engine: SimulatedEngine,
    other: SimulatedEngine,
) -> None:
    north = (await engine.register("north", "")).node
    south = (await other.register("south", "")).node
    room = await engine.claim(north, "table 1", new=ROOM)
    assert isinstance(room, Created)
    database.stop()
    with pytest.raises(EngineUnavailable):
        await engine.renew(north)
    await trio.sleep(3 * LEASE)
    database.start()
    await other.renew(south)
    waits = []
    for _ in range(3):
        found = await other.claim(south, "table 1", new=ROOM)
        assert isinstance(found, Unsettled)
        waits.append(found.wait)
        await trio.sleep(LEASE / 4)
        await other.renew(south)
    assert waits == pytest.approx([LEASE, 0.75 * LEASE, 0.5 * LEASE])
    assert (await engine.renew(north)).rooms == {"table 1": room.epoch}
    assert isinstance(await other.claim(south, "table 1", new=ROOM), Found)


async def test_a_lost_note_is_made_up_for_by_a_look_each_second(
    autojump_clock: MockClock,
    database: SimulatedDatabase,
    engine: SimulatedEngine,
    other: SimulatedEngine,
) -> None:
    node = (await engine.register("north", "")).node
    database.loses_notes = True
    start = trio.current_time()
    await other.send_mail([node], b"news")
    await engine.wait_for_news(node)
    assert trio.current_time() - start == LOOK_INTERVAL
    assert [mail.body for mail in await engine.read_mail(node)] == [b"news"]


async def test_a_note_that_comes_before_the_wait_wakes_all_the_same(
    autojump_clock: MockClock, engine: SimulatedEngine, other: SimulatedEngine
) -> None:
    node = (await engine.register("north", "")).node
    await other.send_mail([node], b"news")
    start = trio.current_time()
    await engine.wait_for_news(node)
    assert trio.current_time() == start
    await engine.wait_for_news(node)
    assert trio.current_time() - start == LOOK_INTERVAL


async def test_a_machine_that_slept_knows_that_its_lease_is_over(
    autojump_clock: MockClock,
    database: SimulatedDatabase,
) -> None:
    from pgnet_trio.environment import Environment

    slept = 0.0
    engine = SimulatedEngine(database, environment=Environment(slept=lambda: slept))
    lease = await engine.register("north", "")
    assert engine.now() < lease.deadline
    slept = LEASE
    assert engine.now() > lease.deadline


async def test_every_call_is_a_checkpoint(
    autojump_clock: MockClock, engine: SimulatedEngine
) -> None:
    node = (await engine.register("north", "")).node
    for call in (engine.renew(node), engine.nodes(), engine.wait_for_news(node)):
        with trio.CancelScope() as scope:
            scope.cancel()
            await call
        assert scope.cancelled_caught
