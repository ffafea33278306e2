"""Reading several kinds in one loop, over lost sessions, and answers that come too late."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from pgnet_trio import (
    Bot,
    Client,
    CodecError,
    Entered,
    Game,
    Left,
    Packet,
    PlayerLeft,
    Push,
    Question,
    Response,
    SessionLost,
    StateChanged,
    Status,
    on,
)
from pgnet_trio.client.feeds import ALL_KINDS, Feed
from pgnet_trio.testing import hosting, playing


@attrs.frozen
class Said:
    text: str


@attrs.frozen
class Moved:
    square: int


@attrs.frozen
class Other:
    n: int


@attrs.frozen
class PickCard:
    """A question."""


@attrs.frozen
class PickTarget:
    """Another one."""

    card: int


@attrs.frozen
class Picked:
    number: int


@attrs.frozen
class Hall:
    said: int


class Busy(Game):
    """Pushes what it is told to, and asks two kinds of questions in turn."""

    said = 0

    def view(self, _: str, /) -> Hall:
        return Hall(self.said)

    async def run(self) -> None:
        (player,) = await self.room.wait_players(1)
        with contextlib.suppress(PlayerLeft):
            while True:
                card = await self.room.ask(player, PickCard(), Picked)
                await self.room.ask(player, PickTarget(card.number), Picked)

    @on(Said)
    def say(self, _: str, said: Said) -> None:
        self.said += 1
        self.room.push(said)

    @on(Moved)
    def move(self, _: str, moved: Moved) -> None:
        self.room.push(moved)

    @on(Other)
    def other(self, _: str, other: Other) -> None:
        self.room.push(other)

    def handle_game_packet(self, packet: Packet, /) -> Response:
        self.room.push("Said", {"text": 3})
        return Response("")


async def said_and_moved(ann: Client) -> None:
    await ann.call(Said("a"))
    await ann.call(Moved(1))
    await ann.call(Other(7))
    await ann.call(Said("b"))
    await ann.call(Moved(2))


async def next_of(iterator: Any, count: int) -> list[Any]:
    return [await anext(iterator) for _ in range(count)]


async def test_several_kinds_of_pushes_come_in_their_order(autojump_clock: MockClock) -> None:
    async with hosting(Busy) as server, playing(server, "ann", game="hall") as ann:
        await said_and_moved(ann)
        assert await next_of(ann.pushes(Said, Moved), 4) == [
            Said("a"),
            Moved(1),
            Said("b"),
            Moved(2),
        ]
        # Other kinds are there for who reads them.
        assert await anext(ann.pushes(Other)) == Other(7)


async def test_several_kinds_of_questions_come_in_their_order(autojump_clock: MockClock) -> None:
    async with hosting(Busy) as server, playing(server, "ann", game="hall") as ann:
        prompts: list[PickCard | PickTarget] = []
        async for question in ann.questions(PickCard, PickTarget):
            prompts.append(question.prompt)
            if len(prompts) == 4:
                break
            await question.answer(Picked(len(prompts)))
    assert prompts == [PickCard(), PickTarget(1), PickCard(), PickTarget(3)]


async def test_events_come_as_models(autojump_clock: MockClock) -> None:
    async with hosting(Busy) as server, playing(server, "ann") as ann:
        events = ann.events(Said, PickCard)
        await ann.join_game("hall")
        await ann.call(Said("a"))
        await ann.call(Moved(1))
        await wait_all_tasks_blocked()
        seen: list[object] = []
        with trio.move_on_after(1):
            async for event in events:
                match event:
                    case Question(prompt=PickCard()):
                        seen.append("asked")
                        await event.answer(Picked(3))
                    case Question():
                        seen.append(event.prompt)
                    case StateChanged():
                        pass
                    case _:
                        seen.append(event)
    assert seen[0] == Entered("hall")
    assert seen.index(Said("a")) < seen.index(Push("Moved", {"square": 1}))
    # The question of another kind keeps its packet.
    target = seen[-1]
    assert isinstance(target, Packet)
    assert (target.message, target.payload) == ("PickTarget", {"card": 3})
    assert seen.count("asked") == 1


async def test_events_begin_with_how_things_are(autojump_clock: MockClock) -> None:
    async with hosting(Busy) as server, playing(server, "ann", game="hall") as ann:
        await ann.call(Said("a"))
        await ann.call(Moved(1))
        assert await anext(ann.pushes(Said)) == Said("a")
        await wait_all_tasks_blocked()
        with trio.fail_after(1):
            first, second, third = await next_of(ann.events(Said, Moved, PickCard), 3)
        assert (first, second) == (StateChanged(), Moved(1))
        assert third.prompt == PickCard()
        await third.answer(Picked(3))
        with trio.fail_after(1):
            question = await anext(ann.events(PickTarget))
        assert isinstance(question, Question)
        assert question.prompt == PickTarget(3)


async def test_a_program_that_takes_over_finds_the_open_question_among_the_events(
    autojump_clock: MockClock,
) -> None:
    async with hosting(Busy) as server, playing(server, "ann", game="hall") as ann:
        assert (await anext(ann.questions())).is_open
        async with server.client("ann") as again:
            assert again.game == "hall"
            with trio.fail_after(1):
                while not isinstance(event := await anext(again.events(PickCard)), Question):
                    pass
            assert event.prompt == PickCard()


async def test_events_tell_of_a_game_that_was_over_before_anybody_read_them(
    autojump_clock: MockClock,
) -> None:
    class Short(Busy):
        @on(Picked)
        def end(self, _: str, picked: Picked) -> None:
            self.room.push(Said("bye"))
            self.room.close("That was all.")

    async with hosting(Short) as server, playing(server, "ann", game="hall") as ann:
        await ann.call(Picked(1))
        await wait_all_tasks_blocked()
        assert ann.game is None
        with trio.fail_after(1):
            assert await next_of(ann.events(Said), 3) == [StateChanged(), Said("bye"), ann.left]


async def test_one_of_a_kind_that_is_malformed_is_named_and_the_next_follows(
    autojump_clock: MockClock,
) -> None:
    async with hosting(Busy) as server, playing(server, "ann") as ann:
        events = ann.events(Said)
        await ann.join_game("hall")
        await ann.request(Packet("malformed"))
        await ann.call(Said("b"))
        with pytest.raises(
            CodecError, match=r"'hall' is no Said: Said\.text: expected a str, got int"
        ):
            await anext(ann.pushes(Moved, Said))
        assert await anext(ann.pushes(Moved, Said)) == Said("b")
        found: list[object] = []
        with trio.move_on_after(1):
            while True:
                try:
                    found.append(await anext(events))
                except CodecError as error:
                    found.append(str(error).partition(":")[0])
        assert found.index("A push of 'hall' is no Said") < found.index(Said("b"))


async def test_a_kind_has_one_consumer_whatever_else_they_read(autojump_clock: MockClock) -> None:
    async with hosting(Busy) as server, playing(server, "ann", game="hall") as ann:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(anext, ann.pushes(Said, Moved))
            await wait_all_tasks_blocked()
            for models in ((Said,), (Other, Moved)):
                with pytest.raises(trio.BusyResourceError):
                    await anext(ann.pushes(*models))
            with trio.move_on_after(1):
                await anext(ann.pushes(Other))
            nursery.cancel_scope.cancel()
        await ann.call(Said("a"))
        assert await anext(ann.pushes(Moved, Said)) == Said("a")


@pytest.mark.parametrize("name", ["pushes", "questions", "events"])
async def test_what_is_no_model_is_refused_at_once(name: str) -> None:
    client = Client.local(game=Busy, username="ann")
    same_name = attrs.make_class("Said", ["text"])
    for models, expected in (
        (("said",), "expected attrs classes, such as Said; got 'said'"),
        ((dict,), "expected attrs classes"),
        ((Said("a"),), "expected attrs classes"),
        ((Said, same_name), "two models have the name 'Said'"),
    ):
        with pytest.raises(TypeError, match=expected):
            getattr(client, name)(*models)


@given(
    kinds=st.lists(st.sampled_from("abc"), max_size=20),
    readers=st.lists(st.sets(st.sampled_from("abc"), min_size=1), max_size=20),
)
def test_each_reader_gets_its_kinds_in_order(kinds: str, readers: list[set[str]]) -> None:
    feed: Feed[tuple[str, int]] = Feed("items", lambda item: item[0])
    left = list(zip(kinds, range(len(kinds)), strict=True))

    async def read_one(wanted: set[str]) -> tuple[str, int]:
        reader = feed.read(frozenset(wanted), lambda item: item if item[0] in wanted else None)
        return await anext(reader)

    async def main() -> None:
        for item in left:
            feed.put(item)
        for wanted in readers:
            expected = next((item for item in left if item[0] in wanted), None)
            if expected is not None:
                assert await read_one(wanted) == expected
                left.remove(expected)
        feed.end()
        rest = [item async for item in feed.read(ALL_KINDS, lambda item: item)]
        assert rest == left

    trio.run(main)


def test_a_message_is_read_as_one_of_several_models() -> None:
    assert Push("Moved", {"square": 3}).read(Said, Moved) == Moved(3)
    assert Packet("Said", {"text": "x"}).read(Said, Moved) == Said("x")
    with pytest.raises(CodecError, match="expected Said or Moved, got 'Other'"):
        Response("Other").read(Said, Moved)


# Lost sessions.


async def test_iterators_go_on_after_a_lost_session(autojump_clock: MockClock) -> None:
    heard: dict[str, list[Any]] = {"pushes": [], "questions": [], "states": [], "events": []}

    async def read(name: str, iterator: Any) -> None:
        async for item in iterator:
            heard[name].append(item)

    async with (
        hosting(Busy) as server,
        playing(server, "ann", game="hall", reconnect_for=None) as ann,
        trio.open_nursery() as nursery,
    ):
        for name, iterator in {
            "pushes": ann.pushes(Said),
            "questions": ann.questions(PickCard),
            "states": ann.states(Hall),
            "events": ann.events(Said),
        }.items():
            nursery.start_soon(read, name, iterator)
        nursery.start_soon(ann.wait_state, Hall, lambda hall: hall.said == 5)
        await ann.call(Said("before"))
        await server.restart(crash=True)
        await trio.sleep(10)
        assert ann.game == "hall"
        for _ in range(5):
            await ann.call(Said("after"))
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert heard["pushes"] == [Said("before")] + 5 * [Said("after")]
    before, after = heard["questions"]
    assert not before.is_open
    assert after is not before
    assert heard["states"][-1] == Hall(5)
    assert Hall(0) in heard["states"]
    events = [event for event in heard["events"] if isinstance(event, Entered | Said)]
    assert events == [Said("before"), Entered("hall")] + 5 * [Said("after")]


@pytest.mark.parametrize("name", ["pushes", "questions", "events"])
async def test_who_asks_for_it_is_told_of_the_loss_after_what_came_before(
    name: str, autojump_clock: MockClock
) -> None:
    async with (
        hosting(Busy) as server,
        playing(server, "ann", reconnect_for=None) as ann,
    ):
        iterator = getattr(ann, name)(raise_session_lost=True)
        await ann.join_game("hall")
        await ann.call(Said("before"))
        await trio.sleep(1)
        read = getattr(ann, name)(raise_session_lost=True) if name != "events" else iterator
        await anext(read)
        await server.restart(crash=True)
        with pytest.raises(SessionLost):
            while True:
                await anext(read)
        with pytest.raises(SessionLost):
            await anext(read)


async def test_iterators_that_go_on_end_where_the_way_back_is_refused(
    autojump_clock: MockClock,
) -> None:
    ended: list[str] = []

    async def read(name: str, iterator: Any) -> None:
        async for _ in iterator:
            pass
        ended.append(name)

    async with hosting(Busy, resume_grace=5) as server:
        async with (
            playing(server, "bob", game="hall"),
            playing(server, "ann", game="hall") as ann,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(read, "pushes", ann.pushes(Said))
            nursery.start_soon(read, "questions", ann.questions())
            nursery.start_soon(read, "states", ann.states(Hall))
            server.network.cut("ann")
            await trio.sleep(10)
            server.games["hall"].room.locked = True
            server.network.heal("ann")
        assert sorted(ended) == ["pushes", "questions", "states"]
        assert isinstance(ann.left, Left)


# Late answers.


async def test_a_bot_may_answer_in_a_nursery(autojump_clock: MockClock) -> None:
    """However an answer and the end of its question cross, nobody's program fails with it."""
    finished: list[str] = []

    class Thinker(Bot):
        async def play(self) -> None:
            async with trio.open_nursery() as nursery:
                async for question in self.questions(PickCard):
                    nursery.start_soon(self.think, question)

        async def think(self, question: Question[PickCard]) -> None:
            # As long as the game waits: the answer comes as the time is up.
            await trio.sleep(1)
            await question.answer(Picked(1))

    class Hasty(Game):
        def __init__(self, name: str, save_string: str | None = None) -> None:
            self.room.add_bot(Thinker("bot 1"))

        async def run(self) -> None:
            await self.room.wait_players(2)
            for timeout in (1.0, 0.999_999, 1.000_001, 0.5, 1.0):
                await self.room.ask("bot 1", PickCard(), Picked, timeout=timeout, default=Picked(0))
                finished.append("bot 1")
            await trio.sleep(2)
            finished.extend(self.room.players)

    async with hosting(Hasty) as server, server.client("ann") as ann:
        await ann.join_game("hall")
        await trio.sleep(20)
    assert finished[:5] == 5 * ["bot 1"]
    assert sorted(finished[5:]) == ["ann", "bot 1"]


