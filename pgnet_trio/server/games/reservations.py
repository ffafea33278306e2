"""Names of games that are taken for a while: nobody else makes, finds or moves a game of one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import trio

__all__ = ["Reservations"]


class Reservations:
    """Lets one task at a time decide what becomes of a name that is not in the lobby.

    Whoever finds no game of a name, and asks elsewhere whether there is one, holds the name until
    there is one in the lobby or the answer is no. Otherwise two who ask at once would make two.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, trio.lowlevel.ParkingLot] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._waiting))

    def __contains__(self, name: object) -> bool:
        return name in self._waiting

    @asynccontextmanager
    async def holding(self, name: str) -> AsyncIterator[None]:
        """Hold a name around the block; wait first, where another task holds it.

        Look for the game again inside of the block. Cancellation holds nothing.
        """
        await trio.lowlevel.checkpoint()
        while (lot := self._waiting.get(name)) is not None:
            await lot.park()
        lot = self._waiting[name] = trio.lowlevel.ParkingLot()
        try:
            yield
        finally:
            del self._waiting[name]
            # All of them: the first may find the game there, and then the others may as well.
            lot.unpark_all()
