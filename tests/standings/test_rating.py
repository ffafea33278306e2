"""Ratings: ranks count and nothing else, in whatever order those are named who share one."""

from __future__ import annotations

import math
import random

from hypothesis import given
from hypothesis import strategies as st

from pgnet_trio.standings.rating import BEGINNER, Skill, rate

SKILLS = st.builds(Skill, st.floats(0, 50), st.floats(0.5, 9))
NAMES = ("ann", "bob", "cat", "dan", "eve")


@st.composite
def games(draw: st.DrawFn) -> tuple[list[list[str]], dict[str, Skill]]:
    count = draw(st.integers(2, len(NAMES)))
    names: list[str] = draw(st.permutations(NAMES))[:count]
    ranks: list[list[str]] = [[]]
    for name in names:
        is_next: bool = draw(st.booleans())
        if ranks[-1] and is_next:
            ranks.append([])
        ranks[-1].append(name)
    return ranks, {name: draw(SKILLS) for name in names}


@given(games(), st.randoms())
def test_the_order_of_those_who_share_a_rank_does_not_matter(
    game: tuple[list[list[str]], dict[str, Skill]], source: random.Random
) -> None:
    ranks, skills = game
    shuffled = [source.sample(group, len(group)) for group in ranks]
    assert rate(shuffled, skills) == rate(ranks, skills)


@given(games(), SKILLS)
def test_equal_players_who_share_a_rank_stay_equal(
    game: tuple[list[list[str]], dict[str, Skill]], skill: Skill
) -> None:
    ranks, _ = game
    found = rate(ranks, dict.fromkeys(NAMES, skill))
    for group in ranks:
        for name in group:
            assert math.isclose(found[name].mu, found[group[0]].mu, abs_tol=1e-9)
            assert math.isclose(found[name].sigma, found[group[0]].sigma, abs_tol=1e-9)


@given(games())
def test_whoever_plays_is_known_better_afterwards_and_is_still_a_number(
    game: tuple[list[list[str]], dict[str, Skill]],
) -> None:
    ranks, skills = game
    for name, skill in rate(ranks, skills).items():
        assert math.isfinite(skill.mu)
        assert 0 < skill.sigma < skills[name].sigma + 0.1


@given(SKILLS, SKILLS)
def test_who_wins_a_duel_never_loses_by_it(winner: Skill, loser: Skill) -> None:
    found = rate([["ann"], ["bob"]], {"ann": winner, "bob": loser})
    assert found["ann"].mu >= winner.mu
    assert found["bob"].mu <= loser.mu


def test_a_game_of_one_rates_nobody() -> None:
    assert rate([["ann"]], {"ann": BEGINNER}) == {}
    assert rate([], {}) == {}
