"""A cluster's engine in memory and in virtual time, which fails as a test says."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import trio

from pgnet_trio.server.cluster.base import LEASE, PATIENCE
from pgnet_trio.server.cluster.engine import Engine
from pgnet_trio.server.cluster.errors import EngineUnavailable, OutcomeUnknown
from pgnet_trio.server.cluster.memory_tables import MemoryTables
from pgnet_trio.server.cluster.threads import COMMIT_GRACE

if TYPE_CHECKING:
    from pgnet_trio.environment import Environment
    from pgnet_trio.server.cluster.tables import Tables

__all__ = ["SimulatedDatabase", "SimulatedEngine"]

T = TypeVar("T")


class SimulatedDatabase:
    """What the engines of several nodes share; a test may assign the attributes at any time.

    Args:
        lease: Seconds of a lease.

    Attributes:
        lease: The same.
        read_only: Whether it takes no writes, as a standby.
        full: Whether it takes no writes, for want of room.
        loses_notes: Whether nobody is woken any more.
    """

    def __init__(self, *, lease: float = LEASE) -> None:
        self.lease = lease
        self.read_only = False
        self.full = False
        self.loses_notes = False
        self._offset = 0.0
        self._is_down = False
        self._engines: weakref.WeakSet[SimulatedEngine] = weakref.WeakSet()
        self._tables = MemoryTables(self.time, lease)

    def copy(self) -> SimulatedDatabase:
        """Return another one with the same content, which works as it should."""
        other = SimulatedDatabase(lease=self.lease)
        other._offset = self._offset
        # The tables ask their database for the time.
        other._tables = copy.deepcopy(self._tables, {id(self): other})
        return other

    def time(self) -> float:
        """Return the time by the database's clock."""
        return trio.current_time() + self._offset

    def jump(self, seconds: float) -> None:
        """Set the database's clock, forward or back."""
        self._offset += seconds

    def stop(self) -> None:
        """Stop the database: calls fail, and what is stored stays."""
        self._is_down = True

    def start(self) -> None:
        """Start it again."""
        self._is_down = False

    def carry_out(self, work: Callable[[Tables], T], *, writes: bool) -> T:
        """Do one transaction.

        Raises:
            EngineUnavailable: It takes none, or no writes.
        """
        if self._is_down:
            raise EngineUnavailable("The simulated database is stopped, as the test wants it.")
        if writes and (self.read_only or self.full):
            why = "is read-only" if self.read_only else "is full"
            raise EngineUnavailable(f"The simulated database {why}, as the test wants it.")
        result = work(self._tables)
        woken, self._tables.woken = self._tables.woken, set()
        if not self.loses_notes:
            for node in woken:
                for engine in self._engines:
                    engine.wake(node)
        return result

    def connect(self, engine: SimulatedEngine) -> None:
        """Wake the nodes of this engine too, as long as there is one."""
        self._engines.add(engine)


class SimulatedEngine(Engine):
    """One node's way to a `SimulatedDatabase`; a test may assign the attributes at any time.

    Args:
        database: The database.
        patience: As for `Engine`.
        environment: As for `Engine`.

    Attributes:
        request_delay: Seconds until a call reaches the database.
        answer_delay: Seconds until its answer is back.
        lost_answers: How many changes from now on get no answer although they are made.
        cut: Whether nothing gets there, and nothing says so.
    """

    def __init__(
        self,
        database: SimulatedDatabase,
        *,
        patience: float = PATIENCE,
        environment: Environment | None = None,
    ) -> None:
        super().__init__(lease=database.lease, patience=patience, environment=environment)
        self.request_delay = 0.0
        self.answer_delay = 0.0
        self.lost_answers = 0
        self.cut = False
        self._database = database
        self._running = trio.Event()
        self._running.set()
        database.connect(self)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Stay until cancelled: there is nothing to connect."""
        task_status.started()
        await trio.sleep_forever()

    def pause(self) -> None:
        """Let no call of this node get to the database, until `resume`."""
        if self._running.is_set():
            self._running = trio.Event()

    def resume(self) -> None:
        """Let calls get to the database again, those that still wait too."""
        self._running.set()

    def wake(self, node: int) -> None:
        """Wake who waits here for news of a node."""
        self._wakeups.wake(node)

    async def _transact(self, work: Callable[[Tables], T], *, writes: bool) -> T:
        with trio.move_on_after(self._patience):
            await trio.lowlevel.checkpoint()
            await trio.sleep(self.request_delay)
            if self.cut:
                await trio.sleep_forever()
            await self._running.wait()
            result = self._database.carry_out(work, writes=writes)
            # It has happened, so a cancellation comes too late.
            with trio.CancelScope(shield=True):
                await self._answer(writes=writes)
            return result
        raise EngineUnavailable(f"The engine did not answer within {self._patience:g} s.")

    def _transact_here(self, work: Callable[[Tables], T]) -> T:
        if self.cut or not self._running.is_set():
            raise EngineUnavailable("The engine is out of reach, as the test wants it.")
        return self._database.carry_out(work, writes=True)

    async def _answer(self, *, writes: bool) -> None:
        if writes and self.lost_answers:
            self.lost_answers -= 1
            raise OutcomeUnknown("The answer was lost, as the test wants it.")
        if self.answer_delay > self._patience + COMMIT_GRACE:
            await trio.sleep(self._patience + COMMIT_GRACE)
            raise OutcomeUnknown("The answer came too late, as the test wants it.")
        await trio.sleep(self.answer_delay)
