"""What an author subclasses, `Game`, and what it sees of the server, `Room`."""

from __future__ import annotations

import inspect
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

from pgnet_trio.messages import Packet, Request, Response, Status
from pgnet_trio.typed import Handler, collect_handlers

if TYPE_CHECKING:
    import trio

    from pgnet_trio.transport import Transport

__all__ = [
    "NO_DEFAULT",
    "BotPlayer",
    "Game",
    "NoDefault",
    "Room",
    "RoomBackend",
    "current_room",
]

AnswerT = TypeVar("AnswerT")
ModelT = TypeVar("ModelT")


class NoDefault:
    """The type of `NO_DEFAULT`."""

    def __repr__(self) -> str:
        return "NO_DEFAULT"


NO_DEFAULT = NoDefault()
"""Says that a question has no default answer, so that a timeout raises."""


class Nursery(Protocol):
    """What a game needs of a nursery: `trio.Nursery` has it too."""

    cancel_scope: trio.CancelScope

    def start_soon(self, async_fn: Callable[..., Awaitable[Any]], /, *args: Any) -> None:
        """Start a task."""

    async def start(self, async_fn: Callable[..., Awaitable[Any]], /, *args: Any) -> Any:
        """Start a task, and wait until it says that it has started."""


class BotPlayer(Protocol):
    """What a room needs of a bot; `pgnet_trio.Bot` has it."""

    @property
    def username(self) -> str:
        """Its name as a player."""

    async def take_seat(self, transport: Transport, /) -> None:
        """Play over a link to the game, until it is out of it."""


class RoomBackend(Protocol):
    """What stands behind a `Room`: the server's task that owns the game."""

    name: str
    options: Mapping[str, Any]
    locked: bool
    random: random.Random

    @property
    def players(self) -> list[str]:
        """The players in join order."""

    @property
    def nursery(self) -> Nursery:
        """The nursery of the game's tasks."""

    def time(self) -> float:
        """The room's time in seconds."""

    def push(
        self,
        message: object,
        payload: dict[str, Any] | None,
        to: str | Iterable[str] | None,
        exclude: str | Iterable[str],
    ) -> None:
        """Send something unasked."""

    def kick(self, player: str, reason: str) -> None:
        """Send a player away."""

    def end(self, reason: str) -> None:
        """End the game after the turn in progress."""

    def sync(self) -> None:
        """Look for changes of the state now."""

    def saved(self, model: type[ModelT]) -> ModelT | None:
        """Read the save string as a model."""

    def refuse_in_turn(self, what: str) -> None:
        """Raise RuntimeError in a turn, which would wait for another one in vain.

        Args:
            what: The method that was called.
        """

    async def ask(
        self,
        player: str,
        question: object,
        answer: type[AnswerT],
        timeout: float | None,
        default: AnswerT | NoDefault,
        check: Callable[[AnswerT], None] | None,
    ) -> AnswerT:
        """Ask a player something."""

    async def wait_players(self, count: int) -> list[str]:
        """Wait for players."""

    async def save(self) -> None:
        """Save this game now."""

    def add_bot(self, bot: BotPlayer) -> None:
        """Have a bot join."""


current_room: ContextVar[RoomBackend | None] = ContextVar("current_room", default=None)
"""The room that is making its game."""


