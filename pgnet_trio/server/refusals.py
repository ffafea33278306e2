"""Why something is refused, where several parts of the server say so."""

from __future__ import annotations

from typing import Any

from pgnet_trio.errors import PGNetError

__all__ = ["GONE", "SHUTTING_DOWN", "JoinRefused", "RoomClosed"]

GONE = "The game is over."
SHUTTING_DOWN = "The server is shutting down."


class RoomClosed(PGNetError):
    """The room ended before it could do what was asked of it; the message says why."""


class JoinRefused(PGNetError):
    """The game does not let a user in; the message is for the user.

    Args:
        reason: What the user is told.
        payload: Data for the user's program.
    """

    def __init__(self, reason: str, payload: dict[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.payload = payload
