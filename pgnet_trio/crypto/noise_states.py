"""The objects of the Noise Protocol Framework, revision 34, as its specification has them.

This module implements ``Noise_NX_25519_ChaChaPoly_BLAKE2s`` and the other patterns without
pre-shared keys. It follows https://noiseprotocol.org/noise.html so closely that the two can be
read side by side: section numbers and names are those of the specification, its single letters
(``k``, ``n``, ``ck``, ``h``, ``s``, ``e``, ``rs``, ``re``) included. Pre-shared keys (section 9)
and rekeying (section 11.3) are left out.

The rest of this package uses `pgnet_trio.crypto.noise` instead, which keeps the turns, and refuses
to go on after a failure.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeVar

import nacl.exceptions
from nacl.bindings import crypto_scalarmult

from pgnet_trio.crypto.aead import AEAD, DECRYPTION_ERRORS, open_aead
from pgnet_trio.crypto.box import KeyPair
from pgnet_trio.errors import CryptoError

__all__ = [
    "MAX_MESSAGE_BYTES",
    "MAX_PLAINTEXT_BYTES",
    "NX",
    "RESERVED_NONCE",
    "TAG_BYTES",
    "CipherState",
    "HandshakePattern",
    "HandshakeState",
    "altered",
    "encode_nonce",
    "too_long",
]

# Sections 12.1 and 12.7.
DHLEN = 32
HASHLEN = 32
BLOCKLEN = 64
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
        name: How the name of the protocol spells it.
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
        CryptoError: It is no public key; or it is a point of low order, with which the result is
            all zeros and so known to everybody. Section 12.1 allows refusing such a key.
    """
    # Checked here, because PyNaCl does not check the length.
    if len(public_key) != DHLEN:
        raise CryptoError(f"a public key is {DHLEN} bytes long, this one is {len(public_key)}")
    try:
        return crypto_scalarmult(key_pair.private, public_key)
    except nacl.exceptions.RuntimeError as error:
        raise CryptoError("this public key would make the shared secret public") from error


# What HMAC puts over the key, byte by byte.
_IPAD = bytes(byte ^ 0x36 for byte in range(256))
_OPAD = bytes(byte ^ 0x5C for byte in range(256))

# The 96-bit nonce of section 12.3: 32 bits of zeros, then n in little-endian order.
encode_nonce = struct.Struct("<4xQ").pack


def hash_(data: bytes) -> bytes:
    """HASH(data): sections 4.3 and 12.7."""
    return hashlib.blake2s(data).digest()


def hmac_hash(key: bytes, data: bytes) -> bytes:
    """HMAC-HASH(key, data): section 4.3, as RFC 2104 has it, for keys of at most a block.

    Not by the module hmac, which has OpenSSL look for the hash by its name each time.
    """
    key = key.ljust(BLOCKLEN, b"\0")
    return hash_(key.translate(_OPAD) + hash_(key.translate(_IPAD) + data))


def hkdf(chaining_key: bytes, input_key_material: bytes) -> tuple[bytes, bytes]:
    """HKDF(chaining_key, input_key_material, 2): section 4.3. Pre-shared keys would need 3."""
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
        """InitializeKey(key). The object that encrypts keeps the key inside itself."""
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
            raise altered() from error
        self.n = n + 1
        return plaintext


class SymmetricState:
    """The chaining key, the hash of the whole handshake so far, and a cipher: section 5.2.

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
        """Split(): one cipher for what the initiator sends, one for what the responder sends."""
        temp_k1, temp_k2 = hkdf(self.ck, b"")
        return CipherState(temp_k1), CipherState(temp_k2)


class HandshakeState:
    """A handshake of any pattern without pre-shared keys: section 5.3.

    Creating one is Initialize(handshake_pattern, initiator, prologue, s, e, rs, re) with `e` and
    `re` empty. The caller keeps the turns, and must not use the object again after an exception.

    Args:
        pattern: What the messages hold, in order.
        initiator: Whether this side speaks first.
        prologue: What both sides must agree on: section 6.
        s: This side's static keys, where the pattern has some.
        rs: The peer's static key, where the pattern expects that this side knows it.
        random_bytes: Returns so many random bytes; the ephemeral keys come from it.

    Raises:
        ValueError: A key that the pattern expects is missing.
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
            The message; and with the last one what Split() returns, else None.

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
            The payload; and with the last message what Split() returns, else None.

        Raises:
            CryptoError: The message has an impossible length, was altered, belongs to another
                handshake, or a key in it is a point of low order.
            ValueError: A static key is missing.
        """
        if len(message) > MAX_MESSAGE_BYTES:
            raise too_long(message)
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
    """Return the name of the protocol with this pattern: section 8."""
    return f"Noise_{pattern.name}_25519_ChaChaPoly_BLAKE2s".encode("ascii")


def given(key: Key | None) -> Key:
    """Return the key; None is a mistake of the caller."""
    if key is None:
        raise ValueError("this handshake needs a static key that was not given")
    return key


def take(message: bytes, size: int) -> tuple[bytes, bytes]:
    """Return the next `size` bytes of a message, and the rest."""
    if len(message) < size:
        raise CryptoError("the handshake message is too short")
    return message[:size], message[size:]


def altered() -> CryptoError:
    """Return the error for a ciphertext that does not decrypt."""
    return CryptoError("the ciphertext is not the peer's next one, or was altered")


def too_long(message: bytes) -> CryptoError:
    """Return the error for a message that is longer than any of Noise."""
    return CryptoError(
        f"a Noise message is at most {MAX_MESSAGE_BYTES} bytes long, this one is {len(message)}"
    )
