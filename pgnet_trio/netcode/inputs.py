"""A player's inputs: numbered where they are made, and played one for each tick."""

from __future__ import annotations

from collections import deque
from typing import Any

import attrs

__all__ = [
    "BUFFER_SECONDS",
    "FUTURE",
    "InputBuffer",
    "InputCounts",
    "InputQueue",
    "PlayerInput",
    "QueuedInput",
]

BUFFER_SECONDS = 0.3
"""Seconds of inputs that wait to be played."""

STAND_IN_SECONDS = 1.0
"""Seconds for which the last one stands for those to come: so long a connection may be stalled."""

FEWEST = 4
"""Inputs that may wait however few ticks there are a second."""

MOST_REPLACED = 3
"""Inputs that a client may have replaced by the next one, which is then played in their place too.
More of them are a pause, or a drop."""

FUTURE = 0.25
"""Seconds by which a player may say that they saw the game later than it is: clocks differ."""

PAUSE = 0.1
"""Seconds without an input from which on a client has paused, and nothing is late."""

PAUSE_MARGIN = 3
"""Ticks by which the next number is higher then than it has to be: delays differ."""

WINDOW = 30
"""Ticks after which inputs that waited needlessly all the time are given up, and those that were
late all the time are waited for."""

SLACK = 1
"""Inputs that may wait all the time; without one, the next that is a little late is missing."""


@attrs.frozen
class QueuedInput:
    """An input that has not left yet.

    Attributes:
        number: Its number: 1 for the client's first.
        seen: The room's time of what the player saw when they made it, in seconds.
        payload: Its fields, as plain data.
    """

    number: int
    seen: float
    payload: dict[str, Any]


class InputQueue:
    """Numbers a client's inputs, and holds the one that has not left yet.

    There is at most one: what is old is of no use, so a newer one takes its place.

    Attributes:
        number: The number of the last input; 0 for none.
        waiting: What has not left yet; None for nothing.
        replaced: How many have never left, because a newer one came first.
    """

    def __init__(self) -> None:
        self.number = 0
        self._made_at = 0.0
        self.waiting: QueuedInput | None = None
        self.replaced = 0

    def put(self, payload: dict[str, Any], seen: float, now: float, rate: float = 0.0) -> int:
        """Number an input, and have it leave next.

        Numbers count the ticks for which there are inputs. So they go on during a pause, in which
        the server has played the last one again: what comes after it has not been played yet,
        though it may be equal.

        Args:
            payload: The fields, as plain data.
            seen: The room's time of what the player saw, in seconds.
            now: The time on any clock, in seconds.
            rate: How many ticks a second the game has; 0 where that is not known.

        Returns:
            The number.
        """
        waited, self._made_at = now - self._made_at, now
        is_pause = self.number and rate and waited > max(PAUSE, 1.5 / rate)
        self.number += int(waited * rate) + PAUSE_MARGIN if is_pause else 1
        self.replaced += self.waiting is not None
        self.waiting = QueuedInput(self.number, seen, payload)
        return self.number

    def take(self) -> QueuedInput | None:
        """Return what is to leave now, once; None for nothing."""
        waiting, self.waiting = self.waiting, None
        return waiting

    def drop(self) -> None:
        """Let nothing leave of what waits: the game that it was for is over."""
        self.waiting = None


@attrs.define
class InputCounts:
    """What became of a player's inputs.

    Attributes:
        played: How many a tick has played.
        repeated: For how many ticks none had come, so that the last one was played again.
        made_up: How many came too late, were no other than the one that stood for them, and so
            are in the state already.
        dropped: How many were never played: more came than are played, or came out of order.
        early: How many were dropped because the player says that they saw the future.
    """

    played: int = 0
    repeated: int = 0
    made_up: int = 0
    dropped: int = 0
    early: int = 0


@attrs.frozen
class PlayerInput:
    """An input that has come.

    Attributes:
        number: Its number.
        seen: The room's time of what the player saw, in seconds.
        value: What the game gets: an object that is equal to that of an equal input.
    """

    number: int
    seen: float
    value: Any


