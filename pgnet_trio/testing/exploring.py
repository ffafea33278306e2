"""Random moves under random faults, and what has to hold all the same."""

from __future__ import annotations

import inspect
import os
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import trio
import trio.testing

from pgnet_trio.codec import from_plain, to_plain
from pgnet_trio.errors import Disconnected
from pgnet_trio.game import Game
from pgnet_trio.messages import RequestFailed, Response, Status
from pgnet_trio.testing.hosting import HostedServer, Kit, hosting
from pgnet_trio.testing.network import SimulatedNetwork
from pgnet_trio.testing.simulation import simulate
from pgnet_trio.typed import to_packet

if TYPE_CHECKING:
    from pgnet_trio.client import Client, Question

__all__ = ["Exploration", "Faults", "Move", "Seat", "Table", "explore", "same_state"]

TABLE = "the table"

SEED_VARIABLE = "PGNET_SEED"
"""The environment variable by which the option ``--pgnet-seed`` gets here."""

MAX_HISTORY = 1000
"""Events that are kept to be printed."""

SHOWN_HISTORY = 100

GRACE = 600.0
"""Seconds that sessions outlive connections here: longer than any fault lasts."""

MAX_TIME = 4 * 3600.0
"""Seconds of virtual time that one seed may take; a game that waits for ever is found by it."""

NAMES = ("ann", "bob", "cid", "dee", "eve", "fay", "gus", "hal")

ModelT = TypeVar("ModelT")


@attrs.frozen(kw_only=True)
class Faults:
    """What goes wrong while players move. Times are averages in seconds; None is for never.

    Attributes:
        latency: Seconds from one end of a link to the other.
        jitter: Seconds more, at most.
        drop_rate: The share of frames in the middle of which a link breaks.
        cut_every: How often somebody's link is cut for a while.
        stall_every: How often somebody reads nothing for a while.
        partition_every: How often nothing passes between somebody and the server for a while.
        lasting: How long such a while is.
        restart_every: How many checks pass from one restart of the server to the next. It
            starts again from its save, after which every player has to see the state that they
            saw before. None for never, which is the default.
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
class Move:
    """A message that a player sent, and what became of it.

    Attributes:
        time: When it was answered, in seconds since the simulation began.
        player: Who sent it.
        message: An attrs model, or a packet.
        response: The answer.
    """

    time: float
    player: str
    message: Any
    response: Response

    @property
    def accepted(self) -> bool:
        """Whether the game took it."""
        return self.response.status == Status.OK


class Seat:
    """What a strategy sees: a player, and what that player knows.

    Attributes:
        player: The player's name.
        client: The player's client.
        random: What the strategy has to draw from, so that a seed repeats everything.
    """

    def __init__(self, client: Client, random: random.Random) -> None:
        self.player = client.username
        self.client = client
        self.random = random

    @property
    def state(self) -> Any:
        """The state that the player sees, as plain data; None where there is none."""
        try:
            return self.client.get_state(Any)
        except RuntimeError:
            return None

    def read(self, model: type[ModelT]) -> ModelT:
        """Give the state that the player sees as a model.

        Raises:
            CodecError: It is no such model.
            RuntimeError: There is none.
        """
        return self.client.get_state(model)


@attrs.frozen
class Table:
    """What invariants look at: a game at rest, with every player online.

    Attributes:
        game: The game, as the object that the server runs.
        players: Who is in the game.
        moves: All moves so far.
        time: Seconds since the simulation began.
        states: What each player sees, as plain data.
    """

    game: Any
    players: Sequence[str]
    moves: Sequence[Move]
    time: float
    states: Mapping[str, Any]

    @property
    def accepted(self) -> list[Move]:
        """The moves that the game took."""
        return [move for move in self.moves if move.accepted]

    def read(self, player: str, model: type[ModelT]) -> ModelT:
        """Give the state that a player sees as a model.

        Raises:
            CodecError: It is no such model.
        """
        return from_plain(self.states[player], model)


Strategy = Callable[[Seat], object]
"""Gives the next move of a player, an attrs model or a packet; None for none now."""

Invariant = Callable[[Table], object]
"""Raises, or returns False, where something does not hold."""


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


def same_state(table: Table) -> None:
    """Have all players see the same: an invariant for games without secrets."""
    for player in table.players[1:]:
        first = table.players[0]
        assert table.states[player] == table.states[first], (
            f"{player} sees {table.states[player]!r}, and {first} {table.states[first]!r}"
        )


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
    parts them. Now and then faults stop, everybody comes back, and with the game at rest these
    things are checked: the game has not raised, every player sees what the game's ``view`` gives
    for them, and all *invariants* hold.

    It runs its own event loop: call it from a plain test function.

    Args:
        game: The class of the game.
        moves: Gives the next move of a player.
        players: How many play, or their names.
        answers: Gives a player's answer to a question of the game; None where it asks none.
        invariants: What has to hold at each check.
        seeds: What to try, one after the other; with pytest, ``--pgnet-seed`` takes its place.
        checks: How often one seed is checked.
        moves_per_check: How many moves each player makes between two checks.
        pace: Seconds from a player's move to the next, on average.
        rest: Seconds that pass before each check, with everything healed: for timers that have
            to go off.
        faults: What goes wrong; by default some of everything but restarts.
        options: What the game is created with.
        **server_options: As for `Server`.

    Returns:
        How much was done.

    Raises:
        AssertionError: Something does not hold. The message has the seed, and the moves and
            faults that led there.
    """
    names = list(NAMES[:players] if isinstance(players, int) else players)
    forced = os.environ.get(SEED_VARIABLE)
    done = Exploration()
    for seed in seeds if forced is None else [int(forced)]:
        run = _Run(
            game,
            names,
            seed,
            moves,
            answers,
            invariants,
            faults or Faults(),
            dict(options or {}),
            server_options,
        )
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


