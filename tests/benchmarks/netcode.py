"""What netcode costs: a server whose players make inputs, and a client that predicts."""

from __future__ import annotations

import statistics
import timeit
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from pgnet_trio.netcode import Interpolator, Predictor
from tests.benchmarks.peers.ours import INPUTS, OURS
from tests.benchmarks.peers.workload import WORKLOAD
from tests.benchmarks.report import Report, Verdict
from tests.netcode.steps import Ship, Thrust, fly

if TYPE_CHECKING:
    from tests.benchmarks.peers import SyncResult

__all__ = ["netcode", "predicting"]

CPU_BUDGET = 1.15
"""Times what the same costs by `Client.send`."""

REPLAY_BUDGET = 10.0
"""Microseconds of a state and ten inputs replayed, beyond the author's own rule."""

SENDS = OURS[0]

TICK = 1 / 30

REPEATS = 200
"""How often something is done in one measurement: short, so that some are not disturbed."""


def netcode(
    *, players: int, seconds: float, rounds: int, progress: Callable[[str], None]
) -> Report:
    """Measure the server, with inputs and with messages in turn, and then the prediction."""
    found: dict[str, list[SyncResult]] = {SENDS.label: [], INPUTS.label: []}
    for number in range(rounds):
        # There and back again, so that a machine that slows down slows nobody down more.
        for contender in (SENDS, INPUTS) if number % 2 == 0 else (INPUTS, SENDS):
            progress(f"round {number + 1} of {rounds}: {contender.label}")
            found[contender.label].append(contender.run_sync(players, seconds))
    pairs = zip(found[INPUTS.label], found[SENDS.label], strict=True)
    ratio = statistics.median(one.cpu_percent / other.cpu_percent for one, other in pairs)
    times = predicting()
    rows = []
    for label, results in found.items():
        cpu = statistics.median(each.cpu_percent for each in results)
        states = statistics.median(each.states_per_client_second for each in results)
        rows.append([f"server, {label}", f"{cpu:.1f} %", f"{states:.1f}"])
    rows += [[f"client, {what}", f"{time:.2f} us", ""] for what, time in times.items()]
    replay = times["10 inputs replayed"] - 10 * times["the author's rule"]
    return Report(
        title=f"Netcode, {players} players",
        command=f"python -m tests.benchmarks netcode --players {players}",
        head=["what", "CPU", "states a second"],
        rows=rows,
        notes=[
            f"{WORKLOAD.ticks_per_second} ticks and {WORKLOAD.inputs_per_second} inputs a second "
            f"of each player, over loopback; {WORKLOAD.entities} entities that all move in each "
            "tick. The server's CPU is in percent of a core, first for the same by `client.send`. "
            "Fewer states a second than ticks mean that the server did not keep up. "
            f"Medians of {rounds}."
        ],
        verdicts=[
            Verdict("inputs over the same by client.send", CPU_BUDGET, ratio, "x"),
            Verdict("10 inputs replayed, beyond the author's rule", REPLAY_BUDGET, replay, "us"),
        ],
        measured={
            "server": {label: [attrs.asdict(each) for each in it] for label, it in found.items()},
            "client": times,
        },
    )


def predicting() -> dict[str, float]:
    """Return the microseconds that the parts of a client take."""
    ship, thrust = Ship(), Thrust(1.0, 0.5)
    predictor: Predictor[Ship, Thrust] = Predictor(fly, ship, dt=TICK)
    for number in range(1, 11):
        predictor.apply(thrust, number)
    interpolator: Interpolator[Ship] = Interpolator()
    for tick in range(60):
        ships = {f"player {number}": Ship(x=tick) for number in range(8)}
        interpolator.push(tick * TICK, ships, tick * TICK + 0.05)
    return {
        "the author's rule": _microseconds(lambda: fly(ship, thrust, TICK)),
        # Number 0 confirms nothing: all ten inputs are applied again.
        "10 inputs replayed": _microseconds(lambda: predictor.reconcile(ship, 0, 1.0)),
        "the own object shown": _microseconds(lambda: predictor.show(1.0, thrust, 0.01)),
        "8 others shown": _microseconds(lambda: interpolator.show(1.9)),
    }


def _microseconds(what: Callable[[], object]) -> float:
    """The best of many runs: the others have been disturbed."""
    return min(timeit.repeat(what, number=REPEATS, repeat=50)) / REPEATS * 1e6
