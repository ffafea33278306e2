"""A program that comes late: to a game that is over, to its own events, to its own messages."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pgnet_trio import (
    Client,
    Disconnected,
    Game,
    Left,
    Packet,
    PlayerLeft,
    RequestFailed,
    Response,
    on,
)
from pgnet_trio.client.run import LEAVE_DEADLINE
from pgnet_trio.messages import Request
from pgnet_trio.protocol.v2.states import WINDOW
from pgnet_trio.testing import hosting
from tests.kit.hosting import Recorder


@attrs.frozen
class Table:
    said: int


@attrs.frozen
class Said:
    text: str


@attrs.frozen
class Which:
    text: str


class Short(Game):
    """Shows a state, pushes, asks, and is over when somebody says so."""

    said = 0

    def view(self, _: str, /) -> Table:
        return Table(self.said)

    def user_joined(self, username: str, /) -> None:
        self.room.push(Said(f"hello {username}"))

    @on(Said)
    def say(self, _: str, said: Said) -> None:
        self.said += 1
        self.room.push(said)

    @on(Which)
    def ask(self, username: str, which: Which) -> None:
        self.room.nursery.start_soon(self.wait_for_answer, username, which)

    async def wait_for_answer(self, username: str, which: Which) -> None:
        with contextlib.suppress(PlayerLeft):
            await self.room.ask(username, which, Said)

    def handle_game_packet(self, packet: Packet, /) -> Response:
        self.room.push(Said("the end"))
        self.room.close("It is over.")
        return Response("over")


async def texts(client: Client) -> list[str]:
    return [said.text async for said in client.pushes(Said)]


async def over(client: Client) -> None:
    """Join a game, and let it end before anything of it was read."""
    await client.join_game("table 1")
    await client.call(Said("a"))
    await client.request(Packet("over"))
    await wait_all_tasks_blocked()
    assert client.game is None


async def test_what_a_game_told_can_be_read_when_it_is_over(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with hosting(Short) as server, server.client("ann") as ann:
        with trio.fail_after(60):
            await over(ann)
            assert ann.left == Left("table 1", "closed", "It is over.")
            assert [state.said async for state in ann.states(Table)] == [1]
            assert await texts(ann) == ["hello ann", "a", "the end"]
            assert [push.message async for push in ann.pushes()] == []
            assert [question async for question in ann.questions()] == []
            assert await ann.wait_state(Table, lambda state: state.said == 1) == Table(1)
            with pytest.raises(RequestFailed, match="changes no more"):
                await ann.wait_state(Table, lambda state: state.said == 2)


async def test_pushes_can_be_read_after_the_states_have_ended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with hosting(Short) as server, server.client("ann") as ann:
        seen: list[object] = []

        async def watch() -> None:
            seen.extend([state.said async for state in ann.states(Table)])
            seen.extend(await texts(ann))

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch)
                await over(ann)
        assert seen == [0, 1, "hello ann", "a", "the end"]


async def test_a_reader_that_has_seen_the_end_waits_for_the_next_game(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with hosting(Short) as server, server.client("ann") as ann:
        await over(ann)
        assert await texts(ann) == ["hello ann", "a", "the end"]
        seen: list[str] = []

        async def read() -> None:
            seen.extend(await texts(ann))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await wait_all_tasks_blocked()
            await ann.join_game("table 2")
            await ann.request(Packet("over"))
        assert seen == ["hello ann", "the end"]
        # The next game begins with nothing of this one, read or not.
        await ann.join_game("table 3")
        assert (await anext(ann.pushes(Said))).text == "hello ann"


async def test_who_leaves_has_read_enough(autojump_clock: trio.testing.MockClock) -> None:
    async with hosting(Short) as server, server.client("ann") as ann:
        await ann.join_game("table 1")
        await ann.leave_game()
        with trio.move_on_after(60) as waited:
            await texts(ann)
        assert waited.cancelled_caught


async def test_a_question_of_a_game_that_is_over_is_not_asked(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with hosting(Short) as server, server.client("ann") as ann:
        await ann.join_game("table 1")
        await ann.call(Which("x"))
        # The question is asked by a task of the game, perhaps after the answer to the call.
        await trio.sleep(1)
        assert len(ann._run.view.open_questions) == 1
        await ann.request(Packet("over"))
        with trio.fail_after(60):
            assert [question async for question in ann.questions(Which)] == []


async def test_a_refused_way_back_ends_what_is_read_and_says_why(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with hosting(Short) as server, server.client("ann", reconnect_for=None) as ann:
        await ann.create_game("table 1", password="secret")
        # Somebody else has made a table of that name meanwhile.
        ann._run.game._way_back.way_in = Packet(Request.JOIN_GAME, {"name": "no"})
        await server.restart(crash=True)
        await trio.sleep(60)
        assert ann.online
        assert ann.game is None
        assert ann.left is not None
        assert (ann.left.game, ann.left.reason) == ("table 1", "closed")
        assert ann.left.message
        with trio.fail_after(60):
            assert await texts(ann) == []
            assert [question async for question in ann.questions()] == []
            assert [state async for state in ann.states(Table)] == []
            with pytest.raises(RequestFailed, match="changes no more"):
                await ann.wait_state(Table)


async def test_everything_that_was_sent_leaves_before_the_client(
    autojump_clock: trio.testing.MockClock,
) -> None:
    answers: list[str] = []
    async with hosting(Recorder) as server:
        for callback in (None, lambda response: answers.append(response.message)):
            async with server.client("ann") as ann:
                await ann.join_game("table 1")
                for number in range(200):
                    ann.send(Packet(f"n {number}"), callback)
        assert answers == [f"ann: n {number}" for number in range(200)]


@pytest.mark.parametrize("protocol", [1, 2])
@pytest.mark.parametrize("has_callback", [False, True])
async def test_all_of_it_arrives_in_order(
    has_callback: bool, protocol: int, autojump_clock: trio.testing.MockClock
) -> None:
    class Noting(Recorder):
        def handle_game_packet(self, packet: Packet, /) -> Response:
            self.calls.append(packet.message)
            return Response("noted")

    async with hosting(Noting) as server, server.client("bob") as bob:
        await bob.create_game("table 1")
        async with server.client("ann", protocol=protocol) as ann:
            await ann.join_game("table 1")
            for number in range(200):
                ann.send(Packet(f"n {number}"), print if has_callback else None)
        await trio.sleep(1)
        calls = server.games["table 1"].calls
        assert calls[2:202] == [f"n {number}" for number in range(200)]
        assert calls[202:] == ["ann left"]


class Stuck(Recorder):
    async def handle_packet(self, packet: Packet, /) -> Response:
        await trio.sleep(1000)
        return Response("late")


async def test_what_does_not_leave_in_time_is_counted(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with hosting(Stuck) as server:
        start = trio.current_time()
        with pytest.raises(Disconnected, match=f"{200 - WINDOW} messages.*and {WINDOW} have no"):
            async with server.client("ann") as ann:
                await ann.create_game("table 1")
                for _ in range(200):
                    ann.send(Packet("x"), print)
        assert trio.current_time() - start == pytest.approx(LEAVE_DEADLINE, abs=1)
    assert f"before {200 - WINDOW} messages" in caplog.text


@pytest.mark.parametrize("how", ["error", "cancelled", "disconnect", "awaited"])
async def test_nobody_waits_for_what_they_gave_up(
    how: str, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "pgnet_trio.client")
    async with hosting(Stuck) as server:
        start = trio.current_time()
        with trio.CancelScope() as scope:
            try:
                async with server.client("ann") as ann:
                    await ann.create_game("table 1")
                    if how == "awaited":
                        with trio.move_on_after(1):
                            await ann.request(Packet("x"))
                    else:
                        for _ in range(200):
                            ann.send(Packet("x"))
                    if how == "error":
                        raise ValueError("a fault of this program")
                    if how == "cancelled":
                        scope.cancel()
                    if how == "disconnect":
                        ann.disconnect()
            except ValueError:
                pass
        assert trio.current_time() - start < 3
    assert ("were sent" in caplog.text) == (how != "awaited")


class Late:
    """Notes what the events of a client are called with."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def note(self, argument: Any) -> None:
        self.calls.append(argument)


