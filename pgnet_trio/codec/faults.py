"""Faults of data: what is wrong with a value, where it is, and the error that says so."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Sequence
from itertools import islice
from textwrap import shorten
from types import NoneType
from typing import Any, get_args

import attrs
from cattrs import ClassValidationError, ForbiddenExtraKeysError

from pgnet_trio.errors import CodecError

__all__ = [
    "MAX_DEPTH",
    "Fault",
    "Inside",
    "TooLarge",
    "TooLargeError",
    "author_error",
    "codec_error",
    "kind_name",
    "not_among",
    "too_deep",
    "value_name",
]

MAX_DEPTH = 100
"""Levels of dicts and lists in one message. Game data needs few, and parsers recurse."""

# Of a message with many mistakes, the first ones explain enough.
_PROBLEMS_NAMED = 3

# Enough to find any place in a sensible message; a hostile one may have a path without end.
_STEPS_NAMED = 12


class Fault(Exception):
    """A value that cannot travel, or is not what was expected; the message says what came."""


class TooLarge(Fault):
    """A number that is too large to travel."""


class TooLargeError(CodecError):
    """All that keeps data from travelling is the size of its numbers, which play may have made."""


class Inside(Fault):
    """Something is wrong with an item of a dict or list.

    Args:
        step: The item's key or index.
        error: What is wrong with it: a fault, or an error of cattrs or of an author's class.
    """

    def __init__(self, step: str | int, error: Exception) -> None:
        super().__init__(step, error)
        self.step = step
        self.error = error


def codec_error(error: Exception, path: str) -> CodecError:
    """Return the error that a user of the codec sees.

    Args:
        error: A fault, or what the converter raised.
        path: The name of the data as a whole; empty where the names of its fields are enough.
    """
    leaves = list(islice(_leaves(error, ()), _PROBLEMS_NAMED))
    problems = [f"{_path(path, steps)}: {_problem(leaf, steps)}" for steps, leaf in leaves]
    is_size_alone = all(isinstance(leaf, TooLarge) for _, leaf in leaves)
    return (TooLargeError if is_size_alone else CodecError)("; ".join(problems))


def author_error(error: Exception) -> Exception | None:
    """Return the error whose traceback an author needs, such as that of their own validator."""
    for _, leaf in _leaves(error, ()):
        if not isinstance(leaf, Fault | KeyError | ForbiddenExtraKeysError | RecursionError):
            return leaf
    return None


def kind_name(kind: Any) -> str:
    """Return the name of a type as an author writes it."""
    if kind is NoneType:
        return "None"
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)


def value_name(value: object) -> str:
    """Return the name of a value's type: the value itself may be a password in a wrong place."""
    return "None" if value is None else type(value).__name__


def not_among(values: Sequence[object], value: object) -> Fault:
    """Return the fault of a value that is none of these values."""
    return Fault(f"expected one of {', '.join(map(repr, values))}, got {reprlib.repr(value)}")


def too_deep() -> Fault:
    """Return the fault of data with more than `MAX_DEPTH` levels."""
    return Fault(f"expected at most {MAX_DEPTH} levels of nesting, got more; make the data flatter")


def _leaves(
    error: Exception, steps: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], Exception]]:
    if isinstance(error, Inside):
        yield from _leaves(error.error, (*steps, error.step))
    elif isinstance(error, ClassValidationError):
        noted, others = error.group_exceptions()
        for part, note in noted:
            yield from _leaves(part, (*steps, note.name))
        for part in others:
            yield from _leaves(part, steps)
    else:
        yield steps, error


def _path(path: str, steps: tuple[str | int, ...]) -> str:
    for step in steps[:_STEPS_NAMED]:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step.isidentifier() and len(step) <= 50:
            path += f".{step}"
        else:
            path += f"[{reprlib.repr(step)}]"
    if len(steps) > _STEPS_NAMED:
        path += "..."
    path = path.removeprefix(".")
    return path if path and path[0] != "[" else f"data{path}"


def _problem(error: Exception, steps: tuple[str | int, ...]) -> str:
    if isinstance(error, Fault):
        return str(error)
    if isinstance(error, RecursionError):
        return str(too_deep())
    if isinstance(error, KeyError) and steps and error.args == (steps[-1],):
        return "expected a value, got none; the key is missing"
    if isinstance(error, ForbiddenExtraKeysError):
        fields = attrs.fields(error.cl) if attrs.has(error.cl) else ()
        known = ", ".join(field.name for field in fields) or f"of {kind_name(error.cl)}"
        unknown = ", ".join(reprlib.repr(key) for key in sorted(error.extra_fields)[:3])
        return f"expected only the keys {known}, got {unknown}"
    # The errors of attrs have more arguments than the text, which comes first.
    text = str(error.args[0]) if error.args else ""
    return f"expected a valid value, got {type(error).__name__}: {shorten(text, 200)}"
