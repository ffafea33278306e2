"""What it costs a server that somebody looks at it, and how soon the page is there."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from time import perf_counter

import attrs
import trio

from pgnet_trio import Client, ConnectFailed
from tests.benchmarks.processes import ROOT, cpu_seconds, on_server_cores
from tests.benchmarks.report import Report, Verdict
from tests.benchmarks.watched import Move
from tests.kit.bidi import connected, started

__all__ = ["monitor"]

VIEWS = ("overview", "tables", "players", "tasks", "log", "table")

COST_BUDGET = 2.0
"""Percent of a core."""

PAGE_BUDGET = 500.0
"""Milliseconds."""

SCRAPE_BUDGET = 20.0
"""Milliseconds for the metrics of 5,000 players."""

STEP_BUDGET = 5.0
"""Milliseconds of these in which nobody else has a turn."""

SCRAPES = 20

BETWEEN_MOVES = 10.0
"""Seconds from one move of a player to the next."""

DRAWN = """
new Promise((done) => {
  const look = () => document.querySelectorAll("main tbody tr").length >= ROWS
    ? done(performance.now()) : requestAnimationFrame(look);
  look();
})
"""


@attrs.frozen
class WatchedServer:
    process: int
    port: int
    monitor_port: int
    collect: Callable[[], tuple[float, float]]
    """Has it collect its metrics; returns the seconds of that, and of its longest step."""


@contextlib.contextmanager
def watched_server(tables: int) -> Iterator[WatchedServer]:
    """Run `tests.benchmarks.watched` while the block lasts."""
    command = [sys.executable, "-m", "tests.benchmarks.watched", str(tables)]
    with on_server_cores():
        started = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    with started as process:
        assert process.stdin is not None
        assert process.stdout is not None
        ask, told = process.stdin, process.stdout

        def collect() -> tuple[float, float]:
            print(file=ask, flush=True)
            total, longest = map(float, told.readline().split())
            return total, longest

        try:
            ports = process.stdout.readline().split()
            if not ports:
                raise RuntimeError("the server did not start")
            port, monitor_port = map(int, ports)
            yield WatchedServer(process.pid, port, monitor_port, collect)
        finally:
            process.kill()


@asynccontextmanager
async def players(
    port: int, count: int, tables: int, progress: Callable[[str], None]
) -> AsyncIterator[None]:
    """Have so many users play around a block."""

    async def play(number: int, *, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as own:
            while True:
                client = Client.remote(address=f"127.0.0.1:{port}", username=f"player{number}")
                try:
                    await own.start(client.run)
                    break
                except ConnectFailed:
                    # They share a process, which is slow to let all of them in.
                    progress(f"player {number} tries once more")
            await client.join_game(f"table {number % tables}")
            task_status.started()
            while True:
                await trio.sleep(BETWEEN_MOVES)
                await client.call(Move(number % 64))

    async with trio.open_nursery() as nursery:
        for number in range(count):
            await nursery.start(play, number)
        yield
        nursery.cancel_scope.cancel()


async def look_on(port: int, view: str) -> None:
    """Read one stream of events until cancelled."""
    request = f"GET /events?view={view}&table=table+1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(request.encode())
        async for _ in stream:
            pass


async def used(server: WatchedServer, seconds: float) -> float:
    """How much of a core the server uses, in percent."""
    before, began = cpu_seconds(server.process), perf_counter()
    await trio.sleep(seconds)
    return (cpu_seconds(server.process) - before) / (perf_counter() - began) * 100


async def costs(
    server: WatchedServer, seconds: float, rounds: int, progress: Callable[[str], None]
) -> dict[str, float]:
    """What each view costs, in percent of a core: beside nobody who looks, in turn."""
    found: dict[str, list[float]] = {view: [] for view in ("nobody", *VIEWS)}
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}")
        for view in VIEWS:
            alone = await used(server, seconds)
            found["nobody"].append(alone)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(look_on, server.monitor_port, view)
                # The first picture is not what it costs to go on.
                await trio.sleep(2)
                found[view].append(await used(server, seconds) - alone)
                nursery.cancel_scope.cancel()
    return {view: statistics.median(each) for view, each in found.items()}


async def page_time(port: int, rows: int, rounds: int) -> float:
    """Milliseconds until the page shows its players, in a browser that has it not yet."""
    times = []
    with started("chromium") as browser:
        async with connected(browser) as link:
            # A page in the background draws nothing.
            (tab,) = await link.windows()
            for _ in range(rounds):
                await tab.open(f"http://127.0.0.1:{port}/#/players")
                times.append(await tab.evaluate(DRAWN.replace("ROWS", str(min(rows, 200)))))
                await tab.open("about:blank")
    return float(statistics.median(times))


def monitor(
    *, players: int, tables: int, seconds: float, rounds: int, progress: Callable[[str], None]
) -> Report:
    """Measure what the monitor costs."""
    found, page, scrapes = trio.run(_measure, players, tables, seconds, rounds, progress)
    scrape = statistics.median(total for total, _ in scrapes) * 1e3
    step = max(longest for _, longest in scrapes) * 1e3
    worst = max(percent for view, percent in found.items() if view != "nobody")
    verdicts = [Verdict("one page that is open", COST_BUDGET, worst, "% of a core")]
    if page is not None:
        verdicts.append(Verdict("the page with its players", PAGE_BUDGET, page, "ms"))
    verdicts += [
        Verdict("the metrics, collected", SCRAPE_BUDGET, scrape, "ms"),
        Verdict(f"the longest step of {SCRAPES} of these", STEP_BUDGET, step, "ms"),
    ]
    return Report(
        title=f"The monitor, with {players:,} players at {tables:,} tables",
        command=f"python -m tests.benchmarks monitor --players {players} --tables {tables}",
        head=["view that is open", "% of a core"],
        rows=[[view, f"{percent:.2f}"] for view, percent in found.items()],
        notes=["`nobody` is what the server uses by itself, and each view what it uses beyond."],
        verdicts=verdicts,
        measured={"costs": found, "page": page, "scrapes": scrapes},
    )


async def _measure(
    count: int, tables: int, seconds: float, rounds: int, progress: Callable[[str], None]
) -> tuple[dict[str, float], float | None, list[tuple[float, float]]]:
    with watched_server(tables) as server:
        progress(f"{count:,} players log in")
        async with players(server.port, count, tables, progress):
            # In another thread: the players go on meanwhile.
            scrapes = [await trio.to_thread.run_sync(server.collect) for _ in range(SCRAPES)]
            found = await costs(server, seconds, rounds, progress)
            page = None
            if shutil.which("chromium") and importlib.util.find_spec("trio_websocket"):
                page = await page_time(server.monitor_port, count, rounds)
    return found, page, scrapes
