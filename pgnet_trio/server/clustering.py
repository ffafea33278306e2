"""Games and sessions that go from one server of a cluster to another, and those that come."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from pgnet_trio.errors import CodecError
from pgnet_trio.foreign_text import one_line
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.cluster.errors import (
    EngineError,
    Fenced,
    NodeGone,
    NodeUnavailable,
)
from pgnet_trio.server.cluster.node import RETRY
from pgnet_trio.server.cluster.notes import Arrived, EndSession, Welcomed, read_note
from pgnet_trio.server.cluster.records import Arrival, MovingSession, Node, RoomSave, SessionRow
from pgnet_trio.server.moving import (
    MovingGame,
    moving_game,
    receive_game,
)
from pgnet_trio.server.moving_session import FREEZE_PATIENCE, moving_session, receive_session
from pgnet_trio.server.moving_session import MovingSession as IdleSession
from pgnet_trio.server.node.crowd import Crowd, Departure, Welcomes
from pgnet_trio.server.node.member import ELSEWHERE, ClusterMember, NotNow
from pgnet_trio.server.node.users import TakesNobody
from pgnet_trio.server.refusals import CannotMove, JoinRefused, RoomClosed
from pgnet_trio.server.user_notes import UserNotes
from pgnet_trio.server.users import put_out_if_banned
from pgnet_trio.storage.interface import SavedGame

if TYPE_CHECKING:
    from pgnet_trio.server.context import ServerContext
    from pgnet_trio.server.node.link import ClusterLink

__all__ = ["ClusterHost"]

logger = logging.getLogger("pgnet_trio.server")

ARRIVAL_PATIENCE = 3.0
"""Seconds that a server gets to take a game, before it is taken back."""

TRIES = 5
"""How often a session is looked for that is to end, and has not come yet."""

LAST_PATIENCE = 5.0
"""Seconds in which a node that ends tells the engine of games that are over; and so many again to
send after its users what others have written to them."""

REST_PATIENCE = 1.0
"""Seconds that what a user asks of the server gets, before their session goes without it or stays.
A game gets longer: more are in it."""


class ClusterHost:
    """What a node asks of the server that it is, see `NodeOwner`; and what leaves that server.

    Args:
        context: What the server's tasks share.
        link: What ties it to the cluster.
        member: The server as a member of its cluster.

    Attributes:
        crowd: How many users are on their way from here to other servers, with their games.
    """

    def __init__(self, context: ServerContext, link: ClusterLink, member: ClusterMember) -> None:
        self._context = context
        self._link = link
        self._member = member
        self._notes = UserNotes(context)
        self.crowd = Crowd()
        self._welcomes = Welcomes(context.services, self._tell_welcomed)
        # The games that are on their way from here.
        self._departures: dict[str, Departure] = {}
        # How many sessions are looked for that are to end.
        self._following = 0
        self._followed = trio.Event()
        link.host(self.send)
        self.load = member.load
        self.hold = member.hold
        self.go_on = member.go_on
        self.start_over = member.start_over
        self.has_room = member.has_room

    def drain(self) -> None:
        """Give the rooms away, and end."""
        logger.info("This server is to give its games to the others, and to end")
        self._context.shutdown.request(0, restarting=True)

    def take_mail(self, body: bytes) -> None:
        """Do what another node asks for."""
        note = read_note(body)
        if isinstance(note, EndSession):
            if note.code == ReasonCode.USER_DELETED:
                self._context.games.note_deletion(note.username)
            if not self._member.end_session(note):
                self._following += 1
                self._context.services.start_soon(self._go_after, note)
        elif isinstance(note, Arrived):
            departure = self._departures.get(note.name)
            if departure is not None:
                departure.note_arrival(note.epoch)
        elif isinstance(note, Welcomed):
            self.crowd.note_welcomed(note.node, note.users)
        elif note is not None:
            self._notes.take(note)
        else:
            logger.warning("Another server asks for something that this one does not know")

    async def leave(self) -> None:
        """Have the node resign, and send what it got after its users; nothing of it is left here.

        What others write to it from then on is refused, so they find where its users are now.
        """
        with trio.move_on_after(LAST_PATIENCE):
            # A game that is over is not to be restored from its save.
            await self._link.games.wait_told()
        await self._link.node.end()
        with trio.move_on_after(LAST_PATIENCE):
            await self._notes.wait_sent()
            while self._following:
                await self._followed.wait()

    # What comes

    async def take_room(self, arrival: Arrival) -> None:
        """Go on with a room that another node has handed over."""
        name, room = arrival.name, arrival.room
        for row in room.sessions:
            await self._make_room_for(row)
        sessions = {row.username: row.packed or b"" for row in room.sessions}
        moving = MovingGame(name, room.password, room.data, room.packed or b"", sessions)
        # No await from here until it is in the lobby: who is told that it is here looks there.
        game = SavedGame(name, room.password, room.data, room.empty_since)
        self._link.games.take(name, room.epoch, game)
        try:
            # Nobody else makes a game of this name: whoever holds it asks this node, and waits.
            await receive_game(self._context, moving)
        except (CodecError, CannotMove) as error:
            logger.error("A game is restored from its save, and alone: %s", one_line(error))
            self._link.games.let_go(name, over=False)
        except (RoomClosed, JoinRefused) as error:
            logger.error("A game that came here could not go on: %s", one_line(error))
        for row in room.sessions:
            self._note_seat(row)
        if arrival.giver:
            found = map(self._context.sessions.holder, sessions)
            events = (session.arrival for session in found if session is not None)
            arriving = [event for event in events if event is not None]
            self._welcomes.expect(arrival.giver, arriving, len(sessions))

    # Ctrl-C here would end the rooms before their last save; whoever runs the server gets it.
    @trio.lowlevel.enable_ki_protection
    async def _go_after(self, note: EndSession) -> None:
        """End a session that is on its way here, or have it ended where it has gone.

        Mail may be quicker than the session that it is about, or slower.
        """
        try:
            for _ in range(TRIES):
                try:
                    await self._member.users.look()
                    if not self._member.end_session(note):
                        await self._member.follow(note)
                    return
                except NotNow:
                    await trio.sleep(RETRY)
        finally:
            self._following -= 1
            self._followed.set()
            self._followed = trio.Event()

    async def _tell_welcomed(self, giver: int, users: int) -> None:
        await self._member.tell(giver, Welcomed(self._link.node.id, users).packed())

    async def take_session(self, row: SessionRow) -> None:
        """Go on with a session that another node has given."""
        await self._make_room_for(row)
        try:
            receive_session(self._context, row.packed or b"")
        except CodecError as error:
            logger.error("A session cannot go on here: %s", one_line(error))
        self._note_seat(row)

    async def _make_room_for(self, row: SessionRow) -> None:
        """End what another program of a user has here: the cluster knows the one that comes."""
        session = self._context.sessions.holder(row.username)
        if session is None:
            await trio.lowlevel.checkpoint()
            return
        self._member.forget_session(row.username)
        session.end(ELSEWHERE, ReasonCode.TAKEN_OVER)
        await session.ended.wait()

    def _note_seat(self, row: SessionRow) -> None:
        self._member.note_seat(row.username, row.epoch)
        if self._context.sessions.holder(row.username) is None:
            self._member.note_end(row.username)
        # The server that they come from may not have heard of a ban yet, or this one before.
        put_out_if_banned(self._context, row.username)

    # Sessions that go

    async def send(self, username: str, node: int, address: str, in_own_task: bool = True) -> None:
        """Send a user to another server; cancellation sends them, or does not.

        Args:
            username: The user, who is in no game.
            node: The number of that server.
            address: Where clients find it.
            in_own_task: Whether this is the task of the user's session: the request that it carries
                out now goes along.

        Raises:
            CannotMove: They cannot be sent.
            NotNow: They cannot be sent now.
        """
        epoch = self._member.epoch_of(username)
        if epoch is None:
            await trio.lowlevel.checkpoint()
            raise NotNow
        patience = FREEZE_PATIENCE if in_own_task else REST_PATIENCE
        async with moving_session(
            self._context, username, patience=patience, in_own_task=in_own_task
        ) as moving:
            await self._pass(moving, epoch, node, address)

    async def _pass(self, moving: IdleSession, epoch: int, node: int, address: str) -> None:
        """Make a session that is ready to go another node's, and send its user there.

        Raises:
            CannotMove: It is not this node's any more.
            NotNow: It cannot go now.
        """
        link, member, username = self._link, self._member, moving.username
        passed = MovingSession(username, epoch, moving.packed)
        try:
            new = await link.node.settled(
                lambda operation: link.engine.pass_session(passed, node, operation=operation)
            )
        except Fenced:
            member.end_session(EndSession(username, epoch, ELSEWHERE, str(ReasonCode.TAKEN_OVER)))
            raise CannotMove(ELSEWHERE) from None
        except NodeUnavailable:
            raise TakesNobody from None
        except EngineError as error:
            logger.warning("A session stays here for now: %s", one_line(error))
            raise NotNow from None
        # No await from here on: it is the other server's.
        member.note_departure(username, node, new)
        if not moving.moved(address):
            # The user has left meanwhile.
            with trio.CancelScope(shield=True, deadline=trio.current_time() + ARRIVAL_PATIENCE):
                await member.end_elsewhere(node, username, new)

    async def give_session(self, username: str, target: Node) -> bool:
        """Give a session whose user is in no game to another node; return whether it has gone.

        Cancellation gives it, or does not.
        """
        member = self._member
        epoch = member.epoch_of(username)
        if epoch is None:
            await trio.lowlevel.checkpoint()
            return False
        try:
            async with moving_session(
                self._context, username, patience=REST_PATIENCE, in_own_task=False
            ) as moving:
                await self._pass(moving, epoch, target.id, target.address)
        except (CannotMove, NotNow) as error:
            logger.debug("A session stays here: %s", one_line(error))
            return False
        return True

    # Games that go

    async def give_game(self, name: str, targets: list[Node]) -> Node | None:
        """Give a game to the first of these nodes that takes it.

        Args:
            name: The game's name.
            targets: The nodes.

        Returns:
            That node; None where the game stays here, or is not here any more.

        Raises:
            CannotMove: It cannot go now.
            RoomClosed: It has ended.
            EngineError: It could not go now, and may still be this node's or not.
        """
        try:
            async with moving_game(self._context, name) as game:
                for target in targets:
                    if await self._hand_over(game, target):
                        return target
        except Fenced:
            self._member.give_up(name)
        return None

    async def _hand_over(self, game: MovingGame, target: Node) -> bool:
        """Hand a frozen game over; return whether the other node has it.

        Raises:
            EngineError: It has not, and the game may still be this node's or not.
        """
        link, member = self._link, self._member
        epoch = link.games.epochs.get(game.name)
        if epoch is None:
            raise Fenced(f"The game {game.name!r} is not here any more.")
        sessions = [
            MovingSession(username, known, packed)
            for username, packed in game.sessions.items()
            for known in [member.epoch_of(username)]
            if known is not None
        ]
        save = RoomSave(game.name, epoch, game.data, len(sessions), link.games.info(game.name))
        # Before the other node may know of the game: it can be quicker than the answer here.
        departure = self._departures[game.name] = Departure()
        try:
            over = await link.node.settled(
                lambda operation: link.engine.hand_over(
                    save, target.id, game.packed, sessions, operation=operation
                )
            )
            with trio.CancelScope(shield=True):
                if not await self._has_arrived(game.name, departure, over.epoch):
                    return False
        except NodeUnavailable:
            return False
        finally:
            del self._departures[game.name]
        self.crowd.note_sent(target.id, len(sessions) - len(over.left))
        link.games.forget(game.name)
        epochs = {each.username: each.epoch for each in sessions}
        for username, known in epochs.items():
            member.note_departure(username, target.id, known)
        # No await between the forgetting and this.
        gone = game.moved(target.address)
        for username in gone & epochs.keys():
            await member.end_elsewhere(target.id, username, epochs[username])
        return True

    async def _has_arrived(self, name: str, departure: Departure, epoch: int) -> bool:
        """Wait until the other node has a game, or take the game back; return whether it has."""
        link = self._link
        with trio.move_on_after(ARRIVAL_PATIENCE):
            await departure.wait_for_arrival(epoch)
            return True
        with trio.move_on_after(link.engine.lease):
            while True:
                try:
                    back = await link.node.settled(
                        lambda operation: link.engine.take_back(
                            link.node.id, name, operation=operation
                        )
                    )
                except (Fenced, NodeGone):
                    # It has it, and could not say so.
                    return True
                except EngineError as error:
                    # Also where the lease is over: the other node may take it yet.
                    logger.warning("Nobody has the game %r now: %s", name, one_line(error))
                    await trio.sleep(RETRY)
                    continue
                logger.warning("The game %r was not taken, and goes on here", name)
                link.games.take(name, back)
                return False
        # Nobody may wait here for ever. It may be the other node's, so it does not go on here.
        logger.error("Nobody knows whether the game %r has arrived; its users are sent there", name)
        return True
