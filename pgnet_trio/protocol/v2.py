"""Protocol 2, the wire of pgnet_trio, for both sides: WebSocket subprotocol ``pgnet.2``.

Every message is WebSocket binary. The first two are the messages of a Noise handshake; from then
on each is a frame: Noise messages around a msgpack array of envelopes.

::

    client                                          server
    e                                  --------->
                                       <---------   e, ee, s, es, and in it [hello]
    [hello, log-in]                    --------->
                                       <---------   [welcome, ...]        or [refusal]
    [requests, acknowledgement, ...]   <-------->   [state, responses, pushes, ...]
    [goodbye]                          <-------->   [goodbye]             for good

    [hello, resume]                    --------->   instead of a log-in, over a new connection
                                       <---------   [resumed, ...]        or [session gone]
    [log-in]                           --------->   after "session gone"

Where the link is safe by itself (memory) the handshake is left out, and frames are bare msgpack.

Both classes are Sans-I/O, and last as long as one connection; what has to outlive it is in
`ServerDelivery` and `ClientDelivery`.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
from abc import ABC, abstractmethod
from binascii import b2a_base64
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pgnet_trio.codec import plain
from pgnet_trio.crypto.noise import NoiseHandshake, NoiseTransport
from pgnet_trio.errors import CodecError, CryptoError, ProtocolError, ServerKeyMismatch
from pgnet_trio.messages import Packet, Push, Response
from pgnet_trio.protocol import envelopes as wire
from pgnet_trio.protocol.events import (
    Answer,
    Answered,
    Asked,
    ClientEvent,
    GameChanged,
    LoggedIn,
    LogIn,
    LoginRefusal,
    Parted,
    Patched,
    Pushed,
    Questioned,
    Resume,
    Resumed,
    ResumeRefusal,
    ServerEvent,
    StateShown,
    StateWanted,
    Taken,
    Withdrawn,
)

if TYPE_CHECKING:
    from pgnet_trio.crypto import KeyPair
    from pgnet_trio.protocol.delivery import ClientDelivery, ServerDelivery

__all__ = [
    "CLIENT_STEPS",
    "SERVER_STEPS",
    "SUBPROTOCOL",
    "TOKEN_BYTES",
    "ClientProtocol",
    "ServerProtocol",
    "State",
    "prove",
]

SUBPROTOCOL = "pgnet.2"

TOKEN_BYTES = 32
"""Bytes of the token that resumes a session: as many as the key of BLAKE2s takes."""

MAX_FRAME_SIZE = 32 * 1024
"""Bytes of a frame that gathers envelopes; a longer one would keep a slow client's memory twice,
in the envelopes and in the frame that waits to be written."""

FRAME_OVERHEAD = 5 + 11
"""Bytes that a frame may have beside what is counted: the array's head, an acknowledgement."""

_TAG = 16
"""Bytes that encryption adds to each Noise message."""

_PIECE = 65_519
"""Plaintext bytes of one Noise message."""


class State(enum.Enum):
    """How far a conversation is, as one side sees it."""

    HANDSHAKE = "waits for the other side's half of the handshake"
    HELLO = "waits for the other side's hello"
    LOG_IN = "waits for the client to log in, or to resume its session"
    VERDICT = "waits for the server to let the client in"
    RETURN = "waits for the server to give the client its session back"
    OPEN = "carries requests, answers and pushes"
    CLOSED = "has ended"

    __hash__ = object.__hash__


Steps = Mapping[State, Mapping[type, State]]

# What may come, and the state after it.
SERVER_STEPS: Steps = {
    State.HANDSHAKE: {bytes: State.HELLO},
    State.HELLO: {wire.Hello: State.LOG_IN},
    State.LOG_IN: {
        wire.LogInEnvelope: State.VERDICT,
        wire.ResumeEnvelope: State.VERDICT,
        wire.Ping: State.LOG_IN,
        wire.Pong: State.LOG_IN,
        wire.Goodbye: State.CLOSED,
    },
    State.VERDICT: {
        wire.Ping: State.VERDICT,
        wire.Pong: State.VERDICT,
        wire.Goodbye: State.CLOSED,
    },
    State.OPEN: {
        wire.RequestEnvelope: State.OPEN,
        wire.AnswerEnvelope: State.OPEN,
        wire.Acknowledgement: State.OPEN,
        wire.StateWantedEnvelope: State.OPEN,
        wire.Ping: State.OPEN,
        wire.Pong: State.OPEN,
        wire.Goodbye: State.CLOSED,
    },
    State.CLOSED: {},
}

