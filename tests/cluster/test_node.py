"""The life of a node, in virtual time, with an engine that fails as the tests say."""

from __future__ import annotations

import itertools
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import pytest
import trio

from pgnet_trio.environment import Environment
from pgnet_trio.server.cluster.errors import (
    EngineUnavailable,
    LeaseLapsed,
    NameInUse,
    OtherIdentity,
    OutcomeUnknown,
)
from pgnet_trio.server.cluster.node import RETRY, TIDY_INTERVAL, LocalNode, NodeProfile
from pgnet_trio.server.cluster.records import (
    Arrival,
    Created,
    Found,
    MovingSession,
    NewRoom,
    Restored,
    RoomSave,
    SessionRow,
)
from pgnet_trio.server.cluster.rules import FORGET_NODES_AFTER, RENEWALS
from pgnet_trio.testing.engine import SimulatedDatabase, SimulatedEngine

if TYPE_CHECKING:
    from trio.testing import MockClock

    from pgnet_trio.server.cluster.tables import Tables

LEASE = 10.0
ROOM = NewRoom()
SLOW = 3.0
T = TypeVar("T")


@attrs.define
class Owner:
    """Notes what the node says, and has the rooms that it is given."""

    rooms: dict[str, int] = attrs.field(factory=dict)
    sessions: list[str] = attrs.field(factory=list)
    mail: list[bytes] = attrs.field(factory=list)
    said: list[str] = attrs.field(factory=list)
    holding: bool = False

    def load(self) -> float:
        return float(len(self.rooms))

    def hold(self) -> None:
        self.said.append("hold")
        self.holding = True

    def go_on(self, rooms: Mapping[str, int] | None) -> None:
        self.said.append("go on")
        self.holding = False
        if rooms is not None:
            self.rooms = {n: e for n, e in self.rooms.items() if rooms.get(n) == e}

    def start_over(self) -> None:
        self.said.append("start over")
        self.rooms.clear()

    def drain(self) -> None:
        self.said.append("drain")

    def take_mail(self, body: bytes) -> None:
        self.mail.append(body)

    def has_room(self, name: str, epoch: int) -> bool:
        return self.rooms.get(name) == epoch

    async def take_room(self, arrival: Arrival) -> None:
        await trio.lowlevel.checkpoint()
        self.rooms[arrival.name] = arrival.room.epoch
        self.said.append(f"take {arrival.name}")

    async def take_session(self, row: SessionRow) -> None:
        await trio.lowlevel.checkpoint()
        self.sessions.append(row.username)


class FaultyEngine(SimulatedEngine):
    """An engine whose calls, counted, have faults.

    Attributes:
        calls: How many there were.
        faults: What becomes of a call, by its number.
        only: The task whose calls are counted, where those of others are not.
    """

    def __init__(self, database: SimulatedDatabase, *, slept: Callable[[], float]) -> None:
        super().__init__(database, environment=Environment(slept=slept))
        self.calls = 0
        self.faults: dict[int, str] = {}
        self.only: trio.lowlevel.Task | None = None

    async def _transact(self, work: Callable[[Tables], T], *, writes: bool) -> T:
        if self.only not in (None, trio.lowlevel.current_task()):
            return await super()._transact(work, writes=writes)
        self.calls += 1
        fault = self.faults.get(self.calls)
        if fault == "refused":
            await trio.lowlevel.checkpoint()
            raise EngineUnavailable("The call was refused, as the test wants it.")
        if fault == "late":
            self.answer_delay, before = SLOW, self.answer_delay
            try:
                return await super()._transact(work, writes=writes)
            finally:
                self.answer_delay = before
        result = await super()._transact(work, writes=writes)
        if fault == "lost" and writes:
            raise OutcomeUnknown("The answer was lost, as the test wants it.")
        if fault == "lost":
            raise EngineUnavailable("The answer was lost, as the test wants it.")
        return result


