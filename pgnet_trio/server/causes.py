"""What an error comes from, and the id of one failure: players can quote it, and the log has it.

The first half of an id stands for what the error comes from: the same mistake at the same line has
the same one, whoever meets it, and after a restart too. The second half is of this failure alone.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import traceback
from typing import TypeAlias

from pgnet_trio.author_lines import LIBRARIES
from pgnet_trio.errors import first_error

__all__ = ["Cause", "cause_of", "error_id", "without_error_id"]

Cause: TypeAlias = tuple[type[BaseException], str]
"""The kind of an error, and the file and line that it comes from; empty for none."""

_KEPT_AS = "_pgnet_trio_error_id"

_SAID = re.compile(", as error [0-9A-F]{6}-[0-9A-F]{6}")


def cause_of(error: BaseException) -> Cause:
    """Return the kind of an error, and the line of the author's that it comes from, if one is."""
    error = first_error(error)
    place = authors = ""
    # Not the error's text: players may choose that, and so fill the log.
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        place = f"{file}:{line}"
        if not file.startswith(LIBRARIES):
            authors = place
    return type(error), authors or place


def error_id(error: BaseException) -> str:
    """Return the id of what was raised: made at the first call, and then always the same."""
    error = first_error(error)
    # The error itself has it: all that is told because of it is told by parts that share only that.
    # Its own `__setattr__` may refuse.
    kept = error.__dict__
    if _KEPT_AS not in kept:
        kind, place = cause_of(error)
        text = f"{kind.__module__}.{kind.__qualname__} {place}"
        digest = hashlib.blake2s(text.encode("utf-8", "backslashreplace"), digest_size=3)
        kept[_KEPT_AS] = f"{digest.hexdigest()}-{secrets.token_hex(3)}".upper()
    return str(kept[_KEPT_AS])


def without_error_id(text: str) -> str:
    """Return what is told of an error as it would be told of another one like it."""
    return _SAID.sub("", text)