class Room:
    """What a game sees of the server's room around it, as ``self.room``.

    A game that was made outside a server has a room too, one that is detached: it has a name of
    its own, no players, and says so when it is asked for more.
    """

    __slots__ = ("_backend",)

    def __init__(self, backend: RoomBackend | None) -> None:
        self._backend = backend

    def __repr__(self) -> str:
        if self._backend is None:
            return "<Room, detached>"
        return f"<Room {self._backend.name!r} with {len(self._backend.players)} players>"

    @property
    def name(self) -> str:
        """The game's name in the lobby."""
        return self._attached.name

    @property
    def options(self) -> Mapping[str, Any]:
        """What the game was created with: the *options* of ``client.create_game``."""
        return self._attached.options

    @property
    def players(self) -> list[str]:
        """The players in the order of joining, dropped ones included; no spectators."""
        return [] if self._backend is None else self._backend.players

    @property
    def locked(self) -> bool:
        """Whether nobody more may join; may be assigned at any time."""
        return self._attached.locked

    @locked.setter
    def locked(self, locked: bool) -> None:
        self._attached.locked = locked

    @property
    def random(self) -> random.Random:
        """The game's own source of randomness, seeded by the server; not for secrets."""
        return self._attached.random

    @property
    def nursery(self) -> Nursery:
        """The nursery of tasks that end with the game; what one raises crashes the game alone."""
        return self._attached.nursery

    def time(self) -> float:
        """The room's time in seconds, which clients know too; it starts when the game is made."""
        return self._attached.time()

    def push(
        self,
        message: object,
        payload: dict[str, Any] | None = None,
        *,
        to: str | Iterable[str] | None = None,
        exclude: str | Iterable[str] = (),
    ) -> None:
        """Send players something unasked; it arrives once and in order, also after a drop.

        It leaves at the end of this turn, after the state that the turn caused. Players with
        protocol 1 cannot get it.

        Args:
            message: An attrs model, a `Push`, a `Packet`, or a text.
            payload: Where *message* is a text, the data.
            to: Who gets it: a player, or several; None for everybody, spectators included.
            exclude: Who does not.

        Raises:
            TypeError: It cannot travel; the message says where. Or it has a payload already.
        """
        self._attached.push(message, payload, to, exclude)

    def kick(self, player: str, reason: str = "") -> None:
        """Send a player or spectator away, after this turn; ``user_left`` is called then.

        Args:
            player: Who; nothing happens where they are not here.
            reason: What they are told.
        """
        self._attached.kick(player, reason)

    def close(self, reason: str = "") -> None:
        """End the game after this turn; everybody is back in the lobby.

        Args:
            reason: What they are told.
        """
        self._attached.end(reason)

    def sync(self) -> None:
        """Send what has changed of the state now.

        Only tasks that the game started by itself, outside `nursery`, have to call it.
        """
        self._attached.sync()

    def saved(self, model: type[ModelT], /) -> ModelT | None:
        """Give the model that ``get_save_string`` returned when the game was last saved.

        Args:
            model: Its class.

        Returns:
            The model; None for a new game.

        Raises:
            CodecError: What was saved is no such model.
        """
        return None if self._backend is None else self._backend.saved(model)

    async def ask(
        self,
        player: str,
        question: object,
        answer: type[AnswerT],
        /,
        *,
        timeout: float | None = None,
        default: AnswerT | NoDefault = NO_DEFAULT,
        check: Callable[[AnswerT], None] | None = None,
    ) -> AnswerT:
        """Ask a player something, and wait for the answer.

        Only for `Game.run` and tasks of `nursery`. The question survives a dropped connection.
        A cancellation, or an enclosing deadline, withdraws it; the player sees the deadline.

        Args:
            player: Who.
            question: An attrs model, or a packet.
            answer: The attrs class of the answer.
            timeout: Seconds for it; None for any time.
            default: What to return when the time is up.
            check: Called with each answer that came; raises `Reject` to refuse it. The player is
                told why, and may answer again until the deadline.

        Raises:
            trio.TooSlowError: The time is up, and there is no default.
            PlayerLeft: The player left the game, or is not in it.
            RuntimeError: It was called in a turn, where the answer could never come.
        """
        return await self._attached.ask(player, question, answer, timeout, default, check)

    async def ask_all(
        self,
        players: Iterable[str],
        question: object,
        answer: type[AnswerT],
        /,
        *,
        timeout: float | None = None,
        default: AnswerT | NoDefault = NO_DEFAULT,
        check: Callable[[AnswerT], None] | None = None,
    ) -> dict[str, AnswerT]:
        """Ask several players the same at the same time, and wait for all answers.

        As `ask`; what that raises for one of them withdraws all the questions and comes out.

        Returns:
            The answers by player, in the order of *players*.
        """
        import trio

        # Else the error would name `ask`, which nobody has called.
        self._attached.refuse_in_turn("ask_all")
        names = list(players)
        answers: dict[str, AnswerT] = {}
        errors: list[Exception] = []

        async def ask_one(player: str, scope: trio.CancelScope) -> None:
            try:
                answers[player] = await self.ask(
                    player, question, answer, timeout=timeout, default=default, check=check
                )
            except Exception as error:
                errors.append(error)
                scope.cancel()

        async with trio.open_nursery() as nursery:
            for player in names:
                nursery.start_soon(ask_one, player, nursery.cancel_scope)
        if errors:
            raise errors[0]
        return {player: answers[player] for player in names}

    async def wait_players(self, count: int, /) -> list[str]:
        """Wait until there are at least so many players. Only for `Game.run` and `nursery`.

        Returns:
            The players in the order of joining.

        Raises:
            RuntimeError: It was called in a turn, where nobody could join.
        """
        return await self._attached.wait_players(count)

    def add_bot(self, bot: BotPlayer, /) -> None:
        """Have a bot join the game; it plays in a task of its own, and leaves with the game.

        It joins after this turn, as a user would: ``user_joined`` may refuse it, and it takes up
        one of `max_players`. It keeps no game alive: with its last user a game ends.

        Args:
            bot: The bot; each object plays in one game at a time.

        Raises:
            ValueError: Its name could be that of a user, or somebody here has it.
        """
        self._attached.add_bot(bot)

    async def save(self) -> None:
        """Save this game now; it is on disk when this returns.

        Raises:
            StorageError: It could not be written.
        """
        await self._attached.save()

    @property
    def _attached(self) -> RoomBackend:
        if self._backend is None:
            raise RuntimeError(
                "this game has no room: it was made outside a server. Host it with Server or "
                "Client.local, or in a test with pgnet_trio.testing."
            )
        return self._backend


