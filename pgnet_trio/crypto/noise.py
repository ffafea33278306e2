"""The encryption of protocol 2: the Noise Protocol Framework, revision 34.

What is implemented is ``Noise_NX_25519_ChaChaPoly_BLAKE2s``. Sections in this module are those of
the specification, https://noiseprotocol.org/noise.html, and so are names: its single letters
(``k``, ``n``, ``ck``, ``h``, ``s``, ``e``, ``rs``, ``re``) stand here too, so that the two can be
read side by side. Left out are pre-shared keys (section 9) and rekeying (section 11.3).
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeVar

import nacl.exceptions
from nacl.bindings import crypto_scalarmult

from pgnet_trio.crypto.aead import AEAD, DECRYPTION_ERRORS, open_aead
from pgnet_trio.crypto.box import KeyPair
from pgnet_trio.errors import CryptoError

__all__ = ["NX", "HandshakePattern", "HandshakeState", "NoiseHandshake", "NoiseTransport"]

# Sections 12.1 and 12.7.
DHLEN = 32
HASHLEN = 32
# Section 4.2: what authentication adds to a plaintext.
TAG_BYTES = 16
# Section 3: the longest Noise message.
MAX_MESSAGE_BYTES = 65_535
MAX_PLAINTEXT_BYTES = MAX_MESSAGE_BYTES - TAG_BYTES
# Section 5.1 reserves this nonce: no message is sent with it.
RESERVED_NONCE = 2**64 - 1

Token = Literal["e", "s", "ee", "es", "se", "ss"]
Key = TypeVar("Key", KeyPair, bytes)


class HandshakePattern(NamedTuple):
    """A handshake pattern as data: section 7.1.

    Attributes:
        name: As it stands in the name of the protocol.
        messages: The tokens of each message; the initiator writes the first, then they alternate.
        initiator_pre_message: Keys of the initiator that the responder knows beforehand.
        responder_pre_message: Keys of the responder that the initiator knows beforehand.
    """

    name: str
    messages: tuple[tuple[Token, ...], ...]
    initiator_pre_message: tuple[Literal["s"], ...] = ()
    responder_pre_message: tuple[Literal["s"], ...] = ()


# Section 7.5: the initiator stays anonymous, the responder sends its static key and proves it.
NX = HandshakePattern("NX", (("e",), ("e", "ee", "s", "es")))


def dh(key_pair: KeyPair, public_key: bytes) -> bytes:
    """DH(key_pair, public_key): sections 4.1 and 12.1.

    Raises:
        CryptoError: The public key is a point of low order, so that the result, all zeros, would
            be known to everybody (section 12.1 allows to refuse it); or it is no key at all.
    """
    # PyNaCl would read past the end of a shorter one.
    if len(public_key) != DHLEN:
        raise CryptoError(f"a public key is {DHLEN} bytes long, this one is {len(public_key)}")
    try:
        return crypto_scalarmult(key_pair.private, public_key)
    except nacl.exceptions.RuntimeError as error:
        raise CryptoError("this public key would make the shared secret public") from error


# The 96-bit nonce of section 12.3: 32 bits of zeros, then n in little-endian order.
encode_nonce = struct.Struct("<4xQ").pack


def hash_(data: bytes) -> bytes:
    """HASH(data): sections 4.3 and 12.7."""
    return hashlib.blake2s(data).digest()


def hmac_hash(key: bytes, data: bytes) -> bytes:
    """HMAC-HASH(key, data): section 4.3."""
    return hmac.digest(key, data, "blake2s")


def hkdf(chaining_key: bytes, input_key_material: bytes) -> tuple[bytes, bytes]:
    """HKDF(chaining_key, input_key_material, 2): section 4.3. Only pre-shared keys need three."""
    temp_key = hmac_hash(chaining_key, input_key_material)
    output1 = hmac_hash(temp_key, b"\x01")
    output2 = hmac_hash(temp_key, output1 + b"\x02")
    return output1, output2


class CipherState:
    """A key and the nonce of the next message: section 5.1.

    Args:
        k: The key, 32 bytes; None, "empty" in the specification, encrypts nothing.
    """

    __slots__ = ("k", "n")

    def __init__(self, k: bytes | None = None) -> None:
        self.initialize_key(k)

    def initialize_key(self, key: bytes | None) -> None:
        """InitializeKey(key). The key is kept inside of what encrypts with it."""
        self.k: AEAD | None = None if key is None else open_aead(key)
        self.n = 0

    def has_key(self) -> bool:
        """HasKey()."""
        return self.k is not None

    def encrypt_with_ad(self, ad: bytes, plaintext: bytes) -> bytes:
        """EncryptWithAd(ad, plaintext).

        Raises:
            CryptoError: All nonces are used up.
        """
        k = self.k
        if k is None:
            return plaintext
        n = self.n
        if n >= RESERVED_NONCE:
            raise CryptoError("the nonces of this key are used up")
        ciphertext = k.encrypt(encode_nonce(n), plaintext, ad)
        self.n = n + 1
        return ciphertext

    def decrypt_with_ad(self, ad: bytes, ciphertext: bytes) -> bytes:
        """DecryptWithAd(ad, ciphertext).

        Raises:
            CryptoError: The ciphertext is not the next one of the peer, or all nonces are used up.
        """
        k = self.k
        if k is None:
            return ciphertext
        n = self.n
        if n >= RESERVED_NONCE:
            raise CryptoError("the nonces of this key are used up")
        if len(ciphertext) < TAG_BYTES:
            raise CryptoError(
                f"a ciphertext is at least {TAG_BYTES} bytes long, this one is {len(ciphertext)}"
            )
        try:
            plaintext = k.decrypt(encode_nonce(n), ciphertext, ad)
        except DECRYPTION_ERRORS as error:
            raise CryptoError(
                "the ciphertext is not the peer's next one, or was altered"
            ) from error
        self.n = n + 1
        return plaintext


class SymmetricState:
    """The chaining key, the hash of all that was said, and a cipher: section 5.2.

    Creating one is InitializeSymmetric(protocol_name).
    """

    __slots__ = ("cipher_state", "ck", "h")

    def __init__(self, protocol_name: bytes) -> None:
        if len(protocol_name) <= HASHLEN:
            self.h = protocol_name.ljust(HASHLEN, b"\0")
        else:
            self.h = hash_(protocol_name)
        self.ck = self.h
        self.cipher_state = CipherState()

    def mix_key(self, input_key_material: bytes) -> None:
        """MixKey(input_key_material)."""
        self.ck, temp_k = hkdf(self.ck, input_key_material)
        self.cipher_state.initialize_key(temp_k)

    def mix_hash(self, data: bytes) -> None:
        """MixHash(data)."""
        self.h = hash_(self.h + data)

    def get_handshake_hash(self) -> bytes:
        """GetHandshakeHash(): section 11.2 says what it is good for."""
        return self.h

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        """EncryptAndHash(plaintext)."""
        ciphertext = self.cipher_state.encrypt_with_ad(self.h, plaintext)
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        """DecryptAndHash(ciphertext)."""
        plaintext = self.cipher_state.decrypt_with_ad(self.h, ciphertext)
        self.mix_hash(ciphertext)
        return plaintext

    def split(self) -> tuple[CipherState, CipherState]:
        """Split(): the first encrypts what the initiator sends, the second the responder."""
        temp_k1, temp_k2 = hkdf(self.ck, b"")
        return CipherState(temp_k1), CipherState(temp_k2)


class HandshakeState:
    """A handshake of any pattern without pre-shared keys: section 5.3.

    Creating one is Initialize(handshake_pattern, initiator, prologue, s, e, rs, re) with `e` and
    `re` empty. It leaves turns and broken messages to its caller: after an exception it must not be
    used again.

    Args:
        pattern: What is said in which order.
        initiator: Whether this side speaks first.
        prologue: What both sides must agree on: section 6.
        s: This side's static keys, where the pattern has some.
        rs: The peer's static key, where the pattern presumes that it is known.
        random_bytes: Gives that many random bytes; the ephemeral keys come from it.

    Raises:
        ValueError: A key that the pattern presumes is missing.
    """

    __slots__ = (
        "_random_bytes",
        "e",
        "initiator",
        "message_patterns",
        "re",
        "rs",
        "s",
        "symmetric_state",
    )

    def __init__(
        self,
        pattern: HandshakePattern,
        *,
        initiator: bool,
        prologue: bytes,
        s: KeyPair | None,
        rs: bytes | None,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self.symmetric_state = SymmetricState(protocol_name(pattern))
        self.symmetric_state.mix_hash(prologue)
        self.initiator = initiator
        self.s = s
        self.e: KeyPair | None = None
        self.rs = rs
        self.re: bytes | None = None
        self._random_bytes = random_bytes
        for _ in pattern.initiator_pre_message:
            self.symmetric_state.mix_hash(given(s).public if initiator else given(rs))
        for _ in pattern.responder_pre_message:
            self.symmetric_state.mix_hash(given(rs) if initiator else given(s).public)
        self.message_patterns = list(pattern.messages)

    def write_message(self, payload: bytes) -> tuple[bytes, tuple[CipherState, CipherState] | None]:
        """WriteMessage(payload, message_buffer).

        Returns:
            The message, and after the last one what Split() gives.

        Raises:
            CryptoError: A key of the peer is a point of low order.
            ValueError: The message would be too long, or a static key is missing.
        """
        message_buffer = b""
        for token in self.message_patterns.pop(0):
            if token == "e":
                self.e = KeyPair.generate(self._random_bytes)
                message_buffer += self.e.public
                self.symmetric_state.mix_hash(self.e.public)
            elif token == "s":
                message_buffer += self.symmetric_state.encrypt_and_hash(given(self.s).public)
            else:
                self._mix_shared_key(token)
        message_buffer += self.symmetric_state.encrypt_and_hash(payload)
        if len(message_buffer) > MAX_MESSAGE_BYTES:
            raise ValueError(
                f"payload: expected a message of at most {MAX_MESSAGE_BYTES} bytes, "
                f"this one would be {len(message_buffer)}"
            )
        return message_buffer, self._split_at_the_end()

    def read_message(self, message: bytes) -> tuple[bytes, tuple[CipherState, CipherState] | None]:
        """ReadMessage(message, payload_buffer).

        Returns:
            The payload, and after the last message what Split() gives.

        Raises:
            CryptoError: The message has an impossible length, was altered, belongs to another
                handshake, or a key in it is a point of low order.
            ValueError: A static key is missing.
        """
        if len(message) > MAX_MESSAGE_BYTES:
            raise _too_long(message)
        for token in self.message_patterns.pop(0):
            if token == "e":
                self.re, message = take(message, DHLEN)
                self.symmetric_state.mix_hash(self.re)
            elif token == "s":
                has_key = self.symmetric_state.cipher_state.has_key()
                temp, message = take(message, DHLEN + TAG_BYTES if has_key else DHLEN)
                self.rs = self.symmetric_state.decrypt_and_hash(temp)
            else:
                self._mix_shared_key(token)
        payload_buffer = self.symmetric_state.decrypt_and_hash(message)
        return payload_buffer, self._split_at_the_end()

    def _mix_shared_key(self, token: Literal["ee", "es", "se", "ss"]) -> None:
        match token:
            case "ee":
                shared_key = dh(given(self.e), given(self.re))
            case "es" if self.initiator:
                shared_key = dh(given(self.e), given(self.rs))
            case "es":
                shared_key = dh(given(self.s), given(self.re))
            case "se" if self.initiator:
                shared_key = dh(given(self.s), given(self.re))
            case "se":
                shared_key = dh(given(self.e), given(self.rs))
            case "ss":
                shared_key = dh(given(self.s), given(self.rs))
        self.symmetric_state.mix_key(shared_key)

    def _split_at_the_end(self) -> tuple[CipherState, CipherState] | None:
        return None if self.message_patterns else self.symmetric_state.split()


def protocol_name(pattern: HandshakePattern) -> bytes:
    """The name of the protocol with this pattern: section 8."""
    return f"Noise_{pattern.name}_25519_ChaChaPoly_BLAKE2s".encode("ascii")


def given(key: Key | None) -> Key:
    """Give the key, which only a caller's mistake can have left out."""
    if key is None:
        raise ValueError("this handshake needs a static key that was not given")
    return key


