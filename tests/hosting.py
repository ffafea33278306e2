"""A server for tests: everything cheap and in the loop, so that virtual time holds."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from pgnet_trio import Client, Game, Packet, Response, Server
from pgnet_trio.client.address import parse_address
from pgnet_trio.client.connector import Connector, RemoteConnector
from pgnet_trio.crypto import PasswordHasher
from pgnet_trio.environment import Environment
from pgnet_trio.protocol.v2 import SUBPROTOCOL
from pgnet_trio.transport import choose

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pgnet_trio.transport import Transport


async def run_in_loop(function: Callable[..., Any], *args: Any, abandon_on_cancel: bool) -> Any:
    """Run a blocking function here and now: a thread would let virtual time run on."""
    await trio.lowlevel.checkpoint()
    return function(*args)


def cheap_environment() -> Environment:
    return Environment(
        password_hasher=PasswordHasher(opslimit=1, memlimit=8192), run_blocking=run_in_loop
    )


class Recorder(Game):
    """Answers with what it got, and notes every hook; some messages make it misbehave."""

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.name = name
        self.calls = [f"loaded {save_string}"] if save_string else []

    def user_joined(self, username: str, /) -> None:
        self.calls.append(f"{username} joined")

    def user_left(self, username: str, /) -> None:
        self.calls.append(f"{username} left")

    def handle_game_packet(self, packet: Packet, /) -> Response:
        match packet.message:
            case "calls":
                return Response("calls", {"calls": self.calls})
            case "out":
                return Response("bye", disconnecting=True)
            case "raise":
                raise ValueError("a fault of this game")
            case "nothing":
                return None  # type: ignore[return-value]  # the fault that is tested
            case "cannot travel":
                return Response("look", {"what": object()})
        return Response(f"{packet.username}: {packet.message}", packet.payload, status=7)


class InMemory(Connector):
    """The way to a server in this process that runs by itself."""

    encrypted = False

    def __init__(self, server: Server, protocol: int = 2) -> None:
        self._server = server
        self._protocol = protocol

    def __str__(self) -> str:
        return "memory"

    def connect(self, max_message_size: int | None) -> AbstractAsyncContextManager[Transport]:
        return self._connect(max_message_size)

    @asynccontextmanager
    async def _connect(self, max_message_size: int | None) -> AsyncIterator[Transport]:
        transport = self._server.connect_in_memory(protocol=self._protocol)
        transport.max_message_size = max_message_size
        try:
            yield transport
        finally:
            await transport.aclose()


def make_server(game: Callable[..., Game] = Recorder, **options: Any) -> Server:
    return Server(game, **{"port": None, "environment": cheap_environment(), **options})


@asynccontextmanager
async def hosting(game: Callable[..., Game] = Recorder, **options: Any) -> AsyncIterator[Server]:
    """Run a server around the block; without a port unless one is asked for."""
    server = make_server(game, **options)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve)
        yield server
        server.shutdown()


def player(
    server: Server, username: str, password: str = "", *, protocol: int = 2, **options: Any
) -> Client:
    """Make a client for a running server: over memory, or over its port where it has one."""
    connector: Connector = InMemory(server, protocol)
    if server.port is not None:
        offered = (SUBPROTOCOL,) if protocol == 2 else ()
        address = parse_address("127.0.0.1", server.port)
        connector = RemoteConnector(address, choose(None), offered)
    return Client(connector, username=username, password=password, **options)
