"""The clock of a game's room, as a client learns it: pure, with every time written down."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgnet_trio.client.timing import Timing
from pgnet_trio.netcode import ServerClock
from pgnet_trio.protocol.events import TimeTold


class Machine:
    """This machine's clock, a server whose clock is ahead, and a link between them."""

    def __init__(self, ahead: float = 1000.0) -> None:
        self.now = 0.0
        self.slept = 0.0
        self.ahead = ahead
        self.clock = ServerClock(lambda: self.now, lambda: self.slept)
        self.shown: list[tuple[float, float]] = []

    def look(self) -> float:
        time = self.clock.time()
        self.shown.append((self.now, time))
        return time

    @property
    def error(self) -> float:
        return self.clock.time() - (self.now + self.ahead)

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 1 / 60)
            self.look()

    def hear(self, delay: float) -> None:
        """A message comes that was under way so long."""
        self.clock.learn(self.now + self.ahead - delay)

    def ask(self, up: float, down: float) -> None:
        self.wait(up + down)
        self.clock.learn(self.now + self.ahead - down, up + down)


def test_a_first_message_is_at_least_so_late() -> None:
    machine = Machine()
    machine.clock.begin(machine.ahead - 0.04)
    assert machine.error == pytest.approx(-0.04)


def test_an_answer_says_how_long_it_was_under_way() -> None:
    machine = Machine()
    machine.clock.begin(machine.ahead - 0.05)
    machine.ask(0.05, 0.05)
    machine.wait(1)
    assert machine.error == pytest.approx(0, abs=1e-9)


def test_the_quickest_answer_counts_and_not_the_last() -> None:
    machine = Machine()
    machine.clock.begin(machine.ahead - 0.03)
    for up, down in [(0.03, 0.03), (0.2, 0.03), (0.03, 0.3)]:
        machine.ask(up, down)
        machine.wait(1)
        assert abs(machine.error) < 0.001


def test_it_is_right_within_5_ms_where_delays_differ_by_30() -> None:
    machine = Machine()
    numbers = random.Random(1)
    machine.clock.begin(machine.ahead - 0.06)
    for second in range(20):
        machine.ask(0.06 + 0.03 * numbers.random(), 0.06 + 0.03 * numbers.random())
        for _ in range(20):
            machine.wait(0.04)
            machine.hear(0.06 + 0.03 * numbers.random())
            if second > 5:
                assert abs(machine.error) < 0.015


def test_a_small_error_is_made_up_at_5_percent() -> None:
    machine = Machine()
    machine.clock.begin(machine.ahead - 0.04)
    machine.clock.learn(machine.ahead - 0.04, 0.08)
    before = machine.look()
    machine.wait(0.4)
    assert machine.clock.time() - before == pytest.approx(0.4 * 1.05)
    machine.wait(0.6)
    assert machine.error == pytest.approx(0)


@pytest.mark.parametrize("error", [0.3, -0.3, 0.9])
def test_a_larger_error_is_over_after_a_second(error: float) -> None:
    machine = Machine()
    machine.clock.begin(machine.ahead)
    machine.ahead += error
    machine.clock.change_link()
    machine.ask(0.01, 0.01)
    machine.wait(1)
    assert machine.error == pytest.approx(0, abs=0.001)


@pytest.mark.parametrize("error", [0.3, -0.3, 0.9, -0.9])
def test_it_is_over_after_a_second_though_each_answer_changes_a_little(error: float) -> None:
    machine = Machine()
    machine.clock.begin(machine.ahead)
    machine.ask(0.02, 0.02)
    machine.wait(1)
    machine.ahead += error
    machine.clock.change_link()
    machine.ask(0.02, 0.02)
    known = machine.now
    for number in range(3):
        machine.wait(0.15)
        machine.ask(0.02, 0.0201 + number / 10_000)
    machine.wait(known + 1 - machine.now)
    assert machine.error == pytest.approx(0, abs=0.001)


@pytest.mark.parametrize("stall", [3, 16, 30])
@pytest.mark.parametrize("is_another_link", [False, True])
def test_answers_that_took_long_make_nothing_worse(stall: int, is_another_link: bool) -> None:
    """As where a link, or the server's process, stands still, and then all comes at once."""
    machine = Machine()
    machine.clock.begin(machine.ahead - 0.02)
    for _ in range(20):
        machine.ask(0.02, 0.02)
        machine.wait(0.96)
    asked = [machine.now + second for second in range(stall)][-16:]
    if is_another_link:
        machine.clock.change_link()
    machine.wait(stall)
    for at in asked:
        machine.clock.learn(machine.now + machine.ahead - 0.02, machine.now - at)
        assert abs(machine.error) < 0.001
    machine.ask(0.02, 0.02)
    assert abs(machine.error) < 0.001


def test_a_first_answer_that_took_long_is_made_up_within_a_second() -> None:
    machine = Machine()
    machine.clock.begin(machine.ahead)
    machine.clock.learn(machine.ahead - 0.01, 4.0)
    machine.wait(1)
    machine.ask(0.01, 0.01)
    machine.wait(1)
    assert machine.error == pytest.approx(0, abs=0.001)


