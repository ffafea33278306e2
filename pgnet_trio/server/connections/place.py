"""One connection's place in the counts of connections, and in the line of those that arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from pgnet_trio.errors import PGNetError

if TYPE_CHECKING:
    from pgnet_trio.server.admission import ArrivalPace, ConnectionCounts

__all__ = ["ConnectionRefused", "Place"]


class ConnectionRefused(PGNetError):
    """There are too many connections; the message says of which kind."""


class Place:
    """Counts one connection of the network for as long as it lasts.

    `begin` first, then `identify` as soon as its address is known, `end_login` or `turn_to_pages`,
    and `end` whatever happened before.

    Args:
        counts: The connections that were let in.
        arrivals: How often each address connects.
        peer: The other end's address, which may be that of a proxy.

    Attributes:
        peer: Where the connection comes from, as far as that is known.
        is_local: Whether it comes from a program on this machine, and nobody has passed it on.
    """

    def __init__(self, counts: ConnectionCounts, arrivals: ArrivalPace, peer: str) -> None:
        self.peer = peer
        self.is_local = False
        self._counts = counts
        self._arrivals = arrivals
        self._begun = self._identified = self._logging_in = False
        self._for_pages = False
        # None behind a proxy, which asks for many.
        self._pages_address: str | None = None

    def begin(self) -> None:
        """Count the connection, whoever has opened it.

        Raises:
            ConnectionRefused: The server is full.
        """
        refusal = self._counts.begin()
        if refusal:
            raise ConnectionRefused(refusal)
        self._begun = True

    def identify(self, address: str) -> float:
        """Count the connection for its address.

        Returns:
            Seconds that the connection has to wait, because the address connects too often.

        Raises:
            ConnectionRefused: There are too many from this address.
        """
        self.peer = address
        refusal = self._counts.admit(address)
        if refusal:
            raise ConnectionRefused(refusal)
        self._identified = self._logging_in = True
        return self._arrivals.delay(address, trio.current_time())

    def turn_to_player(self) -> float:
        """Count the connection as one of a player again; return as `identify` does.

        Raises:
            ConnectionRefused: There are too many of these.
        """
        address = self._pages_address
        self.end()
        self.begin()
        return 0.0 if address is None else self.identify(address)

    def turn_to_pages(self) -> None:
        """Count the connection as one that asks for pages, and no more as one of a player.

        Raises:
            ConnectionRefused: There are too many of these.
        """
        address = self.peer if self._identified else None
        self.end()
        refusal = self._counts.admit_http(address)
        if refusal:
            raise ConnectionRefused(refusal)
        self._for_pages, self._pages_address = True, address
        # Requests for pages have a pace of their own.
        self._arrivals.take_back(address)

    def end_login(self) -> None:
        """Note that the connection is done with logging in, successfully or not."""
        if self._logging_in:
            self._logging_in = False
            self._counts.logged_in(self.peer)

    def end(self) -> None:
        """Note that the connection is gone."""
        self.end_login()
        if self._identified:
            self._identified = False
            self._counts.closed(self.peer)
        if self._begun:
            self._begun = False
            self._counts.ended()
        if self._for_pages:
            self._for_pages = False
            self._counts.http_closed(self._pages_address)
