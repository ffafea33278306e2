"""What time it is at the server, as far as a client can know it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import attrs

__all__ = ["MIN_SLEEP", "Latency", "ServerClock"]

MIN_SLEEP = 1.0
"""Seconds of a sleep that matter; two clocks of one machine never agree quite."""

SLEW = 0.05
"""By how much the clock may run faster or slower than this machine's, where little is wrong."""

REPAIR_TIME = 1.0
"""Seconds in which a larger error is made up."""

SAMPLES = 16
"""How many measured round trips are kept."""

SAMPLE_AGE = 15.0
"""Seconds for which they are."""

DRIFT = 0.0005
"""By how much a second two clocks move apart at most, as NTP takes it too."""

LOOSE = 0.25
"""How many seconds the estimate may be wrong after a sleep, or on another link, at least."""

LONGEST_HALF = 0.5
"""Seconds for which an answer counts as under way at most: from too far ahead there is no way back
but to stand still."""

TOLERANCE = 0.001
"""Seconds by which two clocks may differ, and still be the same two clocks."""


@attrs.frozen
class Latency:
    """How long a message to the server and its answer take, in seconds.

    Attributes:
        round_trip: The round trip, smoothed as TCP does it (RFC 6298).
        jitter: By how much round trips differ from that on average, smoothed too.
        best: The shortest of the latest round trips.
        latest: The last one.
    """

    round_trip: float
    jitter: float
    best: float
    latest: float


@attrs.frozen
class _Sample:
    at: float
    round_trip: float