class Game:
    """The rules of a game; the server makes one object for each game that is played.

    Everything that a game does happens in turns: one hook or handler, run to its end by the
    game's own task on the server. So a game needs no locks. Hooks that are told something may be
    ``async def`` too; a game then takes no other turn until the hook returns. `view`,
    `get_save_string` and `get_lobby_info` are plain functions. Methods marked with `on` take
    typed messages.

    A hook or handler that raises ends this game and no other: the exception is logged with its
    traceback, and the players are back in the lobby. A persistent game is then in the save file
    as it was last saved, and comes back with the next start of the server, or, where `on_crash`
    says so, at once.

    Attributes:
        room: The server's room around the game; there already in ``__init__``.
        persistent: Whether the game stays when its last user leaves, and is saved. A class
            attribute, an attribute or a property; read anew each time.
        heartbeat_rate: How many times a second clients send a heartbeat; more than 0. Read when
            a user joins.
        update_rate: How many times a second `update` is called; 0 for never.
        sync_rate: How many times a second, at most, what ticks and unanswered messages change of
            the state is sent. Answers and scripts do not wait for it.
        max_players: How many players may be in the game; None for any number.
        on_crash: What to do when the game raises: ``"close"`` it, or ``"restart"`` it from its
            last save, with the same players.
    """

    update_rate: float = 10
    sync_rate: float = 20
    max_players: int | None = None
    on_crash: Literal["close", "restart"] = "close"

    _handlers: ClassVar[Mapping[str, Handler]] = MappingProxyType({})
    _room: Room

    if TYPE_CHECKING:
        # To a type checker these are properties: an author may override them with a property or
        # with a plain attribute, and the latter may be assigned.
        @property
        def persistent(self) -> bool:
            """Whether the game stays when its last user leaves, and is saved."""

        @property
        def heartbeat_rate(self) -> float:
            """How many times a second clients send a heartbeat."""

    else:
        persistent = False
        heartbeat_rate = 10

    def __new__(cls, *args: Any, **kwargs: Any) -> Game:
        """Give the game its room before its own ``__init__`` runs."""
        game = super().__new__(cls)
        game._room = Room(current_room.get())
        return game

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check what the class declares, so that mistakes show before anybody plays.

        Raises:
            TypeError: A name of `Game` is used for something else, or two methods handle one
                model.
        """
        super().__init_subclass__(**kwargs)
        _check_names(cls)
        cls._handlers = collect_handlers(cls)

    def __init__(self, name: str, save_string: str | None = None) -> None:
        """Make the game.

        Args:
            name: The game's name in the lobby.
            save_string: What `get_save_string` returned when the game was last saved; None for
                a new game.
        """

    @property
    def room(self) -> Room:
        """The server's room around the game."""
        return self._room

    if not TYPE_CHECKING:

        @room.setter
        def room(self, value: Any) -> None:
            raise AttributeError(
                f"{type(self).__name__}.room: the server's room around the game has this name; "
                "use another one."
            )

    def user_joined(self, username: str, /) -> Any:
        """Called when a user has joined; raise `Reject` to keep them out. May be async.

        Args:
            username: Who joined.
        """
        return None

    def user_left(self, username: str, /) -> Any:
        """Called when a user has left, or their session is over. May be async.

        Args:
            username: Who left.
        """
        return None

    def player_dropped(self, username: str, /) -> Any:
        """Called when a player's connection dropped; they may come back. May be async.

        Args:
            username: Whose connection it was.
        """
        return None

    def player_resumed(self, username: str, /) -> Any:
        """Called when a player whose connection dropped is back. May be async.

        Args:
            username: Who is back.
        """
        return None

    def handle_packet(self, packet: Packet, /) -> Response | Awaitable[Response]:
        """Called with each packet of a user in this game; most games override the next two.

        Typed messages do not come here, where a method marked with `on` takes them.

        Args:
            packet: What the user sent; its username is certain.

        Returns:
            The answer. With ``disconnecting=True`` the user is removed from the game.
        """
        if packet.message == Request.HEARTBEAT_UPDATE:
            return self.handle_heartbeat(packet)
        return self.handle_game_packet(packet)

    def handle_game_packet(self, packet: Packet, /) -> Response | Awaitable[Response]:
        """Called with each packet that is not a heartbeat.

        Args:
            packet: What the user sent; its username is certain.

        Returns:
            The answer.
        """
        takes = f"; it takes {', '.join(self._handlers)}" if self._handlers else ""
        return Response(
            f"{type(self).__name__} does not handle {packet.message[:60]!r}{takes}.",
            status=Status.UNEXPECTED,
        )

    def handle_heartbeat(self, packet: Packet, /) -> Response | Awaitable[Response]:
        """Called with each heartbeat of a user, `heartbeat_rate` times a second.

        Args:
            packet: The heartbeat; its payload is what the client's ``heartbeat_payload`` gave.

        Returns:
            The answer, which the client passes to its ``on_heartbeat``.
        """
        return Response(f"{type(self).__name__} has nothing to tell in a heartbeat.")

    def view(self, *args: Any, **kwargs: Any) -> Any:
        """Called for what a player may see of the game; the server sends what changed.

        Override it as ``def view(self, player)``, where *player* is a name, or None for a
        spectator; or, where all see the same, as ``def view(self)``.

        Returns:
            An attrs model, plain data, or None for nothing. What is not in it is never sent.
        """
        return None

    async def run(self) -> None:
        """The game as a script, which waits for players and asks them; its end ends the game."""

    def get_save_string(self) -> Any:
        """Called to save a persistent game: at each autosave, ``save`` request and shutdown.

        Returns:
            Whatever the game needs to go on later: a text, which ``__init__`` gets as
            *save_string*, or an attrs model, for ``self.room.saved(Model)``. A game whose save
            string is empty is not saved.
        """
        return ""

    def get_lobby_info(self) -> str:
        """Called to describe the game in the directory of games.

        Returns:
            A text for people who look for a game to join.
        """
        return ""

    def update(self) -> Any:
        """Called `update_rate` times a second, whether or not anybody plays. May be async."""
        return None


