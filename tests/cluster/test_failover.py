"""What users wait for when a server dies: in virtual time, whatever their clients' luck."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import pytest
import trio

from pgnet_trio.server.node.watch import NodeWatch
from pgnet_trio.testing import SimulatedNetwork
from pgnet_trio.testing.clusters import cluster
from pgnet_trio.testing.engine import SimulatedDatabase, SimulatedEngine
from tests.cluster.test_servers import Counter, count, count_again

if TYPE_CHECKING:
    from trio.testing import MockClock

    from pgnet_trio import Client
    from pgnet_trio.server.cluster.records import Node

LEASE = 4.0


@pytest.mark.parametrize("nodes", [2, 3])
@pytest.mark.parametrize("seed", range(4))
async def test_the_first_answer_elsewhere_comes_within_a_lease_and_a_second(
    seed: int, nodes: int, autojump_clock: MockClock
) -> None:
    network = SimulatedNetwork(seed=seed)
    async with cluster(Counter, nodes=nodes, lease=LEASE, network=network) as servers:
        players = [await servers.play(f"user{n}", "secret", game="table") for n in range(4)]
        await count(players[0])
        # At any time between two renewals.
        await trio.sleep(3 * LEASE + network.random("death").random() * LEASE)
        (first,) = [name for name, node in servers.nodes.items() if node.games]
        servers.kill(first)
        died = trio.current_time()
        waits: list[float] = []

        async def come_back(player: Client) -> None:
            await count_again(player)
            waits.append(trio.current_time() - died)

        async with trio.open_nursery() as nursery:
            for player in players:
                nursery.start_soon(come_back, player)
        assert statistics.median(waits) <= LEASE
        assert max(waits) <= LEASE + 1


async def test_nobody_is_sent_to_a_server_that_has_died_since(autojump_clock: MockClock) -> None:
    # The only server that this client knows has sent it to the one that dies.
    async with cluster(Counter, nodes=2, lease=LEASE) as servers:
        bob = await servers.play("bob", "secret", node="a", game="table")
        ann = await servers.play("ann", "secret", node="b")
        await ann.join_game("table")
        assert servers.nodes["b"].stats().sessions == {}
        assert await count(bob) == 1
        await trio.sleep(3 * LEASE)
        servers.kill("a")
        died = trio.current_time()
        assert await count_again(ann) == 2
        assert trio.current_time() - died <= LEASE + 1
        assert list(servers.nodes["b"].games) == ["table"]


async def test_who_joins_a_game_of_a_dead_server_keeps_the_session(
    autojump_clock: MockClock,
) -> None:
    async with cluster(Counter, nodes=2, lease=LEASE) as servers:
        bob = await servers.play("bob", "secret", node="a", game="table")
        ann = await servers.play("ann", "secret", node="b")
        assert await count(bob) == 1
        await trio.sleep(3 * LEASE)
        servers.kill("a")
        # It should have renewed its lease by now.
        await trio.sleep(LEASE / 2)
        await ann.join_game("table")
        assert ann.connected
        assert await count(ann) == 2


async def test_a_server_that_was_only_late_is_found_again_soon(autojump_clock: MockClock) -> None:
    engine = SimulatedEngine(SimulatedDatabase(lease=LEASE))
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        lease = await engine.register("late", "")
        watch = NodeWatch(engine)
        await trio.sleep(LEASE / 2)
        start = trio.current_time()
        # It is not heard of within this time: whoever waits may as well try it.
        assert await watch.wait_for_life(lease.node, 0.2) is not None
        assert trio.current_time() - start == pytest.approx(0.2, abs=0.1)
        await engine.renew(lease.node)
        assert await watch.wait_for_life(lease.node, LEASE) is not None
        assert trio.current_time() - start < LEASE / 2
        nursery.cancel_scope.cancel()


async def test_many_who_wait_for_a_silent_server_ask_once_for_all(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = SimulatedEngine(SimulatedDatabase(lease=LEASE))
    asked = 0
    nodes = engine.nodes

    async def counted() -> list[Node]:
        nonlocal asked
        asked += 1
        return await nodes()

    monkeypatch.setattr(engine, "nodes", counted)
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        lease = await engine.register("silent", "")
        watch = NodeWatch(engine)
        alive = await watch.wait_for_life(lease.node, LEASE)
        assert alive is not None
        await trio.sleep(LEASE / 2)
        asked, start = 0, trio.current_time()
        found: list[Node | None] = []

        async def wait() -> None:
            found.append(await watch.wait_for_life(lease.node, LEASE))

        async with trio.open_nursery() as waiting:
            for _ in range(1000):
                waiting.start_soon(wait)
        assert found == [None] * 1000
        assert trio.current_time() - start == pytest.approx(LEASE / 2, abs=0.3)
        assert asked <= 5
        nursery.cancel_scope.cancel()
