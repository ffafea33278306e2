"""Games as scripts: `run`, questions and their deadlines, on both sides of the connection."""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pgnet_trio import (
    CodecError,
    Disconnected,
    Game,
    Packet,
    PlayerLeft,
    Question,
    Reject,
    Request,
    RequestFailed,
    Response,
    Room,
    Status,
    on,
)
from pgnet_trio.testing import hosting
from tests.kit.hosting import hosting_faults


@attrs.define
class Choose:
    prompt: str


@attrs.define
class Guess:
    low: int


@attrs.define
class Throw:
    hand: str


@attrs.define
class Go:
    """Starts the script of the game."""


def scripted(script: Callable[[Room], Awaitable[None]]) -> type[Game]:
    """Make a game whose `run` is this, once somebody says `Go`."""

    class Scripted(Game):
        def __init__(self, name: str, save_string: str | None = None) -> None:
            self.go_on = trio.Event()

        @on(Go)
        def go(self, player: str, message: Go) -> None:
            self.go_on.set()

        async def run(self) -> None:
            await self.go_on.wait()
            await script(self.room)
            await trio.sleep_forever()

    return Scripted


def another_choose() -> type[Any]:
    """Make a class of the same name with other fields, as in a program of another version."""
    return attrs.make_class("Choose", {"title": attrs.field(type=str)})


async def test_a_question_that_is_no_such_model_names_the_game() -> None:
    async def script(room: Room) -> None:
        await room.ask("ann", Choose("throw"), Throw)

    async with hosting(scripted(script)) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        await ann.call(Go())
        with pytest.raises(
            CodecError,
            match=r"^A question of 'table 1' is no Choose: Choose\.title: .* version\?$",
        ):
            await anext(ann.questions(another_choose()))


async def test_the_answer_comes_back_to_the_script() -> None:
    found: list[Any] = []

    async def script(room: Room) -> None:
        found.append(await room.wait_players(2))
        found.append(await room.ask("bob", Choose("throw"), Throw))
        found.append(await room.ask("bob", Packet("Choose", {"prompt": "again"}), Throw))

    game = scripted(script)
    async with hosting(game) as server, server.client("ann") as ann, server.client("bob") as bob:
        await ann.create_game("table 1")
        await ann.call(Go())
        await bob.join_game("table 1")
        for prompt, hand in (("throw", "rock"), ("again", "paper")):
            question = await anext(bob.questions(Choose))
            assert question.prompt == Choose(prompt)
            assert (question.is_open, question.seconds_left) == (True, math.inf)
            answer = await question.answer(Throw(hand))
            assert (answer.message, answer.status) == ("", Status.OK)
            await wait_all_tasks_blocked()
            assert not question.is_open
        assert found == [["ann", "bob"], Throw("rock"), Throw("paper")]


async def test_untyped_clients_answer_too() -> None:
    found: list[Any] = []

    async def script(room: Room) -> None:
        found.append(await room.ask("ann", Choose("throw"), Throw))

    async with hosting(scripted(script)) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        await ann.call(Go())
        question = await anext(ann.questions())
        assert (question.prompt.message, question.prompt.payload) == (
            "Choose",
            {"prompt": "throw"},
        )
        for wrong, says in (
            (Packet("Throw", {"hand": 5}), "hand: expected a str"),
            (Packet("Throw", {}), "hand"),
            (Packet("Catch", {}), "expected Throw, got 'Catch'"),
        ):
            with pytest.raises(RequestFailed, match=says) as caught:
                await question.answer(wrong)
            assert caught.value.response.status == Status.UNEXPECTED
            assert question.is_open
        await question.answer(Packet("Throw", {"hand": "rock"}))
        assert found == [Throw("rock")]


