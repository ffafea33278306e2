"""The calls of a program's callbacks and events: one at a time, in order."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, Protocol

import trio

from pgnet_trio.client.limits import MAX_CALLS
from pgnet_trio.client.outbox import MAX_QUEUED

__all__ = ["CAPACITY", "CallbackQueue", "Hooks"]

CAPACITY = MAX_CALLS + 4 * MAX_QUEUED + 64
"""Calls that may wait: those of a game's events; and of each response at most a status, a change of
game, a heartbeat and a callback."""


class Hooks(Protocol):
    """The events that a program may want to hear of, and what it tells the game; see `Client`."""

    on_connection: Callable[..., Any] | None
    on_online: Callable[..., Any] | None
    on_status: Callable[..., Any] | None
    on_game: Callable[..., Any] | None
    on_players: Callable[..., Any] | None
    on_heartbeat: Callable[..., Any] | None
    on_announcement: Callable[..., Any] | None
    on_invitation: Callable[..., Any] | None
    on_push: Callable[..., Any] | None
    on_lost_pushes: Callable[..., Any] | None
    on_state: Callable[..., Any] | None
    on_question: Callable[..., Any] | None

    def heartbeat_payload(self) -> dict[str, Any]:
        """Return what each heartbeat tells the game."""


class CallbackQueue:
    """A queue of calls; its `run` is the one task that makes them.

    The queue itself is unbounded, because the calls that tell of an end have to fit in always.
    Whoever fills it looks at its length and size, and ends the session when they exceed `CAPACITY`
    and `MAX_CALLS_SIZE`.

    Attributes:
        size: Bytes of what the calls that wait are about.
        answers: How many of the calls are callbacks with answers.
    """

    def __init__(self) -> None:
        self.size = 0
        self.answers = 0
        self._post, self._calls = trio.open_memory_channel[
            tuple[Callable[..., Any], Any, int, bool]
        ](math.inf)
        self._pending: list[Callable[[], Any]] = []

    def __len__(self) -> int:
        return self._calls.statistics().current_buffer_used

    def put(
        self,
        function: Callable[..., Any],
        argument: Any,
        size: int = 0,
        *,
        is_answer: bool = False,
    ) -> None:
        """Queue the call of a function with an argument of so many bytes; never waits."""
        self.size += size
        self.answers += is_answer
        self._post.send_nowait((function, argument, size, is_answer))

    def put_once(self, function: Callable[[], Any]) -> None:
        """Queue the call of a function without arguments, unless the same call waits already."""
        if function not in self._pending:
            self._pending.append(function)
            self._post.send_nowait((self._call_pending, function, 0, False))

    def _call_pending(self, function: Callable[[], Any]) -> Any:
        # Before the call: what the function is told of while it runs needs another call.
        self._pending.remove(function)
        return function()

    def close(self) -> None:
        """Let `run` return once every call was made."""
        self._post.close()

    async def run(self) -> None:
        """Make the calls until the queue is closed.

        Cancellation drops the calls that wait.

        Raises:
            Exception: What a call raised.
        """
        async for function, argument, size, is_answer in self._calls:
            self.size -= size
            self.answers -= is_answer
            result = function(argument)
            if inspect.isawaitable(result):
                await result
