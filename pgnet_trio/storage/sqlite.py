"""The default save file: a SQLite database."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from pgnet_trio.errors import StorageError
from pgnet_trio.storage.interface import Changes, SavedGame, SavedState, Store, UserRecord

__all__ = ["SQLiteStore"]

APPLICATION_ID = 0x50474E54
"""Marks a database as ours: "PGNT"."""

SCHEMA_VERSION = 1

SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE users (name TEXT PRIMARY KEY, salt TEXT NOT NULL, password TEXT NOT NULL) STRICT;
CREATE TABLE games (name TEXT PRIMARY KEY, password TEXT NOT NULL, data TEXT NOT NULL) STRICT;
CREATE TABLE invite_codes (code TEXT PRIMARY KEY, username TEXT NOT NULL) STRICT;
CREATE TABLE switches (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""


class SQLiteStore(Store):
    """A SQLite database in WAL mode, flushed to the disk at every write.

    Args:
        path: The file; SQLite keeps ``-wal`` beside it while a server runs.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def load(self) -> SavedState:
        self._check_file()
        try:
            connection = sqlite3.connect(
                self._path, timeout=0, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise self._error("cannot be opened", error) from error
        try:
            state = self._open(connection)
        except (sqlite3.Error, ValueError) as error:
            connection.close()
            raise self._error("cannot be used", error) from error
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return state

    def write(self, changes: Changes) -> None:
        connection = self._connection
        if connection is None:
            raise StorageError(f"The save file {self._path} is not open.")
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                _write(connection, changes)
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._error("cannot be written", error) from error

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error as error:
                raise self._error("cannot be closed", error) from error

    def _check_file(self) -> None:
        # SQLite takes an empty or missing file for a new database, and writes to it before it
        # says what is wrong with any other; so look first.
        try:
            with open(self._path, "rb") as file:
                start = file.read(16)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StorageError(f"The save file {self._path} cannot be read: {error}.") from error
        if start and start != b"SQLite format 3\x00":
            raise StorageError(
                f"The save file {self._path} is no SQLite database. It was left as it is; name "
                "another file, or end its name in .json where it is a save file of PGNet."
            )

    def _open(self, connection: sqlite3.Connection) -> SavedState:
        # Exclusive locking keeps a second server out until this one's process ends.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        new = tables == 0 and application_id == 0 and version == 0
        if not new:
            if application_id != APPLICATION_ID:
                raise StorageError(
                    f"The save file {self._path} is a database of another program. It was left as "
                    "it is; name another file."
                )
            if version != SCHEMA_VERSION:
                raise StorageError(
                    f"The save file {self._path} has format {version}, and this version of "
                    f"pgnet_trio reads format {SCHEMA_VERSION}; it was left as it is."
                )
            (check,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if check != "ok":
                raise StorageError(
                    f"The save file {self._path} is damaged: {check}. It was left as it is; "
                    "restore it from a copy."
                )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        if new:
            connection.executescript(SCHEMA)
        else:
            # The first write takes the lock; take it now, so that a second server is told here.
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("COMMIT")
        return _read(connection)

    def _error(self, what: str, error: Exception) -> StorageError:
        reason = str(error)
        if "locked" in reason:
            reason = "another server uses it; stop that one first"
        return StorageError(f"The save file {self._path} {what}: {reason}.")


def _read(connection: sqlite3.Connection) -> SavedState:
    users = connection.execute("SELECT name, salt, password FROM users ORDER BY rowid")
    games = connection.execute("SELECT name, password, data FROM games ORDER BY rowid")
    codes = connection.execute("SELECT code, username FROM invite_codes ORDER BY rowid")
    switch = connection.execute("SELECT value FROM switches WHERE name = 'registration'").fetchone()
    return SavedState(
        users={name: UserRecord(name, salt, password) for name, salt, password in users},
        games={name: SavedGame(name, password, data) for name, password, data in games},
        registration=None if switch is None else bool(switch[0]),
        invite_codes=dict(codes.fetchall()),
    )


def _write(connection: sqlite3.Connection, changes: Changes) -> None:
    for name, user in changes.users.items():
        if user is None:
            connection.execute("DELETE FROM users WHERE name = ?", (name,))
        else:
            connection.execute(
                "INSERT INTO users VALUES (?, ?, ?) ON CONFLICT (name) "
                "DO UPDATE SET salt = excluded.salt, password = excluded.password",
                (name, user.salt, user.password),
            )
    for name, game in changes.games.items():
        if game is None:
            connection.execute("DELETE FROM games WHERE name = ?", (name,))
        else:
            connection.execute(
                "INSERT INTO games VALUES (?, ?, ?) ON CONFLICT (name) "
                "DO UPDATE SET password = excluded.password, data = excluded.data",
                (name, game.password, game.data),
            )
    for code, username in changes.invite_codes.items():
        if username is None:
            connection.execute("DELETE FROM invite_codes WHERE code = ?", (code,))
        else:
            connection.execute("INSERT OR REPLACE INTO invite_codes VALUES (?, ?)", (code, username))
    if changes.registration is not None:
        connection.execute(
            "INSERT OR REPLACE INTO switches VALUES ('registration', ?)",
            (int(changes.registration),),
        )
