"""How long a look at a long queue takes, and how long two players take to be in a game."""

from __future__ import annotations

import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from pgnet_trio import Client, Game, Queue, Server
from pgnet_trio.matchmaking import Pool, play_round
from tests.benchmarks.processes import ROOT
from tests.benchmarks.report import Report, Verdict

__all__ = ["look", "matchmaking_benchmark", "times_across_servers", "times_to_game"]

TICKETS = 10_000
DUELS = 50
DUELS_ACROSS = 15


@attrs.frozen
class Case:
    """A queue, and who waits in it.

    Attributes:
        spread: How far ratings are from each other.
        waited: The longest that anybody has waited, in seconds.
        modes: How many kinds of games people look for.
    """

    queue: Queue
    spread: float
    waited: float
    modes: int = 1


CASES: Mapping[str, Case] = {
    "duels, all find somebody": Case(Queue(), 300, 60),
    "duels in three modes": Case(Queue(), 300, 60, modes=3),
    "duels, hardly anybody finds anybody": Case(Queue(within=1), 1e8, 5),
    "eight players, all find somebody": Case(Queue(size=8), 300, 60),
    "eight players, nobody finds anybody": Case(Queue(size=8, within=1), 1e8, 5),
    "without ratings": Case(Queue(), 0, 60),
}


def matchmaking_benchmark(*, rounds: int, progress: Callable[[str], None]) -> Report:
    """Measure looks at queues of 10,000 tickets."""
    rows, measured, totals, steps = [], [], [], []
    for name, case in CASES.items():
        progress(f"{name}, {rounds} rounds")
        looks = [look(case, TICKETS) for _ in range(rounds)]
        total = statistics.median(sum(each) for each, _ in looks)
        longest = statistics.median(max(each) for each, _ in looks)
        matched = looks[0][1]
        rows.append([name, f"{matched:,}", f"{total:.1f}", f"{longest:.1f}"])
        measured.append(
            {"case": name, "matched": matched, "milliseconds": [each for each, _ in looks]}
        )
        totals.append(total)
        steps.append(longest)
    progress(f"two players over loopback, {DUELS} duels")
    waits = trio.run(times_to_game, DUELS)
    measured.append({"case": "last ticket to game", "milliseconds": waits})
    progress(f"two players at two servers, {DUELS_ACROSS} duels")
    across = trio.run(times_across_servers, DUELS_ACROSS)
    measured.append({"case": "last ticket at another server to game", "milliseconds": across})
    return Report(
        title="Matchmaking",
        command=f"python -m tests.benchmarks matchmaking --rounds {rounds}",
        head=["queue", "matched", "look, ms", "longest step, ms"],
        rows=rows,
        notes=[
            f"{TICKETS:,} tickets; the processor's time, medians of {rounds} rounds. A step is "
            "what runs before other tasks have their turn. The budgets are for the slowest queue.",
            f"The last budget is for the median of {DUELS} duels over loopback, with both players "
            "and the server in one process: from the call of `find_game` of the second one until "
            "both are in the game.",
            "Where the second player is at another server of a cluster, a process of its own with "
            f"the same SQLite file: {statistics.median(across):.0f} ms, the median of "
            f"{DUELS_ACROSS} duels. There is no budget for it.",
        ],
        measured=measured,
        verdicts=[
            Verdict(f"a look at {TICKETS:,} tickets", 50, max(totals), "ms"),
            Verdict("its longest step", 5, max(steps), "ms"),
            Verdict("from the last ticket to the game", 20, statistics.median(waits), "ms"),
        ],
    )


def look(case: Case, count: int) -> tuple[list[float], int]:
    """Look at a queue once, as a server does.

    Returns:
        The processor's time of each step in milliseconds, and how many tickets are in a match.
    """
    randomness = random.Random(1)
    pool = Pool()
    for number in range(count):
        wanted: dict[str, Any] = {}
        if case.modes > 1:
            wanted = {"mode": f"mode {randomness.randrange(case.modes)}"}
        since = -case.waited * (1 - number / count)
        pool.add(f"user{number}", randomness.gauss(1500, case.spread), wanted, since)
    steps, matched = [], 0
    start = time.thread_time()
    round = play_round(case.queue, pool.tickets(0.0))
    while True:
        try:
            found = next(round)
        except StopIteration:
            steps.append((time.thread_time() - start) * 1000)
            return steps, matched
        if found is None:
            steps.append((time.thread_time() - start) * 1000)
            start = time.thread_time()
        else:
            matched += len(found)


class Duel(Game):
    """A game for two."""

    matchmaking = Queue()


async def _find(client: Client, arrived: list[float]) -> None:
    async with client.find_game():
        pass
    arrived.append(time.perf_counter())


async def times_to_game(duels: int) -> list[float]:
    """Have two players find each other over loopback, again and again.

    Returns:
        For each duel, the milliseconds from the second one's request until both are in the game.
    """
    times = []
    # Nobody plays fifty duels in a second, so limits are no part of this.
    server = Server(Duel, port=0, requests_per_second=None)
    async with trio.open_nursery() as nursery:
        address = f"localhost:{await nursery.start(server.serve)}"
        async with (
            Client.remote(address=address, username="ann") as ann,
            Client.remote(address=address, username="bob") as bob,
        ):
            for _ in range(duels):
                arrived: list[float] = []
                async with trio.open_nursery() as finding:
                    finding.start_soon(_find, ann, arrived)
                    await trio.sleep(0.02)
                    start = time.perf_counter()
                    finding.start_soon(_find, bob, arrived)
                times.append((max(arrived) - start) * 1000)
                await ann.leave_game()
                await bob.leave_game()
        server.shutdown()
    return times


async def times_across_servers(duels: int) -> list[float]:
    """Do as `times_to_game`, with the second player at another server, who is sent to the first's.

    The servers are processes of their own, and share an SQLite file.
    """
    times = []
    with tempfile.TemporaryDirectory() as folder:
        async with _serving(folder) as first, _serving(folder) as second:
            async with Client.remote(address=first, username="ann") as ann:
                for _ in range(duels):
                    arrived: list[float] = []
                    # Whoever has been sent to the first server stays there, until they leave.
                    async with Client.remote(address=second, username="bob") as bob:
                        async with trio.open_nursery() as finding:
                            finding.start_soon(_find, ann, arrived)
                            await trio.sleep(0.1)
                            start = time.perf_counter()
                            finding.start_soon(_find, bob, arrived)
                        times.append((max(arrived) - start) * 1000)
                    await ann.leave_game()
    return times


@asynccontextmanager
async def _serving(folder: str) -> AsyncIterator[str]:
    """Run a server of a cluster around the block, and return its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.cluster.teller"]
    process = await trio.lowlevel.open_process(
        [*command, f"{folder}/save.sqlite", f"{folder}/key", str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert await process.stdout.receive_some(1), "the server has not started"
        yield f"127.0.0.1:{port}"
        await process.stdin.aclose()
        with trio.move_on_after(10):
            await process.wait()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
