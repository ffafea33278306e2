"""What an error comes from, and a short id for that: players can quote it, and the log has it.

The same mistake at the same line has the same id, whoever meets it, and after a restart too. Pure.
"""

from __future__ import annotations

import hashlib
import traceback
from typing import TypeAlias

from pgnet_trio.author_lines import LIBRARIES
from pgnet_trio.errors import first_error

__all__ = ["Cause", "cause_of", "error_id"]

Cause: TypeAlias = tuple[type[BaseException], str]
"""The kind of an error, and the file and line that it comes from; empty for none."""


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
    """Return six letters and digits that stand for what an error comes from."""
    kind, place = cause_of(error)
    text = f"{kind.__module__}.{kind.__qualname__} {place}"
    return (
        hashlib.blake2s(text.encode("utf-8", "backslashreplace"), digest_size=3).hexdigest().upper()
    )
