"""Which of the other nodes gets the next game or user of one that ends; pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pgnet_trio.server.cluster.rules import is_home

if TYPE_CHECKING:
    from pgnet_trio.server.cluster.records import Node

__all__ = ["Shares", "takers"]


def takers(nodes: Iterable[Node], own: int, lease: float) -> list[Node]:
    """Return the nodes that take rooms, those with the least to do first.

    Args:
        nodes: All nodes.
        own: The number of the one that asks.
        lease: Seconds of a lease: a node that should have renewed its own may be dead.
    """
    found = [node for node in nodes if node.id != own and is_home(node, lease)]
    return sorted(found, key=lambda node: node.load)


class Shares:
    """Counts what each node was given since it has told its load."""

    def __init__(self) -> None:
        # The load that each node has told last, and how many users it was given since.
        self._given: dict[int, tuple[float, float]] = {}

    def in_order(self, nodes: Iterable[Node]) -> list[Node]:
        """Return nodes, those with the least to do first."""
        return sorted(nodes, key=lambda node: node.load + self._given_to(node))

    def note(self, node: Node, users: int) -> None:
        """Note that a node was given so many users."""
        self._given[node.id] = node.load, self._given_to(node) + users

    def _given_to(self, node: Node) -> float:
        load, given = self._given.get(node.id, (node.load, 0.0))
        # A load that has changed counts them already.
        return given if load == node.load else 0.0
