"""Runs a game's code a step at a time: what each step has changed is made known."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from pgnet_trio.server.room.stepping import stepped
from pgnet_trio.typed import finish

if TYPE_CHECKING:
    from pgnet_trio.server.room.deferred import Deferred
    from pgnet_trio.server.room.instance import GameInstance
    from pgnet_trio.server.room.publisher import Publisher
    from pgnet_trio.server.room.queue import TurnQueue

__all__ = ["Runner"]


class Runner:
    """Sees to what comes before and after each step of a hook or a script.

    A step ends each time that the code yields to the event loop.

    Args:
        instance: The game.
        queue: Says whether the game is over.
        publisher: Makes known what a step has changed.
        deferred: What a script's step may have asked for.

    Attributes:
        in_turn: Whether a turn is in progress.
        limited: Whether what the turn in progress changes may wait.
    """

    def __init__(
        self, instance: GameInstance, queue: TurnQueue, publisher: Publisher, deferred: Deferred
    ) -> None:
        self.in_turn = False
        self.limited = False
        self._instance = instance
        self._queue = queue
        self._publisher = publisher
        self._deferred = deferred

    async def hook(self, result: Any) -> Any:
        """Wait for what a hook returned, where it is async: each step of it is published."""
        if not inspect.isawaitable(result):
            return result
        coroutine = result if inspect.iscoroutine(result) else finish(result)
        self._instance.wait_for(coroutine)
        try:
            return await stepped(coroutine, self.before, self._after_step_of_turn)
        finally:
            self._instance.wait_for(None)
            self._instance.busy = coroutine

    def before(self) -> None:
        """Note that a step begins."""
        instance = self._instance
        # A new object each time, so that one step can be told from the next.
        instance.busy = object()
        instance.watchdog.room = instance

    def after(self) -> None:
        """Make known what a step of a script has changed, and do what it asked for."""
        self._step_over(limited=False, is_script=True)

    def _after_step_of_turn(self) -> None:
        self._step_over(limited=self.limited, is_script=False)

    def _step_over(self, *, limited: bool, is_script: bool) -> None:
        instance = self._instance
        instance.busy = None
        if self._queue.end_reason is not None or not instance.made or instance.failure is not None:
            return
        try:
            self._publisher.publish(limited=limited)
            self._publisher.flush()
            if is_script and self._deferred.waiting:
                self._deferred.settle_scripts()
        except BaseException as error:
            # Nothing may be thrown into a coroutine that waits: whom it waits for would wake a
            # task that is gone.
            instance.fail(error)
