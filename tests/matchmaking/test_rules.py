"""Rules of an author's own, and what a class may declare of its queues."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from types import MappingProxyType
from typing import Any

import attrs
import pytest

from pgnet_trio.matchmaking import Queue, Rule, Ticket, play_round, queues_of

ANN, BOB, EVE = (
    Ticket(username=name, waited=waited) for name, waited in (("ann", 3), ("bob", 2), ("eve", 1))
)


def found_by(rule: Rule) -> tuple[list[Sequence[Ticket] | None], float]:
    found: list[Sequence[Ticket] | None] = []
    round = play_round(Queue(rule=rule, every=2.5), [ANN, BOB, EVE])
    try:
        while True:
            found.append(next(round))
    except StopIteration as end:
        return found, end.value


def test_a_rule_may_return_its_matches() -> None:
    assert found_by(lambda tickets: [[tickets[0], tickets[2]]]) == ([(ANN, EVE)], 2.5)


def test_a_rule_may_yield_its_matches_and_pause_in_between() -> None:
    def rule(tickets: Sequence[Ticket]) -> Iterator[Sequence[Ticket] | None]:
        yield tickets[:2]
        yield None
        yield tickets[2:]

    assert found_by(rule) == ([(ANN, BOB), None, (EVE,)], math.inf)


@pytest.mark.parametrize(
    ("returned", "error", "text"),
    [
        ([[ANN, BOB], [BOB, EVE]], ValueError, "each ticket once.*got one of 'bob'"),
        ([[ANN, ANN]], ValueError, "each ticket once.*got one of 'ann'"),
        ([[Ticket(username="ann", waited=3)]], ValueError, "none of its own making"),
        ([[Ticket(username="odd", waited=3)]], ValueError, "none of its own making"),
        ([ANN], TypeError, "each a list or tuple of tickets, got Ticket"),
        ([["ann", "bob"]], TypeError, "matches of tickets, got str"),
        (["ann"], TypeError, "each a list or tuple of tickets, got str"),
        ([[]], TypeError, "each a list or tuple of tickets, got list"),
    ],
)
def test_a_rule_that_returns_something_else_is_told_what_is_expected(
    returned: Iterable[Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        found_by(lambda tickets: returned)


@attrs.frozen
class Wanted:
    mode: str = "blitz"


class Unfit:
    pass


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"size": 1}, ValueError, "size=….*2 to 1000, got 1"),
        ({"size": "2"}, TypeError, "size=….*an int, got '2'"),
        ({"size": True}, TypeError, "an int, got True"),
        ({"size": 2, "min_size": 3}, ValueError, "min_size=….*1 to 2, got 3"),
        ({"within": -1}, ValueError, "0 or more units of the rating, got -1"),
        ({"within": math.inf}, ValueError, "within"),
        ({"wait": math.nan}, ValueError, "wait=….*0 or more seconds"),
        ({"wait": None}, TypeError, "wait=….*a number of seconds, got None"),
        ({"confirm": 0}, ValueError, "more than 0 seconds, got 0"),
        ({"every": 0.0}, ValueError, "every=…"),
        ({"rating": False}, TypeError, "expected True, a function"),
        ({"rating": ""}, TypeError, "rating=…"),
        ({"rule": []}, TypeError, r"rule=….*a function or None, got \[\]"),
        ({"options": {}}, TypeError, "options=…"),
        ({"properties": dict}, TypeError, "an attrs class or None"),
        ({"properties": Unfit}, TypeError, "an attrs class or None"),
    ],
)
def test_a_queue_that_makes_no_sense_is_refused(
    arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        Queue(**arguments)


def test_a_queue_may_have_everything() -> None:
    queue = Queue(
        size=4,
        min_size=2,
        rating=len,
        within=0,
        wait=0,
        confirm=5,
        properties=Wanted,
        options=lambda tickets: {"count": len(tickets)},
    )
    assert queue.widening.min_size == 2
    assert Queue(rating="level").widening.min_size == 2


ONE = Queue(size=2)


class Single:
    matchmaking = ONE


class Several:
    matchmaking = MappingProxyType({"ranked": ONE, "Free for all": Queue(size=8)})


class Own:
    matchmaking = "none of yours"


class OwnMapping:
    matchmaking = MappingProxyType({"ranked": 3})


class Nothing:
    pass


def test_a_class_declares_one_queue_or_several_by_name() -> None:
    assert queues_of(Single) == {"": ONE}
    assert list(queues_of(Several)) == ["ranked", "Free for all"]


@pytest.mark.parametrize("cls", [Own, OwnMapping, Nothing])
def test_an_attribute_that_holds_no_queue_is_the_authors_own(cls: type) -> None:
    assert queues_of(cls) == {}


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        ({"ranked": ONE, "other": 3}, r"matchmaking\['other'\]: expected a Queue"),
        ({"": ONE}, "names of 1 to 30"),
        ({" ranked": ONE}, "names of 1 to 30"),
        ({"ränked": ONE}, "names of 1 to 30"),
        ({3: ONE}, "names of 1 to 30.*got 3"),
        ({"admins": ONE}, "without 'admin'"),
        ({"x" * 31: ONE}, "names of 1 to 30"),
        ({f"queue {number}": ONE for number in range(101)}, "at most 100 queues, got 101"),
    ],
)
def test_a_declaration_with_a_slip_in_it_is_refused(declared: object, text: str) -> None:
    game = type("Duel", (), {"matchmaking": declared})
    with pytest.raises(TypeError, match=f"Duel.{text}|Duel.matchmaking: .*{text}"):
        queues_of(game)
