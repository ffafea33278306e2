"""The file that holds a server's private key."""

from __future__ import annotations

import base64
import binascii
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path

from pgnet_trio.crypto import KeyPair
from pgnet_trio.errors import CryptoError, StorageError
from pgnet_trio.storage.files import write_atomically

__all__ = ["load_key"]

logger = logging.getLogger("pgnet_trio.storage")


def load_key(path: Path, random_bytes: Callable[[int], bytes]) -> KeyPair:
    """Read a server's key pair, or make one where there is no file yet.

    Args:
        path: The file: one line, the private key in base64, readable by its owner alone.
        random_bytes: Gives that many random bytes.

    Raises:
        StorageError: The file is damaged, cannot be read, or cannot be made.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return _make_key(path, random_bytes)
    except OSError as error:
        raise StorageError(f"The key file {path} cannot be read: {error}.") from error
    try:
        key = KeyPair(base64.b64decode(text.strip(), validate=True))
    except (binascii.Error, CryptoError):
        # Without the cause, which may show what the file holds.
        raise StorageError(
            f"The key file {path} holds no private key: expected one line of base64. Restore it, "
            "or move it away to have a new key made, which clients have to be told of."
        ) from None
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        logger.warning("Others can read the key file %s; run: chmod 600 %s", path, path)
    return key


def _make_key(path: Path, random_bytes: Callable[[int], bytes]) -> KeyPair:
    key = KeyPair.generate(random_bytes)
    try:
        write_atomically(path, base64.b64encode(key.private) + b"\n", 0o600)
    except OSError as error:
        raise StorageError(f"The key file {path} cannot be made: {error}.") from error
    return key
