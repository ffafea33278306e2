"""Lead a life at a server for half an hour, and look whether anything grows or goes wrong.

`python -m tests.soak --minutes 30 --seed 1` runs a real server in a process of its own, with an
SQLite save file and WebSockets of both kinds over loopback. Players and guests join, play, drop,
stall, come back, take over and leave; an admin invites, deletes, destroys and saves; games end,
crash and restart; the server is restarted, and killed now and then. In the long middle part it is
not restarted, so that its memory can be followed. Between two floods of players there is an ebb,
when everybody has left: there everything has to be back to what it was at the start.

The exit status is 0 when nothing grew and no invariant was broken; otherwise what did is printed,
with the seed and the time.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from pgnet_trio import Client
from pgnet_trio.storage import open_store
from tests.soak.game import PlannedFault
from tests.soak.life import Diary, Life
from tests.soak.measure import Complaints, census, growing, process_figures, rise
from tests.soak.proxy import FaultyProxy
from tests.soak.server import Lines

__all__ = ["Outcome", "soak"]

TRANSPORTS = ("websockets", "trio-websocket")

PLAYERS = 30
PACE = 0.25
PATIENCE = 30.0
SAMPLE_INTERVAL = 5.0

RESUME_GRACE = 4.0
"""Seconds; short, so that many sessions end by it."""

START_TIMEOUT = 30.0
STOP_TIMEOUT = 60.0
EBB_TIMEOUT = 30.0

RESTARTING_SHARE = 0.2
"""The share of the time with restarts, before the long part; half of that comes after it."""

RESTART_INTERVAL = 15.0
"""Seconds from one restart to the next, on average; clients take a few to be all back."""

KILLED_SHARE = 0.3
"""The share of restarts that are kills."""

EBB_INTERVAL = 60.0
"""Seconds from one ebb to the next in the long part."""

SECONDS_FOR_GROWTH = 180.0
"""A long part that is shorter says nothing about growth."""

NOISE = 0.03
"""What resident memory may grow in the second half."""

NOISE_IN_FILE = 0.11
"""What the save file may: two pages of the twenty that it has."""

NOISE_IN_BLOCKS = 0.01
"""What Python's allocated memory may grow from the first ebbs to the last."""

EMPTY_AT_EBB = (
    "connections",
    "sessions",
    "detached",
    "members",
    "seats",
    "waiting_turns",
    "games_gone",
    "invites",
    "unacknowledged",
    "unacknowledged_bytes",
)
SAME_AT_EBB = ("tasks", "rooms", "accounts", "open_files", "sockets")


@attrs.define
class Outcome:
    """What came of a run.

    Attributes:
        counts: What was done, and how often.
        problems: What was wrong.
        samples: What was measured, in the order of time.
    """

    seed: int
    seconds: float = 0.0
    counts: dict[str, int] = attrs.field(factory=dict)
    problems: list[str] = attrs.field(factory=list)
    samples: list[dict[str, Any]] = attrs.field(factory=list)


class ServerProcess:
    """A running server."""

    def __init__(self, process: trio.Process, log: Path) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._log = log
        self._input = process.stdin
        self._lines = Lines(process.stdout)
        self._turn = trio.Lock()

    async def started(self) -> int:
        """Wait until the server serves; return its port."""
        with trio.fail_after(START_TIMEOUT):
            port: int = (await self._read())["port"]
            return port

    async def figures(self, what: str = "status") -> dict[str, Any]:
        """Ask it for its figures; raises EOFError when it has ended."""
        async with self._turn:
            try:
                await self._input.send_all(f"{what}\n".encode())
            except trio.BrokenResourceError:
                raise EOFError from None
            with trio.fail_after(START_TIMEOUT):
                return await self._read()

    async def stop(self) -> tuple[int, dict[str, Any]]:
        """Have the server shut down; return its exit status, and its last figures."""
        async with self._turn:
            await self._input.aclose()
            with trio.fail_after(STOP_TIMEOUT):
                try:
                    last = await self._read()
                except EOFError:
                    last = {}
                return await self._process.wait(), last

    async def kill(self) -> None:
        """Kill it, as `kill -9` does."""
        self._process.kill()
        await self._process.wait()

    def complaint(self) -> str:
        """What it wrote to standard error."""
        return self._log.read_text("utf-8", "replace")[-4000:].strip()

    async def aclose(self) -> None:
        """Kill it if it runs still, and close the pipes."""
        with trio.CancelScope(shield=True):
            self._process.kill()
            await self._process.wait()
            await self._input.aclose()
            assert self._process.stdout is not None
            await self._process.stdout.aclose()

    async def _read(self) -> dict[str, Any]:
        line = await self._lines.next()
        if line is None:
            raise EOFError
        figures: dict[str, Any] = json.loads(line)
        return figures


