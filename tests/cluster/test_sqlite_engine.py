"""The engine that is a save file: locked, full, deleted, shared with a single server."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
import trio

from pgnet_trio.errors import StorageError
from pgnet_trio.server.cluster import wakeups
from pgnet_trio.server.cluster.errors import EngineError, EngineUnavailable, SaveDamaged
from pgnet_trio.server.cluster.records import Created, NewRoom, Restored, RoomSave
from pgnet_trio.server.cluster.sqlite_engine import SQLiteEngine
from pgnet_trio.storage import Changes, SavedGame, SavedState, UserRecord
from pgnet_trio.storage.locks import FileInUse
from pgnet_trio.storage.sqlite import SQLiteStore
from tests.cluster.conftest import running
from tests.kit.subprocesses import run_program
from tests.storage.test_storage import files_limited_to
from tests.storage.test_storage_sqlite import copy_as_after_a_crash

TABLE = SavedGame("table 1", "key", "board", 7)
ANN = UserRecord("ann", "", "hash")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "save.sqlite"


def load(path: Path) -> SavedState:
    store = SQLiteStore(path)
    try:
        return store.load()
    finally:
        store.close()


def write(path: Path, changes: Changes) -> None:
    store = SQLiteStore(path)
    store.load()
    store.write(changes)
    store.close()


async def new_room(engine: SQLiteEngine, name: str = "table 1") -> tuple[int, int]:
    lease = await engine.register("north", "")
    room = await engine.claim(lease.node, name, new=NewRoom("key"))
    assert isinstance(room, Created)
    return lease.node, room.epoch


async def test_a_single_servers_file_is_an_engine_and_the_other_way_round(path: Path) -> None:
    write(path, Changes(users={"ann": ANN}, games={"table 1": TABLE}, registration=False))
    engine = SQLiteEngine(path)
    async with running(engine):
        node = (await engine.register("north", "")).node
        room = await engine.claim(node, "table 1", password="key")
        assert isinstance(room, Restored)
        assert (room.data, room.empty_since) == ("board", 7)
        assert await engine.find_user("ann") == ANN
        assert await engine.registration() is False
        await engine.save([RoomSave("table 1", room.epoch, "later", empty_since=8)])
    assert load(path) == SavedState(
        users={"ann": ANN},
        games={"table 1": SavedGame("table 1", "key", "later", 8)},
        registration=False,
    )


async def test_what_a_crash_leaves_is_whole_for_a_single_server(path: Path, tmp_path: Path) -> None:
    engine = SQLiteEngine(path)
    async with running(engine):
        _, epoch = await new_room(engine)
        await engine.save([RoomSave("table 1", epoch, "board")])
        copy = copy_as_after_a_crash(path, tmp_path / "crashed")
        # The log of one file is not that of another.
        other = tmp_path / "other.sqlite"
        write(other, Changes(users={"ann": ANN}))
        other.replace(tmp_path / "crashed" / "other")
    assert load(copy).games == {"table 1": SavedGame("table 1", "key", "board")}
    (tmp_path / "crashed" / "other").replace(copy)
    write(path, Changes())
    assert load(copy).users == {"ann": ANN}


async def test_a_log_that_is_older_than_the_file_is_set_aside(path: Path, tmp_path: Path) -> None:
    engine = SQLiteEngine(path)
    async with running(engine):
        _, epoch = await new_room(engine)
        await engine.save([RoomSave("table 1", epoch, "board")])
        crashed = copy_as_after_a_crash(path, tmp_path / "crashed")
        await engine.save([RoomSave("table 1", epoch, "later")])
    await trio.Path(path).rename(crashed)
    assert load(crashed).games == {"table 1": SavedGame("table 1", "key", "later")}


@pytest.mark.skipif(sys.platform != "linux", reason="its lock is not shared elsewhere")
async def test_nodes_have_ended_for_certain_where_nobody_has_the_file_open(path: Path) -> None:
    import fcntl

    engine = SQLiteEngine(path)
    async with running(engine):
        assert engine.ended == frozenset()
        node, _ = await new_room(engine)
    with path.open("rb") as file:
        # As another process of the cluster has it open.
        fcntl.flock(file, fcntl.LOCK_SH)
        engine = SQLiteEngine(path)
        async with running(engine):
            assert engine.ended == frozenset()
    engine = SQLiteEngine(path)
    async with running(engine):
        assert engine.ended == {node}
        # Whoever only looks has changed nothing.
        assert [each.id for each in await engine.nodes()] == [node]


async def test_a_backup_can_be_made_meanwhile(path: Path, tmp_path: Path) -> None:
    engine = SQLiteEngine(path)
    async with running(engine):
        _, epoch = await new_room(engine)
        await engine.save([RoomSave("table 1", epoch, "board")])
        copy = tmp_path / "backup.sqlite"
        status, _, problems = await run_program("backup", str(path), str(copy))
        assert status == 0, problems
        assert load(copy).games == {"table 1": SavedGame("table 1", "key", "board")}
        assert await engine.save([RoomSave("table 1", epoch, "later")]) == frozenset()


async def test_a_single_server_and_an_engine_keep_each_other_out(path: Path) -> None:
    engine = SQLiteEngine(path, patience=0.2)
    async with running(engine):
        with pytest.raises(StorageError, match="another server"):
            SQLiteStore(path).load()
    store = SQLiteStore(path)
    store.load()
    with pytest.raises(EngineError, match="another server"):
        await SQLiteEngine(path, patience=0.2).run()
    store.close()


async def test_a_file_that_is_none_is_refused(path: Path) -> None:
    await trio.Path(path).write_text("{}")
    with pytest.raises(EngineError, match=r"save\.sqlite"):
        await SQLiteEngine(path).run()


@pytest.mark.parametrize(("version", "match"), [(2, "stop them all first"), (99, "their version")])
async def test_tables_of_another_version_that_others_use_are_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, version: int, match: str
) -> None:
    write(path, Changes(users={"ann": ANN}))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")

    def refuse(store: SQLiteStore) -> None:
        raise FileInUse("a server of that version has it open")

    monkeypatch.setattr(SQLiteStore, "load", refuse)
    with pytest.raises(EngineError, match=match):
        await SQLiteEngine(path).run()


async def test_a_call_fails_in_time_while_another_program_writes(path: Path) -> None:
    engine = SQLiteEngine(path, patience=0.4)
    async with running(engine):
        node, epoch = await new_room(engine)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(EngineUnavailable, match=r"locked|answer"), trio.fail_after(5):
                await engine.save([RoomSave("table 1", epoch, "board")])
            assert len(await engine.directory()) == 1
            # Nobody waits for this one for long.
            with trio.move_on_after(0.05) as scope:
                await engine.save([RoomSave("table 1", epoch, "cancelled")])
            assert scope.cancelled_caught
            other.execute("ROLLBACK")
        await engine.save([RoomSave("table 1", epoch, "later")])
        await engine.give_back(RoomSave("table 1", epoch))
        restored = await engine.claim(node, "table 1")
        assert isinstance(restored, Restored)
        assert restored.data == "later"


async def test_a_full_disk_changes_nothing_and_writing_goes_on_later(path: Path) -> None:
    engine = SQLiteEngine(path)
    async with running(engine):
        _, epoch = await new_room(engine)
        await engine.save([RoomSave("table 1", epoch, "board")])
        big = RoomSave("table 1", epoch, "x" * 2_000_000, players=9)
        with files_limited_to(500_000), pytest.raises(EngineUnavailable, match="cannot write"):
            await engine.save([big])
        assert [listing.players for listing in await engine.directory()] == [0]
        assert await engine.save([big]) == frozenset()


async def test_nothing_is_written_to_a_file_that_was_deleted(path: Path) -> None:
    engine = SQLiteEngine(path)
    async with running(engine):
        _, epoch = await new_room(engine)
        await trio.Path(path).rename(path.with_name("elsewhere"))
        with pytest.raises(EngineUnavailable, match="deleted or replaced"):
            await engine.save([RoomSave("table 1", epoch, "board")])


async def test_a_damaged_save_is_left_as_it_is(path: Path) -> None:
    engine = SQLiteEngine(path)
    async with running(engine):
        node, epoch = await new_room(engine)
        await engine.give_back(RoomSave("table 1", epoch, "board"))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("UPDATE games SET data = 'bored'")
            with pytest.raises(SaveDamaged, match="'table 1'"):
                await engine.claim(node, "table 1", new=NewRoom())
            assert other.execute("SELECT data FROM games").fetchall() == [("bored",)]


async def test_calls_before_and_after_it_runs_are_refused(path: Path) -> None:
    engine = SQLiteEngine(path, patience=0.2)
    with pytest.raises(EngineUnavailable, match=r"run\(\)"):
        await engine.nodes()
    async with running(engine):
        assert await engine.nodes() == []
    with pytest.raises(EngineUnavailable):
        await engine.nodes()


WAKER = """
import sys, trio
from pgnet_trio.server.cluster.sqlite_engine import SQLiteEngine

