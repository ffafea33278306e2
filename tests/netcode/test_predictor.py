"""The own object moves at once, and is where the server says in the end."""

from __future__ import annotations

import math
import struct
from collections import deque
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgnet_trio.netcode import Predictor
from tests.netcode.steps import Ship, Thrust, drive, fly, turn

TICK = 1 / 30

THRUSTS = st.builds(
    Thrust, st.floats(-1, 1, allow_subnormal=False), st.floats(-1, 1, allow_subnormal=False)
)


def bits(ship: Ship) -> bytes:
    return struct.pack("4dq", ship.x, ship.y, ship.across, ship.down, ship.gems)


def copy(ship: Ship) -> Ship:
    return attrs.evolve(ship)


@given(
    st.lists(st.tuples(THRUSTS, st.floats(0, 0.5), st.floats(0, 0.5)), max_size=60),
)
def test_nobody_interferes_and_no_prediction_is_off_by_a_bit(
    plays: list[tuple[Thrust, float, float]],
) -> None:
    predictor = Predictor(fly, Ship(), dt=TICK)
    server = Ship()
    coming: deque[tuple[float, Ship, int]] = deque()
    arrived = 0.0
    for number, (thrust, up, down) in enumerate(plays, 1):
        assert predictor.apply(thrust, number)
        fly(server, thrust, TICK)
        # Every frame comes at some time, behind those before it.
        arrived = max(arrived, number * TICK + up + down)
        coming.append((arrived, copy(server), number))
        while coming and coming[0][0] <= number * TICK:
            now, state, confirmed = coming.popleft()
            before = bits(predictor.state)
            assert predictor.reconcile(state, confirmed, now) == 0
            assert bits(predictor.state) == before
    for now, state, confirmed in coming:
        assert predictor.reconcile(state, confirmed, now) == 0
    assert bits(predictor.state) == bits(server)
    assert bits(predictor.show(arrived)) == bits(server)
    assert (predictor.pending, predictor.corrections) == (0, 0)


FATES = st.sampled_from(["", "", "", "lost", "repeated", "pushed", "late"])


@given(st.lists(st.tuples(THRUSTS, FATES, st.booleans()), max_size=60))
def test_after_the_last_input_is_confirmed_it_is_the_state_of_the_server(
    plays: list[tuple[Thrust, str, bool]],
) -> None:
    """Whatever the server made of the inputs, and whichever states arrived."""
    predictor = Predictor(fly, Ship(), dt=TICK, smooth=0.1)
    server, contained = Ship(), 0
    waiting: deque[tuple[int, Thrust]] = deque()
    latest = Thrust(0, 0)
    now = 0.0
    for number, (thrust, fate, is_state_lost) in enumerate(plays, 1):
        now += TICK
        predictor.apply(thrust, number)
        if fate != "lost":
            waiting.append((number, thrust))
        if fate != "late":
            while waiting:
                contained, latest = waiting.popleft()
                fly(server, latest, TICK)
        if fate in {"repeated", "late"}:
            fly(server, latest, TICK)
        if fate == "pushed":
            server.x += 30
        if not is_state_lost:
            predictor.reconcile(copy(server), contained, now)
            assert all(map(math.isfinite, attrs.astuple(predictor.show(now))))
    # Everything has come, and the player does nothing more.
    contained = len(plays)
    predictor.reconcile(copy(server), contained, now)
    assert bits(predictor.state) == bits(server)
    assert bits(predictor.show(now + 0.2)) == bits(server)
    assert predictor.pending == 0


def test_an_input_shows_at_once() -> None:
    predictor = Predictor(fly, Ship(), dt=TICK)
    assert predictor.show(0.0, Thrust(1, 0), 0.001).x > 0
    assert predictor.show(0.0).x == 0, "what is only shown is not applied"
    predictor.apply(Thrust(1, 0), 1)
    assert predictor.show(0.0).x > 0
    assert predictor.show(0.0) == predictor.state
    assert predictor.show(0.0) is not predictor.state


def test_another_input_within_a_tick_begins_where_the_one_before_has_got() -> None:
    predictor = Predictor(fly, Ship(x=10.0, across=200.0), dt=TICK, smooth=0.25)
    shown = predictor.show(1.0, Thrust(1, 0), TICK / 2)
    predictor.change_input(Thrust(1, 0), Thrust(-1, 0), TICK / 2, 1.0)
    assert predictor.show(1.0, Thrust(-1, 0), TICK / 2).x == pytest.approx(shown.x)
    assert predictor.predict(Thrust(-1, 0), TICK / 2).x < shown.x
    assert predictor.show(1.25, Thrust(-1, 0), TICK / 2).x < shown.x
    assert (predictor.error, predictor.corrections) == (0, 0)


def test_an_error_disappears_little_by_little_and_then_is_gone() -> None:
    predictor = Predictor(fly, Ship(), dt=TICK, smooth=0.25)
    assert predictor.reconcile(Ship(x=30.0, y=40.0), None, 1.0) == 50
    assert predictor.error == 50
    shown = [predictor.show(1.0 + step / 16) for step in range(5)]
    assert [ship.x for ship in shown] == pytest.approx([0, 7.5, 15, 22.5, 30])
    assert shown[-1] == Ship(x=30.0, y=40.0)
    assert predictor.corrections == 1


