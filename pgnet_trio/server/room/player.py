"""What a room needs of a user's session, and what passes between the two."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import msgspec
import trio

from pgnet_trio.codec import Packed, decode_msgpack, decode_plain, encode_plain
from pgnet_trio.messages import Packet

if TYPE_CHECKING:
    from pgnet_trio.messages import Response
    from pgnet_trio.protocol.v2.server_delivery import Snapshot

__all__ = ["HeldRequest", "OpenQuestion", "PacketTurn", "Player", "Sender", "question_ids"]


MAX_NODES = 2**20
"""How many servers of a cluster, one after the other, have question ids of their own."""

IDS_OF_A_NODE = 2**32


def question_ids(node: int = 0) -> Iterator[int]:
    """Yield ids for all questions of a server, which no other one of its cluster yields.

    They are at most 53 bits long, for clients in JavaScript.

    Args:
        node: The server's number in its cluster; 0 without one.
    """
    return itertools.count(node % MAX_NODES * IDS_OF_A_NODE + 1)


@attrs.define(eq=False)
class OpenQuestion:
    """A question that waits for its answer.

    Attributes:
        id: Names it to the player.
        player: The player who is asked.
        packet: The question itself.
        deadline: When the player's time is up, in the room's time; None for no limit.
        time: When it was asked, in the room's time.
        model: The attrs class of the answer.
        check: Raises Reject for an answer that the game does not take; None for no check.
        settled: Set when there is an answer or an error.
        answer: The answer that came.
        error: What to raise where the game waits; None for nothing.
        is_adopted: Whether it was open when the game moved here, and was asked again since.
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
    error: BaseException | None = None
    is_adopted: bool = False


class Sender(Protocol):
    """What a session can tell its client.

    Attributes:
        answers_in_order: Whether answers have to leave in the order of their requests.
        takes_pushes: Whether the client's protocol can carry what was not asked for.
        is_local: Whether mistakes of the game may be shown to the client in full.
    """

    answers_in_order: bool
    takes_pushes: bool
    is_local: bool

    @property
    def takes_player_lists(self) -> bool:
        """Whether the client takes the players as a list, and not as a map."""

    def respond(self, request_id: int, response: Response, /) -> bool:
        """Answer a request.

        Returns:
            Whether there is something to write now.

        Raises:
            CodecError: The answer cannot travel.
        """

    def enter_game(self, name: str, heartbeat_rate: float, time: float, /) -> None:
        """Tell the client that its user is in a game."""

    def exit_game(self, reason: str, message: str, time: float, /) -> None:
        """Tell the client that its user is in no game any more."""

    def push(self, envelope: bytes, /) -> None:
        """Send an encoded push."""

    def show(self, snapshot: Snapshot, /) -> None:
        """Send a state."""

    def mark(self, moment: bytes, /) -> None:
        """Say of which moment the state is that was sent last."""

    def ask(self, question: OpenQuestion, time: float, /) -> None:
        """Show a question."""

    def withdraw(self, question: OpenQuestion, /) -> None:
        """Tell the client that a question is no longer open."""

    def tell_search(self, envelope: bytes, /) -> None:
        """Tell the client how the user's search for a game goes."""


class Player(Protocol):
    """What a room needs of a user's session.

    No method waits. What the player is told is written by the next `flush`.
    """

    @property
    def username(self) -> str:
        """The user's name."""

    @property
    def online(self) -> bool:
        """Whether the user has a connection now."""

    @property
    def connection_number(self) -> int:
        """The number by which the log names the user's connection; 0 for none."""

    @property
    def takes_pushes(self) -> bool:
        """Whether the user's protocol can carry what was not asked for."""

    @property
    def takes_player_lists(self) -> bool:
        """Whether the user's client takes the players as a list, and not as a map."""

    def answer(self, turn: PacketTurn, response: Response, /) -> bool:
        """Answer one of the player's requests; return whether `flush` has something to write."""

    def waits_for(self, turn: PacketTurn, /) -> bool:
        """Return whether the player's client has sent this: another one may have come since."""

    def retake(self, held: HeldRequest, /) -> PacketTurn:
        """Return a request that waited in a room that was frozen, so that it waits here."""

    def enter_game(self, name: str, heartbeat_rate: float, time: float, /) -> None:
        """Tell the player that they are in the game."""

    def exit_game(self, reason: str, message: str, time: float, /) -> None:
        """Tell the player that they are in no game any more."""

    def push(self, envelope: bytes, /) -> None:
        """Send the player an encoded push."""

    def show(self, snapshot: Snapshot, /) -> None:
        """Send a state, in place of the previous one if that still waits."""

    def mark(self, moment: bytes, /) -> None:
        """Say of which moment the state is that was sent last; an encoded envelope."""

    def ask(self, question: OpenQuestion, /) -> None:
        """Show the player a question, and flush."""

    def withdraw(self, question: OpenQuestion, /) -> None:
        """Tell the player that a question is no longer open, and flush."""

    def flush(self) -> None:
        """Write what waits, as far as the connection has room."""


# A Struct, because there is one for each packet: msgspec makes it in C.
class PacketTurn(msgspec.Struct, eq=False):
    """A packet that waits for the game, and the way back for its answer.

    Attributes:
        player: The player who sent it.
        sender: Where the answer goes: the player may come back with another client, and another
            sender, before it is there.
        request_id: Which of the player's requests it is.
        packet: The packet.
        quiet: Whether nobody waits for the answer.
        size: How many bytes it is; 0 for few.
        packed: The payload as bytes, from `pack` to `unpack`.
    """

    player: Player
    sender: Sender
    request_id: int
    packet: Packet
    quiet: bool = False
    size: int = 0
    packed: bytes | None = None

    def pack(self, packed: bytes) -> None:
        """Keep the payload as bytes while the turn waits: as objects it takes up to 70 times that.

        The packet has an empty payload meanwhile.

        Args:
            packed: The payload as `encode_plain` returns it.
        """
        self.packed, self.packet.payload = packed, {}

    def unpack(self) -> None:
        """Give the packet its payload back, if it is packed."""
        if self.packed is not None:
            self.packet.payload, self.packed = decode_plain(self.packed), None

    def hold(self) -> HeldRequest:
        """Return the request as it travels to another server."""
        payload = encode_plain(self.packet.payload) if self.packed is None else self.packed
        return HeldRequest(
            self.player.username,
            self.request_id if self.player.waits_for(self) else 0,
            self.packet.message,
            payload,
            self.packet.created_on,
            self.quiet,
            self.size,
        )


class HeldRequest(Packed, frozen=True):
    """A request that was taken in and not begun with, as it travels to another server.

    Attributes:
        player: Who sent it.
        id: Which of their requests it is; 0 where nobody waits for the answer any more, because
            another client has taken over.
        message: The packet's message.
        payload: Its payload in msgpack.
        created_on: When it was made, as the client says.
        quiet: Whether nobody waits for the answer.
        size: How many bytes it is; 0 for few.
    """

    player: str
    id: int
    message: str
    payload: bytes
    created_on: str | None
    quiet: bool
    size: int

    def check(self) -> None:
        """Check that this can be a request.

        Raises:
            CodecError: It cannot.
        """
        decode_msgpack(self.payload, dict)

    def release(self, player: Player, sender: Sender) -> PacketTurn:
        """Return the request as a turn of a player who is here."""
        packet = Packet(self.message, {}, self.created_on, player.username)
        turn = PacketTurn(player, sender, self.id, packet, self.quiet, self.size)
        if self.size:
            turn.packed = self.payload
        else:
            packet.payload = decode_plain(self.payload)
        return turn
