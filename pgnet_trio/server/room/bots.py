"""A bot's place in a game: all that a user has, without an account, a socket or a lobby."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

import attrs
import trio

from pgnet_trio.connection import Connection
from pgnet_trio.errors import ConnectFailed, Disconnected, PGNetError, ProtocolError, first_error
from pgnet_trio.messages import ADMIN_USERNAME, Packet, Request, Response, Status
from pgnet_trio.messages import is_username_allowed as could_be_a_user
from pgnet_trio.protocol import v2
from pgnet_trio.protocol.events import Answered, Asked, LogIn, ServerEvent, StateWanted
from pgnet_trio.protocol.v2.server_delivery import WINDOW, ServerDelivery
from pgnet_trio.server.games.lobby import Lobby
from pgnet_trio.server.room.scripts import in_turn
from pgnet_trio.server.sessions.sender import OutletV2
from pgnet_trio.server.sessions.session import Session
from pgnet_trio.transport import memory_pair

if TYPE_CHECKING:
    from pgnet_trio.game import BotPlayer
    from pgnet_trio.server.room.instance import Hosted
    from pgnet_trio.server.room.room import RoomTask
    from pgnet_trio.transport import Transport

__all__ = ["Bots", "check_bot_name", "is_bot_name"]

logger = logging.getLogger("pgnet_trio.server")

MAX_NAME = 50


class Bots:
    """The bots that are in a game, or about to be.

    Args:
        room: The game's room.
        hosted: The game, which they are gone with.
    """

    def __init__(self, room: RoomTask, hosted: Hosted) -> None:
        self._room = room
        self._hosted = hosted
        self._bots: dict[str, BotPlayer] = {}

    def __contains__(self, username: object) -> bool:
        return username in self._bots

    def start(self, bot: BotPlayer) -> None:
        """Have a bot join and play, in a task of its own."""
        self._bots[bot.username] = bot
        self._hosted.nursery.start_soon(self._run, bot)

    def forget(self, username: str) -> None:
        """Note that a bot is out of the game, so that another one may have its name."""
        self._bots.pop(username, None)

    async def _run(self, bot: BotPlayer) -> None:
        in_turn.set(False)
        try:
            await _run_bot(self._room, bot)
        finally:
            if self._bots.get(bot.username) is bot:
                del self._bots[bot.username]


def check_bot_name(name: str) -> None:
    """Check that a name cannot be that of a user.

    Raises:
        ValueError: It can.
    """
    if not (0 < len(name) <= MAX_NAME and is_bot_name(name)):
        raise ValueError(
            f"a bot cannot be named {name[:60]!r}: give it a name of 1 to {MAX_NAME} characters "
            "that no user can have, such as 'bot 1', with a space"
        )


def is_bot_name(name: str) -> bool:
    """Whether this is no user's name."""
    return name != ADMIN_USERNAME and not could_be_a_user(name)


async def _run_bot(room: RoomTask, bot: BotPlayer) -> None:
    """Have a bot join a game and play, until it is out of it.

    What it raises is logged, and it is out of the game; the game goes on.
    """
    near, far = memory_pair(subprotocol=v2.SUBPROTOCOL)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_serve, room, bot.username, far)
            await bot.take_seat(near)
    except* ConnectFailed as group:
        logger.warning(
            "The bot %r did not get into the game %r: %s",
            bot.username,
            room.name,
            first_error(group),
        )
    except* Exception as group:
        logger.error(
            "The bot %r raised, and is out of the game %r",
            bot.username,
            room.name,
            exc_info=first_error(group),
        )
        room.note_failure(first_error(group))


@attrs.define
class _Silent:
    """Settings of bots, whose packets are not logged."""

    verbose_logging: bool = False


class _BotSession(Session):
    """A bot's session: it is there as long as the bot is."""

    @property
    def online(self) -> bool:
        """Whether it is there, which it is."""
        return True


class _Link:
    """The link to a bot, as its session sees it."""

    def __init__(
        self, connection: Connection[ServerEvent], protocol: v2.ServerProtocol, scope: Any
    ) -> None:
        self.flush = connection.flush
        self._protocol = protocol
        self._scope = scope

    def end(self, reason: str, *, for_good: bool) -> None:
        """Close the connection; see `pgnet_trio.server.sessions.session.Link`."""
        self._protocol.part(reason)
        self.flush()
        self._scope.cancel()


async def _serve(room: RoomTask, username: str, transport: Transport) -> None:
    # Nothing is encrypted, and nothing resumed.
    protocol = v2.ServerProtocol(
        None, bytes, offered=transport.offered_subprotocols, max_frame_size=None
    )
    connection: Connection[ServerEvent] = Connection(
        transport, protocol, ping_interval=None, keepalive_timeout=None
    )
    # A lobby with this one game, from which the server's own knows nothing of bots: neither are
    # they users who keep a game alive, nor can their names be taken there.
    lobby: Lobby[RoomTask] = Lobby()
    lobby.add(room.name, "", room)
    async with connection.open():
        try:
            await _wait_for_log_in(connection)
            session = _BotSession(
                username,
                lobby=lobby,
                carry_out=functools.partial(_carry_out, lobby),
                max_in_flight=WINDOW,
                requests_per_second=None,
                settings=_Silent(),
            )
            delivery = session.delivery = ServerDelivery()
            session.outlet = OutletV2(delivery)
            lobby.join(username, room.name, "")
            try:
                await room.join(session)
            except PGNetError as error:
                protocol.refuse(str(error))
                connection.flush()
                return
            protocol.accept(f"Welcome, {username}.", bytes(v2.TOKEN_BYTES), delivery)
            async with trio.open_nursery() as nursery:
                session.attach(_Link(connection, protocol, nursery.cancel_scope), grace=0)
                connection.flush()
                nursery.start_soon(session.run)
                await _read(connection, session)
                session.end("The bot has left.")
        except Disconnected:
            pass
        finally:
            if lobby.leave(username) is not None:
                room.leave(username, player=session)


async def _wait_for_log_in(connection: Connection[ServerEvent]) -> None:
    connection.flush()
    while not any(isinstance(event, LogIn) for event in await connection.receive()):
        pass


async def _read(connection: Connection[ServerEvent], session: Session) -> None:
    try:
        while True:
            for event in await connection.receive():
                if isinstance(event, Asked):
                    session.request(event)
                elif isinstance(event, Answered):
                    session.answer_question(event)
                elif isinstance(event, StateWanted):
                    if session.delivery is not None:
                        session.delivery.show_again()
                        connection.flush()
                else:
                    return
    except (Disconnected, ProtocolError) as error:
        logger.debug("The bot %r is gone: %s", session.username, error)


async def _carry_out(lobby: Lobby[RoomTask], session: Session, packet: Packet) -> Response:
    if packet.message == Request.LEAVE_GAME:
        entry = lobby.leave(session.username)
        if entry is not None:
            await entry.room.leave(session.username, player=session).wait()
        return Response("You left the game.")
    return Response(
        f"{packet.message[:60]!r} is not for bots: they play in their game, and leave it.",
        status=Status.UNEXPECTED,
    )
