"""Random moves under random faults, and checks of what has to hold all the same."""

from __future__ import annotations

import inspect
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import attrs
import trio
import trio.testing

from pgnet_trio.client import Question
from pgnet_trio.codec import to_plain
from pgnet_trio.errors import Disconnected
from pgnet_trio.game import Game
from pgnet_trio.messages import RequestFailed, Status
from pgnet_trio.testing.hosting import HostedServer, Kit, hosting
from pgnet_trio.testing.network import SimulatedNetwork
from pgnet_trio.testing.simulation import simulate
from pgnet_trio.testing.tables import Invariant, Move, Seat, Strategy, Table
from pgnet_trio.typed import to_packet

__all__ = ["Exploration", "Faults", "explore"]

TABLE = "the table"

SEED_VARIABLE = "PGNET_SEED"
"""The environment variable by which the option ``--pgnet-seed`` gets here."""

MAX_HISTORY = 1000
"""Events that a run remembers, to print them after a failure."""

SHOWN_HISTORY = 100

GRACE = 600.0
"""Seconds for which sessions outlive connections here: longer than any fault lasts."""

MAX_TIME = 4 * 3600.0
"""Seconds of virtual time that one seed may take: it finds a game that waits for ever."""

NAMES = ("ann", "bob", "cid", "dee", "eve", "fay", "gus", "hal")

ModelT = TypeVar("ModelT")


@attrs.frozen(kw_only=True)
class Faults:
    """What goes wrong while players move. Times are averages in seconds; None means never.

    Attributes:
        latency: Seconds from one end of a link to the other.
        jitter: Seconds more, at most.
        drop_rate: The share of frames in the middle of which a link breaks.
        cut_every: How often somebody's link is cut for a while.
        stall_every: How often somebody reads nothing for a while.
        partition_every: How often nothing passes between somebody and the server for a while.
        lasting: How long such a while is.
        restart_every: How many checks pass from one restart of the server to the next. It
            starts again from its save, and then every player has to see the state that they saw
            before. None, the default, for never.
    """

    latency: float = 0.05
    jitter: float = 0.05
    drop_rate: float = 0.02
    cut_every: float | None = 20.0
    stall_every: float | None = 40.0
    partition_every: float | None = 40.0
    lasting: float = 5.0
    restart_every: int | None = None


@attrs.frozen
class Exploration:
    """What `explore` did.

    Attributes:
        seeds: How many seeds were tried.
        moves: How many moves were made.
        accepted: How many of them the games took.
        drops: How many connections were lost.
        time: Seconds of virtual time.
    """

    seeds: int = 0
    moves: int = 0
    accepted: int = 0
    drops: int = 0
    time: float = 0.0


def explore(
    game: Callable[..., Game],
    /,
    *,
    moves: Strategy,
    players: int | Sequence[str] = 2,
    answers: Callable[[Seat, Question[Any]], object] | None = None,
    invariants: Sequence[Invariant] = (),
    seeds: Iterable[int] = range(20),
    checks: int = 5,
    moves_per_check: int = 10,
    pace: float = 1.0,
    rest: float = 0.0,
    faults: Faults | None = None,
    options: Mapping[str, Any] | None = None,
    **server_options: Any,
) -> Exploration:
    """Play random moves under random faults, and stop at the first seed where something fails.

    A real server and real clients play, in virtual time, over a network that drops, stalls and
    partitions them. Now and then the faults stop, everybody comes back, and the game is at rest.
    Then this checks that the game has not raised, that every player sees what the game's ``view``
    returns for them, and that all *invariants* hold.

    It runs its own event loop: call it from a plain test function.

    Args:
        game: The class of the game.
        moves: Returns the next move of a player.
        players: How many play, or their names.
        answers: Returns a player's answer to a question of the game; None where it asks none.
        invariants: What has to hold at each check.
        seeds: The seeds to try, one after the other; with pytest, ``--pgnet-seed`` replaces them.
        checks: How often one seed is checked.
        moves_per_check: How many moves each player makes between two checks.
        pace: Seconds from a player's move to the next, on average.
        rest: Seconds that pass before each check, without faults: for timers that have to go
            off.
        faults: What goes wrong; by default, some of everything but restarts.
        options: What the game is created with.
        **server_options: As for `Server`.

    Returns:
        How much was done.

    Raises:
        AssertionError: Something does not hold. The message has the seed, and the moves and
            faults before it.
    """
    names = list(NAMES[:players] if isinstance(players, int) else players)
    forced = os.environ.get(SEED_VARIABLE)
    plan = _Plan(
        game,
        names,
        moves,
        answers,
        invariants,
        faults or Faults(),
        dict(options or {}),
        {"resume_grace": GRACE, **server_options},
    )
    done = Exploration()
    for seed in seeds if forced is None else [int(forced)]:
        run = _Run(plan, seed)
        problem: Exception | None = None
        try:
            simulate(run.main, checks, moves_per_check, pace, rest, seed=seed)
        except Exception as error:
            problem = error
        if problem is not None:
            raise AssertionError(run.explain(problem)) from problem
        done = Exploration(
            done.seeds + 1,
            done.moves + len(run.moves),
            done.accepted + sum(move.accepted for move in run.moves),
            done.drops + run.network.dropped,
            done.time + run.time,
        )
    return done


