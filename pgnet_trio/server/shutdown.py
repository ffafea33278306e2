"""Whether one run of a server is to end, and how far it has got with that."""

from __future__ import annotations

import trio

__all__ = ["REBOOT", "Shutdown"]

REBOOT = -1
"""The exit code of a server that asks to be started again."""


class Shutdown:
    """The end of one run: requested once, then begun by whoever runs the server.

    Attributes:
        requested: Set when the run is to end.
        exit_code: What the run returns then.
        restarting: Whether the server will be back, so that clients keep trying to reach it.
        closing: Whether the end has begun: no more users are let in, and no more games made.
    """

    def __init__(self) -> None:
        self.requested = trio.Event()
        self.exit_code = 0
        self.restarting = False
        self.closing = False

    def request(self, exit_code: int, *, restarting: bool = False) -> None:
        """Have the run end. Never waits.

        Args:
            exit_code: What the run returns. The first request counts.
            restarting: Whether the server will be back, as `REBOOT` says too.
        """
        if not self.requested.is_set():
            self.exit_code = exit_code
            self.restarting = restarting or exit_code == REBOOT
            self.requested.set()

    def begin(self) -> None:
        """Note that the end has begun."""
        self.closing = True
