"""The checks of an author's class, made with the class: mistakes show before anybody plays."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import attrs

from pgnet_trio.author_classes import near_misses, returns_of
from pgnet_trio.codec import check_model
from pgnet_trio.errors import CodecError
from pgnet_trio.game.asking import NO_DEFAULT, NoDefault
from pgnet_trio.game.declared import declared_by
from pgnet_trio.game.simulated import inputs_of, rewinds_of
from pgnet_trio.matchmaking import queues_of
from pgnet_trio.standings import leaderboards_of
from pgnet_trio.typed import handles_model, return_annotation

__all__ = ["MIN_REQUEST_SIZE", "MOST_INPUT_DELAY", "check_class", "tells_why"]

MIN_REQUEST_SIZE = 1024
"""The lowest `Game.max_request_size`: shorter requests are not measured that exactly."""

MOST_SAVE_VERSION = 1_000_000_000

MOST_INPUT_DELAY = 0.005
"""The highest `Game.input_delay` in seconds: nobody sees so little."""

# The methods that the server calls, and with how many arguments.
_HOOKS = {
    "user_joined": (1,),
    "user_left": (1, 2),
    "player_dropped": (1,),
    "player_resumed": (1,),
    "handle_packet": (1,),
    "handle_game_packet": (1,),
    "handle_heartbeat": (1,),
    "update": (0,),
    "run": (0,),
    "view": (0, 1),
    "get_save_string": (0,),
    "get_lobby_info": (0,),
}
_SETTINGS = (
    "persistent",
    "heartbeat_rate",
    "update_rate",
    "sync_rate",
    "input_delay",
    "max_players",
    "max_request_size",
    "spectators",
    "players_invite",
    "pushes",
    "asks",
    "inputs",
    "rewinds",
    "matchmaking",
    "leaderboards",
    "seats",
    "on_crash",
    "save_version",
)
_NEARLY_HOOKS = {
    re.compile(rf"(?:on_)?(?:user|player)_(?:{verb})"): meant
    for verb, meant in (
        ("join(?:s|ed|ing)?", "user_joined"),
        ("left|leaves?|leaving", "user_left"),
        ("drop(?:s|ped)?|disconnect(?:s|ed)?", "player_dropped"),
        ("resume[sd]?|reconnect(?:s|ed)?", "player_resumed"),
    )
}
_ARGUMENTS = ("(self)", "(self, player)", "(self, player, reason)")
_PLAIN_FUNCTIONS = ("view", "get_save_string", "get_lobby_info")


def check_class(cls: type, game: type) -> None:
    """Check what a class of an author declares.

    Args:
        cls: The class.
        game: `Game` itself, which is above this module.

    Raises:
        TypeError: Something in it cannot be meant; the message says what, and what to do.
    """
    _check_names(cls, game)
    _check_settings(cls)
    declared_by(cls)
    inputs_of(cls)
    rewinds_of(cls)
    _check_declarations(cls)
    for name, counts in _HOOKS.items():
        value = inspect.getattr_static(cls, name)
        if value is not vars(game)[name]:
            _check_hook(cls, name, value, counts)
    for name, meant in near_misses(cls, game, _names_of_such, _NEARLY_HOOKS):
        if not handles_model(vars(cls)[name]):
            raise TypeError(
                f"{cls.__name__}.{name}: nothing uses this; did you mean {meant}? If not, give it "
                "a name that is less like that one."
            )
    save = vars(cls).get("get_save_string")
    if inspect.isfunction(save):
        _check_save_string(cls, save)


def _names_of_such(value: Any) -> Sequence[str]:
    """Return the names of `Game` that a value of a class may be meant for."""
    is_method = inspect.isroutine(value) or isinstance(value, staticmethod | classmethod)
    return tuple(_HOOKS) if is_method else _SETTINGS


def _check_names(cls: type, game: type) -> None:
    for base in cls.__mro__:
        if base is not cls and issubclass(base, game):
            continue
        for name in ("room", "_room", "_handlers"):
            # attrs makes a class with slots anew; the new class has the names of the first one.
            if not isinstance(vars(base).get(name, NO_DEFAULT), (NoDefault, MappingProxyType)):
                raise TypeError(
                    f"{cls.__name__}.{name}: the server's room around the game has this name; "
                    "use another one."
                )


def _check_settings(cls: type) -> None:
    own = vars(cls)
    if own.get("on_crash", "close") not in ("close", "restart"):
        raise TypeError(
            f"{cls.__name__}.on_crash: expected 'close' or 'restart', got {own['on_crash']!r}."
        )
    most = own.get("max_players")
    if not (most is None or isinstance(most, property) or (type(most) is int and most > 0)):
        raise TypeError(
            f"{cls.__name__}.max_players: expected None or an int over 0, got {most!r}."
        )
    size = own.get("max_request_size")
    if type(size) is int and size < MIN_REQUEST_SIZE:
        raise TypeError(
            f"{cls.__name__}.max_request_size: expected at least {MIN_REQUEST_SIZE:,} bytes, "
            f"got {size!r}."
        )
    version = own.get("save_version", 0)
    if not (type(version) is int and 0 <= version < MOST_SAVE_VERSION):
        raise TypeError(
            f"{cls.__name__}.save_version: expected a whole number from 0 on, got {version!r}."
        )
    # Not only its own: all games of the server wait for a value from a mixin too.
    delay = inspect.getattr_static(cls, "input_delay", 0)
    if type(delay) in (int, float) and not 0 <= delay <= MOST_INPUT_DELAY:
        raise TypeError(
            f"{cls.__name__}.input_delay: expected seconds from 0 to {MOST_INPUT_DELAY}, "
            f"got {delay!r}."
        )
    for name in ("update_rate", "sync_rate"):
        rate = own.get(name, 0)
        if not isinstance(rate, property) and not (
            type(rate) in (int, float) and 0 <= rate < math.inf
        ):
            raise TypeError(
                f"{cls.__name__}.{name}: expected a number of times a second, got {rate!r}."
            )


def _check_declarations(cls: type) -> None:
    queues = queues_of(cls)
    rated = {name for name, queue in queues.items() if queue.rating is True}
    for name, board in leaderboards_of(cls).items():
        if board.rating is not None and board.rating not in rated:
            which = f"[{name!r}]" if name else ""
            raise TypeError(
                f"{cls.__name__}.leaderboards{which}: expected a queue with rating=True, got "
                f"rating={board.rating!r}; those queues are: {sorted(rated) or 'none'}."
            )
    most = inspect.getattr_static(cls, "max_players", None)
    for name, queue in queues.items():
        if type(most) is int and queue.rule is None and queue.size > most:
            which = f"[{name!r}]" if name else ""
            raise TypeError(
                f"{cls.__name__}.matchmaking{which}: expected matches of at most {most} users, "
                f"which is max_players, got Queue(size={queue.size})."
            )


def _check_hook(cls: type, name: str, value: Any, counts: tuple[int, ...]) -> None:
    is_bound = isinstance(value, (staticmethod, classmethod))
    function = value.__func__ if is_bound else value
    if not callable(function):
        raise TypeError(
            f"{cls.__name__}.{name}: the server calls this; use another name for "
            f"{type(value).__name__} data."
        )
    is_async = inspect.iscoroutinefunction(function)
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise TypeError(f"{cls.__name__}.{name} must not yield.")
    if name in _PLAIN_FUNCTIONS and is_async:
        raise TypeError(f"{cls.__name__}.{name} has to be a plain def, not an async def.")
    if name == "run" and not is_async:
        raise TypeError(
            f"{cls.__name__}.run has to be an async def: the server runs it as the game's "
            "script. Use another name for anything else."
        )
    signature = inspect.signature(function)
    first = 0 if isinstance(value, staticmethod) else 1
    if not any(_takes(signature, first + count) for count in counts):
        takes = " or ".join(_ARGUMENTS[count] for count in counts)
        if name.startswith("handle_"):
            takes = "(self, packet)"
        raise TypeError(
            f"{cls.__name__}.{name} has to take {takes}, as the server calls it; it takes "
            f"{signature}. Use another name for anything else."
        )


def tells_why(function: Any) -> bool:
    """Return whether a game's ``user_left`` is to be told why.

    A second argument with a default and another name is the author's own.

    Args:
        function: The method of an object.
    """
    named = list(inspect.signature(function).parameters.values())[1:2]
    return any(
        each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
        and (each.name == "reason" or each.default is each.empty)
        for each in named
    )


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def _check_save_string(cls: type, function: Any) -> None:
    """Check what `get_save_string` is annotated to return, and what its source shows of that."""
    where = f"{cls.__name__}.get_save_string"
    annotation = return_annotation(function)
    if not any(map(_may_be_saved, annotation)):
        names = " or ".join(each.__name__ for each in annotation)
        raise TypeError(f"{where} is annotated to return {names}; {_SAVED}")
    models = [each for each in annotation if attrs.has(each)]
    for returned in returns_of(function):
        if returned.what is not None:
            raise TypeError(f"{where} returns {returned.what} in line {returned.line}; {_SAVED}")
        if returned.kind is not None:
            models.append(returned.kind)
    for model in models:
        try:
            check_model(model, may_be_early=True)
        except CodecError as error:
            raise TypeError(f"{where} returns what cannot be saved: {error}") from None


_SAVED = "a game is saved as a str or an attrs model. json.dumps(...) makes a str of plain data."


def _may_be_saved(kind: type) -> bool:
    # It may be a base class of models without being one; a builtin type is not.
    return kind in (object, str) or kind.__module__ != "builtins"
