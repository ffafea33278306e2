"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.compare import BENCHMARKS, compare
from tests.benchmarks.instructions import WORKS, instructions
from tests.benchmarks.processes import apart
from tests.benchmarks.report import Report, machine
from tests.benchmarks.roundtrip import CASES, DEFAULT_CASES

__all__ = ["main", "parse"]

COMMANDS = {
    "roundtrip": "CPU time, rate and latency of requests, beside raw echoes and a rival",
    "local": "requests a second through Client.local",
    "latency": "time of one request from our own client over loopback",
    "move": "time from a move in one client to the new state in another",
    "handler": "what a typed handler costs more than an untyped one",
    "push": "one room that pushes to all of its players",
    "stall": "what somebody who reads slowly, or not at all, costs others",
    "reconnect": "connections that come, drop and come back",
    "pages": "CPU time of a file that a browser asks for",
    "browser": "time of opening a page, and of a move from window to window, in Chromium",
    "monitor": "what a page of the monitor costs the server, and how soon it is there",
    "diff": "finding and applying what changed in a state",
    "columns": "the same with tables column by column, beside it",
    "matchmaking": "a look at a queue of 10,000 tickets, and the time to a game",
    "standings": "a place among a million scores, and a result, in an SQLite file",
    "netcode": "CPU time of inputs beside messages, and what a prediction costs a client",
    "sync": "one room, its state shown to all in each tick, beside Colyseus where it is installed",
    "scale": "memory, CPU time and latency with more and more players",
    "idle": "memory of idle logged-in connections",
    "cluster-drain": "what players wait for when their server gives its games to others",
    "cluster-death": "what players wait for when their server was killed",
    "cluster-workers": "CPU time of requests at two servers that look like one, beside one",
    "cluster-costs": "joins at another server, CPU time of a room, memory of a remote one",
    "import": "time of `import pgnet_trio`",
}
TIMED = {
    "cluster-workers",
    "handler",
    "latency",
    "local",
    "monitor",
    "move",
    "netcode",
    "push",
    "roundtrip",
    "scale",
    "stall",
    "sync",
}
ONCE = {"idle", "scale"}
REPEATED = {"import", "diff", "columns", "matchmaking"}

# What a process costs once has to be drowned by what is measured.
MOST_IMPORTS_AND_DIFFS = 15


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _numbers(
    command: argparse.ArgumentParser, name: str, default: Sequence[int], text: str
) -> None:
    command.add_argument(
        name,
        type=_positive,
        nargs="+",
        default=list(default),
        metavar="N",
        help=f"{text} ({' '.join(map(str, default))})",
    )


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Measure pgnet_trio beside its budgets. Tables come out as Markdown.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    everything = "all of these, without the rivals at anything but `roundtrip` and `sync`"
    for name, text in {**COMMANDS, "all": everything}.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there")
        if name in TIMED or name == "all":
            command.add_argument(
                "--seconds", type=float, default=2.0, help="of one measurement (%(default)s)"
            )
        if name not in ONCE:
            command.add_argument(
                "--rounds",
                type=_positive,
                default=MOST_IMPORTS_AND_DIFFS if name in REPEATED else 5,
                help="how often each measurement is repeated (%(default)s)",
            )
        if name in {"roundtrip", "all"}:
            _numbers(command, "--clients", [1, 32], "numbers of clients")
            _numbers(
                command,
                "--in-flight",
                [1, 4, 16],
                "requests that each client has under way, with protocol 2",
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
                "--sleep",
                action="store_true",
                help="let the load generator sleep while it waits; needed on one core",
            )
        if name in {"push", "all"}:
            _numbers(command, "--recipients", [100, 500], "numbers of players in the room")
        if name == "sync":
            _numbers(command, "--players", [10, 30, 100, 300], "numbers of players")
        if name == "pages":
            command.add_argument(
                "--requests",
                type=_positive,
                default=2000,
                help="of one measurement (%(default)s)",
            )
        if name == "scale":
            _numbers(command, "--players", [100, 500, 1000, 2000, 5000], "numbers of players")
        if name == "reconnect":
            command.add_argument(
                "--clients", type=_positive, default=500, help="that drop at once (%(default)s)"
            )
        if name == "monitor":
            command.add_argument("--players", type=_positive, default=1000, help="(%(default)s)")
            command.add_argument("--tables", type=_positive, default=100, help="(%(default)s)")
        if name == "netcode":
            command.add_argument("--players", type=_positive, default=100, help="(%(default)s)")
        if name in {"cluster-drain", "cluster-death"}:
            many = name == "cluster-drain"
            command.add_argument(
                "--players", type=_positive, default=1000 if many else 100, help="(%(default)s)"
            )
            command.add_argument(
                "--rooms", type=_positive, default=100 if many else 30, help="(%(default)s)"
            )
        if name == "cluster-costs":
            command.add_argument("--joins", type=_positive, default=100, help="(%(default)s)")
            command.add_argument("--rooms", type=_positive, default=300, help="(%(default)s)")
            command.add_argument(
                "--remote-rooms", type=_positive, default=4_000, help="(%(default)s)"
            )
        if name in {"idle", "reconnect", "all"}:
            command.add_argument(
                "--connections",
                type=_positive,
                default=500 if name == "reconnect" else 2000,
                help="how many (%(default)s)",
            )
    _add_comparisons(commands)
    peers = commands.add_parser(
        "peers",
        help="ours beside other systems: what follows is for `python -m tests.benchmarks.peers`",
    )
    peers.add_argument("arguments", nargs=argparse.REMAINDER)
    return parser.parse_args(arguments)


