"""How a session talks to its client, in the words of the protocol that the client speaks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

from pgnet_trio.protocol.v2.envelopes import (
    GameEnvelope,
    WithdrawalEnvelope,
    encode,
    encode_question,
)
from pgnet_trio.protocol.v2.features import MOVED, PLAYERS, RESTART
from pgnet_trio.protocol.v2.server_delivery import ServerDelivery
from pgnet_trio.server.room.player import Sender

if TYPE_CHECKING:
    from pgnet_trio.protocol import v1
    from pgnet_trio.protocol.v2.server_delivery import Snapshot
    from pgnet_trio.server.room.player import OpenQuestion

__all__ = ["LoggedInClient", "SenderV1", "SenderV2"]


@attrs.frozen(eq=False)
class LoggedInClient:
    """A program that a user has logged in with: what of it outlives each of its connections.

    Attributes:
        sender: Sends the client what the user is told.
        delivery: Keeps what was sent until the client has it; None with protocol 1.
        token: What the client resumes the session with; empty where it cannot.
        grace: Seconds that the session outlives a connection; 0 for none.
        address: Where it logged in from; None for inside the process.
        asked_at: When it asked to be let in, on Trio's clock; in the far past where that was at
            another server, or inside the process.
    """

    sender: Sender
    delivery: ServerDelivery | None = None
    token: bytes = attrs.field(default=b"", repr=False)
    grace: float = 0.0
    address: str | None = None
    asked_at: float = -math.inf

    @property
    def protocol(self) -> str:
        """What it speaks: "1", "2", or "2.1" where features are in use."""
        if self.delivery is None:
            return "1"
        return "2.1" if self.delivery.features else "2"

    @property
    def comes_back(self) -> bool:
        """Whether the client comes back by itself where it is told that the server restarts."""
        delivery = self.delivery
        return bool(self.token) and delivery is not None and RESTART in delivery.features

    @property
    def may_move(self) -> bool:
        """Whether the client can go on with the session at another server."""
        delivery = self.delivery
        return (
            bool(self.token)
            and self.grace > 0
            and delivery is not None
            and MOVED in delivery.features
        )


class SenderV1:
    """Sends by protocol 1: answers, and nothing that the client has not asked for.

    Args:
        protocol: The protocol of the connection.
    """

    answers_in_order = True
    takes_pushes = False
    takes_player_lists = False
    is_local: bool

    def __init__(self, protocol: v1.ServerProtocol) -> None:
        self.is_local = False
        self.respond = protocol.respond

    def enter_game(self, name: str, heartbeat_rate: float, time: float) -> None:
        """Do nothing: the answer to the request names the game."""

    def exit_game(self, reason: str, message: str, time: float) -> None:
        """Do nothing: the next answer names no game."""

    def push(self, envelope: bytes) -> None:
        """Do nothing: an original client would take a push for an answer."""

    def show(self, snapshot: Snapshot) -> None:
        """Do nothing: protocol 1 carries no state."""

    def mark(self, moment: bytes) -> None:
        """Do nothing: there is no state."""

    def ask(self, question: OpenQuestion, time: float) -> None:
        """Do nothing: a game that asks lets nobody with protocol 1 in."""

    def withdraw(self, question: OpenQuestion) -> None:
        """Do nothing: there was no question."""

    def tell_search(self, envelope: bytes) -> None:
        """Do nothing: nobody with protocol 1 looks for a game."""


class SenderV2:
    """Sends by protocol 2: everything, through the delivery.

    Args:
        delivery: Keeps what was sent until the client has it.
    """

    answers_in_order = False
    takes_pushes = True
    is_local: bool

    def __init__(self, delivery: ServerDelivery) -> None:
        self._delivery = delivery
        self.is_local = False
        # Bound once: these are called for each message.
        self.respond = delivery.respond
        self.push = delivery.push
        self.show = delivery.show
        self.mark = delivery.mark

    @property
    def takes_player_lists(self) -> bool:
        """Whether the feature is in use that has the players as a list."""
        return PLAYERS in self._delivery.features

    def enter_game(self, name: str, heartbeat_rate: float, time: float) -> None:
        """Tell the client that its user is in a game."""
        self._delivery.change_game(GameEnvelope(name, heartbeat_rate, time, "", ""))

    def exit_game(self, reason: str, message: str, time: float) -> None:
        """Tell the client that its user is in no game any more."""
        self._delivery.change_game(GameEnvelope(None, 0.0, time, reason, message))

    def ask(self, question: OpenQuestion, time: float) -> None:
        """Show the client a question."""
        self._delivery.add(encode_question(question.id, question.packet, question.deadline, time))

    def withdraw(self, question: OpenQuestion) -> None:
        """Tell the client that a question is no longer open."""
        self._delivery.add(encode(WithdrawalEnvelope(question.id)))

    def tell_search(self, envelope: bytes) -> None:
        """Tell the client how the user's search for a game goes."""
        self._delivery.add(envelope)
