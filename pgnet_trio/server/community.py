"""Where a server keeps what a community needs, by where it saves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from pgnet_trio.errors import StorageError
from pgnet_trio.server.cluster.community import Community
from pgnet_trio.server.cluster.errors import EngineUnavailable, OutcomeUnknown
from pgnet_trio.server.cluster.missing_engine import MissingEngine
from pgnet_trio.server.cluster.sql_community import SQLCommunity
from pgnet_trio.server.games.archive import WRITE_DEADLINE, Unanswered

if TYPE_CHECKING:
    import sqlite3

    from pgnet_trio.server.games.archive import Archive

__all__ = ["SaveFileEngine", "community_of"]

T = TypeVar("T")


class SaveFileEngine(Community[SQLCommunity]):
    """Keeps the tables of a community in the save file of a server alone.

    It has no connection or thread of its own: what it does takes its turn among the writes of the
    save file. So a file that was deleted or replaced is made anew with all of it, and what has
    become of a hanging disk is known in one place. However many ask at once, at most one who reads
    and one who changes something stand in that line, so that no save, log-in or result waits for
    all of them.

    Args:
        archive: The save file; `Archive.has_tables`.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._reads, self._changes = trio.Lock(), trio.Lock()

    async def _transact(self, work: Callable[[SQLCommunity], T], *, writes: bool) -> T:
        # SQLite takes longer to import than all of this package; here it is there already.
        from pgnet_trio.server.cluster.sqlite_engine import SQLiteTransaction

        def carry_out(connection: sqlite3.Connection) -> T:
            return work(SQLCommunity(SQLiteTransaction(connection)))

        async with self._turn(self._changes if writes else self._reads):
            try:
                return await self._archive.transact(carry_out, writes=writes)
            except Unanswered as error:
                raise OutcomeUnknown(str(error)) from error
            except StorageError as error:
                raise EngineUnavailable(str(error)) from error

    @asynccontextmanager
    async def _turn(self, lock: trio.Lock) -> AsyncIterator[None]:
        with trio.move_on_after(WRITE_DEADLINE) as waiting:
            await lock.acquire()
        if waiting.cancelled_caught:
            raise EngineUnavailable("Too many want to use the save file at once; try again later.")
        try:
            yield
        finally:
            lock.release()


def community_of(archive: Archive, memory: Community[Any]) -> Community[Any]:
    """Return where a server alone keeps what a community needs.

    Args:
        archive: Where it saves.
        memory: What it has where it saves nothing.
    """
    if archive.has_tables:
        return SaveFileEngine(archive)
    if not archive.has_store:
        return memory
    if isinstance(archive.community, Community):
        return archive.community
    return MissingEngine(
        "This server's saves have no place for standings, profiles, bans and the like. Save to an "
        "SQLite file instead, as save_file='game.sqlite' (--save-file), which may be a new one."
    )
