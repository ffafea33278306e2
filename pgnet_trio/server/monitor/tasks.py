"""The live tree of tasks as data: nurseries, what each task waits for, since when, its stack.

Everything but `TaskTimes` may be asked from another thread too, also while the event loop is stuck.
It reads what Trio shows of its tasks, and changes nothing. Where the event loop goes on meanwhile,
a task may be missing from the picture.
"""

from __future__ import annotations

import collections
import contextlib
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import attrs
import trio

from pgnet_trio.author_lines import LIBRARIES, PACKAGE
from pgnet_trio.foreign_text import one_line
from pgnet_trio.server.log_fields import user_of_task
from pgnet_trio.server.watchdog import game_of_task

__all__ = ["NurseryNode", "StackLine", "TaskNode", "TaskTimes", "TaskTree"]

MOST_OF_A_NAME = 30
"""Tasks of one name that are shown of a nursery; the others are counted."""

MOST_DUMPED = 2_000
"""Lines of a dump: enough for any tree in which most tasks are alike."""

DEEPEST = 50
"""Nurseries within each other that are looked at."""

_TRIO = str(Path(trio.__file__).parent) + os.sep

_WAITS = {
    "CapacityLimiter.acquire_on_behalf_of": "its turn (a capacity limiter)",
    "Condition.wait": "a condition",
    "Event.wait": "an event",
    "Lock.acquire": "its turn (a lock)",
    "MemoryReceiveChannel.receive": "something from a channel",
    "MemorySendChannel.send": "room in a channel",
    "Nursery._nested_child_finished": "its child tasks",
    "NurseryManager.__aexit__": "its child tasks",
    "Semaphore.acquire": "its turn (a semaphore)",
    "checkpoint": "its turn to run",
    "cancel_shielded_checkpoint": "its turn to run",
    "sleep": "the clock",
    "sleep_forever": "its cancellation",
    "sleep_until": "the clock",
    "to_thread_run_sync": "a thread",
    "wait_readable": "a socket that can be read",
    "wait_writable": "a socket that can be written",
}
"""What a task waits for that is in one of Trio's functions."""


@attrs.frozen
class StackLine:
    """A line of a stack.

    Attributes:
        file: The file.
        line: The number of the line.
        function: The function, with its class.
        is_authors: Whether it is neither a library's nor this package's.
    """

    file: str
    line: int
    function: str
    is_authors: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line}, in {self.function}"


@attrs.frozen(kw_only=True)
class NurseryNode:
    """A nursery.

    Attributes:
        name: What the code that has opened it calls it; empty where it has no name.
        tasks: The tasks in it, by their names.
        left_out: How many more there are, by name.
    """

    name: str
    tasks: tuple[TaskNode, ...]
    left_out: dict[str, int]


@attrs.frozen(kw_only=True)
class TaskNode:
    """A task.

    Attributes:
        id: Tells it from all others that there are now.
        name: Its name: the function that it runs, as a rule.
        game: The name of the game that it belongs to; empty for none.
        user: The user whose connection or session it belongs to; empty for none.
        waits_for: What it waits for, in words; "nothing: it runs" for the one that runs.
        where: Where it waits: the innermost line outside of libraries, an author's if there is one.
        since: Since when, in seconds of ``trio.current_time()``; None where nobody has watched.
        nurseries: The nurseries that it has open, the outermost first.
    """

    id: str
    name: str
    game: str
    user: str
    waits_for: str
    where: str
    since: float | None
    nurseries: tuple[NurseryNode, ...]


class TaskTimes(trio.abc.Instrument):
    """Notes when each task has run last, while somebody wants to know: it takes time at each step.

    Use it as ``with times.watching(): ...``, in as many tasks as there are who want to know.
    """

    def __init__(self) -> None:
        self._since: dict[trio.lowlevel.Task, float] = {}
        self._watchers = 0

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch during the block."""
        self._watchers += 1
        if self._watchers == 1:
            trio.lowlevel.add_instrument(self)
        try:
            yield
        finally:
            self._watchers -= 1
            if not self._watchers:
                trio.lowlevel.remove_instrument(self)
                self._since.clear()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Note it."""
        self._since[task] = trio.current_time()

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        """Forget it."""
        self._since.pop(task, None)

    def since(self, task: trio.lowlevel.Task) -> float | None:
        """Return when a task has run last; None where it has not run while this was watched."""
        return self._since.get(task)


