"""The end of a server that is one of several: it gives what it has to the others, paced.

Each user who comes to another server costs that one a handshake, and the state of the game. So the
games go one after the other, each once the users of the one before are there: how long that takes
depends on what else the machines have to do.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from pgnet_trio.foreign_text import one_line
from pgnet_trio.server.cluster.errors import EngineError
from pgnet_trio.server.cluster.node import RETRY
from pgnet_trio.server.cluster.versions import NodeVersion
from pgnet_trio.server.node.shares import Shares, takers
from pgnet_trio.server.refusals import CannotMove, RoomClosed

if TYPE_CHECKING:
    from pgnet_trio.server.cluster.records import Node
    from pgnet_trio.server.clustering import ClusterHost
    from pgnet_trio.server.context import ServerContext
    from pgnet_trio.server.node.link import ClusterLink

__all__ = ["Drain"]

logger = logging.getLogger("pgnet_trio.server")

RATE = 300.0
"""How many users a second one server takes beside its own, about: each costs it some milliseconds.
A game that it makes costs as much as a user."""

TRIES = 5
"""How often a server tries to give its games away, before it ends with those that are left."""


class Drain:
    """Gives the games and sessions of a server to the other nodes.

    Args:
        context: What the server's tasks share.
        link: What ties it to the cluster.
        host: Gives one game or session away.
    """

    def __init__(self, context: ServerContext, link: ClusterLink, host: ClusterHost) -> None:
        self._context = context
        self._link = link
        self._host = host
        self._shares = Shares()
        self._knows_of_versions = False

    async def run(self, drain_wait: float) -> None:
        """Give away what can go; the rest stays.

        Cancellation gives nothing more away.

        Args:
            drain_wait: Seconds in which games that are not persistent may come to their end.
        """
        lobby = self._context.games.lobby
        for number in range(TRIES):
            if number:
                await trio.sleep(RETRY)
            try:
                await self._link.node.begin_drain()
                # From now on nobody gives this one anything. What they have given before goes on.
                await self._link.node.look()
                has_others = await self._give_games() and await self._give_sessions()
            except EngineError as error:
                logger.warning("The games stay here for now: %s", one_line(error))
                continue
            # Some could not go, or were made meanwhile.
            if not has_others or not any(entry.room.is_persistent for entry in lobby):
                break
        await self._wait_for_ends(drain_wait)

    async def _wait_for_ends(self, drain_wait: float) -> None:
        """Let games that are not persistent come to their end; then give their users away."""
        lobby = self._context.games.lobby
        ends = [entry.room.ended for entry in lobby if not entry.room.is_persistent and entry.users]
        if not (ends and drain_wait):
            await trio.lowlevel.checkpoint()
            return
        logger.info("Waiting for the end of games that are not saved, at most %g s", drain_wait)
        with trio.move_on_after(drain_wait):
            for end in ends:
                await end.wait()
        try:
            await self._give_sessions()
        except EngineError as error:
            logger.warning("The sessions stay here: %s", one_line(error))

    async def _give_games(self) -> bool:
        """Give each game away that can go; return whether there are other nodes.

        Raises:
            EngineError: The other nodes are not known.
        """
        lobby = self._context.games.lobby
        # Those that have stayed, for a reason that may be over later.
        stays: set[str] = set()
        while names := [
            entry.name for entry in lobby if entry.room.is_persistent and entry.name not in stays
        ]:
            for name in names:
                targets = await self._targets(for_games=True)
                if not targets:
                    return False
                if not await self._give_game(name, targets):
                    stays.add(name)
        return True

    async def _give_game(self, name: str, targets: list[Node]) -> bool:
        """Give a game to the first of these nodes that takes it; return whether it is gone."""
        entry = self._context.games.lobby.get(name)
        if entry is None:
            return True
        users = entry.player_count
        # Nobody waits for a place behind those who are still on their way.
        await self._host.crowd.wait_for_space(targets[0].id, users)
        try:
            taker = await self._host.give_game(name, targets)
        except (CannotMove, RoomClosed, EngineError) as error:
            logger.warning("A game stays here: %s", one_line(error))
            return False
        if taker is None:
            return self._context.games.lobby.get(name) is None
        self._shares.note(taker, users)
        await self._pause(users + 1, targets)
        return True

    async def _give_sessions(self) -> bool:
        """Give each session away whose user is in no game; return whether there are other nodes.

        Raises:
            EngineError: The other nodes are not known.
        """
        context = self._context
        for username in context.sessions.usernames:
            if context.games.lobby.game_of(username) is not None:
                continue
            targets = await self._targets(for_games=False)
            if not targets:
                return False
            if await self._host.give_session(username, targets[0]):
                self._shares.note(targets[0], 1)
                await self._pause(1, targets)
        return True

    async def _pause(self, users: int, targets: list[Node]) -> None:
        """Let users arrive, before more are given to the same nodes."""
        await trio.sleep(users / RATE / len(targets))

    async def _targets(self, *, for_games: bool) -> list[Node]:
        """Return the nodes that can go on with what is here, those with the least to do first."""
        engine, version = self._link.engine, self._link.version
        others = takers(await engine.nodes(), self._link.node.id, engine.lease)
        nodes = []
        for node in others:
            other = NodeVersion.decode(node.version)
            if other.takes_over(version) if for_games else other.reads(version):
                nodes.append(node)
        if others and not nodes and not self._knows_of_versions:
            self._knows_of_versions = True
            logger.warning(
                "No other server can go on with what is here, since all are of other versions: "
                "games are saved, and go on where they can be loaded. This one is: %s; the others "
                "are: %s",
                one_line(version.encode()),
                one_line(", ".join(sorted({node.version for node in others}))),
            )
        return self._shares.in_order(nodes)
