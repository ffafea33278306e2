"""Which addresses count as one, and how often each has done something."""

from __future__ import annotations

import ipaddress
from typing import TypeVar

__all__ = ["add_count", "is_loopback", "source_of", "sources"]

KeyT = TypeVar("KeyT")


def sources(address: str | None) -> tuple[str, str]:
    """Return which network and which address count, of an address or of the inside (None).

    Of IPv6 it is the 48-bit prefix that a site may hold, and the 64-bit prefix that each customer
    holds. Of IPv4 both are the address itself.
    """
    if address is None or ":" not in address:
        return address or "", address or ""
    try:
        ip = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address, address
    if ip.ipv4_mapped is not None:
        # A socket for both families shows IPv4 addresses like this.
        return str(ip.ipv4_mapped), str(ip.ipv4_mapped)
    site, customer = (str(ipaddress.IPv6Network((ip, bits), strict=False)) for bits in (48, 64))
    return site, customer


def is_loopback(address: str) -> bool:
    """Return whether an address is one by which a machine reaches itself."""
    # Nearly all need not be parsed, which takes longer than all else that is asked of an address.
    if address == "127.0.0.1":
        return True
    if ":" not in address and not address.startswith("127."):
        return False
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback


def source_of(address: str) -> str:
    """Return which address counts, of an address."""
    return sources(address)[1]


def add_count(counts: dict[KeyT, int], key: KeyT, by: int) -> None:
    """Change a count by so many; a count of 0 is forgotten."""
    counts[key] = counts.get(key, 0) + by
    if not counts[key]:
        del counts[key]
