"""A client whose connection can be cut, and kept from coming back."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pgnet_trio import Client, Server
from tests.hosting import InMemory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pgnet_trio.transport import Transport


class Cuttable(InMemory):
    """A way to a server that breaks on demand; what was on it is lost in both directions."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self.is_open = True
        self._transport: Transport | None = None

    @asynccontextmanager
    async def _connect(self, max_message_size: int | None) -> AsyncIterator[Transport]:
        if not self.is_open:
            raise OSError("the way is closed")
        async with super()._connect(max_message_size) as transport:
            self._transport = transport
            yield transport

    async def cut(self) -> None:
        """Break the connection; it does not come back before `is_open` is set."""
        self.is_open = False
        assert self._transport is not None
        await self._transport.aclose()


def dropping_player(server: Server, username: str) -> tuple[Client, Cuttable]:
    """Make a client, and what cuts its connection."""
    way = Cuttable(server)
    return Client(way, username=username), way
