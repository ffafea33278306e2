"""What somebody who opens a link waits for: the page with its first state, and then each move."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from tests.benchmarks.processes import on_all_cores
from tests.benchmarks.report import Report, Verdict
from tests.kit.bidi import Browser, Link, Tab, connected, started
from tests.kit.subprocesses import start_program

__all__ = ["browser"]

ROOT = Path(__file__).parents[2]
HITS = 400
WARM_HITS = 40

# Installed before anything of a page runs: notes when it shows its first state.
WATCH = """() => {
  new MutationObserver((_, observer) => {
    if (!document.querySelector("#news")?.textContent) return;
    observer.disconnect();
    document.documentElement.dataset.opened = performance.now();
  }).observe(document, { subtree: true, childList: true, characterData: true });
}"""


@asynccontextmanager
async def _serving(game: str, site: str, folder: Path) -> AsyncIterator[str]:
    """Serve a game and its page in a process of its own; yield the page's address."""
    options = ("--port", "0", "--site", site, "--key-file", str(folder / "key"))
    # The seat of whoever has closed the page is free, and nobody is slowed down.
    limits = ("--resume-grace", "0", "--requests-per-second", "none")
    async with start_program("serve", game, *options, *limits, cwd=ROOT) as server:
        yield (await server.out.wait_for(r"Open (\S+) "))[1]


async def _open_cold(link: Link, url: str) -> float:
    """Return the milliseconds to the first state, in a browser that has nothing of the server."""
    user = (await link.command("browser.createUserContext"))["userContext"]
    created = await link.command("browsingContext.create", type="window", userContext=user)
    tab = Tab(link, created["context"])
    await link.command("script.addPreloadScript", functionDeclaration=WATCH, contexts=[tab.context])
    await tab.open(url)
    opened = float(await tab.wait_for("document.documentElement.dataset.opened"))
    await link.command("browser.removeUserContext", userContext=user)
    return opened


async def _play_rally(link: Link, url: str) -> list[float]:
    """Return the milliseconds from each hit of the first page to that of the second, and back."""
    first, second = await link.open_window(), await link.open_window()
    found: list[list[float]] = []

    async def play(tab: Tab, name: str) -> None:
        await tab.open(url)
        found.append(await tab.evaluate(f"rally({name}, {HITS})"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(play, first, "true")
        nursery.start_soon(play, second, "false")
    return max(found, key=lambda times: times[0])[WARM_HITS:]


async def _open_by_turns(link: Link, folder: Path, rounds: int) -> tuple[list[float], list[float]]:
    """Return the times of cold openings of a game's page, and those of a bare one in between."""
    game = "examples/tictactoe.py:TicTacToe"
    opened, bare = [], []
    async with (
        _serving(game, "examples/web/tictactoe", folder) as url,
        _serving(game, "tests/benchmarks/bare_page", folder) as bare_url,
    ):
        for _ in range(rounds + 1):
            bare.append(await _open_cold(link, bare_url))
            opened.append(await _open_cold(link, url))
    return opened[1:], bare[1:]


async def _measure(
    program: Browser, rounds: int, progress: Callable[[str], None]
) -> tuple[list[float], list[float], list[float]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with connected(program) as link:
            progress(f"{rounds} cold openings of tic-tac-toe, and of a bare page")
            opened, bare = await _open_by_turns(link, folder, rounds)
            progress(f"{HITS} hits between two windows")
            rally = ("tests.benchmarks.rally:Rally", "tests/benchmarks/rally_page")
            async with _serving(*rally, folder) as url:
                return opened, bare, await _play_rally(link, url)


def browser(*, rounds: int, progress: Callable[[str], None]) -> Report:
    """Measure pages in Chromium, with the server in a process of its own."""
    # A browser has some ten processes, which would all be on the core that is left to clients.
    with on_all_cores(), started("chromium") as program:
        opened, bare, there_and_back = trio.run(_measure, program, rounds, progress)
    moves = [time / 2 for time in there_and_back]
    opening, move = statistics.median(opened), statistics.median(moves)
    least = statistics.median(bare)
    late = statistics.quantiles(moves, n=100)[98]
    return Report(
        title="Pages in a browser",
        command=f"python -m tests.benchmarks browser --rounds {rounds}",
        head=["what", "p50, ms", "worst, ms"],
        rows=[
            ["opening the page to the first state, cold", f"{opening:.0f}", f"{max(opened):.0f}"],
            ["a bare page, to its WebSocket, cold", f"{least:.0f}", f"{max(bare):.0f}"],
            ["from a move in one window to the new state in another", f"{move:.2f}", f"{late:.2f}"],
        ],
        notes=[
            "Chromium, headless, over loopback, with the server in another process. Each opening "
            "has a profile of its own, a log-in with a new account, and begins with the first byte "
            "of the page's request; the first one, which warms the browser up, is left out.",
            "The bare page takes turns with the other. It has nothing but a script of three lines, "
            "which opens a WebSocket. What the other takes beyond that is the client, the log-in "
            "and the game; the rest is the browser and the machine.",
            "A move is one that wants an answer; the states that others cause come at most "
            "`sync_rate` times a second. It is half of the way there and back; its worst is the "
            "99th percentile.",
        ],
        measured={"opened": opened, "bare": bare, "moves": moves},
        verdicts=[
            Verdict("opening a page", 300, opening, "ms"),
            Verdict("a move from window to window", 5, move, "ms"),
        ],
    )
