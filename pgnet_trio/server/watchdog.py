"""Finds the game, and the line, that holds up the whole server by a call that blocks.

A turn of a game is noted by its room. All else is seen in the frames of the event loop's thread:
each pass of the loop has every task take one step at most, so that the same step in the same pass
is one that has gone on.

If the server is told to, this ends the process: once the event loop is blocked,
nothing else can.
"""

from __future__ import annotations

import faulthandler
import logging
import math
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import attrs
import trio

from pgnet_trio.author_lines import LIBRARIES, PACKAGE
from pgnet_trio.foreign_text import one_line
from pgnet_trio.server.counters import Counters

__all__ = ["EXIT_STATUS", "Watchdog", "Watched", "game_of_task"]

logger = logging.getLogger("pgnet_trio.server")

LOOKS_PER_THRESHOLD = 5
"""How often the thread looks during the time that a game may take."""

MOST_SILENCE = 60.0
"""Seconds after which a game that still blocks is named again, at the latest."""

EXIT_STATUS = 70
"""The exit status of a process that the watchdog ends."""

LAST_WRITE_TIMEOUT = 20.0
"""Seconds for the last write and the last line of the log, before the process ends without them."""

_STDERR = 2
"""As the system knows it: `sys.stderr` may be anything."""

_OWN = str(Path(__file__).parent)

game_of_task: ContextVar[str] = ContextVar("game_of_task")
"""The name of the game that a task belongs to, for its room's task and all that it starts."""


class Watched(Protocol):
    """A room, as the watchdog sees it.

    Attributes:
        name: The game's name.
    """

    name: str

    @property
    def busy(self) -> object:
        """The piece of the game's code that runs now: a new object each time; None for none."""


class _Passes(trio.abc.Instrument):
    """Counts how often the event loop has gone round: in each pass, a task has one step at most.

    Attributes:
        count: How often.
    """

    def __init__(self) -> None:
        self.count = 0

    def after_io_wait(self, timeout: float) -> None:
        """Count one more pass."""
        self.count += 1


@attrs.frozen(eq=False)
class _Blocker:
    """What may hold up the event loop.

    Attributes:
        what: What it is, another object for each turn, and for each step of a task.
        game: The game's name; None where it is not known yet.
        step: The outermost frame of the task's step; None where it is not known.
    """

    what: object
    game: str | None
    step: FrameType | None = None


