"""Servers that look like one lose nothing: the short forms of `python -m tests.cluster_chaos`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pgnet_trio.connection import Connection
from pgnet_trio.server.connections.gate import GatedConnection
from pgnet_trio.server.draining import Drain
from pgnet_trio.server.node.games import ClusterGames
from tests.cluster import postgres
from tests.cluster_chaos.__main__ import parse, report
from tests.cluster_chaos.chaos import CUTS, FAULTS, Outcome, chaos
from tests.cluster_chaos.game import Book, Counted, Tally
from tests.cluster_chaos.ledger import Answer, Ledger, Trouble
from tests.cluster_chaos.pauses import Told, pause_again_and_again, too_late
from tests.cluster_chaos.processes import ENGINES
from tests.cluster_chaos.runs import Runs
from tests.cluster_chaos.simulated import Simulated, simulated

HERE = [engine for engine in ENGINES if engine == "sqlite" or not postgres.missing()]
ROOT = Path(__file__).parents[2]

SEEDS = 8
GENTLE_SEEDS = 5


@pytest.mark.no_cover
@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_is_lost_that_a_death_does_not_explain(seed: int) -> None:
    outcome = simulated(seed)
    assert outcome.problems == []
    assert outcome.counts["counted"] > 30


@pytest.mark.no_cover
@pytest.mark.parametrize("seed", range(GENTLE_SEEDS))
def test_nothing_is_lost_at_all_where_no_server_dies(seed: int) -> None:
    outcome = simulated(seed, gentle=True)
    assert outcome.problems == []
    assert outcome.counts["answered and lost"] == 0


@pytest.mark.no_cover
@pytest.mark.parametrize("engine", HERE)
async def test_processes_that_die_stop_and_drain_lose_nothing(tmp_path: Path, engine: str) -> None:
    outcome = await chaos(
        tmp_path,
        engine=engine,
        seconds=120.0,
        seed=1,
        players=4,
        nodes=3,
        lease=2.0,
        pace=0.1,
        plan=["drain and kill another"],
    )
    assert outcome.problems == []
    assert outcome.counts["answered"] > 20
    assert outcome.counts["registrations"]


@pytest.mark.no_cover
@pytest.mark.parametrize("engine", HERE)
async def test_a_server_that_was_stopped_answers_for_nothing_that_it_lost(
    tmp_path: Path, engine: str
) -> None:
    found = await pause_again_and_again(tmp_path, engine=engine, pauses=1, lease=1.5)
    assert found.problems == []
    assert found.pauses == 1
    assert found.shortest >= 1.5


@pytest.mark.no_cover
@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
async def test_whoever_interrupts_it_leaves_no_process_behind(tmp_path: Path) -> None:
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "tests.cluster_chaos", "--players", "2", "--keep", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    try:
        with trio.fail_after(60):
            while not (tmp_path / "b.1.log").exists():  # noqa: ASYNC110 - of another process
                await trio.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 1
        # All that it has started are in its session.
        assert processes_of_session(process.pid) == []
    finally:
        process.kill()


def processes_of_session(session: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if os.getsid(int(entry.name)) == session:
                    found.append(int(entry.name))
            except ProcessLookupError:
                continue
    return found


# That it finds what it is there to find.


def found(outcome: Simulated, text: str) -> bool:
    return any(text in problem for problem in outcome.problems)


def first_seed(text: str, *, likely: int = 0, **options: Any) -> bool:
    """Whether one of some seeds finds it; the one that did last time is tried first."""
    return any(found(simulated(seed, **options), text) for seed in (likely, *range(60)))


@pytest.mark.no_cover
def test_a_request_that_is_done_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    apply = Tally.apply

    def apply_again(self: Tally, player: str, serial: int) -> None:
        apply(self, player, serial)
        if serial % 5 == 3:
            apply(self, player, serial)

    monkeypatch.setattr(Tally, "apply", apply_again)
    assert first_seed("twice", faults=1)


@pytest.mark.no_cover
def test_saves_that_are_forgotten_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def save_nothing(self: ClusterGames, *args: Any, **options: Any) -> None:
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(ClusterGames, "save_games", save_nothing)
    # Few, so that little else explains it.
    assert first_seed("and is lost", likely=20, faults=3)


@pytest.mark.no_cover
def test_a_server_that_answers_without_its_lease_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(GatedConnection, "flush", Connection.flush)
    assert first_seed("had begun", likely=7)


@pytest.mark.no_cover
def test_sessions_that_a_drain_loses_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def give_nothing_away(self: Drain, drain_wait: float) -> None:
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(Drain, "run", give_nothing_away)
    assert first_seed("sessions lost", gentle=True)


# The ledger.


def counted(
    *, place: str = "a.1", epoch: int = 1, life: str = "x", born: float = 0.0, when: float = 1.0
) -> Counted:
    return Counted(place, epoch, life, born, when, 1)


def ledger_with(*answers: Counted) -> Ledger:
    ledger = Ledger(unsaved=1.0, unsaved_in_trouble=10.0)
    for serial, each in enumerate(answers, 1):
        ledger.sent("table", "ann", serial)
        ledger.answered(Answer("table", "ann", serial, each, each.when))
    return ledger


def book(*pairs: list[int], twice: list[str] | None = None) -> dict[str, Book]:
    return {"table": Book("a.1", {"ann": list(pairs)}, twice or [])}


def test_what_is_there_is_no_problem() -> None:
    ledger = ledger_with(counted(), counted(place="b.1", epoch=2, life="y", born=2.0, when=3.0))
    ledger.check_lives()
    assert ledger.check_books(book([1, 2])) == []
    assert ledger.problems == []


def test_a_late_answer_of_the_server_before_is_a_problem() -> None:
    ledger = ledger_with(
        counted(when=5.0), counted(place="b.1", epoch=2, life="y", born=2.0, when=3.0)
    )
    ledger.check_lives()
    (problem,) = ledger.problems
    assert "a.1 answered 3.000 s after b.1 had begun" in problem


def test_one_epoch_at_two_servers_is_a_problem() -> None:
    ledger = ledger_with(counted(), counted(place="b.1", life="y", born=2.0, when=3.0))
    ledger.check_lives()
    assert ledger.problems == ["table: epoch 1 is of a.1 and of b.1"]


def test_epochs_only_rise() -> None:
    ledger = ledger_with(
        counted(epoch=7), counted(place="b.1", epoch=2, life="y", born=2.0, when=3.0)
    )
    ledger.check_lives()
    assert "epochs [7] at a.1, and later [2] at b.1" in ledger.problems[0]


def test_a_game_that_could_not_go_is_made_again_in_its_epoch() -> None:
    ledger = ledger_with(counted(), counted(life="y", born=2.0, when=3.0))
    ledger.check_lives()
    assert ledger.problems == []


@pytest.mark.parametrize(
    ("death", "explained"),
    [
        (None, False),
        (Trouble("a.1", "killed", 1.5, 1.5), True),
        # It had the time to save.
        (Trouble("a.1", "killed", 5.0, 5.0), False),
        (Trouble("a.1", "cut off", 5.0, 9.0, keeps_from_saving=True), True),
        (Trouble("a.2", "killed", 1.5, 1.5), False),
        (Trouble("a.1", "killed", 0.5, 0.5), False),
    ],
)
def test_an_answer_may_be_lost_by_a_death_soon_after(
    death: Trouble | None, explained: bool
) -> None:
    ledger = ledger_with(counted())
    if death is not None:
        ledger.troubles.append(death)
    losses = ledger.check_books(book())
    assert bool(losses) == explained
    assert bool(ledger.problems) != explained
    for loss in losses:
        assert "ann 1 at table, counted by a.1" in str(loss)


def test_a_death_explains_more_where_it_could_not_save_before() -> None:
    ledger = ledger_with(counted())
    ledger.troubles.append(Trouble("a.1", "without its engine", 0.5, 4.0, keeps_from_saving=True))
    ledger.troubles.append(Trouble("a.1", "killed", 5.0, 5.0))
    assert len(ledger.check_books(book())) == 1
    assert ledger.problems == []


def test_what_was_never_asked_or_was_refused_is_not_counted() -> None:
    ledger = ledger_with(counted())
    ledger.sent("table", "ann", 2)
    ledger.refused("table", "ann", 2)
    ledger.check_books(book([1, 3]))
    assert ledger.problems == [
        "table: ann 2 was refused, and is counted",
        "table: ann 3 was never asked",
    ]


def test_a_game_that_is_gone_is_a_problem() -> None:
    ledger = ledger_with(counted())
    ledger.check_books({})
    assert ledger.problems == ["table is gone, with 1 answers"]


def test_problems_and_kinds_of_counts_are_bounded() -> None:
    ledger = Ledger(unsaved=1.0, unsaved_in_trouble=1.0)
    for number in range(1000):
        ledger.wrong(f"problem {number}")
        ledger.note(f"kind {number}")
    assert len(ledger.problems) < 100
    assert len(ledger.counts) < 300
    assert ledger.counts["problems"] == 1000


@given(st.lists(st.integers(0, 30), max_size=60))
def test_runs_are_a_set_of_numbers(numbers: list[int]) -> None:
    runs, expected = Runs(), set[int]()
    for number in numbers:
        assert runs.add(number) == (number not in expected)
        expected.add(number)
    assert list(runs) == sorted(expected)
    assert len(runs) == len(expected)
    assert all(number in runs for number in expected)
    assert 31 not in runs
    assert all(a[1] + 1 < b[0] for a, b in zip(runs.pairs, runs.pairs[1:], strict=False))
    assert Runs(runs.pairs).pairs == runs.pairs


# Pauses, and the command line.


def told(epoch: int, received: float) -> Told:
    return Told(counted(epoch=epoch, when=received), received)


def test_an_answer_of_an_older_epoch_after_a_pause_is_too_late() -> None:
    answers = [told(1, 0.5), told(2, 3.0), told(1, 4.1), told(2, 4.2), told(3, 4.3)]
    assert too_late(answers, 4.0) == [answers[2]]
    assert too_late(answers[:2], 4.0) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["--minutes", "0"],
        ["--minutes", "1e9"],
        ["--players", "1"],
        ["--players", "100000"],
        ["--drains", "-1"],
        ["--lease", "0"],
        ["--engine", "redis"],
        ["--nodes", "1"],
    ],
)
def test_a_run_is_bounded(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(arguments)
    assert arguments[0] in capsys.readouterr().err


def test_each_run_has_a_seed() -> None:
    assert parse(["--seed", "7"]).seed == 7
    assert 0 <= parse([]).seed < 10**6


def test_a_report_names_losses_and_problems() -> None:
    outcome = Outcome(
        1, "sqlite", 3.0, {"requests": 2_000}, ["all is lost"], ["ann 1"], {"killed": 1}
    )
    text = report(outcome)
    assert "2,000 requests" in text
    assert "1 killed" in text
    assert "ann 1" in text
    assert "PROBLEM all is lost" in text
    assert text.endswith("1 PROBLEMS")
    assert report(Outcome(1, "sqlite")).endswith("all is well")


def test_whatever_can_happen_to_a_node_is_there() -> None:
    from tests.cluster_chaos.chaos import Chaos

    for what in (*FAULTS, *CUTS):
        assert hasattr(Chaos, f"_{what.replace(' ', '_')}")
