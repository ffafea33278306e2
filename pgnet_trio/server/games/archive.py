"""Writes to the save file: off the event loop, and one at a time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from pgnet_trio.errors import StorageError
from pgnet_trio.storage.interface import Changes, SavedGame, SavedState, Store

if TYPE_CHECKING:
    from pgnet_trio.environment import Environment

__all__ = ["Archive"]

logger = logging.getLogger("pgnet_trio.server")


class Archive:
    """Owns the store for one run of a server, and knows which games the store holds.

    Args:
        store: Where to save; None for nowhere.
        environment: Runs the blocking calls.
    """

    def __init__(self, store: Store | None, environment: Environment) -> None:
        self._store = store
        self._environment = environment
        self._turn = trio.Lock()
        # An abandoned write goes on in its thread while the next one starts in another.
        self._store_lock = threading.Lock()
        self._games: dict[str, SavedGame] = {}
        self._registration: bool | None = None

    @property
    def has_store(self) -> bool:
        """Whether there is anywhere to save."""
        return self._store is not None

    @property
    def game_count(self) -> int:
        """How many games are saved."""
        return len(self._games)

    async def load(self) -> SavedState:
        """Read everything that was saved.

        Raises:
            StorageError: The file cannot be used; it is left as it was.
        """
        if self._store is None:
            await trio.lowlevel.checkpoint()
            return SavedState()
        saved: SavedState = await self._environment.run_blocking(
            self._store.load, abandon_on_cancel=False
        )
        self._games = dict(saved.games)
        self._registration = saved.registration
        return saved

    def saved_game(self, name: str) -> SavedGame | None:
        """Return the game of this name as it was last saved; None where it was not."""
        return self._games.get(name)

    async def write(self, changes: Changes, *, abandon_on_cancel: bool = False) -> None:
        """Put changes on disk; they are durable when this returns.

        Args:
            changes: What to write.
            abandon_on_cancel: Whether a cancelled write is left to end by itself, which only the
                last write of a run may. Any other ends before this returns, cancelled or not:
                a late one could undo what was written after it, and is relied on already.

        Raises:
            StorageError: They could not be written.
        """
        if self._store is None:
            await trio.lowlevel.checkpoint()
            return
        async with self._turn:
            await self._write(changes, abandon_on_cancel=abandon_on_cancel)

    async def save_games(
        self,
        games: dict[str, SavedGame],
        gone: set[str],
        registration: bool,
        *,
        abandon_on_cancel: bool,
    ) -> None:
        """Save the games that have changed since they were last saved, in one transaction.

        Args:
            games: The games as they are now; a saved game that is not among them stays.
            gone: The names of games that are no more.
            registration: The registration switch.
            abandon_on_cancel: As in `write`.

        Raises:
            StorageError: Nothing could be written; the next call tries again.
        """
        # Look for changes only when the write before is done: a game that it is about to write
        # may be among those to take out.
        async with self._turn:
            changed: dict[str, SavedGame | None] = {
                name: game for name, game in games.items() if self._games.get(name) != game
            }
            changed.update(dict.fromkeys(gone & self._games.keys() - games.keys()))
            if changed or registration != self._registration:
                await self._write(
                    Changes(games=changed, registration=registration),
                    abandon_on_cancel=abandon_on_cancel,
                )
                for name, game in changed.items():
                    if game is None:
                        del self._games[name]
                    else:
                        self._games[name] = game
                self._registration = registration

    def write_from_thread(
        self, games: dict[str, SavedGame], gone: set[str], timeout: float
    ) -> None:
        """Write games that have changed, from another thread while the event loop is blocked.

        Args:
            games: The games, as in `save_games`.
            gone: The names of games that are no more.
            timeout: Seconds for a write that is under way to end.

        Raises:
            StorageError: They could not be written.
        """
        changed: dict[str, SavedGame | None] = {
            name: game for name, game in games.items() if self._games.get(name) != game
        }
        changed.update(dict.fromkeys(gone & self._games.keys() - games.keys()))
        if self._store is None or not changed:
            return
        if not self._store_lock.acquire(timeout=timeout):
            raise StorageError(f"another write has not ended for {timeout:g} s")
        try:
            self._store.write(Changes(games=changed))
        except StorageError:
            raise
        except Exception as error:
            raise StorageError(f"{type(error).__name__}: {error}") from error
        finally:
            self._store_lock.release()

    async def sync(self) -> None:
        """Have the file of its name hold all that was saved, so that it may be copied.

        What was saved stays so where this fails, which is logged.
        """
        if self._store is None:
            await trio.lowlevel.checkpoint()
            return
        async with self._turn:
            try:
                await self._environment.run_blocking(
                    self._exclusively, self._store.sync, abandon_on_cancel=False
                )
            except StorageError as error:
                logger.error("The save file is not ready to be copied: %s", error)

    async def close(self) -> None:
        """Release the save file, also where this is cancelled."""
        if self._store is not None:
            async with self._turn:
                try:
                    await self._environment.run_blocking(
                        self._exclusively, self._store.close, abandon_on_cancel=True
                    )
                except StorageError:
                    logger.exception("The save file could not be closed")

    async def _write(self, changes: Changes, *, abandon_on_cancel: bool) -> None:
        if self._store is not None:
            await self._environment.run_blocking(
                self._exclusively,
                self._store.write,
                changes,
                abandon_on_cancel=abandon_on_cancel,
            )

    def _exclusively(self, function: Callable[..., None], *args: Any) -> None:
        try:
            with self._store_lock:
                function(*args)
        except StorageError:
            raise
        except Exception as error:
            # An author's own store may raise anything, and that must not cost the games.
            raise StorageError(f"{type(error).__name__}: {error}") from error
