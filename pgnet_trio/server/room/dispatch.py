"""How a game answers a packet: by a handler of its own model, or by the hooks for any packet."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from pgnet_trio.errors import CodecError, Reject
from pgnet_trio.messages import Response, Status
from pgnet_trio.typed import to_response

if TYPE_CHECKING:
    from pgnet_trio.server.room.instance import Hosted
    from pgnet_trio.server.room.members import Members
    from pgnet_trio.server.room.player import PacketTurn

__all__ = ["Responder"]

logger = logging.getLogger("pgnet_trio.server")

MAX_UNTAKEN = 20
"""Messages of a game of which the log says that they were not taken: players choose their names,
and a log must not grow by what players do."""


class Responder:
    """Gets a game's answers.

    Args:
        hosted: The game.
        members: Who may send it packets.
        hook: Waits for what a hook returned.
    """

    def __init__(
        self,
        hosted: Hosted,
        members: Members,
        hook: Callable[[Any], Coroutine[Any, Any, Any]],
    ) -> None:
        self._hosted = hosted
        self._members = members
        self._hook = hook
        self._untaken: set[str] = set()

    def respond(self, turn: PacketTurn) -> Coroutine[Any, Any, Response]:
        """Give the answer to a packet; what the game raises comes out."""
        return self._respond_to_nobody(turn) if turn.quiet else self._respond(turn)

    async def _respond_to_nobody(self, turn: PacketTurn) -> Response:
        """Leave a trace of a refusal, once for each message: nobody gets to see the answer."""
        response = await self._respond(turn)
        message, untaken = turn.packet.message, self._untaken
        refused = response.status in (Status.UNEXPECTED, Status.BAD)
        if refused and message not in untaken and len(untaken) < MAX_UNTAKEN:
            untaken.add(message)
            # The repr, of which no part can pass for a line of its own.
            logger.info(
                "%.60r from %s was not taken by the game %r, and was sent by client.send without "
                "a callback, so that the player does not hear of it: %.300r",
                message,
                turn.player.username,
                self._hosted.name,
                response.message,
            )
        return response

    async def _respond(self, turn: PacketTurn) -> Response:
        packet = turn.packet
        member = self._members.get(turn.player.username)
        if member is None or member.seat is None:
            text = "You are in no game." if member is None else "You only watch this game."
            return Response(text, status=Status.UNEXPECTED)
        hosted = self._hosted
        handler = hosted.handlers.get(packet.message)
        if handler is None:
            result: Any = hosted.game.handle_packet(packet)
            if isinstance(result, Response):
                return result
            result = await self._hook(result)
            if isinstance(result, Response):
                return result
            raise TypeError(
                f"{type(hosted.game).__name__} has to answer a packet with a Response; it "
                f"returned {result!r}."
            )
        try:
            model_class: type[Any] = handler.model
            model = packet.read(model_class)
        except CodecError as error:
            return Response(f"{packet.message}: {error}", status=Status.UNEXPECTED)
        try:
            result = handler.function(hosted.game, turn.player.username, model)
            if inspect.isawaitable(result):
                result = await self._hook(result)
        except Reject as reject:
            return Response(reject.reason, reject.payload, Status.UNEXPECTED)
        try:
            return to_response(result)
        except TypeError as error:
            raise TypeError(
                f"{type(hosted.game).__name__}.{handler.function.__name__} returned what cannot "
                f"be an answer: {error}"
            ) from None
