"""How fast our own client is: over memory, and over loopback."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import trio

from pgnet_trio import Client, Packet
from tests.benchmarks.load import percentile
from tests.benchmarks.pgnet import EchoGame
from tests.benchmarks.processes import missing_package, running_server
from tests.benchmarks.report import Report, Verdict
from tests.benchmarks.wire import PAYLOAD

__all__ = ["latency", "local"]

WARM_UP = 0.3


async def one_after_another(client: Client, seconds: float) -> list[float]:
    """Ask again and again for so many seconds; returns how long each answer took, sorted."""
    await client.create_game("benchmark")
    clock = time.perf_counter
    latencies: list[float] = []
    start = clock()
    while (sent_at := clock()) < start + WARM_UP + seconds:
        response = await client.request(Packet("echo", PAYLOAD))
        if sent_at >= start + WARM_UP:
            latencies.append(clock() - sent_at)
    assert response.raise_for_status().payload == PAYLOAD
    return sorted(latencies)


def local(*, seconds: float, rounds: int, progress: Callable[[str], None]) -> Report:
    """Measure requests a second through `Client.local`, one task, one request after another."""

    async def run() -> list[float]:
        async with Client.local(game=EchoGame, username="player") as client:
            return await one_after_another(client, seconds)

    measured: list[dict[str, float]] = []
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}: local")
        latencies = trio.run(run)
        measured.append(
            {
                "rate": len(latencies) / seconds,
                "p50": percentile(latencies, 50),
                "p99": percentile(latencies, 99),
            }
        )
    rate, p50, p99 = (statistics.median(each[key] for each in measured) for key in measured[0])
    return Report(
        title="`Client.local`: one task, one request after another",
        command=f"python -m tests.benchmarks local --seconds {seconds:g} --rounds {rounds}",
        head=["client", "requests/s", "p50 ms", "p99 ms"],
        rows=[["Client.local", f"{rate:,.0f}", f"{p50 * 1e3:.3f}", f"{p99 * 1e3:.3f}"]],
        notes=[f"Client and server share one process and one core. Medians of {rounds} rounds."],
        measured=measured,
        verdicts=[Verdict("`Client.local`", 10_000, rate, "requests/s", at_least=True)],
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
            return await one_after_another(client, seconds)

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
