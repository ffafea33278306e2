"""Users are reached at another server through a real database, in real time."""

from __future__ import annotations

import itertools
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

AT_ONCE = 256
"""How many pushes may be on their way to one user; far fewer than a client may be behind."""


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


async def test_no_push_is_lost_while_a_server_ends(
    shared_postgres: Postgres, tmp_path: Path
) -> None:
    """Each arrives once, whenever its sender has looked where the user is."""
    conninfo, key_file = shared_postgres.conninfo, tmp_path / "key"
    async with AsyncExitStack() as stack:
        a, b = [
            await stack.enter_async_context(serving(conninfo, name, key_file))
            for name in ("a", "b")
        ]
        network = SimulatedNetwork()
        network.addresses.update({"a.example:38929": a, "b.example:38929": b})
        ann = Client(network.connector("a.example:38929", "ann"), username="ann")
        await stack.enter_async_context(ann)
        sent: list[str] = []
        heard: list[str] = []
        # What nobody waits for is dropped, as all pushes are where too much waits for a client.
        room = trio.Semaphore(AT_ONCE)
        has_ended = trio.Event()

        async def push(sender: int) -> None:
            for number in itertools.count():
                text = f"{sender} {number}"
                await room.acquire()
                assert await b.push("ann", text)
                sent.append(text)
                if has_ended.is_set():
                    return

        async def listen() -> None:
            async for event in ann.pushes():
                heard.append(event.message)
                room.release()

        with trio.fail_after(30):
            async with trio.open_nursery() as listening:
                listening.start_soon(listen)
                async with trio.open_nursery() as nursery:
                    for sender in range(4):
                        nursery.start_soon(push, sender)
                    await trio.sleep(0.2)
                    a.shutdown(restarting=True)
                    while len(await b.cluster.nodes()) > 1:  # noqa: ASYNC110 - no event says so
                        await trio.sleep(0.01)
                    has_ended.set()
                while len(heard) < len(sent):  # noqa: ASYNC110 - the same
                    await trio.sleep(0.01)
                listening.cancel_scope.cancel()
        assert sorted(heard) == sorted(sent)
        assert ann.lost_pushes == 0
