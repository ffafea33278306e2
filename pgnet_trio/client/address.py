"""The address of a server, read from what people write."""

from __future__ import annotations

from urllib.parse import urlsplit

import attrs

from pgnet_trio.errors import AddressError

__all__ = ["Address", "parse_address"]


@attrs.frozen
class Address:
    """Where a server is.

    Attributes:
        host: A name or an IP address; of a link-local one with its zone, as in ``fe80::1%eth0``.
        port: The TCP port.
        resource: The path and query of the HTTP request.
        tls: Whether to speak TLS, which a proxy before the server does.
    """

    host: str
    port: int
    resource: str = "/"
    tls: bool = False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(address: str, port: int) -> Address:
    """Read an address.

    Args:
        address: ``host``, ``host:port``, ``[v6]:port``, ``ws://…`` or ``wss://…``.
        port: The port where the address names none; a URL without a port means its scheme's.

    Raises:
        AddressError: *address* has none of these forms.
    """
    text = address.strip()
    is_url = "://" in text
    if not is_url and text.count(":") > 1 and not text.startswith("["):
        text = f"[{text}]"
    try:
        parts = urlsplit(text if is_url else f"ws://{text}")
        named_port, host = parts.port, parts.hostname
    except ValueError as error:
        raise _wrong(address, str(error)) from None
    if parts.scheme not in ("ws", "wss"):
        raise _wrong(address, f"{parts.scheme}:// is not spoken here")
    if not host or parts.username is not None:
        raise _wrong(address, "it names no host" if not host else "user names do not belong here")
    if not is_url and (parts.path or parts.query or parts.fragment):
        raise _wrong(address, "there is something after the port")
    if named_port is None:
        named_port = {"ws": 80, "wss": 443}[parts.scheme] if is_url else port
    if is_url and ":" in host:
        host = _zone_as_it_is(host)
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Address(host, named_port, resource, parts.scheme == "wss")


def _zone_as_it_is(host: str) -> str:
    """Return an IPv6 address of a URL, in which the percent sign before a zone may be encoded."""
    ip, percent, zone = host.partition("%")
    if zone.startswith("25") and zone != "25":
        zone = zone[2:]
    return ip + percent + zone


def _wrong(address: str, reason: str) -> AddressError:
    return AddressError(
        f"{address!r} is no address of a server ({reason}); write host, host:port, [v6]:port, "
        "ws://host:port/path or wss://host/path."
    )
