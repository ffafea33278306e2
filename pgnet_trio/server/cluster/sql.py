"""The tables of an engine in SQL, which SQLite and PostgreSQL carry out in the same words.

Statements are written for PostgreSQL. ``%t`` stands for a text that others wrote: it travels as
UTF-8 bytes, since PostgreSQL's own texts hold neither NUL nor lone surrogates. ``LOWER_OF`` is the
lower case of ASCII. What a statement
locks stays locked until the transaction ends, and time is asked for after that: whoever waits for a
row would otherwise decide by the time before.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from pgnet_trio.server.cluster.errors import EngineError

__all__ = [
    "READ_VERSION",
    "SCHEMA",
    "SCHEMA_VERSION",
    "WRITE_VERSION",
    "RepeatTransaction",
    "Row",
    "SQLOperations",
    "Transaction",
    "as_bytes",
    "as_text",
    "check_version",
]

Row = tuple[Any, ...]

SCHEMA = """
    CREATE TABLE IF NOT EXISTS nodes (
        id BIGINT NOT NULL PRIMARY KEY, name BYTEA NOT NULL, address BYTEA NOT NULL,
        version BYTEA NOT NULL, identity BYTEA NOT NULL, load DOUBLE PRECISION NOT NULL,
        renewed DOUBLE PRECISION NOT NULL, expires DOUBLE PRECISION NOT NULL,
        draining BIGINT NOT NULL, wake BYTEA NOT NULL
    );
    CREATE TABLE IF NOT EXISTS lags (
        node BIGINT NOT NULL PRIMARY KEY, seconds DOUBLE PRECISION NOT NULL
    );
    CREATE TABLE IF NOT EXISTS rooms (
        name BYTEA NOT NULL PRIMARY KEY, node BIGINT NOT NULL, epoch BIGINT NOT NULL,
        password BYTEA NOT NULL, info BYTEA NOT NULL, players BIGINT NOT NULL,
        came_from BIGINT, packed BYTEA
    );
    CREATE INDEX IF NOT EXISTS rooms_of_a_node ON rooms (node);
    CREATE TABLE IF NOT EXISTS sessions (
        username BYTEA NOT NULL PRIMARY KEY, node BIGINT NOT NULL, epoch BIGINT NOT NULL,
        token BYTEA NOT NULL, room BYTEA, packed BYTEA
    );
    CREATE INDEX IF NOT EXISTS sessions_of_a_node ON sessions (node);
    CREATE INDEX IF NOT EXISTS sessions_of_a_room ON sessions (room) WHERE room IS NOT NULL;
    CREATE TABLE IF NOT EXISTS mail (
        id BIGINT NOT NULL PRIMARY KEY, node BIGINT NOT NULL, body BYTEA NOT NULL
    );
    CREATE INDEX IF NOT EXISTS mail_of_a_node ON mail (node, id);
    CREATE TABLE IF NOT EXISTS queues (
        name BYTEA NOT NULL PRIMARY KEY, node BIGINT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS operations (
        id BYTEA NOT NULL PRIMARY KEY, time DOUBLE PRECISION NOT NULL, result BYTEA NOT NULL
    );
    CREATE INDEX IF NOT EXISTS operations_by_time ON operations (time);
    CREATE TABLE IF NOT EXISTS failures (
        key BYTEA NOT NULL, time DOUBLE PRECISION NOT NULL
    );
    CREATE INDEX IF NOT EXISTS failures_by_key ON failures (key, time);
    CREATE INDEX IF NOT EXISTS failures_by_time ON failures (time);
    CREATE TABLE IF NOT EXISTS log_ins (
        username BYTEA NOT NULL PRIMARY KEY, asked DOUBLE PRECISION NOT NULL
    );
    CREATE TABLE IF NOT EXISTS places (
        username BYTEA NOT NULL, place BYTEA NOT NULL, number BIGINT NOT NULL,
        PRIMARY KEY (username, place)
    );
"""
"""What a cluster needs beside the tables of a save file (`pgnet_trio.storage.sqlite_schema`)."""


SCHEMA_VERSION = 1
"""Which of these tables there are, and what they mean; in the database as ``cluster_version``. It
goes up with a change that servers of the version before could not live with."""

READ_VERSION = "SELECT value FROM settings WHERE name = 'cluster_version'"
WRITE_VERSION = (  # of a constant
    f"INSERT INTO settings (name, value) VALUES ('cluster_version', {SCHEMA_VERSION})"  # noqa: S608 - a constant
    " ON CONFLICT (name) DO NOTHING"
)


def check_version(rows: Sequence[Row]) -> None:
    """Check that this package knows the tables that are there.

    Args:
        rows: What `READ_VERSION` has found.

    Raises:
        EngineError: It does not.
    """
    if rows and rows[0][0] > SCHEMA_VERSION:
        raise EngineError(
            f"expected a cluster of version {SCHEMA_VERSION} or older, and it is of version "
            f"{rows[0][0]}; use a version of pgnet_trio that knows it, as its other servers do"
        )


class RepeatTransaction(Exception):
    """Another transaction was quicker; the whole transaction has to be done anew."""


class Transaction(ABC):
    """One transaction of a database.

    Attributes:
        wake_address: Where the nodes are woken that register here; empty where notes go elsewhere.
        woken: The ids of the nodes to wake once the transaction is committed.
    """

    def __init__(self, wake_address: str = "") -> None:
        self.wake_address = wake_address
        self.woken: set[int] = set()
        self._time: float | None = None

    @abstractmethod
    def execute(self, statement: str, *parameters: object) -> list[Row]:
        """Execute a statement, and return what it returns."""

    @abstractmethod
    def _read_time(self) -> float:
        """Return the time of this moment, not that of the transaction's beginning."""

    def now(self) -> float:
        """Return the time of this moment."""
        self._time = self._read_time()
        return self._time

    def recent(self) -> float:
        """Return the time of this moment, or of one in this transaction for which it was asked."""
        return self.now() if self._time is None else self._time

    @abstractmethod
    def next_number(self) -> int:
        """Return a number that was never given out before."""

    @abstractmethod
    def lock_mailbox(self, node: int, *, closing: bool) -> None:
        """Let nobody close a node's mailbox until the transaction ends, or (closing) use it.

        Whoever closes it is not overtaken by those who come later to use it.
        """

    @abstractmethod
    def lock_names(self) -> None:
        """Let nobody else give a node a name until the transaction ends."""


class SQLOperations:
    """Remembers which changes were made, so that none is made twice.

    Args:
        transaction: The transaction.
    """

    def __init__(self, transaction: Transaction) -> None:
        self._tx = transaction

    def _done(self, operation: bytes) -> list[Any] | None:
        """Return what was noted of a change; None where it was not made."""
        rows = self._tx.execute("SELECT result FROM operations WHERE id = %s", operation)
        return list(json.loads(rows[0][0])) if rows else None

    def _note(self, operation: bytes, *result: Any) -> None:
        # The same change, under way since an answer was lost, ends with this one or this with it:
        # the second to write the id is done anew, and finds what the first has noted.
        self._tx.execute(
            "INSERT INTO operations (id, time, result) VALUES (%s, %s, %s)",
            operation,
            # It is kept for minutes.
            self._tx.recent(),
            json.dumps(result).encode(),
        )


def as_bytes(text: str) -> bytes:
    """Return a text as it is stored."""
    return text.encode("utf-8", "surrogatepass")


def as_text(data: bytes) -> str:
    """Return a stored text."""
    return data.decode("utf-8", "surrogatepass")
