"""What both sides of protocol 2 have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from pgnet_trio.errors import CodecError, ProtocolError
from pgnet_trio.protocol.v2 import envelopes as wire
from pgnet_trio.protocol.v2.states import (
    CLOSED,
    FRAME_OVERHEAD,
    HANDSHAKE,
    MAX_FRAME_SIZE,
    MIN_FRAME_SIZE,
    PIECE_BYTES,
    TAG_BYTES,
    State,
    Steps,
)

if TYPE_CHECKING:
    from pgnet_trio.crypto.noise import NoiseHandshake, NoiseTransport

__all__ = ["Side"]


class Side(ABC):
    """What both sides have: state, encryption, and the envelopes that belong to the connection."""

    __slots__ = (
        "_control",
        "_frame_room",
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
        self._state = State.HELLO if handshake is None else HANDSHAKE
        # Messages of the handshake, which no frame can hold.
        self._raw: list[bytes] = []
        self._control: list[bytes] = []
        self._goodbye: bytes | None = None
        self._peer_limit: int | None = None
        # Bytes of envelopes that are gathered in a frame.
        self._frame_room = MAX_FRAME_SIZE - FRAME_OVERHEAD - TAG_BYTES
        self._pongs = False

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
        """Whether there may be something to send, or the connection is to be closed."""
        return True

    @property
    def private(self) -> bool:
        """Whether all is encrypted by now, and has to be."""
        return self._link is not None

    @property
    def max_envelope_size(self) -> int | None:
        """The longest envelope in bytes that the other side takes; None for any."""
        limit = self._peer_limit
        return (
            None
            if limit is None
            else limit - FRAME_OVERHEAD - TAG_BYTES * (limit // PIECE_BYTES + 1)
        )

    @property
    def handshake_hash(self) -> bytes:
        """What names this connection, to both sides alike; empty on a link without encryption."""
        return b"" if self._link is None else self._link.handshake_hash

    def ping(self) -> bool:
        """Ask the other side for a sign of life; False where it is too early for that."""
        if self._state is HANDSHAKE or self._state is CLOSED:
            return False
        self._control.append(wire.PING)
        return True

    def part(self, reason: str) -> None:
        """End the session for good; this is the last that the other side hears of it."""
        if self._state is not HANDSHAKE and self._state is not CLOSED:
            self._goodbye = wire.encode(wire.GoodbyeEnvelope(wire.cut(reason)))
        self._state = CLOSED

    def next_message(self) -> bytes | None:
        """Give the next message to send, encrypted now; None when nothing waits."""
        if self._raw:
            return self._raw.pop(0)
        if self._link is None and self._handshake is not None:
            return None
        size, control = self._frame_room, self._control
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
        if limit is not None and limit < MAX_FRAME_SIZE:
            self._frame_room = limit - FRAME_OVERHEAD - TAG_BYTES

    def _break_off(self, error: ProtocolError | CodecError) -> ProtocolError:
        reason = wire.cut(str(error))
        self.part(reason)
        return ProtocolError(reason)

    def _fall_silent(self) -> None:
        """End without another word; the session, if there is one, goes on elsewhere."""
        self._state = CLOSED
        self._goodbye = None
        self._control.clear()
        self._raw.clear()
