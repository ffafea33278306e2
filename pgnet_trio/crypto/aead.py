"""ChaCha20-Poly1305 (RFC 8439), by the fastest library that is installed.

PyNaCl is always there. The package cryptography (the extra ``speed``) does the same in two fifths
of the time on short messages, most of which PyNaCl spends on checking arguments.
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
        """Give the ciphertext, with its tag."""

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes:
        """Give the plaintext; raises one of `DECRYPTION_ERRORS` where the tag does not fit."""


class SodiumAEAD:
    """The same with libsodium, through PyNaCl.

    Args:
        key: 32 bytes.
    """

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        """Give the ciphertext, with its tag."""
        return crypto_aead_chacha20poly1305_ietf_encrypt(data, associated_data, nonce, self._key)

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        """Give the plaintext."""
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
        # An OpenSSL that was built without it, or is held to FIPS.
        pass
    else:
        _fastest = ChaCha20Poly1305


def open_aead(key: bytes) -> AEAD:
    """Take a key for encrypting and decrypting.

    Args:
        key: 32 bytes.

    Raises:
        CryptoError: It has another length.
    """
    if len(key) != 32:
        raise CryptoError(f"a key is 32 bytes long, this one is {len(key)}")
    return _fastest(key)
