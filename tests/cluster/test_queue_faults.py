"""Whatever happens while users of all servers look for a game, nobody is in half a match."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trio

from pgnet_trio import Client, RequestFailed, SessionLost
from pgnet_trio.testing.clusters import HostedCluster, cluster
from pgnet_trio.testing.network import SimulatedNetwork
from tests.cluster.test_queues import Duel, check_whole, find, node_of
from tests.kit.moments import Cancelling, at_message

if TYPE_CHECKING:
    from random import Random

    from trio.testing import MockClock

LEASE = 10.0


async def persist(client: Client) -> None:
    """Look for a game until there is one: a server that is away refuses searches."""
    with trio.fail_after(300):
        while client.game is None:
            with suppress(RequestFailed):
                await find(client)
            await trio.sleep(0.1)


async def persist_all(*clients: Client) -> None:
    async with trio.open_nursery() as nursery:
        for client in clients:
            nursery.start_soon(persist, client)


async def leave(*clients: Client) -> None:
    for client in clients:
        if client.game is not None:
            await client.leave_game()


async def play_again(servers: HostedCluster, *clients: Client) -> None:
    """They find each other now, whatever was before; nobody else may be in a game."""
    await leave(*clients)
    await persist_all(*clients)
    await trio.sleep(1)
    assert len({client.game for client in clients}) == len(clients) / 2
    check_whole(servers, *clients)


async def cancel_at(number: int, *, message: bool) -> bool:
    """Play a duel of users of two servers, of whom one gives up at one step, or message.

    Returns:
        Whether there was such a step, or message.
    """
    network = SimulatedNetwork(number, latency=0.05)
    async with cluster(Duel, network=network) as servers:
        ann = await servers.play("ann", node="a")
        bob = await servers.play("bob", node="b")
        cancelling = Cancelling(0 if message else number)
        note = at_message(number, cancelling.scope.cancel)

        async def give_up() -> None:
            cancelling.task = trio.lowlevel.current_task()
            with cancelling.scope:
                await find(ann)
            cancelling.task = None

        async with trio.open_nursery() as nursery:
            trio.lowlevel.add_instrument(cancelling)
            network.on_record = note if message else None
            # Bob's server has the queue: ann is sent there.
            nursery.start_soon(find_for_a_while, bob)
            await trio.sleep(0.01)
            nursery.start_soon(give_up)
        trio.lowlevel.remove_instrument(cancelling)
        network.on_record = None
        await trio.sleep(1)
        check_whole(servers, ann, bob)
        if cancelling.scope.cancelled_caught:
            assert ann.game is None
        else:
            assert ann.game == bob.game is not None
        await play_again(servers, ann, bob)
    return cancelling.scope.cancel_called


async def find_for_a_while(client: Client) -> None:
    with trio.move_on_after(30):
        await find(client)


async def test_a_search_that_goes_elsewhere_can_be_cancelled_at_each_await(
    autojump_clock: MockClock,
) -> None:
    number = 1
    while await cancel_at(number, message=False):
        number += 1
    assert number > 3


async def test_a_search_that_goes_elsewhere_can_be_cancelled_at_each_message(
    autojump_clock: MockClock,
) -> None:
    number = 1
    while await cancel_at(number, message=True):
        number += 2
    assert number > 12


async def drop_the_connection(servers: HostedCluster) -> None:
    await trio.lowlevel.checkpoint()
    servers.network.drop("ann")


async def cut_the_database_off(servers: HostedCluster) -> None:
    engine = servers.nodes["b"].engine
    engine.cut = True
    await trio.sleep(4)
    engine.cut = False


async def lose_answers(servers: HostedCluster) -> None:
    await trio.lowlevel.checkpoint()
    for node in servers.nodes.values():
        node.engine.lost_answers = 2


async def kill_the_home(servers: HostedCluster) -> None:
    await trio.lowlevel.checkpoint()
    servers.kill("b")


@pytest.mark.parametrize(
    "fault", [drop_the_connection, cut_the_database_off, lose_answers, kill_the_home]
)
async def test_whatever_fails_at_each_message_everybody_is_in_one_game(
    autojump_clock: MockClock, fault: Callable[[HostedCluster], Awaitable[None]]
) -> None:
    number = 1
    while await fail_at(number, fault):
        number += 3
    assert number > 12


async def fail_at(number: int, fault: Callable[[HostedCluster], Awaitable[None]]) -> bool:
    """Play a duel of users of two servers, in which something fails at one message.

    Returns:
        Whether there was such a message.
    """
    network = SimulatedNetwork(number, latency=0.05)
    async with cluster(Duel, network=network, lease=LEASE) as servers:
        # Each knows all servers, and begins at the one that it is given.
        ann = await servers.play("ann", "secret")
        bob = await servers.play("bob", "secret")
        eve = await servers.play("eve", node="b")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(find_for_a_while, eve)
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
        await trio.sleep(1)
        happened = trio.Event()

        note = at_message(number, happened.set)

        async def fail() -> None:
            await happened.wait()
            await fault(servers)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            network.on_record = note
            await persist_all(ann, bob)
            network.on_record = None
            if not happened.is_set():
                nursery.cancel_scope.cancel()
        # A server that has died after the match takes its game along.
        await trio.sleep(3 * LEASE)
        await persist_all(ann, bob)
        await trio.sleep(1)
        check_whole(servers, ann, bob)
        await play_again(servers, ann, bob)
    return happened.is_set()


async def come_and_go(client: Client, randomness: Random) -> None:
    for _ in range(5):
        with trio.move_on_after(randomness.uniform(0.05, 6)), suppress(RequestFailed):
            await find(client)
            await trio.sleep(randomness.uniform(0, 1))
        if client.game is not None:
            # A server that ends takes games that are not saved along.
            with suppress(RequestFailed, SessionLost):
                await client.leave_game()
        await trio.sleep(randomness.uniform(0, 1))


async def test_many_who_come_and_go_while_servers_do_are_never_in_half_a_match(
    autojump_clock: MockClock,
) -> None:
    for seed in range(4):
        network = SimulatedNetwork(seed, latency=0.02, jitter=0.05)
        randomness = network.random("players")
        async with cluster(Duel, network=network, lease=LEASE) as servers:
            clients = [await servers.play(f"user{number}", "secret") for number in range(9)]
            async with trio.open_nursery() as nursery:
                for client in clients:
                    nursery.start_soon(come_and_go, client, randomness)
                for _ in range(4):
                    await trio.sleep(randomness.uniform(0, 3))
                    name = randomness.choice(sorted(servers.nodes))
                    node = servers.nodes[name]
                    what = randomness.choice(["stop", "cut", "lose", "drop"])
                    if what == "stop":
                        await servers.stop(name)
                        await servers.start(name)
                    elif what == "cut":
                        node.engine.cut = True
                        await trio.sleep(randomness.uniform(0, 2 * LEASE))
                        node.engine.cut = False
                    elif what == "lose":
                        node.engine.lost_answers = 3
                    else:
                        network.drop(randomness.choice(clients).username)
            await trio.sleep(2 * LEASE)
            assert all(node_of(servers, client.username) for client in clients)
            check_whole(servers, *clients)
            # The ninth too: a user may be left in a match when that could not be left.
            await leave(*clients)
            await play_again(servers, *clients[:8])
