"""The server's side of protocol 2."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pgnet_trio.codec import plain
from pgnet_trio.crypto.noise import NoiseHandshake
from pgnet_trio.errors import CodecError, CryptoError, ProtocolError
from pgnet_trio.messages import Packet
from pgnet_trio.protocol.events import (
    FullStateRequested,
    Goodbye,
    LogIn,
    QuestionAnswered,
    RequestReceived,
    Resume,
    ServerEvent,
)
from pgnet_trio.protocol.v2 import envelopes as wire
from pgnet_trio.protocol.v2.endpoint import Side
from pgnet_trio.protocol.v2.states import (
    CLOSED,
    HANDSHAKE,
    OPEN,
    SERVER_STEPS,
    State,
    prologue,
    prove,
)

if TYPE_CHECKING:
    from pgnet_trio.crypto import KeyPair
    from pgnet_trio.protocol.v2.server_delivery import ServerDelivery

__all__ = ["ServerProtocol"]


class ServerProtocol(Side):
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
        if self._state is HANDSHAKE:
            self._shake_hands(message)
            return []
        events: list[ServerEvent] = []
        try:
            for envelope in self._read(message):
                # Most of what comes, and nothing that the table could refuse.
                if self._state is OPEN and (delivery := self._delivery) is not None:
                    kind = type(envelope)
                    if kind is wire.ShallowRequest:
                        id = envelope.id
                        delivery.take_request(id, envelope.quiet)
                        packet = Packet(envelope.message, envelope.payload, envelope.created_on)
                        events.append(RequestReceived(id, packet, envelope.quiet))
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
        if self._state is CLOSED and self._delivery is None:
            # Who has left already was never let in.
            del events[:-1]
        if self._pongs:
            self._pongs = False
            # One answers all the pings that there were while nothing could be written.
            if wire.PONG not in self._control:
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
        if self._state is not CLOSED:
            self._control.append(wire.encode(wire.Refusal(wire.cut(reason))))
            self._state = CLOSED

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
        self._state = OPEN
        delivery.max_envelope_size = self.max_envelope_size
        self._delivery = delivery

    @property
    def waiting(self) -> bool:
        """Whether there may be something to send, or the connection is to be closed."""
        delivery = self._delivery
        if self._state is not OPEN or delivery is None:
            return True
        return bool(self._control) or delivery.waiting

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
        self._link, self._handshake = handshake.split(), None
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
            return RequestReceived(envelope.id, packet, envelope.quiet)
        if kind is wire.Acknowledgement:
            assert self._delivery is not None
            self._delivery.acknowledge(envelope.received)
        elif kind is wire.Ping:
            self._pongs = True
        elif kind is wire.AnswerEnvelope:
            assert self._delivery is not None
            self._delivery.take_request(envelope.id)
            packet = Packet(envelope.message, plain(envelope.payload))
            return QuestionAnswered(envelope.id, envelope.question, packet)
        elif kind is wire.StateWantedEnvelope:
            return FullStateRequested()
        elif kind is wire.GoodbyeEnvelope:
            return Goodbye(wire.cut(envelope.reason))
        elif kind is wire.Hello:
            self._meet(envelope)
        elif kind is wire.LogInEnvelope:
            return LogIn(envelope.username, envelope.password, envelope.invite_code)
        elif kind is wire.ResumeEnvelope:
            return Resume(envelope.username, envelope.proof, envelope.received)
        return None
