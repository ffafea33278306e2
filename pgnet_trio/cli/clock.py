"""Whether the clock of this machine is kept right by others, as Linux knows it."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["is_synchronised"]

_SIZE = 512
"""Bytes for what the call fills in, of which it uses about 200."""

_UNSYNCHRONISED = 5
"""What `adjtimex` returns then."""


def is_synchronised() -> bool | None:
    """Return whether a service such as NTP keeps the clock right; None where nobody can tell."""
    if sys.platform != "linux":
        return None
    # To ask with an empty structure changes nothing, and takes no rights.
    asked = ctypes.create_string_buffer(_SIZE)
    try:
        state = int(ctypes.CDLL(None).adjtimex(asked))
    except (OSError, AttributeError):
        return None
    # In a container it may be forbidden all the same.
    return None if state < 0 else state != _UNSYNCHRONISED
