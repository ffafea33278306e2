"""State sync of ours beside Colyseus, with its budgets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import attrs

from tests.benchmarks.peers.ours import OURS
from tests.benchmarks.peers.reports import sync_report
from tests.benchmarks.peers.rivals import Colyseus

if TYPE_CHECKING:
    from tests.benchmarks.report import Report

__all__ = ["sync"]


def sync(
    *,
    players: Sequence[int],
    seconds: float,
    rounds: int,
    progress: Callable[[str], None],
) -> Report:
    """Measure one room whose state all players see, with each number of players."""
    report = sync_report(
        [Colyseus(), *OURS], players=players, seconds=seconds, rounds=rounds, progress=progress
    )
    command = report.command.replace("tests.benchmarks.peers sync", "tests.benchmarks sync")
    return attrs.evolve(report, command=command)
