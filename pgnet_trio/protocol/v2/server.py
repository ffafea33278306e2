"""The server's side of protocol 2."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from pgnet_trio.codec import count_nested, plain
from pgnet_trio.crypto.noise import NoiseHandshake
from pgnet_trio.errors import CodecError, CryptoError, ProtocolError
from pgnet_trio.messages import Packet
from pgnet_trio.protocol.events import (
    FEW_BYTES,
    FullStateRequested,
    Goodbye,
    LogIn,
    QuestionAnswered,
    RequestReceived,
    Resume,
    ServerEvent,
    TimeRequested,
    cost_of,
    weigh,
)
from pgnet_trio.protocol.v2 import envelopes as wire
from pgnet_trio.protocol.v2.endpoint import Endpoint
from pgnet_trio.protocol.v2.envelopes import Acknowledgement, ShallowRequest
from pgnet_trio.protocol.v2.features import FEATURES, GRACE, MOVED, NETCODE, RESTART, TOKEN
from pgnet_trio.protocol.v2.input_stream import InputReader
from pgnet_trio.protocol.v2.states import (
    CLOSED,
    HANDSHAKE,
    MAX_ADDRESS,
    OPEN,
    SERVER_TRANSITIONS,
    SUBPROTOCOL,
    State,
    is_moved_address,
    prologue,
    prove,
)
from pgnet_trio.reason_codes import ReasonCode

if TYPE_CHECKING:
    from pgnet_trio.crypto import KeyPair
    from pgnet_trio.protocol.v2.server_delivery import ServerDelivery

__all__ = ["ServerProtocol"]

_REPEATABLE = frozenset({wire.Ping, wire.Pong, wire.FullStateRequestEnvelope})

# What the parser has checked already comes where the same envelope may come unchecked.
_CHECKED: dict[type, type] = {
    ShallowRequest: wire.RequestEnvelope,
    wire.ShallowAnswer: wire.AnswerEnvelope,
}


class ServerProtocol(Endpoint):
    """The server's side of protocol 2, over one connection.

    After the end, every method that says something does nothing: whoever answers a request
    cannot know yet that the connection has ended.

    Args:
        key: The server's keys; None where the link is safe by itself.
        random_bytes: Returns so many random bytes.
        offered: The subprotocols as the client offered them.
        max_frame_size: The longest frame in bytes that the server takes from a client that is
            logged in; None for any.
        subprotocol: The one that the server has selected.
        features: What the server has, where the subprotocol has features.

    Attributes:
        uncharged: How many envelopes came beside requests, since somebody has set this to 0:
            pings and acknowledgements, which cost time too. One in a frame with a request, such
            as its acknowledgement, does not count; a frame without any counts as one.
    """

    __slots__ = ("_delivery", "_inputs", "_time", "uncharged")

    transitions = SERVER_TRANSITIONS
    _decode = staticmethod(wire.read_from_client)

    def __init__(
        self,
        key: KeyPair | None,
        random_bytes: Callable[[int], bytes],
        *,
        offered: Sequence[str],
        max_frame_size: int | None,
        subprotocol: str = SUBPROTOCOL,
        features: Collection[str] = FEATURES,
    ) -> None:
        handshake = None
        if key is not None:
            handshake = NoiseHandshake(
                initiator=False,
                prologue=prologue(offered, subprotocol),
                static=key,
                random_bytes=random_bytes,
            )
        super().__init__(handshake, subprotocol, features, max_frame_size)
        self._delivery: ServerDelivery | None = None
        self.uncharged = 0
        self._inputs: InputReader | None = None
        # The answer to a time request that was queued last.
        self._time = b""

    def receive(self, message: str | bytes) -> list[ServerEvent]:
        """Take a message of the client in, and return the events that it means.

        Raises:
            CryptoError: Somebody on the way altered it, or it is not from this client. The
                connection has ended; the session goes on.
            ProtocolError: The client broke the rules and is told so. The session has ended.
        """
        if self.state is HANDSHAKE:
            self._shake_hands(message)
            return []
        try:
            envelopes = self._read(message)
        except CryptoError:
            self.detach()
            raise
        except (CodecError, ProtocolError) as error:
            raise self.fail(error) from None
        return self.take_in(envelopes, len(message))

    def take_in(self, envelopes: list[Any], size: int) -> list[ServerEvent]:
        """Take the envelopes of a message in, and return the events that they mean.

        Args:
            envelopes: The envelopes, as `wire.read_from_client` returns them.
            size: The message's size in bytes.

        Raises:
            ProtocolError: The client broke the rules and is told so. The session has ended.
        """
        events: list[ServerEvent] = []
        before: type | None = None
        # None unless the session is open. Only `_handle` changes that.
        delivery = self._delivery if self.state is OPEN else None
        try:
            for envelope in envelopes:
                kind = type(envelope)
                # Without `_handle`, for the two kinds that come most often: the table of
                # transitions allows both of them in an open session, and at no other time.
                if kind is ShallowRequest and delivery is not None:
                    id, quiet = envelope.id, envelope.quiet
                    delivery.take_request(id, quiet)
                    packet = Packet(envelope.message, envelope.payload, envelope.created_on)
                    events.append(RequestReceived(id, packet, quiet))
                elif kind is Acknowledgement and delivery is not None:
                    if delivery.acknowledge(envelope.received):
                        self.owes_flush = True
                elif kind is wire.InputEnvelope and delivery is not None and self._inputs:
                    events.append(self._inputs.read(envelope, size))
                # A second one in a row changes nothing, and may come wherever the first one may.
                elif kind is not before or kind not in _REPEATABLE:
                    before = kind
                    event = self._handle(envelope)
                    delivery = self._delivery if self.state is OPEN else None
                    if event is not None:
                        events.append(event)
            if size > FEW_BYTES:
                _weigh_all(events)
        except (CodecError, ProtocolError) as error:
            raise self.fail(error) from None
        others = len(envelopes) - len(events)
        if others > 1 or not events:
            self.uncharged += others or 1
        if before is not None:
            if self.state is CLOSED and self._delivery is None:
                # The client said goodbye in the frame in which it logged in: only that counts.
                del events[:-1]
            if self._owes_pong:
                self._queue_pong()
        return events

    def fail(self, error: CodecError | ProtocolError) -> ProtocolError:
        """End the session of a client that broke the rules, and tell it; return what to raise."""
        if self._delivery is None:
            self.refuse(str(error), ReasonCode.PROTOCOL_ERROR)
        return self._end_session(error)

    @property
    def takes_tokens(self) -> bool:
        """Whether the client can log in later with a token instead of its password."""
        return TOKEN in self._features

    def accept(
        self,
        message: str,
        token: bytes,
        delivery: ServerDelivery,
        login_token: bytes = b"",
        *,
        times: tuple[float, float] | None = None,
    ) -> None:
        """Let the client in, with a new session.

        Args:
            message: What the client is told.
            token: What the client can resume the session with.
            delivery: The session's delivery.
            login_token: What the client can log in with later, where it `takes_tokens`; empty
                for nothing.
            times: Seconds that the session outlives this connection, and seconds for which the
                client should try to come back; either may be infinite. None says nothing of them.
        """
        delivery.features = self.features
        if GRACE not in self.features:
            times = None
        self._open(delivery, wire.encode_welcome(message, token, login_token, times))

    def resume(self, delivery: ServerDelivery, received: int) -> None:
        """Resume a session over this connection.

        Args:
            delivery: The session's delivery.
            received: How many counted envelopes the client says that it has.

        Raises:
            ProtocolError: The client cannot have that many; it is refused.
        """
        try:
            if delivery.features != self.features:
                # What waits for the client was made for the features of the session's beginning.
                raise ProtocolError("expected the same features as when the session began")
            delivery.resume(received)
        except ProtocolError as error:
            self.refuse(str(error), ReasonCode.PROTOCOL_ERROR)
            raise
        self._open(delivery, wire.encode(wire.ResumedEnvelope(delivery.last_request)))

    def refuse_resume(self, reason: str, code: str = "") -> None:
        """Tell the client that its session is gone, or its token not taken; it may log in.

        Args:
            reason: Why.
            code: The same for programs, which the client is told if it knows codes.
        """
        if self.state is State.VERDICT:
            self.control.append(wire.encode_session_gone(reason, self._known(code)))
            self.state = State.LOG_IN

    def refuse(self, reason: str, code: str = "") -> None:
        """Tell the client that it is not let in, and close; the arguments are as above."""
        if self.state is not CLOSED:
            self.control.append(wire.encode_refusal(reason, self._known(code)))
            self.state = CLOSED

    def restart(self, reason: str) -> None:
        """End the session because the server restarts; the client comes back by itself.

        A client without the feature hears a goodbye, as if it were for good.
        """
        self.goodbye(reason)
        if self._goodbye is not None and RESTART in self.features:
            self._goodbye = wire.encode(wire.RestartEnvelope(wire.cut(reason)))

    def moved(self, address: str, reason: str, login_token: bytes = b"") -> None:
        """Send the client to another address, where its session goes on, and close.

        In an open session this is the last envelope, in place of a goodbye. After a log-in or a
        resume it is the verdict. Where the client has not logged in yet, and where it does not
        have the feature, it hears a goodbye: for good in an open session, and "not now" before.

        Args:
            address: Where to: host:port, ws://…, wss://…, or a path that begins with "/", at this
                host.
            reason: Why, for people.
            login_token: What the client can log in with there, where it `takes_tokens`; empty for
                nothing.

        Raises:
            ValueError: *address* is no line of 1 to `MAX_ADDRESS` visible ASCII characters.
        """
        if not is_moved_address(address):
            raise ValueError(
                f"address: expected 1 to {MAX_ADDRESS} visible ASCII characters, got {address!r}"
            )
        is_expected = self.state is OPEN or self.state is State.VERDICT
        self.goodbye(reason, ReasonCode.MOVED)
        if is_expected and MOVED in self.features:
            token = login_token if self.takes_tokens else b""
            goodbye, limit = wire.encode_moved(address, reason, token), self.max_envelope_size
            if limit is not None and len(goodbye) > limit:
                goodbye = wire.encode_moved(address, "", token)
            self._goodbye = goodbye

    def detach(self) -> None:
        """Give up the session's delivery and close without a word.

        The session goes on over another connection.
        """
        self._delivery = None
        self._close_silently()

    def proves(self, proof: bytes, token: bytes) -> bool:
        """Return whether a proof was made with this token, for this connection."""
        # Everybody can make the proof of an empty token, so it proves nothing.
        return bool(token) and hmac.compare_digest(proof, prove(token, self.handshake_hash))

    def tell_time(self, id: int, time: float, rate: float) -> None:
        """Queue the answer to a time request, in the place of one that still waits.

        Args:
            id: Which request.
            time: What time it is in the room of the client's game.
            rate: How many ticks a second the game has; 0 for none.
        """
        if self.state is not OPEN:
            return
        if self._time in self.control:
            self.control.remove(self._time)
        self._time = wire.encode_time(id, time, rate)
        self.control.append(self._time)

    def _open(self, delivery: ServerDelivery, envelope: bytes) -> None:
        if self.state is not State.VERDICT:
            return
        if NETCODE in self._features:
            self._inputs = InputReader()
        self.control.append(envelope)
        self.state = OPEN
        delivery.max_envelope_size = self.max_envelope_size
        self._delivery = delivery

    @property
    def waiting(self) -> bool:
        """Whether there may be something to send, or the connection is to be closed."""
        delivery = self._delivery
        if self.state is not OPEN or delivery is None:
            return True
        return bool(self.control) or delivery.waiting

    def _take_from_delivery(self, size: int, *, joining: bool) -> list[bytes]:
        delivery = self._delivery
        return [] if delivery is None else delivery.take(size, joining=joining)

    def next_message(self) -> bytes | None:
        """Return the next message to write, or None; see `Endpoint.next_message`."""
        delivery = self._delivery
        self.owes_flush = False
        if self.state is OPEN and delivery is not None and not self.control:
            # The short way: nothing waits but what the session has to say, and all of that fits.
            plaintext = delivery.take_all(self._frame_room)
            if plaintext:
                self.emptied = True
                cipher = self._cipher
                return plaintext if cipher is None else cipher.encrypt_frame(plaintext)
            if plaintext is None:
                return None
        self.emptied = False
        goodbye = self._goodbye
        message = super().next_message()
        if goodbye is not None and self._goodbye is None:
            # It is the last word: what a session that moves says now waits for its next connection.
            self._delivery = None
        return message

    def _shake_hands(self, message: str | bytes) -> None:
        handshake = self._handshake
        assert handshake is not None
        try:
            if not isinstance(message, bytes):
                raise ProtocolError("expected a binary message, got a text")
            if handshake.read(message):
                raise ProtocolError("something came with the first message, where all can read it")
            hello = wire.array_head(1) + self.control.pop()
            self._handshake_messages.append(handshake.write(hello))
        except (CryptoError, ProtocolError) as error:
            self._close_silently()
            raise ProtocolError(f"the handshake failed: {error}") from None
        self._cipher, self._handshake = handshake.split(), None
        self.state = State.HELLO

    def _handle(self, envelope: Any) -> ServerEvent | None:
        kind = type(envelope)
        self._advance(_CHECKED.get(kind, kind))
        if kind is wire.RequestEnvelope:
            assert self._delivery is not None
            self._delivery.take_request(envelope.id, envelope.quiet)
            nested = _check(envelope.payload)
            packet = Packet(envelope.message, envelope.payload, envelope.created_on)
            return RequestReceived(envelope.id, packet, envelope.quiet, cost=cost_of(nested))
        if kind is wire.Ping:
            self._owes_pong = True
        elif kind is wire.AnswerEnvelope or kind is wire.ShallowAnswer:
            assert self._delivery is not None
            self._delivery.take_request(envelope.id)
            nested = _check(envelope.payload) if kind is wire.AnswerEnvelope else 0
            packet = Packet(envelope.message, envelope.payload)
            cost = cost_of(nested)
            return QuestionAnswered(envelope.id, envelope.question, packet, cost=cost)
        elif kind is wire.FullStateRequestEnvelope:
            return FullStateRequested()
        elif kind is wire.GoodbyeEnvelope:
            return Goodbye(*self._reason(envelope))
        elif kind is wire.TimeRequestEnvelope:
            return TimeRequested(envelope.id)
        elif kind is wire.Hello:
            self._take_hello(envelope)
        elif kind is wire.LogInEnvelope:
            if envelope.token:
                self._check_token(envelope.token)
            return LogIn(envelope.username, envelope.password, envelope.invite_code, envelope.token)
        elif kind is wire.ResumeEnvelope:
            return Resume(envelope.username, envelope.proof, envelope.received)
        return None


def _weigh_all(events: list[ServerEvent]) -> None:
    for event in events:
        # A tuple: to make a union takes longer than to weigh a small request.
        if isinstance(event, (RequestReceived, QuestionAnswered)):
            weigh(event)


def _check(payload: dict[str, Any]) -> int:
    """Check a payload that the parser has not checked; return how many dicts and lists it has.

    Raises:
        CodecError: It is no plain data; the message says where.
    """
    nested = count_nested(payload)
    if nested is None:
        plain(payload)
        # Of an author, `plain` takes integer keys too.
        raise CodecError("payload: expected text keys in all maps, got integers")
    return nested
