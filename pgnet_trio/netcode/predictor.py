"""Prediction: a player's own object moves at once, and not when the server's answer comes."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from pgnet_trio.netcode.states import (
    Offset,
    StateFields,
    added,
    check_seconds,
    copied,
    is_leap,
    size,
)

__all__ = ["MAX_PENDING", "SMOOTH", "Predictor"]

StateT = TypeVar("StateT")
InputT = TypeVar("InputT")

SMOOTH = 0.15
"""Seconds over which an error disappears, where nobody says otherwise."""

MAX_PENDING = 128
"""Inputs that wait for the server to confirm them: over four seconds at 30 a second."""


class Predictor(Generic[StateT, InputT]):
    """Predicts what the server will make of a player's inputs.

    It applies each input at once. When a state comes from the server, it begins there, and applies
    the inputs again that this state does not contain yet. Where nobody interfered, this leads to
    the very state that was predicted. Elsewhere the difference is shown less and less over *smooth*
    seconds, instead of as a jump.

    It knows no clock and no network, and never waits.

    Args:
        step: The game's own rule: ``step(state, input, dt)`` changes the state in place, or returns
            another one. It is called with copies, several times for each input: it has to use
            nothing but its arguments and constants.
        state: The state to begin with.
        dt: Seconds that one input stands for: those between two ticks of the game, `Room.dt`.
        smooth: Seconds over which an error disappears; 0 for at once.
        snap: Where a field is off by more than this, it is right at once: a ship that begins anew
            somewhere else does not fly there.
        fields: The names of the numbers in which errors disappear slowly; None for all fields that
            the state's attrs class declares as ``float``.
        angle: The names of fields that are angles in radians.
        max_pending: How many inputs may wait to be confirmed. Further ones have no effect, so that
            the own object stands still when the server is silent for long.

    Attributes:
        dt: Seconds that one input stands for.
        state: What the server will say, as far as this player can know it. Not to be changed.
        error: How far the prediction was off when the latest state came: the root of the sum of the
            squares over the fields.
        corrections: How many states were not as predicted so far.

    Raises:
        TypeError: No field is known; see *fields*.
        ValueError: A figure makes no sense, or a state has no such field.
    """

    def __init__(
        self,
        step: Callable[[StateT, InputT, float], StateT | None],
        state: StateT,
        *,
        dt: float,
        smooth: float = SMOOTH,
        snap: float = math.inf,
        fields: Sequence[str] | None = None,
        angle: str | Sequence[str] = (),
        max_pending: int = MAX_PENDING,
    ) -> None:
        if not 0 < dt < math.inf:
            raise ValueError(f"dt: expected seconds above 0, got {dt!r}")
        check_seconds("smooth", smooth)
        if not max_pending >= 1:
            raise ValueError(f"max_pending: expected 1 or more, got {max_pending!r}")
        self.state: StateT = copied(state)
        self.error = 0.0
        self.corrections = 0
        self.dt = dt
        self._step = step
        self._smooth = smooth
        self._snap = snap
        self._fields = StateFields(state, fields, angle)
        self._max_pending = max_pending
        self._pending: deque[tuple[int, InputT]] = deque()
        self._offset: Offset | None = None
        self._offset_since = 0.0

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, {len(self._pending)} inputs pending>"

    @property
    def pending(self) -> int:
        """How many inputs the server has not confirmed."""
        return len(self._pending)

    def apply(self, input: InputT, number: int) -> bool:
        """Apply an input, now that it is sent.

        Args:
            input: What the player wants during one tick.
            number: Its number, larger than those before it: what `Client.input` returned.

        Returns:
            Whether it had an effect; see *max_pending*.
        """
        if len(self._pending) >= self._max_pending:
            return False
        self._pending.append((number, input))
        self.state = self._stepped(self.state, input, self.dt)
        return True

    def reconcile(self, state: StateT, confirmed: int | None, now: float) -> float:
        """Take in a state of the server's, and apply to it what it does not contain yet.

        Args:
            state: The server's state of this object.
            confirmed: The number of the last input that it contains; None for none.
            now: The time, in seconds, on any clock that `show` is called with too.

        Returns:
            How far the prediction was off: `error`.
        """
        pending = self._pending
        if confirmed is not None:
            while pending and pending[0][0] <= confirmed:
                pending.popleft()
        before = self.state
        after = copied(state)
        step, dt = self._step, self.dt
        for _, input in pending:
            result = step(after, input, dt)
            if result is not None:
                after = result
        self.state = after
        difference = self._fields.difference(before, after)
        self.error = size(difference)
        if self.error:
            self.corrections += 1
            self._hide(difference, now)
        return self.error

    def change_input(self, before: InputT, input: InputT, ahead: float, now: float) -> None:
        """Note that the player wants something else, in the middle of a tick.

        The whole tick will count for the new input. What was shown of it with the one before
        disappears over *smooth* seconds, as an error does.

        Args:
            before: What the player wanted until now.
            input: What the player wants from now on.
            ahead: For how many seconds of this tick the one before was shown.
            now: The time, in seconds, on the clock of `reconcile`.
        """
        if ahead > 0:
            shown, right = self.predict(before, ahead), self.predict(input, ahead)
            self._hide(self._fields.difference(shown, right), now)

    def predict(self, input: InputT | None = None, ahead: float = 0.0) -> StateT:
        """Return what is predicted for this moment, as a copy, with no error smoothed.

        Args:
            input: What the player wants at this moment, though it is not sent yet.
            ahead: Seconds since the last tick, for which that input counts already. So an action
                has an effect in the frame in which it begins.
        """
        state: StateT = copied(self.state)
        if input is None or ahead <= 0:
            return state
        return self._stepped(state, input, ahead)

    def show(self, now: float, input: InputT | None = None, ahead: float = 0.0) -> StateT:
        """Return what to show in this frame, as a copy: what `predict` returns, smoothed.

        Args:
            now: The time, in seconds, on the clock of `reconcile`.
            input: What the player wants at this moment, though it is not sent yet.
            ahead: Seconds since the last tick, for which that input is shown already.
        """
        state = self.predict(input, ahead)
        offset = self._offset
        if offset is not None:
            share = self._share(now)
            if share > 0:
                return self._moved(state, offset, share)
            self._offset = None
        return state

    def _hide(self, difference: Offset, now: float) -> None:
        """Show less and less of a difference to what was shown so far."""
        offset = self._offset
        if offset is not None:
            difference = added(difference, offset, self._share(now))
        is_smooth = self._smooth > 0 and not is_leap(difference, self._snap)
        self._offset = difference if is_smooth else None
        self._offset_since = now

    def _moved(self, state: StateT, offset: Offset, share: float) -> StateT:
        moved: StateT = self._fields.moved(state, offset, share)
        return moved

    def _share(self, now: float) -> float:
        """Return how much of the last error is shown still."""
        return max(0.0, min(1.0, 1 - (now - self._offset_since) / self._smooth))

    def _stepped(self, state: StateT, input: InputT, dt: float) -> StateT:
        result: StateT | None = self._step(state, input, dt)
        return state if result is None else result
