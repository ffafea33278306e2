"""The requests that a session's own task carries out, one after the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from pgnet_trio.protocol.v2.states import WINDOW

if TYPE_CHECKING:
    from pgnet_trio.server.room.player import PacketTurn

__all__ = ["OwnRequests"]


class OwnRequests:
    """Keeps the requests that wait for a session's own task, and knows whether there is one.

    There is such a task only while there is something for it to do.

    Args:
        max_in_flight: How many requests of one client may be unanswered; infinite for any number.

    Attributes:
        turns: The requests in the order of arrival, with the one that is carried out now; always
            the same list, which only this object changes.
        is_held: Whether the task begins with no more of them.
    """

    __slots__ = ("_capacity", "_scope", "is_held", "turns")

    def __init__(self, max_in_flight: float) -> None:
        self.turns: list[PacketTurn] = []
        self.is_held = False
        # Twice what one client may have under way: another client may have taken over from it.
        self._capacity = 2 * max(max_in_flight, WINDOW) + 2
        # The scope of the task; None while there is none.
        self._scope: trio.CancelScope | None = None

    @property
    def is_busy(self) -> bool:
        """Whether there is a task now."""
        return self._scope is not None

    def add(self, turn: PacketTurn) -> bool:
        """Have a request wait; return whether there was room for it."""
        if len(self.turns) >= self._capacity:
            return False
        self.turns.append(turn)
        return True

    def begin(self) -> None:
        """Note that there is a task from now on; whoever calls this starts it."""
        self._scope = trio.CancelScope()

    async def run(self, carry_out: Callable[[PacketTurn], Awaitable[None]]) -> None:
        """Carry out what waits, until nothing does, or it is held; for the task to run.

        Cancellation, also by `cancel`, leaves the rest where it is.
        """
        assert self._scope is not None
        with self._scope:
            await trio.lowlevel.checkpoint()
            while self.turns and not self.is_held:
                await carry_out(self.turns[0])
                # All is forgotten where the session moved because of this request.
                if self.turns:
                    del self.turns[0]
                if self.turns:
                    await trio.lowlevel.checkpoint()

    def cancel(self) -> None:
        """Stop the task where it is."""
        if self._scope is not None:
            self._scope.cancel()

    def finish(self) -> None:
        """Note that there is no task any more."""
        self._scope = None

    def forget(self) -> None:
        """Forget all that waits."""
        self.turns.clear()
