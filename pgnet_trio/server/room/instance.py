"""The author's game, as its room knows it: how it is made, and what it makes use of."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import trio

from pgnet_trio.author_classes import names_used
from pgnet_trio.codec import encode_json
from pgnet_trio.game import (
    MOST_INPUT_DELAY,
    Declared,
    Game,
    RoomBackend,
    current_room,
    declared_by,
    inputs_of,
    rewinds_of,
    tells_why,
)
from pgnet_trio.messages import DEFAULT_HEARTBEAT_RATE, Response
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.counters import Counters, TurnTimes
from pgnet_trio.server.refusals import refused
from pgnet_trio.standings import leaderboards_of

if TYPE_CHECKING:
    from pgnet_trio.netcode import Rewind
    from pgnet_trio.server.room.player import PacketTurn
    from pgnet_trio.server.room.tape import Tape
    from pgnet_trio.standings import Leaderboard
    from pgnet_trio.typed import Handler

__all__ = ["GameInstance", "takes_any"]

TYPED_REQUEST_SIZE = 4096
"""The longest packet in bytes for a game that has only handlers of typed messages."""

# The first are what only protocol 2 can carry.
_PUSHING = {"push", "ask", "ask_all"}
_REPORTING = {"report"}

MAX_INFO_SIZE = 1024
"""Bytes in UTF-8 of what a game says of itself in the lobby: all tables together are one answer."""

MOST_PLAYERS = 2**63 - 1
"""The largest int that can travel."""


class GameInstance:
    """The game that a room runs; after a restart, another object of the author's class.

    Args:
        name: The game's name.
        make_game: Makes the game, from a save string or None.
        save_string: What the game was last saved as; None for a new game.
        time: The room's time: 0 for a new game.
        counters: What the server counts; None for nobody who looks.

    Attributes:
        name: The game's name.
        make_game: Makes it: after the class was changed, another one.
        start: When the room's time began, on Trio's clock.
        game: The author's object.
        made: Whether there is one: from the first time that it was made.
        is_making: Whether it is being made just now.
        loaded: The save string that the game is made from.
        save_string: The game's last save string; None before it was asked for one, empty if it
            is not persistent.
        saved_at: The room's time of that, of a game that counts its ticks; 0 for others.
        is_persistent: Whether it wanted to be saved when it was made.
        gives_save: Whether its class says what to save.
        save_version: The version of its saves, as its class says; before it is made, of `loaded`.
        tape: What notes all that comes into the room, or plays it again; None for nothing.
        handlers: The handlers of typed messages.
        declared: What its class declares that it pushes and asks.
        has_info: Whether it describes itself to the lobby.
        has_heartbeat: Whether it wants heartbeats.
        has_view: Whether it shows a state.
        has_script: Whether it has a ``run``.
        has_ticks: Whether it wants to be updated.
        inputs: The model of its players' inputs; None where it has none.
        rewinds: What of it can be rewound.
        needs_pushes: Whether players with protocol 1 cannot play it.
        leaderboards: Its leaderboards, by name.
        reports: Whether its class shows that it reports results.
        tells_why: Whether its ``user_left`` is told why.
        max_request_size: The longest packet in bytes that it takes; infinite for any.
        counters: What is counted of the games of its class.
        turns: How long its turns took.
        input_delay: Seconds that its players' unanswered messages may wait to be read.
    """

    game: Game
    is_persistent: bool
    gives_save: bool
    handlers: Mapping[str, Handler]
    has_info: bool
    has_heartbeat: bool
    has_view: bool
    has_script: bool
    has_ticks: bool
    inputs: type[Any] | None
    rewinds: Mapping[str, Rewind]
    needs_pushes: bool
    leaderboards: Mapping[str, Leaderboard]
    reports: bool
    tells_why: bool
    max_request_size: float
    input_delay: float = 0.0

    def __init__(
        self,
        name: str,
        make_game: Callable[[str | None], Game],
        save_string: str | None,
        save_version: int = 0,
        time: float = 0.0,
        counters: Counters | None = None,
    ) -> None:
        self.name = name
        self._counters = counters or Counters()
        self.counters = self._counters.of_game()
        self.turns = TurnTimes(self.counters.turns)
        self.start = trio.current_time() - time
        self.saved_at = 0.0
        self.made = False
        self.is_making = False
        # Before the game is made, nobody is here to whom its `__init__` could push anything.
        self.declared: Declared = declared_by(Game)
        self.loaded = save_string
        self.save_string = save_string
        self.save_version = save_version
        self.tape: Tape | None = None
        self.make_game = make_game

    def make(self, backend: RoomBackend) -> None:
        """Make the game, with *backend* behind its room, and see what it makes use of."""
        token = current_room.set(backend)
        self.is_making = True
        try:
            self.game = self.make_game(self.loaded)
        finally:
            current_room.reset(token)
            self.is_making = False
        game_class = type(self.game)
        self.counters = self._counters.of_game(self.class_name)
        self.turns.histogram = self.counters.turns
        self.declared = declared_by(game_class)
        self.is_persistent = bool(self.game.persistent)
        self.gives_save = game_class.get_save_string is not Game.get_save_string
        self.save_version = game_class.save_version
        self.handlers = game_class._handlers
        self.has_info = game_class.get_lobby_info is not Game.get_lobby_info
        self.has_heartbeat = (
            game_class.handle_heartbeat is not Game.handle_heartbeat
            or game_class.handle_packet is not Game.handle_packet
        )
        self.has_ticks = game_class.update is not Game.update and self.game.update_rate > 0
        self.inputs = inputs_of(game_class)
        self.rewinds = rewinds_of(game_class)
        self.has_view = game_class.view is not Game.view
        self.has_script = game_class.run is not Game.run
        self.needs_pushes = not self.has_heartbeat and (
            self.has_view or _uses(game_class, _PUSHING)
        )
        self.leaderboards = leaderboards_of(game_class)
        self.reports = bool(self.leaderboards) or _uses(game_class, _REPORTING)
        self.tells_why = tells_why(self.game.user_left)
        self.max_request_size = _max_request_size(game_class)
        self.input_delay = _input_delay(game_class)

    def time(self) -> float:
        """Return the room's time in seconds."""
        return trio.current_time() - self.start

    def heartbeat_rate(self) -> float:
        """Return how many heartbeats a second a client sends."""
        rate = self.game.heartbeat_rate
        if not isinstance(rate, int | float) or math.isinf(rate):
            raise TypeError(
                f"{self.class_name}.heartbeat_rate has to be a number of times a second; it is "
                f"{reprlib.repr(rate)}."
            )
        return float(rate) if rate > 0 else DEFAULT_HEARTBEAT_RATE

    def max_players(self) -> int | None:
        """Return how many players may be in the game; None for any number."""
        most: object = self.game.max_players
        if most is None or (
            isinstance(most, int) and not isinstance(most, bool) and 0 < most <= MOST_PLAYERS
        ):
            return most
        raise TypeError(
            f"{self.class_name}.max_players has to be None, or an int over 0 of at most 64 bits; "
            f"it is {reprlib.repr(most)}."
        )

    def lobby_info(self) -> str:
        """Ask the game what it says of itself in the lobby."""
        info: object = self.game.get_lobby_info()
        if not isinstance(info, str):
            raise TypeError(
                f"{self.class_name}.get_lobby_info() has to return a str; it returned "
                f"{reprlib.repr(info)}."
            )
        try:
            size = len(info.encode())
        except UnicodeEncodeError as error:
            raise TypeError(
                f"{self.class_name}.get_lobby_info() returned a text that cannot travel: {error}"
            ) from None
        if size > MAX_INFO_SIZE:
            raise ValueError(
                f"{self.class_name}.get_lobby_info() returned {size:,} bytes; the lobby takes at "
                f"most {MAX_INFO_SIZE:,}. Say less."
            )
        return info

    def user_left(self, username: str, reason: str) -> Any:
        """Call the game's ``user_left``, and return what it returned."""
        if self.tells_why:
            return self.game.user_left(username, reason)
        return self.game.user_left(username)

    def check_class(self, name: str) -> None:
        """Check that a game that goes on here is of the class that it was of.

        Raises:
            RuntimeError: It is not.
        """
        if self.class_name != name:
            raise RuntimeError(
                f"the game {self.name!r} was frozen as a {name}, and is a {self.class_name} here: "
                "servers that hand games over to each other need the same games"
            )

    @property
    def class_name(self) -> str:
        """The name of the game's class."""
        return type(self.game).__name__

    @property
    def may_be_watched(self) -> bool | None:
        """Whether the game's class says that it may be watched; None if it does not say."""
        # An author may have given this name to something else.
        declared = getattr(type(self.game), "spectators", None)
        return declared if isinstance(declared, bool) else None

    @property
    def players_invite(self) -> bool:
        """Whether players may invite others to the game."""
        return getattr(type(self.game), "players_invite", True) is not False

    def refuse_size(self, turn: PacketTurn) -> Response | None:
        """Return the refusal of a packet that is longer than the game takes, or None."""
        if turn.size <= self.max_request_size:
            return None
        return refused(
            f"{turn.packet.message[:60]!r} has {turn.size:,} bytes, and this game takes at "
            f"most {self.max_request_size:,} (its max_request_size).",
            ReasonCode.TOO_LONG,
        )

    def update_save_string(self) -> None:
        """Ask the game for its save string, and keep it in `save_string`."""
        before = self.save_string
        if not self.game.persistent:
            self.save_string = ""
            return
        save_string = self.game.get_save_string()
        if not isinstance(save_string, str):
            if not attrs.has(type(save_string)):
                raise TypeError(
                    "get_save_string() has to return a str or an attrs model; "
                    f"it returned a {type(save_string).__name__}."
                )
            save_string = encode_json(save_string)
        self.save_string = save_string
        # While nothing changes, the save stays as it is.
        if self.has_ticks and save_string != before:
            self.saved_at = round(self.time(), 3)


