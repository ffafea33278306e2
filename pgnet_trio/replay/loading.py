"""Finds all that is kept of one life of a table, and checks whether it can be played."""

from __future__ import annotations

import re
from pathlib import Path

import attrs

from pgnet_trio.recording import RecordingError, StoredRecording, read_recording
from pgnet_trio.recording.records import Gap

__all__ = ["check_recording", "load_life"]

_NAME = re.compile(r"(?P<life>.+)\.(?P<number>[0-9]+)(?P<crash>\.crash)?\.rec")

LONGEST_LIFE = 1e9
"""Seconds, thirty years; from some moment on, a clock does not go on by a second any more."""

LATEST = 253402300799.0
"""Seconds from 1970 to the end of the year 9999, the last one of a date."""


def load_life(path: Path) -> StoredRecording:
    """Return what a file holds, with the file before it where that is there.

    Raises:
        RecordingError: The file cannot be used; the message says why.
    """
    found = read_recording(path)
    while (earlier := _earlier(found)) is not None:
        records = [*earlier.records, *found.records[found.head.waiting :]]
        found = attrs.evolve(found, path=earlier.path, head=earlier.head, records=records)
    return attrs.evolve(found, path=path)


def _earlier(later: StoredRecording) -> StoredRecording | None:
    """Return the file before one, if it is there, whole, and can be played from."""
    match = _NAME.fullmatch(later.path.name)
    if match is None or later.head.segment < 2:
        return None
    for crash in (match["crash"] or "", ".crash", ""):
        path = later.path.with_name(f"{match['life']}.{later.head.segment - 1}{crash}.rec")
        if not path.is_file():
            continue
        try:
            earlier = read_recording(path)
        except RecordingError:
            return None
        # Or it would be another one before each, without end.
        is_next = earlier.head.segment == later.head.segment - 1
        is_same = is_next and earlier.head.life == later.head.life
        # Without its beginning, the later one may still be played, from its own.
        is_of_use = earlier.head.beginning != "cut" or later.head.beginning == "cut"
        return earlier if is_same and is_of_use and not earlier.problem else None
    return None


def check_recording(recording: StoredRecording) -> None:
    """Check what a recording says of its moments, and of the turns that waited when it began.

    Raises:
        RecordingError: It cannot be played; the message says why.
    """
    path, head, records = recording.path, recording.head, recording.records
    if not 0 <= head.waiting <= len(records):
        raise RecordingError(
            f"{path} begins with {head.waiting:,} turns that waited, and not all of these are in it"
        )
    times = (getattr(each, "time", None) for each in records if not isinstance(each, Gap))
    for time in (head.time, *times):
        if time is not None and not 0 <= time <= LONGEST_LIFE:
            raise RecordingError(f"{path} makes no sense: something has come at {time:g} s in it")
    for each in records:
        sent = getattr(each, "created_on", None)
        if isinstance(sent, float) and not 0 <= sent <= LATEST:
            raise RecordingError(f"{path} makes no sense: a message was sent {sent:g} s after 1970")
