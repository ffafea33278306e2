"""The encryption of protocol 2: a Noise handshake, and the messages after it.

The handshake is ``Noise_NX_25519_ChaChaPoly_BLAKE2s`` (https://noiseprotocol.org/noise.html). Both
classes refuse to go on after a failure, so that no caller can misuse what is left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pgnet_trio.crypto.aead import DECRYPTION_ERRORS
from pgnet_trio.crypto.noise_states import (
    MAX_MESSAGE_BYTES,
    MAX_PLAINTEXT_BYTES,
    NX,
    RESERVED_NONCE,
    TAG_BYTES,
    CipherState,
    HandshakeState,
    altered,
    encode_nonce,
    too_long,
)
from pgnet_trio.errors import CryptoError

if TYPE_CHECKING:
    from pgnet_trio.crypto.box import KeyPair

__all__ = ["NoiseHandshake", "NoiseTransport"]


class NoiseHandshake:
    """One side of one handshake of ``Noise_NX_25519_ChaChaPoly_BLAKE2s``.

    The initiator writes a message and then reads one; the responder reads and then writes. After
    that, `split` returns the object that encrypts from there on. Everybody on the way can read the
    payload of the first message. The payload of the second is encrypted, but for an initiator who
    may be anybody.

    A call of `write` or `read` that fails leaves the handshake dead, and each later call raises
    CryptoError. A call out of turn changes nothing.

    Args:
        initiator: Whether this side speaks first.
        prologue: Bytes that both sides must agree on.
        static: The responder's static keys; the initiator has none.
        random_bytes: Returns so many random bytes; the ephemeral keys come from it.

    Raises:
        ValueError: The responder has no static keys, or the initiator has some.
    """

    __slots__ = ("_dead", "_finished", "_remote_static", "_state", "_transport", "_writes_next")

    def __init__(
        self,
        *,
        initiator: bool,
        prologue: bytes,
        static: KeyPair | None,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        if initiator and static is not None:
            raise ValueError("static: the initiator stays anonymous, so it has no static keys")
        if not initiator and static is None:
            raise ValueError("static: the responder needs its static keys")
        self._state: HandshakeState | None = HandshakeState(
            NX,
            initiator=initiator,
            prologue=prologue,
            s=static,
            rs=None,
            random_bytes=random_bytes,
        )
        self._writes_next = initiator
        self._dead = False
        self._finished = False
        self._remote_static: bytes | None = None
        self._transport: NoiseTransport | None = None

    @property
    def finished(self) -> bool:
        """Whether all messages were exchanged, and were valid."""
        return self._finished

    @property
    def remote_static(self) -> bytes | None:
        """The responder's static key, 32 bytes, once it is proved to the initiator; None before."""
        return self._remote_static

    def write(self, payload: bytes = b"") -> bytes:
        """Return the next message, which the peer has to read.

        Raises:
            CryptoError: The peer's key would make the shared secret known to everybody, or the
                handshake is dead.
            RuntimeError: It is not this side's turn.
            ValueError: The message would be longer than 65,535 bytes.
        """
        state = self._take_turn(writes=True)
        message, cipher_states = state.write_message(payload)
        self._end_turn(state, cipher_states)
        return message

    def read(self, message: bytes) -> bytes:
        """Take the peer's next message, and return its payload.

        Raises:
            CryptoError: The message is not valid here, or the handshake is dead.
            RuntimeError: It is this side's turn.
        """
        state = self._take_turn(writes=False)
        payload, cipher_states = state.read_message(message)
        self._end_turn(state, cipher_states)
        return payload

    def split(self) -> NoiseTransport:
        """Return the object that encrypts and decrypts after the handshake.

        It can be taken once: with two of them, nonces would repeat.

        Raises:
            CryptoError: The handshake is dead.
            RuntimeError: The handshake has not finished, or was split before.
        """
        self._check_alive()
        transport = self._transport
        if transport is None:
            raise RuntimeError(
                "the handshake was split before" if self._finished else "the handshake goes on"
            )
        self._transport = None
        return transport

    def _check_alive(self) -> None:
        if self._dead:
            raise CryptoError("this handshake failed before")

    def _take_turn(self, *, writes: bool) -> HandshakeState:
        self._check_alive()
        state = self._state
        if state is None:
            raise RuntimeError("the handshake has finished")
        if writes is not self._writes_next:
            raise RuntimeError(
                "it is the peer's turn to write" if writes else "it is this side's turn to write"
            )
        # The handshake is dead until the turn succeeds: an exception may leave the state halfway.
        self._dead = True
        self._state = None
        return state

    def _end_turn(
        self, state: HandshakeState, cipher_states: tuple[CipherState, CipherState] | None
    ) -> None:
        self._dead = False
        self._writes_next = not self._writes_next
        if cipher_states is None:
            self._state = state
            return
        from_initiator, from_responder = cipher_states
        handshake_hash = state.symmetric_state.get_handshake_hash()
        if state.initiator:
            self._transport = NoiseTransport(from_initiator, from_responder, handshake_hash)
        else:
            self._transport = NoiseTransport(from_responder, from_initiator, handshake_hash)
        self._remote_static = state.rs
        self._finished = True


