"""The tables of a community in SQL."""

from __future__ import annotations

from pgnet_trio.server.cluster.community_tables import CommunityTables
from pgnet_trio.server.cluster.sql_moderation import SQLModeration
from pgnet_trio.server.cluster.sql_standings import SQLStandings

__all__ = ["SQLCommunity"]


class SQLCommunity(SQLStandings, SQLModeration, CommunityTables):
    """What a game's community needs, for one transaction: each group is one more base."""
