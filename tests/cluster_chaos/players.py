"""Players of the counting games, who write down in a `Ledger` what they get."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import attrs
import trio

from pgnet_trio import (
    Client,
    ConnectFailed,
    Disconnected,
    Entered,
    Left,
    PGNetError,
    Question,
    RequestFailed,
    SessionLost,
)
from tests.cluster_chaos.game import Ask, Book, Count, Counted, Look, Reply, Told, Volley
from tests.cluster_chaos.ledger import Answer, Ledger

__all__ = ["Player", "World", "look_at"]


@attrs.define(eq=False)
class World:
    """Where players are.

    Attributes:
        client: Makes a client that comes back for ever, given a username, a password and perhaps an
            invite code.
        clock: The time, as games tell it.
        tables: The names of the games.
        pace: Seconds from one thing that a player does to the next, on average.
        over: Set when players are to do nothing new.
    """

    client: Callable[..., Client]
    clock: Callable[[], float]
    tables: Sequence[str]
    pace: float
    over: trio.Event = attrs.field(factory=trio.Event)


class Player:
    """A player, who comes back whatever happens.

    Args:
        world: Where.
        ledger: What they get is written down here.
        name: Their name, which is their password too.
        chance: Decides what they do.

    Attributes:
        last_answer: When they last got an answer.
        doing: What they do, for whoever looks for what is stuck.
        at_rest: Set when they do nothing any more, since the world is over.
    """

    def __init__(self, world: World, ledger: Ledger, name: str, chance: random.Random) -> None:
        self.name = name
        self.last_answer = 0.0
        self.client: Client | None = None
        self.doing = "nothing"
        self.at_rest = trio.Event()
        self._world = world
        self._ledger = ledger
        self._chance = chance
        self._serial = 0
        self._was_there = False
        # Whether another program of this player has the session by now.
        self._was_taken_over = False
        self._table = chance.choice(world.tables)
        # Numbers of the pushes and questions of this session, by game.
        self._told: dict[str, int] = {}
        self._asked: set[tuple[str, int]] = set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Play until the world is over, and then until cancelled stay where they are.

        Started once they have been in a game.
        """
        while True:
            client = self.client = self._world.client(self.name, self.name)
            try:
                async with client:
                    await self._stay(client, task_status)
            except* ConnectFailed:
                # One that begins anew while there is nothing to connect to gives up at once.
                self._ledger.note("clients that could not begin")
            except* _TakenOver:
                self._ledger.note("take-overs")
            except* PGNetError as group:
                if not self._was_taken_over:
                    self._ledger.wrong(f"{self.name} had to begin anew: {_causes(group)}")
            self._was_taken_over = False
            self._told.clear()
            self._asked.clear()
            self._ledger.note("clients that ended")
            await trio.sleep(self._world.pace)

    async def _stay(self, client: Client, task_status: trio.TaskStatus[None]) -> None:
        events = client.events(Told, Ask, raise_session_lost=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read_all, client, events, nursery)
            await self._join(client)
            if not self._was_there:
                self._was_there = True
                task_status.started()
            while not self._world.over.is_set():
                await self._act(client)
                await trio.sleep(self._world.pace * self._chance.uniform(0.2, 1.8))
            self.doing = "nothing"
            self.at_rest.set()
            await trio.sleep_forever()

    async def _act(self, client: Client) -> None:
        try:
            if client.game is None:
                await self._join(client)
            elif self._chance.random() < 0.04:
                await self._change(client)
            elif self._chance.random() < 0.03:
                await self._take_over()
            elif self._chance.random() < 0.1:
                self._volley(client)
            else:
                await self.count(client)
        except SessionLost:
            self._ledger.note("sessions lost")
        except RequestFailed as error:
            self._ledger.note(f"refused: {error}"[:90])

    async def _join(self, client: Client) -> None:
        while True:
            self.doing = f"joining {self._table}"
            try:
                await client.join_game(self._table)
                self._ledger.note("joins")
                return
            except SessionLost:
                self._ledger.note("sessions lost in a join")
            except RequestFailed as error:
                self._ledger.note(f"refused to join: {error}"[:90])
                if client.game is not None:
                    # Somebody has brought them back there meanwhile.
                    return
            await trio.sleep(self._world.pace)

    async def _change(self, client: Client) -> None:
        self.doing = f"leaving {client.game}"
        await client.leave_game()
        self._ledger.note("leaves")
        self._table = self._chance.choice(self._world.tables)
        await self._join(client)

    async def _take_over(self) -> None:
        """Log in with another program, at whatever node, which goes on in the same game.

        Raises:
            _TakenOver: That was done, and the program before is out.
        """
        self.doing = "taking over"
        other = self._world.client(self.name, self.name)
        self._was_taken_over = True
        try:
            async with other:
                if other.game is not None:
                    await self.count(other)
        except (ConnectFailed, SessionLost, RequestFailed) as error:
            self._ledger.note(f"take-overs broken off: {type(error).__name__}")
        raise _TakenOver

    def _volley(self, client: Client) -> None:
        table = client.game
        assert table is not None
        self._serial += 1
        self._ledger.sent(table, self.name, self._serial)
        client.send(Volley(self._serial))

    async def count(self, client: Client) -> bool:
        """Ask to be counted; return whether that was answered."""
        table = client.game
        assert table is not None
        self._serial += 1
        serial = self._serial
        self.doing = f"counting {serial} at {table}"
        self._ledger.sent(table, self.name, serial)
        try:
            counted = await client.call(Count(serial), Counted)
        except SessionLost:
            self._ledger.note("unanswered: session lost")
            raise
        except RequestFailed:
            self._ledger.refused(table, self.name, serial)
            raise
        self.last_answer = self._world.clock()
        self._ledger.answered(Answer(table, self.name, serial, counted, self.last_answer))
        return True

    # What a player hears

    async def _read_all(
        self, client: Client, events: AsyncIterator[Any], nursery: trio.Nursery
    ) -> None:
        while True:
            try:
                await self._read(client, events, nursery)
                return
            except SessionLost:
                self._told.clear()
                self._asked.clear()
                events = client.events(Told, Ask, raise_session_lost=True)
            except Disconnected:
                # By another program of the same player, which has not ended yet.
                if not self._was_taken_over:
                    raise
                return

    async def _read(
        self, client: Client, events: AsyncIterator[Any], nursery: trio.Nursery
    ) -> None:
        table = ""
        async for event in events:
            match event:
                case Entered():
                    # What was said while they were not there is not told.
                    table = event.game
                    self._told.pop(table, None)
                    self._asked = {each for each in self._asked if each[0] != table}
                case Left():
                    self._ledger.note("put out of a game")
                case Told():
                    expected = self._told.get(table, event.number - 1) + 1
                    self._ledger.note("pushes")
                    if event.number != expected:
                        self._ledger.wrong(
                            f"{self.name} at {table}: push {event.number} came, expected {expected}"
                        )
                    self._told[table] = event.number
                case Question():
                    self._hear(table, event)
                    nursery.start_soon(self._reply, event)

    def _hear(self, table: str, question: Question[Any]) -> None:
        number = question.prompt.number
        self._ledger.note("questions")
        if (table, number) in self._asked:
            self._ledger.wrong(f"{self.name} at {table}: question {number} came twice")
        self._asked.add((table, number))

    async def _reply(self, question: Question[Any]) -> None:
        await trio.sleep(self._world.pace * self._chance.uniform(0, 6))
        try:
            (await question.answer(Reply(question.prompt.number))).raise_for_status()
            self._ledger.note("replies")
        except PGNetError:
            self._ledger.note("late replies")


class _TakenOver(Exception):
    """Another program of the player has taken over, on purpose."""


async def look_at(client: Client, table: str) -> Book:
    """Join a game, and see its book."""
    await client.join_game(table)
    book = await client.call(Look(), Book)
    await client.leave_game()
    return book


def _causes(group: BaseExceptionGroup[BaseException]) -> str:
    found: list[str] = []
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            found.append(_causes(error))
        else:
            found.append(f"{type(error).__name__}: {error}")
    return "; ".join(found)
