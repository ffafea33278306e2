"""A recording lies in a file as it was written, and a file that is none says so."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgnet_trio.recording import (
    VERSION,
    Head,
    RecordingError,
    encode_head,
    encode_record,
    frame_of,
    preamble,
    read_recording,
)
from pgnet_trio.recording.files import MAGIC, records_frame
from pgnet_trio.recording.records import (
    Answered,
    AnsweredLong,
    ClockRead,
    Crashed,
    Joined,
    PacketCame,
    Pushed,
    Record,
    SessionRecord,
    StepBegan,
    TurnBegan,
)

HEAD = Head(
    package="0.1.0",
    python="3.11.7",
    game="my_game.py:MyGame",
    class_name="MyGame",
    table="table 1",
    began_at="2026-01-01T12:00:00+00:00",
    life="0a1b2c3d",
    beginning="new",
)

TIMES = st.floats(0, 1e6)
RECORDS: st.SearchStrategy[Record] = st.one_of(
    st.builds(
        PacketCame, TIMES, st.just("ann"), st.text(), st.dictionaries(st.text(), st.integers(-5, 5))
    ),
    st.builds(Joined, TIMES, st.lists(st.builds(SessionRecord, st.integers(1, 9), st.just("ann")))),
    st.builds(TurnBegan, st.none() | TIMES),
    st.builds(StepBegan, TIMES, st.integers(1, 9), st.booleans()),
    st.builds(ClockRead, TIMES),
    st.builds(
        Answered,
        st.integers(0, 99),
        st.text(),
        st.dictionaries(st.text(), st.integers(-5, 5)).map(encode_record).map(msgspec.Raw),
    ),
    st.builds(AnsweredLong, st.integers(0, 2**32 - 1)),
    st.builds(Pushed, st.integers(0, 2**32 - 1), st.binary()),
)


def file_of(head: Head, *frames: list[Record]) -> bytes:
    body = b"".join(records_frame([*map(encode_record, records)]) for records in frames)
    return preamble() + frame_of(encode_head(head)) + body


@given(st.lists(st.lists(RECORDS), max_size=5))
def test_a_recording_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, frames: list[list[Record]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "whole.rec"
    path.write_bytes(file_of(HEAD, *frames))
    found = read_recording(path)
    assert found.head == HEAD
    assert list(found.records) == [record for records in frames for record in records]
    assert found.problem == ""


@given(st.lists(st.lists(RECORDS, min_size=1), min_size=1, max_size=4), st.data())
def test_a_recording_that_was_cut_anywhere_has_what_is_whole(
    tmp_path_factory: pytest.TempPathFactory, frames: list[list[Record]], data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.rec"
    whole = file_of(HEAD, *frames)
    end = data.draw(st.integers(0, len(whole) - 1))
    path.write_bytes(whole[:end])
    if end < len(file_of(HEAD)):
        with pytest.raises(RecordingError, match=r"no recording|is cut before anything"):
            read_recording(path)
        return
    found = read_recording(path)
    ends = [len(file_of(HEAD, *frames[:count])) for count in range(len(frames) + 1)]
    count = max(at for at, each in enumerate(ends) if each <= end)
    assert list(found.records) == [record for records in frames[:count] for record in records]
    assert ("ends in the middle of a frame" in found.problem) == (end not in ends)


@given(st.data())
def test_a_bit_that_has_changed_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.rec"
    frames: list[list[Record]] = [[TurnBegan(1.0)], [ClockRead(2.0)]]
    whole = bytearray(file_of(HEAD, *frames))
    at = data.draw(st.integers(len(file_of(HEAD)), len(whole) - 1))
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(whole)
    found = read_recording(path)
    assert found.problem
    assert list(found.records) in ([], [TurnBegan(1.0)])


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "no recording of a table"),
        (b"SQLite format 3\x00", "no recording of a table"),
        (MAGIC, "no recording of a table"),
        (
            MAGIC + (VERSION + 1).to_bytes(2, "big"),
            f"version {VERSION + 1}, and this pgnet_trio reads version {VERSION}",
        ),
        (preamble() + frame_of(b"\xc1"), "begins with what is no table"),
        (preamble() + frame_of(b"\x80"), "begins with what is no table"),
        (preamble() + b"\xff" * 20, "is cut before anything of the table is in it"),
    ],
)
def test_what_is_no_recording_is_refused_with_a_clear_word(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    path = tmp_path / "file.rec"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=complaint):
        read_recording(path)


@given(st.binary(max_size=200))
def test_whatever_stands_in_a_frame_is_records_or_a_problem(
    tmp_path_factory: pytest.TempPathFactory, body: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.rec"
    path.write_bytes(file_of(HEAD) + frame_of(body))
    found = read_recording(path)
    assert found.problem or found.records == [] or body[:4] != bytes(4)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="cannot be read: No such file"):
        read_recording(tmp_path / "none.rec")


def test_a_newer_head_with_more_in_it_is_read(tmp_path: Path) -> None:
    # A field more is no other version.
    path = tmp_path / "file.rec"
    crash = Crashed(1.0, "ValueError", "no", "Traceback", ["my_game.py:1, in f"])
    path.write_bytes(file_of(HEAD, [crash]))
    assert read_recording(path).records == [crash]
