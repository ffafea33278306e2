"""Checks what a program gives a server, so that a mistake shows at once, and not to a player."""

from __future__ import annotations

from typing import Any

from pgnet_trio.game import Game

__all__ = ["check_game", "check_hook", "check_switch", "check_text"]


def check_game(game: Any) -> None:
    """Check what makes the games.

    Raises:
        TypeError: It cannot.
    """
    if callable(game) and not (isinstance(game, type) and not issubclass(game, Game)):
        return
    hint = ""
    if isinstance(game, Game):
        hint = f"; give the class, {type(game).__name__}"
    elif isinstance(game, str):
        hint = "; import the class, and give it itself"
    raise TypeError(
        f"Server() hosts games of one class, a subclass of pgnet_trio.Game; got {game!r}{hint}."
    )


def check_switch(name: str, value: object) -> None:
    """Check an option that is on or off: any text, "no" too, would be on.

    Raises:
        TypeError: It is neither.
    """
    if type(value) is not bool:
        raise TypeError(f"{name}: expected True or False, got {value!r}.")


def check_text(name: str, value: object) -> None:
    """Check an option that is a text, or None. The value is never shown: it may be secret.

    Raises:
        TypeError: It is neither.
    """
    if not (value is None or isinstance(value, str)):
        raise TypeError(f"{name}: expected a str or None, got an object of {type(value).__name__}.")


def check_hook(name: str, value: object) -> None:
    """Check an option that is called, or None.

    Raises:
        TypeError: It is neither.
    """
    if not (value is None or callable(value)):
        raise TypeError(f"{name}: expected something to call, or None; got {value!r}.")
