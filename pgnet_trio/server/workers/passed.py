"""A connection that goes from one process to another, as bytes beside its socket. Pure."""

from __future__ import annotations

import math
import struct

import attrs

from pgnet_trio.errors import ProtocolError

__all__ = ["HEADER_SIZE", "MAX_DATA", "PassedConnection", "message_size"]

MAX_DATA = 128 * 1024
"""Bytes that may have been read of a connection: a head, and what one long read brings after it."""

MAX_PEER = 255
"""Bytes of an address; those of a network are shorter, with their zone too."""

# What it is, with the version of this form; the sizes of the address and of what was read; the
# seconds for the log-in that are left.
_HEADER = struct.Struct(">4sBId")
_MARK = b"PGN\x01"

HEADER_SIZE = _HEADER.size


@attrs.frozen
class PassedConnection:
    """What another process has to know of a connection to go on with it.

    Attributes:
        peer: The address of the other end, without a port; where a proxy began the connection with
            a header of the PROXY protocol, the address in there.
        seconds: How long the client may still take to log in; infinity for any time.
        data: All that was read of the connection, but for a header of the PROXY protocol.
    """

    peer: str
    seconds: float
    data: bytes

    def encode(self) -> bytes:
        """Return the bytes for the other process.

        Raises:
            ProtocolError: Too much was read.
        """
        peer = self.peer.encode()
        if len(peer) > MAX_PEER or not 0 < len(self.data) <= MAX_DATA:
            raise ProtocolError(
                f"expected 1 to {MAX_DATA} bytes that were read of a connection, and an address of "
                f"at most {MAX_PEER}; got {len(self.data)} and {len(peer)}"
            )
        seconds = max(self.seconds, 0.0)
        return _HEADER.pack(_MARK, len(peer), len(self.data), seconds) + peer + self.data

    @classmethod
    def decode(cls, message: bytes) -> PassedConnection:
        """Return the connection of a message, which is whole.

        Raises:
            ProtocolError: The message is another one.
        """
        if len(message) < HEADER_SIZE or message_size(message) != len(message):
            raise ProtocolError(f"expected one whole message, got {len(message)} bytes")
        _, peer_size, _, seconds = _HEADER.unpack_from(message)
        if math.isnan(seconds) or seconds < 0:
            raise ProtocolError(f"expected seconds for a log-in, got {seconds!r}")
        end = HEADER_SIZE + peer_size
        try:
            peer = message[HEADER_SIZE:end].decode()
        except UnicodeDecodeError:
            raise ProtocolError("expected an address in UTF-8") from None
        return cls(peer, seconds, message[end:])


def message_size(beginning: bytes) -> int:
    """Return how long the message is that begins like this.

    Args:
        beginning: At least `HEADER_SIZE` bytes.

    Raises:
        ProtocolError: No message begins like this.
    """
    mark, peer_size, data_size, _ = _HEADER.unpack_from(beginning)
    if mark != _MARK:
        raise ProtocolError(f"expected a connection that another process passes on, got {mark!r}")
    if not 0 < data_size <= MAX_DATA:
        raise ProtocolError(f"expected 1 to {MAX_DATA} bytes that were read, got {data_size}")
    return HEADER_SIZE + int(peer_size) + int(data_size)
