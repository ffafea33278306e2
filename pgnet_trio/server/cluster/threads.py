"""A transaction in a thread, which is cancelled before it is committed, or not at all."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from pgnet_trio.server.cluster.errors import EngineUnavailable, OutcomeUnknown

if TYPE_CHECKING:
    import outcome

__all__ = ["COMMIT_GRACE", "Abandoned", "ThreadCall"]

COMMIT_GRACE = 1.0
"""Seconds for which a commit may go on after its call was cancelled or has taken too long."""

ResultT = TypeVar("ResultT")
ConnectionT = TypeVar("ConnectionT")


class Abandoned(Exception):
    """Nobody waits for this transaction any more, and it was rolled back."""


class ThreadCall(Generic[ConnectionT, ResultT]):
    """One transaction in a thread that may outlast whoever waits for it.

    The thread says which connection it uses, and asks before it commits. So a cancellation either
    comes before the commit, and nothing is changed, or waits for the commit's result.

    Args:
        function: Does it, and is given this object.
        interrupt: Makes what waits for the database on a connection fail; called in Trio's thread.
    """

    def __init__(
        self,
        function: Callable[[ThreadCall[ConnectionT, ResultT]], ResultT],
        interrupt: Callable[[ConnectionT], None],
    ) -> None:
        self._function = function
        self._interrupt = interrupt
        # Held while either thread looks at the three below, and changes them.
        self._guard = threading.Lock()
        self._connection: ConnectionT | None = None
        self._is_abandoned = False
        self._is_committing = False
        self._task: trio.lowlevel.Task | None = None
        self._ended = trio.Event()
        self._is_lost = False

    # In the thread

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody waits for it any more."""
        return self._is_abandoned

    def use(self, connection: ConnectionT | None) -> None:
        """Say which connection may be interrupted from now on; None for none.

        Raises:
            Abandoned: Nobody waits for it any more.
        """
        with self._guard:
            self._connection = connection
            if connection is not None and self._is_abandoned:
                raise Abandoned

    def begin_commit(self) -> None:
        """Say that the next thing is to commit.

        Raises:
            Abandoned: Nobody waits for it any more: roll back.
        """
        with self._guard:
            if self._is_abandoned:
                raise Abandoned
            self._is_committing = True

    def run_here(self) -> ResultT:
        """Do it in this thread, which is not Trio's; nobody abandons it."""
        return self._function(self)

    # In Trio's thread

    async def run(self, limiter: trio.CapacityLimiter, patience: float) -> ResultT:
        """Start the thread, and wait for its result.

        Args:
            limiter: How many threads there may be.
            patience: Seconds that it may take; a commit that is under way gets a little more.

        Raises:
            EngineUnavailable: It took too long; nothing was changed.
            OutcomeUnknown: It took too long to commit.
        """
        with trio.move_on_after(patience):
            await limiter.acquire_on_behalf_of(self)
            return await self._run(limiter)
        raise EngineUnavailable(f"The engine did not answer within {patience:g} s.")

    async def _run(self, limiter: trio.CapacityLimiter) -> ResultT:
        token = trio.lowlevel.current_trio_token()

        def finish(result: outcome.Outcome[ResultT]) -> None:
            limiter.release_on_behalf_of(self)
            self._ended.set()
            self._wake(result)

        def deliver(result: outcome.Outcome[ResultT]) -> None:
            # Trio may have ended since.
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(finish, result)

        try:
            trio.lowlevel.start_thread_soon(lambda: self._function(self), deliver)
        except RuntimeError as error:
            limiter.release_on_behalf_of(self)
            raise EngineUnavailable(f"No thread could be started: {error}") from error
        self._task = trio.lowlevel.current_task()
        result: ResultT = await trio.lowlevel.wait_task_rescheduled(self._abort)
        if self._is_lost:
            raise OutcomeUnknown("The engine has not answered to a commit.")
        return result

    def _wake(self, result: outcome.Outcome[ResultT] | None) -> None:
        task, self._task = self._task, None
        if task is not None and result is None:
            self._is_lost = True
            trio.lowlevel.reschedule(task)
        elif task is not None and result is not None:
            trio.lowlevel.reschedule(task, result)

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        with self._guard:
            if not self._is_committing:
                self._is_abandoned = True
                self._task = None
                self._interrupt_now()
                return trio.lowlevel.Abort.SUCCEEDED
        trio.lowlevel.spawn_system_task(self._end_commit)
        return trio.lowlevel.Abort.FAILED

    async def _end_commit(self) -> None:
        """Let a commit have its grace; then cut its connection, and last wait no more for it."""
        for _ in range(2):
            with trio.move_on_after(COMMIT_GRACE):
                await self._ended.wait()
                return
            with self._guard:
                self._interrupt_now()
        self._wake(None)

    def _interrupt_now(self) -> None:
        # The thread gives no connection back while `_guard` is held.
        if self._connection is not None:
            self._interrupt(self._connection)
