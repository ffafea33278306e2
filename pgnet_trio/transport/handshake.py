"""What every WebSocket handshake needs, whichever library does it."""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING

import trio

from pgnet_trio.transport.pipes import close_at_once
from pgnet_trio.transport.rules import CLOSE_TIMEOUT

if TYPE_CHECKING:
    from pgnet_trio.transport.pipes import BytePipe

__all__ = ["TOO_EARLY", "HeadEnd", "open_stream", "refuse"]

TOO_EARLY = "something came with the handshake\n"
"""The answer to a client that sends more than its request before it has the answer."""

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


async def open_stream(host: str, port: int, ssl_context: ssl.SSLContext | None) -> trio.abc.Stream:
    """Connect by TCP, and speak TLS over it where a context is given.

    Raises:
        OSError: The host could not be reached.
    """
    stream = await trio.open_tcp_stream(host, port)
    if ssl_context is None:
        return stream
    try:
        return trio.SSLStream(stream, ssl_context, server_hostname=host, https_compatible=True)
    except BaseException:
        await close_at_once(stream)
        raise


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
