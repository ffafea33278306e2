"""The head of an HTTP request, read by h11: what is asked for, and of whom.

Pure. The usual request for a WebSocket never comes here: `pgnet_trio.transport.upgrade` reads it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import attrs

from pgnet_trio.errors import PGNetError
from pgnet_trio.foreign_text import one_line
from pgnet_trio.transport.upgrade import FORWARDED_FOR

if TYPE_CHECKING:
    import h11

__all__ = ["MAX_HEAD_SIZE", "BadRequest", "HeadReader", "RequestHead"]

MAX_HEAD_SIZE = 16 * 1024
"""Bytes of a request's head; the same as of a WebSocket handshake's."""

# As proxies are asked; servers have to understand it too (RFC 9112, section 3.2.2).
_ADDRESS = re.compile(r"https?://(?P<host>[^/?#]+)(?P<path>/.*)?", re.IGNORECASE)
_CONTROL = re.compile(r"[\0-\x1f\x7f]")


MAX_PIECES = 64
"""Reads until a head has to be whole: each costs as much as a short request. The longest head takes
half as many of the smallest packets of a network."""


class BadRequest(PGNetError):
    """A request that is answered with an error.

    Args:
        status: The HTTP status.
        text: What is wrong, for whoever reads the answer.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@attrs.frozen(kw_only=True)
class RequestHead:
    """The head of a request.

    Attributes:
        method: The method, as it came.
        target: What is asked for, as it came.
        is_old: Whether the client speaks HTTP/1.0, which keeps no connection.
        headers: The values by the name in small letters. Of several lines, commas are between.
        forwarded_for: The lines of ``X-Forwarded-For``.
    """

    method: str
    target: str
    is_old: bool
    headers: Mapping[str, str]
    forwarded_for: list[str]

    @property
    def asks_for_websocket(self) -> bool:
        """Whether this is for a WebSocket library to accept, or to refuse with its reason."""
        return "websocket" in self._tokens("upgrade")

    @property
    def has_body(self) -> bool:
        """Whether something comes behind the head."""
        return "transfer-encoding" in self.headers or (
            self.headers.get("content-length", "0").strip("0") != ""
        )

    @property
    def keeps_alive(self) -> bool:
        """Whether the client may send another request over the same connection."""
        return not (self.is_old or self.has_body or "close" in self._tokens("connection"))

    @property
    def origin(self) -> str | None:
        """The origin of the page that makes the request; None where no page does."""
        return self.headers.get("origin")

    @property
    def host(self) -> str | None:
        """The host and port that the client asks; None where it does not say, as with HTTP/1.0."""
        parts = _split(self.target)
        return self.headers.get("host") if parts is None else parts[0]

    def takes_gzip(self) -> bool:
        """Return whether the client takes an answer that is compressed with gzip."""
        for part in self.headers.get("accept-encoding", "").lower().split(","):
            coding, _, weight = part.partition(";")
            if coding.strip() in {"gzip", "x-gzip"}:
                return not re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", weight)
        return False

    def path(self) -> str:
        """Return the path that is asked for, decoded, without what follows a question mark.

        Raises:
            BadRequest: The target is no path, or not one that a browser would ask for.
        """
        parts = _split(self.target)
        path, _, _ = (self.target if parts is None else parts[1]).partition("?")
        if not path.startswith("/"):
            raise BadRequest(400, "expected a path that begins with /")
        try:
            decoded = unquote_to_bytes(path).decode()
        except UnicodeDecodeError:
            raise BadRequest(400, "expected a path in UTF-8") from None
        if "#" in path or _CONTROL.search(decoded):
            raise BadRequest(400, "expected a path without a fragment or control characters")
        return decoded

    def _tokens(self, name: str) -> set[str]:
        return {token.strip() for token in self.headers.get(name, "").lower().split(",")}


class HeadReader:
    """Reads one head, whose bytes come in pieces.

    Attributes:
        data: All that has come.
        rest: What has come behind the head, once `take` has returned it.
    """

    def __init__(self) -> None:
        # Here, since programs that only play need no reader of requests.
        import h11

        self.data = b""
        self.rest = b""
        self._pieces = 0
        self._reader = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_SIZE)

    def receive(self, data: bytes) -> None:
        """Take the next bytes, of which there are some."""
        self.data += data
        self._pieces += 1
        self._reader.receive_data(data)

    def take(self) -> RequestHead | None:
        """Return the head once it is whole.

        Raises:
            BadRequest: This is no request, or its head is too long.
        """
        import h11

        try:
            event = self._reader.next_event()
        except h11.RemoteProtocolError as error:
            raise BadRequest(error.error_status_hint, one_line(error)) from None
        self.rest, _ = self._reader.trailing_data
        is_whole = isinstance(event, h11.Request)
        if len(self.data) - (len(self.rest) if is_whole else 0) > MAX_HEAD_SIZE:
            raise BadRequest(431, f"more than {MAX_HEAD_SIZE} bytes of headers")
        if not is_whole and self._pieces >= MAX_PIECES:
            raise BadRequest(400, f"a head in more than {MAX_PIECES} pieces")
        return _head(event) if isinstance(event, h11.Request) else None


def _split(target: str) -> tuple[str, str] | None:
    """Return the host and the path of a target that is a whole address; None where it is none."""
    match = _ADDRESS.fullmatch(target)
    return None if match is None else (match["host"], match["path"] or "/")


def _head(request: h11.Request) -> RequestHead:
    version = request.http_version.decode()
    if version not in ("1.0", "1.1"):
        raise BadRequest(505, "expected HTTP/1.1")
    headers: dict[str, str] = {}
    forwarded_for = []
    for raw_name, raw_value in request.headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
        if name == FORWARDED_FOR:
            forwarded_for.append(value)
    return RequestHead(
        method=request.method.decode("latin-1"),
        target=request.target.decode("latin-1"),
        is_old=version == "1.0",
        headers=headers,
        forwarded_for=forwarded_for,
    )
