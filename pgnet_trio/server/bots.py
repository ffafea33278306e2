"""Plays a bot: a user without an account, a socket or a lobby, over a link in memory."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
import trio

from pgnet_trio.connection import Connection
from pgnet_trio.errors import ConnectFailed, Disconnected, PGNetError, ProtocolError, first_error
from pgnet_trio.messages import Packet, Request, Response, Status
from pgnet_trio.protocol import v2
from pgnet_trio.protocol.events import (
    FullStateRequested,
    LogIn,
    QuestionAnswered,
    RequestReceived,
    ServerEvent,
)
from pgnet_trio.protocol.v2.server_delivery import WINDOW, ServerDelivery
from pgnet_trio.server.games.lobby import Lobby
from pgnet_trio.server.sessions.sender import SenderV2
from pgnet_trio.server.sessions.session import Session
from pgnet_trio.transport import memory_pair

if TYPE_CHECKING:
    from pgnet_trio.game import BotPlayer
    from pgnet_trio.server.room.room import RoomTask
    from pgnet_trio.transport import Transport

__all__ = ["run_bot"]

logger = logging.getLogger("pgnet_trio.server")


async def run_bot(
    room: RoomTask, bot: BotPlayer, note_failure: Callable[[BaseException], None]
) -> None:
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
        note_failure(first_error(group))


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
            session.sender = SenderV2(delivery)
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
                if isinstance(event, RequestReceived):
                    session.request(event)
                elif isinstance(event, QuestionAnswered):
                    session.answer_question(event)
                elif isinstance(event, FullStateRequested):
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
