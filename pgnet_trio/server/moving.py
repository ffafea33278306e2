"""Games that go from one server to another with their users, while they are played.

A game stops in one step, and from then on nothing of it is done here: what its users ask waits.
Whoever moves it makes known that it is another server's, and then says `MovingGame.moved`. Until
then it can come back. The other server goes on with it by `receive_game`.

What waits goes along: requests, questions with their deadlines, and what the users' clients have
not acknowledged. So each request is carried out once, here or there, and each question answered
once; nobody hears of a connection that is lost. What scripts and handlers have in their local
variables does not go along: see `pgnet_trio.server.room.freezing`. A session whose user is in no
game goes alone: see `pgnet_trio.server.moving_session`.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import msgspec
import trio

from pgnet_trio.codec import Packed, pack, unpack
from pgnet_trio.errors import StorageError
from pgnet_trio.foreign_text import one_line
from pgnet_trio.server.games.opening import Opening, opening_of
from pgnet_trio.server.games.save_format import pack as pack_save
from pgnet_trio.server.games.save_format import too_new
from pgnet_trio.server.moving_session import FREEZE_PATIENCE, MOVED_REASON, check_address
from pgnet_trio.server.refusals import CannotMove, JoinRefused, RoomClosed
from pgnet_trio.server.requests import carry_out
from pgnet_trio.server.room.frozen import FrozenRoom  # noqa: TC001 - msgspec reads it
from pgnet_trio.server.room.kept import NOTHING_KEPT
from pgnet_trio.server.sessions.packed import pack_session, unpack_session
from pgnet_trio.server.sessions.session import Session

if TYPE_CHECKING:
    from pgnet_trio.server.context import ServerContext
    from pgnet_trio.server.games.lobby import GameEntry
    from pgnet_trio.server.room.player import Player
    from pgnet_trio.server.room.room import RoomTask
    from pgnet_trio.server.sessions.hold import SessionHold

__all__ = [
    "MovingGame",
    "moving_game",
    "receive_game",
]

logger = logging.getLogger("pgnet_trio.server")

VERSION = 1
"""Goes up when servers of the version before could not read what is packed any more."""


class PackedGame(Packed, frozen=True):
    """What of a game travels beside its save.

    Attributes:
        room: Its room.
        creator: As whose game it counts; None for nobody's.
    """

    room: FrozenRoom
    creator: str | None


@attrs.define(eq=False)
class MovingGame:
    """A game on its way.

    Attributes:
        name: The game's name.
        password: What joining takes.
        data: Its save, as a save file holds it.
        packed: What the other server needs beside that.
        sessions: The sessions that go along, by username, packed up.
    """

    name: str
    password: str = attrs.field(repr=False)
    data: str = attrs.field(repr=False)
    packed: bytes = attrs.field(repr=False)
    sessions: Mapping[str, bytes] = attrs.field(repr=False)
    _move: _Move | None = attrs.field(default=None, repr=False)

    def moved(self, address: str) -> frozenset[str]:
        """Note that the game is another server's, and send its users there. Never waits.

        Args:
            address: Where clients find the other server; see `ServerProtocol.moved`.

        Returns:
            The users who have left meanwhile: the other server should end their sessions.

        Raises:
            ValueError: That is no address; nothing has changed.
        """
        assert self._move is not None
        return self._move.send_away(address)


@asynccontextmanager
async def moving_game(
    context: ServerContext, name: str, *, patience: float = FREEZE_PATIENCE
) -> AsyncIterator[MovingGame]:
    """Stop a game, and have it ready for another server around the block.

    The name is held meanwhile: who wants to join waits. Where the block ends before
    `MovingGame.moved` was called, the game goes on here, whatever the reason.

    Args:
        context: What the server's tasks share.
        name: The game's name.
        patience: Seconds that the game gets to come to rest.

    Raises:
        CannotMove: There is no such game, or it cannot go anywhere: it goes on here.
        RoomClosed: The game has ended.
    """
    async with context.games.reservations.holding(name):
        entry = context.games.lobby.get(name)
        if entry is None:
            raise CannotMove(f"There is no game {name[:60]!r} here.")
        if context.shutdown.closing:
            raise CannotMove("The server is shutting down.")
        move = _Move(context, entry)
        try:
            yield await move.freeze(patience)
        finally:
            # Also where this was cancelled just when the game stopped.
            with trio.CancelScope(shield=True):
                await move.finish()


async def receive_game(context: ServerContext, game: MovingGame) -> None:
    """Go on with a game of another server; its users may come as soon as this has begun.

    Hold its name around this (`Reservations.holding`). Cancellation does nothing, or comes after
    all of it. Whoever has logged in here meanwhile stays
    with that, and is not in the game.

    Args:
        context: What the server's tasks share.
        game: The game.

    Raises:
        CodecError: What was packed up cannot be read; nothing was done.
        CannotMove: There is a game of this name here; nothing was done.
        RoomClosed: The game could not be made; its users are here, and in no game.
    """
    try:
        entry = _take_in(context, game)
    except Exception:
        await trio.lowlevel.checkpoint()
        raise
    with trio.CancelScope(shield=True):
        await context.games.start(entry)


# No await in here: nobody may find the game without its users, or them in no game.
def _take_in(context: ServerContext, game: MovingGame) -> GameEntry[RoomTask]:
    """Put a game of another server into the lobby, and its users' sessions beside it."""
    packed = unpack(game.packed, PackedGame, VERSION)
    packed.room.check()
    arriving = [unpack_session(data) for data in game.sessions.values()]
    if context.games.lobby.get(game.name) is not None:
        raise CannotMove(f"There is a game {game.name[:60]!r} here already.")
    problem = too_new(game.name, game.data, context.options.save_version)
    if problem:
        raise CannotMove(problem)
    do = functools.partial(carry_out, context)
    sessions = {
        each.username: context.sessions.take_in(each, carry_out=do)
        for each in arriving
        if context.sessions.holder(each.username) is None
    }
    opening = opening_of(game.name, game.password, game.data)
    entry = context.games.thaw(opening, packed.room, sessions, creator=packed.creator)
    for session in sessions.values():
        session.go_on()
    return entry


