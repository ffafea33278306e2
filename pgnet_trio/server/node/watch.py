"""Which other servers are there, and which are silent: read a few times a second at most."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from pgnet_trio.server.cluster.node import until_next_look
from pgnet_trio.server.cluster.rules import is_silent

if TYPE_CHECKING:
    from pgnet_trio.server.cluster.engine import Engine
    from pgnet_trio.server.cluster.records import Node

__all__ = ["NodeWatch"]

FRESH_SHARE = 1 / 16
"""For which part of a lease what was read of the nodes is as good as new."""


class NodeWatch:
    """Looks after the other nodes, for all who ask at once.

    When a node dies, all of its users come to the others within a second: they wait together.

    Args:
        engine: What the nodes share.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._nodes: dict[int, Node] = {}
        self._read_at = -math.inf
        self._reading = trio.Lock()

    async def wait_for_life(self, number: int, patience: float) -> Node | None:
        """Wait until a node has renewed its lease lately, or is known to be dead.

        Args:
            number: The node's.
            patience: Seconds to wait at most.

        Returns:
            The node, which may be silent where the patience was over; None where it is dead.

        Raises:
            EngineError: It cannot be found out.
        """
        lease = self._engine.lease
        deadline = trio.current_time() + patience
        while True:
            node, left = await self._find(number)
            if node is None or left <= 0:
                return None
            patience = deadline - trio.current_time()
            if patience <= 0 or not is_silent(left, lease):
                return node
            await trio.sleep(min(until_next_look(left, lease), patience))

    async def _find(self, number: int) -> tuple[Node | None, float]:
        """Return a node, and for how many seconds its lease holds; 0 where it does not."""
        async with self._reading:
            if trio.current_time() >= self._read_at + FRESH_SHARE * self._engine.lease:
                # Counted from before: it must not seem newer than it is.
                now = trio.current_time()
                self._nodes = {node.id: node for node in await self._engine.nodes()}
                self._read_at = now
        node = self._nodes.get(number)
        if node is None or not node.alive:
            return node, 0.0
        return node, node.lease_left - (trio.current_time() - self._read_at)