async def test_an_event_may_answer_late(autojump_clock: MockClock) -> None:
    answers: list[Response] = []

    async def answer(question: Question[Any]) -> None:
        await trio.sleep(2)
        answers.append(await question.answer(Picked(1)))

    class Impatient(Busy):
        async def run(self) -> None:
            (player,) = await self.room.wait_players(1)
            await self.room.ask(player, PickCard(), Picked, timeout=1, default=Picked(0))
            await trio.sleep_forever()

    async with hosting(Impatient) as server, server.client("ann") as ann:
        ann.on_question = answer
        await ann.join_game("hall")
        await trio.sleep(5)
        assert ann.connected
    (response,) = answers
    assert response.status == Status.UNEXPECTED
    assert "no longer open" in response.message


async def lost(answer: Callable[[Question[Any]], Awaitable[None]]) -> None:
    """Have a question answered by a program whose session is lost as the answer is under way."""
    async with (
        hosting(Busy) as server,
        playing(server, "ann", game="hall", reconnect_for=None) as ann,
    ):
        question = await anext(ann.questions(PickCard))
        server.network.stall("ann")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer, question)
            await trio.sleep(1)
            server.network.cut("ann")
            await server.restart(crash=True)
            server.network.heal("ann")
            await trio.sleep(20)
        assert ann.game == "hall"


