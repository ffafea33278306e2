"""What players feel of a network with netcode: a game of eight, in virtual time."""

from __future__ import annotations

import pytest

from pgnet_trio.testing import NETWORKS, Conditions
from tests.netcode.course import BUDGET, Parts, Seen, run_course

ROUND_TRIP_OF_150_MS = Conditions(latency=0.075)


@pytest.fixture(scope="module")
def budget() -> Seen:
    return run_course(BUDGET)


@pytest.fixture(scope="module")
def even() -> Seen:
    return run_course(ROUND_TRIP_OF_150_MS)


@pytest.mark.parametrize("name", NETWORKS)
def test_an_own_action_shows_in_the_same_frame(name: str) -> None:
    assert run_course(NETWORKS[name], seconds=1.0).action == 0


def test_without_prediction_it_shows_later() -> None:
    seen = run_course(ROUND_TRIP_OF_150_MS, Parts(prediction=False), seconds=1.0)
    assert seen.action >= 9


def test_all_others_move_evenly_and_not_too_late(budget: Seen) -> None:
    assert budget.hitches <= 0.005
    assert budget.jumps == 0
    assert budget.late <= 0.2


def test_without_interpolation_they_do_not() -> None:
    assert run_course(BUDGET, Parts(interpolation=False), seconds=4.0).hitches > 0.2


def test_a_delay_that_does_not_follow_the_network_is_seen() -> None:
    assert run_course(BUDGET, Parts(delay=False), seconds=4.0).hitches > 0.02


def test_where_nobody_interferes_no_prediction_is_off(even: Seen) -> None:
    assert even.error == 0
    assert even.corrections == 0
    assert even.own_jumps == 0


def test_an_error_is_gone_within_200_ms_and_is_no_jump(budget: Seen) -> None:
    assert budget.corrections > 0
    assert 0 < budget.settled <= 0.2
    assert budget.own_jumps == 0


def test_without_smoothing_it_is_a_jump() -> None:
    assert run_course(BUDGET, Parts(smoothing=False)).own_jumps > 0


def test_shots_hit_whom_they_hit_on_the_screen(even: Seen) -> None:
    assert even.shots >= 40
    assert even.hits >= 0.97
    assert even.hits_without < 0.2, "without rewinding they did too"


def test_shots_hit_on_the_network_of_the_budget_too(budget: Seen) -> None:
    assert budget.hits >= 0.97
    # A stall of 200 ms costs one input that is played late, and not as many as it held up.
    assert budget.error < 0.3


def test_inputs_are_few_bytes(budget: Seen) -> None:
    assert 0 < budget.bytes_up <= 2000
