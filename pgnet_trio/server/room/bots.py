"""The bots of a game: which there are, and which names they may have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgnet_trio.messages import ADMIN_USERNAME
from pgnet_trio.messages import is_username_allowed as could_be_a_user
from pgnet_trio.server.room.scripts import in_turn

if TYPE_CHECKING:
    from pgnet_trio.game import BotPlayer
    from pgnet_trio.server.room.instance import Hosted
    from pgnet_trio.server.room.owner import RoomOwner

__all__ = ["Bots", "check_bot_name", "is_bot_name"]

MAX_NAME = 50


class Bots:
    """The bots that are in a game, or about to be.

    Args:
        owner: Plays them.
        hosted: The game, which they are gone with.
    """

    def __init__(self, owner: RoomOwner, hosted: Hosted) -> None:
        self._owner = owner
        self._hosted = hosted
        self._bots: dict[str, BotPlayer] = {}

    def __contains__(self, username: object) -> bool:
        return username in self._bots

    def start(self, bot: BotPlayer) -> None:
        """Have a bot join and play, in a task of its own."""
        self._bots[bot.username] = bot
        self._hosted.nursery.start_soon(self._run, bot)

    def forget(self, username: str) -> None:
        """Note that a bot is out of the game, so that another one may have its name."""
        self._bots.pop(username, None)

    async def _run(self, bot: BotPlayer) -> None:
        in_turn.set(False)
        try:
            await self._owner.run_bot(bot)
        finally:
            if self._bots.get(bot.username) is bot:
                del self._bots[bot.username]


def check_bot_name(name: str) -> None:
    """Check that a name cannot be that of a user.

    Raises:
        ValueError: It can.
    """
    if not (0 < len(name) <= MAX_NAME and is_bot_name(name)):
        raise ValueError(
            f"a bot cannot be named {name[:60]!r}: give it a name of 1 to {MAX_NAME} characters "
            "that no user can have, such as 'bot 1', with a space"
        )


def is_bot_name(name: str) -> bool:
    """Whether this is no user's name."""
    return name != ADMIN_USERNAME and not could_be_a_user(name)
