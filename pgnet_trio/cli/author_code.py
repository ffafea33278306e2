"""The author's module that the command line names."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType

from pgnet_trio.author_lines import LIBRARIES
from pgnet_trio.errors import PGNetError

__all__ = ["AuthorCodeError", "load_module"]

_OTHERS = ("<", *LIBRARIES)
"""How the names of files begin whose lines an author has not written."""


class AuthorCodeError(PGNetError):
    """The author's code cannot be found or used; the message says why."""


def load_module(name: str, kind: str, /) -> tuple[ModuleType, str, str]:
    """Import the module of ``MODULE:NAME`` or ``path/to/file.py:NAME``.

    Modules may be in the current folder too; a file may import modules in its own folder.

    Args:
        name: The name.
        kind: What comes after the colon, for people: ``CLASS``.

    Returns:
        The module, the part before the colon, and the part after it.

    Raises:
        AuthorCodeError: *name* has another form, or the module cannot be imported.
    """
    place, colon, inside = name.rpartition(":")
    if not colon or not place or not inside.isidentifier():
        raise AuthorCodeError(f"expected MODULE:{kind} or path/to/file.py:{kind}, got {name!r}")
    module = _import_file(Path(place)) if place.endswith(".py") else _import_module(place, kind)
    return module, place, inside


def _import_module(name: str, kind: str) -> ModuleType:
    if sys.path[0] != os.getcwd():
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise AuthorCodeError(
                f"there is no module {error.name!r}, neither installed nor in the current folder;"
                f" a file is named with its ending: path/to/file.py:{kind}"
            ) from None
        raise _import_error(name, error) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _import_error(name, error) from error


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise AuthorCodeError(f"there is no file {str(path)!r}")
    name, path = path.stem, path.absolute()
    loaded = sys.modules.get(name)
    if loaded is not None:
        if getattr(loaded, "__file__", None) == str(path):
            return loaded
        raise AuthorCodeError(f"{path}: there is a module {name!r} already; rename the file")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # As Python does for a program that is started by its file.
    if sys.path[0] != str(path.parent):
        sys.path.insert(0, str(path.parent))
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt):
            raise
        # An error of asyncio's, say, is none of ours: a server that runs goes on.
        raise _import_error(str(path), error) from error
    return module


def _import_error(name: str, error: BaseException) -> AuthorCodeError:
    if isinstance(error, SyntaxError):
        place = f"{error.filename}, line {error.lineno}: " if error.filename else ""
    else:
        frames = traceback.extract_tb(error.__traceback__)
        # The author's line, where a library refuses what stands there.
        theirs = [each for each in frames if not each.filename.startswith(_OTHERS)]
        place = f"{theirs[-1].filename}, line {theirs[-1].lineno}: " if theirs else ""
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return AuthorCodeError(f"cannot import {name}: {place}{type(error).__name__}: {message}")
