"""The game class that the command line names."""

from __future__ import annotations

from types import ModuleType

from pgnet_trio.cli.author_code import AuthorCodeError, load_module
from pgnet_trio.game import Game

__all__ = ["DEFAULT_GAME", "load_game_class"]

DEFAULT_GAME = "pgnet_trio.examples:ExampleGame"


def load_game_class(name: str, /) -> type[Game]:
    """Import the class that ``MODULE:CLASS`` or ``path/to/file.py:CLASS`` names.

    Raises:
        AuthorCodeError: There is no such class, its module cannot be imported, or the class is no
            game.
    """
    if name.endswith(".py"):
        module, place, _ = load_module(f"{name}:CLASS", "CLASS")
        raise AuthorCodeError(f"expected {name}:CLASS, got {name!r}; its games: {_games(module)}")
    module, place, class_name = load_module(name, "CLASS")
    found = getattr(module, class_name, None)
    if found is None:
        raise AuthorCodeError(f"{place} has no {class_name!r}; its games: {_games(module)}")
    if not isinstance(found, type) or not issubclass(found, Game):
        raise AuthorCodeError(f"{name} is no subclass of pgnet_trio.Game")
    return found


def _games(module: ModuleType) -> str:
    games = [
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Game) and value is not Game
    ]
    return ", ".join(games) or "none"
