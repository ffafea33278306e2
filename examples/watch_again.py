"""Shows the last game of tic-tac-toe that was recorded, move by move.

pgnet-trio serve examples/tictactoe.py:TicTacToe --record recordings     records what is played
python examples/watch_again.py recordings                                shows the last game again
python examples/watch_again.py recordings --pause 0                      without waiting
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tictactoe import Table, TicTacToe, draw

from pgnet_trio.codec import from_plain
from pgnet_trio.errors import PGNetError
from pgnet_trio.replay import TurnView, load_life, replay


def last_recording(folder: Path) -> Path:
    recordings = sorted(folder.glob("*.rec"), key=lambda path: path.stat().st_mtime)
    if not recordings:
        sys.exit(f"Nothing is recorded in {folder}.")
    return recordings[-1]


def watch(folder: Path, pause: float) -> None:
    shown = ""

    def show(view: TurnView) -> None:
        nonlocal shown
        # Everybody sees the same board.
        for state in view.states.values():
            board = draw(from_plain(state, Table))
            if board != shown:
                time.sleep(pause)
                print(f"\nAfter {view.time:.0f} seconds:{board}", flush=True)
                shown = board

    outcome = replay(load_life(last_recording(folder)), TicTacToe, watch=show)
    print(f"\nThat was it: {outcome.difference or outcome.end}.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Show the last game that was recorded.")
    parser.add_argument("folder", type=Path, help="where the recordings are")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds before each move")
    options = parser.parse_args()
    try:
        watch(options.folder, options.pause)
    except PGNetError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        pass
