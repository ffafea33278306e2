"""What is done to users while their server gives them away, at each moment of that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from pgnet_trio import Game, LoginRefused, Packet, ReasonCode, Request
from pgnet_trio.testing import SimulatedNetwork
from pgnet_trio.testing.clusters import HostedCluster, cluster

if TYPE_CHECKING:
    from trio.testing import MockClock

    from pgnet_trio import Client

OLD, NEW, ADMIN = "correct horse", "battery staple", "sesame"
MOMENTS = [0.05 * number for number in range(10)]
"""Seconds from the beginning of a drain, which takes less than that."""


class Table(Game):
    persistent = True

    def get_save_string(self) -> str:
        return "saved"


def slow_cluster() -> Any:
    return cluster(Table, network=SimulatedNetwork(latency=0.01), admin_password=ADMIN)


def slow_down(servers: HostedCluster) -> None:
    for node in servers.nodes.values():
        node.engine.request_delay = node.engine.answer_delay = 0.02


async def is_let_in(servers: HostedCluster, password: str) -> bool:
    try:
        async with servers.client("ann", password, node="b"):
            return True
    except LoginRefused:
        return False


@asynccontextmanager
async def draining(servers: HostedCluster, moment: float) -> AsyncIterator[None]:
    """Run the block at a moment of the drain of a server, and wait until all of that is over."""
    slow_down(servers)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(servers.stop, "a")
        await trio.sleep(moment)
        yield
    await trio.sleep(5)


@asynccontextmanager
async def asked_in_a_drain(
    request: Request, moment: float, game: str | None
) -> AsyncIterator[tuple[HostedCluster, Client]]:
    """Have an admin ask for what is done to ann while her server drains; yield what is then."""
    async with slow_cluster() as servers:
        admin = await servers.play("admin", ADMIN, node="b")
        ann = await servers.play("ann", OLD, node="a", game=game)
        async with draining(servers, moment):
            await admin.call(Packet(request, {"username": "ann"}))
        yield servers, ann


@pytest.mark.parametrize("game", [None, "table"])
async def test_a_ban_holds_whenever_it_comes(autojump_clock: MockClock, game: str | None) -> None:
    for moment in MOMENTS:
        async with asked_in_a_drain(Request.BAN, moment, game) as (servers, ann):
            assert not ann.connected, moment
            assert ann.close_code == ReasonCode.BANNED
            assert [user.username for user in await servers.nodes["b"].users()] == ["admin"]
            assert not await is_let_in(servers, OLD)


@pytest.mark.parametrize("game", [None, "table"])
async def test_a_password_is_changed_once_and_its_user_stays(
    autojump_clock: MockClock, game: str | None
) -> None:
    for moment in MOMENTS:
        async with slow_cluster() as servers:
            ann = await servers.play("ann", OLD, node="a", game=game)
            async with draining(servers, moment):
                with trio.fail_after(30):
                    await ann.change_password(OLD, NEW)
            assert ann.connected, (moment, ann.close_reason)
            assert ann.game == game
            assert len(await servers.nodes["b"].users()) == 1
            assert not await is_let_in(servers, OLD)
            assert ann.connected, (moment, ann.close_reason)
            assert await is_let_in(servers, NEW)


@pytest.mark.parametrize("game", [None, "table"])
async def test_a_user_is_deleted_whenever_that_comes(
    autojump_clock: MockClock, game: str | None
) -> None:
    for moment in MOMENTS:
        async with asked_in_a_drain(Request.DELETE_USER, moment, game) as (servers, ann):
            assert not ann.connected, moment
            assert [user.username for user in await servers.nodes["b"].users()] == ["admin"]
