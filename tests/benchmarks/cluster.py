"""What a cluster costs: joins at another server, rooms in a database, rooms of others."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import attrs
import trio

from pgnet_trio import Client
from tests.benchmarks.load import percentile
from tests.benchmarks.nodes import engine_names, running_nodes
from tests.benchmarks.processes import cpu_time, resident_memory
from tests.benchmarks.report import Report, Verdict

__all__ = ["cluster_costs"]

SETTLING = 3.0
"""Seconds until a server has done what is left to do."""


BETWEEN_JOINS = 0.8
"""Seconds; who joins more often has to wait for the limit of joins."""


@attrs.define
class Costs:
    """What was measured with one engine.

    Attributes:
        joins: Seconds of each join that led to another server, in order.
        room: Seconds of CPU time for a game that is made and left.
        remote: Bytes of memory at a server for each game of another one.
    """

    joins: list[float]
    room: float
    remote: float


async def _measure(engine: str, joins: int, rooms: int) -> Costs:
    with running_nodes(engine) as nodes:
        (here, first), (there, _), (far, third) = nodes.processes.items()
        async with _client(here, "ann") as ann, _client(there, "bob") as bob:
            for client, side in ((ann, "left"), (bob, "right")):
                await client.create_game(side)
            async with _client(far, "cleo") as cleo:
                times = []
                for number in range(joins):
                    start = time.perf_counter()
                    await cleo.join_game(("left", "right")[number % 2])
                    times.append(time.perf_counter() - start)
                    await cleo.leave_game()
                    await trio.sleep(BETWEEN_JOINS)
            await ann.leave_game()
            before, memory = _cpu(first.pid), resident_memory(third.pid)
            for number in range(rooms):
                await ann.create_game(f"room {number}")
                await ann.leave_game()
            await trio.sleep(SETTLING)
            room = (_cpu(first.pid) - before) / rooms
            remote = (resident_memory(third.pid) - memory) / rooms
    return Costs(sorted(times), room, remote)


def _cpu(process: int) -> float:
    used = cpu_time(process)
    return used.user + used.system


def _client(port: int, username: str) -> Client:
    return Client.remote(address=f"127.0.0.1:{port}", username=username)


def cluster_costs(*, joins: int, rooms: int, progress: Callable[[str], None]) -> Report:
    """Measure what there is to pay for several servers that look like one.

    Args:
        joins: How many joins lead to another server.
        rooms: How many games are made at one server.
        progress: Called with a line of text before each measurement.
    """
    found = {}
    for engine in engine_names():
        progress(f"{joins} joins, {rooms} rooms, {engine}")
        found[engine] = trio.run(_measure, engine, joins, rooms)
    return Report(
        title="What a cluster costs",
        command=f"python -m tests.benchmarks cluster-costs --joins {joins} --rooms {rooms}",
        head=["engine", "join elsewhere p50, ms", "p99, ms", "CPU of a room, ms", "remote room, B"],
        rows=[
            [
                engine,
                f"{1000 * statistics.median(costs.joins):.1f}",
                f"{1000 * percentile(costs.joins, 99):.1f}",
                f"{1000 * costs.room:.2f}",
                f"{costs.remote:.0f}",
            ]
            for engine, costs in found.items()
        ],
        notes=[
            "A room's CPU time is that of its server, for all that makes it and leaves it: two "
            "requests, the game, the engine, its saves. A server keeps nothing of the games of "
            "others, so its memory is to stay as it is."
        ],
        measured={engine: attrs.asdict(costs) for engine, costs in found.items()},
        verdicts=[
            verdict for engine, costs in found.items() for verdict in _verdicts(engine, costs)
        ],
    )


def _verdicts(engine: str, costs: Costs) -> list[Verdict]:
    p50, p99 = statistics.median(costs.joins), percentile(costs.joins, 99)
    return [
        Verdict(f"join elsewhere, {engine}, p50", 25, 1000 * p50, "ms"),
        Verdict(f"join elsewhere, {engine}, p99", 100, 1000 * p99, "ms"),
        Verdict(f"CPU of a room, {engine}", 2, 1000 * costs.room, "ms"),
        Verdict(f"memory of a remote room, {engine}", 1024, costs.remote, "B"),
    ]
