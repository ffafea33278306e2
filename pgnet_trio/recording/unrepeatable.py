"""What a class of games makes use of that a replay cannot repeat, as far as its code shows."""

from __future__ import annotations

import dis
import hashlib
import inspect
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import attrs

__all__ = [
    "HASH_SEED_VARIABLE",
    "GameDescription",
    "describe_game",
    "hash_seed",
    "is_hash_seed",
    "unrepeatable_in",
]

_LOADS_ATTRIBUTE = {"LOAD_ATTR", "LOAD_METHOD"}

HASH_SEED_VARIABLE = "PYTHONHASHSEED"

MOST_SEED = 2**32 - 1

_MODULES: Mapping[str, str] = {
    "random": "the module random: use self.room.random",
    "secrets": "the module secrets: use self.room.random",
    "uuid": "the module uuid: use self.room.random",
    "time": "the module time: use self.room.time()",
    "datetime": "the module datetime, which reads the time of day",
    "threading": "threads",
    "multiprocessing": "other processes",
    "concurrent": "threads, or other processes",
    "subprocess": "other processes",
    "socket": "the network",
    "urllib": "the network",
    "http": "the network",
    "httpx": "the network",
    "requests": "the network",
    "numpy": "numpy, whose randomness has another seed",
    "sqlite3": "a database",
}

_CALLS: Mapping[str, str] = {
    "to_thread": "threads (trio.to_thread)",
    "from_thread": "threads (trio.from_thread)",
    "run_process": "other processes",
    "open_process": "other processes",
    "current_time": "trio.current_time(): use self.room.time()",
    "open_nursery": "nurseries of its own, whose tasks have no recorded order: use "
    "self.room.nursery",
    "open_tcp_stream": "the network",
    "open_ssl_over_tcp_stream": "the network",
    "open_file": "files",
    "urandom": "os.urandom: use self.room.random",
}

# What may be read of these modules: types, and what has no state.
_HARMLESS = {"Random", "timedelta", "UTC", "timezone", "sleep"}


def unrepeatable_in(game_class: type, base: type) -> list[str]:
    """Return what the code of a class uses that does not replay, for people.

    Only what its functions, and those of its module that they name, show by their globals is found.

    Args:
        game_class: The class.
        base: The class of the framework, whose code is none of the author's.
    """
    found: dict[str, None] = {}
    seen: set[CodeType] = set()
    for each in game_class.__mro__:
        if each in (base, object):
            continue
        for function in _functions_of(each):
            for what in _uses_of(function, seen):
                found[what] = None
    return list(found)


def _functions_of(kind: type) -> Iterator[FunctionType]:
    for value in vars(kind).values():
        inner = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if callable(inner):
            inner = inspect.unwrap(inner)
        if isinstance(inner, FunctionType):
            yield inner


def _uses_of(function: FunctionType, seen: set[CodeType]) -> Iterator[str]:
    if function.__code__ in seen:
        return
    seen.add(function.__code__)
    for name, attribute in _globals_in(function.__code__):
        value = function.__globals__.get(name)
        if isinstance(value, ModuleType):
            root = value.__name__.partition(".")[0]
            if attribute in _HARMLESS:
                continue
            if root in _MODULES:
                yield _MODULES[root]
            elif attribute in _CALLS:
                yield _CALLS[attribute]
        elif value is not None and name not in _HARMLESS:
            if name in _CALLS and not isinstance(value, type):
                yield _CALLS[name]
            yield from _uses_of_global(value, function, seen)


def _globals_in(code: CodeType) -> Iterator[tuple[str, str]]:
    """Yield each global that a function and those inside it load, and which attribute of it."""
    instructions = list(dis.get_instructions(code))
    for instruction, following in zip(instructions, [*instructions[1:], None], strict=True):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            is_attribute = following is not None and following.opname in _LOADS_ATTRIBUTE
            yield instruction.argval, following.argval if following and is_attribute else ""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals_in(constant)


def _uses_of_global(value: Any, function: FunctionType, seen: set[CodeType]) -> Iterator[str]:
    root = str(getattr(value, "__module__", "") or "").partition(".")[0]
    owner = getattr(value, "__self__", None)
    if type(owner).__module__ == "random":
        # ``from random import shuffle``: a method of the generator that all share.
        yield _MODULES["random"]
    elif root in _MODULES:
        yield _MODULES[root]
    elif isinstance(value, FunctionType) and value.__module__ == function.__module__:
        yield from _uses_of(value, seen)


@attrs.frozen
class GameDescription:
    """What a recording says of the class of its game.

    Attributes:
        game: How the command line names it: ``path/to/file.py:CLASS``, or ``package.module:CLASS``.
        class_name: Its name; empty where only a function knows it.
        source: A digest of the file that it is in; empty for none.
        unrepeatable: What it uses that does not replay, for people.
    """

    game: str = "game.py:MyGame"
    class_name: str = ""
    source: str = ""
    unrepeatable: tuple[str, ...] = ()


def describe_game(game_class: type | None, base: type) -> GameDescription:
    """Return what a recording says of a class.

    Args:
        game_class: The class; None where only a function knows it.
        base: The class of the framework that it is derived from.
    """
    if game_class is None:
        return GameDescription()
    name = game_class.__qualname__
    file = _file_of(game_class)
    digest, place = "", game_class.__module__
    if file is not None:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        if "." not in place and file.name != "__init__.py":
            is_here = file.is_relative_to(Path.cwd())
            place = os.path.relpath(file) if is_here else str(file)
    found = tuple(unrepeatable_in(game_class, base))
    return GameDescription(f"{place}:{name}", game_class.__name__, digest, found)


def _file_of(game_class: type) -> Path | None:
    try:
        file = inspect.getsourcefile(game_class)
    except TypeError:
        # It was defined nowhere but in the memory of this process.
        return None
    return Path(file) if file is not None and Path(file).is_file() else None


def hash_seed() -> str | None:
    """Return the PYTHONHASHSEED of this process; None where hashes of text are by chance."""
    seed = os.environ.get(HASH_SEED_VARIABLE, "")
    return seed if is_hash_seed(seed) else None


def is_hash_seed(text: str) -> bool:
    """Return whether Python takes this for a seed of hashes; it does not start with another."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(MOST_SEED))
    return is_number and int(text) <= MOST_SEED
