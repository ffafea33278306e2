"""A connection as its session sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from pgnet_trio.protocol import v1
from pgnet_trio.server.log_fields import connection_of_task

if TYPE_CHECKING:
    from pgnet_trio.connection import Connection
    from pgnet_trio.protocol import v2
    from pgnet_trio.protocol.events import ServerEvent

__all__ = ["ConnectionHandle"]


class ConnectionHandle:
    """Lets a session write to its connection, and close it. Nothing here waits.

    Args:
        connection: The connection.
        protocol: What is spoken over it.
        is_local: See below.

    Attributes:
        flush: Writes what waits, as far as the link has room.
        number: By which the log names it; 0 for a bot's.
        reading: The scope in which the connection's task reads; `end` cancels it.
        is_local: Whether it comes from this machine, and nobody has passed it on.
        end_reason: Why the session has ended the connection; empty while it has not.
    """

    def __init__(
        self,
        connection: Connection[ServerEvent],
        protocol: v1.ServerProtocol | v2.ServerProtocol,
        *,
        is_local: bool = False,
    ) -> None:
        # Bound once: this is called for each message.
        self.flush = connection.flush
        self._connection = connection
        self.number = connection_of_task.get()
        self.reading = trio.CancelScope()
        self.is_local = is_local
        self.end_reason = ""
        self._protocol = protocol

    @property
    def round_trip(self) -> float | None:
        """Seconds to the client and back, as the system measures it; None if unknown."""
        return self._connection.transport.round_trip

    def end(self, reason: str, *, for_good: bool, restarting: bool = False, code: str = "") -> None:
        """Ask for the connection's end: its own task then writes what waits, and closes.

        Args:
            reason: Why. The first reason counts.
            for_good: Whether the client is told that its session is over.
            restarting: Whether it is told so because the server restarts, where it understands
                that.
            code: A `ReasonCode` for a client whose session is over.
        """
        self.end_reason = self.end_reason or reason
        if for_good and restarting:
            self._protocol.restart(reason)
        elif for_good:
            self._protocol.goodbye(reason, code)
        else:
            self._protocol.detach()
        self.reading.cancel()

    def tell_time(self, id: int, time: float, rate: float) -> None:
        """Answer a time request; the next `flush` writes it. See `v2.ServerProtocol.tell_time`."""
        if not isinstance(self._protocol, v1.ServerProtocol):
            self._protocol.tell_time(id, time, rate)

    def send_away(self, address: str, reason: str) -> None:
        """Ask for the connection's end, as `end`; the client goes on at another address."""
        self.end_reason = self.end_reason or reason
        self._protocol.moved(address, reason)
        self.reading.cancel()
