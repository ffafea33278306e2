"""How long it takes to find and apply what changed in a state, and how large that is."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import msgspec

from pgnet_trio.patch import apply, diff
from tests.benchmarks.report import Report, Verdict

__all__ = ["diff_benchmark"]

ENTITIES = 100
BUDGET_CHANGED = 10

# One measurement of so many calls: long beside the clock's step, short beside a time slice.
CALLS = 50


def diff_benchmark(*, rounds: int, progress: Callable[[str], None]) -> Report:
    """Measure diff and apply of 100 entities, of which 10 or all moved."""
    encode, decode = msgspec.msgpack.encode, msgspec.msgpack.decode
    rows = []
    measured = []
    verdicts = []
    for changed in (BUDGET_CHANGED, ENTITIES):
        progress(f"{changed} of {ENTITIES} entities changed, {rounds} rounds")
        old = _state()
        # As a room has them: copies, of which what did not change is the game's own number or
        # text. And as they are at worst: no object in common.
        new = _moved(old, changed)
        apart = decode(encode(new))
        patch = decode(encode(diff(old, new)))
        if apply(old, patch) != new or diff(old, apart) != patch:
            raise AssertionError("the patch does not give the new state")
        times = {
            "diff": _microseconds(diff, old, new, rounds),
            "diff, nothing in common": _microseconds(diff, old, apart, rounds),
            "apply": _microseconds(apply, old, patch, rounds),
        }
        sizes = {"patch": len(encode(patch)), "full": len(encode(new))}
        rows.append(
            [
                f"{changed}",
                *(f"{statistics.median(each):.0f}" for each in times.values()),
                *(f"{size:,}" for size in sizes.values()),
            ]
        )
        measured.append({"changed": changed, "microseconds": times, "bytes": sizes})
        if changed == BUDGET_CHANGED:
            slowest = max(map(statistics.median, (times["diff"], times["diff, nothing in common"])))
            verdicts.append(
                Verdict(f"diff of {ENTITIES} entities, {changed} changed", 150, slowest, "µs")
            )
    return Report(
        title="State diff and patch",
        command=f"python -m tests.benchmarks diff --rounds {rounds}",
        head=[
            "entities changed",
            "diff, µs",
            "diff, nothing in common, µs",
            "apply, µs",
            "patch, bytes",
            "full, bytes",
        ],
        rows=rows,
        notes=[
            f"{ENTITIES} entities with four floats and a name, of which x and y changed; bytes in "
            f"msgpack. Medians of {rounds} rounds of {CALLS} calls. The first diff is of copies "
            "that share numbers and texts, as a room has them; for the second, one state was "
            "decoded, so that no object is in both. The budget is for the slower one.",
        ],
        measured=measured,
        verdicts=verdicts,
    )


def _state() -> dict[str, Any]:
    return {
        "entities": {
            f"e{number}": {
                "x": number * 7.3 + 0.1,
                "y": number * 3.7 + 0.2,
                "vx": number * 0.3 + 0.3,
                "vy": number * 0.7 + 0.4,
                "name": f"player {number}",
            }
            for number in range(ENTITIES)
        }
    }


def _moved(state: dict[str, Any], count: int) -> dict[str, Any]:
    entities = {key: dict(entity) for key, entity in state["entities"].items()}
    # Spread evenly: a game's movers are not neighbours.
    for key in [*entities][:: ENTITIES // count]:
        entities[key]["x"] += entities[key]["vx"]
        entities[key]["y"] += entities[key]["vy"]
    return {"entities": entities}


def _microseconds(
    call: Callable[[Any, Any], Any], first: Any, second: Any, rounds: int
) -> list[float]:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(CALLS):
            call(first, second)
        times.append((time.perf_counter() - start) / CALLS * 1e6)
    return times