class ServerClock:
    """Learns how far the clock of a game's room is ahead of this machine's.

    A message with a time was under way for some time: when it comes, it is later at the server than
    the message says, and by a round trip at most. So each message says how far ahead the server is
    at least, and an answer to a question also how far at most. The middle of the quickest answer is
    the estimate, until one comes that is about as quick, or contradicts it: a clock stood still on
    either side, because a machine slept. An answer that took long says nothing else.

    What `time` returns never runs backwards, but where `begin` says that it is another time. It
    runs at most 5 % faster or slower than this machine's clock to make up for an error; for an
    error of more than that in a second, so much faster or slower that it is right after a second.
    Only what is too late by more than a second is made up at once.

    Args:
        now: Returns the time of this machine, in seconds.
        slept: Returns for how many seconds this machine has slept, with that clock standing still.

    Attributes:
        wakes: How many times this machine has woken, as far as it was noted.
    """

    def __init__(self, now: Callable[[], float], slept: Callable[[], float] = lambda: 0.0) -> None:
        self.wakes = 0
        self._now = now
        self._slept = slept
        self._slept_before = slept()
        # How far the room is ahead, as far as it is known; how far it was taken to be at `_since`,
        # and by how much a second that nears what is known.
        self._ahead = 0.0
        self._shown = 0.0
        self._since = 0.0
        self._rate = SLEW
        # By how much that may be wrong, as far as it was known at a time of this machine.
        self._margin = math.inf
        self._margin_since = 0.0
        # `time` returns nothing before this.
        self._reached = 0.0
        self._samples: deque[_Sample] = deque(maxlen=SAMPLES)
        self._round_trip = 0.0
        self._jitter = 0.0
        self._latency: Latency | None = None
        # Whether the next round trip is the first one of its way.
        self._is_first = True

    @property
    def latency(self) -> Latency | None:
        """How long a message and its answer take; None before the first answer."""
        return self._latency

    def time(self) -> float:
        """Return the time in the room, in seconds."""
        # A sleep is not noted here: then nobody would set the deadlines of open questions anew.
        now = self._now()
        slept = self._slept() - self._slept_before
        time = now + self._ahead_at(now) + (slept if slept >= MIN_SLEEP else 0.0)
        if time < self._reached:
            return self._reached
        self._reached = time
        return time

    def local(self, time: float) -> float:
        """Return what this machine's clock shows at a time of the room, as far as it is known."""
        return time - self._ahead

    def begin(self, time: float) -> None:
        """Begin with another room, in which it is this time now; what was learned of it is over."""
        now = self._now()
        self._slept_before = self._slept()
        self._ahead = self._shown = time - now + min(self._best(now) / 2, LONGEST_HALF)
        self._since = now
        self._margin = math.inf
        self._reached = time
        self._samples.clear()

    def change_link(self) -> None:
        """Begin to measure round trips anew: what comes now takes another way."""
        self._loosen(LOOSE)
        self._is_first = True

    def learn(self, time: float, round_trip: float | None = None) -> bool:
        """Learn that a message has come which says that it was this time in the room.

        Args:
            time: What it says.
            round_trip: For how many seconds the question was under way to which it is the answer;
                None where it answers none.

        Returns:
            Whether that says something new.
        """
        is_changed = self.note_sleep()
        now = self._now()
        least = time - now
        ahead = self._ahead
        if round_trip is not None:
            round_trip = max(0.0, round_trip)
            self._note_round_trip(round_trip)
            if ahead < least - TOLERANCE or ahead > least + round_trip + TOLERANCE:
                # No clock of before could have shown that: what was measured is over.
                self._loosen(math.inf)
            self._samples.append(_Sample(now, round_trip))
            half = round_trip / 2
            if half <= self._margin + DRIFT * (now - self._margin_since):
                self._margin, self._margin_since = half, now
                ahead = least + min(half, LONGEST_HALF)
            best = self._best(now)
            self._latency = Latency(self._round_trip, self._jitter, best, round_trip)
        if ahead < least:
            if ahead < least - TOLERANCE:
                self._loosen(math.inf)
            ahead = least
        if ahead == self._ahead:
            return is_changed
        # A short sleep is in it, and must not count once more with the next one.
        self._slept_before = self._slept()
        self._aim(ahead, now)
        return True

    def note_sleep(self) -> bool:
        """Look whether this machine has slept meanwhile, and return whether it has."""
        slept = self._slept()
        if slept - self._slept_before < MIN_SLEEP:
            return False
        more = slept - self._slept_before
        self._ahead += more
        self._shown += more
        self._slept_before = slept
        self.wakes += 1
        self._loosen(LOOSE)
        return True

    def _loosen(self, margin: float) -> None:
        """Have the estimate count for less: what was measured was measured by another clock."""
        self._samples.clear()
        self._margin = max(self._margin, margin)

    def _note_round_trip(self, round_trip: float) -> None:
        if self._is_first:
            self._is_first = False
            self._round_trip, self._jitter = round_trip, round_trip / 2
            return
        self._jitter += (abs(self._round_trip - round_trip) - self._jitter) / 4
        self._round_trip += (round_trip - self._round_trip) / 8

    def _best(self, now: float) -> float:
        """Return the shortest of the latest round trips; 0 where there is none."""
        samples = self._samples
        while samples and now - samples[0].at > SAMPLE_AGE:
            samples.popleft()
        return min([sample.round_trip for sample in samples], default=0.0)

    def _aim(self, ahead: float, now: float) -> None:
        """Have what is shown near what is known now."""
        shown = self._ahead_at(now)
        error, before = ahead - shown, self._ahead - shown
        # What goes on as it was is over when it was to be: each answer changes a little.
        rate = self._rate if error * before > 0 else SLEW
        self._shown = ahead if error > REPAIR_TIME else shown
        self._since = now
        self._ahead = ahead
        self._rate = min(1.0, max(rate, abs(error) / REPAIR_TIME))

    def _ahead_at(self, now: float) -> float:
        """Return how far the room is taken to be ahead at a time of this machine."""
        way = self._rate * (now - self._since)
        error = self._ahead - self._shown
        if error > way:
            return self._shown + way
        if error < -way:
            return self._shown - way
        return self._ahead
