"""Names that are held while somebody asks elsewhere what is to become of a game."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pgnet_trio import Game, Packet, RequestFailed, Response
from pgnet_trio.server import run
from pgnet_trio.server.games.claims import Claim, Elsewhere, LocalClaims
from pgnet_trio.server.games.reservations import Reservations
from pgnet_trio.testing import HostedServer, hosting, playing


class Table(Game):
    persistent = True
    made = 0

    def __init__(self, name: str, save_string: str | None = None) -> None:
        type(self).made += 1

    def get_save_string(self) -> str:
        return "something"

    async def handle_game_packet(self, packet: Packet) -> Response:
        return Response("done")


@pytest.fixture(autouse=True)
def nothing_made() -> None:
    Table.made = 0


class SlowClaims(LocalClaims):
    """Claims as of a directory that is a second away."""

    async def claim(self, name: str, guess: str | None, **wish: Any) -> Claim:
        await trio.sleep(1)
        return await super().claim(name, guess, **wish)


@pytest.fixture
def slow_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "LocalClaims", SlowClaims)


async def test_two_who_join_while_the_directory_is_asked_are_in_one_game(
    autojump_clock: MockClock, slow_claims: None
) -> None:
    async with hosting(Table) as server, playing(server, "ann", "bob", "cat") as clients:
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(client.join_game, "table 1")
        assert {client.game for client in clients} == {"table 1"}
        assert Table.made == 1


async def test_who_creates_a_game_meanwhile_hears_that_the_name_is_taken(
    autojump_clock: MockClock, slow_claims: None
) -> None:
    async with hosting(Table) as server, playing(server, "ann", "bob") as (ann, bob):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ann.join_game, "table 1")
            await trio.sleep(0.5)
            with pytest.raises(RequestFailed, match="There is a game 'table 1' already"):
                await bob.create_game("table 1")
        assert Table.made == 1


async def test_who_leaves_while_the_directory_is_asked_holds_no_name(
    autojump_clock: MockClock, slow_claims: None
) -> None:
    async with hosting(Table) as server, playing(server, "bob") as bob:
        with trio.move_on_after(0.5):
            async with playing(server, "ann") as ann:
                await ann.join_game("table 1")
        with trio.fail_after(1.2):
            await bob.join_game("table 1")
        assert Table.made == 1


async def test_a_game_that_is_elsewhere_is_not_made_here(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    class Far(LocalClaims):
        async def claim(self, name: str, guess: str | None, **wish: Any) -> Claim:
            await trio.lowlevel.checkpoint()
            return Elsewhere("b.example:38929")

    monkeypatch.setattr(run, "LocalClaims", Far)
    async with hosting(Table) as server, playing(server, "ann") as ann:
        with pytest.raises(
            RequestFailed,
            match=r"'table 1' is at b\.example:38929",
        ):
            await ann.join_game("table 1")
        with pytest.raises(RequestFailed, match="There is a game 'table 1' already"):
            await ann.create_game("table 1")
        assert Table.made == 0


async def test_no_more_games_are_made_at_once_than_there_may_be(
    autojump_clock: MockClock, slow_claims: None
) -> None:
    refused: list[str] = []

    async def join(server: HostedServer, username: str) -> None:
        try:
            await server_clients[username].join_game(f"table of {username}")
        except RequestFailed as error:
            refused.append(str(error))

    async with hosting(Table, max_games=1) as server:
        async with playing(server, "ann", "bob") as (ann, bob):
            server_clients = {"ann": ann, "bob": bob}
            async with trio.open_nursery() as nursery:
                nursery.start_soon(join, server, "ann")
                nursery.start_soon(join, server, "bob")
    assert len(refused) == 1
    assert "takes no more" in refused[0]


async def hold(
    reservations: Reservations, name: str, seen: list[str], then: Callable[[], None] = lambda: None
) -> None:
    async with reservations.holding(name):
        seen.append(name)
        then()
        await trio.sleep(1)


async def test_a_name_is_held_by_one_at_a_time(autojump_clock: MockClock) -> None:
    reservations = Reservations()
    seen: list[str] = []
    async with trio.open_nursery() as nursery:
        for name in ("a", "a", "b"):
            nursery.start_soon(hold, reservations, name, seen)
        await wait_all_tasks_blocked()
        assert sorted(seen) == ["a", "b"]
        assert set(reservations) == {"a", "b"}
    assert sorted(seen) == ["a", "a", "b"]
    assert not set(reservations)


@pytest.mark.parametrize("holds", [True, False])
async def test_who_is_cancelled_holds_no_name_and_keeps_nobody(
    holds: bool, autojump_clock: MockClock
) -> None:
    reservations = Reservations()
    seen: list[str] = []
    async with trio.open_nursery() as nursery:
        scopes = [trio.CancelScope(), trio.CancelScope()]

        async def held_in(scope: trio.CancelScope) -> None:
            with scope:
                await hold(reservations, "a", seen)

        for scope in scopes:
            nursery.start_soon(held_in, scope)
            await wait_all_tasks_blocked()
        scopes[0 if holds else 1].cancel()
        await wait_all_tasks_blocked()
        assert len(seen) == (2 if holds else 1)
    assert not set(reservations)
