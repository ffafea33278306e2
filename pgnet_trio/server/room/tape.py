"""What notes all that comes into a room, or plays it again.

A room without a tape asks for none; the check costs next to nothing. A recording writes what it is
told, and never lets anybody wait. In a replay the same calls wait until it is their turn.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import trio

    from pgnet_trio.messages import Response
    from pgnet_trio.server.room.player import OpenQuestion, PacketTurn

__all__ = ["PACE", "TICK", "WITHDRAWAL", "Tape"]

TICK = "tick"
PACE = "state"
WITHDRAWAL = "withdrawal"
"""What comes due in a room, for `Tape.wait_until_due`."""


class Tape(Protocol):
    """Notes what comes into one room, and in which order its code runs.

    Only `wait_until_due` is async. Where another method returns something to wait for, its caller
    waits for that at once, before it goes on.
    """

    def begin(self) -> None:
        """Note that a game is about to be made."""

    def count_coroutine(self, name: str, /) -> int:
        """Return a number for a coroutine of the game: that of its place in the order."""

    def forget_coroutine(self, number: int, /) -> None:
        """Note that a coroutine has ended."""

    def step(self, number: int, /, *, raised: bool) -> Awaitable[None] | None:
        """Note that a coroutine is about to go on, with an error where *raised*."""

    def turn(self) -> Awaitable[None] | None:
        """Note that the next turn in the queue is about to begin."""

    def turn_at_once(self, turn: PacketTurn, /) -> None:
        """Note that a packet has come, and has its turn at once."""

    def ask(self, player: str, /) -> Awaitable[None] | None:
        """Note that the game is about to ask somebody."""

    def time(self, now: float, /) -> float:
        """Note that the game reads its room's clock, and return what it reads."""

    async def wait_until_due(self, what: str, deadline: float, /) -> float:
        """Wait for a moment on Trio's clock, and note that it has come; return the room's time."""

    def note_other_turn(self) -> None:
        """Note that a turn is queued in which none of the game's code runs."""

    def note_question(self, question: OpenQuestion, /) -> None:
        """Note what a player is asked."""

    def limit(self, question: int, deadline: float, /) -> trio.CancelScope:
        """Return the scope in which the game waits for the answer to a question."""

    def note_silence(self, question: int, /) -> None:
        """Note that the time for a question is up."""

    def note_answer(self, response: Response, /) -> None:
        """Note how a packet is answered."""

    def note_push(self, receivers: Iterable[str], envelope: bytes, /) -> None:
        """Note what is pushed, and to whom."""

    def note_states(self, changes: Iterable[tuple[str, bytes]], /) -> None:
        """Note which states have changed: whose, and in what; without a name for everybody."""

    def note_crash(self, error: BaseException, /, *, restarts: bool) -> None:
        """Note that the game has raised."""

    def note_end(self, reason: str, /, *, moves: bool = False) -> None:
        """Note that the room takes no more turns; the game goes on elsewhere where it *moves*."""

    def note_over(self) -> None:
        """Note that nothing of the game is left."""
