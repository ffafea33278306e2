"""One file of a recording, as the table that fills it and the writer that writes it share it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from pgnet_trio.recording import encode_head, frame_of, preamble
from pgnet_trio.recording.files import records_frame
from pgnet_trio.recording.records import Gap, encode_record

if TYPE_CHECKING:
    from pgnet_trio.recording import Head

__all__ = ["MOST_PENDING", "Segment"]

MOST_PENDING = 1024 * 1024
"""Bytes of one table that may wait for the disk; what comes then is lost."""

MANY_PENDING = 256 * 1024
"""Bytes of one table from which on the writer does not wait for more."""

STEP = 16 * 1024
"""Bytes from one look at these numbers to the next."""


class Writer(Protocol):
    """Writes segments."""

    @property
    def share(self) -> int:
        """Bytes of one segment for which there is room, when all have as much."""

    def wake(self, segment: Segment, *, is_urgent: bool) -> None:
        """Come soon for what a segment has, and at once where that is urgent."""


class Segment:
    """Holds what is not written yet. It never waits, and never holds more than it may.

    Args:
        name: The file's name, without its ending.
        head: How it begins.
        most: Bytes after which the table should begin another one.
        writer: Writes it.
        ask_for_save: Called by the writer's task where the segment has all that it should have.

    Attributes:
        name: The file's name, without its ending.
        table: The name of the game.
        game: How the command line names its class.
        pending: The encoded records that are not written.
        size: Bytes of all its records, written or not.
        mark: From which size on `look` has to be called before the next record.
        is_full: Whether the table should begin another one.
        has_ended: Whether nothing more will come.
        crashed: Whether it ends with what the game raised.
        is_discarded: Whether it is not worth keeping.
        gap: Why something is missing; empty where nothing is.
    """

    def __init__(
        self,
        name: str,
        head: Head,
        most: int,
        writer: Writer,
        ask_for_save: Callable[[], None],
    ) -> None:
        self.name = name
        self.table, self.game = head.table, head.game
        self.pending: list[bytes] = []
        self.size = 0
        self.mark: float = -1
        self.is_full = False
        self.has_ended = self.crashed = self.is_discarded = False
        self.gap = ""
        self._start = preamble() + frame_of(encode_head(head))
        self._most = most
        self._writer = writer
        self._ask_for_save = ask_for_save
        self._collected = 0
        self._gap_is_written = self._writes_gap = False

    def look(self) -> None:
        """Look whether there is too much of it by now, and have the writer come."""
        waiting = self.size - self._collected
        if self.gap:
            self.pending.clear()
        elif waiting > MOST_PENDING:
            self.lose("the disk was too slow")
        most = min(self._most, self._writer.share)
        self.is_full = self._gap_is_written or self.size >= most
        self._writer.wake(self, is_urgent=self.is_full or waiting > MANY_PENDING)
        self.mark = self.size + STEP
        if not self.is_full:
            # It should not grow far beyond that.
            self.mark = min(self.mark, most - 1)

    @property
    def begins(self) -> bool:
        """Whether nothing of it is on the disk yet."""
        return bool(self._start)

    def note_removed(self) -> None:
        """Note that somebody has removed the file: the table should go on in another one."""
        self._gap_is_written = self.is_full = True
        if not self.has_ended:
            self._ask_for_save()

    def lose(self, why: str) -> None:
        """Lose what is not written, and all that comes."""
        self.gap = self.gap or why
        self.pending.clear()
        self.is_full = True

    def end(self, *, crashed: bool = False, discard: bool = False) -> None:
        """Note that nothing more will come."""
        self.has_ended, self.crashed, self.is_discarded = True, crashed, discard
        self._writer.wake(self, is_urgent=crashed)

    def collect(self) -> bytes:
        """Return what is to be written now, which is not pending any more."""
        pending, self.pending = self.pending, []
        self._collected = self.size
        # The next record has the writer come again.
        self.mark = -1
        self._writes_gap = bool(self.gap) and not self._gap_is_written
        if self._writes_gap:
            pending = [encode_record(Gap(math.inf, self.gap))]
        return self._start + records_frame(pending) if pending else self._start

    def note_written(self) -> None:
        """Note that what was collected is on the disk."""
        self._start = b""
        # The gap may have come while something before it was written.
        self._gap_is_written = self._gap_is_written or self._writes_gap
        # After a gap, the table begins another one too; not before, or a full disk had many.
        self.is_full = self.is_full or self._gap_is_written
        if self.is_full and not self.has_ended:
            self._ask_for_save()
