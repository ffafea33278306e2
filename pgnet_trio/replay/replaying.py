"""Plays a recording to a room, one record after the other, in virtual time.

It is a little long: what each kind of record does is side by side.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import msgspec
import trio
import trio.testing

from pgnet_trio.codec import unpack
from pgnet_trio.errors import CodecError, PGNetError, bare
from pgnet_trio.game import Game
from pgnet_trio.messages import Packet, set_time_of
from pgnet_trio.protocol.events import InputReceived
from pgnet_trio.recording import RecordingError, StoredRecording, describe_game
from pgnet_trio.recording.records import (
    AnswerCame,
    AskBegan,
    BotEnded,
    CallEnded,
    ClientCame,
    Closed,
    Due,
    EmptyChanged,
    EmptyChecked,
    Ended,
    Gap,
    InputCame,
    Joined,
    Left,
    OnlineChanged,
    OtherTurn,
    PacketCame,
    Record,
    SaveAsked,
    SessionRecord,
    StepBegan,
    TimeIsUp,
    TurnBegan,
)
from pgnet_trio.replay.loading import check_recording
from pgnet_trio.replay.players import ReplayOwner, ReplayPlayer, ReplayRound
from pgnet_trio.replay.tape import Difference, ReplayTape
from pgnet_trio.replay.telling import describe_record
from pgnet_trio.server.recording.tape import FROZEN_VERSION
from pgnet_trio.server.room.frozen import FrozenRoom, Thawing
from pgnet_trio.server.room.kept import kept_of
from pgnet_trio.server.room.player import PacketTurn
from pgnet_trio.server.room.room import RoomTask

__all__ = ["Outcome", "TurnView", "replay"]


ROUNDING = 1e-5
"""Seconds by which a deadline may be off, because times were added up in another order."""

LEAST_STEP = 1e-12
"""Seconds: less than that could be rounded to nothing."""


MOST_DEADLINES = 100
"""Deadlines that may be so close to each other."""


@attrs.frozen
class TurnView:
    """What has happened at a table, for whoever watches a replay.

    Attributes:
        turn: How many turns have begun.
        time: The room's time in seconds.
        what: What came last, for people.
        states: The states that have changed, by player.
        game: The author's object.
        is_last: Whether the replay stops here, because it was to.
    """

    turn: int
    time: float
    what: str
    states: Mapping[str, Any]
    game: Any
    is_last: bool = False


@attrs.frozen
class Outcome:
    """What came of a replay.

    Attributes:
        turns: How many turns have begun, from the beginning of the table's life.
        difference: Where it first differs from the recording; None for nowhere.
        error: What the game raised; None for nothing.
        end: Why there is nothing more to play, for people.
    """

    turns: int
    difference: Difference | None
    error: BaseException | None
    end: str


def replay(
    recording: StoredRecording,
    game: Callable[..., Game],
    /,
    *,
    until: int | None = None,
    watch: Callable[[TurnView], None] | None = None,
) -> Outcome:
    """Play a recording again, in virtual time.

    Args:
        recording: What `load_life` returns.
        game: The class of the game.
        until: After which turn to stop; None to go on to the end.
        watch: Called after each turn, and after each step of a script that changes a state.

    Raises:
        RecordingError: The recording cannot be played with this class.
    """
    head = recording.head
    name = getattr(game, "__name__", "")
    if head.class_name and name and head.class_name != name:
        raise RecordingError(
            f"{recording.path} is a recording of {head.class_name}, and {name} is another class"
        )
    if head.beginning == "cut":
        raise RecordingError(
            f"{recording.path} begins in the middle of a game that is not saved: more has come "
            "into the table than was kept of one, and what was before is gone. Without a game, "
            "`pgnet-trio replay` shows what is left; `serve --record-table-bytes` keeps more"
        )
    check_recording(recording)
    clock = trio.testing.MockClock()
    replayer = _Replayer(recording, game, clock, until, watch)
    return trio.run(replayer.run, clock=clock)


class _Replayer:
    def __init__(
        self,
        recording: StoredRecording,
        game: Callable[..., Game],
        clock: trio.testing.MockClock,
        until: int | None,
        watch: Callable[[TurnView], None] | None,
    ) -> None:
        self._recording = recording
        self._head = recording.head
        self._game = game
        self._clock = clock
        self._until = until
        self._watch = watch
        self._states: dict[str, Any] = {}
        self._inputs: dict[str, dict[str, Any]] = {}
        self._what = ""
        self._told_turn = recording.head.turn
        self._sessions: dict[int, ReplayPlayer] = {}
        self._by_name: dict[str, ReplayPlayer] = {}

    # Before the first record.

    async def run(self) -> Outcome:
        """Play it all."""
        self._tape = tape = ReplayTape(
            self._head,
            self._recording.records,
            self._move_to,
            until=self._until,
            compares_lines=self._is_same_source(),
        )
        try:
            self._room = self._make_room()
        except (CodecError, ValueError) as error:
            raise RecordingError(f"{self._recording.path} begins with no table: {error}") from error
        self._room.instance.tape = tape
        self._move_to(self._head.time)
        self._room.membership.begun = self._head.begun
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                try:
                    end = await self._play_all()
                finally:
                    # What waits for its turn heeds no cancellation, not even one by Ctrl-C.
                    tape.finish()
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise bare(group) from None
        return Outcome(tape.turns, tape.difference, tape.error, end)

    async def _play_all(self) -> str:
        """Play what waited, let the room run, and play the rest; return why there is no more."""
        tape = self._tape
        for _ in range(self._head.waiting):
            await self._play_next()
        tape.is_free = self._head.beginning == "snapshot"
        self._nursery.start_soon(self._room.run)
        if tape.is_free:
            await self._settle()
            tape.is_free = False
        return await self._play()

    def _is_same_source(self) -> bool:
        game = self._game
        source = describe_game(game, Game).source if isinstance(game, type) else ""
        return not source or source == self._head.source

    def _make_room(self) -> RoomTask:
        head, game, tape = self._head, self._game, self._tape
        thawing = None
        if head.frozen is not None:
            frozen = unpack(head.frozen, FrozenRoom, FROZEN_VERSION)
            frozen.check()
            for member in head.members:
                self._session(
                    SessionRecord(
                        member.number,
                        member.username,
                        member.online,
                        member.takes_pushes,
                        member.takes_player_lists,
                    )
                )
            players = {each.username: self._player(each.username) for each in frozen.members}
            thawing = Thawing(frozen, players)
        room = RoomTask(
            head.table,
            lambda save_string: game(head.table, save_string=save_string),
            options=head.options,
            seed=head.seed,
            save_string=head.save_string,
            save_version=head.save_version,
            kept=kept_of(head.kept),
            thawing=thawing,
            question_ids=tape.question_ids(),
            owner=ReplayOwner(tape),
        )
        return room

    def _session(self, record: SessionRecord) -> ReplayPlayer:
        player = self._sessions.get(record.number)
        if player is None:
            player = self._sessions[record.number] = ReplayPlayer(record.username, self._note_state)
        player.become(record)
        self._by_name[record.username] = player
        return player

    def _player(self, username: str) -> ReplayPlayer:
        member = self._room.members.get(username) if hasattr(self, "_room") else None
        if member is not None and isinstance(member.player, ReplayPlayer):
            return member.player
        player = self._by_name.get(username)
        if player is None:
            player = self._by_name[username] = ReplayPlayer(username, self._note_state)
        return player

    def _note_state(self, username: str, state: Any) -> None:
        self._states[username] = state

    # One record after the other.

    def _move_to(self, time: float) -> None:
        """Move the clock to a moment of the room's time."""
        seconds = self._room.instance.start + time - trio.current_time()
        if seconds > 0:
            self._clock.jump(seconds)

    async def _settle(self) -> None:
        """Let everything run that can."""
        await trio.testing.wait_all_tasks_blocked()

    async def _play(self) -> str:
        """Play all records; return why there are no more, for people."""
        tape = self._tape
        while not tape.finished.is_set():
            record = tape.next
            if record is None:
                await self._settle()
                if tape.next is None and not tape.finished.is_set():
                    problem = self._recording.problem
                    return (
                        f"the recording ends here: {problem}"
                        if problem
                        else ("the recording ends here, and the game goes on")
                    )
                continue
            if isinstance(record, Gap) or (isinstance(record, Ended) and record.moves):
                await self._settle()
                if tape.next is record and not tape.finished.is_set():
                    return describe_record(record)
                continue
            if tape.is_at_stop and self._is_turn(record):
                await self._settle()
                self._tell(is_last=True)
                return f"it stops after turn {tape.turns:,}"
            await self._play_next()
            self._tell()
        await trio.lowlevel.checkpoint()
        self._tell()
        if tape.error is not None:
            return "the game has raised"
        return f"the game is over: {tape.end_reason}" if tape.end_reason else "the game is over"

    def _is_turn(self, record: Record) -> bool:
        if isinstance(record, TurnBegan):
            return True
        following = self._tape.position + 1
        records = self._recording.records
        is_at_once = following < len(records) and _begins_at_once(records[following])
        return isinstance(record, PacketCame) and is_at_once

    async def _play_next(self) -> None:
        tape = self._tape
        record = tape.next
        assert record is not None
        match record:
            case TurnBegan(time=None):
                tape.differ(describe_record(record), "no packet")
            case TurnBegan():
                await self._let_go(record, ("turn", None))
            case StepBegan(number=number):
                key = ("step", number)
                if not tape.is_waiting(key) and tape.is_waiting(tape.caller_gate(number)):
                    # In the middle of a save: it goes on with that, and comes to its own gate.
                    tape.open_gate(tape.caller_gate(number))
                await self._let_go(record, key)
            case AskBegan(player=player):
                await self._let_go(record, ("ask", player))
            case Due(what=what):
                self._what = describe_record(record)
                await self._let_go(record, ("due", what))
            case _:
                position = tape.position
                # What has to come before it comes first: a deadline, say, or the rest of a turn.
                await self._reach(record)
                if tape.position != position or tape.finished.is_set():
                    return
                await self._put_in(record)

    async def _reach(self, record: Record) -> None:
        time = getattr(record, "time", None)
        if time is not None and time != math.inf:
            self._move_to(time)
            if trio.lowlevel.current_statistics().seconds_to_next_deadline <= 0:
                await self._settle()

    async def _let_go(self, record: Record, key: tuple[str, object]) -> None:
        """Let code of the table go on that waits for its turn."""
        tape = self._tape
        position = tape.position
        await self._reach(record)
        if tape.position != position or tape.finished.is_set():
            return
        for _ in range(MOST_DEADLINES):
            if tape.is_waiting(key):
                break
            await self._settle()
            if tape.position != position or tape.finished.is_set():
                return
            left = trio.lowlevel.current_statistics().seconds_to_next_deadline
            if not left < ROUNDING:
                break
            self._clock.jump(max(left, 0.0) + LEAST_STEP)
        if not tape.is_waiting(key):
            what = describe_record(record)
            if isinstance(record, StepBegan):
                what = f"the next step of {tape.name_of(record.number)}"
            tape.differ(what, self._what_runs())
            return
        tape.take()
        tape.open_gate(key)
        await self._settle()

    async def _put_in(self, record: Record) -> None:
        """Do what came from outside."""
        tape, room = self._tape, self._room
        self._what = describe_record(record)
        match record:
            case PacketCame(player=username, message=message, payload=payload):
                packet = Packet(message, _payload(payload), username=username)
                set_time_of(packet, record.created_on)
                turn = PacketTurn(
                    self._player(username), _NOBODY, 0, packet, record.quiet, record.size
                )
                tape.take()
                following = tape.next
                if following is None or not _begins_at_once(following):
                    room.handle(turn)
                    return
                if not room.is_waiting:
                    await self._settle()
                if room.is_waiting:
                    room.take_now(turn, ReplayRound())  # type: ignore[arg-type]  # no sockets
                    if tape.next is not None and room.queue.turns:
                        await self._settle()
                else:
                    tape.differ(describe_record(record), "a game that is busy with another turn")
            case AnswerCame(player=username, question=question, payload=payload):
                packet = Packet(record.message, _payload(payload), username=username)
                set_time_of(packet, record.created_on)
                tape.take()
                room.handle_answer(
                    PacketTurn(self._player(username), _NOBODY, 0, packet, size=record.size),
                    question,
                )
            case InputCame(player=username, number=number, seen=seen, payload=payload):
                if payload is not None:
                    self._inputs[username] = payload
                given = InputReceived(number, seen, self._inputs.get(username, {}))
                tape.take()
                room.take_input(self._player(username), given, None)
            case Joined(sessions=sessions, spectates=spectates, together=together):
                players = [self._session(session) for session in sessions]
                # Until it is in the queue, no turn that came after it may begin.
                if together:
                    self._nursery.start_soon(self._wait_for, room.join_together, players)
                else:
                    self._nursery.start_soon(self._wait_for, self._join, players[0], spectates)
                await self._settle()
                # Where the game has raised before, its end was reached meanwhile.
                if tape.next is record:
                    tape.take()
            case Left(player=username, reason=reason, message=text, session=number):
                player = None
                if number:
                    player = self._sessions.setdefault(
                        number, ReplayPlayer(username, self._note_state)
                    )
                (player or self._player(username)).online = record.online
                tape.take()
                room.leave(username, reason, text, player=player)
            case OnlineChanged(player=username, online=online):
                self._player(username).online = online
                tape.take()
                (room.resume if online else room.drop)(username)
            case ClientCame(session=session):
                player = self._session(session)
                tape.take()
                room.introduce(player)
            case SaveAsked():
                tape.take()
                room.queue.post(room.instance.update_save_string)
            case EmptyChecked():
                tape.take()
                room.close_if_empty()
            case OtherTurn():
                tape.take()
                room.queue.post(_do_nothing)
            case Closed(reason=reason, kind=kind, saves=saves):
                tape.take()
                if saves:
                    self._nursery.start_soon(room.finish, kind)
                    await self._settle()
                else:
                    room.close(reason, kind)
            case CallEnded(number=number):
                # It was asked for by a task of the game's own: its steps are not recorded.
                await self._wake(("call", number), record)
            case BotEnded():
                tape.take()
                tape.note_bot_end(record)
                await self._settle()
            case TimeIsUp(question=question):
                tape.take()
                tape.end_time(question)
                await self._settle()
            case EmptyChanged(is_empty=is_empty):
                tape.is_empty = is_empty
                tape.take()
            case _:
                await self._wake(("none", None), record)

    async def _wake(self, key: tuple[str, object], record: Record) -> None:
        tape = self._tape
        position = tape.position
        tape.open_gate(key)
        await self._settle()
        if tape.position == position and not tape.finished.is_set():
            tape.differ(describe_record(record), self._what_runs())

    def _what_runs(self) -> str:
        lines = "; ".join(self._room.lines())
        return f"nothing: what runs is at {lines}" if lines else "nothing"

    async def _join(self, player: ReplayPlayer, spectates: bool) -> None:
        await self._room.join(player, spectate=spectates)

    async def _wait_for(self, function: Callable[..., Any], *args: Any) -> None:
        # Whoever was refused was so in the recording too.
        with contextlib.suppress(PGNetError):
            await function(*args)

    def _tell(self, *, is_last: bool = False) -> None:
        """Show what has changed."""
        tape = self._tape
        if self._watch is None:
            return
        if is_last or tape.turns != self._told_turn or self._states:
            states, self._states = self._states, {}
            self._told_turn = tape.turns
            game = getattr(self._room.instance, "game", None)
            self._watch(TurnView(tape.turns, tape.now, self._what, states, game, is_last))


def _begins_at_once(record: Record) -> bool:
    return isinstance(record, TurnBegan) and record.time is None


def _payload(payload: Any) -> dict[str, Any]:
    if isinstance(payload, msgspec.Raw):
        payload = msgspec.msgpack.decode(payload)
    return payload if isinstance(payload, dict) else {}


def _do_nothing() -> None:
    """Do nothing: a turn of the room's own."""


_NOBODY: Any = None
"""Where answers go: nowhere."""
