"""A session's connection, or its wait for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from pgnet_trio.server.sessions.absence import Absence

if TYPE_CHECKING:
    import trio

    from pgnet_trio.server.sessions.handle import ConnectionHandle

__all__ = ["Attachment", "AwayCounter"]

MOST_WAIT = 10.0
"""Seconds in which a connected client whose session has moved here is to be here too, before its
game hears that it is away."""


class AwayCounter(Protocol):
    """Counts the sessions that wait for their user."""

    def note_away(self, away: bool, /) -> None:
        """Note that a session goes on without a connection, or that this is over.

        It is over when the user is back, or the session has ended. Never waits.
        """


class Attachment:
    """Has a session's connection; without one, it waits for the user. Nothing here blocks.

    Args:
        counter: Hears when the wait begins, and when it is over.

    Attributes:
        connection: The connection; None where there is none.
    """

    __slots__ = ("_absence", "_counter", "connection")

    def __init__(self, counter: AwayCounter) -> None:
        self.connection: ConnectionHandle | None = None
        self._counter = counter
        # The wait for the user; None while they have a connection.
        self._absence: Absence | None = None

    @property
    def arrival(self) -> trio.Event | None:
        """Set once the client is here that is on its way; None where none is."""
        return None if self._absence is None else self._absence.arrived

    @property
    def is_arrival(self) -> bool:
        """Whether the user counts as connected: they are on their way here."""
        return self._absence is not None and self._absence.is_arrival

    @property
    def is_online(self) -> bool:
        """Whether the user has a connection, or is on the way here with one."""
        return self.connection is not None or self.is_arrival

    @property
    def is_late(self) -> bool:
        """Whether the wait has just run out, though nobody was told so yet."""
        return self._absence is not None and self._absence.left <= 0

    def grace_left(self, grace: float) -> float | None:
        """Return the seconds that the wait still lasts; None where the user counts as connected.

        Args:
            grace: How many it lasts altogether.
        """
        if self._absence is None or self._absence.is_arrival:
            return None
        return min(max(self._absence.left, 0.0), grace)

    def replace(self, connection: ConnectionHandle | None) -> ConnectionHandle | None:
        """Have another connection, or none; return the one before, which the caller closes."""
        before, self.connection = self.connection, connection
        return before

    def wait(self, grace: float, give_up: Callable[[], None]) -> None:
        """Wait for the user.

        Args:
            grace: For how many seconds.
            give_up: Called once these are over; it must neither wait nor raise.
        """
        self._begin(grace, give_up)

    def wait_arrival(
        self, grace: float, give_up: Callable[[], None], note_absence: Callable[[], None]
    ) -> None:
        """Wait for a user who was connected to another server, and is on their way here.

        Args:
            grace: For how many seconds.
            give_up: Called once these are over; it must neither wait nor raise.
            note_absence: Called when the user counts as connected no longer; likewise.
        """
        absence = self._begin(grace, give_up)
        absence.begin_with_arrival(min(MOST_WAIT, grace / 2), note_absence)

    def stop_waiting(self) -> bool:
        """Wait no more; return whether there was a wait."""
        absence, self._absence = self._absence, None
        if absence is None:
            return False
        absence.close()
        self._counter.note_away(False)
        return True

    def _begin(self, grace: float, give_up: Callable[[], None]) -> Absence:
        absence = self._absence = Absence(grace, give_up)
        self._counter.note_away(True)
        return absence
