"""Users come, look for games, invite and go, while servers end, bans fall and networks fail."""

from __future__ import annotations

from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING

import attrs
import pytest
import trio

from pgnet_trio import (
    Client,
    ConnectFailed,
    Disconnected,
    Game,
    Queue,
    Reject,
    RequestFailed,
    ServerError,
    SessionLost,
)
from pgnet_trio.server.accounts import AccountRefusal
from pgnet_trio.testing.clusters import HostedCluster, HostedNode, cluster
from pgnet_trio.testing.network import SimulatedNetwork
from tests.cluster.test_queues import check_whole
from tests.server.test_moving import context_of

if TYPE_CHECKING:
    from trio.testing import MockClock

LEASE = 10.0
LASTS = 25.0
"""Seconds for which they come and go."""

NAMES = [f"user{number}" for number in range(8)]


def moody(randomness: Random) -> type[Game]:
    """Return a game that takes its time to let somebody in, and does not let in everybody."""

    class Moody(Game):
        matchmaking = Queue(confirm=3, wait=5, rating=True, within=50)
        max_players = 2

        async def user_joined(self, username: str) -> None:
            if randomness.random() < 0.4:
                await trio.sleep(randomness.uniform(0, 3))
            if randomness.random() < 0.1:
                raise Reject("Not today.")

    return Moody


@attrs.define
class Crowd:
    """Users who do at random what users do.

    Attributes:
        servers: Where.
        random: What decides.
        until: When they stop.
    """

    servers: HostedCluster
    random: Random
    until: float

    async def visit(self, name: str) -> None:
        """Log in again and again, until it is time to stop."""
        while trio.current_time() < self.until:
            with suppress(ConnectFailed, Disconnected):
                async with self.servers.client(name, "secret", reconnect_for=20) as client:
                    while trio.current_time() < self.until and self.random.random() < 0.9:
                        with suppress(RequestFailed, SessionLost):
                            await self.do_something(client)
                        await trio.sleep(self.random.uniform(0, 1))
            await trio.sleep(self.random.uniform(0.1, 2))

    async def do_something(self, client: Client) -> None:
        what = self.random.random()
        if what < 0.7:
            with trio.move_on_after(self.random.uniform(0.02, 8)):
                await self.look(client)
                await trio.sleep(self.random.uniform(0, 2))
        elif what < 0.8:
            await client.create_game(password="x", unlisted=self.random.random() < 0.5)
        elif client.game is not None:
            await client.invite(self.random.choice(NAMES))
        if client.game is not None and self.random.random() < 0.7:
            await client.leave_game()

    async def look(self, client: Client) -> None:
        accepts = self.random.random() < 0.8
        async with client.find_game(accept=accepts) as search:
            async for _ in search:
                if search.is_found and not accepts and self.random.random() < 0.5:
                    with suppress(RequestFailed):
                        await search.accept()

    async def trouble(self) -> None:
        """Do at random what befalls servers and users."""
        while trio.current_time() < self.until:
            await trio.sleep(self.random.uniform(0, 3))
            name = self.random.choice(sorted(self.servers.nodes))
            await self.befall(self.servers.nodes[name], self.random.choice(NAMES))

    async def befall(self, node: HostedNode, user: str) -> None:
        network, engine, servers = self.servers.network, node.engine, self.servers
        match self.random.randrange(10):
            case 0:
                await servers.stop(node.name)
                await servers.start(node.name)
            case 1:
                servers.kill(node.name)
                await trio.sleep(self.random.uniform(0, LEASE))
                await servers.start(node.name)
            case 2:
                engine.cut = True
                await trio.sleep(self.random.uniform(0, 2 * LEASE))
                engine.cut = False
            case 3:
                engine.request_delay = engine.answer_delay = self.random.uniform(0, 1.5)
                await trio.sleep(self.random.uniform(0, 5))
                engine.request_delay = engine.answer_delay = 0.0
            case 4:
                engine.lost_answers = 3
            case 5:
                name = self.random.choice([user, user.upper()])
                with suppress(ServerError):
                    await node.ban(name, seconds=self.random.randint(1, 10))
            case 6:
                with suppress(ServerError):
                    await node.kick(user)
            case 7:
                with suppress(AccountRefusal):
                    node.delete_user(user)
            case 8:
                network.partition(user)
                await trio.sleep(self.random.uniform(0, 10))
                network.heal(user)
            case _:
                network.drop(user)


def check_nobody_waits(servers: HostedCluster) -> None:
    """No queue knows of anybody: all searches are over."""
    for node in servers.nodes.values():
        for line in context_of(node).matchmaker._lines.values():
            assert (len(line.pool), line.searches, line.pool.deadline) == (0, {}, None)


async def log_in(servers: HostedCluster, name: str) -> Client:
    """Log in as soon as a ban is over, and a name is free whose user was deleted."""
    with trio.fail_after(100):
        while True:
            with suppress(ConnectFailed):
                return await servers.play(name, "secret")
            await trio.sleep(1)


async def persist(client: Client) -> None:
    """Look for a game until there is one: this one does not let in everybody."""
    if client.game is not None:
        await client.leave_game()
    with trio.fail_after(200):
        while client.game is None:
            with suppress(RequestFailed):
                async with client.find_game():
                    pass
            await trio.sleep(0.1)


@pytest.mark.parametrize("seed", range(2))
async def test_nobody_is_in_two_matches_and_nobody_waits_for_ever(
    seed: int, autojump_clock: MockClock
) -> None:
    network = SimulatedNetwork(seed, latency=0.02, jitter=0.05)
    game = moody(network.random("game"))
    async with cluster(game, network=network, lease=LEASE) as servers:
        crowd = Crowd(servers, network.random("users"), trio.current_time() + LASTS)
        async with trio.open_nursery() as nursery:
            # Two programs of one user put each other out.
            for name in [*NAMES, *NAMES[:3]]:
                nursery.start_soon(crowd.visit, name)
            nursery.start_soon(crowd.trouble)
        await trio.sleep(2 * LEASE)
        check_nobody_waits(servers)
        clients = [await log_in(servers, name) for name in NAMES]
        check_whole(servers, *clients)
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(persist, client)
        await trio.sleep(5)
        check_whole(servers, *clients)
