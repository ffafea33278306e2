"""The rivals: how each is started, and who talks to it."""

from __future__ import annotations

import json
import os
import shutil
from abc import abstractmethod
from pathlib import Path

import attrs

from tests.benchmarks.peers import Contender, JobResult, SyncResult
from tests.benchmarks.peers.drive import (
    Command,
    generate,
    job_result,
    python_module,
    running,
    sync_result,
)
from tests.benchmarks.peers.workload import WORKLOAD

__all__ = ["RIVALS", "Colyseus", "LeanContender", "PythonRival"]

HERE = Path(__file__).parent
NODE = HERE / "node"
NODE_MODULES = NODE / "node_modules"
# A leading dot keeps tests, type checks and linters out of it.
PACKAGES = HERE / ".packages"

INSTALL = "`python -m tests.benchmarks.peers install`"

# Enough that some request is always waiting; more would only lengthen the queue.
JOINING_CLIENTS = 32
VISITING_THREADS = 4


class LeanContender(Contender):
    """A system whose clients are classes like those in `wire.py`, in any module.

    Attributes:
        players, echoes, recipients, visitors: Such classes, each as "module:Class".
    """

    players: str
    echoes: str
    recipients: str
    visitors: str

    @abstractmethod
    def server(self) -> Command:
        """What prints its port and serves."""

    def run_sync(self, players: int, seconds: float) -> SyncResult:
        return sync_result(self.server(), self.players, players, seconds)

    def run_request(self, clients: int, seconds: float) -> JobResult:
        return job_result(self.server(), "request", self.echoes, clients, seconds)

    def run_broadcast(self, recipients: int, seconds: float) -> JobResult:
        return job_result(self.server(), "broadcast", self.recipients, recipients, seconds)

    def run_join_leave(self, seconds: float) -> JobResult:
        return job_result(self.server(), "join-leave", self.visitors, JOINING_CLIENTS, seconds)

    def run_visit(self, seconds: float) -> JobResult:
        return job_result(self.server(), "visit", self.visitors, VISITING_THREADS, seconds)


class PythonRival(LeanContender):
    """One of `servers.py`."""

    encrypted = False

    def __init__(self, name: str, label: str, classes: str, notes: dict[str, str]) -> None:
        self.label = label
        self.notes = notes
        self._name = name
        module = f"tests.benchmarks.peers.wire:{classes}"
        self.players, self.echoes = f"{module}Player", f"{module}Echo"
        self.recipients, self.visitors = f"{module}Broadcast", f"{module}Visit"

    def missing(self) -> str | None:
        if (PACKAGES / self._name).is_dir():
            return None
        return f"{self.label} is not installed; {INSTALL} installs it"

    def server(self) -> Command:
        return python_module("tests.benchmarks.peers.servers", self._name, PYTHONPATH=str(PACKAGES))


class Colyseus(LeanContender):
    """Colyseus; its own client library plays, lean clients do the jobs."""

    label = "Colyseus"
    encrypted = False
    notes = {  # noqa: RUF012  # nobody changes it
        "sync": "Colyseus sends patches in its own schema; positions and numbers are `uint16`, and "
        "patches leave right after the tick. Its players are its own client library, which "
        "decodes each patch of each player in one process: beyond a `generator` of about 80 %, "
        "its times are more the generator's than the server's.",
        "jobs": "A client of Colyseus connects anew for each room that it joins (HTTP for a seat, "
        "then WebSocket): both kinds of joining are the same there.",
    }
    echoes = "tests.benchmarks.peers.wire:ColyseusEcho"
    recipients = "tests.benchmarks.peers.wire:ColyseusBroadcast"
    visitors = "tests.benchmarks.peers.wire:ColyseusVisit"

    def missing(self) -> str | None:
        if shutil.which("node") is None:
            return "Colyseus needs Node, which is not installed"
        if not NODE_MODULES.is_dir():
            return f"Colyseus is not installed; {INSTALL} installs it"
        return None

    def server(self) -> Command:
        return self._node("server.mjs", json.dumps(attrs.asdict(WORKLOAD)))

    def run_sync(self, players: int, seconds: float) -> SyncResult:
        with running(self.server()) as (process, port):
            plan = {
                "port": port,
                "server": process,
                "clients": players,
                "seconds": seconds,
                "sleep": os.cpu_count() == 1,
                "clock_ticks": os.sysconf("SC_CLK_TCK"),
                "workload": attrs.asdict(WORKLOAD),
            }
            return SyncResult(**generate(self._node("sync.mjs"), plan))

    def run_join_leave(self, seconds: float) -> JobResult:
        return self.run_visit(seconds)

    def _node(self, program: str, *arguments: str) -> Command:
        return Command(["node", program, *arguments], {"NODE_ENV": "production"}, NODE)


WHOLE_STATE = (
    "sends the whole state each tick, as JSON with named fields: it has no state that syncs itself."
)

RIVALS: list[Contender] = [
    Colyseus(),
    PythonRival(
        "socketio",
        "python-socketio on uvicorn",
        "SocketIO",
        {
            "sync": f"python-socketio {WHOLE_STATE}",
            "jobs": "uvicorn runs with uvloop and httptools, as its documentation recommends.",
        },
    ),
    PythonRival(
        "websockets",
        "raw `websockets`, asyncio",
        "WebSockets",
        {
            "sync": f"Raw `websockets` {WHOLE_STATE}",
            "jobs": "Raw `websockets` has no requests, rooms or users: what its server does here "
            "is the least that an author would write, messages in JSON.",
        },
    ),
]
