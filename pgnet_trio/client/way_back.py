"""How a client that has logged in anew, after a lost session, gets back into its game."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pgnet_trio.client.outbox import PendingRequest
from pgnet_trio.messages import Packet, Request, Response
from pgnet_trio.protocol.v2.features import REJOIN, TABLES

__all__ = ["JOINING", "WayBack"]

JOINING = (Request.CREATE_GAME, Request.JOIN_GAME)
"""The requests that lead into a game."""


class WayBack:
    """Remembers how the user got into the game, to ask for the same again.

    Attributes:
        way_in: The request that led into the game; None where there is none, or where another
            client made it.
    """

    def __init__(self) -> None:
        self.way_in: Packet | None = None
        self._rejoining: PendingRequest | None = None

    def note_joined(self, packet: Packet, response: Response, features: Collection[str]) -> None:
        """Note a request that has led into a game.

        Args:
            packet: The request.
            response: What the server said to it.
            features: The features in use.
        """
        payload = dict(packet.payload)
        options = response.payload.get("options")
        if isinstance(options, dict):
            payload["options"] = options
        elif REJOIN in features:
            # The game that is joined has none, whatever a new one would have got.
            payload.pop("options", None)
        if TABLES in features:
            payload.pop("unlisted", None)
            told = ("name", "unlisted")
            payload |= {key: response.payload[key] for key in told if key in response.payload}
        self.way_in = Packet(packet.message, payload)

    def note_seated(self, game: str, options: dict[str, Any]) -> None:
        """Note that a search has led into a game.

        Args:
            game: Its name.
            options: With what it would be made anew.
        """
        payload: dict[str, Any] = {"name": game}
        if options:
            payload["options"] = options
        self.way_in = Packet(Request.JOIN_GAME, payload)

    def forget(self) -> None:
        """Forget the way into a game that the user is out of."""
        self.way_in = None

    def make_request(self, features: Collection[str]) -> PendingRequest | None:
        """Return the request that leads back into the game; None where there is nothing to ask."""
        if self.way_in is None:
            return None
        payload = dict(self.way_in.payload)
        if REJOIN not in features:
            # This server takes options for a new game only; this one may be there.
            payload.pop("options", None)
        if TABLES in features:
            # A game whose name is a code is made for nobody else.
            payload["rejoin"] = True
        else:
            payload.pop("unlisted", None)
        self._rejoining = PendingRequest(Packet(Request.JOIN_GAME, payload))
        return self._rejoining

    def is_request(self, request: PendingRequest) -> bool:
        """Return whether a request is the one that was made last to lead back."""
        return request is self._rejoining
