"""What prediction costs beyond an author's own rule: ``python -m tests.benchmarks.netcode``."""

from __future__ import annotations

import timeit

from pgnet_trio.netcode import Interpolator, Predictor
from tests.netcode.steps import Ship, Thrust, fly

ROUNDS = 20_000
TICK = 1 / 30


def microseconds(what: str) -> float:
    """The best of several runs: the others have been disturbed."""
    names = {**globals(), **_made()}
    return min(timeit.repeat(what, number=ROUNDS, repeat=5, globals=names)) / ROUNDS * 1e6


def _made() -> dict[str, object]:
    ship, thrust = Ship(), Thrust(1.0, 0.5)
    predictor = Predictor(fly, ship, dt=TICK)
    for number in range(1, 11):
        predictor.apply(thrust, number)
    interpolator: Interpolator[Ship] = Interpolator()
    for tick in range(60):
        ships = {f"player {number}": Ship(x=tick) for number in range(8)}
        interpolator.push(tick * TICK, ships, tick * TICK + 0.05)
    return {"ship": ship, "thrust": thrust, "predictor": predictor, "interpolator": interpolator}


def main() -> None:
    step = microseconds("fly(ship, thrust, TICK)")
    # Number 0 confirms nothing: all ten inputs are applied again.
    replay = microseconds("predictor.reconcile(ship, 0, 1.0)")
    show = microseconds("predictor.show(1.0, thrust, 0.01)")
    print(f"the rule itself: {step:.2f} us")
    print(f"reconcile with 10 inputs: {replay:.2f} us, {replay - 10 * step:.2f} us beyond the rule")
    print(f"show: {show:.2f} us, {show - step:.2f} us beyond the rule")
    print(f"show 8 others: {microseconds('interpolator.show(1.9)'):.2f} us")


if __name__ == "__main__":
    main()
