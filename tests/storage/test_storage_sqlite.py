"""SQLite files that somebody deletes, replaces, copies, restores or damages."""

from __future__ import annotations

import contextlib
import logging
import shutil
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from pgnet_trio.errors import StorageError
from pgnet_trio.storage import Changes, SavedGame, SavedState, UserRecord
from tests.storage.test_storage import ANN, BOB, TABLE, files_limited_to, load, opened, write
from tests.storage.test_storage_locks import IN_USE, holder

CLEO = UserRecord("cleo", "", "x")

ENDINGS = ("", "-wal", "-shm")

# The tables of version 1, as pgnet_trio 0.1 makes them.
VERSION_1 = """
    PRAGMA journal_mode = WAL;
    CREATE TABLE users (
        name TEXT NOT NULL PRIMARY KEY, salt TEXT NOT NULL, password TEXT NOT NULL
    );
    CREATE TABLE games (
        name TEXT NOT NULL PRIMARY KEY, password TEXT NOT NULL, data TEXT NOT NULL
    );
    CREATE TABLE invite_codes (code TEXT NOT NULL PRIMARY KEY, username TEXT NOT NULL);
    CREATE TABLE settings (name TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL);
    PRAGMA application_id = 0x50474E54;
    PRAGMA user_version = 1;
    INSERT INTO users VALUES ('ann', '', 'x');
    INSERT INTO games VALUES ('t', '', 'board');
    INSERT INTO settings VALUES ('registration', 0);
"""

