"""Ctrl-C and SIGTERM as values in a channel, for commands that end in good order."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

import trio

__all__ = ["open_signals"]


@contextlib.contextmanager
def open_signals() -> Iterator[trio.MemoryReceiveChannel[int]]:
    """Receive SIGINT and SIGTERM during the block.

    A third signal ends a process whose event loop has not got to the first one.
    """
    send, receive = trio.open_memory_channel[int](2)
    token = trio.lowlevel.current_trio_token()
    not_received: list[int] = []

    def pass_on() -> None:
        with contextlib.suppress(trio.WouldBlock):
            send.send_nowait(not_received.pop(0))

    def handle(number: int, _: FrameType | None) -> None:
        if len(not_received) == 2:
            # The event loop did not run since the first signal: an author's code blocks it,
            # perhaps for ever.
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        not_received.append(number)
        token.run_sync_soon(pass_on)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield receive
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
