"""The header of HAProxy's PROXY protocol, versions 1 and 2, without any input or output.

A proxy that knows nothing of HTTP writes it before the first byte of a connection, to say whose
connection it passes on. See https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt.
"""

from __future__ import annotations

import ipaddress
import re

from pgnet_trio.errors import ProtocolError
from pgnet_trio.foreign_text import one_line

__all__ = ["MAX_HEADER_SIZE", "ProxyHeader"]

MAX_HEADER_SIZE = 4096
"""Bytes of a header. Addresses take 232 at most; what follows them is mostly of a certificate."""

_V1_START = b"PROXY "
_V1_END = b"\r\n"
_V1_MAX_SIZE = 107
_V1_ADDRESSES = re.compile(r"(TCP[46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) ([0-9]+) ([0-9]+)")
_V1_VERSIONS = {"TCP4": 4, "TCP6": 6}
_MAX_PORT = 65535

_V2_START = b"\r\n\r\n\0\r\nQUIT\n"
_V2_HEAD_SIZE = len(_V2_START) + 4
_V2_VERSION = 2
_V2_LOCAL, _V2_PROXY = 0, 1
# TCP over IPv4 and over IPv6: the bytes of an address. Two of them come, and two ports.
_V2_ADDRESS_SIZES = {0x11: 4, 0x21: 16}
_V2_PORTS_SIZE = 4


class ProxyHeader:
    """Reads the header of one connection, whose bytes come in pieces.

    Attributes:
        source: The address that the connection comes from, once `receive` has found the end. None
            where the header names none: the proxy asks for itself, to see whether the server is
            there, or it passes on no TCP.
    """

    def __init__(self) -> None:
        self.source: str | None = None
        self._seen = b""

    def receive(self, data: bytes) -> int | None:
        """Take the next piece, and return how many bytes of it belong to the header.

        None where all of them do, and the header has not ended yet.

        Raises:
            ProtocolError: The bytes are no header.
        """
        before = len(self._seen)
        self._seen += data
        seen = self._seen
        if seen.startswith(_V2_START):
            end = self._read_v2(seen)
        elif seen.startswith(_V1_START):
            end = self._read_v1(seen)
        elif _V1_START.startswith(seen) or _V2_START.startswith(seen):
            end = None
        else:
            raise _wrong(f"got {seen[:16]!r}")
        return None if end is None else end - before

    def _read_v1(self, seen: bytes) -> int | None:
        line, end, _ = seen[:_V1_MAX_SIZE].partition(_V1_END)
        if not end:
            if len(seen) >= _V1_MAX_SIZE:
                raise _wrong(f"got a line of more than {_V1_MAX_SIZE} bytes")
            return None
        text = line.decode("latin-1").removeprefix(_V1_START.decode())
        # What follows "UNKNOWN" is not to be looked at.
        if text != "UNKNOWN" and not text.startswith("UNKNOWN "):
            self.source = _read_v1_source(text)
        return len(line) + len(_V1_END)

    def _read_v2(self, seen: bytes) -> int | None:
        if len(seen) < _V2_HEAD_SIZE:
            return None
        version, command = divmod(seen[12], 16)
        if version != _V2_VERSION or command not in (_V2_LOCAL, _V2_PROXY):
            raise _wrong(f"got version {version} and command {command}")
        end = _V2_HEAD_SIZE + int.from_bytes(seen[14:16])
        if end > MAX_HEADER_SIZE:
            raise _wrong(f"got one of {end} bytes, which is over {MAX_HEADER_SIZE}")
        size = _V2_ADDRESS_SIZES.get(seen[13]) if command == _V2_PROXY else None
        if size is not None and end < _V2_HEAD_SIZE + 2 * size + _V2_PORTS_SIZE:
            raise _wrong(f"got {end - _V2_HEAD_SIZE} bytes for two addresses of {size} each")
        if len(seen) < end:
            return None
        if size is not None:
            address = seen[_V2_HEAD_SIZE : _V2_HEAD_SIZE + size]
            self.source = _text(ipaddress.ip_address(address))
        return end


def _read_v1_source(text: str) -> str:
    match = _V1_ADDRESSES.fullmatch(text)
    if match is None or max(int(match[4]), int(match[5])) > _MAX_PORT:
        raise _wrong(f"got the line {text!r}")
    try:
        source, destination = map(ipaddress.ip_address, match.group(2, 3))
    except ValueError as error:
        raise _wrong(f"got an address that is none: {one_line(error)}") from None
    if not source.version == destination.version == _V1_VERSIONS[match[1]]:
        raise _wrong(f"got the line {text!r}")
    return _text(source)


def _text(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    return str(getattr(address, "ipv4_mapped", None) or address)


def _wrong(what: str) -> ProtocolError:
    return ProtocolError(f"expected the header of the PROXY protocol, {what}")
