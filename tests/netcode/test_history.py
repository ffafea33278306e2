"""Where things were a moment ago, from what a game has declared."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgnet_trio.netcode import History, Rewind


@attrs.define
class Ship:
    x: float
    y: float = 0.0
    heading: float = 0.0
    name: str = ""


@attrs.frozen
class Rock:
    x: float


@attrs.define
class Space:
    ships: dict[str, Ship]
    rocks: list[Rock] = attrs.Factory(list)


def moving(ticks: int = 20, rate: float = 20, **declared: Rewind) -> tuple[History, Space]:
    history = History(declared or {"ships": Rewind("x", "y")})
    space = Space({"ann": Ship(0.0)})
    for tick in range(ticks):
        space.ships["ann"].x = 10.0 * tick
        history.record(tick / rate, space)
    return history, space


def test_a_time_between_two_ticks_is_a_place_between_two_places() -> None:
    history, space = moving()
    past = history.at(0.775)
    assert past.ships["ann"].x == pytest.approx(155)
    assert past.time == 0.775
    # The game itself has not changed.
    assert space.ships["ann"].x == 190


def test_what_is_not_declared_is_as_it_is_now() -> None:
    history, space = moving()
    space.ships["ann"].name = "Ann"
    assert history.at(0.8).ships["ann"].name == "Ann"


def test_nobody_has_seen_what_is_longer_ago_than_half_a_second() -> None:
    history, _ = moving(200)
    latest = 199 / 20
    assert history.at(-1e9).time == pytest.approx(latest - 0.5)
    assert history.at(-1e9).ships["ann"].x == pytest.approx(1990 - 100)
    assert len(history) == 11


def test_what_is_not_yet_is_now() -> None:
    history, _ = moving()
    assert history.at(99).ships["ann"].x == 190


def test_an_angle_turns_the_short_way() -> None:
    history = History({"ships": Rewind("x", angle="heading")})
    space = Space({"ann": Ship(0.0, heading=3.1)})
    history.record(0.0, space)
    space.ships["ann"].heading = -3.1
    history.record(0.1, space)
    heading = history.at(0.05).ships["ann"].heading
    assert math.cos(heading) == pytest.approx(-1)


@pytest.mark.parametrize("angle", [1e308, math.inf, math.nan])
def test_an_angle_that_is_none_was_nowhere_between(angle: float) -> None:
    """A player's input may hold any number, and the game may take it as it is."""
    history = History({"ships": Rewind("x", angle="heading")})
    space = Space({"ann": Ship(1.0, heading=-angle)})
    history.record(0.0, space)
    space.ships["ann"].heading = angle
    history.record(0.1, space)
    heading = history.at(0.05).ships["ann"].heading
    assert heading == -angle or math.isnan(angle)


def test_a_turn_is_a_jump_where_a_client_shows_one() -> None:
    history = History({"ships": Rewind("x", angle="heading", snap=0.5)})
    space = Space({"ann": Ship(0.0, heading=3.1)})
    history.record(0.0, space)
    space.ships["ann"].heading = -3.1
    history.record(0.1, space)
    space.ships["ann"].heading = -2.0
    history.record(0.2, space)
    assert history.at(0.05).ships["ann"].heading == pytest.approx(math.pi)
    assert history.at(0.15).ships["ann"].heading == -3.1


def test_a_jump_has_nothing_between() -> None:
    history = History({"ships": Rewind("x", snap=50)})
    space = Space({"ann": Ship(0.0)})
    history.record(0.0, space)
    space.ships["ann"].x = 500
    history.record(0.1, space)
    assert history.at(0.09).ships["ann"].x == 0
    assert history.at(0.1).ships["ann"].x == 500


def test_things_that_are_gone_were_there_and_those_that_came_were_not() -> None:
    history = History({"ships": Rewind("x")})
    space = Space({"ann": Ship(1.0)})
    history.record(0.0, space)
    space.ships = {"bob": Ship(2.0)}
    history.record(0.1, space)
    assert list(history.at(0.05).ships) == ["ann"]
    assert history.at(0.05).ships["ann"].x == 1
    assert list(history.at(0.1).ships) == ["bob"]


def test_frozen_things_and_sequences_can_be_rewound() -> None:
    history = History({"rocks": Rewind("x")})
    space = Space({}, [Rock(0.0), Rock(5.0)])
    history.record(0.0, space)
    space.rocks = [Rock(10.0), Rock(5.0)]
    history.record(0.1, space)
    assert [rock.x for rock in history.at(0.05).rocks.values()] == [5.0, 5.0]


def test_before_the_first_tick_there_is_nothing() -> None:
    assert dict(History({"ships": Rewind("x")}).at(0.0).ships) == {}


def test_a_name_that_is_not_declared_is_named_in_the_error() -> None:
    history, _ = moving()
    with pytest.raises(AttributeError, match=r"expected one of ships.*got 'shots'"):
        _ = history.at(0.0).shots


@pytest.mark.parametrize("fields", [(), ("x", "x"), (3,), ("a b",)])
def test_fields_are_names_each_once(fields: tuple[str, ...]) -> None:
    with pytest.raises(TypeError, match="Rewind: expected"):
        Rewind(*fields)


def test_a_snap_is_above_zero() -> None:
    with pytest.raises(ValueError, match="snap above 0"):
        Rewind("x", snap=0)


@given(st.floats(-10, 30), st.integers(1, 100))
def test_a_place_is_always_one_of_the_last_half_second(time: float, ticks: int) -> None:
    history, space = moving(ticks)
    latest = (ticks - 1) / 20
    x = history.at(time).ships["ann"].x
    assert max(0.0, (latest - 0.5) * 200) - 1e-6 <= x <= space.ships["ann"].x
    assert x == pytest.approx(200 * min(max(time, latest - 0.5, 0.0), latest))


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"ships": Rewind("x", "headng")}, "'ships'.* x, headng: .*no attribute 'headng'"),
        ({"shps": Rewind("x")}, "'shps'.*: .*no attribute 'shps'"),
    ],
)
def test_a_misspelt_declaration_is_named(declared: dict[str, Any], message: str) -> None:
    with pytest.raises(AttributeError, match=f"^rewinds: expected an attribute {message}"):
        moving(1, **declared)


@pytest.mark.parametrize("things", [None, 3])
def test_an_attribute_that_holds_no_things_is_named(things: Any) -> None:
    space = Space(things)
    with pytest.raises(TypeError, match=f"^rewinds: .* attribute 'ships' .*, got {things}$"):
        History({"ships": Rewind("x")}).record(0.0, space)


def test_a_field_that_is_no_number_is_named() -> None:
    with pytest.raises(TypeError, match=r"^rewinds: .* field 'name' .*; got '', and then ''$"):
        _ = moving(2, ships=Rewind("name"))[0].at(0.02).ships["ann"]