async def main():
    engine = SQLiteEngine(sys.argv[1])
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        await engine.send_mail([int(sys.argv[2])], b"from outside")
        nursery.cancel_scope.cancel()

trio.run(main)
"""


async def test_another_process_wakes_a_node_by_a_datagram(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakeups, "LOOK_INTERVAL", 1000.0)
    engine = SQLiteEngine(path)
    async with running(engine):
        node = (await engine.register("north", "")).node
        with trio.fail_after(30):
            await trio.run_process([sys.executable, "-c", WAKER, str(path), str(node)])
            await engine.wait_for_news(node)
        assert [one.body for one in await engine.read_mail(node)] == [b"from outside"]


async def test_a_stranger_on_the_loopback_interface_does_no_harm(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakeups, "LOOK_INTERVAL", 1000.0)
    engine = SQLiteEngine(path)
    async with running(engine):
        node = (await engine.register("north", "")).node
        with closing(sqlite3.connect(path)) as other:
            ((port,),) = other.execute("SELECT wake FROM nodes")
        with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as stranger:
            for note in (b"", b"\xff", b"-1", b"999999", b"\xb2", b"1" * 1000):
                await stranger.sendto(note, ("127.0.0.1", int(port)))
            with trio.fail_after(30):
                await engine.send_mail([node], b"")
                await engine.wait_for_news(node)
        # Nothing is remembered of nodes that are not here.
        with trio.move_on_after(0.01) as scope:
            await engine.wait_for_news(999999)
        assert scope.cancelled_caught
