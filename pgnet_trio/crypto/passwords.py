"""Password records: Argon2id, and the SHA-256 of PGNet 0.2 that old save files hold."""

from __future__ import annotations

import hashlib
import hmac
import re

import nacl.exceptions
from nacl.bindings import (
    crypto_pwhash_ALG_ARGON2ID13,
    crypto_pwhash_argon2id_MEMLIMIT_INTERACTIVE,
    crypto_pwhash_argon2id_OPSLIMIT_INTERACTIVE,
    crypto_pwhash_str_alg,
    crypto_pwhash_str_verify,
)

from pgnet_trio.errors import CryptoError

__all__ = ["PasswordHasher"]

# The PHC string of Argon2id: version, then memory in KiB, passes and lanes, salt, hash.
ARGON2ID = re.compile(
    r"\$argon2id\$v=19\$m=([1-9][0-9]{0,9}),t=([1-9][0-9]{0,9}),p=1"
    r"\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}",
    re.ASCII,
)
SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


class PasswordHasher:
    """Makes password records, and checks passwords against them.

    Hashing takes tens of milliseconds and `memlimit` of memory, on purpose: call it off the
    event loop, and few at a time.

    Args:
        opslimit: Passes over the memory.
        memlimit: Memory in bytes.

    Raises:
        ValueError: A limit is outside what Argon2id allows.
    """

    def __init__(
        self,
        opslimit: int = crypto_pwhash_argon2id_OPSLIMIT_INTERACTIVE,
        memlimit: int = crypto_pwhash_argon2id_MEMLIMIT_INTERACTIVE,
    ) -> None:
        self._opslimit = opslimit
        self._memlimit = memlimit

    def hash(self, password: str) -> str:
        """Make a record of a password, with a fresh salt in it; to be stored with salt ``""``.

        Raises:
            CryptoError: The password is not valid Unicode, or there was not enough memory.
        """
        return ""
