"""Backups of save files, and what is wrong with one; a server may be using it meanwhile."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import attrs

from pgnet_trio.storage.files import cannot, is_there, replace_file, syncing
from pgnet_trio.storage.interface import Changes, SavedState
from pgnet_trio.storage.json_file import as_json, read_json
from pgnet_trio.storage.locks import is_in_use
from pgnet_trio.storage.migrations import SCHEMA_VERSION, TABLES
from pgnet_trio.storage.sqlite import SQLiteStore
from pgnet_trio.storage.sqlite_copy import copy_database, remove_database
from pgnet_trio.storage.sqlite_reading import (
    Reading,
    check_header,
    check_pages,
    connect_to_read,
    has_log,
    log_belongs,
    log_of,
    read_all,
    translated_errors,
)

__all__ = ["Findings", "back_up", "check"]


@attrs.frozen
class Findings:
    """What is in a save file that is sound, but for single games perhaps.

    Attributes:
        damaged_games: The names of games whose save is damaged, as far as they can be read.
        games_aside: How many damaged games a server has found and set aside.
        foreign_log: The log of another file that lies beside this one, and was not read.
        left_out: Whether a copy lacks what its format has no place for.
    """

    users: int
    games: int
    damaged_games: list[str] = attrs.field(factory=list)
    games_aside: int = 0
    foreign_log: Path | None = None
    left_out: bool = False


def check(path: Path) -> Findings:
    """Read all of a save file, and check whatever can be checked. Nothing is changed.

    Raises:
        StorageError: It is damaged elsewhere than in single games, is none, or cannot be read.
    """
    path = _existing(path)
    if _is_json(path):
        return _findings(Reading(0, _read_json(path)[1]))
    with _database(path) as (connection, foreign_log):
        check_pages(path, connection)
        return _findings(read_all(path, connection), foreign_log)


def back_up(source: Path, target: Path, *, overwrite: bool = False) -> Findings:
    """Copy a save file as it is at one moment, durably, and check the copy.

    Where one name ends in ``.json`` and the other does not, the copy is in the other format.

    Args:
        source: The save file.
        target: The copy. It is there as a whole, or not at all.
        overwrite: Whether to replace a file that is there already.

    Returns:
        What is in the copy.

    Raises:
        StorageError: The copy could not be made, or would not be sound; or there is a file of
            that name that is not to be replaced, or that a server is using.
    """
    source = _existing(source)
    target = Path(os.path.realpath(target))
    _check_target(source, target, overwrite=overwrite)
    draft = target.with_name(f".{target.name}.new")
    with translated_errors("make", target), _without_leftovers(draft):
        with syncing(target.parent):
            if _is_json(source):
                content, saved = _read_json(source)
                findings = _findings(Reading(0, saved))
                if _is_json(target):
                    replace_file(draft, content)
                else:
                    _make_database(draft, saved)
            else:
                findings = _copy_database(source, draft, as_json_file=_is_json(target))
            _publish(draft, target, overwrite=overwrite)
    return findings


def _is_json(path: Path) -> bool:
    return path.suffix.lower() == ".json"


def _existing(path: Path) -> Path:
    if not is_there(path):
        raise cannot("read", path, "there is no such file")
    return Path(os.path.realpath(path))


def _check_target(source: Path, target: Path, *, overwrite: bool) -> None:
    if not is_there(target):
        return
    if source.samefile(target):
        raise cannot("make", target, "it is the file to be copied; choose another name")
    if not overwrite:
        raise cannot("make", target, "it is there already; --overwrite replaces it")
    if is_in_use(target):
        raise cannot("replace", target, "a server is using it; stop that one first")


def _read_json(path: Path) -> tuple[bytes, SavedState]:
    with translated_errors("read", path):
        return read_json(path)


def _findings(reading: Reading, foreign_log: Path | None = None) -> Findings:
    return Findings(
        len(reading.state.users),
        len(reading.state.games),
        [game.name for game in reading.damaged_games],
        reading.games_aside,
        foreign_log,
    )


@contextlib.contextmanager
def _database(path: Path) -> Iterator[tuple[sqlite3.Connection, Path | None]]:
    """Open a database to read it, without its log where that belongs to another file."""
    used = is_in_use(path)
    if not used:
        # Not while it is in use, perhaps by a server of this process: see `check_header`.
        check_header(path)
    with translated_errors("read", path):
        foreign = not used and has_log(path) and not log_belongs(path)
        # Where nobody uses it, it is read without making files beside it.
        alone = foreign or (not used and not has_log(path))
        before = path.stat()
        reader = connect_to_read(path, alone=alone)
    # What the block raises may be about another file.
    with reader as connection:
        yield connection, log_of(path) if foreign else None
    with translated_errors("read", path):
        after = path.stat()
    if alone and (after.st_ino, after.st_mtime_ns) != (before.st_ino, before.st_mtime_ns):
        raise cannot("read", path, "a server has started meanwhile; try again")


def _copy_database(source: Path, draft: Path, *, as_json_file: bool) -> Findings:
    with _database(source) as (connection, foreign_log):
        reading = read_all(source, connection)
        if as_json_file:
            replace_file(draft, as_json(reading.state))
            left_out = reading.version == SCHEMA_VERSION and any(
                _has_rows(connection, table) for table in TABLES
            )
            return attrs.evolve(_findings(reading, foreign_log), left_out=left_out)
        copy_database(connection, draft)
    with connect_to_read(draft, alone=True) as connection:
        check_pages(source, connection)
        # A server may have written since.
        reading = read_all(source, connection)
    return _findings(reading, foreign_log)


def _has_rows(connection: sqlite3.Connection, table: str) -> bool:
    return bool(connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchall())  # noqa: S608 - ours


def _make_database(path: Path, saved: SavedState) -> None:
    store = SQLiteStore(path)
    store.load()
    try:
        store.write(Changes(saved.users, saved.games, saved.registration, saved.invite_codes))
    finally:
        store.close()


def _publish(draft: Path, target: Path, *, overwrite: bool) -> None:
    if not overwrite:
        # Nothing is overwritten that was made meanwhile either.
        try:
            os.link(draft, target)
        except FileExistsError:
            raise
        except OSError:
            # A file system without hard links.
            pass
        else:
            return
    draft.replace(target)


@contextlib.contextmanager
def _without_leftovers(draft: Path) -> Iterator[None]:
    remove_database(draft)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            remove_database(draft)
