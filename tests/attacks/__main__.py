"""The command line: `python -m tests.attacks all|games|floods|kills|disk|comeback`.

Everything is bounded in time, stays on loopback, and is aimed at servers that this program starts
itself. Tables come out as Markdown; `--json FILE` writes all numbers, to compare before and after.
The exit status is 0 where all is as it should be.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import trio

from tests.attacks.comeback import ComebackRow, come_back
from tests.attacks.disk import CASES, DiskRow, try_disk
from tests.attacks.flooder import ACCOUNTS, AUDIENCE, FLOODS
from tests.attacks.floods import FloodRow, try_floods
from tests.attacks.games import GameRow, try_games
from tests.attacks.kills import KillRow, kill_again_and_again
from tests.attacks.misbehaving import KINDS
from tests.attacks.processes import TREE, Place, place
from tests.benchmarks.report import machine, markdown_table

__all__ = ["QUICK", "SECTIONS", "main", "parse"]

SECTIONS = {
    "games": "kinds of games that misbehave, beside somebody honest at another table",
    "floods": "somebody honest under floods from a few accounts",
    "kills": "kill -9 at random moments",
    "disk": "files that are deleted, replaced, copied, and disks that are full",
    "comeback": "how soon everybody is back after a kill",
}

QUICK = {
    "games": ["handler raises ValueError", "handler raises SystemExit"],
    "floods": ["deep request"],
    "disk": ["full disk, the author does not", "lock file deleted, a second server started"],
}
"""A few cases for each section, with `--quick`."""

SECONDS = {"games": 2.5, "floods": 5.0, "comeback": 120.0}
QUICK_SECONDS = {"games": 1.0, "floods": 1.0, "comeback": 10.0}
CLIENTS, QUICK_CLIENTS = 5_000, 20
KILLS, QUICK_KILLS = 24, 2


class Row(Protocol):
    """A row of a table."""

    @property
    def well(self) -> bool:
        """Whether all is as it should be."""

    def as_json(self) -> dict[str, Any]:
        """The row as plain data."""

    def cells(self) -> list[str]:
        """The row as text."""


HEADS = {
    "games": GameRow.head(),
    "floods": FloodRow.head(),
    "kills": KillRow.head(),
    "disk": DiskRow.head(),
    "comeback": ComebackRow.head(),
}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.attacks", description=(__doc__ or "").partition("\n\n")[2]
    )
    what = "; ".join(f"{name}: {text}" for name, text in SECTIONS.items())
    parser.add_argument("section", choices=["all", *SECTIONS], help=f"{what}; all of these")
    parser.add_argument("--quick", action="store_true", help="a few cases, in some seconds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there")
    parser.add_argument(
        "--seconds", type=float, help="of each game or flood, or for coming back (2.5, 5, 120)"
    )
    parser.add_argument(
        "--server-path",
        type=Path,
        default=TREE,
        metavar="DIR",
        help="the folder whose pgnet_trio is attacked, of another version say (this tree)",
    )
    parser.add_argument(
        "--python", default=sys.executable, help="the interpreter of the servers (this one)"
    )
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        help="only this kind of game, flood or disk case; may come again",
    )
    parser.add_argument(
        "--server-option",
        action="append",
        default=[],
        metavar="OPTION",
        help="one more option of `pgnet-trio serve`, as --server-option=--watchdog=1",
    )
    parser.add_argument("--accounts", type=int, default=ACCOUNTS, help="that flood (%(default)s)")
    parser.add_argument(
        "--audience", type=int, default=AUDIENCE, help="players who only watch (%(default)s)"
    )
    parser.add_argument("--kills", type=int, help=f"of both kinds of save file ({KILLS})")
    parser.add_argument("--seed", type=int, default=1, help="of the kills (%(default)s)")
    parser.add_argument("--clients", type=int, help=f"that come back ({CLIENTS:,})")
    options = parser.parse_args(arguments)
    if options.only and options.section in {"all", "kills", "comeback"}:
        parser.error(f"--only names cases of games, floods or disk, and not of {options.section}")
    return options


def _names(options: argparse.Namespace, section: str, everything: Sequence[str]) -> Sequence[str]:
    names = options.only or (QUICK[section] if options.quick else everything)
    unknown = [name for name in names if name not in everything]
    if unknown:
        raise SystemExit(f"no such case: {', '.join(unknown)}; there are: {', '.join(everything)}")
    return names


async def rows(options: argparse.Namespace, section: str, where: Place) -> AsyncIterator[Row]:
    """Carry out one section, row by row."""
    defaults = QUICK_SECONDS if options.quick else SECONDS
    seconds = options.seconds or defaults.get(section, 0.0)
    match section:
        case "games":
            names = _names(options, section, list(KINDS))
            async for game in try_games(where, names, seconds=seconds):
                yield game
        case "floods":
            names = _names(options, section, list(FLOODS))
            async for flood in try_floods(
                where,
                names,
                seconds=seconds,
                accounts=options.accounts,
                audience=options.audience,
            ):
                yield flood
        case "kills":
            kills = options.kills or (QUICK_KILLS if options.quick else KILLS)
            for suffix in (".sqlite", ".json"):
                async for kill in kill_again_and_again(
                    where, kills=kills // 2, seed=options.seed, suffix=suffix
                ):
                    yield kill
        case "disk":
            async for disk in try_disk(where, _names(options, section, list(CASES))):
                yield disk
        case "comeback":
            clients = options.clients or (QUICK_CLIENTS if options.quick else CLIENTS)
            yield await come_back(where, clients=clients, seconds=seconds)


async def run(options: argparse.Namespace, content: dict[str, Any]) -> bool:
    """Carry out what the command line asks; returns whether all is as it should be."""
    well = True
    for section in SECTIONS if options.section == "all" else [options.section]:
        found: list[Row] = []
        # A place of its own: what one section leaves behind is gone with it.
        with place(options.server_path, options.python, options.server_option) as where:
            async for row in rows(options, section, where):
                found.append(row)
                _progress(f"{section}: {' | '.join(row.cells())}")
                content["sections"].setdefault(section, []).append(row.as_json())
                if options.json is not None:
                    # What took minutes is not to be lost because something later failed.
                    options.json.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
        bad = sum(not row.well for row in found)
        well &= not bad
        print(f"## {section}: {SECTIONS[section]}\n")
        print(markdown_table(HEADS[section], [row.cells() for row in found]))
        print(f"\n{len(found) - bad} of {len(found)} are as they should be.\n")
        games = [row for row in found if isinstance(row, GameRow)]
        if games:
            print(f"Of these games, {GameRow.summary(games)}\n")
        sys.stdout.flush()
    return well


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Attack, and print the tables; returns the exit status."""
    options = parse(arguments)
    # As Ctrl-C does: the servers end with this program.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    given = sys.argv[1:] if arguments is None else list(arguments)
    content: dict[str, Any] = {"machine": machine(), "arguments": given, "sections": {}}
    print(f"On: {content['machine']}.\n")
    return 0 if trio.run(run, options, content) else 1


if __name__ == "__main__":
    sys.exit(main())
