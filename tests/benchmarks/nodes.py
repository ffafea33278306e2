"""What players wait for when one of three servers of a cluster ends, or dies: real processes."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from pgnet_trio import Client, Cluster, Game, Packet, Response, Server, SessionLost
from tests.benchmarks.load import percentile
from tests.benchmarks.processes import ROOT, on_all_cores
from tests.benchmarks.report import Report, Verdict
from tests.cluster import postgres

__all__ = ["cluster_death", "cluster_drain", "engine_names", "running_nodes"]

NODES = 3
LEASE = 4.0
THINK = 0.05
LONGEST_RETURN = 30.0
LOGGING_IN_AT_ONCE = 2
AUTOSAVE_INTERVAL = 2.0
ADMIN_PASSWORD = "password of the benchmark"


class Counter(Game):
    """Counts, is saved, and says in which process it is."""

    persistent = True

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.count = int(save_string or 0)

    def get_save_string(self) -> str:
        return str(self.count)

    def handle_game_packet(self, packet: Packet) -> Response:
        if packet.message == "end":
            self.room.close("The game is over.")
        self.count += 1
        return Response(str(os.getpid()))


def serve(engine: str, port: int, key_file: str, autosave_interval: float) -> None:
    """Be one of the servers, until it is told to end."""
    server = Server(
        Counter,
        port=port,
        listen_globally=False,
        cluster=Cluster(engine, node_address=f"127.0.0.1:{port}", lease=LEASE),
        key_file=key_file,
        require_user_password=False,
        minimum_protocol=2,
        autosave_interval=autosave_interval,
        admin_password=ADMIN_PASSWORD,
        max_connections_per_address=None,
        max_logins_per_address=None,
        registrations_per_address=None,
        max_games_per_user=None,
        requests_per_second=None,
    )

    async def main() -> None:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(end_at, signals)
                async with trio.open_nursery() as serving:
                    await serving.start(server.serve)
                    print("ready", flush=True)
                nursery.cancel_scope.cancel()

    async def end_at(signals: AsyncIterator[int]) -> None:
        async for _ in signals:
            server.shutdown(restarting=True)

    trio.run(main)


@attrs.define
class Nodes:
    """The servers that run.

    Attributes:
        engine: What they share.
        processes: They themselves, by their ports.
    """

    engine: str
    processes: dict[int, subprocess.Popen[str]]

    @property
    def address(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in self.processes)


@contextlib.contextmanager
def engines(name: str) -> Iterator[str]:
    """Yield where the servers meet: in a file, or in a PostgreSQL."""
    with contextlib.ExitStack() as stack:
        if name == "sqlite":
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            yield f"sqlite:{folder}/save.sqlite"
        else:
            data = stack.enter_context(postgres.new_data())
            server = stack.enter_context(postgres.new_server(data))
            yield f"postgresql://postgres@/postgres?host={server.folder}"


@contextlib.contextmanager
def free_port() -> Iterator[int]:
    """Yield a port that nobody else is given; whoever asks for this very one may listen on it."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@contextlib.contextmanager
