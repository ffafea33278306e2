"""What players get to see of results: a page of a leaderboard, and a game that was played."""

from __future__ import annotations

from datetime import datetime

import attrs

__all__ = ["LeaderboardEntry", "LeaderboardPage", "PlayedGame", "RatingChange"]


@attrs.frozen
class LeaderboardEntry:
    """One line of a leaderboard.

    Attributes:
        rank: The place; 1 is the first. Those with one score have one rank, and the next is as many
            behind: 1, 2, 2, 4.
        username: Whose it is.
        score: Their score.
    """

    rank: int
    username: str
    score: int


@attrs.frozen
class LeaderboardPage:
    """A part of a leaderboard, as it was at one moment.

    Attributes:
        name: Which leaderboard; empty for the only one of a game.
        total: How many players it has.
        entries: The lines, the best first.
    """

    name: str
    total: int
    entries: list[LeaderboardEntry]


@attrs.frozen
class RatingChange:
    """What a result has made of a player's rating.

    Attributes:
        before: The rating before the game.
        after: The rating since.
    """

    before: float
    after: float


@attrs.frozen(kw_only=True)
class PlayedGame:
    """A game that was played, as its result says.

    Attributes:
        number: Its place in the history of whoever asks; later games have higher numbers.
        name: The name that the game had in the lobby.
        ended_at: When its result was reported.
        ranks: The players, the best first; those in one list have one rank. Empty where the game
            has reported none.
        scores: The score of each player who has one.
        boards: Scores for single leaderboards, by their names, where the game has reported some.
        ratings: How the result has changed ratings, by player; empty for a game that is not rated.
    """

    number: int = 0
    name: str
    ended_at: datetime
    ranks: list[list[str]] = attrs.field(factory=list)
    scores: dict[str, int] = attrs.field(factory=dict)
    boards: dict[str, dict[str, int]] = attrs.field(factory=dict)
    ratings: dict[str, RatingChange] = attrs.field(factory=dict)
