"""What a cluster costs: joins at another server, rooms in a database, rooms of others."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import attrs
import trio

from pgnet_trio import Client, Cluster, Packet, Request
from pgnet_trio.client.server_key import fetch_server_key
from pgnet_trio.crypto import decode_public_key
from pgnet_trio.environment import Environment
from pgnet_trio.server.cluster.records import NewRoom
from tests.benchmarks.load import percentile
from tests.benchmarks.nodes import ADMIN_PASSWORD, LEASE, Nodes, engine_names, running_nodes
from tests.benchmarks.processes import cpu_time, resident_memory
from tests.benchmarks.report import Report, Verdict

if TYPE_CHECKING:
    from pgnet_trio.server.cluster.engine import Engine

__all__ = ["cluster_costs"]

SETTLING = 1.0
"""Seconds until a server has done what is left to do."""

CREATORS = 50
"""How many users each make a game before the next ones do, and so how many games are there."""

NEVER = 1e6
"""Seconds between the server's own saves: they are asked for when their time is measured."""


@attrs.define
class Costs:
    """What was measured with one engine.

    Attributes:
        joins: Seconds of each join that led to another server, in order.
        making: Seconds of CPU time of a server for a game that is made, from request to answer.
        saving: The same for its first save.
        claim: Seconds of CPU time for which the engine is asked whose it is, in a process apart.
        remote: Bytes of memory at a server for each game of another one.
    """

    joins: list[float]
    making: float
    saving: float
    claim: float
    remote: float


async def _measure(engine: str, joins: int, rooms: int, remote_rooms: int) -> Costs:
    with running_nodes(engine, autosave_interval=NEVER) as nodes:
        here, there, far = nodes.processes
        times = await _join_elsewhere(here, there, far, joins)
        making, saving = await _make_rooms(here, nodes.processes[here].pid, rooms)
        claim, remote = await _claim_rooms(nodes, remote_rooms)
    return Costs(sorted(times), making, saving, claim, remote)


async def _join_elsewhere(here: int, there: int, far: int, joins: int) -> list[float]:
    """Return the seconds of each join of a user who comes from another server than the game's."""
    times = []
    async with (
        _client(here, "ann") as ann,
        _client(there, "bob") as bob,
        _client(far, "dan") as dan,
    ):
        await ann.create_game("left")
        await bob.create_game("right")
        for number in range(joins):
            start = time.perf_counter()
            await dan.join_game(("left", "right")[number % 2])
            times.append(time.perf_counter() - start)
            await dan.leave_game()
    return times


async def _make_rooms(port: int, process: int, rooms: int) -> tuple[float, float]:
    """Return the seconds of CPU time that it takes a server to make a room, and to save it."""
    making = saving = 0.0
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(_client(port, "admin", ADMIN_PASSWORD))
        creators = [
            await stack.enter_async_context(_client(port, f"creator{number}"))
            for number in range(CREATORS)
        ]
        for first in range(0, rooms, CREATORS):
            batch = creators[: rooms - first]
            start = _cpu(process)
            for number, client in enumerate(batch, first):
                await client.create_game(f"room {number}")
            made = _cpu(process)
            await admin.request(Packet(Request.SAVE))
            making += made - start
            saving += _cpu(process) - made
            for client in batch:
                await client.request(Packet("end"))
            await trio.sleep(SETTLING / 2)
    return making / rooms, saving / rooms


async def _claim_rooms(nodes: Nodes, rooms: int) -> tuple[float, float]:
    """Claim rooms here, as one more server, and have another server tell of them.

    Returns:
        Seconds of CPU time here for each claim, and bytes of memory there for each room.
    """
    far, process = list(nodes.processes.items())[-1]
    engine = Cluster(nodes.engine, node_address="nowhere.example:1", lease=LEASE).open(
        Environment()
    )
    identity = decode_public_key((await fetch_server_key(f"127.0.0.1:{far}")).pubkey)
    async with trio.open_nursery() as nursery, _client(far, "dora") as dora:
        await nursery.start(engine.run)
        lease = await engine.register("one more", "nowhere.example:1", identity=identity)
        nursery.start_soon(_renew, engine, lease.node)
        await dora.get_game_dir()
        memory, cpu = resident_memory(process.pid), time.process_time()
        for number in range(rooms):
            await engine.claim(lease.node, f"remote {number}", new=NewRoom())
        claim = (time.process_time() - cpu) / rooms
        assert len(await dora.get_game_dir()) > rooms
        await trio.sleep(SETTLING)
        remote = (resident_memory(process.pid) - memory) / rooms
        await engine.resign(lease.node)
        nursery.cancel_scope.cancel()
    return claim, remote


async def _renew(engine: Engine, node: int) -> None:
    while True:
        await trio.sleep(LEASE / 4)
        await engine.renew(node)


def _cpu(process: int) -> float:
    used = cpu_time(process)
    return used.user + used.system


def _client(port: int, username: str, password: str = "") -> Client:
    return Client.remote(address=f"127.0.0.1:{port}", username=username, password=password)


def cluster_costs(
    *, joins: int, rooms: int, remote_rooms: int, progress: Callable[[str], None]
) -> Report:
    """Measure what there is to pay for several servers that look like one.

    Args:
        joins: How many joins lead to another server.
        rooms: How many games are made at one server.
        remote_rooms: How many games of another server there are in the end.
        progress: Called with a line of text before each measurement.
    """
    found = {}
    for engine in engine_names():
        progress(f"{joins} joins, {rooms} rooms, {remote_rooms} elsewhere, {engine}")
        found[engine] = trio.run(_measure, engine, joins, rooms, remote_rooms)
    return Report(
        title="What a cluster costs",
        command=f"python -m tests.benchmarks cluster-costs --joins {joins} --rooms {rooms} "
        f"--remote-rooms {remote_rooms}",
        head=[
            "engine",
            "join elsewhere p50, ms",
            "p99, ms",
            "CPU to make a room, ms",
            "to save it, ms",
            "claim alone, ms",
            "remote room, B",
        ],
        rows=[
            [
                engine,
                f"{1000 * statistics.median(costs.joins):.1f}",
                f"{1000 * percentile(costs.joins, 99):.1f}",
                f"{1000 * costs.making:.2f}",
                f"{1000 * costs.saving:.2f}",
                f"{1000 * costs.claim:.2f}",
                f"{costs.remote:.0f}",
            ]
            for engine, costs in found.items()
        ],
        notes=[
            "A room is made from the request to the answer, with its game and its claim, by one "
            "user after the other, and saved for the first time with 49 others. Its claim is also "
            "measured alone, in a process apart. A server keeps nothing of the games of others: "
            "its memory is measured before they are made, and after a user has asked it for the "
            "list of them all."
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
        Verdict(f"CPU of a room, {engine}", 2, 1000 * (costs.making + costs.saving), "ms"),
        Verdict(f"memory of a remote room, {engine}", 1024, costs.remote, "B"),
    ]
