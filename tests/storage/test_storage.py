"""Save files: what was written is there again, and what cannot be read is left alone."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgnet_trio.errors import StorageError
from pgnet_trio.storage import (
    Changes,
    SavedGame,
    SavedState,
    Store,
    TokenRecord,
    UserRecord,
    open_store,
)
from pgnet_trio.storage.migrations import SCHEMA_VERSION

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")

FILE_NAMES = ("save.sqlite", "save.json")

ANN = UserRecord("ann", "", "$argon2id$v=19$m=65536,t=2,p=1$c2FsdA$aGFzaA")
BOB = UserRecord("bob", "5a17", "c0ffee")
TABLE = SavedGame("table 1", "hush", "x" * 1000)

# A file as the original writes it.
ORIGINAL = """{
    "users": [
        {
            "name": "ann",
            "salt": "5a17",
            "password": "c0ffee"
        },
        {
            "name": "x_\\u00e9",
            "salt": "5a18",
            "password": "facade"
        }
    ],
    "games": [
        {
            "name": "t",
            "password": null,
            "data": "board\\n"
        }
    ],
    "registration": false,
    "invite_codes": {
        "1f2e": "",
        "3d4c": "cleo"
    }
}"""


@pytest.fixture(params=FILE_NAMES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[Store, SavedState]]:
    store = open_store(path)
    try:
        yield store, store.load()
    finally:
        store.close()


def load(path: Path) -> SavedState:
    with opened(path) as (_, saved):
        return saved


def write(path: Path, *changes: Changes) -> None:
    with opened(path) as (store, _):
        for change in changes:
            store.write(change)


def in_folder(path: Path) -> set[Path]:
    """What lies beside a save file, but for the lock file of the JSON form, which stays."""
    lock = path.with_name(f"{path.name}.lock")
    return set(path.parent.iterdir()) - ({lock} if path.suffix == ".json" else set())


def files(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in in_folder(path) if file.is_file()}


def assert_refused(path: Path, match: str) -> None:
    """Loading is refused, names the file, and leaves everything in the folder as it was."""
    before = files(path)
    with pytest.raises(StorageError, match=match) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert files(path) == before


# What is written is there again


def test_a_new_file_is_empty_and_new(path: Path) -> None:
    assert load(path) == SavedState()
    assert load(path) == SavedState()


def test_everything_is_there_after_a_restart(path: Path) -> None:
    write(
        path,
        Changes(
            users={"ann": ANN, "bob": BOB},
            games={"table 1": TABLE},
            registration=False,
            invite_codes={"1f2e": "", "3d4c": "cleo"},
        ),
    )
    saved = load(path)
    assert saved == SavedState(
        users={"ann": ANN, "bob": BOB},
        games={"table 1": TABLE},
        registration=False,
        invite_codes={"1f2e": "", "3d4c": "cleo"},
    )
    assert list(saved.users) == ["ann", "bob"]


def test_what_load_gave_does_not_follow_later_writes(path: Path) -> None:
    with opened(path) as (store, saved):
        store.write(Changes(users={"ann": ANN}))
        assert saved == SavedState()


def test_only_the_owner_can_read_a_new_file(path: Path) -> None:
    with opened(path) as (store, _):
        store.write(Changes(users={"ann": ANN}))
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_a_file_keeps_its_mode(path: Path) -> None:
    write(path, Changes(users={"ann": ANN}))
    path.chmod(0o640)
    write(path, Changes(users={"bob": BOB}))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_closing_leaves_nothing_but_the_file(path: Path) -> None:
    write(path, Changes(users={"ann": ANN}))
    write(path, Changes(users={"bob": BOB}))
    assert in_folder(path) == {path}


def test_a_symbolic_link_stays_one(path: Path) -> None:
    target = path.with_name(f"real-{path.name}")
    path.symlink_to(target)
    write(path, Changes(users={"ann": ANN}))
    assert path.is_symlink()
    assert load(target).users == {"ann": ANN}


def test_a_store_is_used_by_threads_in_turn(path: Path) -> None:
    store = open_store(path)
    store.load()
    errors: list[BaseException] = []

    def in_thread(function: Callable[[], None]) -> None:
        def catch() -> None:
            try:
                function()
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=catch)
        thread.start()
        thread.join()

    in_thread(lambda: store.write(Changes(users={"ann": ANN})))
    in_thread(lambda: store.write(Changes(users={"bob": BOB})))
    in_thread(store.close)
    assert errors == []
    assert list(load(path).users) == ["ann", "bob"]


def test_a_store_that_is_not_open_says_so(path: Path) -> None:
    store = open_store(path)
    with pytest.raises(RuntimeError, match=r"call load\(\) first"):
        store.write(Changes())
    store.load()
    with pytest.raises(RuntimeError, match="open already"):
        store.load()
    store.close()
    store.close()
    with pytest.raises(RuntimeError, match=r"call load\(\) first"):
        store.write(Changes())
    assert store.load() == SavedState()
    store.close()


# Any text that Python can hold, the awkward kinds among it.
texts = st.text(st.characters(exclude_categories=()), max_size=5) | st.sampled_from(
    ["", "a", "b", "\0", "\ud800", "a\0b", "'\";--", "\N{GRINNING FACE}"]
)
names = st.sampled_from(["a", "A", "b", "", "\0", "\udfff", "é", "1", "admin"])


digests = st.sampled_from([bytes(32), b"x" * 32])


def changed_keys(
    values: Callable[[str], st.SearchStrategy[object]],
) -> st.SearchStrategy[dict[str, Any]]:
    return st.lists(names, unique=True, max_size=4).flatmap(
        lambda keys: st.fixed_dictionaries({key: st.none() | values(key) for key in keys})
    )


changes = st.builds(
    Changes,
    users=changed_keys(lambda key: st.builds(UserRecord, st.just(key), texts, texts)),
    games=changed_keys(lambda key: st.builds(SavedGame, st.just(key), texts, texts)),
    registration=st.none() | st.booleans(),
    invite_codes=changed_keys(lambda _: texts),
    tokens=st.lists(st.binary(min_size=32, max_size=32) | digests, unique=True).flatmap(
        lambda keys: st.fixed_dictionaries(
            {
                key: st.none()
                | st.builds(TokenRecord, names, st.just(key), st.integers(-(2**63), 2**63 - 1))
                for key in keys
            }
        )
    ),
)


@pytest.mark.parametrize("name", FILE_NAMES)
@given(sessions=st.lists(st.lists(changes, max_size=4), max_size=3))
@settings(max_examples=30)
def test_a_file_is_the_sum_of_its_changes(name: str, sessions: list[list[Changes]]) -> None:
    expected = SavedState()
    # A memory file system where there is one: every example waits for its disk many times.
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        path = Path(folder, name)
        for session in sessions:
            with opened(path) as (store, saved):
                if not store.keeps_tokens:
                    expected.tokens.clear()
                assert saved == expected
                for change in session:
                    store.write(change)
                    add(expected, change)
        saved = load(path)
        if name.endswith(".json"):
            expected.tokens.clear()
        assert saved == expected
        assert list(saved.users) == list(expected.users)


def add(state: SavedState, change: Changes) -> None:
    merge(state.users, change.users)
    merge(state.games, change.games)
    merge(state.invite_codes, change.invite_codes)
    merge(state.tokens, change.tokens)
    if change.registration is not None:
        state.registration = change.registration


def merge(saved: dict[KeyT, ValueT], changed: Mapping[KeyT, ValueT | None]) -> None:
    for key, value in changed.items():
        if value is None:
            saved.pop(key, None)
        else:
            saved[key] = value


# The original's files


def test_a_file_of_the_original_loads_and_keeps_its_shape(tmp_path: Path) -> None:
    path = tmp_path / "save.json"
    path.write_text(ORIGINAL)
    saved = load(path)
    assert saved == SavedState(
        users={
            "ann": UserRecord("ann", "5a17", "c0ffee"),
            "x_é": UserRecord("x_é", "5a18", "facade"),
        },
        games={"t": SavedGame("t", "", "board\n")},
        registration=False,
        invite_codes={"1f2e": "", "3d4c": "cleo"},
    )
    assert path.read_text() == ORIGINAL
    write(path, Changes(invite_codes={"1f2e": None}))
    expected = json.loads(ORIGINAL)
    del expected["invite_codes"]["1f2e"]
    expected["games"][0]["password"] = ""
    assert path.read_text() == json.dumps(expected, indent=4)


def test_the_json_form_has_exactly_the_original_shape(tmp_path: Path) -> None:
    path = tmp_path / "save.JSON"
    write(
        path,
        Changes(users={"ann": ANN}, registration=True),
        Changes(games={"table 1": TABLE}, invite_codes={"3d4c": "cleo"}),
    )
    assert json.loads(path.read_text()) == {
        "users": [{"name": "ann", "salt": "", "password": ANN.password}],
        "games": [{"name": "table 1", "password": "hush", "data": TABLE.data}],
        "registration": True,
        "invite_codes": {"3d4c": "cleo"},
    }


def test_nothing_is_made_before_there_is_something_to_save(tmp_path: Path) -> None:
    path = tmp_path / "save.json"
    load(path)
    assert in_folder(path) == set()


def altered(alter: Callable[[dict[str, Any]], object]) -> bytes:
    data = json.loads(ORIGINAL)
    alter(data)
    return json.dumps(data).encode()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "expected JSON; line 1, column 1"),
        (ORIGINAL.encode()[:200], "expected JSON; line 11"),
        (b"\xff\xfe\x00", "expected JSON"),
        (b"[" * 2000, "expected JSON"),
        (b"SQLite format 3\0" + bytes(84), "expected JSON"),
        (b"[]", "the file: expected a dict, got a list"),
        (b'{"name": "some-package"}', "the file: expected exactly the keys users, .*'name'"),
        (b"{}", "got none"),
        (altered(lambda d: d.update(kicked_users=[])), "kicked_users"),
        (altered(lambda d: d.update(users={})), "users: expected a list, got a dict"),
        (altered(lambda d: d["users"].append("cleo")), r"users\[2\]: expected a dict, got a str"),
        (altered(lambda d: d["users"][1].update(salt=1)), r"users\[1\].salt: expected a str"),
        (altered(lambda d: d["users"][1].pop("salt")), r"users\[1\]: expected exactly the keys"),
        (altered(lambda d: d["users"].append(d["users"][0])), r"users\[2\]: .* 'ann' before"),
        (altered(lambda d: d.update(games=None)), "games: expected a list, got a NoneType"),
        (altered(lambda d: d["games"][0].update(data=None)), r"games\[0\].data: expected a str"),
        (altered(lambda d: d["games"].append(d["games"][0])), r"games\[1\]: .* 't' before"),
        (altered(lambda d: d.update(registration=1)), "registration: expected a bool, got a int"),
        (altered(lambda d: d.update(invite_codes=[])), "invite_codes: expected a dict"),
        (altered(lambda d: d["invite_codes"].update(f00=0)), "invite_codes, number 3: expected"),
    ],
)
def test_json_that_is_no_save_file_is_refused(tmp_path: Path, content: bytes, match: str) -> None:
    path = tmp_path / "save.json"
    path.write_bytes(content)
    assert_refused(path, match)


@given(cut=st.integers(0, len(ORIGINAL) - 1))
def test_a_truncated_json_file_is_refused_wherever_it_was_cut(cut: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "save.json")
        path.write_text(ORIGINAL[:cut])
        assert_refused(path, "expected JSON")


def test_refusals_name_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "save.json"
    path.write_bytes(altered(lambda d: d["invite_codes"].update({"c0de5ecret": 1})))
    with pytest.raises(StorageError) as caught:
        load(path)
    assert "c0de5ecret" not in str(caught.value)


# The SQLite form


def test_sqlite_is_set_up_to_be_durable(tmp_path: Path) -> None:
    path = tmp_path / "save.sqlite"
    with opened(path) as (store, _):
        store.write(Changes(users={"ann": ANN}))
        # Another program may look, and make a backup, while the server runs.
        with contextlib.closing(sqlite3.connect(path)) as other:
            assert other.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
            assert other.execute("PRAGMA application_id").fetchall() == [(0x50474E54,)]
            assert other.execute("PRAGMA user_version").fetchall() == [(SCHEMA_VERSION,)]
            assert other.execute("SELECT name FROM users").fetchall() == [("ann",)]


def test_sqlite_syncs_at_each_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connections: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def note(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connections.append(connect(*args, **kwargs))
        return connections[-1]

    monkeypatch.setattr(sqlite3, "connect", note)
    with opened(tmp_path / "save.sqlite"):
        full = 2
        assert connections[-1].execute("PRAGMA synchronous").fetchone() == (full,)


def test_a_mistake_in_the_caller_leaves_nothing_half_done(tmp_path: Path) -> None:
    path = tmp_path / "save.sqlite"
    wrong: Any = {"code": 5}
    with opened(path) as (store, _):
        with pytest.raises(AttributeError):
            store.write(Changes(users={"ann": ANN}, invite_codes=wrong))
        store.write(Changes(users={"bob": BOB}))
    assert load(path) == SavedState(users={"bob": BOB})


def test_a_program_that_holds_the_database_makes_a_write_fail_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "save.sqlite"
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", partial(connect, timeout=0))
    with opened(path) as (store, _):
        with contextlib.closing(connect(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageError, match="database is locked"):
                store.write(Changes(users={"ann": ANN}))
        store.write(Changes(users={"bob": BOB}))
    assert load(path).users == {"bob": BOB}


def test_a_file_system_without_wal_mode_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "save.sqlite"
    write(path, Changes(users={"ann": ANN}))
    before = files(path)

    class NoWAL(sqlite3.Connection):
        def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
            # What SQLite answers where memory cannot be shared through a file.
            return super().execute("SELECT 'delete'" if "journal_mode" in sql else sql, parameters)

    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=NoWAL))
    with pytest.raises(StorageError, match="got mode delete"):
        load(path)
    assert files(path) == before


def sqlite_file(path: Path, *statements: str) -> None:
    write(path, Changes(users={"ann": ANN, "bob": BOB}, games={"table 1": TABLE}))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize(
    ("statement", "match"),
    [
        ("PRAGMA application_id = 0", "of another program"),
        ("PRAGMA user_version = 99", r"version \d+ or older, and it is of version 99"),
        ("DROP TABLE games", "no such table: games"),
        ("UPDATE users SET salt = x'00' WHERE name = 'bob'", "users, row 2, salt: expected text"),
        ("UPDATE users SET salt = CAST(x'ff' AS TEXT)", "expected text in UTF-8"),
        ("INSERT INTO settings VALUES ('registration', 2)", "registration: expected 0 or 1, got 2"),
    ],
)
def test_a_database_that_is_not_as_it_should_be_is_refused(
    tmp_path: Path, statement: str, match: str
) -> None:
    path = tmp_path / "save.sqlite"
    sqlite_file(path, statement)
    assert_refused(path, match)


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0", b"#!/bin/sh\n" * 50])
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "save.sqlite"
    path.write_bytes(content)
    assert_refused(path, "expected an SQLite database")


def test_a_file_of_the_original_under_another_name_gets_a_hint(tmp_path: Path) -> None:
    path = tmp_path / "save"
    path.write_text(ORIGINAL)
    assert_refused(path, r"call it \.json")


def test_a_truncated_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "save.sqlite"
    sqlite_file(path)
    content = path.read_bytes()
    for size in range(100, len(content), 4096 - 7):
        path.write_bytes(content[:size])
        assert_refused(path, "cannot read")


def test_a_damaged_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "save.sqlite"
    sqlite_file(path)
    content = bytearray(path.read_bytes())
    content[4096:5000] = os.urandom(904)
    path.write_bytes(content)
    assert_refused(path, "cannot read")


def test_a_database_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "save.sqlite"
    sqlite_file(path)
    content = path.read_bytes()
    row = b"bob5a17c0ffee"
    assert row in content
    # The index still says "bob".
    path.write_bytes(content.replace(row, b"bub5a17c0ffee"))
    assert_refused(path, "it is damaged: row 2 missing from index")


def test_a_log_without_its_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "save.sqlite"
    path.with_name("save.sqlite-wal").write_bytes(b"what was played last")
    assert_refused(path, "put the database back")


def test_a_truncated_database_with_a_log_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "save.sqlite"
    sqlite_file(path)
    running = tmp_path / "running"
    running.mkdir()
    with opened(path) as (store, _):
        store.write(Changes(users={"cleo": UserRecord("cleo", "", "x")}))
        # As a crash would leave it.
        for file in tmp_path.glob("save.sqlite*"):
            shutil.copy(file, running)
    path = running / "save.sqlite"
    assert "cleo" in load_copy(running).users
    content = path.read_bytes()
    path.write_bytes(content[:9000])
    log = path.with_name("save.sqlite-wal").read_bytes()
    with pytest.raises(StorageError, match="cannot read"):
        load(path)
    assert path.read_bytes() == content[:9000]
    assert path.with_name("save.sqlite-wal").read_bytes() == log


def load_copy(folder: Path) -> SavedState:
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        return load(Path(copy, "save.sqlite"))


# What cannot be a save file, or cannot be written


def test_a_missing_folder_is_named(path: Path) -> None:
    path = path.parent / "missing" / path.name
    with pytest.raises(StorageError, match=r"there is no folder .*missing"):
        load(path)
    assert not path.parent.exists()


def test_a_file_in_place_of_the_folder_is_refused(path: Path) -> None:
    path.write_text("a file")
    with pytest.raises(StorageError, match="Not a directory"):
        load(path / path.name)


def test_a_folder_is_refused(path: Path) -> None:
    path.mkdir()
    assert_refused(path, "it is a folder")


def test_what_is_no_ordinary_file_is_refused(path: Path) -> None:
    os.mkfifo(path)
    assert_refused(path, "no ordinary file")


def test_a_circle_of_links_is_refused(path: Path) -> None:
    path.symlink_to(path)
    with pytest.raises(StorageError, match="symbolic links"):
        load(path)


@contextlib.contextmanager
def ordinary_user(folder: Path) -> Iterator[None]:
    """Give up root's right to do anything, and the test's folder with it."""
    if os.geteuid() != 0:
        yield
        return
    nobody = 65534
    for file in (folder, *folder.iterdir()):
        os.chown(file, nobody, nobody)
    os.setresuid(nobody, nobody, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.fixture(params=FILE_NAMES)
def open_path(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A save file in a folder that other users can get to, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, str(request.param))
        write(path, Changes(users={"ann": ANN}))
        yield path
        path.parent.chmod(0o700)


def test_an_unreadable_file_is_refused(open_path: Path) -> None:
    open_path.chmod(0o200)
    with ordinary_user(open_path.parent):
        with pytest.raises(StorageError, match=r"cannot read .*Permission denied"):
            load(open_path)
    assert in_folder(open_path) == {open_path}


def test_a_write_protected_file_is_refused(open_path: Path) -> None:
    open_path.chmod(0o400)
    before = open_path.read_bytes()
    with ordinary_user(open_path.parent):
        with pytest.raises(StorageError, match=r"cannot write .*(readonly|write-protected)"):
            load(open_path)
    assert open_path.read_bytes() == before


def test_a_write_protected_folder_is_refused(open_path: Path) -> None:
    open_path.parent.chmod(0o500)
    before = files(open_path)
    with ordinary_user(open_path.parent):
        with pytest.raises(StorageError, match="its folder: Permission denied"):
            load(open_path)
        with pytest.raises(StorageError, match="its folder: Permission denied"):
            load(open_path.with_name(f"new-{open_path.name}"))
    assert files(open_path) == before


# Writes that fail


@contextlib.contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """Have the system refuse to let any file grow over this size, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