def _add_comparisons(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "this tree beside an earlier revision, measured in turn"
    comparison = commands.add_parser("compare", help=text, description=f"{text}.")
    comparison.add_argument("revision", metavar="REV", help="a commit, branch or tag")
    comparison.add_argument(
        "benchmarks",
        type=_benchmark,
        nargs="*",
        default=list(BENCHMARKS),
        metavar="NAME",
        help=f"of: {', '.join(BENCHMARKS)} (all)",
    )
    comparison.add_argument(
        "--pairs", type=_positive, default=10, help="how often both are measured (%(default)s)"
    )
    comparison.add_argument(
        "--seconds", type=float, default=2.0, help="of one measurement (%(default)s)"
    )
    _add_tolerance_and_json(comparison, 3.0)
    text = "instructions of the server, where Valgrind is installed; beside those of a revision"
    counting = commands.add_parser("instructions", help=text, description=f"{text}.")
    counting.add_argument("revision", nargs="?", metavar="REV", help="a commit, branch or tag")
    counting.add_argument(
        "--works",
        choices=WORKS,
        nargs="+",
        default=list(WORKS),
        metavar="NAME",
        help=f"of: {', '.join(WORKS)} (all)",
    )
    counting.add_argument(
        "--part", type=float, default=1.0, help="of the usual work, to have it sooner (%(default)s)"
    )
    _add_tolerance_and_json(counting, 1.0)


def _add_tolerance_and_json(command: argparse.ArgumentParser, percent: float) -> None:
    command.add_argument(
        "--tolerance",
        type=float,
        default=percent,
        metavar="PERCENT",
        help="how much more is no loss (%(default)s)",
    )
    command.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there")


def _benchmark(name: str) -> str:
    # argparse checks the default of a positional list against its choices, which it is not in.
    if name not in BENCHMARKS:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(BENCHMARKS)}, got {name!r}")
    return name


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _run_one(options: argparse.Namespace) -> Report:
    # Imported late: the echoes can be measured where our own server cannot be imported.
    match options.command:
        case "roundtrip":
            from tests.benchmarks.roundtrip import roundtrip

            return roundtrip(
                seconds=options.seconds,
                rounds=options.rounds,
                clients=options.clients,
                servers=options.servers,
                in_flight=options.in_flight,
                sleep=options.sleep,
                progress=_progress,
            )
        case "local":
            from tests.benchmarks.clients import local

            return local(seconds=options.seconds, rounds=options.rounds, progress=_progress)
        case "latency":
            from tests.benchmarks.clients import latency

            return latency(seconds=options.seconds, rounds=options.rounds, progress=_progress)
        case "move":
            from tests.benchmarks.moves import move

            return move(seconds=options.seconds, rounds=options.rounds, progress=_progress)
        case "handler":
            from tests.benchmarks.moves import handler

            return handler(seconds=options.seconds, rounds=options.rounds, progress=_progress)
        case "push":
            from tests.benchmarks.push import push

            return push(
                recipients=options.recipients,
                seconds=options.seconds,
                rounds=options.rounds,
                progress=_progress,
            )
        case "stall":
            from tests.benchmarks.stall import stall

            return stall(seconds=options.seconds, rounds=options.rounds, progress=_progress)
        case "reconnect":
            from tests.benchmarks.reconnect import reconnect

            return reconnect(
                connections=options.connections,
                clients=options.clients,
                rounds=options.rounds,
                progress=_progress,
            )
        case "cluster-drain" | "cluster-death":
            from tests.benchmarks.nodes import cluster_death, cluster_drain

            run = cluster_drain if options.command == "cluster-drain" else cluster_death
            return run(players=options.players, rooms=options.rooms, progress=_progress)
        case "cluster-workers":
            from tests.benchmarks.workers import cluster_workers

            return cluster_workers(
                seconds=options.seconds, rounds=options.rounds, progress=_progress
            )
        case "cluster-costs":
            from tests.benchmarks.cluster import cluster_costs

            return cluster_costs(
                joins=options.joins,
                rooms=options.rooms,
                remote_rooms=options.remote_rooms,
                progress=_progress,
            )
        case "pages":
            from tests.benchmarks.pages import pages

            return pages(requests=options.requests, rounds=options.rounds, progress=_progress)
        case "browser":
            from tests.benchmarks.browser import browser

            return browser(rounds=options.rounds, progress=_progress)
        case "monitor":
            from tests.benchmarks.monitor import monitor

            return monitor(
                players=options.players,
                tables=options.tables,
                seconds=options.seconds,
                rounds=options.rounds,
                progress=_progress,
            )
        case "netcode":
            from tests.benchmarks.netcode import netcode

            return netcode(
                players=options.players,
                seconds=options.seconds,
                rounds=options.rounds,
                progress=_progress,
            )
        case "diff":
            from tests.benchmarks.diff import diff_benchmark

            return diff_benchmark(rounds=options.rounds, progress=_progress)
        case "standings":
            from tests.benchmarks.standings import standings_benchmark

            return standings_benchmark(progress=_progress)
        case "matchmaking":
            from tests.benchmarks.matchmaking import matchmaking_benchmark

            return matchmaking_benchmark(rounds=options.rounds, progress=_progress)
        case "columns":
            from tests.benchmarks.columns import columns_benchmark

            return columns_benchmark(rounds=options.rounds, progress=_progress)
        case "sync":
            from tests.benchmarks.sync import sync

            return sync(
                players=options.players,
                seconds=options.seconds,
                rounds=options.rounds,
                progress=_progress,
            )
        case "scale":
            from tests.benchmarks.scale import scale

            return scale(players=options.players, seconds=options.seconds, progress=_progress)
        case "idle":
            from tests.benchmarks.idle import idle

            return idle(connections=options.connections, progress=_progress)
        case "compare":
            return compare(
                options.revision,
                benchmarks=options.benchmarks,
                pairs=options.pairs,
                seconds=options.seconds,
                tolerance=options.tolerance / 100,
                progress=_progress,
            )
        case "instructions":
            return instructions(
                options.revision,
                works=options.works,
                part=options.part,
                tolerance=options.tolerance / 100,
                progress=_progress,
            )
        case "import":
            from tests.benchmarks.imports import import_time

            return import_time(rounds=options.rounds, progress=_progress)
        case _:
            raise ValueError(options.command)


