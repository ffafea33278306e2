"""What whoever plays a recording again is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

__all__ = ["Difference", "Outcome", "TurnView"]


@attrs.frozen
class Difference:
    """Where a replay first differs from its recording.

    Attributes:
        turn: In which turn.
        time: When, in the room's time.
        expected: What the recording has there, for people.
        got: What came instead.
    """

    turn: int
    time: float
    expected: str
    got: str

    def __str__(self) -> str:
        return f"turn {self.turn:,}, at {self.time:.3f} s: expected {self.expected}; got {self.got}"


@attrs.frozen
class TurnView:
    """What has happened at a table, for whoever watches a replay.

    Attributes:
        turn: How many turns have begun.
        time: The room's time in seconds.
        what: What came last, for people.
        states: The states that have changed, by player.
        game: The author's object.
        is_last: Whether the replay stops here, because it was to.
    """

    turn: int
    time: float
    what: str
    states: Mapping[str, Any]
    game: Any
    is_last: bool = False


@attrs.frozen
class Outcome:
    """What came of a replay.

    Attributes:
        turns: How many turns have begun, from the beginning of the table's life.
        difference: Where it first differs from the recording; None for nowhere.
        error: What the game raised; None for nothing.
        end: Why there is nothing more to play, for people.
    """

    turns: int
    difference: Difference | None
    error: BaseException | None
    end: str