class Watchdog:
    """A thread that sees which game's code runs, and logs it when that takes too long.

    The thread asks nothing of the event loop, which may be blocked. Each room notes here every
    piece of the game's code that it runs, and the thread sees whether the note has changed. Of
    other code, such as a bot's or that of a task which a game has started in a nursery of its own,
    the thread sees whether one step of a task goes on and on.

    A call into a library may keep all threads of Python from running, this one too: a regular
    expression that takes for ever does. Where such a game is to end the process, a timer that needs
    no Python does that, unless this thread sets it anew. It saves nothing, writes where each thread
    is to stderr, and the exit status is 1.

    Args:
        threshold: Seconds that a game may keep everybody else waiting; None for any time.
        exit_after: Seconds after which such a game ends the process; None for never. With neither,
            there is no thread.
        counters: Where the thread counts the games that it names; None for nowhere.

    Attributes:
        room: The room whose code ran last.
        write_last: Saves what can be saved, in the thread that watches, before the process ends;
            returns what was saved and what was not.
    """

    __slots__ = (
        "_counters",
        "_exit_after",
        "_loop_frame",
        "_loop_thread",
        "_passes",
        "_server_task",
        "_stopped",
        "_threshold",
        "room",
        "write_last",
    )

    def __init__(
        self,
        threshold: float | None,
        exit_after: float | None = None,
        counters: Counters | None = None,
    ) -> None:
        self.room: Watched | None = None
        self.write_last: Callable[[], str] | None = None
        self._threshold = math.inf if threshold is None else threshold
        self._exit_after = math.inf if exit_after is None else exit_after
        self._counters = counters or Counters()
        self._loop_thread = 0
        # The frame that has all tasks take their steps, and the task that has all of the server's.
        self._loop_frame: FrameType | None = None
        self._server_task: trio.lowlevel.Task | None = None
        self._passes: _Passes | None = None
        self._stopped = threading.Event()

    def start(self) -> None:
        """Start watching the event loop, and the server whose task calls this."""
        soonest = min(self._threshold, self._exit_after)
        if soonest < math.inf:
            self._loop_thread = threading.get_ident()
            task = trio.lowlevel.current_task()
            coroutine: Any = task.coro
            self._loop_frame = coroutine.cr_frame.f_back
            self._server_task = task
            self._passes = passes = _Passes()
            trio.lowlevel.add_instrument(passes)
            self._stopped = threading.Event()
            # Here, since a game may keep Python to itself before the thread has looked once.
            self._set_alarm()
            threading.Thread(
                target=self._watch,
                args=(soonest / LOOKS_PER_THRESHOLD, passes, self._stopped),
                name="pgnet_trio watchdog",
                daemon=True,
            ).start()

    def stop(self) -> None:
        """Stop watching; never waits."""
        self._stopped.set()
        self.room = self._loop_frame = self._server_task = None
        if self._passes is not None:
            trio.lowlevel.remove_instrument(self._passes)
            self._passes = None

    def _watch(self, interval: float, passes: _Passes, stopped: threading.Event) -> None:
        blocker: _Blocker | None = None
        # Of the step at the look before. Only its id, or else what has ended would stay in memory.
        step_id, step_pass = 0, -1
        since = 0.0
        next_report = self._threshold
        next_alarm = 0.0
        while not stopped.wait(interval):
            if time.perf_counter() >= next_alarm:
                next_alarm = time.perf_counter() + self._exit_after / LOOKS_PER_THRESHOLD
                self._set_alarm()
            room = self.room
            busy = None if room is None else room.busy
            now: _Blocker | None = None
            if room is not None and busy is not None:
                same = blocker is not None and blocker.what is busy
                now = blocker if same else _Blocker(busy, room.name)
            else:
                count = passes.count
                step = self._find_step()
                if step is not None and step_pass == count and step_id == id(step):
                    same = blocker is not None and blocker.step is step
                    now = blocker if same else _Blocker(step, None, step)
                step_id, step_pass = id(step), count
                del step
            if now is None or now is not blocker:
                blocker, since, next_report = now, time.perf_counter(), self._threshold
                continue
            seconds = time.perf_counter() - since
            if min(next_report, self._exit_after) > seconds or stopped.is_set():
                continue
            who, frames = self._describe(blocker)
            if not frames:
                continue
            if seconds >= next_report:
                # The first time it may be a hitch; after that it is an error.
                first = next_report == self._threshold
                if first:
                    self._counters.stalls += 1
                _report(logging.WARNING if first else logging.ERROR, who, frames, seconds)
                next_report = seconds + min(seconds, MOST_SILENCE)
            if seconds >= self._exit_after and not stopped.is_set():
                self._end_process(who, seconds)
        if self._exit_after < math.inf:
            faulthandler.cancel_dump_traceback_later()

    def _set_alarm(self) -> None:
        """Have the process end unless this is called again in time, also if no Python runs."""
        if self._exit_after < math.inf:
            faulthandler.dump_traceback_later(self._exit_after, exit=True, file=_STDERR)

    def _find_step(self) -> FrameType | None:
        """Return the outermost frame of the step that a task takes now; None for none."""
        frame = sys._current_frames().get(self._loop_thread)
        loop = self._loop_frame
        while frame is not None and frame.f_back is not loop:
            frame = frame.f_back
        return frame

    def _describe(self, blocker: _Blocker) -> tuple[str, list[FrameType]]:
        """Return who holds up the event loop, and the frames of that, innermost first."""
        frames = _frames_up_to(sys._current_frames().get(self._loop_thread), blocker.step)
        if blocker.step is None:
            return f"Game {blocker.game!r}", _game_frames(frames)
        task = self._find_task(blocker.step)
        if task is None:
            # It is the program's that runs the server: no business of ours.
            return "", []
        game = task.context.get(game_of_task)
        if game is not None:
            return f"Game {game!r}", _without_own(frames) or frames
        # Neither this package nor a library holds up the loop by itself, but who has called it.
        is_authors = not all(map(_is_library, frames))
        return "Code beside the games", _without_own(frames) if is_authors else []

    def _find_task(self, step: FrameType) -> trio.lowlevel.Task | None:
        """Return the task of the server that takes a step now; None if it is none of the server's.

        The event loop may go on meanwhile; then this may find none.
        """
        waiting = [] if self._server_task is None else [self._server_task]
        while waiting:
            task = waiting.pop()
            coroutine: Any = task.coro
            if getattr(coroutine, "cr_frame", None) is step:
                return task
            for nursery in task.child_nurseries:
                waiting.extend(nursery.child_tasks)
        return None

    def _end_process(self, who: str, seconds: float) -> None:
        # A write may hang, and so may a log whose lock the game holds.
        timer = threading.Timer(LAST_WRITE_TIMEOUT, os._exit, [EXIT_STATUS])
        timer.daemon = True
        timer.start()
        faulthandler.cancel_dump_traceback_later()
        try:
            saved = "Nothing is saved" if self.write_last is None else self.write_last()
            logger.critical(
                "%s has held up the whole server for %.1f s: this process ends with status %d. %s",
                one_line(who),
                seconds,
                EXIT_STATUS,
                saved,
            )
            logging.shutdown()
        finally:
            os._exit(EXIT_STATUS)


def _report(level: int, who: str, frames: list[FrameType], seconds: float) -> None:
    where = next((each for each in frames if not _is_library(each)), frames[-1])
    logger.log(
        level,
        "%s has held up the whole server for more than %.2f s, at %s:%d, in %s. Await "
        "what takes long, or have trio.to_thread.run_sync() do it.\n%s",
        one_line(who),
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


def _frames_up_to(frame: FrameType | None, last: FrameType | None) -> list[FrameType]:
    """Return a frame and those that it was called from, innermost first, up to the last one."""
    frames = []
    while frame is not None:
        frames.append(frame)
        if frame is last:
            break
        frame = frame.f_back
    return frames


def _game_frames(frames: list[FrameType]) -> list[FrameType]:
    """Return the frames of what the server called last, innermost first, or else the server's."""
    own = [number for number, each in enumerate(frames) if _is_own(each)]
    return frames[: own[0]] or frames[:1] if own else frames


def _without_own(frames: list[FrameType]) -> list[FrameType]:
    """Return the frames without those, at the outer end, of this package."""
    outermost = len(frames)
    while outermost and frames[outermost - 1].f_code.co_filename.startswith(PACKAGE):
        outermost -= 1
    return frames[:outermost]


def _is_own(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_OWN)


def _is_library(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(LIBRARIES)