class _Move:
    """Takes one game away; see `pgnet_trio.server.room.freezing.Mover`."""

    def __init__(self, context: ServerContext, entry: GameEntry[RoomTask]) -> None:
        self._context = context
        self._entry = entry
        self._creator = context.games.lobby.creator_of(entry.name)
        # All that were held, and those of the users who are in the game when it stops.
        self._held: dict[Session, SessionHold] = {}
        self._sessions: list[Session] = []
        self._room: FrozenRoom | None = None
        self._save_string = ""
        self._kept = NOTHING_KEPT
        self._packed = b""
        self._packed_sessions: dict[str, bytes] = {}
        self._restless: trio.Event | None = None
        self._has_moved = False

    async def freeze(self, patience: float) -> MovingGame:
        room = self._entry.room
        try:
            with trio.move_on_after(patience):
                while not await room.freeze(self):
                    if self._restless is not None:
                        await self._restless.wait()
        finally:
            if self._room is None:
                for session in self._held:
                    session.go_on()
        if self._room is None:
            raise CannotMove(
                f"The game {room.name!r} did not come to rest within {patience:g} s: a turn, or "
                "what one of its users asks of the server, takes longer."
            )
        # Those who have left the game since they were held stay here.
        for session in self._held.keys() - set(self._sessions):
            session.go_on()
        data = pack_save(self._save_string, room.options, self._kept, room.save_version)
        return MovingGame(
            room.name,
            self._entry.password,
            data,
            self._packed,
            self._packed_sessions,
            move=self,
        )

    # What the room asks, in one step.

    def is_ready(self, players: list[Player], waiting: Mapping[Player, int]) -> bool:
        sessions = [player for player in players if isinstance(player, Session)]
        for session in sessions:
            self._held[session] = session.hold()
        restless = [
            each for each in sessions if not self._held[each].is_at_rest(waiting.get(each, 0))
        ]
        self._restless = restless[0].next_answer() if restless else None
        self._sessions = sessions
        return not restless

    def take(self, room: FrozenRoom, save_string: str) -> None:
        going = {session.username for session in self._sessions if session.client.may_move}
        travelling = PackedGame(_only(room, going), self._creator)
        # First what may fail.
        self._packed = pack(travelling, VERSION)
        for session in self._sessions:
            hold = self._held[session]
            if session.client.may_move:
                self._packed_sessions[session.username] = pack_session(hold.pack())
            else:
                hold.stop()
        self._save_string, self._room = save_string, room
        self._kept = self._entry.room.members.kept(moves=True)
        self._context.games.note_departure(self._entry)

    # How it ends.

    def send_away(self, address: str) -> frozenset[str]:
        check_address(address)
        self._has_moved = True
        gone = set()
        for session in self._sessions:
            if session.end_reason is not None:
                gone.add(session.username)
            elif session.username in self._packed_sessions:
                self._context.sessions.send_away(session, address, MOVED_REASON)
            else:
                # Such a client cannot be sent anywhere. It comes back by itself if it can.
                session.end(MOVED_REASON, restarting=True)
        return frozenset(gone)

    async def finish(self) -> None:
        """Let the game go on here if it has not moved; what goes wrong with that is in the log."""
        games, room = self._context.games, self._room
        if room is None or self._has_moved:
            await trio.lowlevel.checkpoint()
            return
        old = self._entry
        players = {each.username: each for each in self._sessions if each.end_reason is None}
        opening = Opening(
            name=old.name,
            password=old.password,
            save_string=self._save_string,
            save_version=old.room.save_version,
            options=old.room.options,
            kept=self._kept,
            stays=old.stays,
        )
        entry = games.thaw(opening, room, players, creator=self._creator)
        if self._context.shutdown.closing:
            # The other games have ended already, and are in the last save. This one is not made
            # any more, and was saved by the class that it had.
            entry.room.instance.save_version = old.room.save_version
            await self._save(entry)
            return
        for session in players.values():
            session.go_on()
        # What the game did not hear of, while there was none.
        for member in room.members:
            session_of = players.get(member.username)
            if session_of is not None and session_of.online != member.online:
                tell = entry.room.resume if session_of.online else entry.room.drop
                tell(member.username)
        try:
            await games.start(entry)
        except (RoomClosed, JoinRefused) as error:
            logger.error("A game that was to move could not go on here: %s", one_line(error))

    async def _save(self, entry: GameEntry[RoomTask]) -> None:
        """Save a game that does not go on any more."""
        try:
            await self._context.saves.write_games([entry])
        except StorageError as error:
            logger.error("The game %r could not be saved: %s", entry.name, one_line(error))
        self._context.games.lobby.remove(entry)


def _only(room: FrozenRoom, users: set[str]) -> FrozenRoom:
    """Return a room with some of its users."""
    return msgspec.structs.replace(
        room,
        members=tuple(each for each in room.members if each.username in users),
        questions=tuple(each for each in room.questions if each.player in users),
        requests=tuple(each for each in room.requests if each.player in users),
        answers=tuple(each for each in room.answers if each.request.player in users),
    )
