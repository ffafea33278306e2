"""The processes of a benchmark: started, watched through what Linux says of them, and ended.

Servers run on the cores that the benchmark leaves to them (`apart`), and may be those of another
tree: the one that the environment variable `SERVER_TREE` names.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Set
from pathlib import Path

import attrs

__all__ = [
    "ROOT",
    "SERVER_TREE",
    "CPUTime",
    "RunningServer",
    "Usage",
    "apart",
    "cpu_seconds",
    "cpu_time",
    "divided",
    "missing_package",
    "on_all_cores",
    "on_server_cores",
    "resident_memory",
    "running_server",
    "server_tree",
]

ROOT = Path(__file__).parents[2]

SERVER_TREE = "PGNET_BENCHMARKS_SERVER_TREE"
"""Names the folder of the tree whose servers are measured; by default this tree."""

_ALL_CORES = frozenset(os.sched_getaffinity(0))

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")


@attrs.frozen
class CPUTime:
    """CPU time of a process in seconds; what the kernel did for it apart."""

    user: float
    system: float

    def __sub__(self, earlier: CPUTime) -> CPUTime:
        return CPUTime(self.user - earlier.user, self.system - earlier.system)


def cpu_seconds(process: int) -> float:
    """The CPU time that a process has had, all of its threads together, to a nanosecond."""
    # Linux's name for the clock of another process: see clock_getcpuclockid(3).
    return time.clock_gettime((~process << 3) | 2)


def cpu_time(process: int) -> CPUTime:
    """The CPU time that a process has had until now, all of its threads together."""
    text = Path(f"/proc/{process}/stat").read_text("ascii")
    # The program's name, in parentheses, may hold spaces.
    fields = text.rpartition(")")[2].split()
    return CPUTime(int(fields[11]) / _TICKS_PER_SECOND, int(fields[12]) / _TICKS_PER_SECOND)


def resident_memory(process: int) -> int:
    """The bytes of memory that a process holds."""
    return int(Path(f"/proc/{process}/statm").read_text("ascii").split()[1]) * _PAGE_SIZE


def missing_package(server: str) -> str | None:
    """The package that this server needs and that is not installed, if there is one."""
    if server == "socketio":
        packages = ["socketio", "uvicorn"]
    else:
        packages = ["websockets"] * server.endswith("-websockets")
    for package in packages:
        if importlib.util.find_spec(package) is None:
            return package
    return None


@attrs.frozen
class Usage:
    """What a process has had of the cores, in seconds.

    Attributes:
        cpu: CPU time of all its threads, user and system.
        waited: How long its main thread was ready to run while other processes did.
    """

    cpu: float
    waited: float

    @classmethod
    def of(cls, process: int) -> Usage:
        """Until now."""
        used = cpu_time(process)
        # Linux may be built without it.
        with contextlib.suppress(FileNotFoundError):
            text = Path(f"/proc/{process}/schedstat").read_text("ascii")
            return cls(used.user + used.system, int(text.split()[1]) / 1e9)
        return cls(used.user + used.system, 0.0)

    def __sub__(self, earlier: Usage) -> Usage:
        return Usage(self.cpu - earlier.cpu, self.waited - earlier.waited)


def server_tree() -> Path:
    """The tree whose servers are measured."""
    return Path(os.environ.get(SERVER_TREE, ROOT))


def divided(cores: Set[int]) -> tuple[Set[int], Set[int]]:
    """Divide cores between a server and its clients.

    Returns:
        One core for the server and the rest for the clients; of a single core, both have it.
    """
    server = {max(cores)}
    return server, cores - server or server


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """Leave a core to the servers that are started in the block.

    This thread, and what it starts, is not on it.
    """
    before = os.sched_getaffinity(0)
    _, clients = divided(before)
    os.sched_setaffinity(0, clients)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def on_server_cores() -> Iterator[None]:
    """Have what is started in the block run where this process does not, if there is such a core.

    Not from a moment after its start on: threads that a program has begun by then would stay.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, _ALL_CORES - before or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def on_all_cores() -> Iterator[None]:
    """Have this thread, and what it starts in the block, on all cores: where only time counts."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, _ALL_CORES)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@attrs.frozen
class RunningServer:
    """A server in a process of its own."""

    process: int
    port: int


@contextlib.contextmanager
def running_server(name: str) -> Iterator[RunningServer]:
    """Run one of `SERVERS` while the block lasts.

    Raises:
        RuntimeError: It did not start; what it had to say is on standard error.
    """
    command = [sys.executable, "-m", "tests.benchmarks.servers", name]
    with on_server_cores():
        started = subprocess.Popen(command, cwd=server_tree(), stdout=subprocess.PIPE, text=True)
    with started as process:
        assert process.stdout is not None
        try:
            port = process.stdout.readline()
            if not port:
                raise RuntimeError(f"the server {name!r} did not start")
            yield RunningServer(process.pid, int(port))
        finally:
            process.kill()
