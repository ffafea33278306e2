"""Users on their way from one server of a cluster to another: how many, and when they are there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import trio

__all__ = ["Crowd", "Departure", "Welcomes"]

AT_ONCE = 10
"""How many users are on their way to one server at once, unless there are more in one game. Each
costs it a handshake, and waits for those before."""

CROWD_PATIENCE = 2.0
"""Seconds to wait for users who are on their way, at most."""

WELCOME_PATIENCE = 1.0
"""Seconds in which clients that were connected come; those that do not are not waited for."""

BATCH = 0.02
"""Seconds for which it is collected who has come, before it is told."""


class Departure:
    """A game on its way to another server.

    That one may say that it has the game before this one knows in which epoch.
    """

    def __init__(self) -> None:
        self._epochs: set[int] = set()
        self._changed = trio.Event()

    def note_arrival(self, epoch: int) -> None:
        """Note that the other server has it."""
        self._epochs.add(epoch)
        self._changed.set()
        self._changed = trio.Event()

    async def wait_for_arrival(self, epoch: int) -> None:
        """Wait until the other server has it in this epoch."""
        await trio.lowlevel.checkpoint()
        while epoch not in self._epochs:
            await self._changed.wait()


class Crowd:
    """Counts the users on their way to other servers."""

    def __init__(self) -> None:
        self._users: dict[int, int] = {}
        self._changed = trio.Event()

    def note_sent(self, node: int, users: int) -> None:
        """Note that so many users were sent to a server."""
        self._users[node] = self._users.get(node, 0) + users

    def note_welcomed(self, node: int, users: int) -> None:
        """Note that so many of them are there."""
        self._users[node] = max(0, self._users.get(node, 0) - users)
        self._changed.set()
        self._changed = trio.Event()

    async def wait_for_space(self, node: int, users: int) -> None:
        """Wait until so many more may go to a server; not for ever."""
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(CROWD_PATIENCE):
            while (before := self._users.get(node, 0)) and before + users > AT_ONCE:
                await self._changed.wait()
            return
        self._users[node] = 0


class Welcomes:
    """Tells servers that give their games away how many of the users are here.

    Args:
        services: The nursery in which it waits for them.
        tell: Tells a server, by its id, how many more there are.
    """

    def __init__(self, services: trio.Nursery, tell: Callable[[int, int], Awaitable[None]]) -> None:
        self._services = services
        self._tell = tell
        self._untold: dict[int, int] = {}

    def expect(self, giver: int, arriving: Iterable[trio.Event], users: int) -> None:
        """Wait for users, and then tell of them. Never waits.

        Args:
            giver: The id of the server that sends them.
            arriving: An event for each that is on the way here.
            users: How many there are in all.
        """
        self._services.start_soon(self._welcome, giver, list(arriving), users)

    async def _welcome(self, giver: int, arriving: list[trio.Event], users: int) -> None:
        with trio.move_on_after(WELCOME_PATIENCE):
            for event in arriving:
                await event.wait()
        is_first = giver not in self._untold
        self._untold[giver] = self._untold.get(giver, 0) + users
        if is_first:
            await trio.sleep(BATCH)
            await self._tell(giver, self._untold.pop(giver))
