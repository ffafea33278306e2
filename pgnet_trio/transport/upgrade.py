"""The request that nearly every client opens a WebSocket with, read and answered without a library.

Pure. A library takes several times as long, for it has to read every request that HTTP allows and
explain what is wrong with the others. Here nothing is ever refused: any request that is not exactly
the usual one, good or bad, is left to the library.
"""

from __future__ import annotations

import functools
import hashlib
import re
from base64 import b64encode
from collections.abc import Sequence
from email.utils import formatdate

import attrs

__all__ = ["FORWARDED_FOR", "Upgrade", "choose", "read_upgrade"]

FORWARDED_FOR = "x-forwarded-for"
"""The header in which proxies say whose request they pass on, in small letters."""

MAX_SIZE = 4096
"""Bytes of a usual request: no library has a limit below that for a line."""

MAX_HEADERS = 64
"""Headers of a usual request; libraries take more."""

_TOKEN = r"[-!#$%&'*+.^_`|~0-9A-Za-z]+"
_REQUEST = re.compile(
    rb"GET /[!-~]* HTTP/1\.1\r\n((?:%b:[\t -~]*\r\n){1,%d})\r\n" % (_TOKEN.encode(), MAX_HEADERS)
)
_KEY = re.compile(r"[+/0-9A-Za-z]{21}[AQgw]==")
_SUBPROTOCOLS = re.compile(rf"{_TOKEN}(?:, ?{_TOKEN})*")

# What has no meaning twice, or changes how the rest has to be read.
_ONCE = frozenset(
    {
        "connection",
        "host",
        "origin",
        "sec-websocket-key",
        "sec-websocket-protocol",
        "sec-websocket-version",
        "upgrade",
    }
)
_BODY = frozenset({"content-length", "transfer-encoding"})

_CONNECTION = frozenset({"upgrade", "keep-alive, upgrade"})

# RFC 6455, section 1.3.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@attrs.frozen
class Upgrade:
    """A usual request for a WebSocket.

    Attributes:
        key: The value of ``Sec-WebSocket-Key``.
        offered: The subprotocols that the client offers, in its order.
        forwarded_for: The lines of ``X-Forwarded-For``.
        host: The host and port that the client asks; None where it does not say.
        origin: The origin of the page that asks; None where no page does.
    """

    key: str
    offered: tuple[str, ...]
    forwarded_for: list[str]
    host: str | None = None
    origin: str | None = None

    def accept(self, subprotocol: str | None, now: float) -> bytes:
        """Return the answer that opens the WebSocket.

        Args:
            subprotocol: The one that the server chooses; None for none.
            now: The time in seconds since 1970.
        """
        # 20 bytes of SHA-1 are what the protocol says; they protect nothing.
        digest = hashlib.sha1(self.key.encode() + _GUID, usedforsecurity=False).digest()
        chosen = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol else ""
        return (
            f"HTTP/1.1 101 Switching Protocols\r\nDate: {_date(int(now))}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {b64encode(digest).decode()}\r\n{chosen}\r\n"
        ).encode()


def read_upgrade(data: bytes) -> Upgrade | None:
    """Read a request.

    Args:
        data: All that has come.

    Returns:
        The request; None where it is not a usual one, or not all of it, or more has come.
    """
    request = _REQUEST.fullmatch(data) if len(data) <= MAX_SIZE else None
    if request is None:
        return None
    headers: dict[str, str] = {}
    forwarded_for: list[str] = []
    for line in request[1].decode().split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip(" \t")
        if name in _ONCE:
            if name in headers:
                return None
            headers[name] = value
        elif name == FORWARDED_FOR:
            forwarded_for.append(value)
        elif name in _BODY:
            return None
    key, offered = headers.get("sec-websocket-key", ""), headers.get("sec-websocket-protocol")
    if (
        "host" not in headers
        or headers.get("connection", "").lower() not in _CONNECTION
        or headers.get("upgrade", "").lower() != "websocket"
        or headers.get("sec-websocket-version") != "13"
        or not _KEY.fullmatch(key)
        or (offered is not None and not _SUBPROTOCOLS.fullmatch(offered))
    ):
        return None
    return Upgrade(key, _split(offered), forwarded_for, headers.get("host"), headers.get("origin"))


def choose(ours: Sequence[str], offered: Sequence[str]) -> str | None:
    """Return the best of a server's subprotocols that the client offers, or None."""
    return next((name for name in ours if name in offered), None)


def _split(offered: str | None) -> tuple[str, ...]:
    return () if offered is None else tuple(name.lstrip() for name in offered.split(","))


@functools.lru_cache(maxsize=1)
def _date(now: int) -> str:
    return formatdate(now, usegmt=True)
