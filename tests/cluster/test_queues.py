"""Users of all servers of a cluster meet in one queue."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio

from pgnet_trio import Client, Game, PGNetError, Queue, ReasonCode, RequestFailed
from pgnet_trio.testing.clusters import HostedCluster, HostedNode, cluster
from pgnet_trio.testing.network import SimulatedNetwork
from tests.server.test_moving import context_of

if TYPE_CHECKING:
    from trio.testing import MockClock

LEASE = 10.0


class Duel(Game):
    matchmaking = Queue(confirm=10)
    max_players = 2

    def view(self) -> dict[str, Any]:
        return {"players": sorted(self.room.players), "options": dict(self.room.options)}


class Modes(Game):
    matchmaking = {"blitz": Queue(wait=1000), "slow": Queue(size=3)}  # noqa: RUF012 - as an author writes it


async def find(client: Client, queue: str = "", **arguments: Any) -> None:
    with trio.fail_after(300):
        async with client.find_game(queue, **arguments):
            pass


async def find_all(*clients: Client) -> None:
    async with trio.open_nursery() as nursery:
        for client in clients:
            nursery.start_soon(find, client)


def node_of(servers: HostedCluster, username: str) -> HostedNode:
    """Return the one server at which a user is."""
    (node,) = [each for each in servers.nodes.values() if username in each.stats().sessions]
    return node


def check_whole(servers: HostedCluster, *clients: Client) -> None:
    """Each user is in the game that they think they are in, and each game knows its users."""
    for client in clients:
        stats = node_of(servers, client.username).stats()
        assert stats.sessions[client.username].game == client.game
        if client.game is not None:
            assert client.username in stats.games[client.game].room.players
    for node in servers.nodes.values():
        for name, game in node.stats().games.items():
            assert sorted(game.room.players) == sorted(
                client.username for client in clients if client.game == name
            )


async def test_users_of_all_servers_meet_in_one_game(autojump_clock: MockClock) -> None:
    async with cluster(Duel) as servers:
        ann = await servers.play("ann", node="a")
        bob = await servers.play("bob", node="b")
        await find_all(ann, bob)
        assert ann.game == bob.game is not None
        assert ann.get_state(dict) == {"players": ["ann", "bob"], "options": {"queue": ""}}
        check_whole(servers, ann, bob)
        # The game is one of the cluster as any other.
        await trio.sleep(30)
        eve = await servers.play("eve", node="c")
        assert list(await eve.get_game_dir()) == [ann.game]


async def test_many_users_at_three_servers_are_each_in_one_match(
    autojump_clock: MockClock,
) -> None:
    async with cluster(Duel, network=SimulatedNetwork(1, latency=0.02)) as servers:
        clients = [
            await servers.play(f"user{number}", node="abc"[number % 3]) for number in range(12)
        ]
        await find_all(*clients)
        assert len({client.game for client in clients}) == 6
        check_whole(servers, *clients)


async def test_each_queue_is_at_a_server_of_its_own(autojump_clock: MockClock) -> None:
    async with cluster(Modes) as servers:
        users = {
            name: await servers.play(name, node=node)
            for name, node in (("ann", "a"), ("bob", "b"), ("cleo", "c"), ("dan", "a"))
        }
        async with trio.open_nursery() as nursery:
            nursery.start_soon(find, users["ann"], "blitz")
            await trio.sleep(1)
            nursery.start_soon(find, users["bob"], "slow")
            await trio.sleep(1)
            assert node_of(servers, "ann").name == "a"
            assert node_of(servers, "bob").name == "b"
            nursery.start_soon(find, users["cleo"], "blitz")
            await trio.sleep(1)
            assert users["cleo"].game == users["ann"].game is not None
            nursery.cancel_scope.cancel()
        assert users["bob"].game is None


async def test_users_of_a_server_that_is_drained_keep_their_places(
    autojump_clock: MockClock,
) -> None:
    async with cluster(Modes, nodes=2) as servers:
        ann = await servers.play("ann", node="a")
        bob = await servers.play("bob", node="a")
        async with trio.open_nursery() as nursery:
            for client in (ann, bob):
                nursery.start_soon(find, client, "slow")
                await trio.sleep(50)
            await servers.stop("a")
            await trio.sleep(5)
            assert node_of(servers, "ann") is node_of(servers, "bob") is servers.nodes["b"]
            cleo = await servers.play("cleo", node="b")
            async with cleo.find_game("slow") as search:
                # Whoever has come along is before whoever comes now.
                assert search.position == 3
        assert ann.game == bob.game == cleo.game is not None
        check_whole(servers, ann, bob, cleo)


async def test_whoever_is_sent_to_a_server_that_begins_to_end_finds_the_queue_elsewhere(
    autojump_clock: MockClock,
) -> None:
    async with cluster(Duel) as servers:
        ann = await servers.play("ann", node="a")
        bob = await servers.play("bob", node="b")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(find, ann)
            await trio.sleep(1)
            servers.nodes["b"].engine.answer_delay = 0.5
            nursery.start_soon(find, bob)
            # Its server has asked where the queue is, and has not heard the answer.
            await trio.sleep(0.3)
            await servers.stop("a")
        assert ann.game == bob.game is not None
        check_whole(servers, ann, bob)


async def test_whoever_waits_at_a_server_that_the_queue_has_left_goes_after_it(
    autojump_clock: MockClock,
) -> None:
    async with cluster(Duel, lease=LEASE) as servers:
        ann = await servers.play("ann", node="a")
        bob = await servers.play("bob", node="b")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(find, ann)
            await trio.sleep(1)
            # It renews no lease, so the others leave it; it can still talk to its users.
            servers.nodes["a"].engine.cut = True
            await trio.sleep(LEASE)
            nursery.start_soon(find, bob)
            await trio.sleep(1)
            assert (ann.game, bob.game) == (None, None)
            servers.nodes["a"].engine.cut = False
        assert ann.game == bob.game is not None
        check_whole(servers, ann, bob)


async def test_a_server_that_dies_takes_no_search_along(autojump_clock: MockClock) -> None:
    async with cluster(Duel, lease=LEASE) as servers:
        ann = await servers.play("ann", "secret")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(find, ann)
            await trio.sleep(1)
            servers.kill(node_of(servers, "ann").name)
            bob = await servers.play("bob", "secret")
            await find(bob)
        assert ann.game == bob.game is not None
        check_whole(servers, ann, bob)


def forget_to_move(servers: HostedCluster, client: Client) -> None:
    """Have the servers take a client for one of a release that cannot be sent anywhere."""
    session = context_of(node_of(servers, client.username)).sessions.holder(client.username)
    assert session is not None
    assert session.client.delivery is not None
    session.client.delivery.features -= {"moved"}


async def test_whoever_cannot_be_sent_to_the_queue_is_refused(autojump_clock: MockClock) -> None:
    async with cluster(Duel, nodes=2) as servers:
        ann = await servers.play("ann", node="a")
        bob = await servers.play("bob", node="b")
        forget_to_move(servers, bob)
        async with ann.find_game() as search:
            with pytest.raises(RequestFailed, match="cannot be sent there") as caught:
                await find(bob)
            assert caught.value.code == ReasonCode.UNKNOWN_QUEUE
            search.cancel()
        # They look here where nobody looks elsewhere, as soon as that server has ended.
        await servers.stop("a")
        async with bob.find_game() as search:
            assert search.position == 1
            search.cancel()


async def test_whoever_cannot_go_after_the_queue_is_put_out(autojump_clock: MockClock) -> None:
    async with cluster(Duel, lease=LEASE) as servers:
        ann = await servers.play("ann", node="a")
        bob = await servers.play("bob", node="b")
        forget_to_move(servers, ann)
        async with trio.open_nursery() as nursery:
            with pytest.raises(RequestFailed, match="cannot be sent there"):
                async with ann.find_game():
                    servers.nodes["a"].engine.cut = True
                    await trio.sleep(LEASE)
                    nursery.start_soon(find, bob)
                    await trio.sleep(1)
                    servers.nodes["a"].engine.cut = False
            nursery.cancel_scope.cancel()


async def test_matches_of_two_servers_have_other_numbers(autojump_clock: MockClock) -> None:
    """A client that has moved may yet confirm a match that it was offered before."""
    async with cluster(Duel, nodes=2) as servers:
        ann = await servers.play("ann", node="a")
        bob = await servers.play("bob", node="a")
        numbers = set()
        for _ in range(2):
            async with ann.find_game(accept=False) as one, bob.find_game(accept=False) as other:
                async for search in other:
                    if search.is_found:
                        break
                numbers.add(other._match)
                for search in (one, other):
                    search.cancel()
            if "a" in servers.nodes:
                await servers.stop("a")
        assert len(numbers) == 2


async def test_whoever_logs_in_elsewhere_is_in_the_queue_once(autojump_clock: MockClock) -> None:
    async with cluster(Duel) as servers:
        older = await servers.play("ann", "secret", node="a")
        async with trio.open_nursery() as nursery:

            async def lose() -> None:
                with pytest.raises(PGNetError):
                    await find(older)

            nursery.start_soon(lose)
            await trio.sleep(1)
            newer = await servers.play("ann", "secret", node="b")
            nursery.start_soon(find, newer)
            await trio.sleep(5)
            assert {newer.game} == {None}
            bob = await servers.play("bob", node="c")
            await find(bob)
        assert newer.game == bob.game is not None
        check_whole(servers, newer, bob)


async def test_a_kick_reaches_a_user_in_the_queue_of_another_server(
    autojump_clock: MockClock,
) -> None:
    async with cluster(Duel) as servers:
        ann = await servers.play("ann", node="a")
        bob = await servers.play("bob", node="b")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(find, bob)
            await trio.sleep(1)

            async def lose() -> None:
                with pytest.raises(PGNetError):
                    await find(ann, properties={"mode": "blitz"})

            nursery.start_soon(lose)
            await trio.sleep(1)
            assert node_of(servers, "ann") is servers.nodes["b"]
            assert await servers.nodes["c"].kick("ann", "Out.")
            await trio.sleep(2)
            eve = await servers.play("eve", node="a")
            await find(eve)
        assert bob.game == eve.game is not None
        check_whole(servers, bob, eve)


async def test_while_the_database_is_away_a_search_is_refused_and_waiting_goes_on(
    autojump_clock: MockClock,
) -> None:
    async with cluster(Duel, nodes=2) as servers:
        ann = await servers.play("ann", node="a")
        bob = await servers.play("bob", node="b")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(find, ann)
            await trio.sleep(1)
            servers.nodes["b"].engine.cut = True
            with pytest.raises(RequestFailed, match="cannot agree on this queue") as caught:
                await find(bob)
            assert caught.value.code == ReasonCode.BUSY
            servers.nodes["b"].engine.cut = False
            await find(bob)
        assert ann.game == bob.game is not None


async def test_a_match_waits_while_no_table_can_be_claimed(autojump_clock: MockClock) -> None:
    async with cluster(Duel, nodes=2) as servers:
        ann = await servers.play("ann", node="a")
        bob = await servers.play("bob", node="a")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(find, ann)
            await trio.sleep(1)
            async with bob.find_game(accept=False) as search:
                async for _ in search:
                    if search.is_found:
                        break
                servers.nodes["a"].engine.cut = True
                await search.accept()
                await trio.sleep(5)
                assert (ann.game, bob.game) == (None, None)
                servers.nodes["a"].engine.cut = False
                async for _ in search:
                    if search.is_found:
                        with suppress(RequestFailed):
                            await search.accept()
        assert ann.game == bob.game is not None
        check_whole(servers, ann, bob)


async def test_lost_answers_of_the_database_make_no_second_match(
    autojump_clock: MockClock,
) -> None:
    async with cluster(Duel) as servers:
        clients = [
            await servers.play(name, node=node)
            for name, node in zip(["ann", "bob", "cleo", "dan"], "abca", strict=True)
        ]
        for node in servers.nodes.values():
            node.engine.lost_answers = 2
        for _ in range(3):
            async with trio.open_nursery() as nursery:
                for client in clients:

                    async def persist(client: Client = client) -> None:
                        while client.game is None:
                            with suppress(RequestFailed):
                                await find(client)
                            await trio.sleep(0.1)

                    nursery.start_soon(persist)
            check_whole(servers, *clients)
            for client in clients:
                await client.leave_game()
            for node in servers.nodes.values():
                node.engine.lost_answers = 3
