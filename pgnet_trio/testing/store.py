"""A save file in memory that outlives the servers that use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pgnet_trio.errors import StorageError
from pgnet_trio.storage.interface import Changes, SavedState, Store
from pgnet_trio.testing.engine import SimulatedDatabase, SimulatedEngine

__all__ = ["MemoryStore"]

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


class MemoryStore(Store):
    """What a server saves, kept in memory: ``Server(MyGame, save_file=store)``.

    Attributes:
        state: All that was saved, but for what `database` has.
    """

    keeps_tokens = True

    def __init__(self) -> None:
        self.state = SavedState()
        self._is_full = False
        self._users = 0
        self._database: SimulatedDatabase | None = None
        self._community: SimulatedEngine | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} with {len(self.state.games)} games>"

    @property
    def full(self) -> bool:
        """Whether writing fails, as on a full disk; a test may assign it at any time."""
        return self._is_full

    @full.setter
    def full(self, full: bool) -> None:
        self._is_full = full
        if self._database is not None:
            self._database.full = full

    @property
    def database(self) -> SimulatedDatabase:
        """What is kept of results, leaderboards and ratings. Only while Trio runs."""
        if self._database is None:
            self._database = SimulatedDatabase()
            self._database.full = self._is_full
        return self._database

    @property
    def community(self) -> SimulatedEngine:
        """The way of the server to `database`, with its delays and its lost answers."""
        if self._community is None:
            self._community = SimulatedEngine(self.database)
        return self._community

    @property
    def games(self) -> dict[str, str]:
        """The save strings of the games by name."""
        return {name: game.data for name, game in self.state.games.items()}

    def load(self) -> SavedState:
        """Return a copy of all that was saved.

        Raises:
            StorageError: Another server uses this store.
        """
        if self._users:
            raise StorageError("This store is in use by another server.")
        self._users += 1
        return self._copy_state()

    def write(self, changes: Changes) -> None:
        """Save these changes.

        Raises:
            StorageError: `full` is set.
        """
        if self.full:
            raise StorageError("The store in memory is full, as the test wants it.")
        _update(self.state.users, changes.users)
        _update(self.state.games, changes.games)
        _update(self.state.invite_codes, changes.invite_codes)
        _update(self.state.tokens, changes.tokens)
        if changes.registration is not None:
            self.state.registration = changes.registration

    def close(self) -> None:
        """Let another server use it; idempotent."""
        self._users = 0

    def copy(self) -> MemoryStore:
        """Return another store with the same content: what a crash at this moment would leave."""
        copy = MemoryStore()
        copy.state = self._copy_state()
        if self._database is not None:
            copy._database = self._database.copy()
        return copy

    def _copy_state(self) -> SavedState:
        saved = self.state
        return SavedState(
            dict(saved.users),
            dict(saved.games),
            saved.registration,
            dict(saved.invite_codes),
            dict(saved.tokens),
        )


def _update(values: dict[KeyT, ValueT], changes: Mapping[KeyT, ValueT | None]) -> None:
    for key, value in changes.items():
        if value is None:
            values.pop(key, None)
        else:
            values[key] = value
