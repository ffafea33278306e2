"""Games that move while they are played: to the same server, or to another one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from pgnet_trio import (
    Client,
    Game,
    PlayerLeft,
    Question,
    on,
)
from pgnet_trio.server.moving import moving_game, receive_game
from pgnet_trio.testing import HostedServer, SimulatedNetwork, hosting, playing

if TYPE_CHECKING:
    from trio.testing import MockClock

    from pgnet_trio.server.context import ServerContext

HERE = "here.example:38929"


@attrs.define
class Add:
    number: int


@attrs.define
class Note:
    number: int


@attrs.define
class Choose:
    round: int


@attrs.define
class Chosen:
    round: int


@attrs.define
class News:
    number: int


@attrs.define
class Saved:
    added: list[list[Any]] = attrs.field(factory=list)
    chosen: list[list[Any]] = attrs.field(factory=list)
    pushed: int = 0


class Arena(Game):
    """Adds what players say, and asks each of them one round after the other."""

    persistent = True
    sync_rate = 4.0

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.saved = self.room.saved(Saved) or Saved()
        self.heard: list[str] = []

    def get_save_string(self) -> Saved:
        return self.saved

    def view(self) -> dict[str, Any]:
        return {"added": len(self.saved.added), "chosen": len(self.saved.chosen)}

    def user_joined(self, player: str) -> None:
        self.room.nursery.start_soon(self.quiz, player)

    def user_left(self, player: str) -> None:
        self.heard.append(f"{player} left")

    def player_dropped(self, player: str) -> None:
        self.heard.append(f"{player} dropped")

    def player_resumed(self, player: str) -> None:
        self.heard.append(f"{player} resumed")

    @on(Add)
    def add(self, player: str, message: Add) -> None:
        self.saved.added.append([player, message.number])
        self.saved.pushed += 1
        self.room.push(News(self.saved.pushed), to=player)

    @on(Note)
    def note(self, player: str, message: Note) -> None:
        self.saved.added.append([player, message.number])

    async def quiz(self, player: str) -> None:
        try:
            while True:
                round = sum(who == player for who, _ in self.saved.chosen)
                answer = await self.room.ask(player, Choose(round), Chosen, timeout=60.0)
                assert answer.round == round
                self.saved.chosen.append([player, round])
        except PlayerLeft:
            pass


class Plain(Game):
    """Is not saved."""

    @on(Add)
    def add(self, player: str, message: Add) -> None:
        pass


def context_of(server: HostedServer) -> ServerContext:
    run = server._run
    assert run is not None
    assert run.context is not None
    return run.context


async def move(server: HostedServer, name: str = "table 1") -> None:
    """Have a server hand a game to itself."""
    server.network.addresses[HERE] = server
    context = context_of(server)
    async with moving_game(context, name) as game:
        game.moved(HERE)
        await receive_game(context, game)


class Player:
    """Asks, answers and notes without a pause, as somebody who plays."""

    def __init__(self, client: Client, network: SimulatedNetwork) -> None:
        self.client = client
        self.random = network.random(f"plays {client.username}")
        self.sent = 0
        self.sent_loudly = 0
        self.asked: list[int] = []
        self.states: list[int] = []
        self.news: list[int] = []
        self.offline = 0
        self.present: dict[str, bool] = {}
        client.on_state = self.see
        client.on_question = self.take_question
        client.on_online = self.note_online
        client.on_push = self.take_push
        self._questions, self._to_answer = trio.open_memory_channel[Question[Any]](1000)

    def see(self, state: Any) -> None:
        self.states.append(state["added"] + state["chosen"])

    def take_push(self, push: Any) -> None:
        self.news.append(push.payload["number"])

    def note_online(self, online: bool) -> None:
        self.offline += not online

    def take_question(self, question: Question[Any]) -> None:
        self.asked.append(question.prompt.payload["round"])
        self._questions.send_nowait(question)

    async def play(self, until: float) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.answer)
            # What is under way is answered in the end, or this waits for ever.
            async with trio.open_nursery() as asking:
                while trio.current_time() < until:
                    await trio.sleep(self.random.uniform(0, 0.5))
                    for _ in range(self.random.randrange(4)):
                        if self.random.random() < 0.3:
                            self.sent += 1
                            self.client.send(Note(self.sent))
                        else:
                            asking.start_soon(self.add)
            await self.client.call(Add(0))
            nursery.cancel_scope.cancel()

    async def add(self) -> None:
        self.sent += 1
        self.sent_loudly += 1
        await self.client.call(Add(self.sent))

    async def answer(self) -> None:
        async for question in self._to_answer:
            await trio.sleep(self.random.uniform(0, 1.0))
            await question.answer(Chosen(question.prompt.payload["round"]))


def check(players: list[Player], saved: Saved) -> None:
    """Check that all was done once and in order, and that nobody saw it go backwards."""
    for player in players:
        name = player.client.username
        numbers = [number for who, number in saved.added if who == name]
        assert numbers == [*range(1, player.sent + 1), 0]
        rounds = [round for who, round in saved.chosen if who == name]
        assert rounds == list(range(len(rounds)))
        assert player.asked == list(range(len(player.asked)))
        assert len(player.asked) - len(rounds) in (0, 1)
        assert player.states == sorted(player.states)
        assert player.news == sorted(set(player.news))
        assert len(player.news) == player.sent_loudly + 1


@asynccontextmanager
async def playing_arena(
    server: HostedServer, games: int, count: int, seconds: float
) -> AsyncIterator[list[Player]]:
    """Let many play around the block, and some seconds more, until all is answered."""
    names = [f"user{number}" for number in range(games * count)]
    async with playing(server, *names, reconnect_for=None) as clients:
        players = [Player(client, server.network) for client in clients]
        async with trio.open_nursery() as nursery:
            for number, player in enumerate(players):
                nursery.start_soon(player.client.join_game, f"table {number % games}")
        async with trio.open_nursery() as nursery:
            for player in players:
                nursery.start_soon(player.play, trio.current_time() + seconds)
            yield players
            # What breaks off now may be the last word of somebody.
            server.network.conditions.drop_rate = 0.0
        await trio.sleep(10)
        for player in players:
            player.present = dict(player.client.players)


def arenas(server: HostedServer) -> list[Arena]:
    return [game for game in server.games.values() if isinstance(game, Arena)]


def check_all(server: HostedServer, players: list[Player]) -> None:
    for number in range(len(server.games)):
        game = server.games[f"table {number}"]
        assert isinstance(game, Arena)
        check(players[number :: len(server.games)], game.saved)


async def move_all(server: HostedServer) -> None:
    """Hand all games to the server itself, some of them at once."""
    async with trio.open_nursery() as nursery:
        for entry in context_of(server).games.lobby:
            nursery.start_soon(move, server, entry.name)
            await trio.sleep(0.05)


async def test_nobody_hears_of_a_game_that_moves(autojump_clock: MockClock) -> None:
    told: list[tuple[str, bool]] = []
    network = SimulatedNetwork(latency=0.02, jitter=0.01)

    def on_connection(username: str, connected: bool) -> None:
        told.append((username, connected))

    async with hosting(Arena, network=network, on_connection=on_connection) as server:
        async with playing_arena(server, 2, 6, 10) as players:
            for _ in range(4):
                await trio.sleep(2)
                await move_all(server)
        assert [game.heard for game in arenas(server)] == [[], []]
        assert told[:12] == [(f"user{number}", True) for number in range(12)]
        assert not any(connected for _, connected in told[12:])
        check_all(server, players)
        assert all(list(player.present.values()) == [True] * 6 for player in players)
        # Nor do the users: their clients go on at once.
        assert [player.offline for player in players] == [0] * 12


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("seed", "games", "count", "seconds"), [(0, 10, 10, 0.8), (1, 4, 5, 3.0), (2, 2, 6, 5.0)]
)
async def test_nothing_is_lost_or_done_twice_whatever_breaks_off(
    seed: int, games: int, count: int, seconds: float, autojump_clock: MockClock
) -> None:
    network = SimulatedNetwork(seed, latency=0.02, jitter=0.05)
    random = network.random("faults")
    async with hosting(Arena, network=network, max_connections=None) as server:
        async with playing_arena(server, games, count, seconds) as players:
            network.conditions.drop_rate = 0.01
            names = [player.client.username for player in players]
            some = len(names) // 5
            end = trio.current_time() + seconds
            while trio.current_time() < end:
                slow = random.sample(names, some)
                network.stall(*slow)
                network.cut(*random.sample(names, some))
                await trio.sleep(random.uniform(0.2, 1))
                await move_all(server)
                network.drop(*random.sample(names, some))
                network.heal()
                await trio.sleep(random.uniform(0.2, 1))
        assert network.dropped > some
        check_all(server, players)