async def test_the_time_is_up(autojump_clock: MockClock) -> None:
    found: list[Any] = []

    async def script(room: Room) -> None:
        found.append(await room.ask("ann", Choose("1"), Throw, timeout=5, default=Throw("none")))
        try:
            await room.ask("ann", Choose("2"), Throw, timeout=5)
        except trio.TooSlowError as error:
            found.append(str(error))

    async with hosting(scripted(script)) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        await ann.call(Go())
        questions = ann.questions(Choose)
        for _ in range(2):
            question = await anext(questions)
            assert question.seconds_left == pytest.approx(5)
            await trio.sleep(1)
            assert question.seconds_left == pytest.approx(4)
            with question.scope:
                await trio.sleep_forever()
            assert question.seconds_left == 0
            await wait_all_tasks_blocked()
            response = await question.answer(Throw("rock"))
            assert response.status == Status.UNEXPECTED
            assert "no longer open" in response.message
        assert found == [Throw("none"), "ann did not answer within 5 s"]


async def test_a_scope_around_a_question_is_its_deadline(autojump_clock: MockClock) -> None:
    found: list[Any] = []

    async def script(room: Room) -> None:
        with trio.move_on_after(3) as scope:
            await room.ask("ann", Choose("in time?"), Throw, timeout=10)
        found.append(scope.cancelled_caught)
        with trio.move_on_after(1e6) as scope:
            scope_of_room.append(scope)
            await room.ask("ann", Choose("for ever?"), Throw)
        found.append(scope.cancelled_caught)
        with trio.move_on_after(0) as scope:
            await room.ask("ann", Choose("never seen"), Throw)
        found.append(scope.cancelled_caught)

    scope_of_room: list[trio.CancelScope] = []
    prompts: list[str] = []
    async with hosting(scripted(script)) as server, server.client("ann") as ann:
        ann.on_question = lambda question: prompts.append(question.packet.payload["prompt"])
        await ann.create_game("table 1")
        await ann.call(Go())
        questions = ann.questions(Choose)
        first = await anext(questions)
        assert first.seconds_left == pytest.approx(3)
        second = await anext(questions)
        assert not first.is_open
        assert trio.current_time() == pytest.approx(3, abs=0.1)
        assert second.seconds_left == pytest.approx(1e6)
        scope_of_room[0].cancel()
        with second.scope:
            await trio.sleep_forever()
        assert second.scope.cancel_called
        await wait_all_tasks_blocked()
        assert found == [True, True, True]
        # Who is cancelled already asks nothing.
        assert prompts == ["in time?", "for ever?"]


async def test_a_check_refuses_and_the_question_stays(autojump_clock: MockClock) -> None:
    found: list[Any] = []

    async def script(room: Room) -> None:
        def check(throw: Throw) -> None:
            found.append(throw.hand)
            if throw.hand != "rock":
                raise Reject("only rock", {"allowed": ["rock"]})

        found.append(await room.ask("ann", Choose("throw"), Throw, timeout=10, check=check))

    async with hosting(scripted(script)) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        await ann.call(Go())
        question = await anext(ann.questions())
        await trio.sleep(4)
        with pytest.raises(RequestFailed, match="only rock") as caught:
            await question.answer(Throw("paper"))
        assert caught.value.response.payload == {"allowed": ["rock"]}
        assert question.seconds_left == pytest.approx(6)
        await question.answer(Throw("rock"))
        assert found == ["paper", "rock", Throw("rock")]
        response = await question.answer(Throw("rock"))
        assert response.status == Status.UNEXPECTED
        assert "no longer open" in response.message


def _divide(throw: Throw) -> None:
    raise ZeroDivisionError


