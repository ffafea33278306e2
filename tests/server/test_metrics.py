"""Metrics: what is counted, and what it costs to read it."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import attrs
import pytest
import trio

from pgnet_trio import (
    Bot,
    Game,
    LoginRefused,
    Packet,
    Queue,
    Reject,
    RequestFailed,
    Response,
    SessionLost,
    StorageError,
    on,
)
from pgnet_trio.server.counters import TIMED, Counters, Histogram, outcome_of
from pgnet_trio.server.monitor import instruments
from pgnet_trio.server.monitor import metrics as metrics_module
from pgnet_trio.server.monitor.instruments import Instruments
from pgnet_trio.server.monitor.metrics import Metrics
from pgnet_trio.testing import MemoryStore, hosting, playing
from tests.kit.hosting import socket_client
from tests.kit.monitoring import monitored, samples, scrape

if TYPE_CHECKING:
    from trio.testing import MockClock

    from pgnet_trio import Client, Server
    from pgnet_trio.storage import Changes


@attrs.frozen
class Move:
    to: int


@attrs.frozen
class Ask:
    pass


class Board(Game):
    update_rate = 100.0
    on_crash = "restart"
    persistent = True

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.at = 0

    def get_save_string(self) -> str:
        return str(self.at)

    def view(self) -> dict[str, int]:
        return {"at": self.at}

    def update(self) -> None:
        pass

    @on(Move)
    def move(self, player: str, move: Move) -> None:
        if move.to < 0:
            raise Reject("not there")
        if move.to > 1000:
            raise RuntimeError("off the board")
        self.at = move.to
        self.room.push("moved", {"to": move.to})

    @on(Ask)
    async def wait(self, player: str, ask: Ask) -> None:
        await trio.sleep(0.3)


def of(found: dict[str, float], name: str, **labels: str) -> float:
    inside = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return found[f"{name}{{{inside}}}" if inside else name]


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_module, "FRESH", 0.0)
    monkeypatch.setattr(instruments, "LAG_INTERVAL", 0.001)


async def test_what_players_do_is_counted_by_class_of_game() -> None:
    async with monitored(Board, port=0) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        async with server.client("bob") as bob:
            await bob.join_game("table 1", spectate=True)
            for number in range(2 * TIMED):
                await ann.call(Move(number))
            with pytest.raises(RequestFailed):
                await ann.call(Move(-1))
            await ann.call(Ask())
            found = await scrape(server)
            game = {"game": "Board"}
            assert of(found, "pgnet_sessions", state="online") == 2
            assert of(found, "pgnet_games", **game) == 1
            assert of(found, "pgnet_players", **game) == 1
            assert of(found, "pgnet_spectators", **game) == 1
            assert of(found, "pgnet_requests_total", **game, outcome="refused") == 1
            assert of(found, "pgnet_requests_total", **game, outcome="ok") == 2 * TIMED + 1
            # To both, each time.
            assert of(found, "pgnet_pushes_total", **game) >= 2 * 2 * TIMED
            assert of(found, "pgnet_patches_total", **game) > 1
            assert of(found, "pgnet_state_bytes", **game) > 0
            assert of(found, "pgnet_ticks_total", **game) >= 1
            assert of(found, "pgnet_tick_seconds_count", **game) >= 1
            # The one that waited is timed, and whatever else took long.
            assert of(found, "pgnet_turn_seconds_sum", **game) > 0.3
            slow = of(found, "pgnet_turn_seconds_bucket", **game, le="0.25")
            assert of(found, "pgnet_turn_seconds_bucket", **game, le="+Inf") > slow
            assert of(found, "pgnet_server_requests_total", outcome="ok") >= 2
            assert of(found, "pgnet_logins_total") == 2
            # Nobody's name, and no table's: their number knows no limit.
            assert not [name for name in found if "ann" in name or "table 1" in name]


@attrs.frozen
class Steer:
    left: bool = True


class Race(Game):
    update_rate = 20.0
    inputs = Move

    def update(self) -> None:
        for player in self.room.players:
            self.room.next_input(player)


async def test_inputs_that_are_never_played_are_counted_by_the_reason_to_the_end_of_their_game(
    autojump_clock: MockClock,
) -> None:
    async with hosting(Race) as server:
        context = server._context("it is read")
        metrics = Metrics(context, Instruments(context.counters.lag))
        texts = []
        async with server.client("ann") as ann, server.client("bob") as bob:
            await ann.create_game("race")
            await bob.join_game("race", spectate=True)
            bob.input(Move(1))
            ann.input(Move(1), seen=ann.server_time + 10)
            await trio.sleep(0.2)
            ann.input(Steer())
            await trio.sleep(0.2)
            texts += [await metrics.collect(), await metrics.collect()]
            await bob.leave_game()
            await ann.leave_game()
            assert not server.stats().games
            texts.append(await metrics.collect())
    expected = {"surplus": 0, "early": 1, "invalid": 1, "no_player": 1, "no_inputs": 0}
    for found in map(samples, texts):
        assert {
            reason: of(found, "pgnet_dropped_inputs_total", game="Race", reason=reason)
            for reason in expected
        } == expected


async def test_a_game_that_raises_is_counted() -> None:
    async with monitored(Board) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        with server.expecting(RuntimeError), pytest.raises(RequestFailed):
            await ann.call(Move(2000))
        found = await scrape(server)
        assert of(found, "pgnet_restarts_total", game="Board") == 1
        assert of(found, "pgnet_crashes_total", game="Board") == 0
        assert of(found, "pgnet_log_records_total", level="error") >= 1


async def test_requests_are_counted_one_by_one_also_of_games_that_are_over() -> None:
    async with monitored(Board) as server, server.client("ann") as ann:
        for table in ("table 1", "table 2"):
            await ann.create_game(table)
            for number in range(TIMED - 2):
                await ann.call(Move(number))
            with pytest.raises(RequestFailed):
                await ann.call(Move(-1))
            await ann.leave_game()
        found = await scrape(server)
        requests = {"game": "Board", "outcome": "ok"}
        # A counter that goes down would count as one that began anew.
        assert of(found, "pgnet_requests_total", **requests) == 2 * (TIMED - 2)
        assert server._context("it is read").counters.requests == 2 * (TIMED - 1) + 2 * 2


async def test_log_ins_that_are_refused_are_counted_by_reason() -> None:
    async with monitored(Board, admin_password="right") as server:
        with pytest.raises(LoginRefused):
            async with server.client("admin", "wrong"):
                pass
        found = await scrape(server)
        assert of(found, "pgnet_refused_logins_total", reason="wrong_password") == 1


async def test_bytes_over_the_network_are_counted_both_ways() -> None:
    async with monitored(Board, port=0) as server:
        async with socket_client(server, "ann") as ann:
            before = await scrape(server)
            await ann.create_game("table 1", options={"text": "x" * 500})
            after = await scrape(server)
    assert after["pgnet_received_bytes_total"] > before["pgnet_received_bytes_total"] + 500
    assert after["pgnet_sent_bytes_total"] > before["pgnet_sent_bytes_total"]


async def test_the_process_is_shown_too() -> None:
    async with monitored(Board) as server:
        gc.collect()
        found = await scrape(server)
        assert found["pgnet_gc_collections_total" + '{generation="2"}'] >= 1
        assert found["pgnet_gc_seconds_total"] > 0
        assert found["pgnet_loop_lag_seconds_count"] >= 1
        assert found["pgnet_uptime_seconds"] > 0
        assert found["process_resident_memory_bytes"] > 1e7
        [info] = [name for name in found if name.startswith("pgnet_info")]
        assert 'version="' in info


async def test_others_have_their_turns_while_a_full_server_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics_module, "LONGEST_STEP", 0.0)
    monkeypatch.setattr(metrics_module, "AT_ONCE", 1)
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with monitored(Board) as server:
        async with server.client("ann") as ann, server.client("bob") as bob:
            await ann.create_game("table 1")
            await bob.create_game("table 2")
            context = server._context("it is read")
            metrics = Metrics(context, Instruments(context.counters.lag))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(take_turns)
                await trio.lowlevel.checkpoint()
                turns = 0
                text = await metrics.collect()
                # Two sessions, two games, and each of the metrics.
                assert turns >= 4 + text.count(b"# TYPE pgnet_")
                monkeypatch.setattr(metrics_module, "FRESH", 60.0)
                text = await metrics.collect()
                turns = 0
                assert await metrics.collect() == text
                assert turns <= 2
                nursery.cancel_scope.cancel()


def test_a_histogram_has_each_time_in_its_class() -> None:
    histogram = Histogram((1.0, 2.0))
    for seconds in (0.5, 1.0, 1.5, 3.0):
        histogram.add(seconds)
    assert histogram.counts == [2, 1, 1]
    assert histogram.total == 6.0


def test_a_program_that_makes_classes_without_end_does_not_fill_memory() -> None:
    counters = Counters("Board")
    for number in range(1000):
        counters.of_game(f"Game{number}").crashes += 1
    assert len(counters.games) < 60
    assert counters.of_game("Game999").crashes > 900


@pytest.mark.parametrize(("status", "expected"), [(0, 0), (1, 1), (2, 2), (3, 3), (-7, 3)])
def test_a_game_may_use_any_number_as_a_status(status: int, expected: int) -> None:
    assert outcome_of(status) == expected


async def read(server: Server) -> dict[str, float]:
    """Read the metrics without a connection, in virtual time."""
    context = server._context("it is read")
    return samples(await Metrics(context, Instruments(context.counters.lag)).collect())


async def test_who_comes_drops_comes_back_and_takes_over_is_counted(
    autojump_clock: MockClock,
) -> None:
    async with hosting(Board, resume_grace=10) as server, playing(server, "ann") as ann:
        await ann.create_game("table 1")
        server.network.cut("ann")
        await trio.sleep(5)
        found = await read(server)
        assert of(found, "pgnet_sessions", state="away") == 1
        assert of(found, "pgnet_sessions", state="online") == 0
        assert of(found, "pgnet_connections", kind="player") == 0
        server.network.heal("ann")
        await ann.call(Move(1))
        found = await read(server)
        assert of(found, "pgnet_resumes_total") == 1
        assert of(found, "pgnet_sessions", state="away") == 0
        assert of(found, "pgnet_connections", kind="player") == 1
        async with server.client("ann"):
            found = await read(server)
            assert of(found, "pgnet_takeovers_total") == 1
            assert of(found, "pgnet_logins_total") == 2
            assert of(found, "pgnet_users") == 1
    async with (
        hosting(Board, resume_grace=10) as server,
        playing(server, "bob") as bob,
    ):
        server.network.cut("bob")
        await trio.sleep(15)
        server.network.heal("bob")
        with pytest.raises(SessionLost):
            await bob.get_game_dir()
        assert of(await read(server), "pgnet_lost_resumes_total") == 1


class Waits(Game):
    """Asks everybody, takes its time for an update, and answers late."""

    update_rate = 10.0
    matchmaking = Queue(size=9)

    async def run(self) -> None:
        players = await self.room.wait_players(1)
        await self.room.ask_all(players, Packet("Well?"), Ask)

    async def update(self) -> None:
        await trio.sleep(1)

    @on(Ask)
    async def wait(self, player: str, ask: Ask) -> None:
        await trio.sleep(1000)


async def look_for_a_game(client: Client) -> None:
    async with client.find_game() as search:
        async for _ in search:
            pass


def ignore(response: Response) -> None:
    """Do nothing with it."""


async def test_what_waits_and_what_is_late_is_counted(autojump_clock: MockClock) -> None:
    async with (
        hosting(Waits) as server,
        playing(server, "ann") as ann,
        playing(server, "bob") as bob,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(look_for_a_game, bob)
        await ann.create_game("table 1")
        ann.send(Ask(), ignore)
        ann.send(Ask(), ignore)
        await trio.sleep(20)
        found = await read(server)
        game = {"game": "Waits"}
        assert of(found, "pgnet_open_questions", **game) == 1
        assert of(found, "pgnet_waiting_turns", **game) >= 1
        assert of(found, "pgnet_unanswered_requests") == 2
        assert of(found, "pgnet_queue_users", queue="") == 1
        assert of(found, "pgnet_missed_ticks_total", **game) > 1
        assert of(found, "pgnet_tasks", nursery="connections") == 2
        nursery.cancel_scope.cancel()


class Disk(MemoryStore):
    """A disk that may be full."""

    full = False

    def write(self, changes: Changes) -> None:
        if self.full:
            raise StorageError("the disk is full")
        super().write(changes)


async def test_a_save_that_fails_shows_until_one_succeeds(autojump_clock: MockClock) -> None:
    disk = Disk()
    async with (
        hosting(Board, store=disk, autosave_interval=10) as server,
        playing(server, "ann", game="table 1") as ann,
    ):
        await trio.sleep(11)
        disk.full = True
        await ann.call(Move(1))
        await trio.sleep(15)
        found = await read(server)
        assert of(found, "pgnet_save_failing") == 1
        assert of(found, "pgnet_save_errors_total") >= 1
        assert of(found, "pgnet_save_age_seconds") >= 15
        disk.full = False
        await trio.sleep(11)
        found = await read(server)
        assert of(found, "pgnet_save_failing") == 0
        assert of(found, "pgnet_save_age_seconds") <= 11
        assert of(found, "pgnet_saved_games") == 1
        assert of(found, "pgnet_shutting_down") == 0


class Robot(Bot):
    def __init__(self) -> None:
        super().__init__("bot 1")

    async def play(self) -> None:
        await trio.sleep_forever()


class Guarded(Board):
    async def run(self) -> None:
        self.room.add_bot(Robot())
        await trio.sleep_forever()


async def test_who_does_not_read_is_counted(autojump_clock: MockClock) -> None:
    async with (
        hosting(Guarded, max_unacknowledged_messages=100, requests_per_second=None) as server,
        playing(server, "ann", "bob", game="table 1") as (_, bob),
    ):
        game = {"game": "Guarded"}
        found = await read(server)
        assert of(found, "pgnet_bots", **game) == 1
        assert of(found, "pgnet_players", **game) == 3
        assert of(found, "pgnet_dropped_pushes") == 0
        patches = of(found, "pgnet_patch_bytes_total", **game)
        server.network.stall("ann")
        for number in range(200):
            await bob.call(Move(number))
        found = await read(server)
        stats = server.stats().sessions["ann"]
        assert of(found, "pgnet_dropped_pushes") == stats.dropped_pushes >= 100
        assert of(found, "pgnet_unacknowledged_messages") >= stats.unacknowledged >= 50
        assert of(found, "pgnet_unacknowledged_bytes") >= 10 * stats.unacknowledged
        await trio.sleep(0.2)
        found = await read(server)
        # A patch has a few bytes at least.
        grown = of(found, "pgnet_patch_bytes_total", **game) - patches
        assert grown >= 3 * of(found, "pgnet_patches_total", **game) > 0
        context = server._context("it is read")
        assert of(found, "pgnet_loop_stalls_total") == 0
        context.counters.stalls += 2
        assert of(await read(server), "pgnet_loop_stalls_total") == 2
        server.network.heal("ann")


class SlowDisk(MemoryStore):
    """Takes two seconds for each write."""

    clock: MockClock

    def write(self, changes: Changes) -> None:
        self.clock.jump(2.0)
        super().write(changes)


async def test_how_long_a_save_took_is_shown(autojump_clock: MockClock) -> None:
    disk = SlowDisk()
    disk.clock = autojump_clock
    async with (
        hosting(Board, store=disk, autosave_interval=10) as server,
        playing(server, "ann", game="table 1") as ann,
    ):
        await ann.call(Move(1))
        took = 0.0
        # The disk writes in a thread, and time goes on meanwhile.
        for _ in range(60):
            await trio.sleep(0.5)
            took = of(await read(server), "pgnet_save_seconds")
            if took:
                break
        assert took >= 2
