"""What tests of the monitor need: a server that has one, and a client that asks it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from pgnet_trio import Monitor
from pgnet_trio.testing import HostedServer, hosting
from tests.kit.hosting import Recorder
from tests.kit.http_client import HttpClient, Reply

if TYPE_CHECKING:
    from pgnet_trio import Game, Server

READ, WRITE = "a-token-for-looking", "a-token-for-doing"


@asynccontextmanager
async def monitored(
    game: type[Game] = Recorder, *, monitor: Monitor | None = None, **options: Any
) -> AsyncIterator[HostedServer]:
    """Host a game with a monitor that takes the two tokens."""
    monitor = monitor or Monitor("127.0.0.1:0", token=READ, write_token=WRITE)
    async with hosting(game, monitor=monitor, **options) as server:
        yield server


@asynccontextmanager
async def looking(server: Server) -> AsyncIterator[HttpClient]:
    async with await trio.open_tcp_stream("127.0.0.1", server.monitor_port or 0) as stream:
        yield HttpClient(stream)


async def look(
    server: Server,
    path: str,
    *headers: str,
    token: str = "",
    method: str = "GET",
    body: str = "",
) -> Reply:
    """Ask a monitor for something over a connection of its own."""
    lines = list(headers)
    if token:
        lines.append(f"Authorization: Bearer {token}")
    if body:
        lines.append(f"Content-Length: {len(body)}")
    async with looking(server) as client:
        return await client.ask(path, *lines, method=method, body=body)


def samples(text: bytes) -> dict[str, float]:
    """Return the values of metrics by what they are called, with their labels."""
    lines = [line for line in text.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


async def scrape(server: Server) -> dict[str, float]:
    """Return what Prometheus would read now."""
    reply = await look(server, "/metrics", token=READ)
    assert reply.status == 200, reply.body
    return samples(reply.body)
