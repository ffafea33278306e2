"""`pgnet-trio backup` and `pgnet-trio check`, with and without a server that uses the file."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from pgnet_trio.cli import main
from pgnet_trio.storage import Changes, SavedGame, SavedState, UserRecord
from pgnet_trio.storage.sqlite_reading import Reading
from tests.cluster.conftest import save_file_engine
from tests.cluster.test_standings import report
from tests.storage.test_storage import (
    ANN,
    BOB,
    ORIGINAL,
    TABLE,
    files,
    files_limited_to,
    load,
    opened,
    write,
    writer,
)
from tests.storage.test_storage_locks import holder
from tests.storage.test_storage_sqlite import (
    beside,
    copy_as_after_a_crash,
    crash_with_a_log,
    flip,
    make_version_1,
    set_aside,
)

EVERYTHING = Changes(
    users={"ann": ANN, "bob": BOB},
    games={"table 1": TABLE},
    registration=False,
    invite_codes={"1f2e": "", "3d4c": "cleo"},
)
SAVED = SavedState(
    users={"ann": ANN, "bob": BOB},
    games={"table 1": TABLE},
    registration=False,
    invite_codes={"1f2e": "", "3d4c": "cleo"},
)


@pytest.fixture(params=["save.sqlite", "save.json"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "save.sqlite"


def to(path: Path) -> Path:
    return path.with_name(f"copy{path.suffix}")


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert main([str(argument) for argument in arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("pgnet-trio: ")
    assert err.count("\n") == 1
    return err.removeprefix("pgnet-trio: ").removesuffix("\n")


def back_up(*arguments: str | Path) -> int:
    return main(["backup", *map(str, arguments)])


# Backups


def test_a_backup_holds_everything(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(path, EVERYTHING)
    assert back_up(path, to(path)) == 0
    assert capsys.readouterr().out == (
        f"{to(path)} is a copy of {path}.\n{to(path)} is sound: users 2, games 1.\n"
    )
    assert load(to(path)) == SAVED
    assert to(path).stat().st_mode & 0o777 == 0o600
    assert {each.name for each in path.parent.iterdir()} - {
        f"{path.name}.lock",
        f"{to(path).name}.lock",
    } == {path.name, to(path).name}


async def test_what_a_json_file_has_no_place_for_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, same, other = (tmp_path / name for name in ("save.sqlite", "copy.sqlite", "copy.json"))
    async with save_file_engine(path) as engine:
        await engine.report(report({"ann": 5}))
    assert back_up(path, other) == 0
    assert "Results, leaderboards, bans and profiles are not in it" in capsys.readouterr().out
    # A copy in the same format has all of it.
    assert back_up(path, same) == 0
    assert "Results" not in capsys.readouterr().out
    async with save_file_engine(same) as engine:
        assert (await engine.leaderboard("points")).total == 1


@pytest.mark.parametrize("names", [("save.json", "copy.sqlite"), ("save.sqlite", "copy.json")])
def test_a_backup_may_be_in_the_other_format(tmp_path: Path, names: tuple[str, str]) -> None:
    path, copy = (tmp_path / name for name in names)
    write(path, EVERYTHING)
    assert back_up(path, copy) == 0
    assert load(copy) == SAVED


def test_a_backup_of_the_original_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "save.json"
    path.write_text(ORIGINAL)
    assert back_up(path, to(path)) == 0
    assert to(path).read_text() == ORIGINAL


def test_backups_of_a_running_server_are_each_of_one_moment(path: Path) -> None:
    with writer(path) as process:
        assert process.stdout is not None
        written = int(process.stdout.readline())
        for number in range(4):
            written = int(process.stdout.readline().removeprefix("user")) + 1
            copy = path.with_name(f"copy {number}{path.suffix}")
            assert back_up(path, copy) == 0
            saved = load(copy)
            assert len(saved.users) >= written
            assert saved.games["counter"].data == str(len(saved.users) - 1)
            assert list(saved.invite_codes) == [str(len(saved.users) - 1)]
        assert process.poll() is None


def test_a_backup_within_this_process_leaves_the_locks_of_sqlite_alone(database: Path) -> None:
    with opened(database) as (store, _):
        store.write(EVERYTHING)
        assert back_up(database, to(database)) == 0
        assert main(["check", str(database)]) == 0
        script = (
            "import sqlite3, sys\n"
            "connection = sqlite3.connect(sys.argv[1])\n"
            "connection.execute('SELECT name FROM users').fetchall()\n"
            "connection.close()\n"
        )
        subprocess.run([sys.executable, "-c", script, str(database)], check=True)
        assert beside(database, "-wal").exists()
        store.write(Changes(users={"bob": None}))
    assert load(database).users == {"ann": ANN}


def test_a_server_s_key_is_not_in_a_backup(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(database, EVERYTHING)
    beside(database, ".key").touch()
    assert back_up(database, to(database)) == 0
    assert f"Copy {database}.key too" in capsys.readouterr().out


def test_nothing_is_overwritten_unless_it_is_said(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(path, EVERYTHING)
    to(path).write_text("what was there")
    assert "it is there already; --overwrite replaces it" in complaint(
        capsys, "backup", path, to(path)
    )
    assert to(path).read_text() == "what was there"
    assert back_up(path, to(path), "--overwrite") == 0
    assert f"{to(path)} was replaced by a copy of {path}" in capsys.readouterr().out
    assert load(to(path)) == SAVED


def test_what_a_server_uses_is_not_overwritten(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(path, EVERYTHING)
    with holder(to(path)):
        assert "a server is using it; stop that one first" in complaint(
            capsys, "backup", path, to(path), "--overwrite"
        )
    assert list(load(to(path)).users) == ["cleo"]


def test_a_file_is_no_backup_of_itself(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(path, EVERYTHING)
    link = path.with_name(f"link{path.suffix}")
    link.symlink_to(path)
    for name in (path, link):
        assert "it is the file to be copied" in complaint(
            capsys, "backup", path, name, "--overwrite"
        )
    assert load(path) == SAVED


@pytest.mark.parametrize(
    ("source", "target", "problem"),
    [
        ("missing.sqlite", "copy.sqlite", "there is no such file"),
        ("missing.json", "copy.json", "there is no such file"),
        ("folder", "copy.sqlite", "expected a file, and it is a folder"),
        ("save.sqlite", "folder", "expected a file, and it is a folder"),
        ("save.sqlite", "missing/copy.sqlite", "No such file or directory"),
        ("notes.sqlite", "copy.sqlite", "expected an SQLite database, and it is none"),
        ("notes.json", "copy.json", "it is damaged, or of another program"),
    ],
)
def test_what_cannot_be_backed_up(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    source: str,
    target: str,
    problem: str,
) -> None:
    write(tmp_path / "save.sqlite", EVERYTHING)
    (tmp_path / "folder").mkdir()
    for name in ("notes.sqlite", "notes.json"):
        (tmp_path / name).write_text("notes")
    before = sorted(tmp_path.rglob("*"))
    assert problem in complaint(capsys, "backup", tmp_path / source, tmp_path / target)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_full_disk_leaves_no_part_of_a_backup(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(path, Changes(games={"big": SavedGame("big", "", "y" * 300_000)}))
    before = files(path)
    with files_limited_to(100_000):
        assert "cannot make" in complaint(capsys, "backup", path, to(path))
    assert files(path) == before


def test_a_damaged_database_gets_no_backup(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(database, EVERYTHING)
    database.write_bytes(database.read_bytes().replace(b"bob5a17c0ffee", b"bub5a17c0ffee"))
    before = files(database)
    assert "it is damaged: row 2 missing" in complaint(capsys, "backup", database, to(database))
    assert files(database) == before


# Restoring


def test_a_backup_that_was_made_while_the_log_was_written_wins_over_it(
    database: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(database) as (store, _):
        store.write(Changes(users={"ann": ANN}))
        assert back_up(database, to(database)) == 0
        store.write(Changes(users={"bob": BOB}))
        crashed = copy_as_after_a_crash(database, tmp_path / "crashed")
    # By hand.
    shutil.copyfile(to(database), crashed)
    assert list(load(crashed).users) == ["ann"]
    assert "was the log of another file" in caplog.text
    assert set_aside(beside(crashed, "-wal")).exists()


def test_a_backup_is_restored_by_copying_it_back(database: Path, tmp_path: Path) -> None:
    crashed, copy = crash_with_a_log(database, tmp_path)
    assert back_up(copy, crashed, "--overwrite") == 0
    assert list(load(crashed).users) == ["ann"]


def test_a_server_that_starts_while_a_backup_is_made_spoils_none(
    database: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(database, EVERYTHING)

    def start_a_server(*_: object) -> Reading:
        with opened(database) as (store, _saved):
            store.write(Changes(users={"bob": None}))
        return Reading(2)

    monkeypatch.setattr("pgnet_trio.storage.maintenance.read_all", start_a_server)
    assert "a server has started meanwhile; try again" in complaint(
        capsys, "backup", database, to(database)
    )
    assert not to(database).exists()


# Checks


def test_a_sound_file_is_said_to_be_so(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(path, EVERYTHING)
    before = files(path)
    assert main(["check", str(path)]) == 0
    assert capsys.readouterr().out == f"{path} is sound: users 2, games 1.\n"
    assert files(path) == before


def test_a_file_is_checked_while_a_server_uses_it(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with holder(path):
        assert main(["check", str(path)]) == 0
    assert capsys.readouterr().out == f"{path} is sound: users 1, games 0.\n"


def test_a_file_is_checked_with_the_log_of_a_crash(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crashed, copy = crash_with_a_log(database, tmp_path)
    before = files(crashed)
    # SQLite's index of the log, which it makes anew at any time.
    del before["save.sqlite-shm"]
    assert main(["check", str(crashed)]) == 0
    assert capsys.readouterr().out == f"{crashed} is sound: users 3, games 1.\n"
    assert before.items() <= files(crashed).items()
    # With that of another file, it is not.
    shutil.copyfile(copy, crashed)
    assert main(["check", str(crashed)]) == 0
    assert capsys.readouterr().out == (
        "save.sqlite-wal is the log of another file; it was not read.\n"
        f"{crashed} is sound: users 1, games 1.\n"
    )
    assert list(load(crashed).users) == ["ann"]


def test_damaged_games_are_named(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(database, EVERYTHING, Changes(games={"table 2": SavedGame("table 2", "", "sound")}))
    flip(database, TABLE.data.encode(), at=77)
    named = "The save of the game 'table 1' is damaged. A server does not load it.\n"
    rest = "The rest is sound: users 2, games 1.\n"
    assert main(["check", str(database)]) == 1
    assert capsys.readouterr().out == named + rest
    assert back_up(database, to(database)) == 1
    assert capsys.readouterr().out == f"{to(database)} is a copy of {database}.\n" + named + rest
    load(database)
    assert main(["check", str(database)]) == 0
    assert "1 damaged saves are kept in the table" in capsys.readouterr().out


def test_a_large_file_is_checked_as_a_whole(
    database: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgnet_trio.storage.sqlite.CHECKED_AT_START", 0)
    write(database, EVERYTHING)
    database.write_bytes(database.read_bytes().replace(b"bob5a17c0ffee", b"bub5a17c0ffee"))
    assert "bub" in load(database).users
    assert "it is damaged: row 2 missing from index" in complaint(capsys, "check", database)


def test_an_older_version_is_read_and_stays_as_it_is(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_version_1(database)
    before = files(database)
    assert main(["check", str(database)]) == 0
    assert files(database) == before
    assert back_up(database, to(database)) == 0
    assert load(to(database)).users == {"ann": UserRecord("ann", "", "x")}
    with contextlib.closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA user_version").fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("notes", "it is damaged, or of another program"),
        (json.dumps({"users": []}), "expected exactly the keys"),
    ],
)
def test_a_damaged_json_file_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, problem: str
) -> None:
    path = tmp_path / "save.json"
    path.write_text(content)
    assert problem in complaint(capsys, "check", path)
