"""The server's side of protocol 1."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from typing import TypeVar

import attrs

from pgnet_trio.codec import from_plain
from pgnet_trio.crypto import Box, KeyPair
from pgnet_trio.errors import CodecError, CryptoError, ProtocolError
from pgnet_trio.foreign_text import one_line
from pgnet_trio.messages import Packet, Response, Status
from pgnet_trio.protocol.events import (
    FEW_BYTES,
    MAX_REASON,
    LogIn,
    RequestReceived,
    ServerEvent,
    weigh,
)
from pgnet_trio.protocol.v1.endpoint import HANDSHAKE, KEY_TRADE, Endpoint, KeyTrade
from pgnet_trio.protocol.v1.states import (
    ANSWER,
    CLOSED,
    OPEN,
    SERVER_TRANSITIONS,
    MessageKind,
    State,
)

__all__ = ["ServerProtocol"]

T = TypeVar("T")

MAX_RESPONSE_SIZE = 750 * 1024
"""Bytes of a response's text: in base64 they just fit into the 1 MiB that PGNet's clients take."""


@attrs.frozen
class _Handshake:
    username: str
    password: str = attrs.field(repr=False)
    # Clients older than invites do not send it.
    invite_code: str = attrs.field(default="", repr=False)


class ServerProtocol(Endpoint):
    """The server's side of protocol 1.

    After the end (a refusal, an answer that says `disconnecting`, or a broken rule) `accept`,
    `refuse` and `respond` do nothing: whoever answers a request cannot know of the end yet.

    Args:
        key: The server's keys. None where the link is safe by itself: then nothing is
            encrypted, and the conversation starts with the log-in.
        random_bytes: Returns so many random bytes.
    """

    __slots__ = ("_answered", "_received")

    transitions = SERVER_TRANSITIONS

    def __init__(self, key: KeyPair | None, random_bytes: Callable[[int], bytes]) -> None:
        super().__init__(State.LOG_IN if key is None else State.KEY_TRADE, key, random_bytes)
        self._received = 0
        self._answered = 0

    @property
    def unanswered(self) -> int:
        """How many requests wait for their answers."""
        return self._received - self._answered

    def receive(self, message: str | bytes) -> list[ServerEvent]:
        """Take a message of the client in, and return the events that it means.

        Raises:
            ProtocolError: The client broke the rules, and the conversation has ended. A client
                that is not logged in yet is told by a refusal, which waits to be written.
        """
        try:
            text = self._text(message)
            packet = Packet.deserialize(text)
            if self._state is OPEN:
                request = self._request(packet)
                if len(text) > FEW_BYTES:
                    weigh(request)
                return [request]
            match self._state:
                case State.LOG_IN:
                    return [self._log_in(packet)]
                case State.KEY_TRADE:
                    self._trade_keys(packet)
                    return []
                case _:
                    raise self._out_of_turn()
        except (CodecError, CryptoError, ProtocolError) as error:
            reason = one_line(error, MAX_REASON)
            if MessageKind.REFUSAL in self.transitions[self._state]:
                self.refuse(reason)
            self._state = CLOSED
            raise ProtocolError(reason) from None

    def accept(self, message: str) -> None:
        """Let the client in.

        Args:
            message: What the client is told.

        Raises:
            RuntimeError: The client has not asked to log in, or was let in already.
        """
        self._tell(MessageKind.ACCEPTANCE, Response(message))

    def refuse(self, reason: str, code: str = "") -> None:
        """Tell the client that it is not let in, and close; also before it has said who it is.

        Args:
            reason: What the client is told.
            code: What a client of protocol 2 is told besides.

        Raises:
            RuntimeError: The client was let in already.
        """
        self._tell(MessageKind.REFUSAL, Response(reason, status=Status.BAD, disconnecting=True))

    def respond(self, id: int, response: Response) -> bool:
        """Answer a request.

        Args:
            id: The request's id. Requests are answered in the order of their ids.
            response: The answer. One that says `disconnecting` ends the conversation.

        Returns:
            True: there is always something to send.

        Raises:
            RuntimeError: Another request has to be answered first, or there is no such request.
            CodecError: The payload cannot travel, or it is too long; the request still has to be
                answered.
        """
        if id != self._answered + 1 or not self.unanswered:
            raise RuntimeError(
                f"expected the answer to request {self._answered + 1} of {self._received}, "
                f"got one to {id}; answer each request once, in order"
            )
        self._tell(MessageKind.LAST_ANSWER if response.disconnecting else ANSWER, response)
        self._answered = id
        return True

    def _tell(self, kind: MessageKind, response: Response) -> None:
        if self._state is not CLOSED:
            self._queue(kind, response, MAX_RESPONSE_SIZE)

    def _trade_keys(self, packet: Packet) -> None:
        assert self._key is not None
        pubkey = _payload(packet, KEY_TRADE, KeyTrade).pubkey
        box = Box(self._key, pubkey, self._random_bytes)
        self._queue(MessageKind.KEY, Response(KEY_TRADE, {"pubkey": self._key.pubkey}))
        self._box = box

    def _log_in(self, packet: Packet) -> LogIn:
        handshake = _payload(packet, HANDSHAKE, _Handshake)
        self._advance(MessageKind.LOG_IN)
        return LogIn(handshake.username, handshake.password, handshake.invite_code)

    def _request(self, packet: Packet) -> RequestReceived:
        # No `_advance` for each of them: a request may come in this state, and changes nothing.
        self._received += 1
        return RequestReceived(self._received, packet)


def _payload(packet: Packet, message: str, kind: type[T]) -> T:
    if packet.message != message:
        raise ProtocolError(f"expected a packet {message}, got {reprlib.repr(packet.message)}")
    return from_plain(packet.payload, kind, "payload")
