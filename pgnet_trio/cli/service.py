"""Tells a service manager such as systemd that the server is ready, alive, or about to end.

The protocol is a datagram of text to a Unix socket, see sd_notify(3). The packages for it are not
kept up, or need systemd's library, and it takes a few lines.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket

import trio

__all__ = ["Service"]

PINGS_PER_TIMEOUT = 3
"""How often the manager hears of the event loop, in the time after which it takes it for dead."""


class Service:
    """This process, as a service manager sees it; nothing is told where none has started it.

    Args:
        address: Where to tell; empty for nowhere.
        timeout: Seconds of silence after which the manager ends the process; None for no matter.
    """

    def __init__(self, address: str = "", timeout: float | None = None) -> None:
        self._address = address
        self._timeout = timeout

    @classmethod
    def from_environment(cls) -> Service:
        """Read where to tell; processes that are started from here do not inherit it."""
        address = os.environ.pop("NOTIFY_SOCKET", "")
        microseconds = os.environ.pop("WATCHDOG_USEC", "")
        process = os.environ.pop("WATCHDOG_PID", "")
        is_number = microseconds.isascii() and microseconds.isdecimal()
        timeout = float(microseconds) / 1e6 if is_number else 0.0
        # As sd_watchdog_enabled(3): 0, and what is no number that makes sense, is no timeout.
        is_watched = 0 < timeout < math.inf and process in ("", str(os.getpid()))
        return cls(address, timeout if is_watched else None)

    def ready(self) -> None:
        """Tell that clients can connect."""
        self._tell("READY=1")

    def stopping(self) -> None:
        """Tell that the server is about to end."""
        self._tell("STOPPING=1")

    async def keep_alive(self) -> None:
        """Tell again and again that the event loop goes round, until cancelled."""
        if self._timeout is None:
            await trio.lowlevel.checkpoint()
            return
        while True:
            self._tell("WATCHDOG=1")
            await trio.sleep(self._timeout / PINGS_PER_TIMEOUT)

    def _tell(self, text: str) -> None:
        if not self._address:
            return
        address = self._address
        if address.startswith("@"):
            # In the abstract namespace.
            address = f"\0{address[1:]}"
        # A manager that is gone, or busy, is no reason to end.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
            link.setblocking(False)
            link.sendto(text.encode(), address)
