"""The tape of a room that is recorded: notes what it is told, and never lets anybody wait.

It is a little long: all that is noted is side by side.
"""

from __future__ import annotations

import platform
import re
import secrets
import traceback
from collections.abc import Callable, Iterable
from importlib.metadata import version
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from pgnet_trio.author_lines import LIBRARIES
from pgnet_trio.codec import pack
from pgnet_trio.errors import first_error
from pgnet_trio.foreign_text import one_line
from pgnet_trio.messages import time_of, wall_clock
from pgnet_trio.recording import (
    Beginning,
    Head,
    Member,
    OpenScript,
    digest_of,
    encode_record,
    hash_seed,
)
from pgnet_trio.recording.records import (
    AnswerCame,
    AskBegan,
    ClockRead,
    Crashed,
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
    answered,
    content_of,
)
from pgnet_trio.server.causes import without_error_id
from pgnet_trio.server.recording.segments import Segment
from pgnet_trio.server.room.frozen import (
    FrozenMember,
    FrozenRoom,
    frozen_question,
    random_state,
)
from pgnet_trio.server.room.player import PacketTurn

if TYPE_CHECKING:
    from pgnet_trio.messages import Response
    from pgnet_trio.protocol.events import InputReceived
    from pgnet_trio.server.recording.writer import RecordingWriter
    from pgnet_trio.server.room.frozen import Thawing
    from pgnet_trio.server.room.kept import Kept
    from pgnet_trio.server.room.player import OpenQuestion, Player
    from pgnet_trio.server.room.room import RoomTask

__all__ = ["FROZEN_VERSION", "RecordingTape"]

FROZEN_VERSION = 1
"""The version of a `FrozenRoom` in a head."""

