"""How memory, CPU time and latency grow with the number of connected players."""

from __future__ import annotations

import contextlib
import gc
import math
import resource
import select
import time
from collections.abc import Callable, Sequence

import attrs

from pgnet_trio.protocol.v2 import envelopes
from tests.benchmarks.load import percentile
from tests.benchmarks.processes import (
    RunningServer,
    Usage,
    missing_package,
    resident_memory,
    running_server,
)
from tests.benchmarks.report import Report, Verdict
from tests.benchmarks.wire2 import Protocol2Peer, request_body, with_number

__all__ = ["Step", "scale", "steps"]

ROOM_SIZE = 10
MOVES_PER_SECOND = 0.5
WARM_UP = 1.0

# What one core has to carry, and within how many milliseconds nearly all are answered then.
BUDGETED_PLAYERS = 15_000
P99_BUDGET = 60

# Above this power of the number of players, something grows faster than they do.
SUSPICIOUS = 1.1


class TablePlayer(Protocol2Peer):
    """A player at a table, who moves now and then and sees what the others do."""

    @property
    def game(self) -> str:
        return str(self.payload["game"])

    def pipeline(self, in_flight: int) -> None:
        self._moves = 0

    def move(self) -> None:
        self._moves += 1
        self.last_request += 1
        number = self._moves
        body = request_body(
            "Place", {"number": number, "row": number % 8, "column": number // 8 % 8}
        )
        self._told = self.received
        self.say(
            envelopes.encode(envelopes.Acknowledgement(self.received)),
            with_number(body, self.last_request),
        )

    def take(self, data: bytes) -> bool:
        answered = False
        for plaintext in self.plaintexts(data):
            for envelope in self._decode(plaintext):
                if envelope[0] == 8:
                    if envelope[2] != 0:
                        raise ConnectionError(f"a move was refused: {envelope}")
                    answered = True
        return answered


@attrs.frozen
class Step:
    """What was found with so many players; times in seconds.

    Attributes:
        players: How many were connected.
        join: CPU time of the server for each log-in with joining a room, since the step before.
        memory: Resident memory of the server, in bytes.
        moves: Moves a second that were answered.
        cpu: CPU time of the server in a second.
        p50: The median time from a move to its answer.
        p99: The time within which 99 % were answered.
        worst: The longest time.
        busy: Which part of the time the load generator was at work.
        waited: Which part of the time the server waited for a core.
    """

    players: int
    join: float
    memory: int
    moves: float
    cpu: float
    p50: float
    p99: float
    worst: float
    busy: float
    waited: float


def steps(
    server: RunningServer,
    counts: Sequence[int],
    seconds: float,
    progress: Callable[[str], None],
    *,
    warm_up: float = WARM_UP,
) -> list[Step]:
    """Connect more and more players to a server, and have them play at each step."""
    # A full collection here would look like a server that does not answer.
    collects = gc.isenabled()
    gc.disable()
    try:
        return _steps(server, counts, seconds, progress, warm_up)
    finally:
        if collects:
            gc.enable()


def _steps(
    server: RunningServer,
    counts: Sequence[int],
    seconds: float,
    progress: Callable[[str], None],
    warm_up: float,
) -> list[Step]:
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    found = []
    with contextlib.ExitStack() as stack:
        epoll = stack.enter_context(select.epoll())
        players: list[TablePlayer] = []
        by_number: dict[int, TablePlayer] = {}
        for count in sorted(counts):
            progress(f"{count} players")
            added = count - len(players)
            before = Usage.of(server.process)
            while len(players) < count:
                number = len(players)
                game = {"game": f"table{number // ROOM_SIZE}"}
                player = TablePlayer(server.port, f"player{number}", game)
                stack.callback(player.close)
                player.socket.setblocking(False)
                players.append(player)
                by_number[player.socket.fileno()] = player
                epoll.register(player.socket.fileno(), select.EPOLLIN)
            join = (Usage.of(server.process) - before).cpu / added
            _play(players, by_number, epoll, warm_up)
            before = Usage.of(server.process)
            began = time.perf_counter()
            latencies, working = _play(players, by_number, epoll, seconds)
            elapsed = time.perf_counter() - began
            used = Usage.of(server.process) - before
            found.append(
                Step(
                    count,
                    join,
                    resident_memory(server.process),
                    len(latencies) / elapsed,
                    used.cpu / elapsed,
                    percentile(latencies, 50),
                    percentile(latencies, 99),
                    latencies[-1],
                    working / elapsed,
                    used.waited / elapsed,
                )
            )
    return found


def _play(
    players: Sequence[TablePlayer],
    by_number: dict[int, TablePlayer],
    epoll: select.epoll,
    seconds: float,
) -> tuple[list[float], float]:
    """Have all move, one after another; gives the sorted times of the answers and of the work."""
    clock = time.perf_counter
    latencies: list[float] = []
    working = 0.0
    period = 1 / MOVES_PER_SECOND / len(players)
    waiting: set[TablePlayer] = set()
    began = clock()
    moves = 0
    while (now := clock()) < began + seconds:
        has_work = False
        while began + moves * period <= now:
            has_work = True
            player = players[moves % len(players)]
            moves += 1
            # Who still waits sits this one out: a server that is too slow shows in the rate.
            if player not in waiting:
                waiting.add(player)
                player.sent_at = now
                player.move()
        events = epoll.poll(0)
        if not events and not has_work:
            continue
        came = clock()
        for number, _ in events:
            player = by_number[number]
            if player.take(player.receive()):
                latencies.append(came - player.sent_at)
                waiting.discard(player)
        working += clock() - now
    # What is under way must not be taken for an answer to the next round's moves.
    until = clock() + 2
    while waiting and clock() < until:
        for number, _ in epoll.poll(0.01):
            player = by_number[number]
            if player.take(player.receive()):
                latencies.append(clock() - player.sent_at)
                waiting.discard(player)
    if not latencies:
        raise ConnectionError("no move was answered")
    return sorted(latencies), working


def power(first: float, last: float, one: int, other: int) -> float:
    """With which power of the number of players something grows."""
    return math.log(last / first) / math.log(other / one)


def scale(*, players: Sequence[int], seconds: float, progress: Callable[[str], None]) -> Report:
    """Measure one server of ours with more and more players in rooms of ten."""
    server_name = next(
        name
        for name in ("command-websockets", "command-trio-websocket")
        if not missing_package(name)
    )
    with running_server(server_name) as server:
        empty = resident_memory(server.process)
        found = steps(server, players, seconds, progress)
    rows = [
        [
            f"{step.players:,}",
            f"{step.join * 1e3:.2f}",
            f"{step.memory / 2**20:.1f}",
            f"{(step.memory - empty) / step.players / 2**10:.1f}",
            f"{step.moves:,.0f}",
            f"{step.cpu * 100:.1f}",
            f"{step.cpu / step.moves * 1e6:.0f}",
            f"{step.p50 * 1e3:.2f}",
            f"{step.p99 * 1e3:.2f}",
            f"{step.worst * 1e3:.0f}",
            f"{step.busy * 100:.0f}",
            f"{step.waited * 100:.0f}",
        ]
        for step in found
    ]
    notes = [
        "The server's process is set up as `pgnet-trio serve` does it. "
        f"Rooms of {ROOM_SIZE} players; each moves every {1 / MOVES_PER_SECOND:g} s, is answered, "
        "and the new state goes to all in the room as a patch. CPU is the server's: for each "
        "log-in with joining since the row before, in percent of one core, and for each move with "
        "all that it causes. Memory of a player is beyond that of the server with nobody in it. "
        "`generator` is the part of the time that the load generator was at work, `waited` the "
        "part that the server waited for a core."
    ]
    if len(found) > 1:
        first, last = found[-2 if len(found) == 2 else 1], found[-1]
        powers = {
            "CPU for all log-ins": 1 + power(first.join, last.join, first.players, last.players),
            "memory beyond an empty server": power(
                first.memory - empty, last.memory - empty, first.players, last.players
            ),
            "CPU for the moves of all": 1
            + power(first.cpu / first.moves, last.cpu / last.moves, first.players, last.players),
        }
        grown = "; ".join(f"{what}: {value:.2f}" for what, value in powers.items())
        faster = [what for what, value in powers.items() if value > SUSPICIOUS]
        notes.append(
            f"From {first.players:,} to {last.players:,} players, each grows with this power of "
            f"their number: {grown}. Faster than linearly: {', '.join(faster) or 'nothing'}."
        )
    return Report(
        title="Players on one machine",
        command=f"python -m tests.benchmarks scale --players {' '.join(map(str, players))} "
        f"--seconds {seconds:g}",
        head=[
            "players",
            "CPU ms a log-in",
            "RSS MiB",
            "KiB a player",
            "moves/s",
            "CPU %",
            "CPU µs a move",
            "p50 ms",
            "p99 ms",
            "worst ms",
            "generator %",
            "waited %",
        ],
        rows=rows,
        notes=notes,
        measured=[attrs.asdict(step) for step in found],
        verdicts=[
            Verdict(f"p99 with {step.players:,} players", P99_BUDGET, step.p99 * 1e3, "ms")
            for step in found
            if step.players == BUDGETED_PLAYERS
        ],
    )
