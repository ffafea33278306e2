"""`Monitor`: where the host of a server looks at it, and by which tokens. Pure."""

from __future__ import annotations

import importlib.util
import ipaddress
import re
from collections.abc import Iterable

import attrs

from pgnet_trio.errors import ServerError
from pgnet_trio.server.http.origins import OriginRule

__all__ = ["DEFAULT_MONITOR_ADDRESS", "LEAST_TOKEN", "Monitor", "monitor_address"]

DEFAULT_MONITOR_ADDRESS = "127.0.0.1:38930"

LEAST_TOKEN = 16
"""Characters of a token for a monitor that others than this machine reach."""

LIBRARIES = ("hypercorn", "prometheus_client", "starlette")

_ADDRESS = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\s:\[\]/@]+)):(?P<port>[0-9]{1,5})"
)


def monitor_address(text: str) -> tuple[str, int]:
    """Return the host and the port that a text stands for.

    Args:
        text: ``host:port``, with an address of IPv6 in brackets; port 0 takes any that is free.

    Raises:
        ValueError: It is something else.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found["port"]) > 65535:
        raise ValueError(
            "expected host:port for the monitor, such as 127.0.0.1:38930 or [::1]:38930; "
            f"got {text[:200]!r}"
        )
    return found["v6"] or found["host"], int(found["port"])


def _check_address(monitor: Monitor, attribute: attrs.Attribute[str], address: object) -> None:
    if not isinstance(address, str):
        raise TypeError(f"Monitor: expected host:port, got an object of {type(address).__name__}.")
    monitor_address(address)


def _check_token(monitor: Monitor, attribute: attrs.Attribute[str | None], token: object) -> None:
    name = attribute.name
    if token is None:
        return
    if not isinstance(token, str):
        raise TypeError(f"{name}: expected a str or None, got an object of {type(token).__name__}.")
    if not (token.isascii() and token.isprintable() and token and " " not in token):
        raise ValueError(
            f"{name}: expected one word of printable ASCII, such as what "
            "`openssl rand -hex 24` prints; got something else."
        )


def _names(names: Iterable[str]) -> tuple[str, ...]:
    # Says what is wrong with them.
    OriginRule((), names)
    return tuple(names)


@attrs.frozen
class Monitor:
    """Lets the host of a server look at it: ``Server(MyGame, monitor=Monitor(token="…"))``.

    It is a listener of its own, beside the one for players: metrics for Prometheus at ``/metrics``,
    and pages for a browser.

    Args:
        address: Where it listens, ``host:port``; port 0 takes any that is free.
        token: What whoever looks has to know: as ``Authorization: Bearer``, or in the form that a
            browser is shown. None: whoever uses this machine may look; not on an address that
            others reach.
        write_token: What whoever does something has to know, such as kick a player; it is good for
            looking too. None: nobody can do anything.
        allowed_hosts: Names by which browsers may ask for it, beside its addresses, ``localhost``
            and the machine's own name.

    Raises:
        ServerError: A library that it needs is not installed.
        TypeError: An argument is of another type.
        ValueError: An argument makes no sense, or a token is too short for an address that others
            reach; the message shows no token.
    """

    address: str = attrs.field(default=DEFAULT_MONITOR_ADDRESS, validator=_check_address)
    token: str | None = attrs.field(default=None, validator=_check_token, kw_only=True, repr=False)
    write_token: str | None = attrs.field(
        default=None, validator=_check_token, kw_only=True, repr=False
    )
    allowed_hosts: tuple[str, ...] = attrs.field(default=(), converter=_names, kw_only=True)

    def __attrs_post_init__(self) -> None:
        missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
        if missing:
            raise ServerError(
                f"The monitor takes libraries that are not installed ({', '.join(missing)}): "
                "pip install 'pgnet_trio[monitor]'"
            )
        if self.write_token is not None and self.write_token == self.token:
            raise ValueError("write_token: expected another token than the one for looking.")
        if self.is_local:
            return
        if self.token is None:
            raise ValueError(
                f"Monitor: {self.address} is an address that others reach: it needs a token, "
                "token= or --monitor-token-file, such as `openssl rand -hex 24` makes."
            )
        for token in (self.token, self.write_token):
            if token is not None and len(token) < LEAST_TOKEN:
                raise ValueError(
                    f"Monitor: {self.address} is an address that others reach: expected tokens of "
                    f"{LEAST_TOKEN} characters or more, got one of {len(token)}."
                )

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        host, _ = monitor_address(self.address)
        if host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False
