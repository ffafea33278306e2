"""Which game of a room this is, for its result, and whether it has reported one."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

__all__ = ["ID_SIZE", "Outcome"]

ID_SIZE = 16


class Outcome:
    """What the result of a game needs; a rematch is another game.

    Args:
        game: The id of a game that goes on, in hexadecimal; empty for a new one.
        queue: The queue whose ratings it changes; None for a game that is not rated.

        deleted: Users who were deleted before.

    Attributes:
        id: The game's id, which no other game has.
        queue: The same.
        is_kept: Whether the id is saved with the game, so that it counts once whatever happens.
        is_in_saves: Whether that is so in each save of the game from which it may be loaded.
        is_reported: Whether this game has reported its result, or does so just now.
        deleted: Users who were deleted since the game began: what it reports of them is nothing
            of whoever has the name next.
    """

    def __init__(
        self, game: str = "", queue: str | None = None, deleted: Iterable[str] = ()
    ) -> None:
        self.id = bytes.fromhex(game) if game else secrets.token_bytes(ID_SIZE)
        self.queue = queue
        self.is_kept = self.is_in_saves = bool(game)
        self.is_reported = False
        self.deleted = set(deleted)

    def note_game(self, reports: bool, *, loaded: bool) -> None:
        """Note that the game was made.

        Args:
            reports: Whether it will report a result, as far as its class shows.
            loaded: Whether there is a save of it.
        """
        if reports and not self.is_kept:
            self.is_kept, self.is_in_saves = True, not loaded

    def note_deletion(self, username: str) -> bool:
        """Note that a user is deleted, and return whether that is news."""
        is_news = username not in self.deleted
        self.deleted.add(username)
        return is_news

    def begin_anew(self) -> None:
        """Go on with another game, which has its own result."""
        self.id = secrets.token_bytes(ID_SIZE)
        self.deleted.clear()
