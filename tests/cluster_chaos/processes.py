"""Nodes as processes, and the engines that they share: killed, stopped, cut, and cleaned up."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Protocol

import attrs
import trio

from tests.cluster import postgres
from tests.cluster_chaos.node import NO_ENGINE
from tests.soak.proxy import FaultyProxy
from tests.soak.server import Lines

__all__ = [
    "ENGINES",
    "EngineProcess",
    "NoEngine",
    "Node",
    "PostgresProcess",
    "SQLiteFile",
    "open_engine",
]

ROOT = Path(__file__).parents[2]
ANSWER_TIMEOUT = 20.0

ENGINES = ("sqlite", "postgres")


class NoEngine(Exception):
    """A node did not start, since it did not reach what all of them share."""


_LINE = re.compile(r"^(\S+ \S+) (WARNING|ERROR|CRITICAL) (.*)$")
_VARIES = re.compile(r"'[^']*'|\"[^\"]*\"|\b\d[\d.,]*")
_HARMLESS = "updates were skipped"
_LAPSED = "The lease of this node is over"


class EngineProcess(Protocol):
    """What the nodes share, and what can be done to it."""

    def address_for(self, node: str) -> str:
        """Return where a node finds it."""

    async def trouble(self, seconds: float, how: str) -> None:
        """Have it do nothing for a while; *how* is one of `troubles`."""

    def cut(self, node: str, *, stalled: bool) -> None:
        """Cut a node off, so that nothing passes where *stalled*, or everything breaks."""

    def heal(self, node: str) -> None:
        """Let a node reach it again."""

    def may_write(self) -> bool:
        """Return whether nobody who is stopped keeps the others from writing."""

    @property
    def troubles(self) -> tuple[str, ...]:
        """What can befall it."""

    @property
    def can_be_cut(self) -> bool:
        """Whether there is anything between a node and it."""


@attrs.define(eq=False)
class SQLiteFile:
    """A save file that all nodes have open."""

    path: Path
    troubles: tuple[str, ...] = ("held",)
    can_be_cut: bool = False

    def address_for(self, node: str) -> str:
        return f"sqlite:{self.path}"

    async def trouble(self, seconds: float, how: str) -> None:
        """Hold its lock, as a process does that is stopped in the middle of a write."""
        with closing(sqlite3.connect(self.path, isolation_level=None, timeout=0.0)) as connection:
            while True:
                try:
                    connection.execute("BEGIN IMMEDIATE")
                    break
                except sqlite3.OperationalError:
                    await trio.sleep(0.005)
            try:
                await trio.sleep(seconds)
            finally:
                connection.execute("ROLLBACK")

    def cut(self, node: str, *, stalled: bool) -> None:
        raise AssertionError("nothing is between a process and a file")

    def heal(self, node: str) -> None:
        raise AssertionError("nothing is between a process and a file")

    def may_write(self) -> bool:
        with closing(sqlite3.connect(self.path, isolation_level=None, timeout=0.2)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            connection.execute("ROLLBACK")
            return True


class SocketProxy(FaultyProxy):
    """The same to a Unix socket."""

    def __init__(self, seed: str, path: Path) -> None:
        super().__init__(seed)
        self._path = path
        self.target = 1

    async def connect(self) -> trio.SocketStream:
        return await trio.open_unix_socket(self._path)


@attrs.define(eq=False)
class PostgresProcess:
    """A server of PostgreSQL, with a proxy before it for each node."""

    server: postgres.Postgres
    proxies: dict[str, SocketProxy]
    troubles: tuple[str, ...] = ("crashed", "paused")
    can_be_cut: bool = True

    def address_for(self, node: str) -> str:
        return f"host=127.0.0.1 port={self.proxies[node].port} user=postgres dbname=postgres"

    async def trouble(self, seconds: float, how: str) -> None:
        if how == "paused":
            self.server.pause()
            try:
                await trio.sleep(seconds)
            finally:
                self.server.resume()
            return
        await trio.to_thread.run_sync(self.server.crash)
        try:
            await trio.sleep(seconds)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self.server.start)

    def cut(self, node: str, *, stalled: bool) -> None:
        if stalled:
            self.proxies[node].stall(True)
        else:
            self.proxies[node].target = None
            self.proxies[node].drop()

    def heal(self, node: str) -> None:
        self.proxies[node].target = 1
        self.proxies[node].stall(False)

    def may_write(self) -> bool:
        return True


@asynccontextmanager
async def open_engine(
    kind: str, folder: Path, names: list[str], seed: str
) -> AsyncIterator[EngineProcess]:
    """Have an engine around the block.

    Args:
        kind: One of `ENGINES`.
        folder: An empty folder.
        names: The nodes.
        seed: Decides how connections break.
    """
    if kind == "sqlite":
        yield SQLiteFile(folder / "save.sqlite")
        return
    with postgres.new_data() as data, postgres.new_server(data) as server:
        async with trio.open_nursery() as nursery:
            proxies = {name: SocketProxy(f"{seed} {name}", server.socket) for name in names}
            for proxy in proxies.values():
                await nursery.start(proxy.run)
            yield PostgresProcess(server, proxies)
            nursery.cancel_scope.cancel()


@attrs.define(eq=False)
class Node:
    """One node, whose process comes and goes.

    Attributes:
        name: What it is called.
        proxy: Where clients find it, always.
        engine: What it shares.
        runs: How often it was started.
        process: The process; None where there is none.
        stopped_since: Since when it is stopped by SIGSTOP; None where it is not.
        said: What was logged, with how often, in all runs.
        tracebacks: The ends of tracebacks.
        lapses: When a lease was over, and in which run, by the clock of the games.
    """

    name: str
    proxy: FaultyProxy
    engine: EngineProcess
    folder: Path
    lease: float
    runs: int = 0
    process: trio.Process | None = None
    stopped_since: float | None = None
    said: Counter[str] = attrs.field(factory=Counter)
    tracebacks: list[str] = attrs.field(factory=list)
    lapses: list[tuple[str, float]] = attrs.field(factory=list)
    _lines: Lines | None = None
    _asked: int = 0
    _turn: trio.Lock = attrs.field(factory=trio.Lock)

    @property
    def place(self) -> str:
        """The run that there is now, as games name it."""
        return f"{self.name}.{self.runs}"

    @property
    def address(self) -> str:
        """Where clients find it."""
        return f"127.0.0.1:{self.proxy.port}"

    @property
    def log_file(self) -> Path:
        """What the present run writes to standard error."""
        return self.folder / f"{self.place}.log"

    async def start(self, timeout: float) -> float:
        """Start it; return how long that took.

        Raises:
            NoEngine: It did not start, since the engine did not answer.
            RuntimeError: It did not start.
        """
        self.runs += 1
        start = trio.current_time()
        with self.log_file.open("wb") as log:
            self.process = await trio.lowlevel.open_process(
                [
                    sys.executable,
                    "-m",
                    "tests.cluster_chaos.node",
                    self.engine.address_for(self.name),
                    str(self.folder / "cluster.key"),
                    self.address,
                    self.name,
                    str(self.runs),
                    str(self.lease),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        assert self.process.stdout is not None
        self._lines = Lines(self.process.stdout)
        line = None
        # Nobody else may take its first line for the answer to something.
        async with self._turn:
            with trio.move_on_after(timeout):
                line = await self._lines.next()
        if line is None:
            has_ended = self.process.poll() is not None
            await self.kill()
            text = self._tail()
            if NO_ENGINE in text:
                raise NoEngine(text)
            how = "ended" if has_ended else f"did not serve within {timeout:g} s"
            raise RuntimeError(f"{self.place} {how}: {text}")
        self.proxy.target = json.loads(line)["port"]
        return trio.current_time() - start

    async def status(self) -> dict[str, Any] | None:
        """Return what it says of itself; None where it says nothing in time."""
        return await self._ask({})

    async def invite(self, code: str) -> bool:
        """Have it make an invite code for anybody; return whether it says that it has."""
        said = await self._ask({"invite": code})
        return said is not None and said["invited"]

    async def _ask(self, what: dict[str, Any]) -> dict[str, Any] | None:
        """Return what it answers; None where it answers nothing in time."""
        self._asked += 1
        what = {**what, "number": self._asked}
        process, lines = self.process, self._lines
        if process is None or lines is None or self.stopped_since is not None:
            await trio.lowlevel.checkpoint()
            return None
        assert process.stdin is not None
        async with self._turn:
            try:
                with trio.move_on_after(ANSWER_TIMEOUT):
                    await process.stdin.send_all(json.dumps(what).encode() + b"\n")
                    while (line := await lines.next()) is not None:
                        found: dict[str, Any] = json.loads(line)
                        # Another one answers what was given up.
                        if found["number"] == what["number"]:
                            return found
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            return None

    async def stop(self, patience: float) -> bool:
        """Stop it as it stands, but not while it keeps all others from writing for long.

        Args:
            patience: Seconds for which it may do that.

        Returns:
            Whether it is stopped; not where it has ended meanwhile.
        """
        deadline = trio.current_time() + patience
        while self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGSTOP)
            self.stopped_since = time.monotonic()
            if await trio.to_thread.run_sync(self.engine.may_write):
                return True
            if trio.current_time() > deadline:
                return True
            self.go_on()
            await trio.sleep(0.01)
        return False

    def go_on(self) -> None:
        """Let it go on after `stop`."""
        self.stopped_since = None
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        """Kill it, as `kill -9` does."""
        process = self.process
        if process is not None:
            process.kill()
            await process.wait()
            await self._close()

    async def drain(self, timeout: float) -> int | None:
        """Have it end by SIGTERM; return its exit status, or None where it did not end in time."""
        process = self.process
        assert process is not None
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        status = None
        with trio.move_on_after(timeout):
            status = await process.wait()
        if status is None:
            process.send_signal(signal.SIGABRT)
            await self.kill()
        await self._close()
        return status

    async def aclose(self) -> None:
        """Leave nothing behind."""
        with trio.CancelScope(shield=True):
            await self.kill()

    async def _close(self) -> None:
        process, self.process, self._lines, self.stopped_since = self.process, None, None, None
        if process is None:
            await trio.lowlevel.checkpoint()
            return
        self.proxy.target = None
        assert process.stdin is not None
        assert process.stdout is not None
        with trio.CancelScope(shield=True):
            await process.stdin.aclose()
            await process.stdout.aclose()
        self._read_log()

    def _tail(self) -> str:
        return self.log_file.read_text("utf-8", "replace")[-2000:].strip()

    def _read_log(self) -> None:
        text = self.log_file.read_text("utf-8", "replace")
        ahead = time.time() - time.monotonic()
        for line in text.splitlines():
            found = _LINE.match(line)
            if not found or _HARMLESS in line:
                continue
            when, level, what = found.groups()
            self.said[f"{level} {_VARIES.sub('…', what)}"[:160]] += 1
            if what.startswith(_LAPSED):
                logged = time.mktime(time.strptime(when[:19], "%Y-%m-%d %H:%M:%S"))
                self.lapses.append((self.log_file.stem, logged - ahead))
        for part in text.split("Traceback (most recent call last):")[1:]:
            if len(self.tracebacks) < 5:
                self.tracebacks.append(f"{self.log_file.stem}: {part[-800:].strip()}")
