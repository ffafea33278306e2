"""The rivals: how each is started, and who talks to it."""

from __future__ import annotations

import json
import os
import shutil
from abc import abstractmethod
from pathlib import Path

import attrs

from tests.benchmarks.peers import Contender, IdleResult, JobResult, SyncResult
from tests.benchmarks.peers.drive import (
    Command,
    generate,
    idle_result,
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
RETURNING_CLIENTS = 20


class LeanContender(Contender):
    """A system whose clients are classes like those in `wire.py`, in any module.

    Attributes:
        players, echoes, recipients, visitors, idlers: Such classes, each as "module:Class".
        returners: Another, or None.
    """

    players: str
    echoes: str
    recipients: str
    visitors: str
    idlers: str
    returners: str | None = None

    @property
    def comes_back(self) -> bool:
        return self.returners is not None

    @abstractmethod
    def server(self) -> Command:
        """What prints its port and serves."""

    def run_sync(self, players: int, seconds: float) -> SyncResult:
        return sync_result(self.server(), self.players, players, seconds)

    def run_request(self, clients: int, seconds: float, in_flight: int = 1) -> JobResult:
        return job_result(self.server(), "request", self.echoes, clients, seconds, in_flight)

    def run_broadcast(self, recipients: int, seconds: float) -> JobResult:
        return job_result(self.server(), "broadcast", self.recipients, recipients, seconds)

    def run_join_leave(self, seconds: float) -> JobResult:
        return job_result(self.server(), "join-leave", self.visitors, JOINING_CLIENTS, seconds)

    def run_visit(self, seconds: float) -> JobResult:
        return job_result(self.server(), "visit", self.visitors, VISITING_THREADS, seconds)

    def run_return(self, seconds: float) -> JobResult:
        if self.returners is None:
            raise ValueError(f"{self.label} has nothing to come back to")
        return job_result(self.server(), "return", self.returners, RETURNING_CLIENTS, seconds)

    def run_idle(self, players: int) -> IdleResult:
        return idle_result(self.server(), self.idlers, players)


class PythonRival(LeanContender):
    """One of `servers.py`."""

    encrypted = False

    def __init__(self, name: str, label: str, classes: str, notes: dict[str, str]) -> None:
        self.name = name
        self.label = label
        self.notes = notes
        module = f"tests.benchmarks.peers.wire:{classes}"
        self.players, self.echoes = f"{module}Player", f"{module}Echo"
        self.idlers = self.echoes
        self.recipients, self.visitors = f"{module}Broadcast", f"{module}Visit"

    def missing(self) -> str | None:
        if (PACKAGES / self.name).is_dir():
            return None
        return f"{self.label} is not installed; {INSTALL} installs it"

    def server(self) -> Command:
        return python_module("tests.benchmarks.peers.servers", self.name, PYTHONPATH=str(PACKAGES))


class RawWebSockets(PythonRival):
    """Without anything on top."""

    returners = "tests.benchmarks.peers.wire:WebSocketsReturn"


class Colyseus(LeanContender):
    """Colyseus; its own client library plays, lean clients do the jobs."""

    name = "colyseus"
    label = "Colyseus"
    encrypted = False
    notes = {  # noqa: RUF012 - nobody changes it
        "sync": "Colyseus sends patches in its own schema; positions and numbers are `uint16`, and "
        "patches leave right after the tick. Its players are its own client library, which "
        "decodes each patch of each player in one process: beyond a `generator` of about 80 %, "
        "its times are more the generator's than the server's.",
        "jobs": "A client of Colyseus connects anew for each room that it joins (HTTP for a seat, "
        "then WebSocket): both kinds of joining are the same there.",
        "idle": "A client of Colyseus is always in a room; here, all are in one.",
    }
    echoes = "tests.benchmarks.peers.wire:ColyseusEcho"
    recipients = "tests.benchmarks.peers.wire:ColyseusBroadcast"
    visitors = "tests.benchmarks.peers.wire:ColyseusVisit"
    idlers = "tests.benchmarks.peers.wire:ColyseusEcho"
    returners = "tests.benchmarks.peers.wire:ColyseusReturn"

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
    RawWebSockets(
        "websockets",
        "raw `websockets`, asyncio",
        "WebSockets",
        {
            "sync": f"Raw `websockets` {WHOLE_STATE}",
            "jobs": "Raw `websockets` has no requests, rooms or users: what its server does here "
            "is the least that an author would write, messages in JSON. It has no sessions: who "
            "comes back has its connection upgraded, and nothing more.",
        },
    ),
]
