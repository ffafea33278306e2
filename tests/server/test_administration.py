"""Push, kick, announce, and who is there, at a server alone: the same names as in a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from pgnet_trio import (
    Game,
    Packet,
    Push,
    ReasonCode,
    Request,
    Response,
    Server,
    ServerError,
)
from pgnet_trio.messages import ANNOUNCEMENT
from pgnet_trio.protocol import v2
from pgnet_trio.protocol.v2.features import ANNOUNCEMENTS, FEATURES
from pgnet_trio.server.cluster.notes import Announce, KickUser
from pgnet_trio.server.user_notes import UserNotes
from pgnet_trio.testing import HostedServer, SimulatedNetwork
from pgnet_trio.testing.hosting import Kit

if TYPE_CHECKING:
    from trio.testing import MockClock

    from pgnet_trio import Client


@attrs.frozen
class Invitation:
    table: str


class Echo(Game):
    def handle_game_packet(self, packet: Packet) -> Response:
        return Response(packet.message)


async def host(table: Kit) -> tuple[HostedServer, Client, Client]:
    """Host two users, of whom one is in a game."""
    server = await table.host(Echo, admin_password="secret")
    ann = await table.play("ann", game="table")
    return server, ann, await table.play("bob")


async def test_a_push_reaches_users_in_games_and_in_none(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as table:
        server, ann, bob = await host(table)
        for client in (ann, bob):
            assert await server.push(client.username, Invitation("one"))
            assert await anext(client.pushes(Invitation)) == Invitation("one")
            assert await server.push(client.username, "hello", {"from": "the host"})
            assert await anext(client.pushes()) == Push("hello", {"from": "the host"})
        assert not await server.push("cleo", "hello")


async def test_of_pushes_to_who_reads_too_slowly_the_newest_arrive_and_the_others_are_counted(
    autojump_clock: MockClock,
) -> None:
    async with Kit(SimulatedNetwork()) as table:
        server = await table.host(Echo, max_unacknowledged_messages=50)
        ann = await table.play("ann")
        heard: list[str] = []
        ann.on_push = lambda push: heard.append(push.message)
        server.network.cut("ann")
        sent = [str(number) for number in range(500)]
        for text in sent:
            assert await server.push("ann", text)
        server.network.heal("ann")
        await trio.sleep(5)
        assert 0 < len(heard) < 500
        assert heard[-30:] == sent[-30:]
        assert ann.lost_pushes == 500 - len(heard)


@pytest.mark.parametrize(
    ("message", "error"),
    [("__pgnet__.players", ValueError), (3, TypeError), ({"a": 1}, TypeError), (object, TypeError)],
)
async def test_what_is_no_push_is_refused(
    autojump_clock: MockClock, message: Any, error: type[Exception]
) -> None:
    async with Kit(SimulatedNetwork()) as table:
        server, _, _ = await host(table)
        with pytest.raises(error):
            await server.push("ann", message)


async def test_a_user_is_kicked_and_reads_why(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as table:
        server, ann, bob = await host(table)
        assert await server.kick("ann", "No insults, please.")
        assert await server.kick("bob")
        await trio.sleep(1)
        assert (ann.close_reason, ann.close_code) == ("No insults, please.", ReasonCode.KICKED)
        assert bob.close_reason == "The administrator has ended your session."
        assert not await server.kick("ann", "Once more.")
        with pytest.raises(ValueError, match="at most 200"):
            await server.kick("ann", "x" * 201)
        # It is no ban.
        assert (await table.play("ann")).connected


async def test_a_user_who_is_away_is_kicked_and_reads_why(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as table:
        server, ann, _ = await host(table)
        table.network.partition("ann")
        table.network.drop("ann")
        await trio.sleep(1)
        assert not ann.online
        assert await server.kick("ann", "Out.")
        await trio.sleep(1)
        table.network.heal("ann")
        await trio.sleep(30)
        assert not ann.connected
        assert (ann.close_reason, ann.close_code) == ("Out.", ReasonCode.KICKED)


async def test_a_user_who_is_away_is_deleted_and_does_not_register_anew(
    autojump_clock: MockClock,
) -> None:
    """Not by themselves, when the client comes back."""
    async with Kit(SimulatedNetwork()) as table:
        server, ann, _ = await host(table)
        table.network.partition("ann")
        table.network.drop("ann")
        await trio.sleep(1)
        server.delete_user("ann")
        await trio.sleep(1)
        table.network.heal("ann")
        await trio.sleep(30)
        assert not ann.connected
        assert ann.close_code == ReasonCode.USER_DELETED


async def test_announcements_are_told_to_all_or_to_a_game(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as table:
        server, ann, bob = await host(table)
        heard: dict[str, list[str]] = {"ann": [], "bob": []}
        pushes: list[Push] = []
        for client in (ann, bob):
            client.on_announcement = heard[client.username].append
            client.on_push = pushes.append
        await server.announce("hello")
        await server.announce("to the table", game="table")
        await trio.sleep(1)
        assert heard == {"ann": ["hello", "to the table"], "bob": ["hello"]}
        assert pushes == []
        for text in ("", "x" * 1001):
            with pytest.raises(ValueError, match="1 to 1,000"):
                await server.announce(text)


async def test_the_admin_hears_that_an_announcement_to_no_game_reached_nobody(
    autojump_clock: MockClock,
) -> None:
    async with Kit(SimulatedNetwork()) as table:
        _, ann, _ = await host(table)
        heard: list[str] = []
        ann.on_announcement = heard.append
        admin = await table.play("admin", "secret")

        async def announce(game: str) -> Response:
            return await admin.request(Packet(Request.ANNOUNCE, {"text": "hello", "game": game}))

        refusal = await announce("tabel")
        assert refusal.message == "The game 'tabel' is not played now: nobody was told."
        assert refusal.code == ReasonCode.UNKNOWN_GAME
        assert (await announce("table")).message == "The users in the game 'table' are told."
        await trio.sleep(1)
        assert heard == ["hello"]
        # Nothing was done that the audit log would have to name.
        entries = (await admin.request(Packet(Request.AUDIT))).payload["entries"]
        assert len(entries) == 1


async def test_who_is_kicked_right_after_an_announcement_has_heard_it(
    autojump_clock: MockClock,
) -> None:
    async with Kit(SimulatedNetwork()) as table:
        server, ann, bob = await host(table)
        heard: list[str] = []
        ann.on_announcement = bob.on_announcement = heard.append
        context = server._context("this test reads its mail")
        # As two mails of another server that are read at once.
        notes = UserNotes(context)
        notes.take(Announce("id", "We close."))
        notes.take(KickUser("ann", "Out."))
        await trio.sleep(1)
        assert heard == ["We close."] * 2
        assert ann.close_reason == "Out."


async def test_a_client_without_the_feature_is_told_nothing(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = v2.ClientProtocol.__init__.__kwdefaults__
    assert options is not None
    monkeypatch.setitem(options, "features", FEATURES - {ANNOUNCEMENTS})
    async with Kit(SimulatedNetwork()) as table:
        server, ann, _ = await host(table)
        came: list[str] = []
        receive = v2.ClientProtocol.receive

        def noting(self: v2.ClientProtocol, message: str | bytes) -> Any:
            events = receive(self, message)
            came.extend(event.push.message for event in events if hasattr(event, "push"))
            return events

        monkeypatch.setattr(v2.ClientProtocol, "receive", noting)
        await server.announce("hello")
        assert await server.push("ann", "after it")
        assert (await anext(ann.pushes())).message == "after it"
        assert ANNOUNCEMENT not in came


async def test_who_is_there_and_the_server_itself_are_shown(autojump_clock: MockClock) -> None:
    async with Kit(SimulatedNetwork()) as table:
        server, _, _ = await host(table)
        assert [user.username for user in await server.users()] == ["ann", "bob"]
        assert [user.username for user in await server.users(after="ann", limit=1)] == ["bob"]
        with pytest.raises(ValueError, match="1 to 1,000"):
            await server.users(limit=0)
        (node,) = await server.cluster.nodes()
        assert (node.name, node.number, node.alive, node.lease_left) == ("", 0, True, None)
        assert (node.rooms, node.users) == (1, 2)


async def test_a_server_that_does_not_run_can_do_none_of_it() -> None:
    server = Server(Echo)
    for call in (
        server.push("ann", "hello"),
        server.kick("ann"),
        server.announce("hello"),
        server.users(),
        server.cluster.nodes(),
    ):
        with pytest.raises(ServerError, match="not running"):
            await call


@pytest.mark.parametrize(
    ("message", "payload", "text"),
    [
        (Request.ANNOUNCE, {"text": ""}, "1 to 1,000"),
        (Request.ANNOUNCE, {"text": "x" * 1001}, "1 to 1,000"),
        (Request.KICK, {"username": "cleo"}, "not logged in"),
        (Request.KICK, {"username": "admin"}, "cannot be put out"),
        (Request.KICK, {"username": "ann", "reason": "x" * 201}, "at most 200"),
        (Request.USERS, {"limit": -1}, "limit"),
        (Request.USERS, {"limit": 1001}, "limit"),
    ],
)
async def test_the_admin_is_refused_what_makes_no_sense(
    autojump_clock: MockClock, message: Request, payload: dict[str, Any], text: str
) -> None:
    async with Kit(SimulatedNetwork()) as table:
        await host(table)
        admin = await table.play("admin", "secret")
        response = await admin.request(Packet(message, payload))
        assert response.status == 2
        assert text in response.message


@pytest.mark.parametrize("message", [Request.ANNOUNCE, Request.KICK, Request.USERS, Request.NODES])
async def test_players_may_ask_for_none_of_it(autojump_clock: MockClock, message: Request) -> None:
    async with Kit(SimulatedNetwork()) as table:
        _, ann, bob = await host(table)
        response = await ann.request(Packet(message))
        is_for_admin = message == Request.NODES
        assert response.code == (
            ReasonCode.ADMIN_ONLY if is_for_admin else ReasonCode.MODERATORS_ONLY
        )
        assert bob.connected