def running_nodes(engine: str, *, autosave_interval: float = AUTOSAVE_INTERVAL) -> Iterator[Nodes]:
    """Run the servers around the block."""
    with engines(engine) as place, on_all_cores(), contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        nodes = Nodes(place, {})
        for _ in range(NODES):
            port = stack.enter_context(free_port())
            command = [sys.executable, "-m", "tests.benchmarks.nodes", place, str(port)]
            process = stack.enter_context(
                subprocess.Popen(
                    [*command, str(Path(folder) / "key"), str(autosave_interval)],
                    cwd=ROOT,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.kill)
            assert process.stdout is not None
            if not process.stdout.readline():
                raise RuntimeError("a server of the cluster did not start")
            nodes.processes[port] = process
        yield nodes


@asynccontextmanager
async def playing(address: str, players: int, rooms: int) -> AsyncIterator[list[Client]]:
    """Log players in, and have them in rooms; the first of each room first."""
    limit = trio.CapacityLimiter(LOGGING_IN_AT_ONCE)
    clients = [
        Client.remote(address=address, username=f"user{number}", reconnect_for=LONGEST_RETURN)
        for number in range(players)
    ]
    done = trio.Event()

    async def play(number: int, *, task_status: trio.TaskStatus[None]) -> None:
        async with clients[number] as client:
            await client.join_game(f"table {number % rooms}")
            task_status.started()
            await done.wait()

    async def start(nursery: trio.Nursery, number: int) -> None:
        async with limit:
            await nursery.start(play, number)

    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as starting:
            for number in range(players):
                starting.start_soon(start, nursery, number)
        yield clients
        done.set()


async def longest_answer(client: Client, until: trio.Event) -> float:
    """Return how long a player waited for an answer at most."""
    longest = 0.0
    while not until.is_set():
        started = time.perf_counter()
        await client.request(Packet("count"))
        longest = max(longest, time.perf_counter() - started)
        await trio.sleep(THINK)
    return longest


async def _drain(engine: str, players: int, rooms: int) -> list[float]:
    pauses: list[float] = []
    with running_nodes(engine) as nodes:
        port = next(iter(nodes.processes))
        async with playing(f"127.0.0.1:{port}", players, rooms) as clients:
            ended = trio.Event()

            async def measure(client: Client) -> None:
                pauses.append(await longest_answer(client, ended))

            with no_collections():
                async with trio.open_nursery() as nursery:
                    # One of each room; the others are there, and have to come along.
                    for client in clients[:rooms]:
                        nursery.start_soon(measure, client)
                    await trio.sleep(1)
                    process = nodes.processes[port]
                    process.send_signal(signal.SIGTERM)
                    await trio.to_thread.run_sync(process.wait)
                    ended.set()
    return sorted(pauses)


@contextlib.contextmanager
def no_collections() -> Iterator[None]:
    """Collect no garbage in this process around the block.

    All players are in it: each collection would halt a thousand of them at once, for longer than
    what is measured. Theirs would be machines of their own.
    """
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def _death(engine: str, players: int, rooms: int) -> list[float]:
    waits: list[float] = []
    with running_nodes(engine) as nodes:
        async with playing(nodes.address, players, rooms) as clients:
            await trio.sleep(2 * LEASE)
            where = [int((await client.request(Packet("count"))).message) for client in clients]
            os.kill(where[0], signal.SIGKILL)
            died = time.perf_counter()

            async def come_back(client: Client) -> None:
                while True:
                    try:
                        await client.request(Packet("count"))
                    except SessionLost:
                        while client.game is None:  # noqa: ASYNC110 - as a program would
                            await trio.sleep(0.01)
                    else:
                        waits.append(time.perf_counter() - died)
                        return

            async with trio.open_nursery() as nursery:
                for client, process in zip(clients, where, strict=True):
                    if process == where[0]:
                        nursery.start_soon(come_back, client)
    return sorted(waits)


def engine_names() -> list[str]:
    return ["sqlite", *([] if postgres.missing() else ["postgresql"])]


def _on_each_engine(
    measure: Callable[[str, int, int], Awaitable[list[float]]],
    players: int,
    rooms: int,
    progress: Callable[[str], None],
) -> dict[str, list[float]]:
    found = {}
    for engine in engine_names():
        progress(f"{players} players in {rooms} games, {engine}")
        found[engine] = trio.run(measure, engine, players, rooms)
    return found


def cluster_drain(*, players: int, rooms: int, progress: Callable[[str], None]) -> Report:
    """Measure for how long players wait while their server gives its games away.

    Args:
        players: How many are at the server that ends.
        rooms: In how many games.
        progress: Called with a line of text before each measurement.
    """
    found = _on_each_engine(_drain, players, rooms, progress)
    return Report(
        title="A server that ends gives its games away",
        command=f"python -m tests.benchmarks cluster-drain --players {players} --rooms {rooms}",
        head=["engine", "p50, ms", "p99, ms", "longest, ms"],
        rows=[
            [engine, *(f"{1000 * figure:.0f}" for figure in _figures(times))]
            for engine, times in found.items()
        ],
        notes=[
            "The longest wait for an answer, of one player of each game who asks all the time. All "
            "players are in one process, which collects no garbage meanwhile."
        ],
        measured=found,
        verdicts=[
            verdict
            for engine, times in found.items()
            for verdict in (
                Verdict(f"pause, {engine}, p50", 80, 1000 * _figures(times)[0], "ms"),
                Verdict(f"pause, {engine}, p99", 250, 1000 * _figures(times)[1], "ms"),
            )
        ],
    )


def cluster_death(*, players: int, rooms: int, progress: Callable[[str], None]) -> Report:
    """Measure for how long players wait whose server was killed.

    Args:
        players: How many are at the server that dies.
        rooms: In how many games.
        progress: Called with a line of text before each measurement.
    """
    found = _on_each_engine(_death, players, rooms, progress)
    return Report(
        title="A server is killed",
        command=f"python -m tests.benchmarks cluster-death --players {players} --rooms {rooms}",
        head=["engine", "first, s", "p50, s", "last, s"],
        rows=[
            [engine, f"{times[0]:.2f}", f"{statistics.median(times):.2f}", f"{times[-1]:.2f}"]
            for engine, times in found.items()
        ],
        notes=[f"The lease is {LEASE:g} s."],
        measured=found,
        verdicts=[
            Verdict(f"first answer elsewhere, {engine}", LEASE + 1, times[0], "s")
            for engine, times in found.items()
        ],
    )


def _figures(times: list[float]) -> tuple[float, float, float]:
    return statistics.median(times), percentile(times, 99), times[-1]


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4]))