class InputBuffer:
    """Holds a player's inputs until their ticks: one for each tick, in order.

    Where none has come for a tick, the last one is played again, and stands for the one that is
    missing. If that one comes later and is equal to the one before it, its tick is over, and it is
    not played once more. If it differs, it is played late, and those that follow wait for a tick
    longer. So the buffer becomes as deep as the delays differ, and everything that a player does
    is played once. What waited needlessly for a while is given up, what is held before all else.
    Where each input comes late for a while, the link has become slower: later ticks are theirs.

    Args:
        rate: Ticks a second.

    Attributes:
        counts: What became of the inputs.
        is_repeated: Whether the last call of `next` played an input again.
    """

    __slots__ = (
        "_behind",
        "_behind_ticks",
        "_covered",
        "_last",
        "_most",
        "_most_covered",
        "_pause",
        "_queue",
        "_received",
        "_spare",
        "_ticks",
        "counts",
        "is_repeated",
    )

    def __init__(self, rate: float) -> None:
        self.counts = InputCounts()
        self.is_repeated = False
        self._most = max(FEWEST, round(rate * BUFFER_SECONDS))
        self._most_covered = max(FEWEST, round(rate * STAND_IN_SECONDS))
        self._queue: deque[PlayerInput] = deque()
        self._last: PlayerInput | None = None
        self._received = 0
        # The number up to which ticks are over, whatever was played in them.
        self._covered = 0
        # By how many ticks inputs come too late at least, each of them, and for how many ticks.
        self._behind: int | None = None
        self._behind_ticks = 0
        # For how many ticks the last input stands for none: the link has become slower.
        self._pause = 0
        # How many inputs have waited at least since the window began, and for how many ticks.
        self._spare = self._most
        self._ticks = 0

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def received(self) -> int:
        """The highest number that has come; 0 for none."""
        return self._received

    @property
    def last(self) -> PlayerInput | None:
        """What was played last; None for nothing."""
        return self._last

    @property
    def confirmed(self) -> int:
        """The number up to which inputs are in the state, themselves or by what stood for them.

        It may be above the number of what the client has sent.
        """
        return self._covered

    def put(self, number: int, seen: float, value: Any, now: float) -> bool:
        """Take an input in; return whether it may be played.

        Where a few numbers before it are missing, it stands for those too: a client whose frame
        took as long as several ticks has made several at once, and only the last has left.

        Args:
            number: Its number; one that is not above those before is dropped.
            seen: The room's time of what the player saw.
            value: What the game gets.
            now: The room's time.
        """
        if seen > now + FUTURE:
            self.counts.early += 1
            return False
        if number <= self._received:
            self.counts.dropped += 1
            return False
        missing = number - self._received - 1
        if missing > MOST_REPLACED or not self._received:
            missing = 0
        self._received = number
        self._note_behind(self._covered - number)
        # Those whose ticks are over need nothing in their place.
        first = min(number, max(number - missing, self._covered + 1))
        for each in range(first, number + 1):
            self._take(PlayerInput(each, seen, value))
        return True

    def next(self) -> Any:
        """Return the input of the next tick; None where there was none yet."""
        last = self._last
        self._follow_link()
        if self._queue:
            entry = self._last = self._queue.popleft()
            self._covered = max(self._covered, entry.number)
            self.is_repeated = False
            self.counts.played += 1
            self._give_up_spare()
            return entry.value
        if last is None:
            return None
        self.is_repeated = True
        self.counts.repeated += 1
        self._spare, self._ticks = self._most, 0
        # After so long nothing is under way: the client makes no inputs.
        if self._pause:
            self._pause -= 1
        elif self._covered < last.number + self._most_covered:
            self._covered += 1
        return last.value

    def restart(self) -> None:
        """Begin anew: the next input may have any number, and comes from another client."""
        self._queue.clear()
        self._last = None
        self._received = self._covered = self._ticks = 0
        self._spare = self._most
        self._behind, self._behind_ticks, self._pause = None, 0, 0
        self.is_repeated = False

    def _note_behind(self, behind: int) -> None:
        """Note for how many ticks the tick of an input that comes is over; below 0 for not yet."""
        if behind < 0:
            self._behind, self._behind_ticks = None, 0
        elif self._behind is None or behind < self._behind:
            self._behind = behind

    def _follow_link(self) -> None:
        """Wait for inputs to come in time again, where each of them has come late for a while.

        The link has become slower for good. Otherwise everything that the player does would be
        played too late, and said to be in the state before it is.
        """
        if self._behind is None:
            return
        self._behind_ticks += 1
        if self._behind_ticks >= WINDOW:
            self._pause = self._behind + 1
            self._behind, self._behind_ticks = None, 0

    def _take(self, entry: PlayerInput) -> None:
        queue, last = self._queue, self._last
        before = queue[-1] if queue else last
        if before is not None and entry.number <= self._covered and entry.value == before.value:
            # Its tick is over, and it says nothing new.
            self.counts.made_up += 1
            if before is last:
                self._last = entry
            return
        if len(queue) >= self._most:
            self._drop_one()
        queue.append(entry)

    def _drop_one(self) -> None:
        """Drop the first input that says no more than the one before it, or else the first."""
        queue, before = self._queue, self._last
        self.counts.dropped += 1
        for place, entry in enumerate(queue):
            # Equal ones are the same object, as long as nothing has changed in between.
            if before is not None and entry.value is before.value:
                del queue[place]
                return
            before = entry
        queue.popleft()

    def _give_up_spare(self) -> None:
        queue = self._queue
        self._spare = min(self._spare, len(queue))
        self._ticks += 1
        if self._ticks < WINDOW:
            return
        for _ in range(self._spare - SLACK):
            self._drop_one()
        self._spare, self._ticks = self._most, 0
