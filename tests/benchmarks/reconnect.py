"""What connections cost that come, drop and come back."""

from __future__ import annotations

import contextlib
import functools
import math
import secrets
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import trio

from pgnet_trio import Client
from tests.benchmarks.load import percentile
from tests.benchmarks.processes import (
    RunningServer,
    cpu_time,
    missing_package,
    running_server,
)
from tests.benchmarks.report import Report, Verdict
from tests.benchmarks.wire2 import IdlePeer2, Protocol2Peer

__all__ = ["Cost", "clients_back", "handshakes", "mass_return", "reconnect", "resumes"]

# Their own price is in the first connections: what the server imports or makes once.
FIRST_CONNECTIONS = 20

AT_ONCE = 20
ROOM_SIZE = 10
CLIENT_RETURNS = 20
LONGEST_RETURN = 30.0


class Visitor(IdlePeer2):
    """Shakes hands in steps, and goes without having logged in."""

    token = b""

    def log_in(self) -> None:
        self.ask_for_upgrade()


class Returner(Protocol2Peer):
    """A player at a table with others, whose connection drops."""

    @property
    def game(self) -> str:
        return str(self.payload["game"])

    def pipeline(self, in_flight: int) -> None:
        pass

    def come_back(self) -> None:
        """Connect and resume the session, blocking."""
        self.begin_return()
        self.begin_handshake()
        self.begin_resume()
        self.end_resume()


@attrs.frozen
class Cost:
    """CPU time of the server, and time until it was done; for each, in seconds."""

    cpu: float
    elapsed: float


def _cost(server: RunningServer, count: int, action: Callable[[], None]) -> Cost:
    before = cpu_time(server.process)
    started = time.perf_counter()
    for _ in range(count):
        action()
    elapsed = time.perf_counter() - started
    used = cpu_time(server.process) - before
    return Cost((used.user + used.system) / count, elapsed / count)


def handshakes(server: RunningServer, count: int) -> Cost:
    """Connect, shake hands and hang up."""

    def connect_some() -> None:
        # In steps, as in `mass_return`: to wake who sleeps would be much of the server's work.
        visitors = [Visitor(server.port, "visitor") for _ in range(AT_ONCE)]
        for visitor in visitors:
            visitor.begin_handshake()
        for visitor in visitors:
            visitor.end_handshake()
            visitor.close()

    connect_some()
    cost = _cost(server, math.ceil(count / AT_ONCE), connect_some)
    return Cost(cost.cpu / AT_ONCE, cost.elapsed / AT_ONCE)


def resumes(server: RunningServer, count: int) -> Cost:
    """One player alone at a table drops and comes back, again and again."""
    player = Returner(server.port, "returner", {"game": "alone"})

    def drop_and_return() -> None:
        player.drop()
        player.come_back()

    with contextlib.closing(player):
        for _ in range(FIRST_CONNECTIONS):
            drop_and_return()
        return _cost(server, count, drop_and_return)


@contextlib.contextmanager
def _players(server: RunningServer, count: int) -> Iterator[list[Returner]]:
    with contextlib.ExitStack() as stack:
        players = []
        for number in range(count):
            game = f"table{number // ROOM_SIZE}"
            players.append(Returner(server.port, f"p{number}n{count}", {"game": game}))
            stack.callback(players[-1].close)
        yield players


def mass_return(server: RunningServer, count: int) -> Cost:
    """Players drop at once and come back at once; the time is until all are back."""
    with _players(server, count) as players:
        before = cpu_time(server.process)
        started = time.perf_counter()
        for player in players:
            player.drop()
        # In steps: the server has work with some while others wait for it.
        for step in (
            Returner.begin_return,
            Returner.begin_handshake,
            Returner.begin_resume,
            Returner.end_resume,
        ):
            for player in players:
                step(player)
        elapsed = time.perf_counter() - started
        used = cpu_time(server.process) - before
    return Cost((used.user + used.system) / count, elapsed)


