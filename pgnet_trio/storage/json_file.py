"""The save file of PGNet 0.2: one JSON text, written anew each time."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TypeVar

import attrs

from pgnet_trio.codec import decode_json, encode_json
from pgnet_trio.errors import CodecError, StorageError
from pgnet_trio.storage.files import write_atomically
from pgnet_trio.storage.interface import Changes, SavedGame, SavedState, Store, UserRecord

__all__ = ["JSONStore"]

ValueT = TypeVar("ValueT")


@attrs.define
class _File:
    users: list[UserRecord]
    games: list[SavedGame]
    registration: bool
    invite_codes: dict[str, str]


class JSONStore(Store):
    """A save file in the shape of PGNet 0.2, for moving to and from it.

    Each change writes the whole file: take SQLite for many users or large games.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state: SavedState | None = None
        self._lock_file: IO[bytes] | None = None

    def load(self) -> SavedState:
        self._lock()
        try:
            state = self._read()
        except BaseException:
            self.close()
            raise
        self._state = state
        return _copy(state)

    def write(self, changes: Changes) -> None:
        if self._state is None:
            raise StorageError(f"The save file {self._path} is not open.")
        state = _copy(self._state)
        _apply(state.users, changes.users)
        _apply(state.games, changes.games)
        _apply(state.invite_codes, changes.invite_codes)
        if changes.registration is not None:
            state.registration = changes.registration
        file = _File(
            users=list(state.users.values()),
            games=list(state.games.values()),
            registration=state.registration is not False,
            invite_codes=state.invite_codes,
        )
        try:
            mode = self._path.stat().st_mode & 0o777 if self._path.exists() else 0o600
            write_atomically(self._path, encode_json(file).encode(), mode)
        except (OSError, CodecError) as error:
            raise StorageError(f"The save file {self._path} cannot be written: {error}.") from error
        self._state = state

    def close(self) -> None:
        self._state = None
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    def _lock(self) -> None:
        # The folder is locked by a file of its own, since each write replaces the save file.
        if os.name != "posix":
            return
        import fcntl

        path = self._path.with_name(f".{self._path.name}.lock")
        try:
            file = open(path, "wb")
        except OSError as error:
            raise StorageError(
                f"The save file {self._path} cannot be used, its folder cannot be written to: "
                f"{error}."
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            raise StorageError(
                f"The save file {self._path} is in use by another server; stop that one first."
            ) from error
        self._lock_file = file

    def _read(self) -> SavedState:
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return SavedState()
        except OSError as error:
            raise StorageError(f"The save file {self._path} cannot be read: {error}.") from error
        if not os.access(self._path, os.W_OK):
            raise StorageError(f"The save file {self._path} cannot be written to.")
        try:
            file = decode_json(text, _File)
        except CodecError as error:
            raise StorageError(
                f"The save file {self._path} is damaged, or of another program: {error}. "
                "It was left as it is; restore it, or name another file."
            ) from error
        return SavedState(
            users={user.name: user for user in file.users},
            games={game.name: game for game in file.games},
            registration=file.registration,
            invite_codes=dict(file.invite_codes),
        )


def _copy(state: SavedState) -> SavedState:
    return SavedState(
        users=dict(state.users),
        games=dict(state.games),
        registration=state.registration,
        invite_codes=dict(state.invite_codes),
    )


def _apply(values: dict[str, ValueT], changes: Mapping[str, ValueT | None]) -> None:
    for key, value in changes.items():
        if value is None:
            values.pop(key, None)
        else:
            values[key] = value
