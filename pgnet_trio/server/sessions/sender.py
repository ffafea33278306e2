"""Where what a user is told goes, in the words of the protocol that their client speaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgnet_trio.protocol.v2.envelopes import (
    GameEnvelope,
    WithdrawalEnvelope,
    encode,
    encode_question,
)

if TYPE_CHECKING:
    from pgnet_trio.protocol import v1
    from pgnet_trio.protocol.v2.server_delivery import ServerDelivery, Snapshot
    from pgnet_trio.server.room.player import OpenQuestion

__all__ = ["SenderV1", "SenderV2"]


class SenderV1:
    """Protocol 1: answers, and nothing unasked.

    Args:
        protocol: The protocol of the connection.
    """

    answers_in_order = True
    takes_pushes = False

    def __init__(self, protocol: v1.ServerProtocol) -> None:
        self.respond = protocol.respond

    def enter_game(self, name: str, heartbeat_rate: float, time: float) -> None:
        """Do nothing: the answer to the request says so."""

    def exit_game(self, reason: str, message: str, time: float) -> None:
        """Do nothing: the next answer says so."""

    def push(self, envelope: bytes) -> None:
        """Do nothing: an original client would take it for an answer."""

    def show(self, snapshot: Snapshot) -> None:
        """Do nothing."""

    def ask(self, question: OpenQuestion, time: float) -> None:
        """Do nothing: nobody with this protocol gets into a game that asks."""

    def withdraw(self, question: OpenQuestion) -> None:
        """Do nothing."""


class SenderV2:
    """Protocol 2: everything, through the session's delivery.

    Args:
        delivery: The session's.
    """

    answers_in_order = False
    takes_pushes = True

    def __init__(self, delivery: ServerDelivery) -> None:
        self._delivery = delivery
        self.respond = delivery.respond
        self.push = delivery.add
        self.show = delivery.show

    def enter_game(self, name: str, heartbeat_rate: float, time: float) -> None:
        """Tell that the user is in a game."""
        self._delivery.change_game(GameEnvelope(name, heartbeat_rate, time, "", ""))

    def exit_game(self, reason: str, message: str, time: float) -> None:
        """Tell that the user is in no game."""
        self._delivery.change_game(GameEnvelope(None, 0.0, time, reason, message))

    def ask(self, question: OpenQuestion, time: float) -> None:
        """Show a question."""
        self._delivery.add(encode_question(question.id, question.packet, question.deadline, time))

    def withdraw(self, question: OpenQuestion) -> None:
        """Tell that a question is no longer open."""
        self._delivery.add(encode(WithdrawalEnvelope(question.id)))
