"""What a monitor, metrics and tests may know of a room."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

__all__ = ["QuestionSeen", "RoomStats", "SeatView", "TableView"]


@attrs.frozen
class RoomStats:
    """A picture of a room at one moment; it has no part in the room itself.

    Attributes:
        name: The game's name.
        game_class: The name of its class; empty before it is made.
        options: What it was created with.
        is_persistent: Whether it is saved.
        locked: Whether nobody more may join.
        time: For how long it has been played, in seconds.
        players: The players in the order of joining, bots included.
        spectators: Those who only watch.
        bots: The names of the bots that play, or are about to join.
        open_questions: How many questions wait for their answers.
        waiting_turns: How many turns wait.
        missed_ticks: How many updates were skipped because the one before was late.
        dropped_inputs: How many inputs of players were never played: of spectators, of another kind
            than the game takes, more than are played, or from the future.
        long_turns: How many turns waited for a second or longer, while no other could begin.
        turn_time: How long its turns took on average, in seconds: those that are timed.
        longest_turn: How long the longest of them took.
        state_size: The most that the game's encoded states take, in bytes; 0 if it shows none.
        waits_for: Where code of the game waits, each as a file, a line and a function.
        is_running: Whether code of the game runs now; False while it waits.
        is_over: Whether the room takes no more turns.
        crashed: Whether the game was ended by an error or a cancellation.
    """

    name: str
    game_class: str
    options: Mapping[str, Any]
    is_persistent: bool
    locked: bool
    time: float
    players: tuple[str, ...]
    spectators: tuple[str, ...]
    bots: tuple[str, ...]
    open_questions: int
    waiting_turns: int
    missed_ticks: int
    dropped_inputs: int
    long_turns: int
    turn_time: float
    longest_turn: float
    state_size: int
    waits_for: tuple[str, ...]
    is_running: bool
    is_over: bool
    crashed: bool

    @property
    def members(self) -> int:
        """How many play or watch, bots included."""
        return len(self.players) + len(self.spectators)


@attrs.frozen
class SeatView:
    """What is shown to somebody at a table.

    Attributes:
        seat: The player; None for spectators, and for what everybody sees.
        number: Another one whenever the state has changed.
        size: How many bytes the state takes when it is encoded.
        state: The state as plain data, which nobody changes any more.
    """

    seat: str | None
    number: int
    size: int
    state: Any


@attrs.frozen
class QuestionSeen:
    """A question that waits for an answer.

    Attributes:
        player: Who is asked.
        message: Its message.
        payload: Its payload.
        deadline: When the player's time is up, in the room's time; None for no limit.
        model: The class of the answer.
    """

    player: str
    message: str
    payload: Mapping[str, Any]
    deadline: float | None
    model: type


@attrs.frozen
class TableView:
    """What can be seen at one table.

    Attributes:
        is_shared: Whether everybody sees the same.
        seats: What players see, by seat.
        questions: What players are asked, in the order of asking.
        handled: The classes of the typed messages that the game takes, by what these are called.
        takes_any: Whether it takes packets of any other kind too.
    """

    is_shared: bool
    seats: tuple[SeatView, ...]
    questions: tuple[QuestionSeen, ...]
    handled: Mapping[str, type]
    takes_any: bool
