"""What a game's class declares of its leaderboards, and the check of that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

import attrs

from pgnet_trio.author_classes import declared

__all__ = ["DECLARATION", "MAX_LEADERBOARDS", "Keep", "Leaderboard", "Order", "leaderboards_of"]

DECLARATION = "leaderboards"
"""The attribute of a game's class that declares its leaderboards."""

MAX_LEADERBOARDS = 20
"""Leaderboards of one class: each result writes a line for each player in each of them."""

Keep: TypeAlias = Literal["best", "last", "sum"]
"""Which of a player's scores counts: their best, their last, or the sum of all."""

Order: TypeAlias = Literal["highest", "lowest"]
"""Which scores are the best: the highest, as points, or the lowest, as times."""


@attrs.frozen
class Leaderboard:
    """A leaderboard, declared by a game's class in its `leaderboards`.

    Args:
        keep: Which of a player's scores counts: ``"best"``, ``"last"`` or ``"sum"``.
        order: Which scores come first: the ``"highest"`` or the ``"lowest"``. It stays as it was
            when the first score came.
        rating: A queue with ``rating=True``, whose ratings are the scores, rounded; it takes none
            from results. None for a leaderboard of scores.

    Raises:
        TypeError: *rating* is no name.
        ValueError: An argument is another one, or does not go together with *rating*.
    """

    keep: Keep = "best"
    order: Order = "highest"
    rating: str | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not (self.rating is None or isinstance(self.rating, str)):
            raise TypeError(
                f"Leaderboard(rating=…): expected the name of a queue, or None, got {self.rating!r}"
            )
        if self.rating is not None and (self.keep, self.order) != ("best", "highest"):
            raise ValueError(
                "Leaderboard(rating=…): ratings are as they are now, the highest first; leave out "
                "the other arguments"
            )
        for name, value, known in (
            ("keep", self.keep, get_args(Keep)),
            ("order", self.order, get_args(Order)),
        ):
            if value not in known:
                words = " or ".join(map(repr, known))
                raise ValueError(f"Leaderboard({name}=…): expected {words}, got {value!r}")


def leaderboards_of(game: object) -> Mapping[str, Leaderboard]:
    """Return the leaderboards that a class of games declares, by their names.

    Args:
        game: The class; or what else makes the games, which may have the attribute too.

    Returns:
        The leaderboards; a single one that is no mapping has an empty name. An attribute of this
        name that holds no leaderboard is the author's own, and declares none.

    Raises:
        TypeError: The declaration has the wrong shape.
    """
    return declared(game, DECLARATION, Leaderboard, most=MAX_LEADERBOARDS)