@attrs.define
class Seat:
    """A node with its engine and its owner."""

    database: SimulatedDatabase
    name: str
    sleeps: float = 0.0
    engine: FaultyEngine = attrs.field(init=False)
    owner: Owner = attrs.field(init=False, factory=Owner)
    node: LocalNode = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.engine = FaultyEngine(self.database, slept=lambda: self.sleeps)
        profile = NodeProfile(self.name, f"{self.name}.example:1", "1", b"key")
        self.node = LocalNode(self.engine, profile)

    async def make(self, name: str) -> int:
        """Have a room made here, with a save."""
        claim = await self.node.claim(name, new=ROOM)
        assert isinstance(claim, Created), claim
        self.owner.rooms[name] = claim.epoch
        assert not await self.engine.save([RoomSave(name, claim.epoch, "board")])
        return claim.epoch

    async def take_over(self, name: str) -> None:
        """Claim a room until no other node has it."""
        claim = await self.node.claim(name)
        while isinstance(claim, Found):
            await trio.sleep(0.1)
            claim = await self.node.claim(name)
        assert isinstance(claim, Restored)


@pytest.fixture
async def database() -> SimulatedDatabase:
    return SimulatedDatabase(lease=LEASE)


@pytest.fixture
async def north(database: SimulatedDatabase) -> Seat:
    return Seat(database, "north")


@pytest.fixture
async def south(database: SimulatedDatabase) -> Seat:
    return Seat(database, "south")


@asynccontextmanager
async def running(*seats: Seat) -> AsyncIterator[trio.Nursery]:
    async with trio.open_nursery() as nursery:
        for seat in seats:
            await nursery.start(seat.node.run, seat.owner)
        yield nursery
        nursery.cancel_scope.cancel()


async def test_a_node_keeps_its_lease(autojump_clock: MockClock, north: Seat, south: Seat) -> None:
    async with running(north, south):
        await north.make("table")
        for _ in range(900):
            await trio.sleep(1)
            assert north.node.holds()
        (shown, _) = await south.engine.nodes()
        assert (shown.name, shown.address, shown.load) == ("north", "north.example:1", 1.0)
        assert shown.lease_left > LEASE / 2
    assert north.owner.said == []
    # Both have resigned.
    assert await north.engine.nodes() == []


async def test_a_node_that_is_cut_off_holds_its_rooms_before_another_has_them(
    autojump_clock: MockClock, north: Seat, south: Seat
) -> None:
    async with running(north, south):
        epoch = await north.make("table")
        await trio.sleep(100)
        north.engine.cut = True
        await south.take_over("table")
        assert not north.node.holds()
        assert north.owner.said == ["hold"]
        assert north.owner.rooms == {"table": epoch}
        with pytest.raises(LeaseLapsed):
            await north.node.claim("other", new=ROOM)
        north.engine.cut = False
        while not north.node.holds():
            assert north.owner.holding
            await trio.sleep(0.1)
        assert north.owner.said == ["hold", "go on"]
        assert north.owner.rooms == {}


async def test_rooms_go_on_that_nobody_has_taken_meanwhile(
    autojump_clock: MockClock, database: SimulatedDatabase, north: Seat
) -> None:
    async with running(north):
        epoch = await north.make("table")
        database.stop()
        await trio.sleep(2 * LEASE)
        assert north.owner.said == ["hold"]
        database.start()
        await trio.sleep(LEASE / RENEWALS)
        assert north.node.holds()
        assert north.owner.said == ["hold", "go on"]
        assert north.owner.rooms == {"table": epoch}


async def test_a_machine_that_has_slept_knows_at_once(
    autojump_clock: MockClock, database: SimulatedDatabase, north: Seat
) -> None:
    async with running(north):
        # Not while a lease is being renewed.
        await trio.sleep(101)
        north.sleeps = 60.0
        assert not north.node.holds()
        # The database has not slept.
        database.jump(60.0)
        await trio.sleep(LEASE)
        assert north.node.holds()
        assert north.owner.said == ["hold", "go on"]


