"""Protocol 1, the wire of PGNet 0.2, for both sides.

Every message is WebSocket text: a packet from the client or a response from the server, as JSON.

::

    client                                          server
    packet key_trade {pubkey}          --------->                      in the clear
                                       <---------   response {pubkey}  in the clear
    packet handshake {username, ...}   --------->                      from here on in a box
                                       <---------   response OK, or BAD and disconnecting
    packet                             --------->
                                       <---------   response           one for each, in order

The server never says anything unasked. Where the link is safe without a box (memory), the first
two messages are left out.

Both classes are Sans-I/O: messages go in by `receive` and come out by `next_message`, and nothing
here waits, reads a clock, or knows what carries the messages.
"""

from __future__ import annotations

import enum
import reprlib
from collections import deque
from collections.abc import Callable, Mapping
from typing import ClassVar, TypeVar

import attrs

from pgnet_trio.codec import from_plain
from pgnet_trio.crypto import Box, KeyPair
from pgnet_trio.errors import CodecError, CryptoError, ProtocolError, ServerKeyMismatch
from pgnet_trio.messages import Packet, Response, Status, encode_message
from pgnet_trio.protocol.events import (
    ClientEvent,
    LoggedIn,
    LogIn,
    LoginRefusal,
    RequestReceived,
    ResponseReceived,
    ServerEvent,
)

__all__ = ["CLIENT_STEPS", "SERVER_STEPS", "ClientProtocol", "ServerProtocol", "State", "Step"]


class State(enum.Enum):
    """How far a conversation is, as one side sees it."""

    KEY_TRADE = "waits for the other side's public key"
    LOG_IN = "waits for the client to log in"
    VERDICT = "waits for the server to accept or refuse the log-in"
    OPEN = "carries requests and answers"
    CLOSED = "has ended"

    # Members are compared by identity, and Enum's own hash costs more than the rest of a step.
    __hash__ = object.__hash__


class Step(enum.Enum):
    """What a message does, in or out."""

    KEY = "a public key"
    LOG_IN = "a log-in"
    ACCEPTANCE = "the acceptance of a log-in"
    REFUSAL = "a refusal"
    REQUEST = "a request"
    ANSWER = "an answer"
    LAST_ANSWER = "an answer before the server closes"

    __hash__ = object.__hash__


# Those that are looked at for each message: it takes long to find an attribute of an enum.
OPEN, CLOSED = State.OPEN, State.CLOSED
REQUEST, ANSWER = Step.REQUEST, Step.ANSWER

Steps = Mapping[State, Mapping[Step, State]]

SERVER_STEPS: Steps = {
    State.KEY_TRADE: {Step.KEY: State.LOG_IN, Step.REFUSAL: State.CLOSED},
    State.LOG_IN: {Step.LOG_IN: State.VERDICT, Step.REFUSAL: State.CLOSED},
    State.VERDICT: {Step.ACCEPTANCE: State.OPEN, Step.REFUSAL: State.CLOSED},
    State.OPEN: {
        Step.REQUEST: State.OPEN,
        Step.ANSWER: State.OPEN,
        Step.LAST_ANSWER: State.CLOSED,
    },
    State.CLOSED: {},
}

# The client's own log-in follows the server's key at once.
CLIENT_STEPS: Steps = {
    State.KEY_TRADE: {Step.KEY: State.VERDICT, Step.REFUSAL: State.CLOSED},
    State.VERDICT: {Step.ACCEPTANCE: State.OPEN, Step.REFUSAL: State.CLOSED},
    State.OPEN: {
        Step.REQUEST: State.OPEN,
        Step.ANSWER: State.OPEN,
        Step.LAST_ANSWER: State.CLOSED,
    },
    State.CLOSED: {},
}

T = TypeVar("T")

KEY_TRADE = "key_trade"
HANDSHAKE = "handshake"

MAX_REASON = 200
"""Characters of a reason: enough to find the mistake, too few to flood a log."""


@attrs.frozen
class _KeyTrade:
    pubkey: str


@attrs.frozen
class _Handshake:
    username: str
    password: str = attrs.field(repr=False)
    # Older clients know of no invites.
    invite_code: str = attrs.field(default="", repr=False)


