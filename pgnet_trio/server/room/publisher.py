"""What a game makes known: its lobby information, its state, and what it pushes."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from pgnet_trio.errors import CodecError
from pgnet_trio.protocol.v2.lost_pushes import ENTRY_OVERHEAD
from pgnet_trio.protocol.v2.states import MAX_ENVELOPE_SIZE
from pgnet_trio.server.room.queue import TurnQueue, do_nothing
from pgnet_trio.server.room.snapshots import Views
from pgnet_trio.server.room.tape import PACE

if TYPE_CHECKING:
    from pgnet_trio.server.room.instance import GameInstance
    from pgnet_trio.server.room.members import Member, Members
    from pgnet_trio.server.room.player import Player
    from pgnet_trio.server.room.simulation import Simulation

__all__ = ["Publisher", "check_size"]

logger = logging.getLogger("pgnet_trio.server")

MAX_PUSHES = 3000
"""Pushes to one player in one turn; `max_unacknowledged_messages` has room for some more."""

MAX_PUSHED_BYTES = MAX_ENVELOPE_SIZE + ENTRY_OVERHEAD
"""Bytes of these, counted as `max_unacknowledged_bytes` counts them."""


def check_size(envelope: bytes) -> None:
    """Check that a push is no longer than what clients take.

    Raises:
        CodecError: It is.
    """
    size = len(envelope)
    if size > MAX_ENVELOPE_SIZE:
        raise CodecError(
            f"room.push: expected at most {MAX_ENVELOPE_SIZE:,} bytes, which is what clients "
            f"take, got {size:,}"
        )


class Publisher:
    """Makes known what has changed, at the end of each turn, and of each step of a script.

    `refresh` calls the game's code, so only `Runner.publish` may call it: that notes what runs.

    Args:
        instance: The game.
        members: The members to tell.
        queue: Takes the turns in which a delayed state is sent.
        simulation: Says of which tick a state is.

    Attributes:
        info: What the game says about itself in the lobby.
        views: What is known of the game's state; None if it shows none.
        pushes: What was pushed since they were last sent, and to whom.
        touched: The players who were told something since the last `flush`.
        unseeing: The spectators to whom the game could not show its state the last time.
        simulation: The same as the argument, for the parts above.
        state_is_delayed: Whether `pace` is going to have the state shown, soon.
    """

    def __init__(
        self,
        instance: GameInstance,
        members: Members,
        queue: TurnQueue,
        simulation: Simulation,
    ) -> None:
        self.info = ""
        self.views: Views | None = None
        self.pushes: list[tuple[list[Member], bytes | Callable[[Player], bytes]]] = []
        self.touched: dict[Player, None] = {}
        self.unseeing: list[Member] = []
        self._instance = instance
        self._members = members
        self._queue = queue
        self.simulation = simulation
        self.state_is_delayed = False
        self._viewed_at = -math.inf
        self._state_delayed = trio.Event()
        self._said_unwatchable = False
        self._pushed_bytes = 0
        # How many pushes each member is to get and how many bytes, once there are many.
        self._pushed_to: dict[Member, tuple[int, int]] | None = None

    def begin(self) -> None:
        """Begin with a game that was just made."""
        self.views = None
        if self._instance.has_view:
            self.views = Views(self._instance.game, self._instance.counters)
        self.simulation.begin()

    def push(self, members: list[Member], envelope: bytes | Callable[[Player], bytes]) -> None:
        """Keep a push, which is sent when the turn or step is published.

        Args:
            members: Who gets it.
            envelope: It, encoded; or what encodes it for a player whose client has come by then.
        """
        self.pushes.append((members, envelope))

    def check_push(self, members: list[Member], envelope: bytes) -> None:
        """Check that a push is no more than its receivers can take at once.

        What waits for a player is limited, and a push too many drives out an earlier one. So what a
        turn, or a step, pushes is limited too: beyond that, it is the author's error.

        Raises:
            CodecError: It is too long, or the turn has pushed too much.
        """
        check_size(envelope)
        size = len(envelope)
        if not self.pushes:
            self._pushed_bytes, self._pushed_to = 0, None
        self._pushed_bytes += size + ENTRY_OVERHEAD
        if len(self.pushes) < MAX_PUSHES and self._pushed_bytes <= MAX_PUSHED_BYTES:
            return
        if self._pushed_to is None:
            self._pushed_to = {}
            for receivers, earlier in self.pushes:
                # Who is there is no push of the author's.
                if isinstance(earlier, bytes):
                    self._count_push(receivers, len(earlier) + ENTRY_OVERHEAD)
        self._count_push(members, size + ENTRY_OVERHEAD)

    def _count_push(self, members: list[Member], size: int) -> None:
        pushed = self._pushed_to
        assert pushed is not None
        for member in members:
            count, size_before = pushed.get(member, (0, 0))
            if count >= MAX_PUSHES or size_before + size > MAX_PUSHED_BYTES:
                raise CodecError(
                    f"room.push: expected at most {MAX_PUSHES:,} messages to one player in one "
                    f"turn, of {MAX_PUSHED_BYTES:,} bytes in all; got {count + 1:,} of "
                    f"{size_before + size:,} bytes to {member.player.username!r}. Put into one "
                    "what belongs together"
                )
            pushed[member] = (count + 1, size_before + size)

    def refresh(self, *, delayable: bool = False) -> None:
        """Ask the game for its lobby information and its state, and show what has changed.

        Args:
            delayable: Whether the state is delayed if it was sent a moment ago.
        """
        if self._instance.has_info:
            self.info = self._instance.lobby_info()
        if self.views is not None:
            now = trio.current_time()
            # The same sum as in `pace`: another one could be rounded differently.
            if delayable and now < self._viewed_at + self._sync_interval():
                self.state_is_delayed = True
                self._state_delayed.set()
            else:
                self._viewed_at = now
                viewers = self._members.entered
                shown = self.views.refresh(viewers)
                if self.simulation.is_used:
                    to_mark = shown if self._instance.inputs is None else viewers
                    for viewer in self.simulation.mark(to_mark):
                        self.touched[viewer.player] = None
                for viewer in shown:
                    self.touched[viewer.player] = None
                if shown and self._instance.tape is not None:
                    self._instance.tape.note_states(self.views.changes_for(shown))
                if self.views.failure is not None:
                    self._note_unwatchable(self.views.failure)
                    self.views.failure = None
                    self.unseeing = [viewer for viewer in viewers if viewer.is_spectator]

    def send_pushes(self) -> None:
        """Send what was pushed to the members."""
        pushes, self.pushes = self.pushes, []
        touched, counters = self.touched, self._instance.counters
        for members, envelope in pushes:
            counters.pushes += len(members)
            if not isinstance(envelope, bytes):
                for member in members:
                    member.push(envelope(member.player))
                    touched[member.player] = None
                continue
            for member in members:
                member.push(envelope)
                touched[member.player] = None

    def flush(self) -> None:
        """Write everything that players were told since the last time."""
        if self.touched:
            touched, self.touched = self.touched, {}
            for player in touched:
                player.flush()

    async def pace(self) -> None:
        """Send each delayed state when its time has come, until cancelled."""
        while True:
            await self._state_delayed.wait()
            deadline, tape = self._viewed_at + self._sync_interval(), self._instance.tape
            if tape is None:
                await trio.sleep_until(deadline)
            else:
                await tape.wait_until_due(PACE, deadline)
            self._state_delayed = trio.Event()
            self.state_is_delayed = False
            self._queue.post(do_nothing, delayable=True)

    def _note_unwatchable(self, error: Exception) -> None:
        # Once: strangers choose how often they come back.
        if not self._said_unwatchable:
            self._said_unwatchable = True
            logger.error(
                "The game %r goes on without its spectators: its view raised for them",
                self._instance.name,
                exc_info=error,
            )

    def _sync_interval(self) -> float:
        rate = self._instance.game.sync_rate
        return 1 / rate if rate > 0 else math.inf
