"""The server of the benchmark `monitor`: tables that tick and show a state, and a monitor.

``python -m tests.benchmarks.watched TABLES`` prints the server's port and its monitor's. For each
line that it is sent it collects its metrics, and prints how many seconds that took in all, and in
its longest step, in which nobody else had a turn.
"""

from __future__ import annotations

import sys
from time import thread_time
from typing import Any

import attrs
import trio

from pgnet_trio import Game, Monitor, Server, on
from pgnet_trio.environment import Environment
from pgnet_trio.server.counters import LAG_BOUNDS, Histogram
from pgnet_trio.server.monitor.instruments import Instruments
from pgnet_trio.server.monitor.metrics import Metrics
from tests.kit.hosting import cheap_environment

__all__ = ["Move", "Steps", "Watched"]


@attrs.frozen
class Move:
    square: int


@attrs.frozen
class Board:
    turn: int
    squares: list[int]
    hand: list[str]


class Watched(Game):
    """A table of ten, whose state changes every few seconds."""

    update_rate = 0.2

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.turn = 0
        self.squares = [0] * 64

    def update(self) -> None:
        self.turn += 1

    @on(Move)
    def move(self, player: str, message: Move) -> None:
        self.squares[message.square] += 1

    def view(self, player: str | None) -> Board:
        return Board(self.turn, list(self.squares), [f"{player} {card}" for card in range(5)])

    async def run(self) -> None:
        await trio.sleep_forever()


class Steps(trio.abc.Instrument):
    """How long each step of one task takes.

    Time of this thread: on a busy machine other processes have theirs in between.

    Args:
        task: The task.

    Attributes:
        seconds: Each step's.
    """

    def __init__(self, task: trio.lowlevel.Task) -> None:
        self.seconds: list[float] = []
        self._task = task
        self._began = thread_time()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self._task:
            self._began = thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self._task:
            self.seconds.append(thread_time() - self._began)


async def scrape_when_asked(server: Server) -> None:
    """Collect the metrics for each line that comes, until no more do."""
    assert server._run is not None
    assert server._run.context is not None
    while await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
        metrics = Metrics(server._run.context, Instruments(Histogram(LAG_BOUNDS)))
        steps = Steps(trio.lowlevel.current_task())
        trio.lowlevel.add_instrument(steps)
        # Into a step of its own.
        await trio.lowlevel.checkpoint()
        del steps.seconds[:]
        await metrics.collect()
        await trio.lowlevel.checkpoint()
        trio.lowlevel.remove_instrument(steps)
        print(sum(steps.seconds), max(steps.seconds), flush=True)


async def main(tables: int) -> None:
    """Run until the process is ended."""
    unlimited: dict[str, Any] = dict.fromkeys(
        ["max_connections", "max_connections_per_address", "max_logins_per_address"]
    )
    server = Server(
        Watched,
        port=0,
        monitor=Monitor("127.0.0.1:0"),
        rooms=[f"table {number}" for number in range(tables)],
        # Cheap passwords, and real threads.
        environment=attrs.evolve(cheap_environment(), run_blocking=Environment().run_blocking),
        registrations_per_address=None,
        # On a busy machine they take their time, all at once.
        login_timeout=None,
        **unlimited,
    )
    async with trio.open_nursery() as nursery:
        port = await nursery.start(server.serve)
        print(port, server.monitor_port, flush=True)
        await scrape_when_asked(server)


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]))
