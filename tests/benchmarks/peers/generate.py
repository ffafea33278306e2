"""The load generator of these benchmarks: one process, one epoll loop.

`python -m tests.benchmarks.peers.generate` reads a `Plan` as JSON from standard input and prints
what it found. Like `tests/benchmarks/load.py`, it never sleeps unless it is told to, so that no
server pays for waking it; what it costs is counted from the moment when there was something to do.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import resource
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from tests.benchmarks.load import percentile
from tests.benchmarks.peers import IdleResult, JobResult, SyncResult
from tests.benchmarks.peers.workload import WORKLOAD
from tests.benchmarks.processes import Usage, resident_memory

if TYPE_CHECKING:
    from tests.benchmarks.peers.wire import Listener, Player, Returning, Visitor
    from tests.benchmarks.wire import Peer

__all__ = ["BROADCASTS_PER_SECOND", "JOBS", "Plan"]

BROADCASTS_PER_SECOND = 50

# What is still on the way when the measured time is over may come until then.
GRACE = 2.0

# Long enough for V8 to compile what is hot.
WARM_UP = 2.0

# Logged in before the counting begins, so that what a server makes once is not counted.
FIRST_PLAYERS = 100

# Until what a log-in leaves behind is done.
SETTLING = 0.5


@attrs.frozen(kw_only=True)
class Plan:
    """What to do.

    Attributes:
        job: A name in `JOBS`.
        peer: The class of the clients, as "module:Class".
        port: Where the server listens.
        server: Its process id.
        clients: How many.
        seconds: How long to measure, after the warm-up.
        in_flight: Requests that each client has under way: it asks again when all are answered.
        warm_up: Seconds that are not measured.
        sleep: Wait asleep. For machines with one core.
    """

    job: str
    peer: str
    port: int
    server: int
    clients: int
    seconds: float
    in_flight: int = 1
    warm_up: float = WARM_UP
    sleep: bool = False

    def kind(self) -> type[Any]:
        """The class of the clients."""
        module, _, name = self.peer.partition(":")
        found = getattr(importlib.import_module(module), name)
        assert isinstance(found, type)
        return found


class _Loop:
    """Turns of `epoll`, and how much of the time they took."""

    def __init__(self, stack: contextlib.ExitStack, *, sleep: bool) -> None:
        self._epoll = stack.enter_context(select.epoll())
        self._stack = stack
        self._sleep = 0.001 if sleep else 0.0
        self.peers: list[Any] = []
        self._by_number: dict[int, Any] = {}
        self.working = 0.0

    def add(self, peer: Peer) -> None:
        self._stack.callback(peer.close)
        peer.socket.setblocking(False)
        self.peers.append(peer)
        self._by_number[peer.socket.fileno()] = peer
        self._epoll.register(peer.socket.fileno(), select.EPOLLIN)

    def turn(self, take: Callable[[Any, bytes, float], None]) -> None:
        """Hand over what has come: `take(peer, data, when)`."""
        events = self._epoll.poll(self._sleep)
        if not events:
            return
        now = time.perf_counter()
        for number, _ in events:
            peer = self._by_number[number]
            take(peer, peer.receive(), now)
        self.working += time.perf_counter() - now


def closed_loop(plan: Plan) -> JobResult:
    """Each client asks again as soon as all is answered that it has asked."""
    clock = time.perf_counter
    latencies: list[float] = []

    def take(peer: Peer, data: bytes, now: float) -> None:
        if peer.take(data):
            latencies.append(now - peer.sent_at)
            peer.sent_at = clock()
            peer.send(peer.next_request())

    with contextlib.ExitStack() as stack:
        loop = _Loop(stack, sleep=plan.sleep)
        for number in range(plan.clients):
            peer = plan.kind()(plan.port, f"client{number}")
            if plan.in_flight > 1:
                peer.pipeline(plan.in_flight)
            loop.add(peer)
            peer.sent_at = clock()
            peer.send(peer.next_request())
        until = clock() + plan.warm_up
        while clock() < until:
            loop.turn(take)
        latencies.clear()
        loop.working = 0.0
        usage = Usage.of(plan.server)
        started = clock()
        while clock() < started + plan.seconds:
            loop.turn(take)
        seconds = clock() - started
        usage = Usage.of(plan.server) - usage
    return _job_result(latencies, seconds, usage, loop.working / seconds, plan.in_flight)


def broadcast(plan: Plan) -> JobResult:
    """One client has the server broadcast; times from that to the arrival at each client."""
    clock = time.perf_counter
    sent: list[float] = []
    latencies: list[float] = []
    got: dict[Listener, int] = {}

    def take(peer: Listener, data: bytes, now: float) -> None:
        # Nothing else is under way and nothing is lost, so that counting tells which one it is.
        for payload in peer.messages(data):
            latencies.append(now - sent[got[peer]])
            got[peer] += 1
            if got[peer] % 64 == 1:
                peer.check(payload)

    with contextlib.ExitStack() as stack:
        loop = _Loop(stack, sleep=plan.sleep)
        for number in range(plan.clients):
            peer = plan.kind()(plan.port, f"client{number}")
            loop.add(peer)
            got[peer] = 0

        def run(seconds: float) -> float:
            started = clock()
            for index in range(round(seconds * BROADCASTS_PER_SECOND)):
                due = started + index / BROADCASTS_PER_SECOND
                while clock() < due:
                    loop.turn(take)
                sent.append(clock())
                loop.peers[0].send(loop.peers[0].next_request())
            while clock() < started + seconds:
                loop.turn(take)
            late = clock() + GRACE
            while min(got.values()) < len(sent) and clock() < late:
                loop.turn(take)
            if min(got.values()) < len(sent):
                raise ConnectionError("the server does not keep up with the broadcasts")
            return clock() - started

        run(plan.warm_up)
        latencies.clear()
        loop.working = 0.0
        usage = Usage.of(plan.server)
        seconds = run(plan.seconds)
        usage = Usage.of(plan.server) - usage
    return _job_result(latencies, seconds, usage, loop.working / seconds)


def visit(plan: Plan) -> JobResult:
    """Clients one after another, on several threads: connect, join, leave, hang up."""
    clock = time.perf_counter
    kind: type[Visitor] = plan.kind()
    latencies: list[float] = []
    problems: list[Exception] = []
    stop = threading.Event()

    def visit_until_the_end(thread: int) -> None:
        try:
            visit_again_and_again(thread)
        except Exception as problem:
            problems.append(problem)

    def visit_again_and_again(thread: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            started = clock()
            visitor = kind(plan.port, f"client{thread}x{number}")
            with contextlib.closing(visitor):
                visitor.join_and_leave()
            latencies.append(clock() - started)

    threads = [
        threading.Thread(target=visit_until_the_end, args=(index,)) for index in range(plan.clients)
    ]
    for thread in threads:
        thread.start()
    time.sleep(plan.warm_up)
    latencies.clear()
    usage, own = Usage.of(plan.server), time.process_time()
    started = clock()
    time.sleep(plan.seconds)
    found = list(latencies)
    seconds = clock() - started
    usage = Usage.of(plan.server) - usage
    own = time.process_time() - own
    stop.set()
    for thread in threads:
        thread.join(timeout=30)
    if problems:
        raise problems[0]
    return _job_result(found, seconds, usage, own / seconds)


def come_back(plan: Plan) -> JobResult:
    """Clients lose their connections and come back, all of them step by step.

    So the server has work with some while others wait for it: to wake a server that sleeps would be
    much of what it does for a client that comes back alone.
    """
    clock = time.perf_counter
    kind: type[Returning] = plan.kind()
    with contextlib.ExitStack() as stack:
        peers = [kind(plan.port, f"client{number}") for number in range(plan.clients)]
        for peer in peers:
            stack.callback(peer.close)

        def run(seconds: float) -> list[float]:
            latencies: list[float] = []
            until = clock() + seconds
            while clock() < until:
                began = clock()
                for step in kind.steps:
                    for peer in peers:
                        step(peer)
                latencies += [clock() - began] * len(peers)
            return latencies

        run(plan.warm_up)
        usage, own = Usage.of(plan.server), time.process_time()
        started = clock()
        latencies = run(plan.seconds)
        seconds = clock() - started
        usage = Usage.of(plan.server) - usage
        own = time.process_time() - own
    return _job_result(latencies, seconds, usage, own / seconds)


def idle(plan: Plan) -> IdleResult:
    """Clients log in, and do nothing then."""
    with contextlib.ExitStack() as stack:

        def log_in(number: int) -> None:
            stack.callback(plan.kind()(plan.port, f"idle{number}").close)

        for number in range(FIRST_PLAYERS):
            log_in(number)
        time.sleep(SETTLING)
        before = resident_memory(plan.server)
        for number in range(plan.clients):
            log_in(FIRST_PLAYERS + number)
        time.sleep(SETTLING)
        after = resident_memory(plan.server)
    return IdleResult(players=plan.clients, each=(after - before) / plan.clients, total=after)


def _job_result(
    latencies: list[float], seconds: float, usage: Usage, busy: float, in_flight: int = 1
) -> JobResult:
    if not latencies:
        raise ConnectionError("the server did nothing in the measured time")
    ordered = sorted(latencies)
    return JobResult(
        count=len(ordered) * in_flight,
        seconds=seconds,
        cpu_seconds=usage.cpu,
        p50=percentile(ordered, 50),
        p99=percentile(ordered, 99),
        generator_busy=busy,
        server_waited=usage.waited / seconds,
    )


class _Measured:
    """What one player of the `sync` benchmark has seen."""

    def __init__(self, *, numbered: bool) -> None:
        self.numbered = numbered
        self.sent = 0
        self.waiting: deque[tuple[int, float]] = deque()


def sync(plan: Plan) -> SyncResult:
    """Players that all steer, and watch for what they did."""
    clock = time.perf_counter
    latencies: list[float] = []
    seen_by: dict[Player, _Measured] = {}
    received = states = 0
    begin = end = float("inf")

    def take(player: Player, data: bytes, now: float) -> None:
        nonlocal received, states
        received += len(data)
        measured = seen_by.get(player)
        for message in player.messages(data):
            seen = player.seen(message)
            if seen is None:
                continue
            states += 1
            if measured is None:
                continue
            waiting = measured.waiting
            while waiting and waiting[0][0] <= seen:
                sent_at = waiting.popleft()[1]
                if begin <= sent_at < end:
                    latencies.append(now - sent_at)

    with contextlib.ExitStack() as stack:
        loop = _Loop(stack, sleep=plan.sleep)
        for number in range(plan.clients):
            body = number % WORKLOAD.entities
            loop.add(plan.kind()(plan.port, f"player{number}", {"body": body}))
            # The others get states already, and nobody may be too slow for the server.
            loop.turn(take)
        for number, player in enumerate(loop.peers):
            seen_by[player] = _Measured(numbered=number < WORKLOAD.entities)

        period = 1 / WORKLOAD.inputs_per_second / plan.clients
        started = clock()
        inputs = 0

        def play_until(until: float) -> None:
            # One player after another, so that inputs come at all times between two ticks.
            nonlocal inputs
            while clock() < until:
                while started + inputs * period <= (now := clock()):
                    player = loop.peers[inputs % plan.clients]
                    inputs += 1
                    measured = seen_by[player]
                    measured.sent += 1
                    number = measured.sent if measured.numbered else 0
                    if number:
                        measured.waiting.append((number, now))
                    player.send(player.input(number, *WORKLOAD.velocity(measured.sent)))
                    loop.working += clock() - now
                loop.turn(take)

        play_until(started + plan.warm_up)
        received = states = 0
        loop.working = 0.0
        begin = clock()
        usage = Usage.of(plan.server)
        play_until(begin + plan.seconds)
        usage = Usage.of(plan.server) - usage
        end = clock()
        seconds, working = end - begin, loop.working
        bytes_each, states_each = received / plan.clients, states / plan.clients

        def unanswered() -> int:
            return sum(
                begin <= sent_at < end
                for measured in seen_by.values()
                for _, sent_at in measured.waiting
            )

        for _ in range(int(GRACE / 0.05)):
            if not unanswered():
                break
            play_until(clock() + 0.05)
        missed = unanswered()
    if not latencies:
        raise ConnectionError("no input was ever shown")
    latencies.sort()
    return SyncResult(
        players=plan.clients,
        seconds=seconds,
        cpu_seconds=usage.cpu,
        bytes_per_client_second=bytes_each / seconds,
        states_per_client_second=states_each / seconds,
        p50=percentile(latencies, 50),
        p99=percentile(latencies, 99),
        unanswered=missed,
        generator_busy=working / seconds,
        server_waited=usage.waited / seconds,
    )


JOBS: dict[str, Callable[[Plan], JobResult | SyncResult | IdleResult]] = {
    "request": closed_loop,
    "broadcast": broadcast,
    "join-leave": closed_loop,
    "visit": visit,
    "return": come_back,
    "idle": idle,
    "sync": sync,
}


def main() -> None:
    """Read a plan, carry it out, print the result."""
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    plan = Plan(**json.load(sys.stdin))
    json.dump(attrs.asdict(JOBS[plan.job](plan)), sys.stdout)


if __name__ == "__main__":
    main()
