"""Settings of a whole process, which our programs may change and a library may not."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import sys
from collections.abc import Iterator
from typing import NoReturn

__all__ = ["allow_open_files", "end_process", "rare_full_collections", "say"]

FULL_AFTER = 100
"""Collections of middle-aged objects before one of all objects. With Python's own 10, a server that
fills up collects all objects again and again; with 4,000 players, that takes a quarter of a second,
in which nobody is answered. With websockets there is next to nothing to collect; with
trio-websocket, up to 50 MiB of connections that ended wait for it."""

VERY_MANY = 1 << 16
"""Open files to ask for where the caller wants no limit."""


def say(text: str) -> None:
    """Print a line to stderr; where nobody can read it any more, go on without."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        # The terminal was closed. Print into nothing from now on, and at the very end.
        with contextlib.suppress(OSError):
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, sys.stderr.fileno())
            os.close(nothing)


def end_process(status: int) -> NoReturn:
    """End the process at once, whatever its tasks and threads do; what was logged is written.

    Args:
        status: The exit status.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(status & 0xFF)


@contextlib.contextmanager
def rare_full_collections() -> Iterator[None]:
    """Collect all objects more rarely during the block, and young objects as ever.

    An author's module may set the thresholds in the block; they hold until the block ends.
    """
    before = gc.get_threshold()
    gc.set_threshold(before[0], before[1], max(before[2], FULL_AFTER))
    try:
        yield
    finally:
        gc.set_threshold(*before)


def allow_open_files(wanted: int | None) -> None:
    """Raise the limit of open files, as far as the system lets this process do so.

    Each connection is an open file, and the limit is often 1,024.

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
        # Some systems have a lower limit than they say.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
