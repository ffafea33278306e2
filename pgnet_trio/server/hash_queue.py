"""Whose password is hashed next: the places that log-ins come from take turns.

Pure: whoever waits is an object, and whoever wakes it is not here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from pgnet_trio.server.sources import sources

__all__ = ["HashQueue"]

ItemT = TypeVar("ItemT")
GroupT = TypeVar("GroupT")


class HashQueue(Generic[ItemT]):
    """Log-ins that wait for their hash, a bounded number of them.

    Networks take turns, and so do the addresses within each, so that nobody has more than their
    share by having more connections, or, with IPv6, more addresses. Where the queue is full,
    whoever has most in it gives way.

    Args:
        capacity: How many may wait.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        # By network and then by address; the next in turn is the first of each.
        self._waiting: dict[str, dict[str, list[ItemT]]] = {}

    def __len__(self) -> int:
        return sum(map(_size, self._waiting.values()))

    def put(self, address: str | None, item: ItemT) -> ItemT | None:
        """Add one that waits.

        Args:
            address: Where it comes from; None for inside the process.
            item: What waits.

        Returns:
            What has to give way, which is not in the queue any more: perhaps the item itself.
            None where there is room.
        """
        network, source = sources(address)
        self._waiting.setdefault(network, {}).setdefault(source, []).append(item)
        if len(self) <= self._capacity:
            return None
        # Of several with as many, the one that came last: with nobody in its way it would wait.
        networks = self._waiting
        most = max(_size(each) for each in networks.values())
        crowd = network if _size(networks[network]) == most else _longest(networks, _size)
        addresses = networks[crowd]
        most = max(map(len, addresses.values()))
        is_own = crowd == network and len(addresses[source]) == most
        place = source if is_own else _longest(addresses, len)
        out = addresses[place].pop()
        self._tidy(crowd, place)
        return out

    def take(self) -> ItemT:
        """Take out the next one.

        Raises:
            LookupError: Nobody waits.
        """
        if not self._waiting:
            raise LookupError("nobody waits")
        network = next(iter(self._waiting))
        addresses = self._waiting.pop(network)
        source = next(iter(addresses))
        items = addresses.pop(source)
        item = items.pop(0)
        # Behind all others.
        if items:
            addresses[source] = items
        if addresses:
            self._waiting[network] = addresses
        return item

    def discard(self, address: str | None, item: ItemT) -> None:
        """Take out one that waits no more; do nothing where it is not in the queue."""
        network, source = sources(address)
        items = self._waiting.get(network, {}).get(source, [])
        if item in items:
            items.remove(item)
            self._tidy(network, source)

    def _tidy(self, network: str, source: str) -> None:
        addresses = self._waiting[network]
        if not addresses[source]:
            del addresses[source]
        if not addresses:
            del self._waiting[network]


def _size(addresses: dict[str, list[ItemT]]) -> int:
    return sum(map(len, addresses.values()))


def _longest(groups: dict[str, GroupT], size: Callable[[GroupT], int]) -> str:
    return max(reversed(groups), key=lambda name: size(groups[name]))
