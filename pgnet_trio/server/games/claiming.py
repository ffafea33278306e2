"""A name that is held while it is claimed, so that no claim is left of which no game comes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from pgnet_trio.server.games.claims import RoomClaims
    from pgnet_trio.server.games.registry import GameRegistry

__all__ = ["claiming"]


@asynccontextmanager
async def claiming(games: GameRegistry, claims: RoomClaims, name: str) -> AsyncIterator[None]:
    """Hold a name around the block, and give up what was claimed and did not become a game."""
    async with games.reservations.holding(name):
        try:
            yield
        finally:
            if games.lobby.get(name) is None:
                with trio.CancelScope(shield=True):
                    await claims.release(name)
