"""The tape of a room that is recorded: notes what it is told, and never lets anybody wait."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from pgnet_trio.foreign_text import one_line
from pgnet_trio.messages import time_of, wall_clock
from pgnet_trio.recording import Beginning, crash_of, digest_of, encode_record
from pgnet_trio.recording.records import (
    LONGEST_CONTENT,
    AnswerCame,
    Answered,
    AnsweredLong,
    AskBegan,
    ClockRead,
    Due,
    EmptyChanged,
    EmptyChecked,
    Ended,
    InputCame,
    OtherTurn,
    PacketCame,
    Pushed,
    QuestionAsked,
    SessionRecord,
    Shown,
    StepBegan,
    TimeIsUp,
    TurnBegan,
    content_of,
)
from pgnet_trio.server.causes import without_error_id
from pgnet_trio.server.recording.beginning import Beginnings, Life
from pgnet_trio.server.recording.segments import Segment
from pgnet_trio.server.room.player import PacketTurn

if TYPE_CHECKING:
    from random import Random

    from pgnet_trio.messages import Response
    from pgnet_trio.protocol.events import InputReceived
    from pgnet_trio.server.recording.writer import RecordingWriter
    from pgnet_trio.server.room.frozen import Thawing
    from pgnet_trio.server.room.kept import Kept
    from pgnet_trio.server.room.player import OpenQuestion, Player
    from pgnet_trio.server.room.room import RoomTask

__all__ = ["RecordingTape", "answer_record"]

_AT_ONCE = encode_record(TurnBegan())
_OTHER_CHARACTERS = re.compile("[^A-Za-z0-9]+")


class RecordingTape:
    """Records one room: each life of its game in one or more files.

    Args:
        writer: Writes the files.
        thawing: What the game goes on with that has moved here; None for nothing.
        kept: What an earlier room of it had.
        seed: What the game's randomness is made of.

    Attributes:
        round_began: When the round began in which packets have their turns at once, in seconds of
            ``trio.current_time()``.
    """

    _room: RoomTask

    def __init__(
        self,
        writer: RecordingWriter,
        thawing: Thawing | None,
        kept: Kept,
        seed: bytes,
    ) -> None:
        self.round_began = 0.0
        self._writer = writer
        self._beginnings = Beginnings(writer.game, thawing, kept, seed)
        self._segment: Segment | None = None
        self._life = Life()
        self._start = 0.0
        # What was written of the calls that wait in the queue, and of the one about to be posted.
        self._records: dict[object, bytes] = {}
        # The fields of the last input of each player, since this file began.
        self._inputs: dict[str, dict[str, Any]] = {}
        self._described: bytes | None = None
        # Whether the save string is that of this moment: nothing has happened since.
        self._just_saved = False
        self._asks_for_save: Callable[[], None] | None = None

    # Hot path: what comes for each packet.

    def note_packet(self, turn: PacketTurn) -> None:
        """Note that a packet is about to be put into the queue."""
        if self._segment is not None:
            self.write(_packet_record(turn, self.now()))

    def turn_at_once(self, turn: PacketTurn, /) -> None:
        """Note that a packet has come, and has its turn at once."""
        self._life.turns += 1
        segment = self._segment
        if segment is None:
            return
        # As `write`, without a call for each packet; and nothing comes between the two.
        if segment.size > segment.mark:
            segment = self._look(segment)
        record = _packet_record(turn, self.round_began - self._start)
        segment.pending += (record, _AT_ONCE)
        segment.size += len(record) + len(_AT_ONCE)

    def write(self, record: bytes) -> None:
        """Write what happens; before it, perhaps, the beginning of another file."""
        segment = self._segment
        if segment is None:
            return
        if segment.size > segment.mark:
            segment = self._look(segment)
        segment.pending.append(record)
        segment.size += len(record)

    def note_answer(self, response: Response, /) -> None:
        """Note how a packet is answered; what is empty, as most answers are, is left out."""
        segment = self._segment
        if segment is not None:
            record = answer_record(response)
            if record:
                segment.pending.append(record)
                segment.size += len(record)

    def now(self) -> float:
        """Return the room's time."""
        return trio.current_time() - self._start

    def _write_more(self, record: bytes) -> None:
        """Write what follows from what was written last."""
        segment = self._segment
        if segment is not None:
            segment.pending.append(record)
            segment.size += len(record)

    def note_input(self, player: str, given: InputReceived) -> None:
        """Note what a player does in one tick; fields that have not changed are left out."""
        payload: dict[str, Any] | None = given.payload
        if self._inputs.get(player) is payload:
            payload = None
        elif self._segment is not None:
            self._inputs[player] = given.payload
        self.write(encode_record(InputCame(self.now(), player, given.number, given.seen, payload)))

    # The order in which code runs.

    def count_coroutine(self, name: str, /) -> int:
        """Return a number for a coroutine of the game."""
        life = self._life
        life.coroutines += 1
        life.scripts[life.coroutines] = name
        return life.coroutines

    def forget_coroutine(self, number: int, /) -> None:
        """Note that a coroutine has ended."""
        self._life.scripts.pop(number, None)

    def step(self, number: int, /, *, raised: bool) -> None:
        """Note that a coroutine is about to go on."""
        self.write(encode_record(StepBegan(self.now(), number, raised)))

    def turn(self) -> None:
        """Note that the next turn in the queue is about to begin."""
        self.write(encode_record(TurnBegan(self.now())))
        self._life.turns += 1
        self._described = None
        if self._records:
            first = self._room.queue.turns[0]
            if not isinstance(first, PacketTurn):
                self._records.pop(first, None)

    def ask(self, player: str, /) -> None:
        """Note that the game is about to ask somebody."""
        self.write(encode_record(AskBegan(self.now(), player)))

    async def wait_until_due(self, what: str, deadline: float, /) -> float:
        """Wait for a moment, and note that it has come; return the room's time."""
        await trio.sleep_until(deadline)
        now = self.now()
        self.describe(Due(now, what))
        return now

    def note_other_turn(self) -> None:
        """Note that a turn is queued in which none of the game's code runs."""
        self.describe(OtherTurn(self.now()))

    # What comes from outside.

    def describe(self, record: Any) -> None:
        """Note what comes from outside; a call that is posted next is for that."""
        self._described = None
        data = encode_record(record)
        self.write(data)
        self._described = data

    def note_call(self, call: object) -> None:
        """Note that a call is posted to the queue."""
        if self._described is not None:
            self._records[call] = self._described
            self._described = None

    def note_question_answer(self, turn: PacketTurn, question: int) -> None:
        """Note that an answer to a question has come."""
        packet = turn.packet
        payload: Any = packet.payload if turn.packed is None else msgspec.Raw(turn.packed)
        record = AnswerCame(
            self.now(),
            turn.player.username,
            question,
            packet.message,
            payload,
            time_of(packet),
            turn.size,
        )
        self.write(encode_record(record))

    def session_of(self, player: Player) -> SessionRecord:
        """Return a session as it is written down."""
        return self._beginnings.sessions.record_of(player)

    def time(self, now: float, /) -> float:
        """Note that the game reads its room's clock."""
        self._write_more(encode_record(ClockRead(now)))
        return now

    def note_empty(self, is_empty: bool) -> None:
        """Note whether nobody is in the game any more, where that has changed."""
        if is_empty != self._life.is_empty:
            self._life.is_empty = is_empty
            self._write_more(encode_record(EmptyChanged(is_empty)))

    def count_call(self) -> int:
        """Return a number for a save or a report that the game waits for."""
        self._life.calls += 1
        return self._life.calls

    # What the room says.

    def note_question(self, question: OpenQuestion, /) -> None:
        """Note what a player is asked; the same question as before is not asked again."""
        if question.is_adopted:
            return
        data = encode_record((question.packet.message, question.packet.payload))
        self._write_more(
            encode_record(QuestionAsked(question.id, question.player, digest_of(data)))
        )

    def limit(self, question: int, deadline: float, /) -> trio.CancelScope:
        """Return the scope in which the game waits for the answer to a question."""
        return trio.CancelScope(deadline=deadline)

    def note_silence(self, question: int, /) -> None:
        """Note that the time for a question is up."""
        self.describe(TimeIsUp(self.now(), question))

    def note_push(self, receivers: Iterable[str], envelope: bytes, /) -> None:
        """Note what is pushed, and to whom."""
        digest = digest_of(envelope, *(name.encode() for name in receivers))
        self._write_more(encode_record(Pushed(digest, content_of(envelope))))

    def note_states(self, changes: Iterable[tuple[str, bytes]], /) -> None:
        """Note which states have changed."""
        digest = 0
        for name, change in changes:
            digest ^= digest_of(name.encode(), change)
        self._write_more(encode_record(Shown(digest)))

    # The files: how they begin, and how they end.

    def begin(self) -> None:
        """Begin with a game that is about to be made."""
        beginning = self._beginnings.next(self._life)
        self._end_segment()
        self._life = Life(
            secrets.token_hex(4),
            wall_clock.get()().strftime("%Y%m%d%H%M%S"),
            is_empty=self._room.owner.is_empty(),
        )
        self._just_saved = False
        self._begin_segment(beginning)

    def note_saved(self) -> None:
        """Note that the game was asked for its save string just now, in a turn of its own."""
        segment = self._segment
        if segment is not None and segment.is_full:
            self._just_saved = True
            # The next thing that happens begins with a look at it.
            segment.mark = -1

    def note_crash(self, error: BaseException, /, *, restarts: bool) -> None:
        """End the file with what the game raised."""
        if self._segment is not None:
            self._write_more(encode_record(crash_of(error, self.now(), restarts=restarts)))
            self._life.crashed = True
            self._end_segment(crashed=True)

    def note_end(self, reason: str, /, *, moves: bool = False) -> None:
        """Note that the room takes no more turns: what is under way may still raise."""
        self._write_more(encode_record(Ended(self.now(), one_line(reason), moves)))
        # A game that has refused to be made was never there.
        if moves or not self._room.instance.made:
            self._end_segment(discard=not moves)

    def note_over(self) -> None:
        """End the file: nothing of the game is left."""
        self._end_segment()
        self._beginnings.sessions.clear()
        self._inputs.clear()
        self._records.clear()

    def _end_segment(self, *, crashed: bool = False, discard: bool = False) -> None:
        segment, self._segment = self._segment, None
        if segment is not None:
            segment.end(crashed=crashed, discard=discard)

    def _look(self, segment: Segment) -> Segment:
        """Look how much there is, before something happens; return where it is to be written."""
        segment.look()
        if segment.is_full:
            if self._just_saved:
                if not self._records and not self._room.runner.deferred.waiting:
                    segment.end()
                    segment = self._begin_segment("snapshot")
            elif not self._is_saved:
                segment.end()
                segment = self._begin_segment("cut")
        self._just_saved = False
        return segment

    @property
    def _is_saved(self) -> bool:
        instance = self._room.instance
        return not instance.made or (instance.is_persistent and instance.gives_save)

    def _ask_for_save(self) -> None:
        """Have the game asked for its save string, to go on in another file from that."""
        is_made, ask = self._room.instance.made, self._asks_for_save
        if self._is_saved and is_made and self._segment is not None and ask is not None:
            ask()

    def attach(self, room: RoomTask, source: Random) -> None:
        """Begin to record a room.

        Args:
            room: The room.
            source: Its game's randomness.
        """
        self._room, self._start = room, room.instance.start
        self._beginnings.attach(room, source)

    def ask_for_saves_by(self, function: Callable[[], None]) -> None:
        """Set what has the game asked for its save string, in a turn. Never waits."""
        self._asks_for_save = function

    def _begin_segment(self, beginning: Beginning) -> Segment:
        life = self._life
        life.segments += 1
        self._inputs.clear()
        waiting = self._waiting_records()
        table = _OTHER_CHARACTERS.sub("_", self._room.name)
        segment = Segment(
            f"{table}-{life.began_at}-{life.name}.{life.segments}",
            self._beginnings.head(beginning, life, len(waiting)),
            self._writer.recording.table_bytes // 2,
            self._writer,
            self._ask_for_save,
        )
        self._writer.add(segment)
        self._segment = segment
        for record in waiting:
            self._write_more(record)
        return segment

    def _waiting_records(self) -> list[bytes]:
        """Return what the turns are that wait, as the one who plays them again has to know."""
        records = []
        for turn in self._room.queue.turns:
            if isinstance(turn, PacketTurn):
                records.append(_packet_record(turn, self.now()))
                continue
            known = self._records.get(turn)
            if known is not None and known[1:2] != _DUE:
                records.append(known)
            elif turn.may_be_last:
                records.append(encode_record(EmptyChecked(self.now())))
            else:
                records.append(encode_record(OtherTurn(self.now())))
        return records


_DUE = encode_record(Due(0.0, ""))[1:2]


def _packet_record(turn: PacketTurn, time: float) -> bytes:
    packet, packed = turn.packet, turn.packed
    return encode_record(
        PacketCame(
            time,
            turn.player.username,
            packet.message,
            packet.payload if packed is None else msgspec.Raw(packed),
            time_of(packet),
            turn.quiet,
            turn.size,
        )
    )


def answer_record(response: Response) -> bytes:
    """Return the record of an answer; no bytes for an empty one, as most answers are."""
    status, message = response.status, response.message
    payload: Any = response.payload
    if not (payload or message or status):
        return b""
    if status:
        # Each failure has another id.
        message = without_error_id(message)
    try:
        record = encode_record(Answered(status, message, payload))
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError):
        # It cannot travel either; the player is told that.
        return encode_record(AnsweredLong(0))
    if len(record) > LONGEST_CONTENT:
        return encode_record(AnsweredLong(digest_of(record)))
    return record
