"""``pgnet-trio backup``: a copy of a save file, also while a server runs."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from pgnet_trio.cli.check import describe
from pgnet_trio.storage import key_file_of
from pgnet_trio.storage.maintenance import back_up

__all__ = ["run", "set_up"]

EXAMPLES = """\
examples:
  pgnet-trio backup my_game.sqlite backups/monday.sqlite
  pgnet-trio backup my_game.json my_game.sqlite
  pgnet-trio backup backups/monday.sqlite my_game.sqlite --overwrite

The second one changes the format, the last one restores a backup; for both, no server may run.
"""


def set_up(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command, and what runs it."""
    parser.description = (
        "Copy a save file as it is at one moment, and check the copy. A server may go on using "
        "the file."
    )
    parser.epilog = EXAMPLES
    parser.set_defaults(run=run)
    parser.add_argument("file", type=Path, metavar="FILE", help="the save file")
    parser.add_argument(
        "to",
        type=Path,
        metavar="TO",
        help="the copy; in PGNet's format if its name ends in .json, else SQLite",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace TO where it is there")


def run(options: argparse.Namespace) -> int:
    """Make the copy.

    Returns:
        0; 1 where single games in it are damaged.

    Raises:
        PGNetError: There is no copy; the message says why.
    """
    logging.basicConfig(format="%(levelname)s %(message)s")
    replaces = options.overwrite and options.to.exists()
    findings = back_up(options.file, options.to, overwrite=options.overwrite)
    print(f"{options.to} {'was replaced by' if replaces else 'is'} a copy of {options.file}.")
    if findings.left_out:
        print(
            "Results, leaderboards, bans and profiles are not in it: the format of PGNet has no "
            "place for them."
        )
    status = describe(options.to, findings)
    key_file = key_file_of(options.file)
    if key_file.exists():
        print(f"The server's key is not in it. Copy {key_file} too, and show it to nobody.")
    return status
