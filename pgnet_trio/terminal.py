"""Lines from standard input, be it a terminal, a pipe or a file, without blocking Trio."""

from __future__ import annotations

import functools
import io
import os
import sys
import threading
from collections.abc import Awaitable, Callable

import trio

__all__ = ["LineReader", "ainput", "standard_input"]

CHUNK_SIZE = 4096
"""Bytes of one read; a terminal returns at most a line at a time."""

MAX_LINE_SIZE = 1024 * 1024
"""Bytes of the longest line; standard input may be an endless file without a newline."""


async def ainput(prompt: str = "", /) -> str:
    """Wait for a line from standard input, like the built-in ``input``.

    Standard input may be a terminal, a pipe or a file. Where it is a pipe, do not use ``input``
    or ``sys.stdin`` besides: each keeps what it has read ahead.

    Cancellation leaves the terminal as it was and loses nothing: the next call returns the whole
    line, also what was typed before the cancellation.

    Args:
        prompt: Written to standard output first, without a newline.

    Returns:
        The line, without its newline.

    Raises:
        EOFError: There are no more lines.
        trio.BusyResourceError: Another task waits for a line.
        UnicodeDecodeError: The line is not in the terminal's encoding; it is dropped.
        ValueError: The line is longer than `MAX_LINE_SIZE` bytes; it is dropped.
    """
    if prompt:
        print(prompt, end="", flush=True)
    try:
        reader = standard_input()
    except io.UnsupportedOperation:
        # Standard input is an object in memory, as in an author's test.
        await trio.lowlevel.checkpoint()
        line = sys.stdin.readline()
        if not line:
            raise EOFError("standard input has ended") from None
        return line.removesuffix("\n")
    return await reader.read_line()


def standard_input() -> LineReader:
    """Return the reader of standard input; every caller gets the same one.

    Raises:
        EOFError: The program has no standard input.
        io.UnsupportedOperation: `sys.stdin` is an object without a file descriptor.
    """
    if sys.stdin is None:
        raise EOFError("the program has no standard input")
    return _reader_of(sys.stdin.fileno())


class LineReader:
    """Reads lines from a file descriptor, and keeps what it read behind a line for the next call.

    It does not close the descriptor, and does not change whether it blocks.

    Args:
        descriptor: What to read: a terminal, a pipe, a socket or a file.
        encoding: The encoding of the text.
        errors: What to do about bytes outside that encoding, as in ``bytes.decode``.
        in_thread: Whether to read in a thread; needed where Trio cannot wait for a descriptor.
    """

    def __init__(
        self,
        descriptor: int,
        *,
        encoding: str,
        errors: str = "strict",
        in_thread: bool = sys.platform == "win32",
    ) -> None:
        self._encoding = encoding
        self._errors = errors
        self._buffer = bytearray()
        self._too_long = False
        self._busy = False
        self._read: Callable[[], Awaitable[bytes]] = (
            _ThreadedRead(descriptor) if in_thread else functools.partial(_read, descriptor)
        )

    @property
    def has_buffered(self) -> bool:
        """Whether something was read that no call has returned yet."""
        return bool(self._buffer)

    async def read_line(self) -> str:
        r"""Wait for the next line; cancellation loses nothing of it.

        Returns:
            The line, without its ``\n`` or ``\r\n``. The last one may end without.

        Raises:
            EOFError: There are no more lines.
            trio.BusyResourceError: Another task waits for a line.
            UnicodeDecodeError: The line is not in the encoding; it is dropped.
            ValueError: The line is longer than `MAX_LINE_SIZE` bytes; it is dropped.
            OSError: The descriptor cannot be read.
        """
        if self._busy:
            raise trio.BusyResourceError("another task waits for a line of the same input")
        self._busy = True
        try:
            await trio.lowlevel.checkpoint()
            return await self._next_line()
        finally:
            self._busy = False

    async def _next_line(self) -> str:
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched > MAX_LINE_SIZE:
                self._too_long = True
                self._buffer.clear()
                searched = 0
            chunk = await self._read()
            if not chunk:
                if not self._buffer and not self._too_long:
                    raise EOFError("the input has ended")
                return self._take(len(self._buffer))
            self._buffer += chunk
        return self._take(end + 1)

    def _take(self, size: int) -> str:
        line = bytes(self._buffer[:size])
        del self._buffer[:size]
        too_long, self._too_long = self._too_long or size > MAX_LINE_SIZE, False
        if too_long:
            raise ValueError(f"expected lines of at most {MAX_LINE_SIZE} bytes, got a longer one")
        line = line.removesuffix(b"\n").removesuffix(b"\r")
        return line.decode(self._encoding, self._errors)


async def _read(descriptor: int) -> bytes:
    while True:
        try:
            await trio.lowlevel.wait_readable(descriptor)
        except PermissionError:
            # epoll refuses regular files; reading one never blocks for long.
            pass
        try:
            return os.read(descriptor, CHUNK_SIZE)
        except BlockingIOError:
            # Another process that reads the same descriptor was faster.
            continue


class _ThreadedRead:
    """Reads in a thread. A read whose caller was cancelled goes on, and serves the next caller."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._reading = False
        self._outcome: bytes | OSError | None = None
        self._wake: functools.partial[None] | None = None

    async def __call__(self) -> bytes:
        arrived = trio.Event()
        token = trio.lowlevel.current_trio_token()
        with self._lock:
            if self._outcome is not None:
                arrived.set()
            else:
                self._wake = functools.partial(token.run_sync_soon, arrived.set)
                if not self._reading:
                    self._reading = True
                    # Not one of Trio's threads: it would hold a token of Trio's limiter for as
                    # long as nobody types.
                    threading.Thread(target=self._run, name="terminal input", daemon=True).start()
        await arrived.wait()
        outcome, self._outcome = self._outcome, None
        assert outcome is not None
        if isinstance(outcome, OSError):
            raise outcome
        return outcome

    def _run(self) -> None:
        outcome: bytes | OSError
        try:
            # Not through `sys.stdin`: a thread that waits in it holds its lock at the exit.
            outcome = os.read(self._descriptor, CHUNK_SIZE)
        except OSError as error:
            outcome = error
        with self._lock:
            self._outcome = outcome
            self._reading = False
            wake, self._wake = self._wake, None
        if wake is not None:
            try:
                wake()
            except trio.RunFinishedError:
                # That run of Trio is over; the outcome stays for the next one.
                pass


@functools.cache
def _reader_of(descriptor: int) -> LineReader:
    encoding = os.device_encoding(descriptor) or sys.stdin.encoding or "utf-8"
    return LineReader(descriptor, encoding=encoding, errors=sys.stdin.errors or "strict")
