"""Which tickets make a match by the rule of a queue that has none of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgnet_trio.matchmaking import Queue, Ticket, play_round

WAIT = 30.0

ratings = st.integers(0, 3000).map(float)
waits = st.integers(0, 60).map(float)
modes = st.sampled_from([{}, {"mode": "blitz"}, {"mode": "rapid", "region": "eu"}])


@st.composite
def lines(draw: st.DrawFn, *, distinct: bool = False) -> list[Ticket]:
    """Tickets of different users; *distinct* ones have waited for different times, by ratings."""
    count = draw(st.integers(0, 24))
    times = draw(st.lists(waits, min_size=count, max_size=count, unique=distinct))
    rated = draw(st.lists(ratings, min_size=count, max_size=count, unique=distinct))
    return [
        Ticket(username=f"u{number}", waited=waited, rating=rating, properties=draw(modes))
        for number, (waited, rating) in enumerate(zip(times, rated, strict=True))
    ]


queues = st.builds(
    lambda size, least, within: Queue(
        size=size, min_size=min(least, size), within=within, wait=WAIT
    ),
    st.integers(2, 5),
    st.integers(1, 5),
    st.sampled_from([0.0, 50.0, 400.0]),
)


def look(queue: Queue, tickets: Sequence[Ticket]) -> tuple[list[list[Ticket]], float]:
    """The matches, and after how many seconds to look again."""
    matches = []
    round = play_round(queue, tickets)
    try:
        while True:
            found = next(round)
            if found is not None:
                matches.append(list(found))
    except StopIteration as end:
        return matches, end.value


def left_of(tickets: list[Ticket], matches: list[list[Ticket]]) -> list[Ticket]:
    gone = {ticket.username for match in matches for ticket in match}
    return [ticket for ticket in tickets if ticket.username not in gone]


def later(tickets: list[Ticket], seconds: float) -> list[Ticket]:
    return [
        Ticket(
            username=each.username,
            waited=each.waited + seconds,
            rating=each.rating,
            properties=each.properties,
        )
        for each in tickets
    ]


@given(queues, lines())
def test_nobody_is_in_two_matches_and_a_match_is_of_those_who_want_the_same(
    queue: Queue, tickets: list[Ticket]
) -> None:
    matches, _ = look(queue, tickets)
    names = [ticket.username for match in matches for ticket in match]
    assert len(names) == len(set(names))
    for match in matches:
        assert all(ticket in tickets for ticket in match)
        assert all(ticket.properties == match[0].properties for ticket in match)
        enough = queue.min_size if match[0].waited >= WAIT else queue.size
        assert enough is not None
        assert enough <= len(match) <= queue.size


@given(queues, lines())
def test_ratings_are_as_near_as_the_one_who_has_waited_longest_has_to_take(
    queue: Queue, tickets: list[Ticket]
) -> None:
    for match in look(queue, tickets)[0]:
        around = match[0]
        apart = max(abs(ticket.rating - around.rating) for ticket in match)
        assert queue.widening.opens_at(apart) <= around.waited


@given(queues, lines())
def test_whoever_has_waited_out_is_in_a_match_unless_too_few_want_the_same(
    queue: Queue, tickets: list[Ticket]
) -> None:
    left = left_of(tickets, look(queue, tickets)[0])
    assert queue.min_size is not None
    for ticket in left:
        alike = [each for each in left if each.properties == ticket.properties]
        assert ticket.waited < WAIT or len(alike) < queue.min_size


@given(queues, lines())
def test_nobody_waits_for_ever_beside_others_who_could_play_with_them(
    queue: Queue, tickets: list[Ticket]
) -> None:
    """Looking again only when the last look has said so is enough."""
    assert queue.min_size is not None
    spent = 0.0
    while True:
        matches, due = look(queue, tickets)
        tickets = left_of(tickets, matches)
        if due == math.inf:
            break
        # A little later, so that a time that was rounded is over.
        due += 1e-6
        tickets, spent = later(tickets, due), spent + due
        assert spent < WAIT + 0.1
    for ticket in tickets:
        alike = [each for each in tickets if each.properties == ticket.properties]
        assert len(alike) < queue.min_size or (len(alike) < queue.size and ticket.waited < WAIT)


@given(queues, lines())
def test_a_look_at_those_who_are_left_finds_nothing_more(
    queue: Queue, tickets: list[Ticket]
) -> None:
    left = left_of(tickets, look(queue, tickets)[0])
    assert look(queue, left)[0] == []


@given(queues, lines(distinct=True), st.randoms())
def test_the_order_in_which_tickets_stand_means_nothing(
    queue: Queue, tickets: list[Ticket], random: Random
) -> None:
    expected = look(queue, tickets)
    shuffled = list(tickets)
    random.shuffle(shuffled)
    matches, due = look(queue, shuffled)
    by_name = [sorted(each.username for each in match) for match in matches]
    assert sorted(by_name) == sorted(
        sorted(each.username for each in match) for match in expected[0]
    )
    assert due == expected[1]


@given(st.integers(2, 4), st.lists(waits, max_size=20))
def test_without_ratings_whoever_came_first_plays_first(size: int, times: list[float]) -> None:
    tickets = [
        Ticket(username=f"u{number}", waited=waited)
        for number, waited in enumerate(sorted(times, reverse=True))
    ]
    matches, due = look(Queue(size=size), tickets)
    assert [each for match in matches for each in match] == tickets[: len(tickets) // size * size]
    assert due == math.inf


def test_a_window_is_twice_as_wide_after_half_of_the_time() -> None:
    widening = Queue(within=100, wait=30).widening
    assert widening.opens_at(100) == 0
    assert widening.opens_at(200) == 15
    assert widening.opens_at(1000) == pytest.approx(27)
    assert widening.opens_at(math.inf) == 30


def test_two_meet_at_the_moment_when_the_window_of_the_first_is_wide_enough() -> None:
    queue = Queue(within=100, wait=30)
    tickets = [
        Ticket(username="ann", waited=3, rating=1000),
        Ticket(username="bob", waited=0, rating=1200),
    ]
    assert look(queue, tickets) == ([], 12)
    assert [len(match) for match in look(queue, later(tickets, 12))[0]] == [2]


def test_a_match_is_made_of_those_who_are_nearest() -> None:
    queue = Queue(size=3, within=100)
    tickets = [
        Ticket(username=name, waited=waited, rating=rating)
        for name, waited, rating in (
            ("ann", 9, 1000),
            ("far", 8, 1090),
            ("low", 7, 960),
            ("eve", 6, 1030),
        )
    ]
    assert [[each.username for each in match] for match in look(queue, tickets)[0]] == [
        ["ann", "eve", "low"]
    ]


def test_fewer_are_enough_once_somebody_has_waited_long_enough() -> None:
    queue = Queue(size=4, min_size=2, wait=20)
    tickets = [Ticket(username="ann", waited=5), Ticket(username="bob", waited=1)]
    assert look(queue, tickets) == ([], 15)
    assert [len(match) for match in look(queue, later(tickets, 15))[0]] == [2]


@settings(max_examples=20)
@given(st.integers(600, 2000))
def test_many_tickets_are_looked_at_in_steps(count: int) -> None:
    tickets = [
        Ticket(username=f"u{number}", waited=float(number), rating=float(number * 7919 % 3000))
        for number in range(count)
    ]
    pauses = sum(found is None for found in play_round(Queue(), tickets))
    assert pauses >= 3
