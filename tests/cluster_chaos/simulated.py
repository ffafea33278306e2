"""The same in virtual time, with faults of the engine that no process can be made to have.

`python -m tests.cluster_chaos.simulated --seeds 200` tries one seed after the other. With a seed
everything happens again in the same way.
"""

from __future__ import annotations

import argparse
import functools
import logging
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import trio

from pgnet_trio import Client, ConnectFailed, PGNetError
from pgnet_trio.server.cluster.errors import EngineUnavailable
from pgnet_trio.testing import SimulatedNetwork, simulate
from pgnet_trio.testing.clusters import HostedCluster, cluster
from tests.cluster_chaos.game import Place, Tally
from tests.cluster_chaos.ledger import Ledger, Loss, Trouble
from tests.cluster_chaos.players import Player, World, look_at

__all__ = ["Simulated", "chaos_simulated", "simulated"]

LEASE = 10.0
AUTOSAVE = 2.0
PATIENCE = 5.0
"""Seconds after which an engine's call fails, as the kit has it."""

SAVING = 0.1
"""Seconds that a save may take where nothing keeps it up."""

PACE = 0.5
CALM = 120.0
"""Seconds in the end until everybody has to be back."""

STUCK = 60.0
"""Seconds after which a node that drains, or a log-in, is stuck."""


@attrs.define
class Simulated:
    """What came of a seed."""

    seed: int
    counts: Counter[str]
    problems: list[str]
    losses: list[Loss]
    log: list[str]


