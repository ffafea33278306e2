"""The task that owns one game: it makes it, plays it, restarts it and closes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import trio

from pgnet_trio.errors import Reject, bare
from pgnet_trio.server.counters import Counters
from pgnet_trio.server.log_fields import belong_to_table
from pgnet_trio.server.refusals import CLOSED, GONE, LEFT, SHUTTING_DOWN, crashed
from pgnet_trio.server.room.backend import ServerRoom
from pgnet_trio.server.room.bots import Bots
from pgnet_trio.server.room.dispatch import Dispatch
from pgnet_trio.server.room.freezing import Freezer
from pgnet_trio.server.room.instance import GameInstance
from pgnet_trio.server.room.kept import NOTHING_KEPT, Kept
from pgnet_trio.server.room.lateness import Lateness
from pgnet_trio.server.room.loop import Loop
from pgnet_trio.server.room.members import Members
from pgnet_trio.server.room.membership import Membership
from pgnet_trio.server.room.pictures import Pictures
from pgnet_trio.server.room.presence import Presence
from pgnet_trio.server.room.publisher import Publisher
from pgnet_trio.server.room.questions import Questions
from pgnet_trio.server.room.queue import TurnQueue
from pgnet_trio.server.room.reloading import Reloader
from pgnet_trio.server.room.restarts import Restarts
from pgnet_trio.server.room.runner import MeasuredRunner, Runner
from pgnet_trio.server.room.scripts import ScriptNursery, hold_nursery
from pgnet_trio.server.room.simulation import Simulation
from pgnet_trio.server.room.ticker import Ticker
from pgnet_trio.server.watchdog import Watchdog

if TYPE_CHECKING:
    from pgnet_trio.game import Game
    from pgnet_trio.server.room.freezing import Mover
    from pgnet_trio.server.room.frozen import Thawing
    from pgnet_trio.server.room.owner import RoomOwner
    from pgnet_trio.server.room.player import PacketTurn, Player
    from pgnet_trio.server.room.stats import RoomStats
    from pgnet_trio.transport.rounds import Round

__all__ = ["RoomTask"]


class RoomTask:
    """Owns one game: everything that the game does is done by this room's task.

    The methods of a room are called from other tasks; the plain functions among them never wait.
    Its parts form a stack, in which each knows only those before it; see the package's docstring.

    Args:
        name: The game's name.
        make_game: Makes the game, from a save string or None; called in the room's task.
        options: What the game was created with.
        seed: Seeds the game's randomness.
        save_string: What the game was last saved as; None for a new game.
        save_version: The version of that save.
        kept: What an earlier room of the game had; for a new game, who creates it.
        thawing: What the game goes on with that has moved here; None for nothing.
        question_ids: Yields the ids of all questions of the server's games.
        owner: Lists, saves and closes the game.
        watchdog: Is told whose code runs.
        counters: What the server counts.

    Attributes:
        name: The game's name.
        options: What the game was created with.
        owner: Lists, saves and closes the game.
        crashed: Whether the game was ended by an error or a cancellation, and is not over.
        refusal: Why the game did not want to be made; None if it was made, or raised an error.
        ended: Set when the room's task is over.
        handle: Queues a packet; the player gets the game's answer when its turn is over.
        handle_answer: Takes the answer to a question; see `Dispatch.take_answer`.
        seen: Shows what can be seen at the table; see `Pictures.seen`.
        take_input: Takes what a player does in one tick; see `Dispatch.take_input`.
        times: Returns what time it is, and how many ticks a second there are.
        reload: Goes on with another class, from the game's save; see `Reloader.reload`.
        take_now: Has the packet's turn at once if the game is idle; see `Loop.take_now`.
        members: Who is in the game.
        instance: The game.
        queue: The turns that wait.
        publisher: What the game makes known.
        runner: What runs the game's code.
        questions: What players are asked.
        membership: Who comes and goes.
        bots: What starts the game's bots.
        scripts: The nursery of the game's own tasks; there as soon as the game is made.
    """

    scripts: ScriptNursery

    def __init__(
        self,
        name: str,
        make_game: Callable[[str | None], Game],
        *,
        options: Mapping[str, Any] = MappingProxyType({}),
        seed: int | bytes | None = None,
        save_string: str | None = None,
        save_version: int = 0,
        kept: Kept = NOTHING_KEPT,
        thawing: Thawing | None = None,
        question_ids: Iterator[int],
        owner: RoomOwner,
        watchdog: Watchdog | None = None,
        counters: Counters | None = None,
    ) -> None:
        self.name = name
        self.options: Mapping[str, Any] = MappingProxyType(dict(options))
        self.owner = owner
        self.crashed, self.ended = False, trio.Event()
        self.refusal: Reject | None = None
        # Bottom up: each part is handed only parts that stand above it here.
        self.members = Members(kept)
        self.members.host.is_used = save_string is not None and kept.host is not None
        self._thawing = thawing
        time = kept.time if thawing is None else thawing.room.time
        counters = counters or Counters()
        self.instance = GameInstance(name, make_game, save_string, save_version, time, counters)
        self._lateness = Lateness(name)
        self.queue = TurnQueue(name, self._lateness)
        self.questions = Questions(self.instance.start, question_ids)
        simulation = Simulation(self.instance, self.members)
        self.publisher = Publisher(self.instance, self.members, self.queue, simulation)
        runner = MeasuredRunner if counters.measures else Runner
        self.runner = runner(self.instance, self.queue, self.publisher, watchdog or Watchdog(None))
        self.bots = Bots(self.members, self.runner, owner)
        self._restarts = Restarts(self.instance, owner)
        self._ticker = Ticker(self.runner, self._lateness)
        dispatch = Dispatch(self.runner, self.members, self.questions, owner)
        self._presence = Presence(self.runner, self.members, self.questions)
        self.membership = Membership(self.runner, self.members, self._presence, self.bots, owner)
        self._pictures = Pictures(
            self.runner, self.members, self.questions, self.membership, self._lateness
        )
        self._loop = Loop(self.runner, dispatch, self.membership, owner)
        self._freezer = Freezer(
            self.runner, self.members, self.questions, self.membership, self._loop
        )
        self._reloader = Reloader(self.runner, self.questions, self.membership, self._loop)
        self.handle_answer: Callable[[PacketTurn, int], None] = dispatch.take_answer
        self.take_input = dispatch.take_input
        self.times = dispatch.times
        self.reload = self._reloader.reload
        self.seen = self._pictures.seen
        self._backend = ServerRoom(self, seed)
        if thawing is not None:
            self._backend.random = self._freezer.thaw(thawing)
        # Hot path: `put` itself, bound here instead of a method, is one call less for each packet.
        self.handle: Callable[[PacketTurn], None] = self.queue.put
        self.take_now: Callable[[PacketTurn, Round], None] = self._loop.take_now
        self._started = self._saves_at_end = False

    # What the server's other tasks read.

    @property
    def info(self) -> str:
        """What the game says about itself in the lobby."""
        return self.publisher.info

    @property
    def audience(self) -> int:
        """How many are told who comes and goes."""
        return len(self.members)

    @property
    def is_waiting(self) -> bool:
        """Whether the next turn begins at once."""
        return self.queue.is_waiting

    @property
    def save_string(self) -> str | None:
        """The game's last save string: None before the first, empty if it is not persistent."""
        return self.instance.save_string

    @property
    def is_persistent(self) -> bool:
        """Whether the game wanted to be saved when it was made."""
        return self.instance.is_persistent

    @property
    def save_version(self) -> int:
        """The version of its saves: its class's, or before it is made, that of the save."""
        return self.instance.save_version

    @property
    def gives_save(self) -> bool:
        """Whether the game's class says what to save."""
        return self.instance.gives_save

    @property
    def has_begun(self) -> bool:
        """Whether the game has let a user in, or was loaded."""
        return self.membership.begun

    @property
    def was_entered(self) -> bool:
        """Whether anybody has ever been in the game since it was loaded."""
        return self.membership.was_entered

    @property
    def busy(self) -> object:
        """What of the game's code runs now, another object each time; None for nothing."""
        return self.runner.busy

    @property
    def lobby_extras(self) -> dict[str, Any]:
        """What the lobby shows beyond what PGNet has, if it is not the default."""
        extras: dict[str, Any] = {}
        try:
            with self.runner.running(object()):
                most = self.instance.max_players() if self.instance.made else None
        except BaseException as error:
            self.runner.fail(error)
            most = None
        if most is not None:
            extras["max_players"] = most
        if self.membership.locked:
            extras["locked"] = True
        if self.options:
            extras["options"] = dict(self.options)
        return extras

    def stats(self) -> RoomStats:
        """Return a picture of the room as it is now. It calls none of the game's code."""
        return self._pictures.stats(self.options, crashed=self.crashed)

    # What sessions, requests and shutdown ask for.

    async def join(self, player: Player, *, spectate: bool = False) -> float:
        """Let a user join; see `Membership.join`."""
        return await self.membership.join(player, spectate=spectate)

    async def join_together(self, players: Sequence[Player]) -> None:
        """Let several users into a new game; see `Membership.join_together`."""
        await self.membership.join_together(players)

    def leave(
        self,
        username: str,
        reason: str = LEFT,
        message: str = "",
        *,
        player: Player | None = None,
        awaited: bool = False,
    ) -> trio.Event:
        """Tell the game that a user has left; see `Membership.leave`."""
        return self.membership.leave(username, reason, message, player=player, awaited=awaited)

    def drop(self, username: str) -> None:
        """Tell the game that a player's connection dropped."""
        self.membership.drop(username)

    def resume(self, username: str) -> None:
        """Tell the game that a player is back."""
        self.membership.resume(username)

    def catch_up(self, player: Player) -> None:
        """Tell a player who is back who is there now; see `Presence.catch_up`."""
        self._presence.catch_up(player)

    def introduce(self, player: Player) -> None:
        """Show everything to another client of a player; see `Membership.introduce`."""
        self.membership.introduce(player)

    def close_if_empty(self) -> None:
        """End the game if no user is in it and it is not persistent."""
        self.membership.close_if_empty()

    async def update_save_string(self) -> None:
        """Bring `save_string` up to date, in a turn, and wait for it.

        Raises:
            RoomClosed: The game ended before that.
        """
        await self.queue.wait_for(self.queue.post(self.instance.update_save_string))

    async def freeze(self, mover: Mover) -> bool:
        """Let the room go to another server; see `Freezer.freeze`."""
        return await self._freezer.freeze(mover, self._backend.random)

    def close(self, reason: str, kind: str = CLOSED) -> None:
        """Take no more turns; the one in progress gets a short time to end. Idempotent.

        Args:
            reason: Why, for people.
            kind: A word for programs: closed, crashed, destroyed.
        """
        self._loop.close(reason, kind)

    async def finish(self, kind: str = CLOSED) -> None:
        """Close because the server ends: the turn in progress ends, then the game is saved.

        If it does not end in time, the game is saved as it was when `save_string` was last taken.
        Cancellation leaves the room closing. *kind* is what members are told, as in `close`;
        `RESTARTING` only those who do not come back by themselves.
        """
        self._saves_at_end = self.queue.end_reason is None
        self.close(SHUTTING_DOWN, kind)
        await self.ended.wait()

    def lines(self) -> list[str]:
        """Return where code of the game waits, each as a file, a line and a function."""
        return self.runner.lines()

    # The room's own task.

    # Ctrl-C is for a game that does not come to an end, and not for the end of its room.
    @trio.lowlevel.enable_ki_protection
    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Make the game, and run it until the room is closed or the game raises.

        Nothing that the game raises comes out, not even what is no `Exception`. Started when the
        game was made, or failed to be. Cancellation ends the turn in progress.
        """
        self.queue.serve()
        belong_to_table(self.name)
        self.instance.save_string = None
        try:
            with self._loop.scope:
                while not await self._play_to_the_end(task_status):
                    self.instance.loaded = self.instance.save_string or self.instance.loaded
        finally:
            if self.queue.end_reason is None:
                # Nobody closed the room: it, or the program, is cancelled before the end.
                self.crashed = True
            self._loop.close(GONE, publish=not self.crashed)
            self.runner.stop_watching()
            self.publisher.simulation.count_dropped()
            self._loop.end()
            self._reloader.end()
            self.ended.set()
        if not self._started:
            task_status.started()

    async def _play_to_the_end(self, task_status: trio.TaskStatus[None]) -> bool:
        """Make the game and play it; return False if it is to be made again."""
        again = False
        try:
            await self._play(task_status)
            again = self._begin_rematch()
        except* trio.Cancelled:
            raise
        except* BaseException as group:
            # Here, and not after it: the group may hold a cancellation too, which goes on.
            again = self._crash(bare(group))
        return not again

    @trio.lowlevel.disable_ki_protection
    async def _play(self, task_status: trio.TaskStatus[None]) -> None:
        try:
            await self._play_unless_it_fails(task_status)
        finally:
            if (failure := self.runner.take_failure()) is not None:
                raise failure
        if self._saves_at_end:
            self.instance.update_save_string()

    async def _play_unless_it_fails(self, task_status: trio.TaskStatus[None]) -> None:
        instance, runner, publisher = self.instance, self.runner, self.publisher
        over = False
        async with trio.open_nursery() as nursery:
            # Before the first await: an error that another task finds has to end this game.
            runner.begin(nursery)
            scripts = await nursery.start(hold_nursery)
            # If whoever wanted the game is gone already, that nursery takes no tasks any more.
            await trio.lowlevel.checkpoint_if_cancelled()
            runner.begin_scripts(scripts.cancel_scope)
            self.scripts = ScriptNursery(scripts, runner, self._loop, self.membership)
            # No await between these three: other tasks would find a game that is half made.
            instance.make(self._backend)
            self.members.outcome.note_game(instance.reports, loaded=instance.loaded is not None)
            publisher.begin()
            instance.made = True
            goes_on = self._started or self._thawing is not None
            if not self._started:
                if self._thawing is not None:
                    instance.check_class(self._thawing.room.game_class)
                else:
                    runner.publish()
                self._started = True
                task_status.started()
            if goes_on:
                await self._freezer.rejoin_all()
                runner.publish()
                self._loop.take_deferred()
            self._reloader.note_success()
            if self.questions.remembered or self.members.ready.remembered:
                nursery.start_soon(self._freezer.withdraw_remembered)
            if instance.has_ticks:
                nursery.start_soon(self._ticker.run)
            if instance.has_view:
                nursery.start_soon(publisher.pace)
            if instance.has_script:
                self.scripts.start_script()
            await self._loop.run()
            over = True
            nursery.cancel_scope.cancel()
        if not over and runner.failure is None:
            raise RuntimeError(
                "a trio.Cancelled came out of the game, and nobody has cancelled it: a game must "
                "not keep one and raise it later"
            )

    def _begin_rematch(self) -> bool:
        """Forget a game that is over, if another one is to begin; return whether it is."""
        if not self._loop.take_rematch() or self.queue.end_reason is not None:
            return False
        if self._reloader.take_over():
            return True
        self.runner.deferred.clear()
        self.queue.refuse_packets()
        self.membership.forget_game(begins_anew=True)
        self.instance.loaded = self.instance.save_string = None
        return True

    def _crash(self, error: BaseException) -> bool:
        """Forget a game that raised; return whether it is to be made again."""
        if isinstance(error, Reject) and not self.instance.made:
            # No fault: whoever wanted the game is told. What is saved of it stays.
            self.refusal, self.crashed = error, True
            self._loop.close(error.reason, publish=False)
            return False
        goes_on = self._started and self.queue.end_reason is None
        if goes_on and self._reloader.take_back(error):
            self._loop.refuse_unanswered()
            return True
        again = goes_on and self._restarts.may_restart(error)
        if self.instance.tape is not None:
            self.instance.tape.note_crash(error, restarts=again)
        what = "restarted from its last save" if again else "closed"
        self.instance.counters.note_crash(restarts=again)
        asker, waits = self._loop.take_asker()
        self.owner.note_cause(error, asker.username if waits and asker is not None else None)
        self.owner.note_failure(error, f"Game {self.name!r} raised, and is {what}", asker)
        self._loop.take_rematch()
        self.publisher.pushes.clear()
        self.runner.deferred.clear()
        self.membership.forget_game()
        if not again:
            self.crashed = True
            self._loop.close(crashed(self.name, error), "crashed", publish=False)
        self._loop.refuse_unanswered(crashed(self.name, error))
        return again
