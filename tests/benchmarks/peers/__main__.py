"""The command line of these benchmarks."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from tests.benchmarks.compare import checkout
from tests.benchmarks.peers.install import install
from tests.benchmarks.peers.ours import INPUTS, OURS, PATIENT, earlier
from tests.benchmarks.peers.reports import JOBS, idle_report, jobs_report, present, sync_report
from tests.benchmarks.peers.rivals import RIVALS
from tests.benchmarks.processes import ROOT, apart
from tests.benchmarks.report import machine

if TYPE_CHECKING:
    from tests.benchmarks.peers import Contender
    from tests.benchmarks.report import Report

__all__ = ["CONTENDERS", "main", "parse"]

# The first is what the others are compared with.
CONTENDERS: list[Contender] = [RIVALS[0], *OURS, *RIVALS[1:]]
CONTENDER_NAMES = [contender.name for contender in CONTENDERS]


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.peers",
        description="Measure other systems and ours. Tables come out as Markdown.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in {
        "install": "install what is measured, with pip and npm, into folders that git ignores",
        "sync": "one room, its state shown to all players in each tick",
        "jobs": "requests, broadcasts, joining and leaving, coming back",
        "idle": "memory of players who do nothing",
    }.items():
        command = commands.add_parser(name, help=text, description=text)
        if name == "install":
            continue
        command.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there")
        command.add_argument(
            "--rounds",
            type=_positive,
            default=5,
            help="how often each measurement is repeated (%(default)s)",
        )
        command.add_argument(
            "--systems",
            choices=CONTENDER_NAMES,
            nargs="+",
            default=CONTENDER_NAMES,
            metavar="NAME",
            help=f"the first is what others are compared with; of: {', '.join(CONTENDER_NAMES)}",
        )
        command.add_argument(
            "--beside", metavar="REV", help="measure also the server of this commit, branch or tag"
        )
        if name != "idle":
            command.add_argument(
                "--seconds", type=float, default=5.0, help="of one measurement (%(default)s)"
            )
        if name == "jobs":
            command.add_argument(
                "--jobs",
                choices=JOBS,
                nargs="+",
                default=list(JOBS),
                metavar="NAME",
                help=f"of: {', '.join(JOBS)} (all)",
            )
        if name == "sync":
            command.add_argument(
                "--players",
                type=_positive,
                nargs="+",
                default=[10, 30, 100, 300],
                metavar="N",
                help="numbers of players (10 30 100 300)",
            )
        if name == "idle":
            command.add_argument(
                "--players",
                type=_positive,
                default=2000,
                metavar="N",
                help="how many (%(default)s)",
            )
    return parser.parse_args(arguments)


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(
    arguments: Sequence[str] | None = None, contenders: Sequence[Contender] = CONTENDERS
) -> int:
    """Measure, and print the tables."""
    options = parse(arguments)
    if options.command == "install":
        install()
        return 0
    by_name = {contender.name: contender for contender in contenders}
    chosen = [by_name[name] for name in options.systems if name in by_name]
    if options.command == "sync" and OURS[0] in chosen:
        chosen += [PATIENT, INPUTS]
    if options.beside is not None:
        chosen.append(earlier(options.beside, checkout(ROOT, options.beside)))
    found, left_out = present(chosen)
    if not found:
        print("\n".join(left_out), file=sys.stderr)
        return 1
    where = machine()
    with apart():
        report = _run(options, chosen)
    systems = (
        " --systems " + " ".join(options.systems) if options.systems != CONTENDER_NAMES else ""
    )
    beside = f" --beside {options.beside}" if options.beside is not None else ""
    report = attrs.evolve(report, command=report.command + systems + beside)
    print(f"Measured on: {where}.\n\n{report.markdown()}")
    if options.json is not None:
        content = {"machine": where, "reports": [report.as_json()]}
        options.json.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    return 0


def _run(options: argparse.Namespace, contenders: Sequence[Contender]) -> Report:
    if options.command == "sync":
        return sync_report(
            contenders,
            players=options.players,
            seconds=options.seconds,
            rounds=options.rounds,
            progress=_progress,
        )
    if options.command == "idle":
        return idle_report(
            contenders, players=options.players, rounds=options.rounds, progress=_progress
        )
    return jobs_report(
        contenders,
        jobs=options.jobs,
        seconds=options.seconds,
        rounds=options.rounds,
        progress=_progress,
    )


if __name__ == "__main__":
    sys.exit(main())
