"""Reading a save file that is an SQLite database, without writing to it."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import attrs

from pgnet_trio.storage.files import cannot
from pgnet_trio.storage.interface import SavedGame, SavedState, TokenRecord, UserRecord
from pgnet_trio.storage.migrations import SCHEMA_VERSION
from pgnet_trio.storage.sqlite_schema import (
    APPLICATION_ID,
    Stamp,
    checksum,
    read_stamp,
)

__all__ = [
    "DamagedGame",
    "Reading",
    "check_header",
    "check_pages",
    "connect_to_read",
    "has_log",
    "log_belongs",
    "log_of",
    "read_all",
    "stamp_without_log",
    "translated_errors",
]

# Where the header of a database says what it is: https://www.sqlite.org/fileformat2.html#1.3
_MAGIC = b"SQLite format 3\0"
_HEADER_SIZE = 100
_PAGE_SIZE_PLACE = slice(16, 18)
_APPLICATION_ID_PLACE = slice(68, 72)

# The most that are open at once: two databases with their logs, and what guards them.
_FILES_OF_SQLITE = 8

# As bytes, for the checksum, and since damaged text may be no text any more. Version 1 has no
# checksums.
_READ_GAMES = {
    True: """
        SELECT rowid, CAST(name AS BLOB), CAST(password AS BLOB), CAST(data AS BLOB), empty_since,
            checksum
        FROM games ORDER BY rowid
    """,
    False: """
        SELECT rowid, CAST(name AS BLOB), CAST(password AS BLOB), CAST(data AS BLOB), NULL, NULL
        FROM games ORDER BY rowid
    """,
}


@attrs.frozen
class DamagedGame:
    """A game whose checksum does not fit; its name may be what is damaged."""

    rowid: int
    name: str


@attrs.define
class Reading:
    """What was read of a save file.

    Attributes:
        version: The version of its schema.
        damaged_games: Games that are not among those of `state`, since they are damaged.
        games_aside: How many games were found damaged earlier, and are kept.
    """

    version: int
    state: SavedState = attrs.field(factory=SavedState)
    damaged_games: list[DamagedGame] = attrs.field(factory=list)
    games_aside: int = 0


def log_of(path: Path) -> Path:
    """Where SQLite keeps the log of a database."""
    return path.with_name(f"{path.name}-wal")


def has_log(path: Path) -> bool:
    """Whether there is something in the log that is not in the database by itself."""
    try:
        return log_of(path).stat().st_size > 0
    except FileNotFoundError:
        return False


def check_header(path: Path) -> None:
    """Check that a file is a database of ours, and whole if it is so without its log.

    It opens the file and closes it again, which is not to be done while SQLite has it open in
    this process: that would drop SQLite's locks.

    Raises:
        StorageError: It is none, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_SIZE)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise cannot("read", path, error) from error
    if len(header) < _HEADER_SIZE or not header.startswith(_MAGIC):
        hint = (
            " (if it is in the original's format, call it .json)"
            if header[:1] == b"{"
            else "; name another file, or restore a backup"
        )
        raise cannot("read", path, f"expected an SQLite database, and it is none{hint}")
    if int.from_bytes(header[_APPLICATION_ID_PLACE], "big") != APPLICATION_ID:
        raise cannot("read", path, "it is an SQLite database of another program")
    # SQLite takes what is missing of the last page for zeros.
    page_size = int.from_bytes(header[_PAGE_SIZE_PLACE], "big")
    if not has_log(path) and size % (page_size if page_size > 1 else 65536):
        raise cannot("read", path, "it is damaged: the end is missing")


def connect_to_read(path: Path, *, alone: bool) -> contextlib.closing[sqlite3.Connection]:
    """Open a database to read it.

    Args:
        path: The database.
        alone: Whether to read it without its log, and without making files beside it. Nobody may
            write to it meanwhile.
    """
    options = "mode=ro&immutable=1" if alone else "mode=ro"
    return contextlib.closing(
        sqlite3.connect(f"{path.as_uri()}?{options}", uri=True, isolation_level=None)
    )


def log_belongs(path: Path) -> bool:
    """Find out whether the log beside a database is its own; nobody may use either meanwhile.

    Raises:
        StorageError: Nobody can say: they cannot be read together.
    """
    try:
        alone = stamp_without_log(path)
    except sqlite3.Error:
        # A crash while the log was copied into the file leaves it like this. What is restored
        # from a backup can be read.
        return True
    try:
        with connect_to_read(path, alone=False) as connection:
            together = read_stamp(connection)
    except sqlite3.Error as error:
        raise cannot(
            "read",
            path,
            f"SQLite says: {error}; if it was restored from a backup, move {log_of(path).name} "
            "away, which is then the log of the file that was there before",
        ) from error
    if together is None:
        return alone is None
    if alone is None:
        # A crash while the file was brought to version 2 leaves it like this.
        return together.log_base == 0
    return together.may_include(alone)


