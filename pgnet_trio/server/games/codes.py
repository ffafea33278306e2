"""Codes: short names of tables, which friends tell each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

__all__ = ["MIN_CODE_LENGTH", "as_code", "new_codes"]

LETTERS = "BCDFGHJKMNPQRTWX"
"""The letters of codes: no vowels, so that they are no words, and none that looks like a digit or
like another letter: L, S, V, Z and Y are left out. Sixteen, so that each is half a byte."""

MIN_CODE_LENGTH = 4
MAX_CODE_LENGTH = 6

TRIES = 16
"""Codes of one length that are tried before longer ones."""

_LETTERS = frozenset(LETTERS)


def as_code(name: str) -> str | None:
    """Return the code that a name is, in capitals; None for a name that is no code.

    Args:
        name: What somebody has typed.
    """
    if not (MIN_CODE_LENGTH <= len(name) <= MAX_CODE_LENGTH and name.isascii()):
        return None
    code = name.upper()
    return code if _LETTERS.issuperset(code) else None


def new_codes(random_bytes: Callable[[int], bytes]) -> Iterator[str]:
    """Yield codes by chance, longer ones after a while: of short ones, many may be taken."""
    for length in range(MIN_CODE_LENGTH, MAX_CODE_LENGTH + 1):
        for _ in range(TRIES):
            data = random_bytes((length + 1) // 2)
            halves = (half for byte in data for half in (byte >> 4, byte & 15))
            yield "".join(LETTERS[half] for half in halves)[:length]
