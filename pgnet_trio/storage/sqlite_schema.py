"""What is in a save file that is an SQLite database: its tables, and how rows are written.

Two things are there only so that damage and mistakes are noticed:

- Each game has a checksum over everything that is saved of it. SQLite finds a page that is out of
  order, and does not find a byte that has changed within a text.
- Three rows of ``settings`` say which log belongs to the file. SQLite takes any log of the right
  name (``FILE-wal``) for its own, also that of another database that lay there before. It has no
  means against that: the salts in a log's header are compared with the log alone. So ``file_id``
  is a random number that each copy gets anew, ``commits`` counts the transactions, and
  ``log_base`` is the count at which the log began. Every transaction changes them, so they are
  in every log. A log belongs to a file if the number is the same, and if the file by itself is
  from between ``log_base`` and ``commits`` of the log, as it is while the log is copied into it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING

import attrs

from pgnet_trio.storage.migrations import MIGRATIONS, SCHEMA_VERSION

if TYPE_CHECKING:
    import sqlite3

    from pgnet_trio.storage.interface import Changes

__all__ = [
    "APPLICATION_ID",
    "Stamp",
    "apply",
    "begin_log",
    "checksum",
    "count_commit",
    "make_tables",
    "migrate",
    "read_stamp",
    "renew_id",
    "set_game_aside",
]

APPLICATION_ID = 0x50474E54
"""Marks a database as ours: "PGNT". The ``file`` command and this module look for it."""

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
"""The tables of version 1; `migrate` adds the rest. The version is in ``user_version``."""

_VERSION_2 = (
    "ALTER TABLE games ADD COLUMN checksum BLOB NOT NULL DEFAULT x''",
    "ALTER TABLE games ADD COLUMN empty_since INTEGER",
    # Games whose checksum does not fit, as they were found.
    "CREATE TABLE damaged_games (name, password, data, checksum, empty_since)",
    # What stands for users' passwords.
    "CREATE TABLE tokens (digest BLOB NOT NULL PRIMARY KEY, username TEXT NOT NULL,"
    " expires INTEGER NOT NULL)",
)

# Python's text may hold lone surrogates, which its SQLite module refuses to bind. So text goes
# in as bytes, and SQLite is told that they are text.
_WRITE_USER = """
    INSERT INTO users VALUES (CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT))
    ON CONFLICT (name) DO UPDATE SET salt = excluded.salt, password = excluded.password
"""
_WRITE_GAME = """
    INSERT INTO games (name, password, data, empty_since, checksum)
    VALUES (CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), ?, ?)
    ON CONFLICT (name) DO UPDATE
    SET password = excluded.password, data = excluded.data, empty_since = excluded.empty_since,
        checksum = excluded.checksum
"""
_WRITE_INVITE_CODE = """
    INSERT INTO invite_codes VALUES (CAST(? AS TEXT), CAST(? AS TEXT))
    ON CONFLICT (code) DO UPDATE SET username = excluded.username
"""
_WRITE_TOKEN = """
    INSERT INTO tokens VALUES (?, CAST(? AS TEXT), ?)
    ON CONFLICT (digest) DO UPDATE SET username = excluded.username, expires = excluded.expires
"""
_WRITE_SETTING = """
    INSERT INTO settings VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""
_REMOVE_USER = "DELETE FROM users WHERE name = CAST(? AS TEXT)"
_REMOVE_GAME = "DELETE FROM games WHERE name = CAST(? AS TEXT)"
_REMOVE_INVITE_CODE = "DELETE FROM invite_codes WHERE code = CAST(? AS TEXT)"
_REMOVE_TOKEN = "DELETE FROM tokens WHERE digest = ?"

_COUNT_COMMIT = "UPDATE settings SET value = value + 1 WHERE name = 'commits'"
_BEGIN_LOG = """
    UPDATE settings SET value = (SELECT value FROM settings WHERE name = 'commits')
    WHERE name = 'log_base'
"""


@attrs.frozen
class Stamp:
    """Which file this is, how many transactions are in it, and at which of them its log began."""

    file_id: int
    commits: int
    log_base: int

    def may_include(self, alone: Stamp) -> bool:
        """Whether this, read with a log, is of a file that is *alone* when read without it."""
        return self.file_id == alone.file_id and self.log_base <= alone.commits <= self.commits

    def after_commit(self, *, begins_log: bool) -> Stamp:
        """Return what is read after one more transaction."""
        log_base = self.commits if begins_log else self.log_base
        return Stamp(self.file_id, self.commits + 1, log_base)

    def after_checkpoint(self) -> Stamp:
        """Return what a file has to be, read alone, that has nothing in its log."""
        return attrs.evolve(self, log_base=self.commits)


