"""What whoever looks at a server sees live: sampled once a second for all of them together.

Nobody who looks makes the server wait: each stream of events takes from here what has changed since
its last look, as fast as its reader reads.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from pgnet_trio.server.monitor.describing import describe_ban, describe_player, describe_table
from pgnet_trio.server.monitor.history import STEP, History
from pgnet_trio.server.monitor.log_ring import LogRing
from pgnet_trio.server.monitor.rows import Rows
from pgnet_trio.server.monitor.servers import Servers
from pgnet_trio.server.monitor.tasks import TaskTimes, TaskTree

if TYPE_CHECKING:
    from pgnet_trio.server.context import ServerContext
    from pgnet_trio.server.stats import EndedGame, GameStats, ServerSummary, SessionStats

__all__ = ["INTERVAL", "Live"]

StatsT = TypeVar("StatsT")

ROWS = ("players", "tables", "bans")
"""What is looked at only while somebody watches it."""

INTERVAL = 1.0
"""Seconds from one look at the server to the next."""

ROWS_EVERY = 2
"""Looks at the server from one look at all of its players or tables to the next."""

ROWS_AT_ONCE = 200
"""Rows that are made before other tasks get their turn."""

SERIES = ("users", "games", "requests", "lag", "cpu", "memory")

RATES = ("cpu", "requests", "received", "sent")
"""What is shown as so much in a second."""

_PAGE_SIZE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class Live:
    """Looks at a server once a second, and at its players and tables only while somebody does.

    Args:
        context: What the server's tasks share.

    Attributes:
        players: The rows of players.
        tables: The rows of tables.
        bans: The rows of bans.
        servers: The rows of the servers of its cluster; None where it is in none.
        history: The last hour.
        log: The latest records of the log.
        figures: What the server does now.
        ended: The games that have ended last, the latest last.
        tasks: The tree of tasks, once `run` has begun.
    """

    tasks: TaskTree

    def __init__(self, context: ServerContext) -> None:
        self.players = Rows()
        self.tables = Rows()
        self.bans = Rows()
        self.servers = None if context.cluster is None else Servers(context.cluster)
        self.history = History(SERIES)
        self.log = LogRing()
        self._context = context
        # What each row was made of.
        self._players: dict[str, tuple[SessionStats, Mapping[str, Any]]] = {}
        self._tables: dict[str, tuple[GameStats, Mapping[str, Any]]] = {}
        self._looks = 0
        self._times = TaskTimes()
        self._ticked = trio.Event()
        self._watched: Counter[str] = Counter()
        self._began = self._looked = trio.current_time()
        # On Trio's clock: what is 0 on the clock on the wall.
        self._epoch = time.time() - trio.current_time()
        self._lag = self._worst_lag = 0.0
        # In the order of `RATES`: since the server runs, and in a second lately.
        self._totals: tuple[float, ...] = (time.process_time(), 0, 0, 0)
        self._rates = [0.0] * len(self._totals)
        self._point_at = trio.current_time()
        self._point_totals: tuple[float, ...] = self._totals
        self.figures: dict[str, Any] = {}
        self.ended: tuple[EndedGame, ...] = ()

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        self.tasks = TaskTree(
            trio.lowlevel.current_root_task() or trio.lowlevel.current_task(),
            threading.get_ident(),
            self._times,
        )
        with self.log.listening():
            due = trio.current_time()
            next_point = due + STEP
            while True:
                await self._look()
                if trio.current_time() >= next_point:
                    self._add_point()
                    next_point += STEP
                self._ticked.set()
                self._ticked = trio.Event()
                due = max(due, trio.current_time() - INTERVAL) + INTERVAL
                await trio.sleep_until(due)
                self._lag = trio.current_time() - due
                self._worst_lag = max(self._worst_lag, self._lag)

    async def next_look(self) -> None:
        """Wait for the next look."""
        await self._ticked.wait()

    @contextmanager
    def watching(self, what: str) -> Iterator[None]:
        """Have players, tables, bans or tasks looked at during the block.

        Args:
            what: ``"players"``, ``"tables"``, ``"bans"`` or ``"tasks"``; all else costs nothing.
        """
        self._watched[what] += 1
        try:
            if what == "tasks":
                with self._times.watching():
                    yield
            else:
                yield
        finally:
            self._watched[what] -= 1

    async def refresh(self) -> None:
        """Look at what is watched now: nobody may have done so for a while."""
        watched = self._watched["players"] > 0, self._watched["tables"] > 0
        players, games = await self._context.players_and_games(players=watched[0], games=watched[1])
        if watched[0]:
            describe = functools.partial(describe_player, epoch=self._epoch)
            self._players = await _put(self.players, players, self._players, describe)
        if watched[1]:
            self._tables = await _put(self.tables, games, self._tables, describe_table)
        if self._watched["bans"]:
            held = self._context.bans.holding()
            self.bans.put({ban.subject: describe_ban(ban) for ban in held})

    def look_at_figures(self) -> None:
        """Bring the figures up to date; this costs next to nothing."""
        now, summary = trio.current_time(), self._context.summary()
        passed = now - self._looked
        if passed > INTERVAL / 2:
            totals = (time.process_time(), summary.requests, summary.received, summary.sent)
            pairs = zip(totals, self._totals, strict=True)
            self._rates = [(total - before) / passed for total, before in pairs]
            self._looked, self._totals = now, totals
        self.figures = self._figures(summary, now)
        self.ended = summary.ended

    async def _look(self) -> None:
        self.look_at_figures()
        self._looks += 1
        if self._looks % ROWS_EVERY == 0 and any(self._watched[each] for each in ROWS):
            await self.refresh()

    def _figures(self, summary: ServerSummary, now: float) -> dict[str, Any]:
        saves, (cpu, requests, received, sent) = summary.saves, self._rates
        return {
            "time": now + self._epoch,
            "uptime": now - self._began,
            "users": summary.users,
            "away": summary.away,
            "games": summary.games,
            "registered": summary.registered,
            "connections": summary.connections.total,
            "logging_in": summary.connections.logging_in,
            "pages": summary.connections.http,
            "tasks": summary.tasks.connections + summary.tasks.services,
            "lag": self._lag,
            "cpu": cpu,
            "requests": requests,
            "received": received,
            "sent": sent,
            "memory": _memory(),
            "saves": {
                "enabled": saves.enabled,
                "games": saves.games,
                "ago": None if saves.last_saved is None else now - saves.last_saved,
                "took": saves.last_duration,
                "error": saves.last_error,
            },
            "is_ending": summary.is_ending,
            "log_level": logging.getLevelName(logging.getLogger("pgnet_trio").getEffectiveLevel()),
        }

    def _add_point(self) -> None:
        figures, now = self.figures, trio.current_time()
        point = {name: figures[name] for name in SERIES}
        # Of all the time since the last point.
        passed = max(now - self._point_at, INTERVAL)
        for name, total, before in zip(RATES, self._totals, self._point_totals, strict=True):
            if name in point:
                point[name] = (total - before) / passed
        point["lag"] = self._worst_lag
        self.history.add(point)
        self._worst_lag, self._point_at, self._point_totals = 0.0, now, self._totals


async def _put(
    rows: Rows,
    stats: Mapping[str, StatsT],
    before: Mapping[str, tuple[StatsT, Mapping[str, Any]]],
    describe: Callable[[str, StatsT], Mapping[str, Any]],
) -> dict[str, tuple[StatsT, Mapping[str, Any]]]:
    """Bring rows up to date; return what each was made of, to be handed in next time."""
    made: dict[str, tuple[StatsT, Mapping[str, Any]]] = {}
    for number, (name, each) in enumerate(stats.items(), 1):
        known = before.get(name)
        made[name] = (each, describe(name, each)) if known is None or known[0] != each else known
        if number % ROWS_AT_ONCE == 0:
            await trio.lowlevel.checkpoint()
    rows.put({name: row for name, (_, row) in made.items()})
    return made


def _memory() -> int:
    """Return how many bytes of memory the process has, or where unknown, the most it ever had."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE_SIZE
    except OSError:
        return _most_memory()


def _most_memory() -> int:
    if sys.platform == "win32":
        return 0
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
