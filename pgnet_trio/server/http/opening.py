"""The first request of a connection, which says whether a WebSocket or a page is wanted. Pure."""

from __future__ import annotations

import re

import attrs

from pgnet_trio.server.http.head import RequestHead
from pgnet_trio.transport.upgrade import Upgrade

__all__ = ["Opening", "names_a_proxy"]

# X-Forwarded-For, -Host, -Proto and so on, RFC 7239, nginx's own, RFC 9110's, Cloudflare's.
_NAMES = rb"x-forwarded[^:]*|forwarded|x-real-ip|via|cf-connecting-ip|true-client-ip|x-client-ip"
_NAME = re.compile(_NAMES, re.IGNORECASE)
_FORWARDING = re.compile(rb"^(%b)[ \t]*:" % _NAMES, re.IGNORECASE | re.MULTILINE)


def names_a_proxy(header: bytes) -> bool:
    """Return whether a header of this name says that somebody passes the request on."""
    return _NAME.fullmatch(header) is not None


@attrs.frozen
class Opening:
    """A request that is the first one of its connection, or comes behind one for a page.

    Attributes:
        data: All that has come of it, for a WebSocket library.
        upgrade: The request, where it is the usual one for a WebSocket.
        head: The request, where it is any other.
        rest: What has come behind that.
    """

    data: bytes
    upgrade: Upgrade | None = None
    head: RequestHead | None = None
    rest: bytes = b""

    @property
    def asks_for_websocket(self) -> bool:
        """Whether this is for a WebSocket library to accept, or to refuse with its reason."""
        return self.head is None or self.head.asks_for_websocket

    @property
    def path(self) -> str:
        """The path that is asked for, as it came, without what follows a question mark."""
        target = self.data.split(b" ", 2)[1].decode() if self.head is None else self.head.target
        return target.partition("?")[0]

    @property
    def host(self) -> str | None:
        """The host and port that the client asks; None where it does not say."""
        return self._request.host

    @property
    def origin(self) -> str | None:
        """The origin of the page that asks; None where no page does."""
        return self._request.origin

    @property
    def forwarded_for(self) -> list[str]:
        """The lines of ``X-Forwarded-For``."""
        return self._request.forwarded_for

    @property
    def is_forwarded(self) -> bool:
        """Whether a header says that somebody passes it on, in whatever words."""
        return _FORWARDING.search(self.data) is not None

    @property
    def _request(self) -> Upgrade | RequestHead:
        request = self.upgrade or self.head
        assert request is not None
        return request
