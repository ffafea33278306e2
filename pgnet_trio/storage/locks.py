"""One owner at a time for each file, in this process or another.

The operating system lets go of a lock when the process ends, however it ends: nothing is left
that somebody has to delete by hand.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

from pgnet_trio.errors import StorageError
from pgnet_trio.storage.files import Identity, cannot, identity_of, is_there

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["DatabaseLock", "FileInUse", "FileLock", "LockedFile", "is_in_use", "lock_file"]

_PRIVATE = 0o600

_NOTE = b"pgnet_trio locks this file while a server runs. It stays here and does no harm.\n"


# What no folder is to blame for: too many open files, a full disk.
_NOBODY_S_FAULT = (errno.EMFILE, errno.ENFILE, errno.ENOSPC)


class FileInUse(StorageError):
    """Another server holds the lock of a file."""


class _Locks:
    """What this process has locked.

    Attributes:
        files: The files that are locked themselves. Closing any descriptor of a file drops all of
            a process's fcntl locks on it, SQLite's among them. So a second store of this process
            must not even open a file that the first one has: it looks it up here.
        guard: Held while a file is looked up, opened and locked.
        descriptors: All that hold a lock.
    """

    def __init__(self) -> None:
        self.files: set[Identity] = set()
        self.guard = threading.Lock()
        self.descriptors: set[int] = set()

    def close(self, descriptor: int) -> None:
        """Let go of a lock."""
        self.descriptors.discard(descriptor)
        os.close(descriptor)

    def let_go_in_child(self) -> None:
        """Let go of all, in a process that was forked.

        It would hold them as long as it lives: a pool of workers may outlive a server that was
        killed, and keep the next one from starting.
        """
        self.guard = threading.Lock()
        for descriptor in self.descriptors:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self.descriptors.clear()
        self.files.clear()


_locks = _Locks()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_locks.let_go_in_child)


class FileLock:
    """A lock on a file of its own beside the file in question, with ``.lock`` added to its name.

    So the file itself may be replaced. A lock file that a killed process left behind stops
    nobody.

    Args:
        path: The file to keep others away from; it need not be there.
        stays: Whether the lock file is left in the folder for good. Where it is not, it goes with
            the lock, and a short use leaves nothing behind.
    """

    def __init__(self, path: Path, *, stays: bool = False) -> None:
        self._path = path
        self._lock_path = path.with_name(f"{path.name}.lock")
        self._stays = stays
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._descriptor is not None

    def is_taken(self) -> bool:
        """Find out whether anybody holds the lock, without taking it for longer than a moment.

        Raises:
            StorageError: One cannot find out.
        """
        try:
            descriptor = os.open(self._lock_path, os.O_RDWR)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise cannot("use", self._lock_path, error) from error
        try:
            _lock(descriptor, self._path)
        except FileInUse:
            return True
        finally:
            os.close(descriptor)
        return False

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
                if error.errno in _NOBODY_S_FAULT:
                    raise cannot("use", self._path, error) from error
                # Where it is there, it may be another user's.
                there = os.access(self._lock_path, os.F_OK)
                what = f"{self._lock_path.name} beside it" if there else "its folder"
                raise cannot("use", self._path, f"{what}: {error.strerror}") from error
            try:
                _lock(descriptor, self._path)
                if self._is_current(descriptor):
                    self._descriptor = descriptor
                    _locks.descriptors.add(descriptor)
            finally:
                if self._descriptor is None:
                    os.close(descriptor)
        if self._stays:
            self._explain()

    def renew(self) -> None:
        """Take the lock anew where somebody removed the lock file.

        Raises:
            StorageError: Another server has taken it meanwhile; this object keeps what it has.
        """
        lost = self._descriptor
        if lost is None or self._is_current(lost):
            return
        self._descriptor = None
        try:
            self.acquire()
        except BaseException:
            self._descriptor = lost
            raise
        _locks.close(lost)

    def release(self) -> None:
        """Let go of the lock; idempotent."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        if sys.platform == "win32":
            # An open file cannot be removed there.
            _locks.close(descriptor)
        # Removed while it is still locked: whoever has opened it by now finds out, by
        # _is_current, that it is no longer the one to lock.
        if not self._stays and self._is_current(descriptor):
            with contextlib.suppress(OSError):
                self._lock_path.unlink()
        if sys.platform != "win32":
            _locks.close(descriptor)

    def keep(self) -> None:
        """From now on, leave the lock file in the folder when the lock is released."""
        self._stays = True
        self._explain()

    def knows_no_fcntl_locks(self) -> bool:
        """Find out, while the lock is held, whether locks of fcntl are independent of it here.

        On Linux they are; on BSD and macOS, and on network file systems, one stands in the way
        of the other, even within one process.
        """
        if sys.platform == "win32" or self._descriptor is None:
            return False
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
        return True

    def _is_current(self, descriptor: int) -> bool:
        # Whoever held the lock before may have removed the file between our opening and locking
        # it; then others would lock a new one.
        if sys.platform == "win32":
            return True
        try:
            return os.path.samestat(os.fstat(descriptor), self._lock_path.stat())
        except OSError:
            return False

    def _explain(self) -> None:
        # For those who wonder whether to delete it.
        with contextlib.suppress(OSError):
            if self._descriptor is not None and not os.fstat(self._descriptor).st_size:
                os.write(self._descriptor, _NOTE)


