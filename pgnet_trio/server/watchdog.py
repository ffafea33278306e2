"""Finds the game, and the line, that holds up the whole server by a call that blocks."""

from __future__ import annotations

import logging
import sys
import sysconfig
import threading
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Protocol

__all__ = ["Watchdog", "Watched"]

logger = logging.getLogger("pgnet_trio.server")

LOOKS_PER_THRESHOLD = 5
"""How often the thread looks during the time that a game may take."""

_OWN = str(Path(__file__).parent)
_LIBRARIES = tuple({sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")})


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
    """A thread that sees which game's code runs, and logs a warning when that takes too long.

    The thread asks nothing of the event loop, which may be blocked. Each room notes here every
    piece of the game's code that it runs, and the thread sees whether the note has changed.

    Args:
        threshold: Seconds that a game may keep everybody else waiting; None for any time, and
            then there is no thread.

    Attributes:
        room: The room whose code ran last.
    """

    __slots__ = ("_loop_thread", "_stopped", "_threshold", "room")

    def __init__(self, threshold: float | None) -> None:
        self.room: Watched | None = None
        self._threshold = threshold
        self._loop_thread = 0
        self._stopped = threading.Event()

    def start(self) -> None:
        """Start watching the thread that calls this."""
        if self._threshold is not None:
            self._loop_thread = threading.get_ident()
            self._stopped = threading.Event()
            threading.Thread(
                target=self._watch,
                args=(self._threshold, self._stopped),
                name="pgnet_trio watchdog",
                daemon=True,
            ).start()

    def stop(self) -> None:
        """Stop watching; never waits."""
        self._stopped.set()
        self.room = None

    def _watch(self, threshold: float, stopped: threading.Event) -> None:
        seen: object = None
        since = 0.0
        reported = False
        while not stopped.wait(threshold / LOOKS_PER_THRESHOLD):
            room = self.room
            busy = None if room is None else room.busy
            if room is None or busy is None or busy is not seen:
                seen, since, reported = busy, time.perf_counter(), False
                continue
            seconds = time.perf_counter() - since
            if seconds >= threshold and not reported:
                reported = True
                self._report(room, seconds)

    def _report(self, room: Watched, seconds: float) -> None:
        innermost = sys._current_frames().get(self._loop_thread)
        frames = _game_frames(innermost)
        if not frames:
            return
        where = next((each for each in frames if not _is_library(each)), frames[-1])
        logger.warning(
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
    return frame.f_code.co_filename.startswith(_LIBRARIES)
