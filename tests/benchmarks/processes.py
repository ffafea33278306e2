"""The processes of a benchmark: started, watched through what Linux says of them, and ended."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs

__all__ = [
    "CPUTime",
    "RunningServer",
    "cpu_time",
    "missing_package",
    "resident_memory",
    "running_server",
]

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")


@attrs.frozen
class CPUTime:
    """CPU time of a process in seconds; what the kernel did for it apart."""

    user: float
    system: float

    def __sub__(self, earlier: CPUTime) -> CPUTime:
        return CPUTime(self.user - earlier.user, self.system - earlier.system)


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
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            port = process.stdout.readline()
            if not port:
                raise RuntimeError(f"the server {name!r} did not start")
            yield RunningServer(process.pid, int(port))
        finally:
            process.kill()
