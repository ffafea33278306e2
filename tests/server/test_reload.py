"""Games that go on with another class while they are played."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pgnet_trio import Game, Reject, on
from pgnet_trio.errors import RequestFailed
from pgnet_trio.server.monitor.instruments import Instruments
from pgnet_trio.server.monitor.metrics import Metrics
from pgnet_trio.testing import hosting, playing
from tests.kit.monitoring import samples


@attrs.frozen
class Add:
    amount: int


@attrs.frozen
class Ask:
    text: str


@attrs.frozen
class Yes:
    pass


@attrs.frozen
class State:
    version: int
    total: int
    players: list[str]


class Counter(Game):
    persistent = True
    version = 1

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.total = int(save_string or 0)
        self.players: list[str] = []

    def user_joined(self, username: str, /) -> None:
        self.players.append(username)

    @on(Add)
    def add(self, player: str, message: Add) -> Awaitable[None] | None:
        self.total += message.amount
        return None

    def view(self) -> State:
        return State(self.version, self.total, self.players)

    def get_save_string(self) -> str:
        return str(self.total)


class Doubling(Counter):
    version = 2

    @on(Add)
    def add(self, player: str, message: Add) -> None:
        self.total += 2 * message.amount


class Fussy(Counter):
    """Cannot load what was saved."""

    def __init__(self, name: str, save_string: str | None = None) -> None:
        super().__init__(name)
        if save_string:
            raise KeyError("score")


class Shy(Counter):
    """Loads what was saved, and cannot take those who are there."""

    def user_joined(self, username: str, /) -> None:
        raise ValueError(f"not {username}")


class Blind(Counter):
    def view(self) -> State:
        raise ZeroDivisionError


async def test_a_running_table_goes_on_with_the_new_class_and_nobody_leaves_it() -> None:
    async with hosting(Counter) as server, playing(server, "ann", "bob", game="one") as (ann, bob):
        await ann.call(Add(3))
        reloaded = await server.reload(Doubling)
        assert (reloaded.moved, reloaded.kept) == (("one",), {})
        state = await bob.wait_state(State, lambda state: state.version == 2)
        assert state == State(2, 3, ["ann", "bob"])
        await bob.call(Add(2))
        assert (await ann.wait_state(State, lambda state: state.total != 3)).total == 7
        assert ann.game == bob.game == "one"


async def test_new_tables_get_the_new_class() -> None:
    async with hosting(Counter) as server, playing(server, "ann") as ann:
        await server.reload(Doubling)
        await ann.create_game("two")
        assert type(server.games["two"]) is Doubling


@pytest.mark.parametrize(
    ("game", "why"),
    [(Fussy, "KeyError: 'score'"), (Shy, "ValueError: not ann"), (Blind, "ZeroDivisionError")],
)
async def test_a_table_that_the_new_class_cannot_load_says_why_and_goes_on_as_it_was(
    game: type[Game], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with hosting(Counter) as server, playing(server, "ann", game="one") as ann:
        await ann.call(Add(3))
        reloaded = await server.reload(game)
        assert reloaded.moved == ()
        assert why.partition(":")[0] in reloaded.kept["one"]
        assert why.partition(": ")[2] in reloaded.kept["one"]
        await ann.call(Add(1))
        state = await ann.wait_state(State, lambda state: state.total == 4)
        assert state == State(1, 4, ["ann"])
        assert ann.game == "one"
    (record,) = [each for each in caplog.records if each.exc_info]
    assert "goes on as it was" in record.message


async def test_a_table_that_could_not_be_loaded_goes_on_with_the_next_class() -> None:
    async with hosting(Counter) as server, playing(server, "ann", game="one") as ann:
        await ann.call(Add(3))
        await server.reload(Fussy)
        assert (await server.reload(Doubling)).moved == ("one",)
        assert (await ann.wait_state(State, lambda state: state.version == 2)).total == 3


async def test_a_table_that_is_not_saved_goes_on_as_it_was() -> None:
    class Unsaved(Counter):
        persistent = False

    async with hosting(Unsaved) as server, playing(server, "ann", game="one") as ann:
        await ann.call(Add(3))
        reloaded = await server.reload(Doubling)
        assert "not persistent" in reloaded.kept["one"]
        await ann.call(Add(3))
        assert (await ann.wait_state(State, lambda state: state.total == 6)).version == 1


async def test_a_table_whose_saves_are_too_new_goes_on_as_it_was() -> None:
    class Newer(Counter):
        save_version = 2

    async with hosting(Newer) as server, playing(server, "ann", game="one") as ann:
        reloaded = await server.reload(Counter)
        assert "version 2" in reloaded.kept["one"]
        assert ann.game == "one"


class Asking(Counter):
    question = "more?"

    async def run(self) -> None:
        (player,) = await self.room.wait_players(1)
        await self.room.ask(player, Ask(self.question), Yes)
        self.total += 100
        await trio.sleep_forever()


async def test_a_question_that_is_asked_again_stays_open_as_it_was() -> None:
    async with hosting(Asking) as server, playing(server, "ann", game="one") as ann:
        question = await anext(aiter(ann.questions(Ask)))
        assert (await server.reload(Asking)).moved == ("one",)
        assert question.is_open
        await question.answer(Yes())
        assert (await ann.wait_state(State, lambda state: state.total > 0)).total == 100


async def test_what_waits_for_the_table_is_carried_out_by_the_new_class(
    autojump_clock: MockClock,
) -> None:
    class Slow(Counter):
        @on(Add)
        async def add(self, player: str, message: Add) -> None:
            await trio.sleep(1)
            self.total += message.amount

    async with hosting(Slow) as server, playing(server, "ann", "bob", game="one") as (ann, bob):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ann.call, Add(1))
            await wait_all_tasks_blocked()
            nursery.start_soon(server.reload, Doubling)
            await wait_all_tasks_blocked()
            nursery.start_soon(bob.call, Add(5))
        assert (await ann.wait_state(State, lambda state: state.total > 1)).total == 11


async def test_a_turn_that_does_not_end_keeps_its_table_as_it_is(
    autojump_clock: MockClock,
) -> None:
    class Stuck(Counter):
        @on(Add)
        async def add(self, player: str, message: Add) -> None:
            await trio.sleep(60)
            self.total += message.amount

    async with hosting(Stuck) as server, playing(server, "ann", game="one") as ann:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ann.call, Add(1))
            await wait_all_tasks_blocked()
            assert "longer than 5 s" in (await server.reload(Doubling)).kept["one"]
        # Nor does it move later.
        await ann.call(Add(1))
        state = await ann.wait_state(State, lambda state: state.total == 2)
        assert state.version == 1


async def test_what_makes_no_games_changes_nothing() -> None:
    class NoGame:
        pass

    wrong: Any = NoGame
    async with hosting(Counter) as server, playing(server, "ann") as ann:
        with pytest.raises(TypeError):
            await server.reload(wrong)
        await ann.create_game("one")
        assert type(server.games["one"]) is Counter


async def test_a_saved_game_that_failed_is_tried_again_with_the_new_class() -> None:
    async with hosting(Counter) as server:
        async with playing(server, "ann", game="one") as ann:
            await ann.call(Add(3))
        await server.reload(Shy)
        # In vain: it was kept as it was, and nobody is in it.
        async with playing(server, "bob") as bob:
            with server.expecting(ValueError), pytest.raises(RequestFailed):
                await bob.create_game("two")
            await server.reload(Doubling)
            await bob.create_game("two")


async def test_a_new_class_may_refuse_who_is_there() -> None:
    class Strict(Counter):
        def user_joined(self, username: str, /) -> None:
            if username == "bob":
                raise Reject("no bobs")
            super().user_joined(username)

    async with hosting(Counter) as server, playing(server, "ann", "bob", game="one") as (ann, bob):
        assert (await server.reload(Strict)).moved == ("one",)
        await ann.wait_state(State, lambda state: state.players == ["ann"])
        assert ann.game == "one"
        assert bob.game is None


@attrs.frozen
class Steer:
    way: int


@attrs.frozen
class Thrust:
    power: float


class Driving(Counter):
    update_rate = 20.0
    inputs: Any = Steer

    def update(self) -> None:
        for player in self.players:
            given = self.room.next_input(player)
            self.total += getattr(given, "way", 0)


class Thrusting(Driving):
    version = 2
    inputs = Thrust

    def update(self) -> None:
        for player in self.players:
            given = self.room.next_input(player)
            assert given is None or isinstance(given, Thrust)
            self.total += 1000 * (given is not None)


class Still(Counter):
    version = 2


@pytest.mark.parametrize(("game", "reason"), [(Thrusting, "invalid"), (Still, "no_inputs")])
async def test_inputs_of_the_old_model_are_dropped_and_counted(
    game: type[Game], reason: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "pgnet_trio.server")
    async with hosting(Driving) as server, playing(server, "ann", game="one") as ann:

        def told() -> int:
            return sum("was not taken by the game" in each.message for each in caplog.records)

        ann.input(Thrust(1.0))
        # Between two ticks: those that follow wait for the next.
        await trio.sleep(0.21)
        assert told() == 1
        for _ in range(3):
            ann.input(Steer(1))
            await trio.sleep(0.01)
        assert (await server.reload(game)).moved == ("one",)
        for _ in range(2):
            ann.input(Steer(1))
            await trio.sleep(0.2)
        state = await ann.wait_state(State, lambda state: state.version == 2)
        assert (state.total, ann.game) == (0, "one")
        assert told() == 2
        room = server.stats().games["one"].room
        assert room.dropped_inputs == 1 + 3 + 2
        ann.input(Thrust(1.0))
        await trio.sleep(0.2)
        assert (ann.get_state(State).total > 0) is (game is Thrusting)
        context = server._context("it is read")
        found = samples(await Metrics(context, Instruments(context.counters.lag)).collect())
        name = f'pgnet_dropped_inputs_total{{game="{game.__name__}",reason="'
        assert found[f'{name}gone"}}'] == 3
        assert found[f'{name}{reason}"}}'] >= 2
