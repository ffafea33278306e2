"""The tables: contenders side by side, with who encrypts, and the budgets of ours."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import attrs

from tests.benchmarks.peers import Contender, IdleResult, JobResult, SyncResult
from tests.benchmarks.peers.generate import BROADCASTS_PER_SECOND
from tests.benchmarks.peers.workload import WORKLOAD
from tests.benchmarks.report import Report, Verdict

__all__ = ["JOBS", "RECIPIENTS", "Job", "idle_report", "jobs_report", "present", "sync_report"]

RECIPIENTS = 100
CLIENTS = 32

# A server that waits more than this part of the time for a core shares it with somebody.
MOST_WAITING = 0.1

AnyResult = TypeVar("AnyResult", SyncResult, JobResult, IdleResult)

# Whose figures the budgets are about.
OURS = "speed"


@attrs.frozen
class Job:
    """Something that contenders do.

    Attributes:
        label: What the tables call it.
        run: Has a contender do it for so many seconds.
        comes_back: Whether only those do it who come back.
    """

    label: str
    run: Callable[[Contender, float], JobResult]
    comes_back: bool = False


JOBS = {
    "request-1": Job("request, 1 client", lambda who, seconds: who.run_request(1, seconds)),
    "request-32": Job(
        f"request, {CLIENTS} clients", lambda who, seconds: who.run_request(CLIENTS, seconds)
    ),
    "request-32-4": Job(
        f"request, {CLIENTS} clients, 4 in flight",
        lambda who, seconds: who.run_request(CLIENTS, seconds, 4),
    ),
    "request-32-16": Job(
        f"request, {CLIENTS} clients, 16 in flight",
        lambda who, seconds: who.run_request(CLIENTS, seconds, 16),
    ),
    "broadcast": Job(
        f"broadcast to {RECIPIENTS}, a recipient",
        lambda who, seconds: who.run_broadcast(RECIPIENTS, seconds),
    ),
    "join": Job("join and leave", lambda who, seconds: who.run_join_leave(seconds)),
    "visit": Job("connect, join, leave, hang up", lambda who, seconds: who.run_visit(seconds)),
    "return": Job(
        "drop and come back", lambda who, seconds: who.run_return(seconds), comes_back=True
    ),
}


@attrs.frozen
class Budget:
    """At most how many times what another does a job of ours may cost.

    Attributes:
        job: A name in `JOBS`.
        limit: At most this.
        rival: The name of the other.
        rival_job: What the other does.
    """

    job: str
    limit: float
    rival: str = "colyseus"
    rival_job: str = ""


JOB_BUDGETS = [
    Budget("request-1", 1.7),
    Budget("request-32", 1.25),
    Budget("request-32-4", 0.7, rival_job="request-32"),
    Budget("request-32-16", 0.5, rival_job="request-32"),
    Budget("broadcast", 1.0),
    Budget("visit", 1.8),
    Budget("return", 2.0, rival="websockets"),
]

# By players: of the CPU time of Colyseus.
SYNC_BUDGETS = {100: 0.95, 300: 1.0}
# The same for what a client receives, with any number of players.
SYNC_BYTES_BUDGET = 0.35
IDLE_BUDGET = 18.0


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
        for count in players:
            # There and back again, so that a machine that slows down slows nobody down more.
            for contender in found if number % 2 == 0 else reversed(found):
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
        verdicts=_sync_verdicts(found, results),
    )


def _sync_verdicts(
    found: Sequence[Contender], results: Mapping[tuple[int, str], Sequence[SyncResult]]
) -> list[Verdict]:
    labels = {each.name: each.label for each in found}
    if not {OURS, "colyseus"} <= labels.keys():
        return []
    verdicts = []
    for count in sorted({count for count, _ in results}):
        ours, theirs = results[count, labels[OURS]], results[count, labels["colyseus"]]
        if count not in SYNC_BUDGETS:
            continue
        for what, limit, ratio in (
            (
                "CPU of the server",
                SYNC_BUDGETS[count],
                _median_ratio(
                    [each.cpu_percent for each in ours], [each.cpu_percent for each in theirs]
                ),
            ),
            (
                "bytes a client",
                SYNC_BYTES_BUDGET,
                _median_ratio(
                    [each.bytes_per_client_second for each in ours],
                    [each.bytes_per_client_second for each in theirs],
                ),
            ),
        ):
            text = f"`sync` with {count} players, {what}, encrypted"
            verdicts.append(Verdict(text, limit, ratio, "of Colyseus's"))
    return verdicts


def jobs_report(
    contenders: Sequence[Contender],
    *,
    jobs: Sequence[str],
    seconds: float,
    rounds: int,
    progress: Callable[[str], None],
) -> Report:
    """Measure all contenders at each job; ratios are to the first of them that does it."""
    found, left_out = present(contenders)
    doing = {
        name: [each for each in found if each.comes_back or not JOBS[name].comes_back]
        for name in jobs
    }
    results: dict[tuple[str, str], list[JobResult]] = {}
    for number in range(rounds):
        for name, those in doing.items():
            # There and back again, so that a machine that slows down slows nobody down more.
            for contender in those if number % 2 == 0 else reversed(those):
                job = JOBS[name]
                progress(f"round {number + 1} of {rounds}: {contender.label}, {job.label}")
                results.setdefault((name, contender.name), []).append(job.run(contender, seconds))

    def ratio(one: tuple[str, str], other: tuple[str, str]) -> float:
        return _median_ratio(
            [each.cpu_each for each in results[one]], [each.cpu_each for each in results[other]]
        )

    rows, shared = [], []
    for name, those in doing.items():
        for contender in those:
            result = median_of(results[name, contender.name])
            rows.append(
                [
                    f"{JOBS[name].label}: {contender.label}",
                    _encrypts(contender),
                    f"{result.cpu_each * 1e6:.1f}",
                    f"{ratio((name, contender.name), (name, those[0].name)):.2f}",
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
    labels = {each.name: each.label for each in found}
    return Report(
        title="Requests, broadcasts, joining and leaving",
        command=f"python -m tests.benchmarks.peers jobs --jobs {' '.join(jobs)} "
        f"--seconds {seconds:g} --rounds {rounds}",
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
            "Requests are 100 bytes each way, in closed loop: each client asks again when all that "
            "it has in flight is answered. "
            f"Broadcasts are 100 bytes, {BROADCASTS_PER_SECOND} a second, times are from asking "
            "for one to its arrival at each client. Who comes back does so together with others, "
            "and the time is until all are back. CPU is the server's, user and system, for each "
            "answer, recipient, pair of join and leave, or return. Ratios are to the first row of "
            f"the job. {_parts_and(rounds)}",
            *(contender.notes["jobs"] for contender in found if "jobs" in contender.notes),
            *left_out,
            *_warning(shared, len(rows)),
        ],
        measured=[
            {
                "system": labels[contender],
                "job": JOBS[name].label,
                "rounds": [attrs.asdict(each) for each in measured],
            }
            for (name, contender), measured in results.items()
        ],
        verdicts=[
            Verdict(
                f"CPU of {JOBS[each.job].label}, encrypted",
                each.limit,
                ratio(ours, theirs),
                f"of {labels[each.rival]}'s"
                + (f" {JOBS[each.rival_job].label}" if each.rival_job else ""),
            )
            for each in JOB_BUDGETS
            for ours, theirs in [((each.job, OURS), (each.rival_job or each.job, each.rival))]
            if ours in results and theirs in results
        ],
    )


def idle_report(
    contenders: Sequence[Contender],
    *,
    players: int,
    rounds: int,
    progress: Callable[[str], None],
) -> Report:
    """Measure the memory of players who do nothing; ratios are to the first contender."""
    found, left_out = present(contenders)
    results: dict[str, list[IdleResult]] = {}
    for number in range(rounds):
        for contender in found if number % 2 == 0 else reversed(found):
            progress(f"round {number + 1} of {rounds}: {contender.label}, {players} idle players")
            results.setdefault(contender.name, []).append(contender.run_idle(players))
    base = results[found[0].name]
    medians = {name: median_of(measured) for name, measured in results.items()}
    return Report(
        title=f"{players:,} idle players",
        command=f"python -m tests.benchmarks.peers idle --players {players} --rounds {rounds}",
        head=["system", "encrypted", "KiB a player", "ratio", "RSS at the end, MiB"],
        rows=[
            [
                each.label,
                _encrypts(each),
                f"{medians[each.name].each / 2**10:.1f}",
                "{:.2f}".format(
                    _median_ratio(
                        [result.each for result in results[each.name]],
                        [result.each for result in base],
                    )
                ),
                f"{medians[each.name].total / 2**20:.1f}",
            ]
            for each in found
        ],
        notes=[
            "Resident memory of the server's process; the kernel's socket buffers are its own. "
            f"Ratios are to the first row. Rounds: {rounds}; these are the medians.",
            *(contender.notes["idle"] for contender in found if "idle" in contender.notes),
            *left_out,
        ],
        measured=[
            {"system": each.label, "rounds": [attrs.asdict(one) for one in results[each.name]]}
            for each in found
        ],
        verdicts=[
            Verdict(
                f"memory of an idle player, {each.label}",
                IDLE_BUDGET,
                medians[each.name].each / 2**10,
                "KiB",
            )
            for each in found
            if each.name == OURS
        ],
    )
