"""What a program reads of its game: pushes, questions, states, players, events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from pgnet_trio.client.feeds import ALL_KINDS, ContinuedReader
from pgnet_trio.client.game_items import itself
from pgnet_trio.errors import Disconnected, SessionLost
from pgnet_trio.messages import RequestFailed, Response, Status, note_code
from pgnet_trio.reason_codes import ReasonCode

if TYPE_CHECKING:
    from pgnet_trio.client.game_items import Event, Left
    from pgnet_trio.client.invitations import Invitation
    from pgnet_trio.client.questions import Question
    from pgnet_trio.client.run import ClientRun
    from pgnet_trio.messages import Packet, Push

__all__ = ["GameReading"]

ModelT = TypeVar("ModelT")
FirstT = TypeVar("FirstT")
SecondT = TypeVar("SecondT")
ThirdT = TypeVar("ThirdT")


class GameReading:
    """What `Client` shows of the game that its user is in, all of it from the latest run.

    A lost session ends no iterator: it goes on with what comes after, when the client is back in
    its game. Whoever wants to know gives ``raise_session_lost=True``, and gets `SessionLost` after
    everything that came before; the next iterator goes on.
    """

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

    @property
    def lost_pushes(self) -> int:
        """How many pushes of the game the server has dropped; see `LostPushes`."""
        return self._run.view.lost_pushes

    @overload
    def pushes(self, *, raise_session_lost: bool = False) -> AsyncIterator[Push]: ...
    @overload
    def pushes(
        self, model: type[FirstT], /, *, raise_session_lost: bool = False
    ) -> AsyncIterator[FirstT]: ...
    @overload
    def pushes(
        self,
        model: type[FirstT],
        second: type[SecondT],
        /,
        *,
        raise_session_lost: bool = False,
    ) -> AsyncIterator[FirstT | SecondT]: ...
    @overload
    def pushes(
        self,
        model: type[FirstT],
        second: type[SecondT],
        third: type[ThirdT],
        /,
        *,
        raise_session_lost: bool = False,
    ) -> AsyncIterator[FirstT | SecondT | ThirdT]: ...
    @overload
    def pushes(
        self, *models: type[Any], raise_session_lost: bool = False
    ) -> AsyncIterator[Any]: ...
    def pushes(self, *models: type[Any], raise_session_lost: bool = False) -> AsyncIterator[Any]:
        """Iterate over what the game says unasked, beginning with what nobody has read yet.

        A game that put the user out can be read to its end, until the next one begins. Whoever has
        read the end waits for the next game. The same holds for `questions` and `states`.

        Args:
            models: Only pushes of these attrs classes, as such and in the order in which they came;
                none for all, as `Push`.
            raise_session_lost: Whether the loss of the session is raised, instead of going on.

        Raises:
            TypeError: One of the models is no attrs class, or two have the same name.
        """
        view = self._run.view
        return _reader(lambda: view.pushes(models), raise_session_lost)

    @overload
    def questions(self, *, raise_session_lost: bool = False) -> AsyncIterator[Question[Packet]]: ...
    @overload
    def questions(
        self, model: type[FirstT], /, *, raise_session_lost: bool = False
    ) -> AsyncIterator[Question[FirstT]]: ...
    @overload
    def questions(
        self,
        model: type[FirstT],
        second: type[SecondT],
        /,
        *,
        raise_session_lost: bool = False,
    ) -> AsyncIterator[Question[FirstT | SecondT]]: ...
    @overload
    def questions(
        self,
        model: type[FirstT],
        second: type[SecondT],
        third: type[ThirdT],
        /,
        *,
        raise_session_lost: bool = False,
    ) -> AsyncIterator[Question[FirstT | SecondT | ThirdT]]: ...
    @overload
    def questions(
        self, *models: type[Any], raise_session_lost: bool = False
    ) -> AsyncIterator[Question[Any]]: ...
    def questions(
        self, *models: type[Any], raise_session_lost: bool = False
    ) -> AsyncIterator[Question[Any]]:
        """Iterate over what the game asks this player.

        Args:
            models: Only questions of these attrs classes, whose `prompt` is one, in the order in
                which they came; none for all, whose `prompt` is a packet.
            raise_session_lost: Whether the loss of the session is raised, instead of going on.

        Raises:
            TypeError: One of the models is no attrs class, or two have the same name.
        """
        view = self._run.view
        return _reader(lambda: view.questions(models), raise_session_lost)

    def states(
        self, model: type[ModelT], /, *, raise_session_lost: bool = False
    ) -> AsyncIterator[ModelT]:
        """Iterate over the states of the game: the latest, and then each newer one.

        A slow reader skips states: it always gets the latest.

        Args:
            model: The attrs class of the state, or ``dict``, or whatever ``view`` returns.
            raise_session_lost: Whether the loss of the session is raised, instead of going on.
        """
        view = self._run.view
        return _reader(lambda: view.states(model), raise_session_lost)

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
        self,
        model: type[ModelT],
        predicate: Callable[[ModelT], bool] | None = None,
        /,
        *,
        raise_session_lost: bool = False,
    ) -> ModelT:
        """Wait until the state is as wanted, and return it; at once where it is so already.

        Args:
            model: The attrs class of the state.
            predicate: Says whether a state is as wanted; None takes any.
            raise_session_lost: Whether the loss of the session is raised, instead of waiting for
                the state after that.

        Raises:
            CodecError: A state is no such model.
            RequestFailed: The user left the game first.
            Disconnected: The session ended first.
        """
        run = self._run
        while True:
            try:
                found = await run.view.wait_state(model, predicate)
            except SessionLost:
                if raise_session_lost:
                    raise
            else:
                break
        if found is not None:
            return found[0]
        if run.ended.is_set():
            raise Disconnected(run.close_reason, code=run.close_code)
        response = Response(
            "The user is out of the game, so its state changes no more.", status=Status.UNEXPECTED
        )
        raise RequestFailed(note_code(response, ReasonCode.GAME_OVER))

    @overload
    def events(self, *, raise_session_lost: bool = False) -> AsyncIterator[Event]: ...
    @overload
    def events(
        self, model: type[FirstT], /, *, raise_session_lost: bool = False
    ) -> AsyncIterator[Event | FirstT]: ...
    @overload
    def events(
        self,
        model: type[FirstT],
        second: type[SecondT],
        /,
        *,
        raise_session_lost: bool = False,
    ) -> AsyncIterator[Event | FirstT | SecondT]: ...
    @overload
    def events(
        self, *models: type[Any], raise_session_lost: bool = False
    ) -> AsyncIterator[Any]: ...
    def events(self, *models: type[Any], raise_session_lost: bool = False) -> AsyncIterator[Any]:
        """Iterate over pushes, questions, changes of the state and of the game, as they come.

        The first call begins with how things are: with `StateChanged` if the game has a state, with
        the pushes and open questions that no iterator has read, and with `Left` if the game has put
        the user out. The client keeps events for this iterator from then on. Unlike the other
        iterators, it goes on after `Left`, with the next game, until the session ends. After a lost
        session its first event is `Entered` again, or `Left`.

        Args:
            models: attrs classes. A push of one of them comes as such, and a question with one as
                its `prompt`; all others as `Push`, and with a packet.
            raise_session_lost: Whether the loss of the session is raised, instead of going on.

        Raises:
            TypeError: One of the models is no attrs class, or two have the same name.
        """
        run = self._run
        return _reader(lambda: run.events(models), raise_session_lost)

    def invitations(self) -> AsyncIterator[Invitation]:
        """Iterate over invitations to games, beginning with what nobody has read yet.

        They come in a game and in none. The iterator goes on until the session ends, also after a
        lost one; the server keeps none for a client that is not logged in.
        """
        return self._run.view.invitations.read(ALL_KINDS, itself)


def _reader(
    open_reader: Callable[[], AsyncIterator[ModelT]], raise_session_lost: bool
) -> AsyncIterator[ModelT]:
    return open_reader() if raise_session_lost else ContinuedReader(open_reader)
