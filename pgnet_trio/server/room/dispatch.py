"""A packet's way to the game: to the handler of its model, or to the hook for any packet.

What a handler raises is the author's mistake, and ends the game. The hooks for any packet are the
original's, whose games read payloads without checks, since only the sender felt what they raised:
so it is here.
"""

from __future__ import annotations

import inspect
import logging
import reprlib
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from pgnet_trio.codec import from_parsed
from pgnet_trio.codec.faults import TooLargeError
from pgnet_trio.errors import CodecError, Reject
from pgnet_trio.foreign_text import one_line
from pgnet_trio.messages import Response, Status, cause_of
from pgnet_trio.protocol.events import MAX_REASON
from pgnet_trio.reason_codes import ReasonCode
from pgnet_trio.server.refusals import not_taken, refused, rejected
from pgnet_trio.typed import to_response

if TYPE_CHECKING:
    from pgnet_trio.protocol.events import InputReceived
    from pgnet_trio.server.room.members import Members
    from pgnet_trio.server.room.owner import RoomOwner
    from pgnet_trio.server.room.player import PacketTurn, Player
    from pgnet_trio.server.room.questions import Questions
    from pgnet_trio.server.room.runner import Runner
    from pgnet_trio.transport.rounds import Round
    from pgnet_trio.typed import Handler

__all__ = ["Dispatch"]

logger = logging.getLogger("pgnet_trio.server")

MAX_UNHEARD = 20
"""Messages of a game whose unheard refusals are logged: players choose the messages, and a log must
not grow by what players do."""

_UNHEARD = Response("")


