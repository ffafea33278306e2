"""A game in real time on a client's screen: `Client.play`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from pgnet_trio import Client, CodecError, Game
from pgnet_trio.netcode import PredictedSpawns
from pgnet_trio.testing import NETWORKS, SimulatedNetwork, hosting, playing
from tests.netcode.course import Course, Pilot
from tests.netcode.steps import Ship, Thrust, fly

if TYPE_CHECKING:
    from trio.testing import MockClock

    from pgnet_trio.client import GamePlay

FRAME = 1 / 60
RIGHT = Pilot(1.0, 0.0)
STILL = Pilot(0.0, 0.0)


def started(client: Client, **options: Any) -> GamePlay[Ship, Pilot]:
    play: GamePlay[Ship, Pilot] = client.play(Ship, step=fly, at="ships", **options)
    return play


async def show(play: GamePlay[Ship, Pilot], seconds: float, pilot: Pilot | None) -> Any:
    """Show frames for a while, and return the last one."""
    frame = play.frame(pilot)
    for _ in range(round(seconds / FRAME)):
        await trio.sleep(FRAME)
        frame = play.frame(pilot)
    return frame


async def test_the_own_ship_is_where_the_server_will_have_it(autojump_clock: MockClock) -> None:
    network = SimulatedNetwork(latency=0.05)
    async with hosting(Course, network=network) as server:
        async with playing(server, "ann", "bob", game="course") as (ann, bob):
            at_anns, at_bobs = started(ann), started(bob)
            await show(at_anns, 1.0, STILL)
            await trio.sleep(FRAME)
            frame = at_anns.frame(RIGHT)
            assert frame.me is not None
            assert frame.me.x > 0
            await show(at_anns, 1.0, RIGHT)
            await show(at_anns, 5.0, STILL)
            frame = at_anns.frame(STILL)
            assert at_anns.play.predictor is not None
            assert at_anns.play.predictor.corrections == 0
            assert frame.me is not None
            assert frame.me.x > 100
            assert server.games["course"].ships["ann"].x == pytest.approx(frame.me.x, abs=0.1)
            assert [*at_bobs.frame().things] == ["ann", "bob"]
            assert at_bobs.frame().things["ann"].x == pytest.approx(frame.me.x, abs=1)


async def test_slow_frames_get_as_far(autojump_clock: MockClock) -> None:
    """A frame of two or three ticks sends but one input, which stands for all of them."""
    async with hosting(Course, network=SimulatedNetwork(latency=0.05)) as server:
        async with playing(server, "ann", game="course") as ann:
            play = started(ann)
            await show(play, 1.0, STILL)
            for _ in range(20):
                play.frame(RIGHT)
                await trio.sleep(0.08)
            await show(play, 0.5, RIGHT)
            assert play.play.predictor is not None
            assert play.play.predictor.error < 3


async def test_who_watches_sees_everybody(autojump_clock: MockClock) -> None:
    async with hosting(Course) as server, playing(server, "ann", game="course") as ann:
        async with server.client("eve") as eve:
            await eve.join_game("course", spectate=True)
            play, at_anns = started(eve), started(ann)
            await show(at_anns, 1.0, RIGHT)
            for _ in range(3):
                frame = play.frame(RIGHT)
                await trio.sleep(FRAME)
            assert frame.me is None
            assert frame.things["ann"].x > 50
            assert server.stats().games["course"].room.dropped_inputs == 0


async def test_another_game_begins_anew(autojump_clock: MockClock) -> None:
    async with hosting(Course) as server, playing(server, "ann", game="course") as ann:
        play = started(ann)
        await show(play, 2.0, RIGHT)
        await ann.leave_game()
        await ann.join_game("another course")
        frame = await show(play, 0.5, STILL)
        assert frame.me == frame.things["ann"]
        assert frame.me.x < 1
        assert frame.interpolated["ann"].x < 1
        assert play.play.predictor is not None
        assert play.play.predictor.corrections == 0


async def test_after_the_game_nothing_is_shown_or_played(autojump_clock: MockClock) -> None:
    async with hosting(Course) as server, playing(server, "ann", game="course") as ann:
        play = started(ann)
        await show(play, 1.0, RIGHT)
        await ann.leave_game()
        made = ann.input(RIGHT)
        frame = await show(play, 1.0, RIGHT)
        assert frame.things == frame.server == {}
        assert frame.me is None
        assert ann.input(RIGHT) == made + 1


async def test_without_a_connection_the_own_ship_stands_still(autojump_clock: MockClock) -> None:
    network = SimulatedNetwork()
    async with hosting(Course, network=network) as server:
        async with playing(server, "ann", game="course", reconnect_for=None) as ann:
            play = started(ann)
            await show(play, 0.5, RIGHT)
            network.cut("ann")
            before = (await show(play, 0.5, RIGHT)).me
            after = (await show(play, 1.0, RIGHT)).me
            # What a part of a tick shows is no step.
            assert after.x == pytest.approx(before.x, abs=10)
            network.heal("ann")
            await show(play, 10.0, RIGHT)
            assert play.frame(RIGHT).me is not None
            assert play.play.predictor is not None
            assert play.play.predictor.error < 1


@attrs.frozen
class Other:
    name: str
    size: float = 0.0


@pytest.mark.parametrize(
    ("model", "at", "complaint"),
    [
        (Other, "ships", "ships"),
        (Ship, "planes", "a state with a field 'planes', got one with ships"),
        (Ship, None, r"name that with at=. state.*ships"),
    ],
)
async def test_a_state_without_such_objects_is_an_error_of_the_frame(
    autojump_clock: MockClock, model: Any, at: str | None, complaint: str
) -> None:
    async with hosting(Course) as server, playing(server, "ann", game="course") as ann:
        play = ann.play(model, step=fly, at=at)
        await trio.sleep(0.5)
        with pytest.raises(CodecError, match=complaint):
            play.frame(STILL)
        assert ann.online


@pytest.mark.parametrize(
    ("model", "options", "complaint"),
    [
        (Ship(), {}, "play: expected the attrs class of the objects, got Ship"),
        (dict, {}, "play: expected the attrs class"),
        (Ship, {"step": None}, "step: expected a function"),
        (Ship, {"angle": "acros"}, "a Ship has no 'acros'"),
        (Ship, {"fields": ["x", "z"]}, "a Ship has no 'z', only x"),
        (Ship, {"smooth": 150}, "smooth: expected 0 to 5 s, got 150"),
        (Ship, {"delay": 100}, 'delay: expected 0 to 5 s, or "auto"; got 100'),
        (Ship, {"delay": "Auto"}, "delay: expected 0 to 5 s, or \"auto\"; got 'Auto'"),
    ],
)
def test_a_slip_is_refused_where_it_is_made(
    model: Any, options: dict[str, Any], complaint: str
) -> None:
    """And not in the first frame, or in the task that reads from the server."""
    client = Client.local(game=Course, username="ann")
    with pytest.raises((TypeError, ValueError), match=complaint):
        client.play(model, **{"step": fly, "at": "ships", **options})


@attrs.frozen
class Flight:
    x: float = 0.0
    shots: int = 0


@attrs.frozen
class Sky:
    ships: dict[str, Ship]
    shots: dict[str, int]


class Shooting(Game):
    """Each shot is there for half a second; nobody has more than three."""

    update_rate = sync_rate = 20
    inputs = Flight

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.ships: dict[str, Ship] = {}
        self.fired: dict[str, int] = {}
        self.shots: dict[str, int] = {}

    def user_joined(self, username: str) -> None:
        self.ships[username], self.fired[username] = Ship(), 0

    def update(self) -> None:
        tick = self.room.tick
        self.shots = {key: end for key, end in self.shots.items() if end > tick}
        for name, fired in self.fired.items():
            given = self.room.next_input(name)
            if given is not None and given.shots > fired:
                self.fired[name] = given.shots
                if given.shots <= 3:
                    self.shots[f"{name}:{given.shots}"] = tick + 10

    def view(self) -> Sky:
        return Sky(self.ships, self.shots)


def stand(ship: Ship, given: Flight, dt: float) -> None:
    """Shoot, and do not move."""


@pytest.mark.parametrize("network", NETWORKS)
async def test_a_shot_shows_at_once_until_the_server_has_no_more_of_it(
    network: str, autojump_clock: MockClock
) -> None:
    links = SimulatedNetwork(seed=1)
    links.set_conditions(NETWORKS[network], "ann")
    async with hosting(Shooting, network=links) as server:
        async with playing(server, "ann", game="sky") as ann:
            play = ann.play(Ship, step=stand, at="ships")
            spawns: PredictedSpawns[str] = PredictedSpawns()
            became: dict[str, list[str]] = {"confirmed": [], "withdrawn": [], "ended": []}
            fired = 0
            for number in range(300):
                # Not always in a frame with a tick.
                if number in (60, 100, 141, 182):
                    fired += 1
                    key = f"ann:{fired}"
                    frame = play.frame(Flight(shots=fired))
                    assert frame.number is not None
                    spawns.add(key, frame.number, key)
                    assert key in [*spawns]
                else:
                    frame = play.frame(Flight(shots=fired))
                if frame.server:
                    outcome = spawns.reconcile(frame.confirmed, ann.get_state(Sky).shots)
                    for what, keys in became.items():
                        keys.extend(getattr(outcome, what))
                await trio.sleep(FRAME)
            # An input that a stall has held up is played when its tick is over.
            late = {*became["withdrawn"]} - {"ann:4"}
            assert not late or network in ("train", "bad café")
            made = [key for key in ("ann:1", "ann:2", "ann:3") if key not in late]
            assert became["confirmed"] == became["ended"] == made
            assert became["withdrawn"][-1] == "ann:4"


async def test_a_mistake_in_a_rule_is_an_error_of_the_frame(autojump_clock: MockClock) -> None:
    """And no end of the client, in a task in which nobody can handle it."""
    is_bad = False

    def step(ship: Ship, pilot: Pilot, dt: float) -> None:
        fly(ship, Thrust(pilot.x, pilot.y), dt / 0 if is_bad else dt)

    async with hosting(Course, network=SimulatedNetwork(latency=0.1)) as server:
        async with playing(server, "ann", game="course") as ann:
            play = ann.play(Ship, step=step, at="ships")
            await show(play, 1.0, RIGHT)
            is_bad = True
            await trio.sleep(0.1)
            with pytest.raises(ZeroDivisionError):
                play.frame()
            assert ann.online
            is_bad = False
            await trio.sleep(0.1)
            assert play.frame().me is not None


async def test_whoever_makes_one_in_each_frame_is_told(autojump_clock: MockClock) -> None:
    async with hosting(Course) as server, playing(server, "ann", game="course") as ann:
        for _ in range(100):
            started(ann).close()
        with pytest.raises(RuntimeError, match="call it once, before the loop of frames"):
            for _ in range(100):
                started(ann).frame(STILL)


async def test_a_closed_play_takes_in_no_more(autojump_clock: MockClock) -> None:
    async with hosting(Course) as server, playing(server, "ann", game="course") as ann:
        play = started(ann)
        await show(play, 0.5, STILL)
        play.close()
        before = play.frame(STILL).server["ann"]
        other = started(ann)
        await show(other, 1.0, RIGHT)
        assert play.frame(STILL).server["ann"] == before
        assert repr(play) == "<GamePlay of Ship>"


async def test_a_game_without_ticks_shows_nothing(autojump_clock: MockClock) -> None:
    class Turns(Game):
        def __init__(self, name: str, save_string: str | None = None) -> None:
            pass

        def view(self) -> dict[str, Any]:
            return {"ships": {}}

    async with hosting(Turns) as server, playing(server, "ann", game="table") as ann:
        play = started(ann)
        await trio.sleep(0.5)
        assert play.frame(STILL).things == {}
