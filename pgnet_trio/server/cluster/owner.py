"""What a node needs of whoever owns its rooms and sessions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pgnet_trio.server.cluster.records import Arrival, SessionRow

__all__ = ["NodeOwner"]


class NodeOwner(Protocol):
    """Whoever owns the rooms and the sessions of a node. Only `take_…` may wait."""

    def load(self) -> float:
        """Return how much there is to do: the other nodes give rooms to those with little."""

    def hold(self) -> None:
        """Let nothing of a persistent room leave: the lease is over."""

    def go_on(self, rooms: Mapping[str, int] | None, /) -> None:
        """Let the rooms go on that are still the node's, and give up all others.

        Called after `hold`, or without it where the engine's clock has jumped.

        Args:
            rooms: Those that are, with their epochs, and perhaps some that nobody here knows; None
                for all.
        """

    def start_over(self) -> None:
        """Give up all rooms and sessions: the cluster has forgotten the node."""

    def drain(self) -> None:
        """Begin to give the rooms away, as the engine says. Called once."""

    def take_mail(self, body: bytes, /) -> None:
        """Take a mail of another node; each comes once."""

    def has_room(self, name: str, epoch: int, /) -> bool:
        """Return whether a room of this epoch is here."""

    async def take_room(self, arrival: Arrival, /) -> None:
        """Go on with a room that another node has handed over, and that is this node's now.

        No error may come out of this: a game that cannot be made is one that has crashed.
        """

    async def take_session(self, row: SessionRow, /) -> None:
        """Go on with a session that another node has given, and that is this node's now."""