class _Side:
    """What both sides have: the state, the box, and the texts that wait to be sent."""

    __slots__ = ("_box", "_key", "_outbox", "_random_bytes", "_state")

    steps: ClassVar[Steps]
    version: ClassVar[int] = 1

    def __init__(
        self, state: State, key: KeyPair | None, random_bytes: Callable[[int], bytes]
    ) -> None:
        self._state = state
        self._key = key
        self._random_bytes = random_bytes
        self._box: Box | None = None
        # Each text with the box for it: what was said in the clear must stay in the clear.
        self._outbox: deque[tuple[str | bytes, Box | None]] = deque()

    @property
    def state(self) -> State:
        """How far the conversation is."""
        return self._state

    @property
    def closing(self) -> bool:
        """Whether the connection is to be closed as soon as all that waits is out."""
        return self._state is CLOSED

    @property
    def waiting(self) -> bool:
        """Whether there is something to send, or the connection is to be closed."""
        return bool(self._outbox) or self._state is CLOSED

    @property
    def private(self) -> bool:
        """No: without the close's reason, this protocol cannot say why it ends."""
        return False

    def ping(self) -> bool:
        """Say that this protocol cannot ask for a sign of life; its transport has to."""
        return False

    def part(self, reason: str) -> None:
        """Do nothing: this protocol has no words for the end, and its connection is closed."""

    def abandon(self) -> None:
        """Do nothing: its connection is closed."""

    def next_message(self) -> str | bytes | None:
        """Give the next message to send, encrypted now; None when nothing waits."""
        if not self._outbox:
            return None
        text, box = self._outbox.popleft()
        return text if box is None else box.encrypt(text)

    def _step(self, step: Step) -> None:
        self._state = self._after(step)

    def _say(self, step: Step, message: Packet | Response) -> None:
        # In this order, so that what cannot be said changes nothing.
        state = self._after(step)
        text = encode_message(message)
        self._outbox.append((text.decode() if self._box is None else text, self._box))
        self._state = state

    def _after(self, step: Step) -> State:
        state = self.steps[self._state].get(step)
        if state is None:
            raise RuntimeError(
                f"this is no time for {step.value}: the conversation {self._state.value}"
            )
        return state

    def _text(self, message: str | bytes) -> str:
        if self._state is CLOSED:
            raise self._out_of_turn()
        if not isinstance(message, str):
            raise ProtocolError("expected a text message, got a binary one")
        return message if self._box is None else self._box.decrypt(message)

    def _out_of_turn(self) -> ProtocolError:
        return ProtocolError(f"a message came while the conversation {self._state.value}")


class ServerProtocol(_Side):
    """The server's side of protocol 1.

    After the end (a refusal, an answer that says `disconnecting`, or a broken rule) `accept`,
    `refuse` and `respond` do nothing: whoever answers cannot know of the end yet.

    Args:
        key: The server's keys. None where the link is safe by itself: then nothing is
            encrypted, and the conversation starts with the log-in.
        random_bytes: Gives that many random bytes.
    """

    __slots__ = ("_answered", "_received")

    steps = SERVER_STEPS

    def __init__(self, key: KeyPair | None, random_bytes: Callable[[int], bytes]) -> None:
        super().__init__(State.LOG_IN if key is None else State.KEY_TRADE, key, random_bytes)
        self._received = 0
        self._answered = 0

    @property
    def unanswered(self) -> int:
        """How many requests wait for their answers."""
        return self._received - self._answered

    def receive(self, message: str | bytes) -> list[ServerEvent]:
        """Take a message of the client in, and say what it means.

        Raises:
            ProtocolError: The client broke the rules, and the conversation has ended. One that
                is not logged in yet is told so by a refusal, which waits to be sent.
        """
        try:
            packet = Packet.deserialize(self._text(message))
            if self._state is OPEN:
                return [self._request(packet)]
            match self._state:
                case State.LOG_IN:
                    return [self._log_in(packet)]
                case State.KEY_TRADE:
                    self._trade_keys(packet)
                    return []
                case _:
                    raise self._out_of_turn()
        except (CodecError, CryptoError, ProtocolError) as error:
            reason = str(error)[:MAX_REASON]
            if Step.REFUSAL in self.steps[self._state]:
                self.refuse(reason)
            self._state = CLOSED
            raise ProtocolError(reason) from None

    def accept(self, message: str) -> None:
        """Let the client in.

        Args:
            message: What it is told.

        Raises:
            RuntimeError: No log-in waits for this.
        """
        self._tell(Step.ACCEPTANCE, Response(message))

    def refuse(self, reason: str) -> None:
        """Do not let the client in, now or before it has said who it is; this ends it.

        Args:
            reason: What the client is told.

        Raises:
            RuntimeError: It was let in already.
        """
        self._tell(Step.REFUSAL, Response(reason, status=Status.BAD, disconnecting=True))

    def respond(self, id: int, response: Response) -> None:
        """Answer a request.

        Args:
            id: The request's id. Requests are answered in the order of their ids.
            response: The answer. With `disconnecting` it ends the conversation.

        Raises:
            RuntimeError: Another request has to be answered first, or there is no such request.
            CodecError: The payload cannot travel; the request still has to be answered.
        """
        if id != self._answered + 1 or not self.unanswered:
            raise RuntimeError(
                f"expected the answer to request {self._answered + 1} of {self._received}, "
                f"got one to {id}; answer each request once, in order"
            )
        self._tell(Step.LAST_ANSWER if response.disconnecting else ANSWER, response)
        self._answered = id

    def _tell(self, step: Step, response: Response) -> None:
        if self._state is not CLOSED:
            self._say(step, response)

    def _trade_keys(self, packet: Packet) -> None:
        assert self._key is not None
        pubkey = _payload(packet, KEY_TRADE, _KeyTrade).pubkey
        box = Box(self._key, pubkey, self._random_bytes)
        self._say(Step.KEY, Response(KEY_TRADE, {"pubkey": self._key.pubkey}))
        self._box = box

    def _log_in(self, packet: Packet) -> LogIn:
        handshake = _payload(packet, HANDSHAKE, _Handshake)
        self._step(Step.LOG_IN)
        return LogIn(handshake.username, handshake.password, handshake.invite_code)

    def _request(self, packet: Packet) -> RequestReceived:
        self._step(REQUEST)
        self._received += 1
        return RequestReceived(self._received, packet)


