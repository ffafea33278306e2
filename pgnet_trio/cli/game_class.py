"""The game class that the command line names."""

from __future__ import annotations

from pgnet_trio.cli.author_code import AuthorCodeError, load_module
from pgnet_trio.game import Game

__all__ = ["load_game_class"]


def load_game_class(name: str, /) -> type[Game]:
    """Import the class that ``MODULE:CLASS`` or ``path/to/file.py:CLASS`` names.

    Raises:
        AuthorCodeError: There is no such class, its module cannot be imported, or the class is no
            game.
    """
    module, place, class_name = load_module(name, "CLASS")
    found = getattr(module, class_name, None)
    if found is None:
        games = ", ".join(
            name
            for name, value in vars(module).items()
            if isinstance(value, type) and issubclass(value, Game) and value is not Game
        )
        raise AuthorCodeError(f"{place} has no {class_name!r}; its games: {games or 'none'}")
    if not isinstance(found, type) or not issubclass(found, Game):
        raise AuthorCodeError(f"{name} is no subclass of pgnet_trio.Game")
    return found
