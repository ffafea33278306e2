"""What every file of a server needs: writes that are never in part, and nothing overwritten."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

from pgnet_trio.errors import StorageError

__all__ = [
    "SET_ASIDE",
    "Identity",
    "cannot",
    "free_name",
    "identity_of",
    "is_there",
    "keep_under_another_name",
    "replace_file",
    "set_aside",
    "signature_of",
    "syncing",
    "take_back",
]

SET_ASIDE = "set-aside"
"""Ends the names of files that were in the way and may matter to somebody."""

Identity: TypeAlias = tuple[int, int]
"""Device and inode: what a file is, whatever its name."""

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


class Signature(NamedTuple):
    """What changes when somebody writes to a file, or puts another one in its place."""

    device: int
    inode: int
    size: int
    modified: int


def signature_of(path: Path) -> Signature | None:
    """Return the signature of a file; None where there is none, or none to be seen."""
    try:
        status = path.stat()
    except OSError:
        return None
    return Signature(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def identity_of(file: Path | int) -> Identity:
    """Return what identifies a file, by its name or an open descriptor.

    Raises:
        OSError: There is none of this name.
    """
    status = os.stat(file)
    return status.st_dev, status.st_ino


def free_name(path: Path, word: str) -> Path:
    """Return a name that is free: the file's with a word at its end, and a number if it must be.

    Raises:
        StorageError: One cannot find out.
    """
    for number in itertools.count(1):
        name = path.with_name(f"{path.name}.{word}" + ("" if number == 1 else f".{number}"))
        if not is_there(name):
            return name
    raise AssertionError("unreachable")


def set_aside(path: Path, word: str) -> Path:
    """Rename a file that must not be lost, out of the way; see `free_name`.

    Returns:
        Its new name.

    Raises:
        OSError: It could not be renamed.
        StorageError: No free name could be found.
    """
    name = free_name(path, word)
    path.rename(name)
    return name


def keep_under_another_name(file: Path, path: Path, word: str) -> Path:
    """Let a file have another name too, before its own goes to another file.

    Args:
        file: The file.
        path: After whose name it is called; see `free_name`.
        word: What is added to that.

    Returns:
        The other name. On file systems without hard links, the file has only that one now.

    Raises:
        OSError: It could not be renamed.
        StorageError: No free name could be found.
    """
    name = free_name(path, word)
    try:
        os.link(file, name)
    except OSError:
        file.rename(name)
    return name


def take_back(name: Path, path: Path) -> None:
    """Undo `keep_under_another_name`, as far as it can be done."""
    with contextlib.suppress(OSError):
        # Where both are names of one file, this does nothing.
        name.rename(path)
        name.unlink(missing_ok=True)


def replace_file(
    path: Path, data: bytes, before_rename: Callable[[Path], object] | None = None
) -> None:
    """Make a file hold exactly this, durably: a crash leaves the old content or the new one.

    A new file can be read by its owner only; an old one keeps its mode. Only one caller may do
    this to a file at a time, see `pgnet_trio.storage.locks`.

    Args:
        path: The file.
        data: What it is to hold.
        before_rename: Called with the path of the new file, which is complete and has not got the
            name of the old one yet.

    Raises:
        OSError: It could not be written. The file holds what it held, except where only the
            last step failed, which makes the replacement durable.
    """
    temporary = path.with_name(f".{path.name}.new")
    with syncing(path.parent):
        # A crash may have left it.
        temporary.unlink(missing_ok=True)
        try:
            with open(os.open(temporary, _NEW_FILE, _PRIVATE), "wb") as file:
                file.write(data)
                file.flush()
                with contextlib.suppress(FileNotFoundError):
                    temporary.chmod(stat.S_IMODE(path.stat().st_mode))
                os.fsync(file.fileno())
            if before_rename is not None:
                before_rename(temporary)
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def syncing(folder: Path) -> Iterator[None]:
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
