"""A game in real time on a player's screen: what `Client.play` returns."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

import attrs

from pgnet_trio.codec import from_plain
from pgnet_trio.errors import CodecError
from pgnet_trio.netcode import NO_MOMENT, Frame, Moment, Play, PlayRules
from pgnet_trio.netcode.predictor import SMOOTH

if TYPE_CHECKING:
    from pgnet_trio.client.run import ClientRun

__all__ = ["GamePlay", "ThingsOf", "play"]

ThingT = TypeVar("ThingT")
InputT = TypeVar("InputT")


class PlayingClient(Protocol):
    """What it needs of the client."""

    _run: ClientRun

    @property
    def username(self) -> str:
        """Who plays."""

    def input(self, given: object, /, *, seen: float | None = None) -> int:
        """Send an input, and return its number."""


@attrs.frozen
class ThingsOf(Generic[ThingT]):
    """Finds the objects of a game in its state.

    Attributes:
        model: Their attrs class.
        at: The field of the state that has them by their names; None where the state itself does.
    """

    model: type[ThingT]
    at: str | None

    def read(self, state: Any) -> dict[str, ThingT]:
        """Return the objects in a state, which is plain data.

        Raises:
            CodecError: It has none there, or others.
        """
        if self.at is not None:
            if not isinstance(state, dict) or self.at not in state:
                has = f"one with {', '.join(state)}" if isinstance(state, dict) else "another"
                raise CodecError(f"play: expected a state with a field {self.at!r}, got {has}")
            state = state[self.at]
        models: Any = dict[str, self.model]  # type: ignore[name-defined]  # a type made here
        try:
            found: dict[str, ThingT] = from_plain(state, models, self.at or "state")
        except CodecError as error:
            if self.at is not None:
                raise
            raise CodecError(
                "play: expected a state that is a map of the objects by their names; where they "
                f"are in a field of it, name that with at=. {error}"
            ) from error
        return found


class GamePlay(Generic[ThingT, InputT]):
    """Shows the objects of a game in each frame; made by `Client.play`.

    Args:
        run: The client's run.
        username: Whose object is the own one.
        things: Finds the objects.
        rules: How they are shown.
        send: Sends an input, with the room's time that the player saw; returns its number.
    """

    def __init__(
        self,
        run: ClientRun,
        username: str,
        things: ThingsOf[ThingT],
        rules: PlayRules[ThingT, InputT],
        send: Callable[[InputT, float], int],
    ) -> None:
        self._run = run
        self._timing = run.view.timing
        self._things = things
        self._username = username
        self._send_input = send
        self._error: Exception | None = None
        self._play: Play[ThingT, InputT] = Play(rules, username, self._send)
        self._stop = self._timing.watch(self._take)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._things.model.__name__}>"

    @property
    def play(self) -> Play[ThingT, InputT]:
        """Its parts: what predicts and what interpolates, for a look at their figures."""
        return self._play

    def frame(self, input: InputT | None = None, /) -> Frame[ThingT]:
        """Send what is to be sent, and return what to show now; call it in each frame.

        It sends one input for each tick of the game, however many frames there are. A change shows
        in this frame already. While there is no connection, the own object stands still. A player
        whose object is not in the state, after a crash say, has no `Frame.me`, and is heard still.

        Args:
            input: What the player wants at this moment, an object of the model in `Game.inputs`.
                None for nothing: then nothing is sent.

        Returns:
            Everything to show, by name; empty before the first state, and in a game without
            `update`.

        Raises:
            CodecError: The state has no such objects, or the input cannot travel.
            Exception: What *step* has raised, here or when a state came.
        """
        if self._error is not None:
            raise self._error
        self._note_rate()
        self._timing.look()
        return self._play.frame(self._timing.clock.time(), input)

    def close(self) -> None:
        """Take in no more states. The end of the session does so too."""
        self._stop()

    def _send(self, input: InputT, seen: float) -> int | None:
        # Who only watches may hand an input in, and nobody would take it.
        plays = self._run.online and self._username in self._run.view.players
        return self._send_input(input, seen) if plays else None

    def _note_rate(self) -> None:
        rate = self._timing.rate
        self._play.dt = 1 / rate if rate > 0 else 0.0

    def _take(self, moment: Moment, state: Any, is_new: bool) -> None:
        if moment == NO_MOMENT:
            # Another game begins, or none.
            self._play.reset()
            self._error = None
            return
        self._note_rate()
        try:
            things = self._things.read(state)
            self._play.take(things, moment, self._timing.clock.time())
            self._error = None
        except Exception as error:
            # In the task that reads from the server, nobody could handle it.
            self._error = error


def play(
    client: PlayingClient,
    model: type[ThingT],
    /,
    *,
    step: Callable[[ThingT, InputT, float], ThingT | None],
    at: str | None = None,
    smooth: float = SMOOTH,
    delay: float | Literal["auto"] = "auto",
    fields: Sequence[str] | None = None,
    angle: str | Sequence[str] = (),
    snap: float = math.inf,
) -> GamePlay[ThingT, InputT]:
    """Show a game in real time: the own object moves at once, and all others evenly.

    Call it while the client is connected, and then ``frame`` of what it returns in each frame::

        play = client.play(Ship, step=step, at="ships")
        ...
        for name, ship in play.frame(Thrust(x, y)).things.items():
            draw(name, ship)

    Args:
        client: Who plays.
        model: The attrs class of the objects. The own one has the user's name.
        step: The game's own rule, which its `update` calls too: ``step(ship, input, dt)``
            changes the ship in place, or returns another one. It is called with copies, several
            times for each input, and has to use nothing but its arguments and constants.
        at: The field of the state that has the objects by their names; None where the state
            itself does.
        smooth: Seconds over which an error of the prediction disappears.
        delay: Seconds that others are shown late, or "auto" for as few as the network allows.
        fields: The names of the numbers that have values in between; None for all that the
            class declares as ``float``.
        angle: The names of those that are angles in radians.
        snap: Where a field changes by more than this at once, nothing is shown in between.

    Raises:
        TypeError: *model* is no attrs class, or declares no ``float``; or *step* is no function.
        ValueError: *model* has no such field, or *smooth* or *delay* is no such time.
        RuntimeError: It was called again and again, in each frame perhaps.
    """
    kind: Any = model
    if not (isinstance(kind, type) and attrs.has(kind)):
        raise TypeError(f"play: expected the attrs class of the objects, got {model!r}")
    rules = PlayRules(step, smooth, delay, fields, angle, snap)
    rules.check(model)
    return GamePlay(
        client._run,
        client.username,
        ThingsOf(model, at),
        rules,
        lambda input, seen: client.input(input, seen=seen),
    )