async def test_an_outage_is_told_once_and_so_is_its_end(
    autojump_clock: MockClock,
    database: SimulatedDatabase,
    north: Seat,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "pgnet_trio.server")
    async with running(north):
        for outages in (1, 2):
            database.stop()
            await trio.sleep(600)
            database.start()
            await trio.sleep(LEASE)
            assert caplog.text.count("The lease is over, and not renewed") == outages
            assert caplog.text.count("There is a lease again") == outages


async def test_a_node_that_was_forgotten_starts_over(
    autojump_clock: MockClock, north: Seat, south: Seat
) -> None:
    async with running(north, south):
        await north.make("table")
        before = north.node.id
        north.engine.cut = True
        await trio.sleep((FORGET_NODES_AFTER + 2) * LEASE + 2 * TIDY_INTERVAL)
        north.engine.cut = False
        await trio.sleep(LEASE)
        assert north.node.holds()
        assert north.node.id > before
        assert "start over" in north.owner.said
        assert north.owner.rooms == {}
        await north.engine.send_mail([north.node.id], b"hello")
        await trio.sleep(1)
        assert north.owner.mail == [b"hello"]


async def test_a_node_whose_name_was_taken_meanwhile_ends(
    autojump_clock: MockClock, database: SimulatedDatabase, north: Seat
) -> None:
    other = Seat(database, "north")
    with pytest.raises(BaseExceptionGroup) as caught:
        async with running(north) as nursery:
            north.engine.cut = True
            await trio.sleep(2 * LEASE)
            await nursery.start(other.node.run, other.owner)
            north.engine.cut = False
            await trio.sleep(5 * LEASE)
    assert caught.group_contains(NameInUse)
    assert "start over" in north.owner.said


