"""The engine's face for a game's community: all that every server has, also one that is alone."""

from __future__ import annotations

from pgnet_trio.server.cluster.calls import TablesT
from pgnet_trio.server.cluster.moderation import Moderation
from pgnet_trio.server.cluster.standings import Standings

__all__ = ["Community"]


class Community(Standings[TablesT], Moderation[TablesT]):
    """What a game's community needs: each group of methods is one more base.

    No lease and no node is needed for any of it.
    """
