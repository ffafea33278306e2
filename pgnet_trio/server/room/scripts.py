"""The tasks of a game: its ``run``, and the nursery that it starts others in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from pgnet_trio.errors import PlayerLeft, bare
from pgnet_trio.server.room.stepping import stepped
from pgnet_trio.typed import finish

if TYPE_CHECKING:
    import trio

    from pgnet_trio.game import Game

__all__ = ["ScriptNursery", "in_turn", "run_script"]

in_turn: ContextVar[bool] = ContextVar("in_turn", default=False)
"""Whether this is a turn of a game, or a task that belongs to one."""


class ScriptNursery:
    """A nursery whose tasks are watched: what each step of theirs changes is made known.

    Args:
        nursery: Where the tasks run.
        before_step: Called before each step.
        after_step: Called after each step.

    Attributes:
        cancel_scope: Cancels all of the tasks.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        before_step: Callable[[], None],
        after_step: Callable[[], None],
    ) -> None:
        self._nursery = nursery
        self._before_step = before_step
        self._after_step = after_step
        self.cancel_scope = nursery.cancel_scope

    def start_soon(self, async_fn: Callable[..., Awaitable[Any]], /, *args: Any) -> None:
        """Start a task; see `trio.Nursery.start_soon`."""
        self._nursery.start_soon(self._watched, async_fn, args, name=async_fn)

    async def start(self, async_fn: Callable[..., Awaitable[Any]], /, *args: Any) -> Any:
        """Start a task and wait until it has started; see `trio.Nursery.start`."""

        async def watched(*, task_status: trio.TaskStatus[Any]) -> None:
            in_turn.set(False)
            await stepped(
                finish(async_fn(*args, task_status=task_status)),
                self._before_step,
                self._after_step,
            )

        return await self._nursery.start(watched, name=async_fn)

    def adopt(self, async_fn: Callable[[], Awaitable[None]]) -> None:
        """Start a task that watches its steps by itself."""
        self._nursery.start_soon(async_fn)

    async def _watched(
        self, async_fn: Callable[..., Awaitable[Any]], args: tuple[Any, ...]
    ) -> None:
        in_turn.set(False)
        await stepped(finish(async_fn(*args)), self._before_step, self._after_step)


async def run_script(
    game: Game, before_step: Callable[[], None], after_step: Callable[[], None]
) -> str:
    """Run a game's script to its end, which is that of the game.

    Args:
        game: The game.
        before_step: Called before each step.
        after_step: Called after each step.

    Returns:
        Why it is over; empty for no reason but that it is.

    Raises:
        RuntimeError: It was over at once, and so before anybody could join.
    """
    steps = 0

    def count_step() -> None:
        nonlocal steps
        steps += 1
        after_step()

    in_turn.set(False)
    left: BaseException | None = None
    try:
        await stepped(game.run(), before_step, count_step)
    except* PlayerLeft as group:
        # A script that does nothing about players who leave is over when one does.
        count_step()
        left = bare(group.exceptions[0])
    if steps <= 1:
        raise RuntimeError(
            f"{type(game).__name__}.run {'ended' if left else 'returned'} at once, and its end is "
            "the end of the game; have it wait for something, such as self.room.wait_players(2)."
        ) from left
    return "" if left is None else str(left)
