"""Invitations reach users at whatever server they are, and so do those who were invited."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from pgnet_trio import Client, Game, Invitation, Packet, ReasonCode, Request, RequestFailed
from pgnet_trio.testing.clusters import cluster

if TYPE_CHECKING:
    from trio.testing import MockClock


class Table(Game):
    persistent = True

    def get_save_string(self) -> str:
        return "saved"


async def next_invitation(client: Client) -> Invitation:
    with trio.fail_after(60):
        return await anext(client.invitations())


@pytest.mark.parametrize("password", ["", "secret"])
async def test_a_user_at_another_server_is_told_and_joins(
    autojump_clock: MockClock, password: str
) -> None:
    async with cluster(Table, nodes=2) as servers:
        ann = await servers.play("ann", node="a")
        bob = await servers.play("bob", node="b")
        await ann.create_game(password=password, unlisted=True)
        await ann.invite("bob")
        invitation = await next_invitation(bob)
        assert (invitation.inviter, invitation.game) == ("ann", ann.game)
        await invitation.join()
        assert bob.game == ann.game
        assert list(bob.players) == ["ann", "bob"]
        with pytest.raises(RequestFailed) as caught:
            await ann.invite("nobody")
        assert caught.value.code == ReasonCode.UNKNOWN_USER


async def test_who_only_says_so_at_another_server_is_not_invited(
    autojump_clock: MockClock,
) -> None:
    async with cluster(Table, nodes=2) as servers:
        ann = await servers.play("ann", node="a")
        eve = await servers.play("eve", node="b")
        await ann.create_game(password="secret")
        packet = Packet(Request.JOIN_GAME, {"name": ann.game, "invited": True})
        assert (await eve.request(packet)).code == ReasonCode.WRONG_PASSWORD
        assert eve.game is None


async def test_an_invitation_goes_along_with_the_table(autojump_clock: MockClock) -> None:
    async with cluster(Table, nodes=2) as servers:
        ann = await servers.play("ann", node="a")
        bob = await servers.play("bob", node="b")
        await ann.create_game(password="secret")
        await ann.invite("bob")
        invitation = await next_invitation(bob)
        await servers.stop("a")
        await trio.sleep(30)
        assert ann.connected
        await invitation.join()
        assert bob.game == ann.game
