"""How fast our own client is: over memory, and over loopback."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from pgnet_trio import Client, Packet, Server
from tests.benchmarks.load import percentile
from tests.benchmarks.pgnet import EchoGame
from tests.benchmarks.processes import missing_package, running_server
from tests.benchmarks.report import Report, Verdict
from tests.benchmarks.wire import PAYLOAD

if TYPE_CHECKING:
    from pgnet_trio.transport import Transport

__all__ = ["latency", "local"]

WARM_UP = 0.3


class OlderServer(Server):
    """Speaks protocol 1 over memory."""

    def connect_in_memory(self, *, protocol: int = 1) -> Transport:
        return super().connect_in_memory(protocol=protocol)


# The version of the protocol, and requests in flight.
LOCAL_CASES = [(1, 1), (2, 1), (2, 4), (2, 16)]


async def ask_again_and_again(client: Client, seconds: float, in_flight: int = 1) -> list[float]:
    """Have requests under way for so many seconds; returns how long each took, sorted."""
    await client.create_game("benchmark")
    clock = time.perf_counter
    latencies: list[float] = []
    start = clock()

    async def one_after_another() -> None:
        while (sent_at := clock()) < start + WARM_UP + seconds:
            response = await client.request(Packet("echo", PAYLOAD))
            if sent_at >= start + WARM_UP:
                latencies.append(clock() - sent_at)
        assert response.raise_for_status().payload == PAYLOAD

    async with trio.open_nursery() as nursery:
        for _ in range(in_flight):
            nursery.start_soon(one_after_another)
    return sorted(latencies)


def local(*, seconds: float, rounds: int, progress: Callable[[str], None]) -> Report:
    """Measure requests a second through `Client.local`, each task one after another."""

    async def run(protocol: int, in_flight: int) -> list[float]:
        async with Client.local(
            game=EchoGame,
            username="player",
            server_factory=OlderServer if protocol == 1 else None,
        ) as client:
            assert client.protocol == protocol
            return await ask_again_and_again(client, seconds, in_flight)

    measured: list[dict[str, Any]] = []
    for number in range(rounds):
        for protocol, in_flight in LOCAL_CASES if number % 2 == 0 else reversed(LOCAL_CASES):
            progress(f"round {number + 1} of {rounds}: protocol {protocol}, {in_flight} in flight")
            latencies = trio.run(run, protocol, in_flight)
            measured.append(
                {
                    "protocol": protocol,
                    "in_flight": in_flight,
                    "rate": len(latencies) / seconds,
                    "p50": percentile(latencies, 50),
                    "p99": percentile(latencies, 99),
                }
            )

    def median(case: tuple[int, int], key: str) -> float:
        values: list[float] = [
            each[key] for each in measured if (each["protocol"], each["in_flight"]) == case
        ]
        return statistics.median(values)

    return Report(
        title="`Client.local`: each task one request after another",
        command=f"python -m tests.benchmarks local --seconds {seconds:g} --rounds {rounds}",
        head=["protocol", "in flight", "requests/s", "p50 ms", "p99 ms"],
        rows=[
            [
                f"{case[0]}",
                f"{case[1]}",
                f"{median(case, 'rate'):,.0f}",
                f"{median(case, 'p50') * 1e3:.3f}",
                f"{median(case, 'p99') * 1e3:.3f}",
            ]
            for case in LOCAL_CASES
        ],
        notes=[
            "Client and server share one process and one core; each request in flight has a task "
            f"of its own that waits for it. Medians of {rounds} rounds."
        ],
        measured=measured,
        verdicts=[
            Verdict(
                "`Client.local`, one request in flight",
                10_000,
                median((2, 1), "rate"),
                "requests/s",
                at_least=True,
            )
        ],
    )


def latency(*, seconds: float, rounds: int, progress: Callable[[str], None]) -> Report:
    """Measure how long `await client.request(...)` takes over loopback, with each transport."""

    async def run(port: int, transport: str) -> list[float]:
        async with Client.remote(
            address="127.0.0.1",
            port=port,
            username="player",
            password="password",
            transport=transport,
        ) as client:
            return await ask_again_and_again(client, seconds)

    measured: list[dict[str, Any]] = []
    transports = [
        name
        for name in ("websockets", "trio-websocket")
        if missing_package(f"pgnet-{name}") is None
    ]
    for number in range(rounds):
        for transport in transports if number % 2 == 0 else reversed(transports):
            progress(f"round {number + 1} of {rounds}: {transport}")
            with running_server(f"pgnet-{transport}") as server:
                latencies = trio.run(run, server.port, transport)
            measured.append(
                {
                    "transport": transport,
                    "p50": percentile(latencies, 50),
                    "p99": percentile(latencies, 99),
                }
            )

    def median(transport: str, key: str) -> float:
        values: list[float] = [each[key] for each in measured if each["transport"] == transport]
        return statistics.median(values) * 1e3

    return Report(
        title="`await client.request(...)` over loopback WebSockets, encrypted",
        command=f"python -m tests.benchmarks latency --seconds {seconds:g} --rounds {rounds}",
        head=["transport of both ends", "p50 ms", "p99 ms"],
        rows=[
            [name, f"{median(name, 'p50'):.3f}", f"{median(name, 'p99'):.3f}"]
            for name in transports
        ],
        notes=[f"The server is in a process of its own. Medians of {rounds} rounds."],
        measured=measured,
        verdicts=[
            Verdict(f"p50 of a request from our client, {name}", 1, median(name, "p50"), "ms")
            for name in transports
        ],
    )
