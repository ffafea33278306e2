"""Who may come to a server, and which pages it has, read for argparse from the command line.

Apart from other arguments, for commands that need nothing of a server.
"""

from __future__ import annotations

import argparse

from pgnet_trio.server import Site
from pgnet_trio.server.http.origins import OriginRule
from pgnet_trio.server.proxies import TrustedProxies

__all__ = ["host_name", "origin", "site", "trusted_proxies"]


def trusted_proxies(text: str, /) -> list[str]:
    """Read addresses and networks with commas between them."""
    addresses = [address.strip() for address in text.split(",")]
    try:
        TrustedProxies(addresses)
    except ValueError as error:
        raise _wrong(error) from None
    return addresses


def origin(text: str, /) -> str:
    """Check the origin of a page, such as ``https://example.org``."""
    try:
        OriginRule([text])
    except ValueError as error:
        raise _wrong(error) from None
    return text


def host_name(text: str, /) -> str:
    """Check a name of a server, such as ``play.example.org``."""
    try:
        OriginRule((), [text])
    except ValueError as error:
        raise _wrong(error) from None
    return text


def site(text: str, /) -> Site:
    """Check a folder of pages."""
    try:
        return Site(text)
    except ValueError as error:
        raise _wrong(error) from None


def _wrong(error: ValueError) -> argparse.ArgumentTypeError:
    """Return the same error without the name of the option, which argparse puts before it."""
    return argparse.ArgumentTypeError(str(error).partition(": ")[2].removesuffix("."))
