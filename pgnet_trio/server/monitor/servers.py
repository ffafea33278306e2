"""What the monitor of one server shows of all servers of its cluster.

The servers are asked for by those who look, and not by the task that looks at this server: a
database that does not answer keeps nobody else waiting.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import trio

from pgnet_trio.server.monitor.describing import describe_listing, describe_node
from pgnet_trio.server.monitor.rows import Rows
from pgnet_trio.server.node.users import NotNow

if TYPE_CHECKING:
    from pgnet_trio.server.node.member import ClusterMember

__all__ = ["Servers"]

ASK_EVERY = 5.0
"""Seconds from one question to the cluster's database to the next, however many look."""

LONGEST_WAIT = 10.0
"""Seconds that an answer may take."""


class Servers:
    """The servers of a cluster, and the tables of all of them.

    Args:
        cluster: This server as a member of it.

    Attributes:
        rows: The servers.
        tables: The tables of all servers, as many as fit into one answer.
        facts: What else there is to say: how many tables are only saved, whether there are more
            than are shown, and what is wrong, if something is.
    """

    def __init__(self, cluster: ClusterMember) -> None:
        self.rows = Rows()
        self.tables = Rows()
        self.facts: dict[str, Any] = {}
        self._cluster = cluster
        self._asking = trio.Lock()
        self._fresh_until = -math.inf

    async def refresh(self) -> None:
        """Ask for all of it, unless it was asked for just now."""
        async with self._asking:
            if trio.current_time() < self._fresh_until:
                return
            problem = "The cluster's database does not answer; this is what was known last."
            with trio.move_on_after(LONGEST_WAIT):
                problem = await self._ask()
            self.facts = {**self.facts, "problem": problem}
            self._fresh_until = trio.current_time() + ASK_EVERY

    async def _ask(self) -> str:
        """Ask for all of it; return what is wrong, or nothing."""
        cluster = self._cluster
        try:
            survey = await cluster.users.survey()
            listings, is_all = await cluster.directory("")
        except NotNow as error:
            return f"{error} This is what was known last."
        names = {node.id: node.name for node in survey.nodes}
        own = cluster.node
        self.rows.put({str(node.id): describe_node(node, survey, own) for node in survey.nodes})
        self.tables.put({each.name: describe_listing(each, names, own) for each in listings})
        self.facts = {"saved": survey.saved, "is_all": is_all}
        return ""
