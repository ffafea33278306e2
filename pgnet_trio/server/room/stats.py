"""What a monitor, metrics and tests may know of a room."""

from __future__ import annotations

import attrs

__all__ = ["RoomStats"]


@attrs.frozen
class RoomStats:
    """A picture of a room at one moment; it has no part in the room itself.

    Attributes:
        name: The game's name.
        players: The players in the order of joining, bots included.
        spectators: Those who only watch.
        bots: The names of the bots that play, or are about to join.
        open_questions: How many questions wait for their answers.
        waiting_turns: How many turns wait.
        missed_ticks: How many updates were skipped because the one before was late.
        long_turns: How many turns waited for a second or longer, while no other could begin.
        state_size: The most that the game's encoded states take, in bytes; 0 if it shows none.
        is_running: Whether code of the game runs now; False while it waits.
        is_over: Whether the room takes no more turns.
        crashed: Whether the game was ended by an error or a cancellation.
    """

    name: str
    players: tuple[str, ...]
    spectators: tuple[str, ...]
    bots: tuple[str, ...]
    open_questions: int
    waiting_turns: int
    missed_ticks: int
    long_turns: int
    state_size: int
    is_running: bool
    is_over: bool
    crashed: bool

    @property
    def members(self) -> int:
        """How many play or watch, bots included."""
        return len(self.players) + len(self.spectators)
