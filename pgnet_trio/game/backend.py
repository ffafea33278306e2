"""What a server puts behind a `Room`: `RoomBackend`, and what both say of nurseries and bots."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    import trio

    from pgnet_trio.game.asking import NoDefault
    from pgnet_trio.game.ready_state import ReadyState
    from pgnet_trio.game.seat_plan import Seat, SeatPlan
    from pgnet_trio.netcode import Past
    from pgnet_trio.standings import PlayedGame, Result
    from pgnet_trio.transport import Transport

__all__ = ["BotPlayer", "Nursery", "RoomBackend", "current_room"]

AnswerT = TypeVar("AnswerT")
ModelT = TypeVar("ModelT")


class Nursery(Protocol):
    """What a game may use of its nursery: a part of `trio.Nursery`."""

    cancel_scope: trio.CancelScope

    def start_soon(self, async_fn: Callable[..., Awaitable[Any]], /, *args: Any) -> None:
        """Start a task."""

    async def start(self, async_fn: Callable[..., Awaitable[Any]], /, *args: Any) -> Any:
        """Start a task, and wait until it says that it has started."""


class BotPlayer(Protocol):
    """What a room needs of a bot; `pgnet_trio.Bot` is one."""

    @property
    def username(self) -> str:
        """The bot's name as a player."""

    async def take_seat(self, transport: Transport, /) -> None:
        """Play over a transport to the game, until the bot is out of the game."""


class RoomBackend(Protocol):
    """What a `Room` passes its calls on to: the server's task that owns the game.

    The methods are documented at `Room`.
    """

    name: str
    options: Mapping[str, Any]
    locked: bool
    unlisted: bool
    random: random.Random

    @property
    def players(self) -> list[str]:
        """The players in the order of joining."""

    @property
    def users(self) -> list[str]:
        """Those of them who are no bots, and were told that they are in."""

    @property
    def host(self) -> str | None:
        """Whose table it is."""

    @host.setter
    def host(self, name: str) -> None: ...

    @property
    def seats(self) -> SeatPlan:
        """Who has which seat."""

    def declare_seats(self, seats: tuple[Seat, ...] | None) -> None:
        """Set which seats there are, for a game that is being made."""

    @property
    def ready(self) -> ReadyState:
        """Who is ready."""

    @property
    def nursery(self) -> Nursery:
        """The nursery of the game's tasks."""

    def time(self) -> float:
        """The room's time in seconds."""

    @property
    def tick(self) -> int:
        """The number of the latest update."""

    @property
    def dt(self) -> float:
        """Seconds from one update to the next."""

    def next_input(self, player: str) -> Any:
        """A player's input of this tick."""

    def input_repeated(self, player: str) -> bool:
        """Whether that is the one before, played again."""

    def rewind(self, player: str) -> Past:
        """Where things were when a player saw them."""

    def push(
        self,
        message: object,
        payload: dict[str, Any] | None,
        to: str | Iterable[str] | None,
        exclude: str | Iterable[str],
    ) -> None:
        """Send players something unasked."""

    def kick(self, player: str, reason: str) -> None:
        """Remove a player after the turn in progress."""

    def end(self, reason: str) -> None:
        """End the game after the turn in progress."""

    def sync(self) -> None:
        """Send what has changed of the state now."""

    def saved(self, model: type[ModelT]) -> ModelT | None:
        """Return the save string as a model."""

    def refuse_in_turn(self, what: str) -> None:
        """Raise RuntimeError in a turn: waiting for another turn there would never end.

        Args:
            what: The name of the method that was called.
        """

    def note_failed_call(self, error: Exception) -> None:
        """Count a call that came to nothing at once: a game that does nothing else is ended."""

    async def ask(
        self,
        player: str,
        question: object,
        answer: type[AnswerT],
        timeout: float | None,
        default: AnswerT | NoDefault,
        check: Callable[[AnswerT], None] | None,
    ) -> AnswerT:
        """Ask a player something, and wait for the answer."""

    async def wait_players(self, count: int) -> list[str]:
        """Wait for players."""

    async def save(self) -> None:
        """Save this game now."""

    async def report(self, result: Result) -> PlayedGame:
        """Count how this game ended."""

    def add_bot(self, bot: BotPlayer) -> None:
        """Have a bot join."""

    async def wait_player(self, seat: Seat) -> str:
        """Wait until somebody plays in a seat."""

    def note_seated(self, player: str) -> None:
        """Note that a player plays in a seat of theirs themselves; their substitute goes."""

    def rematch(self) -> None:
        """Begin anew after the turn in progress, with the same people."""


current_room: ContextVar[RoomBackend | None] = ContextVar("current_room", default=None)
"""The room that is making its game just now; `Game` takes it from here."""
