"""Why a user is in the game no more, as the game is told."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from pgnet_trio import Client, Game, RequestFailed, on
from pgnet_trio.testing import HostedServer, detached, hosting, playing

if TYPE_CHECKING:
    from trio.testing import MockClock


@attrs.define
class Kick:
    whom: str


class Door(Game):
    """Notes who leaves, and why."""

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.left: list[tuple[str, str]] = []

    def user_left(self, username: str, reason: str) -> None:
        self.left.append((username, reason))

    @on(Kick)
    def kick(self, player: str, message: Kick) -> None:
        self.room.kick(message.whom, "too loud")


async def by_leaving(server: HostedServer, ann: Client, bob: Client) -> None:
    await bob.leave_game()


async def by_disconnecting(server: HostedServer, ann: Client, bob: Client) -> None:
    bob.disconnect()


async def by_a_kick(server: HostedServer, ann: Client, bob: Client) -> None:
    await ann.call(Kick("bob"))


async def by_a_lost_connection(server: HostedServer, ann: Client, bob: Client) -> None:
    server.network.cut("bob")


async def by_being_deleted(server: HostedServer, ann: Client, bob: Client) -> None:
    server.delete_user("bob")


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        (by_leaving, "left"),
        (by_disconnecting, "left"),
        (by_a_kick, "kicked"),
        (by_a_lost_connection, "grace_over"),
        (by_being_deleted, "deleted"),
    ],
)
async def test_a_game_is_told_why_a_user_is_gone(
    how: Callable[[HostedServer, Client, Client], Any], reason: str, autojump_clock: MockClock
) -> None:
    async with hosting(Door, resume_grace=20) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        bob = server.client("bob", reconnect_for=0)
        async with bob:
            await bob.join_game("table 1")
            await how(server, ann, bob)
            await trio.sleep(30)
            assert server.games["table 1"].left == [("bob", reason)]


async def test_without_a_grace_a_lost_connection_is_no_leaving(autojump_clock: MockClock) -> None:
    async with hosting(Door, resume_grace=0) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        async with server.client("bob", reconnect_for=0) as bob:
            await bob.join_game("table 1")
            server.network.drop("bob")
            await trio.sleep(1)
            assert server.games["table 1"].left == [("bob", "grace_over")]


@pytest.mark.parametrize(
    "takes_more",
    [
        lambda self, username: self.notes.append([username]),
        lambda self, username, /: self.notes.append([username]),
        lambda self, username, quiet=False: self.notes.append([username, quiet]),
        lambda self, *names: self.notes.append([*names]),
    ],
)
async def test_a_game_that_asks_for_no_reason_gets_none(takes_more: Any) -> None:
    def notes(self: Any, name: str, save_string: str | None = None) -> None:
        self.notes = []

    made = type("Old", (Game,), {"__init__": notes, "user_left": takes_more})
    async with hosting(made) as server, playing(server, "ann", "bob", game="table 1") as (_, bob):
        await bob.leave_game()
        assert server.games["table 1"].notes in (["bob"], [["bob"]], [["bob", False]])
    game = detached(made, players=["ann", "bob"])
    game.room.kick("bob")
    assert game.notes == server.games["table 1"].notes[:1]


@pytest.mark.parametrize("asks", [lambda self, who, why: who, lambda self, who, reason="": who])
async def test_a_reason_is_for_a_second_argument_that_is_meant_for_one(asks: Any) -> None:
    told = []

    def user_left(*args: Any) -> None:
        told.append(args[1:])

    user_left.__signature__ = inspect.signature(asks)  # type: ignore[attr-defined]  # `inspect` reads it
    made = type("New", (Game,), {"user_left": user_left})
    async with hosting(made) as server, playing(server, "ann", "bob", game="table 1") as (_, bob):
        await bob.leave_game()
        assert told == [("bob", "left")]


async def test_who_was_kicked_and_comes_back_leaves_for_a_reason_of_its_own() -> None:
    async with hosting(Door) as server, playing(server, "ann", "bob", game="table 1") as (ann, bob):
        await ann.call(Kick("bob"))
        await bob.join_game("table 1")
        await bob.leave_game()
        assert server.games["table 1"].left == [("bob", "kicked"), ("bob", "left")]
        with pytest.raises(RequestFailed):
            await bob.leave_game()


def test_a_hook_with_three_arguments_is_none() -> None:
    with pytest.raises(TypeError, match=r"\(self, player\) or \(self, player, reason\)"):
        type("Odd", (Game,), {"user_left": lambda self, who, why, when: None})


def test_a_detached_game_is_told_too() -> None:
    game = detached(Door, players=["ann", "bob"])
    game.room.kick("ann")
    assert game.left == [("ann", "kicked")]
