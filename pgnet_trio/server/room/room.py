"""The task that owns one game, and runs its turns one at a time."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import trio

from pgnet_trio.errors import bare
from pgnet_trio.messages import Response, explicit_time
from pgnet_trio.server.refusals import GONE, SHUTTING_DOWN, JoinRefused
from pgnet_trio.server.room.backend import Backend
from pgnet_trio.server.room.bots import Bots
from pgnet_trio.server.room.deferred import Wishes
from pgnet_trio.server.room.dispatch import Responder
from pgnet_trio.server.room.instance import Hosted
from pgnet_trio.server.room.members import Members
from pgnet_trio.server.room.membership import Attendance
from pgnet_trio.server.room.player import PacketTurn
from pgnet_trio.server.room.publisher import News
from pgnet_trio.server.room.questions import Questions
from pgnet_trio.server.room.queue import Errand, Inbox
from pgnet_trio.server.room.runner import Steps
from pgnet_trio.server.room.scripts import ScriptNursery, in_turn, run_script
from pgnet_trio.server.room.ticker import Ticks
from pgnet_trio.server.watchdog import Watchdog

if TYPE_CHECKING:
    from pgnet_trio.game import Game
    from pgnet_trio.server.room.owner import RoomOwner

__all__ = ["RoomTask"]

logger = logging.getLogger("pgnet_trio.server")

TURN_DEADLINE = 2.0
"""Seconds that a turn in progress gets to end, once its room has to close."""

RESTARTS = 3
"""How often a game that raises is restarted within `RESTART_WINDOW`, before it is closed."""

RESTART_WINDOW = 60.0
"""Seconds."""

LONGEST_HOLD = 0.001
"""Seconds for which an answer may wait for those of the next turns, to leave with them."""

TURNS_IN_A_ROW = 16
"""Turns after which other tasks get theirs."""

CRASHED = "The game crashed."


class RoomTask:
    """Owns one game: everything that the game does is done by this room's task.

    The methods of a room are called from other tasks; those that are plain functions never
    wait. What the room learns from its game it publishes in its attributes. Its parts, each of
    which has a module of its own:

    - `Hosted`: the game itself.
    - `Inbox`: the turns that wait.
    - `Steps`, `Responder`, `Ticks`: what a turn runs.
    - `News`: what it makes known.
    - `Wishes`: what it has asked for that comes after it.
    - `Attendance`, `Members`, `Bots`: who comes and goes.
    - `Questions`: what players are asked.
    - `Backend`: what the author sees of all this.

    Args:
        name: The game's name.
        make_game: Makes the game, from a save string or None; called in the room's task.
        options: What the game was created with.
        seed: Seeds the game's randomness.
        save_string: What the game was last saved as; None for a new game.
        question_ids: Gives the ids of all questions of the server's games.
        owner: Keeps the room.
        watchdog: Is told whose code runs.

    Attributes:
        name: The game's name.
        options: What the game was created with.
        crashed: Whether the game was ended by raising, or by a cancellation, and is not over.
        members: Who is in the game.
        ended: Set when the room's task is over.
        handle: Has the game answer a packet; the player gets the answer when its turn is over.
        join: Has a user join; for this and the next, see the same names of `Attendance`.
        leave: Has a member leave.
        drop: Notes that a player's connection dropped.
        resume: Notes that they are back.
        introduce: Shows everything to another client of theirs.
        close_if_empty: Ends a game that nobody is in.
    """

    def __init__(
        self,
        name: str,
        make_game: Callable[[str | None], Game],
        *,
        options: Mapping[str, Any] = MappingProxyType({}),
        seed: int | bytes | None = None,
        save_string: str | None = None,
        question_ids: Iterator[int],
        owner: RoomOwner,
        watchdog: Watchdog | None = None,
    ) -> None:
        self.name = name
        self.options: Mapping[str, Any] = MappingProxyType(dict(options))
        self.crashed = False
        self.members = Members()
        self.ended = trio.Event()
        self._owner = owner
        self._hosted = Hosted(name, make_game, save_string, watchdog or Watchdog(None))
        self._inbox = Inbox(self._hosted)
        self.handle: Callable[[PacketTurn], None] = self._inbox.put
        self._news = News(self._hosted, self.members, self._inbox)
        self._wishes = Wishes(self._inbox, send_away=self._send_away, close=self.close)
        self._steps = Steps(self._hosted, self._inbox, self._news, self._wishes)
        self._respond = Responder(self._hosted, self.members, self._steps.hook).respond
        self._ticks = Ticks(self._hosted, self._inbox)
        self._questions = Questions(self._hosted.start, question_ids)
        bots = Bots(owner, self._hosted)
        self._attendance = Attendance(
            self._hosted,
            self._inbox,
            self._news,
            self._steps,
            members=self.members,
            questions=self._questions,
            bots=bots,
            owner=owner,
            close=self.close,
        )
        self.join = self._attendance.join
        self.leave = self._attendance.leave
        self.drop = self._attendance.drop
        self.resume = self._attendance.resume
        self.catch_up = self._attendance.catch_up
        self.introduce = self._attendance.introduce
        self.close_if_empty = self._attendance.close_if_empty
        self._backend = Backend(
            self._hosted,
            self._inbox,
            self._news,
            self._wishes,
            self._attendance,
            members=self.members,
            questions=self._questions,
            bots=bots,
            options=self.options,
            seed=seed,
            owner=owner,
        )
        self._started = False
        self._scope = trio.CancelScope()
        self._saves_at_end = False
        self._crashes: deque[float] = deque(maxlen=RESTARTS)
        # The turn in progress, while its player waits for the answer.
        self._unanswered: PacketTurn | None = None

    # What the server's other tasks see, and call.

    @property
    def info(self) -> str:
        """What the game says about itself to those who look for one."""
        return self._news.info

    @property
    def save_string(self) -> str | None:
        """What the game last gave to be saved.

        None before it was asked, empty when it is not persistent.
        """
        return self._hosted.save_string

    @property
    def is_persistent(self) -> bool:
        """Whether the game wanted to be saved when it was made."""
        return self._hosted.is_persistent

    @property
    def missed_ticks(self) -> int:
        """How many updates were skipped because the one before was late."""
        return self._ticks.missed

    @property
    def busy(self) -> object:
        """What of the game's code runs now, another object each time; None for nothing."""
        return self._hosted.busy

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Make the game, and run it until the room is closed or the game raises.

        Nothing that the game raises comes out, except what ends the whole program
        (``KeyboardInterrupt``, ``SystemExit``). Started once the game was made, or failed to be.
        Cancellation ends the turn in progress.
        """
        self._inbox.task = trio.lowlevel.current_task()
        self._hosted.save_string = None
        try:
            with self._scope:
                while not await self._play_to_the_end(task_status):
                    self._hosted.loaded = self._hosted.save_string or self._hosted.loaded
        finally:
            if self._inbox.end_reason is None:
                # Only a cancellation, or what ends the whole program, ends a room that nobody
                # closed; its game is not over.
                self.crashed = True
            self.close(GONE)
            # A script that was cancelled has left its last step here.
            self._hosted.busy = None
            if self._hosted.watchdog.room is self._hosted:
                # Else an ended game would stay in memory until another one runs.
                self._hosted.watchdog.room = None
            self._refuse_unanswered()
            self._inbox.refuse_all()
            self.ended.set()
        if not self._started:
            task_status.started()

    def handle_answer(self, turn: PacketTurn, question_id: int) -> None:
        """Take the answer to a question; this goes round the queue, and never waits."""
        busy, self._hosted.busy = self._hosted.busy, turn
        self._hosted.watchdog.room = self._hosted
        try:
            response = self._questions.take_answer(turn.player.username, question_id, turn.packet)
        finally:
            self._hosted.busy = busy
        turn.player.answer(turn, response)
        turn.player.flush()
        if self._news.pushes or self._wishes.waiting:
            self._inbox.poke()

    @property
    def lobby_extras(self) -> dict[str, Any]:
        """What the directory of games shows beyond PGNet's, where it is not as by default."""
        extras: dict[str, Any] = {}
        try:
            most = self._hosted.game.max_players if self._hosted.made else None
        except Exception as error:
            self._hosted.fail(error)
            most = None
        if most is not None:
            extras["max_players"] = most
        if self._attendance.locked:
            extras["locked"] = True
        if self.options:
            extras["options"] = dict(self.options)
        return extras

    async def take_save_string(self) -> None:
        """Have `save_string` brought up to date, and wait for it.

        Raises:
            RoomClosed: The game ended before that.
        """
        await self._inbox.wait_for(self._inbox.post(self._hosted.take_save_string))

    def close(self, reason: str, kind: str = "closed") -> None:
        """Take no more turns: the one in progress gets `TURN_DEADLINE` seconds to end.

        Args:
            reason: Why, for people.
            kind: A word for programs: closed, crashed, destroyed.
        """
        if self._inbox.end_reason is not None:
            return
        if self._hosted.made and not self.crashed:
            try:
                self._news.publish()
            except Exception as error:
                logger.exception("Game %r raised while it was closed", self.name)
                self._owner.note_failure(error)
        self._inbox.end_reason = reason
        self._scope.deadline = trio.current_time() + TURN_DEADLINE
        self._owner.room_ended(reason)
        if self._hosted.made:
            # Before they hear that players left: a game that is over need not mind.
            self._hosted.scripts.cancel_scope.cancel()
        self._attendance.dismiss_all(kind, reason)
        self._inbox.wake()

    async def finish(self) -> None:
        """Close because the server ends: the turn in progress ends, then the game is saved.

        A game that does not get there within `TURN_DEADLINE` seconds is saved as it was when
        `save_string` was last taken. Cancellation leaves the room closing.
        """
        self._saves_at_end = self._inbox.end_reason is None
        self.close(SHUTTING_DOWN)
        await self.ended.wait()

    # The room's own task.

    async def _play_to_the_end(self, task_status: trio.TaskStatus[None]) -> bool:
        """Make the game and play it; False where it raised and is to be made again."""
        again = False
        try:
            await self._play(task_status)
        except* Exception as group:
            # Here, and not behind: a cancellation may be in the group too, and goes on.
            again = self._crash(bare(group))
        return not again

    def _crash(self, error: BaseException) -> bool:
        """End a game that raised; True where it is to be made again."""
        again = self._may_restart()
        logger.error(
            "Game %r raised, and is %s",
            self.name,
            "restarted from its last save" if again else "closed",
            exc_info=error,
        )
        self._owner.note_failure(error)
        self._hosted.busy = None
        self._steps.in_turn = False
        self._news.pushes.clear()
        self._wishes.clear()
        self._attendance.forget_game()
        if not again:
            self.crashed = True
            self.close(CRASHED, "crashed")
        self._refuse_unanswered(CRASHED)
        return again

    def _may_restart(self) -> bool:
        if not self._started or self._inbox.end_reason is not None:
            return False
        try:
            if self._hosted.game.on_crash != "restart":
                return False
        except Exception:
            return False
        now = trio.current_time()
        too_many = len(self._crashes) == RESTARTS and self._crashes[0] > now - RESTART_WINDOW
        self._crashes.append(now)
        return not too_many

    async def _play(self, task_status: trio.TaskStatus[None]) -> None:
        try:
            await self._play_unless_it_fails(task_status)
        finally:
            failure, self._hosted.failure = self._hosted.failure, None
            if failure is not None:
                raise failure
        if self._saves_at_end:
            self._hosted.take_save_string()

    async def _play_unless_it_fails(self, task_status: trio.TaskStatus[None]) -> None:
        hosted = self._hosted
        async with trio.open_nursery() as nursery:
            hosted.nursery = nursery
            hosted.scripts = await nursery.start(self._hold_scripts)
            # Where whoever wanted the game is gone already, that nursery takes no tasks any more.
            await trio.lowlevel.checkpoint_if_cancelled()
            hosted.make(self._backend)
            self._news.begin()
            hosted.made = True
            if not self._started:
                self._news.publish()
                self._started = True
                task_status.started()
            else:
                await self._attendance.welcome_back(self._wishes.kick)
                self._news.publish()
                self._wishes.settle()
            if hosted.has_ticks:
                nursery.start_soon(self._ticks.run)
            if hosted.has_view:
                nursery.start_soon(self._news.pace)
            if hosted.has_script:
                hosted.scripts.adopt(self._run_script)
            await self._take_turns()
            nursery.cancel_scope.cancel()

    async def _hold_scripts(self, *, task_status: trio.TaskStatus[ScriptNursery]) -> None:
        async with trio.open_nursery() as nursery:
            task_status.started(ScriptNursery(nursery, self._steps.before, self._steps.after))
            await trio.sleep_forever()

    async def _run_script(self) -> None:
        self._wishes.end(await run_script(self._hosted.game, self._steps.before, self._steps.after))

    async def _take_turns(self) -> None:
        in_turn.set(True)
        inbox, news = self._inbox, self._news
        turns = inbox.turns
        in_a_row = 0
        started: float | None = None
        while True:
            if not turns:
                news.flush()
                if inbox.end_reason is not None:
                    return
                in_a_row = 0
                await inbox.wait()
                started = None
                continue
            # What several turns say to a player leaves together, if they do not take long.
            if in_a_row:
                now = trio.current_time()
                if started is None:
                    started = now
                elif now - started > LONGEST_HOLD:
                    news.flush()
                    started = now
            in_a_row += 1
            if in_a_row == TURNS_IN_A_ROW:
                news.flush()
                in_a_row = 0
                await trio.lowlevel.checkpoint()
                started = None
            turn = turns.popleft()
            if inbox.end_reason is not None:
                inbox.refuse(turn)
            elif isinstance(turn, PacketTurn):
                await self._take_packet(turn)
            else:
                await self._run_errand(turn)

    async def _run_errand(self, errand: Errand) -> None:
        hosted, steps = self._hosted, self._steps
        steps.in_turn = True
        steps.limited = errand.limited
        hosted.busy = errand
        hosted.watchdog.room = hosted
        try:
            try:
                await steps.hook(errand.action())
            finally:
                hosted.busy = None
            errand.ran = True
            if self._inbox.end_reason is None:
                self._news.publish(limited=errand.limited)
        except JoinRefused as refused:
            errand.refusal = refused
            self._news.publish()
        except Exception:
            errand.failure = CRASHED
            raise
        finally:
            steps.in_turn = False
            errand.done.set()
        self._wishes.settle()

    async def _take_packet(self, turn: PacketTurn) -> None:
        hosted, steps, news = self._hosted, self._steps, self._news
        self._unanswered = turn
        steps.in_turn = True
        steps.limited = turn.quiet
        hosted.busy = turn
        hosted.watchdog.room = hosted
        try:
            response = await self._respond(turn)
        finally:
            hosted.busy = None
            steps.in_turn = False
        if response.disconnecting:
            response = Response(
                response.message, response.payload, response.status, explicit_time(response)
            )
            self._send_away(turn.player.username, response.message)
        is_news = news.views is not None or news.pushes or hosted.has_info
        if is_news and not self._inbox.end_reason:
            news.publish(limited=turn.quiet)
        self._unanswered = None
        turn.player.answer(turn, response)
        news.touched[turn.player] = None
        if self._wishes.waiting:
            self._wishes.settle()

    def _send_away(self, username: str, reason: str) -> None:
        self._attendance.send_away(username, reason)

    def _refuse_unanswered(self, reason: str = "") -> None:
        turn, self._unanswered = self._unanswered, None
        if turn is not None:
            self._inbox.refuse(turn, reason)
