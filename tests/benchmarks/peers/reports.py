"""The tables: contenders side by side, with who encrypts."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import TypeVar

import attrs

from tests.benchmarks.peers import Contender, JobResult, SyncResult
from tests.benchmarks.peers.generate import BROADCASTS_PER_SECOND
from tests.benchmarks.peers.workload import WORKLOAD
from tests.benchmarks.report import Report

__all__ = ["RECIPIENTS", "jobs_report", "present", "sync_report"]

RECIPIENTS = 100

# A server that waits more than this part of the time for a core shares it with somebody.
MOST_WAITING = 0.1

AnyResult = TypeVar("AnyResult", SyncResult, JobResult)


def present(contenders: Sequence[Contender]) -> tuple[list[Contender], list[str]]:
    """Those that can run, and a line for each that cannot."""
    found, lines = [], []
    for contender in contenders:
        if (missing := contender.missing()) is None:
            found.append(contender)
        else:
            lines.append(f"Left out: {missing}.")
    return found, lines


def median_of(results: Sequence[AnyResult]) -> AnyResult:
    """The median of each field."""
    first = results[0]
    changes = {}
    for field in attrs.fields(type(first)):
        values = [getattr(result, field.name) for result in results]
        changes[field.name] = type(values[0])(statistics.median(values))
    return attrs.evolve(first, **changes)


def _median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    # Of measurements in the same round, close to each other in time.
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


def _encrypts(contender: Contender) -> str:
    return "yes" if contender.encrypted else "no"


def _parts_and(rounds: int) -> str:
    return (
        "`generator` is the part of the time that the load generator was at work, `waited` the "
        f"part that the server waited for a core. Rounds: {rounds}; these are the medians."
    )


def _warning(shared: Sequence[str], rows: int) -> list[str]:
    if not shared:
        return []
    which = "all rows" if len(shared) == rows else "; ".join(shared)
    return [
        "Not to be relied on, because the server often had to wait for a core (`waited`): "
        f"{which}. Run it again while nothing else runs."
    ]


def sync_report(
    contenders: Sequence[Contender],
    *,
    players: Sequence[int],
    seconds: float,
    rounds: int,
    progress: Callable[[str], None],
) -> Report:
    """Measure all contenders with each number of players; ratios are to the first of them."""
    found, left_out = present(contenders)
    results: dict[tuple[int, str], list[SyncResult]] = {}
    for number in range(rounds):
        # There and back again, so that a machine that slows down slows nobody down more.
        for contender in found if number % 2 == 0 else reversed(found):
            for count in players:
                progress(f"round {number + 1} of {rounds}: {contender.label}, {count} players")
                result = contender.run_sync(count, seconds)
                results.setdefault((count, contender.label), []).append(result)

    rows, late, shared = [], [], []
    for count in players:
        for contender in found:
            measured = results[count, contender.label]
            base = results[count, found[0].label]
            result = median_of(measured)
            cpu = _median_ratio(
                [each.cpu_percent for each in measured], [each.cpu_percent for each in base]
            )
            size = _median_ratio(
                [each.bytes_per_client_second for each in measured],
                [each.bytes_per_client_second for each in base],
            )
            rows.append(
                [
                    f"{contender.label}, {count} players",
                    _encrypts(contender),
                    f"{result.cpu_percent:.1f}",
                    f"{result.cpu_percent / count:.3f}",
                    f"{cpu:.2f}",
                    f"{result.bytes_per_client_second / 1000:.1f}",
                    f"{size:.2f}",
                    f"{result.states_per_client_second:.1f}",
                    f"{result.p50 * 1e3:.1f}",
                    f"{result.p99 * 1e3:.1f}",
                    f"{result.generator_busy * 100:.0f}",
                    f"{result.server_waited * 100:.0f}",
                ]
            )
            if result.server_waited > MOST_WAITING:
                shared.append(rows[-1][0])
            if result.unanswered:
                late.append(f"{contender.label}, {count} players: {result.unanswered}")
    notes = [
        f"One room; {WORKLOAD.ticks_per_second} ticks a second; "
        f"{WORKLOAD.inputs_per_second} inputs a second from each player; {WORKLOAD.entities} "
        "entities that all move in each tick. CPU is the server's, user and system, in percent of "
        "one core; kB/s is what each client received, WebSocket headers included; p50 and p99 are "
        "from sending an input to the state that shows it, so that half a tick, 25 ms, is in p50 "
        "for everybody. Ratios are to the first row of the same number of players. "
        + _parts_and(rounds),
        *(contender.notes["sync"] for contender in found if "sync" in contender.notes),
        *left_out,
        *_warning(shared, len(rows)),
    ]
    if late:
        notes.append(f"Inputs that no state had shown two seconds later: {'; '.join(late)}.")
    return Report(
        title="State sync",
        command=f"python -m tests.benchmarks.peers sync --players {' '.join(map(str, players))} "
        f"--seconds {seconds:g} --rounds {rounds}",
        head=[
            "system",
            "encrypted",
            "CPU %",
            "CPU % a client",
            "ratio",
            "kB/s a client",
            "ratio",
            "states/s",
            "p50 ms",
            "p99 ms",
            "generator %",
            "waited %",
        ],
        rows=rows,
        notes=notes,
        measured=[
            {"system": label, "players": count, "rounds": [attrs.asdict(each) for each in measured]}
            for (count, label), measured in results.items()
        ],
    )


def jobs_report(
    contenders: Sequence[Contender],
    *,
    seconds: float,
    rounds: int,
    progress: Callable[[str], None],
) -> Report:
    """Measure all contenders at each job; ratios are to the first of them."""
    found, left_out = present(contenders)
    jobs: dict[str, Callable[[Contender], JobResult]] = {
        "request, 1 client": lambda each: each.run_request(1, seconds),
        "request, 32 clients": lambda each: each.run_request(32, seconds),
        f"broadcast to {RECIPIENTS}, a recipient": lambda each: each.run_broadcast(
            RECIPIENTS, seconds
        ),
        "join and leave": lambda each: each.run_join_leave(seconds),
        "connect, join, leave, hang up": lambda each: each.run_visit(seconds),
    }
    results: dict[tuple[str, str], list[JobResult]] = {}
    for number in range(rounds):
        for job, run in jobs.items():
            # There and back again, so that a machine that slows down slows nobody down more.
            for contender in found if number % 2 == 0 else reversed(found):
                progress(f"round {number + 1} of {rounds}: {contender.label}, {job}")
                results.setdefault((job, contender.label), []).append(run(contender))

    rows, shared = [], []
    for job in jobs:
        for contender in found:
            measured = results[job, contender.label]
            base = results[job, found[0].label]
            result = median_of(measured)
            ratio = _median_ratio(
                [each.cpu_each for each in measured], [each.cpu_each for each in base]
            )
            rows.append(
                [
                    f"{job}: {contender.label}",
                    _encrypts(contender),
                    f"{result.cpu_each * 1e6:.1f}",
                    f"{ratio:.2f}",
                    f"{result.rate:,.0f}",
                    f"{result.p50 * 1e3:.3f}",
                    f"{result.p99 * 1e3:.3f}",
                    f"{result.busy * 100:.0f}",
                    f"{result.generator_busy * 100:.0f}",
                    f"{result.server_waited * 100:.0f}",
                ]
            )
            if result.server_waited > MOST_WAITING:
                shared.append(rows[-1][0])
    return Report(
        title="Requests, broadcasts, joining and leaving",
        command=f"python -m tests.benchmarks.peers jobs --seconds {seconds:g} --rounds {rounds}",
        head=[
            "system",
            "encrypted",
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
            "Requests are 100 bytes each way, in closed loop, each client one at a time. "
            f"Broadcasts are 100 bytes, {BROADCASTS_PER_SECOND} a second, times are from asking "
            "for one to its arrival at each client. CPU is the server's, user and system, for each "
            "answer, recipient, or pair of join and leave. Ratios are to the first row of the "
            f"job. {_parts_and(rounds)}",
            *(contender.notes["jobs"] for contender in found if "jobs" in contender.notes),
            *left_out,
            *_warning(shared, len(rows)),
        ],
        measured=[
            {"system": label, "job": job, "rounds": [attrs.asdict(each) for each in measured]}
            for (job, label), measured in results.items()
        ],
    )
