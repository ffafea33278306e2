"""One seed of an exploration: players who move, answer, leave and come back under faults."""

from __future__ import annotations

import functools
import inspect
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import trio
import trio.testing

from pgnet_trio.codec import to_plain
from pgnet_trio.errors import CodecError, Disconnected
from pgnet_trio.game import Game
from pgnet_trio.messages import RequestFailed
from pgnet_trio.testing.hosting import HostedServer, Kit, hosting
from pgnet_trio.testing.network import SimulatedNetwork
from pgnet_trio.testing.tables import Move, Seat, Table
from pgnet_trio.typed import to_packet

if TYPE_CHECKING:
    from pgnet_trio.client import Question
    from pgnet_trio.testing.plans import Plan

__all__ = ["SeedRun"]

TABLE = "the table"

MAX_HISTORY = 1000
"""Events that a run remembers, to print them after a failure."""

SHOWN_HISTORY = 100

MAX_TIME = 4 * 3600.0
"""Seconds of virtual time that one seed may take: it finds a game that waits for ever."""


class SeedRun:
    """One seed.

    Args:
        plan: What to do.
        seed: What everything random depends on.

    Attributes:
        network: What connects the players.
        moves: The moves so far.
        answers: The answers to questions so far.
        departures: How many times somebody left the game.
        restarts: How many times the server was restarted.
        time: Seconds of virtual time, once it is over.
    """

    server: HostedServer

    def __init__(self, plan: Plan, seed: int) -> None:
        self.network = SimulatedNetwork(seed)
        self.moves: list[Move] = []
        self.answers: list[Move] = []
        self.departures = 0
        self.restarts = 0
        self.time = 0.0
        self._plan = plan
        self._seed = seed
        self._history: deque[str] = deque(maxlen=MAX_HISTORY)
        self._doing = "the beginning"
        self._seats: dict[str, Seat] = {}
        self._watching: dict[str, Seat] = {}
        # Set while players move: an answer that is ready during a check waits for its end.
        self._in_play = trio.Event()
        self._status_changed = trio.lowlevel.ParkingLot()
        # Who is to leave at their next move; until when they stay away, for ever if for good.
        self._leaving: dict[str, float] = {}
        self._away_until: dict[str, float] = {}

    async def main(self, checks: int, moves_per_check: int, pace: float, rest: float) -> None:
        """Play, and check."""
        plan, restart_every = self._plan, self._plan.faults.restart_every
        with trio.move_on_after(MAX_TIME) as scope:
            async with (
                hosting(
                    self._make_game, network=self.network, **plan.server_options
                ) as self.server,
                Kit(self.network, self.server) as kit,
                trio.open_nursery() as answering,
            ):
                await self._enter(kit)
                if plan.answers is not None:
                    for seat in self._seats.values():
                        answering.start_soon(self._answer_all, seat, plan.answers)
                for done in range(1, checks + 1):
                    await self._play(moves_per_check, pace)
                    await self._check(rest)
                    if restart_every is not None and done < checks and not done % restart_every:
                        await self._restart()
                self._doing = "the shutdown"
                self.time = trio.current_time()
                answering.cancel_scope.cancel()
        if scope.cancelled_caught:
            raise AssertionError(
                f"it did not come to its end in {MAX_TIME / 3600:g} hours of virtual time"
            )

    def _make_game(self, name: str, save_string: str | None = None) -> Game:
        made = self._plan.game(name, save_string=save_string)
        if type(made).view is not Game.view:
            # Past a class that takes no new attributes: it is the author's, and need not know.
            object.__setattr__(made, "view", _called_twice(made.view))
        return made

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

    # Who is there.

    async def _enter(self, kit: Kit) -> None:
        for names, seats in (
            (self._plan.names, self._seats),
            (self._plan.spectators, self._watching),
        ):
            for name in names:
                client = await kit.play(name, reconnect_for=None)
                client.on_status = self._note_status
                seats[name] = seat = Seat(client, self.network.random(f"moves of {name}"))
                await self._join(seat)
        self._tell(f"{', '.join(self._seats)} are in the game")

    async def _join(self, seat: Seat) -> None:
        client = seat.client
        if seat.player in self._watching:
            await client.join_game(TABLE, spectate=True)
        elif TABLE in await client.get_game_dir():
            await client.join_game(TABLE)
        else:
            await client.create_game(TABLE, options=self._plan.options)

    async def _rejoin(self, seat: Seat) -> None:
        try:
            await self._join(seat)
        except RequestFailed as error:
            self._tell(f"{seat.player} is not let in: {error}")
        else:
            self._tell(f"{seat.player} joins again")

    async def _leave(self, seat: Seat, until: float) -> None:
        self._away_until[seat.player] = until
        for_good = until == math.inf
        self._tell(f"{seat.player} leaves{' for good' if for_good else ''}")
        self.departures += 1
        try:
            # The answer comes behind those to all that this player has sent before.
            await seat.client.leave_game()
        except RequestFailed as error:
            self._tell(f"{seat.player} was out already: {error}")
        if for_good:
            seat.client.disconnect()

    @property
    def _all(self) -> dict[str, Seat]:
        """Everybody who has not left for good."""
        return {
            name: seat
            for name, seat in {**self._seats, **self._watching}.items()
            if self._away_until.get(name) != math.inf
        }

    @property
    def _inside(self) -> dict[str, Seat]:
        return {name: seat for name, seat in self._all.items() if seat.client.game is not None}

    def _note_status(self, status: str) -> None:
        self._status_changed.unpark_all()

    # Play.

    async def _play(self, count: int, pace: float) -> None:
        self._doing = "play"
        conditions, faults = self.network.conditions, self._plan.faults
        conditions.latency, conditions.jitter = faults.latency, faults.jitter
        conditions.drop_rate = faults.drop_rate
        self._in_play.set()
        async with trio.open_nursery() as background:
            for kind in ("cut", "stall", "partition"):
                every = getattr(faults, f"{kind}_every")
                if every is not None:
                    background.start_soon(self._disturb, kind, every)
            for every, for_good in ((faults.leave_every, False), (faults.quit_every, True)):
                if every is not None:
                    background.start_soon(self._send_away, every, for_good)
            async with trio.open_nursery() as players:
                for seat in self._all.values():
                    players.start_soon(self._take_part, seat, count, pace)
            background.cancel_scope.cancel()
        self._in_play = trio.Event()

    async def _take_part(self, seat: Seat, count: int, pace: float) -> None:
        name = seat.player
        for _ in range(count):
            await trio.sleep(seat.random.expovariate(1 / pace) if pace else 0)
            until = self._leaving.pop(name, None)
            if until is not None:
                await self._leave(seat, until)
            elif trio.current_time() >= self._away_until.get(name, 0):
                if seat.client.game is None:
                    await self._rejoin(seat)
                if seat.client.game is not None and name not in self._watching:
                    await self._move(seat)

    async def _move(self, seat: Seat) -> None:
        message = self._plan.moves(seat)
        if message is None:
            return
        response = await seat.client.request(to_packet(message))
        move = Move(trio.current_time(), seat.player, message, response)
        self.moves.append(move)
        self._tell(f"{seat.player}: {move.outcome}")

    async def _answer_all(
        self, seat: Seat, answers: Callable[[Seat, Question[Any]], object]
    ) -> None:
        while seat.player in self._all:
            try:
                async for question in seat.client.questions():
                    await self._answer(seat, question, answers)
            except Disconnected:
                return

    async def _answer(
        self, seat: Seat, question: Question[Any], answers: Callable[[Seat, Question[Any]], object]
    ) -> None:
        with question.scope:
            await trio.sleep(seat.random.random())
            await self._in_play.wait()
        message = answers(seat, question) if question.is_open else None
        if message is None:
            return
        try:
            response = await question.answer(message)
        except RequestFailed as refused:
            response = refused.response
        answer = Move(trio.current_time(), seat.player, message, response)
        self.answers.append(answer)
        self._tell(f"{seat.player} answers {answer.outcome}")

    async def _disturb(self, kind: str, every: float) -> None:
        chance = self.network.random(f"{kind} at {trio.current_time()}")
        names = [*self._seats, *self._watching]
        while True:
            await trio.sleep(chance.expovariate(1 / every))
            name = chance.choice(names)
            self._tell(f"fault: {kind} {name}")
            getattr(self.network, kind)(name)
            await trio.sleep(chance.expovariate(1 / self._plan.faults.lasting))
            self._tell(f"fault over: {kind} {name}")
            self.network.heal(name)

    async def _send_away(self, every: float, for_good: bool) -> None:
        """Let somebody leave now and then, with their next move, but never the last player."""
        chance = self.network.random(f"leaving {for_good} at {trio.current_time()}")
        while True:
            await trio.sleep(chance.expovariate(1 / every))
            staying = [name for name in self._inside if name not in self._leaving]
            if sum(name in self._seats for name in staying) < 2:
                staying = [name for name in staying if name in self._watching]
            if staying:
                lasting = chance.expovariate(1 / self._plan.faults.lasting)
                until = math.inf if for_good else trio.current_time() + lasting
                self._leaving[chance.choice(staying)] = until

    # Checks.

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
        views = {player: (seen, shown) for player, seen, shown in self._views()}
        for player, (seen, shown) in views.items():
            if seen != shown:
                raise AssertionError(
                    f"{player} sees {seen!r}, and view() gives {shown!r}: a change was not sent"
                )
        table = self._table({player: shown for player, (_, shown) in views.items()})
        for invariant in self._plan.invariants:
            self._doing = f"the check {getattr(invariant, '__name__', repr(invariant))}"
            if invariant(table) is False:
                raise AssertionError("it returned False")
        self._doing = "a check"

    async def _settle(self) -> None:
        for seat in self._all.values():
            await self._wait_online(seat)
        await trio.testing.wait_all_tasks_blocked()
        if self._inside:
            self.server.games[TABLE].room.sync()
        await trio.testing.wait_all_tasks_blocked()

    async def _wait_online(self, seat: Seat) -> None:
        client = seat.client
        while not client.close_reason:
            try:
                # The answer comes once the client is online, behind all that was sent before.
                await client.get_game_dir()
            except Disconnected:
                # The server has restarted: the client logs in anew.
                while not client.connected and not client.close_reason:
                    await self._status_changed.park()
            else:
                return
        raise AssertionError(f"the session of {seat.player} ended: {client.close_reason}")

    def _views(self) -> Iterator[tuple[str, Any, Any]]:
        """Yield each user, what they see, and what the game would show them now."""
        game = self.server.games[TABLE]
        if type(game).view is Game.view:
            return
        shared = not inspect.signature(game.view).parameters
        for name, seat in self._all.items():
            # A spectator for whom the view raised is out, and the game goes on: ask it once more.
            if seat.client.game is not None or name in self._watching:
                viewer = None if name in self._watching else name
                shown = to_plain(game.view() if shared else game.view(viewer))
                if seat.client.game is not None:
                    yield name, seat.state, shown

    def _table(self, views: Mapping[str, Any]) -> Table:
        players = [name for name in self._inside if name in self._seats]
        return Table(
            self.server.games[TABLE],
            players,
            self.moves,
            trio.current_time(),
            {name: self._seats[name].state for name in players},
            self.answers,
            {name: views[name] for name in players if name in views},
        )

    async def _restart(self) -> None:
        """Restart the server from its save, and check that everybody sees what they saw."""
        self._doing = "a restart"
        self._tell("the server restarts from its save")
        self.restarts += 1
        before = {name: seat.state for name, seat in self._inside.items()}
        # One after the other, in the order in which they are in the game: a view may show that.
        order = [name for name in self.server.games[TABLE].room.players if name in before]
        await self.server.restart()
        self.network.cut()
        for name in dict.fromkeys([*order, *self._all]):
            self.network.heal(name)
            await self._wait_online(self._all[name])
        await self._settle()
        for name, saw in before.items():
            seat = self._all[name]
            if seat.client.game is None:
                why = seat.client.left.message if seat.client.left is not None else ""
                raise AssertionError(f"{name} did not get back into the game: {why}")
            if seat.state != saw:
                raise AssertionError(
                    f"{name} saw {saw!r} before the restart, and {seat.state!r} after it: "
                    "something is not in the save"
                )


def _called_twice(view: Callable[..., Any]) -> Callable[..., Any]:
    """Return a view that calls the author's two times, and raises where the results differ."""

    @functools.wraps(view)
    def checked(*args: Any) -> Any:
        result = view(*args)
        try:
            first = to_plain(result)
        except CodecError:
            # The server says what cannot travel.
            return result
        result = view(*args)
        second = to_plain(result)
        if first != second:
            raise AssertionError(
                f"view({', '.join(map(repr, args))}) returned {first!r}, and at once afterwards "
                f"{second!r}: a view must not change the game, nor depend on chance or the hour"
            )
        return result

    return checked