CLIENT_STEPS: Steps = {
    State.HANDSHAKE: {bytes: State.HELLO},
    # Or RETURN, where the client has asked for its session instead of logging in.
    State.HELLO: {wire.Hello: State.VERDICT, wire.Refusal: State.CLOSED},
    State.VERDICT: {
        wire.Welcome: State.OPEN,
        wire.Refusal: State.CLOSED,
        wire.Ping: State.VERDICT,
        wire.Pong: State.VERDICT,
        wire.Goodbye: State.CLOSED,
    },
    State.RETURN: {
        wire.ResumedEnvelope: State.OPEN,
        wire.SessionGone: State.LOG_IN,
        wire.Refusal: State.CLOSED,
        wire.Ping: State.RETURN,
        wire.Pong: State.RETURN,
        wire.Goodbye: State.CLOSED,
    },
    State.LOG_IN: {
        wire.Ping: State.LOG_IN,
        wire.Pong: State.LOG_IN,
        wire.Goodbye: State.CLOSED,
    },
    State.OPEN: {
        wire.ResponseEnvelope: State.OPEN,
        wire.PushEnvelope: State.OPEN,
        wire.StateEnvelope: State.OPEN,
        wire.PatchEnvelope: State.OPEN,
        wire.LastState: State.OPEN,
        wire.QuestionEnvelope: State.OPEN,
        wire.WithdrawalEnvelope: State.OPEN,
        wire.GameEnvelope: State.OPEN,
        wire.Acknowledgement: State.OPEN,
        wire.Ping: State.OPEN,
        wire.Pong: State.OPEN,
        wire.Goodbye: State.CLOSED,
    },
    State.CLOSED: {},
}

# What the client counts, so that the server may forget it.
COUNTED = (
    wire.ResponseEnvelope,
    wire.PushEnvelope,
    wire.LastState,
    wire.QuestionEnvelope,
    wire.WithdrawalEnvelope,
    wire.GameEnvelope,
)


def prologue(offered: Sequence[str]) -> bytes:
    """What both sides mix into the handshake: the protocol, and the subprotocols as offered.

    Who strips one of these on the way makes the handshake fail.
    """
    return b"\0".join([SUBPROTOCOL.encode(), *(name.encode() for name in offered)])


def prove(token: bytes, handshake_hash: bytes) -> bytes:
    """Prove to hold a session's token, over one connection alone (keyed BLAKE2s, RFC 7693)."""
    return hashlib.blake2s(handshake_hash, key=token).digest()


