"""Writes to the save file: off the event loop, one at a time, and none of them waited for for ever.

A thread cannot be stopped. A call of the store that does not end in time is left to its thread, and
the calls after it are refused until it has ended: what it writes may never undo what came later.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from pgnet_trio.errors import StorageError
from pgnet_trio.foreign_text import one_line
from pgnet_trio.storage.interface import (
    Changes,
    SavedGame,
    SavedState,
    Store,
    TableStore,
    TokenRecord,
)

if TYPE_CHECKING:
    from pgnet_trio.environment import Environment

__all__ = ["WRITE_DEADLINE", "Archive", "Unanswered"]

logger = logging.getLogger("pgnet_trio.server")

WRITE_DEADLINE = 8.0
"""Seconds until whoever waits for a write is refused: longer than SQLite waits for another program
that writes, and shorter than a client waits for its log-in."""


T = TypeVar("T")


class Unanswered(StorageError):
    """A call of the store did not end in time, and may yet do what it was to do."""


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
        # Not the threads that a game's own calls may all keep busy; `_turn` lets in one at a time.
        self._threads = trio.CapacityLimiter(math.inf)
        # Held by the thread that calls the store: a process that is ended from a thread, while
        # the event loop is blocked, can tell.
        self._store_lock = threading.Lock()
        self._hung: _Call | None = None
        self._games: dict[str, SavedGame] = {}
        self._registration: bool | None = None

    @property
    def has_store(self) -> bool:
        """Whether there is anywhere to save."""
        return self._store is not None

    @property
    def hangs(self) -> bool:
        """Whether a call of the store did not end in time, and has not ended since."""
        return self._hung is not None and not self._hung.ended.is_set()

    @property
    def keeps_tokens(self) -> bool:
        """Whether tokens that are saved are there again in the next run."""
        return self._store is not None and self._store.keeps_tokens

    @property
    def has_tables(self) -> bool:
        """Whether there is a place for more than a `SavedState`, as for `transact`."""
        return isinstance(self._store, TableStore)

    @property
    def community(self) -> object:
        """What a store has of its own for a community, as one in memory for tests."""
        return getattr(self._store, "community", None)

    @property
    def game_count(self) -> int:
        """How many games are saved."""
        return len(self._games)

    @property
    def game_names(self) -> set[str]:
        """The names of the games that are saved."""
        return set(self._games)

    async def load(self) -> SavedState:
        """Read everything that was saved.

        Raises:
            StorageError: The file cannot be used; it is left as it was.
        """
        if self._store is None:
            await trio.lowlevel.checkpoint()
            return SavedState()
        saved: SavedState = await self._environment.run_blocking(
            self._store.load, abandon_on_cancel=False, limiter=self._threads
        )
        self._games = dict(saved.games)
        self._registration = saved.registration
        return saved

    def saved_game(self, name: str) -> SavedGame | None:
        """Return the game of this name as it was last saved; None where it was not."""
        return self._games.get(name)

    async def write(self, changes: Changes) -> None:
        """Put changes on disk; they are durable when this returns.

        Cancellation waits for a write that has begun, until `WRITE_DEADLINE`.

        Args:
            changes: What to write.

        Raises:
            StorageError: They could not be written, or not within `WRITE_DEADLINE`. In the second
                case they may be written all the same, before everything that is written later.
        """
        if self._store is None:
            await trio.lowlevel.checkpoint()
            return
        deadline = trio.current_time() + WRITE_DEADLINE
        async with self._turn_until(deadline):
            await self._write(changes, deadline)

    async def transact(self, work: Callable[[Any], T], *, writes: bool) -> T:
        """Do something with the tables that a store has beside a `SavedState`.

        Cancellation waits for what has begun, as in `write`; then this returns all the same.

        Args:
            work: As for `TableStore.transact`. What it raises comes out here.
            writes: Whether it may change anything.

        Raises:
            StorageError: It could not be done.
            Unanswered: It was not done within `WRITE_DEADLINE`, and may be done all the same.
        """
        store = self._store
        assert isinstance(store, TableStore)
        done: list[T] = []
        errors: list[Exception] = []

        def carry_out() -> None:
            try:
                done.append(store.transact(work, writes=writes))
            except Exception as error:
                errors.append(error)

        deadline = trio.current_time() + WRITE_DEADLINE
        async with self._turn_until(deadline):
            await self._call(_Call(self._store_lock, carry_out), deadline)
        for error in errors:
            raise error
        return done[0]

    def let_go(self, name: str, *, over: bool) -> None:
        """Do nothing: the save file holds it until it is saved that it is over."""

    async def save_games(
        self,
        games: dict[str, SavedGame],
        gone: set[str],
        registration: bool,
        tokens: Mapping[bytes, TokenRecord | None],
        *,
        patience: float = WRITE_DEADLINE,
    ) -> None:
        """Save the games that have changed since they were last saved, in one transaction.

        Args:
            games: The games as they are now; a saved game that is not among them stays.
            gone: The names of games that are no more.
            registration: The registration switch.
            tokens: Which tokens to save beside them; None for those to take out.
            patience: Seconds that it may take.

        Raises:
            StorageError: Nothing could be written, as in `write`; the next call tries again.
        """
        deadline = trio.current_time() + patience
        # Look for changes only when the write before is done: a game that it is about to write
        # may be among those to take out.
        async with self._turn_until(deadline):
            changed = self._changed(games, gone)
            if changed or tokens or registration != self._registration:
                changes = Changes(games=changed, registration=registration, tokens=tokens)
                await self._write(changes, deadline)

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
        changed = self._changed(games, gone)
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

    def _changed(self, games: dict[str, SavedGame], gone: set[str]) -> dict[str, SavedGame | None]:
        """Return what the store does not hold yet; None for a game that it is to forget."""
        changed: dict[str, SavedGame | None] = {
            name: game for name, game in games.items() if self._games.get(name) != game
        }
        changed.update(dict.fromkeys(gone & self._games.keys() - games.keys()))
        return changed

    async def sync(self) -> None:
        """Have the file of its name hold all that was saved, so that it may be copied.

        What was saved stays so where this fails, which is logged.
        """
        if self._store is None:
            await trio.lowlevel.checkpoint()
            return
        deadline = trio.current_time() + WRITE_DEADLINE
        try:
            async with self._turn_until(deadline):
                await self._call(_Call(self._store_lock, self._store.sync), deadline)
        except StorageError as error:
            logger.error("The save file is not ready to be copied: %s", one_line(error))

    async def close(self) -> None:
        """Release the save file, also where this is cancelled.

        A store that hangs is closed by the thread that it keeps, should that ever go on.
        """
        deadline = trio.current_time() + WRITE_DEADLINE
        with trio.CancelScope(shield=True):
            store = self._store
            if store is None or (self._hung is not None and self._hung.then(store.close)):
                await trio.lowlevel.checkpoint()
                return
            try:
                async with self._turn_until(deadline):
                    await self._call(_Call(self._store_lock, store.close), deadline)
            except StorageError:
                logger.exception("The save file could not be closed")

    @contextlib.asynccontextmanager
    async def _turn_until(self, deadline: float) -> AsyncIterator[None]:
        """Keep other calls of the store out during the block.

        Raises:
            StorageError: The call before did not end until the deadline.
        """
        with trio.CancelScope(deadline=deadline) as waiting:
            await self._turn.acquire()
        if waiting.cancelled_caught:
            raise StorageError("The save file is busy with an earlier write, which takes long.")
        try:
            await self._wait_for_hung(deadline)
            yield
        finally:
            self._turn.release()

    async def _wait_for_hung(self, deadline: float) -> None:
        hung = self._hung
        if hung is None:
            return
        with trio.CancelScope(deadline=deadline):
            await hung.ended.wait()
        if not hung.ended.is_set():
            raise StorageError("The save file does not answer: an earlier write hangs.")
        self._hung = None
        logger.warning("The save file answers again")
        if hung.succeeded:
            self._note(hung.changes)

    async def _write(self, changes: Changes, deadline: float) -> None:
        if self._store is not None:
            await self._call(_Call(self._store_lock, self._store.write, changes), deadline)
            self._note(changes)

    def _note(self, changes: Changes) -> None:
        """Note what the store holds now."""
        for name, game in changes.games.items():
            if game is None:
                self._games.pop(name, None)
            else:
                self._games[name] = game
        if changes.registration is not None:
            self._registration = changes.registration

    async def _call(self, call: _Call, deadline: float) -> None:
        """Run one call of the store in a thread, shielded from cancellation until the deadline.

        Raises:
            StorageError: It failed, or did not end in time.
        """
        start = trio.current_time()
        with trio.CancelScope(deadline=deadline, shield=True) as scope:
            try:
                await self._environment.run_blocking(
                    call.run, abandon_on_cancel=True, limiter=self._threads
                )
            except StorageError:
                raise
            except Exception as error:
                # No thread could be started, perhaps; and an author's own store may raise
                # anything, which must not cost the games.
                raise StorageError(f"{type(error).__name__}: {error}") from error
        if scope.cancelled_caught:
            if call.abandon():
                self._hung = call
            elif call.succeeded:
                # It ended between the deadline and here.
                return
            waited = trio.current_time() - start
            kind = Unanswered if self._hung is call else StorageError
            raise kind(f"The save file did not answer within {waited:.2g} s.")


class _Call:
    """One call of the store, in a thread that may outlast whoever waits for it.

    Args:
        store_lock: Held while the store is called.
        function: The method of the store.
        changes: What it writes, where it writes.

    Attributes:
        changes: What it writes.
        succeeded: Whether it has ended, and raised nothing.
        ended: Set when an abandoned call has ended.
    """

    def __init__(
        self,
        store_lock: threading.Lock,
        function: Callable[..., None],
        changes: Changes | None = None,
    ) -> None:
        self.changes = changes or Changes()
        self.succeeded = False
        self.ended = trio.Event()
        self._store_lock = store_lock
        self._function = function
        self._args: tuple[Any, ...] = () if changes is None else (changes,)
        self._token = trio.lowlevel.current_trio_token()
        # Held while a thread or the event loop looks at the three below, and changes them.
        self._guard = threading.Lock()
        self._is_running = False
        self._is_abandoned = False
        self._then: Callable[[], None] | None = None

    def run(self) -> None:
        """Make the call, in its thread; it is not made where it was abandoned before it began."""
        with self._guard:
            if self._is_abandoned:
                return
            self._is_running = True
        try:
            with self._store_lock:
                self._function(*self._args)
            self.succeeded = True
        except BaseException as error:
            if isinstance(error, Exception | KeyboardInterrupt):
                raise
            # What would end the whole program, where an author's own store raises it.
            raise StorageError(f"{type(error).__name__}: {error}") from error
        finally:
            self._note_end()

    def abandon(self) -> bool:
        """Wait for the call no longer; return whether it is running."""
        with self._guard:
            self._is_abandoned = True
            return self._is_running

    def _note_end(self) -> None:
        with self._guard:
            self._is_running = False
            is_abandoned, then = self._is_abandoned, self._then
        if then is not None:
            then()
        if is_abandoned:
            # The event loop may have ended since.
            with contextlib.suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self.ended.set)

    def then(self, function: Callable[[], None]) -> bool:
        """Have the thread call a function after this; return False where it has ended."""
        with self._guard:
            if self._is_running:
                self._then = function
            return self._is_running
