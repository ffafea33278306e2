"""Plays a bot: a user without an account or a socket, over a link in memory."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs
import trio

from pgnet_trio.connection import Connection
from pgnet_trio.errors import ConnectFailed, Disconnected, PGNetError, ProtocolError, first_error
from pgnet_trio.foreign_text import one_line
from pgnet_trio.messages import Packet, Request, Response
from pgnet_trio.protocol import v2
from pgnet_trio.protocol.events import LogIn, ServerEvent
from pgnet_trio.protocol.v2.server_delivery import ServerDelivery
from pgnet_trio.protocol.v2.states import WINDOW
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.connections.reader import read_requests
from pgnet_trio.server.refusals import refused
from pgnet_trio.server.sessions.announcements import Announcement
from pgnet_trio.server.sessions.budget import Budget
from pgnet_trio.server.sessions.handle import ConnectionHandle
from pgnet_trio.server.sessions.sender import LoggedInClient, SenderV2
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
    """Have a bot join a game and play, until it is out of the game.

    When the bot raises, it is out of the game, and the game goes on.

    Args:
        room: The game's room.
        bot: The bot.
        note_failure: Logs what the bot raised, and takes note of it.
    """
    near, far = memory_pair(subprotocol=v2.SUBPROTOCOL_2_1)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_serve, room, bot.username, far)
            await bot.take_seat(near)
    except* ConnectFailed as group:
        logger.warning(
            "The bot %r did not get into the game %r: %s",
            bot.username,
            room.name,
            one_line(first_error(group)),
        )
    except* trio.Cancelled:
        raise
    except* BaseException as group:
        note_failure(first_error(group))


@attrs.define
class _Silent:
    """The settings of a bot's session: its packets are not logged."""

    verbose_logging: bool = False


class _Seat:
    """A bot's seat in its one game, of which the lobby knows nothing.

    A bot is no user: it keeps no game alive, and a bot of another game may have its name.

    Attributes:
        name: The game's name.
        room: The game's room.
        taken: Whether the bot is in the game.
    """

    def __init__(self, room: RoomTask) -> None:
        self.name = room.name
        self.room = room
        self.taken = False

    def game_of(self, username: str) -> _Seat | None:
        """Return the game, or None where the bot is not in it."""
        return self if self.taken else None

    def leave(self, username: str) -> _Seat | None:
        """Free the seat, and return the game; None where the bot was not in it."""
        taken, self.taken = self.taken, False
        return self if taken else None


@attrs.frozen
class _Owner:
    """Runs the tasks of a bot's session, which never waits for a connection."""

    nursery: trio.Nursery
    announcements: tuple[Announcement, ...] = ()

    def start(self, session: Session) -> None:
        self.nursery.start_soon(session.run)

    def note_away(self, away: bool) -> None:
        """Do nothing: a bot that is gone does not come back."""


class _BotSession(Session):
    """A bot's session: a bot is online for as long as it is there."""

    @property
    def online(self) -> bool:
        """Whether the bot has a connection, which it always has."""
        return True


async def _serve(room: RoomTask, username: str, transport: Transport) -> None:
    # Nothing is encrypted, and nothing resumed.
    protocol = v2.ServerProtocol(
        None,
        bytes,
        offered=transport.offered_subprotocols,
        max_frame_size=None,
        subprotocol=v2.SUBPROTOCOL_2_1,
    )
    connection: Connection[ServerEvent] = Connection(
        transport, protocol, ping_interval=None, keepalive_timeout=None
    )
    handle = ConnectionHandle(connection, protocol)
    seat = _Seat(room)
    async with trio.open_nursery() as helpers, connection.open(helpers):
        with contextlib.suppress(Disconnected):
            await _wait_for_log_in(connection)
            async with trio.open_nursery() as nursery:
                delivery = ServerDelivery()
                # Before the bot is told anything: what it is told depends on them.
                delivery.features = protocol.features
                session = _BotSession(
                    username,
                    LoggedInClient(SenderV2(delivery), delivery),
                    games=seat,
                    carry_out=functools.partial(_carry_out, seat),
                    max_in_flight=WINDOW,
                    max_bytes_in_flight=math.inf,
                    budget=Budget(None),
                    settings=_Silent(),
                    owner=_Owner(nursery),
                )
                seat.taken = True
                try:
                    await room.join(session)
                    # The welcome goes first, and behind it what the game has said since then.
                    protocol.accept(f"Welcome, {username}.", bytes(v2.TOKEN_BYTES), delivery)
                    logger.info("The bot %r plays in the game %r", username, room.name)
                    session.attach(handle)
                    connection.flush()
                    await _read(connection, protocol, handle, session)
                except PGNetError as error:
                    protocol.refuse(str(error), getattr(error, "code", ""))
                    connection.flush()
                finally:
                    session.end("The bot has left.")


async def _wait_for_log_in(connection: Connection[ServerEvent]) -> None:
    connection.flush()
    while not any(isinstance(event, LogIn) for event in await connection.receive()):
        pass


async def _read(
    connection: Connection[ServerEvent],
    protocol: v2.ServerProtocol,
    handle: ConnectionHandle,
    session: Session,
) -> None:
    try:
        await read_requests(connection, protocol, handle, session)
    except (Disconnected, ProtocolError) as error:
        logger.debug("The bot %r is gone: %s", session.username, one_line(error))


async def _carry_out(seat: _Seat, session: Session, packet: Packet) -> Response:
    if packet.message == Request.LEAVE_GAME:
        if seat.leave(session.username) is not None:
            await seat.room.leave(session.username, player=session, awaited=True).wait()
        return Response("You left the game.")
    return refused(
        f"{packet.message[:60]!r} is not for bots: they play in their game, and leave it.",
        ReasonCode.UNKNOWN_REQUEST,
    )
