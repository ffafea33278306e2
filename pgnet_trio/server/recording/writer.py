"""The task that writes recordings: it owns the folder, and no table ever waits for it."""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import trio

from pgnet_trio.errors import StorageError
from pgnet_trio.foreign_text import one_line
from pgnet_trio.recording import hash_seed
from pgnet_trio.server.recording.segments import Segment

if TYPE_CHECKING:
    from pgnet_trio.environment import Environment
    from pgnet_trio.recording import GameDescription, Recording

__all__ = ["ENDING", "RecordingWriter"]

logger = logging.getLogger("pgnet_trio.server")

ENDING = ".rec"
CRASH_ENDING = ".crash.rec"

WRITE_INTERVAL = 1.0
"""Seconds for which records may wait for others, to be written together."""

LAST_WRITE = 2.0
"""Seconds that the last write may take when the server ends."""

_BY_CHANCE = (
    "the order of sets of text, which is by chance in this process: set PYTHONHASHSEED, as "
    "`pgnet-trio serve --record` does"
)

QUIET_TIME = 60.0
"""Seconds in which the log tells of a recorded crash once for each table."""

MOST_TOLD = 256
"""Tables whose crashes the log has told of, which are remembered; the oldest is forgotten."""

LEAST_FILE = 4096
"""Bytes that a file counts as at least: there must not be too many of them either."""

LEAST_SHARE = 64 * 1024
"""Bytes of a segment, however many tables there are: each begins with some thousand of its own."""

IN_USE = 60.0
"""Seconds since its last change in which a file may be that of another process."""


@attrs.frozen
class _Job:
    """What is to be done with one file.

    Attributes:
        segment: Whose file it is.
        data: What is to be written at its end.
        begins: Whether that is the beginning.
        has_ended: Whether that is the end.
    """

    segment: Segment
    data: bytes
    begins: bool
    has_ended: bool


