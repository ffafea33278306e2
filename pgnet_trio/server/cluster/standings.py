"""The engine's face for results, leaderboards and histories."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgnet_trio.server.cluster.calls import EngineCalls, TablesT

if TYPE_CHECKING:
    from pgnet_trio.server.cluster.standing_records import Report
    from pgnet_trio.standings import LeaderboardPage, PlayedGame

__all__ = ["Standings"]


class Standings(EngineCalls[TablesT]):
    """How games ended, and who is how good."""

    async def report(self, report: Report) -> PlayedGame:
        """Count the result of a game, once however often it is reported.

        All of it is one transaction: the result, its lines on leaderboards, ratings and histories.

        Returns:
            What is kept of it; the same for each report of it.

        Raises:
            BoardTurned: A leaderboard is kept in the other order.
            Fenced: The room is not the caller's any more.
            ReportedBefore: The game has reported another result.
        """
        return await self._change(lambda tables: tables.report(report))

    async def leaderboard(self, name: str, *, offset: int = 0, limit: int = 100) -> LeaderboardPage:
        """Return a part of a leaderboard; an empty one where there is none of that name.

        Args:
            name: Its name.
            offset: How many lines to leave out before.
            limit: How many lines at most.
        """
        return await self._read(lambda tables: tables.leaderboard(name, offset, limit))

    async def leaderboard_around(
        self, name: str, player: str, *, limit: int = 11
    ) -> LeaderboardPage:
        """Return the lines around a player; none where they are not on the leaderboard.

        Args:
            name: The leaderboard's name.
            player: The player.
            limit: How many lines at most, theirs among them.
        """
        return await self._read(lambda tables: tables.leaderboard_around(name, player, limit))

    async def history(
        self, player: str, *, before: int | None = None, limit: int = 20
    ) -> list[PlayedGame]:
        """Return the games that a player has played, the latest first.

        Args:
            player: The player.
            before: The number of the last one of the part before; None for the first part.
            limit: How many at most.
        """
        return await self._read(lambda tables: tables.history(player, before, limit))

    async def rating(self, queue: str, player: str) -> float:
        """Return how well a player plays, in the ratings of a queue."""
        return await self._read(lambda tables: tables.rating(queue, player))

    async def forget_player(self, name: str) -> None:
        """Take a player out of all leaderboards, with their history.

        Others keep the games that they have played with them in their histories.
        """
        await self._change(lambda tables: tables.forget_player(name))
