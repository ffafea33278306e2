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
    """A server, and who talks to it.

    Attributes:
        pipelines: Whether a client may have more than one request under way.
    """

    label: str
    server: str
    peer: str
    pipelines: bool = False


CASES = {
    "tcp": Case("raw trio TCP echo", "tcp", "tcp"),
    "trio-websocket": Case("raw trio-websocket echo", "trio-websocket", "websocket"),
    "transport-websockets": Case(
        "our transport alone, `websockets`, echo", "transport-websockets", "websocket"
    ),
    "transport-trio-websocket": Case(
        "our transport alone, trio-websocket, echo", "transport-trio-websocket", "websocket"
    ),
    "pgnet-websockets": Case("pgnet_trio, protocol 1, `speed`", "pgnet-websockets", "protocol-1"),
    "pgnet-trio-websocket": Case(
        "pgnet_trio, protocol 1, trio-websocket", "pgnet-trio-websocket", "protocol-1"
    ),
    "pgnet2-websockets": Case(
        "pgnet_trio, protocol 2, `speed`", "pgnet-websockets", "protocol-2", pipelines=True
    ),
    "pgnet2-trio-websocket": Case(
        "pgnet_trio, protocol 2, trio-websocket",
        "pgnet-trio-websocket",
        "protocol-2",
        pipelines=True,
    ),
    "floor": Case(
        "the bytes of protocol 2 on Trio alone, no rules", "floor", "protocol-2", pipelines=True
    ),
    "socketio": Case("python-socketio on uvicorn, not encrypted", "socketio", "socket.io"),
}

DEFAULT_CASES = [
    "tcp",
    "trio-websocket",
    "pgnet-websockets",
    "pgnet-trio-websocket",
    "pgnet2-websockets",
    "pgnet2-trio-websocket",
    "socketio",
]

# What is limited, and the limit: of which server with how many requests in flight, as a ratio to
# which server with one.
BUDGETS = [
    ("CPU of an encrypted request, `speed`", "pgnet-websockets", 1, "tcp", 2.6),
    (
        "CPU of an encrypted request, trio-websocket",
        "pgnet-trio-websocket",
        1,
        "trio-websocket",
        1.5,
    ),
    ("CPU of a request, protocol 2, `speed`", "pgnet2-websockets", 1, "tcp", 1.0),
    ("the same with 16 in flight", "pgnet2-websockets", 16, "tcp", 0.9),
]
BUDGETED_CLIENTS = 32

# The generator never lets a server rest, so one that is less on a core had to share it.
LEAST_BUSY = 0.9


def measure(
    server: RunningServer,
    peer: str,
    clients: int,
    seconds: float,
    *,
    in_flight: int = 1,
    sleep: bool = False,
    name: str = "c",
) -> Result:
    """Run the load generator against a server, in a process of its own."""
    plan = Plan(
        peer=peer,
        server=server.process,
        port=server.port,
        clients=clients,
        seconds=seconds,
        in_flight=in_flight,
        sleep=sleep,
        name=name,
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
    in_flight: Sequence[int],
    sleep: bool,
    progress: Callable[[str], None],
) -> Report:
    """Measure each server with each number of clients, again and again in alternating order.

    Args:
        seconds: How long each measurement takes.
        rounds: How often each is repeated.
        clients: Numbers of clients.
        servers: Names in `CASES`.
        in_flight: Numbers of requests that a client has under way, where its protocol can.
        sleep: Whether the load generator sleeps while it waits.
        progress: Called with a line of text before each measurement.
    """
    missing = {
        name: package for name in servers if (package := missing_package(CASES[name].server))
    }
    present = [name for name in servers if name not in missing]
    depths = {name: in_flight if CASES[name].pipelines else [1] for name in present}
    results: dict[tuple[str, int, int], list[Result]] = {
        (name, count, depth): [] for count in clients for name in present for depth in depths[name]
    }
    for number in range(rounds):
        # There and back again, so that a machine that slows down slows nobody down more.
        for name in present if number % 2 == 0 else reversed(present):
            case = CASES[name]
            progress(f"round {number + 1} of {rounds}: {name}")
            with running_server(case.server) as server:
                for count in clients:
                    for depth in depths[name]:
                        result = measure(
                            server, case.peer, count, seconds, in_flight=depth, sleep=sleep
                        )
                        results[name, count, depth].append(result)

    def ratio(name: str, depth: int, base: str, count: int) -> float:
        # Of measurements in the same round, seconds apart.
        pairs = zip(results[name, count, depth], results[base, count, depths[base][0]], strict=True)
        return statistics.median(one.cpu / other.cpu for one, other in pairs)

    def median(key: tuple[str, int, int], field: str) -> float:
        values: list[float] = [getattr(result, field) for result in results[key]]
        return statistics.median(values)

    rows = [
        [
            f"{CASES[name].label}, {_clients(count)}" + f", {depth} in flight" * (depth > 1),
            f"{median(key, 'cpu') * 1e6:.1f}",
            f"{median(key, 'user') * 1e6:.1f}",
            f"{median(key, 'system') * 1e6:.1f}",
            f"{ratio(name, depth, present[0], count):.2f}",
            f"{median(key, 'rate'):,.0f}",
            f"{median(key, 'p50') * 1e3:.3f}",
            f"{median(key, 'p99') * 1e3:.3f}",
            f"{median(key, 'memory') / 2**20:.1f}",
            f"{median(key, 'busy') * 100:.0f}",
            f"{median(key, 'generator') * 1e6:.1f}",
        ]
        for key in results
        for name, count, depth in [key]
    ]
    notes = [
        "CPU is the server's for each request, in microseconds; the ratio is to the first row of "
        "the same number of clients, the median of the ratios within a round. `generator` is what "
        "the load generator worked for each request. With several in flight, a client asks again "
        "when all are answered, and times are from the first request to the last answer. Medians "
        f"of {rounds} rounds."
    ]
    shared = [
        f"{name} with {count}" + f", {depth} in flight" * (depth > 1)
        for name, count, depth in results
        if median((name, count, depth), "busy") < LEAST_BUSY
    ]
    if shared and not sleep:
        which = "all rows" if len(shared) == len(results) else "; ".join(shared)
        notes.append(
            f"Not to be relied on, because the server often had to wait for a core: {which}. "
            "Run it again while nothing else runs."
        )
    notes += [f"Left out: {name}, {package} is not installed." for name, package in missing.items()]
    return Report(
        title="Round trip: 100-byte payload, closed loop",
        command=f"python -m tests.benchmarks roundtrip --seconds {seconds:g} --rounds {rounds} "
        f"--clients {' '.join(map(str, clients))} --servers {' '.join(servers)}"
        + f" --in-flight {' '.join(map(str, in_flight))}"
        + " --sleep" * sleep,
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
            {
                "server": name,
                "clients": count,
                "in_flight": depth,
                "rounds": [attrs.asdict(each) for each in found],
            }
            for (name, count, depth), found in results.items()
        ],
        verdicts=[
            Verdict(
                f"{what}, {BUDGETED_CLIENTS} clients",
                limit,
                ratio(name, depth, base, BUDGETED_CLIENTS),
                f"of {CASES[base].label}",
            )
            for what, name, depth, base, limit in BUDGETS
            if base in present and (name, BUDGETED_CLIENTS, depth) in results
        ],
    )


def _clients(count: int) -> str:
    return f"{count} client{'s' if count > 1 else ''}"
