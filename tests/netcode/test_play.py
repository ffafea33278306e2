"""A game on one player's screen: what is sent, and what is shown."""

from __future__ import annotations

import itertools

import attrs
import pytest

from pgnet_trio.netcode import Moment
from pgnet_trio.netcode.play import Play, PlayRules
from tests.netcode.steps import Ship, Thrust, fly

TICK = 1 / 32
RIGHT = Thrust(1, 0)


@attrs.define
class Wire:
    sent: list[tuple[Thrust, float]] = attrs.field(factory=list)
    online: bool = True

    def send(self, thrust: Thrust, seen: float) -> int | None:
        if not self.online:
            return None
        self.sent.append((thrust, seen))
        return len(self.sent)


def begun(wire: Wire, name: str = "ann") -> Play[Ship, Thrust]:
    play: Play[Ship, Thrust] = Play(PlayRules(fly), name, wire.send)
    play.dt = TICK
    play.take({"ann": Ship(), "bob": Ship(x=100.0)}, Moment(32, 1.0), 1.1)
    play.take({"ann": Ship(), "bob": Ship(x=101.0)}, Moment(33, 1.0 + TICK), 1.1 + TICK)
    play.frame(1.1 + TICK)
    return play


def test_an_action_shows_in_its_frame_whenever_that_is() -> None:
    for offset in range(8):
        play = begun(Wire())
        play.frame(2.0, Thrust(0, 0))
        now = 2.0 + offset * TICK / 7
        before = play.frame(now, Thrust(0, 0)).me
        after = play.frame(now + TICK / 9, RIGHT).me
        assert before is not None
        assert after is not None
        assert after.x > before.x


def test_a_player_without_an_object_is_heard_and_has_it_back_with_all_that_was_sent() -> None:
    """Whoever has crashed says with an input that they begin anew."""
    wire = Wire()
    play = begun(wire)
    play.take({"bob": Ship()}, Moment(34, 1.0 + 2 * TICK), 1.2)
    for tick in range(4):
        frame = play.frame(1.2 + tick * TICK, RIGHT)
    assert frame.me is None
    assert len(wire.sent) == 4
    ship = Ship(x=50.0)
    play.take({"ann": ship, "bob": Ship()}, Moment(35, 1.0 + 3 * TICK, 2), 1.3)
    for _ in range(2):
        fly(ship, RIGHT, TICK)
    assert play.predictor is not None
    assert play.predictor.state == ship
    assert play.predictor.pending == 2


def test_an_input_may_be_one_object_that_the_author_changes() -> None:
    @attrs.define
    class Wish:
        x: float

    def fly_on(ship: Ship, wish: Wish, dt: float) -> None:
        fly(ship, Thrust(wish.x, 0), dt)

    play: Play[Ship, Wish] = Play(PlayRules(fly_on), "ann", lambda wish, seen: next(numbers))
    numbers = itertools.count(1)
    play.dt = TICK
    play.take({"ann": Ship()}, Moment(32, 1.0), 1.0)
    play.frame(1.0)
    wish = Wish(1.0)
    for tick in range(4):
        play.frame(1.0 + tick * TICK, wish)
    wish.x = 0.0
    play.frame(1.0 + 4 * TICK, wish)
    play.take({"ann": Ship()}, Moment(33, 1.0 + TICK), 1.2)
    expected = Ship()
    for x in (1, 1, 1, 1, 0):
        fly(expected, Thrust(x, 0), TICK)
    assert play.predictor is not None
    assert play.predictor.state == expected


def test_a_change_in_the_middle_of_a_tick_is_no_step_back() -> None:
    """The whole tick counts for the new input: what was shown of it goes little by little."""
    for offset in range(8):
        play = begun(Wire())
        for frame in range(32):
            before = play.frame(2.0 + frame * TICK / 4, RIGHT).me
        now = 2.0 + 8 * TICK + offset * TICK / 8
        places = [play.frame(now + frame * TICK / 4, Thrust(0, 0)) for frame in range(40)]
        assert before is not None
        xs = [before.x, *(frame.me.x for frame in places if frame.me is not None)]
        assert min(after - x for x, after in itertools.pairwise(xs)) > -0.2
        assert places[-1].me == places[-1].predicted


def test_the_same_object_may_say_something_else_in_each_frame() -> None:
    @attrs.define
    class Wish:
        x: float
        y: float = 0.0

    wishes: list[float] = []
    rules: PlayRules[Ship, Wish] = PlayRules(lambda ship, wish, dt: wishes.append(wish.x))
    sent: list[Wish] = []

    def send(wish: Wish, seen: float) -> int:
        sent.append(wish)
        return len(sent)

    play: Play[Ship, Wish] = Play(rules, "ann", send)
    play.dt = TICK
    play.take({"ann": Ship()}, Moment(32, 1.0), 1.1)
    play.frame(1.1)
    wish = Wish(0.0)
    for number in range(4):
        wish.x = float(number)
        play.frame(1.2 + number * TICK, wish)
    wishes.clear()
    play.take({"ann": Ship()}, Moment(33, 1.0 + TICK), 1.3)
    assert wishes == [wish.x for wish in sent] == [0.0, 1.0, 2.0, 3.0]


