"""Which pages may speak to the server, and by which names browsers may reach it.

Pure. A browser says in ``Origin`` which page opens a WebSocket, and nothing else of the connection
shows it. A page may also let its own name lead to this server's address ("DNS rebinding"); it is
then of the same origin as the server, and only the name in ``Host`` shows that.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

__all__ = ["OriginRule"]

_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[0-9a-z_.-]+)(?::(?P<port>[0-9]{1,5}))?")
_ORIGIN = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<authority>[^\s/?#@]+)")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_LOCAL = ".local"

ANY = "*"
NO_ORIGIN = "null"
"""What browsers send for a page without an origin, such as a file."""


class OriginRule:
    """Says whom a server refuses for where they come from.

    Args:
        allowed_origins: The origins of other pages that may open a WebSocket; ``"*"`` for all,
            ``"null"`` for pages without an origin.
        allowed_hosts: Names of this server, beside its addresses, ``localhost`` and its own name.
        own_name: The machine's own name.
        with_tls: Whether the server speaks TLS: browsers then have compared the name that they ask
            for with the certificate, which no other page's name can pass.
        any_host: Whether somebody else sees to the names of this server.

    Raises:
        TypeError: They are no lists of texts.
        ValueError: One is no origin, or no name.
    """

    def __init__(
        self,
        allowed_origins: Iterable[str] = (),
        allowed_hosts: Iterable[str] = (),
        *,
        own_name: str = "",
        with_tls: bool = False,
        any_host: bool = False,
    ) -> None:
        self._with_tls = with_tls
        self._any_host = any_host or with_tls
        self._origins = frozenset(
            map(_check_origin, _texts("allowed_origins", allowed_origins, "'https://example.org'"))
        )
        hosts = _texts("allowed_hosts", allowed_hosts, "'play.example.org'")
        name = own_name.lower().rstrip(".")
        first = name.partition(".")[0]
        self._hosts = {"localhost", name, first, first + _LOCAL, *map(_check_host, hosts)}
        self._hosts -= {"", _LOCAL}

    def refuse_handshake(self, host: str | None, origin: str | None) -> str | None:
        """Return why a WebSocket is refused; None where it is taken.

        Args:
            host: What the request says in ``Host``.
            origin: What it says in ``Origin``; None where it says nothing, as all programs but
                browsers do. Such a request is always taken.
        """
        if origin is None:
            return None
        refusal = self.refuse_host(host)
        if refusal is not None:
            return refusal
        origin = origin.lower()
        if ANY in self._origins or origin in self._origins or self._is_own(origin, host or ""):
            return None
        return (
            "pages of this origin may not speak to this server; its host can list it among "
            "the allowed origins"
        )

    def refuse_host(self, host: str | None) -> str | None:
        """Return why a request for a page is refused; None where it is taken.

        Args:
            host: What the request says in ``Host``; None where it says nothing, as no browser does.
        """
        if host is None or self._any_host:
            return None
        match = _HOST.fullmatch(host.lower())
        name = "" if match is None else match["name"].rstrip(".")
        if name in self._hosts or _is_address(name):
            return None
        return (
            "this server does not know itself by this name; its host can list it among the "
            "allowed hosts"
        )

    def _is_own(self, origin: str, host: str) -> bool:
        match = _ORIGIN.fullmatch(origin)
        # Behind a proxy with TLS, pages come by https:// too.
        schemes = ["https"] if self._with_tls else _DEFAULT_PORTS
        if match is None or match["scheme"] not in schemes:
            return False
        default = _DEFAULT_PORTS[match["scheme"]]
        return match["authority"].removesuffix(default) == host.lower().removesuffix(default)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _texts(option: str, values: Iterable[str], example: str) -> list[str]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise TypeError(f"{option}: expected a list such as [{example}], got {values!r}.")
    texts = list(values)
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"{option}: expected texts such as {example}, got {text!r}.")
    return texts


def _check_origin(text: str) -> str:
    origin = text.lower()
    if origin in (ANY, NO_ORIGIN):
        return origin
    match = _ORIGIN.fullmatch(origin)
    if match is None:
        raise ValueError(
            f"allowed_origins: expected an origin such as 'https://example.org', without a path, "
            f"or '*' or 'null'; got {text!r}."
        )
    # Browsers leave the port out where it is the usual one.
    return origin.removesuffix(_DEFAULT_PORTS.get(match["scheme"], " "))


def _check_host(text: str) -> str:
    match = _HOST.fullmatch(text.lower())
    if match is None or match["port"] is not None:
        raise ValueError(
            f"allowed_hosts: expected a name such as 'play.example.org', without a port; "
            f"got {text!r}."
        )
    return match["name"].rstrip(".")
