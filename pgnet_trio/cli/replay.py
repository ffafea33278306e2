"""``pgnet-trio replay``: play a recorded table again."""

from __future__ import annotations

import argparse
import bdb
import json
import pdb
import platform
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgnet_trio.cli.arguments import whole
from pgnet_trio.cli.game_class import load_game_class
from pgnet_trio.cli.recording_options import start_anew_with
from pgnet_trio.errors import PGNetError, first_error
from pgnet_trio.foreign_text import one_line, printable
from pgnet_trio.game import Game
from pgnet_trio.recording import RecordingError, describe_game, is_hash_seed

if TYPE_CHECKING:
    from pgnet_trio.recording import StoredRecording
    from pgnet_trio.replay import Outcome, TurnView

__all__ = ["run", "set_up"]

EXAMPLES = """\
examples:
  pgnet-trio replay recordings/table_1-20260101120000-0a1b2c3d.1.crash.rec my_game.py:MyGame
  pgnet-trio replay FILE my_game.py:MyGame --until 811 --pdb
  pgnet-trio replay FILE my_game.py:MyGame --states
  pgnet-trio replay FILE

Without a game it shows what is in the file. `pgnet-trio serve --record FOLDER` writes such files.
The exit status is 0 if the replay is as the recording, to the same error where there is one, and 1
if it differs.
"""

DIFFERS = 1

LONGEST_LINE = 2000


def set_up(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command, and what runs it."""
    parser.description = (
        "Play a recorded table again, in virtual time: to the same error, or to where it differs."
    )
    parser.epilog = EXAMPLES
    parser.set_defaults(run=run)
    parser.add_argument("file", type=Path, metavar="FILE", help="the recording")
    parser.add_argument(
        "game",
        nargs="?",
        metavar="MODULE:CLASS",
        help="the game class, or path/to/file.py:CLASS; without it, only show what is in the file",
    )
    parser.add_argument("--until", type=whole, metavar="TURN", help="stop after this turn")
    parser.add_argument(
        "--states", action="store_true", help="show each turn, and the states that it changes"
    )
    parser.add_argument(
        "--pdb",
        action="store_true",
        help="open Python's debugger where the game raises; with --until, where the replay stops",
    )
    parser.add_argument(
        "--last",
        type=whole,
        default=50,
        metavar="NUMBER",
        help="without a game: how many events are shown (default: 50)",
    )


def run(options: argparse.Namespace) -> int:
    """Play the recording.

    Returns:
        0 where it is as it was; 1 where it differs.

    Raises:
        PGNetError: The recording or the game cannot be used; the message says why.
    """
    # Not before: it takes the server with it.
    from pgnet_trio.replay import load_life, replay, summary_of

    life = load_life(options.file)
    if options.game is None:
        if options.pdb or options.states or options.until is not None:
            raise PGNetError("--until, --states and --pdb play the game: name its MODULE:CLASS")
        for line in summary_of(life, last=options.last):
            print(printable(line))
        return 0
    seed = life.head.hash_seed
    if seed is not None:
        if not is_hash_seed(seed):
            raise RecordingError(
                f"{options.file} makes no sense: {one_line(seed, 20)!r} is no PYTHONHASHSEED"
            )
        start_anew_with(seed, options.arguments)
    game = load_game_class(options.game)
    _warn(life, game)
    watch = _Watch(shows_states=options.states, debugs=options.pdb)
    try:
        outcome = replay(life, game, until=options.until, watch=watch)
    except bdb.BdbQuit:
        # Whoever leaves the debugger has seen enough.
        return 0
    return _tell(life, outcome, options)


def _warn(life: StoredRecording, game: type[Game]) -> None:
    """Say what may make the replay differ."""
    head, here = life.head, describe_game(game, Game)
    warnings = [f"it uses {what}" for what in head.unrepeatable]
    if head.source and here.source and head.source != here.source:
        warnings.append(f"{here.game.rpartition(':')[0]} is not as it was recorded")
    python = platform.python_version_tuple()[:2]
    if tuple(head.python.split(".")[:2]) != python:
        warnings.append(f"it was recorded on Python {one_line(head.python)}")
    if life.problem:
        warnings.append(f"the recording is cut: {life.problem}")
    for warning in warnings:
        print(f"This may make a difference: {printable(warning)}.", file=sys.stderr)


class _Watch:
    """Shows what happens at the table."""

    def __init__(self, *, shows_states: bool, debugs: bool) -> None:
        self._shows_states = shows_states
        self._debugs = debugs

    def __call__(self, view: TurnView) -> None:
        if self._shows_states:
            print(one_line(f"turn {view.turn:,}, {view.time:.3f} s: {view.what}", LONGEST_LINE))
            for player, state in view.states.items():
                shown = json.dumps(state, ensure_ascii=False)
                print(f"  {one_line(player)}: {one_line(shown, LONGEST_LINE)}")
        if view.is_last and self._debugs:
            _debug(view.game, view)


def _debug(game: Any, view: TurnView) -> None:
    """Open the debugger: ``game`` is the game, and ``view`` what came last."""
    pdb.Pdb().set_trace()


def _tell(life: StoredRecording, outcome: Outcome, options: argparse.Namespace) -> int:
    """Say what came of it, and return the exit status."""
    if outcome.error is not None:
        sys.stdout.flush()
        print(printable("".join(traceback.format_exception(outcome.error))), file=sys.stderr)
    if outcome.difference is not None:
        print(f"It differs from the recording in {printable(str(outcome.difference))}.")
    else:
        print(printable(f"As recorded, {outcome.turns:,} turns: {outcome.end}."))
    if outcome.error is not None and options.pdb:
        pdb.post_mortem(first_error(outcome.error).__traceback__)
    return 0 if outcome.difference is None else DIFFERS
