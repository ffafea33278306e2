"""Who plays in a table that is played again: nobody hears anything."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pgnet_trio.codec import decode_json
from pgnet_trio.errors import PGNetError, StorageError
from pgnet_trio.server.refusals import ReportRefused
from pgnet_trio.standings import PlayedGame

if TYPE_CHECKING:
    from pgnet_trio.game import BotPlayer
    from pgnet_trio.messages import Response
    from pgnet_trio.recording.records import SessionRecord
    from pgnet_trio.replay.tape import ReplayTape
    from pgnet_trio.server.room.outcome import Outcome
    from pgnet_trio.server.room.player import HeldRequest, OpenQuestion, PacketTurn, Player
    from pgnet_trio.standings import Leaderboard, Result

__all__ = ["ReplayOwner", "ReplayPlayer", "ReplayRound"]


class ReplayPlayer:
    """A session of which nothing is left but what the room saw of it.

    Args:
        username: Whose it is.
        note_state: Called with the name and the state whenever one is shown.
    """

    def __init__(self, username: str, note_state: Callable[[str, Any], None]) -> None:
        self.username = username
        self.online = True
        self.takes_pushes = True
        self.takes_player_lists = True
        self._note_state = note_state

    @property
    def connection_number(self) -> int:
        """None: 0."""
        return 0

    def become(self, session: SessionRecord) -> None:
        """Be as the session was."""
        self.online = session.online
        self.takes_pushes = session.takes_pushes
        self.takes_player_lists = session.takes_player_lists

    def answer(self, turn: PacketTurn, response: Response, /) -> bool:
        """Hear nothing."""
        return False

    def waits_for(self, turn: PacketTurn, /) -> bool:
        """Wait for nothing."""
        return False

    def retake(self, held: HeldRequest, /) -> PacketTurn:
        """Refuse: what waits comes with the recording."""
        raise NotImplementedError

    def enter_game(self, name: str, heartbeat_rate: float, time: float, /) -> None:
        """Hear nothing."""

    def exit_game(self, reason: str, message: str, time: float, /) -> None:
        """Hear nothing."""

    def push(self, envelope: bytes, /) -> None:
        """Hear nothing."""

    def show(self, snapshot: Any, /) -> None:
        """Note the state."""
        self._note_state(self.username, snapshot.data)

    def mark(self, moment: bytes, /) -> None:
        """Hear nothing."""

    def ask(self, question: OpenQuestion, /) -> None:
        """Hear nothing."""

    def withdraw(self, question: OpenQuestion, /) -> None:
        """Hear nothing."""

    def flush(self) -> None:
        """Do nothing: there is no connection."""


class ReplayRound:
    """A round of reading without sockets, whose time is never up."""

    def __init__(self) -> None:
        self.delay = 0.0
        self.until = math.inf
        self.flushes: dict[Callable[[], None], None] = {}


class ReplayOwner:
    """The owner of a room that is played again: what comes from outside is in the recording.

    Args:
        tape: Plays the recording.
    """

    def __init__(self, tape: ReplayTape) -> None:
        self._tape = tape

    def is_empty(self) -> bool:
        """Return whether no user was in the game."""
        return self._tape.read_empty()

    def user_left(self, username: str, /) -> None:
        """Do nothing: there is no lobby."""

    def room_ended(self, reason: str, /) -> None:
        """Do nothing: the tape knows."""

    def note_cause(self, error: BaseException, username: str | None = None, /) -> None:
        """Do nothing: the tape knows."""

    def note_failure(
        self, error: BaseException, what: str, player: Player | None = None, /
    ) -> None:
        """Do nothing: the tape knows what ends the game, and the log had the rest."""

    async def save(self) -> None:
        """Save nothing, with the result that there was."""
        await self._result()

    async def report(
        self,
        result: Result,
        outcome: Outcome,
        users: tuple[str, ...],
        leaderboards: Mapping[str, Leaderboard],
    ) -> PlayedGame:
        """Report nothing, and return what there was."""
        return decode_json(await self._result(), PlayedGame)

    async def _result(self) -> str:
        record = await self._tape.call_result()
        if record.error is not None:
            kind, text = record.error
            if kind == ReportRefused.__name__:
                raise ReportRefused(text.removeprefix("The result was not counted: "))
            raise StorageError(text) if kind == StorageError.__name__ else PGNetError(text)
        return record.result

    async def run_bot(self, bot: BotPlayer, /) -> None:
        """Wait until the bot plays no more: what it did is in the recording."""
        await self._tape.bot_end(bot.username)
