"""What goes into an engine of a game's result."""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs

from pgnet_trio.standings import Leaderboard, PlayedGame

__all__ = ["BoardScores", "Report"]


@attrs.frozen
class BoardScores:
    """What a result has for one leaderboard.

    Attributes:
        name: Its name.
        board: How it is kept.
        scores: The scores by player; of a leaderboard of ratings none, since those are not known
            before.
    """

    name: str
    board: Leaderboard
    scores: Mapping[str, int]


@attrs.frozen(kw_only=True)
class Report:
    """A result as a server reports it.

    Attributes:
        id: The game's own id. However often and wherever it is reported, it counts once.
        played: What is kept of it; `ratings` are added.
        users: Whose history it is in: the players who are no bots.
        boards: What there is for leaderboards, of users only.
        queue: The queue whose ratings it changes; None for a game that is not rated.
        epoch: In which epoch the server owns the room of that name; None for a server alone.
        began: When the game began, in seconds since 1970. Who was deleted since is none of *users*.
    """

    id: bytes
    played: PlayedGame
    users: tuple[str, ...]
    boards: tuple[BoardScores, ...] = ()
    queue: str | None = None
    epoch: int | None = None
    began: float = math.inf
