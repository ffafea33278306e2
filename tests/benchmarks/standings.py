"""How long a place among a million scores takes, and a result, in an SQLite save file."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import trio

from pgnet_trio.environment import Environment
from pgnet_trio.server.cluster.sql_community import SQLCommunity
from pgnet_trio.server.cluster.sqlite_engine import SQLiteTransaction
from pgnet_trio.server.cluster.standing_records import BoardScores
from pgnet_trio.server.cluster.standing_records import Report as GameReport
from pgnet_trio.server.cluster.standing_tables import LOWEST, MAX_RANGE
from pgnet_trio.server.community import SaveFileEngine
from pgnet_trio.server.games.archive import Archive
from pgnet_trio.standings import Leaderboard, PlayedGame
from pgnet_trio.storage import open_store
from tests.benchmarks.report import Report, Verdict

__all__ = ["fill", "standings_benchmark"]

SCORES = 1_000_000
BOARD = "points"
LOOKS = 2000
RESULTS = 300


def standings_benchmark(
    *, scores: int = SCORES, looks: int = LOOKS, progress: Callable[[str], None]
) -> Report:
    """Measure places on a leaderboard, and results, in a file of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "standings.sqlite"
        progress(f"{scores:,} scores")
        trio.run(_fill, path, scores)
        progress(f"{looks:,} places")
        around = {name: _look(path, scores, name, looks) for name in ("around", "far page")}
        progress(f"{RESULTS} results, and {looks:,} places through a server's engine")
        through, results = trio.run(_through_engine, path, scores, looks)
    rows = [
        ["around(player), the transaction alone", *_cells(around["around"])],
        ["around(player), as a server asks for it", *_cells(through)],
        ["a page from anywhere, the transaction alone", *_cells(around["far page"])],
        ["a result of two players with ratings, durable", *_cells(results)],
    ]
    return Report(
        title="Standings",
        command="python -m tests.benchmarks standings",
        head=["what", "p50, ms", "p99, ms"],
        rows=rows,
        notes=[
            f"{scores:,} scores in one leaderboard of an SQLite file, players asked for "
            "at random. A server asks in a thread, which takes its turn among the saves.",
            "A result is one transaction with a line on the leaderboard and a rating for each of "
            "two players; most of its time is the disk's.",
        ],
        measured=[{"around": around, "through a server": through, "results": results}],
        verdicts=[
            Verdict(f"around(player) of {scores:,}, p50", 2, statistics.median(through), "ms"),
        ],
    )


def _cells(times: Sequence[float]) -> list[str]:
    ordered = sorted(times)
    return [f"{statistics.median(times):.2f}", f"{ordered[int(len(ordered) * 0.99)]:.2f}"]


async def _fill(path: Path, count: int) -> None:
    archive = Archive(open_store(path), Environment())
    await archive.load()
    engine = SaveFileEngine(archive)
    # One result makes the leaderboard.
    await engine.report(_result("first", "second", RESULTS))
    await archive.close()
    # By itself: a server waits for no write that takes this long.
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        fill(connection, count)


def fill(connection: sqlite3.Connection, count: int) -> None:
    """Fill the leaderboard with scores, and count them as so many results would have."""
    ((key,),) = connection.execute("SELECT id FROM leaderboards").fetchall()
    randomness = random.Random(1)
    connection.execute("DELETE FROM scores")
    connection.execute("DELETE FROM score_ranges")
    # Points of many games, by a bell curve; a quarter has played one game, and has the same.
    points = [-round(randomness.gauss(50_000, 15_000)) for _ in range(count - count // 4)]
    points += [-1] * (count // 4)
    lines = sorted((each, _name(number)) for number, each in enumerate(points))
    connection.executemany(
        "INSERT INTO scores (username, board, points) VALUES (?, ?, ?)",
        ((name, key, each) for each, name in lines),
    )
    size = MAX_RANGE // 2
    starts = [LOWEST, *lines[size::size]]
    connection.executemany(
        "INSERT INTO score_ranges (board, low, low_name, players) VALUES (?, ?, ?, ?)",
        ((key, *low, min(size, count - number * size)) for number, low in enumerate(starts)),
    )


def _name(number: int) -> str:
    return f"player{number}"


def _look(path: Path, count: int, what: str, looks: int) -> list[float]:
    randomness = random.Random(2)
    times = []
    connection = sqlite3.connect(path, isolation_level=None)
    connection.text_factory = bytes
    tables = SQLCommunity(SQLiteTransaction(connection))
    for _ in range(looks if what == "around" else looks // 10):
        number = randomness.randrange(count)
        start = time.perf_counter()
        connection.execute("BEGIN")
        if what == "around":
            page = tables.leaderboard_around(BOARD, _name(number), 11)
        else:
            page = tables.leaderboard(BOARD, number, 20)
        connection.rollback()
        times.append((time.perf_counter() - start) * 1000)
        assert page.total == count
        assert page.entries
    connection.close()
    return times


async def _through_engine(
    path: Path, count: int, count_of_looks: int
) -> tuple[list[float], list[float]]:
    archive = Archive(open_store(path), Environment())
    await archive.load()
    engine = SaveFileEngine(archive)
    randomness = random.Random(3)
    looks, results = [], []
    for _ in range(count_of_looks):
        player = _name(randomness.randrange(count))
        start = time.perf_counter()
        await engine.leaderboard_around(BOARD, player)
        looks.append((time.perf_counter() - start) * 1000)
    for number in range(RESULTS):
        winner, loser = (_name(randomness.randrange(count)) for _ in range(2))
        result = _result(winner, loser, number)
        start = time.perf_counter()
        await engine.report(result)
        results.append((time.perf_counter() - start) * 1000)
    await archive.close()
    return looks, results


def _result(winner: str, loser: str, number: int) -> GameReport:
    scores = {winner: 3, loser: 1}
    return GameReport(
        id=b"%d of the benchmark" % number,
        played=PlayedGame(
            name="table 1", ended_at=datetime.now(UTC), ranks=[[winner], [loser]], scores=scores
        ),
        users=(winner, loser),
        boards=(BoardScores(BOARD, Leaderboard("sum"), scores),),
        queue="ranked",
    )
