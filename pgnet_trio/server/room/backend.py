"""What an author's game gets of its room, behind ``self.room``."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pgnet_trio.codec import decode_json
from pgnet_trio.errors import PlayerLeft
from pgnet_trio.messages import SERVER_PREFIX
from pgnet_trio.protocol.v2.envelopes import encode_push
from pgnet_trio.server.room.bots import check_bot_name
from pgnet_trio.server.room.scripts import in_turn
from pgnet_trio.typed import to_push

if TYPE_CHECKING:
    from pgnet_trio.game import BotPlayer, NoDefault
    from pgnet_trio.server.room.bots import Bots
    from pgnet_trio.server.room.deferred import Wishes
    from pgnet_trio.server.room.instance import Hosted
    from pgnet_trio.server.room.members import Members
    from pgnet_trio.server.room.membership import Attendance
    from pgnet_trio.server.room.owner import RoomOwner
    from pgnet_trio.server.room.publisher import News
    from pgnet_trio.server.room.questions import Questions
    from pgnet_trio.server.room.queue import Inbox
    from pgnet_trio.server.room.scripts import ScriptNursery

__all__ = ["Backend"]

logger = logging.getLogger("pgnet_trio.server")

AnswerT = TypeVar("AnswerT")
ModelT = TypeVar("ModelT")


class Backend:
    """The server's `pgnet_trio.game.RoomBackend`: passes on what the game asks for.

    Args:
        hosted: The game.
        inbox: Says whether it is over.
        news: Takes what it pushes.
        wishes: Takes what it asks for that comes after its turn.
        attendance: Knows who may join.
        members: Who is in the game.
        questions: Takes what it asks them.
        bots: Takes the bots that it adds.
        options: What it was created with.
        seed: Seeds its randomness.
        owner: Puts its save string on disk.

    Attributes:
        name: The game's name.
        options: What it was created with.
        random: Its randomness.
    """

    def __init__(
        self,
        hosted: Hosted,
        inbox: Inbox,
        news: News,
        wishes: Wishes,
        attendance: Attendance,
        *,
        members: Members,
        questions: Questions,
        bots: Bots,
        options: Mapping[str, Any],
        seed: int | bytes | None,
        owner: RoomOwner,
    ) -> None:
        self.name = hosted.name
        self.options = options
        self.random = random.Random(seed)
        self.time = hosted.time
        self.sync = news.sync
        self.end = wishes.end
        self._hosted = hosted
        self._inbox = inbox
        self._news = news
        self._wishes = wishes
        self._attendance = attendance
        self._members = members
        self._questions = questions
        self._bots = bots
        self._owner = owner

    @property
    def players(self) -> list[str]:
        """The players in join order."""
        return self._members.players

    @property
    def nursery(self) -> ScriptNursery:
        """The nursery of the game's tasks."""
        return self._hosted.scripts

    @property
    def locked(self) -> bool:
        """Whether nobody more may join."""
        return self._attendance.locked

    @locked.setter
    def locked(self, locked: bool) -> None:
        self._attendance.locked = locked

    def push(
        self,
        message: object,
        payload: dict[str, Any] | None = None,
        to: str | Iterable[str] | None = None,
        exclude: str | Iterable[str] = (),
    ) -> None:
        """Have something sent unasked, at the end of this turn."""
        push = to_push(message, payload)
        if push.message.startswith(SERVER_PREFIX):
            raise ValueError(f"{push.message!r}: messages that begin so are the server's own")
        envelope = encode_push(push)
        members = self._members.select(to, exclude)
        if members:
            self._note_need_of_pushes()
            self._news.pushes.append((members, envelope))
            if not self._hosted.busy:
                self._news.sync()

    def kick(self, player: str, reason: str = "") -> None:
        """Send a player away after this turn."""
        if player in self._members:
            self._wishes.kick(player, reason)

    def saved(self, model: type[ModelT]) -> ModelT | None:
        """Read the save string as a model."""
        loaded = self._hosted.loaded
        return decode_json(loaded, model) if loaded else None

    def refuse_in_turn(self, what: str) -> None:
        """Raise RuntimeError in a turn, which would wait for another one in vain."""
        if in_turn.get():
            raise RuntimeError(
                f"room.{what}() was called in a turn (a hook, a handler or a tick), where it "
                "could never end: the answer is another turn. Call it in run(), or in a task "
                "started with room.nursery.start_soon()."
            )

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
        member = self._members.get(player)
        if member is None or member.is_spectator:
            raise PlayerLeft(f"{player!r} cannot be asked: no such player is in the game.")
        self._note_need_of_pushes()
        # Who is asked has to see what this step of the script has changed before.
        self._news.sync()
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
        self.refuse_in_turn("wait_players")
        return await self._attendance.wait_players(count)

    def add_bot(self, bot: BotPlayer) -> None:
        """Have a bot join."""
        check_bot_name(bot.username)
        if bot.username in self._members or bot.username in self._bots:
            raise ValueError(f"{bot.username!r} is in the game {self.name!r} already")
        if self._inbox.end_reason is None:
            self._bots.start(bot)

    async def save(self) -> None:
        """Save this game; on disk when this returns."""
        self._hosted.take_save_string()
        await self._owner.save()

    def _note_need_of_pushes(self) -> None:
        """Take note that a game pushes or asks whose class does not show it, in a helper say."""
        hosted = self._hosted
        if hosted.needs_pushes or hosted.has_heartbeat:
            return
        # From now on it refuses those who would not get it.
        hosted.needs_pushes = True
        without = [
            member.player.username for member in self._members if not member.player.takes_pushes
        ]
        if without:
            logger.warning(
                "The game %r pushes or asks something, and clients of protocol 1 do not get it: "
                "%s. Such clients are refused from the start where a method of its class calls "
                "room.push or room.ask itself, or with Server(minimum_protocol=2); or override "
                "handle_heartbeat, which they ask for news",
                self.name,
                ", ".join(without),
            )
