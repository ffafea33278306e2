"""The questions that a game has asked its players and that are still open."""

from __future__ import annotations

import inspect
import math
import reprlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import attrs
import trio

from pgnet_trio.codec import plain
from pgnet_trio.errors import CodecError, PlayerLeft, Reject
from pgnet_trio.game import NoDefault
from pgnet_trio.messages import Packet, Response, note_cause
from pgnet_trio.protocol.v2.envelopes import encode_question
from pgnet_trio.protocol.v2.states import MAX_ENVELOPE_SIZE
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.refusals import answer_failed, refused, rejected
from pgnet_trio.server.room.player import OpenQuestion, PacketTurn
from pgnet_trio.typed import check_answer_model, check_game_message, to_packet

if TYPE_CHECKING:
    from pgnet_trio.server.room.tape import Tape

__all__ = ["ADOPTION_TIME", "Asker", "Questions"]

ADOPTION_TIME = 5.0
"""Seconds in which a game that has moved may ask again what it was asking."""

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
        # Those that the game had open when it moved here, and has not asked again; and the answers
        # to them that have come already.
        self._remembered: dict[int, OpenQuestion] = {}
        self._early: dict[int, list[PacketTurn]] = {}

    def __len__(self) -> int:
        return len(self._open) + len(self._remembered)

    def of(self, player: str) -> Iterator[OpenQuestion]:
        """Return the open questions of a player, in the order of asking."""
        found = [
            each
            for each in (*self._remembered.values(), *self._open.values())
            if each.player == player
        ]
        return iter(sorted(found, key=lambda each: each.time))

    @property
    def pending(self) -> list[OpenQuestion]:
        """The questions that still wait for an answer, and those that are remembered."""
        return [
            each
            for each in (*self._remembered.values(), *self._open.values())
            if not each.settled.is_set()
        ]

    @property
    def remembered(self) -> list[OpenQuestion]:
        """The questions of a game that has moved here, which it has not asked again."""
        return list(self._remembered.values())

    @property
    def early_answers(self) -> list[tuple[int, PacketTurn]]:
        """The answers that came before their questions were asked again, and to which."""
        return [(id, turn) for id, turns in self._early.items() for turn in turns]

    def remember(self, questions: Iterable[OpenQuestion]) -> None:
        """Keep questions open that a game is expected to ask again."""
        self._remembered.update((each.id, each) for each in questions)

    def expect_again(self) -> None:
        """Keep the questions open, which the game is expected to ask again when it is made anew."""
        pending = self.pending
        self._open = {each.id: each for each in self._open.values() if each.settled.is_set()}
        self.remember(pending)

    def clear(self) -> None:
        """Forget all questions without a word."""
        self._open.clear()
        self._remembered.clear()
        self._early.clear()

    def keep_answer(self, turn: PacketTurn, question_id: int) -> bool:
        """Keep an answer to a question that is to be asked again; return whether it is one."""
        remembered = self._remembered.get(question_id)
        if remembered is None or remembered.player != turn.player.username:
            return False
        self._early.setdefault(question_id, []).append(turn)
        return True

    def take_early(self, asked: OpenQuestion) -> list[PacketTurn]:
        """Return the answers that came before the question was asked again."""
        return self._early.pop(asked.id, [])

    def withdraw_remembered(self, asker: Asker | None, player: str) -> None:
        """Give up questions of a player that the game has not asked again.

        Args:
            asker: The way to the player; None for one who is gone.
            player: The player.
        """
        for each in [each for each in self._remembered.values() if each.player == player]:
            del self._remembered[each.id]
            if asker is not None:
                asker.withdraw(each)
            for turn in self._early.pop(each.id, []):
                turn.player.answer(turn, _no_longer_open())
                turn.player.flush()

    def _adopt(self, player: str, packet: Packet, deadline: float | None) -> OpenQuestion | None:
        """Return the remembered question that is asked again, and forget it."""
        for each in self._remembered.values():
            if (
                each.player == player
                and each.packet.message == packet.message
                and each.packet.payload == packet.payload
                and (each.deadline is None) == (deadline is None)
            ):
                return self._remembered.pop(each.id)
        return None

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
        ends = None if deadline == math.inf else max(deadline, now) - self._start
        found = self._adopt(player, packet, ends) if self._remembered else None
        if found is not None:
            # The player has seen it, with this id and this deadline.
            asked = attrs.evolve(
                found, model=model, check=check, settled=trio.Event(), is_adopted=True
            )
            self._open[asked.id] = asked
            return asked
        if self._remembered:
            # The game has gone on: it does not ask what it was asking.
            self.withdraw_remembered(asker, player)
        asked = OpenQuestion(next(self._ids), player, packet, ends, now - self._start, model, check)
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
        tape: Tape | None = None,
    ) -> AnswerT:
        """Wait for the answer to a question that was just put. Cancellation withdraws it."""
        try:
            end = math.inf if timeout is None else trio.current_time() + timeout
            if asked.is_adopted and asked.deadline is not None:
                # The player was told so, before the game moved.
                end = min(end, self._start + asked.deadline)
            limit = trio.CancelScope(deadline=end) if tape is None else tape.limit(asked.id, end)
            with limit:
                await asked.settled.wait()
            if tape is not None and limit.cancelled_caught:
                tape.note_silence(asked.id)
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

    # Ctrl-C is for a check that does not come to an end, in the reader of sockets as elsewhere.
    @trio.lowlevel.disable_ki_protection
    def take_answer(self, player: str, question_id: int, packet: Packet) -> Response:
        """Take a player's answer, and return what they are told of it."""
        asked = self._open.get(question_id)
        if asked is None or asked.player != player or asked.settled.is_set():
            return _no_longer_open()
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
            response = refused(answer_failed(error), ReasonCode.GAME_FAILED)
            note_cause(response, error)
            return response
        asked.answer = answer
        self._settle(asked)
        return Response("")

    def player_left(self, player: str) -> None:
        """Raise PlayerLeft in the tasks that wait for a player's answers."""
        self.withdraw_remembered(None, player)
        for asked in self.of(player):
            if asked.settled.is_set():
                continue
            asked.error = PlayerLeft(f"{player} left the game before the answer")
            self._settle(asked)

    def _settle(self, asked: OpenQuestion) -> None:
        del self._open[asked.id]
        asked.settled.set()


def _no_longer_open() -> Response:
    return refused("This question is no longer open.", ReasonCode.QUESTION_CLOSED)


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
