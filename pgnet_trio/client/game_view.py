"""What a client knows of the game that its user is in: pushes, questions, states, players."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, TypeVar

import attrs
import trio

from pgnet_trio import patch
from pgnet_trio.client.feeds import Feed, LatestFeed, StateReader
from pgnet_trio.client.questions import Question
from pgnet_trio.codec import from_plain, plain
from pgnet_trio.errors import CodecError, PGNetError
from pgnet_trio.messages import PLAYERS, Packet, Push, Response
from pgnet_trio.protocol.events import (
    ClientEvent,
    GameChanged,
    Patched,
    Pushed,
    QuestionAsked,
    StateShown,
    Withdrawn,
)
from pgnet_trio.typed import model_name

__all__ = ["Entered", "Event", "GameView", "Hooks", "Left", "StateChanged"]

logger = logging.getLogger("pgnet_trio.client")

ModelT = TypeVar("ModelT")


@attrs.frozen
class Left:
    """How the user got out of the last game.

    Protocol 1 does not tell why: who has not left by themselves was ``kicked`` there, and the
    message is what the game answered when they were, if it did.

    Attributes:
        game: The game's name.
        reason: A word for programs: left, kicked, closed, crashed or destroyed.
        message: Why, for people.
    """

    game: str
    reason: str
    message: str


@attrs.frozen
class Entered:
    """An event: the user is in this game now."""

    game: str


@attrs.frozen
class StateChanged:
    """An event: there is a new state; `Client.get_state` gives the latest."""


Event = Push | Question[Any] | StateChanged | Entered | Left
"""What `Client.events` gives."""


@attrs.define
class _Place:
    """Which game what is read came from: it may be read when the user is in another one."""

    game: str | None = None


class Hooks(Protocol):
    """What a program wants to be called for."""

    on_players: Callable[..., Any] | None
    on_push: Callable[..., Any] | None
    on_state: Callable[..., Any] | None
    on_question: Callable[..., Any] | None


class GameView:
    """Takes in what the server tells of a game, and gives it to those who read it.

    Args:
        hooks: What to call.
        call: Has a hook called with an argument, in its turn.
        call_once: Has a function called in its turn, unless it waits for that already.
        want_state: Asks for the whole state, since a patch does not fit.
        answer: Answers a question.

    Attributes:
        players: The players in the order of joining, and whether each is connected.
        left: How the user got out of the last game; None before that.
        clock: What has to be added to Trio's time for that of the game's room.
    """

    def __init__(
        self,
        hooks: Hooks,
        *,
        call: Callable[[Callable[..., Any] | None, Any], None],
        call_once: Callable[[Callable[[], Any]], None],
        want_state: Callable[[], None],
        answer: Callable[[int, Packet], Awaitable[Response]],
    ) -> None:
        self.players: dict[str, bool] = {}
        self.left: Left | None = None
        self.clock = 0.0
        self._hooks = hooks
        self._call = call
        self._call_once = call_once
        self._want_state = want_state
        self._answer = answer
        self._name: str | None = None
        self._last_state: Any = None
        self._events: Feed[Event] | None = None
        self._start_anew()

    @property
    def open_questions(self) -> list[Question[Any]]:
        """The questions that are not answered yet."""
        return list(self._open_questions.values())

    # What a program reads.

    def pushes(self, model: type[ModelT] | None) -> AsyncIterator[Any]:
        """Iterate over pushes; see `Client.pushes`."""
        if model is None:
            return self._pushes.read(None, _itself)
        return self._pushes.read(
            model_name(model), functools.partial(_as_model, self._place, model)
        )

    def questions(self, model: type[ModelT] | None) -> AsyncIterator[Question[Any]]:
        """Iterate over questions; see `Client.questions`."""
        if model is None:
            return self._questions.read(None, _itself)
        return self._questions.read(
            model_name(model), functools.partial(_as_question, self._place, model)
        )

    def states(self, model: type[ModelT]) -> AsyncIterator[ModelT]:
        """Iterate over states; see `Client.states`."""
        return StateReader(self._states, functools.partial(_as_state, self._place, model))

    def get_state(self, model: type[ModelT]) -> ModelT:
        """Give the latest state; see `Client.get_state`."""
        if not self._states.count:
            raise RuntimeError("there is no state: join a game that has a view first")
        return _as_state(self._place, model, self._states.data)

    def explain(self, error: CodecError, what: str, model: Any) -> CodecError:
        """Say of which game something is no such model; see `_explained`."""
        return _explained(error, what, self._place, model)

    async def wait_state(
        self, model: type[ModelT], predicate: Callable[[ModelT], bool] | None
    ) -> tuple[ModelT] | None:
        """Wait until the state is as wanted; None where that can no longer be."""
        feed, place, count = self._states, self._place, 0
        await trio.lowlevel.checkpoint()
        while await feed.next_after(count):
            count = feed.count
            state = _as_state(place, model, feed.data)
            if predicate is None or predicate(state):
                return (state,)
        return None

    def events(self, over: PGNetError | None) -> AsyncIterator[Event]:
        """Iterate over everything, from the first call on.

        Args:
            over: Why nothing will come any more; None where something may.
        """
        if self._events is None:
            self._events = Feed("events", _one_kind)
            if over is not None:
                self._events.end(over)
        return self._events.read(None, _itself)

    # What the session tells.

    def take(self, event: ClientEvent) -> None:
        """Take in something that came."""
        match event:
            case StateShown():
                self._take_state(event.version, event.data)
            case Patched():
                self._take_patch(event)
            case Pushed():
                self._take_push(event.push)
            case GameChanged():
                self._take_game(event)
            case QuestionAsked():
                self._take_question(event)
            case Withdrawn():
                self.close_question(event.id)

    def lose(self, error: PGNetError) -> None:
        """Have whoever reads get an error, and start anew: the session is gone."""
        self._leave(error)
        if self._events is not None:
            self._events.end(error)
            self._events = Feed("events", _one_kind)

    def end(self, error: PGNetError | None) -> None:
        """Have whoever reads come to the end, or get an error, after what there is to read."""
        self._end_feeds(error)
        if self._events is not None:
            self._events.end(error)
        self.players = {}
        self._name = None

    def close_question(self, id: int) -> None:
        """Take a question back that is no longer open."""
        question = self._open_questions.pop(id, None)
        if question is not None:
            question.scope.cancel()
            self._questions.remove(question)

    def _start_anew(self) -> None:
        self._place = _Place()
        self._pushes: Feed[Push] = Feed("pushes", _message)
        self._questions: Feed[Question[Any]] = Feed("questions", _question_message)
        self._open_questions: dict[int, Question[Any]] = {}
        self._states: LatestFeed = LatestFeed()
        self._state_version = 0
        self._state_wanted = False
        self.players = {}

    def _end_feeds(self, error: PGNetError | None) -> None:
        self._pushes.end(error)
        self._questions.end(error)
        self._states.end(error)
        for question in self._open_questions.values():
            question.scope.cancel()

    def _leave(self, error: PGNetError | None) -> None:
        self._end_feeds(error)
        had_players = bool(self.players)
        self._start_anew()
        if had_players:
            self._call(self._hooks.on_players, {})

    def _take_game(self, event: GameChanged) -> None:
        if event.name is None:
            if self._name is not None:
                self.left = Left(self._name, event.reason, event.message)
                self._put_event(self.left)
            self._leave(None)
        else:
            self.clock = event.time - trio.current_time()
            self._place.game = event.name
            self._put_event(Entered(event.name))
        self._name = event.name

    def _take_state(self, version: int, data: Any) -> None:
        self._state_version = version
        self._state_wanted = False
        self._states.put(data)
        # The game may be over by the time that `on_state` is called.
        self._last_state = data
        self._put_event(StateChanged())
        if self._hooks.on_state is not None:
            self._call_once(self._show_state)

    def _show_state(self) -> Any:
        hook = self._hooks.on_state
        return None if hook is None else hook(plain(self._last_state))

    def _take_patch(self, event: Patched) -> None:
        if event.base == self._state_version and self._states.count:
            try:
                data = patch.apply(self._states.data, event.patch)
            except CodecError as error:
                logger.warning("A patch of the state does not fit: %s", error)
            else:
                self._take_state(event.version, data)
                return
        if not self._state_wanted:
            self._state_wanted = True
            self._want_state()

    def _take_push(self, push: Push) -> None:
        if push.message == PLAYERS:
            self._take_players(push.payload)
            return
        self._pushes.put(push)
        self._put_event(push)
        self._call(self._hooks.on_push, push)

    def _take_players(self, payload: dict[str, Any]) -> None:
        players = {} if payload.get("all") else dict(self.players)
        for name, online in payload.get("players", {}).items():
            if online is None:
                players.pop(name, None)
            else:
                players[name] = online is True
        if [*players.items()] == [*self.players.items()]:
            # Who came while this client was away may have left again.
            return
        self.players = players
        self._call(self._hooks.on_players, dict(players))

    def _take_question(self, event: QuestionAsked) -> None:
        # It may have waited for its way here, and then its time is old.
        self.clock = max(self.clock, event.time - trio.current_time())
        deadline = math.inf if event.deadline is None else event.deadline - self.clock
        question = Question(
            event.id,
            event.packet,
            event.packet,
            trio.CancelScope(deadline=deadline),
            self._answer,
        )
        self._open_questions[event.id] = question
        self._questions.put(question)
        self._put_event(question)
        self._call(self._hooks.on_question, question)

    def _put_event(self, event: Event) -> None:
        if self._events is not None:
            self._events.put(event)


def _itself(item: ModelT) -> ModelT:
    return item


def _message(push: Push) -> str:
    return push.message


def _question_message(question: Question[Any]) -> str:
    return question.packet.message


def _one_kind(event: Event) -> str:
    return ""


def _as_state(place: _Place, model: type[ModelT], data: Any) -> ModelT:
    try:
        return from_plain(data, model)
    except CodecError as error:
        raise _explained(error, "The state", place, model) from error.__cause__


def _as_model(place: _Place, model: type[ModelT], push: Push) -> ModelT | None:
    if push.message != model_name(model):
        return None
    try:
        return push.read(model)
    except CodecError as error:
        raise _explained(error, "A push", place, model) from error.__cause__


def _as_question(
    place: _Place, model: type[ModelT], question: Question[Any]
) -> Question[ModelT] | None:
    if question.packet.message != model_name(model):
        return None
    try:
        question.prompt = question.packet.read(model)
    except CodecError as error:
        raise _explained(error, "A question", place, model) from error.__cause__
    return question


def _explained(error: CodecError, what: str, place: _Place, model: Any) -> CodecError:
    """Say of which game something is no such model, and what to do about it."""
    game = "the game" if place.game is None else repr(place.game)
    name = getattr(model, "__name__", str(model))
    return CodecError(
        f"{what} of {game} is no {name}: {str(error).rstrip('.')}. Is this program made for that "
        "game, in the same version?"
    )
