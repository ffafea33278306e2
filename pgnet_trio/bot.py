"""`Bot`: a player that is a task of the server."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from pgnet_trio.client import Client
from pgnet_trio.client.connector import Connector
from pgnet_trio.errors import bare

if TYPE_CHECKING:
    from pgnet_trio.transport import Transport

__all__ = ["Bot"]


class Bot(Client):
    """A player that is a task of the server: a `Client` without a socket, an account or a port.

    Override `play`, and put the bot into a game with ``self.room.add_bot(MyBot("bot 1"))``. A bot
    sees what a player of its name sees, and has the same calls; but it stays in this one game for
    as long as it lives. When it raises, the server logs the error and takes the bot out of the
    game, which goes on. Work that takes long belongs in a thread or process: see the guide on bots.

    Args:
        username: The bot's name as a player. No user can have it: put a space in it, for example.
    """

    def __init__(self, username: str, /) -> None:
        self._seat = _Seat()
        super().__init__(self._seat, username=username, reconnect_for=0)

    async def play(self) -> None:
        """Called when the bot is in the game; cancelled when it is out of the game.

        The bot leaves when this returns. A bot that does everything in events such as
        `on_question` need not override it: it stays to the end.
        """
        await trio.sleep_forever()

    async def take_seat(self, transport: Transport, /) -> None:
        """Play over a transport to a game; called by the server.

        Args:
            transport: The bot's end, which this closes.

        Raises:
            LoginRefused: The game did not let the bot in.
            Exception: What `play` or an event raised.
        """
        self._seat.attach(transport)
        async with self:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._end_with_the_game, nursery.cancel_scope)
                    nursery.start_soon(self._end_with_the_session, nursery.cancel_scope)
                    await self.play()
                    nursery.cancel_scope.cancel()
            except BaseExceptionGroup as group:
                raise bare(group) from None

    async def _end_with_the_game(self, scope: trio.CancelScope) -> None:
        await self._run.game.wait_out()
        scope.cancel()

    async def _end_with_the_session(self, scope: trio.CancelScope) -> None:
        await self._run.ended.wait()
        scope.cancel()


class _Seat(Connector):
    """The way of a bot to its game: the transport that the server hands in."""

    encrypted = False
    # The log of the server says that the bot plays.
    status_level = logging.DEBUG

    def __init__(self) -> None:
        self._transport: Transport | None = None

    def __str__(self) -> str:
        return "its server"

    def attach(self, transport: Transport) -> None:
        """Use this transport for the one connection that follows."""
        self._transport = transport

    def connect(self, max_message_size: int | None) -> Any:
        """Return an async context manager around the transport."""
        return self._connect()

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[Transport]:
        transport, self._transport = self._transport, None
        if transport is None:
            raise ConnectionRefusedError("a bot plays only where `room.add_bot` puts it")
        try:
            yield transport
        finally:
            await transport.aclose()
