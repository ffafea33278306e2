"""Where a server alone keeps results: in its SQLite file, in memory, or nowhere, and it says so."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import trio
import trio.testing

from pgnet_trio import Game, Server
from pgnet_trio.environment import Environment
from pgnet_trio.server.cluster.errors import EngineUnavailable, NotKept, OutcomeUnknown
from pgnet_trio.server.community import SaveFileEngine
from pgnet_trio.server.games import archive as archive_module
from pgnet_trio.server.games.archive import Archive
from pgnet_trio.storage import Changes, open_store
from pgnet_trio.storage.sqlite import SQLiteStore
from tests.cluster.test_standings import lines, report
from tests.storage.test_storage import ANN, files_limited_to

if TYPE_CHECKING:
    from pgnet_trio.server.cluster.community import Community

T = TypeVar("T")


@asynccontextmanager
async def community(server: Server) -> AsyncIterator[Community[Any]]:
    """Run a server, and yield where it keeps results."""
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve)
        assert server._run is not None
        context = server._run.context
        assert context is not None
        yield context.community
        server.shutdown()


async def counted(server: Server) -> list[tuple[int, str, int]]:
    async with community(server) as engine:
        return lines(await engine.leaderboard("points"))


async def test_an_sqlite_file_keeps_results_from_run_to_run(tmp_path: Path) -> None:
    path = tmp_path / "save.sqlite"
    async with community(Server(Game, port=0, save_file=path)) as engine:
        await engine.report(report({"ann": 5}))
    assert await counted(Server(Game, port=0, save_file=path)) == [(1, "ann", 5)]


async def test_a_server_that_saves_nothing_keeps_them_as_long_as_it_lives() -> None:
    server = Server(Game, port=0)
    async with community(server) as engine:
        await engine.report(report({"ann": 5}))
    assert await counted(server) == [(1, "ann", 5)]
    assert await counted(Server(Game, port=0)) == []


async def test_a_json_file_keeps_none_and_says_so(tmp_path: Path) -> None:
    async with community(Server(Game, port=0, save_file=tmp_path / "save.json")) as engine:
        for ask in (lambda: engine.report(report({"ann": 5})), lambda: engine.history("ann")):
            with pytest.raises(NotKept, match=r"saves have no place.*game\.sqlite"):
                await ask()
        # A user may be deleted all the same.
        await engine.forget_player("ann")


@asynccontextmanager
async def save_file(path: Path) -> AsyncIterator[tuple[Archive, SaveFileEngine]]:
    archive = Archive(open_store(path), Environment())
    await archive.load()
    try:
        yield archive, SaveFileEngine(archive)
    finally:
        await archive.close()


async def test_a_full_disk_refuses_a_result_and_counts_it_later(tmp_path: Path) -> None:
    path = tmp_path / "save.sqlite"
    one = report({f"player {number}": number for number in range(3)})
    async with save_file(path) as (archive, engine):
        await engine.report(report({"ann": 5}, name="other"))
        await archive.sync()
        with files_limited_to(path.stat().st_size // 8):
            with pytest.raises(EngineUnavailable):
                await engine.report(one)
            # Whoever only looks is not refused.
            assert lines(await engine.leaderboard("other")) == [(1, "ann", 5)]
            assert lines(await engine.leaderboard("points")) == []
        await engine.report(one)
        assert len(lines(await engine.leaderboard("points"))) == 3


async def test_a_file_that_is_deleted_is_made_anew_with_all_results(tmp_path: Path) -> None:
    path = tmp_path / "save.sqlite"
    async with save_file(path) as (archive, engine):
        await engine.report(report({"ann": 5}))
        path.unlink()
        await engine.report(report({"bob": 7}))
        await archive.write(Changes(users={"ann": ANN}))
    async with save_file(path) as (archive, engine):
        assert lines(await engine.leaderboard("points")) == [(1, "bob", 7), (2, "ann", 5)]


async def test_what_the_file_keeps_is_in_a_copy_after_a_crash(tmp_path: Path) -> None:
    path, crashed = tmp_path / "save.sqlite", tmp_path / "crashed.sqlite"
    async with save_file(path) as (_, engine):
        await engine.report(report({"ann": 5}))
        for ending in ("", "-wal"):
            shutil.copy(f"{path}{ending}", f"{crashed}{ending}")
    async with save_file(crashed) as (_, engine):
        assert lines(await engine.leaderboard("points")) == [(1, "ann", 5)]


async def test_a_result_with_two_ratings_is_one_commit(tmp_path: Path) -> None:
    path = tmp_path / "save.sqlite"

    def commits() -> int:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            query = "SELECT value FROM settings WHERE name = 'commits'"
            return int(connection.execute(query).fetchone()[0])

    async with save_file(path) as (_, engine):
        await engine.report(report({"ann": 5, "bob": 3}, queue="ranked"))
        before = commits()
        played = await engine.report(report({"ann": 5, "bob": 3}, queue="ranked"))
        assert len(played.ratings) == 2
        assert commits() == before + 1
        await engine.history("ann")
        await engine.leaderboard_around("points", "ann")
        assert commits() == before + 1


async def test_results_and_saves_take_turns(tmp_path: Path) -> None:
    async with save_file(tmp_path / "save.sqlite") as (archive, engine):
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(engine.report, report({f"p{number}": number}))
                nursery.start_soon(archive.write, Changes(users={"ann": ANN}))
                nursery.start_soon(archive.sync)
        assert (await engine.leaderboard("points")).total == 10


async def test_nobody_waits_for_all_who_look_at_a_leaderboard(tmp_path: Path) -> None:
    async with save_file(tmp_path / "save.sqlite") as (archive, engine):
        await engine.report(report({"ann": 5}))
        seen = 0

        async def look() -> None:
            nonlocal seen
            await engine.leaderboard("points")
            seen += 1

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(look)
            await trio.testing.wait_all_tasks_blocked()
            await archive.write(Changes(users={"ann": ANN}))
            await engine.report(report({"bob": 7}))
            assert seen < 100
        assert seen == 100


class SlowStore(SQLiteStore):
    """Waits in the middle of each transaction, until it is let go on."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def transact(self, work: Callable[[sqlite3.Connection], T], *, writes: bool) -> T:
        def slow(connection: sqlite3.Connection) -> T:
            result = work(connection)
            self.begun.set()
            self.go_on.wait(30)
            return result

        return super().transact(slow, writes=writes)


