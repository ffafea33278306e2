"""Text that others wrote, made fit for a log or a terminal.

Clients, servers and games choose the words of names, reasons, messages and errors. Written out as
they are, these could clear a screen, turn a line around, look like a line of their own in a log, or
fill a disk. Whoever logs or prints such text passes it through one of these functions.
"""

from __future__ import annotations

import logging
import re
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["MAX_SHOWN", "make_tracebacks_printable", "one_line", "printable"]

MAX_SHOWN = 500
"""Characters of one foreign text in a log line: enough to find a mistake, too few for a flood."""

_MAX_TRACEBACK_LINE = 2000

# Line breaks and tabs may stay, and so may what joins letters or emoji.
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str, /) -> str:
    """Return text for a terminal: what could control it becomes an escape; line breaks stay."""
    return _STEERING.sub(lambda match: _escape(match[0]), text)


def one_line(what: object, /, limit: int = MAX_SHOWN) -> str:
    """Return something as one short line for a log.

    Args:
        what: A text, or an object whose ``str`` may hold what others wrote, such as an error.
        limit: How many characters the line has at most.

    Returns:
        The text. What is not printable becomes an escape, and a text that is too long ends with
        three dots.
    """
    try:
        text = str(what)
    except Exception:
        # An author's error may fail even at this, and the caller reports an error already.
        text = f"<{type(what).__name__} without a text>"
    if len(text) <= limit and text.isprintable():
        return text
    shown = text[:limit]
    if not shown.isprintable():
        shown = "".join(char if char.isprintable() else _escape(char) for char in shown)
    if len(text) <= limit and len(shown) <= limit:
        return shown
    return f"{shown[: limit - 3]}..."


def make_tracebacks_printable(logger: logging.Logger) -> None:
    """Let a logger show tracebacks in which the text of an error cannot do harm.

    The error of a game may quote a player. `logging` itself would write it as it is.
    """
    logger.addFilter(_describe_traceback)


def _describe_traceback(record: logging.LogRecord) -> bool:
    if isinstance(record.exc_info, tuple) and not record.exc_text:
        kind, error, where = record.exc_info
        if kind is not None and error is not None:
            # Every formatter takes this text where it is there, and else makes one.
            record.exc_text = _traceback_text(kind, error, where)
    return True


def _traceback_text(
    kind: type[BaseException], error: BaseException, where: TracebackType | None
) -> str:
    lines: list[str] = []
    for part in traceback.TracebackException(kind, error, where, compact=True).format():
        text = part.removesuffix("\n")
        # A part with an error's text begins at the margin, and so would each further line of that
        # text, which could pass for the next entry of the log.
        is_error = text[:1].strip() != ""
        lines += [text] if is_error else text.split("\n")
    return "\n".join(one_line(line, _MAX_TRACEBACK_LINE) for line in lines)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
