"""Typed messages: models that travel as packets, and the methods of a game that handle them."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import attrs

from pgnet_trio.codec import check_model, to_plain
from pgnet_trio.messages import SERVER_PREFIX, Packet, Push, Response

__all__ = [
    "Handler",
    "check_answer_model",
    "check_game_message",
    "collect_handlers",
    "finish",
    "handles_model",
    "model_name",
    "models_by_name",
    "on",
    "return_annotation",
    "return_kind",
    "to_packet",
    "to_push",
    "to_response",
    "whats_given",
]

T = TypeVar("T")
Method = TypeVar("Method", bound=Callable[..., Any])

_MARK = "__pgnet_handles__"


@attrs.frozen
class Handler:
    """A method of a game that handles the messages of one model."""

    model: type
    function: Callable[..., Any]


def on(model: type[Any], /) -> Callable[[Method], Method]:
    """Make a method of a game the handler of a model.

    The method gets the player's name and the validated model. It may be ``async def``. It answers
    by returning a model, a `Response`, or None (an empty answer with status OK), and refuses by
    raising `Reject`.

    Args:
        model: An attrs class. It travels as a packet whose message is the name of the class and
            whose payload holds the fields.

    Raises:
        TypeError: The model is no attrs class, or cannot travel; or the method takes, or is
            annotated with, something else. The message says which.
    """
    if not (isinstance(model, type) and attrs.has(model)):
        raise TypeError(f"@on(...) takes an attrs class, such as @on(Move); it got {model!r}.")
    check_model(model)

    def mark(method: Method) -> Method:
        if handles_model(method):
            raise TypeError(f"{_method(method)} handles a model already; give each its own method.")
        _check_signature(method, model)
        setattr(method, _MARK, model)
        return method

    return mark


def _check_signature(method: Callable[..., Any], model: type) -> None:
    signature = inspect.signature(method)
    parameters = list(signature.parameters.values())
    positional = [
        each
        for each in parameters
        if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
    ]
    if len(positional) != 3 or len(parameters) != 3:
        raise TypeError(
            f"{_method(method)} has to take (self, player, message) to handle "
            f"{model.__name__}; it takes {signature}."
        )
    # Refuse only what is certainly wrong: an annotation may be wider than it needs to be.
    player, message = positional[1].name, positional[2].name
    annotations = _annotations(method)
    if not _may_be_text(annotations.get(player, Any)):
        raise TypeError(
            f"{_method(method)} gets the name of the player, a str, as {player!r}, which is "
            f"annotated with {_name(annotations[player])}; handlers take (self, player, message)."
        )
    if not _may_be_model(annotations.get(message, Any), model):
        raise TypeError(
            f"{_method(method)} handles {model.__name__}, but its parameter {message!r} is "
            f"annotated with {_name(annotations[message])}."
        )
    if not _may_be_answer(annotations.get("return", Any)):
        raise TypeError(
            f"{_method(method)} is annotated to return {_name(annotations['return'])}; a handler "
            "answers with an attrs model, a Response or None."
        )


def handles_model(method: object) -> bool:
    """Return whether a method is marked with `on`."""
    return hasattr(method, _MARK)


def return_annotation(function: Callable[..., Any]) -> list[type]:
    """Return the classes that a function may return, as annotated; `object` stands for anything."""
    return _classes(_annotations(function).get("return", Any))


def return_kind(function: Callable[..., Any]) -> Any:
    """Return what a function is annotated to return, with all its arguments; Any where it is not.

    Raises:
        NameError: The annotation names something that is not there at run time.
    """
    return _annotation(function, "return")


def _method(method: Callable[..., Any]) -> str:
    """Return the name of a method with that of its class, which does not exist yet."""
    return method.__qualname__.rpartition("<locals>.")[2]


def _annotations(method: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations; as text those that name what is not there at run time."""
    try:
        return inspect.get_annotations(method, eval_str=True)
    except Exception:
        found = inspect.get_annotations(method)
    for name in found:
        with contextlib.suppress(Exception):
            found[name] = _annotation(method, name)
    return found


def _annotation(function: Callable[..., Any], name: str) -> Any:
    """Return one annotation, whatever the others name; Any where there is none."""

    def only() -> None:
        """Stand for the function."""

    annotations = inspect.get_annotations(function)
    only.__annotations__ = {name: annotations[name]} if name in annotations else {}
    hints = inspect.get_annotations(only, globals=function.__globals__, eval_str=True)
    return hints.get(name, Any)


def _may_be_text(annotation: Any) -> bool:
    return any(_is_kind(str, each) or _is_kind(each, str) for each in _classes(annotation))


def _may_be_model(annotation: Any, model: type) -> bool:
    if isinstance(annotation, str):
        # The annotation names something that is not there at run time: compare the names.
        return annotation.rpartition(".")[2] == model.__name__
    return any(_is_kind(model, each) for each in _classes(annotation))


def _may_be_answer(annotation: Any) -> bool:
    for each in _classes(annotation):
        if each in (object, type(None)):
            return True
        # It may be a base class of models without being one; a builtin type is not.
        if each.__module__ != "builtins" and not issubclass(each, (Packet, Push)):
            return True
    return False


