"""Whether one run of a server is to end, and how far it has got with that."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from types import CodeType, TracebackType

import trio

__all__ = ["REBOOT", "Shutdown", "raised_by_signal"]

REBOOT = -1
"""The exit code of a server that asks to be started again."""


class Shutdown:
    """The end of one run: requested once, then begun by whoever runs the server.

    Attributes:
        requested: Set when the run is to end.
        exit_code: What the run returns then.
        restarting: Whether the server will be back, so that clients keep trying to reach it.
        error: What the run raises instead, when it has ended in order; None for nothing.
        closing: Whether the end has begun: no more users are let in, and no more games made.
    """

    def __init__(self) -> None:
        self.requested = trio.Event()
        self.exit_code = 0
        self.restarting = False
        self.error: BaseException | None = None
        self.closing = False

    def request(self, exit_code: int, *, restarting: bool = False) -> None:
        """Have the run end. Never waits.

        Args:
            exit_code: What the run returns. The first request counts.
            restarting: Whether the server will be back, as `REBOOT` says too.
        """
        if not self.requested.is_set():
            self.exit_code = exit_code
            self.restarting = restarting or exit_code == REBOOT
            self.requested.set()

    def request_by(self, error: BaseException) -> None:
        """Have the run end in order, and then raise an error that was for the whole program."""
        if self.error is None:
            self.error = error
        self.request(0)

    def begin(self) -> None:
        """Note that the end has begun."""
        self.closing = True


def raised_by_signal(error: BaseException) -> bool:
    """Return whether an error is for the whole program: the handler of a signal has raised it.

    Ctrl-C may strike any code, and so may what a program has set for SIGTERM. The same errors are
    the fault of one game where its own code raises them.
    """
    if isinstance(error, KeyboardInterrupt) and (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ):
        # This handler is not written in Python: no traceback shows it.
        return True
    codes = set(_handler_codes())
    return any(
        traceback.tb_frame.f_code in codes
        for each in _related(error)
        for traceback in _tracebacks(each)
    )


def _handler_codes() -> Iterator[CodeType]:
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        code = getattr(handler, "__code__", None)
        if isinstance(code, CodeType):
            yield code


def _related(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, those in it if it is a group, and those that were handled when it came."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting.extend(before for before in (each.__cause__, each.__context__) if before)
        if isinstance(each, BaseExceptionGroup):
            waiting.extend(each.exceptions)


def _tracebacks(error: BaseException) -> Iterator[TracebackType]:
    traceback = error.__traceback__
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next