class LogLines(logging.Handler):
    """Keeps the last lines of the log, to tell of them when something is wrong."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        try:
            when = trio.current_time()
        except RuntimeError:
            when = 0.0
        self.lines.append(f"{when:.3f} {record.levelname} {record.getMessage()}")


@contextmanager
def log_lines(*, keep: bool) -> Iterator[list[str]]:
    """Keep what is logged in the block, and have nobody else hear of it."""
    handler, logger = LogLines(), logging.getLogger("pgnet_trio")
    before, propagates = logger.level, logger.propagate
    logger.propagate = False
    logger.setLevel(logging.INFO if keep else logging.ERROR)
    logger.addHandler(handler)
    try:
        yield handler.lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
        logger.propagate = propagates


class SimulatedChaos:
    """Nodes in one process, and what befalls them.

    Args:
        servers: The cluster, with no node yet.
        ledger: What is seen is written down here.
        chance: Decides what happens when.
        names: The nodes.
        tables: The games.
    """

    def __init__(
        self,
        servers: HostedCluster,
        ledger: Ledger,
        chance: random.Random,
        names: list[str],
        tables: list[str],
    ) -> None:
        self._servers = servers
        self._ledger = ledger
        self._chance = chance
        self._names = names
        self._tables = tables
        self._visitors = 0
        self._runs: Counter[str] = Counter()
        self._troubled: set[str] = set()
        self._database_is_well = True

    def place(self, name: str) -> str:
        """Return a node's present run, as games name it."""
        return f"{name}.{self._runs[name]}"

    async def start(self, name: str) -> None:
        """Start a node."""
        deadline = trio.current_time() + STUCK
        while trio.current_time() < deadline:
            self._runs[name] += 1
            place = Place(self.place(name), trio.current_time)
            try:
                node = await self._servers.start(name, place.make_game)
            except EngineUnavailable:
                # Whoever manages services tries again, too.
                await trio.sleep(1.0)
                continue
            place.watch(node.engine)
            return
        self._ledger.wrong(f"{trio.current_time():.1f} s: {self.place(name)} did not start")

    # What can happen

    async def befall(self, faults: int, *, gentle: bool) -> None:
        """Have so many things happen, at most a few at once.

        Args:
            faults: How many.
            gentle: Whether only what no player may lose anything by.
        """
        kinds: dict[Callable[[], Awaitable[None]], int] = {
            self._drain: 5,
            self._drain_and_drop_clients: 3,
            self._lose_answers: 4,
            self._lose_notes: 1,
            self._drop_clients: 3,
            self._partition_clients: 2,
        }
        if not gentle:
            kinds |= {
                self._kill: 4,
                self._drain_and_kill_another: 3,
                self._pause_engine: 3,
                self._cut_engine: 3,
                self._slow_engine: 3,
                self._stop_database: 2,
                self._refuse_writes: 2,
                self._jump_clock: 1,
            }
        async with trio.open_nursery() as nursery:
            for _ in range(faults):
                await trio.sleep(self._chance.choice((0.05, 1.0, 6.0)) * self._chance.random())
                kind = self._chance.choices(list(kinds), list(kinds.values()))[0]
                what = kind.__name__.strip("_").replace("_", " ")
                self._ledger.note(f"faults: {what}")
                logging.getLogger("pgnet_trio").info("CHAOS: %s", what)
                nursery.start_soon(kind)

    @contextmanager
    def _one_node(self) -> Iterator[str | None]:
        """Choose a node that is well, while there are two of them; None where there are not."""
        free = [name for name in self._names if name not in self._troubled]
        if len(free) < 2:
            yield None
            return
        name = self._chance.choice(free)
        self._troubled.add(name)
        logging.getLogger("pgnet_trio").info("CHAOS: at %s", self.place(name))
        try:
            yield name
        finally:
            self._troubled.remove(name)

    @contextmanager
    def _trouble(self, kind: str, *places: str) -> Iterator[None]:
        start = trio.current_time()
        try:
            yield
        finally:
            for place in places:
                trouble = Trouble(place, kind, start, trio.current_time(), kind != "killed")
                self._ledger.troubles.append(trouble)

    def _all_places(self) -> list[str]:
        return [self.place(name) for name in self._names]

    async def _kill(self) -> None:
        with self._one_node() as name:
            if name is not None:
                await self._kill_this(name)
                await self.start(name)

    async def _kill_this(self, name: str) -> None:
        with self._trouble("killed", self.place(name)):
            self._servers.kill(name)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._come_to_others, name)
            await trio.sleep(self._chance.uniform(0.0, 1.3) * LEASE)

    async def _come_to_others(self, name: str) -> None:
        """Have two users want each game at once, at servers that are not this one."""
        if self._chance.random() < 0.3:
            return
        # Some while the lease still holds, and some when it is over.
        await trio.sleep(self._chance.uniform(0.0, 1.6) * LEASE)
        async with trio.open_nursery() as nursery:
            for table in self._tables:
                for _ in range(2):
                    others = [each for each in self._servers.nodes if each != name]
                    if others:
                        node = self._servers.nodes[self._chance.choice(others)]
                        self._visitors += 1
                        visitor = f"visitor{self._visitors}"
                        nursery.start_soon(self._visit, visitor, table, node.address)

    async def _visit(self, visitor: str, table: str, address: str) -> None:
        network = self._servers.network

        def client(username: str, password: str) -> Client:
            return Client(
                network.connector(address, username),
                username=username,
                reconnect_for=None,
                environment=network.environment(f"client {username}"),
            )

        world = World(client, trio.current_time, [table], PACE)
        player = Player(world, self._ledger, visitor, random.Random(visitor))
        with trio.move_on_after(2 * LEASE):
            try:
                async with client(visitor, "") as visiting:
                    await visiting.join_game(table)
                    for _ in range(3):
                        await player.count(visiting)
                        await trio.sleep(PACE)
                    self._ledger.note("visits")
            except PGNetError as error:
                self._ledger.note(f"visits that failed: {type(error).__name__}")

    async def _drain(self) -> None:
        with self._one_node() as name:
            if name is not None:
                await self._drain_this(name)

    async def _drain_this(self, name: str) -> None:
        with trio.move_on_after(STUCK) as scope:
            await self._servers.stop(name)
        if scope.cancelled_caught:
            self._ledger.wrong(
                f"{trio.current_time():.1f} s: {self.place(name)} did not end after its drain"
            )
        await trio.sleep(self._chance.uniform(0.0, 2.0))
        await self.start(name)

    async def _drain_and_kill_another(self) -> None:
        with self._one_node() as name, self._one_node() as victim:
            if name is None or victim is None:
                return
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._drain_this, name)
                # In the middle of one of the few steps that a hand-over takes.
                for _ in range(self._chance.randrange(60)):
                    await trio.lowlevel.checkpoint()
                await trio.sleep(self._chance.choice((0.0, 0.05, 0.5)) * self._chance.random())
                await self._kill_this(victim)
                await self.start(victim)

    async def _drain_and_drop_clients(self) -> None:
        with self._one_node() as name:
            if name is None:
                return
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._drain_this, name)
                for _ in range(self._chance.randrange(1, 6)):
                    await trio.sleep(self._chance.choice((0.0, 0.03, 0.3)) * self._chance.random())
                    self._servers.network.drop(share=self._chance.random())

    async def _pause_engine(self) -> None:
        with self._one_node() as name:
            if name is None:
                return
            engine = self._servers.nodes[name].engine
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._come_to_others, name)
                with self._trouble("paused", self.place(name)):
                    engine.pause()
                    await trio.sleep(self._chance.choice((0.4, 1.0, 2.0, 2.5)) * LEASE)
                    engine.resume()
                await trio.sleep(PATIENCE)

    async def _cut_engine(self) -> None:
        with self._one_node() as name:
            if name is None:
                return
            engine = self._servers.nodes[name].engine
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._come_to_others, name)
                with self._trouble("cut off", self.place(name)):
                    engine.cut = True
                    await trio.sleep(self._chance.choice((0.4, 1.0, 2.0, 2.5)) * LEASE)
                    engine.cut = False
                await trio.sleep(PATIENCE)

    async def _slow_engine(self) -> None:
        with self._one_node() as name:
            if name is None:
                return
            engine = self._servers.nodes[name].engine
            with self._trouble("slow", self.place(name)):
                engine.request_delay = self._chance.choice((0.1, 1.0, 4.9)) * self._chance.random()
                engine.answer_delay = self._chance.choice((0.1, 1.0, 12.0)) * self._chance.random()
                await trio.sleep(self._chance.uniform(0.2, 1.5) * LEASE)
                engine.request_delay = engine.answer_delay = 0.0
            await trio.sleep(PATIENCE)

    async def _lose_answers(self) -> None:
        name = self._chance.choice(self._names)
        node = self._servers.nodes.get(name)
        if node is not None:
            with self._trouble("without answers", self.place(name)):
                node.engine.lost_answers = self._chance.randrange(1, 6)
                await trio.sleep(2 * AUTOSAVE)

    async def _lose_notes(self) -> None:
        self._servers.database.loses_notes = True
        await trio.sleep(self._chance.uniform(0.5, 20.0))
        self._servers.database.loses_notes = False

    @contextmanager
    def _database_trouble(self, kind: str) -> Iterator[bool]:
        if not self._database_is_well:
            yield False
            return
        self._database_is_well = False
        before, start = self._all_places(), trio.current_time()
        try:
            with self._trouble(kind, *before):
                yield True
        finally:
            self._database_is_well = True
            for place in set(self._all_places()) - set(before):
                self._ledger.troubles.append(
                    Trouble(place, kind, start, trio.current_time(), keeps_from_saving=True)
                )

    async def _stop_database(self) -> None:
        with self._database_trouble("without the database") as may_be:
            if may_be:
                self._servers.database.stop()
                await trio.sleep(
                    self._chance.choice((0.3, 1.0, 2.5)) * self._chance.random() * LEASE
                )
                self._servers.database.start()

    async def _refuse_writes(self) -> None:
        with self._database_trouble("without writes") as may_be:
            if may_be:
                database = self._servers.database
                what = self._chance.choice(("read_only", "full"))
                setattr(database, what, True)
                await trio.sleep(
                    self._chance.choice((0.3, 1.0, 2.5)) * self._chance.random() * LEASE
                )
                setattr(database, what, False)

    async def _jump_clock(self) -> None:
        with self._database_trouble("with another clock") as may_be:
            if may_be:
                self._servers.database.jump(self._chance.choice((-60, -3, 3, 8, 15, 3600)))
                await trio.sleep(1.2 * LEASE)

    async def _drop_clients(self) -> None:
        self._servers.network.drop(share=self._chance.random())
        await trio.lowlevel.checkpoint()

    async def _partition_clients(self) -> None:
        network = self._servers.network
        names = [f"player{number}" for number in range(3) if self._chance.random() < 0.5]
        if names:
            block = self._chance.choice((network.partition, network.stall, network.cut))
            block(*names)
            await trio.sleep(self._chance.choice((1.0, 15.0)) * self._chance.random())
            network.heal(*names)


