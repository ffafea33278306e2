"""An engine for many machines: PostgreSQL 15 or later.

psycopg's blocking connections are used in threads, those of the pool by whoever comes. The leases
have a connection of their own: a node must not lose its rooms because its pool is busy or broken.

It is a little long: each way in which a connection can break, and what is known of a call then, is
told beside the others.
"""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import cache
from typing import TYPE_CHECKING, LiteralString, TypeVar

import psycopg
import psycopg_pool
import trio
from psycopg import errors, sql
from psycopg.conninfo import make_conninfo

from pgnet_trio.foreign_text import one_line
from pgnet_trio.server.cluster.base import LEASE, PATIENCE
from pgnet_trio.server.cluster.engine import Engine
from pgnet_trio.server.cluster.errors import EngineError, EngineUnavailable, OutcomeUnknown
from pgnet_trio.server.cluster.sql import (
    READ_VERSION,
    SCHEMA,
    WRITE_VERSION,
    RepeatTransaction,
    Row,
    Transaction,
    check_version,
)
from pgnet_trio.server.cluster.sql_tables import SQLTables
from pgnet_trio.server.cluster.threads import Abandoned, ThreadCall
from pgnet_trio.server.cluster.wakeups import LOOK_INTERVAL
from pgnet_trio.storage.migrations import MIGRATIONS, SCHEMA_VERSION

if TYPE_CHECKING:
    from pgnet_trio.environment import Environment
    from pgnet_trio.server.cluster.tables import Renewal, Tables

__all__ = ["OLDEST_VERSION", "PostgresEngine"]

logger = logging.getLogger("pgnet_trio.server")

OLDEST_VERSION = 15
"""The oldest version of PostgreSQL that this is tested with."""

_CONNECTIONS = 4
_MOST_REPEATS = 20
_IDLE_LIMIT = 2.0
"""Seconds after which PostgreSQL ends a transaction whose node does nothing: one that is stopped
half-way must not keep the others from its rows for longer than a lease."""

# Made first: it says of which version the others are.
_SETTINGS = (
    "CREATE TABLE IF NOT EXISTS settings (name TEXT NOT NULL PRIMARY KEY, value BIGINT NOT NULL)"
)

# What a save file has too, see `pgnet_trio.storage.sqlite_schema`; and what PostgreSQL has instead
# of settings that count.
_TABLES = """
    CREATE TABLE IF NOT EXISTS users (
        name BYTEA NOT NULL PRIMARY KEY, salt BYTEA NOT NULL, password BYTEA NOT NULL
    );
    CREATE INDEX IF NOT EXISTS users_in_lower_case ON users (LOWER_OF(name));
    CREATE TABLE IF NOT EXISTS games (
        name BYTEA NOT NULL PRIMARY KEY, password BYTEA NOT NULL, data BYTEA NOT NULL,
        checksum BYTEA NOT NULL, empty_since BIGINT
    );
    CREATE TABLE IF NOT EXISTS invite_codes (
        code BYTEA NOT NULL PRIMARY KEY, username BYTEA NOT NULL
    );
    CREATE TABLE IF NOT EXISTS tokens (
        digest BYTEA NOT NULL PRIMARY KEY, username BYTEA NOT NULL, expires BIGINT NOT NULL
    );
    CREATE INDEX IF NOT EXISTS tokens_of_a_user ON tokens (username);
    CREATE SEQUENCE IF NOT EXISTS numbers;
"""

_FIRST_SCHEMA_VERSION = 2
"""Of which version a database is that does not say so: its tables are those of such a save file."""

