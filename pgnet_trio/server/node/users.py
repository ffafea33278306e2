"""The users of a cluster as one of its servers sees them: where they are, and the way to them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from pgnet_trio.foreign_text import one_line
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.cluster.errors import EngineError
from pgnet_trio.server.refusals import CodedRefusal

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import TypeVar

    from pgnet_trio.server.cluster.engine import Engine
    from pgnet_trio.server.cluster.node import LocalNode
    from pgnet_trio.server.cluster.records import Node, SessionRow, Survey

    T = TypeVar("T")

__all__ = ["ClusterUsers", "NotNow", "TakesNobody"]

logger = logging.getLogger("pgnet_trio.server")

NOT_NOW = "The servers cannot reach each other now; try again in a moment."


class NotNow(CodedRefusal):
    """What the servers share does not answer now; the message is for the user."""

    def __init__(self) -> None:
        super().__init__(NOT_NOW, ReasonCode.BUSY)


class TakesNobody(NotNow):
    """The server that a user was to be sent to takes nobody any more."""


class ClusterUsers:
    """Finds the users of all servers, and leaves mail for the servers that they are at.

    Every method may raise `NotNow`.

    Args:
        node: The node that this server is.
        engine: What the servers share.
    """

    def __init__(self, node: LocalNode, engine: Engine) -> None:
        self._node = node
        self._engine = engine

    async def find(self, username: str) -> SessionRow | None:
        """Return where a user is; None for nowhere, or at a server that is silent."""
        return await self._asked(self._engine.find_session(username))

    async def look(self) -> None:
        """Take what other servers have handed over to this one, and has not been taken yet."""
        await self._asked(self._node.look())

    async def online(self, after: str, limit: int) -> list[SessionRow]:
        """Return a part of the list of the users who are there, in the order of their names."""
        return await self._asked(self._engine.online(after=after, limit=limit))

    async def is_played(self, game: str) -> bool:
        """Return whether a game is at one of the servers that are not silent."""
        return await self._asked(self._engine.is_played(game))

    async def nodes(self) -> list[Node]:
        """Return the servers, those that are silent too."""
        return await self._asked(self._engine.nodes())

    async def survey(self) -> Survey:
        """Return the servers, and count what they have; it takes longer than `nodes`."""
        return await self._asked(self._engine.survey())

    async def tell(self, node: int, body: bytes) -> bool:
        """Leave mail for another server; return whether it will get it."""
        return bool(await self._tell([node], body))

    async def tell_others(self, body: bytes) -> int:
        """Leave mail for all other servers, or for none; return how many will get it."""
        nodes = [node.id for node in await self.nodes() if node.alive]
        others = [node for node in nodes if node != self._node.id]
        return len(await self._tell(others, body)) if others else 0

    async def _tell(self, nodes: list[int], body: bytes) -> frozenset[int]:
        return await self._asked(
            self._node.settled(
                lambda operation: self._engine.send_mail(nodes, body, operation=operation)
            )
        )

    async def _asked(self, call: Awaitable[T]) -> T:
        try:
            return await call
        except EngineError as error:
            logger.warning("The users of the other servers: %s", one_line(error))
            await trio.lowlevel.checkpoint()
            raise NotNow from None
