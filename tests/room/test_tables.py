"""A table as its people see it: its host, its seats, ready checks, rematches; kept and moved."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pgnet_trio import (
    Bot,
    Client,
    Game,
    PlayerLeft,
    Question,
    Ready,
    ReadyCheck,
    Reject,
    RequestFailed,
    on,
)
from pgnet_trio.server.moving import moving_game, receive_game
from pgnet_trio.testing import HostedServer, detached, hosting, playing

if TYPE_CHECKING:
    from trio.testing import MockClock

    from pgnet_trio.server.context import ServerContext


HERE = "here.example:38929"


@attrs.define
class Do:
    what: str
    whom: str = ""


@attrs.define
class Pick:
    number: int = 0


@attrs.define
class Count:
    number: int = 0


class Picker(Bot):
    async def play(self) -> None:
        async for question in self.questions(Pick):
            await question.answer(Count(99))


class Cards(Game):
    """Does with its room what players say."""

    seats = ("north", "east", "south")
    max_players = 3

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.notes: list[str] = []
        self.checks: list[bool] = []
        self.seats_at_first = dict(self.room.seats)
        self.count = int(save_string or 0)

    def get_save_string(self) -> str:
        return str(self.count)

    def view(self) -> dict[str, Any]:
        return {
            "host": self.room.host,
            "seats": dict(self.room.seats),
            "playing": [self.room.seats.player(seat) for seat in self.room.seats],
            "ready": self.room.ready.players,
            "waiting": self.room.ready.waiting if self.room.ready.is_open else None,
            "checks": list(self.checks),
            "count": self.count,
            "notes": list(self.notes),
        }

    def user_joined(self, username: str) -> None:
        self.notes.append(f"+{username}")

    def user_left(self, username: str, reason: str) -> None:
        self.notes.append(f"-{username} {reason}")

    @on(Count)
    def add(self, player: str, message: Count) -> None:
        self.count += message.number

    @on(Do)
    def do(self, player: str, message: Do) -> None:
        room, whom = self.room, message.whom or player
        match message.what:
            case "host":
                room.host = whom
            case "take":
                room.seats.take(player, message.whom or None)
            case "leave":
                room.seats.leave(whom)
            case "kick":
                room.kick(whom)
            case "lock":
                room.locked = True
            case "substitute":
                room.seats.substitute(whom, Picker(f"bot {whom}"))
            case "check":
                room.nursery.start_soon(self.check)
            case "rematch":
                room.rematch()
            case "rematch and close":
                room.rematch()
                room.close("over")
            case "close and rematch":
                room.close("over")
                room.rematch()

    async def check(self) -> None:
        self.checks.append(await self.room.ready.check(timeout=30))


class Kept(Cards):
    persistent = True


def shown(client: Client, what: str) -> Any:
    return client.get_state(dict)[what]


async def answer(client: Client, ready: bool = True) -> None:
    async for question in client.questions(ReadyCheck):
        await question.answer(Ready(ready))
        return


# The host


async def test_the_creator_is_host_until_they_leave() -> None:
    async with hosting(Cards) as server, playing(server, "ann", "bob", "cat") as (ann, bob, cat):
        await ann.create_game("table 1")
        await bob.join_game("table 1")
        await cat.join_game("table 1", spectate=True)
        assert shown(bob, "host") == "ann"
        await ann.leave_game()
        await bob.wait_state(dict, lambda state: state["host"] == "bob")
        await ann.join_game("table 1")
        assert shown(ann, "host") == "bob"
        await bob.call(Do("host", "ann"))
        assert shown(bob, "host") == "ann"
        assert shown(cat, "host") == "ann"


async def test_only_a_user_who_plays_can_be_named_host() -> None:
    async with hosting(Cards) as server, playing(server, "ann", "cat") as (ann, cat):
        await ann.create_game("table 1")
        await cat.join_game("table 1", spectate=True)
        room = server.games["table 1"].room
        for name in ("cat", "Ann", "nobody", "bot ann"):
            with pytest.raises(ValueError, match="a user who plays here"):
                room.host = name
        assert room.host == "ann"


async def test_a_creator_whom_the_game_refuses_leaves_no_host_behind(
    autojump_clock: MockClock,
) -> None:
    hosts: list[Any] = []

    class Slow(Cards):
        async def user_joined(self, username: str) -> None:  # type: ignore[override]  # async where the other is not
            hosts.append((username, self.room.host))
            await trio.sleep(1)

    async with hosting(Slow) as server, playing(server, "ann", "bob") as (ann, bob):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ann.create_game, "table 1")
            await trio.sleep(0.5)
            nursery.start_soon(bob.join_game, "table 1")
        assert hosts == [("ann", "ann"), ("bob", "ann")]


async def test_a_host_who_drops_stays_and_passes_on_when_the_grace_is_over(
    autojump_clock: MockClock,
) -> None:
    async with hosting(Cards, resume_grace=20) as server, playing(server, "bob") as bob:
        async with server.client("ann", reconnect_for=0) as ann:
            await ann.create_game("table 1")
            await bob.join_game("table 1")
            server.network.cut("ann")
            await trio.sleep(10)
            assert shown(bob, "host") == "ann"
            await trio.sleep(20)
            assert shown(bob, "host") == "bob"
            assert shown(bob, "notes")[-1] == "-ann grace_over"


# Seats


async def test_a_seat_is_kept_for_who_leaves_and_comes_back() -> None:
    async with (
        hosting(Cards) as server,
        playing(server, "ann", "bob", "cat", "eve") as (ann, bob, cat, eve),
    ):
        for client in (ann, bob, cat):
            await client.join_game("table 1")
        assert server.games["table 1"].seats_at_first == dict.fromkeys(("north", "east", "south"))
        await ann.call(Do("take", "south"))
        await bob.call(Do("take"))
        with pytest.raises(RequestFailed, match=r"The seat south is ann's\."):
            await cat.call(Do("take", "south"))
        with pytest.raises(RequestFailed, match=r"no seat up; there are: north, east, south\."):
            await cat.call(Do("take", "up"))
        await cat.call(Do("take"))
        await ann.leave_game()
        seats = {"north": "bob", "east": "cat", "south": "ann"}
        assert (await bob.wait_state(dict, lambda state: len(state["playing"]) == 3)) is not None
        assert shown(bob, "seats") == seats
        assert shown(bob, "playing") == ["bob", "cat", None]
        # It is nobody else's place, and hers also where the game takes nobody.
        with pytest.raises(RequestFailed, match="full"):
            await eve.join_game("table 1")
        await bob.call(Do("lock"))
        await ann.join_game("table 1")
        assert shown(ann, "playing") == ["bob", "cat", "ann"]
        await ann.call(Do("leave"))
        assert shown(ann, "seats") == {**seats, "south": None}


async def test_a_script_goes_on_with_whoever_plays_in_a_seat(autojump_clock: MockClock) -> None:
    picked: list[int] = []

    class Asking(Cards):
        async def run(self) -> None:
            await self.room.wait_players(2)
            while True:
                player = await self.room.seats.wait_player("north")
                try:
                    found = await self.room.ask(player, Pick(), Count, timeout=5, default=Count())
                except PlayerLeft:
                    continue
                picked.append(found.number)
                await trio.sleep(1)

        def user_left(self, username: str, reason: str) -> None:
            super().user_left(username, reason)
            if username in self.room.seats.values():
                self.room.seats.substitute(username, Picker(f"bot {username}"))

    async with hosting(Asking) as server, playing(server, "ann", "bob") as (ann, bob):
        for client in (ann, bob):
            await client.join_game("table 1")
            await client.call(Do("take"))
        async for question in ann.questions(Pick):
            await question.answer(Count(1))
            break
        await trio.sleep(3)
        # In the middle of a question.
        await ann.leave_game()
        await trio.sleep(3)
        assert set(picked) == {1, 99}
        await ann.join_game("table 1")
        await trio.sleep(3)
        picked.clear()
        async for question in ann.questions(Pick):
            await question.answer(Count(2))
            break
        await trio.sleep(0.5)
        assert picked == [2]


async def test_a_substitute_comes_and_goes(autojump_clock: MockClock) -> None:
    async with hosting(Cards) as server, playing(server, "ann", "bob", "cat") as (ann, bob, cat):
        for client in (ann, bob, cat):
            await client.join_game("table 1")
            await client.call(Do("take"))
        await ann.leave_game()
        await bob.call(Do("substitute", "ann"))
        await trio.sleep(1)
        assert shown(bob, "playing") == ["bot ann", "bob", "cat"]
        assert shown(bob, "seats")["north"] == "ann"
        assert shown(bob, "host") == "bob"
        # The game is full but for her own place.
        await ann.join_game("table 1")
        await trio.sleep(1)
        assert shown(ann, "playing") == ["ann", "bob", "cat"]
        assert shown(ann, "notes")[-3:] == ["+bot ann", "+ann", "-bot ann kicked"]
        assert ann.players.keys() == {"ann", "bob", "cat"}


async def test_a_substitute_plays_for_who_is_away_until_the_connection_is_back(
    autojump_clock: MockClock,
) -> None:
    async with hosting(Cards, resume_grace=60) as server, playing(server, "ann", "bob") as (a, bob):
        for client in (a, bob):
            await client.join_game("table 1")
            await client.call(Do("take"))
        server.network.cut("ann")
        await trio.sleep(5)
        await bob.call(Do("substitute", "ann"))
        await trio.sleep(5)
        assert shown(bob, "playing")[0] == "bot ann"
        server.network.heal("ann")
        await trio.sleep(20)
        assert shown(bob, "playing")[0] == "ann"
        assert [*bob.players] == ["ann", "bob"]


async def test_a_substitute_that_is_not_there_yet_does_not_come_any_more(
    autojump_clock: MockClock,
) -> None:
    async with hosting(Cards) as server, playing(server, "ann", "bob") as (ann, bob):
        for client in (ann, bob):
            await client.join_game("table 1")
            await client.call(Do("take"))
        game = server.games["table 1"]
        game.room.seats.substitute("ann", Picker("bot 1"))
        game.room.seats.substitute("ann", Picker("bot 2"))
        game.room.seats.take("ann")
        await trio.sleep(5)
        assert [*bob.players] == ["ann", "bob"]
        with pytest.raises(ValueError, match="a player who has a seat"):
            game.room.seats.substitute("eve", Picker("bot 1"))
        with pytest.raises(ValueError, match="a player of this game"):
            game.room.seats.take("eve")


async def test_whoever_is_kicked_has_no_seat_any_more() -> None:
    async with hosting(Cards) as server, playing(server, "ann", "bob") as (ann, bob):
        for client in (ann, bob):
            await client.join_game("table 1")
            await client.call(Do("take"))
        await ann.call(Do("kick", "bob"))
        await ann.wait_state(dict, lambda state: "-bob kicked" in state["notes"])
        assert shown(ann, "seats") == {"north": "ann", "east": None, "south": None}


async def test_a_player_whom_the_game_refuses_keeps_no_seat() -> None:
    class Picky(Cards):
        def user_joined(self, username: str) -> None:
            self.room.seats.take(username)
            if username == "bob":
                raise Reject("Not you.")

    async with hosting(Picky) as server, playing(server, "ann", "bob") as (ann, bob):
        await ann.create_game("table 1")
        with pytest.raises(RequestFailed, match="Not you"):
            await bob.join_game("table 1")
        assert dict(server.games["table 1"].room.seats)["east"] is None


# Ready checks


async def test_all_are_ready(autojump_clock: MockClock) -> None:
    async with (
        hosting(Cards) as server,
        playing(server, "ann", "bob", "cat", "eve") as (ann, bob, cat, eve),
    ):
        await ann.join_game("table 1")
        await bob.join_game("table 1")
        await eve.join_game("table 1", spectate=True)
        await ann.call(Do("check"))
        await answer(ann)
        await trio.sleep(1)
        # Each sees who is ready, at once, spectators too.
        assert (shown(eve, "ready"), shown(eve, "waiting")) == (["ann"], ["bob"])
        # Whoever joins meanwhile is asked too, with what is left of the time.
        await trio.sleep(9)
        await cat.join_game("table 1")
        async for question in cat.questions(ReadyCheck):
            assert 18 < question.seconds_left < 21
            break
        await answer(bob)
        await trio.sleep(1)
        assert shown(eve, "checks") == []
        await question.answer(Ready())
        await trio.sleep(1)
        assert shown(eve, "checks") == [True]
        assert shown(eve, "ready") == ["ann", "bob", "cat"]


@pytest.mark.parametrize("how", ["says no", "is silent", "leaves", "leaves ready", "is kicked"])
async def test_a_check_comes_to_nothing(how: str, autojump_clock: MockClock) -> None:
    async with hosting(Cards) as server, playing(server, "ann", "bob", "cat") as (ann, bob, cat):
        for client in (ann, bob, cat):
            await client.join_game("table 1")
        await ann.call(Do("check"))
        asked = await anext(cat.questions(ReadyCheck))
        await answer(ann)
        match how:
            case "says no":
                await answer(bob, False)
            case "is silent":
                await trio.sleep(31)
            case "leaves":
                await bob.leave_game()
            case "leaves ready":
                await answer(bob)
                await trio.sleep(1)
                await bob.leave_game()
            case "is kicked":
                await ann.call(Do("kick", "bob"))
        await trio.sleep(1)
        assert shown(ann, "checks") == [False]
        # The others are asked no more.
        assert not asked.is_open
        await ann.call(Do("check"))
        await trio.sleep(1)
        assert shown(ann, "ready") == []


async def test_a_ready_check_survives_a_drop(autojump_clock: MockClock) -> None:
    async with hosting(Cards) as server, playing(server, "ann", "bob") as (ann, bob):
        await ann.join_game("table 1")
        await bob.join_game("table 1")
        server.network.cut("bob")
        await ann.call(Do("check"))
        await answer(ann)
        await trio.sleep(5)
        server.network.heal("bob")
        await answer(bob)
        await trio.sleep(1)
        assert shown(ann, "checks") == [True]


async def test_a_check_asks_no_bots_and_needs_somebody(autojump_clock: MockClock) -> None:
    seen: list[Any] = []

    class Checking(Cards):
        async def run(self) -> None:
            self.room.add_bot(Picker("bot 1"))
            await self.room.wait_players(1)
            seen.append(await self.room.ready.check(timeout=5))
            await self.room.wait_players(2)
            for timeout in (True, "1", -1, float("nan")):
                with pytest.raises((TypeError, ValueError), match="timeout"):
                    await self.room.ready.check(timeout=timeout)  # type: ignore[arg-type]  # wrong on purpose
            with trio.move_on_after(2):
                await self.room.ready.check(timeout=5)
            seen.append(self.room.ready.is_open)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.check)
                await wait_all_tasks_blocked()
                with pytest.raises(RuntimeError, match="a check goes on"):
                    await self.room.ready.check(timeout=5)
            seen.append(self.room.ready.players)
            await trio.sleep_forever()

        @on(Pick)
        async def in_a_turn(self, player: str, message: Pick) -> None:
            with pytest.raises(RuntimeError, match="in a turn"):
                await self.room.ready.check(timeout=5)

    async with hosting(Checking) as server, playing(server, "ann", "eve") as (ann, eve):
        await eve.join_game("table 1", spectate=True)
        await trio.sleep(1)
        assert seen == [False]
        await ann.join_game("table 1")
        await trio.sleep(3)
        await answer(ann)
        await ann.call(Pick())
        await trio.sleep(1)
        assert seen == [False, False, ["ann"]]


# Rematches


async def test_the_same_people_begin_a_new_game(autojump_clock: MockClock) -> None:
    async with hosting(Cards) as server, playing(server, "ann", "bob", "eve") as (ann, bob, eve):
        await ann.create_game("table 1", options={"size": 3})
        await bob.join_game("table 1")
        await eve.join_game("table 1", spectate=True)
        await bob.call(Do("take", "east"))
        await bob.call(Do("host", "bob"))
        await bob.call(Count(7))
        await ann.call(Do("substitute", "bob"))
        await trio.sleep(1)
        old = server.games["table 1"]
        await ann.call(Do("rematch"))
        await trio.sleep(1)
        new = server.games["table 1"]
        assert new is not old
        assert new.room.options == {"size": 3}
        for client in (ann, bob, eve):
            state = client.get_state(dict)
            assert (state["count"], state["host"]) == (0, "bob")
            assert state["seats"]["east"] == "bob"
            assert state["notes"] == ["+ann", "+bob"]
            assert (client.game, client.left) == ("table 1", None)
        await ann.call(Count(2))
        assert shown(bob, "count") == 2
        assert old.notes[-1] == "+bot bob"


async def test_a_script_begins_anew_and_its_questions_go(autojump_clock: MockClock) -> None:
    class Rounds(Cards):
        async def run(self) -> None:
            ann, *_ = await self.room.wait_players(1)
            self.room.nursery.start_soon(self.forever)
            found = await self.room.ask(ann, Pick(self.count), Count)
            self.count += found.number
            self.room.rematch()

        async def forever(self) -> None:
            with contextlib.suppress(PlayerLeft):
                await self.room.ask("ann", Do("never"), Count)

    async with hosting(Rounds) as server, playing(server, "ann") as ann:
        asked: list[Question[Any]] = []
        ann.on_question = asked.append
        await ann.create_game("table 1")
        for number in range(3):
            async for question in ann.questions(Pick):
                assert question.prompt.number == 0
                await question.answer(Count(number + 1))
                break
            await trio.sleep(1)
            assert sum(question.is_open for question in asked) == 2
        assert ann.game == "table 1"


async def test_packets_that_wait_are_not_for_the_new_game(autojump_clock: MockClock) -> None:
    class Slow(Cards):
        @on(Pick)
        async def slow(self, player: str, message: Pick) -> None:
            await trio.sleep(5)
            self.room.rematch()

    async with hosting(Slow) as server, playing(server, "ann", "bob", "cat") as (ann, bob, cat):
        for client in (ann, bob):
            await client.join_game("table 1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ann.call, Pick())
            await trio.sleep(1)

            async def refused() -> None:
                with pytest.raises(RequestFailed) as caught:
                    await bob.call(Count(1))
                assert caught.value.code == "game_over"

            nursery.start_soon(refused)
            # A join waits too, and is for the table.
            nursery.start_soon(cat.join_game, "table 1")
        assert shown(cat, "notes") == ["+ann", "+bob", "+cat"]
        assert shown(cat, "count") == 0


@pytest.mark.parametrize(
    ("what", "goes_on"), [("rematch and close", True), ("close and rematch", False)]
)
async def test_of_a_rematch_and_an_end_the_first_counts(
    what: str, goes_on: bool, autojump_clock: MockClock
) -> None:
    async with hosting(Cards) as server, playing(server, "ann") as ann:
        await ann.create_game("table 1")
        await ann.call(Do(what))
        await trio.sleep(1)
        assert ann.game == ("table 1" if goes_on else None)


async def test_who_cannot_be_in_the_new_game_is_out_of_it(autojump_clock: MockClock) -> None:
    class Once(Cards):
        def user_joined(self, username: str) -> None:
            super().user_joined(username)
            if username == "bob" and played:
                raise Reject("Once is enough.")
            played.append(username)

    played: list[str] = []
    async with hosting(Once) as server, playing(server, "ann", "bob") as (ann, bob):
        for client in (ann, bob):
            await client.join_game("table 1")
            played.clear()
        await ann.call(Do("rematch"))
        await trio.sleep(1)
        assert bob.game is None
        assert bob.left is not None
        assert (bob.left.reason, bob.left.message) == ("kicked", "Once is enough.")


@pytest.mark.parametrize("where", ["__init__", "user_joined", "run"])
async def test_a_game_cannot_begin_anew_before_it_has_begun(
    where: str, autojump_clock: MockClock
) -> None:
    class Eager(Cards):
        def __init__(self, name: str, save_string: str | None = None) -> None:
            super().__init__(name, save_string)
            if where == "__init__":
                self.room.rematch()

        def user_joined(self, username: str) -> None:
            if where == "user_joined":
                self.room.rematch()

        async def run(self) -> None:
            if where == "run":
                self.room.rematch()
                return
            await trio.sleep_forever()

    async with hosting(Eager) as server, playing(server, "ann") as ann:
        with server.expecting(RuntimeError) as errors:
            with pytest.raises(RequestFailed):
                await ann.create_game("table 1")
                await ann.call(Do("nothing"))
            await trio.sleep(1)
        assert len(errors) == 1


@pytest.mark.parametrize("error", [ValueError, Reject])
async def test_a_new_game_that_cannot_be_made_ends_the_table(
    error: type[Exception], autojump_clock: MockClock
) -> None:
    made: list[int] = []

    class Spent(Cards):
        def __init__(self, name: str, save_string: str | None = None) -> None:
            super().__init__(name, save_string)
            made.append(1)
            if len(made) > 1:
                raise error("spent")

    async with hosting(Spent) as server, playing(server, "ann") as ann:
        with server.expecting(error):
            await ann.create_game("table 1")
            await ann.call(Do("rematch"))
            await trio.sleep(1)
            assert ann.game is None


# Kept, and moved


async def test_host_and_seats_are_there_after_a_restart(autojump_clock: MockClock) -> None:
    async with hosting(Kept) as server, playing(server, "ann", "bob") as (ann, bob):
        for client in (ann, bob):
            await client.join_game("table 1")
            await client.call(Do("take"))
        await bob.call(Do("take", "south"))
        await server.restart()
        await trio.sleep(60)
        assert (ann.game, bob.game) == ("table 1", "table 1")
        state = ann.get_state(dict)
        assert state["host"] == "ann"
        assert state["seats"] == {"north": "ann", "east": None, "south": "bob"}


async def test_a_game_that_uses_none_of_it_is_saved_as_before(autojump_clock: MockClock) -> None:
    class Simple(Game):
        persistent = True

        def get_save_string(self) -> str:
            return "simple"

    async with hosting(Simple) as server, playing(server, "ann") as ann:
        await ann.create_game("table 1")
        await trio.sleep(30)
        assert server.store.state.games["table 1"].data == "simple"


def context_of(server: HostedServer) -> ServerContext:
    assert server._run is not None
    assert server._run.context is not None
    return server._run.context


async def move(server: HostedServer, *, arrives: bool) -> None:
    """Have a server hand a game to itself; or have it go on where it is, since nobody takes it."""
    server.network.addresses[HERE] = server
    context = context_of(server)
    async with moving_game(context, "table 1") as game:
        if arrives:
            game.moved(HERE)
            await receive_game(context, game)


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_table_moves_with_its_host_and_its_seats(
    arrives: bool, autojump_clock: MockClock
) -> None:
    async with hosting(Kept) as server, playing(server, "ann", "bob") as (ann, bob):
        for client in (ann, bob):
            await client.join_game("table 1")
            await client.call(Do("take"))
        await ann.call(Do("host", "bob"))
        server.games["table 1"].room.unlisted = True
        await move(server, arrives=arrives)
        await trio.sleep(1)
        state = bob.get_state(dict)
        assert state["host"] == "bob"
        assert state["seats"] == {"north": "ann", "east": "bob", "south": None}
        assert server.games["table 1"].room.unlisted


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_ready_check_goes_on_after_a_move(arrives: bool, autojump_clock: MockClock) -> None:
    class Starting(Kept):
        async def run(self) -> None:
            await self.room.wait_players(2)
            while not await self.room.ready.check(timeout=60):
                await self.room.wait_players(2)
            self.checks.append(True)
            await trio.sleep_forever()

    async with hosting(Starting) as server, playing(server, "ann", "bob") as (ann, bob):
        for client in (ann, bob):
            await client.join_game("table 1")
        await answer(ann)
        await trio.sleep(1)
        await move(server, arrives=arrives)
        await trio.sleep(1)
        # She has said so, and is not asked again.
        assert shown(bob, "ready") == ["ann"]
        await answer(bob)
        await trio.sleep(1)
        assert shown(ann, "checks") == [True]


# Without a server


def test_a_detached_game_has_a_host_and_seats() -> None:
    game = detached(Cards, players=["ann", "bob"])
    assert game.room.host == "ann"
    game.room.seats.take("ann")
    assert dict(game.room.seats) == {"north": "ann", "east": None, "south": None}
    game.room.kick("ann")
    assert game.room.host == "bob"
    assert game.room.seats.free == ["north", "east", "south"]
    with pytest.raises(RuntimeError, match="needs a server"):
        game.room.rematch()
    with pytest.raises(KeyError):
        game.room.seats["up"]


async def test_no_room_no_table() -> None:
    game = Cards.__new__(Cards)
    for name in ("host", "seats", "ready", "unlisted"):
        with pytest.raises(RuntimeError, match="made outside a server"):
            getattr(game.room, name)
