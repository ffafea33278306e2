"""What a server is made with, checked at once, so that no player meets the mistake first."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import attrs

from pgnet_trio.author_classes import near_miss
from pgnet_trio.codec import plain
from pgnet_trio.environment import Environment
from pgnet_trio.errors import CodecError
from pgnet_trio.game import Game
from pgnet_trio.messages import is_gamename_allowed
from pgnet_trio.recording import Recording
from pgnet_trio.server.certificate import Certificate
from pgnet_trio.server.cluster.cluster import Cluster
from pgnet_trio.server.http.files import Site
from pgnet_trio.server.http.origins import OriginRule
from pgnet_trio.server.limits import Limits
from pgnet_trio.server.monitor_settings import Monitor
from pgnet_trio.server.proxies import TrustedProxies
from pgnet_trio.storage.interface import Store
from pgnet_trio.transport import WebSocketImplementation

__all__ = [
    "Options",
    "check_choice",
    "check_cluster",
    "check_game",
    "check_hook",
    "check_monitor",
    "check_record",
    "check_rooms",
    "check_seconds",
    "check_switch",
    "check_text",
    "unknown_options",
]


@attrs.define(eq=False, kw_only=True)
class Options:
    """The options of a server; `pgnet_trio.Server` says what each of them means.

    All stay as they are but three, which may be assigned at any time: `registration_enabled`
    (for the next run), `verbose_logging` and `on_connection`; and `make_game`, which
    `Server.reload` replaces.

    Attributes:
        make_game: Makes a game from a name and ``save_string=``.
        store: An author's own store, instead of `save_file`.
        implementation: The WebSocket library.
        trusted_proxies: The proxies that are believed when they say whose connection they pass on.
        origins: Which pages may open a WebSocket, and by which names browsers may ask.
        site: The author's pages; None for none.
        certificate: What the server speaks TLS with; None where it does not.
        watchdog: Seconds that a game may block; None for any time.
        watchdog_exit: Seconds of that after which the process ends; None for never.
        cluster: How the server finds the others; None where there are none.
        rooms: The games that the server makes itself, by name, and their options.
        players_create: Whether players may create games.
        monitor: Where the host looks at the server; None for nowhere.
        development: Whether clients on this machine are shown the games' mistakes.
        record: Where tables are recorded; None for nowhere.
    """

    make_game: Callable[..., Game]
    listen_globally: bool
    port: int | None
    admin_password: str | None = attrs.field(repr=False)
    registration_enabled: bool
    require_user_password: bool
    on_connection: Callable[[str, bool], Any] | None
    verbose_logging: bool
    save_file: Path | None
    store: Store | None
    key_file: Path | None
    autosave_interval: float
    implementation: WebSocketImplementation
    environment: Environment
    resume_grace: float
    duplicate_login: str
    minimum_protocol: int
    trusted_proxies: TrustedProxies
    proxy_protocol: bool
    origins: OriginRule
    site: Site | None
    certificate: Certificate | None
    watchdog: float | None
    watchdog_exit: float | None
    limits: Limits
    cluster: Cluster | None = None
    rooms: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    players_create: bool = True
    monitor: Monitor | None = None
    development: bool = False
    record: Recording | None = None

    @property
    def game_class(self) -> type[Game] | None:
        """The class of the games; None where only a function knows."""
        make_game: Any = self.make_game
        while not isinstance(make_game, type):
            is_partial = isinstance(make_game, functools.partial)
            make_game = getattr(make_game, "func" if is_partial else "__wrapped__", None)
            if make_game is None:
                return None
        return make_game

    @property
    def save_version(self) -> int | None:
        """The version of the games' saves; None where only a function knows."""
        return None if self.game_class is None else self.game_class.save_version


def check_game(game: Any) -> None:
    """Check what makes the games.

    Raises:
        TypeError: It is no subclass of Game, and nothing else that can be called; or it cannot be
            called as the server does.
    """
    if callable(game) and not (isinstance(game, type) and not issubclass(game, Game)):
        _check_arguments(game)
        return
    hint = ""
    if isinstance(game, Game):
        hint = f"; give the class, {type(game).__name__}"
    elif isinstance(game, str):
        hint = "; import the class, and give it itself"
    raise TypeError(
        f"Server() hosts games of one class, a subclass of pgnet_trio.Game; got {game!r}{hint}."
    )


def _check_arguments(game: Any) -> None:
    """Check that a game can be made with a name and ``save_string=``."""
    is_class = isinstance(game, type)
    try:
        # Of the class itself, this would be the signature of `Game.__new__`.
        signature = inspect.signature(game.__init__ if is_class else game)
    except (TypeError, ValueError):
        # Something written in C, which does not say.
        return
    try:
        signature.bind(*([game] if is_class else []), "name", save_string=None)
    except TypeError:
        name = getattr(game, "__qualname__", repr(game)).rpartition("<locals>.")[2]
        takes = "(self, name, save_string=None)" if is_class else "(name, save_string=None)"
        raise TypeError(
            f"{name}{'.__init__' if is_class else ''} has to take {takes}, as the server calls "
            f"it; it takes {signature}. Where a game needs more, give Server() a function that "
            "makes it."
        ) from None


