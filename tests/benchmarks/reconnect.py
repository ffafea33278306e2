"""What connections cost that come, drop and come back."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import attrs

from tests.benchmarks.processes import (
    RunningServer,
    cpu_time,
    missing_package,
    running_server,
)
from tests.benchmarks.report import Report, Verdict
from tests.benchmarks.wire2 import IdlePeer2

__all__ = ["Cost", "handshakes", "reconnect"]

# Their own price is in the first connections: what the server imports or makes once.
FIRST_CONNECTIONS = 20


class Visitor(IdlePeer2):
    """Shakes hands, and goes without having logged in."""

    def log_in_to_server(self) -> None:
        pass

    def pipeline(self, in_flight: int) -> None:
        pass


@attrs.frozen
class Cost:
    """CPU time of the server, and time until it was done; for each, in seconds."""

    cpu: float
    elapsed: float


def handshakes(server: RunningServer, count: int) -> Cost:
    """Connect, shake hands and hang up, one after another."""

    def connect() -> None:
        Visitor(server.port, "visitor").close()

    for _ in range(FIRST_CONNECTIONS):
        connect()
    before = cpu_time(server.process)
    started = time.perf_counter()
    for _ in range(count):
        connect()
    elapsed = time.perf_counter() - started
    used = cpu_time(server.process) - before
    return Cost((used.user + used.system) / count, elapsed / count)


def reconnect(*, connections: int, rounds: int, progress: Callable[[str], None]) -> Report:
    """Measure handshakes, with each transport."""
    transports = [
        name
        for name in ("websockets", "trio-websocket")
        if missing_package(f"pgnet-{name}") is None
    ]
    measured: list[dict[str, Any]] = []
    for number in range(rounds):
        for transport in transports if number % 2 == 0 else reversed(transports):
            progress(f"round {number + 1} of {rounds}: {transport}, handshakes")
            with running_server(f"pgnet-{transport}") as server:
                cost = handshakes(server, connections)
            measured.append({"transport": transport, "handshake": attrs.asdict(cost)})

    def median(transport: str, what: str, key: str) -> float:
        values: list[float] = [
            each[what][key] for each in measured if each["transport"] == transport
        ]
        return statistics.median(values) * 1e3

    return Report(
        title="New connections",
        command=f"python -m tests.benchmarks reconnect --connections {connections} "
        f"--rounds {rounds}",
        head=["transport", "CPU ms a handshake", "ms until it is done"],
        rows=[
            [
                name,
                f"{median(name, 'handshake', 'cpu'):.3f}",
                f"{median(name, 'handshake', 'elapsed'):.3f}",
            ]
            for name in transports
        ],
        notes=[
            "TCP, WebSocket and Noise, without a log-in, and hanging up; CPU is the server's. "
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
