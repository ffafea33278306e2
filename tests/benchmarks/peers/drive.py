"""The processes of these benchmarks: a server and a load generator for each run."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from tests.benchmarks.peers import IdleResult, JobResult, SyncResult
from tests.benchmarks.peers.generate import GRACE, WARM_UP, Plan
from tests.benchmarks.processes import ROOT, on_server_cores

__all__ = ["Command", "generate", "idle_result", "job_result", "running", "sync_result"]

# Clients log in one after another, which takes its time with hundreds of them.
LONGEST_LOG_IN = 60.0


@attrs.frozen
class Command:
    """A program, where it runs, and what its environment has beyond ours."""

    arguments: Sequence[str]
    environment: Mapping[str, str] = attrs.field(factory=dict)
    folder: Path = ROOT


def python_module(name: str, *arguments: str, **environment: str) -> Command:
    """A module of this repository as a program."""
    return Command([sys.executable, "-m", name, *arguments], environment)


GENERATOR = python_module("tests.benchmarks.peers.generate")


@contextlib.contextmanager
def running(server: Command) -> Iterator[tuple[int, int]]:
    """Run a server that prints its port while the block lasts; gives its process id and port.

    Raises:
        RuntimeError: It did not start; what it had to say is on standard error.
    """
    with on_server_cores():
        started = subprocess.Popen(
            server.arguments,
            env={**os.environ, **server.environment},
            cwd=server.folder,
            stdout=subprocess.PIPE,
            text=True,
        )
    with started as process:
        assert process.stdout is not None
        try:
            ready, _, _ = select.select([process.stdout], [], [], 30)
            port = process.stdout.readline() if ready else ""
            if not port:
                raise RuntimeError(f"the server did not start: {' '.join(server.arguments)}")
            yield process.pid, int(port)
        finally:
            process.kill()


def generate(generator: Command, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Run a load generator: the plan to its standard input, the result from its output."""
    run = subprocess.run(
        generator.arguments,
        env={**os.environ, **generator.environment},
        cwd=generator.folder,
        input=json.dumps(plan),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=plan["seconds"] + LONGEST_LOG_IN + 2 * (WARM_UP + GRACE),
    )
    result: dict[str, Any] = json.loads(run.stdout)
    return result


def _measure(
    server: Command, job: str, peer: str, clients: int, seconds: float, in_flight: int = 1
) -> dict[str, Any]:
    with running(server) as (process, port):
        plan = Plan(
            job=job,
            peer=peer,
            port=port,
            server=process,
            clients=clients,
            seconds=seconds,
            in_flight=in_flight,
            sleep=os.cpu_count() == 1,
        )
        return generate(GENERATOR, attrs.asdict(plan))


def job_result(
    server: Command, job: str, peer: str, clients: int, seconds: float, in_flight: int = 1
) -> JobResult:
    """Have lean clients do a job at a fresh server."""
    return JobResult(**_measure(server, job, peer, clients, seconds, in_flight))


def idle_result(server: Command, peer: str, players: int) -> IdleResult:
    """Have lean clients log in at a fresh server and do nothing."""
    return IdleResult(**_measure(server, "idle", peer, players, 0.0))


def sync_result(server: Command, peer: str, players: int, seconds: float) -> SyncResult:
    """Have lean clients play at a fresh server."""
    return SyncResult(**_measure(server, "sync", peer, players, seconds))
