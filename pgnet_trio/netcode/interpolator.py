"""Interpolation: what others do is shown a little late, and evenly, however the states arrive."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Generic, Literal, TypeVar

import attrs

from pgnet_trio.netcode.states import LONGEST, Offset, StateFields, copied, is_leap

__all__ = ["MAX_EXTRAPOLATION", "MAX_JITTER", "Interpolator"]

StateT = TypeVar("StateT")

MAX_EXTRAPOLATION = 0.1
"""Seconds for which things go on as they did while no state comes; after that they stand still."""

MAX_JITTER = 0.1
"""Seconds that the delay grows at most so that late states come in time, ..."""

MAX_DELAY = 0.19
"""... or up to so many seconds in all, where the network is near enough."""

WINDOW = 5.0
"""Seconds of arrivals that the delay follows."""

MAX_ARRIVALS = 256
"""Arrivals of these seconds that count at most."""

MAX_SAMPLES = 1024
"""States that wait to be shown at most; older ones go first. So many come in the longest delay at
200 a second, which is more than any screen shows."""

FIRST_INTERVAL = 0.05
"""Seconds between two states, until there are two."""

SETTLE = 0.1
"""Seconds over which a wrong extrapolation disappears."""

SLOWER, FASTER = 0.15, 0.1
"""By which share the time shown runs slower or faster at most, to get to its delay."""

MAX_LAG = 1.0
"""Seconds behind that time from which on it jumps: the machine slept, or the window was hidden."""


@attrs.frozen
class _Sample(Generic[StateT]):
    time: float
    states: Mapping[str, StateT]


class Interpolator(Generic[StateT]):
    """Shows objects between two states of the server, so late that there mostly are two.

    Beyond the latest state, objects go on as they did, for 100 ms at most, and then stand still.
    What turns out to be wrong in that is corrected over 100 ms.

    It knows no clock and no network, and never waits. The times of `push` and `show` have to be of
    one clock that runs about as fast as the room's: `Client.server_time`, say.

    Args:
        delay: Seconds that the shown time is behind that clock. "auto" follows what is measured: as
            late as the fastest states come, and the time between two, and as much more as late ones
            need: up to 100 ms, or to 190 ms in all.
        fields: The names of the numbers that are shown in between; None for all fields that the
            states' attrs class declares as ``float``. Other fields change when their state is due.
        angle: The names of fields that are angles in radians: they turn the shorter way around.
        snap: Where a field changes by more than this from one state to the next, the object was
            nowhere in between: who begins anew somewhere else does not fly there.

    Attributes:
        delay: Seconds that the time shown is, or will be, behind the clock.
        time: The room's time that `show` last showed; None before that.

    Raises:
        ValueError: *delay* is neither "auto" nor seconds.
    """

    def __init__(
        self,
        delay: float | Literal["auto"] = "auto",
        *,
        fields: Sequence[str] | None = None,
        angle: str | Sequence[str] = (),
        snap: float = math.inf,
    ) -> None:
        self._is_auto = delay == "auto"
        if not self._is_auto and (isinstance(delay, str) or not 0 <= delay <= LONGEST):
            raise ValueError(f'delay: expected 0 to {LONGEST:g} s, or "auto"; got {delay!r}')
        self.delay = FIRST_INTERVAL if self._is_auto else float(delay)
        self.time: float | None = None
        self._names, self._angle, self._snap = fields, angle, snap
        self._fields: StateFields | None = None
        self._samples: deque[_Sample[StateT]] = deque()
        # When states came: on the clock, and how long after their time.
        self._arrivals: deque[tuple[float, float]] = deque()
        self._intervals: deque[float] = deque(maxlen=32)
        self._interval = FIRST_INTERVAL
        self._now = 0.0
        self._shown: dict[str, StateT] = {}
        self._offsets: dict[str, Offset] = {}
        self._offsets_since = 0.0

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, {len(self._samples)} states, {self.delay:.3f} s late>"

    def push(self, time: float, states: Mapping[str, StateT], now: float) -> None:
        """Take in a state of the server's.

        Args:
            time: The room's time of the state; one that is not later than the last is ignored.
            states: The objects by their names. They are kept, and have to stay as they are.
            now: When it came, on the clock.
        """
        samples = self._samples
        if samples:
            gap = time - samples[-1].time
            if gap <= 0:
                return
            self._note_interval(gap)
            if gap > 2 * self._interval:
                # Nothing changed meanwhile, or else there would have been states.
                samples.append(_Sample(time - self._interval, samples[-1].states))
        is_beyond = self.time is not None and bool(samples) and self.time > samples[-1].time
        samples.append(_Sample(time, states))
        while len(samples) > MAX_SAMPLES:
            samples.popleft()
        if self._fields is None and states:
            example = next(iter(states.values()))
            self._fields = StateFields(example, self._names, self._angle)
        self._note_arrival(now, now - time)
        if is_beyond:
            self._settle(now)

    def show(self, now: float) -> dict[str, StateT]:
        """Return the objects to show in this frame by their names, as copies.

        Args:
            now: The time on the clock.
        """
        if not self._samples:
            return {}
        self.time = self._advance(now)
        share = 1 - (now - self._offsets_since) / SETTLE
        if share <= 0:
            self._offsets = {}
        shown = self._at(self.time)
        fields = self._fields
        for name, offset in self._offsets.items():
            if name in shown and fields is not None:
                shown[name] = fields.moved(shown[name], offset, min(1.0, share))
        self._shown = shown
        return dict(shown)

    def _note_interval(self, gap: float) -> None:
        intervals = self._intervals
        intervals.append(gap)
        self._interval = sorted(intervals)[len(intervals) // 2]

    def _note_arrival(self, now: float, lateness: float) -> None:
        arrivals = self._arrivals
        arrivals.append((now, lateness))
        while len(arrivals) > MAX_ARRIVALS or arrivals[0][0] < now - WINDOW:
            arrivals.popleft()
        if self._is_auto:
            latest = sorted([late for _, late in arrivals])
            # All but one of a hundred come in time, where that takes no longer than it may.
            jitter = latest[len(latest) - 1 - len(latest) // 100] - latest[0]
            least = latest[0] + self._interval
            self.delay = min(least + jitter, max(least + MAX_JITTER, MAX_DELAY))

    def _advance(self, now: float) -> float:
        """Return the time to show: it runs evenly, and never back."""
        wanted = now - self.delay
        passed = now - self._now
        self._now = now
        if self.time is None:
            return wanted
        passed = max(0.0, passed)
        gap = wanted - (self.time + passed)
        if gap > MAX_LAG:
            return wanted
        return self.time + passed + max(-SLOWER * passed, min(FASTER * passed, gap))

    def _at(self, time: float) -> dict[str, StateT]:
        """Return the objects at a time of the room."""
        samples = self._samples
        # What is before this time is not needed any more, but for the two before.
        while len(samples) > 2 and samples[2].time <= time:
            samples.popleft()
        if len(samples) > 1 and samples[1].time <= time:
            before, older = samples[0], samples[1]
            newer = samples[2] if len(samples) > 2 else None
        else:
            before, older = None, samples[0]
            newer = samples[1] if len(samples) > 1 else None
        if time <= older.time:
            return {name: copied(state) for name, state in older.states.items()}
        if newer is not None:
            way = (time - older.time) / (newer.time - older.time)
            return self._between(older, newer, older, way)
        if before is None:
            return {name: copied(state) for name, state in older.states.items()}
        ahead = min(time - older.time, MAX_EXTRAPOLATION)
        way = ahead / (older.time - before.time)
        return self._between(before, older, older, way)

    def _between(
        self, older: _Sample[StateT], newer: _Sample[StateT], base: _Sample[StateT], way: float
    ) -> dict[str, StateT]:
        """Return the base's objects, each moved by so much of its way from older to newer."""
        found = {}
        fields = self._fields
        for name, state in base.states.items():
            if fields is not None and name in older.states and name in newer.states:
                difference = fields.difference(newer.states[name], older.states[name])
                if not is_leap(difference, self._snap):
                    found[name] = fields.moved(state, difference, way)
                    continue
            found[name] = copied(state)
        return found

    def _settle(self, now: float) -> None:
        """Note how far what was shown is from what should have been, as is known now."""
        assert self.time is not None
        fields = self._fields
        right = self._at(self.time)
        self._offsets = {}
        self._offsets_since = now
        for name, state in self._shown.items():
            if fields is not None and name in right:
                offset = fields.difference(state, right[name])
                if any(offset) and not is_leap(offset, self._snap):
                    self._offsets[name] = offset
