"""A save file that is an SQLite database; each change is one transaction."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pgnet_trio.storage.files import cannot, replace_file
from pgnet_trio.storage.interface import Changes, SavedGame, SavedState, Store, UserRecord
from pgnet_trio.storage.locks import DatabaseLock

__all__ = ["APPLICATION_ID", "SCHEMA_VERSION", "SQLiteStore"]

APPLICATION_ID = 0x50474E54
"""Marks a database as ours: "PGNT". The ``file`` command and this module look for it."""

SCHEMA_VERSION = 1
"""Which tables there are, and what they mean; in the database as ``user_version``."""

_SCHEMA = """
    CREATE TABLE users (
        name TEXT NOT NULL PRIMARY KEY, salt TEXT NOT NULL, password TEXT NOT NULL
    );
    CREATE TABLE games (
        name TEXT NOT NULL PRIMARY KEY, password TEXT NOT NULL, data TEXT NOT NULL
    );
    CREATE TABLE invite_codes (code TEXT NOT NULL PRIMARY KEY, username TEXT NOT NULL);
    CREATE TABLE settings (name TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL);
"""

# Python's text may hold lone surrogates, which its SQLite module refuses to bind. So text goes
# in as bytes, and SQLite is told that they are text.
_WRITE_USER = """
    INSERT INTO users VALUES (CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT))
    ON CONFLICT (name) DO UPDATE SET salt = excluded.salt, password = excluded.password
"""
_WRITE_GAME = """
    INSERT INTO games VALUES (CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT))
    ON CONFLICT (name) DO UPDATE SET password = excluded.password, data = excluded.data
"""
_WRITE_INVITE_CODE = """
    INSERT INTO invite_codes VALUES (CAST(? AS TEXT), CAST(? AS TEXT))
    ON CONFLICT (code) DO UPDATE SET username = excluded.username
"""
_WRITE_REGISTRATION = """
    INSERT INTO settings VALUES ('registration', ?)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""
_REMOVE_USER = "DELETE FROM users WHERE name = CAST(? AS TEXT)"
_REMOVE_GAME = "DELETE FROM games WHERE name = CAST(? AS TEXT)"
_REMOVE_INVITE_CODE = "DELETE FROM invite_codes WHERE code = CAST(? AS TEXT)"

# Where the header of a database says what it is: https://www.sqlite.org/fileformat2.html#1.3
_MAGIC = b"SQLite format 3\0"
_HEADER_SIZE = 100
_PAGE_SIZE_PLACE = slice(16, 18)
_APPLICATION_ID_PLACE = slice(68, 72)