async def test_a_cancelled_report_counts_once_it_has_begun(tmp_path: Path) -> None:
    store = SlowStore(tmp_path / "save.sqlite")
    archive = Archive(store, Environment())
    await archive.load()
    engine = SaveFileEngine(archive)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engine.report, report({"ann": 5}))
        await trio.to_thread.run_sync(store.begun.wait)
        # This one waits for its turn, and has not begun.
        nursery.start_soon(engine.report, report({"bob": 7}))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        store.go_on.set()
    assert lines(await engine.leaderboard("points")) == [(1, "ann", 5)]
    await archive.close()


async def test_a_disk_that_hangs_leaves_it_open_whether_a_result_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "WRITE_DEADLINE", 0.2)
    store = SlowStore(tmp_path / "save.sqlite")
    archive = Archive(store, Environment())
    await archive.load()
    engine = SaveFileEngine(archive)
    one = report({"ann": 5})
    with pytest.raises(OutcomeUnknown):
        await engine.report(one)
    with pytest.raises(EngineUnavailable, match="does not answer"):
        await engine.history("ann")
    store.go_on.set()
    # It was counted after all, and reporting it again counts it no second time.
    monkeypatch.setattr(archive_module, "WRITE_DEADLINE", 10)
    assert await engine.report(one) == one.played
    assert len(await engine.history("ann")) == 1
    await archive.close()


async def test_other_programs_may_read_scores_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "save.sqlite"
    async with save_file(path) as (_, engine):
        await engine.report(report({"ann": 5}))
        with contextlib.closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT username FROM scores").fetchall() == [("ann",)]
