"""What a game sees of the server around it, `Room`, and what the server puts behind it."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    import trio

    from pgnet_trio.transport import Transport

__all__ = [
    "NO_DEFAULT",
    "BotPlayer",
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