@attrs.frozen
class LockedFile:
    """A file that this process has open and locked."""

    descriptor: int
    identity: Identity

    def unlock(self) -> None:
        """Let go of it. Call this once, when no SQLite connection has the file open any more."""
        with _locks.guard:
            _locks.files.discard(self.identity)
            _locks.close(self.descriptor)


def lock_file(path: Path, *, shared: bool = False) -> LockedFile:
    """Open and lock a file itself, which has to be there, without waiting.

    Args:
        path: The file.
        shared: Whether other processes may hold it too, which also take it shared.

    Raises:
        StorageError: Another server has it, or it cannot be opened.
    """
    while True:
        with _locks.guard:
            try:
                if identity_of(path) in _locks.files:
                    raise _in_use(path)
                descriptor = os.open(path, os.O_RDONLY)
            except OSError as error:
                raise cannot("read", path, error) from error
            done = False
            try:
                _lock(descriptor, path, shared=shared)
                identity = identity_of(descriptor)
                # It may have been replaced before it was locked.
                if identity == identity_of(path):
                    done = True
                    _locks.files.add(identity)
                    _locks.descriptors.add(descriptor)
                    return LockedFile(descriptor, identity)
            except FileNotFoundError as error:
                raise cannot("read", path, error) from error
            finally:
                if not done:
                    os.close(descriptor)


class DatabaseLock:
    """A lock on a database file itself, so that there is no lock file to be deleted.

    `flock` locks it, of which SQLite's own locks (of `fcntl`) know nothing. Where the two are not
    independent, the lock is one on a file beside it that stays there, as with `FileLock`.

    Opening, making and replacing the database is guarded by a short lock on a file beside it,
    which is also the one that pgnet_trio 0.1 held as long as it ran.

    Args:
        path: The database.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._beside = FileLock(path)
        self._file: LockedFile | None = None
        self._identity: Identity | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._file is not None or self._beside.held

    @property
    def is_current(self) -> bool:
        """Whether the file of this name is still the one that was locked."""
        try:
            return identity_of(self._path) == self._identity
        except OSError:
            return False

    def acquire(self, make: Callable[[], None], *, shared: bool = False) -> None:
        """Take the lock, without waiting.

        Args:
            make: Makes the database; called where there is none.
            shared: Whether other processes may hold it too, which also take it shared. Where the
                lock is on a file beside the database, it is never shared.

        Raises:
            StorageError: Another server has it, or it cannot be opened or made.
        """
        self._beside.acquire()
        try:
            if not is_there(self._path):
                make()
            if self._beside.knows_no_fcntl_locks():
                self._file = lock_file(self._path, shared=shared)
                self._identity = self._file.identity
            else:
                self._identity = identity_of(self._path)
                self._beside.keep()
        except OSError as error:
            raise cannot("use", self._path, error) from error
        finally:
            if self._file is not None or self._identity is None:
                self._beside.release()

    @contextlib.contextmanager
    def replacing(self) -> Iterator[None]:
        """Keep others from opening or making a file of this name while the block lasts.

        Raises:
            StorageError: Another server uses the file that has this name now.
        """
        beside = contextlib.nullcontext() if self._beside.held else _held(self._beside)
        with beside:
            if self._file is not None and is_there(self._path):
                # It need not stay locked: whoever wants to use it needs the lock beside it first.
                lock_file(self._path).unlock()
            yield

    def take_over(self, draft: Path) -> LockedFile | None:
        """Rename a file so that it is the database, and hold the lock on that one instead.

        To be called while `replacing`.

        Returns:
            The file that was locked before, to be unlocked when SQLite has closed it.

        Raises:
            OSError: It could not be renamed; everything is as before.
        """
        former = self._file
        if former is None:
            identity = identity_of(draft)
            draft.replace(self._path)
        else:
            # Locked before others can see it.
            new = lock_file(draft)
            try:
                draft.replace(self._path)
            except BaseException:
                new.unlock()
                raise
            self._file, identity = new, new.identity
        self._identity = identity
        return former

    def release(self) -> None:
        """Let go of the lock; idempotent."""
        self._identity = None
        self._beside.release()
        if self._file is not None:
            file, self._file = self._file, None
            file.unlock()


@contextlib.contextmanager
def _held(lock: FileLock) -> Iterator[None]:
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def is_in_use(path: Path) -> bool:
    """Find out whether a server uses a save file, which has to be there, at this moment.

    Raises:
        StorageError: It cannot be opened.
    """
    # The lock file: of JSON, of version 0.1, or where the lock cannot be on the file itself.
    if FileLock(path).is_taken():
        return True
    try:
        lock_file(path).unlock()
    except FileInUse:
        return True
    return False


def _in_use(path: Path) -> FileInUse:
    reason = "another server is using it; stop that one, or choose another file"
    return FileInUse(str(cannot("use", path, reason)))


def _lock(descriptor: int, path: Path, *, shared: bool = False) -> None:
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        raise _in_use(path) from error
    except OSError as error:
        raise cannot("lock", path, error) from error
