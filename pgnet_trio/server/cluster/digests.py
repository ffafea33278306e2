"""What stands in a database for an address, or for whatever somebody has typed; pure."""

from __future__ import annotations

import hashlib

__all__ = ["Digests"]


class Digests:
    """Makes digests with a key, so that whoever has only the digests cannot try all addresses.

    Args:
        secret: At most 32 bytes that nobody else has.
    """

    def __init__(self, secret: bytes) -> None:
        self._key = hashlib.blake2s(b"pgnet_trio account keys", key=secret).digest()

    def of(self, *parts: str) -> str:
        """Return what stands for some texts in their order."""
        digest = hashlib.blake2s(key=self._key, digest_size=16)
        for part in parts:
            data = part.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "big"))
            digest.update(data)
        return digest.hexdigest()
