"""A whole game on one player's screen: the own object predicted, and all others interpolated."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

import attrs

from pgnet_trio.netcode.interpolator import Interpolator
from pgnet_trio.netcode.predictor import MAX_PENDING, SMOOTH, Predictor
from pgnet_trio.netcode.states import StateFields, check_seconds, copied

if TYPE_CHECKING:
    from pgnet_trio.netcode.moment import Moment

__all__ = ["MOST_TICKS", "Frame", "Play", "PlayRules"]

ThingT = TypeVar("ThingT")
InputT = TypeVar("InputT")

MOST_TICKS = 4
"""Ticks that one frame makes up for; after a longer pause the others are left out."""


@attrs.frozen
class Frame(Generic[ThingT]):
    """What to show in one frame. All of it are copies.

    Attributes:
        things: Everything, by name: the own object as predicted, all others as interpolated.
        me: The own object; None for who only watches, and before the first state.
        predicted: The same without smoothing: where the server will have it, if nobody interferes.
        server: Everything as the latest state has it: where the server knew it to be.
        interpolated: Everything as interpolated, the own object too: as others see it.
        number: The number of the input that has what was given for this frame: the last one, or
            the next where no tick was due. None where nothing was given, or there is no connection.
        confirmed: The number of the last input that the latest state contains; None for none.
    """

    things: dict[str, ThingT]
    me: ThingT | None
    predicted: ThingT | None
    server: Mapping[str, ThingT]
    interpolated: dict[str, ThingT]
    number: int | None = None
    confirmed: int | None = None


@attrs.frozen
class PlayRules(Generic[ThingT, InputT]):
    """How a game is shown: what is given to `Predictor` and `Interpolator`.

    Attributes:
        step: The game's own rule.
        smooth: Seconds over which an error of the prediction disappears.
        delay: Seconds that others are shown late, or "auto".
        fields: The names of the numbers that have values in between; None for all ``float`` fields.
        angle: The names of those that are angles in radians.
        snap: Where a field changes by more than this at once, nothing is shown in between.
    """

    step: Callable[[ThingT, InputT, float], ThingT | None]
    smooth: float = SMOOTH
    delay: float | Literal["auto"] = "auto"
    fields: Sequence[str] | None = None
    angle: str | Sequence[str] = ()
    snap: float = math.inf

    def check(self, kind: type[ThingT]) -> None:
        """Check that objects of an attrs class can be shown by these rules.

        Raises:
            TypeError: *step* is no function, or the class declares no ``float``; see *fields*.
            ValueError: The class has no such field, or a figure makes no sense.
        """
        if not callable(self.step):
            raise TypeError(f"step: expected a function of object, input and dt, got {self.step!r}")
        check_seconds("smooth", self.smooth)
        self.interpolator()
        StateFields(kind, self.fields, self.angle)

    def interpolator(self) -> Interpolator[ThingT]:
        """Return a new interpolator by these rules."""
        return Interpolator(self.delay, fields=self.fields, angle=self.angle, snap=self.snap)

    def predictor(self, thing: ThingT, dt: float) -> Predictor[ThingT, InputT]:
        """Return a new predictor by these rules, which begins with a state."""
        return Predictor(
            self.step,
            thing,
            dt=dt,
            smooth=self.smooth,
            snap=self.snap,
            fields=self.fields,
            angle=self.angle,
        )


class Play(Generic[ThingT, InputT]):
    """Shows a game to one of its players, frame by frame.

    It knows no clock and no network. Times are the room's: `Client.server_time`.

    Args:
        rules: How.
        name: The name of the own object.
        send: Sends an input, with the room's time that the player saw; returns its number, or None
            where it cannot be sent.

    Attributes:
        dt: Seconds between two ticks of the game; 0 for none, or not known yet: then nothing is
            predicted.
        interpolator: What shows the others.
        predictor: What shows the own object; None where there is none.
    """

    def __init__(
        self,
        rules: PlayRules[ThingT, InputT],
        name: str,
        send: Callable[[InputT, float], int | None],
    ) -> None:
        self._rules = rules
        self._name = name
        self._send = send
        self.reset()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._name!r} among {len(self._server)}>"

    def reset(self) -> None:
        """Begin with another game: what came before is over."""
        self.dt = 0.0
        self.interpolator: Interpolator[ThingT] = self._rules.interpolator()
        self.predictor: Predictor[ThingT, InputT] | None = None
        self._server: Mapping[str, ThingT] = {}
        self._next_tick: float | None = None
        # What the player wanted in the frame before, and what they saw when they began to.
        self._wanted: InputT | None = None
        self._seen: float | None = None
        # The last input that was sent, and the last that the latest state contains.
        self._number: int | None = None
        self._confirmed: int | None = None
        # For how much of a tick it was shown there.
        self._ahead = 0.0
        # What was sent while there was no own object: one that appears has not had all of it.
        self._unapplied: deque[tuple[int, InputT]] = deque(maxlen=MAX_PENDING)

    def take(self, things: Mapping[str, ThingT], moment: Moment, now: float) -> None:
        """Take in a state.

        Args:
            things: The objects of the game. They are kept, and have to stay as they are.
            moment: Of which moment they are.
            now: When they came.
        """
        self._server = things
        self._confirmed = moment.confirmed or None
        self.interpolator.push(moment.time, things, now)
        mine = things.get(self._name)
        if mine is None or not self.dt:
            self.predictor = None
        elif self.predictor is None or self.predictor.dt != self.dt:
            self.predictor = self._rules.predictor(mine, self.dt)
            for number, input in self._unapplied:
                if number > moment.confirmed:
                    self.predictor.apply(input, number)
            self._unapplied.clear()
        else:
            self.predictor.reconcile(mine, self._confirmed, now)

    def frame(self, now: float, input: InputT | None = None) -> Frame[ThingT]:
        """Send what is to be sent, and return what to show.

        Args:
            now: The time of this frame.
            input: What the player wants at this moment; None for nothing, which sends nothing.
        """
        # Whoever acts now has seen the frame before this one.
        seen = self.interpolator.time
        interpolated = self.interpolator.show(now)
        ahead, number = 0.0, None
        if input is not None and seen is not None and self.dt:
            if input != self._wanted:
                if self._wanted is not None and self.predictor is not None:
                    self.predictor.change_input(self._wanted, input, self._ahead, now)
                # A copy: the author may change the one object, and hand it in again.
                self._wanted, self._seen = copied(input), seen
            before = self._number
            ahead = self._make_ticks(now, self._wanted, seen, self.predictor)
            number = self._number
            if number is not None and number == before:
                # No tick was due: the next one has it.
                number += 1
        self._ahead = ahead
        numbers = number, self._confirmed
        if self.predictor is None:
            return Frame(interpolated, None, None, self._server, interpolated, *numbers)
        me = self.predictor.show(now, input, ahead)
        predicted = self.predictor.predict(input, ahead)
        # Who has just joined is not shown by interpolation yet.
        things = {**interpolated, self._name: me}
        return Frame(things, me, predicted, self._server, interpolated, *numbers)

    def _make_ticks(
        self, now: float, input: InputT, seen: float, predictor: Predictor[ThingT, InputT] | None
    ) -> float:
        """Send and apply an input for each tick that is due; return how long ago the last was."""
        due = now if self._next_tick is None else self._next_tick
        if due <= now:
            seen, self._seen = (seen if self._seen is None else self._seen), None
        for _ in range(MOST_TICKS):
            if due > now:
                break
            number = self._number = self._send(input, seen)
            if number is None:
                pass
            elif predictor is None:
                self._unapplied.append((number, input))
            else:
                predictor.apply(input, number)
            due += self.dt
        if due <= now:
            due = now + self.dt
        self._next_tick = due
        return max(0.0, self.dt - (due - now))
