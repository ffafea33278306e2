"""What the two endpoints of protocol 2 have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, ClassVar

from pgnet_trio.crypto.noise_states import MAX_PLAINTEXT_BYTES, TAG_BYTES
from pgnet_trio.errors import CodecError, ProtocolError
from pgnet_trio.foreign_text import one_line
from pgnet_trio.protocol.events import MAX_REASON
from pgnet_trio.protocol.v2 import envelopes as wire
from pgnet_trio.protocol.v2.features import CODES, TOKEN, agree
from pgnet_trio.protocol.v2.states import (
    CLOSED,
    FEATURE_OF,
    FRAME_OVERHEAD,
    HANDSHAKE,
    MAX_FRAME_SIZE,
    MIN_FRAME_SIZE,
    SUBPROTOCOL,
    SUBPROTOCOL_2_1,
    TOKEN_BYTES,
    State,
    Transitions,
)
from pgnet_trio.reason_codes import MAX_REASON_CODE, ReasonCode

if TYPE_CHECKING:
    from pgnet_trio.crypto.noise import NoiseHandshake, NoiseTransport

__all__ = ["Endpoint"]


class Endpoint(ABC):
    """One end of a connection: its state, its encryption, and the envelopes that are its own.

    The envelopes of the session are not here: a delivery keeps them, and outlives the connection.

    Attributes:
        state: How far the conversation is.
        control: The envelopes of this side's own that wait, such as a pong.
        emptied: Whether it is known that the latest message took all that waited.
        owes_flush: Whether what came has made something leave that nobody else writes.
    """

    __slots__ = (
        "_cipher",
        "_features",
        "_frame_room",
        "_goodbye",
        "_handshake",
        "_handshake_messages",
        "_named_features",
        "_owes_pong",
        "_peer_limit",
        "control",
        "emptied",
        "owes_flush",
        "state",
    )

    version: ClassVar[int] = 2
    transitions: ClassVar[Transitions]

    def __init__(
        self,
        handshake: NoiseHandshake | None,
        subprotocol: str,
        features: Collection[str],
        max_frame_size: int | None,
    ) -> None:
        self._handshake = handshake
        self._cipher: NoiseTransport | None = None
        self.state: State = State.HELLO if handshake is None else HANDSHAKE
        # No frame can hold these: they are written as they are.
        self._handshake_messages: list[bytes] = []
        # What this side names in its hello; None where the subprotocol has no features.
        self._named_features = features if subprotocol == SUBPROTOCOL_2_1 else None
        self._features: frozenset[str] = frozenset()
        self.control = [wire.encode_hello(max_frame_size, self._named_features)]
        self._goodbye: bytes | None = None
        self._peer_limit: int | None = None
        # How many bytes of envelopes go into one frame.
        self._frame_room = MAX_FRAME_SIZE - FRAME_OVERHEAD - TAG_BYTES
        self._owes_pong = False
        self.emptied = False
        self.owes_flush = False

    @property
    def features(self) -> frozenset[str]:
        """The features in use: those that both sides have named in their hellos."""
        return self._features

    @property
    def closing(self) -> bool:
        """Whether the connection is to be closed once everything that waits is written."""
        return self.state is CLOSED

    @property
    def waiting(self) -> bool:
        """Whether there may be something to send, or the connection is to be closed."""
        return True

    @property
    def private(self) -> bool:
        """Whether the WebSocket close, which is not encrypted, must not say the reason."""
        return self._cipher is not None

    @property
    def max_envelope_size(self) -> int | None:
        """The longest envelope in bytes that the other side takes; None for any."""
        limit = self._peer_limit
        return (
            None
            if limit is None
            else limit - FRAME_OVERHEAD - TAG_BYTES * (limit // MAX_PLAINTEXT_BYTES + 1)
        )

    @property
    def cipher(self) -> NoiseTransport | None:
        """What encrypts the frames, once the handshake is done; None where nothing does."""
        return self._cipher

    @property
    def frame_room(self) -> int:
        """How many bytes of envelopes go into one frame."""
        return self._frame_room

    @property
    def handshake_hash(self) -> bytes:
        """Bytes that both sides derive for this connection alone; empty without encryption."""
        return b"" if self._cipher is None else self._cipher.handshake_hash

    def ping(self) -> bool:
        """Queue a ping.

        Returns:
            Whether it was queued; False before the handshake is done, and after the end.
        """
        if self.state is HANDSHAKE or self.state is CLOSED:
            return False
        self.control.append(wire.PING)
        return True

    def goodbye(self, reason: str, code: str = "") -> None:
        """Queue a goodbye, and close: the session ends for good.

        Args:
            reason: Why; the other side is told.
            code: The same for programs, which the other side is told if the feature is in use.
        """
        if self.state is not HANDSHAKE and self.state is not CLOSED:
            self._goodbye = wire.encode_goodbye(reason, self._known(code))
        self.state = CLOSED

    def next_message(self) -> bytes | None:
        """Return the next message to write, or None.

        It is encrypted now, so each message has to be written, and in this order.
        """
        self.owes_flush = False
        if self._handshake_messages:
            return self._handshake_messages.pop(0)
        if self._cipher is None and self._handshake is not None:
            return None
        size, control = self._frame_room, self.control
        if control:
            room = size - sum(map(len, control))
            out = [*control, *self._take_from_delivery(room, joining=True)]
            control.clear()
        else:
            out = self._take_from_delivery(size, joining=False)
        if not out:
            # The goodbye comes after everything else that waits.
            if self._goodbye is None:
                return None
            out, self._goodbye = [self._goodbye], None
        plaintext = wire.frame_of(out)
        return plaintext if self._cipher is None else self._cipher.encrypt_frame(plaintext)

    @abstractmethod
    def _take_from_delivery(self, size: int, *, joining: bool) -> list[bytes]:
        """Return the session's next envelopes: see `ServerDelivery.take`."""

    @abstractmethod
    def _decode(self, plaintext: bytes) -> list[Any]:
        """Return the envelopes in a frame of the other side."""

    def _read(self, message: str | bytes) -> list[Any]:
        """Decrypt and decode a frame.

        Raises:
            CryptoError: Somebody on the way altered it.
            ProtocolError: It is no frame of the other side.
        """
        if not isinstance(message, bytes):
            raise ProtocolError("expected a binary message, got a text")
        if self._cipher is not None:
            message = self._cipher.decrypt_frame(message)
        return self._decode(message)

    def _advance(self, kind: type) -> None:
        """Go to the state that follows an envelope of this kind.

        Raises:
            ProtocolError: It may not come now.
        """
        state = self.transitions[self.state].get(kind)
        if state is None:
            raise ProtocolError(
                f"{kind.__name__.removesuffix('Envelope')} came while the conversation "
                f"{self.state.value}"
            )
        feature = FEATURE_OF.get(kind)
        if feature is not None and feature not in self._features:
            raise ProtocolError(
                f"{kind.__name__.removesuffix('Envelope')} came, and the feature {feature!r} "
                "is not in use"
            )
        self.state = state

    def _take_hello(self, hello: wire.Hello) -> None:
        limit = hello.max_frame_size
        if limit is not None and limit < MIN_FRAME_SIZE:
            raise ProtocolError(
                f"expected a limit of at least {MIN_FRAME_SIZE} bytes a frame, got {limit}"
            )
        if self._named_features is not None:
            self._features = agree(self._named_features, hello.features)
        elif hello.features is not None:
            raise ProtocolError(f"a hello of {SUBPROTOCOL!r} names no features, and this one does")
        self._peer_limit = limit
        if limit is not None and limit < MAX_FRAME_SIZE:
            self._frame_room = limit - FRAME_OVERHEAD - TAG_BYTES

    def _known(self, code: str) -> str:
        """Return a code if the other side knows codes, and an empty one otherwise."""
        return code if CODES in self._features else ""

    def _check_code(self, code: str) -> str:
        """Check a code that came, and return it.

        Raises:
            ProtocolError: The feature is not in use, or the code is too long.
        """
        if code and CODES not in self._features:
            raise ProtocolError(f"a code came, and the feature {CODES!r} is not in use")
        if len(code) > MAX_REASON_CODE:
            raise ProtocolError(
                f"expected a code of at most {MAX_REASON_CODE} characters, got one of {len(code)}"
            )
        return one_line(code, MAX_REASON_CODE)

    def _reason(self, envelope: Any) -> tuple[str, str]:
        """Return the reason and the code of an envelope that came.

        Raises:
            ProtocolError: It may not have this code.
        """
        return one_line(envelope.reason, MAX_REASON), self._check_code(envelope.code)

    def _check_token(self, token: bytes) -> None:
        """Check a token that stands for a password, which came.

        Raises:
            ProtocolError: The feature is not in use, or it has another length.
        """
        if TOKEN not in self._features:
            raise ProtocolError(f"a log-in token came, and the feature {TOKEN!r} is not in use")
        if len(token) != TOKEN_BYTES:
            raise ProtocolError(f"expected a log-in token of {TOKEN_BYTES} bytes")

    def _queue_pong(self) -> None:
        """Answer the pings of the frame that was read.

        One pong answers all pings that came while nothing could be written: a peer that floods
        this side with pings does not make the queue grow.
        """
        self._owes_pong, self.owes_flush = False, True
        if wire.PONG not in self.control:
            self.control.append(wire.PONG)

    def _end_session(self, error: ProtocolError | CodecError) -> ProtocolError:
        """Say goodbye to a peer that broke the rules; return the error to raise."""
        reason = wire.cut(str(error))
        self.goodbye(reason, ReasonCode.PROTOCOL_ERROR)
        return ProtocolError(reason)

    def _close_silently(self) -> None:
        """Close without another word; the session, if there is one, goes on elsewhere."""
        self.state = CLOSED
        self._goodbye = None
        self.control.clear()
        self._handshake_messages.clear()
