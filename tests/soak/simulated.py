"""The short form of `tests.soak`: hours of the same life in virtual time, and in one process."""

from __future__ import annotations

import gc
import itertools
import random
from collections import Counter
from collections.abc import Callable

import attrs
import trio

from pgnet_trio import Client, Game
from pgnet_trio.testing import HostedServer, SimulatedNetwork
from tests.soak.game import PlannedFault, SlowSoakGame
from tests.soak.life import Diary, Life
from tests.soak.measure import Complaints
from tests.soak.server import server_figures

__all__ = ["Simulated", "soak_simulated"]

FLOODS = 4
"""How often everybody comes and goes."""

LOOSE_OBJECTS = 5
"""How many more of one type there may be: a game that is about to tick has one more of some."""

ADMIN_PASSWORD = "admin of the simulation"

# What may be there when nobody is, and what is the test's own. The audit log keeps its latest ten
# thousand entries, whoever comes and goes.
NOT_COUNTED = (
    "pgnet_trio.testing",
    "pgnet_trio.storage",
    "pgnet_trio.server.cluster.moderation_records.AuditEntry",
)

EMPTY = (
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


@attrs.define
class Simulated:
    """What came of it."""

    hours: float
    counts: Counter[str]
    problems: list[str]
    planned_faults: int


class SimulatedWorld:
    """A server in this process, behind a network that drops a frame now and then.

    Attributes:
        pace: See `tests.soak.life.World`.
        patience: See `tests.soak.life.World`.
    """

    pace = 30.0
    patience = 240.0

    def __init__(self, seed: int, game: Callable[..., Game]) -> None:
        self.network = SimulatedNetwork(seed, latency=0.03, jitter=0.02, drop_rate=0.0005)
        self.server = HostedServer(game, network=self.network, admin_password=ADMIN_PASSWORD)
        self._clients = 0

    def client(self, slot: str, username: str, password: str, invite_code: str = "") -> Client:
        self._clients += 1
        return Client(
            self.network.connector(self.server, slot),
            username=username,
            password=password,
            invite_code=invite_code,
            environment=self.network.environment(f"client {self._clients}"),
        )

    def drop(self, slot: str) -> None:
        self.network.drop(slot)

    def stall(self, slot: str, *, stalled: bool) -> None:
        (self.network.partition if stalled else self.network.heal)(slot)


def library_objects() -> Counter[str]:
    """How many objects there are of each type of the library."""
    gc.collect()
    names = (f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects())
    return Counter(
        name
        for name in names
        if name.startswith("pgnet_trio.") and not name.startswith(NOT_COUNTED)
    )


async def soak_simulated(
    seed: int, hours: float, players: int, game: Callable[..., Game] = SlowSoakGame
) -> Simulated:
    """Live for so many hours; what comes to be and is not there at the base is a problem."""
    world = SimulatedWorld(seed, game)
    chance = random.Random(f"{seed} restarts")
    crashes = itertools.cycle((False, True))
    start = trio.current_time()
    diary = Diary(lambda: f"{trio.current_time() - start:.3f} s (seed {seed})")
    life = Life(world, diary, players=players, seed=seed, admin_password=ADMIN_PASSWORD)
    complaints = Complaints(PlannedFault)
    complaints.install(alone=True)

    async def restart_now_and_then(seconds: float) -> None:
        while True:
            await trio.sleep(chance.uniform(0.2, 0.6) * seconds)
            crash = next(crashes)
            with trio.CancelScope(shield=True):
                life.ledger.restarted(in_order=not crash)
                await world.server.restart(crash=crash)
            diary.note("kills" if crash else "restarts")

    async def flood(seconds: float, *, restarts: bool) -> None:
        async with trio.open_nursery() as nursery:
            if restarts:
                nursery.start_soon(restart_now_and_then, seconds)
            await life.flow(seconds)
            nursery.cancel_scope.cancel()
        await life.gather()
        # Longer than a session outlives its connection, and a dead connection its last byte.
        await trio.sleep(120)
        figures = server_figures(world.server)
        left = {name: figures[name] for name in EMPTY if figures[name]}
        if left:
            diary.wrong(f"two minutes after all left: {left}")

    try:
        async with world.server.running():
            with world.server.expecting(PlannedFault) as faults:
                for username in life.usernames:
                    async with world.client("admin", username, username):
                        pass
                base: dict[str, float] = {}
                objects: Counter[str] = Counter()
                for number in range(FLOODS):
                    await flood(3600 * hours / FLOODS, restarts=number % 2 == 1)
                    # The kit keeps games that have ended, and errors with all that they saw.
                    world.server.games.clear()
                    faults.clear()
                    figures = server_figures(world.server)
                    # The first flood brings the games that stay.
                    if number == 0:
                        base, objects = figures, library_objects()
                    elif figures != base:
                        diary.wrong(f"after flood {number}: {figures}, before {base}")
                more = {
                    name: count - objects[name]
                    for name, count in library_objects().items()
                    if count > objects[name] + LOOSE_OBJECTS
                }
                if more:
                    diary.wrong(f"there are more objects than after the first flood: {more}")
                await life.clear()
                if server_figures(world.server)["accounts"]:
                    diary.wrong("accounts are left")
    finally:
        complaints.remove()
    for complaint in complaints.take():
        diary.wrong(f"it was logged: {complaint}")
    passed = (trio.current_time() - start) / 3600
    return Simulated(passed, diary.counts, diary.problems, complaints.planned_count)
