"""The task that owns one game, and runs its turns one at a time."""

from __future__ import annotations

import inspect
import logging
import math
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import attrs
import trio

from pgnet_trio.codec import decode_json, encode_json
from pgnet_trio.errors import CodecError, PGNetError, PlayerLeft, Reject, bare
from pgnet_trio.game import BotPlayer, Game, NoDefault, current_room
from pgnet_trio.messages import Push, Response, Status, explicit_time
from pgnet_trio.protocol.envelopes import encode_push
from pgnet_trio.server.bots import check_bot_name, is_bot_name, run_bot
from pgnet_trio.server.members import Member, Members, PacketTurn, Player
from pgnet_trio.server.questions import Questions
from pgnet_trio.server.scripts import ScriptNursery, in_turn
from pgnet_trio.server.stepping import stepped
from pgnet_trio.server.views import Views
from pgnet_trio.server.watchdog import Watchdog
from pgnet_trio.typed import finish, to_push, to_response

__all__ = ["JoinRefused", "RoomClosed", "RoomTask"]

logger = logging.getLogger("pgnet_trio.server")

TURN_DEADLINE = 2.0
"""Seconds that a turn in progress gets to end, once its room has to close."""

DEFAULT_HEARTBEAT_RATE = 10.0
"""Heartbeats a second, where a game gives none that is above 0."""

RESTARTS = 3
"""How often a game that raises is restarted within `RESTART_WINDOW`, before it is closed."""

RESTART_WINDOW = 60.0
"""Seconds."""

LONGEST_HOLD = 0.001
"""Seconds for which an answer may wait for those of the next turns, to leave with them."""

TURNS_IN_A_ROW = 16
"""Turns after which other tasks get theirs."""

PLAYERS = "__pgnet__.players"
"""The push that says who is in the game, and who of them is connected."""

GONE = "The game is over."
CRASHED = "The game crashed."

AnswerT = TypeVar("AnswerT")
ModelT = TypeVar("ModelT")


class RoomClosed(PGNetError):
    """The room ended before it could do what was asked of it; the message says why."""


