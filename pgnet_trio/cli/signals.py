"""Ctrl-C, SIGTERM and SIGHUP as values in a channel, for commands that end in good order."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

import trio

__all__ = ["HANGUP", "open_signals"]

HANGUP: int | None = getattr(signal, "SIGHUP", None)
"""The signal that a closed terminal sends; None on Windows, which has none."""


@contextlib.contextmanager
def open_signals() -> Iterator[trio.MemoryReceiveChannel[int]]:
    """Receive SIGINT, SIGTERM and the first SIGHUP during the block.

    SIGHUP stays ignored where the process was started so (``nohup``). A closed terminal may send it
    more than once, so that the second one means nothing.

    A third signal ends a process whose event loop has not got to the first one.
    """
    send, receive = trio.open_memory_channel[int](2)
    token = trio.lowlevel.current_trio_token()
    not_received: list[int] = []

    def pass_on() -> None:
        with contextlib.suppress(trio.WouldBlock):
            send.send_nowait(not_received.pop(0))

    has_hung_up = False

    def handle(number: int, _: FrameType | None) -> None:
        nonlocal has_hung_up
        if number == HANGUP:
            if has_hung_up:
                return
            has_hung_up = True
        if len(not_received) == 2:
            # The event loop did not run since the first signal: an author's code blocks it,
            # perhaps for ever.
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        not_received.append(number)
        token.run_sync_soon(pass_on)

    numbers: list[int] = [signal.SIGINT, signal.SIGTERM]
    if HANGUP is not None and signal.getsignal(HANGUP) is not signal.SIG_IGN:
        numbers.append(HANGUP)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield receive
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
