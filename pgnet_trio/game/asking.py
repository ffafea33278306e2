"""The arguments of a game's questions, checked at once: mistakes show where they are made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = [
    "NO_DEFAULT",
    "NoDefault",
    "check_arguments",
    "check_count",
    "check_player",
    "check_players",
]


class NoDefault:
    """The type of `NO_DEFAULT`."""

    def __repr__(self) -> str:
        return "NO_DEFAULT"


NO_DEFAULT = NoDefault()
"""Stands for no default answer: when the time for a question is up, `Room.ask` raises."""


def check_player(player: object) -> None:
    """Check who is asked.

    Raises:
        TypeError: It is no name.
    """
    if not isinstance(player, str):
        raise TypeError(
            f"room.ask: player: expected one name, a str, got {type(player).__name__}; "
            "room.ask_all asks several players"
        )


def check_players(players: object) -> list[str]:
    """Check who are asked: a text would be read as names of one letter each.

    Returns:
        The names, each once: whoever is named twice is asked once, for one answer.

    Raises:
        TypeError: It is one name, or something in it is no name.
    """
    if isinstance(players, str):
        raise TypeError(
            f"room.ask_all: players: expected several names, got the str {players!r}; "
            "room.ask asks one player"
        )
    names: dict[str, None] = {}
    for name in players if isinstance(players, Iterable) else [players]:
        if not isinstance(name, str):
            raise TypeError(f"room.ask_all: players: expected names, each a str, got {name!r}")
        names[name] = None
    return list(names)


def check_count(count: object) -> None:
    """Check for how many players a game waits.

    Raises:
        TypeError: It is no int.
    """
    if isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"room.wait_players: expected how many players, an int, got {count!r}")


def check_arguments(
    method: str, answer: Any, timeout: Any, default: Any, check: Any, leavers: Any = "raise"
) -> None:
    """Check the arguments that `Room.ask` and `Room.ask_all` have in common.

    Args:
        method: The name of the one that was called.
        answer: The attrs class of the answer.
        timeout: Seconds, or None.
        default: The default answer, or `NO_DEFAULT`.
        check: The check of answers, or None.
        leavers: The argument of `Room.ask_all`.

    Raises:
        TypeError: An argument is of another type.
        ValueError: One of them makes no sense, or none together with the others.
    """
    if leavers not in ("raise", "default"):
        raise ValueError(f"room.{method}: leavers: expected 'raise' or 'default', got {leavers!r}")
    if timeout is not None:
        if isinstance(timeout, bool) or not isinstance(timeout, int | float):
            raise TypeError(
                f"room.{method}: timeout: expected seconds, or None for any time; got {timeout!r}"
            )
        if not timeout >= 0:
            raise ValueError(f"room.{method}: timeout: expected 0 s or more, got {timeout!r}")
    if not (check is None or callable(check)):
        raise TypeError(
            f"room.{method}: check: expected a function that takes an answer, and raises Reject to "
            f"refuse it; got {check!r}"
        )
    if isinstance(default, NoDefault):
        if leavers == "default":
            raise ValueError(
                f"room.{method}: leavers='default' makes the default the answer of whoever "
                "leaves, and there is none; give default= too"
            )
        return
    # What is no class is refused with the question.
    if not (default is None or not isinstance(answer, type) or isinstance(default, answer)):
        raise TypeError(
            f"room.{method}: default: expected an answer, as in {answer.__name__}(...), or None; "
            f"got {default!r}"
        )
    if timeout is None and leavers == "raise":
        raise ValueError(
            f"room.{method}: default: it is what is returned when the time is up, and there is "
            "any time; give timeout= too (a deadline around the call cancels it)"
        )
