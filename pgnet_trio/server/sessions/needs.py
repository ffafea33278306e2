"""What a session needs of the games and the server: Protocols, so that it knows no room's class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pgnet_trio.protocol.events import InputReceived
    from pgnet_trio.server.room.player import PacketTurn, Player
    from pgnet_trio.transport.rounds import Round

__all__ = ["Games", "SessionRoom", "Settings", "UserGame"]


class SessionRoom(Protocol):
    """What a session needs of the room of its user's game. Nothing here waits."""

    @property
    def audience(self) -> int:
        """How many are told who comes and goes."""

    @property
    def is_waiting(self) -> bool:
        """Whether a turn would begin at once."""

    def handle(self, turn: PacketTurn, /) -> None:
        """Have the game answer a packet; the player gets the answer when its turn is over."""

    def take_now(self, turn: PacketTurn, round: Round, /) -> None:
        """Have an idle game answer a packet at once, in a round of reading; others as `handle`."""

    def handle_answer(self, turn: PacketTurn, question_id: int, /) -> None:
        """Take the answer to a question."""

    def take_input(self, player: Player, given: InputReceived, round: Round | None, /) -> None:
        """Take what a player does in one tick."""

    def times(self) -> tuple[float, float]:
        """Return what time it is in the room, and how many ticks a second there are."""

    def leave(self, username: str, reason: str, /, *, player: Player | None = None) -> object:
        """Tell the game that a user has left, and why, in a word for programs."""

    def drop(self, username: str, /) -> None:
        """Tell the game that a player's connection dropped."""

    def resume(self, username: str, /) -> None:
        """Tell the game that a player is back."""

    def catch_up(self, player: Player, /) -> None:
        """Tell a player who is back who is there now."""

    def introduce(self, player: Player, /) -> None:
        """Show everything afresh to a player who has come with another client."""


class UserGame(Protocol):
    """The game that a user is in."""

    @property
    def name(self) -> str:
        """The game's name."""

    @property
    def room(self) -> SessionRoom:
        """The game's room."""


class Games(Protocol):
    """Knows which game a user is in: the lobby does for users, and a bot's seat for a bot."""

    def game_of(self, username: str, /) -> UserGame | None:
        """Return the game that a user is in, or None."""

    def leave(self, username: str, /) -> UserGame | None:
        """Take a user out of their game, and return that game; None where they are in none."""


class Settings(Protocol):
    """What may be changed while sessions run."""

    verbose_logging: bool
