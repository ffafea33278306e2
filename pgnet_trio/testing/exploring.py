"""Random moves under random faults, and checks of what has to hold all the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pgnet_trio.testing.exploration import SeedRun
from pgnet_trio.testing.names import check_names
from pgnet_trio.testing.plans import Exploration, Faults, Plan
from pgnet_trio.testing.simulation import simulate

if TYPE_CHECKING:
    from pgnet_trio.client import Question
    from pgnet_trio.game import Game
    from pgnet_trio.testing.tables import Invariant, Seat, Strategy

__all__ = ["explore"]

SEED_VARIABLE = "PGNET_SEED"
"""The environment variable by which the option ``--pgnet-seed`` gets here."""

GRACE = 600.0
"""Seconds for which sessions outlive connections here: longer than any fault lasts."""

NAMES = ("ann", "bob", "cid", "dee", "eve", "fay", "gus", "hal")

SPECTATOR_NAMES = tuple(f"watcher{number}" for number in range(1, 21))


def explore(
    game: Callable[..., Game],
    /,
    *,
    moves: Strategy,
    players: int | Sequence[str] = 2,
    spectators: int = 0,
    answers: Callable[[Seat, Question[Any]], object] | None = None,
    invariants: Sequence[Invariant] = (),
    seeds: Iterable[int] = range(20),
    checks: int = 5,
    moves_per_check: int = 10,
    pace: float = 1.0,
    rest: float = 0.0,
    faults: Faults | None = None,
    options: Mapping[str, Any] | None = None,
    **server_options: Any,
) -> Exploration:
    """Play random moves under random faults, and stop at the first seed where something fails.

    A real server and real clients play, in virtual time, over a network that drops, stalls and
    partitions them. Now and then the faults stop, everybody comes back, and the game is at rest.
    Then this checks that the game has not raised, that all players and spectators see what the
    game's ``view`` returns for them, and that all *invariants* hold. Players move and answer only
    between these checks.

    It runs its own event loop: call it from a plain test function.

    Args:
        game: The class of the game.
        moves: Returns the next move of a player.
        players: How many play, or their names.
        spectators: How many watch.
        answers: Returns a player's answer to a question of the game, or None for no answer; to be
            left out where the game asks nothing.
        invariants: What has to hold at each check.
        seeds: The seeds to try, one after the other; with pytest, ``--pgnet-seed`` replaces them.
        checks: How often one seed is checked.
        moves_per_check: How many moves each player makes between two checks.
        pace: Seconds from a player's move to the next, on average.
        rest: Seconds that pass before each check, without faults: for timers that have to go
            off.
        faults: What goes wrong; by default, some of everything but restarts, and nobody leaves.
        options: What the game is created with.
        **server_options: As for `Server`.

    Returns:
        How much was done. A test may look whether it was enough: how many moves and answers the
        game took.

    Raises:
        TypeError: *players* or *spectators* are no number, nor *players* names.
        ValueError: There are more players or spectators than names for them, or no player; or a
            name comes twice.
        AssertionError: Something does not hold. The message has the seed, and the moves and
            faults before it.
    """
    names = check_names("players", _first(players) if isinstance(players, int) else players)
    if not names:
        raise ValueError("players: expected one or more, got nobody")
    if isinstance(spectators, bool) or not isinstance(spectators, int):
        raise TypeError(f"spectators: expected how many, an int, got {spectators!r}")
    forced = os.environ.get(SEED_VARIABLE)
    free_names = [name for name in SPECTATOR_NAMES if name not in names]
    if not 0 <= spectators <= len(free_names):
        raise ValueError(f"spectators: expected 0 to {len(free_names)}, got {spectators}")
    plan = Plan(
        game,
        names,
        free_names[:spectators],
        moves,
        answers,
        invariants,
        faults or Faults(),
        dict(options or {}),
        {"resume_grace": GRACE, **server_options},
    )
    done = Exploration()
    for seed in seeds if forced is None else [int(forced)]:
        run = SeedRun(plan, seed)
        problem: Exception | None = None
        try:
            simulate(run.main, checks, moves_per_check, pace, rest, seed=seed)
        except Exception as error:
            problem = error
        if problem is not None:
            raise AssertionError(run.explain(problem)) from problem
        done = Exploration(
            done.seeds + 1,
            done.moves + len(run.moves),
            done.accepted + sum(move.accepted for move in run.moves),
            done.drops + run.network.dropped,
            done.time + run.time,
            done.answers + len(run.answers),
            done.accepted_answers + sum(answer.accepted for answer in run.answers),
            done.departures + run.departures,
            done.restarts + run.restarts,
        )
    return done


def _first(count: int) -> tuple[str, ...]:
    """Return so many names of players."""
    if isinstance(count, bool) or not 1 <= count <= len(NAMES):
        raise ValueError(f"players: expected 1 to {len(NAMES)}, or names, got {count}")
    return NAMES[:count]
