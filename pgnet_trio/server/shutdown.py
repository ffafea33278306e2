"""Whether one run of a server is to end, and how far it has got with that."""

from __future__ import annotations

import trio

__all__ = ["Shutdown"]


class Shutdown:
    """The end of one run: requested once, then begun by whoever runs the server.

    Attributes:
        requested: Set when the run is to end.
        exit_code: What the run returns then.
        closing: Whether the end has begun: no more users are let in, and no more games made.
    """

    def __init__(self) -> None:
        self.requested = trio.Event()
        self.exit_code = 0
        self.closing = False

    def request(self, exit_code: int) -> None:
        """Have the run end; the first request's exit code counts. Never waits."""
        if not self.requested.is_set():
            self.exit_code = exit_code
            self.requested.set()

    def begin(self) -> None:
        """Note that the end has begun."""
        self.closing = True
