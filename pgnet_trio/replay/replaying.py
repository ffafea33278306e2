"""Plays a recording to a room, one record after the other, in virtual time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import trio
import trio.testing

from pgnet_trio.codec import unpack
from pgnet_trio.errors import CodecError, bare
from pgnet_trio.game import Game
from pgnet_trio.recording import (
    FROZEN_VERSION,
    RecordingError,
    SessionRecord,
    StoredRecording,
    describe_game,
    records,
)
from pgnet_trio.replay.loading import check_recording
from pgnet_trio.replay.outcomes import Outcome, TurnView
from pgnet_trio.replay.outside import Outside, begins_at_once
from pgnet_trio.replay.players import ReplayOwner
from pgnet_trio.replay.tape import ReplayTape
from pgnet_trio.replay.telling import describe_record
from pgnet_trio.server.room.frozen import FrozenRoom, Thawing
from pgnet_trio.server.room.kept import kept_of
from pgnet_trio.server.room.room import RoomTask

__all__ = ["replay"]

ROUNDING = 1e-5
"""Seconds by which a deadline may be off, because times were added up in another order."""

LEAST_STEP = 1e-12
"""Seconds: less than that could be rounded to nothing."""

MOST_DEADLINES = 100
"""Deadlines that may be so close to each other."""


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
        self._what = ""
        self._told_turn = recording.head.turn

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
        self._outside = Outside(tape, self._note_state)
        try:
            self._room = self._make_room()
        except (CodecError, ValueError) as error:
            raise RecordingError(f"{self._recording.path} begins with no table: {error}") from error
        self._room.instance.tape = tape
        self._move_to(self._head.time)
        self._room.membership.begun = self._head.begun
        try:
            async with trio.open_nursery() as nursery:
                self._outside.attach(self._room, nursery)
                try:
                    end = await self._play_all(nursery)
                finally:
                    # What waits for its turn heeds no cancellation, not even one by Ctrl-C.
                    tape.finish()
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise bare(group) from None
        return Outcome(tape.turns, tape.difference, tape.error, end)

    async def _play_all(self, nursery: trio.Nursery) -> str:
        """Play what waited, let the room run, and play the rest; return why there is no more."""
        tape = self._tape
        for _ in range(self._head.waiting):
            await self._play_next()
        tape.is_free = self._head.beginning == "snapshot"
        nursery.start_soon(self._room.run)
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
                self._outside.session(
                    SessionRecord(
                        member.number,
                        member.username,
                        member.online,
                        member.takes_pushes,
                        member.takes_player_lists,
                    )
                )
            names = [each.username for each in frozen.members]
            thawing = Thawing(frozen, {name: self._outside.player(name) for name in names})
        return RoomTask(
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
                    break
                continue
            if _goes_on_elsewhere(record):
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
        return self._end()

    def _end(self) -> str:
        """Return why there is nothing more to play, for people."""
        tape = self._tape
        if tape.error is not None:
            return "the game has raised"
        if not tape.finished.is_set() and (problem := self._recording.problem):
            return f"the recording ends here: {problem}"
        if tape.end_reason is not None:
            return f"the game is over: {tape.end_reason}"
        if tape.finished.is_set():
            return "the game is over"
        return "the recording ends here, and the game goes on"

    def _is_turn(self, record: records.Record) -> bool:
        if isinstance(record, records.TurnBegan):
            return True
        following = self._recording.records[self._tape.position + 1 :][:1]
        return isinstance(record, records.PacketCame) and any(map(begins_at_once, following))

    async def _play_next(self) -> None:
        tape = self._tape
        record = tape.next
        assert record is not None
        match record:
            case records.TurnBegan(time=None):
                tape.differ(describe_record(record), "no packet")
            case records.TurnBegan():
                await self._let_go(record, ("turn", None))
            case records.StepBegan(number=number):
                key = ("step", number)
                if not tape.is_waiting(key) and tape.is_waiting(tape.caller_gate(number)):
                    # In the middle of a save: it goes on with that, and comes to its own gate.
                    tape.open_gate(tape.caller_gate(number))
                await self._let_go(record, key)
            case records.AskBegan(player=player):
                await self._let_go(record, ("ask", player))
            case records.Due(what=what):
                self._what = describe_record(record)
                await self._let_go(record, ("due", what))
            case _:
                position = tape.position
                # What has to come before it comes first: a deadline, say, or the rest of a turn.
                await self._reach(record)
                if tape.position != position or tape.finished.is_set():
                    return
                self._what = describe_record(record)
                await self._outside.carry_out(record)

    async def _reach(self, record: records.Record) -> None:
        time = getattr(record, "time", None)
        if time is not None and time != math.inf:
            self._move_to(time)
            if trio.lowlevel.current_statistics().seconds_to_next_deadline <= 0:
                await self._settle()

    async def _let_go(self, record: records.Record, key: tuple[str, object]) -> None:
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
            if isinstance(record, records.StepBegan):
                what = f"the next step of {tape.name_of(record.number)}"
            tape.differ(what, self._outside.what_runs())
            return
        tape.take()
        tape.open_gate(key)
        await self._settle()

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


def _goes_on_elsewhere(record: records.Record) -> bool:
    """Return whether what follows is in no recording, or in another one."""
    return isinstance(record, records.Gap) or (isinstance(record, records.Ended) and record.moves)
