"""What a benchmark says at its end: a table, the budgets, and how to get it all again."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from typing import Any

import attrs

__all__ = ["Report", "Verdict", "machine", "markdown_table"]


def machine() -> str:
    """What the numbers were measured on, without any name of it."""
    kernel = platform.release().partition("-")[0]
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()} {kernel}, "
        f"{platform.python_implementation()} {platform.python_version()}, "
        f"load of the last minute at the start {os.getloadavg()[0]:.1f}"
    )


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        first, *others = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "| " + " | ".join([first, *others]) + " |"

    rule = [
        ("-" * width if column == 0 else "-" * (width - 1) + ":")
        for column, width in enumerate(widths)
    ]
    return "\n".join([line(head), line(rule), *map(line, rows)])


@attrs.frozen
class Verdict:
    """A budget beside what was measured.

    Attributes:
        budget: What is limited.
        limit: At most this, or at least this where *at_least*.
        unit: What both numbers count; written behind them.
    """

    budget: str
    limit: float
    measured: float
    unit: str
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the budget is met."""
        if self.at_least:
            return self.measured >= self.limit
        return self.measured <= self.limit

    def cells(self) -> list[str]:
        """The verdict as a row of a table."""
        sense = "at least" if self.at_least else "at most"
        return [
            self.budget,
            f"{sense} {self.limit:,g} {self.unit}",
            f"{round(self.measured, 2):,} {self.unit}",
            "met" if self.met else "missed",
        ]


@attrs.frozen(kw_only=True)
class Report:
    """What one benchmark found.

    Attributes:
        command: What gets it again.
        notes: What a reader of the table has to know.
        measured: All numbers, for a program to read.
    """

    title: str
    command: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    measured: Any
    notes: Sequence[str] = ()
    verdicts: Sequence[Verdict] = ()

    def markdown(self) -> str:
        """The report as Markdown."""
        parts = [
            f"## {self.title}",
            f"`{self.command}`",
            markdown_table(self.head, self.rows),
            *self.notes,
        ]
        if self.verdicts:
            budgets = [verdict.cells() for verdict in self.verdicts]
            parts.append(markdown_table(["budget", "limit", "measured", ""], budgets))
        return "\n\n".join(parts)

    def as_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "title": self.title,
            "command": self.command,
            "measured": self.measured,
            "budgets": [{**attrs.asdict(each), "met": each.met} for each in self.verdicts],
        }