async def test_a_check_that_raises_is_logged_though_the_game_catches_it(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caught = trio.Event()

    async def script(room: Room) -> None:
        with pytest.raises(ZeroDivisionError):
            await room.ask("ann", Choose("throw"), Throw, check=_divide)
        caught.set()

    async with hosting_faults(scripted(script)) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        await ann.call(Go())
        with pytest.raises(RequestFailed) as told:
            await (await anext(ann.questions())).answer(Throw("rock"))
        await caught.wait()
    id = str(told.value).partition("as error ")[2].rstrip(".")
    (line,) = [each.getMessage() for each in caplog.records if vars(each).get("error_id") == id]
    assert line.endswith(f"raised over an answer, as error {id}, over what ann sent")


async def test_ask_all_asks_at_the_same_time(autojump_clock: MockClock) -> None:
    found: list[Any] = []

    async def script(room: Room) -> None:
        names = await room.wait_players(2)
        found.append(
            await room.ask_all(names, Choose("throw"), Throw, timeout=10, default=Throw("none"))
        )
        with pytest.raises(trio.TooSlowError):
            await room.ask_all(names, Choose("throw"), Throw, timeout=10)
        found.append("too slow")

    game = scripted(script)
    async with hosting(game) as server, server.client("ann") as ann, server.client("bob") as bob:
        await ann.create_game("table 1")
        await bob.join_game("table 1")
        await ann.call(Go())
        asked = await anext(ann.questions())
        await anext(bob.questions())
        await asked.answer(Throw("rock"))
        await trio.sleep(11)
        assert found == [{"ann": Throw("rock"), "bob": Throw("none")}]
        assert list(found[0]) == ["ann", "bob"]
        await trio.sleep(10)
        assert found[1] == "too slow"


async def test_a_vote_goes_on_without_those_who_leave(autojump_clock: MockClock) -> None:
    found: list[Any] = []

    async def script(room: Room) -> None:
        voters = await room.wait_players(3)
        votes = await room.ask_all(
            [*voters, "nobody", voters[0]], Choose("vote"), Throw, default=None, leavers="default"
        )
        found.append(votes)

    game = scripted(script)
    async with (
        hosting(game) as server,
        server.client("ann") as ann,
        server.client("bob") as bob,
        server.client("cem") as cem,
    ):
        await ann.create_game("table 1")
        for other in bob, cem:
            await other.join_game("table 1")
        await ann.call(Go())
        await (await anext(ann.questions())).answer(Throw("rock"))
        await bob.leave_game()
        await wait_all_tasks_blocked()
        assert found == []
        await (await anext(cem.questions())).answer(Throw("paper"))
        await wait_all_tasks_blocked()
        assert found == [{"ann": Throw("rock"), "bob": None, "cem": Throw("paper"), "nobody": None}]


async def test_no_default_is_a_default_too(autojump_clock: MockClock) -> None:
    found: list[Any] = []

    async def script(room: Room) -> None:
        found.append(await room.ask("ann", Choose("throw"), Throw, timeout=5, default=None))

    async with hosting(scripted(script)) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        await ann.call(Go())
        await trio.sleep(6)
        assert found == [None]


async def test_who_leaves_will_not_answer() -> None:
    found: list[Any] = []

    async def script(room: Room) -> None:
        await room.wait_players(2)
        for names in (["bob"], ["ann", "bob"]):
            try:
                await room.ask_all(names, Choose("throw"), Throw)
            except PlayerLeft as error:
                found.append(str(error))
        try:
            await room.ask("eve", Choose("throw"), Throw)
        except PlayerLeft as error:
            found.append(str(error))

    async with (
        hosting(scripted(script)) as server,
        server.client("ann") as ann,
        server.client("bob") as bob,
        server.client("eve") as eve,
    ):
        await ann.create_game("table 1")
        await bob.join_game("table 1")
        await eve.join_game("table 1", spectate=True)
        await ann.call(Go())
        question = await anext(bob.questions())
        await bob.leave_game()
        assert not question.is_open
        await wait_all_tasks_blocked()
        # The other question is withdrawn: without bob there is nothing to decide.
        assert ann._run.view.open_questions == []
        assert found == [
            "bob left the game before the answer",
            "'bob' cannot be asked: no such player is in the game.",
            "'eve' cannot be asked: no such player is in the game.",
        ]


async def test_a_player_who_is_not_in_yet_is_asked_later() -> None:
    letting_in = trio.Event()

    class Slow(Game):
        async def user_joined(self, username: str, /) -> None:
            self.room.nursery.start_soon(self.ask, username)
            await letting_in.wait()
            await wait_all_tasks_blocked()
            if username == "bob":
                raise Reject("not you")

        async def ask(self, username: str) -> None:
            try:
                answers.append(await self.room.ask(username, Choose("throw"), Throw))
            except PlayerLeft:
                answers.append("left")

        async def run(self) -> None:
            counts.append(await self.room.wait_players(1))
            await trio.sleep_forever()

    answers: list[Any] = []
    counts: list[Any] = []
    async with hosting(Slow) as server, server.client("ann") as ann, server.client("bob") as bob:
        async with trio.open_nursery() as nursery:

            async def refused() -> None:
                with pytest.raises(RequestFailed):
                    await bob.join_game("table 1")

            nursery.start_soon(ann.join_game, "table 1")
            await wait_all_tasks_blocked()
            # Who may still be refused is not waited for, and not asked.
            assert counts == []
            assert ann._run.view.open_questions == []
            letting_in.set()
            await (await anext(ann.questions())).answer(Throw("rock"))
            assert counts == [["ann"]]
            nursery.start_soon(refused)
        await wait_all_tasks_blocked()
        assert answers == [Throw("rock"), "left"]
        assert bob._run.view.open_questions == []


@pytest.mark.parametrize("where", ["handler", "joined", "ask_all", "nested", "update"])
@pytest.mark.parametrize("what", ["ask", "wait_players"])
async def test_waiting_for_another_turn_in_a_turn_is_an_error(
    where: str, what: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Stuck(Game):
        async def _wait(self, *, all_at_once: bool = False) -> None:
            if what == "wait_players":
                await self.room.wait_players(5)
            elif all_at_once:
                await self.room.ask_all(["ann"], Choose("x"), Throw)
            else:
                await self.room.ask("ann", Choose("x"), Throw)

        async def user_joined(self, username: str, /) -> None:
            if where == "joined":
                await self._wait()

        async def update(self) -> None:
            if where == "update":
                await self._wait()

        @on(Go)
        async def go(self, player: str, message: Go) -> None:
            if where == "nested":
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._wait)
            await self._wait(all_at_once=where == "ask_all")

        def handle_heartbeat(self, packet: Packet, /) -> Response:
            return Response("")

    async with hosting_faults(Stuck) as server, server.client("ann") as ann:
        if where == "joined":
            with pytest.raises(RequestFailed, match="crashed"):
                await ann.create_game("table 1")
        else:
            await ann.create_game("table 1")
            await ann.request(Packet("Go"))
        await trio.sleep(1)
        assert ann.game is None
    called = "ask_all" if (where, what) == ("ask_all", "ask") else what
    assert f"room.{called}() was called in a turn" in caplog.text
    assert "Call it in run(), or in a task started with room.nursery.start_soon()" in caplog.text


async def test_a_task_that_a_turn_starts_may_wait() -> None:
    found: list[Any] = []

    class Fine(Game):
        @on(Go)
        async def go(self, player: str, message: Go) -> None:
            found.append(await self.room.nursery.start(self.ask_at_once, player))
            self.room.nursery.start_soon(self.ask, player)

        async def ask(self, player: str) -> None:
            asked = await self.room.nursery.start(self.ask_first, player)
            found.append(asked)

        async def ask_at_once(self, player: str, *, task_status: trio.TaskStatus[str]) -> None:
            task_status.started("started")
            found.append(await self.room.ask(player, Guess(1), Throw))

        async def ask_first(self, player: str, *, task_status: trio.TaskStatus[Throw]) -> None:
            task_status.started(await self.room.ask(player, Choose("x"), Throw))

    async with hosting(Fine) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        await ann.call(Go())
        await (await anext(ann.questions(Guess))).answer(Throw("paper"))
        await (await anext(ann.questions(Choose))).answer(Throw("rock"))
        await wait_all_tasks_blocked()
        assert found == ["started", Throw("paper"), Throw("rock")]


async def test_questions_and_answers_survive_drops(autojump_clock: MockClock) -> None:
    found: list[Any] = []

    async def script(room: Room) -> None:
        for number in range(3):
            answer = await room.ask("bob", Guess(number), Throw, timeout=100)
            found.append(answer)

    async with hosting(scripted(script)) as server, server.client("ann") as ann:
        bob = server.client("bob")
        async with bob:
            await bob.create_game("table 1")
            await ann.join_game("table 1")
            questions = bob.questions(Guess)
            # The connection is gone when the question is asked.
            server.network.cut("bob")
            await ann.call(Go())
            await trio.sleep(5)
            server.network.heal("bob")
            question = await anext(questions)
            assert question.seconds_left == pytest.approx(100 - 5, abs=6)
            assert question.seconds_left < 95.1
            # It is gone when the answer is given.
            server.network.cut("bob")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(question.answer, Throw("rock"))
                await trio.sleep(3)
                assert found == []
                server.network.heal("bob")
            await wait_all_tasks_blocked()
            assert found == [Throw("rock")]
            # It goes while the answer is under way: that is taken once.
            question = await anext(questions)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(question.answer, Throw("paper"))
                await trio.lowlevel.checkpoint()
                server.network.cut("bob")
                server.network.heal("bob")
            question = await anext(questions)
            assert question.prompt == Guess(2)
            await question.answer(Throw("scissors"))
            # The script may get its turn after whoever has answered.
            await wait_all_tasks_blocked()
            assert found == [Throw("rock"), Throw("paper"), Throw("scissors")]


async def test_who_takes_over_gets_the_open_questions(autojump_clock: MockClock) -> None:
    found: list[Any] = []

    async def script(room: Room) -> None:
        found.append(await room.ask("ann", Choose("throw"), Throw, timeout=60))

    async with hosting(scripted(script)) as server, server.client("ann") as old:
        await old.create_game("table 1")
        await old.call(Go())
        first = await anext(old.questions(Choose))
        await trio.sleep(10)
        async with server.client("ann") as new:
            assert new.game == "table 1"
            question = await anext(new.questions(Choose))
            assert question.prompt == Choose("throw")
            assert question.seconds_left == pytest.approx(50, abs=0.1)
            await wait_all_tasks_blocked()
            assert not first.is_open
            with pytest.raises(Disconnected):
                await first.answer(Throw("paper"))
            await question.answer(Throw("rock"))
            assert found == [Throw("rock")]


async def test_events_and_scopes_of_questions(autojump_clock: MockClock) -> None:
    heard: list[str] = []

    async def script(room: Room) -> None:
        await room.ask("ann", Guess(1), Throw)
        await room.ask("ann", Choose("late"), Throw, timeout=5, default=Throw(""))

    async def on_question(question: Question[Any]) -> None:
        with question.scope:
            heard.append(repr(question))
            if question.packet.message == "Guess":
                await question.answer(Throw("from the event"))
                return
            await trio.sleep(100)
            heard.append("too late")
        heard.append("scope ended")

    async with hosting(scripted(script)) as server, server.client("ann") as ann:
        ann.on_question = on_question
        await ann.create_game("table 1")
        await ann.call(Go())
        await trio.sleep(20)
        assert heard == [
            "<Question 'Guess', inf s left>",
            "<Question 'Choose', 5.0 s left>",
            "scope ended",
        ]


async def test_questions_of_one_model_leave_the_others() -> None:
    async def script(room: Room) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(room.ask, "ann", Choose("first"), Throw)
            await wait_all_tasks_blocked()
            nursery.start_soon(room.ask, "ann", Guess(5), Throw)

    async with hosting(scripted(script)) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        await ann.call(Go())
        assert (await anext(ann.questions(Guess))).prompt == Guess(5)
        assert (await anext(ann.questions(Choose))).prompt == Choose("first")
        reader = ann.questions(Choose)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_end_of, reader)
            await wait_all_tasks_blocked()
            await ann.leave_game()