class ClientProtocol(_Side):
    """The client's side of protocol 1; its first message waits to be sent at once.

    Args:
        username: Who logs in.
        password: Their password.
        invite_code: An invite for a new user, or empty.
        key: The client's keys. None where the link is safe by itself: then nothing is
            encrypted, and the conversation starts with the log-in.
        random_bytes: Gives that many random bytes.
        verify_server_pubkey: The server's public key in base64; empty to trust any.

    Attributes:
        server_pubkey: The server's public key in base64, once it is known and, where there was
            one to compare with, verified.

    Raises:
        CodecError: Username, password or invite code cannot travel.
        ValueError: A server's key is to be verified on a link without keys.
    """

    __slots__ = ("_answered", "_handshake", "_requested", "_verify_server_pubkey", "server_pubkey")

    steps = CLIENT_STEPS
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
        """Take a message of the server in, and say what it means.

        Raises:
            ServerKeyMismatch: The server's key is not the one to verify. Nothing secret was
                said, and the conversation has ended.
            ProtocolError: The server broke the rules, and the conversation has ended.
        """
        try:
            response = Response.deserialize(self._text(message))
            if self._state is OPEN:
                return [self._answer(response)]
            match self._state:
                case _ if response.disconnecting or response.status != Status.OK:
                    self._step(Step.REFUSAL)
                    return [LoginRefusal(response.message)]
                case State.VERDICT:
                    self._step(Step.ACCEPTANCE)
                    return [LoggedIn(response.message)]
                case _:
                    self._trade_keys(response)
                    return []
        except ServerKeyMismatch:
            self._state = CLOSED
            raise
        except (CodecError, CryptoError, ProtocolError) as error:
            self._state = CLOSED
            raise ProtocolError(str(error)[:MAX_REASON]) from None

    def request(self, packet: Packet) -> int:
        """Ask the server something.

        Returns:
            The id that the answer will have.

        Raises:
            RuntimeError: This client is not logged in, the conversation has ended, or an answer
                is outstanding.
            CodecError: The payload cannot travel; nothing was asked.
        """
        if self.unanswered:
            raise RuntimeError(
                f"protocol 1 takes one request at a time; wait for the answer to {self._requested}"
            )
        self._say(REQUEST, packet)
        self._requested += 1
        return self._requested

    def _trade_keys(self, response: Response) -> None:
        assert self._key is not None
        pubkey = from_plain(response.payload, _KeyTrade, "payload").pubkey
        box = Box(self._key, pubkey, self._random_bytes)
        if self._verify_server_pubkey not in {"", pubkey}:
            raise ServerKeyMismatch(
                f"the server's public key is {pubkey}, expected {self._verify_server_pubkey}; "
                "it is another server, or it has a new key: ask who runs it"
            )
        self.server_pubkey = pubkey
        self._box = box
        self._step(Step.KEY)
        self._send_handshake()

    def _send_handshake(self) -> None:
        self._outbox.append((self._handshake, self._box))
        self._handshake = ""

    def _answer(self, response: Response) -> ResponseReceived:
        if not self.unanswered:
            raise ProtocolError("an answer came, and there was no request")
        self._step(Step.LAST_ANSWER if response.disconnecting else ANSWER)
        self._answered += 1
        return ResponseReceived(self._answered, response)


def _payload(packet: Packet, message: str, kind: type[T]) -> T:
    if packet.message != message:
        raise ProtocolError(f"expected a packet {message}, got {reprlib.repr(packet.message)}")
    return from_plain(packet.payload, kind, "payload")
