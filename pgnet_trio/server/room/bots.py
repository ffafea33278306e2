"""The bots of a game: how they are started, and which names they may have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from pgnet_trio.messages import ADMIN_USERNAME
from pgnet_trio.messages import is_username_allowed as could_be_a_user
from pgnet_trio.server.room.deferred import in_turn

if TYPE_CHECKING:
    from pgnet_trio.game import BotPlayer
    from pgnet_trio.server.room.members import Members
    from pgnet_trio.server.room.owner import RoomOwner
    from pgnet_trio.server.room.runner import Runner

__all__ = ["Bots", "check_bot_name", "is_bot_name"]

MAX_NAME = 50
"""Characters of a bot's name."""


class Bots:
    """Starts the bots of a game, which end with it.

    Args:
        members: The members, and the names of the bots.
        runner: Has the nursery of what ends with the game.
        owner: Plays the bots.
    """

    def __init__(self, members: Members, runner: Runner, owner: RoomOwner) -> None:
        self._members = members
        self._runner = runner
        self._owner = owner
        self._scopes: dict[str, trio.CancelScope] = {}

    def add(self, bot: BotPlayer) -> None:
        """Let a bot join and play, in a task of its own, unless the game is over.

        Raises:
            ValueError: A user could have its name, or somebody in the game has it.
        """
        check_bot_name(bot.username)
        if bot.username in self._members or bot.username in self._members.bots:
            name = self._runner.instance.name
            raise ValueError(f"{bot.username!r} is in the game {name!r} already")
        if self._runner.queue.end_reason is None:
            self._members.bots[bot.username] = bot
            scope = self._scopes[bot.username] = trio.CancelScope()
            self._runner.nursery.start_soon(self._run, bot, scope)

    def dismiss(self, name: str, reason: str) -> None:
        """Send a bot away after this turn, whether or not it has joined yet."""
        if name in self._members:
            self._runner.defer_kick(name, reason)
        elif name in self._scopes:
            self._scopes[name].cancel()

    async def _run(self, bot: BotPlayer, scope: trio.CancelScope) -> None:
        in_turn.set(False)
        name = bot.username
        try:
            with scope:
                await self._owner.run_bot(bot)
        finally:
            # Another bot may have come under its name since.
            if self._members.bots.get(name) is bot:
                del self._members.bots[name]
            if self._scopes.get(name) is scope:
                del self._scopes[name]


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
    """Return whether no user can have this name."""
    return name != ADMIN_USERNAME and not could_be_a_user(name)