def test_one_input_is_sent_for_each_tick() -> None:
    wire = Wire()
    play = begun(wire)
    for frame in range(65):
        play.frame(2.0 + frame * TICK / 2, RIGHT)
    assert len(wire.sent) == 33
    assert play.predictor is not None
    assert play.predictor.pending == 33


def test_slow_frames_make_up_for_ticks_and_long_pauses_do_not() -> None:
    wire = Wire()
    play = begun(wire)
    play.frame(2.0, RIGHT)
    play.frame(2.0 + 3 * TICK, RIGHT)
    assert len(wire.sent) == 4
    play.frame(12.0, RIGHT)
    assert len(wire.sent) == 8
    play.frame(12.0 + TICK / 2, RIGHT)
    assert len(wire.sent) == 8


def test_what_was_seen_is_what_was_shown_when_the_player_began_to_act() -> None:
    wire = Wire()
    play = begun(wire)
    play.frame(2.0)
    seen = play.interpolator.time
    play.frame(2.0 + TICK / 4, RIGHT)
    assert wire.sent == [(RIGHT, seen)]
    play.frame(2.0 + TICK / 2, RIGHT)
    seen = play.interpolator.time
    for frame in range(3, 7):
        play.frame(2.0 + frame * TICK / 4, Thrust(0, 1))
    assert wire.sent[1:] == [(Thrust(0, 1), seen)]


def test_the_own_object_is_predicted_and_all_others_are_not() -> None:
    play = begun(Wire())
    for frame in range(20):
        shown = play.frame(1.2 + frame * TICK, RIGHT)
    assert shown.things == {"ann": shown.me, "bob": shown.interpolated["bob"]}
    assert shown.me is not None
    assert shown.me.x > 10
    assert shown.interpolated["ann"].x == 0
    assert shown.server["ann"] == Ship()


def test_the_servers_state_is_taken_in() -> None:
    play = begun(Wire())
    server = Ship()
    for number in range(1, 11):
        play.frame(2.0 + number * TICK, RIGHT)
    for _ in range(4):
        fly(server, RIGHT, TICK)
    play.take({"ann": server}, Moment(40, 1.25, 4), 2.5)
    assert play.predictor is not None
    assert (play.predictor.error, play.predictor.pending) == (0, 6)


def test_who_has_no_object_sees_all_others() -> None:
    play = begun(Wire(), "eve")
    shown = play.frame(2.0, RIGHT)
    assert shown.me is None
    assert sorted(shown.things) == ["ann", "bob"]


def test_without_an_input_nothing_is_sent() -> None:
    wire = Wire()
    assert begun(wire).frame(2.0).me == Ship()
    assert wire.sent == []


def test_what_cannot_be_sent_is_not_predicted() -> None:
    wire = Wire(online=False)
    play = begun(wire)
    for frame in range(20):
        shown = play.frame(2.0 + frame * TICK, RIGHT)
    assert shown.me == Ship()


def test_another_game_begins_anew() -> None:
    wire = Wire()
    play = begun(wire)
    play.frame(2.0, RIGHT)
    play.reset()
    wire.sent.clear()
    assert play.frame(3.0, RIGHT).things == {}
    # How long its ticks are is not known yet, and those of before say nothing of it.
    play.take({"ann": Ship(x=7.0)}, Moment(1, 0.03), 0.1)
    assert play.frame(0.2, RIGHT).me is None
    assert wire.sent == []
    play.dt = 2 * TICK
    play.take({"ann": Ship(x=7.0)}, Moment(2, 0.06), 0.3)
    assert play.frame(0.4).me == Ship(x=7.0)


def test_ticks_may_become_longer_and_end() -> None:
    wire = Wire()
    play = begun(wire)
    play.dt = 2 * TICK
    play.take({"ann": Ship()}, Moment(2, 0.06), 0.3)
    assert play.predictor is not None
    assert play.predictor.dt == 2 * TICK
    play.dt = 0.0
    shown = play.frame(0.4, RIGHT)
    assert shown.me == Ship()
    assert wire.sent == []


def test_all_inputs_of_a_frame_say_what_was_seen_when_the_player_acted() -> None:
    """Only the last of them leaves, where they come faster than the network takes them."""
    wire = Wire()
    play = begun(wire)
    play.frame(2.0, Thrust(0, 0))
    seen = play.interpolator.time
    play.frame(2.0 + TICK / 2, RIGHT)
    wire.sent.clear()
    play.frame(2.0 + 3.5 * TICK, RIGHT)
    assert wire.sent == [(RIGHT, seen)] * 3


def test_before_the_ticks_are_known_nothing_is_predicted() -> None:
    wire = Wire()
    play: Play[Ship, Thrust] = Play(PlayRules(fly), "ann", wire.send)
    play.take({"ann": Ship(x=3.0)}, Moment(), 0.0)
    assert play.frame(1.0, RIGHT).me is None
    assert play.frame(1.0, RIGHT).things == {"ann": Ship(x=3.0)}
    assert wire.sent == []


@pytest.mark.parametrize("frames", [20, 25, 60, 144])
def test_with_any_rate_of_frames_the_ship_gets_as_far(frames: int) -> None:
    wire = Wire()
    play = begun(wire)
    for frame in range(2 * frames + 1):
        play.frame(2.0 + frame / frames, RIGHT)
    assert len(wire.sent) == pytest.approx(2 / TICK, abs=1)