class RealWorld:
    """A server in a process, and proxies to it.

    Attributes:
        pace: See `tests.soak.life.World`.
        patience: See `tests.soak.life.World`.
    """

    pace = PACE
    patience = PATIENCE

    def __init__(self, folder: Path, grace: float, admin_password: str) -> None:
        self.diary = Diary(lambda: "")
        self.proxies: dict[str, FaultyProxy] = {}
        self.save_file = folder / "save.db"
        self._log = folder / "server.log"
        self._grace = grace
        self._admin_password = admin_password
        self._clients = 0
        self._starts = 0
        self._server: ServerProcess | None = None
        self._changing = trio.Lock()

    def client(self, slot: str, username: str, password: str, invite_code: str = "") -> Client:
        self._clients += 1
        return Client.remote(
            address="127.0.0.1",
            port=self.proxies[slot].port,
            username=username,
            password=password,
            invite_code=invite_code,
            transport=TRANSPORTS[self._clients % 2],
        )

    def drop(self, slot: str) -> None:
        self.proxies[slot].drop()

    def stall(self, slot: str, *, stalled: bool) -> None:
        self.proxies[slot].stall(stalled)

    async def figures(self, what: str = "status") -> dict[str, Any]:
        """What the server holds; what it complained of is written down."""
        async with self._changing:
            return await self._figures(what)

    async def start(self) -> None:
        """Start the server."""
        async with self._changing:
            await self._start()

    async def restart(self, before: Callable[[], None], *, kill: bool) -> None:
        """End the server, and start it again."""
        async with self._changing:
            await self._figures("status")
            before()
            await self._stop(kill=kill)
            await self._start()

    async def stop(self) -> None:
        """Have the server end in order."""
        async with self._changing:
            await self._stop(kill=False)

    async def aclose(self) -> None:
        """Leave nothing running."""
        if self._server is not None:
            await self._server.aclose()

    async def _start(self) -> None:
        transport = TRANSPORTS[self._starts % 2]
        self._starts += 1
        with self._log.open("wb") as log:
            process = await trio.lowlevel.open_process(
                [
                    sys.executable,
                    "-Walways::ResourceWarning",
                    "-m",
                    "tests.soak.server",
                    str(self.save_file),
                    transport,
                    str(self._grace),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "ADMIN_PASSWORD": self._admin_password},
            )
        self._server = ServerProcess(process, self._log)
        try:
            port = await self._server.started()
        except EOFError:
            raise RuntimeError(f"no server started: {self._server.complaint()}") from None
        self._aim(port)

    async def _stop(self, *, kill: bool) -> None:
        server = self._server
        assert server is not None
        if kill:
            await server.kill()
        else:
            try:
                status, last = await server.stop()
            except trio.TooSlowError:
                self.diary.wrong("the server did not shut down")
            else:
                self._hear(last)
                if status:
                    self.diary.wrong(f"the server ended with status {status}")
        self._aim(None)
        await server.aclose()
        complaint = server.complaint()
        if complaint:
            self.diary.wrong(f"the server wrote: {complaint}")

    def _aim(self, port: int | None) -> None:
        for proxy in self.proxies.values():
            proxy.target = port

    async def _figures(self, what: str) -> dict[str, Any]:
        assert self._server is not None
        try:
            figures = await self._server.figures(what)
        except EOFError:
            raise RuntimeError(
                f"{self.diary.time()}: the server has died: {self._server.complaint()}"
            ) from None
        self._hear(figures)
        return figures

    def _hear(self, figures: dict[str, Any]) -> None:
        for complaint in figures.pop("complaints", ()):
            self.diary.wrong(f"the server logged: {complaint}")