class _Side(ABC):
    """What both sides have: state, encryption, and the envelopes that belong to the connection."""

    __slots__ = (
        "_control",
        "_goodbye",
        "_handshake",
        "_link",
        "_peer_limit",
        "_pongs",
        "_raw",
        "_state",
    )

    version: ClassVar[int] = 2
    steps: ClassVar[Steps]

    def __init__(self, handshake: NoiseHandshake | None) -> None:
        self._handshake = handshake
        self._link: NoiseTransport | None = None
        self._state = State.HELLO if handshake is None else State.HANDSHAKE
        # Messages of the handshake, which no frame can hold.
        self._raw: list[bytes] = []
        self._control: list[bytes] = []
        self._goodbye: bytes | None = None
        self._peer_limit: int | None = None
        self._pongs = False

    @property
    def state(self) -> State:
        """How far the conversation is."""
        return self._state

    @property
    def closing(self) -> bool:
        """Whether the connection is to be closed as soon as all that waits is out."""
        return self._state is State.CLOSED

    @property
    def waiting(self) -> bool:
        """Whether there may be something to send."""
        return bool(self._control or self._raw or self._goodbye is not None)

    @property
    def max_envelope_size(self) -> int | None:
        """The longest envelope in bytes that the other side takes; None for any."""
        limit = self._peer_limit
        return None if limit is None else limit - FRAME_OVERHEAD - _TAG * (limit // _PIECE + 1)

    @property
    def handshake_hash(self) -> bytes:
        """What names this connection, to both sides alike; empty on a link without encryption."""
        return b"" if self._link is None else self._link.handshake_hash

    def ping(self) -> bool:
        """Ask the other side for a sign of life; False where it is too early for that."""
        if self._state is State.HANDSHAKE or self._state is State.CLOSED:
            return False
        self._control.append(wire.PING)
        return True

    def part(self, reason: str) -> None:
        """End the session for good; this is the last that the other side hears of it."""
        if self._state is not State.HANDSHAKE and self._state is not State.CLOSED:
            self._goodbye = wire.encode(wire.Goodbye(wire.cut(reason)))
        self._state = State.CLOSED

    def next_message(self) -> bytes | None:
        """Give the next message to send, encrypted now; None when nothing waits."""
        if self._raw:
            return self._raw.pop(0)
        if self._link is None and self._handshake is not None:
            return None
        limit = self._peer_limit
        size = MAX_FRAME_SIZE if limit is None else min(limit, MAX_FRAME_SIZE)
        size -= FRAME_OVERHEAD + _TAG
        control = self._control
        if control:
            out = [*control, *self._more(size - sum(map(len, control)), joining=True)]
            control.clear()
        else:
            out = self._more(size, joining=False)
        if not out:
            if self._goodbye is None:
                return None
            out, self._goodbye = [self._goodbye], None
        plaintext = wire.array_head(len(out)) + b"".join(out)
        return plaintext if self._link is None else self._link.encrypt_frame(plaintext)

    @abstractmethod
    def _more(self, size: int, *, joining: bool) -> list[bytes]:
        """Give the envelopes that the session wants to send: see `ServerDelivery.take`."""

    @abstractmethod
    def _decode(self, plaintext: bytes) -> list[Any]:
        """Read the other side's envelopes."""

    def _read(self, message: str | bytes) -> list[Any]:
        """Decrypt and decode a frame; what was altered on the way raises CryptoError."""
        if not isinstance(message, bytes):
            raise ProtocolError("expected a binary message, got a text")
        if self._link is not None:
            message = self._link.decrypt_frame(message)
        return self._decode(message)

    def _step(self, kind: type) -> None:
        state = self.steps[self._state].get(kind)
        if state is None:
            raise ProtocolError(
                f"{kind.__name__.removesuffix('Envelope')} came while the conversation "
                f"{self._state.value}"
            )
        self._state = state

    def _meet(self, hello: wire.Hello) -> None:
        limit = hello.max_frame_size
        if limit is not None and limit < MIN_FRAME_SIZE:
            raise ProtocolError(
                f"expected a limit of at least {MIN_FRAME_SIZE} bytes a frame, got {limit}"
            )
        self._peer_limit = limit

    def _break_off(self, error: ProtocolError | CodecError) -> ProtocolError:
        reason = wire.cut(str(error))
        self.part(reason)
        return ProtocolError(reason)

    def _fall_silent(self) -> None:
        """End without another word; the session, if there is one, goes on elsewhere."""
        self._state = State.CLOSED
        self._goodbye = None
        self._control.clear()
        self._raw.clear()


MIN_FRAME_SIZE = 1024
"""The shortest limit that a side may announce: a refusal and a goodbye fit into it."""


class ServerProtocol(_Side):
    """The server's side of protocol 2, over one connection.

    After the end, what is said here is said to nobody: whoever answers cannot know yet.

    Args:
        key: The server's keys; None where the link is safe by itself.
        random_bytes: Gives that many random bytes.
        offered: The subprotocols as the client offered them.
        max_frame_size: The longest frame that the server takes of a client that is logged in.
    """

    __slots__ = ("_delivery",)

    steps = SERVER_STEPS

    def __init__(
        self,
        key: KeyPair | None,
        random_bytes: Callable[[int], bytes],
        *,
        offered: Sequence[str],
        max_frame_size: int | None,
    ) -> None:
        handshake = None
        if key is not None:
            handshake = NoiseHandshake(
                initiator=False, prologue=prologue(offered), static=key, random_bytes=random_bytes
            )
        super().__init__(handshake)
        self._delivery: ServerDelivery | None = None
        self._control.append(wire.encode(wire.Hello(max_frame_size)))

    def receive(self, message: str | bytes) -> list[ServerEvent]:
        """Take a message of the client in, and say what it means.

        Raises:
            CryptoError: It was altered on the way, or is not from this client. The connection
                has ended, and the session has not.
            ProtocolError: The client broke the rules; it is told so, and the session has ended.
        """
        if self._state is State.HANDSHAKE:
            self._shake_hands(message)
            return []
        events: list[ServerEvent] = []
        try:
            for envelope in self._read(message):
                kind = type(envelope)
                delivery = self._delivery
                # Most of what comes, and nothing that the table could refuse.
                if self._state is State.OPEN and delivery is not None:
                    if kind is wire.ShallowRequest:
                        id = envelope.id
                        delivery.take_request(id, envelope.quiet)
                        packet = Packet(envelope.message, envelope.payload, envelope.created_on)
                        events.append(Asked(id, packet, envelope.quiet))
                        continue
                    if kind is wire.Acknowledgement:
                        delivery.acknowledge(envelope.received)
                        continue
                event = self._take(envelope)
                if event is not None:
                    events.append(event)
        except CryptoError:
            self.abandon()
            raise
        except (CodecError, ProtocolError) as error:
            if self._delivery is None:
                self.refuse(str(error))
            raise self._break_off(error) from None
        if self._state is State.CLOSED and self._delivery is None:
            # Who has left already was never let in.
            del events[:-1]
        if self._pongs:
            self._pongs = False
            self._control.append(wire.PONG)
        return events

    def accept(self, message: str, token: bytes, delivery: ServerDelivery) -> None:
        """Let the client in, with a session of its own.

        Args:
            message: What it is told.
            token: What it can resume the session with.
            delivery: The session's.
        """
        self._open(delivery, wire.Welcome(message, token))

    def resume(self, delivery: ServerDelivery, received: int) -> None:
        """Go on with a session over this connection.

        Args:
            delivery: The session's.
            received: How much of what it sent the client has.

        Raises:
            ProtocolError: The client cannot have that much; it is refused.
        """
        try:
            delivery.resume(received)
        except ProtocolError as error:
            self.refuse(str(error))
            raise
        self._open(delivery, wire.ResumedEnvelope(delivery.last_request))

    def refuse_resume(self, reason: str) -> None:
        """Tell the client that its session is gone; it may log in."""
        if self._state is State.VERDICT:
            self._control.append(wire.encode(wire.SessionGone(wire.cut(reason))))
            self._state = State.LOG_IN

    def refuse(self, reason: str) -> None:
        """Do not let the client in; this ends the conversation."""
        if self._state is not State.CLOSED:
            self._control.append(wire.encode(wire.Refusal(wire.cut(reason))))
            self._state = State.CLOSED

    def abandon(self) -> None:
        """Say nothing more: the session goes on over another connection."""
        self._delivery = None
        self._fall_silent()

    def proves(self, proof: bytes, token: bytes) -> bool:
        """Whether a proof was made with this token, for this connection."""
        # Without a token there is nothing to prove, and what everybody can make proves nothing.
        return bool(token) and hmac.compare_digest(proof, prove(token, self.handshake_hash))

    def _open(
        self, delivery: ServerDelivery, envelope: wire.Welcome | wire.ResumedEnvelope
    ) -> None:
        if self._state is not State.VERDICT:
            return
        self._control.append(wire.encode(envelope))
        self._state = State.OPEN
        delivery.max_envelope_size = self.max_envelope_size
        self._delivery = delivery

    @property
    def waiting(self) -> bool:
        """Whether there is something to send."""
        if self._control or self._raw or self._goodbye is not None:
            return True
        delivery = self._delivery
        return delivery is not None and delivery.waiting

    def _decode(self, plaintext: bytes) -> list[Any]:
        return wire.read_from_client(plaintext)

    def _more(self, size: int, *, joining: bool) -> list[bytes]:
        delivery = self._delivery
        return [] if delivery is None else delivery.take(size, joining=joining)

    def _shake_hands(self, message: str | bytes) -> None:
        handshake = self._handshake
        assert handshake is not None
        try:
            if not isinstance(message, bytes):
                raise ProtocolError("expected a binary message, got a text")
            if handshake.read(message):
                raise ProtocolError("something came with the first message, where all can read it")
            hello = wire.array_head(1) + self._control.pop()
            self._raw.append(handshake.write(hello))
        except (CryptoError, ProtocolError) as error:
            self._fall_silent()
            raise ProtocolError(f"the handshake failed: {error}") from None
        self._link = handshake.split()
        self._state = State.HELLO

    def _take(self, envelope: Any) -> ServerEvent | None:
        kind = type(envelope)
        self._step(wire.RequestEnvelope if kind is wire.ShallowRequest else kind)
        if kind is wire.RequestEnvelope:
            delivery = self._delivery
            assert delivery is not None
            delivery.take_request(envelope.id, envelope.quiet)
            payload = envelope.payload
            packet = Packet(
                envelope.message, plain(payload) if payload else payload, envelope.created_on
            )
            return Asked(envelope.id, packet, envelope.quiet)
        if kind is wire.Acknowledgement:
            assert self._delivery is not None
            self._delivery.acknowledge(envelope.received)
        elif kind is wire.Ping:
            self._pongs = True
        elif kind is wire.AnswerEnvelope:
            assert self._delivery is not None
            self._delivery.take_request(envelope.id)
            packet = Packet(envelope.message, plain(envelope.payload))
            return Answered(envelope.id, envelope.question, packet)
        elif kind is wire.StateWantedEnvelope:
            return StateWanted()
        elif kind is wire.Goodbye:
            return Parted(wire.cut(envelope.reason))
        elif kind is wire.Hello:
            self._meet(envelope)
        elif kind is wire.LogInEnvelope:
            return LogIn(envelope.username, envelope.password, envelope.invite_code)
        elif kind is wire.ResumeEnvelope:
            return Resume(envelope.username, envelope.proof, envelope.received)
        return None


class ClientProtocol(_Side):
    """The client's side of protocol 2, over one connection; its first message waits at once.

    Args:
        username: Who logs in.
        password: Their password.
        invite_code: An invite for a new user, or empty.
        encrypted: Whether to encrypt; not needed where the link is safe by itself.
        random_bytes: Gives that many random bytes.
        offered: The subprotocols as this client offered them.
        max_frame_size: The longest frame that the client takes.
        delivery: The session's; what waits in it leaves once the session is open.
        token: The token of a session to resume, or empty to log in.
        verify_server_pubkey: The server's public key in base64; empty to trust any.

    Attributes:
        server_pubkey: The server's public key in base64, once it is known and, where there was
            one to compare with, verified.

    Raises:
        CodecError: Username, password or invite code cannot travel.
        ValueError: A server's key is to be verified on a link without keys.
    """

    __slots__ = (
        "_delivery",
        "_log_in",
        "_token",
        "_username",
        "_verify_server_pubkey",
        "server_pubkey",
    )

    steps = CLIENT_STEPS

    def __init__(
        self,
        *,
        username: str,
        password: str,
        invite_code: str,
        encrypted: bool,
        random_bytes: Callable[[int], bytes],
        offered: Sequence[str],
        max_frame_size: int | None,
        delivery: ClientDelivery,
        token: bytes = b"",
        verify_server_pubkey: str = "",
    ) -> None:
        handshake = None
        if encrypted:
            handshake = NoiseHandshake(
                initiator=True, prologue=prologue(offered), static=None, random_bytes=random_bytes
            )
        elif verify_server_pubkey:
            raise ValueError(
                "verify_server_pubkey: there is no key to verify on a link that is not encrypted; "
                "leave it empty"
            )
        super().__init__(handshake)
        self.server_pubkey: str | None = None
        self._username = username
        self._token = token
        self._verify_server_pubkey = verify_server_pubkey
        self._delivery = delivery
        self._log_in = wire.encode_log_in(username, password, invite_code)
        self._control.append(wire.encode(wire.Hello(max_frame_size)))
        if handshake is not None:
            self._raw.append(handshake.write())
        else:
            self._introduce()

    def receive(self, message: str | bytes) -> list[ClientEvent]:
        """Take a message of the server in, and say what it means.

        Raises:
            ServerKeyMismatch: The server's key is not the one to verify; nothing secret was
                said, and the conversation has ended.
            CryptoError: It was altered on the way, or is not from this server. The connection
                has ended, and the session has not.
            ProtocolError: The server broke the rules; the session has ended.
        """
        if self._state is State.HANDSHAKE:
            return self._shake_hands(message)
        events: list[ClientEvent] = []
        counted = 0
        try:
            for envelope in self._read(message):
                counted += type(envelope) in COUNTED
                event = self._take(envelope)
                if event is not None:
                    events.append(event)
        except CryptoError:
            self._fall_silent()
            raise
        except (CodecError, ProtocolError) as error:
            raise self._break_off(error) from None
        if counted:
            self._delivery.count(counted, len(message))
        if self._pongs:
            self._pongs = False
            self._control.append(wire.PONG)
        return events

    def log_in(self, delivery: ClientDelivery) -> None:
        """Log in after the session turned out to be gone.

        Args:
            delivery: The new session's.

        Raises:
            RuntimeError: The server did not say so.
        """
        if self._state is not State.LOG_IN:
            raise RuntimeError(f"this is no time to log in: the conversation {self._state.value}")
        self._delivery = delivery
        self._control.append(self._log_in)
        self._state = State.VERDICT

    def want_state(self) -> None:
        """Ask for the whole state, since a patch does not fit."""
        self._delivery.state_version = 0
        if self._state is State.OPEN:
            self._control.append(wire.encode(wire.StateWantedEnvelope()))

    def _introduce(self) -> None:
        if self._token:
            proof = prove(self._token, self.handshake_hash)
            received = self._delivery.received
            self._control.append(wire.encode(wire.ResumeEnvelope(self._username, proof, received)))
        else:
            self._control.append(self._log_in)

    @property
    def waiting(self) -> bool:
        """Whether there may be something to send: requests may be waiting."""
        return True

    def _decode(self, plaintext: bytes) -> list[Any]:
        return wire.read_from_server(plaintext)

    def _more(self, size: int, *, joining: bool) -> list[bytes]:
        return self._delivery.take(size, joining=joining) if self._state is State.OPEN else []

    def _shake_hands(self, message: str | bytes) -> list[ClientEvent]:
        handshake = self._handshake
        assert handshake is not None
        try:
            if not isinstance(message, bytes):
                raise ProtocolError("expected a binary message, got a text")
            payload = handshake.read(message)
            assert handshake.remote_static is not None
            pubkey = b2a_base64(handshake.remote_static, newline=False).decode("ascii")
            if self._verify_server_pubkey not in {"", pubkey}:
                raise ServerKeyMismatch(
                    f"the server's public key is {pubkey}, expected "
                    f"{self._verify_server_pubkey}; it is another server, or it has a new key: "
                    "ask who runs it"
                )
            self.server_pubkey = pubkey
            self._link = handshake.split()
            self._state = State.HELLO
            envelopes = wire.read_from_server(payload)
            if len(envelopes) != 1:
                raise ProtocolError(f"expected a hello, got {len(envelopes)} envelopes")
            event = self._take(envelopes[0])
        except ServerKeyMismatch:
            self._fall_silent()
            raise
        except (CryptoError, ProtocolError) as error:
            self._fall_silent()
            raise ProtocolError(f"the handshake failed: {error}") from None
        if event is not None:
            return [event]
        self._introduce()
        return []

    def _take(self, envelope: Any) -> ClientEvent | None:
        kind = type(envelope)
        self._step(kind)
        if kind is wire.ResponseEnvelope:
            self._delivery.settle(envelope.id)
            payload = envelope.payload
            response = Response(
                envelope.message,
                plain(payload) if payload else payload,
                envelope.status,
                envelope.created_on,
            )
            return Answer(envelope.id, response)
        if kind is wire.PatchEnvelope:
            if envelope.base == self._delivery.state_version:
                self._delivery.state_version = envelope.version
            return Patched(envelope.base, envelope.version, plain(envelope.patch, "patch"))
        if kind is wire.StateEnvelope or kind is wire.LastState:
            if kind is wire.LastState and envelope.version == self._delivery.state_version:
                # It came before, which the server could not know.
                return None
            self._delivery.state_version = envelope.version
            return StateShown(envelope.version, plain(envelope.data, "state"))
        if kind is wire.PushEnvelope:
            return Pushed(Push(envelope.message, plain(envelope.payload)))
        return self._take_rare(kind, envelope)

    def _take_rare(self, kind: type, envelope: Any) -> ClientEvent | None:
        if kind is wire.Acknowledgement:
            self._delivery.settle_quiet(envelope.received)
            return Taken(envelope.received)
        if kind is wire.Ping:
            self._pongs = True
        elif kind is wire.QuestionEnvelope:
            packet = Packet(envelope.message, plain(envelope.payload))
            return Questioned(envelope.id, packet, envelope.deadline, envelope.time)
        elif kind is wire.WithdrawalEnvelope:
            return Withdrawn(envelope.id)
        elif kind is wire.GameEnvelope:
            return GameChanged(
                envelope.name,
                envelope.heartbeat_rate,
                envelope.time,
                envelope.reason,
                envelope.message,
            )
        elif kind is wire.Welcome:
            if len(envelope.token) != TOKEN_BYTES:
                raise ProtocolError(f"expected a token of {TOKEN_BYTES} bytes")
            return LoggedIn(envelope.message, envelope.token)
        elif kind is wire.ResumedEnvelope:
            self._delivery.resume(envelope.last_request)
            return Resumed()
        elif kind is wire.SessionGone:
            return ResumeRefusal(wire.cut(envelope.reason))
        elif kind is wire.Refusal:
            return LoginRefusal(wire.cut(envelope.reason))
        elif kind is wire.Goodbye:
            return Parted(wire.cut(envelope.reason))
        elif kind is wire.Hello:
            self._meet(envelope)
            if self._token:
                self._state = State.RETURN
        return None
