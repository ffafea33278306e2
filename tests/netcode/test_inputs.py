"""What becomes of inputs: at the client, which numbers them, and in the server's buffer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgnet_trio.netcode import InputBuffer, InputQueue

RATE = 30


def buffer_with(*values: Any) -> InputBuffer:
    buffer = InputBuffer(RATE)
    for number, value in enumerate(values, 1):
        assert buffer.put(number, 0.0, value, 0.0)
    return buffer


def play(buffer: InputBuffer) -> tuple[Any, float]:
    """Return what is played next, and what its player saw."""
    value = buffer.next()
    assert buffer.last is not None
    return value, buffer.last.seen


def test_a_client_numbers_its_inputs_and_only_the_latest_waits() -> None:
    queue = InputQueue()
    assert [queue.put({"x": x}, 0.5, x / RATE, RATE) for x in range(3)] == [1, 2, 3]
    assert queue.replaced == 2
    waiting = queue.take()
    assert waiting is not None
    assert (waiting.number, waiting.seen, waiting.payload) == (3, 0.5, {"x": 2})
    assert queue.take() is None
    assert queue.put({"x": 9}, 0.5, 3 / RATE, RATE) == 4
    queue.drop()
    assert queue.take() is None


def test_numbers_go_on_during_a_pause() -> None:
    queue = InputQueue()
    assert queue.put({}, 0.0, 100.0, RATE) == 1
    assert queue.put({}, 0.0, 100.08, RATE) == 2
    assert queue.put({}, 0.0, 101.08, RATE) >= 2 + RATE
    # Where nobody has said how many ticks there are, each number is the next.
    other = InputQueue()
    assert [other.put({}, 0.0, now, 0.0) for now in (1.0, 2.0, 9.0)] == [1, 2, 3]


def test_each_tick_plays_one_in_order() -> None:
    buffer = buffer_with("a", "b", "c")
    assert [buffer.next() for _ in range(3)] == ["a", "b", "c"]
    assert buffer.confirmed == 3
    assert not buffer.is_repeated


def test_before_the_first_there_is_none() -> None:
    buffer = InputBuffer(RATE)
    assert buffer.next() is None
    assert buffer.confirmed == 0
    assert not buffer.is_repeated


def test_one_is_played_for_a_few_that_it_has_replaced_too() -> None:
    buffer = buffer_with("a")
    buffer.put(4, 0.0, "b", 0.0)
    assert [buffer.next() for _ in range(4)] == ["a", "b", "b", "b"]
    assert (buffer.confirmed, buffer.counts.played) == (4, 4)
    # A pause, or a drop, is no slow frame.
    buffer.put(20, 0.0, "c", 0.0)
    assert (buffer.next(), len(buffer)) == ("c", 0)


def test_the_last_is_played_again_and_says_so() -> None:
    buffer = buffer_with("a")
    buffer.next()
    assert buffer.next() == "a"
    assert buffer.is_repeated
    assert buffer.counts.repeated == 1


def test_what_stood_for_an_equal_one_confirms_it_and_is_not_played_twice() -> None:
    buffer = buffer_with("a")
    assert [buffer.next() for _ in range(3)] == ["a", "a", "a"]
    assert buffer.confirmed == 3
    for number in (2, 3, 4):
        buffer.put(number, 0.0, "a", 0.0)
    assert buffer.next() == "a"
    assert buffer.confirmed == 4
    assert buffer.counts.made_up == 2
    assert len(buffer) == 0


def test_two_presses_of_one_key_are_two_inputs() -> None:
    buffer, queue = InputBuffer(RATE), InputQueue()
    buffer.put(queue.put({}, 5.0, 5.0, RATE), 5.0, "jump", 5.0)
    assert [buffer.next() for _ in range(5)] == ["jump"] * 5
    buffer.put(queue.put({}, 5.15, 5.15, RATE), 5.15, "jump", 5.2)
    assert buffer.next() == "jump"
    assert not buffer.is_repeated
    assert buffer.counts.played == 2


def test_a_late_one_that_differs_is_played_all_the_same() -> None:
    buffer = buffer_with("a")
    assert [buffer.next() for _ in range(3)] == ["a", "a", "a"]
    buffer.put(2, 0.0, "shoot", 0.0)
    assert buffer.next() == "shoot"
    # The third tick is over too.
    assert buffer.confirmed == 3
    buffer.put(3, 0.0, "shoot", 0.0)
    assert len(buffer) == 0
    buffer.put(4, 0.0, "shoot", 0.0)
    assert len(buffer) == 1


def test_after_a_stall_each_press_is_played_once_and_little_waits() -> None:
    buffer = buffer_with("right")
    for _ in range(RATE // 2):
        buffer.next()
    assert buffer.confirmed == RATE // 2
    # Everything comes at once: half a second in which a key was held, and two others were pressed.
    for number in range(2, RATE // 2 + 1):
        value = "right" if number < 5 else "jump" if number < 10 else "right"
        buffer.put(number, float(number), value, float(RATE))
    assert [play(buffer) for _ in range(2)] == [("jump", 5.0), ("right", 10.0)]
    assert buffer.confirmed == RATE // 2
    buffer.put(RATE // 2 + 1, 0.0, "right", float(RATE))
    assert len(buffer) == 1


@pytest.mark.parametrize("seconds", [0.11, 0.5, 1.0, 5.0])
def test_a_client_that_pauses_has_everything_played_afterwards(seconds: float) -> None:
    buffer, queue = InputBuffer(RATE), InputQueue()
    buffer.put(queue.put({}, 5.0, 5.0, RATE), 5.0, "a", 5.0)
    for _ in range(round(seconds * RATE) + 2):
        buffer.next()
    # For so long, and no longer, the last one stands for those that may still come.
    assert buffer.confirmed == min(round(seconds * RATE) + 2, RATE + 1)
    for count in range(3):
        now = 5.0 + seconds + count / RATE
        buffer.put(queue.put({}, now, now, RATE), now, "a", now)
        buffer.next()
    assert buffer.counts.played == 4
    assert buffer.confirmed == queue.number


def test_more_than_are_played_are_dropped_the_oldest_first_and_counted() -> None:
    buffer = InputBuffer(RATE)
    for number in range(1, 101):
        buffer.put(number, 0.0, number, 0.0)
    assert len(buffer) == 9
    assert buffer.counts.dropped == 91
    assert buffer.next() == 92


def test_numbers_that_are_not_new_and_sights_of_the_future_are_dropped_and_counted() -> None:
    buffer = buffer_with("a", "b")
    assert not buffer.put(2, 0.0, "again", 0.0)
    assert not buffer.put(3, 10.3, "future", 10.0)
    assert buffer.put(3, 10.2, "clocks differ", 10.0)
    assert (buffer.counts.dropped, buffer.counts.early) == (1, 1)


def test_of_too_many_those_go_first_that_say_nothing_new() -> None:
    """And the first of equal ones stays: it says what the player saw who pressed the key."""
    buffer = InputBuffer(RATE)
    for number in range(1, 13):
        value = "shoot" if number == 3 else "right"
        buffer.put(number, float(number), value, 20.0)
    assert [play(buffer) for _ in range(3)] == [("right", 1.0), ("shoot", 3.0), ("right", 4.0)]
    assert buffer.counts.dropped == 3


def test_what_waits_needlessly_is_given_up() -> None:
    buffer = buffer_with(*range(6))
    number = 6
    for _ in range(70):
        buffer.next()
        number += 1
        buffer.put(number, 0.0, number, 0.0)
    # One may wait, and one has just come.
    assert len(buffer) == 2


def test_what_is_a_little_late_now_and_then_is_missing_once() -> None:
    buffer, arrived = InputBuffer(RATE), 0
    for tick in range(300):
        # Every tenth comes after its tick.
        while arrived < tick + (tick % 10 != 0):
            arrived += 1
            buffer.put(arrived, 0.0, arrived, 0.0)
        buffer.next()
    assert buffer.counts.repeated <= 1
    assert buffer.counts.dropped == 0


def test_another_client_begins_with_any_number() -> None:
    buffer = buffer_with("a", "b", "c")
    buffer.next()
    buffer.restart()
    assert buffer.confirmed == 0
    assert buffer.put(1, 0.0, "new", 0.0)
    assert buffer.next() == "new"


steps = st.lists(st.sampled_from(["tick", "left", "right", "shoot"]), max_size=200)


def test_where_a_link_becomes_slower_a_state_has_what_it_says_again() -> None:
    buffer = InputBuffer(RATE)
    wrong = []
    for tick in range(1, 300):
        # The same is held for 20 ticks.
        number = tick - (1 if tick < 100 else 9)
        if number > 0 and not 100 <= tick < 108:
            buffer.put(number, 0.0, number // 20, tick / RATE)
        value = buffer.next()
        if value is not None and value != buffer.confirmed // 20:
            wrong.append(tick)
    assert min(wrong) >= 100
    assert max(wrong) < 100 + 2 * RATE


@given(steps)
def test_it_never_grows_and_never_goes_back(steps: list[str]) -> None:
    buffer = InputBuffer(RATE)
    number = played = 0
    for step in steps:
        if step == "tick":
            buffer.next()
            assert buffer.last is None or buffer.last.number >= played
            played = 0 if buffer.last is None else buffer.last.number
        else:
            number += 1
            buffer.put(number, 0.0, step, 0.0)
        assert len(buffer) <= 9
    counts = buffer.counts
    assert number == counts.played + counts.made_up + counts.dropped + len(buffer)


@given(st.lists(st.integers(0, 8), min_size=1, max_size=100))
def test_a_held_key_moves_as_far_as_the_client_says_whatever_the_delays(delays: list[int]) -> None:
    buffer = InputBuffer(RATE)
    # In order, as TCP has it: each comes with those before it at the earliest.
    due = [tick + delay for tick, delay in enumerate(delays)]
    arrivals = [max(due[: tick + 1]) for tick in range(len(due))]
    sent = 0
    for tick in range(max(arrivals) + 1):
        while sent < len(arrivals) and arrivals[sent] <= tick:
            sent += 1
            buffer.put(sent, 0.0, "right", 0.0)
        buffer.next()
        moved = buffer.counts.played + buffer.counts.repeated
        dropped = buffer.counts.dropped
        assert moved + dropped >= buffer.confirmed