class SQLiteStore(Store):
    """Keeps everything in an SQLite database, in WAL mode with ``synchronous=FULL``.

    While it is open there are files beside it, with ``-wal`` and ``-shm`` added to its name; they
    belong to it, also after a crash. It may be read and backed up by other programs meanwhile
    (``sqlite3 FILE .backup``). A new file can be read by its owner only.

    Args:
        path: The file.
    """

    def __init__(self, path: str | Path) -> None:
        # Through symbolic links, so that two names are one file.
        self._path = Path(os.path.realpath(path))
        self._wal_path = self._path.with_name(f"{self._path.name}-wal")
        self._lock = DatabaseLock(self._path)
        self._connection: sqlite3.Connection | None = None

    def load(self) -> SavedState:
        """Open the database, made anew where there is none, and read everything in it.

        Raises:
            StorageError: It is damaged, of another program or of a newer version of this one,
                not readable or writable, or in use by another server. The file is left as it was.
        """
        if self._lock.held:
            raise RuntimeError(f"the store for {self._path} is open already")
        # Before SQLite opens the file, and released after it has closed it: see `lock_file`.
        self._lock.acquire(self._create)
        try:
            saved = self._examine()
            self._connection = self._connect()
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise cannot("use", self._path, error) from error
            raise
        return saved

    def write(self, changes: Changes) -> None:
        """Carry out these changes in one transaction.

        Raises:
            StorageError: It could not be written; the database holds what it held, and writing
                may be tried again.
        """
        connection = self._connection
        if connection is None:
            raise RuntimeError(f"the store for {self._path} is not open; call load() first")
        with _errors("write", self._path):
            try:
                connection.execute("BEGIN IMMEDIATE")
                _write(connection, changes)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Release the file; idempotent. It is released even where this raises.

        Raises:
            StorageError: SQLite could not put everything in order; the next `load` does it.
        """
        connection, self._connection = self._connection, None
        try:
            if connection is not None:
                with _errors("close", self._path):
                    connection.close()
        finally:
            self._lock.release()

    def _create(self) -> None:
        if self._wal_path.exists():
            # SQLite would take it for changes to the new database.
            raise cannot(
                "make",
                self._path,
                f"{self._wal_path.name} is there without it; put the database back that it belongs "
                "to, or remove it",
            )
        # Made elsewhere, so that the file is there whole or not at all.
        with tempfile.TemporaryDirectory() as folder:
            draft = Path(folder, "draft")
            with (
                _errors("make", self._path),
                contextlib.closing(sqlite3.connect(draft)) as connection,
            ):
                connection.execute("PRAGMA synchronous = OFF")
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(_SCHEMA)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            replace_file(self._path, draft.read_bytes())

    def _examine(self) -> SavedState:
        """Read the database without writing to it, and refuse it where it is not sound."""
        try:
            with self._path.open("rb") as file:
                header = file.read(_HEADER_SIZE)
                size = os.fstat(file.fileno()).st_size
        except OSError as error:
            raise cannot("read", self._path, error) from error
        if len(header) < _HEADER_SIZE or not header.startswith(_MAGIC):
            hint = (
                " (if it is in the original's format, call it .json)" if header[:1] == b"{" else ""
            )
            raise cannot("read", self._path, f"expected an SQLite database, and it is none{hint}")
        if int.from_bytes(header[_APPLICATION_ID_PLACE], "big") != APPLICATION_ID:
            raise cannot("read", self._path, "it is an SQLite database of another program")
        # Without a log that SQLite would have to read too, it need not make any files.
        has_log = self._wal_path.exists() and self._wal_path.stat().st_size > 0
        options = "mode=ro" if has_log else "mode=ro&immutable=1"
        # SQLite takes what is missing of the last page for zeros.
        page_size = int.from_bytes(header[_PAGE_SIZE_PLACE], "big")
        if not has_log and size % (page_size if page_size > 1 else 65536):
            raise cannot("read", self._path, "it is damaged: the end is missing")
        uri = f"{self._path.as_uri()}?{options}"
        with (
            _errors("read", self._path),
            contextlib.closing(sqlite3.connect(uri, uri=True)) as connection,
        ):
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version != SCHEMA_VERSION:
                raise cannot(
                    "read",
                    self._path,
                    f"expected a save file of version {SCHEMA_VERSION}, and it is of version "
                    f"{version}; use a version of pgnet_trio that knows it",
                )
            (finding,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if finding != "ok":
                raise cannot("read", self._path, f"it is damaged: {finding}")
            return self._read(connection)

    def _read(self, connection: sqlite3.Connection) -> SavedState:
        connection.text_factory = _text
        saved = SavedState()
        for user in self._rows(connection, "users", "SELECT name, salt, password FROM users"):
            saved.users[user[0]] = UserRecord(*user)
        for game in self._rows(connection, "games", "SELECT name, password, data FROM games"):
            saved.games[game[0]] = SavedGame(*game)
        for code, username in self._rows(
            connection, "invite_codes", "SELECT code, username FROM invite_codes"
        ):
            saved.invite_codes[code] = username
        for (value,) in connection.execute(
            "SELECT value FROM settings WHERE name = 'registration'"
        ):
            if value not in (0, 1):
                raise cannot(
                    "read", self._path, f"settings, registration: expected 0 or 1, got {value!r}"
                )
            saved.registration = bool(value)
        return saved

    def _rows(
        self, connection: sqlite3.Connection, table: str, query: str
    ) -> Iterator[tuple[str, ...]]:
        cursor = connection.execute(f"{query} ORDER BY rowid")
        columns = [column[0] for column in cursor.description]
        for number, row in enumerate(cursor, start=1):
            for column, value in zip(columns, row, strict=True):
                if not isinstance(value, str):
                    raise cannot(
                        "read",
                        self._path,
                        f"{table}, row {number}, {column}: expected text, got a "
                        f"{type(value).__name__}",
                    )
            yield row

    def _connect(self) -> sqlite3.Connection:
        with _errors("write", self._path), contextlib.ExitStack() as undo:
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
            undo.pop_all()
            return connection


def _write(connection: sqlite3.Connection, changes: Changes) -> None:
    for name, user in changes.users.items():
        if user is None:
            connection.execute(_REMOVE_USER, _bytes(name))
        else:
            connection.execute(_WRITE_USER, _bytes(name, user.salt, user.password))
    for name, game in changes.games.items():
        if game is None:
            connection.execute(_REMOVE_GAME, _bytes(name))
        else:
            connection.execute(_WRITE_GAME, _bytes(name, game.password, game.data))
    for code, username in changes.invite_codes.items():
        if username is None:
            connection.execute(_REMOVE_INVITE_CODE, _bytes(code))
        else:
            connection.execute(_WRITE_INVITE_CODE, _bytes(code, username))
    if changes.registration is not None:
        connection.execute(_WRITE_REGISTRATION, (int(changes.registration),))


def _bytes(*texts: str) -> tuple[bytes, ...]:
    return tuple(text.encode("utf-8", "surrogatepass") for text in texts)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


@contextlib.contextmanager
def _errors(verb: str, path: Path) -> Iterator[None]:
    """Translate what SQLite raises."""
    try:
        yield
    except sqlite3.Error as error:
        raise cannot(verb, path, f"SQLite says: {error}") from error
    except UnicodeDecodeError as error:
        raise cannot(verb, path, f"expected text in UTF-8: {error.reason}") from None
