"""How a game stops here in one step, to go on at another server, and how it goes on there.

It goes on the way of a game that is restarted: with the same users, from its save string, with its
``run`` from the top. What scripts and handlers have in their local variables does not travel.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import trio

from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.refusals import MOVED_ON, CannotMove, refused
from pgnet_trio.server.room.frozen import (
    FrozenMember,
    FrozenRoom,
    HeldAnswer,
    Thawing,
    frozen_question,
    question_of,
    random_state,
    restored_random,
)
from pgnet_trio.server.room.members import Member
from pgnet_trio.server.room.player import PacketTurn
from pgnet_trio.server.room.questions import ADOPTION_TIME
from pgnet_trio.server.room.tape import WITHDRAWAL

if TYPE_CHECKING:
    from pgnet_trio.server.room.loop import Loop
    from pgnet_trio.server.room.members import Members
    from pgnet_trio.server.room.membership import Membership
    from pgnet_trio.server.room.player import Player
    from pgnet_trio.server.room.questions import Questions
    from pgnet_trio.server.room.runner import Runner

__all__ = ["Freezer", "Mover"]


class Mover(Protocol):
    """What takes a room away. Nothing here waits."""

    def is_ready(self, players: list[Player], waiting: Mapping[Player, int], /) -> bool:
        """Return whether all sessions may be taken along now.

        Args:
            players: The sessions of the users.
            waiting: How many requests of each wait in the room.
        """

    def take(self, room: FrozenRoom, save_string: str, /) -> None:
        """Take the room, which is gone when this returns. If this raises, the game goes on."""


class Freezer:
    """Freezes a room, and has another one go on with it.

    Args:
        runner: Has the game, its turns, and what it makes known.
        members: The members.
        questions: The open questions.
        membership: Tells a game who is in it.
        loop: Ends the turns.
    """

    def __init__(
        self,
        runner: Runner,
        members: Members,
        questions: Questions,
        membership: Membership,
        loop: Loop,
    ) -> None:
        self._runner = runner
        self._instance = runner.instance
        self._queue = runner.queue
        self._publisher = runner.publisher
        self._members = members
        self._questions = questions
        self._membership = membership
        self._loop = loop
        # Who was away when the game was frozen; the game has to hear of it again.
        self._away: list[str] = []

    async def freeze(self, mover: Mover, source: random.Random) -> bool:
        """Freeze the room between two turns, in one step; nobody in the game hears of it.

        Joins and leaves that wait come first. Cancellation leaves the game as it is.

        Args:
            mover: Takes the room.
            source: The game's randomness.

        Returns:
            Whether it was done; if not, the mover was not ready.

        Raises:
            CannotMove: The game is not saved, so it cannot go on anywhere else.
            RoomClosed: The game ended before that.
            PGNetError: What the mover raised.
        """
        outcome: bool | Exception | None = None
        given_up = False

        def freeze() -> None:
            nonlocal outcome
            if not given_up and not self._has_to_wait():
                outcome = self._freeze(mover, source)

        try:
            while outcome is None:
                if self._instance.tape is not None:
                    self._instance.tape.note_other_turn()
                await self._queue.wait_for(self._queue.post(freeze))
        finally:
            given_up = True
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _has_to_wait(self) -> bool:
        """Whether something comes first: what the game has asked for, joins and leaves."""
        return self._runner.deferred.waiting or any(
            not isinstance(turn, PacketTurn) and (turn.may_be_last or turn.awaited_by is not None)
            for turn in self._queue.turns
        )

    # No await in here: nobody may see a room that is half gone.
    def _freeze(self, mover: Mover, source: random.Random) -> bool | Exception:
        """Freeze the room; return whether it is, or why it cannot be."""
        instance, queue = self._instance, self._queue
        users = [member for member in self._members if member.player.username not in self._bots]
        turns = [turn for turn in queue.turns if isinstance(turn, PacketTurn)]
        waiting = Counter(turn.player for turn in turns)
        waiting.update(turn.player for _, turn in self._questions.early_answers)
        if not mover.is_ready([member.player for member in users], waiting):
            return False
        # The last that is told here, and it goes along.
        self._runner.publish()
        instance.update_save_string()
        if not instance.save_string:
            return CannotMove(
                f"The game {instance.name!r} is not saved, so it cannot go on at another server."
            )
        try:
            mover.take(self._picture(users, turns, source), instance.save_string)
        except Exception as error:
            for member in users:
                # What the sessions would have shown is dropped; show it once more.
                member.shown = None
                member.marked = -1
            return error
        self._end(turns)
        return True

    @property
    def _bots(self) -> Mapping[str, object]:
        return self._members.bots

    def _picture(
        self, users: list[Member], turns: list[PacketTurn], source: random.Random
    ) -> FrozenRoom:
        names = {member.player.username for member in users}
        state, gauss = random_state(source)
        return FrozenRoom(
            game_class=self._instance.class_name,
            time=self._instance.time(),
            locked=self._membership.locked,
            was_entered=self._membership.was_entered,
            random=state,
            gauss=gauss,
            members=tuple(
                FrozenMember(member.player.username, member.is_spectator, member.player.online)
                for member in users
            ),
            questions=tuple(
                frozen_question(question)
                for question in self._questions.pending
                if question.player in names
            ),
            requests=tuple(turn.hold() for turn in turns if turn.player.username in names),
            answers=tuple(
                HeldAnswer(question, turn.hold())
                for question, turn in self._questions.early_answers
            ),
        )

    def _end(self, turns: list[PacketTurn]) -> None:
        """End the room without a word to anybody."""
        queue = self._queue
        queue.end_reason = MOVED_ON
        if self._instance.tape is not None:
            self._instance.tape.note_end(MOVED_ON, moves=True)
        for turn in list(queue.turns):
            if not isinstance(turn, PacketTurn):
                turn.done.set()
        queue.turns.clear()
        for turn in turns:
            if turn.player.username not in self._members:
                turn.player.answer(turn, refused("You are in no game.", ReasonCode.NOT_IN_GAME))
                turn.player.flush()
        self._publisher.flush()
        # Before the scripts are cancelled: they would withdraw their questions.
        self._questions.clear()
        self._members.clear()
        self._loop.stop()
        self._runner.cancel_scripts()

    # At the server that goes on.

    def thaw(self, thawing: Thawing) -> random.Random:
        """Take over users, questions and requests, before the game is made again.

        Returns:
            The game's randomness.
        """
        room, players = thawing.room, thawing.players
        for each in room.members:
            player = players.get(each.username)
            if player is not None:
                member = Member(player, is_spectator=each.is_spectator)
                member.entered = member.missed_presence = True
                self._members.add(member)
                if not each.is_spectator and not each.online:
                    self._away.append(each.username)
        self._questions.remember(
            question_of(each) for each in room.questions if each.player in self._members
        )
        for held in room.requests:
            player = players.get(held.player)
            if player is not None:
                self._queue.put(player.retake(held))
        for answer in room.answers:
            player = players.get(answer.request.player)
            if player is not None:
                self._questions.keep_answer(player.retake(answer.request), answer.question)
        self._membership.locked = room.locked
        self._membership.was_entered = room.was_entered
        return restored_random(room)

    async def rejoin_all(self) -> None:
        """Tell the game who is in it, and then which of its players are away."""
        await self._membership.rejoin_all()
        away, self._away = self._away, []
        for username in away:
            self._membership.drop(username)

    async def withdraw_remembered(self) -> None:
        """Withdraw, after `ADOPTION_TIME`, what the game has not asked again."""
        tape = self._instance.tape
        if tape is None:
            await trio.sleep(ADOPTION_TIME)
        else:
            await tape.wait_until_due(WITHDRAWAL, trio.current_time() + ADOPTION_TIME)
        self._members.ready.remembered = frozenset()
        for question in self._questions.remembered:
            self._questions.withdraw_remembered(self._members.get(question.player), question.player)
