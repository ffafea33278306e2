"""How long a session waits for a user who has no connection here."""

from __future__ import annotations

from collections.abc import Callable

import trio

from pgnet_trio.timers import Timer

__all__ = ["Absence"]


class Absence:
    """One wait of a session for its user: until they are back, or for its grace.

    Args:
        grace: Seconds that it lasts.
        give_up: Called once these are over; it must neither wait nor raise.
    """

    __slots__ = ("_arrival", "_arrived", "_grace")

    def __init__(self, grace: float, give_up: Callable[[], None]) -> None:
        self._grace = Timer(give_up)
        self._grace.set(trio.current_time() + grace)
        # Until a client that was connected elsewhere has to be here; None for the others.
        self._arrival: Timer | None = None
        # Made for whoever asks for it.
        self._arrived: trio.Event | None = None

    @property
    def arrived(self) -> trio.Event | None:
        """Set once the user is here, or is not waited for any more; None where they were away."""
        if self._arrival is not None and self._arrived is None:
            self._arrived = trio.Event()
        return self._arrived

    @property
    def left(self) -> float:
        """How many seconds are left; less than 0 once it is over and nobody was told so yet."""
        return self._grace.deadline - trio.current_time()

    @property
    def is_arrival(self) -> bool:
        """Whether the user counts as connected: they are on their way here."""
        return self._arrival is not None

    def begin_with_arrival(self, patience: float, give_up: Callable[[], None]) -> None:
        """Have the user count as connected at first: they were, at another server.

        Args:
            patience: Seconds after which they do not any more.
            give_up: Called then; it must neither wait nor raise.
        """

        def end_arrival() -> None:
            self._end_arrival()
            give_up()

        self._arrival = Timer(end_arrival)
        self._arrival.set(trio.current_time() + patience)

    def close(self) -> None:
        """Wait no more, and call nothing."""
        self._end_arrival()
        self._grace.close()

    def _end_arrival(self) -> None:
        arrival, self._arrival = self._arrival, None
        if arrival is not None:
            arrival.close()
        if self._arrived is not None:
            self._arrived.set()
