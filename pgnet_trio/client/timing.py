"""When things are: what time it is at the server, and of which moment the latest state is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pgnet_trio.netcode import NO_MOMENT, Moment

if TYPE_CHECKING:
    from pgnet_trio.netcode import ServerClock
    from pgnet_trio.protocol.events import MomentTold, TimeTold

__all__ = ["Timing", "Watcher"]

FIRST_PAUSES = (0.1, 0.2, 0.4)
"""Seconds from one question about the time to the next, on a new connection: soon it is known."""

PAUSE = 1.0
"""The same from then on: another link shows within a second."""

MOST_UNANSWERED = 16

MOST_WATCHERS = 16
"""A game has a few kinds of things; whoever makes one in each frame has more in an instant."""

Watcher = Callable[[Moment, Any, bool], object]
"""Is called with a moment, the state of that moment as plain data, and whether it has changed; with
`NO_MOMENT` where another game begins, or none."""


class Timing:
    """Keeps the clock of a game's room right, and knows of which moment its latest state is.

    It asks the server for the time while somebody looks, or while moments come, and never waits.

    Args:
        clock: The clock.
        now: Returns the time of this machine, in seconds.
        ask: Asks the server what time it is, under a number that the answer has; returns whether
            that is possible.

    Attributes:
        clock: The clock.
        moment: Of which moment the latest state is.
        rate: How many ticks a second the game has, as far as the server has said; 0 for none.
    """

    def __init__(
        self, clock: ServerClock, now: Callable[[], float], ask: Callable[[int], bool]
    ) -> None:
        self.clock = clock
        self.moment = NO_MOMENT
        self.rate = 0.0
        self._now = now
        self._ask = ask
        self._is_playing = False
        self._id = 0
        # How many questions were asked on this connection, when the next is due, and which are
        # not answered: when each was asked, and how many times this machine had woken by then.
        self._asked = 0
        self._due = 0.0
        self._unanswered: dict[int, tuple[float, int]] = {}
        self._is_new_state = False
        self._watchers: dict[int, Watcher] = {}
        self._watched = 0

    def begin(self, time: float) -> None:
        """Begin with a game, in whose room it is this time."""
        self.clock.begin(time)
        self._is_playing = True
        self._unanswered.clear()
        self._asked, self._due = 0, 0.0
        self._forget_game()

    def end(self) -> None:
        """Note that the user is in no game."""
        self._is_playing = False
        self._forget_game()

    def _forget_game(self) -> None:
        self.moment, self.rate, self._is_new_state = NO_MOMENT, 0.0, False
        for watcher in [*self._watchers.values()]:
            watcher(NO_MOMENT, None, False)

    def change_link(self) -> None:
        """Note that there is another connection: what takes how long is to be measured anew."""
        self.clock.change_link()
        self._unanswered.clear()
        self._asked, self._due = 0, 0.0

    def look(self, *, often: bool = True) -> None:
        """Ask for the time, if the last question was long enough ago.

        Args:
            often: Whether it is to stay right to a few milliseconds; else a few questions on each
                connection will do.
        """
        now = self._now()
        if now < self._due or not self._is_playing:
            return
        if self._asked >= len(FIRST_PAUSES) and not often:
            return
        if not self._ask(self._id + 1):
            return
        self._id += 1
        self._unanswered[self._id] = now, self.clock.wakes
        if len(self._unanswered) > MOST_UNANSWERED:
            del self._unanswered[next(iter(self._unanswered))]
        self._due = now + (FIRST_PAUSES[self._asked] if self._asked < len(FIRST_PAUSES) else PAUSE)
        self._asked += 1

    def take_time(self, told: TimeTold) -> bool:
        """Take in what time it is; return whether that says something new."""
        asked = self._unanswered.pop(told.id, None)
        if asked is None:
            # The answer of another connection, or about another game.
            return False
        self.rate = told.rate
        asked_at, wakes = asked
        is_changed = self.clock.note_sleep()
        # How long an answer took nobody knows where this machine slept meanwhile.
        round_trip = self._now() - asked_at if wakes == self.clock.wakes else None
        return self.clock.learn(told.time, round_trip) or is_changed

    def take_moment(self, told: MomentTold, made: int, data: Any) -> bool:
        """Take in of which moment the state is; return whether that says something of the time.

        Args:
            told: The moment.
            made: The number of the last input that this client has made.
            data: The state, as plain data.
        """
        # The server counts what has stood for inputs that were to come, also where none were.
        confirmed = max(self.moment.confirmed, min(told.confirmed, made))
        self.moment = Moment(told.tick, told.time, confirmed)
        is_changed = self.clock.learn(told.time)
        self.look()
        is_new, self._is_new_state = self._is_new_state, False
        for watcher in [*self._watchers.values()]:
            watcher(self.moment, data, is_new)
        return is_changed

    def note_state(self) -> None:
        """Note that a state has come: its moment comes next, where the game has ticks."""
        self._is_new_state = True
        if not self.moment.tick:
            self.moment = Moment(0, self.clock.time(), self.moment.confirmed)

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Have a function called with each moment as it comes; return what ends that.

        Raises:
            RuntimeError: There are `MOST_WATCHERS`.
        """
        if len(self._watchers) >= MOST_WATCHERS:
            raise RuntimeError(
                f"client.play() was called {MOST_WATCHERS} times: call it once, before the loop of "
                "frames, and frame() of what it returns in each of them; close() ends one"
            )
        self._watched = key = self._watched + 1
        self._watchers[key] = watcher

        def stop() -> None:
            self._watchers.pop(key, None)

        return stop
