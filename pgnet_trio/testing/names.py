"""The names of players that a test gives."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["check_names"]


def check_names(what: str, names: object) -> list[str]:
    """Return the names that a test gives, as a list.

    Args:
        what: The argument, as errors call it.
        names: What was given.

    Raises:
        TypeError: They are no names; a text would be read as names of one letter each.
        ValueError: One of them comes twice.
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise TypeError(f"{what}: expected a list of names, got {names!r}")
    found: list[str] = []
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{what}: expected names, each a str, got {name!r}")
        if name in found:
            raise ValueError(f"{what}: expected each name once, got {name!r} again")
        found.append(name)
    return found
