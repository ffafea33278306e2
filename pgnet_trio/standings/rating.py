"""Ratings: how well somebody plays, and what a result makes of it, by the package openskill.

Of a result the ranks count and nothing else: openskill's margins would reward whoever was to win
anyway, and its weights count double in a duel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

__all__ = ["BEGINNER", "Skill", "check_ratings", "rate"]

MIDDLE, UNIT = 1500.0, 30.0
"""The rating of a beginner, and how much one of openskill's own points is in it. As with Elo's
numbers, whoever is 240 ahead wins four games in five."""

_MU, _SIGMA = 25.0, 25.0 / 3.0


@attrs.frozen
class Skill:
    """How well somebody plays, as openskill keeps it.

    Attributes:
        mu: Its mean.
        sigma: How uncertain that is.
    """

    mu: float = _MU
    sigma: float = _SIGMA

    @property
    def rating(self) -> float:
        """The mean in the unit of ratings, which people are used to."""
        return round(MIDDLE + UNIT * (self.mu - _MU), 1)


BEGINNER = Skill()
"""That of whoever has played no rated game."""


def check_ratings() -> None:
    """Check that ratings can be reckoned here.

    Raises:
        ImportError: The package is not installed.
    """
    import openskill.models  # noqa: F401 - whether it is there


def rate(ranks: Sequence[Sequence[str]], skills: Mapping[str, Skill]) -> dict[str, Skill]:
    """Return what a result makes of the skills of its players.

    Args:
        ranks: The players, the best first; those who share a rank are in one group.
        skills: Their skills.

    Returns:
        The new skills; none where fewer than two have played.
    """
    # Sorted: what openskill makes of those who share a rank depends on their order.
    players = [(rank, player) for rank, group in enumerate(ranks) for player in sorted(group)]
    if len(players) < 2:
        return {}
    from openskill.models import PlackettLuce

    model = PlackettLuce()
    teams = [
        [model.rating(mu=skills[player].mu, sigma=skills[player].sigma)] for _, player in players
    ]
    rated = model.rate(teams, ranks=[float(rank) for rank, _ in players])
    return {
        player: Skill(team[0].mu, team[0].sigma)
        for (_, player), team in zip(players, rated, strict=True)
    }
