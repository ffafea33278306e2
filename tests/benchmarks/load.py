"""The load generator: one process, one epoll loop, constant requests.

`python -m tests.benchmarks.load` reads a `Plan` as JSON from standard input and prints a `Result`.

The loop never sleeps: a server that has to wake a sleeping peer pays 10 to 20 microseconds for
that in its `send`, which says more about the kernel than about the server. What the generator
costs is therefore counted as the time from the moment when `poll` gave something to do until that
was done.
"""

from __future__ import annotations

import contextlib
import json
import select
import sys
import time
from collections.abc import Mapping, Sequence

import attrs

from tests.benchmarks.processes import cpu_time, resident_memory
from tests.benchmarks.wire import Peer, Protocol1Peer, SocketIOPeer, TCPPeer, WebSocketPeer
from tests.benchmarks.wire2 import Protocol2Peer, TypedPeer

__all__ = ["PEERS", "Plan", "Result", "drive", "percentile"]

PATIENCE = 30.0
"""Seconds that a server on a busy machine gets in addition, until each client has an answer."""

PEERS: dict[str, type[Peer]] = {
    "tcp": TCPPeer,
    "websocket": WebSocketPeer,
    "protocol-1": Protocol1Peer,
    "protocol-2": Protocol2Peer,
    "untyped": Protocol2Peer,
    "typed": TypedPeer,
    "socket.io": SocketIOPeer,
}


@attrs.frozen(kw_only=True)
class Plan:
    """What to measure.

    Attributes:
        peer: A name in `PEERS`.
        server: Process id of the server.
        clients: Connections.
        in_flight: Requests that each has under way at a time: it asks again when all are answered.
        seconds: How long to measure, after the warm-up; longer, where not as many answers have come
            as there are clients.
        warm_up: Seconds that are not measured.
        sleep: Wait for answers asleep. For machines with one core.
        name: What the names of its users begin with.
    """

    peer: str
    server: int
    port: int
    clients: int
    seconds: float
    in_flight: int = 1
    warm_up: float = 0.5
    sleep: bool = False
    name: str = "c"


@attrs.frozen(kw_only=True)
class Result:
    """What was measured; times in seconds.

    Attributes:
        requests: How many were answered in the measured time.
        rate: Of these, how many a second.
        user: CPU time of the server for each request.
        system: The same, spent in the kernel.
        generator: Time that the generator was at work for each request.
        busy: Which part of the time the server was on a CPU.
        p50: The median time from a request to its answer; of several in flight, to the last one.
        p99: The time within which 99 % of the answers came.
        memory: Resident memory of the server at the end, in bytes.
    """

    requests: int
    rate: float
    user: float
    system: float
    generator: float
    busy: float
    p50: float
    p99: float
    memory: int

    @property
    def cpu(self) -> float:
        """CPU time of the server for each request."""
        return self.user + self.system


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The value that this many percent of the values do not exceed."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def _exchange(
    epoll: select.epoll, peers: Mapping[int, Peer], seconds: float, *, sleep: bool, least: int = 0
) -> tuple[list[float], float, float]:
    # Returns the latencies, at least so many of them, the time at work, and the time that it took,
    # all in seconds.
    clock = time.perf_counter
    poll = epoll.poll
    timeout = 1.0 if sleep else 0.0
    latencies: list[float] = []
    working = 0.0
    now = started = clock()
    until = started + seconds
    while now < until or len(latencies) < least:
        events = poll(timeout)
        now = clock()
        if not events:
            if now > until + PATIENCE:
                raise TimeoutError(f"expected {least} answers, got {len(latencies)}")
            continue
        for number, _ in events:
            peer = peers[number]
            if peer.take(peer.receive()):
                latencies.append(now - peer.sent_at)
                peer.sent_at = clock()
                peer.send(peer.next_request())
        working += clock() - now
    return latencies, working, now - started


def drive(plan: Plan) -> Result:
    """Log in, and keep the server busy for as long as the plan says."""
    kind = PEERS[plan.peer]
    with contextlib.ExitStack() as stack:
        peers: list[Peer] = []
        for number in range(plan.clients):
            # Names differ between runs on one server: an earlier user may still be on the way out.
            peer = kind(plan.port, f"{plan.name}{plan.clients}f{plan.in_flight}n{number}")
            stack.callback(peer.close)
            peer.ask()
            peer.pipeline(plan.in_flight)
            peer.socket.setblocking(False)
            peers.append(peer)
        epoll = stack.enter_context(select.epoll())
        by_number = {peer.socket.fileno(): peer for peer in peers}
        for number, peer in by_number.items():
            epoll.register(number, select.EPOLLIN)
            peer.sent_at = time.perf_counter()
            peer.send(peer.next_request())
        _exchange(epoll, by_number, plan.warm_up, sleep=plan.sleep)
        cpu_before = cpu_time(plan.server)
        latencies, working, elapsed = _exchange(
            epoll, by_number, plan.seconds, sleep=plan.sleep, least=plan.clients
        )
        cpu = cpu_time(plan.server) - cpu_before
        memory = resident_memory(plan.server)
    latencies.sort()
    count = len(latencies) * plan.in_flight
    return Result(
        requests=count,
        rate=count / elapsed,
        user=cpu.user / count,
        system=cpu.system / count,
        generator=working / count,
        busy=(cpu.user + cpu.system) / elapsed,
        p50=percentile(latencies, 50),
        p99=percentile(latencies, 99),
        memory=memory,
    )


def main() -> None:
    """Read a plan, carry it out, print the result."""
    plan = Plan(**json.load(sys.stdin))
    json.dump(attrs.asdict(drive(plan)), sys.stdout)


if __name__ == "__main__":
    main()
