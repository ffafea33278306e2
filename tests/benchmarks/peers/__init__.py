"""Other systems at the same work as ours, to be run by hand.

`python -m tests.benchmarks.peers install` puts them into folders that git ignores; `... jobs`,
`... sync` and `... idle` measure those that are there, and ours (`ours.py`) beside them. A system
takes part by being a `Contender`; what all of them share is in `drive.py` (processes),
`generate.py` (the load) and `wire.py` (lean clients).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import attrs

__all__ = ["Contender", "IdleResult", "JobResult", "SyncResult"]


@attrs.frozen(kw_only=True)
class SyncResult:
    """What it takes to show one room's state to its players; times in seconds.

    Attributes:
        players: How many were in the room.
        seconds: How long was measured.
        cpu_seconds: CPU time of the server in that time, user and system.
        bytes_per_client_second: What each client received, WebSocket headers included.
        states_per_client_second: How many states each client got: less than the ticks a second
            means that the server did not keep up.
        p50: The median time from sending an input to the arrival of a state that shows it.
        p99: The time within which 99 % of the inputs were shown.
        unanswered: Inputs that no state had shown two seconds after the end.
        generator_busy: Which part of the time the load generator was at work: near 1 it, not the
            server, may be what the times are about.
        server_waited: Which part of the time the server could have run but had no core to run on:
            more than a few percent means that the machine was busy with something else.
    """

    players: int
    seconds: float
    cpu_seconds: float
    bytes_per_client_second: float
    states_per_client_second: float
    p50: float
    p99: float
    unanswered: int
    generator_busy: float
    server_waited: float

    @property
    def cpu_percent(self) -> float:
        """CPU time of the server, in percent of one core."""
        return self.cpu_seconds / self.seconds * 100


@attrs.frozen(kw_only=True)
class JobResult:
    """What one kind of operation costs; times in seconds.

    Attributes:
        count: Operations done: answers, messages that recipients got, or pairs of join and leave.
        seconds: How long was measured.
        cpu_seconds: CPU time of the server in that time, user and system.
        p50: The median time that an operation took.
        p99: The time within which 99 % of them were done.
        generator_busy: Which part of the time the load generator was at work.
        server_waited: Which part of the time the server could have run but had no core to run on.
    """

    count: int
    seconds: float
    cpu_seconds: float
    p50: float
    p99: float
    generator_busy: float
    server_waited: float

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.count / self.seconds

    @property
    def cpu_each(self) -> float:
        """CPU time of the server for one operation."""
        return self.cpu_seconds / self.count

    @property
    def busy(self) -> float:
        """Which part of the time the server was on a CPU."""
        return self.cpu_seconds / self.seconds


@attrs.frozen(kw_only=True)
class IdleResult:
    """What players cost that are logged in and do nothing; in bytes of resident memory.

    Attributes:
        players: How many there were.
        each: What the server took for each of them.
        total: What it held at the end.
    """

    players: int
    each: float
    total: int


class Contender(ABC):
    """A system that is measured. Each run has a fresh server in a process of its own.

    Attributes:
        name: What the command line calls it.
        label: What the tables call it.
        encrypted: Whether it encrypts.
        notes: What a reader of its figures has to know, by the command: "sync", "jobs" or "idle".
    """

    name: str
    label: str
    encrypted: bool
    notes: dict[str, str]

    @property
    @abstractmethod
    def comes_back(self) -> bool:
        """Whether it has something to measure where clients come back."""

    @abstractmethod
    def missing(self) -> str | None:
        """What is not installed and how to install it, or None."""

    @abstractmethod
    def run_sync(self, players: int, seconds: float) -> SyncResult:
        """The work of `workload.py` with this many players."""

    @abstractmethod
    def run_request(self, clients: int, seconds: float, in_flight: int = 1) -> JobResult:
        """Clients that each ask again as soon as all is answered, 100 bytes each way."""

    @abstractmethod
    def run_broadcast(self, recipients: int, seconds: float) -> JobResult:
        """100-byte messages to a whole room, `BROADCASTS_PER_SECOND` of them."""

    @abstractmethod
    def run_join_leave(self, seconds: float) -> JobResult:
        """Clients that join a room and leave it, connected all the time where that is possible."""

    @abstractmethod
    def run_visit(self, seconds: float) -> JobResult:
        """Clients that connect, join a room, leave it and hang up."""

    @abstractmethod
    def run_return(self, seconds: float) -> JobResult:
        """Clients whose connection drops and who come back; where `comes_back`."""

    @abstractmethod
    def run_idle(self, players: int) -> IdleResult:
        """So many clients that are logged in."""
