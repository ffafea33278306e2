"""What whoever runs the server says to its users, and to whom it was said."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import attrs
import trio

__all__ = ["MOST_REMEMBERED", "Announcement", "Announcements"]

MOST_REMEMBERED = 16
"""How many announcements a server remembers for sessions on their way, and a session as told."""

REMEMBERED_FOR = 60.0
"""Seconds for which a server does so: a session is not on its way for longer."""


@attrs.frozen
class Announcement:
    """Something that is said to all users.

    Attributes:
        id: Which one, for all servers of a cluster: nobody is told one twice.
        envelope: The push that says it.
        game: The name of the game whose users it is for; empty for everybody.
    """

    id: str
    envelope: bytes
    game: str = ""


class Announcements:
    """The latest announcements, for those sessions that were on their way when they were made."""

    def __init__(self) -> None:
        # Each with the time until which it is remembered, on Trio's clock.
        self._latest: deque[tuple[float, Announcement]] = deque(maxlen=MOST_REMEMBERED)

    def __iter__(self) -> Iterator[Announcement]:
        while self._latest and self._latest[0][0] <= trio.current_time():
            self._latest.popleft()
        return iter([announcement for _, announcement in self._latest])

    def add(self, announcement: Announcement) -> None:
        """Remember an announcement for a while."""
        self._latest.append((trio.current_time() + REMEMBERED_FOR, announcement))
