"""What an exploration is to do, and what it has done."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard

import attrs

from pgnet_trio.client import Question
from pgnet_trio.game import Game
from pgnet_trio.testing.links import Conditions
from pgnet_trio.testing.tables import Invariant, Seat, Strategy

__all__ = ["Exploration", "Faults", "Plan"]


@attrs.frozen(kw_only=True)
class Faults:
    """What goes wrong while players move. Times are averages in seconds; None means never.

    Attributes:
        latency: Seconds from one end of a link to the other.
        jitter: Seconds more, at most.
        drop_rate: The share of frames in the middle of which a link breaks.
        cut_every: How often somebody's link is cut for a while.
        stall_every: How often somebody reads nothing for a while.
        partition_every: How often nothing passes between somebody and the server for a while.
        lasting: How long such a while is.
        leave_every: How often somebody leaves the game for a while, and joins it again. One
            player always stays.
        quit_every: How often somebody leaves for good. One player always stays.
        restart_every: How many checks pass from one restart of the server to the next, with
            everybody in the game. It starts again from its save, everybody comes back, and then
            has to see the state that they saw before. None, the default, for never.
    """

    latency: float = 0.05
    jitter: float = 0.05
    drop_rate: float = 0.02
    cut_every: float | None = 20.0
    stall_every: float | None = 40.0
    partition_every: float | None = 40.0
    lasting: float = 5.0
    leave_every: float | None = None
    quit_every: float | None = None
    restart_every: int | None = None

    def __attrs_post_init__(self) -> None:
        """Check the figures.

        Raises:
            ValueError: One of them makes no sense.
        """
        Conditions(self.latency, self.jitter, drop_rate=self.drop_rate)
        for name in ("cut_every", "stall_every", "partition_every", "leave_every", "quit_every"):
            _check_every(name, getattr(self, name))
        if not _is_number(self.lasting) or not 0 < self.lasting < math.inf:
            raise ValueError(f"lasting: expected seconds, more than 0; got {self.lasting!r}")
        every = self.restart_every
        if every is not None and (type(every) is not int or every < 1):
            raise ValueError(f"restart_every: expected how many checks, or None; got {every!r}")


@attrs.frozen
class Exploration:
    """What `explore` did.

    Attributes:
        seeds: How many seeds were tried.
        moves: How many moves were made.
        accepted: How many of them the games took.
        drops: How many connections were lost.
        time: Seconds of virtual time.
        answers: How many answers to questions were given.
        accepted_answers: How many of them the games took.
        departures: How many times somebody left a game, for a while or for good.
        restarts: How many times a server was restarted from its save.
    """

    seeds: int = 0
    moves: int = 0
    accepted: int = 0
    drops: int = 0
    time: float = 0.0
    answers: int = 0
    accepted_answers: int = 0
    departures: int = 0
    restarts: int = 0


@attrs.frozen
class Plan:
    """What every seed does; see the arguments of `pgnet_trio.testing.explore`."""

    game: Callable[..., Game]
    names: Sequence[str]
    spectators: Sequence[str]
    moves: Strategy
    answers: Callable[[Seat, Question[Any]], object] | None
    invariants: Sequence[Invariant]
    faults: Faults
    options: dict[str, Any]
    server_options: Mapping[str, Any]


def _check_every(name: str, every: object) -> None:
    if every is not None and not (_is_number(every) and 0 < every < math.inf):
        raise ValueError(f"{name}: expected seconds, more than 0, or None for never; got {every!r}")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
