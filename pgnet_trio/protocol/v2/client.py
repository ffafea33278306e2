"""The client's side of protocol 2."""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pgnet_trio.codec import plain
from pgnet_trio.crypto.noise import NoiseHandshake
from pgnet_trio.errors import CodecError, CryptoError, ProtocolError, ServerKeyMismatch
from pgnet_trio.messages import Packet, Push, Response
from pgnet_trio.protocol.events import (
    ClientEvent,
    GameChanged,
    Goodbye,
    LoggedIn,
    LoginRefusal,
    Patched,
    Pushed,
    QuestionAsked,
    QuietAck,
    ResponseReceived,
    Resumed,
    ResumeRefusal,
    StateShown,
    Withdrawn,
)
from pgnet_trio.protocol.v2 import envelopes as wire
from pgnet_trio.protocol.v2.endpoint import Side
from pgnet_trio.protocol.v2.states import (
    CLIENT_STEPS,
    COUNTED,
    HANDSHAKE,
    OPEN,
    TOKEN_BYTES,
    State,
    prologue,
    prove,
)

if TYPE_CHECKING:
    from pgnet_trio.protocol.v2.server_delivery import ClientDelivery

__all__ = ["ClientProtocol"]


class ClientProtocol(Side):
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
        if self._state is HANDSHAKE:
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
            # One answers all the pings that there were while nothing could be written.
            if wire.PONG not in self._control:
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
        if self._state is OPEN:
            self._control.append(wire.encode(wire.StateWantedEnvelope()))

    def _introduce(self) -> None:
        if self._token:
            proof = prove(self._token, self.handshake_hash)
            received = self._delivery.received
            self._control.append(wire.encode(wire.ResumeEnvelope(self._username, proof, received)))
        else:
            self._control.append(self._log_in)

    def _decode(self, plaintext: bytes) -> list[Any]:
        return wire.read_from_server(plaintext)

    def _more(self, size: int, *, joining: bool) -> list[bytes]:
        return self._delivery.take(size, joining=joining) if self._state is OPEN else []

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
            return ResponseReceived(envelope.id, response)
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
            return QuietAck(envelope.received)
        if kind is wire.Ping:
            self._pongs = True
        elif kind is wire.QuestionEnvelope:
            packet = Packet(envelope.message, plain(envelope.payload))
            return QuestionAsked(envelope.id, packet, envelope.deadline, envelope.time)
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
        elif kind is wire.GoodbyeEnvelope:
            return Goodbye(wire.cut(envelope.reason))
        elif kind is wire.Hello:
            self._meet(envelope)
            if self._token:
                self._state = State.RETURN
        return None