async def test_an_event_that_is_assigned_late_is_told_what_is_current(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with hosting(Short) as server, server.client("ann") as ann:
        await ann.join_game("table 1")
        await ann.call(Said("a"))
        await ann.call(Which("x"))
        state, players, pushes, questions = Late(), Late(), Late(), Late()
        ann.on_state, ann.on_players = state.note, players.note
        ann.on_push, ann.on_question = pushes.note, questions.note
        await wait_all_tasks_blocked()
        assert state.calls == [{"said": 1}]
        assert players.calls == [{"ann": True}]
        assert [push.payload["text"] for push in pushes.calls] == ["hello ann", "a"]
        (question,) = questions.calls
        assert question.packet.payload == {"text": "x"}
        # Each thing once, however often an event is assigned.
        ann.on_state = ann.on_players = ann.on_push = ann.on_question = None
        ann.on_push, ann.on_question = pushes.note, questions.note
        ann.on_push, ann.on_question = pushes.note, questions.note
        await ann.call(Said("b"))
        await wait_all_tasks_blocked()
        assert [push.payload["text"] for push in pushes.calls] == ["hello ann", "a", "b"]
        assert questions.calls == [question]


async def test_a_late_on_push_is_told_the_last_words_of_a_game(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with hosting(Short) as server, server.client("ann") as ann:
        await over(ann)
        pushes = Late()
        for _ in range(2):
            ann.on_push = None
            ann.on_push = pushes.note
            await wait_all_tasks_blocked()
        assert [push.payload["text"] for push in pushes.calls] == ["hello ann", "a", "the end"]
        # The next game begins with its own.
        await ann.join_game("table 2")
        await wait_all_tasks_blocked()
        assert [push.payload["text"] for push in pushes.calls[3:]] == ["hello ann"]


async def test_a_late_event_is_not_told_what_was_read_or_is_over(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with hosting(Short) as server, server.client("ann") as ann:
        late = Late()
        await ann.join_game("table 1")
        await anext(ann.pushes())
        ann.on_push = late.note
        await wait_all_tasks_blocked()
        assert late.calls == []
        await ann.request(Packet("over"))
        await wait_all_tasks_blocked()
        assert [push.payload["text"] for push in late.calls] == ["the end"]
        ann.on_push = None
        ann.on_state = ann.on_players = ann.on_question = ann.on_push = late.note
        await wait_all_tasks_blocked()
        assert len(late.calls) == 1
    # And nothing where there is no connection.
    ann.on_state = ann.on_players = ann.on_question = ann.on_push = None
    ann.on_state = ann.on_players = ann.on_question = ann.on_push = late.note