def _classes(annotation: Any) -> list[type]:
    """Return the classes that an annotation allows; `object` where it may mean anything."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return [each for part in get_args(annotation) for each in _classes(part)]
    if origin is Annotated:
        return _classes(get_args(annotation)[0])
    if annotation is None:
        return [type(None)]
    found = origin or annotation
    return [found] if isinstance(found, type) and found is not Any else [object]


def _is_kind(kind: type, other: type) -> bool:
    try:
        return issubclass(kind, other)
    except TypeError:
        # A protocol whose check needs an object, and not a class.
        return True


def _name(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def collect_handlers(game_class: type) -> Mapping[str, Handler]:
    """Return the handlers of a game's class and its bases, by the messages that they handle.

    Raises:
        TypeError: Two methods handle the same message.
    """
    found: dict[str, tuple[str, Handler]] = {}
    names: dict[str, None] = {}
    for base in reversed(game_class.__mro__):
        for name in vars(base):
            names.setdefault(name)
    for name in names:
        function = inspect.getattr_static(game_class, name)
        if not inspect.isfunction(function):
            continue
        # A method that overrides a handler is a handler too.
        model = next(
            (
                vars(base)[name].__dict__[_MARK]
                for base in game_class.__mro__
                if _MARK in getattr(vars(base).get(name), "__dict__", ())
            ),
            None,
        )
        if model is None:
            continue
        message = model_name(model)
        if message in found:
            raise TypeError(
                f"{game_class.__name__}: both {found[message][0]} and {name} handle {message}; "
                "one model has one handler."
            )
        found[message] = (name, Handler(model, function))
    return MappingProxyType({message: handler for message, (_, handler) in found.items()})


def model_name(model: type) -> str:
    """Return the name of a model on the wire."""
    return model.__name__


def models_by_name(models: Iterable[type[Any]]) -> dict[str, type[Any]]:
    """Return models by their names on the wire.

    Raises:
        TypeError: One is no attrs class, or two have the same name.
    """
    found: dict[str, type[Any]] = {}
    for model in models:
        if not (isinstance(model, type) and attrs.has(model)):
            raise TypeError(f"expected attrs classes, such as Said; got {model!r}")
        name = model_name(model)
        if found.setdefault(name, model) is not model:
            raise TypeError(
                f"two models have the name {name!r}, by which they are told apart: {found[name]!r} "
                f"and {model!r}"
            )
    return found


def check_game_message(message: str) -> None:
    """Check that what a game says or asks has no name that is the server's own.

    Raises:
        ValueError: It has.
    """
    if message.startswith(SERVER_PREFIX):
        raise ValueError(f"{message!r}: messages that begin so are the server's own")


def to_packet(value: object) -> Packet:
    """Return a model as a packet, and a packet as it is.

    Raises:
        TypeError: The value is neither, or it is a model that cannot travel.
    """
    if isinstance(value, Packet):
        return value
    return Packet(*_parts(value, "a Packet or an attrs model"))


def to_push(value: object, payload: dict[str, Any] | None = None) -> Push:
    """Return a model, a push, a packet, or a message with a payload as a push.

    Raises:
        TypeError: The value is none of these, or cannot travel; or there are two payloads.
    """
    if isinstance(value, str):
        return Push(value, payload)
    if payload:
        raise TypeError(
            f"a payload goes with a message that is a str; a {type(value).__name__} has its own"
        )
    if isinstance(value, Push):
        return value
    if isinstance(value, Packet):
        return Push(value.message, value.payload)
    return Push(*_parts(value, "a str, a Push, a Packet or an attrs model"))


def to_response(value: object) -> Response:
    """Return what a handler returned as a response.

    Raises:
        TypeError: It is neither a model, nor a response, nor None; or it cannot travel.
    """
    if value is None:
        return Response("")
    if isinstance(value, Response):
        return value
    return Response(*_parts(value, "an attrs model, a Response or None"))


def _parts(value: object, expected: str) -> tuple[str, dict[str, Any]]:
    kind = type(value)
    # These classes of the framework are messages themselves, and never the payload of one.
    if not attrs.has(kind) or isinstance(value, (Packet, Push, Response)):
        raise TypeError(f"expected {expected}, got {whats_given(value)}")
    return model_name(kind), to_plain(value)


def whats_given(value: object) -> str:
    """Return a description of what an author passed by mistake, with what to write instead."""
    if isinstance(value, type):
        return f"the class {value.__name__}: give an instance, such as {value.__name__}(...)"
    if isinstance(value, str):
        return f"the text {value[:60]!r}: write Packet({value[:60]!r}, {{...}})"
    return type(value).__name__


def check_answer_model(model: Any) -> None:
    """Check that the answer to a question can be a model.

    Raises:
        TypeError: The model is no attrs class, or cannot travel; the message says why.
    """
    _check_answer_model(model)


# Games ask the same question again and again.
@functools.lru_cache(maxsize=1024)
def _check_answer_model(model: Any) -> None:
    if not (isinstance(model, type) and attrs.has(model)):
        raise TypeError(f"an answer is an attrs class, such as Throw; got {model!r}.")
    check_model(model)


async def finish(result: Any) -> Any:
    """Return what a hook returned; await it first where the hook is ``async def``."""
    if inspect.isawaitable(result):
        return await result
    return result
