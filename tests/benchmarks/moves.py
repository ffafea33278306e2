"""How long a move takes to show at the other player, and what a typed handler costs."""

from __future__ import annotations

import functools
import secrets
import statistics
import time
from collections.abc import Callable
from typing import Any

import attrs
import trio

from pgnet_trio import Client
from tests.benchmarks.load import percentile
from tests.benchmarks.pgnet import Place
from tests.benchmarks.processes import missing_package, running_server
from tests.benchmarks.report import Report, Verdict
from tests.benchmarks.roundtrip import measure

__all__ = ["Table", "handler", "move", "moves"]

WARM_UP = 0.3
CLIENTS = 32


@attrs.frozen
class Table:
    """The state of a `TableGame`."""

    number: int
    rows: list[list[int]]


def _shows(number: int, table: Table) -> bool:
    return table.number >= number


async def moves(port: int, transport: str, seconds: float) -> list[float]:
    """One player moves, and the other one waits for the state that shows it; sorted times."""
    clock = time.perf_counter
    times: list[float] = []

    def player() -> Client:
        return Client.remote(
            address="127.0.0.1",
            port=port,
            username=f"u{secrets.token_hex(8)}",
            password="password",
            transport=transport,
        )

    async with player() as mover, player() as watcher, trio.open_nursery() as nursery:
        await mover.create_game("benchmark")
        await watcher.join_game("benchmark")
        number = 0
        began = clock()
        while (started := clock()) < began + WARM_UP + seconds:
            number += 1
            nursery.start_soon(mover.call, Place(number, number % 8, number // 8 % 8))
            table = await watcher.wait_state(Table, functools.partial(_shows, number))
            if started >= began + WARM_UP:
                times.append(clock() - started)
            assert table.rows[number % 8][number // 8 % 8] == number
    return sorted(times)


def move(*, seconds: float, rounds: int, progress: Callable[[str], None]) -> Report:
    """Measure moves with our own clients, with each transport at both ends."""
    transports = [
        name
        for name in ("websockets", "trio-websocket")
        if missing_package(f"table-{name}") is None
    ]
    measured: list[dict[str, Any]] = []
    for number in range(rounds):
        for transport in transports if number % 2 == 0 else reversed(transports):
            progress(f"round {number + 1} of {rounds}: {transport}")
            with running_server(f"table-{transport}") as server:
                times = trio.run(moves, server.port, transport, seconds)
            measured.append(
                {
                    "transport": transport,
                    "p50": percentile(times, 50),
                    "p99": percentile(times, 99),
                }
            )

    def median(transport: str, key: str) -> float:
        values: list[float] = [each[key] for each in measured if each["transport"] == transport]
        return statistics.median(values) * 1e3

    return Report(
        title="From a move in one client to the new state in another",
        command=f"python -m tests.benchmarks move --seconds {seconds:g} --rounds {rounds}",
        head=["transport of both ends", "p50 ms", "p99 ms"],
        rows=[
            [name, f"{median(name, 'p50'):.3f}", f"{median(name, 'p99'):.3f}"]
            for name in transports
        ],
        notes=[
            "Two players, each with our own client over loopback, both in one process; the server "
            "is in another. The move is a typed message, the state a model with 64 cells. Medians "
            f"of {rounds} rounds."
        ],
        measured=measured,
        verdicts=[
            Verdict(
                f"p50 from a move to the state elsewhere, {name}", 1.5, median(name, "p50"), "ms"
            )
            for name in transports
        ],
    )


def handler(*, seconds: float, rounds: int, progress: Callable[[str], None]) -> Report:
    """Measure the same echo in a typed handler and in an untyped one."""
    server_name = next(
        name for name in ("jobs-websockets", "jobs-trio-websocket") if not missing_package(name)
    )
    kinds = ["untyped", "typed"]
    costs: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(rounds):
        for kind in kinds if number % 2 == 0 else reversed(kinds):
            progress(f"round {number + 1} of {rounds}: {kind}")
            with running_server(server_name) as server:
                costs[kind].append(measure(server, kind, CLIENTS, seconds).cpu)
    untyped, typed = (statistics.median(costs[kind]) * 1e6 for kind in kinds)
    pairs = zip(costs["typed"], costs["untyped"], strict=True)
    more = statistics.median(one - other for one, other in pairs) * 1e6
    return Report(
        title="A typed handler beside an untyped one",
        command=f"python -m tests.benchmarks handler --seconds {seconds:g} --rounds {rounds}",
        head=["handler", "CPU µs a request"],
        rows=[["untyped", f"{untyped:.1f}"], ["typed", f"{typed:.1f}"]],
        notes=[
            f"An echo of 100 bytes, {CLIENTS} clients, one request in flight each: "
            "`handle_game_packet`, and a method with `@on` that takes a model and answers with "
            f"it. Medians of {rounds} rounds; the difference is the median of those in a round."
        ],
        measured=costs,
        verdicts=[Verdict("a typed handler's cost over an untyped one", 8, more, "µs")],
    )
