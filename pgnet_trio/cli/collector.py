"""How often Python's garbage collector looks through the whole memory of a server."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

__all__ = ["rare_full_collections"]

FULL_AFTER = 100
"""After how many collections of young and middle-aged objects all are looked through. With Python's
own 10 that comes again and again while a server fills, and takes a quarter of a second with 4,000
players, in which nobody is answered. The server leaves nothing behind that it would find."""


@contextlib.contextmanager
def rare_full_collections() -> Iterator[None]:
    """Have old objects looked through more rarely while the block lasts, and others as ever.

    Who sets the thresholds inside, as an author's module may, has the last word until its end.
    """
    before = gc.get_threshold()
    gc.set_threshold(before[0], before[1], max(before[2], FULL_AFTER))
    try:
        yield
    finally:
        gc.set_threshold(*before)
