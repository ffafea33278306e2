"""Codes that stand for a forgotten password; pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from pgnet_trio.server.cluster.moderation_records import ResetCode

__all__ = ["RESET_LIFETIME", "new_reset_code", "reset_digest"]

RESET_LIFETIME = 24 * 3600
"""Seconds for which a code may be used."""

CODE_BYTES = 16
"""Random bytes in a code: nobody guesses 128 bits, so a plain hash of them gives nothing away."""


def new_reset_code(
    username: str, random_bytes: Callable[[int], bytes], now: float
) -> tuple[str, ResetCode]:
    """Return a code for a user, and what is kept of it.

    Args:
        username: Whose password it stands for.
        random_bytes: Randomness.
        now: The time, in seconds since 1970.
    """
    code = random_bytes(CODE_BYTES).hex()
    return code, ResetCode(reset_digest(username, code), int(now) + RESET_LIFETIME)


def reset_digest(username: str, code: str) -> bytes:
    """Return what is kept of a code, which is of no use to whoever reads it."""
    text = f"{username}\0{code.strip().lower()}"
    return hashlib.sha256(
        b"pgnet_trio reset code\0" + text.encode("utf-8", "surrogatepass")
    ).digest()
