"""The client's side of protocol 2."""

from __future__ import annotations

import math
from binascii import b2a_base64
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from pgnet_trio.codec import plain
from pgnet_trio.crypto.noise import NoiseHandshake
from pgnet_trio.errors import CodecError, CryptoError, ProtocolError, ServerKeyMismatch
from pgnet_trio.foreign_text import one_line
from pgnet_trio.messages import Packet, Push, Response, note_code
from pgnet_trio.protocol.events import (
    MAX_REASON,
    ClientEvent,
    GameChanged,
    Goodbye,
    LoggedIn,
    LoginRefusal,
    MomentTold,
    Moved,
    Patched,
    Pushed,
    PushesMissing,
    QuestionAsked,
    QuietAck,
    ResponseReceived,
    Restarting,
    Resumed,
    ResumeRefusal,
    SearchTold,
    StateShown,
    TimeTold,
    Withdrawn,
)
from pgnet_trio.protocol.v2 import envelopes as wire
from pgnet_trio.protocol.v2.endpoint import Endpoint
from pgnet_trio.protocol.v2.features import FEATURES, GRACE, NETCODE, TOKEN
from pgnet_trio.protocol.v2.input_stream import LONGEST_ENVELOPE, InputWriter
from pgnet_trio.protocol.v2.states import (
    CLIENT_TRANSITIONS,
    COUNTED,
    HANDSHAKE,
    MAX_ADDRESS,
    OPEN,
    SUBPROTOCOL,
    TOKEN_BYTES,
    State,
    is_moved_address,
    prologue,
    prove,
)

if TYPE_CHECKING:
    from pgnet_trio.protocol.v2.client_delivery import ClientDelivery

__all__ = ["ClientProtocol"]

SHARED_SIZE = 4 * 1024
"""Bytes of the longest message whose envelopes count an equal share of it each.

In a longer one, a single envelope may take nearly all of it, so each is measured.
"""


