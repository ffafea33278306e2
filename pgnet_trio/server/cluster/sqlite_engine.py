"""An engine for several processes on one machine: the save file that a single server has, shared.

Beside the tables of the save file it has those of `SCHEMA`. Each thread has a connection of its
own. A datagram to a port of the loopback interface wakes a node.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import trio

from pgnet_trio.errors import StorageError
from pgnet_trio.server.cluster.base import LEASE, PATIENCE
from pgnet_trio.server.cluster.engine import Engine
from pgnet_trio.server.cluster.errors import EngineError, EngineUnavailable
from pgnet_trio.server.cluster.sql import (
    READ_VERSION,
    SCHEMA,
    WRITE_VERSION,
    Row,
    Transaction,
    as_text,
    check_version,
)
from pgnet_trio.server.cluster.sql_tables import SQLTables
from pgnet_trio.server.cluster.threads import ThreadCall
from pgnet_trio.storage.locks import DatabaseLock, FileInUse
from pgnet_trio.storage.migrations import SCHEMA_VERSION
from pgnet_trio.storage.sqlite import SQLiteStore
from pgnet_trio.storage.sqlite_reading import has_log, translated_errors
from pgnet_trio.storage.sqlite_schema import begin_log, count_commit

if TYPE_CHECKING:
    from pgnet_trio.environment import Environment
    from pgnet_trio.server.cluster.tables import Tables

__all__ = ["SQLiteEngine", "SQLiteTransaction"]

_MOST_THREADS = 4
_RETRY_OPENING = 0.05
_LOOPBACK = "127.0.0.1"
_LONGEST_NOTE = 20

T = TypeVar("T")


class SQLiteEngine(Engine):
    """Shares a save file among the processes of one machine.

    Its clock is the machine's own, which goes on while the machine sleeps and that nobody sets.

    Args:
        path: The save file, made where there is none. No single server may have it open.
        lease: As for `Engine`.
        patience: As for `Engine`.
        environment: As for `Engine`.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        lease: float = LEASE,
        patience: float = PATIENCE,
        environment: Environment | None = None,
    ) -> None:
        super().__init__(lease=lease, patience=patience, environment=environment)
        self._path = Path(os.path.realpath(path))
        self._lock = DatabaseLock(self._path)
        self._threads = trio.CapacityLimiter(_MOST_THREADS)
        self._idle: list[sqlite3.Connection] = []
        self._socket: trio.socket.SocketType | None = None
        self._wake_address = ""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Open the file, and keep it open until cancelled.

        Raises:
            EngineError: The file cannot be used; the message says why.
        """
        try:
            await self._open()
            with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as notes:
                await notes.bind((_LOOPBACK, 0))
                self._socket, self._wake_address = notes, str(notes.getsockname()[1])
                task_status.started()
                await self._take_notes(notes)
        finally:
            self._socket = None
            with trio.CancelScope(shield=True):
                await self._close()

    async def _open(self) -> None:
        deadline = trio.current_time() + self._patience
        while True:
            try:
                await trio.to_thread.run_sync(self._open_now)
                return
            except FileInUse as error:
                # Another process of the cluster may be about to open it too.
                if trio.current_time() > deadline:
                    raise EngineError(str(error)) from error
                await trio.sleep(_RETRY_OPENING)
            except StorageError as error:
                raise EngineError(str(error)) from error

    def _open_now(self) -> None:
        with contextlib.suppress(FileInUse):
            # Alone, so that it can be checked and put in order as by a single server.
            store = SQLiteStore(self._path)
            store.load()
            store.close()
        self.ended = self._find_ended()
        self._lock.acquire(self._refuse_to_make, shared=True)
        self._idle.append(self._connect())

    def _find_ended(self) -> frozenset[int]:
        """Make the tables; where nobody has the file open, return all nodes that are left in it.

        The system lets go of a lock when a process ends, however it ends. So whoever has the file
        alone knows that all of its nodes have ended.
        """
        is_alone = True
        try:
            self._lock.acquire(self._refuse_to_make)
        except FileInUse:
            is_alone = False
            self._lock.acquire(self._refuse_to_make, shared=True)
        try:
            with contextlib.closing(self._connect()) as connection:
                nodes = self._prepare(connection)
        finally:
            self._lock.release()
        return nodes if is_alone else frozenset()

    def _prepare(self, connection: sqlite3.Connection) -> frozenset[int]:
        with (
            translated_errors("use", self._path),
            self._immediate(connection, makes_tables=True),
        ):
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version != SCHEMA_VERSION:
                older = version < SCHEMA_VERSION
                raise StorageError(
                    f"cannot use {self._path}: expected a save file of version {SCHEMA_VERSION}, "
                    f"and it is of version {version}, as servers of "
                    f"{'an older' if older else 'a newer'} pgnet_trio use it; "
                    f"{'stop them all first' if older else 'use their version'}"
                )
            check_version(connection.execute(READ_VERSION).fetchall())
            for statement in SCHEMA.replace("BYTEA", "BLOB").split(";"):
                connection.execute(statement)
            connection.execute(WRITE_VERSION)
            return frozenset(node for (node,) in connection.execute("SELECT id FROM nodes"))

    def _refuse_to_make(self) -> None:
        raise StorageError(f"cannot use {self._path}: it was deleted just now")

    async def _close(self) -> None:
        # All threads have to be done before the lock is let go of, see `DatabaseLock`.
        with trio.move_on_after(self._patience):
            for _ in range(_MOST_THREADS):
                await self._threads.acquire_on_behalf_of(object())
            for connection in self._idle:
                connection.close()
            self._idle.clear()
            self._lock.release()

    def _connect(self) -> sqlite3.Connection:
        with translated_errors("use", self._path):
            connection = sqlite3.connect(
                f"{self._path.as_uri()}?mode=rw",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
                timeout=self._patience / 2,
            )
            connection.text_factory = bytes
            connection.execute("PRAGMA synchronous = FULL")
            return connection

    async def _transact(self, work: Callable[[Tables], T], *, writes: bool) -> T:
        call = ThreadCall[sqlite3.Connection, tuple[T, dict[int, str]]](
            lambda call: self._in_thread(call, work, writes=writes), sqlite3.Connection.interrupt
        )
        result, woken = await call.run(self._threads, self._patience)
        for node, address in woken.items():
            self._send_note(node, address)
        return result

    def _transact_here(self, work: Callable[[Tables], T]) -> T:
        call = ThreadCall[sqlite3.Connection, tuple[T, dict[int, str]]](
            lambda call: self._in_thread(call, work, writes=True), sqlite3.Connection.interrupt
        )
        result, _ = call.run_here()
        return result

    def _in_thread(
        self,
        call: ThreadCall[sqlite3.Connection, tuple[T, dict[int, str]]],
        work: Callable[[Tables], T],
        *,
        writes: bool,
    ) -> tuple[T, dict[int, str]]:
        try:
            if not self._lock.held:
                raise EngineUnavailable(f"{self._path} is not open: run() has not been started.")
            if writes and not self._lock.is_current:
                raise EngineUnavailable(
                    f"{self._path} was deleted or replaced while it was in use, so nothing more "
                    "is written; stop all servers that use it"
                )
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._connect()
        except StorageError as error:
            raise EngineUnavailable(str(error)) from error
        try:
            call.use(connection)
            with translated_errors("write" if writes else "read", self._path):
                return self._carry_out(call, connection, work, writes=writes)
        except StorageError as error:
            raise EngineUnavailable(str(error)) from error
        finally:
            call.use(None)
            self._idle.append(connection)

    def _carry_out(
        self,
        call: ThreadCall[sqlite3.Connection, tuple[T, dict[int, str]]],
        connection: sqlite3.Connection,
        work: Callable[[Tables], T],
        *,
        writes: bool,
    ) -> tuple[T, dict[int, str]]:
        transaction = SQLiteTransaction(connection, self._clock, self._wake_address)
        if not writes:
            connection.execute("BEGIN")
            try:
                return work(SQLTables(transaction, self.lease)), {}
            finally:
                connection.rollback()
        with self._immediate(connection, call.begin_commit):
            result = work(SQLTables(transaction, self.lease))
            return result, transaction.wake_addresses()

    @contextlib.contextmanager
    def _immediate(
        self,
        connection: sqlite3.Connection,
        before_commit: Callable[[], None] = lambda: None,
        *,
        makes_tables: bool = False,
    ) -> Iterator[None]:
        """Keep other writers out for the time of the block, and commit what it changes."""
        connection.execute("BEGIN IMMEDIATE")
        try:
            before = connection.total_changes
            yield
            if connection.total_changes == before and not makes_tables:
                return
            # A single server can tell by these which log belongs to the file.
            if not has_log(self._path):
                begin_log(connection)
            count_commit(connection)
            before_commit()
            connection.execute("COMMIT")
        finally:
            connection.rollback()

    def _clock(self) -> float:
        # The same for all processes of this machine, unlike Trio's.
        return time.monotonic() + self._environment.slept()

    # Notes

    async def _take_notes(self, notes: trio.socket.SocketType) -> None:
        while True:
            try:
                note = await notes.recv(_LONGEST_NOTE)
            except ConnectionError:
                # Windows says here that an earlier note has reached nobody.
                continue
            # Whoever sends something else on this machine wakes nobody.
            if note.isascii() and note.isdigit():
                self._wakeups.wake(int(note))

    def _send_note(self, node: int, address: str) -> None:
        if self._socket is not None and address.isdigit():
            with (
                contextlib.suppress(OSError),
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
            ):
                sender.setblocking(False)
                sender.sendto(str(node).encode(), (_LOOPBACK, int(address)))


class SQLiteTransaction(Transaction):
    """A transaction of SQLite, which lets in one writer at a time."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        clock: Callable[[], float] = time.monotonic,
        wake_address: str = "",
    ) -> None:
        super().__init__(wake_address)
        self._connection = connection
        self._clock = clock

    def execute(self, statement: str, *parameters: object) -> list[Row]:
        """Execute a statement, and return what it returns."""
        return self._connection.execute(_for_sqlite(statement), parameters).fetchall()

    def _read_time(self) -> float:
        """Return the machine's time since it was started."""
        return self._clock()

    def next_number(self) -> int:
        """Return a number that was never given out before."""
        (row,) = self.execute(
            "INSERT INTO settings (name, value) VALUES ('last_number', 1)"
            " ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value"
        )
        return int(row[0])

    def lock_mailbox(self, node: int, *, closing: bool) -> None:
        """Do nothing: nobody else writes meanwhile."""

    def lock_names(self) -> None:
        """Do nothing: nobody else writes meanwhile."""

    def wake_addresses(self) -> dict[int, str]:
        """Return where those nodes are woken that are to be."""
        return {
            node: as_text(address)
            for node in self.woken
            for (address,) in self.execute("SELECT wake FROM nodes WHERE id = %s", node)
        }


@cache
def _for_sqlite(statement: str) -> str:
    statement = re.sub(r" FOR (UPDATE|SHARE)\b", "", statement).replace("LOWER_OF", "LOWER")
    # As text, so that the save file is one for other programs too.
    return statement.replace("%t", "CAST(? AS TEXT)").replace("%s", "?")
