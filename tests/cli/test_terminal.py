"""Lines from pipes, terminals and files: none lost, none cut, nobody left reading."""

from __future__ import annotations

import io
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from pgnet_trio import terminal
from pgnet_trio.terminal import LineReader, ainput

pty = pytest.importorskip("pty")


@pytest.fixture(params=["waiting", "thread"])
def in_thread(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "thread")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_end, write_end = os.pipe()
    with open(read_end, "rb", buffering=0) as near, open(write_end, "wb", buffering=0) as far:
        yield near.fileno(), far.fileno()


@pytest.fixture
def terminal_ends() -> Iterator[tuple[int, int]]:
    """The end that a person types on, and the end that a program reads."""
    person, program = pty.openpty()
    with open(person, "wb", buffering=0), open(program, "rb", buffering=0):
        yield person, program


@pytest.fixture
def standard_input(monkeypatch: pytest.MonkeyPatch, pipe: tuple[int, int]) -> Iterator[int]:
    """Make a pipe standard input; yield the end to write to."""
    near, far = pipe
    with open(near, encoding="utf-8", closefd=False) as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        yield far
    terminal._reader_of.cache_clear()


def reader_of(descriptor: int, *, in_thread: bool = False) -> LineReader:
    return LineReader(descriptor, encoding="utf-8", in_thread=in_thread)


async def test_lines_of_a_pipe_come_one_by_one(pipe: tuple[int, int], in_thread: bool) -> None:
    near, far = pipe
    reader = reader_of(near, in_thread=in_thread)
    os.write(far, "first\nsecönd\r\n\nthe ".encode())
    assert await reader.read_line() == "first"
    assert reader.has_buffered
    assert await reader.read_line() == "secönd"
    assert await reader.read_line() == ""
    os.write(far, b"end\n")
    assert await reader.read_line() == "the end"
    assert not reader.has_buffered


async def test_the_last_line_needs_no_newline(in_thread: bool) -> None:
    near, far = socket.socketpair()
    with near:
        far.sendall(b"a\nb")
        far.close()
        reader = reader_of(near.fileno(), in_thread=in_thread)
        assert [await reader.read_line(), await reader.read_line()] == ["a", "b"]
        for _ in range(2):
            with pytest.raises(EOFError, match="ended"):
                await reader.read_line()


async def test_a_file_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text("".join(f"line {number}\n" for number in range(3000)), "utf-8")
    with path.open("rb", buffering=0) as file:
        reader = reader_of(file.fileno())
        assert [await reader.read_line() for _ in range(3000)][-1] == "line 2999"
        with pytest.raises(EOFError):
            await reader.read_line()


async def test_a_line_typed_on_a_terminal(terminal_ends: tuple[int, int], in_thread: bool) -> None:
    person, program = terminal_ends
    reader = reader_of(program, in_thread=in_thread)
    os.write(person, b"hello\nagain\n")
    assert [await reader.read_line(), await reader.read_line()] == ["hello", "again"]
    # Ctrl-D ends the input, and on a terminal there may be more after that.
    os.write(person, b"\x04")
    with pytest.raises(EOFError):
        await reader.read_line()
    os.write(person, b"more\n")
    assert await reader.read_line() == "more"


async def test_cancellation_leaves_the_next_line_whole(
    pipe: tuple[int, int], in_thread: bool
) -> None:
    near, far = pipe
    reader = reader_of(near, in_thread=in_thread)
    threads = threading.active_count()
    for part in (b"", b"he", b"llo"):
        os.write(far, part)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.read_line)
            await trio.testing.wait_all_tasks_blocked(0.01)
            nursery.cancel_scope.cancel()
    # A thread that waits stays the only one.
    assert threading.active_count() - threads <= in_thread
    os.write(far, b"\nnext\n")
    assert [await reader.read_line(), await reader.read_line()] == ["hello", "next"]


async def test_a_cancelled_call_takes_no_line_that_is_there_already(pipe: tuple[int, int]) -> None:
    near, far = pipe
    reader = reader_of(near)
    os.write(far, b"1\n2\n3\n")
    assert await reader.read_line() == "1"
    with trio.CancelScope() as scope:
        scope.cancel()
        await reader.read_line()
    assert scope.cancelled_caught
    assert await reader.read_line() == "2"


