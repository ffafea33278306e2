"""A connection that sends nothing while it may not."""

from __future__ import annotations

from typing import Protocol, TypeVar

from pgnet_trio.connection import Connection

__all__ = ["Gate", "GatedConnection"]

EventT = TypeVar("EventT")


class Gate(Protocol):
    """Knows what may leave."""

    def may_send(self, username: str, /) -> bool:
        """Return whether something may leave for a user."""


class GatedConnection(Connection[EventT]):
    """A connection of a server in a cluster.

    What has to wait is written by the first `flush` after the gate is open. A connection that is
    closed meanwhile sends none of it.
    """

    writes_at_once = False

    _username: str | None = None
    _gate: Gate

    def guard(self, username: str, gate: Gate) -> None:
        """Ask, from now on, before anything is sent.

        Args:
            username: Whose connection it is.
            gate: Says whether something may leave for a user.
        """
        self._username, self._gate = username, gate

    def flush(self, *, closes: bool = True) -> None:
        """Write what waits, if that may be; see `Connection.flush`."""
        if self._username is None or self._gate.may_send(self._username):
            super().flush(closes=closes)
