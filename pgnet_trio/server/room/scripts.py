"""The tasks of a game beside its turns: its ``run``, and those that it starts in its nursery."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import trio

from pgnet_trio.errors import PlayerLeft, bare
from pgnet_trio.foreign_text import one_line
from pgnet_trio.server.refusals import SaveRefused
from pgnet_trio.server.room.deferred import in_turn
from pgnet_trio.server.room.runner import stepped
from pgnet_trio.typed import finish

if TYPE_CHECKING:
    from pgnet_trio.server.room.loop import Loop
    from pgnet_trio.server.room.membership import Membership
    from pgnet_trio.server.room.runner import Runner

__all__ = ["ScriptNursery", "hold_nursery", "in_turn"]

logger = logging.getLogger("pgnet_trio.server")


class ScriptNursery:
    """The author's ``room.nursery``: what each step of its tasks changes is published.

    Args:
        nursery: Where the tasks run.
        runner: Notes each of their steps.
        loop: Carries out what a step asked for.
        membership: Knows whether anybody has been in the game.

    Attributes:
        cancel_scope: Cancels all tasks.
    """

    def __init__(
        self, nursery: trio.Nursery, runner: Runner, loop: Loop, membership: Membership
    ) -> None:
        self.cancel_scope = nursery.cancel_scope
        self._nursery = nursery
        self._runner = runner
        self._loop = loop
        self._membership = membership

    def start_soon(self, async_fn: Callable[..., Awaitable[Any]], /, *args: Any) -> None:
        """Start a task; see `trio.Nursery.start_soon`."""
        number = self._runner.count(async_fn)
        self._nursery.start_soon(self._run_task, async_fn, args, number, name=async_fn)

    async def start(self, async_fn: Callable[..., Awaitable[Any]], /, *args: Any) -> Any:
        """Start a task and wait until it has started; see `trio.Nursery.start`."""
        number = self._runner.count(async_fn)

        async def run(*, task_status: trio.TaskStatus[Any]) -> None:
            in_turn.set(False)
            await self._step_through(async_fn(*args, task_status=task_status), number)

        return await self._nursery.start(run, name=async_fn)

    def start_script(self) -> None:
        """Start the game's ``run``, whose end is the end of the game."""
        number = self._runner.count(self._runner.instance.game.run)
        self._nursery.start_soon(self._run_script, number)

    async def _run_task(
        self, async_fn: Callable[..., Awaitable[Any]], args: tuple[Any, ...], number: int
    ) -> None:
        # A task that a turn starts inherits the turn's context.
        in_turn.set(False)
        try:
            await self._step_through(async_fn(*args), number)
        except SaveRefused as refused:
            self._loop.after_script_step()
            name = self._runner.instance.name
            logger.error("A task of the game %r has ended: %s", name, one_line(refused))

    async def _step_through(self, awaitable: Awaitable[Any], number: int) -> None:
        await stepped(finish(awaitable), self._runner, self._loop.after_script_step, number)

    async def _run_script(self, number: int) -> None:
        game = self._runner.instance.game
        steps = 0

        def after_step() -> None:
            nonlocal steps
            steps += 1
            self._loop.after_script_step()

        in_turn.set(False)
        left: BaseException | None = None
        try:
            await stepped(game.run(), self._runner, after_step, number)
        except* PlayerLeft as group:
            # A script that does not handle players who leave is over when one does.
            after_step()
            left = bare(group.exceptions[0])
        loaded = self._runner.instance.loaded
        if left is not None and loaded and not self._membership.was_entered:
            # An end in good order would take a saved game out of the save file.
            raise RuntimeError(
                f"{type(game).__name__}.run asked a player before anybody was back in the game, "
                "which is loaded from its save; have it wait for the players first, as with "
                "self.room.wait_players(2). The save is kept."
            ) from left
        # A call of the room that fails at once is a step of its own.
        if steps <= (1 if left is None else 2) and not (left is None and loaded):
            # It is over before anybody could join; a game that is loaded may have been over then.
            raise RuntimeError(
                f"{type(game).__name__}.run {'ended' if left else 'returned'} at once, and its "
                "end is the end of the game; have it wait for something, such as "
                "self.room.wait_players(2)."
            ) from left
        self._runner.defer_end("" if left is None else str(left))


async def hold_nursery(*, task_status: trio.TaskStatus[trio.Nursery]) -> None:
    """Keep a nursery open until it is cancelled: it can be cancelled apart from the outer one."""
    async with trio.open_nursery() as nursery:
        task_status.started(nursery)
        await trio.sleep_forever()