def take(message: bytes, size: int) -> tuple[bytes, bytes]:
    """Give the next `size` bytes of a message, and the rest."""
    if len(message) < size:
        raise CryptoError("the handshake message is too short")
    return message[:size], message[size:]


class NoiseHandshake:
    """One side of one handshake of ``Noise_NX_25519_ChaChaPoly_BLAKE2s``.

    The initiator writes a message and reads one, the responder reads and writes; then `split`
    gives what encrypts from there on. Everybody on the way can read the payload of the first
    message. That of the second is encrypted, but to an initiator who may be anybody.

    Once `write` or `read` has failed, other than for being called out of turn, the handshake is
    dead: each later call raises CryptoError.

    Args:
        initiator: Whether this side speaks first.
        prologue: What both sides must agree on.
        static: The responder's static keys; the initiator has none.
        random_bytes: Gives that many random bytes; the ephemeral keys come from it.

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
        """Whether all messages were exchanged and fitted."""
        return self._finished

    @property
    def remote_static(self) -> bytes | None:
        """The responder's static key, 32 bytes, for the initiator once it was proved."""
        return self._remote_static

    def write(self, payload: bytes = b"") -> bytes:
        """Give the next message, which the peer has to read.

        Raises:
            CryptoError: The peer's key is one with which the secret would be known to everybody,
                or the handshake is dead.
            RuntimeError: It is not this side's turn.
            ValueError: The message would be longer than 65,535 bytes.
        """
        state = self._take_turn(writes=True)
        message, cipher_states = state.write_message(payload)
        self._end_turn(state, cipher_states)
        return message

    def read(self, message: bytes) -> bytes:
        """Take the peer's next message, and give its payload.

        Raises:
            CryptoError: The message is not one that fits here, or the handshake is dead.
            RuntimeError: It is this side's turn.
        """
        state = self._take_turn(writes=False)
        payload, cipher_states = state.read_message(message)
        self._end_turn(state, cipher_states)
        return payload

    def split(self) -> NoiseTransport:
        """Give what encrypts and decrypts after the handshake; once, as nonces must not repeat.

        Raises:
            CryptoError: The handshake is dead.
            RuntimeError: It has not finished, or was split before.
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
        # Dead until the turn has succeeded: an exception may leave half a step in the state.
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
    """Encrypts for one peer, and decrypts what it sent, in order: `NoiseHandshake.split` makes it.

    A ciphertext that was altered, left out, repeated, put elsewhere or sent back is refused. From
    then on, or when the nonces are used up, the object is dead: each later call raises
    CryptoError.

    Attributes:
        handshake_hash: 32 bytes that only these two peers' handshake has: section 11.2. Not secret.
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
            CryptoError: It is not that, or the object is dead.
        """
        receiving = self._receiving
        if receiving is None:
            raise _dead_transport()
        try:
            if len(ciphertext) > MAX_MESSAGE_BYTES:
                raise _too_long(ciphertext)
            return receiving.decrypt_with_ad(b"", ciphertext)
        except CryptoError:
            self._die()
            raise

    def encrypt_frame(self, plaintext: bytes) -> bytes:
        """Encrypt a frame: Noise messages of 65,535 bytes, the last of 17 to 65,535.

        Raises:
            CryptoError: The object is dead.
            ValueError: The plaintext is empty.
        """
        size = len(plaintext)
        if not size:
            raise ValueError("plaintext: expected at least one byte, got none")
        sending = self._sending
        if size <= MAX_PLAINTEXT_BYTES and sending is not None:
            # Nearly every frame; what is left out here is what `encrypt` does beside.
            try:
                return sending.encrypt_with_ad(b"", plaintext)
            except CryptoError:
                self._die()
                raise
        return b"".join(
            self.encrypt(plaintext[start : start + MAX_PLAINTEXT_BYTES])
            for start in range(0, size, MAX_PLAINTEXT_BYTES)
        )

    def decrypt_frame(self, frame: bytes) -> bytes:
        """Decrypt the peer's next frame.

        Where a frame ends is not authenticated if that is between two of its Noise messages:
        somebody on the way can make two frames of it there. So what a frame carries must itself
        show whether it is complete.

        Raises:
            CryptoError: It is not the peer's next frame, or the object is dead.
        """
        size = len(frame)
        receiving = self._receiving
        if TAG_BYTES < size <= MAX_MESSAGE_BYTES and receiving is not None:
            try:
                return receiving.decrypt_with_ad(b"", frame)
            except CryptoError:
                self._die()
                raise
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


def _too_long(message: bytes) -> CryptoError:
    return CryptoError(
        f"a Noise message is at most {MAX_MESSAGE_BYTES} bytes long, this one is {len(message)}"
    )
