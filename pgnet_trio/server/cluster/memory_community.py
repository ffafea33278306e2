"""The tables of a community in memory; pure."""

from __future__ import annotations

from pgnet_trio.server.cluster.community_tables import CommunityTables
from pgnet_trio.server.cluster.memory_moderation import MemoryModeration
from pgnet_trio.server.cluster.memory_standings import MemoryStandings

__all__ = ["MemoryCommunity"]


class MemoryCommunity(MemoryStandings, MemoryModeration, CommunityTables):
    """What a game's community needs, in dictionaries: each group of tables is one more base."""

    def __init__(self) -> None:
        MemoryStandings.__init__(self)
        MemoryModeration.__init__(self)
