"""Patches with tables column by column beside patches without: bytes, and the time they take."""

from __future__ import annotations

import itertools
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import attrs
import msgspec

from pgnet_trio.patch import apply, apply_columns, diff, diff_columns
from tests.benchmarks.peers.workload import World
from tests.benchmarks.report import Report, Verdict

__all__ = ["columns_benchmark"]

ENTITIES = 100
TICKS = 40

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode

States = list[dict[str, Any]]


@attrs.frozen
class Form:
    """One kind of patch."""

    name: str
    diff: Callable[[Any, Any], Any]
    apply: Callable[[Any, Any], Any]


FORMS = [Form("without", diff, apply), Form("with columns", diff_columns, apply_columns)]


def columns_benchmark(*, rounds: int, progress: Callable[[str], None]) -> Report:
    """Measure both forms in turn, on the same states."""
    rows = []
    measured: list[dict[str, Any]] = []
    for name, states in _games().items():
        progress(f"{name}, {rounds} rounds")
        pairs = list(itertools.pairwise(states))
        patches = {form.name: [_decode(_made(form, *pair)) for pair in pairs] for form in FORMS}
        for form in FORMS:
            for (old, new), patch in zip(pairs, patches[form.name], strict=True):
                if form.apply(old, patch) != new:
                    raise AssertionError("the patch does not give the new state")
        finding: dict[str, list[float]] = {form.name: [] for form in FORMS}
        applying: dict[str, list[float]] = {form.name: [] for form in FORMS}
        for number in range(rounds):
            for form in FORMS if number % 2 == 0 else reversed(FORMS):
                finding[form.name].append(_finding(form, pairs))
                applying[form.name].append(_applying(form, pairs, patches[form.name]))
        for form in FORMS:
            size = statistics.mean(len(_encode(patch)) for patch in patches[form.name])
            found = {
                "game": name,
                "form": form.name,
                "bytes": size,
                "finding": finding[form.name],
                "applying": applying[form.name],
            }
            measured.append(found)
            rows.append(
                [
                    name,
                    form.name,
                    f"{size:,.0f}",
                    f"{statistics.median(finding[form.name]):.0f}",
                    f"{statistics.median(applying[form.name]):.0f}",
                ]
            )
    without, with_columns = measured[:2]
    return Report(
        title="Patches with and without columns",
        command=f"python -m tests.benchmarks columns --rounds {rounds}",
        head=["state", "patch", "bytes", "diff and encode, µs", "apply, µs"],
        rows=rows,
        notes=[
            f"{ENTITIES} entities, {TICKS} steps of each game; bytes are the mean of a patch in "
            f"msgpack, times medians of {rounds} rounds, both forms in turn. The first game is "
            "that of `sync`, in which each player steers in every second tick; floats move by "
            "fractions.",
        ],
        measured=measured,
        verdicts=[
            Verdict(
                "bytes of a patch of `sync` with columns",
                0.25,
                with_columns["bytes"] / without["bytes"],
                "of those without",
            ),
            Verdict(
                "time of the same",
                1,
                statistics.median(
                    one / other
                    for one, other in zip(with_columns["finding"], without["finding"], strict=True)
                ),
                "of that without",
            ),
        ],
    )


def _games() -> dict[str, States]:
    return {
        "`sync`, all move": _arena(),
        "whole numbers, 10 move": _moving(10, lambda rng: rng.randrange(-9, 10)),
        "floats, all move": _moving(ENTITIES, lambda rng: rng.uniform(-9, 9)),
        "floats, 10 move": _moving(10, lambda rng: rng.uniform(-9, 9)),
    }


def _arena() -> States:
    rng = random.Random(1)
    world = World(seen="n")
    # Players have begun at different times, and their inputs come at different moments.
    numbers = [rng.randrange(1000) for _ in range(ENTITIES)]
    states: States = []
    for _ in range(TICKS + 1):
        for body in range(ENTITIES):
            if rng.random() < world.workload.inputs_per_second / world.workload.ticks_per_second:
                numbers[body] += 1
                dx, dy = world.workload.velocity(numbers[body])
                world.steer(body, numbers[body], dx, dy)
        world.tick()
        states.append(_copied({str(key): body for key, body in enumerate(world.bodies)}))
    return states


def _moving(count: int, step: Callable[[random.Random], float]) -> States:
    rng = random.Random(1)
    kind = type(step(rng))
    state: dict[str, Any] = {
        f"e{number}": {"x": kind(number * 97), "y": kind(number * 61), "name": f"player {number}"}
        for number in range(ENTITIES)
    }
    states = [_copied(state)]
    for _ in range(TICKS):
        for key in rng.sample([*state], count):
            state[key]["x"] += step(rng)
            state[key]["y"] += step(rng)
        states.append(_copied(state))
    return states


def _copied(state: dict[str, Any]) -> dict[str, Any]:
    """As a room has it: a copy, of which what did not change is the game's own number or text."""
    return {key: dict(row) for key, row in state.items()}


def _made(form: Form, old: Any, new: Any) -> bytes:
    return _encode(form.diff(old, new))


def _finding(form: Form, pairs: list[tuple[Any, Any]]) -> float:
    """Microseconds of CPU time to find and encode what changed."""
    start = time.process_time()
    for old, new in pairs:
        _made(form, old, new)
    return (time.process_time() - start) / len(pairs) * 1e6


def _applying(form: Form, pairs: list[tuple[Any, Any]], patches: list[Any]) -> float:
    """Microseconds of CPU time to apply it."""
    start = time.process_time()
    for (old, _), patch in zip(pairs, patches, strict=True):
        form.apply(old, patch)
    return (time.process_time() - start) / len(pairs) * 1e6
