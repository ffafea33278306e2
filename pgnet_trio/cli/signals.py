"""Ctrl-C, SIGTERM and SIGHUP as values in a channel, for commands that end in good order."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from types import FrameType

import trio

__all__ = ["HANGUP", "open_signals"]

logger = logging.getLogger("pgnet_trio.server")

HANGUP: int | None = getattr(signal, "SIGHUP", None)
"""The signal that a closed terminal sends; None on Windows, which has none."""

LONGEST_END = 2.0
"""Seconds that a process has after the second signal to end by itself."""

AT_ONCE = 4096
"""Signals that are read at once."""

_STOP = b"\0"


@contextlib.contextmanager
def open_signals(
    others: Mapping[int, Callable[[], None]] = {},
) -> Iterator[trio.MemoryReceiveChannel[int]]:
    """Receive SIGINT, SIGTERM and the first SIGHUP during the block.

    SIGHUP stays ignored where the process was started so (``nohup``). A closed terminal may send it
    more than once, so that the second one means nothing.

    The second signal ends the process if the block has not ended `LONGEST_END` seconds later,
    whatever its tasks do, and the third one at once. A thread sees to that: an author's code may
    block the event loop, perhaps for ever, and no handler of Python's runs while it waits for a
    call into a library.

    Args:
        others: What is called at other signals, each in a thread of its own: it may wait for a lock
            that the event loop holds. Those that come while it runs have it called once more.
    """
    send, receive = trio.open_memory_channel[int](2)
    token = trio.lowlevel.current_trio_token()
    near, far = socket.socketpair()
    # Trio's descriptor is not needed meanwhile: whatever arrives wakes the loop by the token.
    far.setblocking(False)
    numbers: list[int] = [signal.SIGINT, signal.SIGTERM]
    if HANGUP is not None and signal.getsignal(HANGUP) is not signal.SIG_IGN:
        numbers.append(HANGUP)
    before = {number: signal.signal(number, _do_nothing) for number in (*numbers, *others)}
    descriptor = signal.set_wakeup_fd(far.fileno(), warn_on_full_buffer=False)

    def pass_on(number: int) -> None:
        with contextlib.suppress(trio.WouldBlock):
            send.send_nowait(number)

    timers: list[threading.Timer] = []
    errands = {number: _Errand(function) for number, function in others.items()}

    def watch() -> None:
        count = 0
        has_hung_up = False
        for number in _numbers(near):
            if number in errands:
                errands[number].ask()
                continue
            if number not in numbers:
                with contextlib.suppress(trio.RunFinishedError):
                    token.run_sync_soon(_wake)
                continue
            if number == HANGUP:
                if has_hung_up:
                    continue
                has_hung_up = True
            count += 1
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(pass_on, number)
            if count == 2:
                timer = threading.Timer(LONGEST_END, _give_up, [number])
                timer.daemon = True
                timers.append(timer)
                timer.start()
            elif count == 3:
                _give_up(number)

    thread = threading.Thread(target=watch, name="pgnet_trio signals", daemon=True)
    thread.start()
    try:
        yield receive
    finally:
        signal.set_wakeup_fd(descriptor)
        for number, handler in before.items():
            signal.signal(number, handler)
        far.setblocking(True)
        far.sendall(_STOP)
        thread.join()
        for errand in errands.values():
            errand.end()
        for timer in timers:
            timer.cancel()
        near.close()
        far.close()


def _numbers(source: socket.socket) -> Iterator[int]:
    """Yield the signals that come, until `_STOP` does."""
    while data := source.recv(AT_ONCE):
        # In one go: what there is no room for is lost.
        for number in data:
            if number == _STOP[0]:
                return
            yield number


class _Errand:
    """Calls a function in a thread whenever it is asked to, and once for all who ask meanwhile.

    Args:
        function: The function.
    """

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self._asked = threading.Event()
        self._ends = False
        threading.Thread(target=self._run, name="pgnet_trio signal", daemon=True).start()

    def ask(self) -> None:
        """Have it called soon. Never waits."""
        self._asked.set()

    def end(self) -> None:
        """Have it called no more. Never waits."""
        self._ends = True
        self._asked.set()

    def _run(self) -> None:
        while True:
            self._asked.wait()
            self._asked.clear()
            if self._ends:
                return
            try:
                self._function()
            except Exception:
                # The next one is still to be heard.
                logger.exception("What a signal asked for has failed")


def _give_up(number: int) -> None:
    # Nothing that takes a lock: a game may hold it.
    with contextlib.suppress(OSError):
        # Perhaps nobody reads it any more.
        os.write(2, b"Stopped at once; what was not saved yet is lost.\n")
    os._exit(128 + number)


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Take the place of the handler that would end the process."""


def _wake() -> None:
    """Do nothing: to be called wakes the event loop."""
