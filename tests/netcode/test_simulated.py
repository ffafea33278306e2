"""A game in real time as its author and its players see it, over the kit's network."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from pgnet_trio import Client, CodecError, Game, Packet, on
from pgnet_trio.netcode import Moment, Rewind
from pgnet_trio.testing import HostedServer, SimulatedNetwork, cluster, hosting
from tests.client.test_hostile_server import PATCH, STATE, Send, client_of

if TYPE_CHECKING:
    from trio.testing import MockClock

    from pgnet_trio.testing.network import Record

RATE = 20
MOMENT = 30


@attrs.frozen
class Thrust:
    x: float = 0.0
    fire: bool = False


@attrs.define
class Ship:
    x: float = 0.0


@attrs.frozen
class Field:
    ships: dict[str, Ship]


@attrs.define
class Played:
    """What the game has had of one player in one tick."""

    tick: int
    time: float
    given: Thrust | None
    repeated: bool


class Space(Game):
    update_rate = RATE
    sync_rate = RATE
    inputs = Thrust
    rewinds = {"ships": Rewind("x")}  # noqa: RUF012 - as an author writes it

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.ships: dict[str, Ship] = {}
        self.played: dict[str, list[Played]] = {}
        self.hits: list[tuple[float, float]] = []

    def user_joined(self, username: str) -> None:
        self.ships[username] = Ship()
        self.played[username] = []

    def user_left(self, username: str) -> None:
        del self.ships[username]

    def update(self) -> None:
        room = self.room
        for name, ship in self.ships.items():
            thrust = room.next_input(name)
            repeated = room.input_repeated(name)
            self.played[name].append(Played(room.tick, room.time(), thrust, repeated))
            if thrust is None:
                continue
            assert room.next_input(name) is thrust
            ship.x += thrust.x * room.dt
            if thrust.fire and not repeated:
                past = room.rewind(name)
                self.hits.extend((it.x, past.time) for key, it in past.ships.items() if key != name)

    def view(self) -> Field:
        return Field(self.ships)


def network(**conditions: Any) -> SimulatedNetwork:
    return SimulatedNetwork(**{"seed": 1, "latency": 0.05, **conditions})


@asynccontextmanager
async def table(
    *names: str, game: type[Game] = Space, **conditions: Any
) -> AsyncIterator[tuple[HostedServer, Any, list[Client]]]:
    """A table with these players, and its game."""
    async with hosting(game, network=network(**conditions)) as server:
        clients = [server.client(name) for name in names]
        async with trio.open_nursery() as nursery:
            ready = [trio.Event() for _ in names]

            async def sit(client: Client, done: trio.Event) -> None:
                async with client:
                    await client.join_game("table")
                    done.set()
                    await trio.sleep_forever()

            for client, done in zip(clients, ready, strict=True):
                nursery.start_soon(sit, client, done)
                await done.wait()
            yield server, server.games["table"], clients
            nursery.cancel_scope.cancel()


async def fly(client: Client, *thrusts: Thrust, rate: float = RATE) -> None:
    """Make one input for each tick."""
    start = trio.current_time()
    for count, thrust in enumerate(thrusts, 1):
        client.input(thrust)
        await trio.sleep_until(start + count / rate)


async def back(client: Client) -> None:
    """Wait until a client has another connection."""
    with trio.fail_after(60):
        while not client.online:  # noqa: ASYNC110 - nothing tells of it without a hook
            await trio.sleep(0.05)


# Ticks.


async def test_a_tick_is_always_at_the_same_time_of_the_room(autojump_clock: MockClock) -> None:
    async with table("ann") as (_, space, _):
        await trio.sleep(1)
        assert space.room.dt == 1 / RATE
        for played in space.played["ann"]:
            assert played.time == pytest.approx(played.tick * space.room.dt)
        ticks = [played.tick for played in space.played["ann"]]
        assert ticks == [*range(ticks[0], ticks[0] + len(ticks))]


async def test_ticks_that_were_missed_are_counted(autojump_clock: MockClock) -> None:
    class Slow(Space):
        async def update(self) -> None:  # type: ignore[override]  # a hook may be async
            super().update()
            if len(self.played["ann"]) == 3:
                await trio.sleep(0.52)

    async with table("ann", game=Slow) as (_, space, _):
        await trio.sleep(2)
        ticks = [played.tick for played in space.played["ann"]]
        assert ticks[3] - ticks[2] > 10
        for played in space.played["ann"]:
            assert played.time == pytest.approx(played.tick * space.room.dt, abs=0.06)


async def test_a_game_without_updates_has_no_ticks(autojump_clock: MockClock) -> None:
    class Chess(Game):
        moves = 0

        @on(Thrust)
        def move(self, player: str, thrust: Thrust) -> None:
            self.moves += 1

        def view(self) -> dict[str, int]:
            return {"moves": self.moves}

    async with table("ann", game=Chess) as (_, chess, (ann,)):
        await trio.sleep(5)
        await ann.call(Thrust())
        assert (chess.room.tick, chess.room.dt) == (0, 0.0)
        assert ann.moment.tick == 0
        assert ann.moment.time == pytest.approx(chess.room.time(), abs=0.2)
        # A game that takes no inputs gets none, and nothing breaks.
        ann.input(Thrust())
        await trio.sleep(1)
        assert chess.moves == 1


async def test_a_rematch_goes_on_with_the_ticks(autojump_clock: MockClock) -> None:
    async with table("ann") as (server, space, (ann,)):
        await fly(ann, *[Thrust(1.0)] * 20)
        tick = space.room.tick
        ticks: list[int] = []
        ann._run.view.timing.watch(lambda moment, data, is_new: ticks.append(moment.tick))
        space.room.rematch()
        await fly(ann, *[Thrust(1.0)] * 20)
        again = server.games["table"]
        assert again is not space
        assert again.room.tick == pytest.approx(tick + 20, abs=2)
        assert ticks == sorted(ticks)
        assert again.played["ann"][-1].given == Thrust(1.0)


# Time.


async def test_the_client_knows_the_time_of_the_room(autojump_clock: MockClock) -> None:
    async with table("ann", jitter=0.03) as (_, space, (ann,)):
        await trio.sleep(3)
        for _ in range(50):
            await fly(ann, Thrust(1.0))
            assert ann.server_time == pytest.approx(space.room.time(), abs=0.02)
            assert ann.time() == ann.server_time
        latency = ann.latency
        assert latency is not None
        assert latency.round_trip == pytest.approx(0.13, abs=0.03)
        assert 0 < latency.jitter < 0.05


async def test_another_link_shows_within_a_second(autojump_clock: MockClock) -> None:
    async with table("ann") as (server, space, (ann,)):
        await fly(ann, *[Thrust(1.0)] * 100)
        assert ann.latency is not None
        assert ann.latency.round_trip == pytest.approx(0.1, abs=0.01)
        server.network.conditions.latency = 0.2
        server.network.drop("ann")
        await trio.sleep(0.5)
        await back(ann)
        await fly(ann, *[Thrust(1.0)] * 20)
        latency = ann.latency
        assert latency.round_trip == pytest.approx(0.4, abs=0.01)
        assert ann.server_time == pytest.approx(space.room.time(), abs=0.01)


async def test_who_asks_what_time_it_is_does_not_ask_more_than_once_a_second(
    autojump_clock: MockClock,
) -> None:
    class Chess(Game):
        def view(self) -> dict[str, int]:
            return {"moves": 0}

    async with table("ann", game=Chess) as (server, chess, (ann,)):
        await trio.sleep(1)
        frames: list[Record] = []
        server.network.on_record = lambda record, frame: (
            frames.append(record) if record.what == "send" else None
        )
        # Nobody looks, so nobody asks.
        await trio.sleep(10)
        assert frames == []
        assert [ann.latency] == [None]
        for _ in range(600):
            _ = ann.server_time
            await trio.sleep(1 / 60)
        asked = [record for record in frames if record.where.endswith("->")]
        assert 8 <= len(asked) <= 15
        assert ann.server_time == pytest.approx(chess.room.time(), abs=0.001)
        latency = ann.latency
        assert latency is not None
        assert latency.round_trip == pytest.approx(0.1)


async def test_what_is_left_for_an_answer_goes_by_the_same_clock(
    autojump_clock: MockClock,
) -> None:
    @attrs.frozen
    class Ask:
        pass

    class Quiz(Game):
        async def run(self) -> None:
            await self.room.wait_players(1)
            await self.room.ask("ann", Ask(), Ask, timeout=10, default=Ask())
            self.over_at = self.room.time()
            await trio.sleep_forever()

    async with table("ann", game=Quiz, latency=0.2) as (_, quiz, (ann,)):
        question = await anext(ann.questions())
        # As far as anybody can know it yet.
        assert question.seconds_left == pytest.approx(10, abs=0.25)
        await trio.sleep(2)
        asked_at = quiz.room.time()
        left = question.seconds_left
        await trio.sleep(10)
        assert asked_at + left == pytest.approx(quiz.over_at, abs=0.01)


# What a state says.


async def test_each_state_has_its_tick_and_its_time(autojump_clock: MockClock) -> None:
    async with table("ann", "bob") as (_, space, (ann, bob)):
        moments: list[tuple[Moment, float]] = []
        bob._run.view.timing.watch(
            lambda moment, data, is_new: moments.append((moment, data["ships"]["ann"]["x"]))
        )
        await fly(ann, *[Thrust(20.0)] * 40)
        assert len(moments) >= 38
        first = next(played.tick for played in space.played["ann"] if played.given is not None)
        for moment, x in moments:
            assert moment.time == pytest.approx(moment.tick / RATE)
            # It moves by one in each tick.
            assert x == pytest.approx(max(0, moment.tick - first + 1))
        ticks = [moment.tick for moment, _ in moments]
        assert ticks == [*range(ticks[0], ticks[0] + len(ticks))]
        assert bob.tick_rate == RATE


async def test_a_moment_belongs_to_the_state_that_an_iterator_returns(
    autojump_clock: MockClock,
) -> None:
    async with table("ann") as (_, _, (ann,)), trio.open_nursery() as nursery:
        nursery.start_soon(fly, ann, *[Thrust(20.0)] * 40)
        seen = []
        async for field in ann.states(Field):
            seen.append((ann.moment.tick, field.ships["ann"].x))
            if len(seen) == 20:
                break
    steps = {tick - x for tick, x in seen[3:]}
    assert max(steps) - min(steps) == pytest.approx(0)


async def test_of_a_state_that_has_not_come_no_moment_says_anything() -> None:
    watched = trio.Event()

    async def script(send: Send) -> None:
        await watched.wait()
        await send([STATE, 1, {"x": 1}], [MOMENT, 1, 0.05])
        # It fits no state that the client has.
        await send([PATCH, 7, 8, {"x": 8}], [MOMENT, 8, 0.4])
        await send([STATE, 9, {"x": 9}], [MOMENT, 9, 0.45])

    told: list[tuple[int, Any]] = []
    ann = client_of(script, features=("columns", "netcode"))
    async with ann:
        ann._run.view.timing.watch(lambda moment, data, is_new: told.append((moment.tick, data)))
        watched.set()
        await ann.wait_state(dict, lambda state: state["x"] == 9)
        assert ann.moment.tick == 9
    assert (8, {"x": 1}) not in told


async def test_a_state_says_which_input_it_contains(autojump_clock: MockClock) -> None:
    async with table("ann", "bob") as (_, _, (ann, bob)):
        found = []
        ann._run.view.timing.watch(
            lambda moment, data, is_new: found.append((moment.confirmed, data["ships"]["ann"]["x"]))
        )
        await fly(ann, *[Thrust(float(RATE * x)) for x in range(1, 21)])
        await trio.sleep(0.3)
        for confirmed, x in found[3:]:
            assert x >= confirmed * (confirmed + 1) / 2
        assert found[-1][0] == 20
        assert bob.moment.confirmed == 0


async def test_nobody_waits_for_a_change_to_hear_which_input_is_in_the_state(
    autojump_clock: MockClock,
) -> None:
    async with table("ann") as (_, _, (ann,)):
        news: list[bool] = []
        ann._run.view.timing.watch(lambda moment, data, is_new: news.append(is_new))
        await fly(ann, *[Thrust(0.0)] * 40)
        await trio.sleep(0.3)
        assert ann.moment.confirmed == 40
        assert news.count(True) <= 1


async def test_a_game_that_takes_no_inputs_says_nothing_of_ticks_that_change_nothing(
    autojump_clock: MockClock,
) -> None:
    class Clockwork(Game):
        update_rate = RATE
        sync_rate = RATE
        hand = 0

        def update(self) -> None:
            self.hand = self.room.tick // 20

        def view(self) -> dict[str, int]:
            return {"hand": self.hand}

    async with table("ann", game=Clockwork) as (_, _, (ann,)):
        moments: list[Moment] = []
        ann._run.view.timing.watch(lambda moment, data, is_new: moments.append(moment))
        await trio.sleep(3.5)
        assert [moment.tick % 20 for moment in moments] == [0, 0, 0]


# Inputs.


async def test_each_tick_has_one_input_in_order(autojump_clock: MockClock) -> None:
    thrusts = [Thrust(float(x)) for x in range(1, 61)]
    async with table("ann", latency=0.06) as (_, space, (ann,)):
        await fly(ann, *thrusts)
        await trio.sleep(0.2)
        played = [each for each in space.played["ann"] if each.given and not each.repeated]
        assert [each.given for each in played] == thrusts
        ticks = [each.tick for each in played]
        assert ticks == [*range(ticks[0], ticks[0] + 60)]


async def test_where_none_comes_the_last_one_is_played_again_and_says_so(
    autojump_clock: MockClock,
) -> None:
    async with table("ann") as (_, space, (ann,)):
        assert all(each.given is None for each in space.played["ann"])
        await fly(ann, Thrust(1.0))
        await trio.sleep(1)
        played = [each for each in space.played["ann"] if each.given]
        assert [each.repeated for each in played] == [False, *[True] * (len(played) - 1)]
        assert len(played) > 15


async def test_a_held_key_is_exact_whatever_the_delays(autojump_clock: MockClock) -> None:
    """The last input stands for those that are late, so nothing is to be corrected."""
    async with table("ann", jitter=0.12) as (_, space, (ann,)):
        errors = []

        def look(moment: Moment, data: Any, is_new: bool) -> None:
            if moment.confirmed:
                errors.append(data["ships"]["ann"]["x"] - moment.confirmed)

        ann._run.view.timing.watch(look)
        await fly(ann, *[Thrust(float(RATE))] * 100)
        assert any(each.repeated for each in space.played["ann"])
        assert {round(error, 6) for error in errors} == {0.0}


async def test_a_flood_is_dropped_and_counted(autojump_clock: MockClock) -> None:
    async with table("ann", "bob") as (server, space, (ann, _)):
        for _ in range(300):
            ann.input(Thrust(1.0))
            await trio.sleep(0.001)
        await trio.sleep(0.1)
        room = server.stats().games["table"].room
        played = [each for each in space.played["ann"] if each.given and not each.repeated]
        assert len(played) < 20
        assert room.dropped_inputs > 200
        # Those who play fair are not kept waiting.
        assert ann.connected


async def test_a_flood_costs_as_many_requests(autojump_clock: MockClock) -> None:
    async with table("ann") as (_, _, (ann,)):
        for _ in range(2000):
            ann.input(Thrust(1.0))
        start = trio.current_time()
        await ann.call(Thrust(2.0))
        assert trio.current_time() - start > 2


async def test_inputs_of_spectators_and_from_the_future_are_dropped_and_counted(
    autojump_clock: MockClock,
) -> None:
    async with table("ann") as (server, space, (ann,)), server.client("bob") as bob:
        await bob.join_game("table", spectate=True)
        bob.input(Thrust(1.0))
        await trio.sleep(0.2)
        assert server.stats().games["table"].room.dropped_inputs == 1
        ann.input(Thrust(1.0), seen=ann.server_time + 10)
        await trio.sleep(0.2)
        assert server.stats().games["table"].room.dropped_inputs == 2
        assert all(each.given is None for each in space.played["ann"])


async def test_an_input_of_another_kind_is_dropped_and_counted(autojump_clock: MockClock) -> None:
    @attrs.frozen
    class Steer:
        left: bool = True

    async with table("ann") as (server, space, (ann,)):
        ann.input(Steer())
        await trio.sleep(0.2)
        assert server.stats().games["table"].room.dropped_inputs == 1
        ann.input(Thrust(2.0))
        await trio.sleep(0.2)
        assert space.played["ann"][-1].given is None or not math.isnan(space.ships["ann"].x)


async def test_what_the_check_of_an_input_raises_ends_its_game_alone(
    autojump_clock: MockClock,
) -> None:
    class Base(BaseException):
        pass

    def broken(instance: Any, attribute: Any, value: float) -> None:
        if value == 13:
            raise Base("what no code should raise")
        if value > 1:
            raise ValueError("too fast")

    @attrs.frozen
    class Checked:
        x: float = attrs.field(validator=broken)

    class Careful(Space):
        inputs = Checked  # type: ignore[assignment]  # of another game

    async with (
        hosting(Careful, network=network()) as server,
        server.client("ann") as ann,
        server.client("bob") as bob,
    ):
        await ann.join_game("table")
        await bob.join_game("other")
        # The players' mistake costs that input.
        ann._run.play(Packet("Checked", {"x": 7.0}), 0.0)
        await trio.sleep(0.3)
        assert server.stats().games["table"].room.dropped_inputs == 1
        with server.expecting(Base):
            ann._run.play(Packet("Checked", {"x": 13.0}), 0.0)
            await trio.sleep(0.3)
        assert ann.game is None
        assert ann.connected
        assert bob.game == "other"


async def test_what_the_comparison_of_two_inputs_raises_ends_its_game_alone(
    autojump_clock: MockClock,
) -> None:
    @attrs.frozen(eq=False)
    class Odd:
        x: float = 0.0
        fire: bool = False

        def __eq__(self, other: object) -> bool:
            raise ZeroDivisionError("what no comparison should raise")

        def __hash__(self) -> int:
            return 0

    class Careless(Space):
        inputs = Odd  # type: ignore[assignment]  # of another game

    async with hosting(Careless, network=network()) as server, server.client("ann") as ann:
        await ann.join_game("table")
        with server.expecting(ZeroDivisionError):
            # So seldom that one is late, and is compared with what stood for it.
            for _ in range(5):
                ann.input(Odd(7.0))
                await trio.sleep(0.09)
        assert ann.game is None
        assert ann.online


async def test_after_a_drop_only_the_latest_counts(autojump_clock: MockClock) -> None:
    async with table("ann") as (server, space, (ann,)):
        await fly(ann, *[Thrust(0.0)] * 5)
        server.network.drop("ann")
        server.network.partition("ann")
        for x in range(20):
            ann.input(Thrust(float(x)))
            await trio.sleep(0.05)
        server.network.heal("ann")
        await back(ann)
        await trio.sleep(0.3)
        late = [each.given.x for each in space.played["ann"] if each.given]
        assert set(late) == {0.0, 19.0}


async def test_who_is_away_has_no_input(autojump_clock: MockClock) -> None:
    async with table("ann") as (server, space, (ann,)):
        await fly(ann, *[Thrust(1.0)] * 10)
        server.network.partition("ann")
        server.network.drop("ann")
        await trio.sleep(1)
        assert space.played["ann"][-1].given is None
        server.network.heal("ann")
        await back(ann)
        await fly(ann, *[Thrust(2.0)] * 10)
        assert space.played["ann"][-1].given == Thrust(2.0)


async def test_another_client_of_the_player_begins_with_numbers_of_its_own(
    autojump_clock: MockClock,
) -> None:
    async with table("ann") as (server, space, (ann,)):
        await fly(ann, *[Thrust(1.0)] * 30)
        async with server.client("ann") as other:
            await other.wait_state(dict)
            await fly(other, *[Thrust(5.0)] * 10)
            await trio.sleep(0.2)
            assert other.moment.confirmed == 10
            assert space.played["ann"][-1].given == Thrust(5.0)


@pytest.mark.parametrize("protocol", [1, 2])
async def test_a_client_that_knows_no_inputs_sends_a_message(
    autojump_clock: MockClock, protocol: int
) -> None:
    class Beating(Space):
        def handle_heartbeat(self, packet: Any) -> Any:
            return super().handle_heartbeat(packet)

    async with hosting(Beating, network=network()) as server:
        async with server.client("ann", protocol=protocol) as ann:
            await ann.join_game("table")
            space = server.games["table"]
            if protocol == 1:
                assert ann.input(Thrust(3.0)) == 1
            else:
                await ann.call(Thrust(3.0))
            await trio.sleep(0.5)
            assert space.played["ann"][-1].given == Thrust(3.0)


async def test_a_client_of_a_local_game_has_all_of_it() -> None:
    async with Client.local(game=Space, username="ann") as ann:
        await ann.join_game("table")
        await fly(ann, *[Thrust(1.0)] * 4)
        await ann.wait_state(Field, lambda field: field.ships["ann"].x > 0)
        assert ann.moment.tick > 0
        assert 1 <= ann.moment.confirmed <= 4


@pytest.mark.parametrize("seen", [math.nan, math.inf, -1e13, "now"])
async def test_a_time_that_nobody_can_have_seen_is_refused_at_once(
    autojump_clock: MockClock, seen: Any
) -> None:
    """And not where it leaves, nor at the server, which would end the connection."""
    async with table("ann") as (_, _, (ann,)):
        ann.input(Thrust(1.0))
        with pytest.raises(ValueError, match="seen: expected seconds"):
            ann.input(Thrust(2.0), seen=seen)
        await trio.sleep(0.5)
        assert ann.moment.confirmed > 0
        assert ann.online


async def test_an_input_that_cannot_travel_is_refused_at_once(autojump_clock: MockClock) -> None:
    async with table("ann") as (_, _, (ann,)):
        with pytest.raises(CodecError):
            ann.input(Thrust(math.nan))
        assert ann.input(Thrust(1.0)) == 1


async def test_30_inputs_a_second_are_less_than_2_kb_up(autojump_clock: MockClock) -> None:
    class Fast(Space):
        update_rate = sync_rate = 30

    async with table("ann", game=Fast) as (server, _, (ann,)):
        await fly(ann, *[Thrust(0.5)] * 60, rate=30)
        sizes: list[int] = []

        def record(record: Record, frame: bytes) -> None:
            if record.what == "send" and record.where.endswith("->"):
                # A client's WebSocket frame has 6 bytes more.
                sizes.append(record.size + 6)

        server.network.on_record = record
        aimed = [Thrust(x / 7, fire=x % 2 == 0) for x in range(300)]
        await fly(ann, *aimed, rate=30)
        assert len(sizes) >= 300
        assert sum(sizes) / 10 < 2000


# The past.


async def test_a_shot_hits_what_its_player_saw(autojump_clock: MockClock) -> None:
    async with (
        table("ann", "bob", latency=0.075) as (_, space, (ann, bob)),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(fly, bob, *[Thrust(float(RATE))] * 60)
        await trio.sleep(1)
        seen = ann.get_state(Field).ships["bob"].x
        await fly(ann, Thrust(fire=True))
        await trio.sleep(0.3)
        ((x, _),) = space.hits
        assert x == pytest.approx(seen)
        assert space.ships["bob"].x > seen + 3
        # Half way between two states.
        await fly(ann, Thrust(fire=False))
        when = ann.moment.time - 0.5 / RATE
        seen = ann.get_state(Field).ships["bob"].x - 0.5
        ann.input(Thrust(fire=True), seen=when)
        await trio.sleep(0.3)
        assert space.hits[-1] == pytest.approx((seen, when), abs=0.02)


async def test_nobody_has_seen_the_deep_past(autojump_clock: MockClock) -> None:
    async with table("ann", "bob") as (_, space, (ann, bob)), trio.open_nursery() as nursery:
        nursery.start_soon(fly, bob, *[Thrust(float(RATE))] * 60)
        await trio.sleep(2)
        ann.input(Thrust(fire=True), seen=0.0)
        await trio.sleep(0.1)
        ((x, time),) = space.hits
        assert time >= space.room.time() - 0.5 - 0.1
        assert x > 20


async def test_a_game_that_declares_nothing_to_rewind_is_told(autojump_clock: MockClock) -> None:
    class Blind(Space):
        rewinds = {}  # noqa: RUF012 - as an author writes it

    async with table("ann", game=Blind) as (_, space, _):
        with pytest.raises(RuntimeError, match="declare it in the game's class"):
            space.room.rewind("ann")


@pytest.mark.parametrize("lack", ["declares no inputs", "has no ticks"])
async def test_who_asks_for_inputs_without_declaring_them_is_told(
    lack: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Deaf(Space):
        inputs = Thrust if "ticks" in lack else None  # type: ignore[assignment]  # as if left out
        update_rate = 0 if "ticks" in lack else RATE

        def update(self) -> None:
            """Ask for none."""

    caplog.set_level("INFO", "pgnet_trio.server")
    async with table("ann", game=Deaf) as (_, space, (ann,)):
        with pytest.raises(RuntimeError, match=lack):
            space.room.next_input("ann")
        for x in range(3):
            ann.input(Thrust(x))
            await trio.sleep(0.1)
        assert len([each for each in caplog.messages if lack in each]) == 1


async def test_an_input_of_another_shape_is_logged_once(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "pgnet_trio.server")
    async with table("ann") as (server, _, (ann,)):
        for x in ("left", "right"):
            ann.input(Packet("Thrust", {"x": x}))
            await trio.sleep(0.2)
        (line,) = [each for each in caplog.messages if "input" in each]
        assert "ann" in line
        assert "Thrust.x: expected a float, got str" in line
        assert server.stats().games["table"].room.dropped_inputs == 2


def test_declarations_are_checked_with_the_class() -> None:
    with pytest.raises(TypeError, match=r"Alone.rewinds: expected a dict"):

        class Alone(Game):
            rewinds = Rewind("x")

    with pytest.raises(TypeError, match=r"Wrong.rewinds: expected names"):

        class Wrong(Game):
            rewinds = {"ships": Rewind("x"), "shots": ("x",)}  # noqa: RUF012 - as an author writes it

    @attrs.frozen
    class Odd:
        x: complex

    with pytest.raises(TypeError, match=r"Misfit.inputs"):

        class Misfit(Game):
            inputs = Odd


def test_an_attribute_of_the_author_s_own_may_have_these_names() -> None:
    class Machine(Game):
        inputs = ["coins"]  # noqa: RUF012 - as an author writes it
        rewinds = 3

    assert Machine("table").inputs == ["coins"]


# Other servers.


@attrs.frozen
class Kept:
    ships: dict[str, Ship]


class Persistent(Space):
    persistent = True

    def __init__(self, name: str, save_string: str | None = None) -> None:
        super().__init__(name, save_string)
        saved = self.room.saved(Kept)
        if saved is not None:
            self.ships = saved.ships
            self.played = {name: [] for name in self.ships}

    def user_joined(self, username: str) -> None:
        self.ships.setdefault(username, Ship())
        self.played[username] = []

    def user_left(self, username: str) -> None:
        """Keep the ship."""

    def get_save_string(self) -> Kept:
        return Kept(self.ships)


async def test_a_restart_keeps_ticks_and_time(autojump_clock: MockClock) -> None:
    async with hosting(Persistent, network=network()) as server, server.client("ann") as ann:
        await ann.join_game("table")
        await fly(ann, *[Thrust(float(RATE))] * 40)
        before = server.games["table"].room
        tick, time, made = before.tick, before.time(), ann.moment.confirmed
        await server.restart()
        await trio.sleep(1.5)
        room = server.games["table"].room
        assert room is not before
        assert tick <= room.tick <= tick + 40
        assert room.time() >= time - 0.1
        assert ann.moment.tick >= tick
        assert ann.moment.time == pytest.approx(ann.moment.tick / RATE)
        number = ann.input(Thrust(0.0))
        assert number > made
        await trio.sleep(0.5)
        assert ann.moment.confirmed == number


async def test_a_move_keeps_ticks_and_time_and_goes_on_with_inputs(
    autojump_clock: MockClock,
) -> None:
    async with cluster(Persistent, nodes=2, network=network()) as servers:
        ann = await servers.play("ann", game="table", node="a")
        await fly(ann, *[Thrust(float(RATE))] * 40)
        tick = ann.moment.tick
        assert ann.get_state(Field).ships["ann"].x > 30
        start = trio.current_time()
        moments: list[Moment] = []
        ann._run.view.timing.watch(lambda moment, data, is_new: moments.append(moment))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(servers.stop, "a")
            await fly(ann, *[Thrust(float(RATE))] * 40)
        await trio.sleep(0.5)
        assert ann.moment.tick > tick
        assert ann.moment.tick - tick <= (trio.current_time() - start) * RATE + 2
        assert ann.moment.confirmed == 80
        # Neither is ever less than before.
        for told in ([each.tick for each in moments], [each.confirmed for each in moments]):
            assert told == sorted(told)
        assert ann.get_state(Field).ships["ann"].x > 60
        room = servers.nodes["b"].games["table"].room
        assert ann.server_time == pytest.approx(room.time(), abs=0.05)