class Dispatch:
    """Gets a game's answers to packets.

    Args:
        runner: Runs the game's hooks.
        members: Who may send packets.
        questions: The open questions.
        owner: Is told what the hooks for any packet raised.
    """

    def __init__(
        self, runner: Runner, members: Members, questions: Questions, owner: RoomOwner
    ) -> None:
        self._runner = runner
        self._instance = runner.instance
        self._members = members
        self._questions = questions
        self._owner = owner
        self._unheard: set[str] = set()

    def respond(self, turn: PacketTurn) -> Response | Coroutine[Any, Any, Response]:
        """Return the answer to a packet, or an awaitable for it; raises what a handler raises."""
        # No ``async def``: most handlers are plain functions, and need no coroutine around them.
        packet, instance = turn.packet, self._instance
        username = turn.player.username
        member = self._members.get(username)
        if member is None or member.seat is None:
            if member is None:
                return refused("You are in no game.", ReasonCode.NOT_IN_GAME)
            return refused("You only watch this game.", ReasonCode.SPECTATOR)
        if turn.size:
            refusal = instance.refuse_size(turn)
            if refusal is not None:
                return refusal
            turn.unpack()
        handler = instance.handlers.get(packet.message)
        if handler is None:
            try:
                result: Any = instance.game.handle_packet(packet)
            except Exception as error:
                return self._refuse(turn, error)
            if isinstance(result, Response):
                return result
            return self._wait_for_response(turn, result)
        model_class: type[Any] = handler.model
        try:
            model = from_parsed(packet.payload, model_class)
        except CodecError as error:
            return refused(str(error), ReasonCode.INVALID_ARGUMENT)
        try:
            result = handler.function(instance.game, username, model)
        except Reject as reject:
            return rejected(reject)
        if result is None:
            # Nobody hears this one, so it need not be made anew each time.
            return _UNHEARD if turn.quiet else Response("")
        if not isinstance(result, Response) and inspect.isawaitable(result):
            return self._wait_for_handler(turn, handler, result)
        return self._to_response(handler, result)

    def take_answer(self, turn: PacketTurn, question_id: int) -> None:
        """Take the answer to a question; this goes round the queue, and never waits."""
        runner = self._runner
        if self._questions.keep_answer(turn, question_id):
            return
        response = self._instance.refuse_size(turn) if turn.size else None
        if response is None:
            with runner.running(turn):
                response = self._questions.take_answer(
                    turn.player.username, question_id, turn.packet
                )
            if (cause := cause_of(response)) is not None:
                self._owner.note_cause(cause, turn.player.username)
                # Now: where the game waits for the answer, it may catch this.
                what = f"Game {self._instance.name!r} raised over an answer"
                self._owner.note_failure(cause, what, turn.player)
        turn.player.answer(turn, response)
        turn.player.flush()
        # The check of the answer is the game's code: it may have pushed or kicked.
        if runner.publisher.pushes or runner.deferred.waiting:
            runner.ensure_turn()

    def take_input(self, player: Player, given: InputReceived, round: Round | None) -> None:
        """Take what a player does in one tick: it goes round the queue, and nobody is answered.

        Args:
            player: Who.
            given: What.
            round: The round of reading that it came in; None outside of one.
        """
        instance = self._instance
        if not instance.made:
            return
        if round is not None and instance.input_delay < round.delay:
            round.delay = instance.input_delay
        simulation = self._runner.publisher.simulation
        try:
            if simulation.take(player.username, given):
                # The model may be checked, and two compared, by code of the author's.
                with self._runner.running(given):
                    simulation.read(player.username, given)
        except BaseException as error:
            # Of the game, and not of the connection that reads here.
            self._runner.fail(error)

    def times(self) -> tuple[float, float]:
        """Return what time it is in the room, and how many ticks a second there are."""
        return self._instance.time(), self._runner.publisher.simulation.rate

    def note_unheard(self, turn: PacketTurn, response: Response) -> None:
        """Log a refusal that nobody gets to see, once for each message."""
        message, unheard = turn.packet.message, self._unheard
        is_refusal = response.status in (Status.UNEXPECTED, Status.BAD)
        if is_refusal and message not in unheard and len(unheard) < MAX_UNHEARD:
            unheard.add(message)
            # As reprs: no part of them can pass for a line of its own.
            logger.info(
                "%.60r from %s was not taken by the game %r: %.300r. The player does not hear of "
                "it, because client.send sent it without a callback",
                message,
                turn.player.username,
                self._instance.name,
                response.message,
            )

    async def _wait_for_response(self, turn: PacketTurn, result: Any) -> Response:
        if inspect.isawaitable(result):
            try:
                result = await self._runner.steps_of(result, delayable=turn.quiet)
            except Exception as error:
                return self._refuse(turn, error)
        if isinstance(result, Response):
            return result
        return self._refuse(
            turn,
            TypeError(
                f"{type(self._instance.game).__name__} has to answer a packet with a Response; it "
                f"returned {reprlib.repr(result)}."
            ),
        )

    def _refuse(self, turn: PacketTurn, error: Exception) -> Response:
        """Refuse a packet because of what a hook for any packet raised; the game goes on."""
        if isinstance(error, Reject):
            return rejected(error)
        text = not_taken(error)
        self._owner.note_cause(error)
        what = f"Game {self._instance.name!r} raised over a packet, and goes on"
        self._owner.note_failure(error, what, turn.player)
        return refused(text, ReasonCode.GAME_FAILED)

    async def _wait_for_handler(self, turn: PacketTurn, handler: Handler, result: Any) -> Response:
        try:
            result = await self._runner.steps_of(result, delayable=turn.quiet)
        except Reject as reject:
            return rejected(reject)
        return self._to_response(handler, result)

    def _to_response(self, handler: Handler, result: Any) -> Response:
        try:
            return to_response(result)
        except TooLargeError as error:
            # What players add up may grow: that is the error of who sent this, and nobody else's.
            logger.error(
                "The answer of %s in the game %r cannot travel: %s",
                one_line(handler.function.__name__),
                self._instance.name,
                one_line(error),
            )
            return refused(
                f"The answer cannot travel: {str(error)[:MAX_REASON]}", ReasonCode.CANNOT_TRAVEL
            )
        except TypeError as error:
            raise TypeError(
                f"{type(self._instance.game).__name__}.{handler.function.__name__} returned what "
                f"cannot be an answer: {error}"
            ) from None