BIG = SavedGame("big", "", "y" * 2_000_000)


def test_a_full_disk_loses_nothing_and_writing_goes_on_later(path: Path) -> None:
    with opened(path) as (store, _):
        store.write(Changes(users={"ann": ANN}, registration=False))
        with files_limited_to(500_000):
            for _ in range(2):
                with pytest.raises(StorageError, match="cannot write"):
                    store.write(Changes(games={"big": BIG}, users={"ann": None}))
            store.write(Changes(users={"bob": BOB}))
        store.write(Changes(games={"big": BIG}))
    assert load(path) == SavedState(
        users={"ann": ANN, "bob": BOB}, games={"big": BIG}, registration=False
    )


def test_after_a_full_disk_a_crash_shows_the_last_good_state(path: Path, tmp_path: Path) -> None:
    crashed = tmp_path / "crashed"
    with opened(path) as (store, _):
        store.write(Changes(users={"ann": ANN}))
        with files_limited_to(500_000), pytest.raises(StorageError):
            store.write(Changes(games={"big": BIG}, users={"bob": BOB}))
        shutil.copytree(tmp_path, crashed)
    assert load(crashed / path.name) == SavedState(users={"ann": ANN})


def test_a_disk_that_is_full_from_the_start_leaves_nothing_behind(path: Path) -> None:
    with files_limited_to(0), pytest.raises(StorageError):
        write(path, Changes(users={"ann": ANN}))
    assert in_folder(path) == set()


