"""The file with the server's private key, so that players may pin the public one."""

from __future__ import annotations

import logging
import os
import stat
import sys
import time
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pgnet_trio.crypto import KeyPair
from pgnet_trio.errors import CryptoError, StorageError
from pgnet_trio.storage.files import cannot, free_name, is_there, replace_file
from pgnet_trio.storage.locks import FileInUse, FileLock

__all__ = ["DamagedKey", "discard_key", "keep_key", "key_file_of", "read_key", "replace_key"]

logger = logging.getLogger("pgnet_trio.storage")


PATIENCE = 5.0
"""Seconds that another server gets to make or replace the file."""

PAUSE = 0.02
"""Seconds from one look to the next whether it has."""

MAX_SIZE = 1024
"""Bytes that a key file may have; it needs 45."""


class DamagedKey(StorageError):
    """The file holds no private key."""


def key_file_of(save_file: Path) -> Path:
    """Where the key lies that belongs to a save file, unless a server was told otherwise.

    Raises:
        StorageError: The path of the save file names none, as ``.`` does.
    """
    if not save_file.name:
        raise cannot("use", save_file, "expected a file, and it is a folder")
    return save_file.with_name(save_file.name + ".key")


def read_key(path: Path) -> KeyPair | None:
    """Read a server's key pair from its file, which is one line, the private key in base64.

    A file that others than its owner can read gets a warning in the log. This blocks.

    Returns:
        The key pair; None where there is no such file.

    Raises:
        StorageError: The file is damaged, or cannot be read. It is left as it was.
    """
    return _read_key(path) if is_there(path) else None


def keep_key(path: Path, key: KeyPair) -> KeyPair:
    """Make sure that a key file is there: with this key, where there is none yet.

    The file is made whole or not at all, and for its owner only. This blocks.

    Returns:
        The key pair that is in the file. It is another one where the file was there already.

    Raises:
        StorageError: The file is damaged, or cannot be read or made.
    """
    found = read_key(path)
    if found is not None:
        return found
    # Through symbolic links, so that they stay.
    path = Path(os.path.realpath(path))
    with _locked(path):
        if is_there(path):
            # Another server has just made it.
            return _read_key(path)
        _write(path, key)
    return key


def discard_key(path: Path, key: KeyPair) -> None:
    """Remove a key file that `keep_key` has made, where it still holds this key. This blocks.

    Raises:
        StorageError: The file is damaged, or cannot be read or removed.
    """
    path = Path(os.path.realpath(path))
    with _locked(path):
        if is_there(path) and _read_key(path) == key:
            try:
                path.unlink()
            except OSError as error:
                raise cannot("remove", path, error) from error


def replace_key(path: Path, key: KeyPair) -> Path:
    """Put another key into a key file, and keep the old one beside it.

    This blocks. A server that is running goes on with the old key until it starts again.

    Returns:
        The file with the old key, which ends in ``.old``; with a number, if there is one already.

    Raises:
        StorageError: There is no key to replace, or a file cannot be made. The key is the old
            one then.
    """
    path = Path(os.path.realpath(path))
    with _locked(path):
        if not is_there(path):
            raise cannot("replace", path, "there is no such file")
        content = b2a_base64(_read_key(path).private)
        old = free_name(path, "old")
        try:
            replace_file(old, content)
        except OSError as error:
            raise cannot("make", old, error) from error
        _write(path, key)
    return old


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = FileLock(path)
    deadline = time.monotonic() + PATIENCE
    while not lock.held:
        try:
            lock.acquire()
        except FileInUse:
            # Of servers that start at once, each wants to make it. That takes a moment.
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE)
    try:
        yield
    finally:
        lock.release()


def _write(path: Path, key: KeyPair) -> None:
    try:
        replace_file(path, b2a_base64(key.private))
    except OSError as error:
        raise cannot("make", path, error) from error


def _read_key(path: Path) -> KeyPair:
    try:
        status = path.stat()
        # What is longer is another file, and may be of any size.
        content = path.read_bytes() if status.st_size <= MAX_SIZE else b""
    except OSError as error:
        raise cannot("read", path, error) from error
    try:
        key = KeyPair(a2b_base64(content.strip(), strict_mode=True))
    except (ValueError, CryptoError):
        # Without the cause, which might quote the key.
        raise DamagedKey(
            f"cannot read {path}: expected one line, a private key in base64; restore it, or "
            "remove it to get a new key, which players who pinned the old one will refuse"
        ) from None
    if sys.platform != "win32" and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        logger.warning("Others can read the server's private key: run chmod 600 %s", path)
    return key
