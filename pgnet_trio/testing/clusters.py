"""Several servers that look like one, in memory and in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import trio

from pgnet_trio.client import Client
from pgnet_trio.errors import bare
from pgnet_trio.server.cluster.base import LEASE
from pgnet_trio.server.cluster.cluster import Cluster
from pgnet_trio.testing.engine import SimulatedDatabase, SimulatedEngine
from pgnet_trio.testing.hosting import HostedServer
from pgnet_trio.testing.network import SimulatedNetwork

if TYPE_CHECKING:
    from pgnet_trio.game import Game

__all__ = ["HostedCluster", "HostedNode", "cluster"]

KEY_BYTES = 32


class HostedNode(HostedServer):
    """One server of a `HostedCluster`.

    Attributes:
        name: Its name, ``"a"`` for the first one.
        address: Where clients find it, as in the addresses of the network.
        engine: Its way to the database, which a test may pause, cut or slow down.
    """

    def __init__(
        self,
        game: Callable[..., Game],
        /,
        name: str,
        database: SimulatedDatabase,
        *,
        network: SimulatedNetwork,
        drain_wait: float,
        **options: Any,
    ) -> None:
        self.name = name
        self.address = f"{name}.example:38929"
        self.engine = SimulatedEngine(database, environment=network.environment(f"engine {name}"))
        member = Cluster(self.engine, node_address=self.address, name=name, drain_wait=drain_wait)
        defaults: dict[str, Any] = {"save_file": None, "minimum_protocol": 2, "cluster": member}
        super().__init__(game, network=network, **{**defaults, **options})
        environment = self._options.environment
        key_bytes = network.random("the key of the cluster").randbytes(KEY_BYTES)
        self._carryover.key = type(self._carryover.key)(key_bytes)
        self._options.environment = attrs.evolve(
            environment, random_bytes=network.random(f"server {name}").randbytes
        )


class HostedCluster:
    """Servers that share a database and a network; see `cluster`.

    Attributes:
        network: How clients reach them, and by which addresses.
        database: What they share.
        nodes: The servers that run, by their names.
    """

    def __init__(
        self,
        game: Callable[..., Game],
        /,
        nursery: trio.Nursery,
        *,
        network: SimulatedNetwork,
        lease: float,
        **options: Any,
    ) -> None:
        self.network = network
        self.database = SimulatedDatabase(lease=lease)
        self.nodes: dict[str, HostedNode] = {}
        self._game = game
        self._nursery = nursery
        self._options = options
        self._done = trio.Event()
        self._clients = 0

    async def start(self, name: str, game: Callable[..., Game] | None = None) -> HostedNode:
        """Start one more server, or one that was stopped or killed.

        Args:
            name: Its name.
            game: The class of its games; None for that of the others.
        """
        node = HostedNode(
            game or self._game, name, self.database, network=self.network, **self._options
        )
        await self._nursery.start(self._run, node)
        self.nodes[name] = node
        self.network.addresses[node.address] = node
        return node

    async def stop(self, name: str, *, restarting: bool = True) -> None:
        """Shut a server down in good order, and wait for its end."""
        node = self.nodes.pop(name)
        node.let_players_go()
        node.shutdown(restarting=restarting)
        await node.stopped.wait()
        self.network.addresses.pop(node.address, None)

    def kill(self, name: str) -> None:
        """End a server as by a loss of power: nothing of it gets anywhere any more. Never waits."""
        node = self.nodes.pop(name)
        node.engine.cut = True
        self.network.addresses.pop(node.address, None)
        self.network.drop_all_to(node)
        node.let_players_go()
        node.shutdown()

    def client(
        self,
        username: str,
        password: str = "",
        *,
        node: str | None = None,
        address: str | None = None,
        **options: Any,
    ) -> Client:
        """Return a client of the cluster, which is not connected yet.

        Args:
            username: Who will log in.
            password: The user's password.
            node: The name of the server that it asks first, and alone; None for all of them.
            address: An address of the network instead.
            **options: As for `Client`.
        """
        self._clients += 1
        options.setdefault("environment", self.network.environment(f"client {self._clients}"))
        names = sorted(self.nodes) if node is None else [node]
        addresses = [self.nodes[name].address for name in names]
        if address is not None:
            addresses = [address]
        first, *others = (self.network.connector(each, username) for each in addresses)
        return Client(first, *others, username=username, password=password, **options)

    async def play(
        self,
        username: str,
        password: str = "",
        *,
        game: str | None = None,
        **options: Any,
    ) -> Client:
        """Start a client, connected and logged in, which ends with the block.

        Args:
            username: Who plays.
            password: The user's password.
            game: A game to join, or to create where there is none of that name.
            **options: As for `client`.

        Raises:
            ConnectFailed: The client could not log in.
            RequestFailed: The client could not join the game.
        """
        await trio.lowlevel.checkpoint()
        client = self.client(username, password, **options)
        await self._nursery.start(self._play, client)
        if game is not None:
            await client.join_game(game)
        return client

    async def _play(self, client: Client, *, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(client.run)
            task_status.started()
            await self._done.wait()
            client.disconnect()

    async def _run(self, node: HostedNode, *, task_status: trio.TaskStatus[None]) -> None:
        async with node.running():
            task_status.started()
            await self._wait_for_end(node)

    async def _wait_for_end(self, node: HostedNode) -> None:
        async with trio.open_nursery() as nursery:
            for event in (self._done, node.stopped):
                nursery.start_soon(_cancel_after, event, nursery.cancel_scope)

    def end(self) -> None:
        """Let all servers and clients end. Never waits."""
        for node in self.nodes.values():
            node.let_players_go()
        self._done.set()


async def _cancel_after(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


@asynccontextmanager
async def cluster(
    game: Callable[..., Game],
    /,
    *,
    nodes: int = 3,
    network: SimulatedNetwork | None = None,
    lease: float = LEASE,
    drain_wait: float = 0.0,
    **options: Any,
) -> AsyncIterator[HostedCluster]:
    """Run several servers that look like one around a block.

    ``async with cluster(MyGame, nodes=3) as servers:``

    Args:
        game: The class of the games.
        nodes: How many servers there are; they are called ``"a"``, ``"b"`` and so on.
        network: How clients reach them.
        lease: Seconds until the others take the games of one that is silent.
        drain_wait: As for `Cluster`.
        **options: As for `Server`, for all of them.

    Raises:
        Exception: What a game, a connection, a session or a hook raised.
    """
    try:
        async with trio.open_nursery() as nursery:
            hosted = HostedCluster(
                game,
                nursery,
                network=network or SimulatedNetwork(),
                lease=lease,
                drain_wait=drain_wait,
                **options,
            )
            for number in range(nodes):
                await hosted.start(chr(ord("a") + number))
            try:
                yield hosted
            finally:
                hosted.end()
    except BaseExceptionGroup as group:
        raise bare(group) from None
