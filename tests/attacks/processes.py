"""Servers in processes of their own, which are watched, killed, and never left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import attrs
import trio

from tests.benchmarks.processes import cpu_time, resident_memory

__all__ = ["End", "Place", "ServerProcess", "StartFailed", "place", "running_server"]

TREE = Path(__file__).parents[2]

START_TIMEOUT = 30.0
SERVE = ("serve", "tests.attacks.misbehaving:Games")
ORDERLY_END = 20.0
"""Seconds for a shutdown: those that games, connections and the last write get, and some more."""

SECOND_SIGNAL = 3.0
"""Seconds for the end after a second signal."""

SHORT_WAY = "PGNET_SHORT_WAY"
"""Says whether servers read in rounds; see `pgnet_trio.transport.rounds.are_on`."""

KEPT_OF_LOG = 64 * 1024

_ANNOUNCEMENT = re.compile(rb"Listening on localhost, port (\d+);")


class StartFailed(Exception):
    """The server did not start; the message is what it last wrote."""


@attrs.frozen
class Place:
    """Where server programs run, and which `pgnet_trio` they import.

    Attributes:
        folder: A temporary folder; the current one of the programs.
        python: The interpreter.
        path: Where programs look for modules.
        options: What is given to each server beside its own options.
        command: The command line that serves, as arguments of Python.
    """

    folder: Path
    python: str
    path: tuple[Path, ...]
    options: tuple[str, ...] = ()
    command: Sequence[str] = ("-m", "pgnet_trio")

    def environment(self, changes: Mapping[str, str]) -> dict[str, str]:
        """The environment of a program."""
        names = {
            name: value
            for name, value in os.environ.items()
            # Options of the command line, but for one that is none, and is meant for tests.
            if not name.startswith("PGNET_") or name == SHORT_WAY
        }
        path = os.pathsep.join(map(str, self.path))
        # What the command line keeps for a user goes with the folder.
        return {**names, "PYTHONPATH": path, "XDG_DATA_HOME": str(self.folder), **changes}


@contextmanager
def place(
    server_path: Path = TREE,
    python: str = sys.executable,
    options: Sequence[str] = (),
    command: Sequence[str] = ("-m", "pgnet_trio"),
) -> Iterator[Place]:
    """Make a place for servers while the block lasts.

    Args:
        server_path: The folder whose `pgnet_trio` they are to import. This harness comes from
            its own tree all the same.
        python: Their interpreter.
        options: Options of ``pgnet-trio serve`` that all of them get.
        command: The command line that serves, as arguments of Python.
    """
    package = server_path.resolve() / "pgnet_trio"
    if not package.is_dir():
        raise ValueError(f"expected a folder with the package pgnet_trio in it, got {server_path}")
    with tempfile.TemporaryDirectory(prefix="attacks-") as folder:
        # Without need no folder of its own, in which Python would compile everything anew.
        path: tuple[Path, ...] = (TREE,)
        if package.parent != TREE:
            link = Path(folder, "package")
            link.mkdir()
            (link / "pgnet_trio").symlink_to(package)
            path = (link, TREE)
        yield Place(Path(folder), python, path, tuple(options), command)


@attrs.define
class ServerProcess:
    """A server that runs, or has run.

    Attributes:
        log_file: What it writes to standard error.
        port: Where it listens.
    """

    process: trio.Process
    log_file: Path
    port: int = 0

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def lives(self) -> bool:
        """Whether the process has not ended."""
        return self.process.poll() is None

    @property
    def log_text(self) -> str:
        """The end of what it wrote to standard error, as text."""
        with self.log_file.open("rb") as file:
            file.seek(max(0, self.log_size - KEPT_OF_LOG))
            return file.read().decode("utf-8", "replace")

    @property
    def log_size(self) -> int:
        """Bytes of all that it wrote to standard error."""
        return self.log_file.stat().st_size

    def cpu(self) -> float:
        """Seconds of CPU time so far."""
        used = cpu_time(self.pid)
        return used.user + used.system

    def memory(self) -> int:
        """Bytes of resident memory."""
        return resident_memory(self.pid)

    def pin(self, core: int) -> None:
        """Have it run on one core, all of its threads."""
        for thread in Path(f"/proc/{self.pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {core})

    async def kill(self) -> None:
        """Kill it, as `kill -9` does."""
        self.process.kill()
        await self.process.wait()

    async def wait(self, seconds: float) -> int | None:
        """Wait for its end; returns its exit status, or None where that does not come in time."""
        with trio.move_on_after(seconds):
            return await self.process.wait()
        return None

    async def end(self, patience: float = ORDERLY_END) -> End:
        """Have it end by SIGTERM, once and if need be twice, and kill it otherwise.

        Args:
            patience: Seconds after the first.
        """
        if not self.lives:
            return End(how="was gone", seconds=0.0, status=self.process.returncode)
        start = trio.current_time()
        for how, seconds in (
            ("one signal", patience),
            ("two signals", min(patience, SECOND_SIGNAL)),
        ):
            self.process.send_signal(signal.SIGTERM)
            status = await self.wait(seconds)
            if status is not None:
                return End(how=how, seconds=trio.current_time() - start, status=status)
        await self.kill()
        return End(how="killed", seconds=trio.current_time() - start, status=None)

    async def await_announcement(self) -> None:
        """Wait until it serves.

        Raises:
            StartFailed: It does not.
        """
        assert self.process.stdout is not None
        output = b""
        with trio.move_on_after(START_TIMEOUT):
            async for data in self.process.stdout:
                output += data
                found = _ANNOUNCEMENT.search(output)
                if found:
                    self.port = int(found[1])
                    return
        await self.kill()
        raise StartFailed(self.log_text[-1000:].strip() or "it said nothing")


@attrs.frozen
class End:
    """How a server ended.

    Attributes:
        how: By one signal, by two, killed, or gone before.
        seconds: How long it took.
        status: The exit status; None where it was killed.
    """

    how: str
    seconds: float
    status: int | None

    @property
    def orderly(self) -> bool:
        """Whether the first signal ended it, and well."""
        return self.how == "one signal" and self.status == 0


@asynccontextmanager
async def running_server(
    where: Place,
    *options: str,
    kind: str = "",
    save_file: Path | None = None,
    cheap: bool = False,
) -> AsyncIterator[ServerProcess]:
    """Run a server while the block lasts.

    Args:
        where: Where.
        options: Options of ``pgnet-trio serve``.
        kind: The kind of games that misbehave.
        save_file: Its save file.
        cheap: Whether passwords are to cost it nothing: `tests.attacks.server`.

    Raises:
        StartFailed: It did not start.
    """
    ordinary = [*where.command, *SERVE, *where.options]
    command = ["-m", "tests.attacks.server"] if cheap else ordinary
    saving = [] if save_file is None else ["--save-file", str(save_file)]
    descriptor, log_file = tempfile.mkstemp(suffix=".log", dir=where.folder)
    try:
        process = await trio.lowlevel.open_process(
            [where.python, *command, "--port", "0", *saving, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=descriptor,
            cwd=where.folder,
            env=where.environment({"ATTACKS_KIND": kind}),
        )
    finally:
        os.close(descriptor)
    server = ServerProcess(process, Path(log_file))
    try:
        await server.await_announcement()
        yield server
    finally:
        with trio.CancelScope(shield=True):
            await server.kill()
            assert process.stdout is not None
            await process.stdout.aclose()