def check_switch(name: str, value: object) -> None:
    """Check an option that is on or off: the text "no" would be on.

    Raises:
        TypeError: It is neither True nor False.
    """
    if type(value) is not bool:
        raise TypeError(f"{name}: expected True or False, got {value!r}.")


def check_choice(name: str, value: object, first: object, second: object) -> None:
    """Check an option that is one of two values.

    Raises:
        ValueError: It is neither.
    """
    if value not in (first, second):
        raise ValueError(f"{name}: expected {first!r} or {second!r}, got {value!r}.")


def check_seconds(name: str, value: Any, *, or_none: bool = False) -> None:
    """Check an option that is a time.

    Args:
        name: The option.
        value: The time in seconds.
        or_none: Whether it may be None instead.

    Raises:
        ValueError: It is not over 0.
    """
    if not (value is None and or_none) and not value > 0:
        what = "over 0 s, or None" if or_none else "over 0 s"
        raise ValueError(f"{name} has to be {what}; got {value!r}.")


def check_text(name: str, value: object) -> None:
    """Check an option that is a text, or None. The error does not show it: it may be secret.

    Raises:
        TypeError: It is neither.
    """
    if not (value is None or isinstance(value, str)):
        raise TypeError(f"{name}: expected a str or None, got an object of {type(value).__name__}.")


def check_rooms(rooms: object) -> dict[str, dict[str, Any]]:
    """Return the games that a server makes itself, by name, and the options of each.

    Args:
        rooms: Names, or a mapping from names to options.

    Raises:
        TypeError: It is neither, or the options cannot travel.
        ValueError: A game cannot have such a name.
    """
    if isinstance(rooms, str) or not isinstance(rooms, Iterable):
        raise TypeError(
            f"rooms: expected names, or a dict from names to options, got {type(rooms).__name__}."
        )
    found = dict(rooms) if isinstance(rooms, Mapping) else {name: {} for name in rooms}
    for name, options in found.items():
        if not (isinstance(name, str) and is_gamename_allowed(name)):
            raise ValueError(
                f"rooms: a game cannot be named {name!r}: names have 3 to 50 letters, digits or "
                "inner spaces, and no 'admin' in them."
            )
        try:
            found[name] = plain(dict(options), f"rooms[{name!r}]")
        except (CodecError, ValueError) as error:
            raise TypeError(f"rooms: expected options that can travel: {error}") from None
    return found


def check_hook(name: str, value: object) -> None:
    """Check an option that is called, or None.

    Raises:
        TypeError: It is neither.
    """
    if not (value is None or callable(value)):
        raise TypeError(f"{name}: expected something to call, or None; got {value!r}.")


def check_monitor(monitor: object) -> None:
    """Check where the host looks at a server.

    Raises:
        TypeError: It is no `Monitor`, and not None.
    """
    if not (monitor is None or isinstance(monitor, Monitor)):
        raise TypeError(
            "monitor: expected a Monitor such as Monitor(token='…'), or None; got an object of "
            f"{type(monitor).__name__}."
        )


def check_record(record: object) -> None:
    """Check where tables are recorded.

    Raises:
        TypeError: It is no `Recording`, and not None.
    """
    if not (record is None or isinstance(record, Recording)):
        raise TypeError(
            "record: expected a Recording such as Recording('recordings'), or None; got "
            f"{record!r}."
        )


def check_cluster(cluster: object, *, save_file: object, minimum_protocol: int) -> None:
    """Check what makes a server one of several.

    Raises:
        TypeError: It is no `Cluster`, and not None.
        ValueError: It does not go together with the other options.
    """
    if cluster is None:
        return
    if not isinstance(cluster, Cluster):
        raise TypeError(
            "cluster: expected a Cluster such as Cluster('postgresql://…', "
            f"node_address='a.example:38929'), or None; got an object of {type(cluster).__name__}."
        )
    if save_file is not None:
        raise ValueError("cluster takes the place of save_file: what it shares has the saves too.")
    if minimum_protocol != 2:
        raise ValueError(
            "cluster needs minimum_protocol=2 (--minimum-protocol 2): clients of PGNet cannot be "
            "sent to another server."
        )


def unknown_options(server: type, unknown: Collection[str]) -> str:
    """Return what is wrong with options that a server does not have."""
    keywords = [
        each.name
        for each in inspect.signature(server).parameters.values()
        # The limits are given by their own names.
        if each.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    known = [*keywords, *attrs.fields_dict(Limits)]
    told = []
    for name in sorted(unknown):
        meant = near_miss(name, known)
        told.append(repr(name) if meant is None else f"{name!r} (did you mean {meant!r}?)")
    return f"Server() has no option {', '.join(told)}"
