"""What somebody who reads slowly costs the others, and how much memory who reads nothing holds."""

from __future__ import annotations

import contextlib
import select
import statistics
import time
from collections.abc import Callable
from typing import Any

from pgnet_trio.protocol.v2.lost_pushes import ENTRY_OVERHEAD
from tests.benchmarks.load import percentile
from tests.benchmarks.peers.ours import Broadcast
from tests.benchmarks.processes import (
    RunningServer,
    cpu_time,
    missing_package,
    resident_memory,
    running_server,
)
from tests.benchmarks.report import Report, Verdict
from tests.benchmarks.servers import UNACKNOWLEDGED
from tests.benchmarks.wire2 import Protocol2Peer, push_body, request_body

__all__ = ["held_memory", "slow_reader", "stall"]

PUSHES_PER_SECOND = 50
PUSH = {"text": "x" * 10_000}

# Less than is pushed, in pieces so small that the server is woken as often as can be.
SLOW_BYTES, SLOW_INTERVAL = 2048, 0.005
# The least that Linux takes; so that it is the server where things pile up, not the kernel.
SMALLEST_BUFFER = 2304

STALLED = 20
# Small messages, where what surrounds each weighs most; and long ones.
FLOODS = [256, 1000, 10_000]
# Twenty of these pieces without any CPU time: the server has done all it can.
REST_PIECE, REST_PIECES, LONGEST_REST = 0.02, 20, 20.0


class Asker(Protocol2Peer):
    """Asks again and again, and gets all that is pushed in the room besides."""

    @property
    def game(self) -> str:
        return "room"

    def _count_answers(self, plaintext: bytes) -> int:
        # What is pushed comes between the answers.
        return self._count_slowly(plaintext)


class SlowReader(Broadcast):
    """Is in the room, and may take long over it."""

    receive_buffer = SMALLEST_BUFFER


