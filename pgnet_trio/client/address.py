"""The address of a server, read from what people write."""

from __future__ import annotations

from urllib.parse import urlsplit

import attrs

from pgnet_trio.errors import AddressError

__all__ = ["Address", "parse_address", "parse_addresses", "redirected"]


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
    if "," in host:
        raise _wrong(address, "it names several hosts")
    if not is_url and (parts.path or parts.query or parts.fragment):
        raise _wrong(address, "there is something after the port")
    if named_port is None:
        named_port = {"ws": 80, "wss": 443}[parts.scheme] if is_url else port
    if is_url and ":" in host:
        host = _zone_as_it_is(host)
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Address(host, named_port, resource, parts.scheme == "wss")


def parse_addresses(addresses: str, port: int) -> tuple[Address, ...]:
    """Read one address, or several of one server with commas between them.

    Args:
        addresses: Each as for `parse_address`; a comma in a URL has to be written as ``%2C``.
        port: The port of those that name none.

    Raises:
        AddressError: One of them has none of the forms; the message says which.
    """
    texts = addresses.split(",")
    found: dict[Address, None] = {}
    for number, text in enumerate(texts, 1):
        try:
            found[parse_address(text, port)] = None
        except AddressError as error:
            if len(texts) == 1:
                raise
            raise AddressError(f"Address {number} of {len(texts)}: {error}") from None
    return tuple(found)


def redirected(current: Address, to: str, port: int) -> Address:
    """Read where a server sends a client.

    Args:
        current: Where the client is connected.
        to: An address as for `parse_address`, or a path at the current one, such as ``/node-3``.
        port: The port, where a host has none.

    Raises:
        AddressError: It is none of these, or leads from TLS to where there is none.
    """
    if to.startswith("/"):
        if to.startswith("//") or "#" in to:
            raise AddressError(f"{to!r} is no path at a server")
        return attrs.evolve(current, resource=to)
    address = parse_address(to, port)
    if current.tls and not address.tls:
        raise AddressError(f"{to!r} is without TLS, and {current} with it")
    return address


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
