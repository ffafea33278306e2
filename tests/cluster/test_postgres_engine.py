"""PostgreSQL that crashes, hangs, is cut off, full or read-only, and calls that are cancelled."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString, TypeVar

import pytest
import trio

from pgnet_trio.errors import bare
from pgnet_trio.server.cluster import threads, wakeups
from pgnet_trio.server.cluster.errors import EngineError, EngineUnavailable, OutcomeUnknown
from pgnet_trio.server.cluster.records import Created, Found, Mail, NewRoom, Restored, RoomSave
from pgnet_trio.storage.migrations import SCHEMA_VERSION
from tests.cluster import postgres
from tests.cluster.conftest import running
from tests.cluster.test_standings import report

if TYPE_CHECKING:
    import psycopg

    from pgnet_trio.server.cluster.postgres_engine import PostgresEngine
    from tests.cluster.postgres import Postgres

if reason := postgres.missing():
    pytest.skip(reason, allow_module_level=True)

ROOM = NewRoom()
DEADLINE = 30.0
NOW = "SELECT EXTRACT(EPOCH FROM clock_timestamp())::DOUBLE PRECISION"
SOMEBODY_WAITS = (
    "SELECT 1 FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
)

T = TypeVar("T")

_schemas = itertools.count(1)


@pytest.fixture(scope="module")
def second_server(postgres_data: Path) -> Iterator[Postgres]:
    with postgres.new_server(postgres_data) as server:
        yield server


@pytest.fixture
def own_postgres(second_server: Postgres) -> Iterator[Postgres]:
    """A server that the test may stop, and that runs again after it."""
    yield second_server
    second_server.resume()
    second_server.start()


def new_engine(conninfo: str, schema: str, *, patience: float = 5.0) -> PostgresEngine:
    from pgnet_trio.server.cluster.postgres_engine import PostgresEngine

    return PostgresEngine(conninfo, schema=schema, patience=patience)


@pytest.fixture
def schema() -> str:
    return f"faults{next(_schemas)}"


@contextmanager
def connected(server: Postgres, schema: str) -> Iterator[psycopg.Connection]:
    """Look at the tables as another program does."""
    import psycopg

    options = f"-c search_path={schema}"
    with psycopg.connect(server.conninfo, autocommit=True, options=options) as connection:
        yield connection


async def new_room(engine: PostgresEngine) -> tuple[int, int]:
    lease = await engine.register("north", "")
    room = await engine.claim(lease.node, "table 1", new=ROOM)
    assert isinstance(room, Created)
    await engine.save([RoomSave("table 1", room.epoch, "board")])
    return lease.node, room.epoch


async def test_a_new_room_takes_ten_round_trips_and_one_that_is_found_five(
    shared_postgres: Postgres, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    engine = new_engine(shared_postgres.conninfo, schema)
    async with running(engine):
        north, south = [(await engine.register(name, "")).node for name in ("north", "south")]
        execute, told = psycopg.Connection.execute, list[str]()

        def counting(connection: Any, statement: Any, *arguments: Any) -> Any:
            # Not what sets up the further connections that the pool opens when it gets to it.
            if "set_config" not in str(statement) and "current_setting" not in str(statement):
                told.append(str(statement))
            return execute(connection, statement, *arguments)

        monkeypatch.setattr(psycopg.Connection, "execute", counting)
        assert isinstance(await engine.claim(north, "table 1", new=ROOM), Created)
        assert len(told) == 10, told
        told.clear()
        found = await engine.claim(south, "table 1", password=ROOM.password)
        assert isinstance(found, Found)
        assert len(told) == 5, told


async def test_a_crash_of_the_server_loses_nothing_and_calls_work_again_at_once(
    own_postgres: Postgres, schema: str
) -> None:
    engine = new_engine(own_postgres.conninfo, schema, patience=1.0)
    async with running(engine):
        node, epoch = await new_room(engine)
        # So that there are several connections, which are all dead then.
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(engine.nodes)
        await trio.to_thread.run_sync(own_postgres.crash)
        with pytest.raises(EngineUnavailable), trio.fail_after(DEADLINE):
            await engine.claim(node, "table 2", new=ROOM)
        with pytest.raises(EngineUnavailable):
            await engine.renew(node)
        await trio.to_thread.run_sync(own_postgres.start)
        with trio.fail_after(DEADLINE):
            lease = await engine.renew(node)
            assert lease.rooms == {"table 1": epoch}
            again = await engine.claim(node, "table 2", new=ROOM)
        assert isinstance(again, Created)
        assert again.epoch > epoch


async def test_dead_connections_cost_nobody_an_error_and_notes_come_again(
    own_postgres: Postgres,
    schema: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pgnet_trio.server.cluster import postgres_engine

    monkeypatch.setattr(postgres_engine, "LOOK_INTERVAL", 0.05)
    monkeypatch.setattr(wakeups, "LOOK_INTERVAL", 0.05)
    caplog.set_level(logging.INFO, "pgnet_trio.server")
    engine = new_engine(own_postgres.conninfo, schema)
    async with running(engine):
        node, epoch = await new_room(engine)
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(engine.nodes)
        await trio.to_thread.run_sync(own_postgres.crash)
        await trio.to_thread.run_sync(own_postgres.start)
        with trio.fail_after(DEADLINE):
            assert await engine.save([RoomSave("table 1", epoch, "later")]) == frozenset()
            assert (await engine.renew(node)).node == node
            while "come again" not in caplog.text:
                await engine.wait_for_news(node)
    assert caplog.text.count("do not come") == 1


async def test_a_server_that_hangs_fails_calls_in_time_and_breaks_nothing(
    own_postgres: Postgres, schema: str
) -> None:
    engine = new_engine(own_postgres.conninfo, schema, patience=0.3)
    async with running(engine):
        node, epoch = await new_room(engine)
        await trio.to_thread.run_sync(own_postgres.pause)
        errors = 0

        async def fail() -> None:
            nonlocal errors
            with pytest.raises((EngineUnavailable, OutcomeUnknown)):
                await engine.save([RoomSave("table 1", epoch, "hanging")])
            errors += 1

        with trio.fail_after(DEADLINE):
            with pytest.raises(EngineUnavailable):
                await engine.nodes()
            async with trio.open_nursery() as nursery:
                # More than there are connections.
                for _ in range(6):
                    nursery.start_soon(fail)
                with pytest.raises((EngineUnavailable, OutcomeUnknown)):
                    await engine.renew(node)
        assert errors == 6
        await trio.to_thread.run_sync(own_postgres.resume)
        # The threads that were left come to their ends, and all connections are there again.
        with trio.fail_after(DEADLINE):
            while True:
                try:
                    async with trio.open_nursery() as nursery:
                        for _ in range(4):
                            nursery.start_soon(engine.nodes)
                    assert (await engine.renew(node)).node == node
                    break
                except* (EngineUnavailable, OutcomeUnknown):
                    await trio.lowlevel.checkpoint()


async def test_a_call_that_is_cancelled_while_it_waits_for_a_lock_changes_nothing(
    shared_postgres: Postgres, schema: str
) -> None:
    engine = new_engine(shared_postgres.conninfo, schema, patience=20.0)
    async with running(engine):
        node, epoch = await new_room(engine)
        with connected(shared_postgres, schema) as other, other.transaction():
            other.execute("SELECT * FROM rooms FOR UPDATE")
            for number in range(8):
                # More often than there are connections: none may be lost for good.
                with trio.move_on_after(0.05) as scope:
                    await engine.give_back(RoomSave("table 1", epoch, f"cancelled {number}"))
                assert scope.cancelled_caught
            # Nor does any of them wait for the lock still.
            with trio.fail_after(DEADLINE):
                assert len(await engine.nodes()) == 1
        found = await engine.claim(node, "table 1")
        assert isinstance(found, Found)
        assert found.epoch == epoch
        await engine.give_back(RoomSave("table 1", epoch))
        restored = await engine.claim(node, "table 1")
        assert isinstance(restored, Restored)
        assert restored.data == "board"


async def test_a_node_that_stops_in_a_transaction_does_not_keep_the_others_waiting(
    shared_postgres: Postgres, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pgnet_trio.server.cluster import postgres_engine, sql_rooms

    monkeypatch.setattr(postgres_engine, "_IDLE_LIMIT", 0.2)
    engine = new_engine(shared_postgres.conninfo, schema)
    stopped = new_engine(shared_postgres.conninfo, schema)
    go_on = threading.Event()
    async with running(engine, stopped), trio.open_nursery() as nursery:
        node, epoch = await new_room(engine)
        has_lock = trio.Event()
        token = trio.lowlevel.current_trio_token()
        end = sql_rooms.SQLRooms.end

        def stop(tables: sql_rooms.SQLRooms, name: str, epoch: int, operation: bytes) -> None:
            end(tables, name, epoch, operation)
            token.run_sync_soon(has_lock.set)
            assert go_on.wait(DEADLINE)

        monkeypatch.setattr(sql_rooms.SQLRooms, "end", stop)

        nursery.start_soon(stopped.end, "table 1", epoch)
        await has_lock.wait()
        with trio.fail_after(DEADLINE):
            found = await engine.claim(node, "table 1")
            assert isinstance(found, Found)
            # It finds its transaction gone, and does it anew.
            go_on.set()


# Two transactions at once, in the order in which it matters


async def meanwhile(
    other: psycopg.Connection,
    statement: LiteralString,
    node: int,
    call: Callable[[], Awaitable[T]],
) -> tuple[T, float]:
    """Write something, and commit it once the call of an engine waits for that.

    Returns:
        What the call returned, and the time just before the commit.
    """
    results: list[T] = []

    async def make() -> None:
        results.append(await call())

    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            with other.transaction():
                other.execute(statement, (node,))
                nursery.start_soon(make)
                while True:
                    if other.execute(SOMEBODY_WAITS).fetchall():
                        break
                    await trio.sleep(0.01)
                ((time,),) = other.execute(NOW).fetchall()
    return results[0], time


async def test_a_lease_is_stamped_after_the_wait_for_its_row(
    shared_postgres: Postgres, schema: str
) -> None:
    engine = new_engine(shared_postgres.conninfo, schema)
    async with running(engine):
        node = (await engine.register("north", "")).node
        with connected(shared_postgres, schema) as other:
            lock: LiteralString = "SELECT * FROM nodes WHERE id = %s FOR UPDATE"
            _, time = await meanwhile(other, lock, node, lambda: engine.renew(node))
            ((renewed,),) = other.execute("SELECT renewed FROM nodes").fetchall()
        assert renewed >= time


async def test_a_claim_waits_for_a_renewal_that_is_under_way(
    shared_postgres: Postgres, schema: str
) -> None:
    engine = new_engine(shared_postgres.conninfo, schema)
    async with running(engine):
        first = (await engine.register("north", "")).node
        second = (await engine.register("south", "")).node
        room = await engine.claim(second, "table 1", new=ROOM)
        with connected(shared_postgres, schema) as other:
            # The second node has been silent for long, and the engine was there all the time.
            other.execute("UPDATE settings SET value = 1 WHERE name = 'up_since'")
            other.execute(
                "UPDATE nodes SET renewed = renewed - 60, expires = expires - 60 WHERE id = %s",
                (second,),
            )
            found, _ = await meanwhile(
                other,
                "UPDATE nodes SET renewed = renewed + 60, expires = expires + 60 WHERE id = %s",
                second,
                lambda: engine.claim(first, "table 1", new=ROOM),
            )
        assert isinstance(room, Created)
        assert isinstance(found, Found)
        assert (found.node.id, found.epoch) == (second, room.epoch)


@contextmanager
def stopped_senders(
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[trio.Event, threading.Event]]:
    """Have whoever sends mail stop before that is committed.

    Yields:
        What is set once somebody has stopped, and what lets them go on when it is set.
    """
    from pgnet_trio.server.cluster import sql_tables

    has_stopped, go_on = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()
    leave = sql_tables.SQLTables._leave_mail

    def stop(tables: sql_tables.SQLTables, node: int, body: bytes) -> bool:
        is_left = leave(tables, node, body)
        token.run_sync_soon(has_stopped.set)
        assert go_on.wait(DEADLINE)
        return is_left

    monkeypatch.setattr(sql_tables.SQLTables, "_leave_mail", stop)
    try:
        yield has_stopped, go_on
    finally:
        go_on.set()


async def wait_for_waiting(other: psycopg.Connection, number: int) -> None:
    """Wait until so many transactions wait for a lock."""
    waiting = "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    while other.execute(waiting).fetchall() != [(number,)]:  # noqa: ASYNC110 - no event says so
        await trio.sleep(0.01)


async def test_who_sends_mail_to_a_node_keeps_nobody_from_renewing_its_lease(
    shared_postgres: Postgres, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = new_engine(shared_postgres.conninfo, schema)
    sender = new_engine(shared_postgres.conninfo, schema)
    async with running(engine, sender):
        node = (await engine.register("north", "")).node
        with stopped_senders(monkeypatch) as (has_stopped, go_on):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sender.send_mail, [node], b"hello")
                await has_stopped.wait()
                with trio.fail_after(DEADLINE):
                    await engine.renew(node)
                assert await engine.read_mail(node) == []
                go_on.set()
        assert [mail.body for mail in await engine.read_mail(node)] == [b"hello"]


async def test_who_sends_mail_to_a_node_that_resigns_does_not_overtake_it(
    shared_postgres: Postgres, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = new_engine(shared_postgres.conninfo, schema)
    sender = new_engine(shared_postgres.conninfo, schema)
    left: list[Mail] = []
    reached: list[frozenset[int]] = []
    async with running(engine, sender):
        node = (await engine.register("north", "")).node

        async def send(body: bytes) -> None:
            reached.append(await sender.send_mail([node], body))

        async def resign() -> None:
            left.extend(await engine.resign(node))

        with (
            trio.fail_after(DEADLINE),
            connected(shared_postgres, schema) as other,
            stopped_senders(monkeypatch) as (has_stopped, go_on),
        ):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send, b"before")
                await has_stopped.wait()
                nursery.start_soon(resign)
                await wait_for_waiting(other, 1)
                nursery.start_soon(send, b"after")
                await wait_for_waiting(other, 2)
                go_on.set()
        assert [mail.body for mail in left] == [b"before"]
        assert sorted(reached, key=len) == [frozenset(), {node}]


async def test_who_tidies_closes_a_mailbox_before_it_takes_the_node_as_that_does_itself(
    shared_postgres: Postgres, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = new_engine(shared_postgres.conninfo, schema)
    sender = new_engine(shared_postgres.conninfo, schema)
    async with running(engine, sender):
        await engine.register("south", "")
        node = (await engine.register("north", "")).node
        with (
            trio.fail_after(DEADLINE),
            connected(shared_postgres, schema) as other,
            stopped_senders(monkeypatch) as (has_stopped, go_on),
        ):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sender.send_mail, [node], b"hello")
                await has_stopped.wait()
                other.execute("UPDATE settings SET value = 1 WHERE name = 'up_since'")
                other.execute(
                    "UPDATE nodes SET renewed = renewed - 9999, expires = expires - 9999"
                    " WHERE id = %s",
                    (node,),
                )
                nursery.start_soon(engine.tidy)
                await wait_for_waiting(other, 1)
                # Two that have one of these each would wait for each other.
                other.execute("SELECT * FROM nodes WHERE id = %s FOR UPDATE NOWAIT", (node,))
                go_on.set()
            nodes = [each.name for each in await engine.nodes()]
        assert nodes == ["south"]


async def test_who_makes_a_room_a_moment_later_finds_it(
    shared_postgres: Postgres, schema: str
) -> None:
    engine = new_engine(shared_postgres.conninfo, schema)
    async with running(engine):
        first = (await engine.register("north", "")).node
        second = (await engine.register("south", "")).node
        with connected(shared_postgres, schema) as other:
            found, _ = await meanwhile(
                other,
                "INSERT INTO rooms (name, node, epoch, password, info, players)"
                " VALUES ('table 1', %s, 99, '', '', 0)",
                second,
                lambda: engine.claim(first, "table 1", new=ROOM),
            )
        assert isinstance(found, Found)
        assert (found.node.id, found.epoch) == (second, 99)


async def test_a_change_that_is_still_under_way_is_not_made_twice(
    shared_postgres: Postgres, schema: str
) -> None:
    engine = new_engine(shared_postgres.conninfo, schema)
    async with running(engine):
        node = (await engine.register("north", "")).node
        with connected(shared_postgres, schema) as other:
            reached, _ = await meanwhile(
                other,
                "INSERT INTO operations (id, time, result)"
                " SELECT 'twin'::BYTEA, 0, convert_to('[[' || %s::INT || ']]', 'UTF8')",
                node,
                lambda: engine.send_mail([node], b"again", operation=b"twin"),
            )
        assert reached == {node}
        assert await engine.read_mail(node) == []


# Databases that take no writes


async def test_a_database_that_takes_no_writes_says_so(own_postgres: Postgres, schema: str) -> None:
    engine = new_engine(own_postgres.conninfo, schema, patience=0.7)
    async with running(engine):
        node, epoch = await new_room(engine)
        with connected(own_postgres, schema) as other:
            other.execute("ALTER ROLE postgres SET default_transaction_read_only = on")
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <>"
                " pg_backend_pid() AND backend_type = 'client backend'"
            )
            with trio.fail_after(DEADLINE):
                for _ in range(2):
                    with pytest.raises(EngineUnavailable):
                        await engine.save([RoomSave("table 1", epoch, "lost")])
                with pytest.raises(EngineUnavailable):
                    await engine.renew(node)
            other.execute("SET default_transaction_read_only = off")
            other.execute("ALTER ROLE postgres RESET default_transaction_read_only")
        with trio.fail_after(DEADLINE):
            assert (await engine.renew(node)).node == node
            assert await engine.save([RoomSave("table 1", epoch, "kept")]) == frozenset()


async def test_a_connection_to_what_takes_no_writes_any_more_is_replaced(
    shared_postgres: Postgres, schema: str
) -> None:
    engine = new_engine(shared_postgres.conninfo, schema)
    async with running(engine):
        _, epoch = await new_room(engine)
        pool = engine._pool
        assert pool is not None
        with ExitStack() as all_of_them:
            for _ in range(pool.max_size):
                connection = all_of_them.enter_context(pool.connection())
                connection.execute("SET default_transaction_read_only = on")
        assert await engine.save([RoomSave("table 1", epoch, "kept")]) == frozenset()


async def test_a_full_disk_changes_nothing_and_writing_goes_on_later(
    shared_postgres: Postgres, schema: str
) -> None:
    engine = new_engine(shared_postgres.conninfo, schema)
    async with running(engine):
        _, epoch = await new_room(engine)
        save = RoomSave("table 1", epoch, "later", players=3)
        with connected(shared_postgres, schema) as other:
            other.execute(
                "CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                " RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$"
            )
            other.execute("CREATE TRIGGER full_disk BEFORE UPDATE ON games EXECUTE FUNCTION fill()")
            with pytest.raises(EngineUnavailable, match="could not extend file"):
                await engine.save([save])
            assert [listing.players for listing in await engine.directory()] == [0]
            other.execute("DROP TRIGGER full_disk ON games")
        assert await engine.save([save]) == frozenset()


# Answers that are lost on the way


class Wire:
    """Passes bytes on between an engine and PostgreSQL, until it is to swallow an answer.

    Attributes:
        swallows: The answers to how many commits get lost from now on.
        cuts: Whether the connection is reset then; it goes silent otherwise.
    """

    def __init__(self, target: Path) -> None:
        self.swallows = 0
        self.cuts = True
        self._target = target

    async def serve(self, client: trio.SocketStream) -> None:
        server = await trio.open_unix_socket(self._target)
        silent = trio.Event()
        async with client, server, trio.open_nursery() as nursery:

            async def back() -> None:
                async for data in server:
                    if silent.is_set():
                        if self.cuts:
                            nursery.cancel_scope.cancel()
                        await trio.sleep_forever()
                    await client.send_all(data)
                nursery.cancel_scope.cancel()

            nursery.start_soon(back)
            try:
                async for data in client:
                    if b"COMMIT\0" in data and self.swallows:
                        self.swallows -= 1
                        silent.set()
                    await server.send_all(data)
            except trio.BrokenResourceError:
                pass
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def wired(server: Postgres) -> AsyncIterator[tuple[Wire, str]]:
    wire = Wire(server.socket)
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, wire.serve, [listener])
        port = listener.socket.getsockname()[1]
        yield wire, f"host=127.0.0.1 port={port} user=postgres dbname=postgres sslmode=disable"
        nursery.cancel_scope.cancel()


async def test_a_commit_whose_answer_was_lost_is_read_back(
    shared_postgres: Postgres, schema: str
) -> None:
    async with wired(shared_postgres) as (wire, conninfo):
        engine = new_engine(conninfo, schema)
        async with running(engine):
            node = (await engine.register("north", "")).node
            wire.swallows = 1
            room = await engine.claim(node, "table 1", new=ROOM)
            assert isinstance(room, Created)
            wire.swallows = 1
            await engine.send_mail([node], b"once")
            assert [mail.body for mail in await engine.read_mail(node)] == [b"once"]
            wire.swallows = 1
            with pytest.raises(OutcomeUnknown):
                await engine.renew(node)
            assert (await engine.renew(node)).rooms == {"table 1": room.epoch}


async def test_a_commit_that_is_never_answered_can_be_read_back_by_the_caller(
    shared_postgres: Postgres, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "COMMIT_GRACE", 0.2)
    async with wired(shared_postgres) as (wire, conninfo):
        engine = new_engine(conninfo, schema, patience=1.0)
        async with running(engine):
            node = (await engine.register("north", "")).node
            wire.swallows, wire.cuts = 2, False
            with pytest.raises(OutcomeUnknown) as caught, trio.fail_after(DEADLINE):
                await engine.claim(node, "table 1", new=ROOM)
            wire.swallows = 0
            operation = caught.value.operation
            room = await engine.claim(node, "table 1", new=ROOM, operation=operation)
            assert isinstance(room, Created)
            with connected(shared_postgres, schema) as other:
                ((epoch,),) = other.execute("SELECT epoch FROM rooms").fetchall()
                assert epoch == room.epoch


# What cannot be used


async def test_an_older_database_is_brought_to_this_version_with_what_is_in_it(
    shared_postgres: Postgres, schema: str
) -> None:
    node = "SELECT COUNT(*) FROM nodes WHERE name = 'north'"
    async with running(engine := new_engine(shared_postgres.conninfo, schema)):
        await engine.register("north", "")
    with connected(shared_postgres, schema) as connection:
        # As the first release with an engine has made it.
        connection.execute("DELETE FROM settings WHERE name = 'schema_version'")
        tables = ["results", "histories", "leaderboards", "scores", "score_ranges", "ratings"]
        tables += ["bans", "roles", "reset_codes", "profiles", "audit"]
        for table in tables:
            connection.execute(f"DROP TABLE {table}")
        connection.execute("DROP TABLE deletions")
    # Several servers may do it at once, and later ones have nothing to do.
    engines = [new_engine(shared_postgres.conninfo, schema) for _ in range(3)]
    async with running(*engines):
        await engines[0].report(report({"ann": 5}))
        assert (await engines[2].leaderboard("points")).total == 1
    with connected(shared_postgres, schema) as connection:
        assert connection.execute(node).fetchall() == [(1,)]
        version = "SELECT value FROM settings WHERE name = 'schema_version'"
        assert connection.execute(version).fetchall() == [(SCHEMA_VERSION,)]


async def test_the_scores_of_a_database_of_version_3_stay(
    shared_postgres: Postgres, schema: str
) -> None:
    async with running(engine := new_engine(shared_postgres.conninfo, schema)):
        await engine.report(report({"ann": 5, "bob": 5, "eve": 9}))
    with connected(shared_postgres, schema) as connection:
        for statement in (
            "UPDATE settings SET value = 3 WHERE name = 'schema_version'",
            "DROP TABLE deletions",
            "ALTER TABLE score_ranges RENAME TO later",
            "CREATE TABLE score_ranges (board BIGINT NOT NULL, low BIGINT NOT NULL,"
            " players BIGINT NOT NULL, PRIMARY KEY (board, low))",
            "INSERT INTO score_ranges SELECT board, low, players FROM later",
            "DROP TABLE later",
        ):
            connection.execute(statement)
    async with running(engine := new_engine(shared_postgres.conninfo, schema)):
        await engine.report(report({"dan": 7}))
        page = await engine.leaderboard("points", offset=1)
        found = [(entry.rank, entry.username, entry.score) for entry in page.entries]
        assert found == [(2, "dan", 7), (3, "ann", 5), (3, "bob", 5)]
        await engine.forget_player("ann")
        assert (await engine.leaderboard("points")).total == 3


async def test_a_newer_database_is_refused_and_left_as_it_is(
    shared_postgres: Postgres, schema: str
) -> None:
    async with running(new_engine(shared_postgres.conninfo, schema)):
        pass
    with connected(shared_postgres, schema) as connection:
        connection.execute("UPDATE settings SET value = 99 WHERE name = 'schema_version'")
    with pytest.raises(EngineError, match="use a version of pgnet_trio that knows it"):
        await run_once(new_engine(shared_postgres.conninfo, schema))


async def run_once(engine: PostgresEngine) -> None:
    try:
        async with running(engine):
            pass
    except BaseExceptionGroup as group:
        raise bare(group) from None


async def test_a_server_that_is_too_old_is_refused(
    shared_postgres: Postgres, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pgnet_trio.server.cluster import postgres_engine

    monkeypatch.setattr(postgres_engine, "OLDEST_VERSION", 99)
    with pytest.raises(EngineError, match="expected PostgreSQL 99 or later"):
        await new_engine(shared_postgres.conninfo, schema).run()


async def test_a_database_that_is_not_there_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot be used") as caught:
        await new_engine(f"host={tmp_path} user=u password=hidden", "x").run()
    assert "\\" not in str(caught.value)


async def test_a_user_who_may_make_no_schema_is_told_which_right_it_takes(
    shared_postgres: Postgres, schema: str
) -> None:
    with connected(shared_postgres, schema) as other:
        other.execute("CREATE ROLE weak LOGIN")
    weak = shared_postgres.conninfo.replace("user=postgres", "user=weak")
    with pytest.raises(EngineError, match=r"permission denied .* GRANT CREATE ON DATABASE"):
        await new_engine(weak, schema).run()


def test_a_wrong_address_is_an_error_that_shows_no_password() -> None:
    with pytest.raises(EngineError, match="expected postgresql://") as caught:
        new_engine("postgresql://user:hid den@[::1", "x")
    assert "hid" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_a_call_before_it_runs_is_refused(shared_postgres: Postgres) -> None:
    with pytest.raises(EngineUnavailable, match=r"run\(\)"):
        await new_engine(shared_postgres.conninfo, "x").nodes()
