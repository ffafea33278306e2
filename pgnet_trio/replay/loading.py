"""Finds all that is kept of one life of a table: its last files, one after the other."""

from __future__ import annotations

import re
from pathlib import Path

import attrs

from pgnet_trio.recording import RecordingError, StoredRecording, read_recording

__all__ = ["load_life"]

_NAME = re.compile(r"(?P<life>.+)\.(?P<number>[0-9]+)(?P<crash>\.crash)?\.rec")


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
        is_same = earlier.head.life == later.head.life
        # Without its beginning, the later one may still be played, from its own.
        is_of_use = earlier.head.beginning != "cut" or later.head.beginning == "cut"
        return earlier if is_same and is_of_use and not earlier.problem else None
    return None
