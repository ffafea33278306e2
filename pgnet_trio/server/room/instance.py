"""The author's game, as its room knows it: what it makes use of, and what of its code runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import trio

from pgnet_trio.codec import encode_json
from pgnet_trio.game import Game, RoomBackend, current_room

if TYPE_CHECKING:
    from pgnet_trio.server.room.scripts import ScriptNursery
    from pgnet_trio.server.watchdog import Watchdog
    from pgnet_trio.typed import Handler

__all__ = ["Hosted"]

logger = logging.getLogger("pgnet_trio.server")

LONG_WAIT = 5.0
"""Seconds that a turn may wait without a word, while other turns wait for it."""

DEFAULT_HEARTBEAT_RATE = 10.0
"""Heartbeats a second, where a game gives none that is above 0."""

_PUSHING = {"push", "ask", "ask_all"}


class Hosted:
    """The game that a room runs; another object after a restart.

    Args:
        name: The game's name.
        make_game: Makes the game, from a save string or None.
        save_string: What the game was last saved as; None for a new game.
        watchdog: Is told whose code runs.

    Attributes:
        name: The game's name.
        start: When the room's time began, in Trio's.
        watchdog: Has a note of this left in its ``room`` by whoever sets `busy`.
        busy: What of the game's code runs just now, in a turn or in a script, another object
            each time; None while it waits for something.
        game: The game.
        made: Whether there is one: from the first time that it was made.
        loaded: The save string that the game is made from.
        save_string: What the game last gave to be saved; None before it was asked, empty when
            it is not persistent.
        waiting: The hook of the turn in progress, where it waits, until its wait was logged.
        failure: What it raised outside of its turns, until the room knows.
        nursery: What runs as long as the game.
        scripts: The nursery of the game's own tasks, within.
        is_persistent: Whether it wanted to be saved when it was made.
        handlers: What takes typed messages.
        has_info: Whether it describes itself to the lobby.
        has_heartbeat: Whether it wants heartbeats.
        has_view: Whether it shows a state.
        has_script: Whether it has a ``run``.
        has_ticks: Whether it wants to be updated.
        needs_pushes: Whether it is not for players of protocol 1.
    """

    game: Game
    nursery: trio.Nursery
    scripts: ScriptNursery
    is_persistent: bool
    handlers: Mapping[str, Handler]
    has_info: bool
    has_heartbeat: bool
    has_view: bool
    has_script: bool
    has_ticks: bool
    needs_pushes: bool

    def __init__(
        self,
        name: str,
        make_game: Callable[[str | None], Game],
        save_string: str | None,
        watchdog: Watchdog,
    ) -> None:
        self.name = name
        self.start = trio.current_time()
        self.watchdog = watchdog
        self.busy: object = None
        self.made = False
        self.loaded = save_string
        self.save_string = save_string
        self.failure: BaseException | None = None
        self.waiting: Coroutine[Any, Any, Any] | None = None
        self._waiting_since = 0.0
        self._make_game = make_game

    def make(self, backend: RoomBackend) -> None:
        """Make the game, with this behind its room, and see what it makes use of."""
        token = current_room.set(backend)
        try:
            self.game = self._make_game(self.loaded)
        finally:
            current_room.reset(token)
        game_class = type(self.game)
        self.is_persistent = bool(self.game.persistent)
        self.handlers = game_class._handlers
        self.has_info = game_class.get_lobby_info is not Game.get_lobby_info
        self.has_heartbeat = (
            game_class.handle_heartbeat is not Game.handle_heartbeat
            or game_class.handle_packet is not Game.handle_packet
        )
        self.has_ticks = game_class.update is not Game.update and self.game.update_rate > 0
        self.has_view = game_class.view is not Game.view
        self.has_script = game_class.run is not Game.run
        self.needs_pushes = not self.has_heartbeat and (self.has_view or _uses_pushes(game_class))

    def time(self) -> float:
        """The room's time in seconds."""
        return trio.current_time() - self.start

    def heartbeat_rate(self) -> float:
        """How many heartbeats a second a client sends."""
        rate = float(self.game.heartbeat_rate)
        return rate if rate > 0 else DEFAULT_HEARTBEAT_RATE

    def wait_for(self, hook: Coroutine[Any, Any, Any] | None) -> None:
        """Note which hook the turn in progress waits for; None for none any more."""
        self.waiting = hook
        self._waiting_since = trio.current_time()

    def note_wait(self) -> None:
        """Log that others wait for the turn in progress, once, where it has waited for long."""
        waited, hook = trio.current_time() - self._waiting_since, self.waiting
        if waited < LONG_WAIT or hook is None:
            return
        self.waiting = None
        frame = getattr(hook, "cr_frame", None)
        where = f", at {frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""
        logger.warning(
            "The game %r takes no other turn while %s waits, for %.0f s now%s. Have a task do what "
            "takes long: self.room.nursery.start_soon(...)",
            self.name,
            getattr(hook, "__qualname__", "a hook"),
            waited,
            where,
        )

    def fail(self, error: BaseException) -> None:
        """Have the game end as if a turn of it had raised this; for what runs in other tasks."""
        if self.failure is None:
            self.failure = error
            self.nursery.cancel_scope.cancel()

    def take_save_string(self) -> None:
        """Bring `save_string` up to date."""
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


def _uses_pushes(game_class: type[Game]) -> bool:
    """Whether a class reaches for what only protocol 2 can carry."""
    for base in game_class.__mro__:
        if base is Game:
            break
        for function in vars(base).values():
            names = set(_names_used(getattr(function, "__code__", None)))
            if "room" in names and not _PUSHING.isdisjoint(names):
                return True
    return False


def _names_used(code: Any) -> Iterator[str]:
    """The attributes and globals that a function names, and the functions within it."""
    yield from getattr(code, "co_names", ())
    for constant in getattr(code, "co_consts", ()):
        yield from _names_used(constant)
