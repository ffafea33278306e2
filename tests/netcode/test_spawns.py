"""A shot appears at once, and is confirmed or withdrawn."""

from __future__ import annotations

import pytest

from pgnet_trio.netcode import PredictedSpawns, SpawnOutcome


@pytest.fixture
def shots() -> PredictedSpawns[str]:
    spawns: PredictedSpawns[str] = PredictedSpawns()
    assert spawns.add("ann:3", 3, "shot")
    return spawns


def test_a_shot_shows_until_the_server_has_taken_the_input(shots: PredictedSpawns[str]) -> None:
    assert shots.reconcile(None, []) == SpawnOutcome({}, {}, {})
    assert shots.reconcile(2, ["bob:9"]) == SpawnOutcome({}, {}, {})
    assert list(shots) == ["shot"]
    assert "ann:3" in shots


def test_a_shot_that_the_server_has_is_confirmed_once(shots: PredictedSpawns[str]) -> None:
    assert shots.reconcile(3, ["ann:3"]) == SpawnOutcome({"ann:3": "shot"}, {}, {})
    assert shots.reconcile(4, ["ann:3"]) == SpawnOutcome({}, {}, {})
    assert shots.reconcile(5, []) == SpawnOutcome({}, {}, {"ann:3": "shot"})
    assert len(shots) == 0


def test_a_shot_that_the_server_did_not_make_is_withdrawn(shots: PredictedSpawns[str]) -> None:
    assert shots.reconcile(3, []) == SpawnOutcome({}, {"ann:3": "shot"}, {})
    assert "ann:3" not in shots


def test_no_shot_is_there_twice_and_not_too_many(shots: PredictedSpawns[str]) -> None:
    assert not shots.add("ann:3", 3, "again")
    added = [shots.add(f"ann:{number}", number, "shot") for number in range(4, 400)]
    assert len(shots) == sum(added) + 1 == 256
