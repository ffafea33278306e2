"""The encryption of protocol 1: NaCl boxes of text, as base64."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from collections.abc import Callable

import attrs
import nacl.exceptions
from nacl.bindings import (
    crypto_box_beforenm,
    crypto_box_easy_afternm,
    crypto_box_NONCEBYTES,
    crypto_box_open_easy_afternm,
    crypto_box_SECRETKEYBYTES,
    crypto_scalarmult_base,
    crypto_secretbox_MACBYTES,
)

from pgnet_trio.errors import CryptoError

__all__ = ["Box", "KeyPair", "decode_public_key"]

KEY_BYTES = crypto_box_SECRETKEYBYTES
NONCE_BYTES = crypto_box_NONCEBYTES
MAC_BYTES = crypto_secretbox_MACBYTES

# Asking the system for one nonce costs a tenth of an encryption; for all of these, little more.
NONCES_AT_ONCE = 16


@attrs.frozen
class KeyPair:
    """A private X25519 key and the public key that belongs to it.

    Args:
        private: The private key, 32 bytes.

    Attributes:
        public: The public key, 32 bytes.

    Raises:
        CryptoError: The private key is not 32 bytes long.
    """

    private: bytes = attrs.field(repr=False)
    public: bytes = attrs.field(init=False)

    @public.default
    def _derive(self) -> bytes:
        if len(self.private) != KEY_BYTES:
            raise CryptoError(
                f"a private key is {KEY_BYTES} bytes long, this one is {len(self.private)}; "
                "make one with KeyPair.generate"
            )
        return crypto_scalarmult_base(self.private)

    @classmethod
    def generate(cls, random_bytes: Callable[[int], bytes]) -> KeyPair:
        """Make a new pair.

        Args:
            random_bytes: Returns so many random bytes.
        """
        return cls(random_bytes(KEY_BYTES))

    @property
    def pubkey(self) -> str:
        """The public key in base64, as the wire and settings have it."""
        return b2a_base64(self.public, newline=False).decode("ascii")


class Box:
    """Encrypts text for one peer, and decrypts what this peer encrypted.

    Each text becomes base64 of a random nonce (24 bytes) and the ciphertext. The ciphertext is
    authenticated: one that somebody altered is refused.

    Args:
        own: This side's keys.
        peer_pubkey: The peer's public key in base64.
        random_bytes: Returns so many random bytes; the nonces come from it.

    Raises:
        CryptoError: The peer's key is no key, or one of the few points of the curve that would
            make the shared secret known to everybody.
    """

    __slots__ = ("_nonces", "_random_bytes", "_shared_key")

    def __init__(
        self, own: KeyPair, peer_pubkey: str, random_bytes: Callable[[int], bytes]
    ) -> None:
        try:
            public = a2b_base64(peer_pubkey, strict_mode=True)
        except ValueError as error:
            raise CryptoError(f"a public key is base64, this one is not ({error})") from error
        if len(public) != KEY_BYTES:
            raise CryptoError(f"a public key is {KEY_BYTES} bytes long, this one is {len(public)}")
        try:
            self._shared_key = crypto_box_beforenm(public, own.private)
        except nacl.exceptions.RuntimeError as error:
            raise CryptoError("this public key would make the shared secret public") from error
        self._random_bytes = random_bytes
        # Never copy these, nor put one back: a nonce that is used twice gives the texts away.
        self._nonces: list[bytes] = []

    def encrypt(self, text: str | bytes) -> str:
        """Encrypt a text for the peer.

        Args:
            text: The text, or its UTF-8 bytes.

        Raises:
            CryptoError: The text holds a lone surrogate, which UTF-8 cannot express.
        """
        if isinstance(text, str):
            try:
                text = text.encode()
            except UnicodeEncodeError:
                # From None: the cause would carry the text into a traceback.
                raise CryptoError(
                    "the text is not valid Unicode: it has a lone surrogate"
                ) from None
        if not self._nonces:
            self._draw_nonces()
        nonce = self._nonces.pop()
        ciphertext = crypto_box_easy_afternm(text, nonce, self._shared_key)
        return b2a_base64(nonce + ciphertext, newline=False).decode("ascii")

    def decrypt(self, text: str) -> str:
        """Decrypt what the peer encrypted.

        Raises:
            CryptoError: It is not base64, too short, not encrypted by this peer for this side,
                altered on the way, or not text.
        """
        try:
            data = a2b_base64(text, strict_mode=True)
        except ValueError as error:
            raise CryptoError(f"a ciphertext is base64, this one is not ({error})") from error
        if len(data) < NONCE_BYTES + MAC_BYTES:
            raise CryptoError(
                f"a ciphertext is at least {NONCE_BYTES + MAC_BYTES} bytes long, "
                f"this one is {len(data)}"
            )
        try:
            message = crypto_box_open_easy_afternm(
                data[NONCE_BYTES:], data[:NONCE_BYTES], self._shared_key
            )
        except nacl.exceptions.CryptoError as error:
            raise CryptoError("the ciphertext is not from this peer, or was altered") from error
        try:
            return message.decode()
        except UnicodeDecodeError:
            # From None: the cause would carry the plaintext into a traceback.
            raise CryptoError("the ciphertext holds no text in UTF-8") from None

    def _draw_nonces(self) -> None:
        drawn = self._random_bytes(NONCES_AT_ONCE * NONCE_BYTES)
        self._nonces = [
            drawn[start : start + NONCE_BYTES] for start in range(0, len(drawn), NONCE_BYTES)
        ]
        self._nonces.reverse()


def decode_public_key(pubkey: str, /) -> bytes:
    """Return the bytes of a public key that somebody was given.

    Args:
        pubkey: The public key in base64, as in `KeyPair.pubkey`.

    Raises:
        CryptoError: *pubkey* is no public key.
    """
    try:
        public = a2b_base64(pubkey, strict_mode=True)
    except ValueError:
        public = b""
    if len(public) != KEY_BYTES:
        hint = "; this is a fingerprint, and `pgnet-trio key` shows the key beside it"
        raise CryptoError(
            f"expected a public key, {KEY_BYTES} bytes in base64, got {pubkey!r}"
            f"{hint if pubkey.startswith('SHA256:') else ''}"
        )
    return public
