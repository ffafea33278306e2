"""What a game reports when it is over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

__all__ = ["MAX_PLAYERS", "MAX_SCORE", "Result"]

MAX_SCORE = 2**53 - 1
"""The highest score, and the lowest below 0: what programs in every language count exactly."""

MAX_PLAYERS = 1000
"""Players in one result: more than any game has."""


def _ranks(ranks: object) -> tuple[tuple[str, ...], ...]:
    if isinstance(ranks, str) or not isinstance(ranks, Iterable):
        raise TypeError(f"Result(ranks=…): expected a list of players, got {ranks!r}")
    found = []
    for each in ranks:
        group = (each,) if isinstance(each, str) else each
        if not isinstance(group, Iterable) or isinstance(group, Mapping):
            raise TypeError(
                "Result(ranks=…): expected players, or lists of players who share a rank, got "
                f"{each!r}"
            )
        # In one order, so that it does not matter in which a game names those who are equal.
        found.append(tuple(sorted(_name("ranks", name) for name in group)))
    named = [name for group in found for name in group]
    _check_once(named)
    if not all(found):
        raise ValueError("Result(ranks=…): expected at least one player in each list, got an empty")
    return tuple(found)


def _scores(scores: object) -> dict[str, int]:
    return _checked_scores("scores", scores)


def _boards(boards: object) -> dict[str, dict[str, int]]:
    if not isinstance(boards, Mapping):
        raise TypeError(
            f"Result(boards=…): expected a dict from a leaderboard's name to scores, got {boards!r}"
        )
    return {
        _name("boards", name): _checked_scores(f"boards[{name!r}]", scores)
        for name, scores in boards.items()
    }


@attrs.frozen
class Result:
    """How a game ended, for `room.report`.

    Args:
        ranks: The players, the best first: each a name, or a list of those who share a rank, as in
            ``["ann", ["bob", "eve"], "dan"]``. Whoever has left may be among them.
        scores: The score of each player, a whole number, for the leaderboards of the game.
        boards: Scores for single leaderboards, by their names; those take none of *scores*.

    Raises:
        TypeError: An argument is of another type.
        ValueError: A player is named twice, a score is beyond ±`MAX_SCORE`, or nothing is reported.
    """

    ranks: tuple[tuple[str, ...], ...] = attrs.field(default=(), converter=_ranks)
    scores: Mapping[str, int] = attrs.field(factory=dict, converter=_scores)
    boards: Mapping[str, Mapping[str, int]] = attrs.field(factory=dict, converter=_boards)

    def __attrs_post_init__(self) -> None:
        if not self.players:
            raise ValueError("Result(): expected ranks or scores, got neither")
        if len(self.players) > MAX_PLAYERS:
            raise ValueError(
                f"Result(): expected at most {MAX_PLAYERS:,} players, got {len(self.players):,}"
            )

    @property
    def players(self) -> list[str]:
        """All who are in it, each once."""
        ranked = (name for group in self.ranks for name in group)
        on_boards = (name for scores in self.boards.values() for name in scores)
        return list(dict.fromkeys([*ranked, *self.scores, *on_boards]))


def _name(where: str, name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"Result({where}=…): expected names, got {name!r}")
    return name


def _check_once(names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"Result(ranks=…): expected each player once, got {name!r} twice")
        seen.add(name)


def _checked_scores(where: str, scores: object) -> dict[str, int]:
    if not isinstance(scores, Mapping):
        raise TypeError(f"Result({where}=…): expected a dict from player to score, got {scores!r}")
    found = {}
    for name, score in scores.items():
        _name(where, name)
        if type(score) is not int:
            raise TypeError(
                f"Result({where}=…): expected a whole number for {name!r}, got {score!r}; count in "
                "smaller units, such as milliseconds"
            )
        if not -MAX_SCORE <= score <= MAX_SCORE:
            raise ValueError(
                f"Result({where}=…): expected at most ±{MAX_SCORE:,} for {name!r}, got {score!r}"
            )
        found[name] = score
    return found
