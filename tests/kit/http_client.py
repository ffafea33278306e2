"""A client of HTTP for tests, which sends whatever it is given."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import trio

if TYPE_CHECKING:
    from pgnet_trio import Server


@attrs.frozen
class Reply:
    """What an HTTP server has answered."""

    status: int
    headers: dict[str, str]
    body: bytes


DEADLINE = 30.0
"""Seconds for anything that the server does; much more than it takes on a busy machine."""


class HttpClient:
    """One connection that asks for pages; it follows no rule by itself."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._came = bytearray()

    async def ask(self, path: str, *headers: str, method: str = "GET", body: str = "") -> Reply:
        lines = [f"{method} {path} HTTP/1.1", *headers]
        if not any(line.startswith("Host:") for line in headers):
            lines.insert(1, "Host: localhost")
        await self.stream.send_all("\r\n".join([*lines, "", body]).encode("latin-1"))
        return await self.read(has_body=method != "HEAD")

    async def try_to_send(self, data: bytes) -> None:
        """Send this to a server that may have had enough already."""
        with contextlib.suppress(trio.BrokenResourceError):
            await self.stream.send_all(data)

    async def read(self, *, has_body: bool = True) -> Reply:
        with trio.fail_after(DEADLINE):
            while b"\r\n\r\n" not in self._came:
                self._came += await self._more()
            head, _, self._came = self._came.partition(b"\r\n\r\n")
            line, *fields = head.decode("latin-1").split("\r\n")
            headers = dict(field.split(": ", 1) for field in fields)
            lengths = [value for name, value in headers.items() if name.lower() == "content-length"]
            size = int(lengths[0]) if has_body and lengths else 0
            while len(self._came) < size:
                self._came += await self._more()
        body, self._came = bytes(self._came[:size]), self._came[size:]
        return Reply(int(line.split()[1]), headers, body)

    async def is_closed(self) -> bool:
        """Wait until the server closes the connection; return whether nothing came before."""
        with trio.fail_after(DEADLINE):
            try:
                return self._came + await self.stream.receive_some() == b""
            except trio.BrokenResourceError:
                return True

    def reset(self) -> None:
        """End the connection by a TCP reset."""
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.socket.close()

    async def _more(self) -> bytes:
        data = await self.stream.receive_some()
        if not data:
            raise EOFError(f"the server closed after {bytes(self._came)!r}")
        return bytes(data)


@asynccontextmanager
async def browsing(server: Server) -> AsyncIterator[HttpClient]:
    async with await trio.open_tcp_stream("127.0.0.1", server.port or 0) as stream:
        yield HttpClient(stream)


async def ask(server: Server, path: str, *headers: str, method: str = "GET") -> Reply:
    async with browsing(server) as browser:
        return await browser.ask(path, *headers, method=method)
