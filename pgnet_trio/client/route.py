"""Where a session connects to: the addresses that it was given, and where servers have sent it.

It knows no clock and no network: whoever asks says how a try went.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pgnet_trio.errors import AddressError, ConnectFailed

if TYPE_CHECKING:
    from pgnet_trio.client.connector import Connector

__all__ = ["MAX_LEARNED", "MAX_MOVES", "Route"]

MAX_LEARNED = 8
"""How many ways a client remembers on which it was let in, beside those that it was given."""

MAX_MOVES = 8
"""How often in a row a client lets itself be sent to another address with nothing done between.

More than a few servers never pass a client on by right, and without an end two that are at odds
would do so for ever, and without a pause."""


class Route:
    """The ways to a server that has several addresses, and the one that is to be taken next.

    Args:
        given: The ways that the program has named, at least one. All of them lead to one server, or
            to several that look like one.
        random_bytes: Returns so many random bytes.

    Attributes:
        current: The way that is in use, or that is to be tried next.
    """

    def __init__(self, given: Sequence[Connector], random_bytes: Callable[[int], bytes]) -> None:
        self._given = tuple(given)
        self._random_bytes = random_bytes
        self._moves = 0
        # Where the client was sent to and let in, the latest last.
        self._learned: list[Connector] = []
        self._untried = self._mix()
        self.current = self._untried.pop()

    def __str__(self) -> str:
        return str(self.current)

    @property
    def has_others(self) -> bool:
        """Whether there are ways that were not tried since they were mixed."""
        return bool(self._untried)

    def follow(self, address: str) -> None:
        """Take the way to where a server sends the client.

        Args:
            address: Where to, as the server says it.

        Raises:
            ConnectFailed: It leads nowhere that the client goes, or it was sent on too often.
        """
        if self._moves >= MAX_MOVES:
            raise ConnectFailed(
                f"This client was sent from one address to the next {MAX_MOVES} times, and then by "
                f"{self} to {address}: the servers there are at odds about where it belongs."
            )
        try:
            self.current = self.current.redirected(address)
        except AddressError as error:
            raise ConnectFailed(f"{self} sent this client where it does not go: {error}") from error
        self._moves += 1

    def note_let_in(self) -> None:
        """Remember the way that is in use: a server is there that has let the client in.

        It is tried where the given ones lead nowhere, and forgotten after `MAX_LEARNED` others.
        """
        where = str(self.current)
        if where in map(str, self._given):
            return
        others = [way for way in self._learned if str(way) != where]
        self._learned = [*others, self.current][-MAX_LEARNED:]

    def note_progress(self) -> None:
        """Note that something was done where the way leads to, beside being sent on."""
        self._moves = 0

    def go_back(self) -> None:
        """Take the next of the given ways, and then of the others: this one leads nowhere."""
        self._moves = 0
        if not self._untried:
            given = self._mix()
            if given[-1] is self.current:
                # It was the last one of the round before.
                given.reverse()
            # The last is tried first.
            self._untried = [*self._learned, *given]
        self.current = self._untried.pop()

    def _mix(self) -> list[Connector]:
        mixed = list(self._given)
        for end in range(len(mixed) - 1, 0, -1):
            at = int.from_bytes(self._random_bytes(4)) * (end + 1) >> 32
            mixed[at], mixed[end] = mixed[end], mixed[at]
        return mixed
