"""A game of eight in virtual time, seen by one of them: ``python -m tests.netcode.course``.

It measures what `pgnet_trio.netcode` is for, with all of its parts and without each of them, and
prints a table.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

import attrs
import trio

from pgnet_trio import Client, Game
from pgnet_trio.netcode import Rewind
from pgnet_trio.testing import (
    NETWORKS,
    Conditions,
    FrameRecorder,
    SimulatedNetwork,
    hosting,
    playing,
    simulate,
)
from tests.netcode.steps import Ship, fly

__all__ = ["BUDGET", "Course", "Parts", "Pilot", "Seen", "run_course"]

TICKS = 30
FRAMES = 60
RADIUS = 16.0
OTHERS = ("bob", "cid", "dan", "eve", "fay", "gus", "hal")

BUDGET = Conditions(latency=0.06, jitter=0.03, stall_rate=0.01, stall=0.2)
"""A round trip of 120 ms, up to 30 ms more each way, and 1 % stalls of 200 ms."""


@attrs.frozen
class Pilot:
    x: float
    y: float
    fire: int = 0
    at_x: float = 0.0
    at_y: float = 0.0


@attrs.frozen
class Sky:
    ships: dict[str, Ship]


class Course(Game):
    """Everybody flies; a shot hits whom it meets where the shooter saw them."""

    update_rate = TICKS
    sync_rate = TICKS
    inputs = Pilot
    rewinds = {"ships": Rewind("x", "y")}  # noqa: RUF012 - as an author writes it

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.ships: dict[str, Ship] = {}
        self.shots: dict[str, int] = {}
        self.hits = self.hits_without_rewind = 0

    def user_joined(self, username: str) -> None:
        self.ships[username] = Ship(y=100.0 * len(self.ships))
        self.shots[username] = 0

    def user_left(self, username: str) -> None:
        del self.ships[username], self.shots[username]

    def update(self) -> None:
        for name, ship in self.ships.items():
            pilot = self.room.next_input(name)
            if pilot is not None:
                fly(ship, pilot, self.room.dt)
        for name in self.ships:
            pilot = self.room.next_input(name)
            if pilot is not None and pilot.fire != self.shots[name]:
                self.shots[name] = pilot.fire
                past = self.room.rewind(name).ships
                self.hits += is_hit(pilot, past["bob"])
                self.hits_without_rewind += is_hit(pilot, self.ships["bob"])

    def view(self) -> Sky:
        return Sky(self.ships)


def is_hit(pilot: Pilot, ship: Ship) -> bool:
    return math.dist((pilot.at_x, pilot.at_y), (ship.x, ship.y)) <= RADIUS


def place(ship: Ship) -> tuple[float, float]:
    return ship.x, ship.y


@attrs.frozen
class Parts:
    """Which parts are on."""

    prediction: bool = True
    smoothing: bool = True
    interpolation: bool = True
    delay: bool = True


@attrs.define
class Seen:
    """What the player saw.

    Attributes:
        action: In which frame after a key its effect showed; -1 for never.
        hitches: The share of frames in which another one went back or stood still on the way.
        jumps: The share of frames in which somebody went further than in four frames.
        late: How late the others were shown, at most, in seconds.
        corrections: How many states were not as predicted.
        error: How far the prediction was off on average, over all states.
        settled: For how long an error showed at most after the state that told of it, in seconds.
        own_jumps: How often the own ship went further in a frame than it can in one and a half.
        shots: How many shots hit on the screen, and of these, which share hit at the server.
        hits: With rewinding.
        hits_without: Without.
        bytes_up: Bytes a second of the player.
    """

    action: int = -1
    hitches: float = 0.0
    jumps: float = 0.0
    late: float = 0.0
    corrections: int = 0
    error: float = 0.0
    settled: float = 0.0
    own_jumps: int = 0
    shots: int = 0
    hits: float = 0.0
    hits_without: float = 0.0
    bytes_up: float = 0.0
    recorder: FrameRecorder = attrs.field(factory=lambda: FrameRecorder("x", "y"), repr=False)


def run_course(
    conditions: Conditions,
    parts: Parts | None = None,
    *,
    seconds: float = 10.0,
    seed: int = 1,
    steady: bool = False,
) -> Seen:
    """Fly for so many seconds, and return what was seen.

    Args:
        conditions: The network of everybody.
        parts: Which parts are on; None for all.
        seconds: For how long, in virtual time, after two seconds to get to know the network.
        seed: What chance depends on.
        steady: Whether the player flies straight on, and shoots at nobody.
    """
    return simulate(
        _fly, conditions, Parts() if parts is None else parts, seconds, seed, steady, seed=seed
    )


async def _fly(
    conditions: Conditions, parts: Parts, seconds: float, seed: int, steady: bool
) -> Seen:
    network = SimulatedNetwork(seed=seed)
    sent = 0

    def note(record: Any, frame: bytes) -> None:
        nonlocal sent
        if record.what == "send" and record.where.startswith("ann#") and "->" in record.where:
            sent += record.size

    async with hosting(Course, network=network) as server:
        async with playing(server, "ann", *OTHERS, game="course") as (ann, *others):
            network.set_conditions(conditions)
            async with trio.open_nursery() as nursery:
                for number, other in enumerate(others):
                    nursery.start_soon(_wander, other, number)
                eyes = Eyes(ann, server.games["course"], parts, random.Random(seed))
                await eyes.fly(2.0, Pilot(0, 0))
                network.on_record = note
                await eyes.record(seconds, steady)
                network.on_record = None
                nursery.cancel_scope.cancel()
    seen = eyes.seen
    seen.bytes_up = sent / seconds
    return seen


async def _wander(client: Client, number: int) -> None:
    """Fly to the right for ever, a little up and down."""
    deadline = trio.current_time()
    while True:
        slope = 0.4 * math.sin(trio.current_time() * 0.7 + number)
        client.input(Pilot(1.0, slope))
        deadline += 1 / TICKS
        await trio.sleep_until(deadline)


class Eyes:
    """One player at a screen."""

    def __init__(self, client: Client, game: Course, parts: Parts, chance: random.Random) -> None:
        self.seen = Seen()
        self._client = client
        self._game = game
        self._parts = parts
        self._random = chance
        self._play = client.play(
            Ship,
            step=fly,
            at="ships",
            smooth=0.15 if parts.smoothing else 0.0,
            delay="auto" if parts.delay else 1 / TICKS,
        )
        self._deadline = trio.current_time()
        self._errors: list[float] = []
        self._tick = 0
        self._corrections = 0
        self._corrected_at = 0.0
        self._pilot: Pilot | None = None
        self._aim: Ship | None = None

    async def fly(self, seconds: float, pilot: Pilot) -> None:
        """Do one thing for a while, and record nothing."""
        for _ in range(round(seconds * FRAMES)):
            self._play.frame(pilot)
            await self._next()

    async def record(self, seconds: float, steady: bool) -> None:
        """Fly around, and record what is shown."""
        seen, game = self.seen, self._game
        pilot = Pilot(1.0, 0.0)
        frames = round(seconds * FRAMES)
        before = self._count_corrections()
        still = Pilot(0, 0)
        self._show(trio.current_time(), self._play.frame(still), still)
        await self._next()
        begun = trio.current_time()
        for frame in range(frames):
            if not steady:
                pilot = self._choose(frame, pilot)
            shown = self._play.frame(pilot)
            self._show(trio.current_time(), shown, pilot)
            await self._next()
        seen.corrections = self._count_corrections() - before
        seen.error = sum(self._errors) / len(self._errors) if self._errors else 0.0
        recorder = seen.recorder
        try:
            seen.action = recorder.frames_until_moved("ann", begun)
        except ValueError:
            seen.action = -1
        seen.hitches = recorder.hitch_share(*OTHERS)
        seen.jumps = len(recorder.jumps(4 * 250 / FRAMES, *OTHERS)) / (frames * len(OTHERS))
        seen.own_jumps = len(recorder.jumps(1.5 * 250 / FRAMES, "ann"))
        await self.fly(1.0, attrs.evolve(pilot, x=0.0, y=0.0))
        if seen.shots:
            seen.hits = game.hits / seen.shots
            seen.hits_without = game.hits_without_rewind / seen.shots

    def _choose(self, frame: int, pilot: Pilot) -> Pilot:
        """Turn now and then, and shoot at bob where he is seen."""
        if frame % 40 == 20:
            x, y = self._random.uniform(-1, 1), self._random.uniform(-1, 1)
            return attrs.evolve(pilot, x=x, y=y)
        if frame % 12 == 6 and self._aim is not None:
            # Anywhere within him: the edges show a small error first.
            angle, off = (
                self._random.uniform(0, math.tau),
                RADIUS * math.sqrt(self._random.random()),
            )
            self.seen.shots += 1
            x, y = self._aim.x + off * math.cos(angle), self._aim.y + off * math.sin(angle)
            return attrs.evolve(pilot, fire=pilot.fire + 1, at_x=x, at_y=y)
        return pilot

    def _show(self, now: float, frame: Any, pilot: Pilot) -> None:
        parts, play = self._parts, self._play.play
        things: dict[str, Ship] = dict(frame.interpolated if parts.interpolation else frame.server)
        exact: Mapping[str, Ship] = {}
        if parts.prediction and frame.me is not None:
            things["ann"] = frame.me
            exact = {"ann": frame.predicted}
        self._aim = things.get("bob")
        if play.predictor is not None and self._client.moment.tick != self._tick:
            self._tick = self._client.moment.tick
            self._errors.append(play.predictor.error)
        self.seen.recorder.show(now, things, exact=exact)
        if play.predictor is not None and frame.me is not None:
            # Another input within a tick is smoothed as an error is.
            told = (play.predictor.corrections, pilot)
            if told != (self._corrections, self._pilot):
                (self._corrections, self._pilot), self._corrected_at = told, now
            if math.dist(place(frame.me), place(frame.predicted)) > 1e-9:
                self.seen.settled = max(self.seen.settled, now - self._corrected_at)
        if play.interpolator.time is not None and parts.interpolation:
            late = self._game.room.time() - play.interpolator.time
            self.seen.late = max(self.seen.late, late)

    def _count_corrections(self) -> int:
        predictor = self._play.play.predictor
        return 0 if predictor is None else predictor.corrections

    async def _next(self) -> None:
        self._deadline += 1 / FRAMES
        await trio.sleep_until(self._deadline)


WITHOUT = {
    "all parts": Parts(),
    "no prediction": Parts(prediction=False),
    "no smoothing": Parts(smoothing=False),
    "no interpolation": Parts(interpolation=False),
    "a delay of one tick": Parts(delay=False),
}


def main() -> None:
    """Print what is seen with all parts on each network, and without each of them on two."""
    heads = "network, parts, own action, hitches, jumps, late, error, own jumps, hits"
    print(f"| {heads.replace(', ', ' | ')} |")
    print(f"| {' | '.join('---' for _ in heads.split(', '))} |")
    for name, conditions in {"budget": BUDGET, "150 ms": Conditions(latency=0.075)}.items():
        for what, parts in WITHOUT.items():
            print(row(name, what, run_course(conditions, parts)), flush=True)
    for name, conditions in NETWORKS.items():
        print(row(name, "all parts", run_course(conditions)), flush=True)


def row(network: str, parts: str, seen: Seen) -> str:
    cells = [
        network,
        parts,
        "same frame" if not seen.action else f"{seen.action} frames",
        f"{seen.hitches:.1%}",
        f"{seen.jumps:.1%}",
        f"{seen.late * 1000:.0f} ms",
        f"{seen.error:.2f}, {seen.settled * 1000:.0f} ms",
        str(seen.own_jumps),
        f"{seen.hits:.0%}, {seen.hits_without:.0%}",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
