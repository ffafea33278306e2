"""Which game of a room this is, for its result, and whether it has reported one."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable

__all__ = ["ID_SIZE", "MAX_LEFT", "Outcome"]

ID_SIZE = 16

MAX_LEFT = 1000
"""Players who have left and are remembered; after more, the result may name anybody."""


class Outcome:
    """What the result of a game needs; a rematch is another game.

    Args:
        game: The id of a game that goes on, in hexadecimal; empty for a new one.
        queue: The queue whose ratings it changes; None for a game that is not rated.
        began: When it began, in seconds since 1970.
        left: Who has played in it and is not in it now; None where nobody knows.

    Attributes:
        id: The game's id, which no other game has.
        queue: The same.
        began: The same. Whoever was deleted since is another user than who has the name next.
        left: The same. Whoever plays now is not among them, but for those who are back.
        is_kept: Whether the id is saved with the game, so that it counts once whatever happens.
        is_in_saves: Whether each save from which the game may be loaded leads to that id.
        is_reported: Whether this game has reported its result, or does so just now.
    """

    def __init__(
        self,
        game: str = "",
        queue: str | None = None,
        *,
        began: float = 0.0,
        left: Iterable[str] | None = (),
    ) -> None:
        self.id = bytes.fromhex(game) if game else secrets.token_bytes(ID_SIZE)
        self.queue = queue
        self.began = began
        self.left = None if left is None else set(left)
        self.is_kept = self.is_in_saves = bool(game)
        self.is_reported = False

    def note_game(self, reports: bool, *, loaded: bool) -> None:
        """Note that the game was made.

        Args:
            reports: Whether it will report a result, as far as its class shows.
            loaded: Whether there is a save of it.
        """
        if reports and not self.is_kept:
            self.is_kept, self.is_in_saves = True, not loaded

    def note_left(self, player: str) -> None:
        """Note that somebody plays no more, whom the result may name all the same."""
        if self.left is not None:
            self.left.add(player)
            if len(self.left) > MAX_LEFT:
                self.left = None

    def begin_anew(self, now: float) -> None:
        """Go on with another game, which has its own result, from *now* on.

        Its id follows from the one before. So a game that is loaded from a save of before its
        rematch, and has that again, has the same one again, and what it has reported counts once.
        """
        self.id = hashlib.blake2b(self.id, digest_size=ID_SIZE, person=b"rematch").digest()
        self.began = now
        self.left = set()
