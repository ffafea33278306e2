"""The client's side of protocol 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from pgnet_trio.codec import from_plain
from pgnet_trio.crypto import Box, KeyPair
from pgnet_trio.errors import CodecError, CryptoError, ProtocolError, ServerKeyMismatch
from pgnet_trio.foreign_text import one_line
from pgnet_trio.messages import Packet, Response, Status
from pgnet_trio.protocol.events import (
    MAX_REASON,
    ClientEvent,
    LoggedIn,
    LoginRefusal,
    ResponseReceived,
)
from pgnet_trio.protocol.v1.endpoint import HANDSHAKE, KEY_TRADE, Endpoint, KeyTrade
from pgnet_trio.protocol.v1.states import (
    ANSWER,
    CLIENT_TRANSITIONS,
    CLOSED,
    OPEN,
    REQUEST,
    MessageKind,
    State,
)

__all__ = ["ClientProtocol"]


class ClientProtocol(Endpoint):
    """The client's side of protocol 1.

    Its first message waits to be written as soon as the object is made.

    Args:
        username: Who logs in.
        password: Their password.
        invite_code: An invite for a new user, or empty.
        key: The client's keys. None where the link is safe by itself: then nothing is
            encrypted, and the conversation starts with the log-in.
        random_bytes: Returns so many random bytes.
        verify_server_pubkey: The server's public key in base64; empty to trust any.

    Attributes:
        server_pubkey: The server's public key in base64, once it is known and, where one was
            given to compare with, verified; None before.

    Raises:
        CodecError: Username, password or invite code cannot travel.
        ValueError: A server's key is to be verified on a link without keys.
    """

    __slots__ = ("_answered", "_handshake", "_requested", "_verify_server_pubkey", "server_pubkey")

    transitions = CLIENT_TRANSITIONS
    window: ClassVar[int] = 1

    def __init__(
        self,
        *,
        username: str,
        password: str,
        invite_code: str,
        key: KeyPair | None,
        random_bytes: Callable[[int], bytes],
        verify_server_pubkey: str = "",
    ) -> None:
        super().__init__(State.VERDICT if key is None else State.KEY_TRADE, key, random_bytes)
        self.server_pubkey: str | None = None
        self._verify_server_pubkey = verify_server_pubkey
        self._requested = 0
        self._answered = 0
        credentials = {"username": username, "password": password, "invite_code": invite_code}
        self._handshake = Packet(HANDSHAKE, credentials).serialize()
        if key is not None:
            self._outbox.append((Packet(KEY_TRADE, {"pubkey": key.pubkey}).serialize(), None))
        elif verify_server_pubkey:
            raise ValueError(
                "verify_server_pubkey: there is no key to verify on a link that is not encrypted; "
                "leave it empty, or pass a key"
            )
        else:
            self._send_handshake()

    @property
    def unanswered(self) -> int:
        """How many requests wait for their answers; at most `window`."""
        return self._requested - self._answered

    def receive(self, message: str | bytes) -> list[ClientEvent]:
        """Take a message of the server in, and return the events that it means.

        Raises:
            ServerKeyMismatch: The server's key is not the one to verify. This client sent
                nothing secret, and the conversation has ended.
            ProtocolError: The server broke the rules, and the conversation has ended.
        """
        try:
            response = Response.deserialize(self._text(message))
            if self._state is OPEN:
                return [self._answer(response, len(message))]
            match self._state:
                case _ if response.disconnecting or response.status != Status.OK:
                    self._advance(MessageKind.REFUSAL)
                    return [LoginRefusal(one_line(response.message))]
                case State.VERDICT:
                    self._advance(MessageKind.ACCEPTANCE)
                    return [LoggedIn(response.message)]
                case _:
                    self._trade_keys(response)
                    return []
        except ServerKeyMismatch:
            self._state = CLOSED
            raise
        except (CodecError, CryptoError, ProtocolError) as error:
            self._state = CLOSED
            raise ProtocolError(one_line(error, MAX_REASON)) from None

    def request(self, packet: Packet) -> int:
        """Queue a request.

        Returns:
            The id that the answer will have.

        Raises:
            RuntimeError: This client is not logged in, the conversation has ended, or the request
                before has no answer yet.
            CodecError: The payload cannot travel; nothing was queued.
        """
        if self.unanswered:
            raise RuntimeError(
                f"protocol 1 takes one request at a time; wait for the answer to {self._requested}"
            )
        self._queue(REQUEST, packet)
        self._requested += 1
        return self._requested

    def _trade_keys(self, response: Response) -> None:
        assert self._key is not None
        pubkey = from_plain(response.payload, KeyTrade, "payload").pubkey
        box = Box(self._key, pubkey, self._random_bytes)
        if self._verify_server_pubkey not in {"", pubkey}:
            raise ServerKeyMismatch(
                f"the server's public key is {pubkey}, expected {self._verify_server_pubkey}; "
                "it is another server, or it has a new key: ask who runs it"
            )
        self.server_pubkey = pubkey
        self._box = box
        self._advance(MessageKind.KEY)
        self._send_handshake()

    def _send_handshake(self) -> None:
        self._outbox.append((self._handshake, self._box))
        self._handshake = ""

    def _answer(self, response: Response, size: int) -> ResponseReceived:
        if not self.unanswered:
            raise ProtocolError("an answer came, and there was no request")
        self._advance(MessageKind.LAST_ANSWER if response.disconnecting else ANSWER)
        self._answered += 1
        return ResponseReceived(self._answered, response, size)
