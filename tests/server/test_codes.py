"""Tables under codes, unlisted ones, and games that the server makes itself."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from pgnet_trio import Game, Packet, Reject, Request, RequestFailed, ServerError, on
from pgnet_trio.messages import is_gamename_allowed
from pgnet_trio.server.games.codes import LETTERS, as_code, new_codes
from pgnet_trio.testing import SimulatedNetwork, hosting, playing

if TYPE_CHECKING:
    from trio.testing import MockClock


@attrs.define
class End:
    pass


class Table(Game):
    def user_joined(self, username: str) -> None:
        if self.room.options.get("closed"):
            raise Reject("Nobody gets in.")

    @on(End)
    def end(self, player: str, message: End) -> None:
        self.room.close("over")


class Saved(Table):
    persistent = True

    def get_save_string(self) -> str:
        return "saved"


# The rules of codes


@given(st.text(max_size=8) | st.text(LETTERS + LETTERS.lower(), min_size=3, max_size=7))
def test_a_code_is_one_however_it_is_written(name: str) -> None:
    code = as_code(name)
    if code is not None:
        assert as_code(code) == as_code(code.lower()) == code == name.upper()
        assert set(code) <= set(LETTERS)
        assert 4 <= len(code) <= 6
        assert is_gamename_allowed(code)
    else:
        assert not (4 <= len(name) <= 6 and set(name.upper()) <= set(LETTERS) and name.isascii())


def test_codes_are_short_and_any_letter_may_come() -> None:
    numbers = count()
    codes = list(new_codes(lambda size: (next(numbers) * 40503).to_bytes(8, "big")[-size:]))
    assert {len(code) for code in codes} == {4, 5, 6}
    assert codes == sorted(codes, key=len)
    assert all(as_code(code) == code for code in codes)
    assert set("AEIOUY01258") & set(LETTERS) == set()
    assert len(set(LETTERS)) == 16


# Tables


async def test_a_table_without_a_name_is_found_by_its_code() -> None:
    async with hosting(Table) as server, playing(server, "ann", "bob") as (ann, bob):
        response = await ann.create_game()
        code = ann.game
        assert code is not None
        assert as_code(code) == code
        assert len(code) == 4
        assert response.payload["name"] == code
        await bob.join_game(code.lower())
        assert bob.game == code
        assert list(await bob.get_game_dir()) == [code]


async def test_no_two_tables_have_one_code() -> None:
    data: Iterator[bytes] = iter([b"\x01\x23"] * 2 + [b"\x45\x67"] + [b"\x01\x23"] * 99)
    network = SimulatedNetwork()
    environment = network.environment("server")
    real = environment.random_bytes

    def random_bytes(size: int) -> bytes:
        return next(data) if size == 2 else real(size)

    environment = attrs.evolve(environment, random_bytes=random_bytes)
    async with (
        hosting(Table, network=network, environment=environment) as server,
        playing(server, "ann", "bob", "cat") as players,
    ):
        async with trio.open_nursery() as nursery:
            for player in players:
                nursery.start_soon(player.create_game)
        codes = [str(player.game) for player in players]
        assert sorted(map(len, codes)) == [4, 4, 5]
        assert len(set(codes)) == 3


async def test_a_wrong_code_makes_no_game_and_wrong_codes_are_limited(
    autojump_clock: MockClock,
) -> None:
    async with (
        hosting(Table, failed_logins_per_account=3, failed_logins_per_address=None) as server,
        playing(server, "ann", "bob") as (ann, bob),
    ):
        await ann.create_game()
        for _ in range(3):
            with pytest.raises(RequestFailed, match="no table with the code 'QQQQ'") as caught:
                await bob.join_game("qqqq")
            assert caught.value.code == "unknown_game"
        # Now not even the right one is heard, however it is asked for.
        for ask in (bob.join_game, bob.create_game):
            with pytest.raises(
                RequestFailed, match="passwords or codes; try again in 60"
            ) as caught:
                await ask(str(ann.game))
            assert caught.value.code == "too_many_attempts"
        # Names that are none are.
        await bob.create_game("another table")
        await bob.leave_game()
        await trio.sleep(61)
        await bob.join_game(str(ann.game))
        assert bob.game == ann.game


async def test_whoever_tries_codes_by_creating_is_limited_too(autojump_clock: MockClock) -> None:
    async with (
        hosting(Table, failed_logins_per_account=2) as server,
        playing(server, "ann", "bob") as (ann, bob),
    ):
        await ann.create_game()
        for code in ("name_taken", "name_taken", "too_many_attempts"):
            with pytest.raises(RequestFailed) as caught:
                await bob.create_game(str(ann.game).lower())
            assert caught.value.code == code


async def test_nobody_can_have_a_code_in_other_letters() -> None:
    async with hosting(Table) as server, playing(server, "ann", "bob", "eve") as (ann, bob, eve):
        await eve.create_game("kxqf")
        assert eve.game == "KXQF"
        with pytest.raises(RequestFailed, match="a game 'KXQF' already"):
            await ann.create_game("KxQf")
        await bob.join_game("kXQf")
        assert bob.game == "KXQF"
        # Others are names, in which capitals count.
        await ann.create_game("kxqz")
        assert ann.game == "kxqz"


async def test_a_game_that_was_saved_in_small_letters_keeps_them(
    autojump_clock: MockClock,
) -> None:
    async with hosting(Saved) as server, playing(server, "ann") as ann:
        await ann.create_game("KXQF")
        await trio.sleep(20)
        saved = server.store.state.games["KXQF"]
        store = server.store
    store.state.games["kxqf"] = attrs.evolve(saved, name="kxqf")
    del store.state.games["KXQF"]
    async with hosting(Saved, store=store) as server, playing(server, "ann") as ann:
        await ann.join_game("kxqf")
        assert ann.game == "kxqf"


async def test_an_unlisted_table_is_in_no_directory() -> None:
    async with hosting(Table) as server, playing(server, "ann", "bob") as (ann, bob):
        await ann.create_game(unlisted=True)
        assert await bob.get_game_dir() == {}
        await bob.join_game(str(ann.game))
        room = server.games[str(ann.game)].room
        assert room.unlisted
        room.unlisted = False
        assert [*await bob.get_game_dir()] == [ann.game]
        with pytest.raises(TypeError, match="True or False"):
            room.unlisted = "yes"
        await bob.leave_game()
        await bob.create_game("hidden", unlisted=True)
        assert [*await bob.get_game_dir()] == [ann.game]


@pytest.mark.parametrize("crash", [False, True])
async def test_a_table_is_there_again_after_a_restart(
    crash: bool, autojump_clock: MockClock
) -> None:
    async with hosting(Table) as server, playing(server, "ann", "bob") as (ann, bob):
        await ann.create_game(unlisted=True, options={"size": 3})
        code = str(ann.game)
        await bob.join_game(code.lower())
        await server.restart(crash=crash)
        await trio.sleep(60)
        assert (ann.game, bob.game) == (code, code)
        room = server.games[code].room
        assert room.unlisted
        assert room.options == {"size": 3}


async def test_an_unlisted_table_that_is_saved_stays_unlisted(autojump_clock: MockClock) -> None:
    async with hosting(Saved) as server, playing(server, "ann") as ann:
        await ann.create_game(unlisted=True)
        code = str(ann.game)
        store = server.store
    async with hosting(Saved, store=store) as server, playing(server, "bob") as bob:
        assert await bob.get_game_dir() == {}
        await bob.join_game(code)


async def test_clients_of_before_create_games_by_names_only() -> None:
    async with hosting(Table) as server:
        async with server.client("ann", protocol=1) as ann:
            with pytest.raises(RequestFailed, match="A game needs a name"):
                await ann.create_game()
            with pytest.raises(RequestFailed, match="A game needs a name"):
                (await ann.request(Packet(Request.CREATE_GAME))).raise_for_status()


async def test_who_is_cancelled_while_a_table_is_made_leaves_none_behind(
    autojump_clock: MockClock,
) -> None:
    async with hosting(Table) as server, playing(server, "ann", "bob") as (ann, bob):
        for number in range(20):
            async with server.client("eve", reconnect_for=0) as eve:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(eve.create_game)
                    for _ in range(number):
                        await trio.lowlevel.checkpoint()
                    nursery.cancel_scope.cancel()
        await trio.sleep(1)
        assert await ann.get_game_dir() == {}
        assert bob.game is None


async def test_a_table_that_lets_nobody_in_leaves_no_code_behind(
    autojump_clock: MockClock,
) -> None:
    async with hosting(Table) as server, playing(server, "ann") as ann:
        with pytest.raises(RequestFailed, match="Nobody gets in"):
            await ann.create_game(options={"closed": True})
        await trio.sleep(1)
        assert await ann.get_game_dir() == {}


# Games of the server


async def test_rooms_of_the_server_are_there_and_stay(autojump_clock: MockClock) -> None:
    rooms = {"arena": {"mode": "duel"}, "KXQF": {}}
    async with hosting(Table, rooms=rooms) as server, playing(server, "ann") as ann:
        assert [*await ann.get_game_dir()] == ["KXQF", "arena"]
        await ann.join_game("arena")
        room = server.games["arena"].room
        assert (room.options, room.host) == ({"mode": "duel"}, "ann")
        await ann.leave_game()
        await trio.sleep(10)
        assert server.games["arena"].room is room
        assert room.host is None
        await ann.join_game("kxqf")
        assert ann.game == "KXQF"


async def test_a_room_that_is_over_is_made_again(autojump_clock: MockClock) -> None:
    async with hosting(Table, rooms=["arena"]) as server, playing(server, "ann") as ann:
        for _ in range(3):
            game = server.games["arena"]
            await ann.join_game("arena")
            await ann.call(End())
            await trio.sleep(60)
            assert server.games["arena"] is not game
            assert [*await ann.get_game_dir()] == ["arena"]
        # Whoever does not wait has it at once.
        await ann.join_game("arena")
        await ann.call(End())
        await ann.join_game("arena")
        await ann.leave_game()
        assert [*await ann.get_game_dir()] == ["arena"]


async def test_a_room_that_cannot_be_made_does_not_keep_the_server_busy(
    autojump_clock: MockClock,
) -> None:
    made: list[float] = []

    class Broken(Table):
        def __init__(self, name: str, save_string: str | None = None) -> None:
            made.append(trio.current_time())
            if len(made) > 1:
                raise ValueError("broken")

    async with hosting(Broken, rooms=["arena"]) as server, playing(server, "ann") as ann:
        await ann.join_game("arena")
        await ann.call(End())
        with server.expecting(ValueError):
            await trio.sleep(300)
        assert 5 < len(made) < 15


async def test_where_players_create_nothing_they_join_what_is_there(
    autojump_clock: MockClock,
) -> None:
    async with (
        hosting(Saved, rooms=["arena"], players_create=False, admin_password="secret") as server,
        playing(server, "ann") as ann,
        server.client("admin", "secret") as admin,
    ):
        for ask in (ann.create_game("mine"), ann.create_game()):
            with pytest.raises(RequestFailed, match="Players create no games") as caught:
                await ask
            assert caught.value.code == "creation_off"
        with pytest.raises(RequestFailed, match="no game 'mine'") as caught:
            await ann.join_game("mine")
        assert caught.value.code == "unknown_game"
        await admin.create_game("theirs")
        await admin.leave_game()
        await ann.join_game("theirs")
        await ann.leave_game()
        await ann.join_game("arena")
        assert ann.game == "arena"


async def test_a_program_opens_games(autojump_clock: MockClock) -> None:
    async with hosting(Table, players_create=False) as server, playing(server, "ann") as ann:
        code = await server.open_game(unlisted=True, options={"size": 3})
        assert as_code(code) == code
        assert await ann.get_game_dir() == {}
        await ann.join_game(code)
        assert server.games[code].room.options == {"size": 3}
        assert server.games[code].room.host == "ann"
        await ann.leave_game()
        await wait_all_tasks_blocked()
        with pytest.raises(RequestFailed, match="no table"):
            await ann.join_game(code)
        assert await server.open_game("kxqf", password="p", stays=True) == "KXQF"
        with pytest.raises(ServerError, match="a game 'KXQF' already"):
            await server.open_game("KXQF")
        with pytest.raises(ServerError, match="cannot be named"):
            await server.open_game("?")
        await ann.join_game("KXQF", password="p")
        await ann.leave_game()
        assert [*await ann.get_game_dir()] == ["KXQF"]
    with pytest.raises(ServerError, match="not running"):
        await server.open_game("table 1")


@pytest.mark.parametrize(
    ("rooms", "error"),
    [
        ("arena", "names, or a dict"),
        (5, "names, or a dict"),
        (["a?"], "cannot be named 'a\\?'"),
        ([5], "cannot be named 5"),
        ({"arena": {"x": object()}}, "options that can travel"),
    ],
)
def test_rooms_that_make_no_sense_are_refused_at_once(rooms: Any, error: str) -> None:
    from pgnet_trio import Server

    with pytest.raises((TypeError, ValueError), match=error):
        Server(Table, rooms=rooms)
