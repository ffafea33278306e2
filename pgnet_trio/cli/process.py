"""What our programs set for the whole of their process, which no library may do."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator

__all__ = ["allow_open_files", "rare_full_collections"]

FULL_AFTER = 100
"""After how many collections of young and middle-aged objects all are looked through. With Python's
own 10 that comes again and again while a server fills, and takes a quarter of a second with 4,000
players, in which nobody is answered. With websockets it would find next to nothing; of what
trio-websocket leaves of connections that ended, up to 50 MiB wait for it."""

VERY_MANY = 1 << 16
"""Open files, where somebody wants no limit."""


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


def allow_open_files(wanted: int | None) -> None:
    """Ask for so many open files, as far as the system lets this process have them.

    Each connection is one, and where nobody says otherwise a process often gets 1,024.

    Args:
        wanted: How many; None for very many.
    """
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if wanted is None:
        wanted = VERY_MANY
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # Some systems have a limit that they do not tell.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
