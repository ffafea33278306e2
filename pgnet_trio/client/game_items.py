"""What a program reads of its game, item by item: the events, and items as an author's models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import attrs

from pgnet_trio.client.feeds import Feed, LatestFeed
from pgnet_trio.client.questions import Question
from pgnet_trio.codec import from_plain
from pgnet_trio.errors import CodecError, PGNetError
from pgnet_trio.messages import Push

__all__ = [
    "Entered",
    "Event",
    "GameFeeds",
    "Left",
    "LostPushes",
    "Place",
    "StateChanged",
    "as_event",
    "as_model",
    "as_question",
    "as_state",
    "explained",
    "itself",
    "one_kind",
]

ModelT = TypeVar("ModelT")


@attrs.frozen
class Left:
    """How the user got out of the last game.

    Protocol 1 does not say why. There, whoever did not leave by themselves was ``kicked``, and the
    message is the game's last response to them, if there is one. A game to which the client was not
    let back after a lost session is ``closed``, with the server's reason as the message.

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
    """An event: there is a new state; `Client.get_state` returns the latest."""


@attrs.frozen
class LostPushes:
    """An event: the server dropped pushes of the game, which would have come here.

    It drops the oldest when too much waits for a client that is away, or reads slowly.

    Attributes:
        count: How many.
    """

    count: int


Event = Push | Question[Any] | StateChanged | Entered | Left | LostPushes
"""What `Client.events` iterates over."""


@attrs.define
class Place:
    """The game that items came from: a program may read them when it is in another game."""

    game: str | None = None


def push_kind(push: Push) -> str:
    """Return the kind of a push, which is its message."""
    return push.message


def question_kind(question: Question[Any]) -> str:
    """Return the kind of a question, which is its message."""
    return question.packet.message


@attrs.define(eq=False)
class GameFeeds:
    """What one game has told, for a program that may read it later.

    Attributes:
        place: The game.
        pushes: What it pushed.
        questions: What it asked, and what is still open.
        states: Its states.
        pushes_told: How many pushes there were when ``on_push`` was called with one the last time.
    """

    place: Place = attrs.field(factory=Place)
    pushes: Feed[Push] = attrs.field(factory=lambda: Feed("pushes", push_kind))
    questions: Feed[Question[Any]] = attrs.field(factory=lambda: Feed("questions", question_kind))
    states: LatestFeed = attrs.field(factory=LatestFeed)
    pushes_told: int = 0

    def unread(self) -> list[tuple[Event, int]]:
        """Return the unread pushes and questions, after an event for a state, with their sizes."""
        state: list[tuple[Event, int]] = [(StateChanged(), 0)] if self.states.count else []
        return [*state, *self.pushes.unread_after(0), *self.questions.unread_after(0)]

    def end(self, error: PGNetError | None) -> None:
        """Let readers read what is there, and then stop, or raise *error*."""
        self.pushes.end(error)
        self.questions.end(error)
        self.states.end(error)


def itself(item: ModelT) -> ModelT:
    """Return an item as it is."""
    return item


def one_kind(event: Event) -> str:
    """Return the kind of an event, where all are of one."""
    return ""


def as_state(place: Place, model: type[ModelT], data: Any) -> ModelT:
    """Return a state as a model; raises CodecError where it is none."""
    try:
        return from_plain(data, model)
    except CodecError as error:
        raise explained(error, "The state", place, model) from error.__cause__


def as_model(place: Place, models: Mapping[str, type[Any]], push: Push) -> Any:
    """Return a push as one of the models, or None if it is of another kind; raises CodecError."""
    model = models.get(push.message)
    if model is None:
        return None
    try:
        return push.read(model)
    except CodecError as error:
        raise explained(error, "A push", place, model) from error.__cause__


def as_question(
    place: Place, models: Mapping[str, type[Any]], question: Question[Any]
) -> Question[Any] | None:
    """Give a question its prompt as one of the models; return None if it is of another kind."""
    model = models.get(question.packet.message)
    if model is None:
        return None
    try:
        question.prompt = question.packet.read(model)
    except CodecError as error:
        raise explained(error, "A question", place, model) from error.__cause__
    return question


def as_event(place: Place, models: Mapping[str, type[Any]], event: Event) -> Any:
    """Return an event with what is one of the models as such; raises CodecError.

    Args:
        place: The game that the events come from; noted as they are read.
        models: The models by name.
        event: A push that is one of the models becomes that model, and a question gets it as its
            prompt. Any other event stays as it is.
    """
    match event:
        case Entered():
            place.game = event.game
        case Push():
            found = as_model(place, models, event)
            return event if found is None else found
        case Question():
            as_question(place, models, event)
    return event


def explained(error: CodecError, what: str, place: Place, model: Any) -> CodecError:
    """Return an error that says which game sent something that is no such model, and what to do."""
    game = "the game" if place.game is None else repr(place.game)
    name = getattr(model, "__name__", str(model))
    return CodecError(
        f"{what} of {game} is no {name}: {str(error).rstrip('.')}. Is this program made for that "
        "game, in the same version?"
    )
