"""What a program reads of its game: pushes, questions, states, players, events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

import trio

from pgnet_trio.errors import Disconnected
from pgnet_trio.messages import RequestFailed, Response, Status

if TYPE_CHECKING:
    from pgnet_trio.client.game_items import Event, Left
    from pgnet_trio.client.questions import Question
    from pgnet_trio.client.run import ClientRun
    from pgnet_trio.messages import Packet, Push

__all__ = ["GameReading"]

ModelT = TypeVar("ModelT")


class GameReading:
    """What `Client` shows of the game that its user is in, all of it from the latest run."""

    _run: ClientRun

    @property
    def left(self) -> Left | None:
        """How the user got out of the last game; None before that."""
        return self._run.view.left

    @property
    def players(self) -> dict[str, bool]:
        """The players of the game in the order of joining, and whether each is connected.

        Only known with protocol 2.
        """
        return dict(self._run.view.players)

    def time(self) -> float:
        """Return the time in the game's room, in seconds, as far as this client can know it."""
        return trio.current_time() + self._run.view.clock

    @overload
    def pushes(self, model: None = None, /) -> AsyncIterator[Push]: ...
    @overload
    def pushes(self, model: type[ModelT], /) -> AsyncIterator[ModelT]: ...
    def pushes(self, model: type[ModelT] | None = None, /) -> AsyncIterator[Any]:
        """Iterate over what the game says unasked, beginning with what nobody has read yet.

        A game that put the user out can be read to its end, until the next one begins. Whoever has
        read the end waits for the next game. The same holds for `questions` and `states`.

        Args:
            model: Only pushes of this attrs class, as such; None for all, as `Push`.
        """
        return self._run.view.pushes(model)

    @overload
    def questions(self, model: None = None, /) -> AsyncIterator[Question[Packet]]: ...
    @overload
    def questions(self, model: type[ModelT], /) -> AsyncIterator[Question[ModelT]]: ...
    def questions(self, model: type[ModelT] | None = None, /) -> AsyncIterator[Question[Any]]:
        """Iterate over what the game asks this player.

        Args:
            model: Only questions of this attrs class, whose `prompt` is one; None for all.
        """
        return self._run.view.questions(model)

    def states(self, model: type[ModelT], /) -> AsyncIterator[ModelT]:
        """Iterate over the states of the game: the latest, and then each newer one.

        A slow reader skips states: it always gets the latest.

        Args:
            model: The attrs class of the state, or ``dict``, or whatever ``view`` returns.
        """
        return self._run.view.states(model)

    def get_state(self, model: type[ModelT], /) -> ModelT:
        """Return the latest state of the game.

        Args:
            model: The attrs class of the state.

        Raises:
            CodecError: The state is no such model.
            RuntimeError: There is no state: the user is in no game, or the game shows none.
        """
        return self._run.view.get_state(model)

    async def wait_state(
        self, model: type[ModelT], predicate: Callable[[ModelT], bool] | None = None, /
    ) -> ModelT:
        """Wait until the state is as wanted, and return it; at once where it is so already.

        Args:
            model: The attrs class of the state.
            predicate: Says whether a state is as wanted; None takes any.

        Raises:
            CodecError: A state is no such model.
            RequestFailed: The user left the game first.
            Disconnected: The session ended first.
        """
        run = self._run
        found = await run.view.wait_state(model, predicate)
        if found is not None:
            return found[0]
        if run.ended.is_set():
            raise Disconnected(run.close_reason)
        raise RequestFailed(
            Response(
                "The user is out of the game, so its state changes no more.",
                status=Status.UNEXPECTED,
            )
        )

    def events(self) -> AsyncIterator[Event]:
        """Iterate over pushes, questions, changes of the state and of the game, as they come.

        The client keeps events for this iterator from the first call on.
        """
        return self._run.events()