class JoinRefused(PGNetError):
    """The game does not let a user in; the message is for the user.

    Args:
        reason: What the user is told.
        payload: Data for the user's program.
    """

    def __init__(self, reason: str, payload: dict[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.payload = payload


@attrs.define(eq=False)
class _Errand:
    """A turn that somebody may wait for; `ran` says whether it came to its end."""

    action: Callable[[], Any]
    limited: bool = False
    done: trio.Event = attrs.field(factory=trio.Event)
    ran: bool = False
    failure: str = ""
    refusal: JoinRefused | None = None


@attrs.define(eq=False)
class _Wishes:
    """What a game has asked for that comes after its turn: whom to send away, and to end."""

    kicks: dict[str, str] = attrs.field(factory=dict)
    end: str | None = None


class RoomTask:
    """Owns one game: everything that the game does is done by this room's task.

    The methods of a room are called from other tasks; those that are plain functions never
    wait. What the room learns from its game it publishes in its attributes.

    Args:
        name: The game's name.
        make_game: Makes the game, from a save string or None; called in the room's task.
        options: What the game was created with.
        seed: Seeds the game's randomness.
        save_string: What the game was last saved as; None for a new game.
        is_empty: Says whether no user is in the game any more.
        dismiss: Called with a username when the game sends that user away, at once.
        on_end: Called once, when the room takes no more turns, with the reason.
        save_now: Puts this room's save string on disk.
        note_failure: Called with what the game raised, after it was logged.
        watchdog: Is told whose code runs.

    Attributes:
        info: What the game says about itself to those who look for one.
        save_string: What the game last gave to be saved; None before it was asked, empty when
            it is not persistent.
        crashed: Whether the game was ended by raising, or by a cancellation, and is not over.
        missed_ticks: How many updates were skipped because the one before was late.
        members: Who is in the game.
        locked: Whether nobody more may join.
    """

    def __init__(
        self,
        name: str,
        make_game: Callable[[str | None], Game],
        *,
        options: Mapping[str, Any] = MappingProxyType({}),
        seed: int | bytes | None = None,
        save_string: str | None = None,
        is_empty: Callable[[], bool],
        dismiss: Callable[[str], None],
        on_end: Callable[[str], None],
        save_now: Callable[[], Awaitable[None]],
        note_failure: Callable[[BaseException], None] = lambda error: None,
        watchdog: Watchdog | None = None,
    ) -> None:
        self.name = name
        self.options: Mapping[str, Any] = MappingProxyType(dict(options))
        self.random = random.Random(seed)
        self.info = ""
        self.save_string = save_string
        self.crashed = False
        self.missed_ticks = 0
        self.locked = False
        self.members = Members()
        self.ended = trio.Event()
        self._make_game = make_game
        self._is_empty = is_empty
        self._dismiss = dismiss
        self._on_end = on_end
        self._save_now = save_now
        self.note_failure = note_failure
        self._watchdog = watchdog or Watchdog(None)
        self._start = trio.current_time()
        self._questions = Questions(self._start)
        self._end_reason: str | None = None
        self._made = False
        self._started = False
        self._scope = trio.CancelScope()
        self._inbox: deque[PacketTurn | _Errand] = deque()
        self._task: trio.lowlevel.Task | None = None
        self._waiting = False
        self._saves_at_end = False
        self._crashes: deque[float] = deque(maxlen=RESTARTS)
        self._loaded = save_string
        self._views: Views | None = None
        self._viewed_at = -math.inf
        self._view_wanted = trio.Event()
        # The turn in progress, while its player waits for the answer.
        self._unanswered: PacketTurn | None = None
        # What of the game's own code is running just now, in a turn or in a script; None while
        # it waits for something.
        self._busy: object = None
        # Whether a turn is in progress, and whether what it changes may wait.
        self._in_turn = False
        self._limited = False
        self._failure: BaseException | None = None
        # Those that are in the game, or about to be.
        self._bots: dict[str, BotPlayer] = {}
        # Players that the game sent away, and has not heard of yet.
        self._sent_away: set[str] = set()
        # Until the end of this turn, or of this step of a script.
        self._pushes: list[tuple[list[Member], bytes]] = []
        self._touched: dict[Player, None] = {}
        self._wishes = _Wishes()
        # The same of scripts, which need not wait for a turn that does not come to an end.
        self._script_wishes = _Wishes()
        self._wished = False
        self._joined = trio.lowlevel.ParkingLot()

    # What the game sees, through `pgnet_trio.Room`.

    @property
    def players(self) -> list[str]:
        """The players in join order."""
        return self.members.players

    @property
    def nursery(self) -> ScriptNursery:
        """The nursery of the game's tasks."""
        return self._scripts

    def time(self) -> float:
        """The room's time in seconds."""
        return trio.current_time() - self._start

    def push(
        self,
        message: object,
        payload: dict[str, Any] | None = None,
        to: str | Iterable[str] | None = None,
        exclude: str | Iterable[str] = (),
    ) -> None:
        """Have something sent unasked, at the end of this turn."""
        push = to_push(message, payload)
        if push.message.startswith("__pgnet__."):
            raise ValueError(f"{push.message!r}: messages that begin so are the server's own")
        envelope = encode_push(push)
        members = self.members.select(to, exclude)
        if members:
            self._pushes.append((members, envelope))
            if not self._busy:
                self.sync()

    def kick(self, player: str, reason: str = "") -> None:
        """Send a player away after this turn."""
        if player in self.members:
            self._wish().kicks[player] = reason
            self._poke()

    def end(self, reason: str = "") -> None:
        """End the game after this turn."""
        wishes = self._wish()
        if wishes.end is None:
            wishes.end = reason or GONE
            self._poke()

    def sync(self) -> None:
        """Send what has changed of the state, and what was pushed, now."""
        if self._end_reason is None and self._made:
            self._publish()
            self._flush()

    def saved(self, model: type[ModelT]) -> ModelT | None:
        """Read the save string as a model."""
        return decode_json(self._loaded, model) if self._loaded else None

    async def ask(
        self,
        player: str,
        question: object,
        answer: type[AnswerT],
        timeout: float | None,
        default: AnswerT | NoDefault,
        check: Callable[[AnswerT], None] | None,
    ) -> AnswerT:
        """Ask a player something; see `pgnet_trio.Room.ask`."""
        self._refuse_in_turn("ask")
        member = self.members.get(player)
        if member is None or member.is_spectator:
            raise PlayerLeft(f"{player!r} cannot be asked: no such player is in the game.")
        # Who is asked has to see what this step of the script has changed before.
        self.sync()
        return await self._questions.ask(
            member,
            player,
            question,
            answer,
            timeout=timeout,
            default=default,
            check=check,
        )

    async def wait_players(self, count: int) -> list[str]:
        """Wait until there are so many players."""
        self._refuse_in_turn("wait_players")
        await trio.lowlevel.checkpoint()
        # Those whom `user_joined` has not let in yet may still be refused.
        while len(players := self.members.entered_players) < count:
            await self._joined.park()
        return players

    def add_bot(self, bot: BotPlayer) -> None:
        """Have a bot join."""
        check_bot_name(bot.username)
        if bot.username in self.members or bot.username in self._bots:
            raise ValueError(f"{bot.username!r} is in the game {self.name!r} already")
        if self._end_reason is None:
            self._bots[bot.username] = bot
            self._play_nursery.start_soon(self._run_bot, bot)

    async def save(self) -> None:
        """Save this game; on disk when this returns."""
        self._take_save_string()
        await self._save_now()

    # What the server's other tasks call.

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Make the game, and run it until the room is closed or the game raises.

        Nothing that the game raises comes out, except what ends the whole program
        (``KeyboardInterrupt``, ``SystemExit``). Started once the game was made, or failed to be.
        Cancellation ends the turn in progress.
        """
        self._task = trio.lowlevel.current_task()
        self.save_string = None
        try:
            with self._scope:
                while not await self._play_to_the_end(task_status):
                    self._loaded = self.save_string or self._loaded
        finally:
            if self._end_reason is None:
                # Only a cancellation, or what ends the whole program, ends a room that nobody
                # closed; its game is not over.
                self.crashed = True
            self.close(GONE)
            # A script that was cancelled has left its last step here.
            self._busy = None
            if self._watchdog.room is self:
                # Else an ended game would stay in memory until another one runs.
                self._watchdog.room = None
            self._refuse_what_waits()
            self.ended.set()
        if not self._started:
            task_status.started()

    def handle(self, turn: PacketTurn) -> None:
        """Have the game answer a packet; the player gets the answer when its turn is over."""
        if self._end_reason is None:
            self._put(turn)
        else:
            self._refuse(turn)

    def handle_answer(self, turn: PacketTurn, question_id: int) -> None:
        """Take the answer to a question; this goes round the queue, and never waits."""
        busy, self._busy = self._busy, turn
        self._watchdog.room = self
        try:
            response = self._questions.take_answer(turn.player.username, question_id, turn.packet)
        finally:
            self._busy = busy
        turn.player.answer(turn, response)
        turn.player.flush()
        if self._pushes or self._wished:
            self._poke()

    async def join(self, player: Player, *, spectate: bool = False) -> float:
        """Tell the game that a user has joined, and wait until it took note.

        Cancelling this does not take it back: the game is still told.

        Returns:
            The game's heartbeat rate, in heartbeats a second.

        Raises:
            RoomClosed: The game ended before that.
            JoinRefused: The game does not let them in.
        """
        rate = 0.0

        async def joined() -> None:
            nonlocal rate
            member = Member(player, is_spectator=spectate)
            self._check_room_for(member)
            rate = self._heartbeat_rate()
            self.members.add(member)
            try:
                if not spectate:
                    await self._hook(self._game.user_joined(player.username))
            except BaseException as error:
                self.members.remove(player.username)
                self._questions.player_left(player.username)
                if isinstance(error, Reject):
                    raise JoinRefused(error.reason, error.payload) from None
                raise
            self._enter(member, rate)

        await self._wait_for(self._post(joined))
        if self._end_reason is not None:
            raise RoomClosed(self._end_reason)
        if player.username not in self.members:
            raise RoomClosed(f"The game {self.name!r} sent you away.")
        return rate

    def leave(
        self,
        username: str,
        reason: str = "left",
        message: str = "",
        *,
        player: Player | None = None,
    ) -> trio.Event:
        """Tell the game that a user has left; a game that nobody is in any more may end.

        Args:
            username: Who left.
            reason: A word for programs: left, kicked.
            message: Why, for people.
            player: The one who left, where another one of the name may have come since.

        Returns:
            An event that is set when the game took note, or ended.
        """

        async def left() -> None:
            member = self.members.get(username)
            if player is not None and member is not None and member.player is not player:
                return
            member = self._exit(username, reason, message)
            played = username in self._sent_away if member is None else not member.is_spectator
            self._sent_away.discard(username)
            if played:
                await self._hook(self._game.user_left(username))
            if self._is_empty() and not self._game.persistent:
                self.close(GONE)

        return self._post(left).done

    def drop(self, username: str) -> None:
        """Tell the game that a player's connection dropped."""
        self._tell_presence(username, online=False)

    def resume(self, username: str) -> None:
        """Tell the game that a player is back, over another connection."""
        self._tell_presence(username, online=True)

    def introduce(self, player: Player) -> None:
        """Show a player everything afresh: they have come with another client."""

        def introduced() -> None:
            member = self.members.get(player.username)
            if member is not None and member.entered:
                self._enter(member, self._heartbeat_rate())
                player.flush()

        if self._in_turn or self._inbox or not self._made:
            self._post(introduced)
            return
        # At once where that is possible: then it is there with the welcome.
        busy, self._busy = self._busy, introduced
        try:
            introduced()
        except Exception as error:
            self._fail(error)
        finally:
            self._busy = busy

    def close_if_empty(self) -> None:
        """End the game where nobody is in it, and nobody wants it kept."""

        def end_if_empty() -> None:
            if self._is_empty() and not self._game.persistent:
                self.close(GONE)

        self._post(end_if_empty)

    @property
    def busy(self) -> object:
        """What of the game's code runs now, another object each time; None for nothing."""
        return self._busy

    @property
    def lobby_extras(self) -> dict[str, Any]:
        """What the directory of games shows beyond PGNet's, where it is not as by default."""
        extras: dict[str, Any] = {}
        try:
            most = self._game.max_players if self._made else None
        except Exception as error:
            self._fail(error)
            most = None
        if most is not None:
            extras["max_players"] = most
        if self.locked:
            extras["locked"] = True
        if self.options:
            extras["options"] = dict(self.options)
        return extras

    async def take_save_string(self) -> None:
        """Have `save_string` brought up to date, and wait for it.

        Raises:
            RoomClosed: The game ended before that.
        """
        await self._wait_for(self._post(self._take_save_string))

    def close(self, reason: str, kind: str = "closed") -> None:
        """Take no more turns: the one in progress gets `TURN_DEADLINE` seconds to end.

        Args:
            reason: Why, for people.
            kind: A word for programs: closed, crashed, destroyed.
        """
        if self._end_reason is not None:
            return
        if self._made and not self.crashed:
            try:
                self._publish()
            except Exception as error:
                logger.exception("Game %r raised while it was closed", self.name)
                self.note_failure(error)
        self._end_reason = reason
        self._scope.deadline = trio.current_time() + TURN_DEADLINE
        self._on_end(reason)
        if self._made:
            # Before they hear that players left: a game that is over need not mind.
            self._scripts.cancel_scope.cancel()
        for member in self.members:
            self._questions.player_left(member.player.username)
            member.player.exit_game(kind, reason, self.time())
            member.player.flush()
        self.members.clear()
        self._wake()

    async def finish(self) -> None:
        """Close because the server ends: the turn in progress ends, then the game is saved.

        A game that does not get there within `TURN_DEADLINE` seconds is saved as it was when
        `save_string` was last taken. Cancellation leaves the room closing.
        """
        self._saves_at_end = self._end_reason is None
        self.close("The server is shutting down.")
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
        self.note_failure(error)
        self._busy = None
        self._in_turn = False
        self._pushes.clear()
        self._wishes = _Wishes()
        self._script_wishes = _Wishes()
        # They are gone with the game that had added them.
        for name in [name for name in self.members.players if is_bot_name(name)]:
            self.members.remove(name)
            self._tell_players({name: None})
        if not again:
            self.crashed = True
            self.close(CRASHED, "crashed")
        self._refuse_unanswered(CRASHED)
        return again

    async def _run_bot(self, bot: BotPlayer) -> None:
        in_turn.set(False)
        try:
            await run_bot(self, bot)
        finally:
            if self._bots.get(bot.username) is bot:
                del self._bots[bot.username]

    def _may_restart(self) -> bool:
        if not self._started or self._end_reason is not None:
            return False
        try:
            if self._game.on_crash != "restart":
                return False
        except Exception:
            return False
        now = trio.current_time()
        too_many = len(self._crashes) == RESTARTS and self._crashes[0] > now - RESTART_WINDOW
        self._crashes.append(now)
        return not too_many

    def _fail(self, error: BaseException) -> None:
        """Have the game end as if a turn of it had raised this; for what runs in other tasks."""
        if self._failure is None:
            self._failure = error
            self._play_nursery.cancel_scope.cancel()

    async def _play(self, task_status: trio.TaskStatus[None]) -> None:
        try:
            await self._play_unless_it_fails(task_status)
        finally:
            failure, self._failure = self._failure, None
            if failure is not None:
                raise failure
        if self._saves_at_end:
            self._take_save_string()

    async def _play_unless_it_fails(self, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            self._play_nursery = nursery
            scripts: ScriptNursery = await nursery.start(self._hold_scripts)
            self._scripts = scripts
            token = current_room.set(self)
            try:
                self._game = self._make_game(self._loaded)
            finally:
                current_room.reset(token)
            self._learn(type(self._game))
            self._made = True
            if not self._started:
                self._publish()
                self._started = True
                task_status.started()
            else:
                await self._welcome_back()
            if self._ticks:
                nursery.start_soon(self._tick)
            if self._views is not None:
                nursery.start_soon(self._pace_views)
            if type(self._game).run is not Game.run:
                self._scripts.adopt(self._run_script)
            await self._take_turns()
            nursery.cancel_scope.cancel()

    def _learn(self, game_class: type[Game]) -> None:
        self._handlers = game_class._handlers
        self._has_info = game_class.get_lobby_info is not Game.get_lobby_info
        self._has_heartbeat = (
            game_class.handle_heartbeat is not Game.handle_heartbeat
            or game_class.handle_packet is not Game.handle_packet
        )
        self._ticks = game_class.update is not Game.update and self._game.update_rate > 0
        self._views = Views(self._game) if game_class.view is not Game.view else None
        self._needs_pushes = not self._has_heartbeat and (
            self._views is not None or _uses_pushes(game_class)
        )

    async def _hold_scripts(self, *, task_status: trio.TaskStatus[ScriptNursery]) -> None:
        async with trio.open_nursery() as nursery:
            task_status.started(ScriptNursery(nursery, self._before_step, self._after_step))
            await trio.sleep_forever()

    async def _run_script(self) -> None:
        steps = 0

        def after_step() -> None:
            nonlocal steps
            steps += 1
            self._after_step()

        in_turn.set(False)
        reason = GONE
        try:
            await stepped(self._game.run(), self._before_step, after_step)
        except* PlayerLeft as group:
            # A script that does nothing about players who leave is over when one does.
            after_step()
            reason = str(bare(group.exceptions[0]))
        if steps <= 1:
            raise RuntimeError(
                f"{type(self._game).__name__}.run returned at once, and its end is the end of the "
                "game; have it wait for something, such as self.room.wait_players(2)."
            )
        self.end(reason)

    async def _welcome_back(self) -> None:
        """Tell a game that was made again who is in it."""
        for member in self.members:
            if member.seat is None:
                continue
            self._in_turn = True
            self._busy = member
            try:
                await self._hook(self._game.user_joined(member.seat))
            except Reject as reject:
                self._wishes.kicks[member.seat] = reject.reason
                self._wished = True
            finally:
                self._busy = None
                self._in_turn = False
        self._joined.unpark_all()
        self._publish()
        self._settle()

    async def _take_turns(self) -> None:
        in_turn.set(True)
        inbox = self._inbox
        in_a_row = 0
        started: float | None = None
        while True:
            if not inbox:
                self._flush()
                if self._end_reason is not None:
                    return
                in_a_row = 0
                self._waiting = True
                await trio.lowlevel.wait_task_rescheduled(self._stop_waiting)
                started = None
                continue
            # What several turns say to a player leaves together, if they do not take long.
            if in_a_row:
                now = trio.current_time()
                if started is None:
                    started = now
                elif now - started > LONGEST_HOLD:
                    self._flush()
                    started = now
            in_a_row += 1
            if in_a_row == TURNS_IN_A_ROW:
                self._flush()
                in_a_row = 0
                await trio.lowlevel.checkpoint()
                started = None
            turn = inbox.popleft()
            if self._end_reason is not None:
                self._refuse(turn)
            elif isinstance(turn, PacketTurn):
                await self._take_packet(turn)
            else:
                await self._run_errand(turn)

    def _stop_waiting(self, _: object) -> trio.lowlevel.Abort:
        self._waiting = False
        return trio.lowlevel.Abort.SUCCEEDED

    def _wake(self) -> None:
        if self._waiting:
            assert self._task is not None
            self._waiting = False
            trio.lowlevel.reschedule(self._task)

    def _put(self, turn: PacketTurn | _Errand) -> None:
        self._inbox.append(turn)
        if self._waiting:
            self._wake()

    async def _run_errand(self, errand: _Errand) -> None:
        self._in_turn = True
        self._limited = errand.limited
        self._busy = errand
        self._watchdog.room = self
        try:
            try:
                await self._hook(errand.action())
            finally:
                self._busy = None
            errand.ran = True
            if self._end_reason is None:
                self._publish(limited=errand.limited)
        except JoinRefused as refused:
            errand.refusal = refused
            self._publish()
        except Exception:
            errand.failure = CRASHED
            raise
        finally:
            self._in_turn = False
            errand.done.set()
        self._settle()

    async def _take_packet(self, turn: PacketTurn) -> None:
        self._unanswered = turn
        self._in_turn = True
        self._limited = turn.quiet
        self._busy = turn
        self._watchdog.room = self
        try:
            response = await self._respond(turn)
        finally:
            self._busy = None
            self._in_turn = False
        if response.disconnecting:
            response = Response(
                response.message, response.payload, response.status, explicit_time(response)
            )
            self._send_away(turn.player.username, response.message)
        if (self._views is not None or self._pushes or self._has_info) and not self._end_reason:
            self._publish(limited=turn.quiet)
        self._unanswered = None
        turn.player.answer(turn, response)
        self._touched[turn.player] = None
        if self._wished:
            self._settle()

    async def _respond(self, turn: PacketTurn) -> Response:
        packet = turn.packet
        member = self.members.get(turn.player.username)
        if member is None or member.seat is None:
            text = "You are in no game." if member is None else "You only watch this game."
            return Response(text, status=Status.UNEXPECTED)
        handler = self._handlers.get(packet.message)
        if handler is None:
            result: Any = self._game.handle_packet(packet)
            if isinstance(result, Response):
                return result
            result = await self._hook(result)
            if isinstance(result, Response):
                return result
            raise TypeError(
                f"{type(self._game).__name__} has to answer a packet with a Response; it "
                f"returned {result!r}."
            )
        try:
            model_class: type[Any] = handler.model
            model = packet.read(model_class)
        except CodecError as error:
            return Response(f"{packet.message}: {error}", status=Status.UNEXPECTED)
        try:
            result = handler.function(self._game, turn.player.username, model)
            if inspect.isawaitable(result):
                result = await self._hook(result)
        except Reject as reject:
            return Response(reject.reason, reject.payload, Status.UNEXPECTED)
        try:
            return to_response(result)
        except TypeError as error:
            raise TypeError(
                f"{type(self._game).__name__}.{handler.function.__name__} returned what cannot "
                f"be an answer: {error}"
            ) from None

    async def _hook(self, result: Any) -> Any:
        """Wait for what a hook returned, where it is async: each step of it is published."""
        if not inspect.isawaitable(result):
            return result
        coroutine = result if inspect.iscoroutine(result) else finish(result)
        try:
            return await stepped(coroutine, self._before_step, self._after_step_of_turn)
        finally:
            self._busy = coroutine

    def _before_step(self) -> None:
        # A new object each time, so that one step can be told from the next.
        self._busy = [None]
        self._watchdog.room = self

    def _after_step(self) -> None:
        self._step_over(limited=False, wishes=self._script_wishes)

    def _after_step_of_turn(self) -> None:
        self._step_over(limited=self._limited)

    def _step_over(self, *, limited: bool, wishes: _Wishes | None = None) -> None:
        self._busy = None
        if self._end_reason is not None or not self._made or self._failure is not None:
            return
        try:
            self._publish(limited=limited)
            self._flush()
            if wishes is not None and self._wished:
                self._fulfil(wishes)
        except BaseException as error:
            # Nothing may be thrown into a coroutine that waits: whom it waits for would wake a
            # task that is gone.
            self._fail(error)

    # What the game says is made known at the end of each turn, and of each step of a script.

    def _publish(self, *, limited: bool = False) -> None:
        """Make known what has changed: the lobby's information, then the state, then pushes.

        It leaves with the next `_flush`.

        Args:
            limited: Whether the state waits where it was sent a moment ago.
        """
        if self._has_info:
            info = self._game.get_lobby_info()
            if not isinstance(info, str):
                raise TypeError(f"get_lobby_info() has to return a str; it returned {info!r}.")
            self.info = info
        touched = self._touched
        if self._views is not None:
            # The same sum as in `_pace_views`, so that no rounding comes between.
            if limited and trio.current_time() < self._viewed_at + self._sync_interval():
                self._view_wanted.set()
            else:
                self._viewed_at = trio.current_time()
                # What it pushes waits for its end.
                busy, self._busy = self._busy, [self._views]
                try:
                    for viewer in self._views.refresh(self.members.entered):
                        touched[viewer.player] = None
                finally:
                    self._busy = busy
        if self._pushes:
            pushes, self._pushes = self._pushes, []
            for members, envelope in pushes:
                for member in members:
                    member.push(envelope)
                    touched[member.player] = None

    def _flush(self) -> None:
        """Have everything written that was said since the last time."""
        if self._touched:
            touched, self._touched = self._touched, {}
            for player in touched:
                player.flush()

    def _wish(self) -> _Wishes:
        """Give the wishes of who calls this, which is about to add to them."""
        self._wished = True
        return self._wishes if in_turn.get() else self._script_wishes

    def _settle(self) -> None:
        """Do what waits for the end of a turn: kicks, the game's end."""
        if self._wished:
            self._wished = False
            self._fulfil(self._wishes)
            self._fulfil(self._script_wishes)

    def _fulfil(self, wishes: _Wishes) -> None:
        if wishes.kicks and self._end_reason is None:
            kicks, wishes.kicks = wishes.kicks, {}
            for username, reason in kicks.items():
                self._send_away(username, reason)
        if wishes.end is not None:
            self.close(wishes.end)

    def _send_away(self, username: str, reason: str) -> None:
        """Have a member out of the game now; the game hears of it in a turn of its own."""
        member = self._exit(username, "kicked", reason)
        if member is not None:
            if not member.is_spectator:
                self._sent_away.add(username)
            self._dismiss(username)
            self.leave(username)

    def _sync_interval(self) -> float:
        rate = self._game.sync_rate
        return 1 / rate if rate > 0 else math.inf

    async def _pace_views(self) -> None:
        while True:
            await self._view_wanted.wait()
            await trio.sleep_until(self._viewed_at + self._sync_interval())
            self._view_wanted = trio.Event()
            self._post(_nothing, limited=True)

    # Ctrl-C is for a game that does not come to an end, and not for what is about to wake it.
    @trio.lowlevel.enable_ki_protection
    async def _tick(self) -> None:
        game = self._game

        def update() -> Any:
            # One that waited behind the turn that raised is not for the game that came after.
            return game.update() if game is self._game else None

        interval = 1 / game.update_rate
        deadline = trio.current_time() + interval
        errand: _Errand | None = None
        while True:
            await trio.sleep_until(deadline)
            late = int((trio.current_time() - deadline) / interval)
            deadline += (late + 1) * interval
            self.missed_ticks += late
            if errand is None or errand.done.is_set():
                errand = self._post(update, limited=True)
            else:
                self.missed_ticks += 1

    def _check_room_for(self, member: Member) -> None:
        if self._needs_pushes and not member.player.takes_pushes:
            raise JoinRefused(
                f"The game {self.name!r} needs a client with protocol 2; this one speaks "
                "protocol 1."
            )
        if member.is_spectator:
            return
        if self.locked:
            raise JoinRefused(f"The game {self.name!r} takes nobody more now.")
        most = self._game.max_players
        if most is not None and len(self.members.players) >= most:
            raise JoinRefused(f"The game {self.name!r} is full: it takes {most} players.")

    def _heartbeat_rate(self) -> float:
        rate = float(self._game.heartbeat_rate)
        return rate if rate > 0 else DEFAULT_HEARTBEAT_RATE

    def _enter(self, member: Member, heartbeat_rate: float) -> None:
        """Tell a member that they are in, with all that there is to know."""
        player = member.player
        player.enter_game(self.name, heartbeat_rate if self._has_heartbeat else 0.0, self.time())
        if self._views is not None:
            self._views.welcome(member)
        is_new = not member.entered
        member.entered = True
        player.push(_presence(self.members.presence, whole=True))
        for envelope in member.early:
            player.push(envelope)
        member.early.clear()
        for question in self._questions.of(player.username):
            player.ask(question)
        if is_new and not member.is_spectator:
            self._tell_players({player.username: player.online}, exclude=member)
            self._joined.unpark_all()

    def _exit(self, username: str, reason: str, message: str) -> Member | None:
        """Have a member out, after the last that there was to know; None where there is none."""
        member = self.members.get(username)
        if member is None:
            return None
        self._publish()
        self.members.remove(username)
        self._bots.pop(username, None)
        if self._views is not None:
            self._views.forget(member)
        member.player.exit_game(reason, message, self.time())
        member.player.flush()
        if not member.is_spectator:
            self._questions.player_left(member.player.username)
            self._tell_players({member.player.username: None})
        return member

    def _tell_presence(self, username: str, *, online: bool) -> None:
        async def told() -> None:
            member = self.members.get(username)
            if member is None or member.is_spectator:
                return
            self._tell_players({username: online}, exclude=member)
            hook = self._game.player_resumed if online else self._game.player_dropped
            await self._hook(hook(username))

        self._post(told)

    def _tell_players(
        self, changes: Mapping[str, bool | None], exclude: Member | None = None
    ) -> None:
        members = [member for member in self.members.entered if member is not exclude]
        if members:
            self._pushes.append((members, _presence(changes, whole=False)))

    def _take_save_string(self) -> None:
        if not self._game.persistent:
            self.save_string = ""
            return
        save_string = self._game.get_save_string()
        if not isinstance(save_string, str):
            if not attrs.has(type(save_string)):
                raise TypeError(
                    "get_save_string() has to return a str or an attrs model; "
                    f"it returned a {type(save_string).__name__}."
                )
            save_string = encode_json(save_string)
        self.save_string = save_string

    def _post(self, action: Callable[[], Any], *, limited: bool = False) -> _Errand:
        errand = _Errand(action, limited)
        if self._end_reason is None:
            self._put(errand)
        else:
            self._refuse(errand)
        return errand

    def _poke(self) -> None:
        """See to it that `_settle` is reached soon."""
        if not self._busy:
            self._post(_nothing)

    async def _wait_for(self, errand: _Errand) -> None:
        await errand.done.wait()
        if errand.refusal is not None:
            raise errand.refusal
        if not errand.ran:
            raise RoomClosed(errand.failure or self._end_reason or GONE)

    def _refuse_in_turn(self, name: str) -> None:
        if in_turn.get():
            raise RuntimeError(
                f"room.{name}() was called in a turn (a hook, a handler or a tick), where it "
                "could never end: the answer is another turn. Call it in run(), or in a task "
                "started with room.nursery.start_soon()."
            )

    def _refuse(self, turn: PacketTurn | _Errand, reason: str = "") -> None:
        if isinstance(turn, PacketTurn):
            text = reason or self._end_reason or GONE
            turn.player.answer(turn, Response(text, status=Status.UNEXPECTED))
            turn.player.flush()
        else:
            turn.done.set()

    def _refuse_unanswered(self, reason: str = "") -> None:
        turn, self._unanswered = self._unanswered, None
        if turn is not None:
            self._refuse(turn, reason)

    def _refuse_what_waits(self) -> None:
        self._refuse_unanswered()
        while self._inbox:
            self._refuse(self._inbox.popleft())


def _nothing() -> None:
    """What an errand does that is there for what follows each turn."""


def _presence(players: Mapping[str, bool | None], *, whole: bool) -> bytes:
    """Tell who is there: connected (True), dropped (False), or gone (None)."""
    return encode_push(Push(PLAYERS, {"players": dict(players), "all": whole}))


def _uses_pushes(game_class: type[Game]) -> bool:
    """Whether a class reaches for what only protocol 2 can carry."""
    for base in game_class.__mro__:
        if base is Game:
            break
        for function in vars(base).values():
            names = set(_names_used(getattr(function, "__code__", None)))
            if "room" in names and not _PUSHING.isdisjoint(names):
                return True
    return False


def _names_used(code: Any) -> Iterator[str]:
    """The attributes and globals that a function names, and the functions within it."""
    yield from getattr(code, "co_names", ())
    for constant in getattr(code, "co_consts", ()):
        yield from _names_used(constant)


_PUSHING = {"push", "ask", "ask_all"}
