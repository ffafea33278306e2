"""Everybody comes back at once after the server was killed and started again."""

from __future__ import annotations

import math
import os
import random
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import trio

from tests.attacks.games import ENDS
from tests.attacks.peer import Peer, Refused
from tests.attacks.processes import Place, running_server
from tests.attacks.server import AUTOSAVE_INTERVAL
from tests.benchmarks.load import percentile

__all__ = ["ComebackRow", "come_back"]

FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0
"""Seconds: a client waits a random part of a bound that doubles, as docs/protocol.md says."""

AT_ONCE = 32
"""Log-ins at once before the kill."""

GOAL_SECONDS, GOAL_CPU = 30.0, 3.5e-3
OTHER_FILES = 500


@attrs.frozen
class ComebackRow:
    """How fast clients were back.

    Attributes:
        clients: How many there were.
        back: How many were back when the time was over.
        given_up: How many were refused for good, and so never try again.
        median: Seconds until half of all clients were back; None where they were not.
        p99: The same of 99 %.
        last: The same of all.
        cpu: Seconds of the server's CPU time for each client that was back.
        seconds: How long it took in all, or was waited.
        memory: MiB that the server had at the end.
        one_core: Whether the server had one core, and the clients another one.
    """

    clients: int
    back: int
    given_up: int
    median: float | None
    p99: float | None
    last: float | None
    cpu: float
    seconds: float
    memory: float
    one_core: bool

    @property
    def well(self) -> bool:
        """Whether the goal for 5,000 clients is met."""
        return self.last is not None and self.last <= GOAL_SECONDS and self.cpu <= GOAL_CPU

    def as_json(self) -> dict[str, Any]:
        """The row as plain data."""
        return {**attrs.asdict(self), "well": self.well}

    @staticmethod
    def head() -> list[str]:
        """The heads of the columns."""
        return [
            "clients", "back", "given up", "median s", "p99 s", "last s", "CPU ms each",
            "after s", "MiB",
        ]  # fmt: skip

    def cells(self) -> list[str]:
        """The row as text."""
        return [
            f"{self.clients:,}",
            f"{self.back:,}",
            f"{self.given_up:,}",
            *(
                "-" if time is None else f"{time:.1f}"
                for time in (self.median, self.p99, self.last)
            ),
            f"{self.cpu * 1e3:.1f}",
            f"{self.seconds:.0f}",
            f"{self.memory:,.0f}",
        ]


def address(number: int) -> str:
    """An address of 127.0.0.0/8 for each client, as if each were somewhere else."""
    return f"127.{1 + number // 62500}.{number // 250 % 250}.{number % 250 + 1}"


@contextmanager
def cores() -> Iterator[tuple[int, int] | None]:
    """Give two cores, the second of which is this process's alone for the time of the block."""
    before = os.sched_getaffinity(0)
    if len(before) < 2:
        yield None
        return
    first, second = sorted(before)[:2]
    os.sched_setaffinity(0, {second})
    try:
        yield first, second
    finally:
        os.sched_setaffinity(0, before)


async def come_back(where: Place, *, clients: int, seconds: float, seed: int = 1) -> ComebackRow:
    """Log clients in, kill the server, start it again, and watch them come back.

    Args:
        where: Where servers run.
        clients: How many.
        seconds: How long they have for it.
        seed: Chooses how long each waits before it tries again.
    """
    _allow_open_files(clients)
    save_file = where.folder / f"comeback{clients}.sqlite"
    chance = random.Random(seed)
    everybody = [Peer(0, f"user{number}", source=address(number)) for number in range(clients)]
    with cores() as pair:
        async with running_server(where, save_file=save_file, cheap=True) as server:
            await _log_all_in(everybody, server.port)
            # They have played for longer than that.
            await trio.sleep(2.5 * AUTOSAVE_INTERVAL)
            await server.kill()
        for peer in everybody:
            peer.drop()
        async with running_server(where, save_file=save_file) as server:
            if pair is not None:
                server.pin(pair[0])
            before = server.cpu()
            start = trio.current_time()
            times: list[float] = []
            given_up = 0
            done = trio.Event()

            async def one(peer: Peer) -> None:
                nonlocal given_up
                peer.port = server.port
                bound = FIRST_WAIT
                while True:
                    try:
                        await trio.sleep(chance.uniform(0, bound))
                        await peer.come_back()
                        times.append(trio.current_time() - start)
                        break
                    except Refused:
                        given_up += 1
                        break
                    except ENDS:
                        peer.drop()
                        bound = min(2 * bound, LONGEST_WAIT)
                if len(times) + given_up == clients:
                    done.set()
                try:
                    while True:
                        await peer.receive()
                except ENDS:
                    pass

            async with trio.open_nursery() as nursery:
                for peer in everybody:
                    nursery.start_soon(one, peer)
                with trio.move_on_after(seconds):
                    await done.wait()
                took = trio.current_time() - start
                cpu, memory = server.cpu() - before, server.memory()
                nursery.cancel_scope.cancel()
    for peer in everybody:
        peer.drop()
    times.sort()
    back = len(times)

    def until(percent: float) -> float | None:
        # Of all clients: those who are not back yet would be the last.
        if back < math.ceil(clients * percent / 100):
            return None
        return round(percentile(times + [math.inf] * (clients - back), percent), 2)

    return ComebackRow(
        clients=clients,
        back=back,
        given_up=given_up,
        median=until(50),
        p99=until(99),
        last=round(times[-1], 2) if back == clients else None,
        cpu=round(cpu / max(back, 1), 5),
        seconds=round(took, 1),
        memory=round(memory / 2**20, 1),
        one_core=pair is not None,
    )


def _allow_open_files(clients: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = clients + OTHER_FILES
    if soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise ValueError(
                f"{clients} clients need {wanted} open files, and this system allows {hard}"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _log_all_in(everybody: list[Peer], port: int) -> None:
    limiter = trio.CapacityLimiter(AT_ONCE)

    async def log_in(peer: Peer) -> None:
        async with limiter:
            peer.port = port
            while True:
                try:
                    await peer.log_in()
                    return
                except ENDS:
                    await trio.sleep(FIRST_WAIT)

    # All at once for the whole of it, as it was before the kill.
    async with trio.open_nursery() as nursery:
        for peer in everybody:
            nursery.start_soon(log_in, peer)
