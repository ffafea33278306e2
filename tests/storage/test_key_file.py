"""The key file: the server keeps its key, and nobody else sees it."""

from __future__ import annotations

import logging
import os
import stat
from binascii import a2b_base64, b2a_base64
from pathlib import Path

import pytest
import trio

from pgnet_trio import Server
from pgnet_trio.crypto import KeyPair
from pgnet_trio.errors import StorageError
from pgnet_trio.storage import discard_key, keep_key, key_file, key_file_of, read_key, replace_key
from pgnet_trio.storage.key_file import PAUSE
from pgnet_trio.storage.locks import FileLock
from pgnet_trio.testing import HostedServer
from tests.kit.hosting import Recorder

KEY = KeyPair(bytes(range(32)))
OTHER = KeyPair(bytes(32))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "server.key"


def test_a_key_is_kept_and_stays(path: Path) -> None:
    assert read_key(path) is None
    assert keep_key(path, KEY) == KEY
    assert keep_key(path, OTHER) == KEY
    assert read_key(path) == KEY
    assert list(path.parent.iterdir()) == [path]


def test_where_the_key_of_a_save_file_lies() -> None:
    assert key_file_of(Path("a/save.json")) == Path("a/save.json.key")


@pytest.mark.parametrize("name", ["", ".", "/"])
def test_no_key_lies_beside_what_is_no_name_of_a_file(name: str) -> None:
    with pytest.raises(StorageError, match="expected a file, and it is a folder"):
        key_file_of(Path(name))
    with pytest.raises(StorageError, match="expected a file, and it is a folder"):
        Server(Recorder, save_file=name)


def test_the_file_is_one_line_of_base64_for_the_owner_only(path: Path) -> None:
    keep_key(path, KEY)
    content = path.read_bytes()
    assert content.endswith(b"\n")
    assert a2b_base64(content[:-1], strict_mode=True) == KEY.private
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_that_others_can_read_gets_a_warning(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keep_key(path, KEY)
    assert read_key(path) == KEY
    assert not caplog.records
    path.chmod(0o640)
    with caplog.at_level(logging.WARNING, "pgnet_trio"):
        assert read_key(path) == KEY
    (record,) = caplog.records
    assert "chmod 600" in record.getMessage()
    assert path.read_text().strip() not in caplog.text


def test_a_key_may_be_write_protected(path: Path) -> None:
    keep_key(path, KEY)
    path.chmod(0o400)
    assert keep_key(path, OTHER) == KEY


def test_a_link_stays_a_link(path: Path) -> None:
    place = path.with_name("elsewhere")
    path.symlink_to(place)
    keep_key(path, KEY)
    replace_key(path, OTHER)
    assert path.is_symlink()
    assert read_key(place) == OTHER


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"AAAA\n",
        b"A" * 43,
        b"not base64, but as long as a key is in it =\n",
        b"\xff" * 32,
        b"A" * 43 + b"=" + b"\n" * 2000,
        b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n" * 2,
    ],
)
def test_a_damaged_key_is_refused_and_kept(
    path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(content)
    path.chmod(0o644)
    with pytest.raises(StorageError, match="expected one line, a private key in base64") as caught:
        read_key(path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]
    # It may be any file, and no secret.
    assert not caplog.records


def test_a_folder_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StorageError, match="it is a folder"):
        read_key(path)


async def test_servers_that_start_at_once_have_one_key(path: Path) -> None:
    lock = FileLock(path)
    lock.acquire()
    found: list[KeyPair] = []

    async def keep() -> None:
        found.append(await trio.to_thread.run_sync(keep_key, path, OTHER))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep)
        await trio.sleep(3 * PAUSE)
        # As another server does it.
        await trio.Path(path).write_bytes(b2a_base64(KEY.private))
        lock.release()
    assert found == [KEY]


def test_a_key_that_stays_locked_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_file, "PATIENCE", 0.0)
    lock = FileLock(path)
    lock.acquire()
    try:
        with pytest.raises(StorageError, match="another server is using it"):
            keep_key(path, KEY)
    finally:
        lock.release()


