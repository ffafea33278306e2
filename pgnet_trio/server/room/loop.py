"""The loop of a game: one turn after the other, and what comes after each."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from time import perf_counter
from typing import TYPE_CHECKING

import trio

from pgnet_trio.errors import first_error
from pgnet_trio.foreign_text import one_line
from pgnet_trio.messages import Response, explicit_time
from pgnet_trio.server.counters import outcome_of
from pgnet_trio.server.refusals import CLOSED, GONE, JoinRefused, SaveRefused, crashed
from pgnet_trio.server.room.deferred import in_turn
from pgnet_trio.server.room.player import PacketTurn

if TYPE_CHECKING:
    from pgnet_trio.server.room.deferred import Wanted
    from pgnet_trio.server.room.dispatch import Dispatch
    from pgnet_trio.server.room.membership import Membership
    from pgnet_trio.server.room.owner import RoomOwner
    from pgnet_trio.server.room.player import Player
    from pgnet_trio.server.room.queue import Call
    from pgnet_trio.server.room.runner import Runner
    from pgnet_trio.transport.rounds import Round

__all__ = ["Loop"]

logger = logging.getLogger("pgnet_trio.server")

TURN_DEADLINE = 2.0
"""Seconds that the turn in progress gets to end, once its room is closed."""

LONGEST_HOLD = 0.001
"""Seconds for which an answer may wait for those of the next turns, to leave with them."""

TURNS_IN_A_ROW = 16
"""Turns after which other tasks get theirs."""


class Loop:
    """Takes a game's turns one at a time, until the game is closed.

    Args:
        runner: Runs the game's code; its queue holds the turns.
        dispatch: Answers packets.
        membership: Kicks members, and dismisses all at the end.
        owner: Is told of the end.

    Attributes:
        scope: What the room's task runs under; from the end on, its deadline is `TURN_DEADLINE`.
        rematch: Whether it stops for a new game, which takes the turns from then on.
    """

    def __init__(
        self, runner: Runner, dispatch: Dispatch, membership: Membership, owner: RoomOwner
    ) -> None:
        self.scope = trio.CancelScope()
        self.rematch = False
        self._runner = runner
        self._instance = runner.instance
        self._queue = runner.queue
        self._publisher = runner.publisher
        self._dispatch = dispatch
        self._membership = membership
        self._owner = owner
        # The packet of the turn in progress, while its player waits for the answer.
        self._unanswered: PacketTurn | None = None
        # What a turn in a round of reading has left to the room's task: what it raised, or an async
        # handler to wait for.
        self._left: BaseException | tuple[PacketTurn, Awaitable[Response]] | None = None
        # Who waits for the end of the call that has raised.
        self._asker: Player | None = None
        # Bound once: a round keeps it for each turn.
        self._flush = self._flush_after_round

    async def run(self) -> None:
        """Take turns until the game is closed, or another begins. What it raises comes out."""
        in_turn.set(True)
        queue, publisher, runner = self._queue, self._publisher, self._runner
        turns, deferred = queue.turns, runner.deferred
        # Looked up once, not for each packet.
        call, respond = runner.call, self._dispatch.respond
        tape = self._instance.tape
        current_time = trio.lowlevel.current_clock().current_time
        in_a_row = 0
        began: float | None = None
        while True:
            if not turns or self.rematch:
                # Flush before the wait: what was said must not wait for the next turn.
                publisher.flush()
                if queue.end_reason is not None or self.rematch:
                    return
                in_a_row = 0
                began = None
                try:
                    await queue.wait()
                finally:
                    # Also where this is cancelled: the cancellation is for that turn too.
                    if self._left is not None:
                        await self._finish_left()
                continue
            # What several turns say to a player leaves together, if they do not take long.
            if in_a_row:
                now = current_time()
                if began is None:
                    began = now
                elif now - began > LONGEST_HOLD:
                    publisher.flush()
                    began = now
            in_a_row += 1
            if in_a_row == TURNS_IN_A_ROW:
                publisher.flush()
                in_a_row = 0
                await trio.lowlevel.checkpoint()
                began = None
            if tape is not None and queue.end_reason is None:
                waiting = tape.turn()
                if waiting is not None:
                    await waiting
            turn = turns.popleft()
            runner.failed_calls = 0
            if queue.end_reason is not None:
                queue.refuse(turn)
            elif isinstance(turn, PacketTurn):
                self._unanswered = turn
                response = call(respond, turn)
                if isinstance(response, Response):
                    self._answer(turn, response)
                else:
                    await self._finish(turn, response)
                del response
            else:
                await self._call(turn)
            # After the answer: a player who is kicked still gets it.
            if deferred.waiting:
                self.take_deferred()
            # Otherwise the last turn would stay in memory while the room waits.
            del turn

    def take_now(self, turn: PacketTurn, round: Round) -> None:
        """Take a packet's turn at once, in a round of reading, if the room is idle.

        The turn is as any other, and in the context of the room's task. What it raises is raised in
        that task, and there an async handler goes on.

        Args:
            turn: The packet. It is queued if the room is not idle, or the round is over.
            round: The round. What the turn says is written after it.
        """
        delay = self._instance.input_delay if turn.quiet else 0.0
        if delay < round.delay:  # noqa: PLR1730 - a call less for each packet
            round.delay = delay
        queue = self._queue
        # As `is_over` and `after`, without a call for each packet.
        if not queue.is_waiting or perf_counter() >= round.until:
            queue.take_in(turn)
            return
        round.flushes[self._flush] = None
        queue.context.run(self._take, turn)

    def after_script_step(self) -> None:
        """Publish what a step of a script has changed, and do what it asked for. Never raises."""
        runner = self._runner
        runner.after_step()
        if runner.is_in_play():
            try:
                if runner.deferred.waiting:
                    self._carry_out(runner.deferred.of_scripts)
                self._close_if_given_up()
            except BaseException as error:
                # Never raise here: a suspended coroutine would be left behind.
                runner.fail(error)

    def stop_for_rematch(self) -> None:
        """Stop after this turn or step, for a game that is made anew."""
        self.rematch = True
        # Where the room's task is about to take a turn already, it stops after that.
        self._runner.deferred.waiting = True
        self._queue.wake()

    def take_rematch(self) -> bool:
        """Return whether the loop stops for a new game, and forget it."""
        wanted, self.rematch = self.rematch, False
        return wanted

    def take_asker(self) -> tuple[Player | None, bool]:
        """Return whose the turn is that has raised, or None, and whether they wait for its end."""
        asker, self._asker = self._asker, None
        turn = self._unanswered
        if turn is None:
            return asker, asker is not None
        return turn.player, not turn.quiet

    def take_deferred(self) -> None:
        """Carry out the kicks, and the end of the game, that it has asked for."""
        deferred = self._runner.deferred
        deferred.waiting = False
        self._carry_out(deferred.of_turns)
        self._carry_out(deferred.of_scripts)

    def close(self, reason: str, kind: str = CLOSED, *, publish: bool = True) -> None:
        """Take no more turns: the one in progress gets `TURN_DEADLINE` seconds to end. Idempotent.

        Args:
            reason: Why, for people.
            kind: A word for programs: closed, crashed, destroyed.
            publish: Whether members are told what has changed before.
        """
        queue, runner = self._queue, self._runner
        if queue.end_reason is not None:
            return
        if publish and self._instance.made:
            try:
                runner.publish()
            except BaseException as error:
                name = self._instance.name
                self._owner.note_failure(error, f"Game {name!r} raised while it was closed")
                if self._instance.tape is not None:
                    self._instance.tape.note_crash(error, restarts=False)
        queue.end_reason = reason
        if self._instance.tape is not None:
            self._instance.tape.note_end(reason)
        self._owner.room_ended(reason)
        # Before the members are dismissed: the scripts of a game that is over need not see them go.
        if self._instance.made:
            runner.cancel_scripts()
        self._membership.dismiss_all(kind, reason)
        self.stop()

    def stop(self) -> None:
        """Let the room's task end: its queue takes no more turns already."""
        self.scope.deadline = trio.current_time() + TURN_DEADLINE
        self._queue.wake()

    def end(self) -> None:
        """Refuse all that was not done, now that the room's task is over."""
        self.refuse_unanswered()
        self._queue.refuse_all()
        if self._instance.tape is not None:
            self._instance.tape.note_over()

    def refuse_unanswered(self, reason: str = "") -> None:
        """Refuse the packet of a turn that did not run to its end."""
        turn, self._unanswered = self._unanswered, None
        if turn is not None:
            self._queue.refuse(turn, reason)

    async def _finish_left(self) -> None:
        """Finish the turn that `take_now` has begun and left to this task."""
        left, self._left = self._left, None
        if isinstance(left, BaseException):
            raise left
        assert left is not None
        await self._finish(*left)
        if self._runner.deferred.waiting:
            self.take_deferred()

    # Ctrl-C is for a game that does not come to an end, in the reader of sockets as elsewhere.
    @trio.lowlevel.disable_ki_protection
    def _take(self, turn: PacketTurn) -> None:
        """Take a turn in a round of reading. Never raises."""
        runner, tape = self._runner, self._instance.tape
        runner.failed_calls = 0
        try:
            if tape is not None:
                tape.turn_at_once(turn)
            self._unanswered = turn
            response = runner.call(self._dispatch.respond, turn)
            if isinstance(response, Response):
                self._answer(turn, response)
                if runner.deferred.waiting:
                    self.take_deferred()
                return
            self._left = turn, response
        except BaseException as error:
            self._left = error
        self._queue.wake()

    async def _finish(self, turn: PacketTurn, response: Awaitable[Response]) -> None:
        began = perf_counter()
        with self._runner.running(turn):
            answer = await response
        self._instance.turns.add(perf_counter() - began)
        self._answer(turn, answer)

    def _answer(self, turn: PacketTurn, response: Response) -> None:
        """Make known what a packet has changed, and answer it."""
        publisher, instance, quiet = self._publisher, self._instance, turn.quiet
        # A status that is not 0 is no `Status.OK`.
        if response.status:
            instance.counters.answers[outcome_of(response.status)] += 1
            if quiet:
                self._dispatch.note_unheard(turn, response)
        else:
            instance.counters.fine += 1
        if response.disconnecting:
            response = self._kick_sender(turn, response)
        tape = instance.tape
        if tape is not None:
            tape.note_answer(response)
        # As `publish`, which does nothing else for a state that is shown later anyway.
        if (
            publisher.pushes
            or not (publisher.views is None or (quiet and publisher.state_is_delayed))
            or instance.has_info
        ) and self._queue.end_reason is None:
            self._runner.publish(delayable=quiet)
        # After the state: whoever has the answer has seen what the packet changed.
        self._unanswered = None
        player = turn.player
        if player.answer(turn, response):
            publisher.touched[player] = None

    def _flush_after_round(self) -> None:
        publisher = self._publisher
        try:
            # As its `flush`, without a call for each packet.
            touched, publisher.touched = publisher.touched, {}
            for player in touched:
                player.flush()
        except BaseException as error:
            self._runner.fail(error)

    def _kick_sender(self, turn: PacketTurn, response: Response) -> Response:
        """Kick the player whose packet was answered so; return the answer without the kick."""
        response = Response(
            response.message, response.payload, response.status, explicit_time(response)
        )
        self._membership.kick(turn.player.username, response.message)
        return response

    async def _call(self, call: Call) -> None:
        began = perf_counter()
        try:
            with self._runner.running(call):
                result = call.action()
                if result is not None:
                    await result
                if call.may_be_last:
                    self._close_if_empty()
                else:
                    self._close_if_given_up()
            call.ran = True
            if self._queue.end_reason is None:
                self._runner.publish(delayable=call.delayable)
        except JoinRefused as refused:
            call.refusal = refused
            self._runner.publish()
        except SaveRefused as refused:
            logger.error("Game %r: %s", self._instance.name, one_line(refused))
            call.ran = True
            self._runner.publish(delayable=call.delayable)
        except BaseException as error:
            if not isinstance(first_error(error), trio.Cancelled):
                call.failure = crashed(self._instance.name, error)
                self._asker = call.awaited_by
                name = None if self._asker is None else self._asker.username
                self._owner.note_cause(error, name)
            raise
        finally:
            if call.awaited_by is not None:
                # Their session writes it, with the answer.
                self._publisher.touched.pop(call.awaited_by, None)
            call.done.set()
            self._instance.turns.add(perf_counter() - began)

    def _close_if_empty(self) -> None:
        if self._owner.is_empty() and not (
            self._membership.begun and self._instance.game.persistent
        ):
            self.close(GONE)

    def _close_if_given_up(self) -> None:
        """End a game that was to stay without anybody in it, and does not want to any more."""
        if (
            self._instance.is_persistent
            and self._membership.begun
            and self._owner.is_empty()
            and not self._instance.game.persistent
        ):
            self.close(GONE)

    def _carry_out(self, wanted: Wanted) -> None:
        if wanted.kicks and self._queue.end_reason is None:
            kicks, wanted.kicks = wanted.kicks, {}
            for username, reason in kicks.items():
                self._membership.kick(username, reason)
        if self.rematch:
            # The game is over already: what it returns now means nothing.
            return
        if wanted.rematch:
            wanted.rematch = False
            self.stop_for_rematch()
        elif wanted.end is not None:
            self.close(wanted.end)
