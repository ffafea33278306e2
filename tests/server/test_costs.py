"""What requests cost: whoever has the server work much waits, and nobody else notices."""

from __future__ import annotations

import gc
import re
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pgnet_trio import Client, Game, Packet, Queue, Request, Response, Status, on
from pgnet_trio.server.admission import ArrivalPace
from pgnet_trio.server.sessions.budget import OWN_REQUEST_COST, Budget
from pgnet_trio.testing import hosting, playing

MANY = 50_000
"""Lists in a request of 50 kB."""


class Table(Game):
    """``wait`` is answered when the gate is open."""

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.gate = trio.Event()
        self.notes: list[int] = []

    async def handle_packet(self, packet: Packet, /) -> Response:
        if packet.message == "wait":
            await self.gate.wait()
        if packet.message == "note":
            assert len(packet.payload["lists"]) == packet.payload["count"]
            self.notes.append(packet.payload["n"])
        return Response("", {"n": packet.payload.get("n")})


def note(n: int, count: int = MANY) -> Packet:
    return Packet("note", {"n": n, "count": count, "lists": [[]] * count})


def lists() -> int:
    gc.collect()
    return sum(type(each) is list for each in gc.get_objects())


# What waits.


@pytest.mark.parametrize("protocol", [2, 1])
async def test_requests_that_wait_for_their_turn_take_no_more_than_their_bytes(
    protocol: int, autojump_clock: MockClock
) -> None:
    async with (
        hosting(Table, max_bytes_in_flight=None, requests_per_second=None) as server,
        playing(server, "ann", game="table 1") as ann,
        server.client("bob", protocol=protocol) as bob,
    ):
        await bob.join_game("table 1")
        table = server.games["table 1"]
        ann.send(Packet("wait"))
        await wait_all_tasks_blocked()
        before = lists()
        # With protocol 1 a client asks one thing after the other.
        count = 20 if protocol == 2 else 1
        for n in range(count):
            bob.send(note(n, MANY if protocol == 2 else MANY // 4))
        await wait_all_tasks_blocked()
        assert server.stats().sessions["bob"].unanswered == count
        # What their parser made is gone.
        assert lists() - before < 2_000
        table.gate.set()
        await wait_all_tasks_blocked()
        assert table.notes == list(range(count))


async def test_what_waits_behind_a_request_to_the_server_is_kept_as_bytes_too(
    autojump_clock: MockClock,
) -> None:
    async with (
        hosting(Table, admin_password="pw", requests_per_second=None) as server,
        server.client("admin", "pw") as admin,
    ):
        await admin.join_game("table 1")
        before = lists()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(admin.request, Packet(Request.SLEEP, {"seconds": 3.0}))
            await trio.sleep(1)
            for n in range(10):
                admin.send(note(n))
            await wait_all_tasks_blocked()
            assert lists() - before < 2_000
        await admin.request(Packet("look"))
        assert server.games["table 1"].notes == list(range(10))


async def test_more_bytes_than_may_wait_are_refused_and_the_session_goes_on(
    autojump_clock: MockClock,
) -> None:
    async with (
        hosting(Table, max_bytes_in_flight=120_000, requests_per_second=None) as server,
        playing(server, "ann", game="table 1") as ann,
    ):
        table = server.games["table 1"]
        refused: list[str] = []

        async def ask(n: int) -> None:
            answer = await ann.request(note(n))
            if answer.status != Status.OK:
                refused.append(f"{n}: {answer.message}")

        ann.send(Packet("wait"))
        async with trio.open_nursery() as nursery:
            for n in range(5):
                nursery.start_soon(ask, n)
                await wait_all_tasks_blocked()
            # Small ones still find a place.
            nursery.start_soon(ann.request, Packet("look"))
            await wait_all_tasks_blocked()
            table.gate.set()
        assert table.notes == [0, 1]
        text = (
            "More than 120,000 bytes of your requests wait to be answered; send this again after "
            "some of the answers."
        )
        assert refused == [f"{n}: {text}" for n in (2, 3, 4)]
        await ann.request(note(5))
        assert table.notes == [0, 1, 5]


# What games take.


@attrs.define
class Say:
    text: str


class Typed(Game):
    def __init__(self, name: str, save_string: str | None = None) -> None:
        pass

    @on(Say)
    def say(self, username: str, said: Say) -> Response:
        return Response("", {"length": len(said.text)})


class Larger(Typed):
    max_request_size = 10_000


class Authors(Typed):
    """An attribute of the author's own that has this name."""

    max_request_size: Any = "as it comes"


class Untyped(Typed):
    def handle_game_packet(self, packet: Packet, /) -> Response:
        return Response("", {"length": len(packet.payload["text"])})


@pytest.mark.parametrize(
    ("game", "most"), [(Typed, 4_000), (Larger, 9_900), (Authors, 4_000), (Untyped, 40_000)]
)
@pytest.mark.parametrize("protocol", [2, 1])
async def test_a_game_takes_packets_up_to_its_size_and_refuses_longer_ones(
    game: type[Game], most: int, protocol: int, autojump_clock: MockClock
) -> None:
    async with (
        hosting(game) as server,
        server.client("ann", protocol=protocol) as ann,
    ):
        await ann.join_game("table 1")

        async def say(length: int) -> Response:
            return await ann.request(Packet("Say", {"text": "x" * length}))

        assert (await say(most)).payload == {"length": most}
        if game is not Untyped:
            refusal = await say(most + 300)
            assert refusal.status == Status.UNEXPECTED
            assert re.match("'Say' has .* bytes, and this game takes at most", refusal.message)
        assert (await say(3)).payload == {"length": 3}


def test_a_size_that_is_too_low_to_measure_is_refused() -> None:
    with pytest.raises(TypeError, match="max_request_size: expected at least 1,024 bytes, got 100"):
        type("Small", (Typed,), {"max_request_size": 100})


# What waits longer.


async def test_a_long_request_counts_as_many_short_ones(autojump_clock: MockClock) -> None:
    async with hosting(Table) as server, playing(server, "ann", game="table 1") as ann:
        await trio.sleep(10)
        start = trio.current_time()
        for n in range(3):
            await ann.request(note(n, 10_000))
        # Each costs 1 + 9 + 500, of which 400 were there.
        await ann.request(Packet("look"))
        assert trio.current_time() - start == pytest.approx((3 * 510 - 400) / 200, abs=0.3)


async def test_joining_and_leaving_again_and_again_has_to_wait(autojump_clock: MockClock) -> None:
    async with hosting(Table) as server, playing(server, "ann", game="table 1"):
        async with server.client("bob") as bob:
            start = trio.current_time()
            for _ in range(100):
                await bob.join_game("table 1")
                await bob.leave_game()
            assert trio.current_time() - start > (200 * OWN_REQUEST_COST - 400) / 200
            # The first ones did not.
            assert trio.current_time() - start < 25


async def test_looking_for_a_game_costs_what_joining_one_costs(autojump_clock: MockClock) -> None:
    """What the client says by itself in a search is not counted as requests of its user."""

    class Duel(Table):
        matchmaking = Queue(size=2)

    async def play(client: Client) -> None:
        for _ in range(100):
            async with client.find_game():
                pass
            await client.leave_game()

    async with hosting(Duel) as server, playing(server, "ann", "bob") as clients:
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(play, client)
        assert trio.current_time() - start > (200 * OWN_REQUEST_COST - 400) / 200
        assert trio.current_time() - start < 25


async def test_confirming_one_match_again_and_again_has_to_wait(autojump_clock: MockClock) -> None:
    class Duel(Table):
        matchmaking = Queue(size=2, confirm=1000)

    async with hosting(Duel) as server, playing(server, "ann", "bob") as (ann, bob):
        async with bob.find_game(accept=False) as other, ann.find_game(accept=False) as search:
            async for _ in search:
                if search.is_found:
                    break
            start = trio.current_time()
            for _ in range(100):
                await search.accept()
            assert trio.current_time() - start > (99 * OWN_REQUEST_COST - 400) / 200
            other.cancel()
            search.cancel()


async def test_who_owes_something_comes_back_when_it_is_paid(autojump_clock: MockClock) -> None:
    async with hosting(Table) as server, playing(server, "ann", game="table 1") as ann:
        came_back = trio.Event()
        ann.send(note(0, 20_000))
        ann.send(note(1, 10))
        await wait_all_tasks_blocked()
        start = trio.current_time()
        ann.on_online = lambda online: came_back.set() if online else None
        server.network.drop("ann")
        await came_back.wait()
        assert trio.current_time() - start == pytest.approx((1 + 19 + 1000 - 400) / 200, abs=0.7)
        await ann.request(Packet("look"))
        assert server.games["table 1"].notes == [0, 1]


def test_a_low_rate_of_requests_makes_costs_count_less(autojump_clock: MockClock) -> None:
    async def main() -> None:
        for rate, factor in ((400.0, 1.0), (200.0, 1.0), (20.0, 0.1)):
            budget = Budget(rate)
            budget.delay()
            budget.charge(10_000)
            assert budget.debt() == pytest.approx((1 + 10_000 * factor - 2 * rate) / rate)
        free = Budget(None)
        free.charge(10_000)
        assert free.delay(10_000) == free.debt() == 0

    trio.run(main, clock=autojump_clock)


# Who connects.


def test_an_address_that_connects_too_often_waits_and_no_other_does() -> None:
    pace = ArrivalPace(2.0)
    assert [pace.delay("10.0.0.1", 0.0) for _ in range(6)] == [0, 0, 0, 0, 0.5, 1.0]
    assert pace.delay("10.0.0.2", 0.0) == 0
    assert pace.delay(None, 0.0) == 0
    assert not any(ArrivalPace(None).delay("10.0.0.1", 0.0) for _ in range(100))
    assert pace.delay("10.0.0.1", 10.0) == 0


def test_addresses_that_connected_are_remembered_in_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgnet_trio.server.admission.MAX_ADDRESSES", 10)
    pace = ArrivalPace(1.0)
    for number in range(100):
        pace.delay(f"10.0.0.{number}", 0.0)
        # This one connects all the time, so it is not the one that is forgotten.
        waits = pace.delay("10.0.1.1", 0.0)
    assert waits == pytest.approx(98)
    assert len(vars(pace)["_buckets"]) == 10
