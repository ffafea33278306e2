"""The tape of a room that is played again: has its code run in the recorded order, and compares."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import trio

from pgnet_trio.foreign_text import one_line
from pgnet_trio.recording import crash_of, digest_of, encode_record
from pgnet_trio.recording.records import (
    FROM_OUTSIDE,
    AskBegan,
    BotEnded,
    CallEnded,
    ClockRead,
    Crashed,
    EmptyChanged,
    Ended,
    Gap,
    Pushed,
    QuestionAsked,
    Shown,
    StepBegan,
    TurnBegan,
    content_of,
    decode_records,
)
from pgnet_trio.replay.outcomes import Difference
from pgnet_trio.replay.telling import describe_record
from pgnet_trio.server.recording.tape import answer_record

if TYPE_CHECKING:
    from pgnet_trio.messages import Response
    from pgnet_trio.recording import Head, Record
    from pgnet_trio.server.room.player import OpenQuestion, PacketTurn

__all__ = ["ReplayTape"]

UNKNOWN_COROUTINES = 10**9
"""Numbers from here on are those of coroutines that the recording does not know."""

Key = tuple[str, Any]


class ReplayTape:
    """Plays records to one room.

    Args:
        head: How the recording begins.
        records: What follows.
        move_to: Moves the clock to a moment of the room's time.
        until: After which turn to stop; None for none.
        compares_lines: Whether the game's file is as it was recorded, so that lines are the same.

    Attributes:
        position: How many records were played.
        turns: How many turns of the table's life have begun.
        now: The room's time of the last record.
        difference: Where it first differs; None for nowhere yet.
        error: What the game raised.
        end_reason: Why the game is over; None where it is not.
        finished: Set when there is nothing more to play.
        is_free: Whether code runs in any order, and nothing is compared: until a game that begins
            in the middle is at rest.
        is_empty: Whether no user is in the game.
    """

    def __init__(
        self,
        head: Head,
        records: Sequence[Record],
        move_to: Callable[[float], None],
        *,
        until: int | None = None,
        compares_lines: bool = True,
    ) -> None:
        self.position = 0
        self.turns = head.turn
        self.now = head.time
        self.difference: Difference | None = None
        self.error: BaseException | None = None
        self.end_reason: str | None = None
        self.finished = trio.Event()
        self.is_free = False
        self.is_empty = head.is_empty
        self._records = records
        self._move_to = move_to
        self._until = until
        self._compares_lines = compares_lines
        self._coroutines = head.coroutines
        self._names: dict[int, str] = {}
        self._unknown = itertools.count(UNKNOWN_COROUTINES)
        self._open = deque(head.scripts)
        self._gates: dict[Key, deque[trio.lowlevel.Task]] = {}
        self._calls = itertools.count(head.calls + 1)
        # Which coroutine goes on just now, and which call each has made last.
        self._current = 0
        self._calling: dict[int, int] = {}
        self._limits: dict[int, trio.CancelScope] = {}
        self._has_begun = False

    # What plays the records.

    @property
    def next(self) -> Record | None:
        """The record that is to be played next; None at the end."""
        if self.position < len(self._records):
            return self._records[self.position]
        return None

    @property
    def is_at_stop(self) -> bool:
        """Whether the next turn is one too many."""
        return self._until is not None and self.turns >= self._until

    def take(self) -> None:
        """Go on to the next record."""
        record = self._records[self.position]
        self.position += 1
        time = getattr(record, "time", None)
        if time is not None and time > self.now:
            self.now = time
            self._move_to(time)
        if isinstance(record, TurnBegan):
            self.turns += 1

    def is_waiting(self, key: Key) -> bool:
        """Return whether anything waits for its turn there."""
        return bool(self._gates.get(key))

    def open_gate(self, key: Key) -> bool:
        """Let what waits for its turn go on; return whether anything did."""
        waiting = self._gates.get(key)
        if not waiting:
            return False
        if key[0] == "step":
            self._current = key[1]
        trio.lowlevel.reschedule(waiting.popleft())
        return True

    def finish(self) -> None:
        """Note that there is nothing more to play."""
        self.finished.set()
        # They wait for the end then, which may have come to some of them as a cancellation before.
        self.open_all_gates()

    def open_all_gates(self) -> None:
        """Let all that waits for its turn go on."""
        for waiting in self._gates.values():
            while waiting:
                trio.lowlevel.reschedule(waiting.popleft())

    def differ(self, expected: str, got: str) -> None:
        """Note a difference; the first one ends the replay."""
        if self.difference is None and not self.finished.is_set():
            self.difference = Difference(self.turns, self.now, expected, got)
        self.finish()

    def waiting_lines(self) -> str:
        """Return which coroutines there are, for people."""
        return ", ".join(dict.fromkeys(self._names.values())) or "nothing"

    def name_of(self, number: int) -> str:
        """Return the name of a coroutine."""
        return self._names.get(number, f"coroutine {number}")

    async def call_result(self) -> CallEnded:
        """Wait until the save or report that the game has just asked for is through.

        It waits as often as the game did: each time is a step of the coroutine that asked.
        """
        number = next(self._calls)
        caller = self._calling[self._current] = number
        while not (isinstance(record := self.next, CallEnded) and record.number == number):
            await self._wait(("call", caller), may_be_cancelled=True)
        self.take()
        return record

    def caller_gate(self, coroutine: int) -> Key:
        """Return where a coroutine waits for the last save or report that it has asked for."""
        return "call", self._calling.get(coroutine)

    async def bot_end(self, name: str) -> None:
        """Wait until a bot plays no more."""
        await self._wait(("bot", name), may_be_cancelled=True)

    def note_bot_end(self, record: BotEnded) -> None:
        """Let a bot play no more."""
        self.open_gate(("bot", record.name))

    def read_empty(self) -> bool:
        """Return whether no user is in the game now."""
        if isinstance(self.next, EmptyChanged):
            self.is_empty = self.next.is_empty
            self.take()
        return self.is_empty

    def question_ids(self) -> Iterator[int]:
        """Yield the id that each question had."""
        for unknown in itertools.count(UNKNOWN_COROUTINES):
            record = self.next
            yield record.id if isinstance(record, QuestionAsked) else unknown

    # What the room tells: see `pgnet_trio.server.room.tape.Tape`.

    def begin(self) -> None:
        """Begin with a game; another one after that is in another recording."""
        if self._has_begun:
            self.finish()
        self._has_begun = True

    def count_coroutine(self, name: str, /) -> int:
        """Return a number for a coroutine."""
        if self.is_free:
            # One that was under way when the recording began, as far as names tell.
            known = next((each for each in self._open if each.name == name), None)
            if known is None:
                number = next(self._unknown)
            else:
                self._open.remove(known)
                number = known.number
        else:
            self._coroutines += 1
            number = self._coroutines
        self._names[number] = name
        return number

    def forget_coroutine(self, number: int, /) -> None:
        """Forget a coroutine that has ended."""
        self._names.pop(number, None)

    def step(self, number: int, /, *, raised: bool) -> Awaitable[None] | None:
        """Let a coroutine go on when it is its turn."""
        record = self.next
        if self.is_free or (isinstance(record, StepBegan) and record.number == number):
            self._pass()
            self._current = number
            return None
        return self._wait(("step", number))

    def turn_at_once(self, turn: PacketTurn, /) -> None:
        """Note that the packet that has come has its turn at once."""
        self._expect(TurnBegan(), "the turn of this packet")

    def turn(self) -> Awaitable[None] | None:
        """Let the next turn begin when it is recorded."""
        record = self.next
        is_next = isinstance(record, TurnBegan) and record.time is not None
        if self.is_free or (is_next and not self.is_at_stop):
            self._pass()
            return None
        return self._wait(("turn", None))

    def ask(self, player: str, /) -> Awaitable[None] | None:
        """Let the game ask somebody when it is recorded."""
        record = self.next
        if self.is_free or (isinstance(record, AskBegan) and record.player == player):
            self._pass()
            return None
        return self._wait(("ask", player))

    def time(self, now: float, /) -> float:
        """Return what the game has read from its room's clock."""
        if self.is_free:
            return now
        record = self.next
        if not isinstance(record, ClockRead):
            self._differ_from_next("a reading of room.time()")
            return now
        self.take()
        return record.value

    async def wait_until_due(self, what: str, deadline: float, /) -> float:
        """Wait until the recording says that the time has come; return the room's time then."""
        await self._wait(("due", what), may_be_cancelled=True)
        return self.now

    def note_other_turn(self) -> None:
        """Do nothing: what another server wants of the table does not come from the room."""

    def note_question(self, question: OpenQuestion, /) -> None:
        """Compare a question."""
        if not question.is_adopted and not self.is_free:
            data = encode_record((question.packet.message, question.packet.payload))
            got = f"the question {question.packet.message!r} to {question.player}"
            self._expect(QuestionAsked(question.id, question.player, digest_of(data)), got)

    def limit(self, question: int, deadline: float, /) -> trio.CancelScope:
        """Return a scope that ends when the recording says so."""
        scope = self._limits[question] = trio.CancelScope()
        return scope

    def note_silence(self, question: int, /) -> None:
        """Do nothing: the recording has said so."""

    def end_time(self, question: int) -> None:
        """Let the time for a question be up."""
        scope = self._limits.pop(question, None)
        if scope is not None:
            scope.cancel()

    def note_answer(self, response: Response, /) -> None:
        """Compare an answer."""
        if not self.is_free and (record := answer_record(response)):
            (got,) = decode_records(record, 1)
            self._expect(got, describe_record(got))

    def note_push(self, receivers: Iterable[str], envelope: bytes, /) -> None:
        """Compare a push."""
        if not self.is_free:
            names = list(receivers)
            digest = digest_of(envelope, *(name.encode() for name in names))
            record = Pushed(digest, content_of(envelope))
            self._expect(record, f"{describe_record(record)} to {', '.join(names)}")

    def note_states(self, changes: Iterable[tuple[str, bytes]], /) -> None:
        """Compare states."""
        if not self.is_free:
            digest = 0
            for name, change in changes:
                digest ^= digest_of(name.encode(), change)
            record = Shown(digest)
            self._expect(record, describe_record(record))

    def note_crash(self, error: BaseException, /, *, restarts: bool) -> None:
        """Compare what the game raised; nothing follows that."""
        if self.finished.is_set():
            return
        self.error = error
        crash = crash_of(error, self.now, restarts=restarts)
        self._skip_to_crash()
        record = self.next
        if not isinstance(record, Crashed):
            self._differ_from_next(f"an error, {describe_record(crash)}")
        elif (record.kind, record.text) != (crash.kind, crash.text):
            self._differ_from_next(describe_record(crash))
        elif self._places(record.place) != self._places(crash.place):
            # The innermost that is another one.
            expected, found = next(
                (one, other)
                for one, other in itertools.zip_longest(
                    reversed(record.place), reversed(crash.place), fillvalue="no more line"
                )
                if one != other
            )
            self.differ(f"{describe_record(record)} at {expected}", f"it at {found}")
        else:
            self.take()
        self.finish()

    def note_end(self, reason: str, /, *, moves: bool = False) -> None:
        """Compare the end."""
        if not self.finished.is_set():
            self.end_reason = reason
            self._expect(Ended(0.0, one_line(reason)), f"the end: {one_line(reason)}")

    def note_over(self) -> None:
        """Note that nothing of the game is left."""
        if not self.finished.is_set():
            # What came from outside since meant nothing to it any more.
            rest = (*FROM_OUTSIDE, EmptyChanged, Gap)
            while self.next is not None and isinstance(self.next, rest):
                self.position += 1
            if self.next is not None:
                self._differ_from_next("the end of all that is under way")
            self.finish()

    def _skip_to_crash(self) -> None:
        """Leave out what came when the game had raised, and had not ended yet.

        That is what came from outside, and the steps of what was cancelled by it.
        """
        position, left_out = self.position, (*FROM_OUTSIDE, StepBegan)
        while position < len(self._records) and isinstance(self._records[position], left_out):
            position += 1
        if position < len(self._records) and isinstance(self._records[position], Crashed):
            self.position = position

    def _places(self, lines: Sequence[str]) -> list[str]:
        if self._compares_lines:
            return list(lines)
        return [line.partition(", in ")[2] for line in lines]

    def _pass(self) -> None:
        if not self.is_free:
            self.take()

    def _expect(self, got: Record, what: str) -> None:
        """Compare what the room says with the next record."""
        record = self.next
        if isinstance(record, Ended) and isinstance(got, Ended):
            same = record.reason == got.reason
        else:
            same = record == got
        if same:
            self.take()
        else:
            self._differ_from_next(what)

    def _differ_from_next(self, got: str) -> None:
        record = self.next
        self.differ("nothing more" if record is None else describe_record(record), got)

    def _wait(self, key: Key, *, may_be_cancelled: bool = False) -> Awaitable[None]:
        return self._wait_at(key, may_be_cancelled)

    async def _wait_at(self, key: Key, may_be_cancelled: bool) -> None:
        """Wait until a gate is opened.

        What waits for its turn has been woken already, so no cancellation reaches it here: one of
        the game's own has to come when it goes on.
        """
        if not self.finished.is_set():
            task = trio.lowlevel.current_task()
            waiting = self._gates.setdefault(key, deque())
            waiting.append(task)

            def abort(_: Any) -> trio.lowlevel.Abort:
                if may_be_cancelled:
                    waiting.remove(task)
                    return trio.lowlevel.Abort.SUCCEEDED
                return trio.lowlevel.Abort.FAILED

            await trio.lowlevel.wait_task_rescheduled(abort)
        if self.finished.is_set():
            await trio.sleep_forever()
