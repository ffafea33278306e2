"""The questions that a game has asked its players and that are still open."""

from __future__ import annotations

import inspect
import math
import reprlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import trio

from pgnet_trio.codec import plain
from pgnet_trio.errors import CodecError, PlayerLeft, Reject
from pgnet_trio.game import NoDefault
from pgnet_trio.messages import Packet, Response, note_cause
from pgnet_trio.protocol.v2.envelopes import encode_question
from pgnet_trio.protocol.v2.states import MAX_ENVELOPE_SIZE
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.refusals import ANSWER_FAILED, refused, rejected
from pgnet_trio.server.room.player import OpenQuestion
from pgnet_trio.typed import check_answer_model, check_game_message, to_packet

__all__ = ["Asker", "Questions"]

AnswerT = TypeVar("AnswerT")


class Asker(Protocol):
    """The way to the player who is asked."""

    def ask(self, question: OpenQuestion, /) -> None:
        """Show the player a question."""

    def withdraw(self, question: OpenQuestion, /) -> None:
        """Tell the player that a question is no longer open."""


class Questions:
    """Owns a room's open questions.

    Args:
        start: When the room's time began, on Trio's clock.
        ids: Yields each question's id. No other room of the server uses the same id:
            otherwise a late answer could pass for one to a question of another game.
    """

    def __init__(self, start: float, ids: Iterator[int]) -> None:
        self._start = start
        self._ids = ids
        self._open: dict[int, OpenQuestion] = {}

    def __len__(self) -> int:
        return len(self._open)

    def of(self, player: str) -> Iterator[OpenQuestion]:
        """Return the open questions of a player, in the order of asking."""
        return iter([each for each in self._open.values() if each.player == player])

    def put(
        self,
        asker: Asker,
        player: str,
        question: object,
        model: type[AnswerT],
        *,
        timeout: float | None,
        check: Callable[[AnswerT], None] | None,
    ) -> OpenQuestion:
        """Ask a player; `wait_for` has to be called at once. See `pgnet_trio.Room.ask`."""
        check_answer_model(model)
        packet = to_packet(question)
        check_game_message(packet.message)
        # Validate now: at send time the caller is no longer there to see the error.
        packet = Packet(packet.message, plain(packet.payload))
        size = len(encode_question(0, packet, None, 0.0))
        if size > MAX_ENVELOPE_SIZE:
            raise CodecError(
                f"room.ask: expected a question of at most {MAX_ENVELOPE_SIZE:,} bytes, which is "
                f"what clients take, got {size:,}"
            )
        now = trio.current_time()
        deadline = min(
            trio.current_effective_deadline(), math.inf if timeout is None else now + timeout
        )
        asked = OpenQuestion(
            next(self._ids),
            player,
            packet,
            None if deadline == math.inf else max(deadline, now) - self._start,
            now - self._start,
            model,
            check,
        )
        self._open[asked.id] = asked
        asker.ask(asked)
        return asked

    async def wait_for(
        self,
        asker: Asker,
        asked: OpenQuestion,
        *,
        timeout: float | None,
        default: AnswerT | NoDefault,
    ) -> AnswerT:
        """Wait for the answer to a question that was just put. Cancellation withdraws it."""
        try:
            start = trio.current_time()
            with trio.move_on_at(math.inf if timeout is None else start + timeout):
                await asked.settled.wait()
        finally:
            if self._open.pop(asked.id, None) is not None:
                asker.withdraw(asked)
        if asked.error is not None:
            raise asked.error
        if asked.settled.is_set():
            answer: AnswerT = asked.answer
            return answer
        if isinstance(default, NoDefault):
            raise trio.TooSlowError(f"{asked.player} did not answer within {timeout:g} s")
        return default

    def take_answer(self, player: str, question_id: int, packet: Packet) -> Response:
        """Take a player's answer, and return what they are told of it."""
        asked = self._open.get(question_id)
        if asked is None or asked.player != player or asked.settled.is_set():
            return refused("This question is no longer open.", ReasonCode.QUESTION_CLOSED)
        model: type[Any] = asked.model
        try:
            answer = packet.read(model)
            if asked.check is not None:
                _check(asked.check, answer)
        except Reject as reject:
            return rejected(reject)
        except CodecError as error:
            return refused(str(error), ReasonCode.INVALID_ARGUMENT)
        except BaseException as error:
            # The check is the game's code: its error is raised where the game waits.
            # Until then the question stays in `_open`, so that the player is told of its end.
            asked.error = error
            asked.settled.set()
            response = refused(ANSWER_FAILED, ReasonCode.GAME_FAILED)
            note_cause(response, error)
            return response
        asked.answer = answer
        self._settle(asked)
        return Response("")

    def player_left(self, player: str) -> None:
        """Raise PlayerLeft in the tasks that wait for a player's answers."""
        for asked in self.of(player):
            if asked.settled.is_set():
                continue
            asked.error = PlayerLeft(f"{player} left the game before the answer")
            self._settle(asked)

    def _settle(self, asked: OpenQuestion) -> None:
        del self._open[asked.id]
        asked.settled.set()


def _check(check: Callable[[Any], Any], answer: object) -> None:
    result = check(answer)
    if inspect.iscoroutine(result):
        result.close()
        raise TypeError(
            "the check of an answer has to be a plain def, not an async def; "
            "it raises Reject, or does nothing"
        )
    if result is not None:
        raise TypeError(
            f"the check of an answer returned {reprlib.repr(result)}, which means nothing: it "
            "raises Reject to refuse the answer, and returns nothing to take it"
        )
