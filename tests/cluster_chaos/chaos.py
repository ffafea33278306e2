"""One run: real processes as nodes, players who count, and whatever can happen to both."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import trio

from pgnet_trio import Client, ConnectFailed, LoginRefused, PGNetError
from tests.cluster_chaos.ledger import Ledger, Loss, Trouble
from tests.cluster_chaos.node import AUTOSAVE
from tests.cluster_chaos.players import Player, World, look_at
from tests.cluster_chaos.processes import EngineProcess, Node, NoEngine, open_engine
from tests.soak.proxy import FaultyProxy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.cluster_chaos.game import Book

__all__ = ["Chaos", "Outcome", "chaos"]

NODES = 4
PLAYERS = 16
TABLES = 8
LEASE = 8.0
PACE = 0.25

ENGINE_PATIENCE = 5.0
"""Seconds after which an engine's call fails, as the nodes have it."""

SAVING = 3.0
"""Seconds that a save may take on a busy machine."""

BUSY = 30.0
"""Seconds that everything may take longer on a busy machine before it counts as stuck."""

CALM = 90.0
"""Seconds in the end until everybody has to be back."""

LANES = 2
"""How many nodes may be in trouble at once."""

FAULTS = {
    "kill": 4,
    "pause for long": 3,
    "pause shortly": 3,
    "drain": 5,
    "drain and kill another": 2,
}
"""What happens to nodes, and how often."""

CUTS = {"cut for long": 3, "cut shortly": 3}
"""The same where something is between a node and its engine."""


@attrs.define
class Outcome:
    """What came of a run.

    Attributes:
        counts: What happened, and how often.
        problems: What was wrong.
        losses: What was answered and is not there, each with what explains it.
        longest: The longest time of each kind, in seconds.
        said: What nodes have logged as a warning or worse, without names and numbers.
    """

    seed: int
    engine: str
    seconds: float = 0.0
    counts: dict[str, int] = attrs.field(factory=dict)
    problems: list[str] = attrs.field(factory=list)
    losses: list[str] = attrs.field(factory=list)
    lost_by: dict[str, int] = attrs.field(factory=dict)
    longest: dict[str, float] = attrs.field(factory=dict)
    said: dict[str, int] = attrs.field(factory=dict)
    tracebacks: list[str] = attrs.field(factory=list)