LONGEST_TRACEBACK = 64 * 1024
LONGEST_TEXT = 2000

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
        room: The room, once it is attached.
        random: The game's randomness; the same.
        numbers: The sessions that the room knows, and a number for each.
        round_began: When the round began in which packets have their turns at once, in seconds of
            ``trio.current_time()``.
    """

    room: RoomTask
    random: Random

    def __init__(
        self,
        writer: RecordingWriter,
        thawing: Thawing | None,
        kept: Kept,
        seed: bytes,
    ) -> None:
        self.numbers: dict[Player, int] = {}
        self.round_began = 0.0
        self._writer = writer
        self._thawing = thawing
        self._kept = kept
        self._seed = seed
        self._segment: Segment | None = None
        self._life = self._began_at = ""
        self._start = 0.0
        self._segments = 0
        self._turns = 0
        self._sessions = 0
        self._coroutines = 0
        self._scripts: dict[int, str] = {}
        self._calls = 0
        self._crashed = False
        self._is_empty = True
        # What was written of the calls that wait in the queue, and of the one about to be posted.
        self._records: dict[object, bytes] = {}
        # The fields of the last input of each player, since this file began.
        self._inputs: dict[str, dict[str, Any]] = {}
        self._described: bytes | None = None
        # Whether the save string is that of this moment: nothing has happened since.
        self._just_saved = False
        self._asks_for_save: Callable[[], None] = _do_nothing

    # Hot path: what comes for each packet.

    def note_packet(self, turn: PacketTurn) -> None:
        """Note that a packet is about to be put into the queue."""
        if self._segment is not None:
            self.write(_packet_record(turn, self.now()))

    def turn_at_once(self, turn: PacketTurn, /) -> None:
        """Note that a packet has come, and has its turn at once."""
        self._turns += 1
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
        if segment is not None and (response.payload or response.message or response.status):
            # Each failure has another id.
            text = without_error_id(response.message) if response.status else response.message
            record = answered(response.status, text, response.payload)
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
        self._coroutines += 1
        self._scripts[self._coroutines] = name
        return self._coroutines

    def forget_coroutine(self, number: int, /) -> None:
        """Note that a coroutine has ended."""
        self._scripts.pop(number, None)

    def step(self, number: int, /, *, raised: bool) -> None:
        """Note that a coroutine is about to go on."""
        self.write(encode_record(StepBegan(self.now(), number, raised)))

    def turn(self) -> None:
        """Note that the next turn in the queue is about to begin."""
        self.write(encode_record(TurnBegan(self.now())))
        self._turns += 1
        self._described = None
        if self._records:
            first = self.room.queue.turns[0]
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
        number = self.numbers.get(player)
        if number is None:
            self._sessions += 1
            number = self.numbers[player] = self._sessions
        return SessionRecord(
            number,
            player.username,
            player.online,
            player.takes_pushes,
            player.takes_player_lists,
        )

    def time(self, now: float, /) -> float:
        """Note that the game reads its room's clock."""
        self._write_more(encode_record(ClockRead(now)))
        return now

    def note_empty(self, is_empty: bool) -> None:
        """Note whether nobody is in the game any more, where that has changed."""
        if is_empty != self._is_empty:
            self._is_empty = is_empty
            self._write_more(encode_record(EmptyChanged(is_empty)))

    def count_call(self) -> int:
        """Return a number for a save or a report that the game waits for."""
        self._calls += 1
        return self._calls

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
        if self._life:
            again: Beginning = "rematch" if self.room.instance.loaded is None else "reloaded"
            beginning: Beginning = "restarted" if self._crashed else again
        elif self._thawing is not None:
            beginning = "moved"
        else:
            beginning = "new" if self.room.instance.loaded is None else "saved"
        self.end(discard=False)
        self._life = secrets.token_hex(4)
        self._began_at = wall_clock.get()().strftime("%Y%m%d%H%M%S")
        self._segments = self._turns = self._coroutines = self._calls = 0
        self._scripts.clear()
        self._crashed = self._just_saved = False
        self._is_empty = self.room.owner.is_empty()
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
        if self._segment is None:
            return
        inner = first_error(error)
        trace = "".join(traceback.format_exception(error))
        self._write_more(
            encode_record(
                Crashed(
                    self.now(),
                    type(inner).__qualname__,
                    one_line(inner, LONGEST_TEXT),
                    trace[-LONGEST_TRACEBACK:].encode(errors="replace").decode(),
                    author_lines_of(inner),
                    restarts,
                )
            )
        )
        self._crashed = True
        self._segment.end(crashed=True)
        self._segment = None

    def note_end(self, reason: str, /, *, moves: bool = False) -> None:
        """End the file, because the room takes no more turns."""
        self._write_more(encode_record(Ended(self.now(), one_line(reason), moves)))
        # A game that has refused to be made was never there.
        self.end(discard=not self.room.instance.made)
        self.numbers.clear()
        self._inputs.clear()
        self._records.clear()

    def end(self, *, discard: bool) -> None:
        """End the file, if there is one."""
        segment, self._segment = self._segment, None
        if segment is not None:
            segment.end(discard=discard)

    def _look(self, segment: Segment) -> Segment:
        """Look how much there is, before something happens; return where it is to be written."""
        segment.look()
        if segment.is_full:
            if self._just_saved:
                if not self._records and not self.room.runner.deferred.waiting:
                    segment.end()
                    segment = self._begin_segment("snapshot")
            elif not self._is_saved:
                segment.end()
                segment = self._begin_segment("cut")
        self._just_saved = False
        return segment

    @property
    def _is_saved(self) -> bool:
        instance = self.room.instance
        return not instance.made or (instance.is_persistent and instance.gives_save)

    def _ask_for_save(self) -> None:
        """Have the game asked for its save string, to go on in another file from that."""
        if self._is_saved and self.room.instance.made and self._segment is not None:
            self._asks_for_save()

    def attach(self, room: RoomTask, source: Random) -> None:
        """Begin to record a room.

        Args:
            room: The room.
            source: Its game's randomness.
        """
        self.room, self.random, self._start = room, source, room.instance.start

    def ask_for_saves_by(self, function: Callable[[], None]) -> None:
        """Set what has the game asked for its save string, in a turn. Never waits."""
        self._asks_for_save = function

    def _begin_segment(self, beginning: Beginning) -> Segment:
        self._segments += 1
        self._inputs.clear()
        waiting = self._waiting_records(beginning)
        head = self._head(beginning, len(waiting))
        table = _OTHER_CHARACTERS.sub("_", self.room.name)
        segment = Segment(
            f"{table}-{self._began_at}-{self._life}.{self._segments}",
            head,
            self._writer.recording.table_bytes // 2,
            self._writer,
            self._ask_for_save,
        )
        self._writer.add(segment)
        self._segment = segment
        for record in waiting:
            self._write_more(record)
        return segment

    def _waiting_records(self, beginning: Beginning) -> list[bytes]:
        """Return what the turns are that wait, as the one who plays them again has to know."""
        records = []
        for turn in self.room.queue.turns:
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

    def _head(self, beginning: Beginning, waiting: int) -> Head:
        room = self.room
        instance, members = room.instance, room.members
        game = self._writer.game
        is_first = beginning in ("new", "saved")
        return Head(
            package=version("pgnet_trio"),
            python=platform.python_version(),
            game=game.game,
            class_name=self._class_name,
            source=game.source,
            hash_seed=hash_seed(),
            unrepeatable=[*game.unrepeatable],
            table=room.name,
            options=dict(room.options),
            began_at=wall_clock.get()().isoformat(),
            life=self._life,
            segment=self._segments,
            beginning=beginning,
            turn=self._turns,
            time=self.now(),
            seed=self._seed,
            save_string=instance.save_string if beginning == "snapshot" else instance.loaded,
            save_version=instance.save_version,
            kept=(self._kept if is_first else members.kept(moves=True)).plain(),
            begun=room.membership.begun,
            is_empty=self._is_empty,
            members=[
                Member(
                    member.player.username,
                    member.is_spectator,
                    member.player.online,
                    self.session_of(member.player).number,
                    member.player.takes_pushes,
                    member.player.takes_player_lists,
                )
                for member in members
            ],
            frozen=None if is_first else pack(self._frozen(beginning), FROZEN_VERSION),
            scripts=[OpenScript(number, name) for number, name in self._scripts.items()],
            coroutines=self._coroutines,
            calls=self._calls,
            waiting=waiting,
        )

    @property
    def _class_name(self) -> str:
        if self.room.instance.made:
            return self.room.instance.class_name
        if self._thawing is not None:
            return self._thawing.room.game_class
        return self._writer.game.class_name

    def _frozen(self, beginning: Beginning) -> FrozenRoom:
        room = self.room
        if beginning == "moved" and self._thawing is not None:
            # What waits follows by itself.
            return msgspec.structs.replace(self._thawing.room, requests=())
        state, gauss = random_state(self.random)
        names = {member.player.username for member in room.members}
        return FrozenRoom(
            game_class=self._class_name,
            time=self.now(),
            locked=room.membership.locked,
            was_entered=room.membership.was_entered,
            random=state,
            gauss=gauss,
            # As online: whoever is away was so before, and the game is not told again.
            members=tuple(
                FrozenMember(member.player.username, member.is_spectator, True)
                for member in room.members
            ),
            questions=tuple(
                frozen_question(question)
                for question in room.questions.pending
                if beginning in ("snapshot", "reloaded") and question.player in names
            ),
            requests=(),
            answers=(),
        )


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


def author_lines_of(error: BaseException) -> list[str]:
    """Return the lines of the author's that an error goes through, the innermost last."""
    return [
        f"{frame.f_code.co_filename.rpartition('/')[2]}:{line}, in {frame.f_code.co_qualname}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not frame.f_code.co_filename.startswith(LIBRARIES)
    ][-50:]


def _do_nothing() -> None:
    """Do nothing: until the room is there, nobody is asked."""
