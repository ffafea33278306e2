"""Save files of every version that there was, as they were written then, are brought up to date."""

from __future__ import annotations

import contextlib
import gzip
import logging
import sqlite3
from pathlib import Path

import pytest

from pgnet_trio.errors import StorageError
from pgnet_trio.server.cluster.sql_community import SQLCommunity
from pgnet_trio.server.cluster.sqlite_engine import SQLiteTransaction
from pgnet_trio.storage import Changes, SavedState
from pgnet_trio.storage.migrations import MIGRATIONS, SCHEMA_VERSION
from pgnet_trio.storage.sqlite_schema import migrate
from tests.storage.test_storage import BOB, files_limited_to, load, opened

FILES = Path(__file__).parent / "files"
OLDER = range(1, SCHEMA_VERSION)
older = pytest.mark.parametrize("version", OLDER)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "save.sqlite"


def unpack(version: int, path: Path) -> bytes:
    """Write the file of a version, which a server of that time has made, and return its content.

    Version 1 is that of release 0.1.
    """
    content = gzip.decompress((FILES / f"version-{version}.sqlite.gz").read_bytes())
    path.write_bytes(content)
    return content


def schema(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return the tables and indexes of a file, with their columns."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        names = connection.execute("SELECT type, name FROM sqlite_master").fetchall()
        found: dict[str, list[tuple[object, ...]]] = {}
        for kind, name in names:
            found[f"{kind} {name}"] = connection.execute(f"PRAGMA {kind}_info({name})").fetchall()
        return found


def version_of(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        ((version,),) = connection.execute("PRAGMA user_version").fetchall()
        return int(version)


def check_content(saved: SavedState) -> None:
    assert sorted(saved.users) == ["ann", "bob7"]
    assert all(user.password.startswith("$argon2id$") for user in saved.users.values())
    assert [(game.name, game.data) for game in saved.games.values()] == [
        ("notes of ann", "Größe 漢 \U0001f600")
    ]
    assert saved.registration is True


@older
def test_a_file_of_each_older_version_is_brought_to_this_one(
    path: Path, version: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    before = unpack(version, path)
    assert version_of(path) == version
    with opened(path) as (store, saved):
        check_content(saved)
        store.write(Changes(users={"bob": BOB}))
    assert sorted(load(path).users) == ["ann", "bob", "bob7"]
    assert version_of(path) == SCHEMA_VERSION
    copy = path.with_name(f"{path.name}.version-{version}")
    assert f"{copy.name} is a copy of how it was" in caplog.text
    # What is in the copy is what was in the file; a server of that time can go on with it.
    assert version_of(copy) == version
    path.write_bytes(before)
    assert schema(copy) == schema(path)


@older
def test_a_file_that_was_brought_up_to_date_has_the_tables_of_a_new_one(
    path: Path, tmp_path: Path, version: int
) -> None:
    unpack(version, path)
    load(path)
    new = tmp_path / "new.sqlite"
    load(new)
    assert schema(path) == schema(new)


def test_the_scores_of_an_older_file_stay(path: Path) -> None:
    unpack(3, path)
    load(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.text_factory = bytes
        tables = SQLCommunity(SQLiteTransaction(connection))
        for page in (
            tables.leaderboard("points", 0, 10),
            tables.leaderboard_around("points", "ann", 10),
        ):
            found = [(entry.rank, entry.username, entry.score) for entry in page.entries]
            assert found == [(1, "bob7", 13), (2, "ann", 11)]
            assert page.total == 2
        assert len(tables.history("ann", None, 10)) == 3
        assert tables.rating("ranked", "ann") > tables.rating("ranked", "bob7")


@pytest.mark.parametrize("failing", OLDER)
def test_a_crash_between_two_versions_is_made_good_at_the_next_start(
    path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    unpack(1, path)

    def crash(connection: sqlite3.Connection, version: int) -> None:
        migrate(connection, version)
        if version == failing:
            raise sqlite3.OperationalError("the power is gone")

    monkeypatch.setattr("pgnet_trio.storage.sqlite.migrate", crash)
    with pytest.raises(StorageError, match="the power is gone"):
        load(path)
    # Each version is one transaction: those before are there, and nothing of the failing one.
    assert version_of(path) == failing
    monkeypatch.undo()
    check_content(load(path))
    assert version_of(path) == SCHEMA_VERSION


@older
def test_a_full_disk_leaves_an_older_file_as_it_was(path: Path, version: int) -> None:
    before = unpack(version, path)
    with files_limited_to(20_000), pytest.raises(StorageError):
        load(path)
    assert path.read_bytes() == before
    check_content(load(path))


def test_there_is_a_file_of_each_version() -> None:
    # Whoever adds a version adds the file that the version before made.
    assert {int(each.name[8:-10]) for each in FILES.iterdir()} == set(OLDER)
    assert sorted(MIGRATIONS) == list(range(3, SCHEMA_VERSION + 1))
