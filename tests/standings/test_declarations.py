"""What a class declares of its leaderboards, and what a result may be."""

from __future__ import annotations

from typing import Any

import pytest

from pgnet_trio import Game, Leaderboard, Queue, Result
from pgnet_trio.standings import MAX_SCORE, leaderboards_of
from pgnet_trio.standings.result import MAX_PLAYERS


def test_players_who_share_a_rank_are_named_in_any_order() -> None:
    assert Result(["ann", ["eve", "bob"]]) == Result([["ann"], ("bob", "eve")])
    assert Result(["ann", ["eve", "bob"]]).ranks == (("ann",), ("bob", "eve"))
    assert Result(["ann"], {"bob": 1}, {"laps": {"eve": 2}}).players == ["ann", "bob", "eve"]


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({}, ValueError, "expected ranks or scores, got neither"),
        ({"ranks": "ann"}, TypeError, "expected a list of players, got 'ann'"),
        ({"ranks": [1]}, TypeError, "expected players, or lists of players"),
        ({"ranks": [["ann", 1]]}, TypeError, "expected names, got 1"),
        ({"ranks": [["ann"], []]}, ValueError, "at least one player in each list"),
        ({"ranks": ["ann", ["bob", "ann"]]}, ValueError, "each player once, got 'ann' twice"),
        ({"scores": ["ann"]}, TypeError, "expected a dict from player to score"),
        ({"scores": {"ann": 1.5}}, TypeError, "expected a whole number for 'ann', got 1.5"),
        ({"scores": {"ann": True}}, TypeError, "expected a whole number for 'ann', got True"),
        ({"scores": {"ann": MAX_SCORE + 1}}, ValueError, "expected at most"),
        ({"boards": {"laps": 3}}, TypeError, r"boards\['laps'\].*expected a dict"),
        ({"ranks": [f"p{number}" for number in range(MAX_PLAYERS + 1)]}, ValueError, "1,000"),
    ],
)
def test_a_result_that_makes_no_sense_is_refused(
    arguments: dict[str, Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        Result(**arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"keep": "worst"}, ValueError, r"keep=….*'best' or 'last' or 'sum', got 'worst'"),
        ({"order": "up"}, ValueError, r"order=….*'highest' or 'lowest'"),
        ({"rating": True}, TypeError, "expected the name of a queue"),
        ({"rating": "ranked", "keep": "sum"}, ValueError, "leave out the other arguments"),
    ],
)
def test_a_leaderboard_that_makes_no_sense_is_refused(
    arguments: dict[str, Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        Leaderboard(**arguments)


@pytest.mark.parametrize("value", [None, "my own", 3, [1], {"mine": 2}, {}])
def test_an_attribute_of_that_name_that_holds_none_is_the_authors_own(value: Any) -> None:
    class Mine(Game):
        leaderboards = value

    assert leaderboards_of(Mine) == {}


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ({"a": Leaderboard(), "b": 3}, r"leaderboards\['b'\]: expected a Leaderboard"),
        ({"a/b": Leaderboard()}, "expected names of 1 to 30 ASCII letters"),
        ({f"board {number}": Leaderboard() for number in range(21)}, "at most 20"),
        ({"ladder": Leaderboard(rating="ranked")}, r"leaderboards\['ladder'\].*those queues are"),
        (Leaderboard(rating="casual"), r"leaderboards: expected a queue with rating=True"),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused_with_the_class(
    value: Any, match: str
) -> None:
    with pytest.raises(TypeError, match=match):

        class Wrong(Game):
            leaderboards = value
            matchmaking = {"casual": Queue()}  # noqa: RUF012 - as an author writes it


def test_a_leaderboard_may_be_of_the_ratings_of_a_queue() -> None:
    class Right(Game):
        matchmaking = Queue(rating=True)
        leaderboards = Leaderboard(rating="")

    assert leaderboards_of(Right)[""].rating == ""
