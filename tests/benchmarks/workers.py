"""What a request costs two servers that look like one, beside what it costs one: real processes."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from tests.benchmarks.nodes import free_port
from tests.benchmarks.processes import ROOT, RunningServer, on_all_cores
from tests.benchmarks.report import Report, Verdict
from tests.benchmarks.roundtrip import measure

if TYPE_CHECKING:
    from tests.benchmarks.load import Result

__all__ = ["cluster_workers"]

CLIENTS = 32
ROWS = {
    "one server without a cluster": (0, CLIENTS),
    "one server of a cluster": (1, CLIENTS),
    "two servers of a cluster, half of the clients each": (2, CLIENTS // 2),
    "two servers of a cluster, as many clients each": (2, CLIENTS),
}


def serve(port: int, file: str, *, in_a_cluster: bool) -> None:
    """Be one of the servers, until it is killed."""
    import trio

    from pgnet_trio import Cluster
    from tests.benchmarks.pgnet import open_server

    cluster = Cluster(f"sqlite:{file}", node_address=f"127.0.0.1:{port}") if in_a_cluster else None
    server = open_server(
        transport="websockets",
        port=port,
        listen_globally=False,
        minimum_protocol=2,
        cluster=cluster,
        key_file=f"{file}.key" if in_a_cluster else None,
    )

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(server.serve)
            print("ready", flush=True)

    trio.run(main)


@contextlib.contextmanager
def _running(servers: int) -> Iterator[list[RunningServer]]:
    with contextlib.ExitStack() as stack, on_all_cores():
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        running = []
        for _ in range(max(1, servers)):
            port = stack.enter_context(free_port())
            command = [sys.executable, "-m", "tests.benchmarks.workers", str(port)]
            process = stack.enter_context(
                subprocess.Popen(
                    [*command, str(Path(folder) / "save.sqlite"), str(servers)],
                    cwd=ROOT,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.kill)
            assert process.stdout is not None
            if not process.stdout.readline():
                raise RuntimeError("a server did not start")
            running.append(RunningServer(process.pid, port))
        yield running


def cluster_workers(*, seconds: float, rounds: int, progress: Callable[[str], None]) -> Report:
    """Measure what a request costs all servers together.

    Args:
        seconds: How long each measurement takes.
        rounds: How often each is repeated, in alternating order.
        progress: Called with a line of text before each measurement.
    """
    found: dict[str, list[Result]] = {row: [] for row in ROWS}
    for number in range(rounds):
        for row in ROWS if number % 2 == 0 else reversed(ROWS):
            progress(f"round {number + 1} of {rounds}: {row}")
            found[row].append(_measure(*ROWS[row], seconds))
    first, base, *_ = found

    def ratio(row: str, to: str) -> float:
        return statistics.median(
            one.cpu / other.cpu for one, other in zip(found[row], found[to], strict=True)
        )

    return Report(
        title="A request at several servers that look like one",
        command=f"python -m tests.benchmarks cluster-workers --seconds {seconds:g} "
        f"--rounds {rounds}",
        head=["servers", "CPU µs", "ratio", "requests/s"],
        rows=[
            [
                row,
                f"{statistics.median(each.cpu for each in results) * 1e6:.1f}",
                f"{ratio(row, first):.2f}",
                f"{statistics.median(each.rate for each in results):,.0f}",
            ]
            for row, results in found.items()
        ],
        notes=[
            f"{CLIENTS} clients, each in a game of its own, one request after another. CPU is that "
            "of all servers together for each request, that of their leases too. A server with "
            "fewer clients finds fewer requests at a time, and each costs more for that. Medians "
            f"of {rounds} rounds, ratios within a round."
        ],
        measured={row: [attrs.asdict(each) for each in results] for row, results in found.items()},
        verdicts=[
            Verdict(f"CPU of a request, {row}, over one", 1.1, ratio(row, base), "times")
            for row in list(found)[2:]
        ],
    )


def _measure(servers: int, clients: int, seconds: float) -> Result:
    with _running(servers) as running, ThreadPoolExecutor() as threads:
        # Names of their own: a user who logs in elsewhere leaves the first server.
        runs = [
            threads.submit(
                measure, server, "protocol-2", clients, seconds, sleep=True, name=f"user{number}of"
            )
            for number, server in enumerate(running)
        ]
        results = [run.result() for run in runs]
    requests = sum(each.requests for each in results)

    def per_request(field: str) -> float:
        total: float = sum(getattr(each, field) * each.requests for each in results)
        return total / requests

    return attrs.evolve(
        results[0],
        requests=requests,
        rate=sum(each.rate for each in results),
        user=per_request("user"),
        system=per_request("system"),
    )


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2], in_a_cluster=sys.argv[3] != "0")
