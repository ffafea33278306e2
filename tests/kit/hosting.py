"""What tests of servers need besides `pgnet_trio.testing`: a game, faults on purpose, sockets."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs

from pgnet_trio import Client, Game, Packet, Response, Server, on
from pgnet_trio.client.address import parse_address
from pgnet_trio.client.connector import Connector, RemoteConnector
from pgnet_trio.crypto import PasswordHasher
from pgnet_trio.protocol.v2 import SUBPROTOCOLS
from pgnet_trio.testing import HostedServer, SimulatedNetwork
from pgnet_trio.transport import choose

if TYPE_CHECKING:
    from pgnet_trio.environment import Environment
    from pgnet_trio.transport import Transport


def cheap_environment() -> Environment:
    """Return an environment for servers that the kit does not make: as cheap, with random keys."""
    return attrs.evolve(SimulatedNetwork().environment("tests"), random_bytes=os.urandom)


SLOWER_HASHER = PasswordHasher(opslimit=1, memlimit=128 * 1024)
"""For hashes that go through `Environment.run_blocking`, and still take next to no time."""


class CountingHasher(PasswordHasher):
    """Counts the passwords that it checks; as cheap as that of `cheap_environment`."""

    def __init__(self) -> None:
        super().__init__(opslimit=1, memlimit=8192)
        self.verified = 0

    def verify(self, password: str, salt: str, record: str) -> bool:
        self.verified += 1
        return super().verify(password, salt, record)


@attrs.frozen
class Raise:
    """Makes a game raise in a handler, which ends it."""


class Recorder(Game):
    """Answers with what it got, and notes every hook call; some messages make it misbehave."""

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
            case "cannot travel":
                return Response("look", {"what": object()})
        return Response(f"{packet.username}: {packet.message}", packet.payload, status=7)

    @on(Raise)
    def fail(self, player: str, message: Raise) -> None:
        raise ValueError("a fault of this game")


@asynccontextmanager
async def hosting_faults(
    game: Callable[..., Game], /, *errors: type[BaseException], **options: Any
) -> AsyncIterator[HostedServer]:
    """Run a server around a block in which games and hooks may raise these errors; any, if none."""
    server = HostedServer(game, **options)
    with server.expecting(*errors):
        async with server.running():
            yield server


def without_error_id(text: str) -> str:
    """Return what a player or the log is told of an error, without its id and whose it was."""
    return re.sub(", as error [0-9A-F]{6}-[0-9A-F]{6}(, over what .*? sent)?", "", text)


def crashed(name: str) -> str:
    """What is said of a game that raised, without that id."""
    return f"The game {name!r} crashed; the server's log says why."


def in_the_clear() -> SimulatedNetwork:
    """Return a network without encryption, like `Client.local`: the admin needs no password."""
    return SimulatedNetwork(encrypted=False)


class ForwardingConnector(Connector):
    """A user's way to a server under test, for subclasses that add something to each connection."""

    def __init__(self, server: HostedServer, username: str) -> None:
        self._inner = server.network.connector(server, username)
        self.encrypted = self._inner.encrypted

    def __str__(self) -> str:
        return str(self._inner)

    def connect(self, max_message_size: int | None) -> AbstractAsyncContextManager[Transport]:
        return self._connect(max_message_size)

    @asynccontextmanager
    async def _connect(self, max_message_size: int | None) -> AsyncIterator[Transport]:
        async with self._inner.connect(max_message_size) as transport:
            yield transport


def socket_client(
    server: Server, username: str, password: str = "", *, protocol: int = 2, **options: Any
) -> Client:
    """Return a client that connects to a running server's port over a real socket."""
    assert server.port is not None
    offered = SUBPROTOCOLS if protocol == 2 else ()
    address = parse_address("127.0.0.1", server.port)
    connector = RemoteConnector(address, choose(None), offered)
    return Client(connector, username=username, password=password, **options)
