"""What a client showed, frame by frame, and whether that looked well."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

__all__ = ["FrameRecorder", "Hitch"]

WINDOW = 0.25
"""Seconds before and after a frame that say where something is going."""

STILL = 0.1
"""What makes less than this share of its way in a frame stands still."""


@attrs.frozen
class Hitch:
    """Something in a frame that a player would notice.

    Attributes:
        time: The time of the frame, as it was recorded.
        name: Which object.
        what: ``back``, ``still`` or ``jump``.
        size: How far it went in this frame; below 0 where it went back.
    """

    time: float
    name: str
    what: str
    size: float

    def __str__(self) -> str:
        return f"{self.time:.3f} s: {self.name}, {self.what}, by {self.size:.2f}"


_Place = tuple[float, ...]


@attrs.define
class _Track:
    times: list[float] = attrs.field(factory=list)
    places: list[_Place] = attrs.field(factory=list)
    errors: list[float] = attrs.field(factory=list)
    is_exact: bool = False


class FrameRecorder:
    """Records where a client showed objects in each frame, and finds what looked wrong.

    Methods take names of objects; without any, they mean all that were shown. What was never shown
    cannot be right: they raise ValueError for it.

    Args:
        *fields: The names of the numbers that say where an object is: ``"x", "y"``.
    """

    def __init__(self, *fields: str) -> None:
        if not fields or not all(isinstance(field, str) for field in fields):
            raise TypeError(f"expected the names of the numbers of a place, got {fields!r}")
        self._fields = fields
        self._tracks: dict[str, _Track] = {}

    def __repr__(self) -> str:
        frames = max((len(track.times) for track in self._tracks.values()), default=0)
        return f"<{type(self).__name__} of {len(self._tracks)} objects in {frames} frames>"

    def show(
        self,
        time: float,
        objects: Mapping[str, Any],
        *,
        exact: Mapping[str, Any] | None = None,
    ) -> None:
        """Record a frame.

        Args:
            time: The time, later than that of the frame before.
            objects: What was shown, by name: attrs objects, or dicts.
            exact: Where some of them should have been shown, as far as the client knew.

        Raises:
            ValueError: One of them is nowhere: its place is no number, or endless.
        """
        for name, shown in objects.items():
            track = self._tracks.setdefault(name, _Track())
            place = self._place(shown)
            track.times.append(time)
            track.places.append(place)
            right = place
            if exact is not None and name in exact:
                track.is_exact = True
                right = self._place(exact[name])
            error = math.dist(place, right)
            if not math.isfinite(error):
                raise ValueError(
                    f"{name!r} was shown at {place!r}, and should have been at {right!r}"
                )
            track.errors.append(error)

    def places(self, name: str) -> list[tuple[float, _Place]]:
        """Return the times and places of one object, for a plot, say."""
        track = self._track(name)
        return list(zip(track.times, track.places, strict=True))

    def hitches(self, *names: str) -> list[Hitch]:
        """Return the frames in which something that moves went back, or stood still.

        Where it is going is what it does within a quarter of a second before and after. So who
        turns or stops is no hitch, and neither is who stands still for longer.
        """
        found = []
        for name, time, step, along, pace in self._moves(names):
            if along < 0:
                found.append(Hitch(time, name, "back", along))
            elif along < STILL * pace:
                found.append(Hitch(time, name, "still", step))
        return found

    def hitch_share(self, *names: str) -> float:
        """Return which share `hitches` are of the frames in which something moves.

        Raises:
            ValueError: Nothing moves in any frame.
        """
        moving = sum(1 for _ in self._moves(names))
        if not moving:
            raise ValueError(f"expected objects that move, and {names or [*self._tracks]} never do")
        return len(self.hitches(*names)) / moving

    def jumps(self, size: float, *names: str) -> list[Hitch]:
        """Return the frames in which something went further than *size*."""
        found = []
        for name, track in self._tracks_of(names):
            for number in range(1, len(track.times)):
                step = math.dist(track.places[number], track.places[number - 1])
                if step > size:
                    found.append(Hitch(track.times[number], name, "jump", step))
        return found

    def frames_until_moved(self, name: str, since: float) -> int:
        """Return in which frame something that stood still moved: 0 for the first one.

        Args:
            name: Which object.
            since: When the player acted: the time of a frame that shows it already, if it can.

        Raises:
            ValueError: It did not move in any frame, or no frame before *since* was recorded.
        """
        track = self._track(name)
        first = bisect_left(track.times, since)
        if not first:
            raise ValueError(
                f"expected a frame with {name!r} from before {since:.3f} s, where it still stood: "
                "record the frames before the action too"
            )
        before = track.places[first - 1]
        for number in range(first, len(track.times)):
            if track.places[number] != before:
                return number - first
        raise ValueError(f"{name!r} did not move after {since:.3f} s")

    def longest_error(self, name: str, *, above: float = 1e-9) -> float:
        """Return for how many seconds at most something was shown where it was not.

        Each frame shows until the next one.

        Args:
            name: Which object; it was recorded with *exact*.
            above: Smaller errors do not count.

        Raises:
            ValueError: It was recorded without.
        """
        track = self._track(name)
        if not track.is_exact:
            raise ValueError(f"expected {name!r} to be recorded with where it should be: exact=...")
        longest, begun = 0.0, math.inf
        for time, error in zip(track.times, track.errors, strict=True):
            longest = max(longest, time - begun)
            begun = math.inf if error <= above else min(begun, time)
        return longest

    def _place(self, shown: Any) -> _Place:
        if isinstance(shown, Mapping):
            return tuple([float(shown[field]) for field in self._fields])
        return tuple([float(getattr(shown, field)) for field in self._fields])

    def _track(self, name: str) -> _Track:
        track = self._tracks.get(name)
        if track is None:
            shown = ", ".join(map(repr, self._tracks)) or "nothing"
            raise ValueError(f"{name!r} was never shown, only {shown}")
        return track

    def _tracks_of(self, names: Sequence[str]) -> list[tuple[str, _Track]]:
        if not names and not self._tracks:
            raise ValueError("expected frames with something in them, and nothing was shown")
        return [(name, self._track(name)) for name in names or self._tracks]

    def _moves(self, names: Sequence[str]) -> Iterator[tuple[str, float, float, float, float]]:
        """Yield each frame of what moves: name, time, step, step the right way, mean step.

        Something moves in a frame if it did so before and does so after, the same way.
        """
        for name, track in self._tracks_of(names):
            times, places = track.times, track.places
            first = last = 0
            for number in range(1, len(times)):
                while times[first] < times[number] - WINDOW:
                    first += 1
                while last + 1 < len(times) and times[last + 1] <= times[number] + WINDOW:
                    last += 1
                whole = _way(places[first], places[last])
                length = math.hypot(*whole)
                if not length:
                    continue
                before = _along(_way(places[first], places[number - 1]), whole) / length
                after = _along(_way(places[number], places[last]), whole) / length
                if min(before, after) < STILL * length:
                    continue
                step = _way(places[number - 1], places[number])
                along = _along(step, whole) / length
                yield name, times[number], math.hypot(*step), along, length / (last - first)


def _way(start: _Place, end: _Place) -> _Place:
    return tuple([there - here for here, there in zip(start, end, strict=True)])


def _along(one: _Place, other: _Place) -> float:
    return sum([each * along for each, along in zip(one, other, strict=True)])
