"""What every file of a server needs: one owner at a time, and writes that are never in part."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from pgnet_trio.errors import StorageError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["FileLock", "cannot", "is_there", "replace_file"]

_PRIVATE = 0o600

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)

# What syncing a folder fails with on file systems that make no such promise.
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS}


def cannot(verb: str, path: Path, reason: OSError | str) -> StorageError:
    """An error that says what cannot be done with which file, and why."""
    if isinstance(reason, OSError):
        reason = reason.strerror or str(reason)
    return StorageError(f"cannot {verb} {path}: {reason}")


def is_there(path: Path) -> bool:
    """Say whether there is a file of this name.

    Raises:
        StorageError: There is something else of this name, or one cannot even find out.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        raise cannot("use", path, error) from error
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "no ordinary file"
        raise cannot("use", path, f"expected a file, and it is {what}")
    return True


def replace_file(path: Path, data: bytes) -> None:
    """Make a file hold exactly this, durably: a crash leaves the old content or the new one.

    A new file can be read by its owner only; an old one keeps its mode. Only one caller may do
    this to a file at a time, see `FileLock`.

    Raises:
        OSError: It could not be written. The file holds what it held, except where only the
            last step failed, which makes the replacement durable.
    """
    temporary = path.with_name(f".{path.name}.new")
    with _syncing(path.parent):
        # A crash may have left it.
        temporary.unlink(missing_ok=True)
        try:
            with open(os.open(temporary, _NEW_FILE, _PRIVATE), "wb") as file:
                file.write(data)
                file.flush()
                with contextlib.suppress(FileNotFoundError):
                    temporary.chmod(stat.S_IMODE(path.stat().st_mode))
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def _syncing(folder: Path) -> Iterator[None]:
    """Make what is done to a folder's entries durable at the end; finds out early if it can."""
    if sys.platform == "win32":
        # Windows opens no folders; it writes their entries through on its own.
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in _NO_FOLDER_SYNC:
                raise
    finally:
        os.close(descriptor)


class FileLock:
    """Keeps a second server away from a file, in this process or another.

    What is locked is a file beside it, with ``.lock`` added to its name, so that the file itself
    may be replaced. The operating system lets go of it when the process ends, however it ends;
    then the empty lock file stays, and does no harm.

    Args:
        path: The file to keep others away from; it need not be there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock_path = path.with_name(f"{path.name}.lock")
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._descriptor is not None

    def acquire(self) -> None:
        """Take the lock, without waiting.

        Raises:
            StorageError: Another server has it, or the folder is missing or not writable.
        """
        while self._descriptor is None:
            try:
                descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, _PRIVATE)
            except FileNotFoundError as error:
                folder = self._path.parent
                raise cannot(
                    "use", self._path, f"there is no folder {folder}; make it, or choose another"
                ) from error
            except OSError as error:
                raise cannot("use", self._path, f"its folder: {error.strerror}") from error
            try:
                _lock(descriptor)
                if self._is_current(descriptor):
                    self._descriptor = descriptor
            except (BlockingIOError, PermissionError) as error:
                raise cannot(
                    "use",
                    self._path,
                    "another server is using it; stop that one, or choose another file",
                ) from error
            except OSError as error:
                raise cannot("lock", self._path, error) from error
            finally:
                if self._descriptor is None:
                    os.close(descriptor)

    def _is_current(self, descriptor: int) -> bool:
        # Whoever held the lock before may have removed the file between our opening and locking
        # it; then others would lock a new one.
        try:
            return os.path.samestat(os.fstat(descriptor), self._lock_path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Let go of the lock; idempotent."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        if sys.platform == "win32":
            # An open file cannot be removed there.
            os.close(descriptor)
        with contextlib.suppress(OSError):
            self._lock_path.unlink()
        if sys.platform != "win32":
            os.close(descriptor)


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
