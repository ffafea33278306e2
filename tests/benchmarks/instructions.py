"""How many instructions the server carries out, which a busy machine cannot change.

The server alone runs under callgrind (a tool of Valgrind), some forty times slower than it is. A
client that waits for each answer gives it the same work each time, and callgrind counts between two
moments. Instructions of the kernel are not among them, and not all instructions take the same time:
this finds small differences between two revisions, and is no measure of how fast anything is.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import attrs

from tests.benchmarks.compare import checkout
from tests.benchmarks.peers.ours import Broadcast, InputPlayer, Player, Return, Visit
from tests.benchmarks.processes import ROOT
from tests.benchmarks.report import Report
from tests.benchmarks.scale import TablePlayer
from tests.benchmarks.wire import Peer, Protocol1Peer
from tests.benchmarks.wire2 import Protocol2Peer

__all__ = ["WORKS", "Counter", "Work", "counting", "instructions", "instructions_in", "name_of"]

# In the tree whose server it is. Callgrind writes down its counts before it enters this function of
# the C library, which nothing else calls.
MARK = "getloadavg"
START = f"""
import os, signal, sys

def count(*_):
    os.{MARK}()
    print(flush=True)

signal.signal(signal.SIGUSR1, count)
try:
    from pgnet_trio.transport import rounds
except ImportError:
    pass
else:
    # Time goes on as ever, so that a round would be over after the first of its sockets.
    rounds.LONGEST_ROUND = 60.0
try:
    from pgnet_trio.server.recording import writer
except ImportError:
    pass
else:
    # Likewise: what is written once a second is for some thousand requests, and not for a few.
    writer.WRITE_INTERVAL = 60.0
try:
    from pgnet_trio.server.monitor import instruments, live
except ImportError:
    pass
else:
    # And what is looked at once or twice a second.
    instruments.LAG_INTERVAL = live.INTERVAL = 60.0
