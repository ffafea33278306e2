"""The servers that are compared, each in a process of its own.

`python -m tests.benchmarks.servers NAME` prints its port and serves until it is terminated.
"""

from __future__ import annotations

import argparse
import resource
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

__all__ = ["SERVERS", "UNACKNOWLEDGED"]


def announce(port: int) -> None:
    """Tell the parent process where this server listens."""
    print(port, flush=True)


def serve_tcp_echo() -> None:
    import trio

    async def echo(stream: trio.SocketStream) -> None:
        try:
            while data := await stream.receive_some(65536):
                await stream.send_all(data)
        except trio.BrokenResourceError:
            pass

    async def serve() -> None:
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, echo, 0, host="127.0.0.1"))
            announce(listeners[0].socket.getsockname()[1])

    trio.run(serve)


def serve_trio_websocket_echo() -> None:
    import trio
    from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket

    async def echo(request: WebSocketRequest) -> None:
        connection = await request.accept()
        try:
            while True:
                await connection.send_message(await connection.get_message())
        except ConnectionClosed:
            pass

    async def serve() -> None:
        async with trio.open_nursery() as nursery:
            server = await nursery.start(serve_websocket, echo, "127.0.0.1", 0, None)
            announce(server.port)

    trio.run(serve)


def serve_transport_echo(transport: str) -> None:
    """Our transport alone: what of a request's price is WebSocket."""
    import trio

    from pgnet_trio.transport import choose
    from tests.kit.transports import accept

    implementation = choose(transport)

    async def echo(stream: trio.SocketStream) -> None:
        async with accept(implementation, stream) as link:
            try:
                while True:
                    await link.send(await link.receive())
            except (trio.EndOfChannel, trio.BrokenResourceError):
                pass

    async def serve() -> None:
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, echo, 0, host="127.0.0.1"))
            announce(listeners[0].socket.getsockname()[1])

    trio.run(serve)


def serve_socketio() -> None:
    import asyncio

    import socketio
    import uvicorn

    server = socketio.AsyncServer(async_mode="asgi")

    @server.on("echo")  # type: ignore[untyped-decorator, unused-ignore]  # it has no types
    async def echo(_session: str, data: Any) -> Any:
        return data

    listener = socket.create_server(("127.0.0.1", 0))
    configuration = uvicorn.Config(
        socketio.ASGIApp(server), log_level="warning", access_log=False, lifespan="off"
    )
    announce(listener.getsockname()[1])
    asyncio.run(uvicorn.Server(configuration).serve(sockets=[listener]))


def serve_pgnet(game: str, transport: str, **options: Any) -> None:
    import trio

    from tests.benchmarks.pgnet import GAMES, open_server

    server = open_server(GAMES[game], transport=transport, **options)

    async def serve() -> None:
        async with trio.open_nursery() as nursery:
            announce(await nursery.start(server.serve))

    trio.run(serve)


def serve_site(transport: str) -> None:
    """A game that has a page."""
    import tempfile
    from pathlib import Path

    from pgnet_trio import Site
    from tests.benchmarks.pages import FILE, SIZE

    with tempfile.TemporaryDirectory() as folder:
        line = "export const answer = 42;\n"
        Path(folder, FILE).write_text((line * SIZE)[:SIZE], "utf-8")
        serve_pgnet("jobs", transport, site=Site(folder), max_http_connections=None)


def serve_monitored(transport: str) -> None:
    """A server that counts what whoever runs it may want to know, and whom nobody asks yet."""
    from pgnet_trio import Monitor

    serve_pgnet("jobs", transport, monitor=Monitor("127.0.0.1:0"))


def serve_recorded(transport: str) -> None:
    """A server that records its tables."""
    import tempfile
    from pathlib import Path

    from pgnet_trio import Recording

    with tempfile.TemporaryDirectory() as folder:
        # No hash seed: what the sets of this game hold is nobody's concern.
        serve_pgnet("jobs", transport, record=Recording(Path(folder)))


def serve_as_command(game: str, transport: str) -> None:
    """As `pgnet-trio serve` has its process set up."""
    from pgnet_trio.cli.process import rare_full_collections

    with rare_full_collections():
        serve_pgnet(game, transport)


# What a server keeps for a client by default.
UNACKNOWLEDGED = {
    "max_unacknowledged_messages": 4096,
    "max_unacknowledged_bytes": 1024 * 1024,
}


def serve_without_rules() -> None:
    from tests.benchmarks.floor import serve_floor

    serve_floor(announce)


SERVERS: dict[str, Callable[[], None]] = {
    "tcp": serve_tcp_echo,
    "floor": serve_without_rules,
    "trio-websocket": serve_trio_websocket_echo,
    "transport-websockets": lambda: serve_transport_echo("websockets"),
    "transport-trio-websocket": lambda: serve_transport_echo("trio-websocket"),
    "socketio": serve_socketio,
    **{
        f"{game}-{transport}": partial(serve_pgnet, game, transport)
        for game in ("pgnet", "jobs", "arena", "inputs", "patient", "table")
        for transport in ("websockets", "trio-websocket")
    },
    **{
        f"command-{transport}": partial(serve_as_command, "table", transport)
        for transport in ("websockets", "trio-websocket")
    },
    **{
        f"site-{transport}": partial(serve_site, transport)
        for transport in ("websockets", "trio-websocket")
    },
    **{
        f"monitored-{transport}": partial(serve_monitored, transport)
        for transport in ("websockets", "trio-websocket")
    },
    **{
        f"recorded-{transport}": partial(serve_recorded, transport)
        for transport in ("websockets", "trio-websocket")
    },
    **{
        f"limited-{transport}": partial(serve_pgnet, "jobs", transport, **UNACKNOWLEDGED)
        for transport in ("websockets", "trio-websocket")
    },
}


def main() -> None:
    """Serve what is named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.servers")
    parser.add_argument("name", choices=SERVERS)
    arguments = parser.parse_args()
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    SERVERS[arguments.name]()


if __name__ == "__main__":
    main()
