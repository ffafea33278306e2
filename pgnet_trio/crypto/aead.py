"""ChaCha20-Poly1305 (RFC 8439), by the fastest library that is installed.

PyNaCl is always installed. The package cryptography (the extra ``speed``) takes two fifths of the
time for short messages: PyNaCl spends most of its time there on checking arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import nacl.exceptions
from nacl.bindings import (
    crypto_aead_chacha20poly1305_ietf_decrypt,
    crypto_aead_chacha20poly1305_ietf_encrypt,
)

from pgnet_trio.errors import CryptoError

__all__ = ["AEAD", "DECRYPTION_ERRORS", "SodiumAEAD", "open_aead"]


class AEAD(Protocol):
    """Encrypts and decrypts with one key."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes:
        """Return the ciphertext, with its tag."""

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes:
        """Return the plaintext; raise one of `DECRYPTION_ERRORS` where the tag does not fit."""


class SodiumAEAD:
    """An `AEAD` of libsodium, through PyNaCl.

    Args:
        key: 32 bytes.
    """

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        """Return the ciphertext, with its tag."""
        return crypto_aead_chacha20poly1305_ietf_encrypt(data, associated_data, nonce, self._key)

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        """Return the plaintext."""
        return crypto_aead_chacha20poly1305_ietf_decrypt(data, associated_data, nonce, self._key)


DECRYPTION_ERRORS: tuple[type[Exception], ...] = (nacl.exceptions.CryptoError,)
_fastest: Callable[[bytes], AEAD] = SodiumAEAD

try:
    from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
except ImportError:
    # The extra is not installed.
    pass
else:
    DECRYPTION_ERRORS = (nacl.exceptions.CryptoError, InvalidTag)
    try:
        ChaCha20Poly1305(bytes(32))
    except UnsupportedAlgorithm:
        # This OpenSSL was built without it, or is restricted to FIPS.
        pass
    else:
        _fastest = ChaCha20Poly1305


def open_aead(key: bytes) -> AEAD:
    """Return the fastest `AEAD` for a key.

    Args:
        key: 32 bytes.

    Raises:
        CryptoError: The key has another length.
    """
    if len(key) != 32:
        raise CryptoError(f"a key is 32 bytes long, this one is {len(key)}")
    return _fastest(key)
