"""A question of the game to a player, as the client's program sees it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from pgnet_trio.typed import to_packet

if TYPE_CHECKING:
    from pgnet_trio.messages import Packet, Response

__all__ = ["Question"]

PromptT_co = TypeVar("PromptT_co", covariant=True)


class Question(Generic[PromptT_co]):
    """Something that the game asks this player, until it is answered or withdrawn.

    Attributes:
        prompt: What is asked: a model, or a packet.
        packet: The same as a packet.
        scope: The client cancels it when the question is no longer open. Ask a person within it,
            with ``with question.scope:``, and the asking ends by itself.
    """

    def __init__(
        self,
        id: int,
        packet: Packet,
        prompt: PromptT_co,
        scope: trio.CancelScope,
        send: Callable[[int, Packet], Awaitable[Response]],
    ) -> None:
        self.id = id
        self.packet = packet
        self.prompt = prompt
        self.scope = scope
        self._send = send

    def __repr__(self) -> str:
        return f"<Question {self.packet.message!r}, {self.seconds_left:.1f} s left>"

    @property
    def is_open(self) -> bool:
        """Whether an answer still counts."""
        return not self.scope.cancel_called

    @property
    def seconds_left(self) -> float:
        """Seconds until the time is up; infinite where there is no limit."""
        if self.scope.deadline == math.inf:
            return math.inf
        return max(0.0, self.scope.deadline - trio.current_time())

    async def answer(self, answer: object, /) -> Response:
        """Answer the question.

        Args:
            answer: An attrs model, or a packet.

        Returns:
            What the game says of it, with status OK.

        Raises:
            RequestFailed: The game refuses the answer, and the response says why: a field is
                wrong, the rules are against it, or the question is no longer open.
            Disconnected: The session ended.
        """
        try:
            packet = to_packet(answer)
        except Exception:
            await trio.lowlevel.checkpoint()
            raise
        response = await self._send(self.id, packet)
        return response.raise_for_status()