class StalledReader(Protocol2Peer):
    """Has itself flooded in a game of its own, and reads nothing of it."""

    receive_buffer = SMALLEST_BUFFER

    def pipeline(self, in_flight: int) -> None:
        pass

    def ask_for_flood(self, count: int, size: int) -> None:
        # In several turns: a game may not push so much to one player in a single one.
        pieces = [count // 4] * 3
        for piece in (*pieces, count - sum(pieces)):
            self.request_with(request_body("flood", {"count": piece, "size": size}), 1)
            self.send(self.next_request())

    def count_pushes(self, count: int) -> None:
        """Read it all in the end: it was not lost, so it was really held."""
        came = 0
        while came < count:
            came += sum(envelope[:2] == [9, "flood"] for envelope in self.wait_for_envelopes())


def slow_reader(server: RunningServer, seconds: float, *, slow: bool) -> float:
    """The p99 of another player's requests while everybody in the room is pushed to."""
    clock = time.perf_counter
    latencies: list[float] = []
    with contextlib.ExitStack() as stack:
        name = "slow" if slow else "fast"
        reader = SlowReader(server.port, f"{name}reader", PUSH)
        asker = Asker(server.port, f"{name}asker")
        pusher = Broadcast(server.port, f"{name}pusher", PUSH)
        epoll = stack.enter_context(select.epoll())
        for peer in (reader, asker, pusher):
            stack.callback(peer.close)
            peer.socket.setblocking(False)
            if peer is not reader or not slow:
                epoll.register(peer.socket.fileno(), select.EPOLLIN)
        began = push_due = read_due = clock()
        asked_at = began
        asker.send(asker.next_request())
        while (now := clock()) < began + seconds:
            if now >= push_due:
                push_due += 1 / PUSHES_PER_SECOND
                pusher.send(pusher.next_request())
            if slow and now >= read_due:
                read_due += SLOW_INTERVAL
                with contextlib.suppress(BlockingIOError):
                    reader.messages(reader.socket.recv(SLOW_BYTES))
            for number, _ in epoll.poll(0):
                if number != asker.socket.fileno():
                    other = reader if number == reader.socket.fileno() else pusher
                    other.messages(other.receive())
                elif asker.take(asker.receive()):
                    latencies.append(clock() - asked_at)
                    asked_at = clock()
                    asker.send(asker.next_request())
    latencies.sort()
    return percentile(latencies, 99)


def held_memory(server: RunningServer, size: int, clients: int) -> float:
    """Bytes that the server holds for each client that reads nothing, close to its limit."""
    envelope = len(push_body("flood", {"text": "x" * size})) + ENTRY_OVERHEAD
    most_bytes = UNACKNOWLEDGED["max_unacknowledged_bytes"]
    # What tells of the game, and the answer to the request, are kept too.
    count = min(UNACKNOWLEDGED["max_unacknowledged_messages"] - 8, (most_bytes - 4096) // envelope)
    with contextlib.ExitStack() as stack:

        def log_in(number: int) -> StalledReader:
            reader = StalledReader(server.port, f"s{size}n{number}")
            stack.callback(reader.close)
            return reader

        # The first one is there for what the server makes only once.
        first, *readers = [log_in(number) for number in range(clients + 1)]
        first.ask_for_flood(count, size)
        _let_rest(server)
        before = resident_memory(server.process)
        for reader in readers:
            reader.ask_for_flood(count, size)
        _let_rest(server)
        held = (resident_memory(server.process) - before) / clients
        for reader in readers:
            reader.count_pushes(count)
    return held


def _let_rest(server: RunningServer) -> None:
    used, resting = cpu_time(server.process), 0
    until = time.monotonic() + LONGEST_REST
    while resting < REST_PIECES and time.monotonic() < until:
        time.sleep(REST_PIECE)
        before, used = used, cpu_time(server.process)
        resting = resting + 1 if used == before else 0


def stall(*, seconds: float, rounds: int, progress: Callable[[str], None]) -> Report:
    """Measure both, with each transport."""
    transports = [
        name for name in ("websockets", "trio-websocket") if missing_package(f"jobs-{name}") is None
    ]
    measured: list[dict[str, Any]] = []
    for number in range(rounds):
        for transport in transports if number % 2 == 0 else reversed(transports):
            progress(f"round {number + 1} of {rounds}: {transport}, a slow reader")
            times = {}
            for slow in (False, True) if number % 2 == 0 else (True, False):
                with running_server(f"jobs-{transport}") as server:
                    times["slow" if slow else "fast"] = slow_reader(server, seconds, slow=slow)
            measured.append({"transport": transport, "p99": times})
    held: dict[str, dict[int, float]] = {}
    for transport in transports:
        progress(f"{STALLED} stalled clients: {transport}")
        held[transport] = {}
        for size in FLOODS:
            with running_server(f"limited-{transport}") as server:
                held[transport][size] = held_memory(server, size, STALLED)

    def p99(transport: str, which: str) -> float:
        values: list[float] = [
            each["p99"][which] for each in measured if each["transport"] == transport
        ]
        return statistics.median(values) * 1e3

    def ratio(transport: str) -> float:
        values: list[float] = [
            each["p99"]["slow"] / each["p99"]["fast"]
            for each in measured
            if each["transport"] == transport
        ]
        return statistics.median(values)

    limit = UNACKNOWLEDGED["max_unacknowledged_bytes"] / 2**10
    return Report(
        title="Slow and stalled readers",
        command=f"python -m tests.benchmarks stall --seconds {seconds:g} --rounds {rounds}",
        head=[
            "transport",
            "p99 ms beside a fast reader",
            "beside a slow one",
            "ratio",
            *(f"KiB held, {size}-byte pushes" for size in FLOODS),
        ],
        rows=[
            [
                name,
                f"{p99(name, 'fast'):.3f}",
                f"{p99(name, 'slow'):.3f}",
                f"{ratio(name):.2f}",
                *(f"{held[name][size] / 2**10:,.0f}" for size in FLOODS),
            ]
            for name in transports
        ],
        notes=[
            f"A room pushes 10 kB to its three players, {PUSHES_PER_SECOND} times a second. One "
            "asks again and again, and its p99 is what is measured; another reads all at once, or "
            f"{SLOW_BYTES} bytes at a time and less than comes. Medians of {rounds} rounds.",
            f"Memory: {STALLED} clients, each with just less than its limit ({limit:,.0f} KiB, "
            f"{UNACKNOWLEDGED['max_unacknowledged_messages']:,} messages) pushed to it, read "
            "nothing; what the resident memory grew by for each.",
        ],
        measured={"slow": measured, "held": held},
        verdicts=[
            *(
                Verdict(
                    f"a slow reader's cost to another client's p99, {name}",
                    1.2,
                    ratio(name),
                    "of it without",
                )
                for name in transports
            ),
            *(
                Verdict(
                    f"memory that one stalled client can hold, {name}",
                    limit + 100,
                    max(held[name].values()) / 2**10,
                    "KiB",
                )
                for name in transports
            ),
        ],
    )
