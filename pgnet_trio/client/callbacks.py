"""Calls the author's callbacks and events, one at a time and in order."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import trio

from pgnet_trio.client.outbox import MAX_QUEUED

__all__ = ["Dispatcher"]

# Each answer brings at most a status, a change of game, a heartbeat and a callback.
_CAPACITY = 4 * MAX_QUEUED + 64


class Dispatcher:
    """A queue of calls, and the task that makes them.

    Args:
        on_overflow: Called when more calls wait than should: whoever causes them has to end. What
            tells of that end is still called.
    """

    def __init__(self, on_overflow: Callable[[], None]) -> None:
        self._on_overflow = on_overflow
        self._post, self._calls = trio.open_memory_channel[tuple[Callable[..., Any], Any]](math.inf)
        self._pending: list[Callable[[], Any]] = []

    def __len__(self) -> int:
        return self._calls.statistics().current_buffer_used

    def call(self, function: Callable[..., Any] | None, argument: Any) -> None:
        """Have a function called in its turn; never waits. None is nothing to call."""
        if function is not None:
            self._post.send_nowait((function, argument))
            if len(self) > _CAPACITY:
                self._on_overflow()

    def call_once(self, function: Callable[[], Any]) -> None:
        """Have a function without arguments called, unless it waits to be called already."""
        if function not in self._pending:
            self._pending.append(function)
            self._post.send_nowait((self._call_pending, function))

    def _call_pending(self, function: Callable[[], Any]) -> Any:
        self._pending.remove(function)
        return function()

    def close(self) -> None:
        """Let `run` return once everything was called."""
        self._post.close()

    async def run(self) -> None:
        """Make the calls until closed; what one raises comes out. Cancellation drops the rest."""
        async for function, argument in self._calls:
            result = function(argument)
            if inspect.isawaitable(result):
                await result
