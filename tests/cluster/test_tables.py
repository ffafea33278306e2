"""Tables of several servers that look like one: codes, unlisted ones, host and seats."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import attrs
import pytest
import trio

from pgnet_trio import Game, RequestFailed, on
from pgnet_trio.testing.clusters import cluster

if TYPE_CHECKING:
    from trio.testing import MockClock

    from pgnet_trio.testing.clusters import HostedNode


@attrs.define
class Take:
    seat: int


class Table(Game):
    persistent = True
    seats = 3

    def get_save_string(self) -> str:
        return "saved"

    def view(self) -> dict[str, object]:
        return {"host": self.room.host, "seats": list(self.room.seats.values())}

    @on(Take)
    def take(self, player: str, message: Take) -> None:
        self.room.seats.take(player, message.seat)


class SameCodes:
    """Randomness of a server that thinks of the same codes as all others."""

    def __init__(self, node: HostedNode) -> None:
        self.real = node._options.environment.random_bytes
        self.numbers = count(1)

    def random_bytes(self, size: int) -> bytes:
        return next(self.numbers).to_bytes(2, "big") if size == 2 else self.real(size)


async def test_a_game_whose_name_is_not_allowed_is_refused_for_that(
    autojump_clock: MockClock,
) -> None:
    async with cluster(Table, nodes=2) as servers:
        client = await servers.play("ann", node="a")
        with pytest.raises(RequestFailed, match="cannot be named"):
            await client.join_game("ann's")


async def test_a_code_is_found_from_every_server(autojump_clock: MockClock) -> None:
    async with cluster(Table) as servers:
        ann = await servers.play("ann", node="a")
        bob = await servers.play("bob", node="b")
        await ann.create_game(unlisted=True)
        code = str(ann.game)
        # From the first moment, and after the others were told what there is.
        for _ in range(2):
            assert await bob.get_game_dir() == {}
            await trio.sleep(30)
        await bob.join_game(code.lower())
        assert bob.game == code
        await ann.call(Take(2))
        assert bob.get_state(dict) == {"host": "ann", "seats": [None, None, "ann"]}
        eve = await servers.play("eve", node="b")
        with pytest.raises(RequestFailed, match=r"a game .* already"):
            await eve.create_game(code.lower())
        with pytest.raises(RequestFailed, match="no table with the code"):
            await eve.join_game("QQQQ" if code != "QQQQ" else "QQQW")


async def test_two_servers_never_give_one_code_twice(autojump_clock: MockClock) -> None:
    async with cluster(Table) as servers:
        # The servers' randomness is such that both think of the same codes.
        for node in servers.nodes.values():
            node._options.environment = attrs.evolve(
                node._options.environment, random_bytes=SameCodes(node).random_bytes
            )
        players = [
            await servers.play(f"user{number}", node="ab"[number % 2]) for number in range(6)
        ]
        async with trio.open_nursery() as nursery:
            for player in players:
                nursery.start_soon(player.create_game)
        assert len({player.game for player in players}) == 6


async def test_wrong_codes_count_at_all_servers(autojump_clock: MockClock) -> None:
    async with cluster(Table, failed_logins_per_account=4) as servers:
        ann = await servers.play("ann", node="a")
        await ann.create_game()
        bob = await servers.play("bob", "secret", node="b")
        for number in range(4):
            with pytest.raises(RequestFailed, match="no table"):
                await bob.join_game(f"QQQ{'BCDF'[number]}")
        with pytest.raises(RequestFailed) as caught:
            await bob.join_game(str(ann.game))
        assert caught.value.code == "too_many_attempts"


async def test_a_table_is_as_it_was_when_its_server_has_died(autojump_clock: MockClock) -> None:
    async with cluster(Table, lease=10.0) as servers:
        ann = await servers.play("ann", "secret")
        bob = await servers.play("bob", "secret")
        await ann.create_game(unlisted=True)
        code = str(ann.game)
        await bob.join_game(code)
        await bob.call(Take(1))
        await trio.sleep(30)
        (first,) = [name for name, node in servers.nodes.items() if node.games]
        servers.kill(first)
        await trio.sleep(60)
        assert (ann.game, bob.game) == (code, code)
        assert ann.get_state(dict) == {"host": "ann", "seats": [None, "bob", None]}
        assert await ann.get_game_dir() == {}


async def test_a_table_goes_to_another_server_with_all_of_it(autojump_clock: MockClock) -> None:
    async with cluster(Table) as servers:
        ann = await servers.play("ann", node="a")
        await ann.create_game(unlisted=True)
        await ann.call(Take(1))
        await servers.stop("a")
        await trio.sleep(30)
        assert ann.get_state(dict) == {"host": "ann", "seats": [None, "ann", None]}
        assert await ann.get_game_dir() == {}


async def test_a_room_of_all_servers_is_one_game(autojump_clock: MockClock) -> None:
    async with cluster(Table, rooms=["arena"], players_create=False) as servers:
        ann = await servers.play("ann", node="a")
        bob = await servers.play("bob", node="b")
        await ann.join_game("arena")
        await bob.join_game("arena")
        await trio.sleep(1)
        assert [*ann.players] == ["ann", "bob"]
        assert sum("arena" in node.stats().games for node in servers.nodes.values()) == 1
