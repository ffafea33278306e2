"""Who is in a game: joining, leaving, kicks, and connections that drop and are back."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from pgnet_trio.errors import Reject
from pgnet_trio.foreign_text import one_line
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.refusals import BANNED, DELETED, KICKED, LEFT, JoinRefused, RoomClosed
from pgnet_trio.server.room.bots import is_bot_name
from pgnet_trio.server.room.members import Member
from pgnet_trio.server.room.queue import do_nothing
from pgnet_trio.server.room.snapshots import UNWATCHABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgnet_trio.game import Seat
    from pgnet_trio.server.room.bots import Bots
    from pgnet_trio.server.room.members import Members
    from pgnet_trio.server.room.owner import RoomOwner
    from pgnet_trio.server.room.player import Player
    from pgnet_trio.server.room.presence import Presence
    from pgnet_trio.server.room.runner import Runner

__all__ = ["Membership"]

logger = logging.getLogger("pgnet_trio.server")


class Membership:
    """Lets members in, takes them out, and tells the game.

    Any task may call the methods under *What sessions ask for*, of which only `join` waits. Those
    under *What the room asks for* are for the room and its game.

    Args:
        runner: Runs the game's hooks, and queues the turns in which they are called.
        members: The members.
        presence: Tells the members.
        bots: Is told which bots are to go.
        owner: Is told which users the game has kicked.

    Attributes:
        locked: Whether nobody more may join.
        is_beginning: Whether a game that was made again is being told who is in it.
        begun: Whether the game has let a user in, or was loaded. One that has not goes with those
            whom it refuses.
        was_entered: Whether anybody has ever been in the game since it was loaded.
    """

    def __init__(
        self, runner: Runner, members: Members, presence: Presence, bots: Bots, owner: RoomOwner
    ) -> None:
        self.locked = False
        self.is_beginning = False
        self.was_entered = False
        self._runner = runner
        self._instance = runner.instance
        self.begun = self._instance.loaded is not None
        self._queue = runner.queue
        self._members = members
        self._presence = presence
        self._bots = bots
        self._owner = owner
        # Players that were kicked, of whom the game has not heard yet, and the word for why.
        self._kicked: dict[str, str] = {}
        self._joined = trio.lowlevel.ParkingLot()
        self._said_unwatchable = False

    # What sessions ask for.

    async def join(self, player: Player, *, spectate: bool = False) -> float:
        """Tell the game that a user has joined, and wait until it has taken note.

        Cancellation does not take it back: the game is still told.

        Returns:
            The game's heartbeat rate, in heartbeats a second.

        Raises:
            RoomClosed: The game ended before that.
            JoinRefused: The game does not let them in.
        """
        rate = 0.0
        member = Member(player, is_spectator=spectate)

        async def joined() -> None:
            nonlocal rate
            self._check_may_join(member)
            if spectate:
                self._check_may_watch(member)
            rate = self._instance.heartbeat_rate()
            members, username = self._members, player.username
            had_seat = members.seats.seat_of(username) is not None
            members.add(member)
            if username in members.users:
                members.host.note_joined(username)
            try:
                if not spectate:
                    await self._ask_to_let_in(player.username)
                # They may have been kicked while the game thought about it.
                if self._members.get(player.username) is member:
                    self._presence.welcome(member, rate)
                    self.was_entered = True
                    members.invitations.end(username)
                    if not spectate:
                        self._note_entered(username)
            except BaseException:
                # This undoes the room's part of the join; `requests._join` undoes the lobby's.
                members.remove(username)
                members.host.note_left(username, members.users)
                if not had_seat:
                    members.seats.leave(username)
                self._presence.withdraw_questions(member)
                raise

        await self._queue.wait_for(self._queue.post(joined, awaited_by=player))
        if self._queue.end_reason is not None and not member.kicked:
            raise RoomClosed(self._queue.end_reason)
        if player.username not in self._members:
            raise RoomClosed(
                f"The game {self._instance.name!r} sent you away.", ReasonCode.SENT_AWAY
            )
        self.begun = self.begun or not is_bot_name(player.username)
        return rate

    async def join_together(self, players: Sequence[Player]) -> None:
        """Let several users into a new game, in one turn: all of them, or none.

        Nobody else may join it, unless the game allows that: it is locked before the first of them
        joins. Where one is refused, the game has heard of those before; close it. Cancellation does
        not take it back: the game is still told.

        Args:
            players: Who, in the order in which they join.

        Raises:
            RoomClosed: The game ended before that.
            JoinRefused: The game does not let one of them in; the error names them.
        """
        members = [Member(player) for player in players]

        async def joined() -> None:
            rate = self._instance.heartbeat_rate()
            for member in members:
                self._check_may_join(member)
            self.locked = True
            try:
                for member in members:
                    await self._let_in(member)
                for member in members:
                    # They may have been kicked while the game thought about the others.
                    if self._members.get(member.player.username) is member:
                        self._presence.welcome(member, rate)
                        self._note_entered(member.player.username)
            except BaseException:
                for member in members:
                    if not member.entered:
                        self._members.remove(member.player.username)
                        self._presence.withdraw_questions(member)
                raise

        await self._queue.wait_for(self._queue.post(joined))
        if self._queue.end_reason is not None:
            raise RoomClosed(self._queue.end_reason)
        self.begun = True

    async def _let_in(self, member: Member) -> None:
        """Take in one of several, of whom nobody is told anything yet."""
        members, username = self._members, member.player.username
        try:
            # Again: those before them are in by now.
            self._check_room(username)
            members.add(member)
            members.host.note_joined(username)
            await self._ask_to_let_in(username)
        except JoinRefused as refusal:
            refusal.username = username
            raise

    def _note_entered(self, username: str) -> None:
        """Note that a player was told that they are in."""
        self.was_entered = True
        self.note_seated(username)
        if username in self._members.users:
            self._members.ready.note_joined(username)

    def leave(
        self,
        username: str,
        reason: str = LEFT,
        message: str = "",
        *,
        player: Player | None = None,
        awaited: bool = False,
    ) -> trio.Event:
        """Tell the game that a user has left; if nobody is in it any more, it may end.

        Args:
            username: The user.
            reason: A word for programs: left, kicked, grace_over, banned, deleted.
            message: Why, for people.
            player: The session that left, if another one of the same user may have come since.
            awaited: Whether the caller waits in order to answer the user, and then writes all that
                the user is told.

        Returns:
            An event that is set when the game has taken note, or has ended.
        """

        async def left() -> None:
            member = self._members.get(username)
            if player is not None and member is not None and member.player is not player:
                call.may_be_last = False
                return
            member = self._take_out(username, reason, message, awaited=awaited)
            kicked = self._kicked.pop(username, None)
            if reason in (BANNED, DELETED):
                self._free_seat(username)
            if kicked is not None or (member is not None and not member.is_spectator):
                await self._runner.hook(self._instance.user_left(username, kicked or reason))

        call = self._queue.post(left, may_be_last=True)
        return call.done

    def drop(self, username: str) -> None:
        """Tell the game and the others that a player's connection dropped."""
        self._note_online(username, online=False)

    def resume(self, username: str) -> None:
        """Tell the game and the others that a player is back, over another connection."""
        self._note_online(username, online=True)

    def introduce(self, player: Player) -> None:
        """Show a player everything afresh: they have come with another client.

        This does not wait for the turn in progress, so that it is there with the welcome.
        """

        def introduced() -> None:
            member = self._members.get(player.username)
            if member is not None and member.entered:
                self._presence.welcome(member, self._instance.heartbeat_rate())
                player.flush()

        if not self._instance.made:
            self._queue.post(introduced)
            return
        try:
            with self._runner.running(introduced):
                introduced()
        except Exception as error:
            member = self._members.get(player.username)
            if member is not None and member.is_spectator:
                # It costs them their place, and not the players their game.
                self._note_unwatchable(error, declared=True)
                self._runner.defer_kick(player.username, UNWATCHABLE)
            else:
                self._runner.fail(error)
        except BaseException as error:
            self._runner.fail(error)

    def close_if_empty(self) -> None:
        """End the game, in a turn, if no user is in it, and it is not to stay without one."""
        self._queue.post(do_nothing, may_be_last=True)

    # What the room asks for.

    def kick(self, username: str, reason: str) -> None:
        """Take a member out of the game now; the game hears of it in a turn of its own."""
        member = self._take_out(username, KICKED, reason)
        if member is not None:
            member.kicked = True
            self._free_seat(username)
            if not member.is_spectator:
                self._kicked[username] = KICKED
            self._owner.user_left(username)
            self.leave(username)

    def dismiss_all(self, reason: str, message: str) -> None:
        """Take everybody out of a game that is over; the game does not hear of it."""
        for member in self._members:
            self._presence.farewell(member, reason, message)
            member.player.flush()
        self._members.clear()

    def forget_game(self, *, begins_anew: bool = False) -> None:
        """Forget what is gone with a game that is made again: its bots, its kicks, its lock.

        Args:
            begins_anew: Whether the next game is another one, with a result of its own.
        """
        self.locked = False
        self._kicked.clear()
        self._members.seats.forget_bots()
        self._members.ready.forget()
        if begins_anew:
            self._members.begin_anew()
        # A save that does not know of a report leads to the same one again, which counts once.
        self._members.outcome.is_reported = False
        for name in [name for name in self._members.players if is_bot_name(name)]:
            self._members.remove(name)
            self._presence.tell_players({name: None})

    async def rejoin_all(self) -> None:
        """Tell a game that was made again who is in it; those whom it refuses are kicked."""
        self.is_beginning = True
        try:
            for member in self._members:
                if member.seat is None:
                    continue
                with self._runner.running(member):
                    try:
                        await self._runner.hook(self._instance.game.user_joined(member.seat))
                    except Reject as reject:
                        self._runner.defer_kick(member.seat, reject.reason)
        finally:
            self.is_beginning = False
        self._joined.unpark_all()

    async def wait_players(self, count: int) -> list[str]:
        """Wait until there are so many players, and return their names."""
        # Not those who wait for `user_joined`: it may still refuse them.
        while len(players := self._members.entered_players) < count:
            await self._joined.park()
        return players

    async def wait_player(self, seat: Seat) -> str:
        """Wait until somebody plays in a seat, and return who."""
        members = self._members
        while (player := members.seats.player_in(seat, members.entered_players)) is None:
            await self._joined.park()
        return player

    def note_seated(self, player: str) -> None:
        """Note that a player plays in a seat of theirs: no substitute does any more."""
        bot = self._members.seats.end_substitution(player)
        if bot is not None:
            self._bots.dismiss(bot, f"{player} plays again.")
        self._joined.unpark_all()

    def _free_seat(self, username: str) -> None:
        self.note_seated(username)
        self._members.seats.leave(username)

    def _check_may_join(self, member: Member) -> None:
        name = self._instance.name
        if self._instance.needs_pushes and not member.player.takes_pushes:
            raise JoinRefused(
                f"The game {name!r} needs a client with protocol 2; this one speaks protocol 1.",
                None,
            )
        if member.is_spectator:
            return
        seats, username = self._members.seats, member.player.username
        if self.locked and seats.seat_of(username) is None:
            raise JoinRefused(f"The game {name!r} takes nobody more now.", ReasonCode.GAME_LOCKED)
        self._check_room(username)

    def _check_room(self, username: str) -> None:
        """Check that there is a place for a player."""
        name, most = self._instance.name, self._instance.max_players()
        seats = self._members.seats
        if most is not None and not seats.has_place_for(username, self._members.players, most):
            raise JoinRefused(
                f"The game {name!r} is full: it takes {most} players.", ReasonCode.GAME_FULL
            )

    def _check_may_watch(self, member: Member) -> None:
        """Refuse a spectator to whom the game shows nothing, and go on with it."""
        allowed = self._instance.may_be_watched
        if allowed is not False:
            try:
                self._presence.refresh(member)
                return
            except Exception as error:
                self._note_unwatchable(error, declared=allowed is True)
        raise JoinRefused(
            f"The game {self._instance.name!r} cannot be watched.", ReasonCode.NOT_WATCHABLE
        )

    def _note_unwatchable(self, error: Exception, *, declared: bool) -> None:
        # Once: strangers choose how often they ask.
        if self._said_unwatchable:
            return
        self._said_unwatchable = True
        name, view = self._instance.name, f"{type(self._instance.game).__name__}.view"
        if declared:
            self._owner.note_failure(
                error,
                f"The game {name!r} says that it may be watched, and {view} raised for a "
                "spectator, who was refused",
            )
        else:
            logger.info(
                "The game %r cannot be watched, since %s(None) raised: %s; spectators = False in "
                "the class says so without a try",
                name,
                view,
                one_line(repr(error)),
            )

    async def _ask_to_let_in(self, username: str) -> None:
        try:
            await self._runner.hook(self._instance.game.user_joined(username))
        except Reject as reject:
            raise JoinRefused(reject.reason, ReasonCode.REJECTED, reject.payload) from None

    def _take_out(
        self, username: str, reason: str, message: str, *, awaited: bool = False
    ) -> Member | None:
        """Take a member out, and return them; None if there is none of that name."""
        member = self._members.get(username)
        if member is None:
            return None
        # Before they are out: what has changed until now is the last that they are told.
        self._runner.publish()
        self._members.remove(username)
        if username not in self._members.bots:
            self._members.host.note_left(username, self._members.users)
            self._members.ready.note_left(username)
        self._members.bots.pop(username, None)
        self._presence.farewell(member, reason, message)
        if awaited:
            self._runner.publisher.touched.pop(member.player, None)
        else:
            member.player.flush()
        if not member.is_spectator:
            self._members.outcome.note_left(username)
            self._presence.tell_players({username: None})
        return member

    def _note_online(self, username: str, *, online: bool) -> None:
        async def told() -> None:
            member = self._members.get(username)
            if member is None or member.is_spectator:
                return
            self._presence.tell_players({username: online}, exclude=member)
            if online:
                self.note_seated(username)
            game = self._instance.game
            hook = game.player_resumed if online else game.player_dropped
            await self._runner.hook(hook(username))

        self._queue.post(told)