class TaskTree:
    """A tree of tasks.

    Args:
        root: The task that all others are below.
        times: Knows since when they wait; None for nobody.
        loop_thread: The id of the thread that the event loop runs in.
    """

    def __init__(
        self, root: trio.lowlevel.Task, loop_thread: int, times: TaskTimes | None = None
    ) -> None:
        self._root = root
        self._loop_thread = loop_thread
        self._times = times

    def snapshot(self, most: int = MOST_OF_A_NAME) -> TaskNode:
        """Return the tree as it is now.

        Args:
            most: How many tasks of one name are shown of each nursery.
        """
        return self._node(self._root, most, DEEPEST)

    def stack(self, id: str) -> list[StackLine] | None:
        """Return the stack of a task, the outermost line first; None where it has ended."""
        for task in self._tasks():
            if _id_of(task) == id:
                return self._stack(task)
        return None

    def dump(self) -> str:
        """Return all of it as text: tasks that are alike are told once, with their number."""
        lines: list[str] = []
        frame = sys._current_frames().get(self._loop_thread)
        lines.append("What the thread of the event loop does:")
        lines += (f"    {line}" for line in _call_stack(frame))
        lines.append("The tasks:")
        self._dump(self._root, 1, lines, "", DEEPEST)
        if len(lines) > MOST_DUMPED:
            left_out = len(lines) - MOST_DUMPED
            lines[MOST_DUMPED:] = [f"and {left_out:,} more lines"]
        return "\n".join(one_line(line, 1000) for line in lines)

    def _frames(self, task: trio.lowlevel.Task) -> list[tuple[FrameType, int]]:
        """Return the frames of a task, the outermost first, and the line of each."""
        coroutine: Any = task.coro
        if not getattr(coroutine, "cr_running", False):
            return _frames_of_waiting(task)
        # What runs awaits nothing that shows; but the thread shows it.
        outermost, frames = getattr(coroutine, "cr_frame", None), []
        running = sys._current_frames().get(self._loop_thread)
        for frame, line in traceback.walk_stack(running):
            frames.append((frame, line))
            if frame is outermost:
                return frames[::-1]
        return []

    def _tasks(self) -> Iterator[trio.lowlevel.Task]:
        waiting = [self._root]
        while waiting:
            task = waiting.pop()
            yield task
            for _, children in _children(task, ()):
                waiting.extend(children)

    def _node(self, task: trio.lowlevel.Task, most: int, depth: int) -> TaskNode:
        frames = self._frames(task)
        nurseries = []
        for name, children in _children(task, frames) if depth else ():
            counts: collections.Counter[str] = collections.Counter()
            tasks, left_out = [], {}
            for child in sorted(children, key=_order):
                counts[child.name] += 1
                if counts[child.name] <= most:
                    tasks.append(self._node(child, most, depth - 1))
                else:
                    left_out[child.name] = counts[child.name] - most
            nurseries.append(NurseryNode(name=name, tasks=tuple(tasks), left_out=left_out))
        return TaskNode(
            id=_id_of(task),
            name=task.name,
            game=_game_of(task),
            user=_user_of(task),
            waits_for=_waits_for(task, frames),
            where=_where(frames),
            since=None if self._times is None else self._times.since(task),
            nurseries=tuple(nurseries),
        )

    def _stack(self, task: trio.lowlevel.Task) -> list[StackLine]:
        return [_stack_line(frame, line) for frame, line in _without_tail(self._frames(task))]

    def _dump(
        self, task: trio.lowlevel.Task, level: int, lines: list[str], note: str, depth: int
    ) -> None:
        if len(lines) > MOST_DUMPED * 2:
            return
        frames = self._frames(task)
        game = _game_of(task)
        of_game = f" of the game {game!r}" if game else ""
        margin = "  " * level
        lines.append(f"{margin}{task.name}{of_game}{note} waits for {_waits_for(task, frames)}")
        lines += (f"{margin}    {line}" for line in self._stack(task))
        for name, children in _children(task, frames) if depth else ():
            lines.append(f"{margin}  nursery {name}:" if name else f"{margin}  a nursery:")
            alike: dict[object, list[trio.lowlevel.Task]] = {}
            for child in sorted(children, key=_order):
                leaf = not child.child_nurseries
                place = tuple((frame.f_code, line) for frame, line in self._frames(child))
                key = (child.name, place) if leaf else id(child)
                alike.setdefault(key, []).append(child)
            for group in alike.values():
                more = f" (and {len(group) - 1:,} more like it)" if len(group) > 1 else ""
                self._dump(group[0], level + 2, lines, more, depth - 1)


