"""A ban holds at all servers that look like one, wherever it was made and wherever the user is."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
import trio

from pgnet_trio import (
    Client,
    Disconnected,
    Game,
    LoginRefused,
    Packet,
    Queue,
    ReasonCode,
    Request,
    Response,
)
from pgnet_trio.testing.clusters import HostedCluster, cluster

if TYPE_CHECKING:
    from trio.testing import MockClock

PASSWORD = "secret"


class Table(Game):
    persistent = True
    matchmaking = Queue(wait=30, confirm=10)

    def __init__(self, name: str, *, save_string: str | None = None) -> None:
        super().__init__(name, save_string=save_string)
        self.gone: list[tuple[str, str]] = []

    def get_save_string(self) -> str:
        return "saved"

    def user_left(self, player: str, reason: str) -> None:
        self.gone.append((player, reason))


async def ask(client: Client, message: Request, **payload: Any) -> Response:
    return (await client.request(Packet(message, payload))).raise_for_status()


async def is_let_in(servers: HostedCluster, node: str) -> bool:
    try:
        async with servers.client("ann", PASSWORD, node=node):
            return True
    except LoginRefused:
        return False


@pytest.mark.parametrize("where", ["in a game", "in the lobby", "away"])
async def test_a_user_at_another_server_is_put_out(autojump_clock: MockClock, where: str) -> None:
    async with cluster(Table, admin_password=PASSWORD) as servers:
        admin = await servers.play("admin", PASSWORD, node="a")
        ann = await servers.play(
            "ann", PASSWORD, node="b", game="one" if where == "in a game" else None
        )
        if where == "away":
            servers.network.partition("ann")
            servers.network.drop("ann")
            await trio.sleep(1)
        await ask(admin, Request.BAN, username="Ann", reason="Insults")
        await trio.sleep(2)
        servers.network.heal("ann")
        await trio.sleep(30)
        assert not ann.connected
        assert (ann.close_code, ann.close_reason) == (
            ReasonCode.BANNED,
            "You are banned: Insults",
        )
        if where == "in a game":
            assert servers.nodes["b"].games["one"].gone == [("ann", "banned")]
        assert [await is_let_in(servers, node) for node in "abc"] == [False] * 3
        await ask(admin, Request.UNBAN, username="ann")
        await trio.sleep(2)
        assert [await is_let_in(servers, node) for node in "abc"] == [True] * 3


async def test_a_ban_is_heard_of_though_its_mail_was_lost(autojump_clock: MockClock) -> None:
    async with cluster(Table, admin_password=PASSWORD) as servers:
        admin = await servers.play("admin", PASSWORD, node="a")
        ann = await servers.play("ann", PASSWORD, node="b")
        servers.nodes["b"]._run.context.bans.note_change = lambda: None  # type: ignore[union-attr, method-assign]  # replaced for this test
        await ask(admin, Request.BAN, username="ann")
        await trio.sleep(61)
        assert not ann.connected
        assert not await is_let_in(servers, "b")


async def test_a_server_that_was_stopped_knows_the_bans_when_it_is_back(
    autojump_clock: MockClock,
) -> None:
    async with cluster(Table, admin_password=PASSWORD) as servers:
        ann = await servers.play("ann", PASSWORD, node="b")
        ann.disconnect()
        admin = await servers.play("admin", PASSWORD, node="a")
        await servers.stop("b")
        await ask(admin, Request.BAN, username="ann")
        await servers.start("b")
        assert not await is_let_in(servers, "b")


async def test_a_user_who_moves_meanwhile_does_not_slip_through(autojump_clock: MockClock) -> None:
    for moment in range(20):
        async with cluster(Table, admin_password=PASSWORD, nodes=2) as servers:
            admin = await servers.play("admin", PASSWORD, node="a")
            await servers.play("bob", PASSWORD, node="b", game="one")
            ann = await servers.play("ann", PASSWORD, node="a")

            async def move(ann: Client) -> None:
                with contextlib.suppress(Disconnected):
                    await ann.request(Packet(Request.JOIN_GAME, {"name": "one"}))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(move, ann)
                for _ in range(moment):
                    await trio.lowlevel.checkpoint()
                await ask(admin, Request.BAN, username="ann")
                await trio.sleep(5)
                nursery.cancel_scope.cancel()
            assert not ann.connected


async def test_a_user_who_comes_from_a_server_that_has_not_heard_of_it_is_put_out(
    autojump_clock: MockClock,
) -> None:
    async with cluster(Table, admin_password=PASSWORD, nodes=2) as servers:
        admin = await servers.play("admin", PASSWORD, node="b")
        bob = await servers.play("bob", PASSWORD, node="b", game="one")
        ann = await servers.play("ann", PASSWORD, node="a")
        servers.nodes["a"]._run.context.bans.note_change = lambda: None  # type: ignore[union-attr, method-assign]  # replaced for this test
        await ask(admin, Request.BAN, username="ann")
        with pytest.raises(Disconnected, match="banned"):
            await ann.request(Packet(Request.JOIN_GAME, {"name": "one"}))
        await trio.sleep(1)
        assert ann.close_code == ReasonCode.BANNED
        assert [user.username for user in await servers.nodes["b"].users()] == ["admin", "bob"]
        assert sorted(bob.players) == ["bob"]


async def test_a_moderator_is_one_at_all_servers(autojump_clock: MockClock) -> None:
    async with cluster(Table, admin_password=PASSWORD) as servers:
        admin = await servers.play("admin", PASSWORD, node="a")
        mod = await servers.play("mod", PASSWORD, node="b")
        ann = await servers.play("ann", PASSWORD, node="c")
        await ask(admin, Request.SET_ROLE, username="mod", role="moderator")
        await ask(mod, Request.BAN, username="ann")
        await trio.sleep(2)
        assert not ann.connected
        entries = (await ask(admin, Request.AUDIT)).payload["entries"]
        assert [each["by"] for each in entries] == ["mod", "admin"]


async def test_a_code_sets_a_password_at_any_server_once(autojump_clock: MockClock) -> None:
    async with cluster(Table, admin_password=PASSWORD) as servers:
        admin = await servers.play("admin", PASSWORD, node="a")
        ann = await servers.play("ann", PASSWORD, node="b")
        ann.disconnect()
        await trio.sleep(2)
        code = (await ask(admin, Request.RESET_PASSWORD, username="ann")).payload["code"]
        async with servers.client("ann", "new", node="c", invite_code=code):
            pass
        assert not await is_let_in(servers, "b")
        with pytest.raises(LoginRefused):
            async with servers.client("ann", "newer", node="b", invite_code=code):
                pass


async def test_without_the_database_a_ban_is_a_clear_refusal(autojump_clock: MockClock) -> None:
    async with cluster(Table, admin_password=PASSWORD) as servers:
        admin = await servers.play("admin", PASSWORD, node="a")
        ann = await servers.play("ann", PASSWORD, node="b")
        servers.database.full = True
        response = await admin.request(Packet(Request.BAN, {"username": "ann"}))
        assert response.code == ReasonCode.BUSY
        servers.database.full = False
        await trio.sleep(5)
        assert ann.connected
