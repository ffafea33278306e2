"""The options of ``serve`` about recordings."""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pgnet_trio.errors import PGNetError
from pgnet_trio.recording import HASH_SEED_VARIABLE, Recording, hash_seed

__all__ = ["add_recording_options", "keep_hashes", "start_anew_with", "use_recording"]

_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}


def add_recording_options(option: Callable[..., Any]) -> None:
    """Add the options.

    Args:
        option: Adds one.
    """
    option(
        "--record",
        metavar="FOLDER",
        help="record all that comes into each table, so that `pgnet-trio replay` can play one "
        "again that crashed; recordings hold what players wrote, and what a game hides from them",
    )
    option(
        "--record-table-bytes",
        type=_bytes,
        metavar="BYTES",
        help="how much is kept of one table, such as 8M (default: 8M)",
    )
    option(
        "--record-total-bytes",
        type=_bytes,
        metavar="BYTES",
        help="how much is kept of all of them (default: 1G)",
    )


def use_recording(settings: dict[str, Any]) -> None:
    """Put a `Recording` in the place of the options.

    Args:
        settings: The options that were given.

    Raises:
        PGNetError: They do not go together.
    """
    sizes = {
        name: settings.pop(f"record_{name}")
        for name in ("table_bytes", "total_bytes")
        if f"record_{name}" in settings
    }
    folder = settings.pop("record", None)
    if folder is None:
        if sizes:
            raise PGNetError("--record-table-bytes and --record-total-bytes are for --record")
        return
    if not folder:
        raise PGNetError("--record: expected the path of a folder, got an empty one")
    try:
        # What is done in this folder goes on there, wherever the game goes.
        settings["record"] = Recording(Path(folder).absolute(), **sizes)
    except (TypeError, ValueError) as error:
        raise PGNetError(str(error)) from error


def keep_hashes(arguments: Sequence[str]) -> None:
    """Start this process anew, with a hash seed, where hashes of text are by chance.

    Args:
        arguments: The whole command line after the program's name.
    """
    if hash_seed() is None:
        start_anew_with(str(random.SystemRandom().randrange(2**32)), arguments)


def start_anew_with(seed: str, arguments: Sequence[str]) -> None:
    """Start this process anew, with the same command line and a seed for hashes of text.

    It returns where that cannot be, because the command line is not this process's own.
    """
    if list(arguments) != sys.argv[1:] or os.environ.get(HASH_SEED_VARIABLE) == seed:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    command = [sys.executable, *sys.orig_argv[1:]]
    environment = {**os.environ, HASH_SEED_VARIABLE: seed}
    if os.name == "nt":
        # There, whoever waits for this process would not wait for the one in its place.
        raise SystemExit(subprocess.call(command, env=environment))
    os.execve(sys.executable, command, environment)


def _bytes(text: str) -> int:
    unit = text[-1:].upper() if text[-1:].isalpha() else ""
    number = text[:-1] if unit else text
    if unit in _UNITS and number.isascii() and number.isdecimal() and len(number) <= 15:
        return int(number) * _UNITS[unit]
    raise argparse.ArgumentTypeError(
        f"expected a number of bytes such as 8M, 512K or 1G, got {text!r}"
    )