def _children(
    task: trio.lowlevel.Task, frames: Iterable[tuple[FrameType, int]]
) -> Iterator[tuple[str, Iterable[trio.lowlevel.Task]]]:
    """Yield the name and the tasks of each nursery of a task, in other threads too.

    Args:
        task: The task.
        frames: Where it is: the nurseries are called by what is a variable's name there.
    """
    names = {
        id(value): name
        for frame, _ in frames
        if not frame.f_code.co_filename.startswith(_TRIO)
        for name, value in list(frame.f_locals.items())
        # Not by isinstance: that would run the code of an object that stands for another one.
        if type(value) is trio.Nursery
    }
    for nursery in task.child_nurseries:
        for _ in range(10):
            try:
                children = nursery.child_tasks
            except RuntimeError:
                # It has changed while it was copied.
                continue
            yield names.get(id(nursery), ""), children
            break


def _frames_of_waiting(task: trio.lowlevel.Task) -> list[tuple[FrameType, int]]:
    """Return the frames of a task that waits, the outermost first, and the line of each."""
    frames: list[tuple[FrameType, int]] = []
    # In another thread, the event loop may go on meanwhile.
    with contextlib.suppress(AttributeError, RuntimeError, ValueError):
        frames += task.iter_await_frames()
        # A game's coroutine is stepped by a generator of ours, which awaits it out of sight.
        while frames and (inner := _stepped(frames[-1][0])) is not None:
            before = len(frames)
            frames += _coroutine_frames(inner)
            if len(frames) == before:
                break
    return frames


def _without_tail(frames: list[tuple[FrameType, int]]) -> list[tuple[FrameType, int]]:
    """Return frames without those of Trio's at their end, but for the first of these."""
    end = len(frames)
    while end > 1 and frames[end - 2][0].f_code.co_filename.startswith(_TRIO):
        end -= 1
    return frames[:end]


def _stepped(frame: FrameType) -> Any:
    code = frame.f_code
    if code.co_name != "stepped" or not code.co_filename.startswith(PACKAGE):
        return None
    return frame.f_locals.get("coroutine")


def _coroutine_frames(coroutine: Any) -> Iterator[tuple[FrameType, int]]:
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            yield frame, frame.f_lineno
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)


def _call_stack(frame: FrameType | None) -> list[str]:
    """Return the lines of what runs in a thread, the outermost first."""
    stack = [] if frame is None else list(traceback.walk_stack(frame))
    return [str(_stack_line(each, line)) for each, line in reversed(stack)]


def _stack_line(frame: FrameType, line: int) -> StackLine:
    code = frame.f_code
    is_authors = not code.co_filename.startswith(LIBRARIES)
    return StackLine(code.co_filename, line, code.co_qualname, is_authors)


def _waits_for(task: trio.lowlevel.Task, frames: list[tuple[FrameType, int]]) -> str:
    """Return what a task waits for: the function of Trio's that was called, in words."""
    coroutine: Any = task.coro
    if not frames or getattr(coroutine, "cr_running", False):
        return "nothing: it runs"
    called = None
    for frame, _ in reversed(frames):
        if not frame.f_code.co_filename.startswith(_TRIO):
            if called is None or called.co_name == "wait_task_rescheduled":
                # It waits by means of its own.
                return f"{frame.f_code.co_qualname}()"
            break
        called = frame.f_code
    name = "" if called is None else called.co_qualname
    return _WAITS.get(name) or f"trio's {name}()"


def _where(frames: list[tuple[FrameType, int]]) -> str:
    """Return the innermost line of the author's, or else of this package's."""
    ours = ""
    for frame, line in reversed(frames):
        file = frame.f_code.co_filename
        if not file.startswith(LIBRARIES):
            return str(_stack_line(frame, line))
        if not ours and file.startswith(PACKAGE):
            ours = str(_stack_line(frame, line))
    return ours


def _game_of(task: trio.lowlevel.Task) -> str:
    return task.context.get(game_of_task) or ""


def _user_of(task: trio.lowlevel.Task) -> str:
    return task.context.get(user_of_task) or ""


def _id_of(task: trio.lowlevel.Task) -> str:
    return f"{id(task):x}"


def _order(task: trio.lowlevel.Task) -> tuple[str, str, str]:
    return task.name, _game_of(task), _user_of(task)
