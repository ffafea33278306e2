"""What a room needs of its owner: whoever lists, saves and closes the games."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pgnet_trio.game import BotPlayer

__all__ = ["RoomOwner"]


class RoomOwner(Protocol):
    """Owns one room: knows which users are in its game, saves it, and plays its bots.

    Only `save` and `run_bot` wait.
    """

    def is_empty(self) -> bool:
        """Return whether no user is in the game any more; bots do not count."""

    def user_left(self, username: str, /) -> None:
        """Note that the game has kicked a user, who is out of it at once."""

    def room_ended(self, reason: str, /) -> None:
        """Note that the room takes no more turns; called once."""

    async def save(self) -> None:
        """Write the room's save string to disk.

        Raises:
            StorageError: It could not be written.
        """

    def note_cause(self, error: BaseException, /) -> None:
        """Note what the game raised, before anybody is refused because of it."""

    def note_failure(self, error: BaseException, what: str, /) -> None:
        """Log what the game raised, as *what* says, and note it.

        Args:
            error: What it raised; what a signal raised in its code ends the whole server, in order.
            what: A sentence for the log, with the game's name.
        """

    async def run_bot(self, bot: BotPlayer, /) -> None:
        """Let a bot join the game and play, until it is out of it."""
