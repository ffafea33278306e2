"""What a room needs of a user's session, and what passes between the two."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import trio

from pgnet_trio.messages import Packet

if TYPE_CHECKING:
    from pgnet_trio.messages import Response
    from pgnet_trio.protocol.v2.server_delivery import Snapshot

__all__ = ["OpenQuestion", "PacketTurn", "Player", "Sender"]


@attrs.define(eq=False)
class OpenQuestion:
    """A question that waits for its answer.

    Attributes:
        id: Names it to the player.
        player: Who is asked.
        packet: What they are asked.
        deadline: Until when, in the room's time; None for no limit.
        time: When it was asked, in the room's time.
    """

    id: int
    player: str
    packet: Packet
    deadline: float | None
    time: float
    model: type
    check: Callable[[Any], None] | None
    settled: trio.Event = attrs.field(factory=trio.Event)
    answer: Any = None
    error: Exception | None = None


class Sender(Protocol):
    """What a session can tell its client.

    Attributes:
        answers_in_order: Whether answers have to leave in the order of their requests.
        takes_pushes: Whether it can carry what was not asked for.
    """

    answers_in_order: bool
    takes_pushes: bool

    def respond(self, request_id: int, response: Response, /) -> None:
        """Answer a request; raises CodecError where the answer cannot travel."""

    def enter_game(self, name: str, heartbeat_rate: float, time: float, /) -> None:
        """Tell that the user is in a game."""

    def exit_game(self, reason: str, message: str, time: float, /) -> None:
        """Tell that the user is in no game."""

    def push(self, envelope: bytes, /) -> None:
        """Send an encoded push."""

    def show(self, snapshot: Snapshot, /) -> None:
        """Have a state sent."""

    def ask(self, question: OpenQuestion, time: float, /) -> None:
        """Show a question."""

    def withdraw(self, question: OpenQuestion, /) -> None:
        """Tell that a question is no longer open."""


class Player(Protocol):
    """What a room needs of a user's session. Nothing here waits; `flush` writes what there is."""

    @property
    def username(self) -> str:
        """Who it is."""

    @property
    def online(self) -> bool:
        """Whether they have a connection now."""

    @property
    def takes_pushes(self) -> bool:
        """Whether their protocol can carry what was not asked for."""

    def answer(self, turn: PacketTurn, response: Response, /) -> None:
        """Answer one of the player's requests."""

    def enter_game(self, name: str, heartbeat_rate: float, time: float, /) -> None:
        """Tell them that they are in the game."""

    def exit_game(self, reason: str, message: str, time: float, /) -> None:
        """Tell them that they are in no game any more."""

    def push(self, envelope: bytes, /) -> None:
        """Send them an encoded push."""

    def show(self, snapshot: Snapshot, /) -> None:
        """Have a state sent, instead of the one before where that still waits."""

    def ask(self, question: OpenQuestion, /) -> None:
        """Show them a question, and flush."""

    def withdraw(self, question: OpenQuestion, /) -> None:
        """Tell them that a question is no longer open, and flush."""

    def flush(self) -> None:
        """Write what waits, as far as the link has room."""


@attrs.define(eq=False)
class PacketTurn:
    """A packet that waits for the game, and the way back for its answer.

    Attributes:
        player: Who sent it.
        sender: Where the answer goes: a user who has come with another client has another one.
        request_id: Which of their requests it is.
        packet: What they sent.
        quiet: Whether nobody waits for the answer.
    """

    player: Player
    sender: Sender
    request_id: int
    packet: Packet
    quiet: bool = False
