"""What a recording says of an error that has ended a game."""

from __future__ import annotations

import traceback

from pgnet_trio.author_lines import LIBRARIES
from pgnet_trio.errors import first_error
from pgnet_trio.foreign_text import one_line
from pgnet_trio.recording.records import Crashed

__all__ = ["crash_of"]

LONGEST_TEXT = 2000
LONGEST_TRACEBACK = 64 * 1024
MOST_LINES = 50


def crash_of(error: BaseException, time: float, *, restarts: bool) -> Crashed:
    """Return the record of what a game has raised.

    Args:
        error: What it has raised.
        time: When, in the room's time.
        restarts: Whether the game is made again.
    """
    inner = first_error(error)
    trace = "".join(traceback.format_exception(error))
    return Crashed(
        time,
        type(inner).__qualname__,
        one_line(inner, LONGEST_TEXT),
        # What cannot be encoded would leave the file without its end.
        trace[-LONGEST_TRACEBACK:].encode(errors="replace").decode(),
        _author_lines_of(inner),
        restarts,
    )


def _author_lines_of(error: BaseException) -> list[str]:
    """Return the lines of the author's that an error goes through, the innermost last."""
    return [
        f"{frame.f_code.co_filename.rpartition('/')[2]}:{line}, in {frame.f_code.co_qualname}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not frame.f_code.co_filename.startswith(LIBRARIES)
    ][-MOST_LINES:]