class NoiseTransport:
    """Encrypts for one peer, and decrypts what that peer sent: `NoiseHandshake.split` makes it.

    A ciphertext that somebody altered, dropped, repeated, reordered or sent back is refused. After
    that, or when the nonces are used up, the object is dead: each later call raises CryptoError.

    Attributes:
        handshake_hash: 32 bytes that no other handshake has: section 11.2. They are not secret.
    """

    __slots__ = ("_receiving", "_sending", "handshake_hash")

    def __init__(self, sending: CipherState, receiving: CipherState, handshake_hash: bytes) -> None:
        self._sending: CipherState | None = sending
        self._receiving: CipherState | None = receiving
        self.handshake_hash = handshake_hash

    def encrypt(self, plaintext: bytes) -> bytes:
        """Encrypt one Noise message, which is 16 bytes longer than the plaintext.

        Raises:
            CryptoError: The object is dead.
            ValueError: The plaintext is longer than 65,519 bytes.
        """
        if len(plaintext) > MAX_PLAINTEXT_BYTES:
            raise ValueError(
                f"plaintext: expected at most {MAX_PLAINTEXT_BYTES} bytes, got {len(plaintext)}"
            )
        sending = self._sending
        if sending is None:
            raise _dead_transport()
        try:
            return sending.encrypt_with_ad(b"", plaintext)
        except CryptoError:
            self._die()
            raise

    def decrypt(self, ciphertext: bytes) -> bytes:
        """Decrypt the peer's next Noise message.

        Raises:
            CryptoError: It is not the peer's next message, or the object is dead.
        """
        receiving = self._receiving
        if receiving is None:
            raise _dead_transport()
        try:
            if len(ciphertext) > MAX_MESSAGE_BYTES:
                raise too_long(ciphertext)
            return receiving.decrypt_with_ad(b"", ciphertext)
        except CryptoError:
            self._die()
            raise

    def encrypt_frame(self, plaintext: bytes) -> bytes:
        """Encrypt a frame, as Noise messages of 65,535 bytes, the last of 17 to 65,535.

        Raises:
            CryptoError: The object is dead.
            ValueError: The plaintext is empty.
        """
        size, sending = len(plaintext), self._sending
        if 0 < size <= MAX_PLAINTEXT_BYTES and sending is not None:
            key, n = sending.k, sending.n
            if key is not None and n < RESERVED_NONCE:
                # As `encrypt`, without two calls for each frame: nearly all are this short.
                ciphertext = key.encrypt(encode_nonce(n), plaintext, b"")
                sending.n = n + 1
                return ciphertext
        if not size:
            raise ValueError("plaintext: expected at least one byte, got none")
        return b"".join(
            self.encrypt(plaintext[start : start + MAX_PLAINTEXT_BYTES])
            for start in range(0, size, MAX_PLAINTEXT_BYTES)
        )

    def decrypt_frame(self, frame: bytes) -> bytes:
        """Decrypt the peer's next frame.

        Somebody on the way can cut a frame in two between two of its Noise messages, because no
        message authenticates where the frame ends. So the content of a frame must itself show
        whether it is complete.

        Raises:
            CryptoError: It is not the peer's next frame, or the object is dead.
        """
        size, receiving = len(frame), self._receiving
        if TAG_BYTES < size <= MAX_MESSAGE_BYTES and receiving is not None:
            key, n = receiving.k, receiving.n
            if key is not None and n < RESERVED_NONCE:
                # As `decrypt`, without two calls for each frame.
                try:
                    plaintext = key.decrypt(encode_nonce(n), frame, b"")
                except DECRYPTION_ERRORS as error:
                    self._die()
                    raise altered() from error
                receiving.n = n + 1
                return plaintext
        if not size or 0 < size % MAX_MESSAGE_BYTES <= TAG_BYTES:
            self._die()
            raise CryptoError(f"no frame is {size} bytes long")
        return b"".join(
            self.decrypt(frame[start : start + MAX_MESSAGE_BYTES])
            for start in range(0, size, MAX_MESSAGE_BYTES)
        )

    def _die(self) -> None:
        # The keys go with it.
        self._sending = self._receiving = None


def _dead_transport() -> CryptoError:
    return CryptoError("an earlier failure ended this encryption")