def stamp_without_log(path: Path) -> Stamp | None:
    """Read which file this is by itself, whatever is in its log.

    Raises:
        sqlite3.Error: It cannot be read.
    """
    with connect_to_read(path, alone=True) as connection:
        return read_stamp(connection)


def check_pages(path: Path, connection: sqlite3.Connection) -> None:
    """Have SQLite look whether everything is in its place; reads all of the file.

    Raises:
        StorageError: It is not.
    """
    with translated_errors("read", path):
        (finding,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if finding != "ok":
        raise cannot("read", path, f"it is damaged: {finding}")


def read_all(path: Path, connection: sqlite3.Connection) -> Reading:
    """Read everything.

    Raises:
        StorageError: It is damaged elsewhere than in games, or of another version.
    """
    with translated_errors("read", path):
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        if application != APPLICATION_ID:
            raise cannot("read", path, "it is an SQLite database of another program")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if not 1 <= version <= SCHEMA_VERSION:
            raise cannot(
                "read",
                path,
                f"expected a save file of version {SCHEMA_VERSION} or older, and it is of version "
                f"{version}; use a version of pgnet_trio that knows it",
            )
        reading = Reading(version)
        connection.text_factory = _text
        try:
            _read_rows(path, connection, reading)
        finally:
            connection.text_factory = str
        return reading


def _read_rows(path: Path, connection: sqlite3.Connection, reading: Reading) -> None:
    saved = reading.state
    for user in _rows(path, connection, "users", "SELECT name, salt, password FROM users"):
        saved.users[user[0]] = UserRecord(*user)
    _read_games(path, connection, reading)
    for code, username in _rows(
        path, connection, "invite_codes", "SELECT code, username FROM invite_codes"
    ):
        saved.invite_codes[code] = username
    for (value,) in connection.execute("SELECT value FROM settings WHERE name = 'registration'"):
        if value not in (0, 1):
            raise cannot("read", path, f"settings, registration: expected 0 or 1, got {value!r}")
        saved.registration = bool(value)
    if reading.version >= 2:
        _read_tokens(path, connection, saved)


def _read_tokens(path: Path, connection: sqlite3.Connection, saved: SavedState) -> None:
    query = "SELECT digest, username, expires FROM tokens ORDER BY rowid"
    for number, (digest, username, expires) in enumerate(connection.execute(query), start=1):
        if not (
            isinstance(digest, bytes) and isinstance(username, str) and isinstance(expires, int)
        ):
            raise cannot(
                "read",
                path,
                f"tokens, row {number}: expected bytes, text and a whole number, and they are not",
            )
        saved.tokens[digest] = TokenRecord(username, digest, expires)


def _read_games(path: Path, connection: sqlite3.Connection, reading: Reading) -> None:
    has_checksums = reading.version >= 2
    for rowid, *texts, since, found in connection.execute(_READ_GAMES[has_checksums]):
        if has_checksums and (None in texts or checksum(texts, since) != found):
            name = (texts[0] or b"").decode("utf-8", "backslashreplace")
            reading.damaged_games.append(DamagedGame(rowid, name))
        elif None in texts:
            raise cannot("read", path, f"games, row {rowid}: expected text, got nothing")
        else:
            name, password, data = map(_text, texts)
            game = SavedGame(name, password, data, since)
            reading.state.games[game.name] = game
    if has_checksums:
        query = "SELECT COUNT(*) FROM damaged_games"
        (reading.games_aside,) = connection.execute(query).fetchone()


def _rows(
    path: Path, connection: sqlite3.Connection, table: str, query: str
) -> Iterator[tuple[str, ...]]:
    cursor = connection.execute(f"{query} ORDER BY rowid")
    columns = [column[0] for column in cursor.description]
    for number, row in enumerate(cursor, start=1):
        for column, value in zip(columns, row, strict=True):
            if not isinstance(value, str):
                raise cannot(
                    "read",
                    path,
                    f"{table}, row {number}, {column}: expected text, got a {type(value).__name__}",
                )
        yield row


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


@contextlib.contextmanager
def translated_errors(verb: str, path: Path) -> Iterator[None]:
    """Raise what SQLite and the system raise as a `StorageError`."""
    try:
        yield
    except sqlite3.Error as error:
        raise cannot(verb, path, _reason(path, error)) from error
    except UnicodeDecodeError as error:
        raise cannot(verb, path, f"expected text in UTF-8: {error.reason}") from None
    except OSError as error:
        raise cannot(verb, path, error) from error


def _reason(path: Path, error: sqlite3.Error) -> OSError | str:
    name = getattr(error, "sqlite_errorname", "")
    if name == "SQLITE_FULL":
        return "the disk is full; make room on it"
    if name.startswith("SQLITE_CANTOPEN"):
        # SQLite does not say why, so see whether as many files can be opened as it needs.
        with contextlib.ExitStack() as opened:
            try:
                for _ in range(_FILES_OF_SQLITE):
                    opened.callback(os.close, os.open(path.parent, os.O_RDONLY))
            except OSError as cause:
                if cause.errno in (errno.EMFILE, errno.ENFILE):
                    return cause
    return f"SQLite says: {error}"
