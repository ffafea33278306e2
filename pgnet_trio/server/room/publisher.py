"""What a game makes known: its lobby information, its state, and what it pushes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from pgnet_trio.server.room.queue import Inbox, nothing
from pgnet_trio.server.room.views import Views

if TYPE_CHECKING:
    from pgnet_trio.server.room.instance import Hosted
    from pgnet_trio.server.room.members import Member, Members
    from pgnet_trio.server.room.player import Player

__all__ = ["News"]


class News:
    """Makes known what has changed, at the end of each turn, and of each step of a script.

    Args:
        hosted: The game.
        members: Who is told.
        inbox: Takes the turns that are there for a state that had to wait.

    Attributes:
        info: What the game says about itself to those who look for one.
        views: What is known of the game's state; None where it shows none.
        pushes: What was pushed since the last `publish`, and to whom.
        touched: Who was told something since the last `flush`.
    """

    def __init__(self, hosted: Hosted, members: Members, inbox: Inbox) -> None:
        self.info = ""
        self.views: Views | None = None
        self.pushes: list[tuple[list[Member], bytes]] = []
        self.touched: dict[Player, None] = {}
        self._hosted = hosted
        self._members = members
        self._inbox = inbox
        self._viewed_at = -math.inf
        self._view_wanted = trio.Event()

    def begin(self) -> None:
        """Begin with a game that was made just now."""
        self.views = Views(self._hosted.game) if self._hosted.has_view else None

    def publish(self, *, limited: bool = False) -> None:
        """Make known what has changed: the lobby's information, then the state, then pushes.

        It leaves with the next `flush`.

        Args:
            limited: Whether the state waits where it was sent a moment ago.
        """
        hosted = self._hosted
        if hosted.has_info:
            info = hosted.game.get_lobby_info()
            if not isinstance(info, str):
                raise TypeError(f"get_lobby_info() has to return a str; it returned {info!r}.")
            self.info = info
        touched = self.touched
        if self.views is not None:
            # The same sum as in `pace`, so that no rounding comes between.
            if limited and trio.current_time() < self._viewed_at + self._sync_interval():
                self._view_wanted.set()
            else:
                self._viewed_at = trio.current_time()
                # What it pushes waits for its end.
                busy, hosted.busy = hosted.busy, object()
                try:
                    for viewer in self.views.refresh(self._members.entered):
                        touched[viewer.player] = None
                finally:
                    hosted.busy = busy
        if self.pushes:
            pushes, self.pushes = self.pushes, []
            for members, envelope in pushes:
                for member in members:
                    member.push(envelope)
                    touched[member.player] = None

    def flush(self) -> None:
        """Have everything written that was said since the last time."""
        if self.touched:
            touched, self.touched = self.touched, {}
            for player in touched:
                player.flush()

    def sync(self) -> None:
        """Make known what has changed, now."""
        if self._inbox.end_reason is None and self._hosted.made:
            self.publish()
            self.flush()

    async def pace(self) -> None:
        """Have a state that had to wait shown when its time has come."""
        while True:
            await self._view_wanted.wait()
            await trio.sleep_until(self._viewed_at + self._sync_interval())
            self._view_wanted = trio.Event()
            self._inbox.post(nothing, limited=True)

    def _sync_interval(self) -> float:
        rate = self._hosted.game.sync_rate
        return 1 / rate if rate > 0 else math.inf
