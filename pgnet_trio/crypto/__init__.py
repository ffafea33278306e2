"""The encryption of messages, and the hashing of passwords."""

from __future__ import annotations

from pgnet_trio.crypto.box import Box, KeyPair, decode_public_key
from pgnet_trio.crypto.noise import NoiseHandshake, NoiseTransport
from pgnet_trio.crypto.passwords import PasswordHasher, normalize_password

__all__ = [
    "Box",
    "KeyPair",
    "NoiseHandshake",
    "NoiseTransport",
    "PasswordHasher",
    "decode_public_key",
    "normalize_password",
]
