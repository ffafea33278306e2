"""How a recording lies in a file.

The file begins with a word and a version, and goes on with frames: the length of its body and its
CRC-32, each four bytes, and then the body. The first body is the head, as a map in MessagePack.
Each other one is a count of records, four bytes, and these records. What ends in the middle of a
frame was cut there, by a process that was killed, say; all before it is whole.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import attrs
import msgspec

from pgnet_trio.errors import PGNetError
from pgnet_trio.recording.heads import VERSION, Head
from pgnet_trio.recording.records import Record, decode_records

__all__ = [
    "RecordingError",
    "StoredRecording",
    "frame_of",
    "preamble",
    "read_recording",
    "records_frame",
]

MAGIC = b"pgnet-trio recording "

LONGEST_FRAME = 64 * 1024 * 1024
"""Bytes; a length beyond that is no length."""

LONGEST_FILE = 4 * 1024 * 1024 * 1024
"""Bytes; nobody has asked for a recording beyond that."""

_NUMBER = 4


class RecordingError(PGNetError):
    """A file is no recording that can be used; the message says why, and what to do."""


@attrs.frozen
class StoredRecording:
    """What a file holds.

    Attributes:
        path: The file.
        head: How it begins.
        records: The records that are whole.
        problem: Why there are no more of them; empty where the file is whole.
    """

    path: Path
    head: Head
    records: Sequence[Record]
    problem: str = ""


def preamble() -> bytes:
    """Return how each file begins."""
    return MAGIC + VERSION.to_bytes(2, "big")


def frame_of(body: bytes) -> bytes:
    """Return a body as it stands in a file."""
    return len(body).to_bytes(_NUMBER, "big") + zlib.crc32(body).to_bytes(_NUMBER, "big") + body


def records_frame(records: Sequence[bytes]) -> bytes:
    """Return encoded records as one frame."""
    return frame_of(len(records).to_bytes(_NUMBER, "big") + b"".join(records))


def read_recording(path: Path) -> StoredRecording:
    """Return what a file holds.

    A file that was cut is read up to there.

    Raises:
        RecordingError: It cannot be read, is no recording, or is one of a newer version.
    """
    try:
        if path.stat().st_size > LONGEST_FILE:
            raise RecordingError(f"{path} is too large for a recording")
        data = path.read_bytes()
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror or error}") from error
    start = len(preamble())
    if not data.startswith(MAGIC) or len(data) < start:
        raise RecordingError(
            f"{path} is no recording of a table; `pgnet-trio serve --record FOLDER` writes those"
        )
    version = int.from_bytes(data[len(MAGIC) : start], "big")
    if version != VERSION:
        raise RecordingError(
            f"{path} is a recording of version {version}, and this pgnet_trio reads version "
            f"{VERSION}: use the version of pgnet_trio that has written it"
        )
    head_body, at, problem = _frame(data, start)
    if head_body is None:
        raise RecordingError(f"{path} is cut before anything of the table is in it: {problem}")
    try:
        head = msgspec.msgpack.decode(head_body, type=Head)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RecordingError(f"{path} begins with what is no table: {error}") from error
    records: list[Record] = []
    while at < len(data):
        body, at, problem = _frame(data, at)
        if body is None:
            break
        try:
            records += decode_records(body[_NUMBER:], int.from_bytes(body[:_NUMBER], "big"))
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            problem = f"what stands before byte {at:,} is no record: {error}"
            break
    return StoredRecording(path, head, records, problem)


def _frame(data: bytes, at: int) -> tuple[bytes | None, int, str]:
    """Return the body of the frame at a place, where the next one is, and why there is none."""
    start = at + 2 * _NUMBER
    if start > len(data):
        return None, at, f"it ends in the middle of a frame, at byte {len(data):,}"
    length = int.from_bytes(data[at : at + _NUMBER], "big")
    if length > LONGEST_FRAME:
        return None, at, f"there is no frame at byte {at:,}"
    body = data[start : start + length]
    if len(body) < length:
        return None, at, f"it ends in the middle of a frame, at byte {len(data):,}"
    if zlib.crc32(body) != int.from_bytes(data[at + _NUMBER : start], "big"):
        return None, at, f"the frame at byte {at:,} was changed: its checksum is another one"
    return body, start + length, ""
