"""The turns that wait for a room, and what becomes of them once it takes no more."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any

import attrs
import trio

from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.refusals import GONE, JoinRefused, RoomClosed, refused
from pgnet_trio.server.room.player import PacketTurn, Player

if TYPE_CHECKING:
    from pgnet_trio.server.room.lateness import Lateness


__all__ = ["Call", "TurnQueue", "do_nothing"]

logger = logging.getLogger("pgnet_trio.server")

LONG_WAIT = 5.0
"""Seconds that the turn in progress may wait, while others queue, before the log says so."""


@attrs.define(eq=False)
class Call:
    """A turn that is no packet: a function of the room's own, which somebody may wait for.

    Attributes:
        action: The function; it may be async.
        delayable: Whether what it changes of the state may be sent later.
        may_be_last: Whether the game ends after it if no user is in the game any more.
        awaited_by: Who waits for it in order to answer this player's request: what the player is
            told in this turn leaves with the answer. None for nobody.
        done: Set when it has run, or was refused.
        ran: Whether it ran to its end.
        failure: Why it did not; empty if the room was closed before.
        refusal: What it refused.
    """

    action: Callable[[], Awaitable[None] | None]
    delayable: bool = False
    may_be_last: bool = False
    awaited_by: Player | None = None
    done: trio.Event = attrs.field(factory=trio.Event)
    ran: bool = False
    failure: str = ""
    refusal: JoinRefused | None = None


class TurnQueue:
    """Holds the turns that wait, in order, and wakes the room's task for them.

    Args:
        game_name: The game's name, for the log.
        lateness: Counts the turns that wait for long.

    Attributes:
        turns: The turns that wait.
        end_reason: Why the room takes no more turns; None while it does.
        is_waiting: Whether the room's task waits for a turn, so that the next begins at once.
        context: The context of that task, once it serves the queue.
        note_call: Is told of each call that is posted; None for nobody.
        take_in: Puts a packet that comes just now: `put`, or what notes it before.
    """

    context: Context

    def __init__(self, game_name: str, lateness: Lateness) -> None:
        self.turns: deque[PacketTurn | Call] = deque()
        self.end_reason: str | None = None
        self.note_call: Callable[[Call], None] | None = None
        self.take_in: Callable[[PacketTurn], None] = self.put
        self._game_name = game_name
        self._lateness = lateness
        self._task: trio.lowlevel.Task | None = None
        self.is_waiting = False
        # The hook that the turn in progress waits for, and whether the log has named it.
        self._blocking_hook: Coroutine[Any, Any, Any] | None = None
        self._blocked_since = 0.0
        self._blocking_is_told = False

    def __len__(self) -> int:
        return len(self.turns)

    def put(self, turn: PacketTurn | Call) -> None:
        """Queue a turn, or refuse it."""
        if self.end_reason is not None:
            self.refuse(turn)
            return
        self.turns.append(turn)
        if self.is_waiting:
            # As `wake`, without a call for each packet.
            assert self._task is not None
            self.is_waiting = False
            trio.lowlevel.reschedule(self._task)
        elif self._blocking_hook is not None and not self._blocking_is_told:
            self._log_long_wait()

    def post(
        self,
        action: Callable[[], Awaitable[None] | None],
        *,
        delayable: bool = False,
        may_be_last: bool = False,
        awaited_by: Player | None = None,
    ) -> Call:
        """Queue a call of a function; see `Call`."""
        call = Call(action, delayable, may_be_last, awaited_by)
        if self.note_call is not None:
            self.note_call(call)
        self.put(call)
        return call

    def serve(self) -> None:
        """Let the calling task be the one that takes the turns: `wait` is for it alone."""
        self._task = trio.lowlevel.current_task()
        self.context = self._task.context

    def wait(self) -> Awaitable[Any]:
        """Wait for a turn, or for `wake`; to be awaited at once."""
        # No ``async def``: that would be one more frame to go through for each packet.
        self.is_waiting = True
        return trio.lowlevel.wait_task_rescheduled(self._stop_waiting)  # noqa: ASYNC105 - awaited by the caller

    def wake(self) -> None:
        """Let `wait` return."""
        if self.is_waiting:
            assert self._task is not None
            self.is_waiting = False
            trio.lowlevel.reschedule(self._task)

    async def wait_for(self, call: Call) -> None:
        """Wait until a call is done.

        Raises:
            RoomClosed: It did not run to its end.
            JoinRefused: It refused something.
        """
        await call.done.wait()
        if call.refusal is not None:
            raise call.refusal
        if not call.ran:
            raise RoomClosed(call.failure or self.end_reason or GONE)

    def note_blocked_by(self, hook: Coroutine[Any, Any, Any]) -> None:
        """Note that the turn in progress waits for a hook."""
        self._blocking_hook = hook
        self._blocked_since = trio.current_time()
        self._blocking_is_told = False

    def note_unblocked(self) -> None:
        """Note that the hook has ended."""
        hook, self._blocking_hook = self._blocking_hook, None
        # The turn that a closed room cuts off is no slow one.
        if hook is not None and self.end_reason is None:
            self._lateness.note_turn(hook, trio.current_time() - self._blocked_since)

    def refuse(self, turn: PacketTurn | Call, reason: str = "") -> None:
        """Tell whoever waits for a turn that it does not run, or not to its end."""
        if isinstance(turn, PacketTurn):
            code = ReasonCode.GAME_FAILED if reason else ReasonCode.GAME_OVER
            turn.player.answer(turn, refused(reason or self.end_reason or GONE, code))
            turn.player.flush()
        else:
            turn.done.set()

    def refuse_packets(self) -> None:
        """Refuse the packets that wait, and keep the calls: the game that they are for is over."""
        packets = [turn for turn in self.turns if isinstance(turn, PacketTurn)]
        calls = [turn for turn in self.turns if not isinstance(turn, PacketTurn)]
        self.turns.clear()
        self.turns.extend(calls)
        for turn in packets:
            turn.player.answer(turn, refused(GONE, ReasonCode.GAME_OVER))
            turn.player.flush()

    def refuse_all(self) -> None:
        """Refuse all turns that wait."""
        while self.turns:
            self.refuse(self.turns.popleft())

    def _stop_waiting(self, _: object) -> trio.lowlevel.Abort:
        self.is_waiting = False
        return trio.lowlevel.Abort.SUCCEEDED

    def _log_long_wait(self) -> None:
        """Log, once for each hook, that turns queue behind one that waits for long."""
        waited, hook = trio.current_time() - self._blocked_since, self._blocking_hook
        if waited < LONG_WAIT or hook is None:
            return
        self._blocking_is_told = True
        frame = getattr(hook, "cr_frame", None)
        where = f", at {frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""
        logger.warning(
            "The game %r takes no other turn while %s waits, for %.0f s now%s. Start a task for "
            "what takes long: self.room.nursery.start_soon(...)",
            self._game_name,
            getattr(hook, "__qualname__", "a hook"),
            waited,
            where,
        )


def do_nothing() -> None:
    """Do nothing: queued only for the after-turn work."""
