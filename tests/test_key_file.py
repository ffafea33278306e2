"""The key file: the server keeps its key, and nobody else sees it."""

from __future__ import annotations

import logging
import os
import stat
from binascii import a2b_base64
from pathlib import Path

import pytest

from pgnet_trio.errors import StorageError
from pgnet_trio.storage import load_key


def count_up(size: int) -> bytes:
    return bytes(range(size))


def no_randomness(size: int) -> bytes:
    raise AssertionError("a new key was made")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "server.key"


def test_a_new_key_is_made_and_kept(path: Path) -> None:
    key = load_key(path, count_up)
    assert key.private == bytes(range(32))
    assert load_key(path, no_randomness) == key
    assert list(path.parent.iterdir()) == [path]


def test_the_file_is_one_line_of_base64_for_the_owner_only(path: Path) -> None:
    load_key(path, count_up)
    content = path.read_bytes()
    assert content.endswith(b"\n")
    assert a2b_base64(content[:-1], strict_mode=True) == bytes(range(32))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_that_others_can_read_gets_a_warning(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = load_key(path, count_up)
    assert not caplog.records
    path.chmod(0o640)
    with caplog.at_level(logging.WARNING, "pgnet_trio"):
        assert load_key(path, no_randomness) == key
    (record,) = caplog.records
    assert "chmod 600" in record.getMessage()
    assert path.read_text().strip() not in caplog.text


def test_a_key_may_be_write_protected(path: Path) -> None:
    key = load_key(path, count_up)
    path.chmod(0o400)
    assert load_key(path, no_randomness) == key


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"AAAA\n",
        b"A" * 43,
        b"not base64, but as long as a key is in it =\n",
        b"\xff" * 32,
        b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n" * 2,
    ],
)
def test_a_damaged_key_is_refused_and_kept(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(StorageError, match="expected one line, a private key in base64") as caught:
        load_key(path, no_randomness)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StorageError, match="it is a folder"):
        load_key(path, no_randomness)


def test_a_missing_folder_is_named(path: Path) -> None:
    with pytest.raises(StorageError, match="there is no folder"):
        load_key(path / "missing" / "server.key", no_randomness)


def test_an_unreadable_key_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_key(path, count_up)

    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(StorageError, match=r"cannot read .*server\.key: Permission denied"):
        load_key(path, no_randomness)


def test_a_key_that_cannot_be_made_leaves_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match=r"cannot make .*No space left"):
        load_key(path, count_up)
    assert list(path.parent.iterdir()) == []


def test_two_servers_that_start_at_once_have_one_key(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = os.open

    def open_late(*args: object, **kwargs: object) -> int:
        monkeypatch.undo()
        load_key(path, count_up)
        return opening(*args, **kwargs)  # type: ignore[arg-type]

    # The other one makes it between our looking for it and our making it.
    monkeypatch.setattr(os, "open", open_late)
    assert load_key(path, no_randomness).private == bytes(range(32))
