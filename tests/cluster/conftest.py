"""The three engines, each as the contract suite wants it: empty, with a clock that tests turn."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from pgnet_trio.environment import Environment
from pgnet_trio.server.cluster.engine import Engine
from pgnet_trio.server.cluster.memory_engine import MemoryEngine
from pgnet_trio.server.cluster.sqlite_engine import SQLiteEngine
from pgnet_trio.server.community import SaveFileEngine
from pgnet_trio.server.games.archive import Archive
from pgnet_trio.storage import open_store
from pgnet_trio.testing.engine import SimulatedDatabase, SimulatedEngine
from tests.cluster import postgres

if TYPE_CHECKING:
    from pgnet_trio.server.cluster.community import Community
    from tests.cluster.postgres import Postgres

LEASE = 10.0

# Without PostgreSQL, test_postgres_engine.py says why, in one line.
ENGINES = ("memory", "sqlite") if postgres.missing() else ("memory", "sqlite", "postgres")

_schemas = itertools.count(1)


@attrs.frozen
class Bench:
    """An engine to try, as two nodes reach it.

    Attributes:
        first: One way to it.
        second: Another one, or the same.
        advance: Lets so many seconds pass by the engine's clock; fewer than 0 set it back.
    """

    first: Engine
    second: Engine
    advance: Callable[[float], Awaitable[None]]


@pytest.fixture(scope="session")
def postgres_data() -> Iterator[Path]:
    """The data of a server of PostgreSQL, to be copied."""
    with postgres.new_data() as data:
        yield data


@pytest.fixture(scope="session")
def shared_postgres(postgres_data: Path) -> Iterator[Postgres]:
    """A server that nobody stops; tests have schemas of their own in it."""
    with postgres.new_server(postgres_data) as server:
        yield server


@pytest.fixture(params=ENGINES)
def make_bench(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[[], AbstractAsyncContextManager[Bench]]:
    """Make an engine; call what this returns in a task of Trio."""
    if request.param == "memory":
        return memory_bench
    if request.param == "sqlite":
        return lambda: sqlite_bench(tmp_path / "save.sqlite")
    server: Postgres = request.getfixturevalue("shared_postgres")
    return lambda: postgres_bench(server)


@pytest.fixture
async def bench(
    make_bench: Callable[[], AbstractAsyncContextManager[Bench]],
) -> AsyncIterator[Bench]:
    async with make_bench() as made:
        yield made


@pytest.fixture(params=(*ENGINES, "memory alone", "save file"))
async def community(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Community[Any]]:
    """What keeps a community's data: the engines of a cluster, and those of a server alone."""
    path = tmp_path / "save.sqlite"
    if request.param == "memory alone":
        yield MemoryEngine()
    elif request.param == "save file":
        async with save_file_engine(path) as engine:
            yield engine
    elif request.param == "memory":
        async with memory_bench() as made:
            yield made.first
    elif request.param == "sqlite":
        async with sqlite_bench(path) as made:
            yield made.first
    else:
        async with postgres_bench(request.getfixturevalue("shared_postgres")) as made:
            yield made.first


@asynccontextmanager
async def save_file_engine(path: Path) -> AsyncIterator[SaveFileEngine]:
    archive = Archive(open_store(path), Environment())
    await archive.load()
    try:
        yield SaveFileEngine(archive)
    finally:
        await archive.close()


@asynccontextmanager
async def running(*engines: Engine) -> AsyncIterator[None]:
    """Run engines for the time of the block."""
    async with trio.open_nursery() as nursery:
        for engine in engines:
            await nursery.start(engine.run)
        yield
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def memory_bench() -> AsyncIterator[Bench]:
    database = SimulatedDatabase(lease=LEASE)

    async def advance(seconds: float) -> None:
        database.jump(seconds)
        await trio.lowlevel.checkpoint()

    first, second = SimulatedEngine(database), SimulatedEngine(database)
    async with running(first, second):
        yield Bench(first, second, advance)


@asynccontextmanager
async def sqlite_bench(path: Path) -> AsyncIterator[Bench]:
    offset = 0.0

    async def advance(seconds: float) -> None:
        nonlocal offset
        offset += seconds
        await trio.lowlevel.checkpoint()

    engine = SQLiteEngine(path, lease=LEASE, environment=Environment(slept=lambda: offset))
    async with running(engine):
        yield Bench(engine, engine, advance)


@asynccontextmanager
async def postgres_bench(server: Postgres) -> AsyncIterator[Bench]:
    import psycopg

    from pgnet_trio.server.cluster.postgres_engine import PostgresEngine

    schema = f"test{next(_schemas)}"
    first, second = (PostgresEngine(server.conninfo, schema=schema, lease=LEASE) for _ in range(2))

    def shift(seconds: float) -> None:
        # Nobody can set its clock, so what is in the tables gets older.
        with psycopg.connect(server.conninfo, options=f"-c search_path={schema}") as connection:
            for statement in (
                "UPDATE nodes SET renewed = renewed - %s, expires = expires - %s",
                "UPDATE operations SET time = time - %s",
                "UPDATE failures SET time = time - %s",
                "UPDATE settings SET value = value - 1000000 * %s::BIGINT WHERE name = 'up_since'",
            ):
                connection.execute(statement, [seconds] * statement.count("%s"))

    async def advance(seconds: float) -> None:
        await trio.to_thread.run_sync(shift, seconds)

    async with running(first, second):
        yield Bench(first, second, advance)