def checksum(texts: Iterable[bytes], empty_since: object) -> bytes:
    """Return the checksum of a game, over its texts in UTF-8, and when it was used last.

    Args:
        texts: Its name, password and save string.
        empty_since: As in the database.
    """
    digest = hashlib.blake2b(digest_size=16)
    since = b"" if empty_since is None else str(empty_since).encode("utf-8", "replace")
    for text in (*texts, since):
        digest.update(len(text).to_bytes(8, "big"))
        digest.update(text)
    return digest.digest()


def make_tables(connection: sqlite3.Connection) -> None:
    """Make an empty save file of a database with nothing in it."""
    connection.executescript(_SCHEMA)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("BEGIN")
    for version in range(1, SCHEMA_VERSION):
        migrate(connection, version)
    connection.execute("COMMIT")


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Change a file, within a transaction, to one of the next version.

    Args:
        connection: The file.
        version: Of which version it is.
    """
    if version == 1:
        _make_version_2(connection)
    else:
        for statement in MIGRATIONS[version + 1].replace("BYTEA", "BLOB").split(";"):
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {version + 1}")


def _make_version_2(connection: sqlite3.Connection) -> None:
    for statement in _VERSION_2:
        connection.execute(statement)
    query = (
        "SELECT rowid, CAST(name AS BLOB), CAST(password AS BLOB), CAST(data AS BLOB) FROM games"
    )
    for rowid, *texts in connection.execute(query).fetchall():
        connection.execute(
            "UPDATE games SET checksum = ? WHERE rowid = ?", (checksum(texts, None), rowid)
        )
    renew_id(connection)
    connection.execute(_WRITE_SETTING, ("commits", 1))
    connection.execute(_WRITE_SETTING, ("log_base", 0))


def renew_id(connection: sqlite3.Connection) -> None:
    """Make another file of this one, to which no log belongs that is there already."""
    connection.execute(_WRITE_SETTING, ("file_id", secrets.randbits(62)))


def read_stamp(connection: sqlite3.Connection) -> Stamp | None:
    """Read which file this is; None for one that does not say so, as of version 1."""
    # The index may be that of another file, where a log is read that does not belong to this one.
    rows = dict(
        connection.execute(
            "SELECT name, value FROM settings NOT INDEXED "
            "WHERE name IN ('file_id', 'commits', 'log_base')"
        ).fetchall()
    )
    if len(rows) == 3 and all(isinstance(value, int) for value in rows.values()):
        return Stamp(**rows)
    return None


def begin_log(connection: sqlite3.Connection) -> None:
    """Note, within the first transaction of a log, that it begins here."""
    connection.execute(_BEGIN_LOG)


def count_commit(connection: sqlite3.Connection) -> None:
    """Count a transaction, within it."""
    connection.execute(_COUNT_COMMIT)


def set_game_aside(connection: sqlite3.Connection, rowid: int) -> None:
    """Move a damaged game to where no later save of that name overwrites it."""
    connection.execute(
        "INSERT INTO damaged_games SELECT name, password, data, checksum, empty_since"
        " FROM games WHERE rowid = ?",
        (rowid,),
    )
    connection.execute("DELETE FROM games WHERE rowid = ?", (rowid,))


def apply(connection: sqlite3.Connection, changes: Changes) -> None:
    """Carry out changes, within a transaction."""
    for name, user in changes.users.items():
        if user is None:
            connection.execute(_REMOVE_USER, _bytes(name))
        else:
            connection.execute(_WRITE_USER, _bytes(name, user.salt, user.password))
    for name, game in changes.games.items():
        if game is None:
            connection.execute(_REMOVE_GAME, _bytes(name))
        else:
            texts = _bytes(name, game.password, game.data)
            since = game.empty_since
            connection.execute(_WRITE_GAME, (*texts, since, checksum(texts, since)))
    for code, username in changes.invite_codes.items():
        if username is None:
            connection.execute(_REMOVE_INVITE_CODE, _bytes(code))
        else:
            connection.execute(_WRITE_INVITE_CODE, _bytes(code, username))
    for digest, token in changes.tokens.items():
        if token is None:
            connection.execute(_REMOVE_TOKEN, (digest,))
        else:
            connection.execute(_WRITE_TOKEN, (digest, *_bytes(token.username), token.expires))
    if changes.registration is not None:
        connection.execute(_WRITE_SETTING, ("registration", int(changes.registration)))


def _bytes(*texts: str) -> tuple[bytes, ...]:
    return tuple(text.encode("utf-8", "surrogatepass") for text in texts)
