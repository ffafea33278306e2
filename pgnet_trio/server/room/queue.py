"""The turns that wait for a room, and what becomes of them when it takes no more."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import attrs
import trio

from pgnet_trio.messages import Response, Status
from pgnet_trio.server.refusals import GONE, JoinRefused, RoomClosed
from pgnet_trio.server.room.player import PacketTurn

if TYPE_CHECKING:
    from pgnet_trio.server.room.instance import Hosted

__all__ = ["Errand", "Inbox", "nothing"]


@attrs.define(eq=False)
class Errand:
    """A turn that is no packet, and that somebody may wait for.

    Attributes:
        action: What is called; it may be async.
        limited: Whether what it changes of the state may wait.
        done: Set when it is over, or refused.
        ran: Whether it came to its end.
        failure: Why not; empty where the room was closed before.
        refusal: What it refused.
    """

    action: Callable[[], Any]
    limited: bool = False
    done: trio.Event = attrs.field(factory=trio.Event)
    ran: bool = False
    failure: str = ""
    refusal: JoinRefused | None = None


class Inbox:
    """Holds the turns that are to come, in order, and wakes the room's task for them.

    Args:
        hosted: The game whose turns they are.

    Attributes:
        turns: Those that wait.
        task: The room's task, which takes them out.
        end_reason: Why no more of them are taken; None while they are.
    """

    def __init__(self, hosted: Hosted) -> None:
        self.turns: deque[PacketTurn | Errand] = deque()
        self.task: trio.lowlevel.Task | None = None
        self.end_reason: str | None = None
        self._hosted = hosted
        self._waiting = False

    def __len__(self) -> int:
        return len(self.turns)

    def put(self, turn: PacketTurn | Errand) -> None:
        """Take a turn in, or refuse it."""
        if self.end_reason is not None:
            self.refuse(turn)
            return
        self.turns.append(turn)
        if self._waiting:
            # As in `wake`, without a call for each packet.
            assert self.task is not None
            self._waiting = False
            trio.lowlevel.reschedule(self.task)
        elif self._hosted.waiting is not None:
            self._hosted.note_wait()

    def post(self, action: Callable[[], Any], *, limited: bool = False) -> Errand:
        """Have something done in a turn of its own."""
        errand = Errand(action, limited)
        self.put(errand)
        return errand

    def poke(self) -> None:
        """See to it that a turn ends soon, for what is done after each."""
        if not self._hosted.busy:
            self.post(nothing)

    def wait(self) -> Awaitable[Any]:
        """Wait for a turn, or for `wake`; to be awaited at once, by the room's task."""
        # No ``async def``: that would be one more frame to go through for each packet.
        self._waiting = True
        return trio.lowlevel.wait_task_rescheduled(self._stop_waiting)  # noqa: ASYNC105

    def wake(self) -> None:
        """Have `wait` return."""
        if self._waiting:
            assert self.task is not None
            self._waiting = False
            trio.lowlevel.reschedule(self.task)

    async def wait_for(self, errand: Errand) -> None:
        """Wait until an errand is done.

        Raises:
            RoomClosed: It did not come to its end.
            JoinRefused: It refused something.
        """
        await errand.done.wait()
        if errand.refusal is not None:
            raise errand.refusal
        if not errand.ran:
            raise RoomClosed(errand.failure or self.end_reason or GONE)

    def refuse(self, turn: PacketTurn | Errand, reason: str = "") -> None:
        """Tell whoever waits for a turn that it does not come, or not to its end."""
        if isinstance(turn, PacketTurn):
            text = reason or self.end_reason or GONE
            turn.player.answer(turn, Response(text, status=Status.UNEXPECTED))
            turn.player.flush()
        else:
            turn.done.set()

    def refuse_all(self) -> None:
        """Refuse all that wait."""
        while self.turns:
            self.refuse(self.turns.popleft())

    def _stop_waiting(self, _: object) -> trio.lowlevel.Abort:
        self._waiting = False
        return trio.lowlevel.Abort.SUCCEEDED


def nothing() -> None:
    """What an errand does that is there for what follows each turn."""