def _input_delay(game_class: type[Game]) -> float:
    """Return how long inputs may wait; a value of another type is the author's own.

    All sockets of the server wait so long. So no class gets more than it may ask for, however it
    has got that value after it was checked.
    """
    delay: object = game_class.input_delay
    if not isinstance(delay, (int, float)) or isinstance(delay, bool):
        return 0.0
    return min(delay, MOST_INPUT_DELAY) if delay > 0 else 0.0


def _max_request_size(game_class: type[Game]) -> float:
    """Return the longest packet in bytes that games of a class take; infinite for any."""
    most = game_class.max_request_size
    if type(most) is int:
        return most
    # Whoever takes any packet may expect long ones; moves and chat lines are short.
    return math.inf if takes_any(game_class) else TYPED_REQUEST_SIZE


def takes_any(game_class: type[Game]) -> bool:
    """Return whether games of a class take packets that are no typed messages."""
    return (
        game_class.handle_packet is not Game.handle_packet
        or game_class.handle_game_packet is not Game.handle_game_packet
    )


def _uses(game_class: type[Game], methods: set[str]) -> bool:
    """Return whether the code of a class uses one of these methods of its room."""
    for base in game_class.__mro__:
        if base is Game:
            break
        for function in vars(base).values():
            names = set(names_used(getattr(function, "__code__", None)))
            if "room" in names and not methods.isdisjoint(names):
                return True
    return False
