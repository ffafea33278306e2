"""Numbers and names on the command line, read for argparse."""

from __future__ import annotations

import argparse
import math
import re

from pgnet_trio.messages import is_gamename_allowed
from pgnet_trio.transport import choose

__all__ = [
    "duration",
    "not_negative",
    "port",
    "positive",
    "room_name",
    "transport_name",
    "whole",
]

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(ms|s|m|h|)")
_UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}


def transport_name(text: str, /) -> str:
    """Check the name of a transport."""
    try:
        return choose(text).name
    except (ImportError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def room_name(text: str, /) -> str:
    """Check the name of a game."""
    if not is_gamename_allowed(text):
        raise argparse.ArgumentTypeError(
            f"expected the name of a game, of 3 to 50 letters, digits or inner spaces, got {text!r}"
        )
    return text


def port(text: str, /) -> int:
    """Read a TCP port, or 0."""
    if text.isdecimal() and int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, got {text!r}")


def positive(text: str, /) -> float:
    """Read a number over 0."""
    if 0 < (number := _number(text)) < math.inf:
        return number
    raise argparse.ArgumentTypeError(f"expected a number over 0, got {text!r}")


def not_negative(text: str, /) -> float:
    """Read a number that is 0 or more."""
    if 0 <= (number := _number(text)) < math.inf:
        return number
    raise argparse.ArgumentTypeError(f"expected a number, 0 or more, got {text!r}")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def whole(text: str, /) -> int:
    """Read a whole number, 0 too."""
    if text.isascii() and text.isdecimal() and len(text) <= 18:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}")


def duration(text: str, /) -> float:
    """Read a duration such as ``50ms``, ``10s``, ``5m`` or ``10``; return it in seconds."""
    match = _DURATION.fullmatch(text.strip().lower())
    if match is not None and (seconds := float(match[1]) * _UNITS[match[2]]) < math.inf:
        return seconds
    raise argparse.ArgumentTypeError(f"expected a duration such as 50ms, 10s or 5m, got {text!r}")
