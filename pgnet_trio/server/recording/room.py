"""A room that is recorded: each thing that comes from outside is noted, and then done as ever."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pgnet_trio.codec import encode_json
from pgnet_trio.foreign_text import one_line
from pgnet_trio.recording.records import (
    BotEnded,
    CallEnded,
    ClientCame,
    Closed,
    EmptyChecked,
    Joined,
    Left,
    OnlineChanged,
    SaveAsked,
)
from pgnet_trio.server.recording.tape import RecordingTape
from pgnet_trio.server.refusals import CLOSED, LEFT
from pgnet_trio.server.room.kept import NOTHING_KEPT
from pgnet_trio.server.room.room import RoomTask

if TYPE_CHECKING:
    import trio

    from pgnet_trio.game import BotPlayer, Game
    from pgnet_trio.protocol.events import InputReceived
    from pgnet_trio.server.recording.writer import RecordingWriter
    from pgnet_trio.server.room.outcome import Outcome
    from pgnet_trio.server.room.owner import RoomOwner
    from pgnet_trio.server.room.player import PacketTurn, Player
    from pgnet_trio.standings import Leaderboard, PlayedGame, Result
    from pgnet_trio.transport.rounds import Round

__all__ = ["RecordedRoom"]


class RecordedRoom(RoomTask):
    """A `RoomTask` with a tape.

    Args:
        writer: Writes the files.
        name: The game's name.
        make_game: Makes the game.
        seed: Seeds the game's randomness.
        owner: Lists, saves and closes the game.
        options: The other arguments of `RoomTask`.
    """

    def __init__(
        self,
        writer: RecordingWriter,
        name: str,
        make_game: Callable[[str | None], Game],
        *,
        seed: bytes,
        owner: RoomOwner,
        **options: Any,
    ) -> None:
        kept = options.get("kept", NOTHING_KEPT)
        tape = RecordingTape(writer, options.get("thawing"), kept, seed)
        recorded = _RecordedOwner(owner, tape)
        super().__init__(name, make_game, seed=seed, owner=recorded, **options)
        self._tape = tape
        tape.attach(self, self._backend.random)
        tape.ask_for_saves_by(self._ask_for_save)
        self.instance.tape = tape
        self.queue.note_call = tape.note_call
        # As in `RoomTask`, with a note of each packet before.
        put, take_now = self.queue.put, self.take_now
        take_answer, take_input, reload = self.handle_answer, self.take_input, self.reload

        def take_in(turn: PacketTurn) -> None:
            tape.note_packet(turn)
            put(turn)

        def take(turn: PacketTurn, round: Round) -> None:
            tape.round_began = round.now
            take_now(turn, round)

        def answer(turn: PacketTurn, question_id: int) -> None:
            tape.note_question_answer(turn, question_id)
            take_answer(turn, question_id)

        def play(player: Player, given: InputReceived, round: Round | None) -> None:
            tape.note_input(player.username, given)
            take_input(player, given, round)

        async def begin_reload(make_game: Callable[[str | None], Game]) -> None:
            tape.note_other_turn()
            await reload(make_game)

        self.handle = self.queue.take_in = take_in
        self.take_now = take
        self.handle_answer, self.take_input, self.reload = answer, play, begin_reload

    async def join(self, player: Player, *, spectate: bool = False) -> float:
        """Let a user join."""
        tape = self._tape
        tape.describe(Joined(tape.now(), [tape.session_of(player)], spectate))
        return await super().join(player, spectate=spectate)

    async def join_together(self, players: Sequence[Player]) -> None:
        """Let several users into a new game."""
        tape = self._tape
        sessions = [tape.session_of(player) for player in players]
        tape.describe(Joined(tape.now(), sessions, together=True))
        await super().join_together(players)

    def leave(
        self,
        username: str,
        reason: str = LEFT,
        message: str = "",
        *,
        player: Player | None = None,
        awaited: bool = False,
    ) -> trio.Event:
        """Tell the game that a user has left."""
        tape = self._tape
        session = 0 if player is None else tape.session_of(player).number
        online = player.online if player is not None else self._is_online(username)
        tape.describe(Left(tape.now(), username, reason, message, session, online))
        return super().leave(username, reason, message, player=player, awaited=awaited)

    def drop(self, username: str) -> None:
        """Tell the game that a player's connection dropped."""
        self._tape.describe(OnlineChanged(self._tape.now(), username, False))
        super().drop(username)

    def resume(self, username: str) -> None:
        """Tell the game that a player is back."""
        self._tape.describe(OnlineChanged(self._tape.now(), username, True))
        super().resume(username)

    def introduce(self, player: Player) -> None:
        """Show everything to another client of a player."""
        tape = self._tape
        tape.describe(ClientCame(tape.now(), tape.session_of(player)))
        super().introduce(player)

    def close_if_empty(self) -> None:
        """End the game if no user is in it and it is not persistent."""
        self._tape.describe(EmptyChecked(self._tape.now()))
        super().close_if_empty()

    async def update_save_string(self) -> None:
        """Bring `save_string` up to date, in a turn, and wait for it."""
        self._tape.describe(SaveAsked(self._tape.now()))
        await self.queue.wait_for(self.queue.post(self._save))

    def close(self, reason: str, kind: str = CLOSED) -> None:
        """Take no more turns."""
        if self.queue.end_reason is None:
            saves = self._saves_at_end
            self._tape.describe(Closed(self._tape.now(), one_line(reason), kind, saves))
        super().close(reason, kind)

    def _save(self) -> None:
        self.instance.update_save_string()
        self._tape.note_saved()

    def _ask_for_save(self) -> None:
        if self.queue.end_reason is None:
            self._tape.describe(SaveAsked(self._tape.now()))
            self.queue.post(self._save)

    def _is_online(self, username: str) -> bool:
        member = self.members.get(username)
        return member is not None and member.player.online


class _RecordedOwner:
    """Passes on what a room asks of its owner, and notes what comes of it.

    Args:
        owner: The owner.
        tape: Notes it.
    """

    def __init__(self, owner: RoomOwner, tape: RecordingTape) -> None:
        self._owner = owner
        self._tape = tape
        self.user_left = owner.user_left
        self.room_ended = owner.room_ended
        self.note_cause = owner.note_cause
        self.note_failure = owner.note_failure

    def is_empty(self) -> bool:
        """Return whether no user is in the game any more."""
        is_empty = self._owner.is_empty()
        self._tape.note_empty(is_empty)
        return is_empty

    async def save(self) -> None:
        """Write the room's save string to disk."""
        number = self._tape.count_call()
        try:
            await self._owner.save()
        except Exception as error:
            self._note_call(number, error)
            raise
        self._note_call(number)

    async def report(
        self,
        result: Result,
        outcome: Outcome,
        users: tuple[str, ...],
        leaderboards: Mapping[str, Leaderboard],
    ) -> PlayedGame:
        """Count the game's result."""
        number = self._tape.count_call()
        try:
            played = await self._owner.report(result, outcome, users, leaderboards)
        except Exception as error:
            self._note_call(number, error)
            raise
        self._note_call(number, result=encode_json(played))
        return played

    async def run_bot(self, bot: BotPlayer) -> None:
        """Let a bot join the game and play."""
        try:
            await self._owner.run_bot(bot)
        finally:
            self._tape.describe(BotEnded(self._tape.now(), bot.username))

    def _note_call(self, number: int, error: Exception | None = None, result: str = "") -> None:
        told = None if error is None else (type(error).__name__, one_line(error))
        self._tape.describe(CallEnded(self._tape.now(), number, told, result))
