"""JSON save files that somebody deletes or edits, and those that have grown too large."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pgnet_trio.errors import StorageError
from pgnet_trio.storage import Changes, SavedState, UserRecord
from pgnet_trio.storage.json_file import MANY_USERS
from tests.storage.test_storage import ANN, BOB, files_limited_to, load, opened, write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "save.json"


@pytest.mark.parametrize("step", ["write", "sync", "close"])
def test_a_deleted_file_is_made_anew(
    path: Path, step: str, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(path) as (store, _):
        store.write(Changes(users={"ann": ANN, "bob": BOB}))
        path.unlink()
        if step == "write":
            store.write(Changes(users={"bob": None}))
        else:
            getattr(store, step)()
        assert "was deleted while the server ran" in caplog.text
        assert path.exists()
    assert "ann" in load(path).users


@pytest.mark.parametrize("replaced", [True, False])
def test_what_others_write_while_a_server_runs_is_kept_beside_it(
    path: Path, replaced: bool, caplog: pytest.LogCaptureFixture
) -> None:
    other = path.with_name("other.json")
    write(other, Changes(users={"bob": BOB}))
    with opened(path) as (store, _):
        store.write(Changes(users={"ann": ANN}))
        if replaced:
            other.rename(path)
        else:
            path.write_bytes(other.read_bytes())
        store.write(Changes(registration=False))
        assert "what was there is now save.json.set-aside" in caplog.text
        caplog.clear()
        store.write(Changes(registration=True))
        store.sync()
        assert caplog.text == ""
    assert load(path) == SavedState(users={"ann": ANN}, registration=True)
    assert list(json.loads((path.parent / "save.json.set-aside").read_text())["users"][0]) == [
        "name",
        "salt",
        "password",
    ]


def test_a_file_that_appears_before_the_first_write_is_kept_beside_it(path: Path) -> None:
    with opened(path) as (store, _):
        path.write_text("notes")
        store.write(Changes(users={"ann": ANN}))
    assert load(path).users == {"ann": ANN}
    assert (path.parent / "save.json.set-aside").read_text() == "notes"


def test_a_full_disk_keeps_what_others_wrote_once(path: Path) -> None:
    with opened(path) as (store, _):
        store.write(Changes(users={"ann": ANN}))
        path.write_text("notes")
        with files_limited_to(50):
            for _ in range(2):
                with pytest.raises(StorageError, match="cannot write"):
                    store.write(Changes(users={"bob": BOB}))
        store.write(Changes(users={"bob": BOB}))
    assert list(load(path).users) == ["ann", "bob"]
    assert [each.name for each in path.parent.iterdir() if "set-aside" in each.name] == [
        "save.json.set-aside"
    ]


def many_users(first: int, end: int) -> Changes:
    return Changes(
        users={f"u{number}": UserRecord(f"u{number}", "", "x") for number in range(first, end)}
    )


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if "SQLite" in record.message]


def test_many_users_get_one_warning_that_says_what_to_use(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(path) as (store, _):
        store.write(many_users(0, MANY_USERS))
        assert warnings_in(caplog) == []
        for number in range(MANY_USERS, MANY_USERS + 2):
            store.write(many_users(number, number + 1))
        (warning,) = warnings_in(caplog)
        assert "5001 users" in warning
        assert "pgnet-trio backup save.json save.sqlite" in warning
    caplog.clear()
    load(path)
    assert len(warnings_in(caplog)) == 1


def test_many_users_in_sqlite_get_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "save.sqlite", many_users(0, MANY_USERS + 1))
    assert warnings_in(caplog) == []
