"""``pgnet-trio check``: whether a save file is sound."""

from __future__ import annotations

import argparse
from pathlib import Path

from pgnet_trio.storage.maintenance import Findings, check

__all__ = ["describe", "run", "set_up"]

EXAMPLES = """\
examples:
  pgnet-trio check my_game.sqlite

It reads all of the file, and changes nothing; a server may go on using it. The exit status is 0 if
everything is sound.
"""

FOUND_DAMAGE = 1


def set_up(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command, and what runs it."""
    parser.description = "Read all of a save file, and say whether it is sound."
    parser.epilog = EXAMPLES
    parser.set_defaults(run=run)
    parser.add_argument("file", type=Path, metavar="FILE", help="the save file")


def run(options: argparse.Namespace) -> int:
    """Check the file.

    Returns:
        0; 1 where single games are damaged.

    Raises:
        PGNetError: The file is damaged elsewhere, or cannot be read.
    """
    return describe(options.file, check(options.file))


def describe(path: Path, findings: Findings) -> int:
    """Print what was found in a save file, and return the exit status for it."""
    for name in findings.damaged_games:
        print(f"The save of the game {name!r} is damaged. A server does not load it.")
    if findings.games_aside:
        print(f"{findings.games_aside} damaged saves are kept in the table damaged_games.")
    if findings.foreign_log is not None:
        print(f"{findings.foreign_log.name} is the log of another file; it was not read.")
    sound = "The rest" if findings.damaged_games else str(path)
    print(f"{sound} is sound: users {findings.users}, games {findings.games}.")
    return FOUND_DAMAGE if findings.damaged_games else 0
