"""What a game makes known: its lobby information, its state, and what it pushes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from pgnet_trio.server.room.queue import TurnQueue, do_nothing
from pgnet_trio.server.room.views import Views

if TYPE_CHECKING:
    from pgnet_trio.server.room.instance import GameInstance
    from pgnet_trio.server.room.members import Member, Members
    from pgnet_trio.server.room.player import Player

__all__ = ["Publisher"]


class Publisher:
    """Makes known what has changed, at the end of each turn, and of each step of a script.

    `look` calls the game's code; so it is for `Runner.publish` alone, which notes what runs.

    Args:
        instance: The game.
        members: The members to tell.
        queue: Takes the turns in which a delayed state is sent.

    Attributes:
        info: What the game says about itself in the lobby.
        views: What is known of the game's state; None if it shows none.
        pushes: What was pushed since they were last sent, and to whom.
        touched: The players who were told something since the last `flush`.
    """

    def __init__(self, instance: GameInstance, members: Members, queue: TurnQueue) -> None:
        self.info = ""
        self.views: Views | None = None
        self.pushes: list[tuple[list[Member], bytes]] = []
        self.touched: dict[Player, None] = {}
        self._instance = instance
        self._members = members
        self._queue = queue
        self._viewed_at = -math.inf
        self._state_delayed = trio.Event()

    def begin(self) -> None:
        """Begin with a game that was just made."""
        self.views = Views(self._instance.game) if self._instance.has_view else None

    def push(self, members: list[Member], envelope: bytes) -> None:
        """Have an encoded push sent when the turn or step is published."""
        self.pushes.append((members, envelope))

    def look(self, *, limited: bool = False) -> None:
        """Ask the game for its lobby information and its state, and show what has changed.

        Args:
            limited: Whether the state is delayed if it was sent a moment ago.
        """
        if self._instance.has_info:
            info = self._instance.game.get_lobby_info()
            if not isinstance(info, str):
                raise TypeError(f"get_lobby_info() has to return a str; it returned {info!r}.")
            self.info = info
        if self.views is not None:
            now = trio.current_time()
            # The same sum as in `pace`: another one could be rounded differently.
            if limited and now < self._viewed_at + self._sync_interval():
                self._state_delayed.set()
            else:
                self._viewed_at = now
                for viewer in self.views.refresh(self._members.entered):
                    self.touched[viewer.player] = None

    def send_pushes(self) -> None:
        """Send what was pushed to the members."""
        pushes, self.pushes = self.pushes, []
        touched = self.touched
        for members, envelope in pushes:
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
        """Have each delayed state sent when its time has come, until cancelled."""
        while True:
            await self._state_delayed.wait()
            await trio.sleep_until(self._viewed_at + self._sync_interval())
            self._state_delayed = trio.Event()
            self._queue.post(do_nothing, limited=True)

    def _sync_interval(self) -> float:
        rate = self._instance.game.sync_rate
        return 1 / rate if rate > 0 else math.inf
