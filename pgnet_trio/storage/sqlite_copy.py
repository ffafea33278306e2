"""New save files that are SQLite databases, with nothing in them or with all of another one."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from pgnet_trio.storage.sqlite_schema import make_tables, read_stamp, renew_id

__all__ = ["copy_database", "make_database", "remove_database"]


def make_database(path: Path) -> None:
    """Make a save file with nothing in it, durably, for its owner only.

    Args:
        path: The file, which must not be there.

    Raises:
        OSError: It could not be made.
        sqlite3.Error: It could not be made.
    """
    with _new_database(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        make_tables(connection)


def copy_database(connection: sqlite3.Connection, target: Path, *, mode: int = 0o600) -> None:
    """Copy everything that a connection sees into a new file, durably.

    The copy is another file than this one, so that no log is taken for its own that belongs to
    this one.

    Args:
        connection: The database.
        target: The file, which must not be there.
        mode: The file's permissions.

    Raises:
        OSError: It could not be made.
        sqlite3.Error: It could not be copied.
    """
    with _new_database(target) as copy:
        connection.backup(copy, progress=_refuse_to_wait)
        if read_stamp(copy) is not None:
            renew_id(copy)
    target.chmod(mode)


@contextlib.contextmanager
def _new_database(path: Path) -> Iterator[sqlite3.Connection]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    os.close(os.open(path, flags, 0o600))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # Durable when all is done.
        connection.execute("PRAGMA synchronous = OFF")
        yield connection
    with path.open("rb") as file:
        os.fsync(file.fileno())


def remove_database(path: Path) -> None:
    """Remove a draft, and what SQLite may have left beside it.

    Raises:
        OSError: It could not be removed.
    """
    for ending in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + ending).unlink(missing_ok=True)


def _refuse_to_wait(status: int, _remaining: int, _total: int) -> None:
    # Otherwise a copy waits for ever while another program holds the database.
    if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        raise sqlite3.OperationalError("database is locked")
