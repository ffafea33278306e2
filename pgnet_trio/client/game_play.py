"""A game in real time on a player's screen: what `Client.play` returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pgnet_trio.client.game_items import explained
from pgnet_trio.codec import from_plain
from pgnet_trio.errors import CodecError
from pgnet_trio.netcode import NO_MOMENT, Frame, Moment, Play, PlayRules

if TYPE_CHECKING:
    from pgnet_trio.client.run import ClientRun

__all__ = ["GamePlay"]

ThingT = TypeVar("ThingT")
InputT = TypeVar("InputT")


class GamePlay(Generic[ThingT, InputT]):
    """Shows the objects of a game in each frame; made by `Client.play`.

    Args:
        run: The client's run.
        model: The attrs class of the objects.
        at: The field of the state that has them by their names; None where the state itself does.
        rules: How they are shown.
        send: Sends an input, with the room's time that the player saw; returns its number.
    """

    def __init__(
        self,
        run: ClientRun,
        model: type[ThingT],
        at: str | None,
        rules: PlayRules[ThingT, InputT],
        send: Callable[[InputT, float], int],
    ) -> None:
        self._run = run
        self._model = model
        self._at = at
        self._send_input = send
        self._error: CodecError | None = None
        self._play: Play[ThingT, InputT] = Play(rules, run.username, self._send)
        self._stop = run.view.timing.watch(self._take)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._model.__name__}>"

    @property
    def play(self) -> Play[ThingT, InputT]:
        """Its parts: what predicts and what interpolates, for a look at their figures."""
        return self._play

    def frame(self, input: InputT | None = None, /) -> Frame[ThingT]:
        """Send what is to be sent, and return what to show now; call it in each frame.

        It sends one input for each tick of the game, however many frames there are. A change shows
        in this frame already. While there is no connection, the own object stands still.

        Args:
            input: What the player wants at this moment, an object of the model in `Game.inputs`.
                None for nothing: then nothing is sent.

        Returns:
            Everything to show, by name; empty before the first state, and in a game without
            `update`.

        Raises:
            CodecError: The state has no such objects, or the input cannot travel.
        """
        if self._error is not None:
            raise self._error
        timing = self._run.view.timing
        self._play.dt = 1 / timing.rate if timing.rate > 0 else 0.0
        timing.look()
        return self._play.frame(timing.clock.time(), input)

    def close(self) -> None:
        """Take in no more states. The end of the session does so too."""
        self._stop()

    def _send(self, input: InputT, seen: float) -> int | None:
        return self._send_input(input, seen) if self._run.online else None

    def _take(self, moment: Moment, data: Any, is_new: bool) -> None:
        if moment == NO_MOMENT:
            # Another game begins, or the user is in none.
            self._play.reset()
            self._error = None
            return
        timing = self._run.view.timing
        self._play.dt = 1 / timing.rate if timing.rate > 0 else 0.0
        try:
            found = self._things_in(data)
        except CodecError as error:
            # In the task that reads from the server, nobody could handle it.
            self._error = explained(error, "The state", self._run.view.place, self._model)
            return
        self._play.take(found, moment, timing.clock.time())

    def _things_in(self, data: Any) -> dict[str, ThingT]:
        if self._at is not None:
            if not isinstance(data, dict) or self._at not in data:
                raise CodecError(f"expected a field {self._at!r}")
            data = data[self._at]
        return from_plain(data, dict[str, self._model])  # type: ignore[name-defined]  # at run time
