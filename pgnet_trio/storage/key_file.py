"""The file with the server's private key, so that players may pin the public one."""

from __future__ import annotations

import logging
import os
import stat
import sys
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from pathlib import Path

from pgnet_trio.crypto import KeyPair
from pgnet_trio.errors import CryptoError
from pgnet_trio.storage.files import FileLock, cannot, is_there, replace_file

__all__ = ["load_key"]

logger = logging.getLogger("pgnet_trio.storage")


def load_key(path: Path, random_bytes: Callable[[int], bytes]) -> KeyPair:
    """Read a server's key pair from its file, which is made where there is none.

    The file is one line, the private key in base64. It is made whole or not at all, and for its
    owner only; a file that others can read too gets a warning in the log. This blocks.

    Args:
        path: The file.
        random_bytes: Gives that many random bytes; a new key comes from it.

    Raises:
        StorageError: The file is damaged, or cannot be read or made. It is left as it was.
    """
    # Through symbolic links, so that they stay.
    path = Path(os.path.realpath(path))
    if not is_there(path):
        return _make_key(path, random_bytes)
    return _read_key(path)


def _make_key(path: Path, random_bytes: Callable[[int], bytes]) -> KeyPair:
    lock = FileLock(path)
    lock.acquire()
    try:
        if is_there(path):
            # Another server has just made it.
            return _read_key(path)
        key = KeyPair.generate(random_bytes)
        replace_file(path, b2a_base64(key.private))
    except OSError as error:
        raise cannot("make", path, error) from error
    finally:
        lock.release()
    return key


def _read_key(path: Path) -> KeyPair:
    try:
        content = path.read_bytes()
        mode = path.stat().st_mode
    except OSError as error:
        raise cannot("read", path, error) from error
    if sys.platform != "win32" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        logger.warning("Others can read the server's private key: run chmod 600 %s", path)
    try:
        return KeyPair(a2b_base64(content.strip(), strict_mode=True))
    except (ValueError, CryptoError):
        # Without the cause, which might quote the key.
        raise cannot(
            "read",
            path,
            "expected one line, a private key in base64; restore it, or remove it to get a new "
            "key, which players who pinned the old one will refuse",
        ) from None
