"""The tables that every server has, also one that is alone: each group of them is one more base."""

from __future__ import annotations

from pgnet_trio.server.cluster.moderation_tables import ModerationTables
from pgnet_trio.server.cluster.standing_tables import StandingTables

__all__ = ["CommunityTables"]


class CommunityTables(StandingTables, ModerationTables):
    """What a game's community needs, whatever keeps it."""
