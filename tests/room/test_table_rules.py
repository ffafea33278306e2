"""The rules of a table, whatever comes: who is host, who has which seat, who is ready."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pgnet_trio import Game, Reject
from pgnet_trio.game import ReadyState, Seat, SeatPlan, seats_of
from pgnet_trio.server.games.save_format import kept_in, pack, unpack
from pgnet_trio.server.room.host import Host
from pgnet_trio.server.room.kept import Kept, kept_of

NAMES = st.sampled_from(["ann", "bob", "Bob", "cat", "dan"])
PLAYERS = st.dictionaries(NAMES, st.booleans())


# The host


class HostMachine(RuleBasedStateMachine):
    """Users come, go, drop and come back; the game may name one of them host."""

    def __init__(self) -> None:
        super().__init__()
        self.host = Host()
        self.players: dict[str, bool] = {}

    @rule(name=NAMES)
    def join(self, name: str) -> None:
        if name not in self.players:
            self.players[name] = True
            self.host.note_joined(name)

    @rule(name=NAMES)
    def leave(self, name: str) -> None:
        before = self.host.current(self.players)
        if self.players.pop(name, None) is not None:
            self.host.note_left(name, self.players)
        now = self.host.current(self.players)
        if before != name and before in self.players:
            assert now == before, "somebody else has left"
        online = [player for player, is_online in self.players.items() if is_online]
        if before == name and online:
            assert now == online[0]

    @rule(name=NAMES, online=st.booleans())
    def drop(self, name: str, online: bool) -> None:
        before = self.host.current(self.players)
        if name in self.players:
            self.players[name] = online
        assert self.host.current(self.players) == before

    @rule(name=NAMES)
    def assign(self, name: str) -> None:
        if name in self.players:
            self.host.name = name
            assert self.host.current(self.players) == name

    @rule()
    def restart(self) -> None:
        self.players = {}
        self.host = Host(self.host.name)

    @invariant()
    def somebody_here_is_host(self) -> None:
        if self.players:
            assert self.host.current(self.players) in self.players


TestHost = HostMachine.TestCase


def test_who_was_host_before_a_restart_is_host_once_back() -> None:
    host = Host("ann")
    assert host.current({}) == "ann"
    host.note_joined("bob")
    assert host.current({"bob": True}) == "bob"
    host.note_joined("ann")
    assert host.current({"bob": True, "ann": True}) == "ann"


def test_who_is_connected_follows_before_who_is_longer_there() -> None:
    host = Host("ann")
    host.note_left("ann", {"bob": False, "cat": True})
    assert host.name == "cat"
    host.note_left("cat", {"bob": False})
    assert host.name == "bob"
    host.note_left("bob", {})
    assert host.current({}) is None
    host.note_joined("dan")
    assert host.current({}) == "dan"


# Seats

SEATS: list[tuple[Seat, ...] | None] = [None, (0, 1, 2), ("north", "south")]


class SeatMachine(RuleBasedStateMachine):
    """Players take and leave seats, and bots play in their stead."""

    def __init__(self) -> None:
        super().__init__()
        self.plan = SeatPlan()
        self.seats: tuple[Seat, ...] | None = None

    @rule(seats=st.sampled_from(SEATS))
    def declare(self, seats: tuple[Seat, ...] | None) -> None:
        self.seats = seats
        self.plan.declare(seats)

    @rule(name=NAMES, seat=st.sampled_from([None, 0, 1, 2, 7, -1, True, "north", "south", "up"]))
    def take(self, name: str, seat: Seat | None) -> None:
        before = dict(self.plan.holders)
        try:
            taken = self.plan.take(name, seat)
        except Reject:
            assert self.plan.holders == before
            assert seat is not None or not (set(self.seats or ()) - before.keys())
        else:
            assert self.plan.holders[taken] == name
            assert seat in (None, taken)
            others = {key: each for key, each in before.items() if each != name}
            assert others.items() <= self.plan.holders.items()

    @rule(name=NAMES)
    def leave(self, name: str) -> None:
        seat = self.plan.seat_of(name)
        assert self.plan.leave(name) == seat
        assert self.plan.seat_of(name) is None

    @rule(name=NAMES)
    def substitute(self, name: str) -> None:
        if self.plan.seat_of(name) is None:
            with pytest.raises(ValueError, match="a player who has a seat"):
                self.plan.substitute(name, f"bot {name}")
        else:
            seat = self.plan.substitute(name, f"bot {name}")
            assert self.plan.player_in(seat, {name, f"bot {name}"}) == f"bot {name}"
            assert self.plan.player_in(seat, {name}) == name
            assert self.plan.player_in(seat, set()) is None

    @rule(name=NAMES)
    def come_back(self, name: str) -> None:
        self.plan.end_substitution(name)
        seat = self.plan.seat_of(name)
        if seat is not None:
            assert self.plan.player_in(seat, {name, f"bot {name}"}) == name
        assert self.plan.end_substitution(name) is None

    @rule(players=st.sets(NAMES), most=st.integers(1, 4), name=NAMES)
    def ask_for_a_place(self, players: set[str], most: int, name: str) -> None:
        if self.plan.has_place_for(name, players, most) and name not in players:
            away = set(self.plan.holders.values()) - players - {name}
            assert self.plan.seat_of(name) is not None or len(players) + len(away) < most

    @invariant()
    def each_has_one_seat(self) -> None:
        holders = list(self.plan.holders.values())
        assert len(set(holders)) == len(holders)
        assert self.plan.substitutes.keys() <= self.plan.holders.keys()
        if self.seats is not None:
            assert self.plan.holders.keys() <= set(self.seats)
            assert self.plan.order == self.seats


TestSeats = SeatMachine.TestCase


def method(self: Any) -> int:
    return 2


def test_which_seats_a_class_declares() -> None:
    def seats(**names: Any) -> tuple[Seat, ...] | None:
        return seats_of(type("Cards", (Game,), names))

    assert seats(seats=2) == (0, 1)
    assert seats(seats=("north", "south")) == ("north", "south")
    assert seats(max_players=3) == (0, 1, 2)
    assert seats(max_players=3, seats=2) == (0, 1)
    assert seats() is None
    # Of another type, it is the author's own.
    for own in _OWN:
        assert seats(seats=own) is None
    assert seats(max_players=property(lambda self: 2)) is None


_OWN: list[Any] = [{}, [], (), True, 0, -1, (1, 2), "ns", method, property(method)]


def test_a_seat_is_one_place_also_while_nobody_is_in_it() -> None:
    plan = SeatPlan()
    plan.declare((0, 1))
    plan.take("ann")
    plan.take("bob")
    assert not plan.has_place_for("eve", ["bob"], 2)
    assert plan.has_place_for("ann", ["bob", "eve"], 2)
    plan.substitute("ann", "bot 1")
    assert plan.has_place_for("bot 1", ["ann", "bob"], 2)
    assert not plan.has_place_for("eve", ["bob", "bot 1"], 2)


# Ready checks


@given(
    st.lists(NAMES, unique=True, min_size=1),
    st.lists(st.tuples(st.sampled_from(["join", "leave", "yes", "no"]), NAMES)),
)
def test_a_check_is_complete_when_all_who_are_there_have_said_yes(
    players: list[str], events: list[tuple[str, str]]
) -> None:
    state = ReadyState()
    changes = []
    state.begin(players, lambda: changes.append(1))
    here, ready, failed = list(players), set(), False
    for what, name in events:
        match what:
            case "join":
                state.note_joined(name)
                if name not in here:
                    here.append(name)
            case "leave":
                state.note_left(name)
                if name in here:
                    here.remove(name)
                    ready.discard(name)
                    failed = True
            case _:
                state.note_answer(name, is_ready=what == "yes")
                if name in here:
                    failed = failed or what == "no"
                    (ready.add if what == "yes" else ready.discard)(name)
        assert set(state.ready) == ready
        assert set(state.waiting) == set(here) - ready
        assert state.has_failed == failed
        assert state.is_complete == (bool(here) and not failed and ready == set(here))
    state.end()
    state.note_left(players[0])
    state.note_joined("new")
    assert set(state.ready) == ready


def test_a_check_that_has_moved_goes_on_once_with_the_answers_so_far() -> None:
    state = ReadyState()
    state.remembered = frozenset({"ann", "gone"})
    state.begin(["ann", "bob"], lambda: None)
    assert state.ready == ("ann",)
    state.end()
    state.begin(["ann", "bob"], lambda: None)
    assert not state.ready


# What is kept

TABLE = st.fixed_dictionaries(
    {
        "host": st.none() | st.text(min_size=1),
        "seats": st.lists(st.tuples(st.integers(-5, 5) | st.text(), st.text())).map(tuple),
        "unlisted": st.booleans(),
        "ready": st.lists(st.text()).map(tuple),
    }
)
# Who has played is known of a game that has begun.
PLAYED = st.just({"began": None, "played": None}) | st.fixed_dictionaries(
    {
        "began": st.floats(allow_nan=False),
        "played": st.none() | st.lists(st.text()).map(tuple),
    }
)
KEPT = st.builds(lambda table, played: Kept(**table, **played), TABLE, PLAYED)
ANYTHING: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("seats"), inner),
)


@given(KEPT, st.text(), st.dictionaries(st.text(), st.integers()))
def test_what_is_kept_is_saved_beside_the_rest(
    kept: Kept, save_string: str, options: dict[str, int]
) -> None:
    data = pack(save_string, options, kept)
    assert unpack(data) == (save_string, options)
    assert kept_in(data) == kept


def test_a_game_of_which_nothing_is_kept_is_saved_as_its_save_string() -> None:
    assert pack("text", {}, Kept()) == "text"


@given(ANYTHING)
@example("")
def test_what_somebody_has_edited_is_read_as_far_as_it_can_be(data: Any) -> None:
    for found in (
        kept_of(data),
        kept_of(dict.fromkeys(("seats", "host", "ready", "invited"), data)),
    ):
        assert kept_of(found.plain()) == found