OF_VERSION_1 = SavedState(
    users={"ann": UserRecord("ann", "", "x")},
    games={"t": SavedGame("t", "", "board")},
    registration=False,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "save.sqlite"


def beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def set_aside(path: Path) -> Path:
    return beside(path, ".set-aside")


def copy_as_after_a_crash(path: Path, folder: Path) -> Path:
    """What a machine has that loses power now."""
    folder.mkdir(exist_ok=True)
    for ending in ENDINGS:
        if beside(path, ending).exists():
            shutil.copyfile(beside(path, ending), beside(folder / path.name, ending))
    return folder / path.name


# A file that is deleted, or replaced, while a server runs


@pytest.mark.parametrize("endings", [("",), ENDINGS, ("-wal",), ("-wal", "-shm")])
def test_a_deleted_file_is_made_anew_with_everything(
    path: Path, endings: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    with opened(path) as (store, _):
        store.write(Changes(users={"ann": ANN}, games={"table 1": TABLE}))
        path.chmod(0o640)
        store.sync()
        store.write(Changes(users={"bob": BOB}))
        path.chmod(0o600)
        for ending in endings:
            beside(path, ending).unlink()
        store.write(Changes(users={"cleo": CLEO}))
        crashed = copy_as_after_a_crash(path, path.parent / "crashed")
        assert "anew" in caplog.text
        caplog.clear()
        store.write(Changes(users={"cleo": None}))
        assert caplog.text == ""
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(load(crashed).users) == ["ann", "bob", "cleo"]
    assert load(path) == SavedState(users={"ann": ANN, "bob": BOB}, games={"table 1": TABLE})
    assert sorted(each.name for each in path.parent.iterdir()) == ["crashed", path.name]


@pytest.mark.parametrize("step", ["sync", "close"])
def test_a_file_that_was_deleted_after_the_last_change_is_made_anew_too(
    path: Path, step: str
) -> None:
    with opened(path) as (store, _):
        store.write(Changes(users={"ann": ANN}))
        path.unlink()
        getattr(store, step)()
        assert path.exists()
    assert load(path).users == {"ann": ANN}


@pytest.mark.parametrize("endings", [("",), ENDINGS])
def test_a_replaced_file_is_kept_beside_the_one_that_is_made_anew(
    path: Path, endings: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    other = path.with_name("other.sqlite")
    with opened(other) as (store, _):
        store.write(Changes(users={"cleo": CLEO}))
        other = copy_as_after_a_crash(other, path.parent / "other")
    with opened(path) as (store, _):
        store.write(Changes(users={"ann": ANN}))
        if endings == ("",):
            write(other)
        for ending in endings:
            beside(other, ending).rename(beside(path, ending))
        store.write(Changes(users={"bob": BOB}))
        assert f"the other file is now {set_aside(path).name}" in caplog.text
        store.write(Changes(users={"bob": None}))
    assert load(path).users == {"ann": ANN}
    assert load(set_aside(path)).users == {"cleo": CLEO}


def test_each_file_that_was_in_the_way_is_kept(path: Path) -> None:
    with opened(path) as (store, _):
        for number in range(2):
            path.unlink()
            path.write_text(str(number))
            store.sync()
    assert set_aside(path).read_text() == "0"
    assert path.with_name(f"{set_aside(path).name}.2").read_text() == "1"


def test_a_file_that_another_server_uses_by_now_is_left_alone(path: Path) -> None:
    with opened(path) as (store, _):
        store.write(Changes(users={"ann": ANN}))
        for ending in ENDINGS:
            beside(path, ending).unlink()
        with holder(path):
            for _ in range(2):
                with pytest.raises(StorageError, match=IN_USE):
                    store.write(Changes(users={"bob": BOB}))
        store.write(Changes(users={"bob": BOB}))
    assert list(load(path).users) == ["ann", "bob"]
    assert list(load(set_aside(path)).users) == ["cleo"]


def test_where_a_file_cannot_be_made_anew_nothing_is_taken_until_it_can(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "save.sqlite"
    path.parent.mkdir()
    with opened(path) as (store, _):
        store.write(Changes(users={"ann": ANN}))
        shutil.rmtree(path.parent)
        for _ in range(2):
            with pytest.raises(StorageError, match="there is no folder"):
                store.write(Changes(users={"bob": BOB}))
        path.parent.mkdir()
        store.write(Changes(users={"cleo": CLEO}))
    assert load(path).users == {"ann": ANN, "cleo": CLEO}


def copy_over(source: Path, target: Path) -> None:
    """As `cp` does it: the file stays the same, and has another content."""
    shutil.copyfile(source, target)


@pytest.mark.parametrize("origin", ["another server", "an older copy", "nothing"])
def test_after_something_was_copied_over_the_file_nothing_is_taken(path: Path, origin: str) -> None:
    other = path.with_name("other.sqlite")
    write(other, Changes(users={"cleo": CLEO}))
    with opened(path) as (store, _):
        if origin == "an older copy":
            store.sync()
            copy_over(path, other)
        elif origin == "nothing":
            other.write_bytes(b"")
        store.write(Changes(users={"ann": ANN}))
        store.sync()
        store.write(Changes(users={"bob": BOB}))
        content = other.read_bytes()
        copy_over(other, path)
        for _ in range(2):
            with pytest.raises(StorageError, match="copied over it while the server ran"):
                store.write(Changes(users={"bob": BOB}))
        with pytest.raises(StorageError, match="copied over it while the server ran"):
            store.sync()
        with pytest.raises(StorageError, match="copied over it while the server ran"):
            store.close()
    # What was copied there is what the next server starts with.
    assert path.read_bytes() == content
    if origin == "another server":
        assert load(path).users == {"cleo": CLEO}


def test_another_program_may_write_and_bring_the_log_into_the_file(path: Path) -> None:
    with opened(path) as (store, _):
        store.write(Changes(users={"ann": ANN}))
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute("DELETE FROM users")
            other.commit()
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        store.write(Changes(users={"bob": BOB}))
    assert load(path).users == {"bob": BOB}


# A plain copy, and restoring one


def test_after_a_sync_a_plain_copy_of_the_file_holds_everything(path: Path) -> None:
    copy = path.with_name("copy.sqlite")
    with opened(path) as (store, _):
        store.write(Changes(users={"ann": ANN}, games={"table 1": TABLE}))
        store.sync()
        shutil.copyfile(path, copy)
        store.write(Changes(users={"bob": BOB}))
    assert load(copy) == SavedState(users={"ann": ANN}, games={"table 1": TABLE})


def test_a_program_that_reads_does_not_hold_up_a_sync(path: Path) -> None:
    with opened(path) as (store, _):
        store.write(Changes(users={"ann": ANN}))
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            assert reader.execute("SELECT name FROM users").fetchall() == [("ann",)]
            store.write(Changes(users={"bob": BOB}))
            store.sync()
            store.write(Changes(users={"cleo": CLEO}))
            assert reader.execute("SELECT name FROM users").fetchall() == [("ann",)]
        store.sync()
        shutil.copyfile(path, path.with_name("copy.sqlite"))
    assert list(load(path.with_name("copy.sqlite")).users) == ["ann", "bob", "cleo"]


def crash_with_a_log(path: Path, folder: Path) -> tuple[Path, Path]:
    """A server that crashed some time after a plain copy of its file was made, and the copy."""
    copy = folder / "copy.sqlite"
    with opened(path) as (store, _):
        store.write(Changes(users={"ann": ANN}, games={"table 1": TABLE}))
        store.sync()
        shutil.copyfile(path, copy)
        store.write(Changes(users={"bob": BOB}))
        store.sync()
        store.write(Changes(users={"cleo": CLEO}))
        crashed = copy_as_after_a_crash(path, folder / "crashed")
    return crashed, copy


def test_the_log_of_a_crashed_server_is_used(path: Path, tmp_path: Path) -> None:
    crashed, _ = crash_with_a_log(path, tmp_path)
    assert list(load(crashed).users) == ["ann", "bob", "cleo"]


def test_a_restored_file_wins_over_the_log_of_the_one_before(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    crashed, copy = crash_with_a_log(path, tmp_path)
    log = beside(crashed, "-wal").read_bytes()
    shutil.copyfile(copy, crashed)
    with opened(crashed) as (store, saved):
        assert saved == SavedState(users={"ann": ANN}, games={"table 1": TABLE})
        assert "was the log of another file" in caplog.text
        store.write(Changes(users={"bob": BOB}))
    assert list(load(crashed).users) == ["ann", "bob"]
    assert set_aside(beside(crashed, "-wal")).read_bytes() == log


def test_a_copy_of_a_closed_file_wins_over_the_log_of_the_next_run(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = tmp_path / "copy.sqlite"
    write(path, Changes(users={"ann": ANN}))
    shutil.copyfile(path, copy)
    with opened(path) as (store, _):
        store.write(Changes(users={"bob": BOB}))
        crashed = copy_as_after_a_crash(path, tmp_path / "crashed")
        restored = copy_as_after_a_crash(path, tmp_path / "restored")
    assert list(load(crashed).users) == ["ann", "bob"]
    shutil.copyfile(copy, restored)
    assert list(load(restored).users) == ["ann"]
    assert "was the log of another file" in caplog.text


def test_the_log_of_a_wholly_different_file_is_not_used(path: Path, tmp_path: Path) -> None:
    crashed, _ = crash_with_a_log(path, tmp_path)
    other = tmp_path / "other.sqlite"
    write(other, Changes(users={"dora": UserRecord("dora", "", "x")}))
    shutil.copyfile(other, crashed)
    assert list(load(crashed).users) == ["dora"]


@pytest.mark.parametrize("pages", range(8))
def test_a_crash_while_the_log_is_copied_into_the_file_loses_nothing(
    path: Path, tmp_path: Path, pages: int
) -> None:
    many = {f"user{number}": UserRecord(f"user{number}", "", "x" * 500) for number in range(50)}
    with opened(path) as (store, _):
        store.write(Changes(users={"ann": ANN}))
        store.sync()
        store.write(Changes(users=many))
        crashed = copy_as_after_a_crash(path, tmp_path / "crashed")
        store.sync()
        # SQLite copies pages in the order of their numbers; this much was done.
        done = path.read_bytes()[: pages * 4096]
        content = crashed.read_bytes()
        crashed.write_bytes(done + content[len(done) :])
    assert load(crashed).users == {"ann": ANN, **many}
    assert not set_aside(beside(crashed, "-wal")).exists()


# Damage


def flip(path: Path, text: bytes, *, at: int = 0) -> None:
    """Change one byte of a text in a file."""
    content = bytearray(path.read_bytes())
    place = content.index(text) + at
    content[place] ^= 0x20
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: flip(path, TABLE.data.encode(), at=500),
        lambda path: flip(path, TABLE.password.encode()),
        # No text any more.
        lambda path: path.write_bytes(path.read_bytes().replace(b"x" * 9, b"x\xffx\xffxxxxx")),
    ],
)
def test_one_damaged_game_is_named_and_the_others_load(
    path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    sound = SavedGame("table 2", "", "sound")
    write(path, Changes(users={"ann": ANN}, games={"table 1": TABLE, "table 2": sound}))
    damage(path)
    with opened(path) as (store, saved):
        assert saved == SavedState(users={"ann": ANN}, games={"table 2": sound})
        (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
        assert "'table 1'" in record.message
        # A new game of that name does not overwrite what is left of it.
        store.write(Changes(games={"table 1": SavedGame("table 1", "", "new")}))
    caplog.clear()
    assert load(path).games == {"table 2": sound, "table 1": SavedGame("table 1", "", "new")}
    assert caplog.text == ""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        query = "SELECT CAST(name AS TEXT), LENGTH(CAST(data AS BLOB)) FROM damaged_games"
        assert connection.execute(query).fetchall() == [("table 1", len(TABLE.data))]


def test_a_large_file_is_not_looked_through_at_each_start(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(path, Changes(users={"ann": ANN, "bob": BOB}))
    # The index still says "bob".
    path.write_bytes(path.read_bytes().replace(b"bob5a17c0ffee", b"bub5a17c0ffee"))
    monkeypatch.setattr("pgnet_trio.storage.sqlite.CHECKED_AT_START", path.stat().st_size)
    with pytest.raises(StorageError, match="it is damaged"):
        load(path)
    monkeypatch.setattr("pgnet_trio.storage.sqlite.CHECKED_AT_START", path.stat().st_size - 1)
    assert list(load(path).users) == ["ann", "bub"]


# An older version


def make_version_1(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_1)


def test_a_file_of_version_1_is_changed_after_a_copy_was_put_beside_it(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    make_version_1(path)
    copy = beside(path, ".version-1")
    with opened(path) as (store, saved):
        assert saved == OF_VERSION_1
        assert f"{copy.name} is a copy of how it was" in caplog.text
        store.write(Changes(users={"bob": BOB}))
    assert load(path).games == OF_VERSION_1.games
    assert sorted(each.name for each in path.parent.iterdir()) == [path.name, copy.name]
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("PRAGMA user_version").fetchall() == [(1,)]
        assert connection.execute("SELECT * FROM games").fetchall() == [("t", "", "board")]


def test_the_copy_of_version_1_has_what_was_in_the_log(path: Path, tmp_path: Path) -> None:
    make_version_1(path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO users VALUES ('bob', '', 'y')")
        connection.commit()
        crashed = copy_as_after_a_crash(path, tmp_path / "crashed")
    assert list(load(crashed).users) == ["ann", "bob"]
    with contextlib.closing(sqlite3.connect(beside(crashed, ".version-1"))) as connection:
        assert connection.execute("SELECT name FROM users").fetchall() == [("ann",), ("bob",)]


def test_a_copy_of_version_1_is_never_overwritten(path: Path) -> None:
    copy = beside(path, ".version-1")
    copy.write_text("what was there")
    make_version_1(path)
    load(path)
    assert copy.read_text() == "what was there"
    assert beside(path, ".version-1.2").exists()


def test_a_file_of_version_1_that_was_restored_wins_over_a_newer_log(
    path: Path, tmp_path: Path
) -> None:
    make_version_1(path)
    old = path.read_bytes()
    crashed, _ = crash_with_a_log(path, tmp_path)
    crashed.write_bytes(old)
    assert load(crashed) == OF_VERSION_1


def test_a_crash_while_a_file_of_version_1_is_changed_loses_nothing(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_version_1(path)
    monkeypatch.setattr("pgnet_trio.storage.sqlite.SQLiteStore._checkpoint", lambda *_: None)
    with opened(path) as (store, _):
        store.write(Changes(users={"bob": BOB}))
        crashed = copy_as_after_a_crash(path, tmp_path / "crashed")
    monkeypatch.undo()
    assert list(load(crashed).users) == ["ann", "bob"]
    assert not set_aside(beside(crashed, "-wal")).exists()


def test_a_full_disk_leaves_a_file_of_version_1_as_it_was(path: Path) -> None:
    make_version_1(path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE games SET data = ?", ("y" * 200_000,))
        connection.commit()
    before = path.read_bytes()
    with files_limited_to(100_000), pytest.raises(StorageError):
        load(path)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert load(path).users == OF_VERSION_1.users


@pytest.mark.parametrize("pages", range(1, 8))
def test_another_program_may_bring_a_part_of_the_log_into_the_file(
    path: Path, tmp_path: Path, pages: int
) -> None:
    many = {f"user{number}": UserRecord(f"user{number}", "", "x" * 500) for number in range(50)}
    with opened(path) as (store, _):
        store.write(Changes(users={"ann": ANN}))
        store.sync()
        store.write(Changes(users=many))
        whole = copy_as_after_a_crash(path, tmp_path / "whole")
        load(whole)
        # As one does that is killed half-way, in the order of SQLite.
        with path.open("r+b") as file:
            file.write(whole.read_bytes()[: pages * 4096])
        store.write(Changes(users={"bob": BOB}))
    assert load(path).users == {"ann": ANN, **many, "bob": BOB}