async def chaos_simulated(
    seed: int,
    *,
    faults: int = 12,
    players: int = 4,
    nodes: int = 3,
    gentle: bool = False,
    keep_log: bool = False,
) -> Simulated:
    """Have so many things happen to nodes in virtual time, and look what came of it.

    Args:
        seed: Decides all of it, in `simulate`.
        faults: How many things happen.
        players: How many play.
        nodes: How many nodes there are.
        gentle: Whether only what no player may lose anything by: no session may be lost.
        keep_log: Whether all of the log is to be kept.
    """
    chance = random.Random(f"{seed} chaos")
    ledger = Ledger(unsaved=AUTOSAVE + SAVING, unsaved_in_trouble=AUTOSAVE + 2 * PATIENCE + LEASE)
    network = SimulatedNetwork(seed, latency=0.002, jitter=0.001)
    names = [chr(ord("a") + number) for number in range(nodes)]
    tables = [f"table {number}" for number in range(2)]
    options = {"autosave_interval": AUTOSAVE, "resume_grace": 30.0}
    with log_lines(keep=keep_log) as log:
        async with cluster(_no_game, nodes=0, network=network, lease=LEASE, **options) as servers:
            run = SimulatedChaos(servers, ledger, chance, names, tables)
            for name in names:
                await run.start(name)
            addresses = [servers.nodes[name].address for name in names]

            def client(username: str, password: str) -> Client:
                first, *others = (network.connector(each, username) for each in addresses)
                return Client(
                    first,
                    *others,
                    username=username,
                    password=password,
                    reconnect_for=None,
                    environment=network.environment(f"client {username}"),
                )

            world = World(client, trio.current_time, tables, PACE)
            async with trio.open_nursery() as nursery:
                all_players = [
                    Player(world, ledger, f"player{number}", random.Random(f"{seed} {number}"))
                    for number in range(players)
                ]
                for player in all_players:
                    await nursery.start(player.run)
                await run.befall(faults, gentle=gentle)
                losses = await _check(world, ledger, all_players)
                if gentle:
                    _check_gentle(ledger, losses)
                nursery.cancel_scope.cancel()
    return Simulated(seed, ledger.counts, ledger.problems, losses, log)