async def _end_of(reader: Any) -> None:
    assert [item async for item in reader] == []


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda room: room.ask("ann", 5, Throw), "expected a Packet or an attrs model, got int"),
        (lambda room: room.ask("ann", Choose(5), Throw), "prompt: expected a str"),  # type: ignore[arg-type]  # wrong on purpose
        (lambda room: room.ask("ann", Packet("x", {"y": object()}), Throw), "payload.y"),
        (lambda room: room.ask("ann", Choose("x"), str), "an answer is an attrs class"),
        (lambda room: room.ask("ann", Choose("x"), Throw, check=_later), "plain def"),
        (lambda room: room.ask("ann", Choose("x"), Throw, check=_broken), "the check is broken"),
        (
            lambda room: room.ask("ann", Choose("x"), Throw, check=lambda it: False),
            "returned False",
        ),
        (lambda room: room.ask("ann", Choose("x"), Throw, check=lambda it: True), "returned True"),
        (lambda room: room.ask("ann", Choose("x"), Throw, check=Reject("no")), "check: expected a"),
        (
            lambda room: room.ask("ann", Choose("x"), Throw, timeout=5, default="rock"),
            "room.ask: default: expected an answer, as in Throw(...), or None; got 'rock'",
        ),
        (
            lambda room: room.ask("ann", Choose("x"), Throw, default=Throw("rock")),
            "room.ask: default: it is what is returned when the time is up, and there is any time",
        ),
        (lambda room: room.ask("ann", Choose("x"), Throw, timeout=-1), "expected 0 s or more"),
        (
            lambda room: room.ask("ann", Choose("x"), Throw, timeout=math.nan),
            "expected 0 s or more",
        ),
        (
            lambda room: room.ask("ann", Choose("x"), Throw, timeout="5"),
            "expected seconds, or None",
        ),
        (lambda room: room.ask(["ann"], Choose("x"), Throw), "room.ask_all asks several players"),
        (lambda room: room.ask_all("ann", Choose("x"), Throw), "room.ask asks one player"),
        (
            lambda room: room.ask_all(
                [("ann", 1)], Choose("x"), Throw, default=None, leavers="default"
            ),
            "room.ask_all: players: expected names, each a str, got ('ann', 1)",
        ),
        (lambda room: room.ask_all(None, Choose("x"), Throw), "each a str, got None"),
        (lambda room: room.wait_players(1.5), "room.wait_players: expected how many players"),
        (lambda room: room.ask("ann", Packet("__pgnet__.mine"), Throw), "the server's own"),
        (
            lambda room: room.ask_all(["ann"], Choose("x"), Throw, timeout=5, default="rock"),
            "room.ask_all: default: expected an answer, as in Throw(...)",
        ),
        (
            lambda room: room.ask_all(["ann"], Choose("x"), Throw, leavers="default"),
            "leavers='default' makes the default the answer of whoever leaves, and there is none",
        ),
        (
            lambda room: room.ask_all(["ann"], Choose("x"), Throw, leavers="skip"),
            "leavers: expected 'raise' or 'default', got 'skip'",
        ),
    ],
)
async def test_mistakes_in_asking_come_out_where_they_are_made(
    ask: Callable[[Room], Awaitable[Any]], says: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with hosting_faults(scripted(ask)) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        ann.on_question = _throw
        await ann.call(Go())
        await wait_all_tasks_blocked()
        assert ann.left is not None
        assert ann.left.reason == "crashed"
    assert says in caplog.text


async def _later(answer: object) -> None: ...


def _broken(answer: object) -> None:
    raise ValueError("the check is broken")


async def _throw(question: Question[Any]) -> None:
    with pytest.raises(RequestFailed, match="could not take this answer"):
        await question.answer(Throw("rock"))


async def test_a_run_that_returns_at_once_says_what_is_wrong(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Hasty(Game):
        async def run(self) -> None:
            pass

    async with hosting_faults(Hasty) as server, server.client("ann") as ann:
        # Whether the player gets in before that is left to chance.
        await ann.request(Packet(Request.CREATE_GAME, {"name": "table 1"}))
        await wait_all_tasks_blocked()
        assert ann.game is None
    assert "Hasty.run returned at once, and its end is the end of the game" in caplog.text


async def test_a_run_that_asks_nobody_at_once_says_whom_it_asked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Hasty(Game):
        async def run(self) -> None:
            await self.room.ask("nobody", Choose("who?"), Throw)

    async with hosting_faults(Hasty) as server, server.client("ann") as ann:
        await ann.request(Packet(Request.CREATE_GAME, {"name": "table 1"}))
        await wait_all_tasks_blocked()
    assert "Hasty.run ended at once" in caplog.text
    assert re.search("PlayerLeft: .*nobody", caplog.text)


async def test_the_end_of_run_is_the_end_of_the_game(caplog: pytest.LogCaptureFixture) -> None:
    class Short(Game):
        async def run(self) -> None:
            (player,) = await self.room.wait_players(1)
            await self.room.ask(player, Choose("enough?"), Throw)

    async with hosting(Short) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        questions = ann.questions()
        await (await anext(questions)).answer(Throw("yes"))
        assert [question async for question in questions] == []
        assert ann.left is not None
        assert (ann.left.reason, ann.left.message) == ("closed", "The game is over.")
        assert await ann.get_game_dir() == {}
    assert not caplog.records


async def test_a_game_that_ends_withdraws_its_questions(caplog: pytest.LogCaptureFixture) -> None:
    cleaned_up: list[str] = []

    async def script(room: Room) -> None:
        room.nursery.start_soon(_close_soon, room)
        try:
            await room.ask("ann", Choose("throw"), Throw)
        except PlayerLeft:
            cleaned_up.append("told that ann left")
            raise
        finally:
            cleaned_up.append("ended")

    async with hosting(scripted(script)) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        await ann.call(Go())
        question = await anext(ann.questions())
        with question.scope:
            await trio.sleep_forever()
        assert not question.is_open
        assert cleaned_up == ["ended"]
    assert not caplog.records


async def _close_soon(room: Room) -> None:
    await wait_all_tasks_blocked()
    room.close("enough")


async def test_a_script_that_says_nothing_of_players_who_leave_ends_the_game_in_good_order(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def script(room: Room) -> None:
        await room.ask_all(await room.wait_players(2), Choose("throw"), Throw)

    game = scripted(script)
    async with hosting(game) as server, server.client("ann") as ann, server.client("bob") as bob:
        await ann.create_game("table 1")
        await bob.join_game("table 1")
        await ann.call(Go())
        await anext(bob.questions(Choose))
        await bob.leave_game()
        await wait_all_tasks_blocked()
        assert ann.left is not None
        assert (ann.left.reason, "bob left" in ann.left.message) == ("closed", True)
        assert await ann.get_game_dir() == {}
    assert not [record for record in caplog.records if record.exc_info]


async def test_who_is_asked_sees_first_what_led_to_the_question() -> None:
    class Counting(Game):
        count = 0

        def view(self) -> int:
            return self.count

        async def run(self) -> None:
            await self.room.wait_players(1)
            while True:
                self.count += 1
                await self.room.ask("ann", Choose("throw"), Throw)

    async with hosting(Counting) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        for count in (1, 2, 3):
            question = await anext(ann.questions(Choose))
            assert ann.get_state(int) == count
            await question.answer(Throw("rock"))


async def test_a_question_whose_check_raised_is_open_no_more(autojump_clock: MockClock) -> None:
    found: list[str] = []

    async def script(room: Room) -> None:
        for _ in range(2):
            try:
                await room.ask("ann", Choose("x"), Throw, check=_broken)
            except ValueError as error:
                found.append(str(error))
        await trio.sleep_forever()

    async with hosting_faults(scripted(script)) as server, server.client("ann") as ann:
        await ann.create_game("table 1")
        await ann.call(Go())
        asked = []
        async for question in ann.questions(Choose):
            asked.append(question)
            with pytest.raises(RequestFailed, match="could not take this answer"):
                await question.answer(Throw("rock"))
            if len(asked) == 2:
                break
        await wait_all_tasks_blocked()
        assert found == ["the check is broken"] * 2
        assert [question.is_open for question in asked] == [False, False]
        assert (await asked[0].answer(Throw("rock"))).status == Status.UNEXPECTED
