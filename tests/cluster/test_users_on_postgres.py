"""Users are reached at another server through a real database, in real time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import trio

from pgnet_trio import Client, Cluster, Game, Push, ReasonCode, Server
from pgnet_trio.server.cluster.postgres_engine import PostgresEngine
from pgnet_trio.testing import SimulatedNetwork

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.postgres import Postgres

LEASE = 10.0


class Table(Game):
    pass


@asynccontextmanager
async def serving(conninfo: str, name: str, key_file: Path) -> AsyncIterator[Server]:
    engine = PostgresEngine(conninfo, schema="users", lease=LEASE)
    server = Server(
        Table,
        port=None,
        minimum_protocol=2,
        key_file=key_file,
        cluster=Cluster(engine, node_address=f"{name}.example:38929", name=name),
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve)
        yield server
        server.shutdown()


async def test_users_are_reached_at_another_server(
    shared_postgres: Postgres, tmp_path: Path
) -> None:
    conninfo, key_file = shared_postgres.conninfo, tmp_path / "key"
    async with AsyncExitStack() as stack:
        a, b = [
            await stack.enter_async_context(serving(conninfo, name, key_file))
            for name in ("a", "b")
        ]
        network = SimulatedNetwork()
        ann = Client(network.connector(a, "ann"), username="ann")
        heard: list[str] = []
        ann.on_announcement = heard.append
        out = trio.Event()
        ann.on_connection = lambda is_in: None if is_in else out.set()
        await stack.enter_async_context(ann)
        with trio.fail_after(30):
            assert [(user.username, user.node) for user in await b.users()] == [("ann", "a")]
            assert [(node.name, node.users) for node in await b.cluster.nodes()] == [
                ("a", 1),
                ("b", 0),
            ]
            assert await b.push("ann", "hello", {"from": "b"})
            assert await anext(ann.pushes()) == Push("hello", {"from": "b"})
            await b.announce("We close.")
            assert await b.kick("ann", "Out.")
            await out.wait()
            assert heard == ["We close."]
            assert (ann.close_reason, ann.close_code) == ("Out.", ReasonCode.KICKED)
            while await b.users():  # noqa: ASYNC110 - the same
                await trio.sleep(0.01)