def test_a_missing_folder_is_named(path: Path) -> None:
    path = path / "missing" / "server.key"
    assert read_key(path) is None
    with pytest.raises(StorageError, match="there is no folder"):
        keep_key(path, KEY)


def test_an_unreadable_key_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_key(path, KEY)

    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(StorageError, match=r"cannot read .*server\.key: Permission denied"):
        read_key(path)


def test_a_key_that_cannot_be_made_leaves_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match=r"cannot make .*No space left"):
        keep_key(path, KEY)
    assert list(path.parent.iterdir()) == []


def test_two_servers_that_start_at_once_have_one_key(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = os.open

    def open_late(*args: object, **kwargs: object) -> int:
        monkeypatch.undo()
        keep_key(path, KEY)
        return opening(*args, **kwargs)  # type: ignore[arg-type]  # as they came

    # The other one makes it between our looking for it and our making it.
    monkeypatch.setattr(os, "open", open_late)
    assert keep_key(path, OTHER) == KEY


def test_a_key_that_nobody_knows_can_be_taken_back(path: Path) -> None:
    keep_key(path, KEY)
    discard_key(path, OTHER)
    assert read_key(path) == KEY
    discard_key(path, KEY)
    discard_key(path, KEY)
    assert list(path.parent.iterdir()) == []


# Another key.


def test_the_old_keys_are_kept_beside_the_new_one(path: Path) -> None:
    keys = [KeyPair(bytes([number]) * 32) for number in range(4)]
    keep_key(path, keys[0])
    olds = [replace_key(path, key) for key in keys[1:]]
    assert [old.name for old in olds] == [
        "server.key.old",
        "server.key.old.2",
        "server.key.old.3",
    ]
    assert [read_key(old) for old in olds] == keys[:3]
    assert read_key(path) == keys[3]
    assert {stat.S_IMODE(each.stat().st_mode) for each in (path, *olds)} == {0o600}
    assert sorted(path.parent.iterdir()) == [path, *olds]


def test_no_key_is_no_key_to_replace(path: Path) -> None:
    with pytest.raises(StorageError, match="there is no such file"):
        replace_key(path, KEY)
    assert list(path.parent.iterdir()) == []


def test_a_damaged_key_is_not_replaced(path: Path) -> None:
    path.write_text("not a key")
    with pytest.raises(StorageError, match="expected one line"):
        replace_key(path, KEY)
    assert path.read_text() == "not a key"
    assert list(path.parent.iterdir()) == [path]


def test_a_new_key_that_cannot_be_made_leaves_the_old_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_key(path, KEY)

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(StorageError, match=r"cannot make .*No space left"):
            replace_key(path, OTHER)
    assert read_key(path) == KEY


# The server.


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_a_server_knows_its_key_before_it_runs_and_keeps_it_then(path: Path) -> None:
    server = HostedServer(Recorder, key_file=path)
    pubkey = server.pubkey
    assert names(path.parent) == []
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve)
        server.shutdown()
    assert server.pubkey == pubkey
    assert (read_key(path) or OTHER).pubkey == pubkey
    assert HostedServer(Recorder, key_file=path).pubkey == pubkey


async def test_a_refused_save_file_leaves_no_key_behind(tmp_path: Path) -> None:
    save_file = tmp_path / "save.json"
    save_file.write_text("not JSON")
    server = HostedServer(Recorder, save_file=save_file)
    with pytest.raises(StorageError, match=r"save\.json"):
        await server.serve()
    assert names(tmp_path) == ["save.json", "save.json.lock"]


async def test_two_servers_that_are_made_at_once_have_one_key(path: Path) -> None:
    servers = [HostedServer(Recorder, key_file=path) for _ in range(2)]
    async with trio.open_nursery() as nursery:
        for server in servers:
            await nursery.start(server.serve)
        for server in servers:
            server.shutdown()
    assert servers[0].pubkey == servers[1].pubkey
