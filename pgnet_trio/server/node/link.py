"""What ties one run of a server to its cluster: made before the games, whole after the sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from pgnet_trio.server.cluster.node import LocalNode, NodeProfile
from pgnet_trio.server.node.games import (
    UNLISTED,
    ClusterGames,
    Described,
    SendUser,
    info_of,
)
from pgnet_trio.server.node.member import ClusterMember

if TYPE_CHECKING:
    from pgnet_trio.crypto import KeyPair
    from pgnet_trio.server.cluster.cluster import Cluster
    from pgnet_trio.server.cluster.engine import Engine
    from pgnet_trio.server.cluster.versions import NodeVersion
    from pgnet_trio.server.games.registry import GameRegistry
    from pgnet_trio.server.sessions.registry import SessionRegistry
    from pgnet_trio.server.workers.passing import Workers

__all__ = ["ClusterLink"]


class ClusterLink:
    """The engine, this server as a node, and its games as the engine knows them.

    Args:
        cluster: How the server finds the others.
        engine: What they share.
        key: The server's keys.
        version: Of which version this server is.
        workers: The processes of this machine that look like one server with this one; None where
            it is alone.

    Attributes:
        engine: The same.
        version: The same.
        node: This server.
        games: Its games, as the engine knows them.
    """

    # There from `join` on; nobody comes before that.
    _member: ClusterMember
    _registry: GameRegistry
    _send: SendUser

    def __init__(
        self,
        cluster: Cluster,
        engine: Engine,
        key: KeyPair,
        *,
        version: NodeVersion,
        workers: Workers | None = None,
    ) -> None:
        replaces = 0 if workers is None else workers.node
        profile = NodeProfile(
            cluster.name, cluster.node_address, version.encode(), key.public, replaces=replaces
        )
        self.engine = engine
        self.version = version
        self.node = LocalNode(engine, profile, None if workers is None else workers.note_node)
        self.games = ClusterGames(self.node, engine, self._describe, self._give_up, self._send_user)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Keep the engine connected around the block.

        Raises:
            EngineError: It cannot be used.
        """
        async with trio.open_nursery() as nursery:
            await nursery.start(self.engine.run)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()

    def host(self, send: SendUser) -> None:
        """Have users sent to other nodes by this from now on."""
        self._send = send

    async def _send_user(self, username: str, node: int, address: str, in_own_task: bool) -> None:
        await self._send(username, node, address, in_own_task)

    def join(self, registry: GameRegistry, sessions: SessionRegistry) -> ClusterMember:
        """Return the server as a member of its cluster, now that it has all of its parts."""
        self._registry = registry
        self._member = ClusterMember(self.node, self.engine, self.games, registry, sessions)
        return self._member

    def note_end(self, username: str) -> None:
        """Note that a session here has ended."""
        self._member.note_end(username)

    def _describe(self, name: str) -> Described | None:
        entry = self._registry.lobby.get(name)
        if entry is None:
            return None
        room = entry.room
        if room.members.unlisted:
            return entry.player_count, UNLISTED
        return entry.player_count, info_of({"info": room.info, **room.lobby_extras})

    def _give_up(self, name: str) -> None:
        self._member.give_up(name)