class Soak:
    """One run.

    Args:
        world: Where it takes place.
        life: What goes on there.
        seconds: How long.
        requests: How many requests there are at least; a busy machine takes longer for them.
        seed: Decides when the server is restarted.
        progress: Called with a line of text now and then.
    """

    def __init__(
        self,
        world: RealWorld,
        life: Life,
        *,
        seconds: float,
        requests: int,
        seed: int,
        progress: Callable[[str], None],
    ) -> None:
        self._world = world
        self._life = life
        self._seconds = seconds
        self._requests = requests
        self._seed = seed
        self._chance = random.Random(f"{seed} restarts")
        self._progress = progress
        self._start = time.monotonic()
        self._part = ""
        # As text, which weighs little: what is looked for is memory that grows.
        self._samples: list[str] = []
        self._censuses: dict[str, list[str]] = {"server": [], "client": []}
        self._base: dict[str, float] = {}

    @property
    def samples(self) -> list[dict[str, Any]]:
        """What was measured."""
        return [json.loads(sample) for sample in self._samples]

    async def run(self) -> None:
        """Do all of it."""
        world, life = self._world, self._life
        seconds = self._seconds
        await world.start()
        fresh = await self._measure("fresh")
        for username in life.usernames:
            async with world.client("admin", username, username):
                pass
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sample)
            await self._flow_with_restarts(seconds * RESTARTING_SHARE)
            await self._restart(kill=False)
            await self._flow_without_restarts(seconds * (1 - 1.5 * RESTARTING_SHARE))
            await self._flow_with_restarts(seconds * RESTARTING_SHARE / 2)
            nursery.cancel_scope.cancel()
        self._part = "end"
        await life.clear()
        self._base = {
            name: value
            for name, value in fresh.items()
            # The first time that threads are needed leaves them behind, and no more than that.
            if name != "server_open_files"
        }
        await self._check_ebb("the end")
        await world.stop()
        self._check_save_file()

    async def _flow_with_restarts(self, seconds: float) -> None:
        self._part = "restarts"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._restart_now_and_then, seconds)
            await self._life.flow(seconds)
            nursery.cancel_scope.cancel()

    async def _restart_now_and_then(self, seconds: float) -> None:
        times = max(1, round(seconds / RESTART_INTERVAL))
        for _ in range(times):
            share = self._chance.uniform(0.2, 0.8)
            await trio.sleep(share * seconds / times)
            # Uninterrupted, so that there is a server afterwards.
            with trio.CancelScope(shield=True):
                await self._restart(kill=self._chance.random() < KILLED_SHARE)
            await trio.sleep((1 - share) * seconds / times)

    async def _restart(self, *, kill: bool) -> None:
        self._life.diary.note("kills" if kill else "restarts")
        before = functools.partial(self._life.ledger.restarted, in_order=not kill)
        await self._world.restart(before, kill=kill)

    async def _flow_without_restarts(self, seconds: float) -> None:
        await self._life.gather()
        self._base = {}
        await self._check_ebb("the base")
        self._part = "long"
        times = max(1, round(seconds / EBB_INTERVAL))
        span = seconds / times
        for number in itertools.count(1):
            await self._life.flow(span)
            await self._life.gather()
            await self._check_ebb(f"ebb {number} of {times}")
            if number >= times:
                if self._life.diary.counts["requests"] >= self._requests:
                    break
                span *= 2
        self._part = ""

    async def _check_ebb(self, name: str) -> None:
        """Wait until nobody is there any more, and compare with the base."""
        figures = await self._world.figures()
        deadline = trio.current_time() + EBB_TIMEOUT
        while any(figures[key] for key in EMPTY_AT_EBB) and trio.current_time() < deadline:
            await trio.sleep(0.2)
            figures = await self._world.figures()
        left = {key: figures[key] for key in EMPTY_AT_EBB if figures[key]}
        if left:
            self._life.diary.wrong(f"at {name}, {EBB_TIMEOUT:g} s after all left: {left}")
        # A proxy learns last that a connection has ended.
        await trio.sleep(0.5)
        own = json.dumps(census())
        figures = await self._measure("ebb", what="census")
        self._censuses["server"].append(json.dumps(figures.pop("server_census")))
        self._censuses["client"].append(own)
        if not self._base:
            self._base = figures
        for side in ("server", "client"):
            for key in SAME_AT_EBB:
                before, now = self._base.get(f"{side}_{key}"), figures.get(f"{side}_{key}")
                if before is not None and before != now:
                    self._life.diary.wrong(f"at {name}: {side} {key} is {now}, before {before}")

    async def _sample(self) -> None:
        shown = 0
        while True:
            await self._measure(self._part)
            self._progress(self._summary())
            problems = self._life.diary.problems
            for problem in problems[shown:]:
                self._progress(problem)
            shown = len(problems)
            await trio.sleep(SAMPLE_INTERVAL)

    async def _measure(self, part: str, what: str = "status") -> dict[str, Any]:
        figures = await self._world.figures(what)
        own = {**process_figures(), "tasks": trio.lowlevel.current_statistics().tasks_living}
        sample = {
            "at": round(time.monotonic() - self._start, 1),
            "part": part,
            **{f"server_{key}": value for key, value in figures.items()},
            **{f"client_{key}": value for key, value in own.items()},
        }
        light = {key: value for key, value in sample.items() if key != "server_census"}
        light["requests"] = self._life.diary.counts["requests"]
        self._samples.append(json.dumps(light))
        return sample

    def _summary(self) -> str:
        counts = self._life.diary.counts
        last = json.loads(self._samples[-1])
        return (
            f"{last['at']:7.1f} s {last['part']:8} {counts['requests']} requests, "
            f"{counts['states']} states, {counts['pushes']} pushes; "
            f"server {last.get('server_resident_bytes', 0) / 2**20:.1f} MiB, "
            f"{last.get('server_tasks', 0)} tasks, {last.get('server_sessions', 0)} sessions, "
            f"{last.get('server_rooms', 0)} rooms; "
            f"client {last.get('client_resident_bytes', 0) / 2**20:.1f} MiB; "
            f"{counts['problems']} problems"
        )

    def _check_save_file(self) -> None:
        store = open_store(self._world.save_file)
        try:
            saved = store.load()
        finally:
            store.close()
        left = {**saved.users, **saved.games, **saved.invite_codes}
        if left:
            self._life.diary.wrong(f"at the end, the save file holds {sorted(left)}")

    def check_growth(self) -> None:
        """Write down what grew while the server was not restarted."""
        samples = self.samples
        long = [sample for sample in samples if sample["part"] == "long"]
        if not long or long[-1]["at"] - long[0]["at"] < SECONDS_FOR_GROWTH:
            return
        wrong = self._life.diary.wrong
        ebbs = [sample for sample in samples if sample["part"] == "ebb"][:-1]
        for key, share in (
            ("server_resident_bytes", NOISE),
            ("client_resident_bytes", NOISE),
            ("server_file_bytes", NOISE_IN_FILE),
        ):
            by = rise([sample[key] for sample in long if key in sample], share=share)
            if by:
                wrong(f"{key} grew by {by:.1%} in the second half")
        # Resident memory creeps to the highest tide there ever was, and has holes at the ebb; what
        # Python has allocated there is exact.
        keys = ("server_allocated_blocks", "client_allocated_blocks")
        at_ebb = [{key: ebb[key] for key in keys} for ebb in ebbs]
        for key, values in growing(at_ebb, least=2000, share=NOISE_IN_BLOCKS).items():
            wrong(f"{key} grew from ebb to ebb: {values}")
        for side, censuses in self._censuses.items():
            counts = [json.loads(each) for each in censuses[:-1]]
            for kind, values in growing(counts, least=30, share=NOISE).items():
                wrong(f"{side}: {kind} grew from ebb to ebb: {values}")


