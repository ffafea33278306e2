"""Programs that tests start: a test waits for what they print, and no program outlives it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

__all__ = [
    "CHEAP_PASSWORDS",
    "COMMAND",
    "DEADLINE",
    "WITHOUT_EXTRAS",
    "Output",
    "Program",
    "run_program",
    "start_in_terminal",
    "start_program",
]

DEADLINE = 30.0
"""Seconds for anything that a program does; much more than it takes on a busy machine."""

CHEAP_PASSWORDS = ("-m", "tests.kit.cheap_passwords")
"""Arguments of Python before those of a program."""

COMMAND = (sys.executable, *CHEAP_PASSWORDS, "-m", "pgnet_trio")
"""``pgnet-trio``; but passwords cost it next to nothing."""

WITHOUT_EXTRAS = (
    sys.executable,
    "-c",
    "import sys; sys.modules.update(dict.fromkeys(['prompt_toolkit', 'rich', 'websockets']))\n"
    "from pgnet_trio.cli import main; sys.exit(main())",
)
"""The same, as if none of the extras were installed."""


class Output:
    """What a program has printed so far, and how far a test has read it."""

    def __init__(self) -> None:
        self.text = ""
        self._seen = 0
        self._has_ended = False
        self._news = trio.lowlevel.ParkingLot()

    async def collect(self, stream: trio.abc.ReceiveStream) -> None:
        received = b""
        try:
            async for chunk in stream:
                received += chunk
                self.text = received.decode("utf-8", "replace")
                self._news.unpark_all()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # A terminal whose last user has left, or an output that the test closed.
            pass
        self._has_ended = True
        self._news.unpark_all()

    async def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait for a pattern in the text behind the last match."""
        deadline = trio.current_time() + DEADLINE
        while not (match := re.compile(pattern).search(self.text, self._seen)):
            with trio.move_on_at(deadline) as scope:
                await self._news.park()
            if scope.cancelled_caught or self._has_ended:
                raise AssertionError(f"{pattern!r} did not come; there was:\n{self.text}")
        self._seen = match.end()
        return match


@attrs.frozen
class Program:
    """A running program; in a terminal, both outputs are `out`."""

    process: trio.Process
    input: trio.abc.SendStream
    out: Output
    err: Output
    outputs_ended: trio.Event

    async def type(self, text: str) -> None:
        await self.input.send_all(text.encode())

    async def exit_status(self) -> int:
        """Wait until it has ended and its output is complete; return the exit status."""
        status = await self.process.wait()
        await self.outputs_ended.wait()
        return status


def environment(changes: Mapping[str, str | None]) -> dict[str, str]:
    """Return an environment for a program, without PGNET settings of whoever runs the tests."""
    names = {name: value for name, value in os.environ.items() if not name.startswith("PGNET_")}
    return {
        name: value
        for name, value in {**names, "PYTHONIOENCODING": "utf-8", **changes}.items()
        if value is not None
    }


@asynccontextmanager
async def start_program(
    *arguments: str,
    command: Sequence[str] = COMMAND,
    cwd: Path | None = None,
    env: Mapping[str, str | None] | None = None,
) -> AsyncIterator[Program]:
    """Start ``pgnet-trio`` with pipes; at the end of the block, kill it if it still runs."""
    process = await trio.lowlevel.open_process(
        [*command, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=environment(env or {}),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    async with _watch(process, process.stdin, process.stdout, process.stderr) as program:
        yield program


@asynccontextmanager
async def start_in_terminal(
    *arguments: str,
    command: Sequence[str] = COMMAND,
    cwd: Path | None = None,
    env: Mapping[str, str | None] | None = None,
) -> AsyncIterator[Program]:
    """Start ``pgnet-trio`` in a terminal of its own."""
    import pty

    person, terminal = pty.openpty()
    try:
        process = await trio.lowlevel.open_process(
            [*command, *arguments],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            cwd=cwd,
            # A real terminal would answer the question where the cursor is.
            env=environment({"PROMPT_TOOLKIT_NO_CPR": "1", **(env or {})}),
            start_new_session=True,
        )
    finally:
        os.close(terminal)
    keyboard = trio.lowlevel.FdStream(os.dup(person))
    async with _watch(process, keyboard, trio.lowlevel.FdStream(person)) as program:
        yield program


@asynccontextmanager
async def _watch(
    process: trio.Process, stdin: trio.abc.SendStream, *streams: trio.abc.ReceiveStream
) -> AsyncIterator[Program]:
    outputs = [Output() for _ in streams]
    ended = trio.Event()

    async def collect() -> None:
        async with trio.open_nursery() as nursery:
            for output, stream in zip(outputs, streams, strict=True):
                nursery.start_soon(output.collect, stream)
        ended.set()

    try:
        with trio.fail_after(2 * DEADLINE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(collect)
                yield Program(process, stdin, outputs[0], outputs[-1], ended)
                nursery.cancel_scope.cancel()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            for stream in (stdin, *streams):
                await stream.aclose()


async def run_program(
    *arguments: str,
    stdin: str = "",
    command: Sequence[str] = COMMAND,
    cwd: Path | None = None,
    env: Mapping[str, str | None] | None = None,
) -> tuple[int, str, str]:
    """Run ``pgnet-trio`` to its end; return its exit status, output and error output."""
    async with start_program(*arguments, command=command, cwd=cwd, env=env) as program:
        await program.type(stdin)
        await program.input.aclose()
        status = await program.exit_status()
        return status, program.out.text, program.err.text