def test_a_thread_that_outlives_its_run_serves_the_next_run(pipe: tuple[int, int]) -> None:
    near, far = pipe
    reader = reader_of(near, in_thread=True)

    async def give_up() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.read_line)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    trio.run(give_up)
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "terminal input"]
    os.write(far, b"for the next run\n")
    thread.join(10)
    assert trio.run(reader.read_line) == "for the next run"


async def test_two_callers_at_once_are_refused(pipe: tuple[int, int]) -> None:
    near, far = pipe
    reader = reader_of(near)
    lines: list[str] = []

    async def read() -> None:
        lines.append(await reader.read_line())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError, match="another task"):
            await reader.read_line()
        os.write(far, b"mine\n")
    assert lines == ["mine"]


async def test_a_line_in_another_encoding_is_dropped_alone(pipe: tuple[int, int]) -> None:
    near, far = pipe
    reader = reader_of(near)
    os.write(far, b"a\n\xff\xfe\nb\n")
    assert await reader.read_line() == "a"
    with pytest.raises(UnicodeDecodeError):
        await reader.read_line()
    assert await reader.read_line() == "b"


@pytest.mark.parametrize("ending", ["\nnext\n", ""])
async def test_a_line_that_is_too_long_is_dropped_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr(terminal, "MAX_LINE_SIZE", 10_000)
    path = tmp_path / "lines"
    path.write_text("x" * 1_000_000 + ending, "utf-8")
    with path.open("rb", buffering=0) as file:
        reader = reader_of(file.fileno())
        with pytest.raises(ValueError, match="at most 10000 bytes"):
            await reader.read_line()
        if ending:
            assert await reader.read_line() == "next"
        with pytest.raises(EOFError):
            await reader.read_line()


async def test_an_input_that_others_set_to_not_block(pipe: tuple[int, int]) -> None:
    near, far = pipe
    os.set_blocking(near, False)
    reader = reader_of(near)
    lines: list[str] = []

    async def read() -> None:
        lines.append(await reader.read_line())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        os.write(far, b"x\n")
    assert lines == ["x"]


async def test_another_reader_of_the_same_terminal_is_faster(
    monkeypatch: pytest.MonkeyPatch, pipe: tuple[int, int]
) -> None:
    near, far = pipe
    os.set_blocking(near, False)
    reader = reader_of(near)
    wait_readable = trio.lowlevel.wait_readable
    stolen: list[bytes] = []

    async def wait_too_long(descriptor: int) -> None:
        await wait_readable(descriptor)
        if not stolen:
            stolen.append(os.read(descriptor, 100))
            os.write(far, b"mine\n")

    monkeypatch.setattr(trio.lowlevel, "wait_readable", wait_too_long)
    os.write(far, b"not mine\n")
    assert await reader.read_line() == "mine"
    assert stolen == [b"not mine\n"]


async def test_an_error_of_the_input_comes_out(in_thread: bool, tmp_path: Path) -> None:
    with (tmp_path / "written").open("wb", buffering=0) as file:
        with pytest.raises(OSError, match="Bad file descriptor"):
            await reader_of(file.fileno(), in_thread=in_thread).read_line()


@settings(max_examples=50)
@given(
    lines=st.lists(st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]))),
    cuts=st.lists(st.integers(min_value=1, max_value=20)),
)
def test_lines_arrive_whole_however_they_are_cut(lines: list[str], cuts: list[int]) -> None:
    async def main() -> list[str]:
        near, far = socket.socketpair()
        with near, far:
            reader = reader_of(near.fileno())
            data = "".join(f"{line}\n" for line in lines).encode()
            received: list[str] = []

            async def read() -> None:
                received.extend([await reader.read_line() for _ in lines])

            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                sizes = iter(cuts)
                while data:
                    size = next(sizes, len(data))
                    far.send(data[:size])
                    data = data[size:]
                    await trio.lowlevel.checkpoint()
            return received

    assert trio.run(main) == lines


async def test_ainput_shows_its_prompt_and_keeps_lines_for_the_next_call(
    standard_input: int, capsys: pytest.CaptureFixture[str]
) -> None:
    os.write(standard_input, b"ann\nsecret\n")
    assert [await ainput("Name: "), await ainput()] == ["ann", "secret"]
    assert capsys.readouterr().out == "Name: "


async def test_ainput_without_any_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(EOFError, match="no standard input"):
        await ainput()


async def test_ainput_of_text_that_stands_in_for_standard_input(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\ntwo"))
    assert [await ainput(), await ainput()] == ["one", "two"]
    with pytest.raises(EOFError):
        await ainput()
