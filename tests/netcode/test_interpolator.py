"""Others move evenly, however their states arrive."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pgnet_trio.netcode import Interpolator
from pgnet_trio.netcode.interpolator import MAX_SAMPLES
from pgnet_trio.netcode.states import LONGEST
from tests.netcode.steps import Ship

TICK = 1 / 30
FRAME = 1 / 60
SPEED = 240.0


def watch(
    arrivals: list[tuple[float, float]], *, seconds: float = 4.0, **options: Any
) -> list[float]:
    """Where a ship is shown in each frame that flies evenly, by when its states come."""
    interpolator: Interpolator[Ship] = Interpolator(**options)
    waiting = sorted(arrivals, key=lambda arrival: arrival[1])
    shown = []
    for number in range(int(seconds / FRAME)):
        now = number * FRAME
        while waiting and waiting[0][1] <= now:
            time, at = waiting.pop(0)
            interpolator.push(time, {"ann": Ship(x=time * SPEED)}, at)
        ships = interpolator.show(now)
        if "ann" in ships:
            shown.append(ships["ann"].x)
    return shown


def arriving(
    *, latency: float, jitter: float = 0.0, stall: float = 0.0, share: float = 0.0, seed: int = 1
) -> list[tuple[float, float]]:
    """The times of states, and when each arrives: in order, as over one connection."""
    chance = random.Random(seed)
    found, last = [], 0.0
    for tick in range(600):
        late = latency + chance.random() * jitter + (stall if chance.random() < share else 0.0)
        last = max(last, tick * TICK + late)
        found.append((tick * TICK, last))
    return found


def steps_of(shown: list[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(shown)]


def test_on_an_even_network_each_frame_moves_as_far() -> None:
    steps = steps_of(watch(arriving(latency=0.05)))[20:]
    assert all(step == pytest.approx(SPEED * FRAME, rel=0.02) for step in steps)


def test_jitter_is_not_seen() -> None:
    steps = steps_of(watch(arriving(latency=0.06, jitter=0.03), seconds=12))[60:]
    assert min(steps) >= SPEED * FRAME * 0.8
    assert max(steps) <= SPEED * FRAME * 1.2


def test_the_delay_follows_the_jitter() -> None:
    def delay_after(arrivals: list[tuple[float, float]]) -> float:
        interpolator: Interpolator[Ship] = Interpolator()
        for time, at in arrivals:
            interpolator.push(time, {}, at)
        return interpolator.delay

    assert delay_after(arriving(latency=0.05)) == pytest.approx(0.05 + TICK)
    assert delay_after(arriving(latency=0.05, jitter=0.03)) == pytest.approx(0.08 + TICK, abs=0.004)
    # More than 100 ms is not waited for, but where it is 190 ms in all.
    stalling = arriving(latency=0.1, stall=0.5, share=0.03)
    assert delay_after(stalling) == pytest.approx(0.2 + TICK, abs=0.001)
    stalling = arriving(latency=0.0, stall=0.5, share=0.03)
    assert delay_after(stalling) == pytest.approx(0.19)


def test_it_goes_on_for_100_ms_and_then_holds() -> None:
    arrivals = [each for each in arriving(latency=0.0) if each[0] <= 1]
    shown = watch(arrivals, delay=0.0, seconds=2)
    assert shown[-1] == pytest.approx(1 * SPEED + 0.1 * SPEED, abs=1)
    assert shown[-1] == shown[-10]


@given(
    st.lists(st.floats(0, 0.4), min_size=5, max_size=60),
    st.sampled_from(["auto", 0.0, 0.1]),
)
def test_what_flies_forward_never_steps_back(lateness: list[float], delay: Any) -> None:
    """However late states come, nothing that flies evenly is shown flying back."""
    arrivals, last = [], 0.0
    for tick, late in enumerate(lateness):
        last = max(last, tick * TICK + late)
        arrivals.append((tick * TICK, last))
    assert min(steps_of(watch(arrivals, delay=delay, seconds=3)), default=0.0) >= -1e-9


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(-1, 10)), max_size=40))
@example([(1.0, 1.0), (2.0, -0.5)])
def test_the_time_shown_never_runs_back(pushes: list[tuple[float, float]]) -> None:
    interpolator: Interpolator[Ship] = Interpolator()
    shown = -math.inf
    now = 0.0
    for time, passed in pushes:
        now += passed
        interpolator.push(time, {"ann": Ship(x=time)}, now)
        interpolator.show(now)
        assert interpolator.time is not None
        assert interpolator.time >= shown
        shown = interpolator.time


def test_after_a_stall_nothing_jumps() -> None:
    arrivals = arriving(latency=0.05)
    # For 300 ms nothing comes, and then everything at once.
    stalled = [(time, 1.35 if 1.05 < at < 1.35 else at) for time, at in arrivals]
    steps = steps_of(watch(stalled, seconds=3))
    assert max(steps[20:]) <= SPEED * 0.06
    assert min(steps[20:]) >= 0


def test_what_did_not_move_meanwhile_does_not_creep() -> None:
    interpolator: Interpolator[Ship] = Interpolator(0.1)
    for tick in range(6):
        interpolator.push(tick * 0.05, {"ann": Ship()}, tick * 0.05)
    # Nothing changed for a second, so no state came; then it moves.
    interpolator.push(1.3, {"ann": Ship(x=10.0)}, 1.3)
    interpolator.show(1.2)
    assert interpolator.show(1.35)["ann"].x == 0
    assert interpolator.show(1.45)["ann"].x > 5


def test_leaps_are_shown_as_such() -> None:
    interpolator: Interpolator[Ship] = Interpolator(0.1, snap=100)
    interpolator.push(0.0, {"ann": Ship(x=0.0)}, 0.0)
    interpolator.push(0.1, {"ann": Ship(x=400.0)}, 0.1)
    assert interpolator.show(0.15)["ann"].x == 0
    assert interpolator.show(0.21)["ann"].x == 400


def test_angles_turn_the_shorter_way() -> None:
    interpolator: Interpolator[Any] = Interpolator(0.1, fields=[], angle="heading")
    interpolator.push(0.0, {"ann": {"heading": 3.0}}, 0.0)
    interpolator.push(0.1, {"ann": {"heading": -3.0}}, 0.1)
    shown = interpolator.show(0.15)["ann"]["heading"]
    assert math.cos(shown) == pytest.approx(-1)


def test_who_comes_and_goes_is_shown_when_it_is_due() -> None:
    interpolator: Interpolator[Ship] = Interpolator(0.1)
    interpolator.push(0.0, {"ann": Ship()}, 0.0)
    interpolator.push(0.1, {"ann": Ship(), "bob": Ship()}, 0.1)
    interpolator.push(0.2, {"bob": Ship()}, 0.2)
    assert [sorted(interpolator.show(now)) for now in (0.15, 0.25, 0.31)] == [
        ["ann"],
        ["ann", "bob"],
        ["bob"],
    ]


def test_other_fields_change_when_their_state_is_due() -> None:
    interpolator: Interpolator[Ship] = Interpolator(0.1)
    interpolator.push(0.0, {"ann": Ship(gems=1)}, 0.0)
    interpolator.push(0.1, {"ann": Ship(gems=2)}, 0.1)
    assert interpolator.show(0.19)["ann"].gems == 1
    assert interpolator.show(0.2)["ann"].gems == 2


def test_a_machine_that_slept_is_back_at_once() -> None:
    interpolator: Interpolator[Ship] = Interpolator(0.1)
    interpolator.push(0.0, {"ann": Ship()}, 0.0)
    interpolator.show(0.1)
    interpolator.push(100.0, {"ann": Ship(x=5.0)}, 100.0)
    assert interpolator.show(100.1)["ann"].x == 5


@pytest.mark.parametrize("rate", [60, 200])
def test_the_longest_delay_is_kept_whatever_the_rate(rate: int) -> None:
    interpolator: Interpolator[Ship] = Interpolator(delay=LONGEST)
    for tick in range(7 * rate):
        now = tick / rate
        interpolator.push(now, {"ann": Ship(x=now)}, now)
    assert interpolator.show(7.0)["ann"].x == pytest.approx(7.0 - LONGEST)


def test_it_keeps_no_more_than_it_needs() -> None:
    interpolator: Interpolator[Ship] = Interpolator()
    for tick in range(5000):
        interpolator.push(tick * TICK, {"ann": Ship(x=tick)}, tick * TICK)
    assert f"{MAX_SAMPLES} states" in repr(interpolator)
    assert interpolator.show(5000 * TICK)["ann"].x > 4000


def test_a_hidden_window_keeps_no_more_where_states_come_unevenly() -> None:
    interpolator: Interpolator[Ship] = Interpolator()
    time = 0.0
    for number in range(1000):
        time += TICK * (3 if number % 3 == 0 else 1)
        interpolator.push(time, {"ann": Ship(x=number)}, time)
    assert f"{MAX_SAMPLES} states" in repr(interpolator)


def test_what_is_no_number_is_shown_as_it_is_and_then_is_over() -> None:
    interpolator: Interpolator[Ship] = Interpolator(delay=0.0, fields=["x"], angle=["y"])
    places = [0.0, math.nan, 0.0, 1.0, 2.0]
    shown = []
    for tick, place in enumerate(places):
        interpolator.push(tick * TICK, {"ann": Ship(x=place, y=place)}, tick * TICK)
        shown += [interpolator.show((tick + share) * TICK)["ann"] for share in (0.0, 0.9)]
    assert all(math.isfinite(ship.x) for ship in shown[4:])


@pytest.mark.parametrize("delay", [-1, math.inf, math.nan, "late"])
def test_delays_that_make_no_sense_are_refused(delay: Any) -> None:
    with pytest.raises(ValueError, match="delay: expected"):
        Interpolator(delay)
