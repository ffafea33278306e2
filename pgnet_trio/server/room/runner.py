"""Runs a game's code a step at a time: what each step has changed is made known."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from pgnet_trio.server.room.stepping import stepped
from pgnet_trio.typed import finish

if TYPE_CHECKING:
    from pgnet_trio.server.room.deferred import Wishes
    from pgnet_trio.server.room.instance import Hosted
    from pgnet_trio.server.room.publisher import News
    from pgnet_trio.server.room.queue import Inbox

__all__ = ["Steps"]


class Steps:
    """Sees to what comes before and after each step of a hook or a script.

    A step ends each time that the code yields to the event loop.

    Args:
        hosted: The game.
        inbox: Says whether the game is over.
        news: Makes known what a step has changed.
        wishes: What a script's step may have asked for.

    Attributes:
        in_turn: Whether a turn is in progress.
        limited: Whether what the turn in progress changes may wait.
    """

    def __init__(self, hosted: Hosted, inbox: Inbox, news: News, wishes: Wishes) -> None:
        self.in_turn = False
        self.limited = False
        self._hosted = hosted
        self._inbox = inbox
        self._news = news
        self._wishes = wishes

    async def hook(self, result: Any) -> Any:
        """Wait for what a hook returned, where it is async: each step of it is published."""
        if not inspect.isawaitable(result):
            return result
        coroutine = result if inspect.iscoroutine(result) else finish(result)
        self._hosted.wait_for(coroutine)
        try:
            return await stepped(coroutine, self.before, self._after_step_of_turn)
        finally:
            self._hosted.wait_for(None)
            self._hosted.busy = coroutine

    def before(self) -> None:
        """Note that a step begins."""
        hosted = self._hosted
        # A new object each time, so that one step can be told from the next.
        hosted.busy = object()
        hosted.watchdog.room = hosted

    def after(self) -> None:
        """Make known what a step of a script has changed, and do what it asked for."""
        self._step_over(limited=False, is_script=True)

    def _after_step_of_turn(self) -> None:
        self._step_over(limited=self.limited, is_script=False)

    def _step_over(self, *, limited: bool, is_script: bool) -> None:
        hosted = self._hosted
        hosted.busy = None
        if self._inbox.end_reason is not None or not hosted.made or hosted.failure is not None:
            return
        try:
            self._news.publish(limited=limited)
            self._news.flush()
            if is_script and self._wishes.waiting:
                self._wishes.settle_scripts()
        except BaseException as error:
            # Nothing may be thrown into a coroutine that waits: whom it waits for would wake a
            # task that is gone.
            hosted.fail(error)