@pytest.mark.parametrize("failing", [1, 2])
@pytest.mark.parametrize("existing", [True, False])
def test_json_holds_what_it_held_when_the_disk_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int, existing: bool
) -> None:
    path = tmp_path / "save.json"
    expected = SavedState()
    if existing:
        write(path, Changes(users={"ann": ANN}))
        expected.users["ann"] = ANN
    calls = 0
    fsync = os.fsync

    def fail(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(errno.EIO, "Input/output error")
        fsync(descriptor)

    with opened(path) as (store, _):
        before = files(path)
        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(StorageError, match="Input/output error"):
            store.write(Changes(users={"bob": BOB}))
        assert files(path) == before
        assert calls >= failing
        store.write(Changes(games={"table 1": TABLE}))
    expected.games["table 1"] = TABLE
    assert load(path) == expected


def test_a_file_system_that_does_not_sync_folders_is_good_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "save.json"
    fsync = os.fsync

    def refuse_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    write(path, Changes(users={"ann": ANN}))
    assert load(path).users == {"ann": ANN}


def test_json_is_on_disk_before_it_takes_the_old_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "save.json"
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(descriptor: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def note_replace(self: Path, target: Path) -> Path:
        steps.append("replace")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    write(path, Changes(users={"ann": ANN}))
    assert steps == ["file", "replace", "folder"]


def test_a_left_over_draft_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "save.json"
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (tmp_path / ".save.json.new").symlink_to(victim)
    write(path, Changes(users={"ann": ANN}))
    assert victim.read_text() == "untouched"
    assert load(path).users == {"ann": ANN}


# Two servers, and a server that is killed

WRITER = """
import sys
from pgnet_trio.storage import Changes, SavedGame, UserRecord, open_store

store = open_store(sys.argv[1])
saved = store.load()
print(len(saved.users), flush=True)
for number in range(len(saved.users), 1_000_000):
    name = f"user{number}"
    store.write(
        Changes(
            users={name: UserRecord(name, "", "x" * 200)},
            games={"counter": SavedGame("counter", "", str(number))},
            invite_codes={str(number): name, str(number - 1): None},
        )
    )
    if number % 3 == 0:
        store.sync()
    print(name, flush=True)
"""


@contextlib.contextmanager
def writer(path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.no_cover
def test_killed_in_the_middle_of_writes_nothing_acknowledged_is_lost(path: Path) -> None:
    acknowledged = 0
    for lines in (3, 15, 7):
        with writer(path) as process:
            assert process.stdout is not None
            assert int(process.stdout.readline()) >= acknowledged
            for _ in range(lines):
                acknowledged = int(process.stdout.readline().removeprefix("user")) + 1
            process.send_signal(signal.SIGKILL)
            # What it said before it died counts too.
            for line in process.stdout.read().splitlines():
                acknowledged = int(line.removeprefix("user")) + 1
        saved = load(path)
        # The one that was being written is there as a whole, or not at all.
        assert len(saved.users) in (acknowledged, acknowledged + 1)
        assert saved.games["counter"].data == str(len(saved.users) - 1)
        assert list(saved.invite_codes) == [str(len(saved.users) - 1)]


def test_a_second_server_is_refused_until_the_first_dies(path: Path) -> None:
    with writer(path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.readline()
        with pytest.raises(StorageError, match="another server is using it"):
            load(path)
        process.kill()
        process.wait()
        assert load(path).users


def test_two_stores_of_one_process_are_two_servers(path: Path) -> None:
    link = path.with_name(f"link-{path.name}")
    link.symlink_to(path)
    with opened(path) as (store, _):
        for name in (path, link):
            with pytest.raises(StorageError, match="another server is using it"):
                load(name)
        store.write(Changes(users={"ann": ANN}))
    assert load(link).users == {"ann": ANN}


def test_two_files_in_one_folder_are_independent(path: Path) -> None:
    other = path.with_name(f"other-{path.name}")
    with opened(path) as (store, _), opened(other):
        store.write(Changes(users={"ann": ANN}))
    assert list(load(path).users) == ["ann"]
    assert list(load(other).users) == []


def test_a_lock_that_was_just_given_up_is_taken_anew(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Between opening the lock file and locking it, its owner removes it.
    opening = os.open
    owner = open_store(path)
    owner.load()

    def open_and_lose(*args: object, **kwargs: object) -> int:
        descriptor = opening(*args, **kwargs)  # type: ignore[arg-type]  # as they came
        monkeypatch.undo()
        owner.close()
        return descriptor

    monkeypatch.setattr(os, "open", open_and_lose)
    with opened(path):
        with pytest.raises(StorageError, match="another server is using it"):
            load(path)


def test_sqlite_is_imported_only_when_it_is_used() -> None:
    script = (
        "import sys\n"
        "from pgnet_trio.storage import open_store\n"
        "assert 'sqlite3' not in sys.modules\n"
        "open_store('save.json')\n"
        "assert 'sqlite3' not in sys.modules\n"
        "open_store('save.sqlite')\n"
        "assert 'sqlite3' in sys.modules\n"
    )
    # Measuring coverage imports it too.
    environment = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
