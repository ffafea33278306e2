"""Which game a client's user is in: how that is known, and how they got there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import trio

from pgnet_trio.client.way_back import JOINING, WayBack
from pgnet_trio.messages import (
    DEFAULT_HEARTBEAT_RATE,
    SERVER_PREFIX,
    Packet,
    Request,
    Response,
    Status,
)
from pgnet_trio.protocol.events import GameChanged

if TYPE_CHECKING:
    from pgnet_trio.client.callbacks import Hooks
    from pgnet_trio.client.game_view import GameView
    from pgnet_trio.client.outbox import PendingRequest

__all__ = ["CurrentGame", "CurrentGameOwner"]


class CurrentGameOwner(Protocol):
    """What it needs of the run that it belongs to. Nothing here waits."""

    @property
    def features(self) -> frozenset[str]:
        """The features of the protocol that are in use."""

    status: str

    def set_status(self, status: str, /) -> None:
        """Note how things are, in words for people."""

    def call(self, hook: Callable[..., Any] | None, argument: Any, size: int, /) -> None:
        """Queue the call of an event about so many bytes; None is nothing to call."""


class CurrentGame:
    """Knows which game the user is in. Nothing here waits but where it says so.

    Args:
        hooks: The events to call.
        username: Who the user is.
        view: What the server told of the game; it hears of those changes that were inferred.
        owner: Makes the calls.

    Attributes:
        name: The game's name; None where the user is in none.
        heartbeat_rate: Heartbeats a second that the server wants; 0 for none.
    """

    def __init__(
        self, hooks: Hooks, username: str, view: GameView, owner: CurrentGameOwner
    ) -> None:
        self.name: str | None = None
        self.heartbeat_rate = DEFAULT_HEARTBEAT_RATE
        self._hooks = hooks
        self._username = username
        self._view = view
        self._owner = owner
        self._changed = trio.lowlevel.ParkingLot()
        self._way_back = WayBack()

    @property
    def way_in(self) -> Packet | None:
        """The request that led into the game; None where this client made none."""
        return self._way_back.way_in

    async def wait_change(self) -> None:
        """Wait until the game or the rate of heartbeats is another, or the session is over."""
        await self._changed.park()

    async def wait_out(self) -> None:
        """Wait until the user is in no game."""
        await trio.lowlevel.checkpoint()
        while self.name is not None:
            await self._changed.park()

    # What becomes of the session.

    def begin(self, protocol: int | None) -> None:
        """Note that the user has logged in, with a version of the protocol."""
        self.heartbeat_rate = DEFAULT_HEARTBEAT_RATE if protocol == 1 else 0.0

    def make_way_back(self) -> PendingRequest | None:
        """Return the request that leads back into the game after a lost session; None for none."""
        return self._way_back.make_request(self._owner.features)

    def lose(self, reason: str) -> None:
        """Note that the server has forgotten the session, which had the user in the game."""
        if self.way_in is None and self.name is not None:
            # The client took over from another one, and does not know how that one got in.
            self._put_out(reason)

    def end(self) -> None:
        """Note that the session is over."""
        self.name = None
        self._changed.unpark_all()

    # What the server tells.

    def take(self, changed: GameChanged) -> None:
        """Note that the user has got into a game, or out of it."""
        if changed.name is None:
            self._way_back.forget()
        self.heartbeat_rate = max(0.0, changed.heartbeat_rate)
        self._set(changed.name)
        # Also where the name is the one of before: the rate may be another.
        self._changed.unpark_all()

    def note_seated(self, options: dict[str, Any]) -> None:
        """Note that a search has led into the game, which has these options."""
        if self.name is not None:
            self._way_back.note_seated(self.name, options)

    def note_response(
        self, request: PendingRequest, response: Response, size: int, protocol: int | None
    ) -> None:
        """Note what a response says of the user's game, and have the response say it.

        Args:
            request: What was asked.
            response: What the server said.
            size: How many bytes that was.
            protocol: The version of the protocol.
        """
        packet = request.packet
        if packet.message in JOINING and response.status == Status.OK:
            self._way_back.note_joined(packet, response, self._owner.features)
        elif self._way_back.is_request(request):
            # It is refused: the user is out of the game.
            self._put_out(response.message, size)
        if protocol == 1:
            rate = response.payload.get("heartbeat_rate")
            if packet.message in JOINING and isinstance(rate, (int, float)) and rate > 0:
                self.heartbeat_rate = float(rate)
            self._infer(packet, response)
        else:
            response.game = self.name

    def note_watching(self) -> None:
        """Say so where the user only watches: the list of players, which comes next, lacks them."""
        name = self.name
        is_news = name is not None and self._owner.status == _in_game(name)
        if is_news and self._username not in self._view.players:
            self._owner.set_status(f"Watching the game {name!r}.")

    def _put_out(self, message: str, size: int = 0) -> None:
        self._way_back.forget()
        now = self._view.clock.time()
        self._view.take(GameChanged(None, 0.0, now, "closed", message, size))
        self._set(None)

    def _infer(self, packet: Packet, response: Response) -> None:
        """Note the game that a response of protocol 1 names; that is all it tells of a game."""
        now = trio.current_time()
        if response.game == self.name:
            return
        if self.name is not None:
            reason, message = "kicked", ""
            if packet.message == Request.LEAVE_GAME and response.status == Status.OK:
                reason = "left"
            elif response.game is None and _is_from_game(packet, response):
                message = response.message
            self._view.take(GameChanged(None, 0.0, now, reason, message))
        if response.game is not None:
            self._view.take(GameChanged(response.game, 0.0, now))
        self._set(response.game)

    def _set(self, name: str | None) -> None:
        if name == self.name:
            return
        self.name = name
        self._owner.set_status("In no game." if name is None else _in_game(name))
        self._owner.call(self._hooks.on_game, name, len(name or ""))
        self._changed.unpark_all()


def _in_game(name: str) -> str:
    return f"In the game {name!r}."


def _is_from_game(packet: Packet, response: Response) -> bool:
    """Whether a response can be a game's, and so say why the user is out of it."""
    is_for_game = packet.message == Request.HEARTBEAT_UPDATE or not packet.message.startswith(
        SERVER_PREFIX
    )
    # With the commands, a server says that the user was in no game already.
    return is_for_game and "commands" not in response.payload
