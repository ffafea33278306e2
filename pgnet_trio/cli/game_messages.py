"""The messages that a game's class takes, pushes and asks, and what it shows, as the class says."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from types import NoneType
from typing import Any, Literal, get_args

import attrs

from pgnet_trio.cli.author_code import AuthorCodeError
from pgnet_trio.codec import check_model
from pgnet_trio.codec.kinds import is_below, is_union, origin, stripped
from pgnet_trio.errors import CodecError
from pgnet_trio.game import Game, declared_by, inputs_of
from pgnet_trio.messages import Packet, Push, Response
from pgnet_trio.typed import model_name, return_kind

__all__ = ["GameMessages", "GameRequest", "Way", "messages_of"]

Way = Literal["sent", "received"]
"""Whether a page sends a model: then it may leave out what has a default."""


@attrs.frozen
class GameRequest:
    """A message that the game handles: its model, what it may be answered with, and what it does.

    Attributes:
        answers: Models; None for an empty answer, `Response` for any.
    """

    model: type[Any]
    answers: list[Any]
    comment: str


@attrs.frozen
class GameMessages:
    """What a game's class takes, pushes, asks and shows; see `pgnet_trio.game.Declared`."""

    requests: Mapping[str, GameRequest]
    pushes: Mapping[str, type[Any]] | None
    asks: Mapping[str, tuple[type[Any], type[Any]]] | None
    state: Any

    def kinds(self) -> Iterator[tuple[Any, Way]]:
        """Iterate over all types that travel, and which way."""
        for request in self.requests.values():
            yield request.model, "sent"
            for answer in request.answers:
                if answer not in (None, Response):
                    yield answer, "received"
        yield from ((model, "received") for model in (self.pushes or {}).values())
        for question, answer in (self.asks or {}).values():
            yield question, "received"
            yield answer, "sent"
        if self.state is not None:
            yield self.state, "received"


def messages_of(game_class: type[Game]) -> GameMessages:
    """Return what the annotations, the declarations and the handlers of a class say.

    Raises:
        AuthorCodeError: An annotation of the class names what is not there at run time, or the
            state that it names cannot travel.
    """
    declared = declared_by(game_class)
    requests = {
        message: GameRequest(
            handler.model,
            _answers_of(_kind_returned(game_class, handler.function)),
            handler.function.__doc__ or "",
        )
        for message, handler in game_class._handlers.items()
    }
    inputs = inputs_of(game_class)
    if inputs is not None:
        # A client that knows no inputs sends one as a message.
        comment = "What a player does in one tick of the game."
        requests.setdefault(model_name(inputs), GameRequest(inputs, [None], comment))
    state = None
    if game_class.view is not Game.view:
        view = inspect.getattr_static(game_class, "view")
        state = _kind_returned(game_class, getattr(view, "__func__", view))
        state = Any if state is object else state
        try:
            check_model(state)
        except CodecError as error:
            raise AuthorCodeError(f"{game_class.__name__}.view: {error}") from None
    return GameMessages(requests, declared.pushes, declared.asks, state)


def _kind_returned(game_class: type[Game], function: Callable[..., Any]) -> Any:
    try:
        kind = return_kind(inspect.unwrap(function))
    except NameError as error:
        raise AuthorCodeError(
            f"{game_class.__name__}.{function.__name__}: its annotation names {error.name}, which "
            "is not there at run time; import it, or define it, at the top level of the module"
        ) from None
    if origin(kind) in (Awaitable, Coroutine):
        kind = get_args(kind)[-1]
    return kind


def _answers_of(kind: Any) -> list[Any]:
    kind = stripped(kind)
    if is_union(kind):
        return [answer for part in get_args(kind) for answer in _answers_of(part)]
    if kind is NoneType:
        return [None]
    is_answer = attrs.has(origin(kind)) and not is_below(kind, Packet, Push, Response)
    return [kind if is_answer else Response]