from tests.benchmarks.servers import main
main()
"""

# Seconds until a server has written its counts, which are some megabytes.
LONGEST_ANSWER = 60.0

CLIENTS = 32
RECIPIENTS = 50
TABLE = 10
PLAYERS = 20

AnyPeer = TypeVar("AnyPeer", bound=Peer)
Lot = Callable[[], None]


@attrs.frozen
class Work:
    """Something that a server does again and again.

    Attributes:
        label: What the tables call it.
        begin: Logs clients in at a port; gives what has them do one lot of it, and waits.
        each: How many operations a lot is.
        lots: How many are counted.
        server: One of `tests.benchmarks.servers`.
        environment: What its environment has beyond ours.
    """

    label: str
    begin: Callable[[int, contextlib.ExitStack], Lot]
    each: int
    lots: int
    server: str = "jobs-websockets"
    environment: Mapping[str, str] = attrs.field(factory=dict)


def name_of(kind: type[Peer], group: str, number: int) -> str:
    """The username of one of a group, whose class other work at the same server may have too."""
    return f"{kind.__name__[:8]}{group}n{number}"


def _logged_in(
    kind: type[AnyPeer], port: int, count: int, name: str, stack: contextlib.ExitStack
) -> list[AnyPeer]:
    peers = []
    for number in range(count):
        peers.append(kind(port, name_of(kind, name, number)))
        stack.callback(peers[-1].close)
    return peers


def requests(
    kind: type[Peer], clients: int, in_flight: int = 1
) -> Callable[[int, contextlib.ExitStack], Lot]:
    """All clients ask, and all are answered."""

    def begin(port: int, stack: contextlib.ExitStack) -> Lot:
        peers = _logged_in(kind, port, clients, f"{clients}x{in_flight}", stack)
        for peer in peers:
            peer.ask()
            peer.pipeline(in_flight)

        def lot() -> None:
            for peer in peers:
                peer.send(peer.next_request())
            for peer in peers:
                while not peer.take(peer.receive()):
                    pass

        return lot

    return begin


def broadcasts(port: int, stack: contextlib.ExitStack) -> Lot:
    """One has the room push, and all have got it."""
    peers = _logged_in(Broadcast, port, RECIPIENTS, "", stack)

    def lot() -> None:
        peers[0].send(peers[0].next_request())
        for peer in peers:
            while not peer.messages(peer.receive()):
                pass

    return lot


def visits(port: int, _: contextlib.ExitStack) -> Lot:
    """Connect, log in for the first time, join, leave, hang up."""
    numbers = iter(range(1 << 30))

    def lot() -> None:
        with contextlib.closing(Visit(port, f"visitor{next(numbers)}")) as visitor:
            visitor.join_and_leave()

    return lot


def returns(port: int, stack: contextlib.ExitStack) -> Lot:
    """Lose the connection, connect, resume the session."""
    peer = Return(port, "returning")
    stack.callback(peer.close)

    def lot() -> None:
        for step in Return.steps:
            step(peer)

    return lot


def moves(port: int, stack: contextlib.ExitStack) -> Lot:
    """One at a table of ten moves, and all see it."""
    players = [TablePlayer(port, f"player{number}", {"game": "table"}) for number in range(TABLE)]
    for player in players:
        stack.callback(player.close)

    def lot() -> None:
        players[0].move()
        for player in players:
            while not any(envelope[0] == 11 for envelope in player.wait_for_envelopes()):
                pass

    return lot


def ticks(kind: type[Player]) -> Callable[[int, contextlib.ExitStack], Lot]:
    """A hundred entities move, all players see it, and half of them steer."""

    def begin(port: int, stack: contextlib.ExitStack) -> Lot:
        players = [kind(port, f"player{number}", {"body": number}) for number in range(PLAYERS)]
        for player in players:
            stack.callback(player.close)
        numbers = iter(range(1, 1 << 30))

        def lot() -> None:
            number = next(numbers)
            for player in players[number % 2 :: 2]:
                player.send(player.input(number, *divmod(number, 3)))
            for player in players:
                while not _has_seen(player, player.messages(player.receive())):
                    pass

        return lot

    return begin


def _has_seen(player: Player, messages: Sequence[bytes]) -> bool:
    # Each has to be looked at, also after the first that shows a state.
    seen = [player.seen(message) for message in messages]
    return any(number is not None for number in seen)


WORKS = {
    "request-1": Work("request, 1 client", requests(Protocol2Peer, 1), 1, 300),
    "request-32": Work(
        f"request, {CLIENTS} clients", requests(Protocol2Peer, CLIENTS), CLIENTS, 30
    ),
    "request-32-16": Work(
        f"request, {CLIENTS} clients, 16 in flight",
        requests(Protocol2Peer, CLIENTS, 16),
        CLIENTS * 16,
        8,
    ),
    "monitored-1": Work(
        "request, 1 client, with a monitor",
        requests(Protocol2Peer, 1),
        1,
        300,
        "monitored-websockets",
    ),
    "monitored-32": Work(
        f"request, {CLIENTS} clients, with a monitor",
        requests(Protocol2Peer, CLIENTS),
        CLIENTS,
        30,
        "monitored-websockets",
    ),
    "monitored-32-16": Work(
        f"request, {CLIENTS} clients, 16 in flight, with a monitor",
        requests(Protocol2Peer, CLIENTS, 16),
        CLIENTS * 16,
        8,
        "monitored-websockets",
    ),
    "recorded-1": Work(
        "request, 1 client, recorded",
        requests(Protocol2Peer, 1),
        1,
        300,
        "recorded-websockets",
    ),
    "recorded-32": Work(
        f"request, {CLIENTS} clients, recorded",
        requests(Protocol2Peer, CLIENTS),
        CLIENTS,
        30,
        "recorded-websockets",
    ),
    "broadcast": Work(f"broadcast to {RECIPIENTS}, a recipient", broadcasts, RECIPIENTS, 40),
    "visit": Work("connect, join, leave, hang up", visits, 1, 30),
    "visit-trio-websocket": Work("the same, trio-websocket", visits, 1, 30, "jobs-trio-websocket"),
    "return": Work("drop and come back", returns, 1, 30),
    "protocol-1": Work(
        f"request, {CLIENTS} clients, protocol 1",
        requests(Protocol1Peer, CLIENTS),
        CLIENTS,
        30,
        "pgnet-websockets",
    ),
    "move": Work(f"move at a table of {TABLE}", moves, 1, 100, "table-websockets"),
    "tick": Work(
        f"tick of 100 entities, {PLAYERS} players", ticks(Player), 1, 60, "arena-websockets"
    ),
    "tick-inputs": Work(
        f"tick of 100 entities, {PLAYERS} players, with `inputs`",
        ticks(InputPlayer),
        1,
        60,
        "inputs-websockets",
    ),
    "trio-websocket": Work(
        f"request, {CLIENTS} clients, trio-websocket",
        requests(Protocol2Peer, CLIENTS),
        CLIENTS,
        30,
        "jobs-trio-websocket",
    ),
    "floor": Work(
        f"request, {CLIENTS} clients, the same bytes on Trio alone, no rules",
        requests(Protocol2Peer, CLIENTS),
        CLIENTS,
        30,
        "floor",
    ),
    "floor-1": Work(
        "request, 1 client, the same bytes on Trio alone, no rules",
        requests(Protocol2Peer, 1),
        1,
        300,
        "floor",
    ),
    "tasks": Work(
        f"request, {CLIENTS} clients, without reading in rounds",
        requests(Protocol2Peer, CLIENTS),
        CLIENTS,
        30,
        environment={"PGNET_SHORT_WAY": "0"},
    ),
}

# Not counted: what is made at the first time, and what CPython specializes after some.
FIRST_LOTS = 0.3


def instructions_in(dump: str) -> int:
    """What callgrind has counted, from what it has written.

    Raises:
        ValueError: It is not whole.
    """
    # Both names are in use, by the release of Valgrind and the number of the dump.
    found = re.search(r"^(?:summary|totals): (\d+)$", dump, re.MULTILINE)
    if found is None:
        raise ValueError("expected what callgrind writes, found no line with its counts")
    return int(found[1])


@attrs.frozen
class Counter:
    """A server under callgrind."""

    process: subprocess.Popen[str]
    port: int
    folder: Path

    def count(self) -> int:
        """What it has carried out since it was last asked.

        Raises:
            RuntimeError: It has ended, or does not answer.
        """
        self.process.send_signal(signal.SIGUSR1)
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], LONGEST_ANSWER)
        if not ready or not self.process.stdout.readline():
            raise RuntimeError("the server has ended, or does not answer")
        (dump,) = self.folder.glob("counts.*")
        counted = instructions_in(dump.read_text("utf-8", errors="replace"))
        dump.unlink()
        return counted


@contextlib.contextmanager
def counting(tree: Path, server: str, environment: Mapping[str, str] = {}) -> Iterator[Counter]:
    """Run a tree's server under callgrind while the block lasts.

    Raises:
        RuntimeError: It did not start, or there is no Valgrind.
    """
    if shutil.which("valgrind") is None:
        raise RuntimeError("counting instructions needs Valgrind, which is not installed")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "errors").open("w", encoding="utf-8") as errors:
            started = subprocess.Popen(
                [
                    *("valgrind", "--tool=callgrind", f"--dump-before={MARK}"),
                    f"--callgrind-out-file={folder / 'counts'}",
                    *(sys.executable, "-c", START, server),
                ],
                cwd=tree,
                # The order of sets is part of what a server does.
                env={**os.environ, "PYTHONHASHSEED": "0", **environment},
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        with started as process:
            try:
                assert process.stdout is not None
                port = process.stdout.readline()
                if not port:
                    wrong = (folder / "errors").read_text("utf-8", errors="replace")[-1000:]
                    raise RuntimeError(f"{tree}: the server {server!r} did not start: {wrong}")
                yield Counter(process, int(port), folder)
            finally:
                process.kill()


def _counted(counter: Counter, work: Work, lots: int) -> float:
    with contextlib.ExitStack() as stack:
        lot = work.begin(counter.port, stack)
        for _ in range(max(1, round(lots * FIRST_LOTS))):
            lot()
        counter.count()
        for _ in range(lots):
            lot()
        return counter.count() / (lots * work.each)


def _counts(
    tree: Path, works: Sequence[str], part: float, progress: Callable[[str], None]
) -> dict[str, float]:
    found = {}
    servers: dict[tuple[str, tuple[tuple[str, str], ...]], list[str]] = {}
    for name in works:
        key = (WORKS[name].server, tuple(WORKS[name].environment.items()))
        servers.setdefault(key, []).append(name)
    for (server, environment), names in servers.items():
        with counting(tree, server, dict(environment)) as counter:
            for name in names:
                progress(f"{tree.name}: {name}")
                lots = max(1, round(WORKS[name].lots * part))
                found[name] = _counted(counter, WORKS[name], lots)
    return found


def instructions(
    revision: str | None,
    *,
    works: Sequence[str],
    part: float,
    tolerance: float,
    progress: Callable[[str], None],
    counts: Callable[
        [Path, Sequence[str], float, Callable[[str], None]], dict[str, float]
    ] = _counts,
) -> Report:
    """Count the instructions of this tree's server, and those of an earlier one beside them.

    Args:
        revision: What this tree is compared with, or None.
        works: Names in `WORKS`.
        part: Which part of the usual lots is counted.
        tolerance: Which part more is no loss: 0.01 for 1 %.
        progress: Called with a line of text before each count.
        counts: Counts at a tree.
    """
    before = None
    if revision is not None:
        before = counts(checkout(ROOT, revision), works, part, progress)
    now = counts(ROOT, works, part, progress)
    rows, measured = [], []
    for name in works:
        row = [WORKS[name].label, f"{now[name] / 1e3:,.1f}"]
        each: dict[str, str | float] = {"work": name, "now": now[name]}
        if before is not None:
            ratio = now[name] / before[name]
            each |= {
                "before": before[name],
                "judgement": "slower" if ratio > 1 + tolerance else "within",
            }
            row += [f"{before[name] / 1e3:,.1f}", f"{ratio:.3f}", f"{each['judgement']}"]
        rows.append(row)
        measured.append(each)
    head = ["what", "thousand instructions"]
    if revision is not None:
        head += [f"at {revision}", "ratio", f"at most {tolerance * 100:g} % more"]
    return Report(
        title="Instructions",
        command=f"python -m tests.benchmarks instructions {revision or ''}".rstrip()
        + f" --works {' '.join(works)} --part {part:g} --tolerance {tolerance * 100:g}",
        head=head,
        rows=rows,
        notes=[
            "Of the server's process for each operation, without those of the kernel, counted by "
            "callgrind. The load is the same for both, and waits for each answer, so that it does "
            "not matter what else the machine does."
        ],
        measured=measured,
    )
