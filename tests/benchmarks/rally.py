"""The game that two pages play, as fast as they can, for `python -m tests.benchmarks browser`."""

from __future__ import annotations

import attrs

from pgnet_trio import Game, on

__all__ = ["Hit", "Rally", "Score"]


@attrs.frozen
class Hit:
    """The ball goes to the other player."""


@attrs.frozen
class Score:
    hits: int
    players: int


class Rally(Game):
    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.hits = 0

    @on(Hit)
    def hit(self, player: str, message: Hit) -> None:
        self.hits += 1

    def view(self) -> Score:
        return Score(self.hits, len(self.room.players))
