"""Metrics in Prometheus' text format, read from what the server counts, when somebody asks.

What is counted for the server, and for each class of game, is read at once. What there is of each
session and each game is added up in steps, so that a server full of players answers them meanwhile.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import platform
from collections.abc import Iterable, Iterator
from time import perf_counter
from typing import TYPE_CHECKING

import attrs
import trio
from prometheus_client import CONTENT_TYPE_LATEST, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from pgnet_trio.server.counters import OUTCOMES, GameCounters, Histogram

if TYPE_CHECKING:
    from pgnet_trio.server.context import ServerContext
    from pgnet_trio.server.monitor.instruments import Instruments
    from pgnet_trio.server.room.room import RoomTask
    from pgnet_trio.server.sessions.session import Session

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = CONTENT_TYPE_LATEST

LONGEST_STEP = 0.002
"""Seconds of one step, before others have their turn: one piece of it may take as long again."""

AT_ONCE = 500
"""Sessions that are looked at before it is looked at how long that took."""

FRESH = 1.0
"""Seconds for which what was collected is good for all who ask: there may be many."""


@attrs.define
class _OfSessions:
    """What all sessions have together."""

    unanswered: int = 0
    unacknowledged: int = 0
    unacknowledged_bytes: int = 0
    dropped_pushes: int = 0

    def add(self, sessions: list[Session]) -> None:
        """Add what some sessions have: the properties of so many of them cost little."""
        for session in sessions:
            self.unanswered += session.unanswered
            delivery = session.client.delivery
            if delivery is not None:
                self.dropped_pushes += delivery.dropped
                # Nearly always nothing waits.
                size = delivery.unacknowledged_bytes
                if size:
                    self.unacknowledged += delivery.unacknowledged
                    self.unacknowledged_bytes += size


@attrs.define
class _OfGames:
    """What all games of one class have together."""

    games: int = 0
    players: int = 0
    spectators: int = 0
    bots: int = 0
    open_questions: int = 0
    waiting_turns: int = 0
    state_bytes: int = 0

    def add(self, room: RoomTask) -> None:
        """Add what a game has; its `RoomTask.stats` has the names of all who play, too."""
        members, views = room.members, room.publisher.views
        spectators = len(members.spectators)
        self.games += 1
        self.players += len(members) - spectators
        self.spectators += spectators
        self.bots += len(members.bots)
        self.open_questions += len(room.questions)
        self.waiting_turns += len(room.queue)
        if views is not None:
            self.state_bytes += views.size


class _Pace:
    """Lets other tasks run when a step has taken long enough."""

    def __init__(self) -> None:
        self._until = perf_counter() + LONGEST_STEP

    async def rest(self) -> None:
        """Let them, if it has; not a checkpoint otherwise."""
        if perf_counter() >= self._until:
            await trio.lowlevel.checkpoint()
            self._until = perf_counter() + LONGEST_STEP


class _Family:
    """One metric, as what writes the text takes it."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        return [self._metric]


