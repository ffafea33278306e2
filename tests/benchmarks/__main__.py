"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.report import Report, machine
from tests.benchmarks.roundtrip import CASES, DEFAULT_CASES

__all__ = ["main", "parse"]


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Measure pgnet_trio beside its budgets. Tables come out as Markdown.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in {
        "roundtrip": "CPU time, rate and latency of requests, beside raw echoes and a rival",
        "local": "requests a second through Client.local",
        "latency": "time of one request from our own client over loopback",
        "push": "one room that pushes to all of its players",
        "stall": "what somebody who reads slowly, or not at all, costs others",
        "reconnect": "connections that come, drop and come back",
        "idle": "memory of idle logged-in connections",
        "import": "time of `import pgnet_trio`",
        "all": "all of these",
    }.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there")
        if name in {"roundtrip", "local", "latency", "push", "stall", "all"}:
            command.add_argument(
                "--seconds", type=float, default=2.0, help="of one measurement (%(default)s)"
            )
        if name != "idle":
            command.add_argument(
                "--rounds",
                type=_positive,
                default=15 if name == "import" else 5,
                help="how often each measurement is repeated (%(default)s)",
            )
        if name == "reconnect":
            command.add_argument(
                "--clients", type=_positive, default=500, help="that drop at once (%(default)s)"
            )
        if name in {"roundtrip", "all"}:
            command.add_argument(
                "--clients",
                type=_positive,
                nargs="+",
                default=[1, 32],
                metavar="N",
                help="numbers of clients (1 32)",
            )
            command.add_argument(
                "--servers",
                choices=CASES,
                nargs="+",
                default=DEFAULT_CASES,
                metavar="NAME",
                help=f"the first is what others are compared with; of: {', '.join(CASES)}",
            )
            command.add_argument(
                "--in-flight",
                type=_positive,
                nargs="+",
                default=[1, 4, 16],
                metavar="N",
                help="requests that each client has under way, with protocol 2 (1 4 16)",
            )
            command.add_argument(
                "--sleep",
                action="store_true",
                help="let the load generator sleep while it waits; needed on one core",
            )
        if name in {"push", "all"}:
            command.add_argument(
                "--recipients",
                type=_positive,
                nargs="+",
                default=[100, 500],
                metavar="N",
                help="numbers of players in the room (100 500)",
            )
        if name in {"idle", "reconnect", "all"}:
            command.add_argument(
                "--connections",
                type=_positive,
                default=500 if name == "reconnect" else 2000,
                help="how many (%(default)s)",
            )
    return parser.parse_args(arguments)


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(options: argparse.Namespace) -> list[Report]:
    """Carry out what the command line asks."""
    # Imported late: the echoes can be measured where our own server cannot be imported.
    everything = options.command == "all"
    reports = []
    if everything or options.command == "roundtrip":
        from tests.benchmarks.roundtrip import roundtrip

        reports.append(
            roundtrip(
                seconds=options.seconds,
                rounds=options.rounds,
                clients=options.clients,
                servers=options.servers,
                in_flight=options.in_flight,
                sleep=options.sleep,
                progress=_progress,
            )
        )
    if everything or options.command == "local":
        from tests.benchmarks.clients import local

        reports.append(local(seconds=options.seconds, rounds=options.rounds, progress=_progress))
    if everything or options.command == "latency":
        from tests.benchmarks.clients import latency

        reports.append(latency(seconds=options.seconds, rounds=options.rounds, progress=_progress))
    if everything or options.command == "push":
        from tests.benchmarks.push import push

        reports.append(
            push(
                recipients=options.recipients,
                seconds=options.seconds,
                rounds=options.rounds,
                progress=_progress,
            )
        )
    if everything or options.command == "stall":
        from tests.benchmarks.stall import stall

        reports.append(stall(seconds=options.seconds, rounds=options.rounds, progress=_progress))
    if everything or options.command == "reconnect":
        from tests.benchmarks.reconnect import reconnect

        reports.append(
            reconnect(
                connections=min(options.connections, 500) if everything else options.connections,
                clients=500 if everything else options.clients,
                rounds=options.rounds,
                progress=_progress,
            )
        )
    if everything or options.command == "idle":
        from tests.benchmarks.idle import idle

        reports.append(idle(connections=options.connections, progress=_progress))
    if everything or options.command == "import":
        from tests.benchmarks.imports import import_time

        rounds = max(options.rounds, 15) if everything else options.rounds
        reports.append(import_time(rounds=rounds, progress=_progress))
    return reports


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the tables."""
    options = parse(arguments)
    where = machine()
    reports = run(options)
    print("\n\n".join([f"Measured on: {where}.", *(report.markdown() for report in reports)]))
    if options.json is not None:
        content = {"machine": where, "reports": [report.as_json() for report in reports]}
        options.json.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
