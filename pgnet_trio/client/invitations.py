"""Invitations of other users to their games."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from pgnet_trio.errors import ProtocolError
from pgnet_trio.messages import Packet, Request, Response

__all__ = ["Invitation", "read_invitation"]


@attrs.frozen
class Invitation:
    """An invitation to a game; see `Client.invitations`.

    Attributes:
        inviter: The player who has invited the user.
        game: The game's name, or the code of a table.
        game_class: The name of the game's class.
    """

    inviter: str
    game: str
    game_class: str
    _request: Callable[[Packet], Awaitable[Response]] = attrs.field(eq=False, repr=False)

    async def join(self, *, spectate: bool = False) -> Response:
        """Join the game; it asks for no password.

        Args:
            spectate: Whether only to watch.

        Raises:
            RequestFailed: The game cannot be joined: the invitation holds no more, say, and the
                game has a password; or it is full, or over, where it is not made anew.
            Disconnected: There is no connection, or it ended before the response came.
        """
        payload: dict[str, Any] = {"name": self.game, "invited": True}
        if spectate:
            payload["spectate"] = True
        return (await self._request(Packet(Request.JOIN_GAME, payload))).raise_for_status()


def read_invitation(
    payload: dict[str, Any], request: Callable[[Packet], Awaitable[Response]]
) -> Invitation:
    """Return the invitation that a push is.

    Args:
        payload: That of the push.
        request: Sends a packet, and returns the response.

    Raises:
        ProtocolError: It is none.
    """
    match payload:
        case {"inviter": str(inviter), "game": str(game), "game_class": str(game_class)}:
            return Invitation(inviter, game, game_class, request)
    raise ProtocolError("an invitation has to have an inviter, a game and a game_class")