@attrs.frozen
class _Plan:
    """What every seed does; see the arguments of `explore`."""

    game: Callable[..., Game]
    names: Sequence[str]
    moves: Strategy
    answers: Callable[[Seat, Question[Any]], object] | None
    invariants: Sequence[Invariant]
    faults: Faults
    options: dict[str, Any]
    server_options: dict[str, Any]


class _Run:
    """One seed."""

    server: HostedServer

    def __init__(self, plan: _Plan, seed: int) -> None:
        self.network = SimulatedNetwork(seed)
        self.moves: list[Move] = []
        self.time = 0.0
        self._plan = plan
        self._seed = seed
        self._history: deque[str] = deque(maxlen=MAX_HISTORY)
        self._doing = "the beginning"
        self._seats: dict[str, Seat] = {}
        # What each player saw before the server restarted.
        self._before: dict[str, Any] = {}

    async def main(self, checks: int, moves_per_check: int, pace: float, rest: float) -> None:
        """Play, and check."""
        with trio.move_on_after(MAX_TIME) as scope:
            async with hosting(
                self._plan.game, network=self.network, **self._plan.server_options
            ) as self.server:
                checked = 0
                while checked < checks:
                    async with Kit(self.network, self.server) as kit:
                        await self._enter(kit)
                        if checked:
                            await self._compare()
                        for _ in range(self._plan.faults.restart_every or checks):
                            if checked == checks:
                                break
                            await self._play(moves_per_check, pace)
                            await self._check(rest)
                            checked += 1
                        self._remember()
                    if self._plan.faults.restart_every is not None and checked < checks:
                        self._tell("the server restarts from its save")
                        self._doing = "a restart"
                        await self.server.restart()
                self.time = trio.current_time()
        if scope.cancelled_caught:
            raise AssertionError(
                f"it did not come to its end in {MAX_TIME / 3600:g} hours of virtual time"
            )

    def explain(self, problem: Exception) -> str:
        """Return what to print: what failed, and what happened before."""
        history = list(self._history)
        left_out = len(history) - SHOWN_HISTORY
        lines = [
            f"{getattr(self._plan.game, '__name__', 'the game')} failed with seed {self._seed}, in "
            f"{self._doing}: {type(problem).__name__}: {problem}",
            *([f"    ({left_out} events before)"] if left_out > 0 else []),
            *(f"    {line}" for line in history[-SHOWN_HISTORY:]),
            f"Repeat it with --pgnet-seed={self._seed}, or seeds=[{self._seed}].",
        ]
        return "\n".join(lines)

    def _tell(self, text: str) -> None:
        self._history.append(f"{trio.current_time():10.3f}  {text}")

    async def _enter(self, kit: Kit) -> None:
        self._seats = {}
        for name in self._plan.names:
            client = await kit.play(name, reconnect_for=None)
            if TABLE not in await client.get_game_dir():
                await client.create_game(TABLE, options=self._plan.options)
            else:
                await client.join_game(TABLE)
            randomness = self.network.random(f"moves of {name} at {trio.current_time()}")
            self._seats[name] = Seat(client, randomness)
        self._tell(f"{', '.join(self._plan.names)} are in the game")

    async def _play(self, count: int, pace: float) -> None:
        self._doing = "play"
        conditions, faults = self.network.conditions, self._plan.faults
        conditions.latency, conditions.jitter = faults.latency, faults.jitter
        conditions.drop_rate = faults.drop_rate
        async with trio.open_nursery() as background:
            for kind in ("cut", "stall", "partition"):
                every = getattr(faults, f"{kind}_every")
                if every is not None:
                    background.start_soon(self._disturb, kind, every)
            if self._plan.answers is not None:
                for seat in self._seats.values():
                    background.start_soon(self._answer, seat, self._plan.answers)
            async with trio.open_nursery() as players:
                for seat in self._seats.values():
                    players.start_soon(self._move, seat, count, pace)
            background.cancel_scope.cancel()

    async def _move(self, seat: Seat, count: int, pace: float) -> None:
        for _ in range(count):
            await trio.sleep(seat.random.expovariate(1 / pace) if pace else 0)
            if seat.client.game is None:
                try:
                    await seat.client.join_game(TABLE)
                except RequestFailed as error:
                    self._tell(f"{seat.player} is not let in: {error}")
                    continue
                self._tell(f"{seat.player} joins again")
            message = self._plan.moves(seat)
            if message is None:
                continue
            response = await seat.client.request(to_packet(message))
            self.moves.append(Move(trio.current_time(), seat.player, message, response))
            outcome = "" if response.status == Status.OK else "refused: "
            self._tell(f"{seat.player}: {message!r} -> {outcome}{response.message}")

    async def _answer(self, seat: Seat, answers: Callable[[Seat, Question[Any]], object]) -> None:
        async for question in seat.client.questions():
            await trio.sleep(seat.random.random())
            message = answers(seat, question)
            if message is None:
                continue
            try:
                response = await question.answer(message)
            except (RequestFailed, Disconnected) as error:
                self._tell(f"{seat.player} answers {message!r} -> refused: {error}")
            else:
                self._tell(f"{seat.player} answers {message!r} -> {response.message}")

    async def _disturb(self, kind: str, every: float) -> None:
        chance = self.network.random(f"{kind} at {trio.current_time()}")
        while True:
            await trio.sleep(chance.expovariate(1 / every))
            name = chance.choice(self._plan.names)
            self._tell(f"fault: {kind} {name}")
            getattr(self.network, kind)(name)
            await trio.sleep(chance.expovariate(1 / self._plan.faults.lasting))
            self._tell(f"fault over: {kind} {name}")
            self.network.heal(name)

    async def _check(self, rest: float) -> None:
        """Stop all faults, wait until everybody is online, and check."""
        self._doing = "a check"
        conditions = self.network.conditions
        conditions.latency = conditions.jitter = conditions.drop_rate = 0.0
        self.network.heal()
        if rest:
            await trio.sleep(rest)
        await self._settle()
        self._tell("check")
        for player, seen, shown in self._views():
            if seen != shown:
                raise AssertionError(
                    f"{player} sees {seen!r}, and view() gives {shown!r}: a change was not sent"
                )
        table = self._table()
        for invariant in self._plan.invariants:
            self._doing = f"the check {getattr(invariant, '__name__', repr(invariant))}"
            if invariant(table) is False:
                raise AssertionError("it returned False")

    async def _settle(self) -> None:
        for seat in self._seats.values():
            # The answer comes once the client is online, behind all that was sent before.
            await seat.client.get_game_dir()
        await trio.testing.wait_all_tasks_blocked()
        for seat in self._seats.values():
            if seat.client.game is not None:
                self.server.games[TABLE].room.sync()
                break
        await trio.testing.wait_all_tasks_blocked()

    def _views(self) -> Iterator[tuple[str, Any, Any]]:
        """Yield each player, what they see, and what the game would show them now."""
        game = self.server.games[TABLE]
        if type(game).view is Game.view:
            return
        shared = not inspect.signature(game.view).parameters
        for name, seat in self._seats.items():
            if seat.client.game is not None:
                view = game.view() if shared else game.view(name)
                yield name, seat.state, to_plain(view)

    def _table(self) -> Table:
        inside = [name for name, seat in self._seats.items() if seat.client.game is not None]
        return Table(
            self.server.games[TABLE],
            inside,
            self.moves,
            trio.current_time(),
            {name: self._seats[name].state for name in inside},
        )

    def _remember(self) -> None:
        self._before = {name: seat.state for name, seat in self._seats.items()}

    async def _compare(self) -> None:
        self._doing = "the comparison after a restart"
        await self._settle()
        for name, before in self._before.items():
            after = self._seats[name].state
            if after != before:
                raise AssertionError(
                    f"{name} saw {before!r} before the restart, and {after!r} after it: something "
                    "is not in the save"
                )