# What the server calls, and with how many arguments.
_HOOKS = {
    "user_joined": (1,),
    "user_left": (1,),
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
_PLAIN_FUNCTIONS = ("view", "get_save_string", "get_lobby_info")


def _check_names(cls: type[Game]) -> None:
    own = vars(cls)
    for base in cls.__mro__:
        if base is not cls and issubclass(base, Game):
            continue
        for name in ("room", "_room", "_handlers"):
            # A class that attrs makes anew with slots has those of the first one.
            if not isinstance(vars(base).get(name, NO_DEFAULT), (NoDefault, MappingProxyType)):
                raise TypeError(
                    f"{cls.__name__}.{name}: the server's room around the game has this name; "
                    "use another one."
                )
    for name, counts in _HOOKS.items():
        value = inspect.getattr_static(cls, name)
        if value is not vars(Game)[name]:
            _check_hook(cls, name, value, counts)
    if own.get("on_crash", "close") not in ("close", "restart"):
        raise TypeError(
            f"{cls.__name__}.on_crash: expected 'close' or 'restart', got {own['on_crash']!r}."
        )
    most = own.get("max_players")
    if not (most is None or isinstance(most, property) or (type(most) is int and most > 0)):
        raise TypeError(
            f"{cls.__name__}.max_players: expected None or an int over 0, got {most!r}."
        )
    for name in ("update_rate", "sync_rate"):
        rate = own.get(name, 0)
        if not isinstance(rate, property) and not (type(rate) in (int, float) and rate >= 0):
            raise TypeError(
                f"{cls.__name__}.{name}: expected a number of times a second, got {rate!r}."
            )


def _check_hook(cls: type[Game], name: str, value: Any, counts: tuple[int, ...]) -> None:
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
        takes = " or ".join("(self)" if count == 0 else "(self, player)" for count in counts)
        if name.startswith("handle_"):
            takes = "(self, packet)"
        raise TypeError(
            f"{cls.__name__}.{name} has to take {takes}, as the server calls it; it takes "
            f"{signature}. Use another name for anything else."
        )


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True
