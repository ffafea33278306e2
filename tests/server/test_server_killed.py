"""`kill -9` of a whole server while games of several pairs report their results."""

from __future__ import annotations

import random
import signal
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from itertools import count
from pathlib import Path

import attrs
import pytest
import trio

from pgnet_trio import (
    Client,
    Disconnected,
    Game,
    Leaderboard,
    Queue,
    ReasonCode,
    RequestFailed,
    Result,
    StorageError,
    on,
)
from pgnet_trio.environment import Environment
from pgnet_trio.server.community import SaveFileEngine
from pgnet_trio.server.games.archive import Archive
from pgnet_trio.standings.rating import BEGINNER
from pgnet_trio.storage import open_store
from tests.cluster.test_terminals import free_ports
from tests.kit.subprocesses import start_program

ROOT = Path(__file__).parents[2]
PAIRS = (("ann", "bob"), ("cleo", "dan"), ("eve", "finn"))
LIVES = 3
QUEUE = "ranked"


@attrs.frozen
class Begin:
    """A game begins: it is to be saved."""


@attrs.frozen
class Over:
    """The game is over; its number is the winner's score."""

    winner: str
    loser: str
    number: int


@attrs.frozen
class Counted:
    """The result is on disk; or another one is, of the game that the save was of."""

    is_other: bool = False


@attrs.frozen
class Again:
    """Play once more."""


class Duel(Game):
    persistent = True
    max_players = 2
    leaderboards = {"points": Leaderboard("sum")}  # noqa: RUF012 - as an author writes it
    matchmaking = {QUEUE: Queue(rating=True)}  # noqa: RUF012 - the same

    def get_save_string(self) -> str:
        return "played"

    @on(Begin)
    async def begin(self, player: str, message: Begin) -> None:
        await self.room.save()

    @on(Over)
    async def over(self, player: str, message: Over) -> Counted:
        scores = {message.winner: message.number, message.loser: 0}
        try:
            await self.room.report(Result([message.winner, message.loser], scores))
        except StorageError as error:
            if "has reported another result" not in str(error):
                raise
            return Counted(is_other=True)
        return Counted()

    @on(Again)
    def again(self, player: str, message: Again) -> None:
        self.room.rematch()


@attrs.define
class Pair:
    """Two who play one game after another, with whichever server runs.

    Attributes:
        numbers: Where they get the number of a game from.
        game: Where they sit; empty before they have met.
        number: The number of the game that they play.
        sent: The numbers of all games that were over.
        counted: Those of which they know that they are counted.
    """

    names: tuple[str, str]
    numbers: Iterator[int]
    game: str = ""
    number: int = 0
    sent: set[int] = attrs.field(factory=set)
    counted: set[int] = attrs.field(factory=set)

    async def sit_down(self, clients: list[Client]) -> None:
        if self.game:
            for client in clients:
                await client.join_game(self.game)
            return
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(_find, client)
        found, other = clients[0].game, clients[1].game
        assert found is not None
        assert found == other
        await _begin(clients[0])
        self.game = found
        self.number = next(self.numbers)

    async def play(self, client: Client, note: trio.MemorySendChannel[None]) -> None:
        """Play until the server is gone; the game that it had not counted is over once more."""
        with note, suppress(Disconnected):
            while True:
                winner, loser = self.names if self.number % 2 else self.names[::-1]
                self.sent.add(self.number)
                answer = await client.call(Over(winner, loser, self.number), Counted)
                if not answer.is_other:
                    self.counted.add(self.number)
                    self.number = next(self.numbers)
                    await note.send(None)
                await client.call(Again())
                await _begin(client)


async def _find(client: Client) -> None:
    async with client.find_game(QUEUE):
        pass


async def _begin(client: Client) -> None:
    """Have the game saved, so that a server that starts again has this one and none before it."""
    while True:
        try:
            await client.call(Begin())
        except RequestFailed as error:
            # The game before makes room for this one.
            if error.code != ReasonCode.GAME_OVER:
                raise
        else:
            return


async def live(path: Path, port: int, pairs: list[Pair], source: random.Random) -> None:
    """Have a server run, and kill it at some moment while the pairs play."""
    async with AsyncExitStack() as stack:
        program = await stack.enter_async_context(
            start_program(
                *("serve", "tests.server.test_server_killed:Duel", "--save-file", str(path)),
                *("--port", str(port), "--autosave-interval", "0.1"),
                cwd=ROOT,
            )
        )
        await program.err.wait_for("Serving")
        clients: list[Client] = []
        for pair in pairs:
            two = [
                Client.remote(address=f"localhost:{port}", username=name, reconnect_for=0)
                for name in pair.names
            ]
            for client in two:
                await stack.enter_async_context(client)
            await pair.sit_down(two)
            clients.append(two[0])
        note, noted = trio.open_memory_channel[None](0)
        async with trio.open_nursery() as nursery:
            with note:
                for pair, client in zip(pairs, clients, strict=True):
                    nursery.start_soon(pair.play, client, note.clone())
            for _ in range(source.randrange(5, 25)):
                await noted.receive()
            # Not always right behind an answer.
            for _ in range(source.randrange(20)):
                with trio.move_on_after(source.random() / 1000):
                    await noted.receive()
            program.process.send_signal(signal.SIGKILL)
            async for _ in noted:
                pass


async def check(path: Path, pairs: list[Pair]) -> None:
    """Check what is in the save file."""
    archive = Archive(open_store(path), Environment())
    await archive.load()
    engine = SaveFileEngine(archive)
    points = {entry.username: entry.score for entry in (await engine.leaderboard("points")).entries}
    for pair in pairs:
        ann, bob = [await engine.history(name, limit=1000) for name in pair.names]
        assert [attrs.evolve(played, number=0) for played in ann] == [
            attrs.evolve(played, number=0) for played in bob
        ]
        numbers = [sum(played.scores.values()) for played in ann]
        assert len(numbers) == len(set(numbers)), "a result is counted twice"
        assert pair.counted <= set(numbers) <= pair.sent
        assert sum(points[name] for name in pair.names) == sum(numbers)
        for name in pair.names:
            # Each began where the one before had ended.
            changes = [played.ratings[name] for played in reversed(ann)]
            assert changes[0].before == BEGINNER.rating
            assert [each.before for each in changes[1:]] == [each.after for each in changes[:-1]]
            assert await engine.rating(QUEUE, name) == changes[-1].after
        # What one of two equals wins, the other loses.
        ratings = [await engine.rating(QUEUE, name) for name in pair.names]
        assert sum(ratings) == pytest.approx(2 * BEGINNER.rating, abs=0.5)
    await archive.close()


@pytest.mark.no_cover
@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9 there")
async def test_each_result_counts_once_or_not_at_all_however_often_the_server_is_killed(
    tmp_path: Path,
) -> None:
    source = random.Random(18)
    path = tmp_path / "save.sqlite"
    (port,) = free_ports(1)
    numbers = count(1)
    pairs = [Pair(names, numbers) for names in PAIRS]
    with trio.fail_after(60):
        for _ in range(LIVES):
            await live(path, port, pairs, source)
            await check(path, pairs)
