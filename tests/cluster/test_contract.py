"""What every engine promises, tried on all three."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, TypeVar

import pytest
import trio

from pgnet_trio.server.cluster import memory_tables, sql_nodes, wakeups
from pgnet_trio.server.cluster.errors import (
    Fenced,
    LeaseLapsed,
    LoggedInLater,
    NameInUse,
    NodeGone,
    NodeUnavailable,
    OtherIdentity,
)
from pgnet_trio.server.cluster.records import (
    Absent,
    Claim,
    Created,
    Found,
    Listing,
    Moment,
    MovingSession,
    NewRoom,
    Restored,
    RoomSave,
    Unsettled,
    WrongPassword,
)
from pgnet_trio.server.cluster.rules import FORGET_NODES_AFTER, KEEP_OPERATIONS, MAX_BODY
from pgnet_trio.storage.interface import TokenRecord, UserRecord
from tests.cluster.conftest import LEASE, Bench

if TYPE_CHECKING:
    from pgnet_trio.server.cluster.engine import Engine

ROOM = NewRoom(password="key", info="{}")

# No text that others write may be one that an engine cannot store, or takes for another.
ODD_TEXTS = (
    "",
    "1",
    "007",
    "a\0b",
    "\ud800",
    "ü漢",
    "';--",
    "%s %t?",
    "x" * 3000,
)

T = TypeVar("T", bound=Claim)


async def two_nodes(bench: Bench) -> tuple[int, int]:
    first = await bench.first.register("north", "n.example:1", version="2.0")
    second = await bench.second.register("south", "s.example:1")
    return first.node, second.node


async def claim(engine: Engine, node: int, kind: type[T], name: str = "table 1") -> T:
    found = await engine.claim(node, name, new=ROOM)
    assert isinstance(found, kind), found
    return found


async def lapse(bench: Bench, *, renewing: int) -> None:
    """Let the leases of all other nodes end, while one goes on renewing its own."""
    for _ in range(6):
        await bench.advance(LEASE / 4)
        await bench.first.renew(renewing)


# Nodes and leases


async def test_nodes_are_listed_with_what_they_said(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    await bench.second.renew(second, load=0.5)
    north, south = await bench.first.nodes()
    assert (north.id, north.name, north.address, north.version) == (
        first,
        "north",
        "n.example:1",
        "2.0",
    )
    assert (north.load, north.alive, north.draining) == (0.0, True, False)
    assert (south.id, south.load, south.alive) == (second, 0.5, True)


async def test_a_lease_is_counted_from_before_the_engine_was_asked(bench: Bench) -> None:
    before = bench.first.now()
    lease = await bench.first.register("north", "")
    assert before + LEASE / 2 < lease.deadline < before + LEASE
    assert lease.rooms is None
    before = bench.first.now()
    again = await bench.first.renew(lease.node)
    assert before + LEASE / 2 < again.deadline < before + LEASE


async def test_a_name_is_free_again_once_its_lease_is_over(bench: Bench) -> None:
    first = await bench.first.register("north", "")
    with pytest.raises(NameInUse, match="'north'"):
        await bench.second.register("north", "")
    await bench.advance(LEASE + 1)
    again = await bench.second.register("north", "")
    assert again.node > first.node
    # The first one was only silent. There are never two of that name.
    with pytest.raises(NodeGone, match="register anew"):
        await bench.first.renew(first.node)


async def test_an_address_is_free_again_once_its_lease_is_over(bench: Bench) -> None:
    first = await bench.first.register("north", "n.example:1")
    with pytest.raises(
        NameInUse, match=r"'north' already that clients find at 'n\.example:1'"
    ) as no:
        await bench.second.register("south", "n.example:1")
    await bench.first.renew(first.node)
    with pytest.raises(NameInUse) as again:
        await bench.second.register("south", "n.example:1")
    # So whoever waits for the end of the lease learns that its node is alive.
    assert again.value.renewed > no.value.renewed
    await bench.advance(LEASE + 1)
    await bench.second.register("south", "n.example:1")
    with pytest.raises(NodeGone, match="register anew"):
        await bench.first.renew(first.node)


async def test_a_lapsed_node_learns_which_rooms_it_still_has(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    one = await claim(bench.first, first, Created, "one")
    await claim(bench.first, first, Created, "two")
    assert (await bench.first.renew(first)).rooms is None
    for _ in range(6):
        await bench.advance(LEASE / 4)
        await bench.second.renew(second)
    await claim(bench.second, second, Created, "two")
    assert (await bench.first.renew(first)).rooms == {"one": one.epoch}
    assert (await bench.first.renew(first)).rooms is None


async def test_all_nodes_have_one_identity(bench: Bench) -> None:
    await bench.first.register("north", "", identity=b"key")
    with pytest.raises(OtherIdentity, match=r"The node 'north' has another key.*key file"):
        await bench.second.register("south", "", identity=b"other")
    await bench.second.register("south", "", identity=b"key")
    # Once all are gone, they may come back with another one.
    await bench.advance(LEASE + 1)
    await bench.second.register("south", "", identity=b"other")


async def test_a_node_shows_for_how_long_its_lease_holds(bench: Bench) -> None:
    await two_nodes(bench)
    await bench.advance(LEASE / 2)
    north, south = await bench.first.nodes()
    assert 0 < south.lease_left <= LEASE / 2
    await bench.advance(LEASE)
    north, south = await bench.first.nodes()
    assert -LEASE < north.lease_left < 0


async def test_a_node_that_resigns_leaves_its_rooms_to_the_next(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    room = await claim(bench.first, first, Created)
    await bench.first.save([RoomSave("table 1", room.epoch, "board")])
    await bench.first.resign(first)
    restored = await claim(bench.second, second, Restored)
    assert (restored.data, restored.password) == ("board", "key")
    assert restored.epoch > room.epoch
    with pytest.raises(NodeGone):
        await bench.first.renew(first)


async def test_a_queue_has_one_home_whoever_asks(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    assert await bench.first.queue_home("ranked") is None
    homes: list[int] = []

    async def claim_queue(engine: Engine, node: int) -> None:
        homes.append((await engine.claim_queue("ranked", node)).id)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(claim_queue, bench.first, first)
            nursery.start_soon(claim_queue, bench.second, second)
    assert len(set(homes)) == 1
    found = await bench.second.queue_home("ranked")
    assert found is not None
    assert found.id == homes[0]
    assert found in await bench.first.nodes()
    # Another queue may be somewhere else, whatever it is called.
    for name, node in zip(ODD_TEXTS, itertools.cycle((first, second)), strict=False):
        assert (await bench.first.claim_queue(name, node)).id == node
        assert await bench.second.queue_home(name) is not None


async def test_a_queue_leaves_a_node_that_is_drained_silent_or_gone(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    assert (await bench.first.claim_queue("ranked", first)).id == first
    assert (await bench.second.claim_queue("ranked", second)).id == first
    await bench.second.ask_to_drain(first)
    assert await bench.first.queue_home("ranked") is None
    # It stays where there is no other, and goes where there is one.
    assert (await bench.first.claim_queue("ranked", first)).id == first
    assert (await bench.first.claim_queue("ranked", second)).id == second
    third = (await bench.first.register("east", "e.example:1")).node
    await lapse(bench, renewing=third)
    assert await bench.first.queue_home("ranked") is None
    with pytest.raises(NodeUnavailable, match="choose another"):
        await bench.first.claim_queue("ranked", second)
    assert (await bench.first.claim_queue("ranked", third)).id == third
    await bench.first.resign(third)
    assert await bench.first.queue_home("ranked") is None
    with pytest.raises(NodeUnavailable, match="choose another"):
        await bench.first.claim_queue("ranked", third)


async def test_a_queue_leaves_a_node_that_is_late_with_its_lease(bench: Bench) -> None:
    """Nothing is lost by it, and nobody waits for the end of the lease."""
    first, second = await two_nodes(bench)
    await bench.first.claim_queue("ranked", first)
    await bench.advance(0.5 * LEASE)
    await bench.second.renew(second)
    assert await bench.second.queue_home("ranked") is None
    assert (await bench.second.claim_queue("ranked", second)).id == second


async def test_a_node_is_told_to_drain_when_it_renews(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    room = await claim(bench.second, second, Created)
    await bench.second.ask_to_drain(first)
    assert (await bench.first.renew(first)).draining
    with pytest.raises(NodeUnavailable):
        await bench.second.hand_over(RoomSave("table 1", room.epoch), first, b"")
    with pytest.raises(NodeGone):
        await bench.second.ask_to_drain(first + second + 1000)


async def test_nodes_that_are_silent_for_long_are_forgotten(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    room = await claim(bench.second, second, Created)
    await bench.second.save([RoomSave("table 1", room.epoch, "board")])
    await bench.second.enter(second, "ann", b"t")
    await bench.first.tidy()
    assert len(await bench.first.nodes()) == 2
    await bench.advance((FORGET_NODES_AFTER + 2) * LEASE)
    # All have been silent, as in an outage of the engine, so nobody is forgotten yet.
    await bench.first.renew(first)
    await bench.first.tidy()
    assert len(await bench.first.nodes()) == 2
    await lapse(bench, renewing=first)
    await bench.first.tidy()
    assert [node.id for node in await bench.first.nodes()] == [first]
    assert (await claim(bench.first, first, Restored)).data == "board"


# Claims


async def test_a_room_is_made_once_and_found_by_all_others(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    made = await claim(bench.first, first, Created)
    found = await claim(bench.second, second, Found)
    assert (found.node.id, found.node.address, found.epoch) == (first, "n.example:1", made.epoch)
    mine = await claim(bench.first, first, Found)
    assert (mine.node.id, mine.epoch) == (first, made.epoch)


async def test_no_room_is_made_unless_that_is_wanted(bench: Bench) -> None:
    first, _ = await two_nodes(bench)
    assert await bench.first.claim(first, "table 1") == Absent()
    assert await bench.first.directory() == []


async def test_a_wrong_password_takes_nothing(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    room = await claim(bench.first, first, Created)
    for node, password in ((first, ""), (second, "kez"), (second, "\ud800")):
        found = await bench.second.claim(node, "table 1", password=password, new=ROOM)
        assert isinstance(found, WrongPassword)
        # Whoever was invited to the room is sent there.
        assert found.node is not None
        assert found.node.id == first
    assert isinstance(await bench.second.claim(second, "table 1", password="key"), Found)
    await bench.first.give_back(RoomSave("table 1", room.epoch, "board"))
    assert await bench.second.claim(second, "table 1", password="no") == WrongPassword()
    restored = await bench.second.claim(second, "table 1", password="key")
    assert isinstance(restored, Restored)


async def test_a_hundred_joiners_at_two_nodes_make_one_room(bench: Bench) -> None:
    nodes = await two_nodes(bench)
    claims: list[Claim] = []

    async def join(number: int) -> None:
        engine = (bench.first, bench.second)[number % 2]
        claims.append(await engine.claim(nodes[number % 2], "table 1", new=ROOM))

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(join, number)
    (made,) = [found for found in claims if isinstance(found, Created)]
    found = [one for one in claims if isinstance(one, Found)]
    assert len(found) == 99
    assert {(one.epoch, one.node.id in nodes) for one in found} == {(made.epoch, True)}


async def test_many_joiners_at_a_take_over_restore_one_room(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    gone = (await bench.second.register("gone", "")).node
    room = await claim(bench.first, gone, Created)
    await bench.first.save([RoomSave("table 1", room.epoch, "board")])
    for _ in range(6):
        await bench.advance(LEASE / 4)
        await bench.first.renew(first)
        await bench.second.renew(second)
    claims: list[Claim] = []

    async def join(engine: Engine, node: int) -> None:
        claims.append(await engine.claim(node, "table 1", new=ROOM))

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(join, bench.first, first)
                nursery.start_soon(join, bench.second, second)
    (restored,) = [found for found in claims if isinstance(found, Restored)]
    assert restored.data == "board"
    assert sum(isinstance(found, Found) for found in claims) == 19


async def test_a_claim_that_is_repeated_returns_the_same(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    made = await bench.first.claim(first, "table 1", new=ROOM, operation=b"one")
    assert await bench.first.claim(first, "table 1", new=ROOM, operation=b"one") == made
    assert isinstance(made, Created)
    await bench.first.give_back(RoomSave("table 1", made.epoch, "board"))
    restored = await bench.second.claim(second, "table 1", operation=b"two")
    assert isinstance(restored, Restored)
    assert await bench.second.claim(second, "table 1", operation=b"two") == restored
    # Where somebody else has it by then, it is found there, or gone for whoever claimed it.
    assert isinstance(await bench.first.claim(first, "table 1", operation=b"one"), Found)
    await bench.second.end("table 1", restored.epoch)
    with pytest.raises(Fenced):
        await bench.second.claim(second, "table 1", operation=b"two")


async def test_a_lapsed_node_claims_nothing(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    await bench.advance(LEASE + 1)
    with pytest.raises(LeaseLapsed):
        await bench.first.claim(first, "table 1", new=ROOM)
    with pytest.raises(LeaseLapsed):
        await bench.first.enter(first, "ann", b"")
    with pytest.raises(NodeGone):
        await bench.first.claim(first + second + 1000, "table 1", new=ROOM)
    assert await bench.first.directory() == []


async def test_a_silent_nodes_room_is_taken_when_its_lease_is_over(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    room = await claim(bench.second, second, Created)
    await bench.second.save([RoomSave("table 1", room.epoch, "board", empty_since=7)])
    for _ in range(3):
        await bench.advance(LEASE / 4)
        await bench.first.renew(first)
    await claim(bench.first, first, Found)
    await lapse(bench, renewing=first)
    restored = await claim(bench.first, first, Restored)
    assert (restored.data, restored.password, restored.empty_since) == ("board", "key", 7)
    assert restored.epoch > room.epoch
    # What the silent node still writes is of no use.
    assert await bench.second.save([RoomSave("table 1", room.epoch, "late")]) == {"table 1"}
    lease = await bench.second.renew(second)
    assert lease.rooms == {}
    assert (await claim(bench.second, second, Found)).node.id == first


async def test_a_silent_nodes_room_without_a_save_is_made_anew(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    room = await claim(bench.second, second, Created)
    await lapse(bench, renewing=first)
    assert await bench.first.claim(first, "table 1") == Absent()
    assert (await claim(bench.first, first, Created)).epoch > room.epoch


@pytest.mark.parametrize("jump", [1.1 * LEASE, 40 * LEASE, -40 * LEASE])
async def test_an_engine_that_was_away_gives_all_one_lease(bench: Bench, jump: float) -> None:
    first, second = await two_nodes(bench)
    room = await claim(bench.second, second, Created)
    await bench.advance(jump)
    await bench.first.renew(first)
    unsettled = await claim(bench.first, first, Unsettled)
    assert unsettled.wait == pytest.approx(LEASE, abs=LEASE / 2)
    # Who is alive renews within that time, and has all of its rooms.
    assert (await bench.second.renew(second)).rooms == {"table 1": room.epoch}
    assert (await claim(bench.first, first, Found)).epoch == room.epoch
    await lapse(bench, renewing=first)
    await claim(bench.first, first, Created)


async def test_a_clock_that_was_wrong_for_a_while_keeps_no_room_for_ever(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    await claim(bench.second, second, Created)
    await bench.advance(40 * LEASE)
    await bench.first.renew(first)
    await bench.advance(-40 * LEASE)
    await lapse(bench, renewing=first)
    await claim(bench.first, first, Created)


# Saves


async def test_saves_are_fenced_room_by_room(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    one = await claim(bench.first, first, Created, "one")
    two = await claim(bench.second, second, Created, "two")
    saves = [
        RoomSave("one", one.epoch, "a", players=2, info="x"),
        RoomSave("two", two.epoch + 1, "b"),
        RoomSave("three", 1, "c"),
    ]
    assert await bench.first.save(saves) == {"two", "three"}
    assert await bench.first.directory() == [
        Listing("one", first, 2, "x", locked=True),
        Listing("two", second, 0, "{}", locked=True),
    ]
    await bench.first.give_back(RoomSave("one", one.epoch))
    await bench.first.give_back(RoomSave("two", two.epoch))
    assert (await claim(bench.first, first, Restored, "one")).data == "a"
    await claim(bench.first, first, Created, "two")


async def test_a_save_from_a_thread_needs_no_task(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    one = await claim(bench.first, first, Created, "one")
    two = await claim(bench.second, second, Created, "two")
    saves = [RoomSave("one", one.epoch, "a"), RoomSave("two", two.epoch + 1, "b")]
    found: list[frozenset[str]] = []
    thread = threading.Thread(target=lambda: found.append(bench.first.save_from_thread(saves)))
    thread.start()
    # No task goes on meanwhile.
    thread.join()
    assert found == [{"two"}]
    await bench.first.give_back(RoomSave("one", one.epoch))
    restored = await claim(bench.second, second, Restored, "one")
    assert restored.data == "a"


async def test_an_empty_save_takes_out_the_one_before(bench: Bench) -> None:
    first, _ = await two_nodes(bench)
    room = await claim(bench.first, first, Created)
    await bench.first.save([RoomSave("table 1", room.epoch, "board")])
    await bench.first.save([RoomSave("table 1", room.epoch, "")])
    await bench.first.give_back(RoomSave("table 1", room.epoch))
    assert await bench.first.claim(first, "table 1") == Absent()


async def test_a_room_that_has_ended_is_gone_with_its_save(bench: Bench) -> None:
    first, _ = await two_nodes(bench)
    room = await claim(bench.first, first, Created)
    await bench.first.save([RoomSave("table 1", room.epoch, "board")])
    with pytest.raises(Fenced):
        await bench.first.end("table 1", room.epoch - 1)
    await bench.first.end("table 1", room.epoch, operation=b"end")
    await bench.first.end("table 1", room.epoch, operation=b"end")
    assert await bench.first.claim(first, "table 1") == Absent()
    with pytest.raises(Fenced):
        await bench.first.give_back(RoomSave("table 1", room.epoch, "late"))
    assert await bench.first.claim(first, "table 1") == Absent()


async def test_any_text_comes_back_as_it_was(bench: Bench) -> None:
    first, _ = await two_nodes(bench)
    for text in ODD_TEXTS:
        made = await bench.first.claim(first, text, new=NewRoom(text, text))
        assert isinstance(made, Created)
        await bench.first.save([RoomSave(text, made.epoch, text + "!", 1, text)])
        listings = await bench.first.directory()
        assert listings == ([Listing(text, first, 1, text, bool(text))] if text else [])
        await bench.first.give_back(RoomSave(text, made.epoch, info=text))
        restored = await bench.first.claim(first, text, password=text)
        assert isinstance(restored, Restored)
        assert (restored.password, restored.data) == (text, text + "!")
        await bench.first.end(text, restored.epoch)


async def test_the_directory_comes_in_parts_in_one_order(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    names = ["b", "a", "é", "a1", "Z", "漢", "\ud800"]
    for number, name in enumerate(names):
        made = await claim(bench.first, (first, second)[number % 2], Created, name)
        if number % 3 == 0:
            await bench.first.give_back(RoomSave(name, made.epoch, "board"))
    found: list[Listing] = []
    while part := await bench.first.directory(after=found[-1].name if found else "", limit=2):
        assert len(part) <= 2
        found += part
    expected = sorted(names, key=lambda name: name.encode("utf-8", "surrogatepass"))
    assert [listing.name for listing in found] == expected
    saved = {listing.name for listing in found if listing.node is None}
    assert saved == {"b", "a1", "\ud800"}
    # Rooms that only a silent node has are not in it, and stand in nobody's way.
    await lapse(bench, renewing=first)
    alive = {listing.name for listing in await bench.first.directory(limit=5)}
    assert alive == {"b", "a1", "\ud800", "é", "Z"}


async def test_a_room_is_played_where_a_node_has_it_that_is_not_silent(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    room = await claim(bench.first, first, Created)
    await claim(bench.second, second, Created, "é")
    await bench.second.save([RoomSave("table 1", room.epoch, "board")])
    played = [await bench.second.is_played(name) for name in ("table 1", "é", "e")]
    assert played == [True, True, False]
    await lapse(bench, renewing=first)
    assert [await bench.first.is_played(name) for name in ("table 1", "é")] == [True, False]
    # Saved, and nobody plays it.
    await bench.first.give_back(RoomSave("table 1", room.epoch, "board"))
    assert not await bench.first.is_played("table 1")


# Hand-offs


async def moving(bench: Bench) -> tuple[int, int, int]:
    """Hand a room over from the first to the second node; return both, and the epoch."""
    first, second = await two_nodes(bench)
    room = await claim(bench.first, first, Created)
    ann = await bench.first.enter(first, "ann", b"token")
    bob = await bench.first.enter(first, "bob", b"token")
    cleo = await bench.first.enter(first, "cleo", b"old")
    await bench.second.enter(second, "cleo", b"new")
    over = await bench.first.hand_over(
        RoomSave("table 1", room.epoch, "board", players=3),
        second,
        b"packed",
        [
            MovingSession("ann", ann.epoch, b"a"),
            MovingSession("bob", bob.epoch, b"b"),
            MovingSession("cleo", cleo.epoch, b"c"),
        ],
    )
    assert over.left == {"cleo"}
    assert over.epoch > room.epoch
    with pytest.raises(Fenced):
        await bench.first.end("table 1", room.epoch)
    return first, second, over.epoch


async def test_a_room_goes_to_another_node_with_its_sessions(bench: Bench) -> None:
    first, second, epoch = await moving(bench)
    assert (await claim(bench.first, first, Found)).node.id == second
    assert await bench.first.next_arrival(first) is None
    arrival = await bench.second.next_arrival(second)
    assert arrival is not None
    room = arrival.room
    assert (arrival.name, room.epoch, room.data, room.packed) == (
        "table 1",
        epoch,
        "board",
        b"packed",
    )
    assert [(row.username, row.node, row.token, row.packed) for row in room.sessions] == [
        ("ann", second, b"token", b"a"),
        ("bob", second, b"token", b"b"),
    ]
    assert await bench.second.next_arrival(second, after=epoch) is None
    await bench.second.accept("table 1", epoch, operation=b"here")
    await bench.second.accept("table 1", epoch, operation=b"here")
    assert await bench.second.next_arrival(second) is None
    ann = await bench.first.find_session("ann")
    assert ann is not None
    assert (ann.node, ann.packed) == (second, None)
    with pytest.raises(Fenced):
        await bench.first.take_back(first, "table 1")


async def test_a_room_can_be_taken_back_until_it_is_accepted(bench: Bench) -> None:
    first, second, epoch = await moving(bench)
    with pytest.raises(Fenced):
        await bench.second.take_back(second, "table 1")
    back = await bench.first.take_back(first, "table 1", operation=b"back")
    assert await bench.first.take_back(first, "table 1", operation=b"back") == back
    assert back > epoch
    with pytest.raises(Fenced):
        await bench.second.accept("table 1", epoch)
    ann = await bench.second.find_session("ann")
    assert ann is not None
    assert ann.node == first
    assert (await claim(bench.second, second, Found)).node.id == first


async def test_what_a_dead_node_was_to_receive_goes_to_whoever_claims(bench: Bench) -> None:
    first, second, _ = await moving(bench)
    await lapse(bench, renewing=first)
    restored = await claim(bench.first, first, Restored)
    assert (restored.data, restored.packed) == ("board", b"packed")
    assert [(row.username, row.node, row.packed) for row in restored.sessions] == [
        ("ann", first, b"a"),
        ("bob", first, b"b"),
    ]
    await bench.first.accept("table 1", restored.epoch)
    await bench.second.renew(second)
    assert await bench.second.next_arrival(second) is None


async def test_whoever_has_handed_a_room_over_gets_mail_when_it_is_accepted(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    room = await claim(bench.first, first, Created)
    over = await bench.first.hand_over(RoomSave("table 1", room.epoch), second, b"")
    arrival = await bench.second.next_arrival(second)
    assert arrival is not None
    assert arrival.giver == first
    with pytest.raises(Fenced):
        await bench.second.accept("table 1", room.epoch, told=b"there")
    assert await bench.first.read_mail(first) == []
    for _ in range(2):
        await bench.second.accept("table 1", over.epoch, told=b"there", operation=b"accept")
    assert [mail.body for mail in await bench.first.read_mail(first)] == [b"there"]


async def test_nobody_is_told_of_a_room_that_was_taken_over_from_the_dead(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    room = await claim(bench.first, first, Created)
    await bench.first.hand_over(RoomSave("table 1", room.epoch), second, b"")
    await bench.first.resign(second)
    restored = await claim(bench.first, first, Restored)
    arrival = await bench.first.next_arrival(first)
    assert arrival is not None
    assert arrival.giver == 0
    await bench.first.accept("table 1", restored.epoch, told=b"there")
    assert await bench.first.read_mail(first) == []


async def test_a_hand_over_that_is_repeated_happens_once(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    room = await claim(bench.first, first, Created)
    save = RoomSave("table 1", room.epoch, "board")
    over = await bench.first.hand_over(save, second, b"", operation=b"move")
    assert await bench.first.hand_over(save, second, b"", operation=b"move") == over
    with pytest.raises(Fenced):
        await bench.first.hand_over(save, second, b"", operation=b"other")
    arrival = await bench.second.next_arrival(second)
    assert arrival is not None
    assert arrival.room.packed == b""


async def test_a_room_stays_where_the_other_node_is_silent(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    room = await claim(bench.first, first, Created)
    await lapse(bench, renewing=first)
    with pytest.raises(NodeUnavailable):
        await bench.first.hand_over(RoomSave("table 1", room.epoch, "new"), second, b"")
    await bench.first.give_back(RoomSave("table 1", room.epoch))
    # Nothing of the call that failed was written.
    await claim(bench.first, first, Created)


# Users who are there, and mail


async def test_the_latest_session_of_a_user_counts(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    here = await bench.first.enter(first, "ann", b"1", operation=b"in")
    assert here.before is None
    assert await bench.first.enter(first, "ann", b"1", operation=b"in") == here
    there = await bench.second.enter(second, "ann", b"2")
    assert there.before is not None
    assert (there.before.node, there.before.epoch, there.before.token) == (first, here.epoch, b"1")
    await bench.first.leave("ann", here.epoch)
    row = await bench.first.find_session("ann")
    assert row is not None
    assert (row.node, row.epoch, row.token) == (second, there.epoch, b"2")
    await bench.second.leave("ann", there.epoch)
    assert await bench.first.find_session("ann") is None


async def test_the_log_in_that_was_asked_for_last_stays(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    moments = [bench.first.when(trio.current_time() - ago) for ago in (9, 6, 3)]
    before, then, after = moments
    here = await bench.first.enter(first, "ann", b"1", asked=then, operation=b"in")
    # One that takes longer is too late.
    with pytest.raises(LoggedInLater, match="'ann' has a session by a later log-in"):
        await bench.second.enter(second, "ann", b"0", asked=before)
    found = await bench.first.find_session("ann")
    assert found is not None
    assert found.token == b"1"
    # What is not certainly later, or not known, and what is asked for again, is let in.
    assert await bench.first.enter(first, "ann", b"1", asked=then, operation=b"in") == here
    await bench.first.enter(first, "ann", b"1", asked=then)
    await bench.first.enter(first, "ann", b"1")
    there = await bench.second.enter(second, "ann", b"2", asked=after)
    with pytest.raises(LoggedInLater):
        await bench.first.enter(first, "ann", b"1", asked=then)
    # Once the later one has gone, nobody is put out.
    await bench.second.leave("ann", there.epoch)
    await bench.first.enter(first, "ann", b"1", asked=before)


async def test_a_clock_that_was_set_back_keeps_nobody_out(bench: Bench) -> None:
    first, _ = await two_nodes(bench)
    now = bench.first.when(trio.current_time())
    assert now is not None
    later = Moment(now.earliest + 60, now.latest + 60)
    await bench.first.enter(first, "ann", b"1", asked=later)
    await bench.first.enter(first, "ann", b"2", asked=now)


async def test_a_session_goes_to_another_node_alone(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    here = await bench.first.enter(first, "ann", b"token")
    ann = MovingSession("ann", here.epoch, b"packed")
    epoch = await bench.first.pass_session(ann, second, operation=b"pass")
    assert epoch > here.epoch
    assert await bench.first.pass_session(ann, second, operation=b"pass") == epoch
    (row,) = await bench.second.passed_sessions(second)
    assert (row.username, row.node, row.epoch) == ("ann", second, epoch)
    assert (row.token, row.packed) == (b"token", b"packed")
    assert await bench.second.passed_sessions(second, after=epoch) == []
    assert await bench.first.passed_sessions(first) == []
    # It is no part of any room: it neither comes with one nor is taken back with one.
    assert await bench.second.next_arrival(second) is None
    found = await bench.first.find_session("ann")
    assert found == row
    # What the node before still does with it comes too late.
    with pytest.raises(Fenced, match="'ann'"):
        await bench.first.pass_session(ann, first)
    await bench.first.leave("ann", here.epoch)
    for _ in range(2):
        await bench.second.accept_session("ann", epoch, operation=b"accept")
    assert await bench.second.passed_sessions(second) == []
    found = await bench.first.find_session("ann")
    assert found is not None
    assert (found.node, found.epoch, found.packed) == (second, epoch, None)


async def test_whoever_logs_in_elsewhere_meanwhile_has_the_session(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    here = await bench.first.enter(first, "ann", b"1")
    ann = MovingSession("ann", here.epoch, b"packed")
    epoch = await bench.first.pass_session(ann, second)
    again = await bench.first.enter(first, "ann", b"2")
    assert again.before is not None
    assert (again.before.node, again.before.epoch) == (second, epoch)
    assert await bench.second.passed_sessions(second) == []
    with pytest.raises(Fenced):
        await bench.second.accept_session("ann", epoch)
    with pytest.raises(Fenced):
        await bench.first.pass_session(ann, second)
    with pytest.raises(Fenced):
        await bench.first.pass_session(MovingSession("bob", 1, b""), second)


async def test_a_node_that_is_drained_is_given_no_session(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    here = await bench.first.enter(first, "ann", b"token")
    ann = MovingSession("ann", here.epoch, b"packed")
    await bench.first.ask_to_drain(second)
    with pytest.raises(NodeUnavailable, match="choose another"):
        await bench.first.pass_session(ann, second)
    found = await bench.first.find_session("ann")
    assert found is not None
    assert (found.node, found.epoch, found.packed) == (first, here.epoch, None)


async def test_sessions_that_were_given_come_in_parts(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    for name in ("ann", "bob", "cleo"):
        entered = await bench.first.enter(first, name, b"t")
        await bench.first.pass_session(MovingSession(name, entered.epoch, b""), second)
    part = await bench.second.passed_sessions(second, limit=2)
    assert [row.username for row in part] == ["ann", "bob"]
    (rest,) = await bench.second.passed_sessions(second, after=part[-1].epoch)
    assert rest.username == "cleo"


async def test_a_session_goes_to_no_node_that_is_silent(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    here = await bench.first.enter(first, "ann", b"t")
    ann = MovingSession("ann", here.epoch, b"packed")
    epoch = await bench.first.pass_session(ann, second)
    back = await bench.second.pass_session(MovingSession("ann", epoch, b""), first)
    await lapse(bench, renewing=first)
    with pytest.raises(NodeUnavailable):
        await bench.first.pass_session(MovingSession("ann", back, b""), second)
    # Nothing of the call that failed was written.
    assert [row.packed for row in await bench.first.passed_sessions(first)] == [b""]


async def test_a_node_that_resigns_takes_the_sessions_that_came_alone_along(
    bench: Bench,
) -> None:
    first, second = await two_nodes(bench)
    here = await bench.first.enter(first, "ann", b"t")
    epoch = await bench.first.pass_session(MovingSession("ann", here.epoch, b"packed"), second)
    await bench.second.resign(second)
    assert await bench.first.find_session("ann") is None
    with pytest.raises(Fenced):
        await bench.second.accept_session("ann", epoch)


async def test_who_is_online_comes_in_parts_without_those_of_silent_nodes(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    for name in ("ann", "cleo", "dave"):
        await bench.first.enter(first, name, b"")
    await bench.second.enter(second, "bob", b"")
    names = [row.username for row in await bench.first.online(limit=3)]
    assert names == ["ann", "bob", "cleo"]
    assert [row.username for row in await bench.first.online(after="cleo")] == ["dave"]
    await lapse(bench, renewing=first)
    assert [row.username for row in await bench.first.online(limit=2)] == ["ann", "cleo"]
    assert await bench.first.find_session("bob") is None


async def test_mail_is_there_until_it_is_done(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    assert await bench.first.send_mail([second, 9999], b"one", operation=b"m") == {second}
    assert await bench.first.send_mail([second, 9999], b"one", operation=b"m") == {second}
    await bench.first.send_mail([first, second], b"two")
    mail = await bench.second.read_mail(second)
    assert [one.body for one in mail] == [b"one", b"two"]
    assert await bench.second.read_mail(second, limit=1) == mail[:1]
    # Nobody takes out another node's.
    await bench.first.read_mail(first, done=[one.id for one in mail])
    assert await bench.second.read_mail(second, done=[mail[0].id]) == mail[1:]
    with pytest.raises(ValueError, match="65,536"):
        await bench.first.send_mail([second], bytes(MAX_BODY + 1))
    await lapse(bench, renewing=first)
    assert await bench.first.send_mail([second], b"three") == frozenset()


async def test_a_node_that_resigns_gets_the_mail_that_it_has_not_done(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    for body in (b"one", b"two", b"three"):
        await bench.first.send_mail([first, second], body)
    (one, *rest) = await bench.second.read_mail(second)
    await bench.second.read_mail(second, done=[one.id])
    # Whoever repeats the call, since its answer was lost, gets the same.
    for _ in range(2):
        assert await bench.second.resign(second, operation=b"end") == rest
    assert await bench.second.resign(second) == []
    assert await bench.second.read_mail(second) == []
    # From now on whoever writes is told that it gets nothing.
    assert await bench.first.send_mail([first, second], b"four") == {first}
    assert len(await bench.first.read_mail(first)) == 4


async def test_mail_for_a_node_that_resigns_is_in_its_hands_or_refused(bench: Bench) -> None:
    """However many write at once: what is accepted is not lost."""
    _, second = await two_nodes(bench)
    accepted: list[bytes] = []
    some = trio.Event()

    async def write(sender: int) -> None:
        for number in itertools.count():
            body = b"%d %d" % (sender, number)
            if not await bench.first.send_mail([second], body):
                return
            accepted.append(body)
            if number == 2:
                some.set()

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for sender in range(4):
                nursery.start_soon(write, sender)
            await some.wait()
            mail = await bench.second.resign(second)
    assert sorted(each.body for each in mail) == sorted(accepted)


async def test_a_node_that_reads_no_mail_is_sent_no_more(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (memory_tables, sql_nodes):
        monkeypatch.setattr(module, "MAX_MAIL", 2)
    first, second = await two_nodes(bench)
    for _ in range(2):
        assert await bench.first.send_mail([first, second], b"") == {first, second}
    first_mail = await bench.first.read_mail(first)
    await bench.first.read_mail(first, done=[first_mail[0].id])
    assert await bench.first.send_mail([first, second], b"") == {first}


async def test_the_bytes_of_the_mail_that_waits_are_limited(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (memory_tables, sql_nodes):
        monkeypatch.setattr(module, "MAX_MAIL_SIZE", 100)
    first, second = await two_nodes(bench)
    assert await bench.first.send_mail([first, second], bytes(60)) == {first, second}
    assert await bench.first.send_mail([second], bytes(41)) == frozenset()
    assert await bench.first.send_mail([second], bytes(40)) == {second}
    mail = await bench.second.read_mail(second)
    await bench.second.read_mail(second, done=[one.id for one in mail])
    assert await bench.first.send_mail([second], bytes(41)) == {second}


async def test_a_survey_counts_what_each_node_has(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    for name in ("one", "two"):
        room = await claim(bench.first, first, Created, name)
        await bench.first.save([RoomSave(name, room.epoch, "board")])
    await claim(bench.second, second, Created, "three")
    for name in ("ann", "bob"):
        await bench.second.enter(second, name, b"")
    await bench.first.renew(first, lag=0.25)
    survey = await bench.second.survey()
    assert list(survey.nodes) == await bench.second.nodes()
    assert survey.rooms == {first: 2, second: 1}
    assert survey.users == {second: 2}
    assert survey.lags == {first: 0.25}
    assert survey.saved == 0
    # Those of a node that is silent are only saved.
    await lapse(bench, renewing=second)
    assert (await bench.second.survey()).saved == 2
    await bench.second.resign(second)
    survey = await bench.first.survey()
    assert [node.id for node in survey.nodes] == [first]
    assert survey.users == {}
    assert list(survey.lags) == [first]


async def test_mail_and_arrivals_wake_the_node_they_are_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakeups, "LOOK_INTERVAL", 1000.0)
    first, second = await two_nodes(bench)
    room = await claim(bench.first, first, Created)
    ann = await bench.first.enter(first, "ann", b"t")
    with trio.fail_after(30):
        await bench.first.send_mail([second], b"")
        await bench.second.wait_for_news(second)
        await bench.first.pass_session(MovingSession("ann", ann.epoch, b""), second)
        await bench.second.wait_for_news(second)
        await bench.second.ask_to_drain(first)
        await bench.first.wait_for_news(first)
        await bench.first.hand_over(RoomSave("table 1", room.epoch), second, b"")
        await bench.second.wait_for_news(second)
        arrival = await bench.second.next_arrival(second)
        assert arrival is not None
        await bench.second.accept("table 1", arrival.room.epoch, told=b"there")
        await bench.first.wait_for_news(first)
    with trio.move_on_after(0.01) as scope:
        await bench.second.wait_for_news(second)
    assert scope.cancelled_caught
    # Who has given up waiting hears of what comes before the next wait.
    with trio.fail_after(30):
        await bench.first.send_mail([second], b"")
        await bench.second.wait_for_news(second)


# Accounts

ANN = UserRecord("ann", "", "hash 1")


async def register(engine: Engine, name: str, code: str = "", *, enabled: bool = True) -> str:
    user = UserRecord(name, "", "hash")
    return await engine.register_user(user, code, registration_enabled=enabled)


async def test_users_are_the_same_everywhere(bench: Bench) -> None:
    assert await bench.first.register_user(ANN, "", registration_enabled=True) == "done"
    assert await bench.second.find_user("ann") == ANN
    assert await bench.second.find_user("bob") is None
    assert await register(bench.second, "ann") == "taken"
    assert await register(bench.second, "aNN") == "too similar"
    assert await register(bench.second, "bob") == "done"
    assert await bench.first.usernames() == ["ann", "bob"]
    assert await bench.first.usernames(after="ann", limit=1) == ["bob"]


async def test_a_registration_that_is_repeated_happens_once(bench: Bench) -> None:
    for _ in range(2):
        assert (
            await bench.first.register_user(
                ANN, "", registration_enabled=True, operation=b"register"
            )
            == "done"
        )


async def test_one_of_two_who_want_a_name_at_once_gets_it(bench: Bench) -> None:
    answers: list[str] = []

    async def try_to(engine: Engine, name: str) -> None:
        answers.append(await register(engine, name))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(try_to, bench.first, "ann")
            nursery.start_soon(try_to, bench.second, "Ann")
    assert answers.count("done") == 1
    assert len(await bench.first.usernames()) == 1


async def test_the_registration_switch_and_invite_codes(bench: Bench) -> None:
    assert await bench.first.registration() is None
    assert await register(bench.first, "ann", enabled=False) == "code needed"
    await bench.first.set_registration(False)
    assert await bench.second.registration() is False
    assert await register(bench.second, "ann") == "code needed"
    assert await bench.first.add_invite("code", "") == "done"
    assert await bench.first.add_invite("bobs", "bob") == "done"
    assert await bench.second.invites() == {"code": "", "bobs": "bob"}
    assert await register(bench.second, "ann", "bobs") == "bad code"
    assert await register(bench.second, "ann", "code") == "done"
    assert await register(bench.second, "cleo", "code") == "bad code"
    assert await register(bench.second, "bob", "bobs") == "done"
    assert await bench.first.invites() == {}
    assert await bench.first.add_invite("late", "ann") == "taken"
    assert await bench.first.add_invite("late", "ANN") == "too similar"
    await bench.first.set_registration(True)
    assert await register(bench.second, "cleo") == "done"


async def test_a_users_record_is_replaced_if_it_is_the_one_that_was_seen(bench: Bench) -> None:
    await bench.first.register_user(ANN, "", registration_enabled=True)
    await bench.first.add_token(TokenRecord("ann", b"d", 99), limit=4)
    newer, other = UserRecord("ann", "", "hash 2"), UserRecord("ann", "s", "hash 3")
    assert await bench.first.replace_user(ANN, newer)
    assert await bench.first.replace_user(ANN, newer)
    assert not await bench.second.replace_user(ANN, other)
    assert await bench.second.find_user("ann") == newer
    assert await bench.second.tokens_of("ann") == []
    assert not await bench.second.replace_user(UserRecord("bob", "", ""), other)


async def test_a_deleted_user_leaves_no_token(bench: Bench) -> None:
    await bench.first.register_user(ANN, "", registration_enabled=True)
    await bench.first.add_token(TokenRecord("ann", b"d", 99), limit=4)
    assert await bench.second.delete_user("ann", operation=b"away")
    assert await bench.second.delete_user("ann", operation=b"away")
    assert not await bench.second.delete_user("ann")
    assert await bench.first.find_user("ann") is None
    assert await bench.first.tokens_of("ann") == []
    await bench.first.add_token(TokenRecord("ann", b"e", 99), limit=4)
    assert await bench.first.tokens_of("ann") == []


async def test_a_user_has_so_many_tokens_and_the_oldest_give_way(bench: Bench) -> None:
    await bench.first.register_user(ANN, "", registration_enabled=True)
    tokens = [TokenRecord("ann", bytes([number]), 100 + number) for number in range(5)]
    for token in tokens[:4]:
        await bench.first.add_token(token, limit=3)
    assert await bench.second.tokens_of("ann") == tokens[1:4]
    await bench.first.add_token(tokens[4], instead_of=tokens[2].digest, limit=3)
    assert await bench.second.tokens_of("ann") == [tokens[1], tokens[3], tokens[4]]


async def test_failed_log_ins_count_for_a_while_wherever_they_were(bench: Bench) -> None:
    await bench.first.note_failures(["ann", "192.0.2.1"])
    await bench.second.note_failures(["ann"])
    keys = ["ann", "192.0.2.1", "bob"]
    assert await bench.second.count_failures(keys, 60) == {"ann": 2, "192.0.2.1": 1, "bob": 0}
    await bench.advance(61)
    assert await bench.second.count_failures(keys, 60) == dict.fromkeys(keys, 0)
    assert (await bench.second.count_failures(keys, 90))["ann"] == 2


async def test_what_was_done_is_remembered_for_long_enough(bench: Bench) -> None:
    first, second = await two_nodes(bench)
    await bench.first.send_mail([second], b"", operation=b"m")
    await bench.advance(KEEP_OPERATIONS - LEASE)
    await bench.first.renew(first)
    await bench.second.renew(second)
    await bench.first.tidy()
    await bench.first.send_mail([second], b"", operation=b"m")
    assert len(await bench.first.read_mail(second)) == 1
    await bench.advance(2 * LEASE)
    await bench.first.renew(first)
    await bench.second.renew(second)
    await bench.first.tidy()
    await bench.first.send_mail([second], b"", operation=b"m")
    assert len(await bench.first.read_mail(second)) == 2
