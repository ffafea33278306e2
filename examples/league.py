"""A league of five programs: a queue finds them opponents, and results make ratings and standings.

python examples/league.py          plays forty games, and prints the final standings
python examples/league.py 100      plays as many as you say
"""

from __future__ import annotations

import argparse
import random

import attrs
import trio

from pgnet_trio import (
    Client,
    Game,
    Leaderboard,
    Queue,
    RequestFailed,
    Result,
    Server,
    enable_logging,
)

# How often each of them may throw again, of which its best throw counts.
PROGRAMS = {"cautious": 0, "careful": 1, "steady": 2, "daring": 3, "reckless": 5}

WIN, DRAW, LOSS = 3, 1, 0


@attrs.frozen
class Throw:
    """The game's question: how high do you throw?"""


@attrs.frozen
class Thrown:
    """A program's answer."""

    eyes: int


class Dice(Game):
    """The higher throw wins."""

    max_players = 2
    matchmaking = Queue(size=2, rating=True, within=200, wait=1)
    leaderboards = {  # noqa: RUF012 - the server only reads it
        "points": Leaderboard("sum"),
        "ratings": Leaderboard(rating=""),
    }

    async def run(self) -> None:
        players = await self.room.wait_players(2)
        throws = await self.room.ask_all(players, Throw(), Thrown)
        one, other = sorted(players, key=lambda player: -throws[player].eyes)
        if throws[one].eyes > throws[other].eyes:
            result = Result([one, other], {one: WIN, other: LOSS})
        else:
            result = Result([[one, other]], {one: DRAW, other: DRAW})
        await self.room.report(result)
        self.room.close()


@attrs.define
class League:
    """How many games are still to be played, counted twice: by each of their players."""

    games: int
    over: trio.Event = attrs.field(factory=trio.Event)

    def count(self) -> None:
        """Note that a player has played a game."""
        self.games -= 1
        if self.games <= 0:
            self.over.set()


async def play(client: Client, luck: random.Random, league: League) -> None:
    """Look for an opponent, and play, again and again."""
    tries = PROGRAMS[client.username]
    while True:
        try:
            async with client.find_game():
                pass
            # The loop ends with the game.
            async for question in client.questions(Throw):
                await question.answer(Thrown(max(luck.randint(1, 20) for _ in range(1 + tries))))
        except RequestFailed:
            # The other one was quicker to leave.
            continue
        league.count()


async def main(games: int) -> None:
    server = Server(Dice, port=0)
    league = League(2 * games)
    async with trio.open_nursery() as nursery:
        address = f"localhost:{await nursery.start(server.serve)}"
        clients = [Client.remote(address=address, username=name) for name in PROGRAMS]
        for client in clients:
            await nursery.start(client.run)
        async with trio.open_nursery() as playing:
            for number, client in enumerate(clients):
                playing.start_soon(play, client, random.Random(number), league)
            await league.over.wait()
            playing.cancel_scope.cancel()
        await show(clients[0])
        for client in clients:
            client.disconnect()
        server.shutdown()


async def show(client: Client) -> None:
    """Print the final standings."""
    page = await client.leaderboard("ratings")
    ratings = {entry.username: entry.score for entry in page.entries}
    print("Final standings")
    for entry in (await client.leaderboard("points")).entries:
        name = entry.username
        print(f"{entry.rank}. {name:10} {entry.score:3} points, rating {ratings[name]}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("games", type=int, nargs="?", default=40)
    enable_logging(level="WARNING")
    trio.run(main, parser.parse_args().games)
