"""Who comes to a game and goes: joining, leaving, and connections that drop and are back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import trio

from pgnet_trio.errors import Reject
from pgnet_trio.messages import PLAYERS, Push
from pgnet_trio.protocol.v2.envelopes import encode_push
from pgnet_trio.server.refusals import GONE, JoinRefused, RoomClosed
from pgnet_trio.server.room.bots import is_bot_name
from pgnet_trio.server.room.members import Member

if TYPE_CHECKING:
    from pgnet_trio.server.room.bots import Bots
    from pgnet_trio.server.room.instance import Hosted
    from pgnet_trio.server.room.members import Members
    from pgnet_trio.server.room.owner import RoomOwner
    from pgnet_trio.server.room.player import Player
    from pgnet_trio.server.room.publisher import News
    from pgnet_trio.server.room.questions import Questions
    from pgnet_trio.server.room.queue import Inbox
    from pgnet_trio.server.room.runner import Steps

__all__ = ["Attendance"]


class Attendance:
    """Lets members in and out, and tells the game and the others.

    The methods in the first half are called from other tasks, and never wait where they are
    plain functions; those in the second belong to the room.

    Args:
        hosted: The game.
        inbox: Takes the turns in which the game is told.
        news: Makes known who is there.
        steps: Runs the game's hooks.
        members: Who is in the game.
        questions: What they are asked.
        bots: Those of them who are bots.
        owner: Knows whether a user is in the game, and hears whom it sends away.
        close: Ends the game, with a reason.

    Attributes:
        locked: Whether nobody more may join.
    """

    def __init__(
        self,
        hosted: Hosted,
        inbox: Inbox,
        news: News,
        steps: Steps,
        *,
        members: Members,
        questions: Questions,
        bots: Bots,
        owner: RoomOwner,
        close: Callable[[str], None],
    ) -> None:
        self.locked = False
        self._hosted = hosted
        self._inbox = inbox
        self._news = news
        self._steps = steps
        self._members = members
        self._questions = questions
        self._bots = bots
        self._owner = owner
        self._close = close
        # Players that the game sent away, and has not heard of yet.
        self._sent_away: set[str] = set()
        self._joined = trio.lowlevel.ParkingLot()

    # What sessions ask for.

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
            rate = self._hosted.heartbeat_rate()
            self._members.add(member)
            try:
                if not spectate:
                    await self._ask_to_let_in(player.username)
                if self._members.get(player.username) is member:
                    # They were not sent away while the game thought about it.
                    self._enter(member, rate)
            except BaseException:
                self._members.remove(player.username)
                self._questions.player_left(player.username)
                raise

        await self._inbox.wait_for(self._inbox.post(joined))
        if self._inbox.end_reason is not None:
            raise RoomClosed(self._inbox.end_reason)
        if player.username not in self._members:
            raise RoomClosed(f"The game {self._hosted.name!r} sent you away.")
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
            member = self._members.get(username)
            if player is not None and member is not None and member.player is not player:
                return
            member = self._exit(username, reason, message)
            played = username in self._sent_away if member is None else not member.is_spectator
            self._sent_away.discard(username)
            if played:
                await self._steps.hook(self._hosted.game.user_left(username))
            self._end_if_empty()

        return self._inbox.post(left).done

    def drop(self, username: str) -> None:
        """Tell the game that a player's connection dropped."""
        self._tell_presence(username, online=False)

    def resume(self, username: str) -> None:
        """Tell the game that a player is back, over another connection."""
        self._tell_presence(username, online=True)

    def catch_up(self, player: Player) -> None:
        """Tell a player who is back who is there now, if that has changed meanwhile.

        It does not wait for the turn in progress, and leaves with the next flush.
        """
        member = self._members.get(player.username)
        if member is not None and member.missed_presence:
            self._tell_all_players(member)

    def introduce(self, player: Player) -> None:
        """Show a player everything afresh: they have come with another client.

        It does not wait for the turn in progress, so that it is there with the welcome.
        """
        hosted = self._hosted

        def introduced() -> None:
            member = self._members.get(player.username)
            if member is not None and member.entered:
                self._enter(member, hosted.heartbeat_rate())
                player.flush()

        if not hosted.made:
            self._inbox.post(introduced)
            return
        busy, hosted.busy = hosted.busy, introduced
        try:
            introduced()
        except Exception as error:
            hosted.fail(error)
        finally:
            hosted.busy = busy

    def close_if_empty(self) -> None:
        """End the game where nobody is in it, and nobody wants it kept."""
        self._inbox.post(self._end_if_empty)

    # What the room asks for.

    def send_away(self, username: str, reason: str) -> None:
        """Have a member out of the game now; the game hears of it in a turn of its own."""
        member = self._exit(username, "kicked", reason)
        if member is not None:
            if not member.is_spectator:
                self._sent_away.add(username)
            self._owner.user_left(username)
            self.leave(username)

    def dismiss_all(self, reason: str, message: str) -> None:
        """Have everybody out of a game that is over."""
        for member in self._members:
            self._questions.player_left(member.player.username)
            member.player.exit_game(reason, message, self._hosted.time())
            member.player.flush()
        self._members.clear()

    def forget_game(self) -> None:
        """Forget what is gone with the game that raised: its bots, whom it sent away, its lock."""
        self.locked = False
        self._sent_away.clear()
        for name in [name for name in self._members.players if is_bot_name(name)]:
            self._members.remove(name)
            self._tell_players({name: None})

    async def welcome_back(self, kick: Callable[[str, str], None]) -> None:
        """Tell a game that was made again who is in it.

        Args:
            kick: Has a player sent away whom it refuses.
        """
        hosted, steps = self._hosted, self._steps
        for member in self._members:
            if member.seat is None:
                continue
            steps.in_turn = True
            hosted.busy = member
            try:
                await steps.hook(hosted.game.user_joined(member.seat))
            except Reject as reject:
                kick(member.seat, reject.reason)
            finally:
                hosted.busy = None
                steps.in_turn = False
        self._joined.unpark_all()

    async def wait_players(self, count: int) -> list[str]:
        """Wait until there are so many players."""
        await trio.lowlevel.checkpoint()
        # Those whom `user_joined` has not let in yet may still be refused.
        while len(players := self._members.entered_players) < count:
            await self._joined.park()
        return players

    def _end_if_empty(self) -> None:
        if self._owner.is_empty() and not self._hosted.game.persistent:
            self._close(GONE)

    def _check_room_for(self, member: Member) -> None:
        name = self._hosted.name
        if self._hosted.needs_pushes and not member.player.takes_pushes:
            raise JoinRefused(
                f"The game {name!r} needs a client with protocol 2; this one speaks protocol 1."
            )
        if member.is_spectator:
            return
        if self.locked:
            raise JoinRefused(f"The game {name!r} takes nobody more now.")
        most = self._hosted.game.max_players
        if most is not None and len(self._members.players) >= most:
            raise JoinRefused(f"The game {name!r} is full: it takes {most} players.")

    async def _ask_to_let_in(self, username: str) -> None:
        try:
            await self._steps.hook(self._hosted.game.user_joined(username))
        except Reject as reject:
            raise JoinRefused(reject.reason, reject.payload) from None

    def _enter(self, member: Member, heartbeat_rate: float) -> None:
        """Tell a member that they are in, with all that there is to know."""
        hosted = self._hosted
        player, views = member.player, self._news.views
        is_new = not member.entered
        snapshot = None
        if is_new and views is not None:
            # Before they are told anything: where `view` raises, they never were in the game.
            snapshot = views.look_for(member)
        player.enter_game(
            hosted.name, heartbeat_rate if hosted.has_heartbeat else 0.0, hosted.time()
        )
        if not is_new and views is not None:
            snapshot = views.look_for(member)
        if snapshot is not None:
            member.show(snapshot)
        member.entered = True
        self._tell_all_players(member)
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
        member = self._members.get(username)
        if member is None:
            return None
        self._news.publish()
        self._members.remove(username)
        self._bots.forget(username)
        if self._news.views is not None:
            self._news.views.forget(member)
        member.player.exit_game(reason, message, self._hosted.time())
        member.player.flush()
        if not member.is_spectator:
            self._questions.player_left(member.player.username)
            self._tell_players({member.player.username: None})
        return member

    def _tell_presence(self, username: str, *, online: bool) -> None:
        async def told() -> None:
            member = self._members.get(username)
            if member is None or member.is_spectator:
                return
            self._tell_players({username: online}, exclude=member)
            game = self._hosted.game
            hook = game.player_resumed if online else game.player_dropped
            await self._steps.hook(hook(username))

        self._inbox.post(told)

    def _tell_players(
        self, changes: Mapping[str, bool | None], exclude: Member | None = None
    ) -> None:
        members = []
        for member in self._members.entered:
            if member is exclude:
                continue
            if member.player.online:
                members.append(member)
            else:
                # What changes would pile up until they are back; then, who is there is enough.
                member.missed_presence = True
        if members:
            self._news.pushes.append((members, _presence(changes, whole=False)))

    def _tell_all_players(self, member: Member) -> None:
        # Who is away now reads there that they are, which is not true any more when they read it.
        member.missed_presence = not member.player.online
        member.player.push(_presence(self._members.presence, whole=True))


def _presence(players: Mapping[str, bool | None], *, whole: bool) -> bytes:
    """Tell who is there: connected (True), dropped (False), or gone (None)."""
    return encode_push(Push(PLAYERS, {"players": dict(players), "all": whole}))