class _Run:
    """One seed."""

    server: HostedServer

    def __init__(
        self,
        game: Callable[..., Game],
        names: list[str],
        seed: int,
        strategy: Strategy,
        answers: Callable[[Seat, Question[Any]], object] | None,
        invariants: Sequence[Invariant],
        faults: Faults,
        options: dict[str, Any],
        server_options: dict[str, Any],
    ) -> None:
        self.network = SimulatedNetwork(seed)
        self.moves: list[Move] = []
        self.time = 0.0
        self._game = game
        self._names = names
        self._seed = seed
        self._strategy = strategy
        self._answers = answers
        self._invariants = invariants
        self._faults = faults
        self._options = options
        self._server_options = {"resume_grace": GRACE, **server_options}
        self._history: deque[str] = deque(maxlen=MAX_HISTORY)
        self._doing = "the beginning"
        self._seats: dict[str, Seat] = {}

    async def main(self, checks: int, moves_per_check: int, pace: float, rest: float) -> None:
        """Play, and check."""
        with trio.move_on_after(MAX_TIME) as scope:
            async with hosting(
                self._game, network=self.network, **self._server_options
            ) as self.server:
                checked = 0
                while checked < checks:
                    async with Kit(self.network) as kit:
                        kit.server = self.server
                        await self._enter(kit)
                        if checked:
                            await self._compare()
                        for _ in range(self._faults.restart_every or checks):
                            if checked == checks:
                                break
                            await self._play(moves_per_check, pace)
                            await self._check(rest)
                            checked += 1
                        self._remember()
                    if self._faults.restart_every is not None and checked < checks:
                        self._tell("the server restarts from its save")
                        self._doing = "a restart"
                        await self.server.restart()
                self.time = trio.current_time()
        if scope.cancelled_caught:
            raise AssertionError(
                f"it did not come to its end in {MAX_TIME / 3600:g} hours of virtual time"
            )

    def explain(self, problem: Exception) -> str:
        """Give what to print: what failed, and how it came to that."""
        history = list(self._history)
        left_out = len(history) - SHOWN_HISTORY
        lines = [
            f"{getattr(self._game, '__name__', 'the game')} failed with seed {self._seed}, in "
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
        for name in self._names:
            client = await kit.play(name, reconnect_for=None)
            if TABLE not in await client.get_game_dir():
                await client.create_game(TABLE, options=self._options)
            else:
                await client.join_game(TABLE)
            randomness = self.network.random(f"moves of {name} at {trio.current_time()}")
            self._seats[name] = Seat(client, randomness)
        self._tell(f"{', '.join(self._names)} are in the game")

    async def _play(self, count: int, pace: float) -> None:
        self._doing = "play"
        conditions, faults = self.network.conditions, self._faults
        conditions.latency, conditions.jitter = faults.latency, faults.jitter
        conditions.drop_rate = faults.drop_rate
        async with trio.open_nursery() as background:
            for kind in ("cut", "stall", "partition"):
                every = getattr(faults, f"{kind}_every")
                if every is not None:
                    background.start_soon(self._disturb, kind, every)
            if self._answers is not None:
                for seat in self._seats.values():
                    background.start_soon(self._answer, seat, self._answers)
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
            message = self._strategy(seat)
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
            name = chance.choice(self._names)
            self._tell(f"fault: {kind} {name}")
            getattr(self.network, kind)(name)
            await trio.sleep(chance.expovariate(1 / self._faults.lasting))
            self._tell(f"fault over: {kind} {name}")
            self.network.heal(name)

    async def _check(self, rest: float) -> None:
        """Have everything calm and everybody online, and look."""
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
        for invariant in self._invariants:
            self._doing = f"the check {getattr(invariant, '__name__', repr(invariant))}"
            if invariant(table) is False:
                raise AssertionError("it returned False")

    async def _settle(self) -> None:
        for seat in self._seats.values():
            # Its answer comes when the client is online, behind all that was sent before.
            await seat.client.get_game_dir()
        await trio.testing.wait_all_tasks_blocked()
        for seat in self._seats.values():
            if seat.client.game is not None:
                self.server.games[TABLE].room.sync()
                break
        await trio.testing.wait_all_tasks_blocked()

    def _views(self) -> Iterator[tuple[str, Any, Any]]:
        """Give what each player sees, and what the game would show now."""
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
