"""The vectors of netcode: ``python -m tests.netcode.vectors`` writes them anew.

Each is a list of calls and of what they return, of one part of `pgnet_trio.netcode`. The tests of
both languages read the same file, so both show the same.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import attrs

from pgnet_trio.netcode import Interpolator, Moment, PredictedSpawns, Predictor, ServerClock
from pgnet_trio.netcode.play import Play, PlayRules
from pgnet_trio.netcode.states import copied
from tests.netcode.steps import drive, turn

__all__ = ["FILE", "played", "read_vectors"]

FILE = Path(__file__).with_name("vectors.json")
STEPS = {"drive": drive, "turn": turn}
TICK = 1 / 30


def read_vectors() -> list[dict[str, Any]]:
    vectors: list[dict[str, Any]] = json.loads(FILE.read_text("utf-8"))
    return vectors


def played(vector: dict[str, Any]) -> list[Any]:
    """Return what the calls of a vector return."""
    part = PARTS[vector["part"]](vector)
    return [part(*call) for call, _ in vector["calls"]]


def play_predictor(vector: dict[str, Any]) -> Any:
    predictor = Predictor(STEPS[vector["step"]], vector["state"], **vector["options"])

    def call(what: str, *arguments: Any) -> Any:
        if what == "reconcile":
            return [predictor.reconcile(*arguments), copied(predictor.state), predictor.pending]
        return getattr(predictor, what)(*arguments)

    return call


def play_interpolator(vector: dict[str, Any]) -> Any:
    interpolator: Interpolator[Any] = Interpolator(**vector["options"])

    def call(what: str, *arguments: Any) -> Any:
        result = getattr(interpolator, what)(*arguments)
        return [result, interpolator.delay, interpolator.time]

    return call


def play_spawns(vector: dict[str, Any]) -> Any:
    spawns: PredictedSpawns[Any] = PredictedSpawns()

    def call(what: str, *arguments: Any) -> Any:
        result = getattr(spawns, what)(*arguments)
        if what == "add":
            return [result, len(spawns)]
        return [result.confirmed, result.withdrawn, result.ended, list(spawns)]

    return call


def play_play(vector: dict[str, Any]) -> Any:
    sent: list[list[Any]] = []

    def send(input: Any, seen: float) -> int:
        sent.append([input, seen])
        return len(sent)

    rules: PlayRules[Any, Any] = PlayRules(STEPS[vector["step"]], **vector["options"])
    play = Play(rules, "ann", send)

    def call(what: str, *arguments: Any) -> Any:
        if what == "dt":
            (play.dt,) = arguments
            return None
        if what == "reset":
            return play.reset()
        if what == "take":
            things, moment, now = arguments
            return play.take(things, Moment(0, **moment), now)
        result = play.frame(*arguments)
        last = sent[-1] if sent else None
        numbers = result.number, result.confirmed
        return [result.things, result.predicted, result.me, last, *numbers]

    return call


def play_clock(vector: dict[str, Any]) -> Any:
    at = {"now": 0.0, "slept": 0.0}
    clock = ServerClock(lambda: at["now"], lambda: at["slept"])

    def call(what: str, now: float, slept: float, *arguments: Any) -> Any:
        at.update(now=now, slept=slept)
        if what != "time":
            getattr(clock, what)(*arguments)
        latency = clock.latency
        return [clock.time(), None if latency is None else attrs.astuple(latency)]

    return call


PARTS = {
    "clock": play_clock,
    "play": play_play,
    "predictor": play_predictor,
    "interpolator": play_interpolator,
    "spawns": play_spawns,
}


def predictor_calls(
    seed: str, step: str, state: dict[str, Any], *, stalls: bool, bumps: bool
) -> list[list[Any]]:
    """A player on a network: sometimes the server repeats an input, or somebody interferes."""
    chance = random.Random(seed)
    rule = STEPS[step]
    server: Any = dict(state)
    wish = {"x": 1.0, "y": 0.0}
    calls: list[list[Any]] = []
    coming: list[tuple[float, dict[str, Any], int]] = []
    for number in range(1, 41):
        now = number * TICK
        if chance.random() < 0.2:
            wish = {"x": chance.uniform(-1, 1), "y": chance.uniform(-1, 1)}
        calls.append(["apply", dict(wish), number])
        for _ in range(2 if stalls and chance.random() < 0.05 else 1):
            changed = rule(server, wish, TICK)
            server = server if changed is None else changed
        if bumps and chance.random() < 0.05:
            server = {**server, "x": server["x"] + chance.uniform(-60, 60)}
        coming.append((now + chance.uniform(0.08, 0.2), dict(server), number))
        while coming and coming[0][0] <= now:
            at, seen, confirmed = coming.pop(0)
            calls.append(["reconcile", seen, confirmed, at])
        calls.append(["show", now + 0.3 * TICK, dict(wish), 0.3 * TICK])
        calls.append(["show", now + 0.8 * TICK])
    return calls


def interpolator_calls(
    seed: str,
    *,
    jitter: float,
    stall: float,
    latency: float = 0.06,
    still: bool = False,
    leaps: bool = False,
) -> list[list[Any]]:
    """Two cars seen over a network; one comes later and goes again."""
    chance = random.Random(seed)
    calls: list[list[Any]] = []
    coming: list[tuple[float, float, dict[str, Any]]] = []
    last = 0.0
    x = heading = 0.0
    for tick in range(60):
        time = tick * TICK
        if still and 20 <= tick < 40:
            continue
        x += 8.0 + chance.random()
        if leaps and chance.random() < 0.04:
            x += 500.0
        heading = (heading + 0.3) % 6.283185307179586
        cars = {"ann": {"x": x, "y": x * 0.5, "heading": heading, "gems": tick // 10}}
        if 10 <= tick < 50:
            cars["bob"] = {"x": -x, "y": 0.0, "heading": -heading, "gems": 0}
        late = latency + chance.random() * jitter + (stall if chance.random() < 0.03 else 0.0)
        last = max(last, time + late)
        coming.append((last, time, cars))
    frame = 0.0
    while frame < 2.1:
        while coming and coming[0][0] <= frame:
            at, time, cars = coming.pop(0)
            calls.append(["push", time, cars, at])
        calls.append(["show", frame])
        frame += 1 / 40 + chance.random() * 0.01
    return calls


def clock_calls(seed: str) -> list[list[Any]]:
    """Answers and other messages on a changing network, with a sleep, and another link."""
    chance = random.Random(seed)
    now, ahead, slept, way = 3.0, 40.0, 0.0, 0.03
    calls: list[list[Any]] = [["begin", now, slept, now + ahead - way]]
    for number in range(150):
        now += chance.uniform(0.01, 0.4)
        if number == 60:
            slept += 20.0
            ahead += 20.0
        if number == 100:
            way = 0.12
            calls.append(["change_link", now, slept])
        late = way + chance.random() * 0.03
        what = chance.random()
        if number % 40 == 30:
            # A stall, in which the server has answered at once, or only then.
            calls.append(["learn", now, slept, now + ahead - number % 3 * 4.0 - way, 9.0])
        elif what < 0.4:
            calls.append(["learn", now, slept, now + ahead - late, late + way])
        elif what < 0.7:
            calls.append(["learn", now, slept, now + ahead - late])
        else:
            calls.append(["time", now, slept])
    return calls


def play_calls(seed: str, dt: float = TICK) -> list[list[Any]]:
    """A player among others, with frames of changing length, and one long pause."""
    chance = random.Random(seed)
    server = {"x": 10.0, "y": -5.0, "across": 0.0, "down": 0.0}
    wish = {"x": 1.0, "y": 0.0}
    calls: list[list[Any]] = [["dt", dt]]
    now = 5.0
    tick = 0
    while now < 7.0:
        now += chance.uniform(0.01, 0.03) + (0.3 if chance.random() < 0.02 else 0.0)
        if chance.random() < 0.1:
            wish = {"x": chance.uniform(-1, 1), "y": chance.uniform(-1, 1)}
        while tick * dt + 5.0 < now - 0.1:
            tick += 1
            confirmed = max(0, tick - 3)
            if confirmed:
                drive(server, wish, dt)
            other = {**server, "x": tick * 7.0}
            things = {"ann": dict(server), "bob": other}
            moment = {"time": tick * dt + 5.0, "confirmed": confirmed}
            calls.append(["take", things, moment, now])
        calls.append(["frame", now, dict(wish)])
    return calls


def another_game_calls(seed: str) -> list[list[Any]]:
    """A game, and another one with other ticks, of which at first nobody knows how many."""
    calls = play_calls(seed, 0.1)
    dt, *rest = calls
    # Then there are none for a while, as where a game was made anew with another rate.
    return [*calls[:120], ["reset"], *rest[:40], dt, *rest[40:80], ["dt", 0.0], *rest[80:100]]


SPAWN_CALLS: list[list[Any]] = [
    ["add", "ann:1", 1, {"x": 1.5}],
    ["add", "ann:1", 1, {"x": 9.5}],
    ["add", "ann:4", 4, "bang"],
    ["add", "ann:5", 5, {"x": 2.0}],
    ["reconcile", None, []],
    ["reconcile", 3, ["ann:1", "bob:1"]],
    ["reconcile", 4, ["ann:1"]],
    ["reconcile", 4, ["ann:5"]],
    ["add", "ann:6", 6, {"x": 3.0}],
    ["reconcile", 9, []],
    ["reconcile", 9, []],
]


def make_vectors() -> list[dict[str, Any]]:
    car = {"x": 10.0, "y": -5.0, "across": 0.0, "down": 0.0}
    turning = {"x": 10.0, "y": -5.0, "heading": 3.0}
    at = {"dt": TICK, "fields": ["x", "y"]}
    headed = {"dt": TICK, "fields": ["x", "y"], "angle": ["heading"]}
    seen = {"fields": ["x", "y"], "angle": ["heading"]}

    def predictor(
        name: str, step: str, options: dict[str, Any], *, exact: bool = True, **what: bool
    ) -> dict[str, Any]:
        state = car if step == "drive" else turning
        calls = predictor_calls(name, step, state, **{"stalls": False, "bumps": False, **what})
        return {
            "name": name,
            "part": "predictor",
            "step": step,
            "state": state,
            "options": options,
            "exact": exact,
            "calls": calls,
        }

    def interpolator(name: str, options: dict[str, Any], **network: Any) -> dict[str, Any]:
        calls = interpolator_calls(name, **network)
        return {
            "name": name,
            "part": "interpolator",
            "options": {**seen, **options},
            "exact": True,
            "calls": calls,
        }

    vectors = [
        predictor("nobody interferes", "drive", at),
        predictor("repeats and bumps", "drive", at, stalls=True, bumps=True),
        predictor("bumps at once", "drive", {**at, "smooth": 0.0}, bumps=True),
        predictor("far bumps at once", "drive", {**at, "snap": 20.0}, bumps=True),
        predictor("few may wait", "drive", {**at, "max_pending": 4}),
        predictor("turning", "turn", headed, exact=False, stalls=True),
        interpolator("even", {}, jitter=0.0, stall=0.0),
        interpolator("jitter and stalls", {}, jitter=0.03, stall=0.2),
        interpolator("long stalls", {}, jitter=0.03, stall=0.5),
        interpolator("near and stalled", {}, jitter=0.03, stall=0.3, latency=0.01),
        interpolator("fixed delay", {"delay": 0.1}, jitter=0.03, stall=0.2),
        interpolator("still for a while", {}, jitter=0.01, stall=0.0, still=True),
        interpolator("leaps", {"snap": 100.0}, jitter=0.03, stall=0.2, leaps=True),
        {
            "name": "a clock",
            "part": "clock",
            "options": {},
            "exact": True,
            "calls": clock_calls("a clock"),
        },
        {
            "name": "a game",
            "part": "play",
            "step": "drive",
            "options": {"fields": ["x", "y"]},
            "exact": True,
            "calls": play_calls("a game"),
        },
        {
            "name": "another game",
            "part": "play",
            "step": "drive",
            "options": {"fields": ["x", "y"]},
            "exact": True,
            "calls": another_game_calls("another game"),
        },
        {
            "name": "shots",
            "part": "spawns",
            "options": {},
            "exact": True,
            "calls": SPAWN_CALLS,
        },
    ]
    for vector in vectors:
        calls: Any = vector["calls"]
        vector["calls"] = [[call, None] for call in calls]
        results = json.loads(json.dumps(played(vector)))
        vector["calls"] = [[call, result] for call, result in zip(calls, results, strict=True)]
    return vectors


def main() -> None:
    lines = []
    for vector in make_vectors():
        head = {key: value for key, value in vector.items() if key != "calls"}
        calls = ",\n".join(json.dumps(call, separators=(",", ":")) for call in vector["calls"])
        lines.append(f'{json.dumps(head)[:-1]}, "calls": [\n{calls}\n]}}')
    FILE.write_text("[\n" + ",\n".join(lines) + "\n]\n", "utf-8")


if __name__ == "__main__":
    main()