class Chaos:
    """Nodes and players, and what befalls them.

    Args:
        nodes: The nodes, which run.
        engine: What they share.
        world: Where players are.
        ledger: What is seen is written down here.
        chance: Decides what happens when.
        lease: Seconds of a lease.
        progress: Called with a line of text now and then.
    """

    def __init__(
        self,
        nodes: list[Node],
        engine: EngineProcess,
        world: World,
        ledger: Ledger,
        chance: random.Random,
        *,
        lease: float,
        progress: Callable[[str], None],
    ) -> None:
        self.nodes = nodes
        self.players: list[Player] = []
        self.longest: dict[str, float] = {}
        self.registered: list[str] = []
        self._engine = engine
        self._world = world
        self._ledger = ledger
        self._chance = chance
        self._lease = lease
        self._progress = progress
        self._start = time.monotonic()
        self._troubled: set[str] = set()
        # Nodes that could not be started again: nothing more happens to them.
        self._given_up: set[str] = set()

    def time(self) -> str:
        """Return for how long it has run."""
        return f"{time.monotonic() - self._start:.1f} s"

    def wrong(self, text: str) -> None:
        """Write down what must not be."""
        self._progress(f"{self.time()}: PROBLEM: {text}")
        self._ledger.wrong(f"{self.time()}: {text}")

    def note_time(self, what: str, seconds: float) -> None:
        """Keep the longest time of a kind."""
        self.longest[what] = max(self.longest.get(what, 0.0), seconds)

    # What befalls nodes

    async def befall_nodes(self) -> None:
        """Do something to one node after the other until cancelled; in several tasks at once."""
        faults = dict(FAULTS)
        if self._engine.can_be_cut:
            faults.update(CUTS)
        while True:
            await trio.sleep(self._chance.uniform(0.2, 1.5) * self._lease)
            await self.befall(self._chance.choices(list(faults), list(faults.values()))[0])

    async def befall(self, what: str) -> None:
        """Do one thing of `FAULTS` and `CUTS` to a node that is well."""
        fault = getattr(self, f"_{what.replace(' ', '_')}")
        well = self._well()
        if not well:
            await trio.sleep(1.0)
            return
        node = self._chance.choice(well)
        self._ledger.note(f"nodes: {what}")
        self._progress(f"{self.time()}: {what}: {node.place}")
        with self._in_trouble(node):
            # What was begun is brought to its end: all nodes are to be there afterwards.
            with trio.CancelScope(shield=True):
                await fault(node)
        await trio.lowlevel.checkpoint()

    def _well(self) -> list[Node]:
        ill = self._troubled | self._given_up
        return [node for node in self.nodes if node.name not in ill]

    @contextmanager
    def _in_trouble(self, node: Node) -> Iterator[None]:
        self._troubled.add(node.name)
        try:
            yield
        finally:
            self._troubled.remove(node.name)

    def _note_trouble(
        self, place: str, kind: str, start: float, *, keeps_from_saving: bool = False
    ) -> None:
        now = time.monotonic()
        self._ledger.troubles.append(Trouble(place, kind, start, now, keeps_from_saving))

    async def _kill(self, node: Node) -> None:
        place = node.place
        await node.kill()
        self._note_trouble(place, "killed", time.monotonic())
        await trio.sleep(self._chance.uniform(0.0, 1.5) * self._lease)
        await self._restart(node)

    async def _pause_for_long(self, node: Node) -> None:
        await self._pause(node, self._chance.uniform(1.2, 2.5) * self._lease)

    async def _pause_shortly(self, node: Node) -> None:
        await self._pause(node, self._chance.uniform(0.05, 0.7) * self._lease)

    async def _pause(self, node: Node, seconds: float) -> None:
        place, start = node.place, time.monotonic()
        if not await node.stop(2.0):
            return
        await trio.sleep(seconds)
        node.go_on()
        self._note_trouble(place, "stopped", start)

    async def _cut_for_long(self, node: Node) -> None:
        await self._cut(node, self._chance.uniform(1.1, 2.5) * self._lease)

    async def _cut_shortly(self, node: Node) -> None:
        await self._cut(node, self._chance.uniform(0.05, 0.7) * self._lease)

    async def _cut(self, node: Node, seconds: float) -> None:
        place, start = node.place, time.monotonic()
        self._engine.cut(node.name, stalled=self._chance.random() < 0.5)
        await trio.sleep(seconds)
        self._engine.heal(node.name)
        self._note_trouble(place, "cut off", start, keeps_from_saving=True)
        # Until what it has asked meanwhile has failed.
        await trio.sleep(self._lease / 2)

    async def _drain(self, node: Node) -> None:
        place, start = node.place, time.monotonic()
        status = await node.drain(4 * self._lease + BUSY)
        self.note_time("drain", time.monotonic() - start)
        if status is None:
            self.wrong(f"{place} did not end after SIGTERM")
            self._note_trouble(place, "killed, since it did not drain", start)
        elif status != 0:
            self.wrong(f"{place} ended with status {status} after SIGTERM")
        await trio.sleep(self._chance.uniform(0.0, 0.3) * self._lease)
        await self._restart(node)

    async def _drain_and_kill_another(self, node: Node) -> None:
        others = self._well()
        if len(others) < 2:
            await self._drain(node)
            return
        victim = self._chance.choice(others)
        with self._in_trouble(victim):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._drain, node)
                await trio.sleep(self._chance.uniform(0.0, 0.6))
                await self._kill(victim)

    async def _restart(self, node: Node) -> None:
        deadline = trio.current_time() + 10 * BUSY
        while trio.current_time() < deadline:
            try:
                self.note_time("start", await node.start(2 * self._lease + 2 * BUSY))
                return
            except NoEngine:
                # Whoever manages services tries again, too.
                self._ledger.note("starts without an engine")
            except RuntimeError as error:
                self.wrong(str(error))
            await trio.sleep(1.0)
        self.wrong(f"{node.name} could not be started again")
        self._given_up.add(node.name)

    # What befalls the engine, and clients

    async def befall_engine(self) -> None:
        """Do something to the engine now and then until cancelled."""
        chance = self._chance
        while True:
            await trio.sleep(chance.uniform(3.0, 9.0) * self._lease)
            how = chance.choice(self._engine.troubles)
            seconds = chance.choice((0.1, 0.4, 1.5)) * chance.uniform(0.3, 1.0) * self._lease
            self._ledger.note(f"engine: {how}")
            self._progress(f"{self.time()}: engine {how} for {seconds:.1f} s")
            start = time.monotonic()
            places = {node.place for node in self.nodes}
            with trio.CancelScope(shield=True):
                await self._engine.trouble(seconds, how)
            places |= {node.place for node in self.nodes}
            for place in places:
                what = f"without its engine ({how})"
                self._note_trouble(place, what, start, keeps_from_saving=True)

    async def befall_clients(self) -> None:
        """Break or stall the lines of clients now and then until cancelled."""
        chance = self._chance
        while True:
            await trio.sleep(chance.uniform(0.2, 1.5) * self._lease)
            node = chance.choice(self.nodes)
            if chance.random() < 0.6:
                self._ledger.note("clients: dropped")
                node.proxy.drop()
            else:
                self._ledger.note("clients: stalled")
                with trio.CancelScope(shield=True):
                    node.proxy.stall(True)
                    await trio.sleep(chance.uniform(0.1, 1.5) * self._lease)
                    node.proxy.stall(False)

    async def watch_itself(self) -> None:
        """Measure for how long this process waits for the processor, until cancelled."""
        while True:
            due = trio.current_time() + 0.1
            await trio.sleep_until(due)
            self.note_time("this harness waited for the processor", trio.current_time() - due)

    # Accounts

    async def register(self) -> None:
        """Register one user after the other until cancelled, and have some of them come again."""
        number = 0
        while True:
            await trio.sleep(4 * self._world.pace)
            number += 1
            name = f"guest{number}"
            if number % 3:
                await self._register(name)
            else:
                await self._use_code_twice(name)

    async def _register(self, name: str, code: str = "") -> bool:
        """Register a user; return whether they were let in."""
        try:
            async with self._world.client(name, name, code):
                self.registered.append(name)
                self._ledger.note("registrations")
                return True
        except ConnectFailed as error:
            self._ledger.note(f"registrations refused: {error}"[:90])
        except PGNetError as error:
            self._ledger.note(f"registrations broken off: {error}"[:90])
        return False

    async def _use_code_twice(self, name: str) -> None:
        """Have two users register at once with one invite code."""
        code = f"code of {name}"
        if not await self._chance.choice(self.nodes).invite(code):
            self._ledger.note("codes that were not made")
            return
        let_in = []

        async def register(user: str) -> None:
            if await self._register(user, code):
                let_in.append(user)

        async with trio.open_nursery() as nursery:
            for user in (name, f"{name}rival"):
                nursery.start_soon(register, user)
        self._ledger.note("invite codes")
        if len(let_in) == 2:
            self.wrong(f"{code!r} was used twice")
        elif not let_in:
            self._ledger.note("invite codes that let nobody in")

    # The end

    async def check_all(self, accounts: int) -> list[Loss]:
        """Look whether everybody and everything is there again; of users so many at most."""
        await self._check_nodes()
        await self._check_players()
        await self._check_accounts(accounts)
        books = await self._look_at_books()
        await self._check_end()
        # A busy machine may let a lease lapse of which nobody has said that it should.
        for node in self.nodes:
            for place, when in node.lapses:
                self._ledger.note("leases that lapsed")
                self._ledger.troubles.append(
                    Trouble(place, "without its lease", when - self._lease, when, True)
                )
        self._ledger.check_lives()
        return self._ledger.check_books(books)

    async def _check_nodes(self) -> None:
        names = {node.name for node in self.nodes}
        deadline = trio.current_time() + 2 * self._lease + BUSY
        for node in self.nodes:
            alive: set[str] = set()
            status: dict[str, Any] | None = None
            while alive != names and trio.current_time() < deadline:
                status = await node.status()
                if status is None:
                    break
                alive = set(status["alive"])
                await trio.sleep(0.2)
            if status is None:
                self.wrong(f"{node.place} is stuck: it says nothing")
            elif alive != names:
                self.wrong(f"{node.place} sees {sorted(alive)} alive")

    async def _check_players(self) -> None:
        start = time.monotonic()
        waiting = list(self.players)
        with trio.move_on_after(CALM):
            while waiting:
                await trio.sleep(0.1)
                waiting = [player for player in waiting if player.last_answer < start]
        self.note_time("until all are back in the end", time.monotonic() - start)
        for player in waiting:
            client = player.client
            how = "without a client"
            if client is not None:
                how = f"online {client.online}, in {client.game}, status {client.status!r}"
            self.wrong(f"{player.name} is not back: {player.doing}, {how}")
        self._world.over.set()
        with trio.move_on_after(BUSY):
            for player in self.players:
                await player.at_rest.wait()
        # What `send` still has on its way.
        await trio.sleep(1.0)

    async def _check_accounts(self, accounts: int) -> None:
        for name in self.registered[:: max(1, len(self.registered) // accounts)][:accounts]:
            try:
                with trio.fail_after(BUSY):
                    async with self._world.client(name, name):
                        pass
            except (PGNetError, trio.TooSlowError) as error:
                self.wrong(f"{name} registered, and cannot log in: {error!r}")
            try:
                with trio.fail_after(BUSY):
                    async with self._world.client(name, "a guess"):
                        self.wrong(f"{name} is let in by any password")
            except LoginRefused:
                pass
            except (PGNetError, trio.TooSlowError) as error:
                self.wrong(f"{name}, with a wrong password: {error!r}")
            self._ledger.note("accounts tried")

    async def _look_at_books(self) -> dict[str, Book]:
        books = {}
        async with self._world.client("auditor", "auditor") as client:
            for table in self._world.tables:
                try:
                    with trio.fail_after(BUSY):
                        books[table] = await look_at(client, table)
                except (PGNetError, trio.TooSlowError) as error:
                    self.wrong(f"{table} cannot be looked at: {error!r}")
        return books

    async def _check_end(self) -> None:
        for node in self.nodes:
            place, start = node.place, time.monotonic()
            if node.process is None:
                continue
            status = await node.drain(4 * self._lease + BUSY)
            self.note_time("drain", time.monotonic() - start)
            if status != 0:
                self.wrong(f"{place} ended with {status} in the end")


async def chaos(
    folder: Path,
    *,
    engine: str,
    seconds: float,
    seed: int,
    players: int = PLAYERS,
    nodes: int = NODES,
    lease: float = LEASE,
    pace: float = PACE,
    plan: Sequence[str] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Run a cluster for a while, let it go through a lot, and look what came of it.

    Args:
        folder: An empty folder to work in.
        engine: ``"sqlite"`` or ``"postgres"``.
        seconds: How long things happen; the look at the end comes after that.
        seed: Decides what happens when, as far as real processes let it.
        players: How many play.
        nodes: How many nodes there are.
        lease: Seconds of a lease.
        pace: Seconds from one request of a player to the next.
        plan: What happens to nodes, in this order; nothing else happens then. Empty: all things, by
            chance.
        progress: Called with a line of text now and then.
    """
    start = time.monotonic()
    ledger = Ledger(
        unsaved=AUTOSAVE + SAVING, unsaved_in_trouble=AUTOSAVE + 2 * ENGINE_PATIENCE + lease
    )
    names = [chr(ord("a") + number) for number in range(nodes)]
    async with AsyncExitStack() as stack:
        shared = await stack.enter_async_context(open_engine(engine, folder, names, str(seed)))
        nursery = await stack.enter_async_context(trio.open_nursery())
        all_nodes = []
        for name in names:
            proxy = FaultyProxy(f"{seed} {name}")
            await nursery.start(proxy.run)
            all_nodes.append(Node(name, proxy, shared, folder, lease))
            stack.push_async_callback(all_nodes[-1].aclose)
        addresses = ",".join(node.address for node in all_nodes)
        world = World(
            lambda name, password, code="": Client.remote(
                address=addresses,
                username=name,
                password=password,
                invite_code=code,
                reconnect_for=None,
            ),
            time.monotonic,
            [f"table {number}" for number in range(max(2, min(TABLES, players // 3)))],
            pace,
        )
        chance = random.Random(f"{seed} chaos")
        run = Chaos(all_nodes, shared, world, ledger, chance, lease=lease, progress=progress)
        # The first one makes the key that all have.
        await all_nodes[0].start(2 * BUSY)
        async with trio.open_nursery() as starting:
            for node in all_nodes[1:]:
                starting.start_soon(node.start, 2 * BUSY)
        for number in range(players):
            player = Player(world, ledger, f"player{number}", random.Random(f"{seed} {number}"))
            run.players.append(player)
        async with trio.open_nursery() as arriving:
            for player in run.players:
                arriving.start_soon(nursery.start, player.run)
        progress(f"{run.time()}: everybody is there")
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as troubles:
                troubles.start_soon(run.watch_itself)
                troubles.start_soon(run.register)
                for what in plan:
                    await trio.sleep(5 * pace)
                    await run.befall(what)
                if plan:
                    troubles.cancel_scope.cancel()
                    await trio.lowlevel.checkpoint()
                for _ in range(min(LANES, nodes - 2)):
                    troubles.start_soon(run.befall_nodes)
                troubles.start_soon(run.befall_engine)
                troubles.start_soon(run.befall_clients)
        progress(f"{run.time()}: calm")
        losses = await run.check_all(4 if plan else 40)
        nursery.cancel_scope.cancel()
    said = sum((node.said for node in all_nodes), Counter[str]())
    tracebacks = [text for node in all_nodes for text in node.tracebacks]
    if tracebacks:
        ledger.wrong(f"there are {len(tracebacks)} tracebacks, the first of {tracebacks[0]}")
    return Outcome(
        seed,
        engine,
        round(time.monotonic() - start, 1),
        dict(ledger.counts.most_common()),
        ledger.problems,
        [str(loss) for loss in losses],
        dict(Counter(loss.cause.kind for loss in losses)),
        {what: round(value, 2) for what, value in run.longest.items()},
        dict(said.most_common(60)),
        tracebacks,
    )
