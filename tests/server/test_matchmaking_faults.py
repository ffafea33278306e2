"""Whatever happens in the middle of a search, nobody is left in half a match."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio

from pgnet_trio import Client, Disconnected, Game, Queue, RequestFailed, Search
from pgnet_trio.server.moving_session import moving_session
from pgnet_trio.testing import HostedServer, SimulatedNetwork, hosting, playing
from tests.kit.moments import Cancelling, at_message
from tests.server.test_moving import context_of

if TYPE_CHECKING:
    from random import Random

    from trio.testing import MockClock


class Duel(Game):
    matchmaking = Queue(confirm=10)
    max_players = 2

    def view(self) -> dict[str, Any]:
        return {"players": self.room.players}


async def find(client: Client) -> None:
    async with client.find_game():
        pass


async def check_whole(server: HostedServer, *clients: Client) -> None:
    """Whoever is in a game is so at both ends, and nobody is left behind in a queue."""
    stats = server.stats()
    for client in clients:
        assert stats.sessions[client.username].game == client.game
    for name, game in stats.games.items():
        assert sorted(game.room.players) == sorted(
            client.username for client in clients if client.game == name
        )


async def play_again(server: HostedServer, ann: Client, bob: Client) -> None:
    """The two find each other now, whatever was before."""
    for client in (ann, bob):
        if client.game is not None:
            await client.leave_game()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(find, ann)
        nursery.start_soon(find, bob)
    assert ann.game == bob.game is not None
    await check_whole(server, ann, bob)


async def cancel_at(number: int, *, message: bool) -> bool:
    """Play one duel, in which ann gives up at one step of her task, or at one message.

    Returns:
        Whether there was such a step, or message.
    """
    network = SimulatedNetwork(number, latency=0.05)
    async with hosting(Duel, network=network) as server:
        async with playing(server, "ann", "bob") as (ann, bob):
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
                nursery.start_soon(give_up)
                with trio.move_on_after(30):
                    await find(bob)
                trio.lowlevel.remove_instrument(cancelling)
                network.on_record = None
            await trio.sleep(1)
            await check_whole(server, ann, bob)
            if cancelling.scope.cancelled_caught:
                # Bob waits for another one, or is in a game that ann has left.
                assert ann.game is None
            else:
                assert ann.game == bob.game is not None
            await play_again(server, ann, bob)
    return cancelling.scope.cancel_called


async def test_a_search_can_be_cancelled_at_each_of_its_awaits(autojump_clock: MockClock) -> None:
    number = 1
    while await cancel_at(number, message=False):
        number += 1
    assert number > 3


async def test_a_search_can_be_cancelled_at_each_message(autojump_clock: MockClock) -> None:
    number = 1
    while await cancel_at(number, message=True):
        number += 1
    assert number > 8


async def drop_at(number: int, *, crash: bool) -> bool:
    """Play one duel, in which a connection drops at one message, or the server crashes.

    Returns:
        Whether there was such a message.
    """
    network = SimulatedNetwork(number, latency=0.05)
    async with hosting(Duel, network=network) as server:
        async with playing(server, "ann", "bob") as (ann, bob):
            dropped = trio.Event()

            note = at_message(number, dropped.set)

            async def drop() -> None:
                await dropped.wait()
                with trio.CancelScope(shield=True):
                    if crash:
                        await server.restart(crash=True)
                    else:
                        network.drop("ann" if number % 2 else "bob")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(drop)
                network.on_record = note
                async with trio.open_nursery() as finding:
                    finding.start_soon(find, ann)
                    finding.start_soon(find, bob)
                network.on_record = None
                nursery.cancel_scope.cancel()
            await trio.sleep(5)
            assert ann.game == bob.game
            await check_whole(server, ann, bob)
            await play_again(server, ann, bob)
    return dropped.is_set()


async def test_a_connection_may_drop_at_each_message_of_a_search(autojump_clock: MockClock) -> None:
    number = 1
    while await drop_at(number, crash=False):
        number += 1
    assert number > 8


async def test_the_server_may_crash_at_each_message_of_a_search(autojump_clock: MockClock) -> None:
    number = 1
    while await drop_at(number, crash=True):
        number += 1
    assert number > 8


async def come_and_go(client: Client, randomness: Random) -> None:
    for _ in range(4):
        with trio.move_on_after(randomness.uniform(0.05, 4)):
            await find(client)
            await trio.sleep(randomness.uniform(0, 1))
        if client.game is not None:
            # A search that was cancelled may be about to take the user out of its game.
            with suppress(RequestFailed):
                await client.leave_game()
        await trio.sleep(randomness.uniform(0, 1))


async def test_many_who_come_and_go_are_never_in_half_a_match(autojump_clock: MockClock) -> None:
    for seed in range(5):
        network = SimulatedNetwork(seed, latency=0.02, jitter=0.05)
        randomness = network.random("players")
        async with hosting(Duel, network=network) as server:
            names = [f"player{number}" for number in range(8)]
            async with playing(server, *names, reconnect_for=None) as clients:
                network.conditions.drop_rate = 0.01
                async with trio.open_nursery() as nursery:
                    for client in clients:
                        nursery.start_soon(come_and_go, client, randomness)
                network.conditions.drop_rate = 0.0
                await trio.sleep(30)
                await check_whole(server, *clients)
                assert server.stats().games == {}
                await play_again(server, clients[0], clients[1])


async def until(search: Search, *, is_found: bool) -> None:
    with trio.fail_after(5):
        while search.is_found != is_found:
            await anext(search)


async def test_whoever_is_packed_up_is_in_no_match_and_in_one_if_they_stay(
    autojump_clock: MockClock,
) -> None:
    async with hosting(Duel) as server, playing(server, "ann", "bob") as (ann, bob):
        context = context_of(server)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(find, ann)
            await trio.sleep(1)
            async with moving_session(context, "ann", in_own_task=False):
                async with bob.find_game() as search:
                    await trio.sleep(5)
                    assert not search.is_found
                    search.cancel()
            nursery.start_soon(find, bob)
        assert ann.game == bob.game is not None
        await check_whole(server, ann, bob)


async def test_a_match_is_called_off_when_one_of_it_is_packed_up(
    autojump_clock: MockClock,
) -> None:
    async with hosting(Duel) as server, playing(server, "ann", "bob") as (ann, bob):
        context = context_of(server)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(find, ann)
            async with bob.find_game(accept=False) as search:
                await until(search, is_found=True)
                async with moving_session(context, "ann", in_own_task=False):
                    await until(search, is_found=False)
                async for _ in search:
                    if search.is_found:
                        await search.accept()
        assert ann.game == bob.game is not None
        await check_whole(server, ann, bob)


# A user who is put out in the middle


class Slow(Duel):
    """Takes its time to let the second player in."""

    async def user_joined(self, username: str) -> None:
        if self.room.players != [username]:
            await trio.sleep(5)


@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize("moment", [0.5, 2.0, 5.0, 9.5])
@pytest.mark.parametrize("how", ["ban", "kick", "delete_user"])
async def test_whoever_is_put_out_takes_no_place_and_holds_up_nobody(
    how: str, moment: float, away: bool, autojump_clock: MockClock
) -> None:
    """They wait, are in a match that is to be confirmed, are let in, or are in the game."""
    async with hosting(Slow) as server, playing(server, "bob", "eve") as (bob, eve):

        async def look() -> None:
            with suppress(Disconnected, RequestFailed):
                async with server.client("ann", "secret", reconnect_for=0) as ann:
                    async with ann.find_game(accept=False) as search:
                        await trio.sleep(3)
                        await search.accept()
                    await trio.sleep_forever()

        async def bob_looks() -> None:
            await trio.sleep(1)
            await find(bob)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            nursery.start_soon(bob_looks)
            await trio.sleep(moment)
            if away:
                server.network.partition("ann")
                server.network.drop("ann")
                await trio.sleep(0.1)
            done = getattr(server, how)("ann")
            if done is not None:
                await done
            await trio.sleep(1)
            for line in context_of(server).matchmaker._lines.values():
                assert "ann" not in line.searches
                assert line.pool.get("ann") is None
            await trio.sleep(9)
            if bob.game is not None:
                assert server.stats().games[bob.game].room.players == ("bob",)
                await bob.leave_game()
                nursery.start_soon(find, bob)
            await find(eve)
            await trio.sleep(1)
            assert eve.game == bob.game is not None
            await check_whole(server, bob, eve)
            nursery.cancel_scope.cancel()