class ClientProtocol(Endpoint):
    """The client's side of protocol 2, over one connection.

    Its first message waits to be written as soon as the object is made.

    Args:
        username: Who logs in.
        password: Their password.
        invite_code: An invite for a new user, or empty.
        encrypted: Whether to encrypt; not needed where the link is safe by itself.
        random_bytes: Returns so many random bytes.
        offered: The subprotocols as this client offered them.
        max_frame_size: The longest frame in bytes that the client takes; None for any.
        subprotocol: The one that the server has selected.
        features: What this client has, where the subprotocol has features. They have to be the
            same for all connections of a session.
        delivery: The session's delivery; what waits in it leaves once the session is open.
        token: The token of a session to resume, or empty to log in.
        login_token: What to log in with instead of the password, where the server knows the
            feature; empty for nothing. It is sent once: after that, the password is.
        verify_server_pubkey: The server's public key in base64; empty to trust any.

    Attributes:
        server_pubkey: The server's public key in base64, once it is known and, where one was
            given to compare with, verified; None before.

    Raises:
        CodecError: Username, password or invite code cannot travel.
        ValueError: A server's key is to be verified on a link without keys.
    """

    __slots__ = (
        "_delivery",
        "_inputs",
        "_login_envelope",
        "_login_token",
        "_token",
        "_username",
        "_verify_server_pubkey",
        "server_pubkey",
    )

    transitions = CLIENT_TRANSITIONS

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
        subprotocol: str = SUBPROTOCOL,
        features: Collection[str] = FEATURES,
        delivery: ClientDelivery,
        token: bytes = b"",
        login_token: bytes = b"",
        verify_server_pubkey: str = "",
    ) -> None:
        handshake = None
        if encrypted:
            handshake = NoiseHandshake(
                initiator=True,
                prologue=prologue(offered, subprotocol),
                static=None,
                random_bytes=random_bytes,
            )
        elif verify_server_pubkey:
            raise ValueError(
                "verify_server_pubkey: there is no key to verify on a link that is not encrypted; "
                "leave it empty"
            )
        super().__init__(handshake, subprotocol, features, max_frame_size)
        self.server_pubkey: str | None = None
        self._username = username
        self._token = token
        self._login_token = login_token
        self._verify_server_pubkey = verify_server_pubkey
        self._delivery = delivery
        self._inputs = InputWriter()
        self._login_envelope = wire.encode_log_in(username, password, invite_code)
        if handshake is not None:
            self._handshake_messages.append(handshake.write())
        else:
            self._log_in_or_resume()

    def receive(self, message: str | bytes) -> list[ClientEvent]:
        """Take a message of the server in, and return the events that it means.

        Raises:
            ServerKeyMismatch: The server's key is not the one to verify. This client sent
                nothing secret, and the conversation has ended.
            CryptoError: Somebody on the way altered it, or it is not from this server. The
                connection has ended; the session goes on.
            ProtocolError: The server broke the rules. The session has ended.
        """
        if self.state is HANDSHAKE:
            return self._shake_hands(message)
        events: list[ClientEvent] = []
        counted = 0
        try:
            envelopes = self._read(message)
            size = len(message)
            if len(envelopes) > 1:
                size = size // len(envelopes) if size <= SHARED_SIZE else 0
            for envelope in envelopes:
                counted += type(envelope) in COUNTED
                event = self._handle(envelope, size or wire.size_of(envelope))
                if event is not None:
                    events.append(event)
        except CryptoError:
            self._close_silently()
            raise
        except (CodecError, ProtocolError) as error:
            raise self._end_session(error) from None
        if counted:
            self._delivery.count(counted, len(message))
        if self._owes_pong:
            self._queue_pong()
        return events

    def log_in(self, delivery: ClientDelivery) -> None:
        """Log in after the server said that the session is gone, or that it takes no token.

        Args:
            delivery: The new session's delivery.

        Raises:
            RuntimeError: The server did not say that.
        """
        if self.state is not State.LOG_IN:
            raise RuntimeError(f"this is no time to log in: the conversation {self.state.value}")
        self._delivery = delivery
        self.state = State.VERDICT
        self._queue_log_in()

    def request_full_state(self) -> None:
        """Ask for the whole state, because a patch does not fit the state that the client has."""
        self._delivery.state_version = 0
        if self.state is OPEN:
            self.control.append(wire.encode(wire.FullStateRequestEnvelope()))

    def request_time(self, id: int) -> bool:
        """Ask what time it is in the game's room; return whether that is possible.

        Args:
            id: What the answer names.
        """
        if self.state is not OPEN or NETCODE not in self._features:
            return False
        self.control.append(wire.encode(wire.TimeRequestEnvelope(id)))
        return True

    def _log_in_or_resume(self) -> None:
        if self._token:
            proof = prove(self._token, self.handshake_hash)
            received = self._delivery.received
            self.control.append(wire.encode(wire.ResumeEnvelope(self._username, proof, received)))
        else:
            self._queue_log_in()

    def _queue_log_in(self) -> None:
        # Before the server's hello, which is where nothing is encrypted, no feature is in use.
        if self._login_token and TOKEN in self._features:
            self.control.append(wire.encode_token_log_in(self._username, self._login_token))
            self._login_token = b""
            self.state = State.RECOGNITION
        else:
            self.control.append(self._login_envelope)

    def _decode(self, plaintext: bytes) -> list[Any]:
        return wire.read_from_server(plaintext)

    def _take_from_delivery(self, size: int, *, joining: bool) -> list[bytes]:
        if self.state is not OPEN:
            return []
        queued = None
        if NETCODE in self._features and size >= LONGEST_ENVELOPE:
            queued = self._delivery.next_input()
        if queued is None:
            return self._delivery.take(size, joining=joining)
        # Before the requests: what the user does now is of use for a tick only.
        envelope = self._inputs.write(queued)
        return [*self._delivery.take(size - len(envelope), joining=True), envelope]

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
            self._cipher = handshake.split()
            self.state = State.HELLO
            envelopes = wire.read_from_server(payload)
            if len(envelopes) != 1:
                raise ProtocolError(f"expected a hello, got {len(envelopes)} envelopes")
            event = self._handle(envelopes[0], len(payload))
        except ServerKeyMismatch:
            self._close_silently()
            raise
        except (CryptoError, ProtocolError) as error:
            self._close_silently()
            raise ProtocolError(f"the handshake failed: {error}") from None
        if event is not None:
            return [event]
        self._log_in_or_resume()
        return []

    def _handle(self, envelope: Any, size: int) -> ClientEvent | None:
        kind = type(envelope)
        self._advance(kind)
        if kind is wire.ResponseEnvelope:
            self._delivery.settle(envelope.id)
            payload = envelope.payload
            response = Response(
                envelope.message,
                plain(payload) if payload else payload,
                envelope.status,
                envelope.created_on,
            )
            if envelope.code:
                note_code(response, self._check_code(envelope.code))
            return ResponseReceived(envelope.id, response, size)
        if kind is wire.PatchEnvelope or kind is wire.ColumnPatchEnvelope:
            if envelope.base == self._delivery.state_version:
                self._delivery.state_version = envelope.version
            return Patched(
                envelope.base,
                envelope.version,
                plain(envelope.patch, "patch"),
                size,
                kind is wire.ColumnPatchEnvelope,
            )
        if kind is wire.StateEnvelope or kind is wire.LastState:
            if kind is wire.LastState and envelope.version == self._delivery.state_version:
                # This client has it: the server could not know that it had arrived.
                return None
            self._delivery.state_version = envelope.version
            return StateShown(envelope.version, plain(envelope.data, "state"), size)
        if kind is wire.PushEnvelope:
            return Pushed(Push(envelope.message, plain(envelope.payload)), size)
        if kind is wire.MomentEnvelope:
            return MomentTold(envelope.tick, envelope.time, envelope.confirmed)
        return self._handle_rare(kind, envelope, size)

    def _handle_rare(self, kind: type, envelope: Any, size: int) -> ClientEvent | None:
        if kind is wire.Acknowledgement:
            self._delivery.settle_quiet(envelope.received)
            return QuietAck(envelope.received)
        if kind is wire.Ping:
            self._owes_pong = True
        elif kind is wire.QuestionEnvelope:
            packet = Packet(envelope.message, plain(envelope.payload))
            return QuestionAsked(envelope.id, packet, envelope.deadline, envelope.time, size)
        elif kind is wire.WithdrawalEnvelope:
            return Withdrawn(envelope.id)
        elif kind is wire.TimeEnvelope:
            return TimeTold(envelope.id, envelope.time, max(0.0, envelope.rate))
        elif kind is wire.LostEnvelope:
            if envelope.count < 1:
                raise ProtocolError(f"lost: expected 1 push or more, got {envelope.count}")
            return PushesMissing(envelope.count)
        elif kind is wire.SearchEnvelope:
            return SearchTold(
                id=envelope.id,
                state=envelope.state,
                position=envelope.position,
                waited=envelope.waited,
                match=envelope.match,
                seconds=envelope.seconds,
                reason=one_line(envelope.reason, MAX_REASON),
                code=envelope.code,
                options=plain(envelope.options, "options"),
            )
        elif kind is wire.GameEnvelope:
            return GameChanged(
                envelope.name,
                envelope.heartbeat_rate,
                envelope.time,
                envelope.reason,
                envelope.message,
                size,
            )
        elif kind is wire.Welcome:
            if len(envelope.token) != TOKEN_BYTES:
                raise ProtocolError(f"expected a token of {TOKEN_BYTES} bytes")
            if envelope.login_token:
                self._check_token(envelope.login_token)
            return self._logged_in(envelope)
        elif kind is wire.ResumedEnvelope:
            self._delivery.resume(envelope.last_request)
            return Resumed()
        elif kind is wire.SessionGone:
            return ResumeRefusal(*self._reason(envelope))
        elif kind is wire.Refusal:
            return LoginRefusal(*self._reason(envelope))
        elif kind is wire.GoodbyeEnvelope:
            return Goodbye(*self._reason(envelope))
        elif kind is wire.RestartEnvelope:
            return Restarting(one_line(envelope.reason, MAX_REASON))
        elif kind is wire.MovedEnvelope:
            return self._moved(envelope)
        elif kind is wire.Hello:
            self._take_hello(envelope)
            if self._token:
                self.state = State.RETURN
        return None

    def _moved(self, moved: wire.MovedEnvelope) -> Moved:
        """Return the event of a move.

        Raises:
            ProtocolError: It names no address, or a token that may not come.
        """
        if not is_moved_address(moved.address):
            raise ProtocolError(
                f"expected an address of 1 to {MAX_ADDRESS} visible ASCII characters, got "
                f"{one_line(moved.address, MAX_REASON)!r}"
            )
        if moved.login_token:
            self._check_token(moved.login_token)
        return Moved(moved.address, one_line(moved.reason, MAX_REASON), moved.login_token)

    def _logged_in(self, welcome: wire.Welcome) -> LoggedIn:
        """Return the event of a welcome.

        Raises:
            ProtocolError: It says times without the feature, or only one, or one below 0.
        """
        told = welcome.message, welcome.token, welcome.login_token
        times = welcome.grace, welcome.reconnect_for
        if times == (wire.NOT_TOLD, wire.NOT_TOLD):
            return LoggedIn(*told)
        if GRACE not in self._features:
            raise ProtocolError(f"a grace came, and the feature {GRACE!r} is not in use")
        seconds = [math.inf if each is None else each for each in times]
        if min(seconds) < 0:
            raise ProtocolError(
                "expected a grace and how long to try, of 0 s or more each, or nil; "
                f"got {seconds[0]:g} and {seconds[1]:g}"
            )
        return LoggedIn(*told, *seconds)