class RecordingWriter:
    """Writes the segments of all tables of a server.

    Args:
        recording: Where, and how much.
        environment: Runs what blocks.
        game: What is said of the games.

    Attributes:
        recording: The same.
        game: The same; with what of the process cannot be repeated either.
    """

    def __init__(
        self, recording: Recording, environment: Environment, game: GameDescription
    ) -> None:
        self.recording = recording
        of_process = () if hash_seed() is not None else (_BY_CHANCE,)
        self.game = attrs.evolve(game, unrepeatable=(*game.unrepeatable, *of_process))
        self._environment = environment
        self._folder = recording.folder
        # In the order in which they were filled.
        self._waiting: dict[Segment, None] = {}
        self._open: set[str] = set()
        self._has_some = trio.Event()
        self._is_urgent = trio.Event()
        self._is_ending = False
        self._told: dict[str, float] = {}
        self._failed = False
        # Bytes that were written since the folder was last looked at; the first time it is.
        self._unchecked = recording.total_bytes

    async def prepare(self) -> None:
        """Make the folder.

        Raises:
            StorageError: It cannot be made or written to.
        """
        await self._environment.run_blocking(_make_folder, self._folder, abandon_on_cancel=False)
        logger.info("Tables are recorded in %s", one_line(self._folder))
        if not self.game.unrepeatable:
            return
        # What a setting mends is no fault of the game's.
        level = logging.INFO if self.game.unrepeatable == (_BY_CHANCE,) else logging.WARNING
        logger.log(
            level,
            "%s uses what a replay of a recording cannot repeat: %s",
            one_line(self.game.class_name or "The game"),
            one_line("; ".join(self.game.unrepeatable)),
        )

    @property
    def share(self) -> int:
        """Bytes of one segment for which there is room, when all tables have two of as much."""
        return max(LEAST_SHARE, self.recording.total_bytes // (2 * max(1, len(self._open))))

    def add(self, segment: Segment) -> None:
        """Begin a file, which *segment* fills. Never waits."""
        self._open.add(segment.name)
        self.wake(segment, is_urgent=False)

    def path_of(self, segment: Segment) -> Path:
        """Return where a segment lies."""
        return self._folder / (segment.name + (CRASH_ENDING if segment.crashed else ENDING))

    async def run(self) -> None:
        """Write what comes, until cancelled; then write the last of it."""
        # A write that is under way then has to end before the last one begins: both may be of the
        # same file.
        scope = trio.CancelScope(shield=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write_all, scope)
            try:
                await trio.sleep_forever()
            finally:
                scope.deadline = trio.current_time() + LAST_WRITE
                self._is_ending = True
                self._has_some.set()
                self._is_urgent.set()

    async def _write_all(self, scope: trio.CancelScope) -> None:
        with scope:
            while not self._is_ending:
                await self._has_some.wait()
                with trio.move_on_after(WRITE_INTERVAL):
                    await self._is_urgent.wait()
                self._is_urgent = trio.Event()
                await self._write()
            await self._write()

    def wake(self, segment: Segment, *, is_urgent: bool) -> None:
        """Come soon for what a segment has, and at once where that is urgent."""
        self._waiting[segment] = None
        self._has_some.set()
        if is_urgent:
            self._is_urgent.set()

    async def _write(self) -> None:
        """Write what waits."""
        waiting, self._waiting = self._waiting, {}
        self._has_some = trio.Event()
        jobs = [_Job(each, each.collect(), each.begins, each.has_ended) for each in waiting]
        if not jobs:
            await trio.lowlevel.checkpoint()
            return
        failures = await self._environment.run_blocking(
            self._carry_out, jobs, abandon_on_cancel=True
        )
        for job in jobs:
            error = failures.get(job.segment)
            if error is None:
                self._note_written(job)
            else:
                self._note_failure(job, error)
            if job.has_ended:
                self._open.discard(job.segment.name)
        self._tell_of_gap(next((job.segment.gap for job in jobs if job.segment.gap), ""))

    def _note_written(self, job: _Job) -> None:
        segment = job.segment
        segment.note_written()
        if job.has_ended and segment.crashed:
            self._tell_of_crash(segment)

    def _tell_of_crash(self, segment: Segment) -> None:
        # Players choose how often a game raises, and a log must not grow by that.
        table, now = segment.table, trio.current_time()
        if now < self._told.get(table, -math.inf) + QUIET_TIME:
            return
        self._told.pop(table, None)
        if len(self._told) >= MOST_TOLD:
            del self._told[next(iter(self._told))]
        self._told[table] = now
        logger.error(
            "The game '%s' was recorded until it raised; this plays it again: "
            "pgnet-trio replay %s %s",
            one_line(table),
            one_line(self.path_of(segment)),
            one_line(segment.game),
            extra={"table": table},
        )

    def _note_failure(self, job: _Job, error: OSError) -> None:
        segment = job.segment
        segment.lose(f"it could not be written: {error.strerror or error}")
        if isinstance(error, FileNotFoundError) and not job.begins:
            segment.note_removed()

    def _tell_of_gap(self, gap: str) -> None:
        # Once: a full disk is full for all tables.
        if self._failed and not gap:
            self._failed = False
            logger.info("Recordings are written again")
        elif gap and not self._failed:
            self._failed = True
            logger.error(
                "Recordings in %s have gaps from now on, and the games go on: %s",
                one_line(self._folder),
                one_line(gap),
            )

    # In a thread.

    def _carry_out(self, jobs: Sequence[_Job]) -> dict[Segment, OSError]:
        """Do all jobs; return what failed."""
        failures = {}
        for job in jobs:
            try:
                self._write_file(job)
            except OSError as error:
                failures[job.segment] = error
        self._unchecked += sum(max(len(job.data), LEAST_FILE) for job in jobs)
        if self._unchecked > self.recording.total_bytes // 64:
            self._unchecked = 0
            with contextlib.suppress(OSError):
                self._remove_oldest()
        return failures

    def _write_file(self, job: _Job) -> None:
        segment = job.segment
        path = self._folder / (segment.name + ENDING)
        if segment.is_discarded:
            path.unlink(missing_ok=True)
            return
        if job.data:
            _append(path, job.data, job.begins)
        if job.has_ended and segment.crashed:
            for kept in (path, self._path_before(segment, 1)):
                with contextlib.suppress(FileNotFoundError):
                    kept.rename(kept.with_name(kept.name[: -len(ENDING)] + CRASH_ENDING))
        self._path_before(segment, 2).unlink(missing_ok=True)

    def _path_before(self, segment: Segment, count: int) -> Path:
        """Return where the file lies that was begun so many before a segment, if there was one."""
        life, _, number = segment.name.rpartition(".")
        return self._folder / f"{life}.{int(number) - count}{ENDING}"

    def _remove_oldest(self) -> None:
        """Remove the oldest files, until all together are no more than they may be."""
        files = []
        total = 0
        now = time.time()
        for entry in os.scandir(self._folder):
            if entry.name.endswith(ENDING) and entry.is_file(follow_symlinks=False):
                found = entry.stat(follow_symlinks=False)
                total += max(found.st_size, LEAST_FILE)
                is_crash = entry.name.endswith(CRASH_ENDING)
                name = entry.name[: -len(CRASH_ENDING if is_crash else ENDING)]
                # Another process of this server may write to it.
                in_use = name in self._open or (not is_crash and now - found.st_mtime < IN_USE)
                files.append((in_use, is_crash, found.st_mtime, found.st_size, entry.path))
        for in_use, _, _, size, path in sorted(files):
            if total <= self.recording.total_bytes or in_use:
                return
            os.unlink(path)
            total -= max(size, LEAST_FILE)


def _append(path: Path, data: bytes, creates: bool) -> None:
    """Write at the end of a file; where that fails, half of it is not left there."""
    # Without its beginning, nobody could read what somebody has removed.
    flags = os.O_CREAT if creates else 0
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | flags, 0o600)
    with open(descriptor, "ab", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
        except OSError:
            file.truncate(size)
            raise


def _make_folder(folder: Path) -> None:
    try:
        if not folder.is_dir():
            if folder.exists():
                raise NotADirectoryError(errno.ENOTDIR, "it is a file")
            folder.mkdir(mode=0o700, parents=True)
        elif os.name == "posix" and stat.S_IMODE(folder.stat().st_mode) & 0o077:
            logger.warning(
                "Others may look into %s, where tables are recorded; chmod 700 keeps them out",
                one_line(folder),
            )
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "this user may not write there")
    except OSError as error:
        raise StorageError(
            f"the folder for recordings, {folder}, cannot be used: {error.strerror or error}; "
            "choose another, or mend that"
        ) from error
