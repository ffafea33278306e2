"""What a room needs of its owner: whoever lists, saves and closes the games."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgnet_trio.game import BotPlayer
    from pgnet_trio.server.room.outcome import Outcome
    from pgnet_trio.server.room.player import Player
    from pgnet_trio.standings import Leaderboard, PlayedGame, Result

__all__ = ["RoomOwner"]


class RoomOwner(Protocol):
    """Owns one room: knows which users are in its game, saves it, and plays its bots.

    Only `save`, `report` and `run_bot` wait.
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

    async def report(
        self,
        result: Result,
        outcome: Outcome,
        users: tuple[str, ...],
        leaderboards: Mapping[str, Leaderboard],
    ) -> PlayedGame:
        """Count the game's result, once however often it is reported.

        Args:
            result: The result.
            outcome: Which game it is.
            users: Who of its players is no bot.
            leaderboards: What it is for.

        Raises:
            ReportRefused: It could not be counted.
        """

    def note_cause(self, error: BaseException, asker: str | None = None, /) -> None:
        """Note what the game raised, before anybody is refused because of it.

        Args:
            error: What it raised.
            asker: Whose request it raised over, where that user waits for the answer.
        """

    def note_failure(
        self, error: BaseException, what: str, player: Player | None = None, /
    ) -> None:
        """Log what the game raised, as *what* says, and note it.

        Args:
            error: What it raised; what a signal raised in its code ends the whole server, in order.
            what: A sentence for the log, with the game's name.
            player: Whose message it raised over; None for nobody's.
        """

    async def run_bot(self, bot: BotPlayer, /) -> None:
        """Let a bot join the game and play, until it is out of it."""