def test_what_was_asked_before_a_sleep_says_how_late_it_is_and_not_how_long_it_took() -> None:
    machine = Machine()
    asked: list[int] = []

    def ask(id: int) -> bool:
        asked.append(id)
        return True

    timing = Timing(machine.clock, lambda: machine.now, ask)
    timing.begin(machine.ahead)
    timing.look()
    machine.wait(0.02)
    timing.take_time(TimeTold(asked[-1], machine.now + machine.ahead, 30.0))
    machine.wait(1)
    timing.look()
    answered = machine.now + machine.ahead
    machine.slept, machine.ahead = 3600.0, machine.ahead + 3600
    timing.take_time(TimeTold(asked[-1], answered, 30.0))
    assert machine.clock.latency is not None
    assert machine.clock.latency.round_trip < 0.1
    before = machine.look()
    machine.wait(0.5)
    assert machine.look() - before == pytest.approx(0.5, rel=0.05)
    assert abs(machine.error) < 0.02


def test_it_is_right_at_once_after_this_machine_has_slept() -> None:
    machine = Machine()
    machine.clock.begin(machine.ahead)
    machine.ask(0.02, 0.02)
    machine.wait(1)
    # The clock stands still meanwhile, as Linux's monotonic one does.
    machine.slept, machine.ahead = 3600.0, machine.ahead + 3600
    assert machine.error == pytest.approx(0, abs=1e-6)
    assert machine.clock.note_sleep()
    assert not machine.clock.note_sleep()
    machine.ask(0.02, 0.02)
    assert machine.error == pytest.approx(0, abs=1e-6)


def test_it_is_right_within_a_second_where_nobody_says_that_the_machine_slept() -> None:
    machine = Machine()
    machine.clock.begin(machine.ahead)
    machine.ask(0.02, 0.02)
    machine.ahead += 3600
    machine.hear(0.02)
    machine.ask(0.02, 0.02)
    machine.wait(0.9)
    assert machine.error == pytest.approx(0, abs=0.001)


@pytest.mark.parametrize(("before", "after"), [(0.02, 0.25), (0.25, 0.02)])
def test_another_link_changes_the_latency_and_not_the_time(before: float, after: float) -> None:
    machine = Machine()
    machine.clock.begin(machine.ahead - before)
    for _ in range(10):
        machine.ask(before, before)
        machine.wait(1)
    machine.clock.change_link()
    for _ in range(3):
        machine.ask(after, after)
        machine.hear(after)
        assert abs(machine.error) < 0.001
    latency = machine.clock.latency
    assert latency is not None
    assert latency.round_trip == pytest.approx(2 * after)


def test_before_the_first_answer_nobody_knows_the_latency() -> None:
    assert Machine().clock.latency is None


def test_the_latency_is_smoothed_and_says_its_jitter() -> None:
    machine = Machine()
    machine.clock.begin(0)
    for round_trip in [0.1, 0.1, 0.1, 0.18]:
        machine.clock.learn(machine.ahead, round_trip)
    latency = machine.clock.latency
    assert latency is not None
    assert latency.round_trip == pytest.approx(0.11)
    assert latency.best == 0.1
    assert latency.latest == 0.18
    assert 0.02 < latency.jitter < 0.05


def test_a_prompt_message_shows_that_those_before_were_late() -> None:
    machine = Machine()
    machine.clock.begin(machine.ahead - 0.5)
    machine.wait(1)
    machine.hear(0.01)
    machine.wait(1)
    assert machine.error == pytest.approx(-0.01)


def test_it_is_right_after_the_server_s_clock_has_stood_still() -> None:
    machine = Machine()
    machine.clock.begin(machine.ahead)
    machine.ask(0.01, 0.01)
    machine.wait(1)
    machine.ahead -= 3
    # They are slower, and all the same it is they that count.
    machine.ask(0.02, 0.02)
    machine.wait(1)
    machine.ask(0.02, 0.02)
    machine.wait(3)
    assert machine.error == pytest.approx(0, abs=0.001)


def test_another_room_has_another_time() -> None:
    machine = Machine()
    machine.clock.begin(5000)
    machine.wait(10)
    machine.clock.begin(2)
    assert machine.clock.time() == pytest.approx(2)


links = st.lists(
    st.tuples(
        st.sampled_from(["hear", "ask", "wait", "sleep", "link", "stall"]),
        st.floats(0, 2),
        st.floats(0, 2),
    ),
    max_size=30,
)


@given(links)
def test_it_never_runs_backwards_whatever_comes(links: list[tuple[str, float, float]]) -> None:
    machine = Machine()
    machine.clock.begin(machine.ahead)
    for what, one, other in links:
        if what == "hear":
            machine.hear(one)
        elif what == "ask":
            machine.ask(one, other)
        elif what == "wait":
            machine.wait(one)
        elif what == "sleep":
            machine.slept += 100 * one
            machine.ahead += 100 * one
        elif what == "link":
            machine.clock.change_link()
        else:
            # The server's clock stands still.
            machine.ahead -= one
        machine.look()
    times = [time for _, time in machine.shown]
    assert times == sorted(times)


@given(links)
def test_it_is_right_a_second_after_two_answers(links: list[tuple[str, float, float]]) -> None:
    machine = Machine()
    machine.clock.begin(machine.ahead)
    for what, one, other in links:
        if what == "hear":
            machine.hear(one)
        elif what == "ask":
            machine.ask(one, other)
        else:
            machine.wait(one)
    machine.clock.change_link()
    machine.ask(0.01, 0.01)
    machine.ask(0.01, 0.01)
    machine.wait(2.1)
    assert abs(machine.error) < 0.011
