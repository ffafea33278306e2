"""A race of two programs, which is recorded; and then the last race once more, move by move.

python examples/watch_again.py                   runs a race, and shows it again
python examples/watch_again.py recordings        keeps the recordings there, and shows the last one
python examples/watch_again.py --pause 0         without waiting
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import attrs
import trio

from pgnet_trio import Client, Game, PGNetError, Recording, Server, on
from pgnet_trio.codec import from_plain
from pgnet_trio.replay import TurnView, load_life, replay

GOAL = 20


@attrs.frozen
class Throw:
    """A player's message: throw the dice for me."""


@attrs.frozen
class Track:
    """What everybody sees."""

    places: dict[str, int]


class Race(Game):
    """Whoever throws often enough gets there."""

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.places: dict[str, int] = {}

    def user_joined(self, username: str) -> None:
        self.places[username] = 0

    def view(self) -> Track:
        return Track(self.places)

    @on(Throw)
    def throw(self, player: str, throw: Throw) -> None:
        self.places[player] += self.room.random.randint(1, 6)
        if self.places[player] >= GOAL:
            self.room.close(f"{player} is there first.")


def draw(track: Track) -> str:
    lines = [f"{name:>5} {'.' * place}>" for name, place in track.places.items()]
    return "\n".join(lines)


async def run_race(folder: Path) -> None:
    server = Server(Race, port=0, record=Recording(folder))
    async with trio.open_nursery() as nursery:
        port = await nursery.start(server.serve)
        ann, bob = (
            Client.remote(address=f"localhost:{port}", username=name) for name in ("ann", "bob")
        )
        async with ann, bob:
            for player in (ann, bob):
                await player.join_game("the race")
            while ann.game is not None and bob.game is not None:
                for player in (ann, bob):
                    if player.game is not None:
                        player.send(Throw())
                await trio.sleep(0.05)
        server.shutdown()


def show_again(folder: Path, pause: float) -> None:
    """Show the last race that was recorded, move by move."""
    latest = max(folder.glob("*.rec"), key=lambda path: path.stat().st_mtime)
    shown = ""

    def show(view: TurnView) -> None:
        nonlocal shown
        # Everybody sees the same.
        for state in view.states.values():
            picture = draw(from_plain(state, Track))
            if picture != shown:
                time.sleep(pause)
                print(f"\nAfter {view.time:.2f} s, {view.what}:\n{picture}", flush=True)
                shown = picture

    outcome = replay(load_life(latest), Race, watch=show)
    print(f"\n{outcome.difference or outcome.end}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Record a race, and watch it again.")
    parser.add_argument("folder", nargs="?", type=Path, help="where recordings are kept")
    parser.add_argument("--pause", type=float, default=0.5, help="seconds before each move")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as temporary:
            folder = options.folder or Path(temporary) / "recordings"
            trio.run(run_race, folder)
            show_again(folder, options.pause)
    except (KeyboardInterrupt, BrokenPipeError):
        pass
    except PGNetError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
