"""What it costs to tell many the same."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from tests.benchmarks.peers.drive import job_result, python_module
from tests.benchmarks.peers.generate import BROADCASTS_PER_SECOND
from tests.benchmarks.peers.ours import Broadcast
from tests.benchmarks.processes import missing_package, running_server
from tests.benchmarks.report import Report, Verdict
from tests.benchmarks.roundtrip import measure

if TYPE_CHECKING:
    from tests.benchmarks.peers import JobResult

__all__ = ["push"]

BUDGETED_RECIPIENTS = 500
ECHO_CLIENTS = 32

RECIPIENT = f"{Broadcast.__module__}:{Broadcast.__name__}"


def push(
    *,
    recipients: Sequence[int],
    seconds: float,
    rounds: int,
    progress: Callable[[str], None],
) -> Report:
    """Measure one room that pushes to all of its players, beside a raw echo.

    Args:
        recipients: Numbers of players.
        seconds: How long each measurement takes.
        rounds: How often each is repeated.
        progress: Called with a line of text before each measurement.
    """
    transports = [
        name for name in ("websockets", "trio-websocket") if missing_package(f"jobs-{name}") is None
    ]
    echoes: list[float] = []
    results: dict[tuple[str, int], list[JobResult]] = {
        (transport, count): [] for transport in transports for count in recipients
    }
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}: raw echo")
        with running_server("tcp") as server:
            echoes.append(measure(server, "tcp", ECHO_CLIENTS, seconds).cpu)
        for transport, count in results if number % 2 == 0 else reversed(results):
            progress(f"round {number + 1} of {rounds}: {transport}, {count} recipients")
            program = python_module("tests.benchmarks.servers", f"jobs-{transport}")
            results[transport, count].append(
                job_result(program, "broadcast", RECIPIENT, count, seconds)
            )

    def ratio(key: tuple[str, int]) -> float:
        # Of measurements in the same round.
        pairs = zip(results[key], echoes, strict=True)
        return statistics.median(result.cpu_each / echo for result, echo in pairs)

    def median(key: tuple[str, int], field: str) -> float:
        values: list[float] = [getattr(result, field) for result in results[key]]
        return statistics.median(values)

    rows: list[list[str]] = [
        [
            f"raw trio TCP echo, {ECHO_CLIENTS} clients",
            f"{statistics.median(echoes) * 1e6:.1f}",
            "1.00",
            *("",) * 6,
        ]
    ]
    rows += [
        [
            f"{transport}, {count} recipients",
            f"{median(key, 'cpu_each') * 1e6:.1f}",
            f"{ratio(key):.2f}",
            f"{median(key, 'rate'):,.0f}",
            f"{median(key, 'p50') * 1e3:.2f}",
            f"{median(key, 'p99') * 1e3:.2f}",
            f"{median(key, 'busy') * 100:.0f}",
            f"{median(key, 'generator_busy') * 100:.0f}",
            f"{median(key, 'server_waited') * 100:.0f}",
        ]
        for key in results
        for transport, count in [key]
    ]
    return Report(
        title="Push: one room to all of its players",
        command=f"python -m tests.benchmarks push --seconds {seconds:g} --rounds {rounds} "
        f"--recipients {' '.join(map(str, recipients))}",
        head=[
            "what",
            "CPU µs each",
            "ratio",
            "a second",
            "p50 ms",
            "p99 ms",
            "busy %",
            "generator %",
            "waited %",
        ],
        rows=rows,
        notes=[
            f"{BROADCASTS_PER_SECOND} times a second a player has the room push 100 bytes to all. "
            "CPU is the server's for each push to each recipient; times are from asking for a push "
            "to its arrival at each. The ratio is to an echo in the same round. `generator` is the "
            "part of the time that the load generator was at work, `waited` the part that the "
            f"server waited for a core. Medians of {rounds} rounds."
        ],
        measured={
            "echo": echoes,
            "push": [
                {
                    "transport": transport,
                    "recipients": count,
                    "rounds": [attrs.asdict(result) for result in found],
                }
                for (transport, count), found in results.items()
            ],
        },
        verdicts=_verdicts(results, ratio),
    )


def _verdicts(
    results: dict[tuple[str, int], Any], ratio: Callable[[tuple[str, int]], float]
) -> list[Verdict]:
    key = ("websockets", BUDGETED_RECIPIENTS)
    if key not in results:
        return []
    what = f"CPU of a push for each of {BUDGETED_RECIPIENTS} recipients, `speed`"
    return [Verdict(what, 1.3, ratio(key), "of raw trio TCP echo")]
