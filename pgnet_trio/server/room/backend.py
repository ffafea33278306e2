"""What the author's game gets of its room, behind ``self.room``."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import trio

from pgnet_trio.codec import decode_json
from pgnet_trio.errors import PlayerLeft, StorageError
from pgnet_trio.foreign_text import one_line
from pgnet_trio.game import ReadyCheck
from pgnet_trio.protocol.v2.envelopes import encode_push
from pgnet_trio.server.refusals import ReportRefused, SaveRefused
from pgnet_trio.server.room.bots import is_bot_name
from pgnet_trio.server.room.deferred import in_turn
from pgnet_trio.typed import check_game_message, to_push

if TYPE_CHECKING:
    from pgnet_trio.game import BotPlayer, NoDefault, ReadyState, Seat, SeatPlan
    from pgnet_trio.netcode import Past
    from pgnet_trio.server.room.bots import Bots
    from pgnet_trio.server.room.instance import GameInstance
    from pgnet_trio.server.room.members import Members
    from pgnet_trio.server.room.membership import Membership
    from pgnet_trio.server.room.owner import RoomOwner
    from pgnet_trio.server.room.player import PacketTurn
    from pgnet_trio.server.room.publisher import Publisher
    from pgnet_trio.server.room.questions import Questions
    from pgnet_trio.server.room.runner import Runner
    from pgnet_trio.server.room.scripts import ScriptNursery
    from pgnet_trio.standings import Leaderboard, PlayedGame, Result

__all__ = ["RoomParts", "ServerRoom"]

logger = logging.getLogger("pgnet_trio.server")

AnswerT = TypeVar("AnswerT")
ModelT = TypeVar("ModelT")

SHORTEST_WAIT = 0.01
"""Seconds: an answer that is waited for less long than this is not waited for at all."""


class RoomParts(Protocol):
    """The parts of a room that its game makes use of; see `RoomTask`, which has them.

    A Protocol, because the room makes its `ServerRoom`: to import its class here would be a circle.
    """

    name: str
    options: Mapping[str, Any]
    owner: RoomOwner
    members: Members
    instance: GameInstance
    publisher: Publisher
    runner: Runner
    questions: Questions
    membership: Membership
    bots: Bots
    scripts: ScriptNursery

    def handle_answer(self, turn: PacketTurn, question_id: int, /) -> None:
        """Take the answer to a question."""


class ServerRoom:
    """The server's `pgnet_trio.game.RoomBackend`: passes on what the game asks for.

    Args:
        room: The room.
        seed: Seeds the game's randomness.

    Attributes:
        name: The game's name.
        options: What the game was created with.
        random: The game's randomness.
    """

    def __init__(self, room: RoomParts, seed: int | bytes | None) -> None:
        self.name = room.name
        self.options = room.options
        self.random = random.Random(seed)
        self._room = room
        self._has_seats = False

    @property
    def players(self) -> list[str]:
        """The players in join order."""
        return self._room.members.players

    @property
    def nursery(self) -> ScriptNursery:
        """The nursery of the game's tasks."""
        return self._room.scripts

    @property
    def locked(self) -> bool:
        """Whether nobody more may join."""
        return self._room.membership.locked

    @locked.setter
    def locked(self, locked: bool) -> None:
        self._room.membership.locked = locked

    @property
    def unlisted(self) -> bool:
        """Whether the directory of games leaves this one out."""
        return self._room.members.unlisted

    @unlisted.setter
    def unlisted(self, unlisted: bool) -> None:
        self._room.members.unlisted = unlisted

    @property
    def users(self) -> list[str]:
        """The players who are no bots, and were told that they are in."""
        entered = set(self._room.members.entered_players)
        return [name for name in self._room.members.users if name in entered]

    @property
    def host(self) -> str | None:
        """Whose table it is."""
        host = self._room.members.host
        host.is_used = True
        return host.current(self._room.members.users)

    @host.setter
    def host(self, name: str) -> None:
        members = self._room.members
        if name not in members.users:
            raise ValueError(f"room.host: expected a user who plays here, got {name!r}")
        members.host.is_used = True
        members.host.name = name

    @property
    def seats(self) -> SeatPlan:
        """Who has which seat."""
        return self._room.members.seats

    def declare_seats(self, seats: tuple[Seat, ...] | None) -> None:
        """Set which seats there are, for a game that is being made."""
        instance = self._room.instance
        # A game of the author's that this one makes for itself has no room.
        if instance.is_making and not self._has_seats:
            self._has_seats = True
            self._room.members.seats.declare(seats)

    @property
    def ready(self) -> ReadyState:
        """Who is ready."""
        return self._room.members.ready

    def time(self) -> float:
        """Return the room's time in seconds."""
        instance = self._room.instance
        now = instance.time()
        return now if instance.tape is None else instance.tape.time(now)

    @property
    def tick(self) -> int:
        """The number of the latest update."""
        return self._room.publisher.simulation.tick

    @property
    def dt(self) -> float:
        """Seconds from one update to the next."""
        return self._room.publisher.simulation.dt

    def next_input(self, player: str) -> Any:
        """Return a player's input of this tick."""
        return self._room.publisher.simulation.next_input(player)

    def input_repeated(self, player: str) -> bool:
        """Return whether that is the one before, played again."""
        return self._room.publisher.simulation.is_repeated(player)

    def rewind(self, player: str) -> Past:
        """Return where things were when a player saw them."""
        return self._room.publisher.simulation.rewind(player)

    def push(
        self,
        message: object,
        payload: dict[str, Any] | None = None,
        to: str | Iterable[str] | None = None,
        exclude: str | Iterable[str] = (),
    ) -> None:
        """Send something unasked, at the end of this turn."""
        push = to_push(message, payload)
        check_game_message(push.message)
        room = self._room
        room.instance.declared.check_push(message, push)
        envelope = encode_push(push)
        members = room.members.select(to, exclude)
        if members:
            room.publisher.check_push(members, envelope)
            self._note_need_of_pushes()
            room.publisher.push(members, envelope)
            tape = room.instance.tape
            if tape is not None:
                tape.note_push((member.player.username for member in members), envelope)
            # In a task of the author's own, no end of a turn or step follows, so send it now.
            if not room.runner.busy:
                room.runner.sync()

    def kick(self, player: str, reason: str = "") -> None:
        """Kick a member after this turn; of whoever is not here, end the invitation."""
        self._room.members.invitations.end(player)
        if player in self._room.members:
            self._room.runner.defer_kick(player, reason)

    def end(self, reason: str = "") -> None:
        """End the game after this turn."""
        self._room.runner.defer_end(reason)

    def rematch(self) -> None:
        """Let a new game begin after this turn."""
        room = self._room
        if not room.instance.made or room.instance.is_making or room.membership.is_beginning:
            raise RuntimeError(
                "room.rematch() was called before the game has begun itself: in __init__, or in "
                "user_joined for those who were there already. Call it when the game is over."
            )
        room.runner.defer_rematch()

    def sync(self) -> None:
        """Make known what has changed, now."""
        self._room.runner.sync()

    def saved(self, model: type[ModelT]) -> ModelT | None:
        """Read the save string as a model."""
        loaded = self._room.instance.loaded
        return decode_json(loaded, model) if loaded else None

    def refuse_in_turn(self, what: str) -> None:
        """Raise RuntimeError in a turn, which would wait in vain for another turn."""
        if in_turn.get():
            error = RuntimeError(
                f"room.{what}() was called in a turn (a hook, a handler or a tick), where it "
                "could never end: the answer is another turn. Call it in run(), or in a task "
                "started with room.nursery.start_soon()."
            )
            self.note_failed_call(error)
            raise error

    def note_failed_call(self, error: Exception) -> None:
        """Count a call that came to nothing at once; end a game that does nothing else."""
        self._room.runner.note_failed_call(error)

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
        self.refuse_in_turn("ask")
        room, tape = self._room, self._room.instance.tape
        if tape is not None and (waiting := tape.ask(player)) is not None:
            await waiting
        try:
            if not isinstance(question, ReadyCheck):
                # That one is the room's own.
                room.instance.declared.check_question(question, answer)
            member = room.members.get(player)
            if member is None or member.is_spectator:
                raise PlayerLeft(f"{player!r} cannot be asked: no such player is in the game.")
            self._note_need_of_pushes()
            # Before the question: the player has to see what this step of the script has changed.
            room.runner.sync()
            asked = room.questions.put(
                member, player, question, answer, timeout=timeout, check=check
            )
            if tape is not None:
                tape.note_question(asked)
            for turn in room.questions.take_early(asked):
                room.handle_answer(turn, asked.id)
        except Exception as error:
            self.note_failed_call(error)
            raise
        try:
            found = await room.questions.wait_for(
                member, asked, timeout=timeout, default=default, tape=tape
            )
        except trio.TooSlowError:
            self._note_silence(player, timeout)
            raise
        if asked.settled.is_set():
            room.runner.note_call()
        else:
            self._note_silence(player, timeout)
        return found

    async def wait_players(self, count: int) -> list[str]:
        """Wait until there are so many players."""
        self.refuse_in_turn("wait_players")
        found = await self._room.membership.wait_players(count)
        self._room.runner.note_call()
        return found

    async def wait_player(self, seat: Seat) -> str:
        """Wait until somebody plays in a seat."""
        self.refuse_in_turn("seats.wait_player")
        found = await self._room.membership.wait_player(seat)
        self._room.runner.note_call()
        return found

    def add_bot(self, bot: BotPlayer) -> None:
        """Let a bot join."""
        self._room.bots.add(bot)

    def note_seated(self, player: str) -> None:
        """Note that a player plays in a seat of theirs themselves."""
        self._room.membership.note_seated(player)

    async def save(self) -> None:
        """Save this game; on disk when this returns."""
        try:
            self._room.instance.update_save_string()
        except Exception as error:
            self.note_failed_call(error)
            raise
        # Whatever comes of it: a write takes its time.
        self._room.runner.note_call()
        try:
            await self._room.owner.save()
        except StorageError as error:
            raise SaveRefused(str(error)) from error

    async def report(self, result: Result) -> PlayedGame:
        """Count how this game ended; durable when this returns."""
        room = self._room
        outcome = room.members.outcome
        try:
            users = self._users_in(result)
            _check_boards(result, room.instance.leaderboards)
            if outcome.is_reported:
                raise ReportRefused(
                    "this game has reported its result already, and it counts once; "
                    "room.rematch() begins a new game, which may report its own"
                )
        except Exception as error:
            self.note_failed_call(error)
            raise
        room.runner.note_call()
        outcome.is_kept = outcome.is_reported = True
        try:
            if not outcome.is_in_saves:
                await self._save_id()
            return await room.owner.report(result, outcome, users, room.instance.leaderboards)
        except BaseException:
            # Nothing was counted, or nobody knows: it may be reported again.
            outcome.is_reported = False
            raise

    async def _save_id(self) -> None:
        """Save which game this is, where a save does not say it.

        Loaded from that, it would be another one, whose result counts again.
        """
        room, instance = self._room, self._room.instance
        if instance.save_string is None and instance.loaded is None:
            # On disk is nothing of it, or the game before a rematch.
            try:
                instance.update_save_string()
            except Exception as error:
                self.note_failed_call(error)
                raise
        elif instance.save_string is None:
            # The game was not asked for one since: on disk is what it was loaded from.
            instance.save_string = instance.loaded
        if instance.save_string:
            try:
                await room.owner.save()
            except StorageError as error:
                raise ReportRefused(f"{error}; report it again later") from error
        room.members.outcome.is_in_saves = True

    def _users_in(self, result: Result) -> tuple[str, ...]:
        """Return who in a result is no bot.

        Raises:
            ValueError: A name is nobody's who plays or has played in this game.
        """
        members = self._room.members
        users = tuple(name for name in result.players if not is_bot_name(name))
        left = members.outcome.left
        players = {*members.players, *(left or ())}
        spelled = {player.lower(): player for player in players}
        for name in users:
            meant = name if name in players else spelled.get(name.lower())
            if meant != name and (meant is not None or left is not None):
                hint = "" if meant is None else f"; did you mean {meant!r}?"
                raise ValueError(
                    "room.report(): expected names of players who are or were in this game, got "
                    f"{name!r}{hint}"
                )
        return users

    def _note_silence(self, player: str, timeout: float | None) -> None:
        """Note that a player did not answer in time, whether or not the game has a default."""
        if timeout is not None and timeout < SHORTEST_WAIT:
            self.note_failed_call(trio.TooSlowError(f"{player} had {timeout:g} s to answer"))
        else:
            self._room.runner.note_call()

    def _note_need_of_pushes(self) -> None:
        """Note that a game pushes or asks although its class does not show it: in a helper, say."""
        instance = self._room.instance
        if instance.needs_pushes or instance.has_heartbeat:
            return
        # From now on, players with protocol 1 are refused.
        instance.needs_pushes = True
        without = [
            member.player.username
            for member in self._room.members
            if not member.player.takes_pushes
        ]
        if without:
            logger.warning(
                "The game %r pushes or asks something, and clients of protocol 1 do not get it: "
                "%s. Such clients are refused from the start if a method of the class itself calls "
                "room.push or room.ask, or with Server(minimum_protocol=2). Or override "
                "handle_heartbeat, which such clients ask for news",
                self.name,
                one_line(", ".join(without)),
            )


def _check_boards(result: Result, leaderboards: Mapping[str, Leaderboard]) -> None:
    known = [name for name, board in leaderboards.items() if board.rating is None]
    for name in result.boards:
        if name not in known:
            raise ValueError(
                "room.report(): expected leaderboards of scores that the game's class declares "
                f"({', '.join(map(repr, known)) or 'none'}), got {name!r}"
            )