async def clients_back(port: int, transport: str, count: int) -> list[float]:
    """Times from a cut to `online` of our own client, which waits a moment before it tries."""
    times: list[float] = []
    back = trio.Event()
    scopes: list[trio.CancelScope] = []

    async def pump(source: trio.SocketStream, sink: trio.SocketStream) -> None:
        async for data in source:
            await sink.send_all(data)

    async def relay(near: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError), trio.CancelScope() as scope:
            scopes.append(scope)
            async with near, await trio.open_tcp_stream("127.0.0.1", port) as far:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(pump, near, far)
                    nursery.start_soon(pump, far, near)

    def online(is_online: bool) -> None:
        if is_online:
            back.set()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(
            functools.partial(trio.serve_tcp, relay, 0, host="127.0.0.1")
        )
        client = Client.remote(
            address="127.0.0.1",
            port=listeners[0].socket.getsockname()[1],
            # An earlier session of the same name may not be over yet.
            username=f"u{secrets.token_hex(8)}",
            password="password",
            transport=transport,
        )
        client.on_online = online
        async with client:
            for _ in range(count):
                # A client whose connection was of no use waits longer before the next one.
                await client.get_game_dir()
                back = trio.Event()
                started = time.perf_counter()
                scopes.pop().cancel()
                with trio.fail_after(LONGEST_RETURN):
                    await back.wait()
                times.append(time.perf_counter() - started)
        nursery.cancel_scope.cancel()
    return sorted(times)


def reconnect(
    *, connections: int, clients: int, rounds: int, progress: Callable[[str], None]
) -> Report:
    """Measure handshakes and returns, with each transport.

    Args:
        connections: How many handshakes, and how many returns of one player.
        clients: How many drop at once.
        rounds: How often each measurement is repeated.
        progress: Called with a line of text before each measurement.
    """
    transports = [
        name
        for name in ("websockets", "trio-websocket")
        if missing_package(f"table-{name}") is None
    ]
    measured: list[dict[str, Any]] = []
    for number in range(rounds):
        for transport in transports if number % 2 == 0 else reversed(transports):
            progress(f"round {number + 1} of {rounds}: {transport}")
            with running_server(f"table-{transport}") as server:
                found: dict[str, Any] = {
                    "handshake": attrs.asdict(handshakes(server, connections)),
                    "resume": attrs.asdict(resumes(server, connections)),
                    "mass": attrs.asdict(mass_return(server, clients)),
                }
                times = trio.run(clients_back, server.port, transport, CLIENT_RETURNS)
            found["client"] = {"p50": percentile(times, 50), "worst": times[-1]}
            measured.append({"transport": transport, **found})

    def median(transport: str, what: str, key: str) -> float:
        values: list[float] = [
            each[what][key] for each in measured if each["transport"] == transport
        ]
        return statistics.median(values) * 1e3

    columns = [
        ("CPU ms a handshake", "handshake", "cpu", 3),
        ("ms each", "handshake", "elapsed", 3),
        ("CPU ms a return", "resume", "cpu", 3),
        ("ms until it is done", "resume", "elapsed", 3),
        ("p50 ms until our client is back", "client", "p50", 0),
        ("worst", "client", "worst", 0),
        (f"CPU ms each, {clients} at once", "mass", "cpu", 3),
        ("ms until all are back", "mass", "elapsed", 0),
    ]
    return Report(
        title="Connections that come, drop and come back",
        command=f"python -m tests.benchmarks reconnect --connections {connections} "
        f"--clients {clients} --rounds {rounds}",
        head=["transport", *(head for head, *_ in columns)],
        rows=[
            [name, *(f"{median(name, what, key):,.{digits}f}" for _, what, key, digits in columns)]
            for name in transports
        ],
        notes=[
            "A handshake is TCP, WebSocket and Noise without a log-in, and hanging up, "
            f"{AT_ONCE} at once; a return is a lean client's whose connection dropped, until the "
            "server says that its session goes on. Our own client waits for a random part of 100 "
            f"ms before it tries. Those who drop at once are {ROOM_SIZE} in a room, where all are "
            "told of all; what the load generator needs for its half of the handshakes is in "
            "their time. CPU is the server's. "
            f"Medians of {rounds} rounds."
        ],
        measured=measured,
        verdicts=[
            Verdict(
                f"a new connection with its handshake, {name}",
                1,
                median(name, "handshake", "cpu"),
                "ms of CPU",
            )
            for name in transports
        ],
    )