@asynccontextmanager
async def _proxies(world: RealWorld, seed: int, slots: Iterable[str]) -> AsyncIterator[None]:
    try:
        async with trio.open_nursery() as nursery:
            for slot in slots:
                proxy = world.proxies[slot] = FaultyProxy(f"{seed} {slot}")
                await nursery.start(proxy.run)
            yield
            nursery.cancel_scope.cancel()
    finally:
        await world.aclose()


async def soak(
    folder: Path,
    *,
    seconds: float,
    seed: int,
    requests: int = 0,
    players: int = PLAYERS,
    grace: float = RESUME_GRACE,
    progress: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Run it.

    Args:
        folder: An empty folder to work in.
        seconds: How long; the ebbs come on top of it.
        seed: Decides what everybody does.
        requests: How many requests there are at least; a busy machine takes longer for them.
        players: How many there are, beside guests.
        grace: Seconds that a session outlives its connection.
        progress: Called with a line of text every few seconds.
    """
    start = time.monotonic()
    admin_password = secrets.token_hex(8)
    diary = Diary(lambda: f"{time.monotonic() - start:.1f} s (seed {seed})")
    complaints = Complaints(PlannedFault)
    complaints.install()
    slots = ["admin", *(f"player{n}" for n in range(players))]
    slots += [f"guest{n}" for n in range(players // 3)]
    world = RealWorld(folder, grace, admin_password)
    world.diary = diary
    try:
        async with _proxies(world, seed, slots):
            life = Life(world, diary, players=players, seed=seed, admin_password=admin_password)
            run = Soak(
                world, life, seconds=seconds, requests=requests, seed=seed, progress=progress
            )
            await run.run()
    finally:
        complaints.remove()
    run.check_growth()
    for complaint in complaints.take():
        diary.wrong(f"a client logged: {complaint}")
    return Outcome(seed, time.monotonic() - start, dict(diary.counts), diary.problems, run.samples)


def table(outcome: Outcome) -> str:
    """The first, the middle and the last sample of the long part, and of its ebbs."""
    lines = []
    for part in ("long", "ebb"):
        samples = [sample for sample in outcome.samples if sample["part"] == part]
        if part == "ebb":
            samples = samples[:-1]
        if not samples:
            continue
        chosen = [samples[0], samples[len(samples) // 2], samples[-1]]
        lines.append(f"{part}:")
        lines += [
            f"  {key:28}" + "".join(f"{each.get(key, ''):>14}" for each in chosen)
            for key in chosen[0]
            if key != "part"
        ]
    return "\n".join(lines)


def main() -> int:
    """Do as the command line says; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--minutes", type=float, default=30.0, help="how long (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of what is done (%(default)s)")
    parser.add_argument("--players", type=int, default=PLAYERS, help="(%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write all samples")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = trio.run(
            functools.partial(
                soak,
                Path(folder),
                seconds=60 * arguments.minutes,
                seed=arguments.seed,
                players=arguments.players,
                progress=functools.partial(print, file=sys.stderr, flush=True),
            )
        )
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(attrs.asdict(outcome)) + "\n", "utf-8")
    print(table(outcome))
    for what, count in sorted(outcome.counts.items()):
        print(f"  {count:9} {what}")
    print(f"{outcome.seconds:.0f} s, seed {outcome.seed}: ", end="")
    print(f"{len(outcome.problems)} PROBLEMS" if outcome.problems else "nothing grew or broke")
    for problem in outcome.problems:
        print(f"  {problem}")
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
