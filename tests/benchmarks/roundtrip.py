"""What a request costs the server, beside what an echo costs others."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence

import attrs

from tests.benchmarks.load import Plan, Result
from tests.benchmarks.processes import RunningServer, missing_package, running_server
from tests.benchmarks.report import Report, Verdict

__all__ = ["CASES", "DEFAULT_CASES", "Case", "roundtrip"]


@attrs.frozen
class Case:
    """A server, and who talks to it."""

    label: str
    server: str
    peer: str


CASES = {
    case.server: case
    for case in [
        Case("raw trio TCP echo", "tcp", "tcp"),
        Case("raw trio-websocket echo", "trio-websocket", "websocket"),
        Case("our transport alone, `websockets`, echo", "transport-websockets", "websocket"),
        Case("our transport alone, trio-websocket, echo", "transport-trio-websocket", "websocket"),
        Case("pgnet_trio, protocol 1, `speed`", "pgnet-websockets", "protocol-1"),
        Case("pgnet_trio, protocol 1, trio-websocket", "pgnet-trio-websocket", "protocol-1"),
        Case("python-socketio on uvicorn, not encrypted", "socketio", "socket.io"),
    ]
}

DEFAULT_CASES = ["tcp", "trio-websocket", "pgnet-websockets", "pgnet-trio-websocket", "socketio"]

BUDGETS = [
    ("CPU of an encrypted request, `speed`", "pgnet-websockets", "tcp", 2.6),
    ("CPU of an encrypted request, trio-websocket", "pgnet-trio-websocket", "trio-websocket", 1.5),
]
BUDGETED_CLIENTS = 32

# The generator never lets a server rest, so one that is less on a core had to share it.
LEAST_BUSY = 0.9


def measure(server: RunningServer, peer: str, clients: int, seconds: float, sleep: bool) -> Result:
    """Run the load generator against a server, in a process of its own."""
    plan = Plan(
        peer=peer,
        server=server.process,
        port=server.port,
        clients=clients,
        seconds=seconds,
        sleep=sleep,
    )
    run = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.load"],
        input=json.dumps(attrs.asdict(plan)),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Result(**json.loads(run.stdout))


def roundtrip(
    *,
    seconds: float,
    rounds: int,
    clients: Sequence[int],
    servers: Sequence[str],
    sleep: bool,
    progress: Callable[[str], None],
) -> Report:
    """Measure each server with each number of clients, again and again in alternating order.

    Args:
        seconds: How long each measurement takes.
        rounds: How often each is repeated.
        clients: Numbers of clients.
        servers: Names in `CASES`.
        sleep: Whether the load generator sleeps while it waits.
        progress: Called with a line of text before each measurement.
    """
    missing = {name: package for name in servers if (package := missing_package(name))}
    present = [name for name in servers if name not in missing]
    results: dict[tuple[str, int], list[Result]] = {
        (name, count): [] for count in clients for name in present
    }
    for number in range(rounds):
        # There and back again, so that a machine that slows down slows nobody down more.
        for name in present if number % 2 == 0 else reversed(present):
            progress(f"round {number + 1} of {rounds}: {name}")
            with running_server(name) as server:
                for count in clients:
                    result = measure(server, CASES[name].peer, count, seconds, sleep)
                    results[name, count].append(result)

    def ratio(name: str, base: str, count: int) -> float:
        # Of measurements in the same round, seconds apart.
        pairs = zip(results[name, count], results[base, count], strict=True)
        return statistics.median(one.cpu / other.cpu for one, other in pairs)

    def median(name: str, count: int, field: str) -> float:
        values: list[float] = [getattr(result, field) for result in results[name, count]]
        return statistics.median(values)

    rows = [
        [
            f"{CASES[name].label}, {count} client{'s' if count > 1 else ''}",
            f"{median(name, count, 'cpu') * 1e6:.1f}",
            f"{median(name, count, 'user') * 1e6:.1f}",
            f"{median(name, count, 'system') * 1e6:.1f}",
            f"{ratio(name, present[0], count):.2f}",
            f"{median(name, count, 'rate'):,.0f}",
            f"{median(name, count, 'p50') * 1e3:.3f}",
            f"{median(name, count, 'p99') * 1e3:.3f}",
            f"{median(name, count, 'memory') / 2**20:.1f}",
            f"{median(name, count, 'busy') * 100:.0f}",
            f"{median(name, count, 'generator') * 1e6:.1f}",
        ]
        for count in clients
        for name in present
    ]
    notes = [
        "CPU is the server's for each request, in microseconds; the ratio is to the first row of "
        "the same number of clients, the median of the ratios within a round. `generator` is what "
        f"the load generator worked for each request. Medians of {rounds} rounds."
    ]
    shared = [
        f"{name} with {count}"
        for name, count in results
        if median(name, count, "busy") < LEAST_BUSY
    ]
    if shared and not sleep:
        which = "all rows" if len(shared) == len(results) else ", ".join(shared)
        notes.append(
            f"Not to be relied on, because the server often had to wait for a core: {which}. "
            "Run it again while nothing else runs."
        )
    notes += [f"Left out: {name}, {package} is not installed." for name, package in missing.items()]
    return Report(
        title="Round trip: 100-byte payload, closed loop",
        command=f"python -m tests.benchmarks roundtrip --seconds {seconds:g} --rounds {rounds} "
        f"--clients {' '.join(map(str, clients))} --servers {' '.join(servers)}"
        + " --sleep"
        * sleep,
        head=[
            "server",
            "CPU µs",
            "user",
            "system",
            "ratio",
            "requests/s",
            "p50 ms",
            "p99 ms",
            "RSS MiB",
            "busy %",
            "generator µs",
        ],
        rows=rows,
        notes=notes,
        measured=[
            {"server": name, "clients": count, "rounds": [attrs.asdict(each) for each in found]}
            for (name, count), found in results.items()
        ],
        verdicts=[
            Verdict(
                f"{what}, {BUDGETED_CLIENTS} clients",
                limit,
                ratio(name, base, BUDGETED_CLIENTS),
                f"of {CASES[base].label}",
            )
            for what, name, base, limit in BUDGETS
            if {name, base} <= set(present) and BUDGETED_CLIENTS in clients
        ],
    )
