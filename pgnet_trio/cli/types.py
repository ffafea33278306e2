"""``pgnet-trio types``: the messages of a game as TypeScript."""

from __future__ import annotations

import argparse
from pathlib import Path

from pgnet_trio.cli.game_class import load_game_class
from pgnet_trio.cli.typescript import describe
from pgnet_trio.errors import PGNetError

__all__ = ["run", "set_up"]

EXAMPLES = """\
examples:
  pgnet-trio types my_game.py:MyGame
  pgnet-trio types my_game.py:MyGame --output web/messages.ts

The requests are the methods marked with @on; what they answer, and the state, is what these methods
and view are annotated to return. What the game pushes and asks is what its class declares, in
pushes and asks.
"""


def set_up(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command, and what runs it."""
    parser.description = "Write the messages of a game, and its state, as TypeScript."
    parser.epilog = EXAMPLES
    parser.set_defaults(run=run)
    parser.add_argument(
        "game", metavar="MODULE:CLASS", help="the game's class; also path/to/file.py:CLASS"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write to this file, and replace what is in it (default: standard output)",
    )


def run(options: argparse.Namespace) -> int:
    """Write the types.

    Returns:
        0.

    Raises:
        PGNetError: The class cannot be used, or the file cannot be written.
    """
    text = describe(load_game_class(options.game))
    if options.output is None:
        print(text, end="")
        return 0
    try:
        options.output.write_text(text, "utf-8")
    except OSError as error:
        raise PGNetError(f"cannot write to {options.output}: {error.strerror}") from error
    return 0
