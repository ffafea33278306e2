"""The folder with the Unix sockets of ``pgnet-trio serve --workers``, and what becomes of it.

It is in the system's folder for temporary files. Whoever has made it locks a file in it, and so do
the workers, which inherit that open file: the lock ends with the last of them, however they end. So
a folder without a lock is left over, and the next program removes it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs

if sys.platform != "win32":
    import fcntl

__all__ = ["WorkerFolder", "open_folder", "remove_if_unused"]

_PREFIX = "pgnet-trio-"
_LOCK = "lock"


@attrs.frozen
class WorkerFolder:
    """A folder that only its user may enter.

    Attributes:
        path: Where it is.
        lock: The open file to be inherited by all who use it.
    """

    path: Path
    lock: int


@contextlib.contextmanager
def open_folder() -> Iterator[WorkerFolder]:
    """Make a folder, and remove it at the end; first remove those that others have left."""
    place = Path(tempfile.gettempdir())
    for left in place.glob(f"{_PREFIX}*"):
        remove_if_unused(left)
    path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    try:
        # Renamed once it is locked: nobody finds a lock file that nobody has locked yet.
        draft = path / "new"
        lock = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _try_to_lock(lock)
            draft.rename(path / _LOCK)
            yield WorkerFolder(path, lock)
        finally:
            os.close(lock)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def remove_if_unused(path: Path) -> None:
    """Remove such a folder if it is this user's and nobody uses it; never fail."""
    with contextlib.suppress(OSError):
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            return
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            if _try_to_lock(lock):
                shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(lock)


def _try_to_lock(descriptor: int) -> bool:
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
