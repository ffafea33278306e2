"""What a user asks of a server about results: leaderboards, and the games that they have played."""

from __future__ import annotations

from pgnet_trio.codec import from_plain
from pgnet_trio.messages import Packet, Request, Response
from pgnet_trio.standings import LeaderboardPage, PlayedGame

__all__ = ["StandingRequests"]


class StandingRequests:
    """What `Client` can ask about results.

    It is no `abc.ABC`, for the reason that `LobbyRequests` has.
    """

    async def request(self, packet: Packet) -> Response:
        """Send a packet and wait for the answer."""
        raise NotImplementedError

    async def leaderboard(
        self, name: str = "", /, *, around: str = "", offset: int = 0, limit: int = 20
    ) -> LeaderboardPage:
        """Ask for a part of a leaderboard.

        Args:
            name: Its name; empty where the game has only one.
            around: A player, in upper or lower case: the part around them, and an empty one where
                they are not on it.
            offset: How many lines to leave out before; nothing together with *around*.
            limit: How many lines at most, up to 100.

        Raises:
            RequestFailed: There is no such leaderboard, or it cannot be read now.
            Disconnected: There is no connection, or it ended before the answer came.
            CodecError: The answer is none.
        """
        payload = {"name": name, "around": around, "offset": offset, "limit": limit}
        response = await self.request(Packet(Request.LEADERBOARD, payload))
        return from_plain(response.raise_for_status().payload, LeaderboardPage)

    async def history(self, *, before: int = 0, limit: int = 20) -> list[PlayedGame]:
        """Ask for the games that the user has played, the latest first.

        Args:
            before: The `number` of a game, for those before it; 0 for the latest.
            limit: How many at most, up to 50. There may be fewer of games with many players.

        Raises:
            RequestFailed: It cannot be read now.
            Disconnected: There is no connection, or it ended before the answer came.
            CodecError: The answer is none.
        """
        packet = Packet(Request.HISTORY, {"before": before, "limit": limit})
        response = (await self.request(packet)).raise_for_status()
        return from_plain(response.payload.get("games", []), list[PlayedGame])
