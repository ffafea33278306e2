"""Vectors that nobody wrote down: any numbers, names and times, in any order, from a seed."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from typing import Any

from tests.netcode.vectors import played

__all__ = ["make_wild_vectors"]

TICK = 1 / 30
NAMES = ["ann", "bob", "__proto__", "constructor", "toString", "é"]
EDGES = [0.0, -0.0, 1.0, math.pi, -math.pi, 2 * math.pi, 5e-324, 1e-308, 2.0**53, 1.5e308, -1.5e308]
LEAPS = [0, 0, 1e-9, 0.001, 0.01, 0.033, 0.1, 0.5, -0.2, 3, 100]
FIELDS = [["x"], ["x", "y"], ["x", "y", "heading"], ["heading", "x", "x"]]


def make_wild_vectors(count: int) -> list[dict[str, Any]]:
    """Return so many vectors of each part, each up to where something is no number any more."""
    vectors = []
    for make in (predictor, interpolator, clock, play, spawns):
        for number in range(count):
            name = f"{make.__name__} {number}"
            vector = {"name": name, "exact": True, **make(random.Random(name))}
            calls = vector["calls"]
            results = played({**vector, "calls": [[call, None] for call in calls]})
            pairs = []
            for call, result in zip(calls, results, strict=True):
                text = json.dumps(result)
                if "NaN" in text or "Infinity" in text:
                    break
                pairs.append([call, json.loads(text)])
            vectors.append({**vector, "calls": pairs})
    return vectors


def any_number(chance: random.Random) -> float:
    kind = chance.random()
    if kind < 0.2:
        return chance.choice(EDGES)
    if kind < 0.9:
        return chance.uniform(-10, 10) if kind < 0.5 else chance.uniform(-1000, 1000)
    return chance.choice([-1, 1]) * 10.0 ** chance.randrange(-12, 12)


def later(chance: random.Random, time: float) -> float:
    return time + chance.choice(LEAPS) * chance.random()


def car(chance: random.Random) -> dict[str, Any]:
    fields: dict[str, Any] = {
        name: any_number(chance) for name in ("x", "y", "across", "down", "heading")
    }
    return {**fields, "gems": chance.randrange(5), "who": chance.choice([None, "é", [1, {"a": 2}]])}


def cars(chance: random.Random) -> dict[str, Any]:
    return {name: car(chance) for name in NAMES if chance.random() < 0.8}


def wish(chance: random.Random) -> dict[str, Any]:
    return {"x": chance.choice([1.0, chance.uniform(-1, 1)]), "y": 0.5}


def options(chance: random.Random) -> dict[str, Any]:
    found: dict[str, Any] = {"fields": chance.choice(FIELDS)}
    if chance.random() < 0.6:
        found["angle"] = ["heading"]
    if chance.random() < 0.4:
        found["snap"] = chance.choice([0.5, 20.0, 1e300])
    return found


def calls_of(count: int, call: Callable[[], list[Any]]) -> list[list[Any]]:
    return [call() for _ in range(count)]


def predictor(chance: random.Random) -> dict[str, Any]:
    number, now = 0, 0.0

    def call() -> list[Any]:
        nonlocal number, now
        now, kind = later(chance, now), chance.random()
        if kind < 0.4:
            number += chance.choice([1, 1, 1, 5])
            return ["apply", wish(chance), number]
        if kind < 0.65:
            confirmed = chance.choice([None, 0, number, number - 2, number + 3])
            return ["reconcile", car(chance), confirmed, now]
        if kind < 0.8:
            return ["show", now, wish(chance), chance.choice([0.0, 0.01, -0.1])]
        if kind < 0.9:
            return ["change_input", wish(chance), wish(chance), chance.choice([0.0, 0.01]), now]
        return ["predict"]

    more = {"smooth": chance.choice([0.0, 0.15, 1e-9, 5.0]), "max_pending": chance.choice([1, 9])}
    return {
        "part": "predictor",
        "step": "drive",
        "state": car(chance),
        "options": {**options(chance), **more, "dt": chance.choice([TICK, 1e-3, 3.0])},
        "calls": calls_of(40, call),
    }


def interpolator(chance: random.Random) -> dict[str, Any]:
    time = now = 0.0

    def call() -> list[Any]:
        nonlocal time, now
        now = later(chance, now)
        if chance.random() < 0.5:
            return ["show", now]
        time = chance.choice([later(chance, time), time + TICK])
        return ["push", time, cars(chance), now]

    delay = {"delay": chance.choice(["auto", "auto", 0.0, 0.1, 2.0])}
    return {
        "part": "interpolator",
        "options": {**options(chance), **delay},
        "calls": calls_of(60, call),
    }


def clock(chance: random.Random) -> dict[str, Any]:
    now, ahead, slept = chance.uniform(0, 1e6), chance.uniform(-1e5, 1e5), 0.0

    def call() -> list[Any]:
        nonlocal now, ahead, slept
        now += chance.choice([0, 0.001, 0.016, 0.1, 1, 20]) * chance.random()
        if chance.random() < 0.1:
            nap = chance.choice([0.5, 1.0, 5.0, 3600.0])
            slept, ahead = slept + nap, ahead + nap
        if chance.random() < 0.1:
            ahead += chance.choice([-3, -0.3, 0.01, 0.3, 3])
        kind = chance.random()
        late = chance.choice([0, 0.01, 0.1, 2, 9]) * chance.random()
        if kind < 0.35:
            return ["learn", now, slept, now + ahead - late, late + 0.1 * chance.random()]
        if kind < 0.6:
            return ["learn", now, slept, now + ahead - late]
        if kind < 0.65:
            return ["change_link", now, slept]
        if kind < 0.68:
            return ["begin", now, slept, now + ahead - late]
        return ["time", now, slept]

    begin = ["begin", now, slept, now + ahead]
    return {"part": "clock", "options": {}, "calls": [begin, *calls_of(60, call)]}


def play(chance: random.Random) -> dict[str, Any]:
    number, time, now = 0, 5.0, 5.0

    def call() -> list[Any]:
        nonlocal number, time, now
        now, kind = later(chance, now), chance.random()
        if kind < 0.35:
            number, time = number + 1, time + chance.choice([TICK, TICK, 0.2])
            confirmed = chance.choice([0, number, max(0, number - 3)])
            return ["take", cars(chance), {"time": time, "confirmed": confirmed}, now]
        if kind < 0.9:
            return ["frame", now, chance.choice([None, wish(chance), wish(chance)])]
        return ["dt", chance.choice([0.0, TICK, 0.05])] if kind < 0.95 else ["reset"]

    return {
        "part": "play",
        "step": "drive",
        "options": {**options(chance), "smooth": chance.choice([0.0, 0.15])},
        "calls": [["dt", TICK], *calls_of(60, call)],
    }


def spawns(chance: random.Random) -> dict[str, Any]:
    def key() -> str:
        return chance.choice(["a", "b", "c", "__proto__", "1"])

    def call() -> list[Any]:
        if chance.random() < 0.5:
            return ["add", key(), chance.randrange(9), chance.choice([1, "x", {"a": 1}])]
        present = [key() for _ in range(chance.randrange(4))]
        return ["reconcile", chance.choice([None, chance.randrange(9)]), present]

    return {"part": "spawns", "options": {}, "calls": calls_of(60, call)}