def test_a_second_error_begins_with_what_is_shown_of_the_first() -> None:
    predictor = Predictor(fly, Ship(), dt=TICK, smooth=0.25)
    predictor.reconcile(Ship(x=20.0), None, 1.0)
    before = predictor.show(1.125)
    predictor.reconcile(Ship(x=40.0), None, 1.125)
    assert predictor.show(1.125).x == before.x == 10
    # A state without an error does not begin anew with it.
    predictor.reconcile(Ship(x=40.0), None, 1.25)
    assert predictor.error == 0
    assert predictor.show(1.25).x == 25
    assert predictor.show(1.375).x == 40


def test_far_errors_and_those_without_smoothing_show_at_once() -> None:
    for predictor in (
        Predictor(fly, Ship(), dt=TICK, snap=10.0),
        Predictor(fly, Ship(), dt=TICK, smooth=0.0),
    ):
        predictor.reconcile(Ship(x=30.0), None, 1.0)
        assert predictor.show(1.0).x == 30


@pytest.mark.parametrize("place", [math.nan, math.inf, 1e308])
def test_an_error_without_end_is_not_shown_for_ever(place: float) -> None:
    predictor = Predictor(fly, Ship(x=-1e308), dt=TICK)
    predictor.reconcile(Ship(x=place), None, 1.0)
    for number in range(5):
        predictor.reconcile(Ship(x=float(number)), None, 1.01 + number / 100)
    shown = predictor.show(1.06).x
    assert math.isfinite(shown)


def test_other_fields_are_the_servers_at_once() -> None:
    predictor = Predictor(fly, Ship(), dt=TICK)
    predictor.reconcile(Ship(x=30.0, gems=4), None, 1.0)
    assert predictor.show(1.0) == Ship(x=0.0, gems=4)


def test_an_angle_is_corrected_the_shorter_way_around() -> None:
    predictor = Predictor(
        turn, {"x": 0.0, "y": 0.0, "heading": 3.1}, dt=TICK, smooth=0.2, fields=[], angle="heading"
    )
    error = predictor.reconcile({"x": 0.0, "y": 0.0, "heading": -3.1}, None, 1.0)
    assert error == pytest.approx(2 * math.pi - 6.2)
    shown = predictor.show(1.1)["heading"]
    assert math.cos(shown) == pytest.approx(-1)


def test_a_silent_server_leaves_the_own_object_standing() -> None:
    predictor = Predictor(fly, Ship(), dt=TICK, max_pending=3)
    assert [predictor.apply(Thrust(1, 0), number) for number in range(1, 6)] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert predictor.pending == 3
    predictor.reconcile(Ship(), 2, 1.0)
    assert predictor.pending == 1
    assert predictor.apply(Thrust(1, 0), 6)


def test_states_that_are_given_stay_as_they_are() -> None:
    state: dict[str, Any] = {"x": 0.0, "y": 0.0, "across": 9.0, "down": 0.0, "items": [["key"]]}
    predictor = Predictor(drive, state, dt=TICK, fields=["x", "y"])
    predictor.apply({"x": 1.0, "y": 0.0}, 1)
    predictor.reconcile(state, None, 1.0)
    shown = predictor.show(1.0)
    shown["items"][0].append("door")
    assert state["items"] == predictor.state["items"] == [["key"]]
    assert state["x"] == 0


def test_a_rule_may_return_another_state() -> None:
    @attrs.frozen
    class Still:
        x: float

    def walk(state: Still, by: float, dt: float) -> Still:
        return Still(state.x + by * dt)

    predictor = Predictor(walk, Still(0.0), dt=1.0)
    predictor.apply(2.0, 1)
    predictor.apply(3.0, 2)
    assert predictor.state == Still(5.0)
    predictor.reconcile(Still(2.5), 1, 0.0)
    assert predictor.state == Still(5.5)
    assert predictor.show(0.0, 4.0, 0.5) == Still(7.0)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"dt": 0}, "dt: expected seconds above 0, got 0"),
        ({"dt": math.inf}, "dt: expected seconds above 0, got inf"),
        ({"smooth": -1}, "smooth: expected 0 to 5 s, got -1"),
        ({"smooth": 150}, "smooth: expected 0 to 5 s, got 150"),
        ({"max_pending": 0}, "max_pending: expected 1 or more, got 0"),
        ({"fields": ["x", "gmes"]}, "a Ship has no 'gmes'; did you mean gems"),
        ({"angle": "z"}, "a Ship has no 'z', only x, y, across, down, gems"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Predictor(fly, Ship(), **{"dt": TICK, **options})


def test_a_class_without_floats_has_to_say_that_nothing_moves() -> None:
    @attrs.define
    class Pawn:
        x: int = 0

    def step(pawn: Pawn, by: int, dt: float) -> None:
        pawn.x += by

    with pytest.raises(TypeError, match="a Pawn with fields that are declared as float"):
        Predictor(step, Pawn(), dt=TICK)
    predictor = Predictor(step, Pawn(), dt=TICK, fields=[])
    predictor.apply(2, 1)
    assert predictor.show(0.0) == Pawn(2)


def test_plain_data_has_to_say_which_fields_move() -> None:
    with pytest.raises(TypeError, match="expected the names of the numbers that move"):
        Predictor(drive, {"x": 0.0}, dt=TICK)