async def _check(world: World, ledger: Ledger, players: list[Player]) -> list[Loss]:
    start = trio.current_time()
    waiting = list(players)
    with trio.move_on_after(CALM):
        while waiting:
            await trio.sleep(0.5)
            waiting = [player for player in waiting if player.last_answer < start]
    for player in waiting:
        how = player.client.status if player.client is not None else "without a client"
        ledger.wrong(f"{player.name} is not back: {player.doing}, {how!r}")
    world.over.set()
    with trio.move_on_after(STUCK):
        for player in players:
            await player.at_rest.wait()
    await trio.sleep(2.0)
    books = {}
    try:
        with trio.fail_after(STUCK):
            async with world.client("auditor", "auditor") as client:
                for table in world.tables:
                    books[table] = await look_at(client, table)
    except (PGNetError, trio.TooSlowError) as error:
        ledger.wrong(f"the games cannot be looked at: {error!r}")
    try:
        with trio.fail_after(STUCK):
            async with world.client("player1", "a guess"):
                ledger.wrong("player1 is let in by any password")
    except (ConnectFailed, trio.TooSlowError):
        pass
    ledger.check_lives()
    return ledger.check_books(books)


def _check_gentle(ledger: Ledger, losses: list[Loss]) -> None:
    counts = ledger.counts
    for what in ("sessions lost", "sessions lost in a join", "clients that ended"):
        # Who takes over from a program of their own ends that.
        expected = counts["take-overs"] if what == "clients that ended" else 0
        if counts[what] > expected:
            ledger.wrong(f"{what}: {counts[what]}, expected {expected}, for no node died")
    for loss in losses:
        ledger.wrong(f"{loss}, though no node died")


def _no_game(name: str, save_string: str | None = None) -> Tally:
    raise AssertionError("each node has games of its own")


def simulated(seed: int, **options: Any) -> Simulated:
    """Run one seed."""
    return simulate(functools.partial(chaos_simulated, seed, **options), seed=seed)


def main() -> int:
    """Try seeds; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster_chaos.simulated",
        description=(__doc__ or "").partition("\n")[0],
    )
    parser.add_argument("--seeds", type=int, default=100, help="how many (%(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first one (%(default)s)")
    parser.add_argument("--faults", type=int, default=12, help="in each (%(default)s)")
    parser.add_argument("--gentle", action="store_true", help="nothing by which anybody may lose")
    parser.add_argument("--log", action="store_true", help="print the log of those that fail")
    arguments = parser.parse_args()
    counts: Counter[str] = Counter()
    failed = 0
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        try:
            found = simulated(
                seed, faults=arguments.faults, gentle=arguments.gentle, keep_log=arguments.log
            )
        except Exception as error:
            print(f"seed {seed}: {error!r}", flush=True)
            failed += 1
            continue
        counts += found.counts
        if found.problems:
            failed += 1
            if arguments.log:
                print("\n".join(found.log))
            for problem in found.problems:
                print(f"seed {seed}: {problem}", flush=True)
    for what, count in counts.most_common():
        print(f"{count:>8,} {what}")
    print(f"{failed} of {arguments.seeds} seeds FAILED" if failed else "all is well")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
