"""A community of a server that saves nothing: in memory, as long as the server object lives."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

from pgnet_trio.server.cluster.community import Community
from pgnet_trio.server.cluster.memory_community import MemoryCommunity

__all__ = ["MemoryEngine"]

T = TypeVar("T")


class MemoryEngine(Community[MemoryCommunity]):
    """Keeps the tables of a community in memory."""

    def __init__(self) -> None:
        self._tables = MemoryCommunity()

    async def _transact(self, work: Callable[[MemoryCommunity], T], *, writes: bool) -> T:
        await trio.lowlevel.checkpoint()
        return work(self._tables)
