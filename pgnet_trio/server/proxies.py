"""Which proxies are believed when they say whose connection they pass on."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import TypeAlias

__all__ = ["TrustedProxies"]

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

# Bits before an address of IPv4 that is written as one of IPv6.
_MAPPED = 96

# Some proxies add the port. Without brackets only IPv4 can have one.
_WITH_PORT = re.compile(r"\[(?P<v6>[^\]]*)\](?::[0-9]+)?|(?P<v4>[0-9.]+):[0-9]+")


class TrustedProxies:
    """The addresses of the proxies in front of a server.

    Args:
        addresses: Each an address or a network, such as ``"10.0.0.0/8"``.

    Raises:
        TypeError: They are no list of texts.
        ValueError: One is neither an address nor a network.
    """

    def __init__(self, addresses: Iterable[str] = ()) -> None:
        if isinstance(addresses, (str, bytes)) or not isinstance(addresses, Iterable):
            raise TypeError(f"trusted_proxies: expected a list of addresses, got {addresses!r}.")
        self._networks = tuple(map(_network, addresses))

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, address: str) -> bool:
        if not self._networks:
            return False
        # A link-local address of a socket ends with the interface.
        ip = _read(address.partition("%")[0])
        return ip is not None and any(ip in network for network in self._networks)

    def client_of(self, peer: str, forwarded_for: Iterable[str]) -> str:
        """Return the address that a request comes from.

        Each proxy adds the address that it was asked from behind those that it was told. So the
        right end is the work of the trusted proxies, and whatever stands before the first address
        that is none of theirs may be an invention of the client.

        Args:
            peer: The address at the other end of the connection.
            forwarded_for: The request's lines of ``X-Forwarded-For``.

        Returns:
            The last address of the way that is no trusted proxy's; where a trusted proxy names
            none, that proxy's own.
        """
        client = peer
        for part in reversed(",".join(forwarded_for).split(",")):
            if client not in self:
                break
            address = _read(part.strip())
            if address is None:
                break
            client = str(address)
        return client


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    if not isinstance(text, str):
        raise TypeError(f"trusted_proxies: expected addresses as text, got {text!r}.")
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(
            f"trusted_proxies: expected addresses or networks such as '127.0.0.1' or "
            f"'10.0.0.0/8', got {text!r}: {error}."
        ) from None
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is None or network.prefixlen < _MAPPED:
        return network
    # Addresses are compared as IPv4 where they stand for such ones.
    return ipaddress.ip_network((mapped, network.prefixlen - _MAPPED))


def _read(text: str) -> _Address | None:
    """Return an address; None where the text is none, or names an interface of some machine."""
    with_port = _WITH_PORT.fullmatch(text)
    if with_port is not None:
        text = with_port["v6"] or with_port["v4"] or ""
    if "%" in text:
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
