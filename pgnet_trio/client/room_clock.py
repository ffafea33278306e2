"""What time it is in a game's room, as far as a client can know it."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["MIN_SLEEP", "RoomClock"]

MIN_SLEEP = 1.0
"""Seconds of a sleep that matter; two clocks of one machine never agree quite."""


class RoomClock:
    """Learns from what the server says how far the room's clock is ahead of this machine's.

    What the server says is old when it comes, if it had to wait on the way above all. So what is
    learned is never too much, and the largest counts. Two things change the difference: while this
    machine sleeps, its clock may stand still; while the server's does, the room's.

    Args:
        now: Returns the time of this machine, in seconds.
        slept: Returns for how many seconds this machine has slept, with that clock standing still.
    """

    def __init__(self, now: Callable[[], float], slept: Callable[[], float]) -> None:
        self._now = now
        self._slept = slept
        self._slept_before = slept()
        self._ahead = 0.0

    def time(self) -> float:
        """Return the time in the room, in seconds."""
        # A sleep is not noted here: then nobody would set the deadlines of open questions anew.
        slept = self._slept() - self._slept_before
        return self._now() + self._ahead + (slept if slept >= MIN_SLEEP else 0.0)

    def local(self, time: float) -> float:
        """Return what this machine's clock shows at a time of the room."""
        return time - self._ahead

    def begin(self, time: float) -> None:
        """Begin with another room, in which it is this time now; what was learned is over."""
        self._slept_before = self._slept()
        self._ahead = time - self._now()

    def learn(self, time: float) -> bool:
        """Learn that it was this time in the room; return whether that says something new."""
        is_changed = self.note_sleep()
        ahead = time - self._now()
        if ahead > self._ahead:
            # A short sleep is in it, and must not count once more with the next one.
            self._slept_before = self._slept()
            self._ahead = ahead
            is_changed = True
        return is_changed

    def note_sleep(self) -> bool:
        """Look whether this machine has slept meanwhile, and return whether it has."""
        slept = self._slept()
        if slept - self._slept_before < MIN_SLEEP:
            return False
        self._ahead += slept - self._slept_before
        self._slept_before = slept
        return True
