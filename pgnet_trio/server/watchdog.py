"""Finds the game, and the line, that holds up the whole server by a call that blocks.

If the server is told to, this ends the process: once the event loop is blocked,
nothing else can.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Protocol

from pgnet_trio.author_lines import LIBRARIES

__all__ = ["EXIT_STATUS", "Watchdog", "Watched"]

logger = logging.getLogger("pgnet_trio.server")

LOOKS_PER_THRESHOLD = 5
"""How often the thread looks during the time that a game may take."""

MOST_SILENCE = 60.0
"""Seconds after which a game that still blocks is named again, at the latest."""

EXIT_STATUS = 70
"""The exit status of a process that the watchdog ends."""

LAST_WRITE_TIMEOUT = 20.0
"""Seconds for the last write and the last line of the log, before the process ends without them."""

_OWN = str(Path(__file__).parent)


class Watched(Protocol):
    """A room, as the watchdog sees it.

    Attributes:
        name: The game's name.
    """

    name: str

    @property
    def busy(self) -> object:
        """The piece of the game's code that runs now: a new object each time; None for none."""


class Watchdog:
    """A thread that sees which game's code runs, and logs it when that takes too long.

    The thread asks nothing of the event loop, which may be blocked. Each room notes here every
    piece of the game's code that it runs, and the thread sees whether the note has changed.

    Args:
        threshold: Seconds that a game may keep everybody else waiting; None for any time.
        exit_after: Seconds after which such a game ends the process; None for never. With neither,
            there is no thread.

    Attributes:
        room: The room whose code ran last.
        write_last: Saves what can be saved, in the thread that watches, before the process ends;
            returns what was saved and what was not.
    """

    __slots__ = ("_exit_after", "_loop_thread", "_stopped", "_threshold", "room", "write_last")

    def __init__(self, threshold: float | None, exit_after: float | None = None) -> None:
        self.room: Watched | None = None
        self.write_last: Callable[[], str] | None = None
        self._threshold = math.inf if threshold is None else threshold
        self._exit_after = math.inf if exit_after is None else exit_after
        self._loop_thread = 0
        self._stopped = threading.Event()

    def start(self) -> None:
        """Start watching the thread that calls this."""
        soonest = min(self._threshold, self._exit_after)
        if soonest < math.inf:
            self._loop_thread = threading.get_ident()
            self._stopped = threading.Event()
            threading.Thread(
                target=self._watch,
                args=(soonest / LOOKS_PER_THRESHOLD, self._stopped),
                name="pgnet_trio watchdog",
                daemon=True,
            ).start()

    def stop(self) -> None:
        """Stop watching; never waits."""
        self._stopped.set()
        self.room = None

    def _watch(self, interval: float, stopped: threading.Event) -> None:
        seen: object = None
        since = 0.0
        next_report = self._threshold
        while not stopped.wait(interval):
            room = self.room
            busy = None if room is None else room.busy
            if room is None or busy is None or busy is not seen:
                seen, since, next_report = busy, time.perf_counter(), self._threshold
                continue
            seconds = time.perf_counter() - since
            if seconds >= next_report:
                # The first time it may be a hitch; after that it is an error.
                first = next_report == self._threshold
                self._report(logging.WARNING if first else logging.ERROR, room, seconds)
                next_report = seconds + min(seconds, MOST_SILENCE)
            if seconds >= self._exit_after and not stopped.is_set():
                self._end_process(room, seconds)

    def _end_process(self, room: Watched, seconds: float) -> None:
        # A write may hang, and so may a log whose lock the game holds.
        timer = threading.Timer(LAST_WRITE_TIMEOUT, os._exit, [EXIT_STATUS])
        timer.daemon = True
        timer.start()
        try:
            saved = "Nothing is saved" if self.write_last is None else self.write_last()
            logger.critical(
                "Game %r has held up the whole server for %.1f s: this process ends with status "
                "%d. %s",
                room.name,
                seconds,
                EXIT_STATUS,
                saved,
            )
            logging.shutdown()
        finally:
            os._exit(EXIT_STATUS)

    def _report(self, level: int, room: Watched, seconds: float) -> None:
        innermost = sys._current_frames().get(self._loop_thread)
        frames = _game_frames(innermost)
        if not frames:
            return
        where = next((each for each in frames if not _is_library(each)), frames[-1])
        logger.log(
            level,
            "Game %r has held up the whole server for more than %.2f s, at %s:%d, in %s. Await "
            "what takes long, or have trio.to_thread.run_sync() do it.\n%s",
            room.name,
            seconds,
            where.f_code.co_filename,
            where.f_lineno,
            where.f_code.co_qualname,
            "".join(
                traceback.format_list(
                    [
                        traceback.FrameSummary(
                            each.f_code.co_filename, each.f_lineno, each.f_code.co_name
                        )
                        for each in reversed(frames)
                    ]
                )
            ),
        )


def _game_frames(frame: FrameType | None) -> list[FrameType]:
    """Return the frames of what the server called last, innermost first, or else the server's."""
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    own = [number for number, each in enumerate(frames) if _is_own(each)]
    return frames[: own[0]] or frames[:1] if own else frames


def _is_own(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_OWN)


def _is_library(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(LIBRARIES)
