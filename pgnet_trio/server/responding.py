"""How a game answers a packet: by a handler of its own model, or by the hooks for any packet."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from pgnet_trio.errors import CodecError, Reject
from pgnet_trio.messages import Response, Status
from pgnet_trio.typed import to_response

if TYPE_CHECKING:
    from pgnet_trio.server.hosted import Hosted
    from pgnet_trio.server.members import Members, PacketTurn

__all__ = ["Responder"]


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

    async def respond(self, turn: PacketTurn) -> Response:
        """Give the answer to a packet; what the game raises comes out."""
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
