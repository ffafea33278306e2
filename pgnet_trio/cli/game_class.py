"""Finding the game class that the command line names."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType

from pgnet_trio.errors import PGNetError
from pgnet_trio.game import Game

__all__ = ["GameClassError", "load_game_class"]


class GameClassError(PGNetError):
    """The game class cannot be found or used; the message says why."""


def load_game_class(name: str, /) -> type[Game]:
    """Import the class that ``MODULE:CLASS`` or ``path/to/file.py:CLASS`` names.

    A module is looked for in the current folder too; a file imports what lies beside it.

    Raises:
        GameClassError: There is no such class, its module cannot be imported, or it is no game.
    """
    place, colon, class_name = name.rpartition(":")
    if not colon or not place or not class_name.isidentifier():
        raise GameClassError(f"expected MODULE:CLASS or path/to/file.py:CLASS, got {name!r}")
    module = _import_file(Path(place)) if place.endswith(".py") else _import_module(place)
    found = getattr(module, class_name, None)
    if found is None:
        games = ", ".join(
            name
            for name, value in vars(module).items()
            if isinstance(value, type) and issubclass(value, Game) and value is not Game
        )
        raise GameClassError(f"{place} has no {class_name!r}; its games: {games or 'none'}")
    if not isinstance(found, type) or not issubclass(found, Game):
        raise GameClassError(f"{name} is no subclass of pgnet_trio.Game")
    return found


def _import_module(name: str) -> ModuleType:
    sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise GameClassError(
                f"there is no module {error.name!r}, neither installed nor in the current folder;"
                " a file is named with its ending: path/to/file.py:CLASS"
            ) from None
        raise _import_error(name, error) from error
    except (Exception, SystemExit) as error:
        raise _import_error(name, error) from error


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise GameClassError(f"there is no file {str(path)!r}")
    name, path = path.stem, path.absolute()
    loaded = sys.modules.get(name)
    if loaded is not None:
        if getattr(loaded, "__file__", None) == str(path):
            return loaded
        raise GameClassError(f"{path}: there is a module {name!r} already; rename the file")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # As for a program that is started by its file.
    sys.path.insert(0, str(path.parent))
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, Exception | SystemExit):
            raise _import_error(str(path), error) from error
        raise
    return module


def _import_error(name: str, error: BaseException) -> GameClassError:
    if isinstance(error, SyntaxError):
        place = f"{error.filename}, line {error.lineno}: "
    else:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        is_ours = "importlib" in frame.filename or frame.filename == __file__
        place = "" if is_ours else f"{frame.filename}, line {frame.lineno}: "
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return GameClassError(f"cannot import {name}: {place}{type(error).__name__}: {message}")
