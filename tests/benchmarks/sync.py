"""State sync of ours beside Colyseus, with its budgets."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from tests.benchmarks.peers.ours import OURS
from tests.benchmarks.peers.reports import sync_report
from tests.benchmarks.peers.rivals import Colyseus
from tests.benchmarks.report import Report, Verdict

__all__ = ["sync"]

BUDGETED_PLAYERS = 100


def sync(
    *,
    players: Sequence[int],
    seconds: float,
    rounds: int,
    progress: Callable[[str], None],
) -> Report:
    """Measure one room whose state all players see, with each number of players."""
    rival, ours = Colyseus(), OURS[0]
    report = sync_report(
        [rival, *OURS], players=players, seconds=seconds, rounds=rounds, progress=progress
    )
    found: dict[str, list[dict[str, Any]]] = {
        each["system"]: each["rounds"]
        for each in report.measured
        if each["players"] == BUDGETED_PLAYERS
    }

    def ratio(key: str) -> float:
        pairs = zip(found[ours.label], found[rival.label], strict=True)
        values: list[float] = [one[key] / other[key] for one, other in pairs]
        return statistics.median(values)

    verdicts = []
    if {rival.label, ours.label} <= found.keys():
        verdicts = [
            Verdict(
                f"`sync` with {BUDGETED_PLAYERS} players, {what}, encrypted",
                2,
                ratio(key),
                "of Colyseus's",
            )
            for what, key in (
                ("CPU of the server", "cpu_seconds"),
                ("bytes a client", "bytes_per_client_second"),
            )
        ]
    command = report.command.replace("tests.benchmarks.peers sync", "tests.benchmarks sync")
    return attrs.evolve(report, command=command, verdicts=verdicts)
