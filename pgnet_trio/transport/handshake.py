"""What every WebSocket handshake needs, whichever library does it."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from typing import TYPE_CHECKING

import trio

from pgnet_trio.errors import ProtocolError
from pgnet_trio.transport.proxy_protocol import MAX_HEADER_SIZE, ProxyHeader
from pgnet_trio.transport.rules import CLOSE_TIMEOUT
from pgnet_trio.transport.streams import broken, close_at_once

if TYPE_CHECKING:
    from pgnet_trio.transport.pipes import BytePipe

__all__ = [
    "TOO_EARLY",
    "HeadEnd",
    "accept_tls",
    "make_host_header",
    "open_stream",
    "read_proxy_header",
    "refuse",
]

TOO_EARLY = "something came with the handshake\n"
"""The answer to a client that sends more than its request before it has the answer."""

NO_TLS = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 53\r\n"
    b"Connection: close\r\n\r\nThis server speaks TLS: the address begins https://.\n"
)
"""The answer to a client that speaks HTTP where TLS was expected."""

# h11 finds the end of the headers in the same way.
_BLANK_LINE = re.compile(rb"\n\r?\n")


class HeadEnd:
    """Finds the end of the headers of an HTTP message whose bytes come in pieces."""

    def __init__(self) -> None:
        self._last = b""

    def find(self, data: bytes) -> int | None:
        """Return how many bytes of the next piece belong to the headers.

        None where all of them do, and the headers have not ended yet.
        """
        seen = self._last + data
        blank = _BLANK_LINE.search(seen)
        if blank is None:
            self._last = seen[-2:]
            return None
        return blank.end() - len(self._last)


def make_host_header(host: str, port: int, *, tls: bool) -> str:
    """Return what the header ``Host`` of a request says.

    The zone of a link-local address stays out: it means something on this machine alone.
    """
    name = f"[{_without_zone(host)}]" if ":" in host else host
    return name if port == (443 if tls else 80) else f"{name}:{port}"


def _without_zone(host: str) -> str:
    return host.partition("%")[0]


async def open_stream(host: str, port: int, ssl_context: ssl.SSLContext | None) -> trio.abc.Stream:
    """Connect by TCP, and speak TLS over it where a context is given.

    Raises:
        OSError: The host could not be reached.
    """
    stream = await trio.open_tcp_stream(host, port)
    if ssl_context is None:
        return stream
    try:
        name = _without_zone(host)
        return trio.SSLStream(stream, ssl_context, server_hostname=name, https_compatible=True)
    except BaseException:
        await close_at_once(stream)
        raise


async def accept_tls(source: socket.socket, context: ssl.SSLContext) -> trio.abc.Stream:
    """Shake hands as the server of a TLS connection.

    Nothing here has a deadline: use a cancel scope.

    Args:
        source: An accepted connection, which this owns. It is closed where there is no handshake.
        context: Has the certificate.

    Returns:
        The connection as a stream.

    Raises:
        trio.BrokenResourceError: The client is gone, or did not agree.
    """
    plain = trio.SocketStream(trio.socket.from_stdlib_socket(source))
    stream = trio.SSLStream(plain, context, server_side=True, https_compatible=True)
    try:
        await stream.do_handshake()
    except trio.BrokenResourceError as error:
        if getattr(error.__cause__, "reason", None) == "HTTP_REQUEST":
            # What a browser sends for an address without https://.
            with trio.move_on_after(CLOSE_TIMEOUT), contextlib.suppress(trio.BrokenResourceError):
                await plain.send_all(NO_TLS)
        await close_at_once(plain)
        raise broken(error) from error
    except BaseException:
        await close_at_once(plain)
        raise
    return stream


async def read_proxy_header(source: socket.socket) -> str | None:
    """Read the header of the PROXY protocol, and nothing that follows it.

    Nothing here has a deadline: use a cancel scope. The socket stays open whatever happens.

    Args:
        source: A socket that nobody else reads. It is set not to block.

    Returns:
        The address that the connection comes from; None where the proxy names none.

    Raises:
        trio.BrokenResourceError: The proxy is gone, or sent something else.
    """
    header = ProxyHeader()
    end: int | None = None
    source.setblocking(False)
    try:
        while end is None:
            await trio.lowlevel.wait_readable(source)
            try:
                # Look first: what follows the header belongs to the handshake.
                data = source.recv(MAX_HEADER_SIZE, socket.MSG_PEEK)
            except BlockingIOError:
                continue
            if not data:
                raise trio.BrokenResourceError("the peer was gone before its PROXY header")
            end = header.receive(data)
            source.recv(len(data) if end is None else end)
    except (ProtocolError, OSError) as error:
        raise trio.BrokenResourceError(str(error)) from error
    return header.source


async def refuse(pipe: BytePipe, answer: bytes) -> None:
    """Send an answer that refuses, and wait a little for the peer to close.

    If something were left to read when the socket is closed, the kernel would reset the
    connection, and the peer would lose the answer.

    Raises:
        trio.BrokenResourceError: The peer is gone.
    """
    with trio.move_on_after(CLOSE_TIMEOUT):
        pipe.write_nowait(answer)
        await pipe.flush()
        pipe.half_close()
        while await pipe.read():
            continue
