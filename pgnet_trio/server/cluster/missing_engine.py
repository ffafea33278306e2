"""Stands where a server has nowhere to keep what a community needs, and says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

from pgnet_trio.server.cluster.community import Community
from pgnet_trio.server.cluster.community_tables import CommunityTables
from pgnet_trio.server.cluster.errors import NotKept

__all__ = ["MissingEngine"]

T = TypeVar("T")


class MissingEngine(Community[CommunityTables]):
    """Refuses everything.

    Args:
        reason: Why, and what to do, for whoever runs the server.
    """

    def __init__(self, reason: str) -> None:
        self._reason = reason

    async def forget_player(self, name: str) -> None:
        """Do nothing: nothing is kept of anybody."""
        await trio.lowlevel.checkpoint()

    async def forget_user(self, username: str) -> None:
        """Do nothing, for the same reason."""
        await trio.lowlevel.checkpoint()

    async def _transact(self, work: Callable[[CommunityTables], T], *, writes: bool) -> T:
        await trio.lowlevel.checkpoint()
        raise NotKept(self._reason)
