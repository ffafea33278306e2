"""Finds mistakes in an author's class before it runs: names, returns, and declarations."""

from __future__ import annotations

import ast
import builtins
import difflib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

import attrs

__all__ = ["Returned", "declared", "names_used", "near_miss", "near_misses", "returns_of"]

T = TypeVar("T")

# A table is named after its queue, and such a name has 50 letters, digits or inner spaces at most.
_DECLARED_NAME = re.compile("[A-Za-z0-9]([A-Za-z0-9 ]{0,28}[A-Za-z0-9])?")

_CLOSE = 0.8
"""How alike a misspelt name is to the one that was meant: ``user_join``, ``user_joined``: 0.9."""

_SHORT = 6
"""Names of up to so many letters resemble too many words: only their anagrams are near misses."""

_WRONG_RETURNS = {
    ast.Dict: "a dict",
    ast.DictComp: "a dict",
    ast.List: "a list",
    ast.ListComp: "a list",
    ast.Set: "a set",
    ast.SetComp: "a set",
    ast.Tuple: "a tuple",
}


def declared(
    game: object, attribute: str, kind: type[T], *, most: int, refused: str = ""
) -> Mapping[str, T]:
    """Return what a class of games declares in an attribute, by name.

    Args:
        game: The class; or what else makes the games, which may have the attribute too.
        attribute: The attribute's name. Its value is one of *kind*, or a mapping of names to such.
        kind: The class of what is declared.
        most: How many there may be.
        refused: What no name may have in it, in upper or lower case; empty for nothing.

    Returns:
        What is declared; a single one has an empty name. An attribute that holds none of *kind* is
        the author's own, and declares nothing.

    Raises:
        TypeError: The declaration has the wrong shape.
    """
    value = inspect.getattr_static(game, attribute, None)
    if isinstance(value, kind):
        return MappingProxyType({"": value})
    if not isinstance(value, Mapping) or not any(isinstance(each, kind) for each in value.values()):
        return MappingProxyType({})
    where = f"{getattr(game, '__name__', 'the game')}.{attribute}"
    for name, each in value.items():
        if not isinstance(each, kind):
            raise TypeError(
                f"{where}[{name!r}]: expected a {kind.__name__}, as the others, got {each!r}."
            )
        is_fit = isinstance(name, str) and _DECLARED_NAME.fullmatch(name)
        if not is_fit or (refused and refused in name.lower()):
            without = f", without {refused!r} in them" if refused else ""
            raise TypeError(
                f"{where}: expected names of 1 to 30 ASCII letters, digits or inner spaces"
                f"{without}, got {name!r}."
            )
    if len(value) > most:
        what = f"{kind.__name__.lower()}s"
        raise TypeError(f"{where}: expected at most {most} {what}, got {len(value)}.")
    return MappingProxyType(dict(value))


def near_miss(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that a misspelt one was meant for, or None."""
    long = [each for each in known if len(each) > _SHORT]
    found = difflib.get_close_matches(name, long, 1, _CLOSE)
    if found:
        return found[0]
    return next((each for each in known if sorted(each) == sorted(name)), None)


def near_misses(
    cls: type,
    base: type,
    known: Callable[[Any], Sequence[str]],
    more: Mapping[re.Pattern[str], str] = MappingProxyType({}),
) -> Iterator[tuple[str, str]]:
    """Yield the names that a class defines, that nothing in it uses, and that nearly are known.

    Args:
        cls: The class of an author.
        base: The class of the framework that it is derived from.
        known: Returns the names that the framework looks for, of what is like a value of the class.
        more: Patterns of names that are no known ones, each with the known one that was meant.

    Yields:
        The name, and what was meant.
    """
    authors = [each for each in cls.__mro__ if each is not base and issubclass(each, base)]
    used: set[str] | None = None
    for name, value in vars(cls).items():
        if name.startswith("_") or any(hasattr(each, name) for each in cls.__bases__):
            continue
        names = known(value)
        meant = next((each for pattern, each in more.items() if pattern.fullmatch(name)), None)
        meant = meant or near_miss(name, names)
        if meant is None or meant not in names:
            continue
        if used is None:
            used = {
                word
                for each in authors
                for member in vars(each).values()
                for find in (names_used, _texts_in)
                for word in find(_code_of(member))
            }
        if name not in used:
            yield name, meant


def names_used(code: Any) -> Iterator[str]:
    """Yield the attributes and globals that a function names, and those of functions inside."""
    yield from getattr(code, "co_names", ())
    for constant in getattr(code, "co_consts", ()):
        yield from names_used(constant)


def _texts_in(code: Any) -> Iterator[str]:
    """Yield the texts in a function's code: ``getattr`` may be called with one of them."""
    for constant in getattr(code, "co_consts", ()):
        if isinstance(constant, str):
            yield constant
        else:
            yield from _texts_in(constant)


def _code_of(value: Any) -> Any:
    if isinstance(value, property):
        value = value.fget
    return getattr(inspect.unwrap(getattr(value, "__func__", value)), "__code__", None)


@attrs.frozen
class Returned:
    """What a function returns at one place.

    Attributes:
        line: The line in its file.
        what: A description, where it is certain to be a container of Python's.
        kind: The class that is called to make it, where that shows; None otherwise.
    """

    line: int
    what: str | None
    kind: Any


def returns_of(function: Any) -> list[Returned]:
    """Return what shows of a function's returns in its source; nothing where there is no source."""
    try:
        lines, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, SyntaxError, TypeError):
        return []
    body = tree.body[0]
    if not isinstance(body, ast.FunctionDef):
        return []
    return [
        Returned(
            node.lineno + first - 1,
            _WRONG_RETURNS.get(type(node.value)) or _builtin_made(node.value, function),
            _class_made(node.value, function),
        )
        for node in _returns(body)
        if node.value is not None
    ]


def _returns(node: ast.AST) -> Iterator[ast.Return]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Return):
            yield child
        elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _returns(child)


def _builtin_made(value: ast.expr, function: Any) -> str | None:
    kind = _called(value, function)
    return f"a {kind.__name__}" if kind in (dict, list, set, tuple, frozenset) else None


def _class_made(value: ast.expr, function: Any) -> Any:
    kind = _called(value, function)
    return kind if isinstance(kind, type) and attrs.has(kind) else None


def _called(value: ast.expr, function: Any) -> Any:
    """Return what an expression calls by a global name, or one of Python's own."""
    if not (isinstance(value, ast.Call) and isinstance(value.func, ast.Name)):
        return None
    name, code = value.func.id, function.__code__
    if name in code.co_varnames or name in code.co_freevars:
        return None
    return function.__globals__.get(name, getattr(builtins, name, None))