_READ_SCHEMA_VERSION = "SELECT value FROM settings WHERE name = 'schema_version'"
_WRITE_SCHEMA_VERSION = (
    "INSERT INTO settings (name, value) VALUES ('schema_version', %s)"
    " ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)

_LOWER = re.compile(r"LOWER_OF\(([^)]*)\)")

# Two servers that start at once must not make the tables at once; and two that give names.
_LOCK_TABLES, _LOCK_NAMES = 0x50474E54, 0x50474E55
# With the number of a node, which makes another one of it: who writes to it, and its end.
_LOCK_MAIL = 0x50474E56

T = TypeVar("T")
Connection = psycopg.Connection[Row]


class PostgresEngine(Engine):
    """Shares a PostgreSQL database among the nodes of a cluster.

    Its clock is that of the machine where PostgreSQL runs.

    Args:
        conninfo: Where the database is, as ``postgresql://…`` or ``host=… dbname=…``. Several
            hosts are fine: the one that takes writes is used.
        schema: Where its tables are; made where it is missing. Each cluster needs its own.
        lease: As for `Engine`.
        patience: As for `Engine`.
        environment: As for `Engine`.
    """

    def __init__(
        self,
        conninfo: str,
        *,
        schema: str = "pgnet_trio",
        lease: float = LEASE,
        patience: float = PATIENCE,
        environment: Environment | None = None,
    ) -> None:
        super().__init__(lease=lease, patience=patience, environment=environment)
        self._schema = schema
        seconds = max(2, round(patience))
        try:
            self._conninfo = make_conninfo(
                conninfo,
                connect_timeout=seconds,
                keepalives_idle=seconds,
                keepalives_interval=1,
                keepalives_count=3,
                target_session_attrs="read-write",
            )
        except psycopg.Error:
            # Its text has a part of what was given, which may be a part of the password.
            raise EngineError(
                "expected postgresql://user:password@host:port/database, or host=… dbname=…, and "
                "it is neither; write special characters of the password as %40 and so on"
            ) from None
        self._threads = trio.CapacityLimiter(_CONNECTIONS)
        self._pool: psycopg_pool.ConnectionPool[Connection] | None = None
        self._lease_thread = trio.CapacityLimiter(1)
        self._lease_connection: Connection | None = None
        self._lease_guard = threading.Lock()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Connect, make the tables where they are missing, and stay until cancelled.

        Raises:
            EngineError: The database cannot be reached or used; the message says why.
        """
        try:
            listener = await trio.to_thread.run_sync(self._open)
            task_status.started()
            await self._listen(listener)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._close)

    def _open(self) -> Connection:
        try:
            connection = self._connect_to_listen()
            try:
                self._make_tables(connection)
                self._pool = self._make_pool()
            except BaseException:
                connection.close()
                raise
        except psycopg.Error as error:
            hint = ""
            if isinstance(error, errors.InsufficientPrivilege):
                hint = "; its user needs the right to make schemas there: GRANT CREATE ON DATABASE"
            raise EngineError(
                f"The database cannot be used: {one_line(_words(error))}{hint}"
            ) from error
        return connection

    def _make_tables(self, connection: Connection) -> None:
        version = connection.info.server_version // 10_000
        if version < OLDEST_VERSION:
            raise EngineError(
                f"expected PostgreSQL {OLDEST_VERSION} or later, got version {version}"
            )
        schema = sql.Identifier(self._schema)
        with self._making_tables(connection):
            connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
            connection.execute(_SETTINGS)
            check_version(connection.execute(READ_VERSION).fetchall())
            connection.execute(_for_postgres(_TABLES + SCHEMA))
            connection.execute(WRITE_VERSION)
        if self._migrate(connection):
            while self._migrate(connection):
                pass
            logger.info("The tables of the database are now of version %d", SCHEMA_VERSION)

    def _migrate(self, connection: Connection) -> bool:
        """Bring the tables to the next version, in one transaction; return whether there was one.

        Raises:
            EngineError: They are of a version that this package does not know.
        """
        with self._making_tables(connection):
            row = connection.execute(_READ_SCHEMA_VERSION).fetchone()
            version = _FIRST_SCHEMA_VERSION if row is None else int(row[0])
            if version > SCHEMA_VERSION:
                raise EngineError(
                    f"expected a database of version {SCHEMA_VERSION} or older, and it is of "
                    f"version {version}; use a version of pgnet_trio that knows it, as its other "
                    "servers do"
                )
            if version == SCHEMA_VERSION:
                return False
            connection.execute(_for_postgres(MIGRATIONS[version + 1]))
            connection.execute(_WRITE_SCHEMA_VERSION, (version + 1,))
        return True

    @contextlib.contextmanager
    def _making_tables(self, connection: Connection) -> Iterator[None]:
        """Do something in one transaction that no other server does at the same time."""
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK_TABLES,))
            yield

    def _make_pool(self) -> psycopg_pool.ConnectionPool[Connection]:
        return psycopg_pool.ConnectionPool(
            self._conninfo,
            connection_class=Connection,
            min_size=1,
            max_size=_CONNECTIONS,
            open=True,
            configure=self._configure,
            # What has not come back by then is asked for anew by whoever needs it: the pool's own
            # tries get rarer and rarer.
            reconnect_timeout=LOOK_INTERVAL,
            kwargs={"autocommit": True},
        )

    def _close(self) -> None:
        if self._pool is not None:
            self._pool.close(timeout=1.0)
            self._pool = None
        with self._lease_guard:
            if self._lease_connection is not None:
                self._lease_connection.close()
                self._lease_connection = None

    def _connect(self) -> Connection:
        connection = psycopg.connect(self._conninfo, autocommit=True)
        self._configure(connection)
        return connection

    def _connect_to_listen(self) -> Connection:
        connection = self._connect()
        connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._schema)))
        return connection

    def _configure(self, connection: Connection) -> None:
        milliseconds = round(self._patience * 1000)
        for name, value in (
            # What is acknowledged stays, whatever the server's default is.
            ("synchronous_commit", "on"),
            ("search_path", self._schema),
            ("statement_timeout", str(milliseconds)),
            ("lock_timeout", str(milliseconds)),
            ("idle_in_transaction_session_timeout", str(round(_IDLE_LIMIT * 1000))),
        ):
            # A synchronous standby that is asked for more than "on" keeps what it is asked for.
            if name == "synchronous_commit" and _setting(connection, name) == "remote_apply":
                continue
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))

    # Transactions

    async def _transact(self, work: Callable[[Tables], T], *, writes: bool) -> T:
        return await self._call(self._threads, self._pooled, work, writes=writes)

    def _transact_here(self, work: Callable[[Tables], T]) -> T:
        return self._make_call(self._pooled, work, writes=True).run_here()

    async def _renew(self, work: Callable[[Tables], Renewal]) -> Renewal:
        return await self._call(self._lease_thread, self._for_leases, work, writes=True)

    async def _call(
        self,
        limiter: trio.CapacityLimiter,
        connect: Callable[[], AbstractContextManager[Connection]],
        work: Callable[[Tables], T],
        *,
        writes: bool,
    ) -> T:
        return await self._make_call(connect, work, writes=writes).run(limiter, self._patience)

    def _make_call(
        self,
        connect: Callable[[], AbstractContextManager[Connection]],
        work: Callable[[Tables], T],
        *,
        writes: bool,
    ) -> ThreadCall[Connection, T]:
        carry_out = self._write if writes else self._read_only
        return ThreadCall[Connection, T](
            lambda call: self._in_thread(
                call, connect, lambda connection: carry_out(call, connection, work)
            ),
            _cut,
        )

    @contextlib.contextmanager
    def _pooled(self) -> Iterator[Connection]:
        if self._pool is None:
            raise EngineUnavailable("The engine is not connected: run() has not been started.")
        # The whole of a transaction is in one thread, which gives the connection back also where
        # nobody waits for it any more.
        with self._pool.connection(timeout=self._patience) as connection:
            yield connection

    @contextlib.contextmanager
    def _for_leases(self) -> Iterator[Connection]:
        with self._lease_guard:
            connection = self._lease_connection
            if connection is None or connection.closed:
                connection = self._lease_connection = self._connect()
            yield connection

    def _in_thread(
        self,
        call: ThreadCall[Connection, T],
        connect: Callable[[], AbstractContextManager[Connection]],
        carry_out: Callable[[Connection], T],
    ) -> T:
        for _ in range(_MOST_REPEATS):
            try:
                with connect() as connection:
                    try:
                        call.use(connection)
                        return carry_out(connection)
                    finally:
                        call.use(None)
            except RepeatTransaction:
                if call.is_abandoned:
                    raise Abandoned from None
            except psycopg_pool.PoolClosed:
                raise EngineUnavailable("The engine was closed.") from None
            except psycopg_pool.PoolTimeout:
                raise EngineUnavailable("The database cannot be reached.") from None
            except psycopg.Error as error:
                raise EngineUnavailable(f"The database fails: {one_line(_words(error))}") from error
        raise EngineUnavailable("Too many transactions want the same rows; try again.")

    def _read_only(
        self, call: ThreadCall[Connection, T], connection: Connection, work: Callable[[Tables], T]
    ) -> T:
        with self._failures(call, connection):
            # All statements see the same.
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            result = work(SQLTables(_PostgresTransaction(connection), self.lease))
        self._roll_back(connection)
        return result

    def _write(
        self, call: ThreadCall[Connection, T], connection: Connection, work: Callable[[Tables], T]
    ) -> T:
        transaction = _PostgresTransaction(connection)
        with self._failures(call, connection):
            connection.execute("BEGIN")
            result = work(SQLTables(transaction, self.lease))
            for node in transaction.woken:
                connection.execute("SELECT pg_notify(%s, %s)", (self._schema, str(node)))
            call.begin_commit()
        self._commit(connection)
        return result

    @contextlib.contextmanager
    def _failures(self, call: ThreadCall[Connection, T], connection: Connection) -> Iterator[None]:
        """Roll back where the block raises, and say where it is worth while to begin anew."""
        try:
            yield
        except (errors.UniqueViolation, errors.SerializationFailure, errors.DeadlockDetected):
            self._roll_back(connection)
            raise RepeatTransaction from None
        except errors.ReadOnlySqlTransaction:
            # What takes no writes any more may have a successor that does; only that one is
            # connected to.
            connection.close()
            raise RepeatTransaction from None
        except psycopg.OperationalError:
            if connection.closed and not call.is_abandoned and self._forget_dead_connections():
                raise RepeatTransaction from None
            self._roll_back(connection)
            raise
        except BaseException:
            self._roll_back(connection)
            raise

    def _commit(self, connection: Connection) -> None:
        try:
            status = connection.execute("COMMIT").statusmessage
        except psycopg.Error as error:
            if connection.closed or error.sqlstate is None:
                connection.close()
                raise OutcomeUnknown(
                    f"The answer to a commit was lost: {one_line(_words(error))}"
                ) from error
            raise
        if status != "COMMIT":
            # A transaction that has failed ends with ROLLBACK, and no error.
            raise EngineUnavailable("The database has rolled back instead of committing.")

    def _roll_back(self, connection: Connection) -> None:
        try:
            if not connection.closed:
                connection.execute("ROLLBACK")
        except psycopg.Error:
            connection.close()

    def _forget_dead_connections(self) -> bool:
        """Have the pool find out which connections a restart of the server has left dead."""
        if self._pool is None:
            return False
        with contextlib.suppress(psycopg.Error):
            self._pool.check()
        return True

    # Notes

    async def _listen(self, connection: Connection | None) -> None:
        """Wake the nodes that PostgreSQL tells of; a look each second makes up for what is lost."""
        was_told = False
        while True:
            try:
                if connection is None:
                    connection = await trio.to_thread.run_sync(self._connect_to_listen)
                    logger.info("The engine's notes come again")
                    was_told = False
                await self._listen_on(connection)
            except (psycopg.Error, OSError) as error:
                if not was_told:
                    logger.warning("The engine's notes do not come: %s", one_line(_words(error)))
                was_told = True
            finally:
                if connection is not None:
                    connection.close()
                    connection = None
            await trio.sleep(LOOK_INTERVAL)

    async def _listen_on(self, connection: Connection) -> None:
        while True:
            await trio.lowlevel.wait_readable(connection.fileno())
            notes = await trio.to_thread.run_sync(lambda: list(connection.notifies(timeout=0)))
            for note in notes:
                if note.payload.isascii() and note.payload.isdigit():
                    self._wakeups.wake(int(note.payload))


class _PostgresTransaction(Transaction):
    """A transaction of PostgreSQL, in READ COMMITTED: what matters is locked row by row."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    def execute(self, statement: str, *parameters: object) -> list[Row]:
        """Execute a statement, and return what it returns."""
        cursor = self._connection.execute(_for_postgres(statement), parameters)
        return cursor.fetchall() if cursor.description is not None else []

    def _read_time(self) -> float:
        """Return the time of the machine where PostgreSQL runs."""
        (row,) = self.execute("SELECT EXTRACT(EPOCH FROM clock_timestamp())::DOUBLE PRECISION")
        return float(row[0])

    def next_number(self) -> int:
        """Return a number that was never given out before."""
        (row,) = self.execute("SELECT nextval('numbers')")
        return int(row[0])

    def lock_mailbox(self, node: int, *, closing: bool) -> None:
        """Let nobody close a node's mailbox until the transaction ends, or (closing) use it.

        Not the node's row: those who share a row overtake whoever waits to have it alone, as the
        node itself does for its lease.
        """
        lock = "pg_advisory_xact_lock" if closing else "pg_advisory_xact_lock_shared"
        self.execute(f"SELECT {lock}(%s::INT, %s::INT)", _LOCK_MAIL, node % 2**31)

    def lock_names(self) -> None:
        """Let nobody else give a node a name, or a user one, until the transaction ends."""
        self.execute("SELECT pg_advisory_xact_lock(%s)", _LOCK_NAMES)


@cache
def _for_postgres(statement: str) -> LiteralString:
    lower = r"LOWER(encode(\1, 'escape') COLLATE " + '"C")'
    statement = _LOWER.sub(lower, statement.replace("%t", "%s"))
    # Every statement is a constant of this package; values travel beside it.
    return statement


def _words(error: Exception) -> str:
    # The database speaks in lines, with tabs.
    return " ".join(str(error).split())


def _setting(connection: Connection, name: str) -> str:
    row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
    return "" if row is None else str(row[0])


def _cut(connection: Connection) -> None:
    """End what waits for the database on a connection, at once; the connection is lost."""
    with contextlib.suppress(OSError, psycopg.Error):
        link = socket.socket(fileno=connection.fileno())
        try:
            link.shutdown(socket.SHUT_RDWR)
        finally:
            link.detach()
