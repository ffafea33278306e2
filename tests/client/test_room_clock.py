"""The time in a game's room, where machines sleep and messages come late."""

from __future__ import annotations

import math
from typing import Any

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from pgnet_trio.environment import Environment
from pgnet_trio.netcode import ServerClock
from tests.client.test_hostile_server import GAME, QUESTION, Send, client_of

seconds = st.integers(0, 1000).map(lambda tenths: tenths / 10)


@example(steps=[(0.0, 0.1, 0.0), (0.0, 0.9, 0.0)], delays=[0.0, 0.0])
@given(
    steps=st.lists(st.tuples(seconds, seconds, seconds), max_size=20),
    delays=st.lists(seconds, max_size=20),
)
def test_the_room_is_never_thought_to_be_ahead_and_a_prompt_message_says_where_it_is(
    steps: list[tuple[float, float, float]], delays: list[float]
) -> None:
    true, now, slept = 500.0, 0.0, 0.0
    clock = ServerClock(lambda: now, lambda: slept)
    clock.begin(true)
    for (awake, asleep, unnoticed), delay in zip(steps, delays, strict=False):
        now += awake
        slept += asleep
        true += awake + asleep + unnoticed
        clock.learn(true - delay)
        assert clock.time() <= true + 1e-6
        clock.learn(true)
        assert clock.local(true) == pytest.approx(now)


class Machine:
    """A client's machine, whose clock stands still while it sleeps, beside a server that asks."""

    def __init__(self) -> None:
        self.slept = 0.0
        self.says = trio.open_memory_channel[list[Any]](100)
        self.client = client_of(self.serve, environment=Environment(slept=lambda: self.slept))

    async def serve(self, send: Send) -> None:
        async for envelope in self.says[1]:
            await send(envelope)

    async def say(self, *envelope: Any) -> None:
        await self.says[0].send([*envelope])
        await wait_all_tasks_blocked()

    async def begin_game(self) -> None:
        """Let the client into a game in whose room it is 100 s."""
        await self.say(GAME, "table", 0.0, 100.0, "", "")

    async def ask(self, id: int, deadline: float | None, time: float) -> None:
        await self.say(QUESTION, id, "Choose", {}, deadline, time)


async def test_seconds_left_are_right_after_a_sleep(autojump_clock: MockClock) -> None:
    machine = Machine()
    async with machine.client as ann:
        questions = ann.questions()
        await machine.begin_game()
        await machine.ask(1, 120.0, 100.0)
        await machine.ask(2, None, 100.0)
        question, endless = await anext(questions), await anext(questions)
        await trio.sleep(2)
        assert question.seconds_left == pytest.approx(18)
        machine.slept += 8
        # In either order.
        assert ann.time() == pytest.approx(110)
        assert question.seconds_left == pytest.approx(10)
        assert ann.time() == pytest.approx(110)
        assert endless.seconds_left == math.inf
        with question.scope:
            await trio.sleep_forever()
        assert ann.time() == pytest.approx(120)
        assert not question.is_open
        # The machine was not asleep for a moment each time that it looks.
        machine.slept += 0.1
        assert ann.time() == pytest.approx(120)


async def test_whatever_comes_after_a_sleep_corrects_a_scope_that_somebody_waits_in(
    autojump_clock: MockClock,
) -> None:
    machine = Machine()
    async with machine.client as ann, trio.open_nursery() as nursery:
        await machine.begin_game()
        await machine.ask(1, 120.0, 100.0)
        question = await anext(ann.questions())
        start = trio.current_time()

        async def wait() -> None:
            with question.scope:
                await trio.sleep_forever()

        nursery.start_soon(wait)
        await trio.sleep(2)
        machine.slept += 8
        await machine.ask(2, None, 100.0)
        await trio.sleep(9)
        assert not question.scope.cancel_called
        await trio.sleep(1.5)
        assert not question.is_open
        assert trio.current_time() - start < 13


async def test_open_questions_learn_the_time_from_later_ones(autojump_clock: MockClock) -> None:
    """The system says nothing of the sleep."""
    machine = Machine()
    async with machine.client as ann:
        questions = ann.questions()
        await machine.begin_game()
        await machine.ask(1, 120.0, 100.0)
        question = await anext(questions)
        await trio.sleep(2)
        assert question.seconds_left == pytest.approx(18)
        await machine.ask(2, 140.0, 110.0)
        assert question.seconds_left == pytest.approx(10)
        assert (await anext(questions)).seconds_left == pytest.approx(30)
        # One that waited to be sent says an old time, and changes nothing.
        await machine.ask(3, 125.0, 104.0)
        assert (await anext(questions)).seconds_left == pytest.approx(15)
        assert question.seconds_left == pytest.approx(10)


async def test_a_question_of_a_server_that_has_slept_can_be_answered(
    autojump_clock: MockClock,
) -> None:
    machine = Machine()
    async with machine.client as ann:
        questions = ann.questions()
        await machine.begin_game()
        await machine.ask(1, 160.0, 100.0)
        question = await anext(questions)
        await trio.sleep(50)
        assert question.seconds_left == pytest.approx(10)
        # Here 50 seconds have passed, and there 5.
        await machine.ask(2, 135.0, 105.0)
        assert (await anext(questions)).seconds_left == pytest.approx(30)
        assert question.seconds_left == pytest.approx(55)
        assert ann.time() == pytest.approx(105)


def test_a_machine_says_how_long_it_has_slept() -> None:
    slept = Environment().slept()
    assert slept >= -0.1
    assert Environment().slept() == pytest.approx(slept, abs=1)