async def test_a_node_that_cannot_start_over_says_so_once(
    autojump_clock: MockClock,
    north: Seat,
    south: Seat,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def refuse(*args: object, **options: object) -> None:
        await trio.lowlevel.checkpoint()
        raise EngineUnavailable("The call was refused, as the test wants it.")

    async with running(north, south):
        north.engine.cut = True
        await trio.sleep((FORGET_NODES_AFTER + 2) * LEASE + 2 * TIDY_INTERVAL)
        monkeypatch.setattr(north.engine, "register", refuse)
        north.engine.cut = False
        await trio.sleep(4 * LEASE)
        assert caplog.text.count("This server is no node now") == 1


async def test_a_server_that_was_killed_is_back_once_its_old_lease_is_over(
    autojump_clock: MockClock,
    database: SimulatedDatabase,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "pgnet_trio.server")
    await SimulatedEngine(database).register("north", "", identity=b"key")
    start = trio.current_time()
    north = Seat(database, "north")
    async with running(north):
        assert LEASE <= trio.current_time() - start <= LEASE + RETRY
        assert caplog.text.count("Waiting for the end of an earlier lease") == 1


async def test_a_node_whose_end_was_seen_is_replaced_at_once_and_so_are_its_rooms(
    autojump_clock: MockClock,
    database: SimulatedDatabase,
) -> None:
    engine = SimulatedEngine(database)
    north, south = Seat(database, "north"), Seat(database, "south")
    async with running(south):
        dead = await engine.register("north", "", identity=b"key")
        claim = await engine.claim(dead.node, "table", new=ROOM)
        assert isinstance(claim, Created)
        assert not await engine.save([RoomSave("table", claim.epoch, "board")])
        registered: list[int] = []
        profile = NodeProfile("north", "", "1", b"key", replaces=dead.node)
        north.node = LocalNode(north.engine, profile, registered.append)
        start = trio.current_time()
        async with running(north):
            found = await south.node.claim("table")
            assert isinstance(found, Restored)
            assert trio.current_time() - start < 1
            assert registered == [north.node.id]
            # Whatever the dead one has still under way is late.
            late = RoomSave("table", claim.epoch, "late")
            assert await engine.save([late]) == {"table"}


async def test_a_second_node_of_one_name_does_not_start(
    autojump_clock: MockClock, database: SimulatedDatabase, north: Seat
) -> None:
    other = Seat(database, "north")
    async with running(north) as nursery:
        start = trio.current_time()
        with pytest.raises(NameInUse, match=r"'north' already: stop that one, or .*--node-name"):
            await nursery.start(other.node.run, other.owner)
        # As soon as the other one is known to be alive.
        assert trio.current_time() - start <= LEASE / RENEWALS + 2 * RETRY
        assert north.node.holds()


async def test_a_second_node_at_one_address_does_not_start_while_the_first_lives(
    autojump_clock: MockClock, database: SimulatedDatabase, north: Seat
) -> None:
    other = Seat(database, "other")
    profile = NodeProfile("other", "north.example:1", "1", b"key")
    other.node = LocalNode(other.engine, profile)
    async with running(north) as nursery:
        with pytest.raises(NameInUse, match=r"'north' already that .* 'north\.example:1': stop"):
            await nursery.start(other.node.run, other.owner)
        north.engine.cut = True
        # One that has died is only waited for.
        await nursery.start(other.node.run, other.owner)
        assert other.node.holds()


async def test_a_node_with_another_key_does_not_start(
    autojump_clock: MockClock, north: Seat, south: Seat
) -> None:
    south.node = LocalNode(south.engine, NodeProfile("south", "", "", b"other"))
    async with running(north) as nursery:
        with pytest.raises(OtherIdentity, match="'north'"):
            await nursery.start(south.node.run, south.owner)


async def test_a_node_that_is_to_drain_is_told_once(autojump_clock: MockClock, north: Seat) -> None:
    async with running(north):
        await north.engine.ask_to_drain(north.node.id)
        await trio.sleep(10 * LEASE)
        assert north.node.draining
    assert north.owner.said == ["drain"]


async def test_a_node_ends_though_the_engine_does_not_answer(
    autojump_clock: MockClock, north: Seat
) -> None:
    async with running(north):
        north.engine.cut = True
        start = trio.current_time()
    assert trio.current_time() - start <= 2.0
    assert not north.node.holds()


async def test_the_engine_is_tidied(
    autojump_clock: MockClock, north: Seat, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = []

    async def tidy() -> None:
        await trio.lowlevel.checkpoint()
        times.append(trio.current_time())
        if len(times) == 1:
            raise EngineUnavailable("As the test wants it.")

    monkeypatch.setattr(north.engine, "tidy", tidy)
    async with running(north):
        start = trio.current_time()
        await trio.sleep(3.5 * TIDY_INTERVAL)
    assert [round(time - start) for time in times] == [60, 120, 180]


# Claims


async def test_an_answer_from_before_a_lapse_does_not_count(
    autojump_clock: MockClock, north: Seat, south: Seat, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims: list[Any] = []

    async def claim() -> None:
        claims.append(await north.node.claim("table", new=ROOM))

    async def refuse(node: int, **figures: float) -> Any:
        await trio.lowlevel.checkpoint()
        raise EngineUnavailable("As the test wants it.")

    async with running(north, south) as nursery:
        with monkeypatch.context() as patch:
            patch.setattr(north.engine, "renew", refuse)
            await trio.sleep(LEASE - 1)
            north.engine.answer_delay = 5.0
            nursery.start_soon(claim)
            await trio.sleep(0.5)
            north.engine.answer_delay = 0.0
            await trio.sleep(1)
            assert north.owner.said == ["hold"]
            # Meanwhile another node has the room.
            assert isinstance(await south.node.claim("table", new=ROOM), Created)
        await trio.sleep(1)
        assert north.node.holds()
        assert claims == []
        await trio.sleep(LEASE)
        (found,) = claims
        assert isinstance(found, Found)
        assert found.node.id == south.node.id


async def test_a_room_that_nobody_here_knows_is_restored(
    autojump_clock: MockClock, north: Seat, south: Seat
) -> None:
    async with running(north, south):
        epoch = await north.make("table")
        # As where the answer to the claim was dropped.
        north.owner.rooms.clear()
        assert isinstance(await south.node.claim("table"), Found)
        claim = await north.node.claim("table", new=ROOM)
        assert isinstance(claim, Restored)
        assert claim.data == "board"
        assert claim.epoch > epoch


async def test_a_room_of_a_node_that_died_is_waited_for(
    autojump_clock: MockClock, north: Seat, south: Seat
) -> None:
    async with running(south):
        async with running(north) as nursery:
            await north.make("table")
            north.engine.cut = True
            nursery.cancel_scope.cancel()
        died = trio.current_time()
        await south.take_over("table")
        assert trio.current_time() - died <= LEASE + 0.2


async def test_rooms_are_there_again_after_all_nodes_and_the_engine_were_away(
    autojump_clock: MockClock, north: Seat, south: Seat
) -> None:
    async with running(north):
        await north.make("table")
        north.engine.cut = True
    await trio.sleep(100 * LEASE)
    async with running(south):
        start = trio.current_time()
        # It is too early to know that the other one is not just coming back too.
        claim = await south.node.claim("table", new=ROOM)
        assert isinstance(claim, Restored)
        assert LEASE - 0.1 <= trio.current_time() - start <= LEASE + LEASE / RENEWALS


@pytest.mark.parametrize("fault", ["refused", "lost", "late"])
async def test_a_room_is_claimed_once_whatever_becomes_of_a_call(
    autojump_clock: MockClock, database: SimulatedDatabase, fault: str
) -> None:
    for number in itertools.count(1):
        north, south = Seat(database, f"n{number}"), Seat(database, f"s{number}")
        async with running(north, south):
            north.engine.faults = {north.engine.calls + number: fault}
            name = f"table {number}"
            try:
                claim = await north.node.claim(name, new=ROOM)
            except EngineUnavailable:
                assert fault == "refused"
                claim = await north.node.claim(name, new=ROOM)
            assert isinstance(claim, Created)
            north.owner.rooms[name] = claim.epoch
            found = await south.node.claim(name, new=ROOM)
            assert isinstance(found, Found)
            assert (found.node.id, found.epoch) == (north.node.id, claim.epoch)
            if north.engine.calls < min(north.engine.faults):
                break


# Mail


@pytest.mark.parametrize("fault", ["refused", "lost", "late"])
async def test_mail_comes_once_and_in_order_whatever_becomes_of_a_call(
    autojump_clock: MockClock, database: SimulatedDatabase, fault: str
) -> None:
    for number in itertools.count(1):
        north, south = Seat(database, f"n{number}"), Seat(database, f"s{number}")
        async with running(north, south):
            south.engine.faults = {south.engine.calls + number: fault}
            bodies = [b"%d" % each for each in range(5)]
            for body in bodies:
                await north.engine.send_mail([south.node.id], body)
                await trio.sleep(0.3)
            await trio.sleep(2 * LEASE)
            assert south.owner.mail == bodies
            assert await south.engine.read_mail(south.node.id) == []
        if number > 20:
            break


@pytest.mark.parametrize("fault", ["refused", "lost", "late"])
async def test_mail_that_comes_while_a_node_ends_is_taken_or_refused(
    autojump_clock: MockClock, database: SimulatedDatabase, fault: str
) -> None:
    for number in range(1, 12):
        north, south = Seat(database, f"n{number}"), Seat(database, f"s{number}")
        accepted: list[bytes] = []

        async def write(north: Seat, south: Seat, accepted: list[bytes]) -> None:
            for body in (b"%d" % each for each in range(1000)):
                if not await north.engine.send_mail([south.node.id], body):
                    return
                accepted.append(body)
                await trio.sleep(0.03)

        async with running(north, south) as nursery:
            south.engine.request_delay = south.engine.answer_delay = 0.02
            nursery.start_soon(write, north, south, accepted)
            await trio.sleep(0.5)
            south.engine.faults = {south.engine.calls + number: fault}
            await south.node.end()
            assert not south.node.holds()
            assert [node.name for node in await north.engine.nodes()] == [north.name]
            await trio.sleep(1)
            assert south.owner.mail == accepted
            # Nothing is left to end.
            await south.node.end()
        assert accepted


async def test_much_mail_comes_without_a_pause(
    autojump_clock: MockClock, north: Seat, south: Seat
) -> None:
    async with running(north, south):
        for number in range(350):
            await north.engine.send_mail([south.node.id], b"%d" % number)
        await trio.sleep(0.1)
        assert south.owner.mail == [b"%d" % number for number in range(350)]


# What other nodes hand over


async def hand_over(north: Seat, south: Seat, name: str, usernames: list[str]) -> int:
    epoch = north.owner.rooms.pop(name)
    sessions = []
    for username in usernames:
        entered = await north.engine.enter(north.node.id, username, b"t")
        sessions.append(MovingSession(username, entered.epoch, b"packed"))
    save = RoomSave(name, epoch, "board", players=len(usernames))
    over = await north.engine.hand_over(save, south.node.id, b"packed", sessions)
    return over.epoch


@pytest.mark.parametrize("fault", ["refused", "lost", "late"])
async def test_rooms_and_sessions_arrive_once_whatever_becomes_of_a_call(
    autojump_clock: MockClock, database: SimulatedDatabase, fault: str
) -> None:
    for number in range(1, 25):
        north, south = Seat(database, f"n{number}"), Seat(database, f"s{number}")
        one, two = f"one {number}", f"two {number}"
        async with running(north, south):
            await north.make(one)
            await north.make(two)
            south.engine.faults = {south.engine.calls + number: fault}
            epochs = {
                one: await hand_over(north, south, one, ["ann"]),
                two: await hand_over(north, south, two, ["bob"]),
            }
            cleo = await north.engine.enter(north.node.id, "cleo", b"t")
            moving = MovingSession("cleo", cleo.epoch, b"packed")
            await north.engine.pass_session(moving, south.node.id)
            await trio.sleep(2 * LEASE)
            said = [each for each in south.owner.said if each != "go on"]
            assert said == [f"take {one}", f"take {two}"]
            assert south.owner.rooms == epochs
            assert south.owner.sessions == ["cleo"]
            assert await south.engine.next_arrival(south.node.id) is None
            assert await south.engine.passed_sessions(south.node.id) == []
            for name in ("ann", "bob", "cleo"):
                row = await north.engine.find_session(name)
                assert row is not None
                assert (row.node, row.packed) == (south.node.id, None)


async def test_a_room_that_was_taken_back_meanwhile_is_dropped(
    autojump_clock: MockClock, north: Seat, south: Seat
) -> None:
    async with running(north, south):
        await north.make("table")
        south.engine.request_delay = 1.0
        await trio.sleep(2)
        await hand_over(north, south, "table", ["ann"])
        await trio.sleep(1.5)
        await north.engine.take_back(north.node.id, "table")
        await trio.sleep(LEASE)
        assert south.owner.said == []
        assert south.owner.rooms == {}


async def test_a_session_that_is_somewhere_else_by_now_is_not_taken(
    autojump_clock: MockClock, north: Seat, south: Seat
) -> None:
    async with running(north, south):
        ann = await north.engine.enter(north.node.id, "ann", b"1")
        south.engine.pause()
        await north.engine.pass_session(MovingSession("ann", ann.epoch, b""), south.node.id)
        await trio.sleep(0.5)
        await north.engine.enter(north.node.id, "ann", b"2")
        south.engine.resume()
        await trio.sleep(LEASE)
        assert south.owner.sessions == []


@pytest.mark.parametrize("is_handed_over", [False, True])
async def test_a_room_that_comes_while_the_lease_is_renewed_stays(
    autojump_clock: MockClock,
    north: Seat,
    south: Seat,
    monkeypatch: pytest.MonkeyPatch,
    is_handed_over: bool,
) -> None:
    """A renewal whose answer was lost lists the rooms next time, perhaps too early for this one."""
    async with running(north, south):
        await south.make("table 1")
        await trio.sleep(LEASE + 1)
        # The answer to the next renewal is lost, and that to the one after it is slow.
        renew = north.engine.renew

        async def renew_slowly(node: int, **figures: float) -> Any:
            lease = await renew(node, **figures)
            await trio.sleep(1)
            return lease

        monkeypatch.setattr(north.engine, "renew", renew_slowly)
        north.engine.lost_answers = 1
        await trio.sleep(LEASE / RENEWALS - 1 + RETRY + 0.1)
        # A room comes while it is under way.
        if is_handed_over:
            name, epoch = "table 1", await hand_over(south, north, "table 1", [])
        else:
            name, epoch = "table 2", await north.make("table 2")
        await trio.sleep(LEASE / RENEWALS)
        assert "go on" in north.owner.said
        assert north.owner.rooms == {name: epoch}
        claim = await north.node.claim(name)
        assert isinstance(claim, Found)
        assert claim.epoch == epoch


async def test_a_room_whose_acceptance_is_answered_after_a_renewal_is_taken(
    autojump_clock: MockClock, north: Seat, south: Seat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is this node's by then, and nobody else goes on with its players."""
    async with running(north, south):
        await south.make("table")
        await trio.sleep(LEASE)
        accept = north.engine.accept

        async def accept_slowly(name: str, epoch: int, **options: Any) -> None:
            await accept(name, epoch, **options)
            # The answer to the next renewal is lost, and the one after it lists the rooms.
            north.engine.lost_answers = 1
            await trio.sleep(LEASE / RENEWALS + 2 * RETRY)
            monkeypatch.setattr(north.engine, "accept", accept)

        monkeypatch.setattr(north.engine, "accept", accept_slowly)
        epoch = await hand_over(south, north, "table", ["ann"])
        await trio.sleep(LEASE)
        assert "go on" in north.owner.said
        assert north.owner.rooms == {"table": epoch}


async def test_what_was_handed_to_a_dead_node_is_here_for_whoever_claims(
    autojump_clock: MockClock, north: Seat, south: Seat
) -> None:
    async with running(north, south):
        await north.make("table")
        south.engine.cut = True
        await hand_over(north, south, "table", ["ann"])
        await trio.sleep(2 * LEASE)
        claim = await north.node.claim("table", new=ROOM)
        assert isinstance(claim, Found)
        assert claim.node.id == north.node.id
        assert north.owner.rooms == {"table": claim.epoch}


async def test_what_became_of_a_change_is_found_out_after_an_outage(
    autojump_clock: MockClock, north: Seat
) -> None:
    async def send(operation: bytes) -> None:
        await north.engine.send_mail([north.node.id], b"once", operation=operation)

    async with running(north):
        await trio.sleep(LEASE / RENEWALS + 1)
        # The node's own tasks look for mail meanwhile.
        north.engine.only = trio.lowlevel.current_task()
        first = north.engine.calls + 1
        faults = ["lost", "lost", "refused", "refused"]
        north.engine.faults = dict(enumerate(faults, first))
        await north.node.settled(send)
        assert north.engine.calls == first + len(faults)
        await trio.sleep(1)
        assert north.owner.mail == [b"once"]
        # Where nothing can have happened, that is said at once.
        north.engine.faults = {north.engine.calls + 1: "refused"}
        with pytest.raises(EngineUnavailable):
            await north.node.settled(send)


async def test_nothing_is_done_twice_when_a_node_is_cut_off_for_an_hour(
    autojump_clock: MockClock, north: Seat
) -> None:
    async with running(north):
        north.engine.lost_answers = 1_000_000
        with trio.move_on_after(3600), pytest.raises(OutcomeUnknown):
            await north.node.settled(
                lambda operation: north.engine.send_mail([north.node.id], b"", operation=operation)
            )
        assert north.owner.mail == [b""]
