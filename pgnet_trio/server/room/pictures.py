"""Pictures of a room for whoever looks at the server. None of the game's code is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pgnet_trio.server.room.instance import takes_any
from pgnet_trio.server.room.stats import QuestionSeen, RoomStats, TableView

if TYPE_CHECKING:
    from pgnet_trio.server.room.lateness import Lateness
    from pgnet_trio.server.room.members import Members
    from pgnet_trio.server.room.membership import Membership
    from pgnet_trio.server.room.questions import Questions
    from pgnet_trio.server.room.runner import Runner

__all__ = ["Pictures"]


class Pictures:
    """Takes pictures of a room.

    Args:
        runner: Has the game, its turns and its states.
        members: The members.
        questions: The open questions.
        membership: Knows whether the table is locked.
        lateness: Counts what was late.
    """

    def __init__(
        self,
        runner: Runner,
        members: Members,
        questions: Questions,
        membership: Membership,
        lateness: Lateness,
    ) -> None:
        self._runner = runner
        self._members = members
        self._questions = questions
        self._membership = membership
        self._lateness = lateness

    def stats(self, options: Mapping[str, Any], *, crashed: bool) -> RoomStats:
        """Return the figures of the room.

        Args:
            options: What the game was created with.
            crashed: Whether it was ended by an error.
        """
        runner, instance, members = self._runner, self._runner.instance, self._members
        views, turns = runner.publisher.views, instance.turns
        return RoomStats(
            name=instance.name,
            game_class=instance.class_name if instance.made else "",
            options=options,
            is_persistent=instance.made and instance.is_persistent,
            locked=self._membership.locked,
            time=instance.time(),
            players=tuple(members.players),
            spectators=tuple(members.spectators),
            bots=tuple(members.bots),
            open_questions=len(self._questions),
            waiting_turns=len(runner.queue),
            missed_ticks=self._lateness.missed_ticks,
            dropped_inputs=runner.publisher.simulation.dropped,
            long_turns=self._lateness.long_turns,
            turn_time=turns.total / turns.count if turns.count else 0.0,
            longest_turn=turns.longest,
            state_size=0 if views is None else views.size,
            waits_for=tuple(runner.lines()),
            is_running=runner.busy is not None,
            is_over=runner.queue.end_reason is not None,
            crashed=crashed,
        )

    def seen(self) -> TableView:
        """Return what can be seen at the table."""
        instance, views = self._runner.instance, self._runner.publisher.views
        return TableView(
            is_shared=views is not None and views.is_shared,
            seats=() if views is None else views.seen(),
            questions=tuple(
                QuestionSeen(
                    each.player,
                    each.packet.message,
                    each.packet.payload,
                    each.deadline,
                    each.model,
                )
                for each in self._questions.pending
            ),
            handled={name: each.model for name, each in instance.handlers.items()}
            if instance.made
            else {},
            takes_any=instance.made and takes_any(type(instance.game)),
        )
