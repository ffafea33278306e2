"""A save file that is an SQLite database; each change is one transaction.

It is a little long: whatever makes a file another one than before is noticed here, in one place.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from pgnet_trio.storage.files import (
    SET_ASIDE,
    Identity,
    Signature,
    cannot,
    is_there,
    keep_under_another_name,
    set_aside,
    signature_of,
    syncing,
    take_back,
)
from pgnet_trio.storage.interface import Changes, SavedState, TableStore
from pgnet_trio.storage.locks import DatabaseLock
from pgnet_trio.storage.migrations import SCHEMA_VERSION
from pgnet_trio.storage.sqlite_copy import copy_database, make_database, remove_database
from pgnet_trio.storage.sqlite_reading import (
    Reading,
    check_header,
    check_pages,
    connect_to_read,
    has_log,
    log_belongs,
    log_of,
    read_all,
    stamp_without_log,
    translated_errors,
)
from pgnet_trio.storage.sqlite_schema import (
    Stamp,
    apply,
    begin_log,
    count_commit,
    migrate,
    read_stamp,
    set_game_aside,
)

__all__ = ["SQLiteStore"]

logger = logging.getLogger("pgnet_trio.storage")

T = TypeVar("T")

CHECKED_AT_START = 100_000_000
"""Bytes up to which SQLite looks through a whole file when it is opened, in under a second."""


class SQLiteStore(TableStore):
    """Keeps everything in an SQLite database, in WAL mode with ``synchronous=FULL``.

    While it is open there are files beside it, with ``-wal`` and ``-shm`` added to its name; they
    belong to it, also after a crash. It may be read and backed up by other programs meanwhile
    (``pgnet-trio backup``). A new file can be read by its owner only.

    Where somebody deletes or replaces the file while it is open, the next write makes it anew,
    with everything in it; the other file is kept beside it. Where something is copied over it,
    so that it is the same file with another content, nothing more is written.

    Args:
        path: The file.
    """

    keeps_tokens = True

    def __init__(self, path: str | Path) -> None:
        # Through symbolic links, so that two names are one file.
        self._path = Path(os.path.realpath(path))
        self._log_path = log_of(self._path)
        self._draft = self._path.with_name(f".{self._path.name}.new")
        self._lock = DatabaseLock(self._path)
        self._connection: sqlite3.Connection | None = None
        self._stamp: Stamp | None = None
        self._mode = 0o600
        # After the last change, of ours or found harmless.
        self._last_seen: Signature | None = None
        self._log: Identity | None = None
        self._log_is_empty = False
        self._was_copied_over = False

    def load(self) -> SavedState:
        """Open the database, made anew where there is none, and read everything in it.

        A log that belongs to another file is set aside. So is a game that is damaged: it is in
        the table ``damaged_games`` then. Both are logged. Before a file of an older version is
        changed, a copy is put beside it.

        Raises:
            StorageError: It is damaged, of another program or of a newer version of this one,
                not readable or writable, or in use by another server. The file is left as it was.
        """
        if self._lock.held:
            raise RuntimeError(f"the store for {self._path} is open already")
        # Before SQLite opens the file, and released after it has closed it: see `lock_file`.
        self._lock.acquire(self._create)
        try:
            with translated_errors("use", self._path):
                check_header(self._path)
                self._set_foreign_log_aside()
                reading = self._examine()
                connection = self._connect()
                if reading.version < SCHEMA_VERSION:
                    self._update(connection, reading.version)
                if reading.damaged_games:
                    self._set_games_aside(connection, reading)
                self._differ_from_copies(connection)
        except BaseException:
            self._close()
            raise
        return reading.state

    def write(self, changes: Changes) -> None:
        """Carry out these changes in one transaction.

        Raises:
            StorageError: It could not be written; the database holds what it held, and writing
                may be tried again.
        """
        self._require_open()
        with translated_errors("write", self._path):
            connection = self._sound_connection()
            with self._transaction(connection):
                apply(connection, changes)

    def transact(self, work: Callable[[sqlite3.Connection], T], *, writes: bool) -> T:
        """Do something with the tables that are no part of a `SavedState`, in one transaction.

        Raises:
            StorageError: It could not be done, and nothing was changed.
        """
        self._require_open()
        with translated_errors("write" if writes else "read", self._path):
            connection = self._sound_connection()
            with _texts_as_bytes(connection):
                if writes:
                    with self._transaction(connection):
                        return work(connection)
                connection.execute("BEGIN")
                try:
                    return work(connection)
                finally:
                    connection.rollback()

    def sync(self) -> None:
        """Bring what is in the log into the file itself, so that a plain copy of it is whole.

        As far as it can be done at once: another program that reads meanwhile may put it off.

        Raises:
            StorageError: It failed. What was written is durable all the same.
        """
        self._require_open()
        with translated_errors("write", self._path):
            connection = self._sound_connection()
            if not self._log_is_empty:
                self._checkpoint(connection)

    def close(self) -> None:
        """Release the file; idempotent. It is released even where this raises.

        Raises:
            StorageError: The file was deleted or replaced and could not be made anew, or SQLite
                could not put everything in order; in this case the next `load` does it.
        """
        try:
            if self._connection is not None:
                with translated_errors("close", self._path):
                    self._sound_connection()
        finally:
            self._close()

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        try:
            if connection is not None:
                with translated_errors("close", self._path):
                    if self._was_copied_over:
                        self._leave_what_was_copied_over(connection)
                    else:
                        connection.close()
        finally:
            self._was_copied_over = False
            self._lock.release()

    def _require_open(self) -> None:
        if not self._lock.held:
            raise RuntimeError(f"the store for {self._path} is not open; call load() first")

    # Opening

    def _create(self) -> None:
        if self._log_path.exists():
            # SQLite would take it for changes to the new database.
            raise cannot(
                "make",
                self._path,
                f"{self._log_path.name} is there without it; put the database back that it belongs "
                "to, or remove it",
            )
        # Under another name at first, so that it is there whole or not at all.
        with translated_errors("make", self._path), self._draft_file():
            make_database(self._draft)
            self._draft.replace(self._path)

    def _set_foreign_log_aside(self) -> None:
        if not has_log(self._path) or log_belongs(self._path):
            return
        aside = set_aside(self._log_path, SET_ASIDE)
        self._path.with_name(f"{self._path.name}-shm").unlink(missing_ok=True)
        logger.warning(
            "%s was the log of another file than this %s; it is not used, and is now %s",
            self._log_path,
            self._path.name,
            aside.name,
        )

    def _examine(self) -> Reading:
        """Read the database without writing to it, and refuse it where it is not sound."""
        # Without a log that SQLite would have to read too, it need not make any files.
        with connect_to_read(self._path, alone=not has_log(self._path)) as connection:
            reading = read_all(self._path, connection)
            if self._path.stat().st_size <= CHECKED_AT_START:
                check_pages(self._path, connection)
            else:
                logger.info("%s is large, and was not checked: `pgnet-trio check`", self._path)
            return reading

    def _connect(self) -> sqlite3.Connection:
        with translated_errors("write", self._path), contextlib.ExitStack() as undo:
            connection = sqlite3.connect(
                f"{self._path.as_uri()}?mode=rw",
                uri=True,
                isolation_level=None,
                # The server calls from whichever worker thread is free, one at a time.
                check_same_thread=False,
            )
            undo.callback(connection.close)
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise cannot(
                    "use", self._path, f"expected SQLite's WAL mode to work here, got mode {mode}"
                )
            connection.execute("PRAGMA synchronous = FULL")
            # SQLite opens a file that is write-protected all the same; this finds out.
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute("ROLLBACK")
            self._stamp = read_stamp(connection)
            self._log = self._log_identity()
            self._log_is_empty = not has_log(self._path)
            self._mode = stat.S_IMODE(self._path.stat().st_mode)
            self._note_own_change()
            undo.pop_all()
        self._connection = connection
        return connection

    def _update(self, connection: sqlite3.Connection, version: int) -> None:
        self._checkpoint(connection)
        with self._copy(connection) as draft:
            old = keep_under_another_name(draft, self._path, f"version-{version}")
        with translated_errors("write", self._path):
            for before in range(version, SCHEMA_VERSION):
                with self._transaction(connection):
                    migrate(connection, before)
                self._stamp = read_stamp(connection)
            self._checkpoint(connection)
        logger.info(
            "%s was of version %d, and is now of version %d; %s is a copy of how it was",
            self._path,
            version,
            SCHEMA_VERSION,
            old.name,
        )

    def _differ_from_copies(self, connection: sqlite3.Connection) -> None:
        # A plain copy made while no server ran is the very file that the next log begins with.
        # Were it put back after a crash, that log would count as its own.
        with translated_errors("write", self._path):
            with self._transaction(connection):
                pass
            self._checkpoint(connection)

    def _set_games_aside(self, connection: sqlite3.Connection, reading: Reading) -> None:
        with translated_errors("write", self._path), self._transaction(connection):
            for game in reading.damaged_games:
                set_game_aside(connection, game.rowid)
        for game in reading.damaged_games:
            logger.error(
                "The save of the game %r in %s is damaged: its checksum does not fit. The game is "
                "not loaded; its save is kept in the table damaged_games",
                game.name,
                self._path,
            )

    # Writing

    @contextlib.contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        try:
            connection.execute("BEGIN IMMEDIATE")
            if self._log_is_empty:
                begin_log(connection)
            count_commit(connection)
            yield
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise
        finally:
            # SQLite may have brought a long log into the file.
            self._note_own_change()
        if self._stamp is not None:
            self._stamp = self._stamp.after_commit(begins_log=self._log_is_empty)
        self._log_is_empty = False

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        (patience,) = connection.execute("PRAGMA busy_timeout").fetchone()
        # Others may read for long, and what they hold up can be done the next time.
        connection.execute("PRAGMA busy_timeout = 0")
        try:
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            # Also where it has failed half-way.
            self._note_own_change()
            connection.execute(f"PRAGMA busy_timeout = {patience}")
        if not busy:
            self._log_is_empty = True
            if self._stamp is not None:
                self._stamp = self._stamp.after_checkpoint()

    def _note_own_change(self) -> None:
        self._last_seen = signature_of(self._path)

    # A file that others deleted, replaced, or wrote to

    def _sound_connection(self) -> sqlite3.Connection:
        """Make sure that what is written goes to the file of this name, and to nothing else."""
        connection = self._connection
        if not self._lock.is_current:
            connection = self._make_anew()
        elif connection is not None:
            self._refuse_what_was_copied_over()
            if self._log_identity() != self._log:
                # It holds what was written since the last sync, and nobody would find it.
                self._checkpoint(connection)
                if not self._log_is_empty:
                    raise cannot(
                        "write",
                        self._path,
                        f"{self._log_path.name} was deleted, and another program reads what was "
                        "in it; end that program",
                    )
                self._connection = None
                connection.close()
                connection = None
                logger.warning("%s was deleted or replaced; it is made anew", self._log_path)
        if connection is None:
            self._set_foreign_log_aside()
            connection = self._connect()
        return connection

    def _make_anew(self) -> sqlite3.Connection:
        connection = self._connection
        if connection is None:
            raise cannot("write", self._path, "it was deleted or replaced while the server ran")
        with self._lock.replacing(), self._copy(connection) as draft:
            aside = None
            if is_there(self._path):
                aside = keep_under_another_name(self._path, self._path, SET_ASIDE)
            try:
                former = self._lock.take_over(draft)
            except BaseException:
                if aside is not None:
                    take_back(aside, self._path)
                raise
            # From here on, everything is in the new file.
            self._connection = None
            try:
                self._put_log_away(aside)
            finally:
                # SQLite does not touch the file of this name, which is another one.
                with contextlib.suppress(sqlite3.Error):
                    connection.close()
                if former is not None:
                    former.unlock()
        logger.warning(
            "%s was %s while the server ran; it was made anew, with everything in it%s",
            self._path,
            "deleted" if aside is None else "replaced by another file",
            "" if aside is None else f"; the other file is now {aside.name}",
        )
        return self._connect()

    def _log_identity(self) -> Identity | None:
        signature = signature_of(self._log_path)
        return None if signature is None else (signature.device, signature.inode)

    def _put_log_away(self, aside: Path | None) -> None:
        # SQLite would take the old log for that of the new file.
        log = self._log_identity()
        if log is not None and log != self._log and aside is not None:
            self._log_path.rename(log_of(aside))
        else:
            self._log_path.unlink(missing_ok=True)
        self._path.with_name(f"{self._path.name}-shm").unlink(missing_ok=True)

    @contextlib.contextmanager
    def _copy(self, connection: sqlite3.Connection) -> Iterator[Path]:
        """Make a file for the time of the block that is a copy of the database."""
        with self._draft_file():
            copy_database(connection, self._draft, mode=self._mode)
            yield self._draft

    @contextlib.contextmanager
    def _draft_file(self) -> Iterator[None]:
        remove_database(self._draft)
        try:
            with syncing(self._path.parent):
                yield
        finally:
            with contextlib.suppress(OSError):
                remove_database(self._draft)

    def _refuse_what_was_copied_over(self) -> None:
        if not self._was_copied_over and signature_of(self._path) == self._last_seen:
            return
        self._was_copied_over = self._was_copied_over or not self._is_ours()
        if self._was_copied_over:
            raise cannot(
                "write",
                self._path,
                "something else was copied over it while the server ran, so nothing more can be "
                "saved; stop the server, which starts with what is there now",
            )
        # Another program has brought the log into the file.
        self._note_own_change()

    def _is_ours(self) -> bool:
        """Find out whether what has changed in the file is no more than its log brought into it."""
        try:
            stamp = stamp_without_log(self._path)
        except sqlite3.Error:
            # While the log is being brought into it, it may be of use with the log only.
            now, before = signature_of(self._path), self._last_seen
            if now is None or before is None or now.size < before.size:
                return False
            try:
                with connect_to_read(self._path, alone=False) as reader:
                    stamp = read_stamp(reader)
            except sqlite3.Error:
                return False
        if self._stamp is None:
            # Somebody has removed from the settings what tells.
            return True
        return stamp is not None and self._stamp.may_include(stamp)

    def _leave_what_was_copied_over(self, connection: sqlite3.Connection) -> None:
        # SQLite would bring its log into it as it closes, but not into a file of another name.
        aside = set_aside(self._path, SET_ASIDE)
        try:
            connection.close()
        finally:
            aside.rename(self._path)
        if self._log_path.exists():
            set_aside(self._log_path, SET_ASIDE)


@contextlib.contextmanager
def _texts_as_bytes(connection: sqlite3.Connection) -> Iterator[None]:
    connection.text_factory = bytes
    try:
        yield
    finally:
        connection.text_factory = str
