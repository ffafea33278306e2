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
        others: What that thread calls at other signals.
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

    def watch() -> None:
        count = 0
        has_hung_up = False
        while (data := near.recv(1)) not in (_STOP, b""):
            number = data[0]
            if number in others:
                try:
                    others[number]()
                except Exception:
                    # The signals that end the process are still to be heard.
                    logger.exception("What a signal asked for has failed")
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
        for timer in timers:
            timer.cancel()
        near.close()
        far.close()


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
