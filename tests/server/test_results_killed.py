"""`kill -9` while results are under way: each counts once or not at all, with what it changes."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
import trio

from pgnet_trio.environment import Environment
from pgnet_trio.server.cluster.standing_records import BoardScores, Report
from pgnet_trio.server.community import SaveFileEngine
from pgnet_trio.server.games.archive import Archive
from pgnet_trio.standings import Leaderboard, PlayedGame
from pgnet_trio.standings.rating import BEGINNER
from pgnet_trio.storage import open_store
from tests.cluster.test_standings import NOON
from tests.kit.subprocesses import environment

PLAYERS = ("ann", "bob")
POINTS = 3

PROGRAM = """
import sys
from pathlib import Path
import trio
from tests.server.test_results_killed import report_for_ever
trio.run(report_for_ever, Path(sys.argv[1]), int(sys.argv[2]))
"""


def result(number: int) -> Report:
    """Return what a game of two reports; they win in turn."""
    winner, loser = PLAYERS if number % 2 else PLAYERS[::-1]
    scores = {winner: POINTS}
    played = PlayedGame(
        name=f"game {number}", ended_at=NOON, ranks=[[winner], [loser]], scores=scores
    )
    boards = (BoardScores("points", Leaderboard("sum"), scores),)
    return Report(id=b"%d" % number, played=played, users=PLAYERS, boards=boards, queue="ranked")


async def report_for_ever(path: Path, first: int) -> None:
    archive = Archive(open_store(path), Environment())
    await archive.load()
    engine = SaveFileEngine(archive)
    number = first
    while True:
        await engine.report(result(number))
        print(number, flush=True)
        number += 1


async def counted(path: Path) -> tuple[int, int]:
    """Return how many results there are by the leaderboard, and the number of the last one."""
    archive = Archive(open_store(path), Environment())
    await archive.load()
    engine = SaveFileEngine(archive)
    page = await engine.leaderboard("points")
    games = sum(entry.score for entry in page.entries) // POINTS
    ann, bob = [await engine.history(player, limit=1) for player in PLAYERS]
    last = -1
    if ann:
        assert ann[0].name == bob[0].name, "a result is in one history and not in the other"
        last = int(ann[0].name.removeprefix("game "))
        # What one of two equals wins, the other loses.
        ratings = [await engine.rating("ranked", player) for player in PLAYERS]
        assert sum(ratings) == pytest.approx(2 * BEGINNER.rating, abs=0.2)
        assert ratings == [ann[0].ratings[name].after for name in PLAYERS]
        # Reported again, it changes nothing.
        assert await engine.report(result(last)) == attrs.evolve(ann[0], number=0)
    await archive.close()
    return games, last


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9 there")
@pytest.mark.parametrize("seed", range(2))
def test_a_killed_server_has_counted_each_result_once_or_not_at_all(
    tmp_path: Path, seed: int
) -> None:
    source = random.Random(seed)
    path = tmp_path / "save.sqlite"
    first = 0
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(path), str(first)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment({}),
            cwd=Path(__file__).parents[2],
        ) as program:
            assert program.stdout is not None
            acknowledged = first - 1
            for _ in range(source.randrange(1, 15)):
                acknowledged = int(program.stdout.readline())
            program.send_signal(signal.SIGKILL)
            # What it has said since was acknowledged too.
            acknowledged = max([acknowledged, *map(int, program.stdout.read().split())])
        games, last = trio.run(counted, path)
        assert last >= acknowledged
        assert games == last + 1
        # The next one begins with a result that may have been counted already.
        first = max(0, last)