class Metrics:
    """Collects the metrics of a running server.

    Args:
        context: The parts of the server.
        instruments: Has what nothing else in the server measures.
    """

    def __init__(self, context: ServerContext, instruments: Instruments) -> None:
        self._context = context
        self._instruments = instruments
        self._began = trio.current_time()
        self._process = ProcessCollector(registry=None)
        self._collecting = trio.Lock()
        self._text = b""
        self._fresh_until = self._began
        version = importlib.metadata.version("pgnet_trio")
        self._info = {"version": version, "python": platform.python_version()}

    async def collect(self) -> bytes:
        """Return the metrics as text; whoever asks at the same time gets the same."""
        async with self._collecting:
            if trio.current_time() >= self._fresh_until:
                self._text = await self._collect()
                self._fresh_until = trio.current_time() + FRESH
            return self._text

    async def _collect(self) -> bytes:
        # In a thread: to count the files that are open takes longer the more connections there are.
        of_process = await self._context.options.environment.run_blocking(
            _collected, self._process, abandon_on_cancel=True
        )
        pace = _Pace()
        of_sessions = _OfSessions()
        sessions = self._context.sessions.all()
        for start in range(0, len(sessions), AT_ONCE):
            of_sessions.add(sessions[start : start + AT_ONCE])
            await pace.rest()
        of_games: dict[str, _OfGames] = {}
        for entry in list(self._context.games.lobby):
            room = entry.room
            found = of_games.setdefault(room.instance.counters.name, _OfGames())
            found.add(room)
            room.publisher.simulation.count_dropped()
            await pace.rest()
        text = []
        for family in itertools.chain(self._families(of_sessions, of_games), of_process):
            text.append(generate_latest(_Family(family)))
            await pace.rest()
        return b"".join(text)

    def _families(self, sessions: _OfSessions, games: dict[str, _OfGames]) -> Iterator[Metric]:
        yield from self._of_server()
        yield from self._of_sessions(sessions)
        yield from self._of_games(games)
        yield from self._counted_of_games(self._context.counters.games)
        yield from self._of_saves()
        yield from self._of_process()

    def _of_server(self) -> Iterator[Metric]:
        context = self._context
        counters, counts = context.counters, context.counts
        info = GaugeMetricFamily("pgnet_info", "The versions, as labels.", labels=list(self._info))
        info.add_metric(list(self._info.values()), 1)
        yield info
        yield _gauge("pgnet_uptime_seconds", "For how long the server runs.", self._uptime())
        yield _gauge(
            "pgnet_shutting_down",
            "1 while the server gives its games away, or ends.",
            context.shutdown.requested.is_set(),
        )
        yield _labelled(
            GaugeMetricFamily,
            "pgnet_connections",
            "Connections over the network: of players, of those who are logging in, for pages.",
            "kind",
            {
                "player": counts.total - counts.logging_in,
                "logging_in": counts.logging_in,
                "page": counts.http,
            },
        )
        yield _counter("pgnet_logins", "Log-ins that were taken.", counters.logins)
        yield _labelled(
            CounterMetricFamily,
            "pgnet_refused_logins",
            "Log-ins that were refused, by the code of the reason.",
            "reason",
            counters.refused_logins,
        )
        yield _counter(
            "pgnet_resumes", "Sessions that went on over another connection.", counters.resumes
        )
        yield _counter(
            "pgnet_lost_resumes",
            "Clients that could not go on with their session.",
            counters.lost_resumes,
        )
        yield _counter(
            "pgnet_takeovers",
            "Sessions that went on with another client of their user.",
            counters.takeovers,
        )
        yield _labelled(
            CounterMetricFamily,
            "pgnet_server_requests",
            "Requests that the server answered itself, by outcome.",
            "outcome",
            dict(zip(OUTCOMES, counters.answers, strict=True)),
        )
        yield _counter(
            "pgnet_received_bytes", "Bytes that came over the network.", counters.traffic.received
        )
        yield _counter("pgnet_sent_bytes", "Bytes that went out.", counters.traffic.sent)
        yield _gauge("pgnet_users", "Users who are registered.", context.accounts.user_count)
        yield _labelled(
            GaugeMetricFamily,
            "pgnet_queue_users",
            "Users who look for a game, by queue.",
            "queue",
            context.matchmaker.waiting(),
        )
        yield _labelled(
            GaugeMetricFamily,
            "pgnet_tasks",
            "Tasks in the server's nurseries.",
            "nursery",
            {
                "connections": len(context.connections.child_tasks),
                "services": len(context.services.child_tasks),
            },
        )

    def _of_sessions(self, sessions: _OfSessions) -> Iterator[Metric]:
        registry = self._context.sessions
        yield _labelled(
            GaugeMetricFamily,
            "pgnet_sessions",
            "Users who are logged in, and whose seat is kept while they are away.",
            "state",
            {"online": registry.count - registry.away, "away": registry.away},
        )
        yield _gauge(
            "pgnet_unanswered_requests",
            "Requests that are not answered yet.",
            sessions.unanswered,
        )
        yield _gauge(
            "pgnet_unacknowledged_messages",
            "Messages that are kept since clients may not have them.",
            sessions.unacknowledged,
        )
        yield _gauge(
            "pgnet_unacknowledged_bytes",
            "Bytes of these messages.",
            sessions.unacknowledged_bytes,
        )
        yield _gauge(
            "pgnet_dropped_pushes",
            "Pushes that were dropped for users who are there, since too much waited for them.",
            sessions.dropped_pushes,
        )

    def _of_games(self, games: dict[str, _OfGames]) -> Iterator[Metric]:
        for name, help_text, attribute in (
            ("pgnet_games", "Games that are played.", "games"),
            ("pgnet_players", "Players in games, bots included.", "players"),
            ("pgnet_spectators", "Users who watch a game.", "spectators"),
            ("pgnet_bots", "Bots in games.", "bots"),
            ("pgnet_open_questions", "Questions that wait for an answer.", "open_questions"),
            ("pgnet_waiting_turns", "Turns that wait for another one.", "waiting_turns"),
            ("pgnet_state_bytes", "Bytes of the states that games show.", "state_bytes"),
        ):
            values = {each: getattr(found, attribute) for each, found in games.items()}
            yield _labelled(GaugeMetricFamily, name, help_text, "game", values)

    def _counted_of_games(self, games: dict[str, GameCounters]) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "pgnet_requests", "Packets that games answered.", labels=["game", "outcome"]
        )
        for name, counted in games.items():
            counts = [counted.fine, *counted.answers[1:]]
            for outcome, count in zip(OUTCOMES, counts, strict=True):
                requests.add_metric([name, outcome], count)
        yield requests
        dropped = CounterMetricFamily(
            "pgnet_dropped_inputs",
            "Inputs of players that were never played, by the reason.",
            labels=["game", "reason"],
        )
        for name, counted in games.items():
            for reason, count in counted.dropped_inputs.items():
                dropped.add_metric([name, reason], count)
        yield dropped
        for name, help_text, attribute in (
            ("pgnet_pushes", "Pushes of games, for each who gets one.", "pushes"),
            ("pgnet_ticks", "Updates that were due.", "ticks_due"),
            ("pgnet_missed_ticks", "Updates that were skipped.", "ticks_missed"),
            ("pgnet_crashes", "Games that an error has ended.", "crashes"),
            ("pgnet_restarts", "Games that went on from a save after an error.", "restarts"),
            ("pgnet_states", "States that were made to be sent whole.", "states"),
            ("pgnet_patches", "Patches of states that were made.", "patches"),
            ("pgnet_patch_bytes", "Bytes of these patches.", "patch_bytes"),
        ):
            values = {each: getattr(counted, attribute) for each, counted in games.items()}
            yield _labelled(CounterMetricFamily, name, help_text, "game", values)
        for name, help_text, attribute in (
            (
                "pgnet_turn_seconds",
                "How long turns took; of packets that are answered at once, one in 16 counts.",
                "turns",
            ),
            ("pgnet_tick_seconds", "How long updates took.", "ticks"),
        ):
            times = {each: getattr(counted, attribute) for each, counted in games.items()}
            yield _histogram(name, help_text, times)

    def _of_saves(self) -> Iterator[Metric]:
        saves = self._context.saves
        stats = saves.stats()
        yield _gauge(
            "pgnet_save_failing",
            "1 while the latest save has failed, or the save file does not answer.",
            saves.failing,
        )
        yield _counter("pgnet_save_errors", "Saves that have failed.", saves.errors)
        yield _gauge("pgnet_saved_games", "Games in the save file.", stats.games)
        if stats.enabled:
            saved = self._began if stats.last_saved is None else stats.last_saved
            yield _gauge(
                "pgnet_save_age_seconds",
                "Seconds since the last save, or since the start before the first.",
                trio.current_time() - saved,
            )
            yield _gauge(
                "pgnet_save_seconds", "How long the last save took.", stats.last_duration or 0.0
            )

    def _of_process(self) -> Iterator[Metric]:
        counters, garbage = self._context.counters, self._instruments.garbage
        lag = HistogramMetricFamily(
            "pgnet_loop_lag_seconds",
            "By how much the event loop was late, looked at twice a second.",
        )
        lag.add_metric([], *_buckets(counters.lag))
        yield lag
        yield _counter(
            "pgnet_loop_stalls",
            "How often the watchdog has named code that held up everybody.",
            counters.stalls,
        )
        yield _counter(
            "pgnet_gc_seconds", "Seconds in which garbage was collected.", garbage.seconds
        )
        yield _labelled(
            CounterMetricFamily,
            "pgnet_gc_collections",
            "Collections of garbage, by generation.",
            "generation",
            {str(each): garbage.collections[each] for each in range(3)},
        )
        yield _labelled(
            CounterMetricFamily,
            "pgnet_log_records",
            "Entries in the log that are worth a look, by level.",
            "level",
            {each.lower(): count for each, count in self._instruments.log.counts.items()},
        )

    def _uptime(self) -> float:
        return trio.current_time() - self._began


def _collected(collector: ProcessCollector) -> list[Metric]:
    return list(collector.collect())


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help_text, value=float(value))


def _counter(name: str, help_text: str, value: float) -> Metric:
    return CounterMetricFamily(name, help_text, value=value)


def _labelled(
    kind: type[GaugeMetricFamily] | type[CounterMetricFamily],
    name: str,
    help_text: str,
    label: str,
    values: dict[str, int],
) -> Metric:
    metric = kind(name, help_text, labels=[label])
    for each, value in values.items():
        metric.add_metric([each], value)
    return metric


def _histogram(name: str, help_text: str, times: dict[str, Histogram]) -> Metric:
    metric = HistogramMetricFamily(name, help_text, labels=["game"])
    for each, histogram in times.items():
        metric.add_metric([each], *_buckets(histogram))
    return metric


def _buckets(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    buckets: list[tuple[str, float]] = []
    count = 0
    for bound, more in zip((*map(str, histogram.bounds), "+Inf"), histogram.counts, strict=True):
        count += more
        buckets.append((bound, count))
    return buckets, histogram.total
