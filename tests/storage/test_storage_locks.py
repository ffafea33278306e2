"""One server for each save file: after a kill the next one starts, and two never write one file."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgnet_trio.errors import StorageError
from pgnet_trio.storage import Changes
from pgnet_trio.storage.locks import DatabaseLock, FileLock
from tests.storage.test_storage import ANN, BOB, load, opened, write

IN_USE = "another server is using it; stop that one, or choose another file"

# Says whether it has the file, and holds it until its standard input ends.
HOLDER = """
import sys
from pgnet_trio.errors import StorageError
from pgnet_trio.storage import Changes, UserRecord, open_store

store = open_store(sys.argv[1])
try:
    store.load()
except StorageError as error:
    print(error, flush=True)
else:
    store.write(Changes(users={"cleo": UserRecord("cleo", "", "x")}))
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(params=["save.sqlite", "save.json"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


def lock_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def start_holder(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has the save file open."""
    with start_holder(path) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def test_after_a_kill_the_next_server_starts_at_once(path: Path) -> None:
    for _ in range(2):
        with holder(path) as process:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert list(load(path).users) == ["cleo"]


# Has a child of its own, and waits to be killed.
PARENT = """
import os, signal, sys
from pgnet_trio.storage import open_store

store = open_store(sys.argv[1])
store.load()
if os.fork() == 0:
    print("ready", flush=True)
    sys.stdin.read()
else:
    signal.pause()
"""


def test_a_child_process_that_outlives_its_server_does_not_keep_the_file(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        with pytest.raises(StorageError, match=IN_USE):
            load(path)
        process.kill()
        process.wait()
        # The child has not ended: it would close its end.
        load(path)
        process.stdin.close()
        assert process.stdout.read() == b""


def test_a_killed_server_leaves_no_lock_file_beside_a_database(tmp_path: Path) -> None:
    path = tmp_path / "save.sqlite"
    with holder(path) as process:
        assert not lock_path(path).exists()
        process.kill()
        process.wait()
    assert not lock_path(path).exists()


def test_deleting_a_lock_file_lets_no_second_server_at_the_file(path: Path) -> None:
    with holder(path):
        lock_path(path).unlink(missing_ok=True)
        with pytest.raises(StorageError, match=IN_USE):
            load(path)


def test_the_lock_file_of_json_stays_for_good_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "save.json"
    load(path)
    before = lock_path(path).stat()
    assert "does no harm" in lock_path(path).read_text()
    write(path, Changes(users={"ann": ANN}))
    assert os.path.samestat(lock_path(path).stat(), before)
    assert lock_path(path).stat().st_size == before.st_size


def test_a_deleted_lock_file_of_json_is_there_again_after_the_next_write(tmp_path: Path) -> None:
    path = tmp_path / "save.json"
    with opened(path) as (store, _):
        lock_path(path).unlink()
        store.write(Changes(users={"ann": ANN}))
        with pytest.raises(StorageError, match=IN_USE):
            load(path)
        store.write(Changes(users={"bob": BOB}))
    assert list(load(path).users) == ["ann", "bob"]


def test_a_json_server_writes_nothing_once_another_has_its_file(tmp_path: Path) -> None:
    path = tmp_path / "save.json"
    with opened(path) as (store, _):
        lock_path(path).unlink()
        with holder(path):
            content = path.read_bytes()
            for _ in range(2):
                with pytest.raises(StorageError, match=IN_USE):
                    store.write(Changes(users={"ann": ANN}))
            assert path.read_bytes() == content


def test_the_lock_file_of_a_dead_server_of_version_0_1_stops_nobody(path: Path) -> None:
    lock_path(path).touch()
    write(path, Changes(users={"ann": ANN}))
    assert list(load(path).users) == ["ann"]
    assert lock_path(path).exists() == (path.suffix == ".json")


def test_a_server_of_version_0_1_that_runs_keeps_others_away(path: Path) -> None:
    write(path, Changes(users={"ann": ANN}))
    with lock_path(path).open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match=IN_USE):
            load(path)
    assert list(load(path).users) == ["ann"]


@pytest.mark.no_cover
def test_of_servers_that_start_at_once_one_has_the_new_file(path: Path) -> None:
    processes = [start_holder(path) for _ in range(4)]
    try:
        answers = [process.stdout.readline() for process in processes if process.stdout]
        assert answers.count("ready\n") == 1
        for answer in answers:
            assert answer == "ready\n" or IN_USE in answer
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_a_refused_second_store_leaves_the_locks_of_sqlite_alone(tmp_path: Path) -> None:
    # Closing a descriptor of a file drops all fcntl locks that the process has on it. Another
    # program would then take itself for the last one to use the database, and remove its log.
    path = tmp_path / "save.sqlite"
    with opened(path) as (store, _):
        store.write(Changes(users={"ann": ANN}))
        for _ in range(2):
            with pytest.raises(StorageError, match=IN_USE):
                load(path)
        script = (
            "import sqlite3, sys\n"
            "connection = sqlite3.connect(sys.argv[1])\n"
            "print(connection.execute('SELECT name FROM users').fetchall())\n"
            "connection.close()\n"
        )
        output = subprocess.run(
            [sys.executable, "-c", script, str(path)], check=True, capture_output=True, text=True
        ).stdout
        assert output == "[('ann',)]\n"
        assert path.with_name("save.sqlite-wal").exists()
        store.write(Changes(users={"bob": BOB}))
    assert list(load(path).users) == ["ann", "bob"]


def test_where_the_two_kinds_of_locks_meet_a_file_beside_the_database_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "save.sqlite"
    monkeypatch.setattr(FileLock, "knows_no_fcntl_locks", lambda _: False)
    with opened(path) as (store, _):
        store.write(Changes(users={"ann": ANN}))
        assert lock_path(path).exists()
        with pytest.raises(StorageError, match=IN_USE):
            load(path)
    assert lock_path(path).exists()
    assert list(load(path).users) == ["ann"]


SHARER = """
import sys
from pathlib import Path
from pgnet_trio.storage.locks import DatabaseLock

lock = DatabaseLock(Path(sys.argv[1]))
lock.acquire(lambda: None, shared=True)
print("ready", flush=True)
sys.stdin.read()
"""


def test_nodes_of_one_server_may_share_a_lock(path: Path) -> None:
    path.touch()
    shared = DatabaseLock(path)
    with subprocess.Popen(
        [sys.executable, "-c", SHARER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        shared.acquire(lambda: None, shared=True)
        shared.release()
        with pytest.raises(StorageError, match=IN_USE):
            DatabaseLock(path).acquire(lambda: None)
        process.communicate(b"")
    only = DatabaseLock(path)
    only.acquire(lambda: None)
    only.release()
