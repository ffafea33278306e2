"""What a room needs of whoever keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pgnet_trio.game import BotPlayer

__all__ = ["RoomOwner"]


class RoomOwner(Protocol):
    """Keeps one room: knows who is in its game, saves it, and plays its bots.

    Only `save` and `run_bot` wait.
    """

    def is_empty(self) -> bool:
        """Whether no user is in the game any more; bots do not count."""

    def user_left(self, username: str, /) -> None:
        """Note that the game has sent a user away, who is out of it at once."""

    def room_ended(self, reason: str, /) -> None:
        """Note that the room takes no more turns; called once."""

    async def save(self) -> None:
        """Put the room's save string on disk; raises StorageError where that fails."""

    def note_failure(self, error: BaseException, /) -> None:
        """Note what the game raised, which is in the log already."""

    async def run_bot(self, bot: BotPlayer, /) -> None:
        """Have a bot join the game and play, until it is out of it."""
