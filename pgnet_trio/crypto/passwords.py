"""Password records: Argon2id, SHA-256 for random passwords, and the SHA-256 of PGNet 0.2."""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata

import nacl.exceptions
from nacl.bindings import (
    crypto_pwhash_ALG_ARGON2ID13,
    crypto_pwhash_argon2id_MEMLIMIT_INTERACTIVE,
    crypto_pwhash_argon2id_MEMLIMIT_MIN,
    crypto_pwhash_argon2id_OPSLIMIT_INTERACTIVE,
    crypto_pwhash_argon2id_OPSLIMIT_MIN,
    crypto_pwhash_str_alg,
    crypto_pwhash_str_verify,
)

from pgnet_trio.errors import CryptoError

__all__ = ["PasswordHasher", "normalize_password"]

MAX_NORMALIZED = 1000
"""Characters of a password that is normalized: the time grows with the square of its length."""

# The PHC string of Argon2id: version, then memory in KiB, passes and lanes, salt, hash.
ARGON2ID = re.compile(
    r"\$argon2id\$v=19\$m=([1-9][0-9]{0,9}),t=([1-9][0-9]{0,9}),p=1"
    r"\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}",
    re.ASCII,
)
QUICK_KIBIBYTES = 64
"""Memory times passes of a record whose check takes less time than to hand it to a thread."""

SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)

RANDOM_PASSWORD = re.compile(r"random:[A-Za-z0-9_-]{43}", re.ASCII)
RANDOM_RECORD = re.compile(r"\$random\$[0-9a-f]{64}", re.ASCII)


class PasswordHasher:
    """Makes password records, and checks passwords against them.

    Hashing takes tens of milliseconds and `memlimit` bytes of memory, on purpose: call it in a
    thread, and only a few times at once, unless it `is_quick`. Checking costs what making the
    record cost. A random password needs none of that, since nobody can guess it.

    Args:
        opslimit: Passes over the memory.
        memlimit: Memory in bytes.

    Raises:
        ValueError: A limit is below what Argon2id allows.
    """

    def __init__(
        self,
        opslimit: int = crypto_pwhash_argon2id_OPSLIMIT_INTERACTIVE,
        memlimit: int = crypto_pwhash_argon2id_MEMLIMIT_INTERACTIVE,
    ) -> None:
        if opslimit < crypto_pwhash_argon2id_OPSLIMIT_MIN:
            raise ValueError(
                f"opslimit: expected at least {crypto_pwhash_argon2id_OPSLIMIT_MIN}, got {opslimit}"
            )
        if memlimit < crypto_pwhash_argon2id_MEMLIMIT_MIN:
            raise ValueError(
                f"memlimit: expected at least {crypto_pwhash_argon2id_MEMLIMIT_MIN} bytes, "
                f"got {memlimit}"
            )
        self._opslimit = opslimit
        self._memlimit = memlimit

    @property
    def memlimit(self) -> int:
        """Bytes of memory that a hash takes."""
        return self._memlimit

    def hash(self, password: str) -> str:
        """Return a record of a password; it holds its own salt, so store it with an empty one.

        Raises:
            CryptoError: The password is not valid Unicode, or there was not enough memory.
        """
        if _is_random(password):
            return _random_record(password)
        secret = _encode(password)
        try:
            record = crypto_pwhash_str_alg(
                secret, self._opslimit, self._memlimit, crypto_pwhash_ALG_ARGON2ID13
            )
        except nacl.exceptions.RuntimeError as error:
            raise CryptoError(
                f"hashing a password takes {self._memlimit} bytes of memory, which are not there"
            ) from error
        return record.decode("ascii")

    def verify(self, password: str, salt: str, record: str) -> bool:
        """Return whether a record was made from this password.

        Args:
            password: The password that the user gave.
            salt: Empty for a record of `hash`; else the salt of a record of PGNet 0.2.
            record: A record of `hash`, or the hex SHA-256 of salt and password.

        Raises:
            CryptoError: The record is neither, or the password is not valid Unicode.
        """
        if salt:
            if not SHA256.fullmatch(record):
                raise CryptoError("the password record with a salt is no SHA-256 in hex")
            digest = hashlib.sha256(_encode(salt + password)).hexdigest()
            return hmac.compare_digest(digest, record)
        if RANDOM_RECORD.fullmatch(record):
            return hmac.compare_digest(_random_record(password), record)
        if not ARGON2ID.fullmatch(record):
            raise CryptoError("the password record without a salt is none of Argon2id")
        try:
            return crypto_pwhash_str_verify(record.encode("ascii"), _encode(password))
        except nacl.exceptions.InvalidkeyError:
            return False

    def is_quick(self, record: str | None = None, *, password: str = "") -> bool:
        """Return whether hashing takes so little time that no thread is worth it.

        Args:
            record: The record that a password is to be checked against; None for a new one.
            password: The password that gets a new record.
        """
        if record is None:
            kibibytes = self._memlimit // 1024 * self._opslimit
            return kibibytes <= QUICK_KIBIBYTES or _is_random(password)
        parameters = ARGON2ID.fullmatch(record)
        # All others take no time: a SHA-256, or no record at all.
        return parameters is None or int(parameters[1]) * int(parameters[2]) <= QUICK_KIBIBYTES

    def needs_upgrade(self, record: str) -> bool:
        """Return whether this hasher would make a stronger record than this one.

        Raises:
            CryptoError: It is no password record.
        """
        if parameters := ARGON2ID.fullmatch(record):
            kibibytes, passes = map(int, parameters.groups())
            return kibibytes < self._memlimit // 1024 or passes < self._opslimit
        if RANDOM_RECORD.fullmatch(record):
            return False
        if SHA256.fullmatch(record):
            return True
        raise CryptoError("the password record is neither of Argon2id nor a SHA-256 in hex")


def _is_random(password: str) -> bool:
    """Return whether a password is one that a program has made: ``random:`` and 43 characters.

    They are those of 32 random bytes in base64url. No person types that, and what is not in this
    form counts as typed, however long it is.
    """
    return RANDOM_PASSWORD.fullmatch(password) is not None


def _random_record(password: str) -> str:
    """Return the record of a random password, of which there are too many to try."""
    digest = hashlib.sha256(b"pgnet_trio random password\0" + _encode(password))
    return f"$random${digest.hexdigest()}"


def normalize_password(password: str) -> str:
    """Return a password in Unicode's form NFC.

    Keyboards and systems differ in whether "é" is one character or two, and nobody sees it. A
    password that is too long to be typed comes back as it is.
    """
    if password.isascii() or len(password) > MAX_NORMALIZED:
        return password
    return unicodedata.normalize("NFC", password)


def _encode(password: str) -> bytes:
    try:
        return password.encode()
    except UnicodeEncodeError:
        # From None: the cause would carry the password into a traceback.
        raise CryptoError("the password is not valid Unicode: it has a lone surrogate") from None
