"""The tables of a community in memory; pure."""

from __future__ import annotations

from pgnet_trio.server.cluster.community_tables import CommunityTables
from pgnet_trio.server.cluster.memory_standings import MemoryStandings

__all__ = ["MemoryCommunity"]


class MemoryCommunity(MemoryStandings, CommunityTables):
    """What a game's community needs, in dictionaries: each group of tables is one more base."""
