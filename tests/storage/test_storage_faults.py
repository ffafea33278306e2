"""A full disk and too many open files: a clear error, and everything goes on afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pgnet_trio.errors import StorageError
from pgnet_trio.storage import Changes, SavedGame, SavedState, UserRecord
from tests.storage.test_storage import ANN, BOB, files_limited_to, load, opened, write
from tests.storage.test_storage_sqlite import copy_as_after_a_crash

CLEO = UserRecord("cleo", "", "x")

LARGE = SavedGame("large", "", "y" * 300_000)


@pytest.fixture(params=["save.sqlite", "save.json"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


# Leaves a number of files that may be opened, tries each step, and then goes on with all of them.
SHORT_OF_FILES = """
import json, os, resource, sys
from pgnet_trio.errors import StorageError
from pgnet_trio.storage import Changes, UserRecord, open_store

path = sys.argv[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

def add(name):
    return lambda: store.write(Changes(users={name: UserRecord(name, "", "x")}))

def attempt(step):
    taken = []
    try:
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        pass
    for _ in range(left):
        os.close(taken.pop())
    try:
        step()
    except StorageError as error:
        return str(error)
    finally:
        for descriptor in taken:
            os.close(descriptor)
    return "done"

for left in range(9):
    os.mkdir(str(left))
    os.chdir(str(left))
    store = open_store(path)
    answers = [attempt(store.load)]
    if answers == ["done"]:
        store.close()
    store.load()
    add("ann")()
    answers += [attempt(add("bob")), attempt(store.sync)]
    os.unlink(path)
    answers += [attempt(add("cleo"))]
    add("dora")()
    store.close()
    print(json.dumps([answers, list(store.load().users)]))
    store.close()
    os.chdir("..")
"""


def test_too_many_open_files_are_named_and_nothing_more(path: Path) -> None:
    """However many may be opened: from none to all that a store needs."""
    output = subprocess.run(
        [sys.executable, "-c", SHORT_OF_FILES, path.name],
        cwd=path.parent,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for left, line in enumerate(output.splitlines()):
        answers, users = json.loads(line)
        for answer in answers:
            assert answer == "done" or "Too many open files" in answer
        _, bob, _, cleo = answers
        expected = ["ann", *["bob"] * (bob == "done"), *["cleo"] * (cleo == "done"), "dora"]
        assert users == expected
        if left == 0:
            assert "done" not in (answers[0], cleo)
        if left == 8:
            assert set(answers) == {"done"}
    assert len(output.splitlines()) == 9


def test_a_sync_on_a_full_disk_fails_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "save.sqlite"
    with opened(path) as (store, _):
        store.write(Changes(users={"ann": ANN}, games={"large": LARGE}))
        # The log has it, and the file has no room for it.
        with files_limited_to(100_000):
            for _ in range(2):
                with pytest.raises(StorageError, match="cannot write"):
                    store.sync()
        crashed = copy_as_after_a_crash(path, tmp_path / "crashed")
        store.write(Changes(users={"bob": BOB}))
        store.sync()
    assert load(crashed) == SavedState(users={"ann": ANN}, games={"large": LARGE})
    assert load(path) == SavedState(users={"ann": ANN, "bob": BOB}, games={"large": LARGE})


def test_a_close_on_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "save.sqlite"
    with opened(path) as (store, _):
        store.write(Changes(games={"large": LARGE}))
        with files_limited_to(100_000):
            store.close()
    assert load(path).games == {"large": LARGE}


def test_a_deleted_file_is_made_anew_once_there_is_room(path: Path) -> None:
    with opened(path) as (store, _):
        store.write(Changes(users={"ann": ANN}, games={"large": LARGE}))
        path.unlink()
        with files_limited_to(100_000):
            for _ in range(2):
                with pytest.raises(StorageError, match="cannot write"):
                    store.write(Changes(users={"bob": BOB}))
        assert not [each for each in path.parent.iterdir() if each.name.endswith(".new")]
        store.write(Changes(users={"cleo": CLEO}))
    assert load(path) == SavedState(users={"ann": ANN, "cleo": CLEO}, games={"large": LARGE})


def test_a_damaged_game_on_a_full_disk_waits_until_it_can_be_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "save.sqlite"
    write(path, Changes(users={"ann": ANN}, games={"large": LARGE}))
    content = path.read_bytes()
    damaged = content.replace(b"y" * 9, b"yyyyxyyyy", 1)
    path.write_bytes(damaged)
    with files_limited_to(40_000), pytest.raises(StorageError):
        load(path)
    assert path.read_bytes() == damaged
    assert load(path) == SavedState(users={"ann": ANN})
