"""A question of the game to a player, as the client's program sees it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import attrs
import trio

from pgnet_trio.errors import SessionLost
from pgnet_trio.messages import Response, Status, note_code
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.typed import to_packet

if TYPE_CHECKING:
    from pgnet_trio.messages import Packet

__all__ = ["OpenQuestion", "Question", "QuestionOwner"]

PromptT_co = TypeVar("PromptT_co", covariant=True)


class QuestionOwner(Protocol):
    """What a question needs of the view of the game that asks it."""

    def is_withdrawn(self, question: Question[Any]) -> bool:
        """Return whether a question is no longer open, whatever the time is."""

    def note_sleep(self) -> None:
        """Look whether this machine has slept, and so whether deadlines are nearer than before."""

    def look_at_time(self) -> None:
        """The same, and ask the server what time it is, unless it was asked a few times."""

    async def answer_question(self, question: int, packet: Packet) -> Response:
        """Answer a question, and return what the game says of it.

        Raises:
            RequestFailed: The game refuses the answer to a question that is open.
        """


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
        owner: QuestionOwner,
    ) -> None:
        self.id = id
        self.packet = packet
        self.prompt = prompt
        self.scope = scope
        self._owner = owner

    def __repr__(self) -> str:
        return f"<Question {self.packet.message!r}, {self.seconds_left:.1f} s left>"

    @property
    def is_open(self) -> bool:
        """Whether an answer still counts."""
        self._owner.note_sleep()
        return not self.scope.cancel_called

    @property
    def seconds_left(self) -> float:
        """Seconds until the time is up; infinite where there is no limit."""
        self._owner.look_at_time()
        if self.scope.deadline == math.inf:
            return math.inf
        return max(0.0, self.scope.deadline - trio.current_time())

    async def answer(self, answer: object, /) -> Response:
        """Answer the question.

        An answer that comes too late is no error: whoever answers cannot know that the game goes on
        without them. A question of a lost session is no longer open either, and nobody knows
        whether an answer that was under way has counted.

        Args:
            answer: An attrs model, or a packet.

        Returns:
            What the game says of it, with status OK; or, where the question is no longer open, a
            response that says so, with another status.

        Raises:
            RequestFailed: The game refuses the answer, and the response says why: a field is
                wrong, or the rules are against it. The question is still open.
            Disconnected: The session ended for good.
        """
        try:
            packet = to_packet(answer)
        except Exception:
            await trio.lowlevel.checkpoint()
            raise
        if self._owner.is_withdrawn(self):
            # Not sent: a server that was started anew may use the same number for another question.
            await trio.lowlevel.checkpoint()
            return _closed("")
        try:
            return await self._owner.answer_question(self.id, packet)
        except SessionLost as lost:
            return _closed(f": {lost}")


def _closed(why: str) -> Response:
    text = f"This question is no longer open{why or '.'}"
    return note_code(Response(text, status=Status.UNEXPECTED), ReasonCode.QUESTION_CLOSED)


@attrs.define(eq=False)
class OpenQuestion:
    """A question that has no answer yet.

    Attributes:
        question: The question.
        deadline: The time of the room until which an answer counts; infinite for no limit.
        size: Its size on the wire, in bytes.
        is_told: Whether ``on_question`` was called with it.
    """

    question: Question[Any]
    deadline: float
    size: int
    is_told: bool = False
