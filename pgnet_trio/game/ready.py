"""What a game sees of its ready check."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from pgnet_trio.errors import PlayerLeft
from pgnet_trio.game.ready_state import Ready, ReadyCheck

if TYPE_CHECKING:
    from pgnet_trio.game.backend import RoomBackend

__all__ = ["Readiness"]


class Readiness:
    """The ready check of a game, ``self.room.ready``.

    ``view`` may show `players` and `waiting`: each answer is made known at once.
    """

    __slots__ = ("_backend",)

    def __init__(self, backend: RoomBackend) -> None:
        self._backend = backend

    def __repr__(self) -> str:
        state = "open" if self.is_open else "closed"
        return f"<Readiness, {state}: {', '.join(self.players) or 'nobody'} ready>"

    @property
    def players(self) -> list[str]:
        """Who is ready: in the check that goes on, or in the last one."""
        return list(self._backend.ready.ready)

    @property
    def waiting(self) -> list[str]:
        """Who is not ready: in the check that goes on, or in the last one."""
        return list(self._backend.ready.waiting)

    @property
    def is_open(self) -> bool:
        """Whether a check goes on."""
        return self._backend.ready.is_open

    async def check(self, *, timeout: float) -> bool:
        """Ask all players whether they are ready, and wait until all are, or it is clear that not.

        Call this in `Game.run` and in tasks of ``room.nursery`` only. Each player is asked a
        `ReadyCheck`, which they answer with a `Ready`; it survives a dropped connection. Whoever
        joins meanwhile is asked too. Spectators and bots are not. A cancellation withdraws it.

        Args:
            timeout: Seconds that they have.

        Returns:
            Whether all are ready. Not so where somebody has said no or nothing, where somebody has
            left, and where there is nobody to ask.

        Raises:
            RuntimeError: This was called in a turn; or another check goes on.
            TypeError: The timeout is no number.
            ValueError: It is below 0.
        """
        import trio

        await trio.lowlevel.checkpoint()
        backend = self._backend
        backend.refuse_in_turn("ready.check")
        try:
            self._check_may_begin(timeout)
        except (RuntimeError, TypeError, ValueError) as error:
            backend.note_failed_call(error)
            raise
        state = backend.ready
        users = backend.users
        if not users:
            backend.note_failed_call(PlayerLeft("room.ready.check was called with nobody there"))
            return False
        deadline = trio.current_time() + timeout
        changed = trio.Event()

        def wake() -> None:
            # The event of the moment: there is a new one for each round.
            changed.set()

        state.begin(users, wake)
        asked = set(state.ready)
        try:
            async with trio.open_nursery() as nursery:
                while not (state.has_failed or state.is_complete):
                    changed = trio.Event()
                    for player in state.waiting:
                        if player not in asked:
                            asked.add(player)
                            nursery.start_soon(partial(self._ask, player, deadline))
                    await changed.wait()
                nursery.cancel_scope.cancel()
        finally:
            state.end()
        return state.is_complete

    async def _ask(self, player: str, deadline: float) -> None:
        import trio

        left = max(0.0, deadline - trio.current_time())
        try:
            answer = await self._backend.ask(player, ReadyCheck(), Ready, left, None, None)
        except PlayerLeft:
            # The state has heard of it.
            self._backend.ready.note_left(player)
            return
        is_ready = isinstance(answer, Ready) and answer.ready
        self._backend.ready.note_answer(player, is_ready=is_ready)

    def _check_may_begin(self, timeout: object) -> None:
        if isinstance(timeout, bool) or not isinstance(timeout, int | float):
            raise TypeError(
                f"room.ready.check: timeout: expected seconds, got {type(timeout).__name__}"
            )
        if math.isnan(timeout) or timeout < 0:
            raise ValueError(f"room.ready.check: timeout: expected 0 s or more, got {timeout!r}")
        if self.is_open:
            raise RuntimeError("room.ready.check: a check goes on; wait for its end")