async def test_an_answer_under_way_when_the_session_is_lost_is_late(
    autojump_clock: MockClock,
) -> None:
    answers: list[Response] = []

    async def answer(question: Question[Any]) -> None:
        answers.append(await question.answer(Picked(1)))

    await lost(answer)
    (response,) = answers
    assert response.status == Status.UNEXPECTED
    assert "no longer open" in response.message


async def test_an_answer_in_the_scope_of_its_question_ends_with_it(
    autojump_clock: MockClock,
) -> None:
    ends: list[bool] = []

    async def answer(question: Question[Any]) -> None:
        with question.scope:
            await question.answer(Picked(1))
        ends.append(question.scope.cancelled_caught)

    await lost(answer)
    assert ends == [True]


async def test_a_late_answer_is_none_to_a_question_of_a_server_that_was_started_anew(
    autojump_clock: MockClock,
) -> None:
    async with (
        hosting(Busy) as server,
        playing(server, "ann", game="hall", reconnect_for=None) as ann,
    ):
        old = await anext(ann.questions(PickCard))
        # A server in another process counts its questions from 1 again.
        server._carryover = attrs.evolve(server._carryover, question_ids=itertools.count(1))
        await server.restart(crash=True)
        await trio.sleep(10)
        new = await anext(ann.questions(PickCard))
        assert new.id == old.id
        response = await old.answer(Picked(1))
        assert response.status == Status.UNEXPECTED
        await wait_all_tasks_blocked()
        assert new.is_open
