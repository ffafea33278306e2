"""A game as a plain object: rules in a test without a server, and without Trio."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import trio

from pgnet_trio.codec import decode_json, encode_json, plain
from pgnet_trio.errors import Reject
from pgnet_trio.game import (
    Declared,
    Game,
    NoDefault,
    ReadyState,
    Seat,
    SeatPlan,
    current_room,
    declared_by,
    tells_why,
)
from pgnet_trio.protocol.v2.envelopes import encode_push
from pgnet_trio.server.room.members import Members
from pgnet_trio.server.room.publisher import check_size
from pgnet_trio.testing.names import check_names
from pgnet_trio.typed import check_game_message, to_push

if TYPE_CHECKING:
    from pgnet_trio.standings import Result

__all__ = ["detached"]

AnswerT = TypeVar("AnswerT")
GameT = TypeVar("GameT", bound=Game)
ModelT = TypeVar("ModelT")


def detached(
    game: Callable[..., GameT],
    /,
    *,
    players: Iterable[str] = (),
    seed: int | str = 0,
    name: str = "table 1",
    options: Mapping[str, Any] | None = None,
    saved: object = None,
) -> GameT:
    """Make a game without a server: to call its methods in a test, a thousand times a second.

    ``game = detached(Cards, players=["ann", "bob"], seed=1)`` makes the game and lets the players
    join, as a server would. Its room has a name, options, players, seeded ``random``, ``locked``,
    a host and seats. ``room.time()`` is 0, or, where Trio runs, goes on from there. A push is
    checked, and reaches nobody. ``room.kick`` takes effect at once, since there are no turns, and
    so does the leaving that follows it. What needs a server raises RuntimeError: ``ask``,
    ``ask_all``, ``wait_players``, ``seats.wait_player``, ``ready.check``, ``rematch``, ``nursery``,
    ``add_bot``, ``save`` and ``report``. ``run`` and ``update`` are not called.

    Args:
        game: The class of the game.
        players: Who joins, in this order.
        seed: What ``room.random`` depends on.
        name: The game's name in the lobby.
        options: What the game is created with.
        saved: What ``get_save_string`` returned earlier: a text or a model. None for a new game.

    Returns:
        The game.

    Raises:
        Reject: The game refuses a player, or to be made.
        CodecError: *options* or *saved* cannot travel.
        TypeError: *players* are no names.
        ValueError: One of them comes twice.
        RuntimeError: The game did what needs a server, or its ``user_joined`` waits for something.
    """
    names = check_names("players", players)
    given = plain(dict(options or {}), "options")
    save_string = saved if saved is None or isinstance(saved, str) else encode_json(saved)
    room = _DetachedRoom(name, MappingProxyType(given), random.Random(seed), save_string)
    token = current_room.set(room)
    try:
        made = game(name, save_string=save_string or None)
    finally:
        current_room.reset(token)
    room.game = made
    room.declared = declared_by(type(made))
    for player in names:
        room.join(player)
    return made


class _DetachedRoom:
    """The `pgnet_trio.game.RoomBackend` of a game without a server.

    Args:
        name: The game's name.
        options: What the game was created with.
        random: The game's randomness.
        save_string: What the game was saved as; None for a new game.

    Attributes:
        game: The game, once it is made.
        declared: What its class declares that it pushes.
        locked: Whether nobody more may join, which is nobody's concern here.
        unlisted: Whether it is in no directory; the same.
        seats: Who has which seat.
        ready: Who is ready: nobody is ever asked.
        players: Who has joined.
    """

    game: Game

    def __init__(
        self,
        name: str,
        options: Mapping[str, Any],
        random: random.Random,
        save_string: str | None,
    ) -> None:
        self.name = name
        self.options = options
        self.random = random
        self.locked = False
        self.declared: Declared = declared_by(Game)
        self.unlisted = False
        self.seats = SeatPlan()
        self.ready = ReadyState()
        self._has_seats = False
        self._host: str | None = None
        self._players: list[str] = []
        self._save_string = save_string
        self._start = _now()

    def join(self, player: str) -> None:
        """Let a player join; raises Reject where the game refuses them."""
        self._players.append(player)
        self._host = self._host or player
        try:
            _finish(self.game.user_joined(player), "user_joined")
        except Reject:
            self._remove(player)
            raise

    def _remove(self, player: str) -> None:
        self._players.remove(player)
        self.seats.leave(player)
        if self._host == player:
            self._host = next(iter(self._players), None)

    @property
    def users(self) -> list[str]:
        """The players: there are no bots."""
        return self.players

    @property
    def host(self) -> str | None:
        """Whose table it is: the first player's."""
        return self._host

    @host.setter
    def host(self, name: str) -> None:
        if name not in self._players:
            raise ValueError(f"room.host: expected a user who plays here, got {name!r}")
        self._host = name

    def declare_seats(self, seats: tuple[Seat, ...] | None) -> None:
        """Set which seats there are."""
        if not self._has_seats:
            self._has_seats = True
            self.seats.declare(seats)

    def note_seated(self, player: str) -> None:
        """Do nothing: there are no substitutes."""

    @property
    def players(self) -> list[str]:
        """The players in join order."""
        return list(self._players)

    @property
    def nursery(self) -> NoReturn:
        """Refuse: no server would run the tasks."""
        raise _needs_server("nursery")

    def time(self) -> float:
        """Return the seconds since the game was made, where Trio runs."""
        return _now() - self._start

    @property
    def tick(self) -> int:
        """Return 0: `update` is not called."""
        return 0

    @property
    def dt(self) -> float:
        """Seconds from one update to the next."""
        return 1 / self.game.update_rate if self.game.update_rate > 0 else 0.0

    def next_input(self, player: str) -> Any:
        """Return None: nobody makes an input."""
        return None

    def input_repeated(self, player: str) -> bool:
        """Return False: nobody makes an input."""
        return False

    def rewind(self, player: str) -> NoReturn:
        """Refuse: there is no past."""
        raise _needs_server("rewind")

    def push(
        self,
        message: object,
        payload: dict[str, Any] | None = None,
        to: str | Iterable[str] | None = None,
        exclude: str | Iterable[str] = (),
    ) -> None:
        """Check a push."""
        push = to_push(message, payload)
        check_game_message(push.message)
        self.declared.check_push(message, push)
        check_size(encode_push(push))
        # Whom it names is checked too, though nobody is there to get it.
        Members().select(to, exclude)

    def kick(self, player: str, reason: str = "") -> None:
        """Let a player leave, now."""
        if player in self._players:
            self._remove(player)
            why = ("kicked",) if tells_why(self.game.user_left) else ()
            _finish(self.game.user_left(player, *why), "user_left")

    def end(self, reason: str = "") -> None:
        """Do nothing: there is nobody who would return to a lobby."""

    def sync(self) -> None:
        """Do nothing: nobody is shown a state."""

    def saved(self, model: type[ModelT]) -> ModelT | None:
        """Read the save string as a model."""
        return decode_json(self._save_string, model) if self._save_string else None

    def refuse_in_turn(self, what: str) -> None:
        """Refuse what waits for players."""
        raise _needs_server(what)

    def note_failed_call(self, error: Exception) -> None:
        """Do nothing: no script runs, so none can spin."""

    async def ask(
        self,
        player: str,
        question: object,
        answer: type[AnswerT],
        timeout: float | None,
        default: AnswerT | NoDefault,
        check: Callable[[AnswerT], None] | None,
    ) -> AnswerT:
        """Refuse: there is no client to answer."""
        raise _needs_server("ask")

    async def wait_players(self, count: int) -> list[str]:
        """Refuse: nobody else joins."""
        raise _needs_server("wait_players")

    async def save(self) -> None:
        """Refuse: there is no save file."""
        raise _needs_server("save")

    async def report(self, result: Result) -> NoReturn:
        """Refuse: no server would count it."""
        await trio.lowlevel.checkpoint()
        raise _needs_server("report")

    async def wait_player(self, seat: Seat) -> str:
        """Refuse: nobody else joins."""
        raise _needs_server("seats.wait_player")

    def rematch(self) -> None:
        """Refuse: whoever wants another game makes one."""
        raise _needs_server("rematch")

    def add_bot(self, bot: object) -> None:
        """Refuse: a bot plays over a link to a server."""
        raise _needs_server("add_bot")


def _needs_server(what: str) -> RuntimeError:
    return RuntimeError(
        f"room.{what} needs a server, and this game is detached: test what uses it with "
        "pgnet_trio.testing.hosting, or pgnet_trio.testing.explore"
    )


def _now() -> float:
    return trio.current_time() if trio.lowlevel.in_trio_run() else 0.0


def _finish(result: Any, what: str) -> None:
    """Run a hook that is ``async def`` to its end, which it has to reach without waiting."""
    if not inspect.iscoroutine(result):
        return
    try:
        result.send(None)
    except StopIteration:
        return
    result.close()
    raise RuntimeError(
        f"{what} waits for something, and a detached game cannot: test it with "
        "pgnet_trio.testing.hosting"
    )