def run(options: argparse.Namespace) -> list[Report]:
    """Carry out what the command line asks."""
    if options.command != "all":
        return [_run_one(options)]
    given = vars(options)
    reports = []
    for name in COMMANDS:
        own = vars(parse([name]))
        # What `all` has an option for holds everywhere, except where it means something else.
        shared = {key: given[key] for key in own.keys() & given.keys() - {"command", "json"}}
        if name == "reconnect":
            del shared["clients"], shared["connections"]
        if name in REPEATED:
            shared["rounds"] = max(options.rounds, MOST_IMPORTS_AND_DIFFS)
        try:
            reports.append(_run_one(argparse.Namespace(**{**own, **shared})))
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            # The others took minutes, and are not to be lost because this one failed.
            _progress(f"{name} failed: {error}")
    return reports


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the tables."""
    options = parse(arguments)
    if options.command == "peers":
        from tests.benchmarks.peers.__main__ import main as beside_peers

        return beside_peers(options.arguments or ["jobs"])
    where = machine()
    # `compare` starts benchmarks, each of which does this for itself.
    try:
        with contextlib.nullcontext() if options.command == "compare" else apart():
            reports = run(options)
    except RuntimeError as error:
        sys.exit(f"python -m tests.benchmarks {options.command}: {error}")
    print("\n\n".join([f"Measured on: {where}.", *(report.markdown() for report in reports)]))
    if options.json is not None:
        content = {"machine": where, "reports": [report.as_json() for report in reports]}
        options.json.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    if options.command in {"compare", "instructions"}:
        return int(any(each.get("judgement") == "slower" for each in reports[0].measured))
    return int(options.command == "all" and len(reports) < len(COMMANDS))


if __name__ == "__main__":
    sys.exit(main())
