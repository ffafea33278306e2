"""What a game's class declares that its games push and ask, and the check that they do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from inspect import getattr_static
from typing import Any, TypeVar

import attrs

from pgnet_trio.codec import check_model, from_plain
from pgnet_trio.errors import CodecError
from pgnet_trio.messages import Packet, Push
from pgnet_trio.typed import check_game_message, model_name, models_by_name, whats_given

__all__ = ["Declared", "declared_by"]

ValueT = TypeVar("ValueT")


@attrs.frozen
class Declared:
    """What the games of a class push and ask.

    Attributes:
        game: The name of the class.
        pushes: The models by their names; None where the class does not say.
        asks: Each question's model and that of its answer, by the question's name; None where the
            class does not say.
    """

    game: str
    pushes: Mapping[str, type[Any]] | None
    asks: Mapping[str, tuple[type[Any], type[Any]]] | None

    def check_push(self, message: object, push: Push) -> None:
        """Check that a game pushes what its class declares.

        Args:
            message: What the game pushes.
            push: The same, as it travels.

        Raises:
            TypeError: The class declares no such push; the message says what it declares.
        """
        if self.pushes is None:
            return
        model = self.pushes.get(push.message)
        if model is None:
            raise _undeclared("room.push", f"{self.game}.pushes", self.pushes, push.message)
        if type(message) is model:
            return
        _check_content("room.push", f"{self.game}.pushes", model, message, push.payload)

    def check_question(self, question: object, answer: object) -> None:
        """Check that a game asks what its class declares.

        Args:
            question: The question: a model or a packet. Anything else is refused elsewhere.
            answer: The model of its answer.

        Raises:
            TypeError: The class declares no such question; the message says what it declares.
        """
        if self.asks is None or not attrs.has(type(question)):
            return
        where = f"{self.game}.asks"
        packet = question if isinstance(question, Packet) else None
        name = model_name(type(question)) if packet is None else packet.message
        found = self.asks.get(name)
        if found is None:
            raise _undeclared("room.ask", where, self.asks, name)
        model, declared_answer = found
        if answer is not declared_answer:
            came = answer.__name__ if isinstance(answer, type) else repr(answer)
            raise TypeError(
                f"room.ask: expected the answer {declared_answer.__name__}, which {where} declares "
                f"for {name}, got {came}; ask for that one, or declare this one"
            )
        if type(question) is not model:
            payload = None if packet is None else packet.payload
            _check_content("room.ask", where, model, question, payload)


def declared_by(cls: type) -> Declared:
    """Return what a game's class declares, in `Game.pushes` and `Game.asks`.

    What holds no attrs class is an attribute of the author's own, which only has the same name.

    Raises:
        TypeError: A declaration has the wrong shape, or a model in it cannot travel.
    """
    return Declared(cls.__name__, _pushes_of(cls), _asks_of(cls))


def _pushes_of(cls: type) -> Mapping[str, type[Any]] | None:
    value, where = getattr_static(cls, "pushes", None), f"{cls.__name__}.pushes"
    if not _holds_model(value):
        return None
    if not isinstance(value, tuple):
        raise TypeError(
            f"{where}: expected a tuple of attrs classes, as in pushes = (Said,), got {value!r}"
        )
    return _models(where, value)


def _asks_of(cls: type) -> Mapping[str, tuple[type[Any], type[Any]]] | None:
    value, where = getattr_static(cls, "asks", None), f"{cls.__name__}.asks"
    if not _holds_model(value):
        return None
    if not isinstance(value, Mapping):
        raise TypeError(
            f"{where}: expected a dict from each question to its answer, both attrs classes, as in "
            f"asks = {{Choose: Throw}}, got {value!r}"
        )
    questions = _models(where, value)
    for answer in value.values():
        _models(where, [answer])
    return {name: (model, value[model]) for name, model in questions.items()}


def _holds_model(value: object) -> bool:
    """Return whether a value is like a declaration, or like one with a slip in it."""
    if isinstance(value, Mapping):
        parts: Iterable[object] = [*value.keys(), *value.values()]
    else:
        parts = value if isinstance(value, tuple | list | set | frozenset) else [value]
    return any(isinstance(part, type) and attrs.has(part) for part in parts)


def _models(where: str, models: Iterable[Any]) -> dict[str, type[Any]]:
    try:
        found = models_by_name(models)
        for name, model in found.items():
            check_game_message(name)
            check_model(model)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{where}: {error}") from None
    return found


def _undeclared(method: str, where: str, declared: Mapping[str, ValueT], came: str) -> TypeError:
    return TypeError(
        f"{method}: expected one of {', '.join(declared)}, which {where} declares, got "
        f"{came[:60]!r}; declare it there too"
    )


def _check_content(
    method: str, where: str, model: type[Any], given: object, payload: dict[str, Any] | None
) -> None:
    """Check something that has a declared name, and is no object of that class."""
    if payload is None or not isinstance(given, str | Packet | Push):
        raise TypeError(
            f"{method}: expected the {model.__name__} that {where} declares, {model!r}, got "
            f"{whats_given(given)} of another class with this name, {type(given)!r}"
        )
    try:
        from_plain(payload, model)
    except CodecError as error:
        raise TypeError(f"{method}: what {where} declares as {model.__name__}: {error}") from None
