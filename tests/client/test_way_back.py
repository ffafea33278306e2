"""The way back into a game: after a restart that lost it, and from another program of the user."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pgnet_trio import Client, Game, Left, Packet, RequestFailed, Response, StateChanged
from pgnet_trio.protocol.v2.client import ClientProtocol
from pgnet_trio.protocol.v2.features import FEATURES, REJOIN
from pgnet_trio.testing import HostedServer, hosting, playing
from tests.kit.hosting import Recorder


@attrs.frozen
class Table:
    options: dict[str, Any]


class Optional(Game):
    """Shows the options that it was made with. Nothing of it is saved."""

    def view(self, _: str, /) -> Table:
        return Table(dict(self.room.options))

    def handle_game_packet(self, packet: Packet, /) -> Response:
        return Response("heard")


OPTIONS = {"players": 4, "deck": "large"}


async def restart_and_return(server: HostedServer, *order: str) -> None:
    """Start the server anew from nothing, and let users come back one after the other."""
    for name in order:
        server.network.cut(name)
    await server.restart(crash=True)
    for name in order:
        server.network.heal(name)
        await trio.sleep(60)


@pytest.mark.parametrize("order", [("ann", "bob", "eve"), ("eve", "bob", "ann")])
async def test_a_table_that_was_lost_is_made_anew_as_it_was(
    order: tuple[str, ...], autojump_clock: MockClock
) -> None:
    async with (
        hosting(Optional) as server,
        playing(server, "ann", "bob", "eve", reconnect_for=None) as (ann, bob, eve),
    ):
        await ann.create_game("table 1", password="secret", options=OPTIONS)
        await bob.join_game("table 1", password="secret")
        await eve.join_game("table 1", password="secret", spectate=True)
        for _ in range(2):
            await restart_and_return(server, *order)
            for client in (ann, bob, eve):
                assert client.game == "table 1"
                assert await client.wait_state(Table) == Table(OPTIONS)
        assert set(ann.players) == {"ann", "bob"}
        async with server.client("dan") as dan:
            assert (await dan.get_game_dir())["table 1"].options == OPTIONS
            with pytest.raises(RequestFailed, match="password"):
                await dan.join_game("table 1")


@pytest.mark.parametrize("do_next", [False, True])
async def test_what_is_asked_on_the_way_back_is_asked_of_the_game(
    do_next: bool, autojump_clock: MockClock
) -> None:
    async with hosting(Optional) as server, server.client("ann", reconnect_for=None) as ann:
        answers: list[str] = []

        def ask(connected: bool) -> None:
            if not connected:
                ann.send(Packet("look"), lambda said: answers.append(said.message), do_next=do_next)

        await ann.create_game("table 1")
        ann.on_connection = ask
        await server.restart(crash=True)
        await trio.sleep(60)
        assert answers == ["heard"]


async def test_options_are_for_the_table_that_joining_makes(autojump_clock: MockClock) -> None:
    async with (
        hosting(Optional) as server,
        playing(server, "ann", "bob", reconnect_for=None) as (ann, bob),
    ):
        await ann.join_game("table 1", options=OPTIONS)
        await bob.join_game("table 1", options={"size": "another"})
        assert bob.get_state(Table) == Table(OPTIONS)
        await restart_and_return(server, "bob", "ann")
        assert await bob.wait_state(Table) == Table(OPTIONS)
        await ann.leave_game()
        await bob.leave_game()
        await ann.join_game("table 2")
        await bob.join_game("table 2", options=OPTIONS)
        await restart_and_return(server, "bob", "ann")
        assert await bob.wait_state(Table) == Table({})


async def test_a_table_without_options_has_none_again(autojump_clock: MockClock) -> None:
    async with (
        hosting(Optional) as server,
        playing(server, "ann", reconnect_for=None, game="table 1") as ann,
    ):
        response = await ann.request(Packet("x"))
        assert response.message == "heard"
        await restart_and_return(server, "ann")
        assert ann.get_state(Table) == Table({})


async def test_a_server_that_does_not_know_the_feature_is_asked_as_before(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ClientProtocol.__init__

    def without_rejoin(self: ClientProtocol, **options: Any) -> None:
        before(self, **options, features=FEATURES - {REJOIN})

    monkeypatch.setattr(ClientProtocol, "__init__", without_rejoin)
    async with (
        hosting(Optional) as server,
        playing(server, "ann", reconnect_for=None) as ann,
    ):
        response = await ann.create_game("table 1", options=OPTIONS)
        assert "options" not in response.payload
        await restart_and_return(server, "ann")
        assert ann.get_state(Table) == Table({})


class Slow(Optional):
    async def user_joined(self, username: str, /) -> None:
        await trio.sleep(5)


async def look_and_join(client: Client) -> None:
    """Do what programs do that may have been started again."""
    assert client.game is None
    await client.join_game("table 1")


async def test_who_takes_over_from_a_program_that_is_joining_may_join_as_well(
    autojump_clock: MockClock,
) -> None:
    async with hosting(Slow) as server, server.client("bob") as bob:
        await bob.create_game("table 1", options=OPTIONS)
        async with server.client("ann") as first:
            first.join_game("table 1", callback=None)
            await trio.sleep(1)
            async with server.client("ann", reconnect_for=None) as ann:
                await look_and_join(ann)
                assert ann.game == "table 1"
                assert ann.get_state(Table) == Table(OPTIONS)
                # And it finds its way back as who has joined does.
                await restart_and_return(server, "ann")
                assert ann.game == "table 1"
                assert ann.get_state(Table) == Table(OPTIONS)


async def test_who_is_in_a_game_is_not_let_into_another_or_as_somebody_else(
    autojump_clock: MockClock,
) -> None:
    async with hosting(Optional) as server:
        async with playing(server, "ann", game="table 1") as ann:
            await ann.join_game("table 1")
            for name, spectate in (("table 2", False), ("table 1", True)):
                with pytest.raises(RequestFailed, match="leave it first"):
                    await ann.join_game(name, spectate=spectate)
    async with hosting(Recorder) as server, server.client("bob", protocol=1) as bob:
        await bob.join_game("table 2")
        with pytest.raises(RequestFailed, match="leave it first"):
            await bob.join_game("table 2")


async def test_who_took_over_and_never_joined_is_out_of_a_game_that_is_gone(
    autojump_clock: MockClock,
) -> None:
    states: list[Table] = []
    async with hosting(Optional) as server, server.client("ann") as old:
        await old.create_game("table 1")
        async with server.client("ann", reconnect_for=None) as ann:
            events = ann.events()

            async def read() -> None:
                states.extend([state async for state in ann.states(Table)])

            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                await wait_all_tasks_blocked()
                await restart_and_return(server, "ann")
            assert await anext(events) == StateChanged()
            left = await anext(events)
            assert isinstance(left, Left)
            assert left == ann.left
            assert (left.game, left.reason) == ("table 1", "closed")
            assert states == [Table({})]


async def test_what_is_asked_while_the_client_logs_in_again_waits(
    autojump_clock: MockClock,
) -> None:
    heard: list[str] = []

    async with hosting(Optional) as server, server.client("ann", reconnect_for=None) as ann:

        async def ask(connected: bool) -> None:
            if not connected:
                ann.send(Packet("x"), lambda response: heard.append(f"sent, {response.message}"))
                heard.append((await ann.request(Packet("x"))).message)

        await ann.join_game("table 1")
        ann.on_connection = ask
        await server.restart(crash=True)
        await trio.sleep(60)
        # The client is in its game again before that.
        assert sorted(heard) == ["heard", "sent, heard"]
        ann.on_connection = None
