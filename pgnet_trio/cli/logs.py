"""The log of ``serve``: how much, as text or as JSON, to where, and what signals do to it."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import signal
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import trio

from pgnet_trio.errors import PGNetError
from pgnet_trio.server.log_fields import FIELDS, LogFields
from pgnet_trio.server.monitor.tasks import TaskTree

__all__ = ["LEVELS", "add_log_options", "log_signals", "set_up_log", "take_log_options"]

logger = logging.getLogger("pgnet_trio.server")

LEVELS = ("debug", "info", "warning", "error", "critical")


def add_log_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    option = parser.add_argument_group(
        "log", "SIGUSR1 opens its file again; SIGUSR2 writes what all tasks do into it."
    ).add_argument
    option("--log-level", choices=LEVELS, help="the lowest that is logged (default: info)")
    option(
        "--log-format",
        choices=["text", "json"],
        default="text",
        help="lines of text, or one JSON object a line, with user, table and connection as fields "
        "(default: text)",
    )
    option("--log-file", metavar="FILE", help="append it to a file, and not to standard error")
    option("-v", "--verbose", action="store_true", help="log every packet and response too")


def take_log_options(settings: dict[str, Any]) -> dict[str, Any]:
    """Take the options of the log out of others; return what `set_up_log` takes."""
    verbose = settings["verbose_logging"] = settings.pop("verbose")
    level = settings.pop("log_level") or ("debug" if verbose else "info")
    return {"level": level, "kind": settings.pop("log_format"), "file": settings.pop("log_file")}


def set_up_log(*, level: str, kind: str, file: str | None, worker: int | None) -> None:
    """Have everything logged, from now on.

    Args:
        level: The lowest level of this package's entries.
        kind: ``text`` or ``json``.
        file: A file to append to; None for standard error.
        worker: Which of several processes this is; None where it is alone.

    Raises:
        PGNetError: The file cannot be written.
    """
    handler: logging.Handler = logging.StreamHandler()
    if file is not None:
        try:
            handler = _LogFile(file, encoding="utf-8")
        except OSError as error:
            raise PGNetError(f"--log-file: cannot write {file!r}: {error.strerror}") from error
    process = "" if worker is None else f"worker {worker} "
    handler.setFormatter(
        _JsonFormatter(worker)
        if kind == "json"
        else logging.Formatter(f"%(asctime)s {process}%(levelname)s %(message)s")
    )
    handler.addFilter(LogFields())
    logging.basicConfig(handlers=[handler])
    logging.getLogger("pgnet_trio").setLevel(level.upper())
    # The engine says the same of a database that cannot be reached: once, and in one line.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)


def log_signals() -> Mapping[int, Callable[[], None]]:
    """Return what signals do to the log, for the event loop that runs; none on Windows.

    A thread calls these, and so they work while the event loop is stuck.
    """
    root = trio.lowlevel.current_root_task()
    reopen: int | None = getattr(signal, "SIGUSR1", None)
    dump: int | None = getattr(signal, "SIGUSR2", None)
    if reopen is None or dump is None or root is None:
        return {}
    tree = TaskTree(root, threading.get_ident())
    return {reopen: _reopen_files, dump: partial(_dump, tree)}


class _LogFile(logging.FileHandler):
    """A file that can be opened anew, once another program has moved it away."""

    def reopen(self) -> None:
        """Go on with a file of the same name."""
        # Not with the lock: a disk that hangs would hold up everybody who logs.
        stream = self._open()
        self.acquire()
        try:
            before, self.stream = self.stream, stream
        finally:
            self.release()
        if before is not None:
            # What is left of it may have no room on the disk.
            with contextlib.suppress(OSError):
                before.close()


class _JsonFormatter(logging.Formatter):
    """Writes each entry as one line of JSON; what is empty is left out.

    Args:
        worker: Which of several processes this is; None where it is alone.
    """

    def __init__(self, worker: int | None) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "worker": self._worker,
        }
        entry |= {name: getattr(record, name, None) for name in FIELDS}
        # What a filter of this package's logger has made fit.
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        entry["traceback"] = record.exc_text
        return json.dumps({name: value for name, value in entry.items() if value})


def _reopen_files() -> None:
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _LogFile):
            try:
                handler.reopen()
            except OSError as error:
                logger.error("The log's file cannot be opened again: %s", error.strerror)
            else:
                logger.info("The log goes on in a file that was opened anew")


def _dump(tree: TaskTree) -> None:
    logger.warning("What all tasks do, as SIGUSR2 has asked for:\n%s", tree.dump())
