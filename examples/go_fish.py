"""Go Fish, a game of cards for two to six: each sees their own hand, and nobody else's.

Ask somebody for a rank that you hold: they give you all that they have of it, and you go on. If
they have none, you draw a card, "go fish", and the next one asks. Four of a rank are a book, and
who has the most books in the end wins.

python examples/go_fish.py serve                    hosts it; with --globally for other machines too
python examples/go_fish.py play ann                 in another terminal, as ann, at a table for two
python examples/go_fish.py play ann --open 3        the same, at a table for three
python examples/go_fish.py play bob 192.0.2.7       from another machine, if that is where it is
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from typing import Any

import attrs
import trio

from pgnet_trio import (
    DEFAULT_PORT,
    Client,
    Game,
    Left,
    PGNetError,
    PlayerLeft,
    Question,
    Reject,
    RequestFailed,
    Server,
    StateChanged,
    ainput,
    enable_logging,
)

RANKS = [*"23456789", "10", *"JQKA"]
SECONDS = 60


@attrs.frozen
class YourTurn:
    """The game's question."""


@attrs.frozen
class Ask:
    """A player's answer."""

    player: str
    rank: str


@attrs.frozen
class Table:
    """What one player may see."""

    hand: list[str]  # their own
    cards: dict[str, int]  # how many each player has
    books: dict[str, list[str]]
    stock: int
    news: list[str]


class GoFish(Game):
    max_players = 6

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.stock = RANKS * 4
        self.room.random.shuffle(self.stock)
        self.hands: dict[str, list[str]] = {}
        self.books: dict[str, list[str]] = {}
        self.news: list[str] = []

    def view(self, player: str | None) -> Table:
        return Table(
            hand=sorted(self.hands.get(player or "", []), key=RANKS.index),
            cards={name: len(hand) for name, hand in self.hands.items()},
            books=self.books,
            stock=len(self.stock),
            news=self.news[-5:],
        )

    def user_left(self, username: str) -> None:
        self.stock += self.hands.pop(username, [])
        self.room.random.shuffle(self.stock)

    async def run(self) -> None:
        await self.room.wait_players(self.room.options.get("players", 2))
        self.room.locked = True
        for player in self.room.players:
            self.hands[player], self.books[player] = [], []
            self.draw(player, 7)
        while len(self.hands) > 1 and any(self.hands.values()):
            for player in list(self.hands):
                while await self.take_turn(player):
                    pass
        best = max(self.books, key=lambda player: len(self.books[player]))
        self.room.close(f"{best} wins with {len(self.books[best])} books.")

    async def take_turn(self, player: str) -> bool:
        """Let a player ask once; return whether they may ask again."""
        if player in self.hands and not self.hands[player]:
            self.draw(player, 1)
        if not self.hands.get(player) or not self.find_others(player):
            return False

        def check(ask: Ask) -> None:
            if ask.rank not in self.hands[player]:
                raise Reject(f"You hold no {ask.rank} yourself.")
            if ask.player not in self.find_others(player):
                raise Reject(f"Ask one of {', '.join(self.find_others(player))}.")

        self.room.sync()  # so that the table is there before the question
        try:
            ask = await self.room.ask(player, YourTurn(), Ask, timeout=SECONDS, check=check)
        except (trio.TooSlowError, PlayerLeft) as error:
            self.news.append(f"{error}.")
            return False
        if player not in self.hands or ask.player not in self.hands:
            return False  # one of them left just now
        given = [card for card in self.hands[ask.player] if card == ask.rank]
        if given:
            self.news.append(f"{ask.player} gives {player} {len(given)} x {ask.rank}.")
            self.hands[ask.player] = [card for card in self.hands[ask.player] if card != ask.rank]
            self.take(player, given)
            return True
        self.news.append(f"{ask.player} has no {ask.rank}: {player} goes fish.")
        return ask.rank in self.draw(player, 1)

    def find_others(self, player: str) -> list[str]:
        return [other for other, hand in self.hands.items() if hand and other != player]

    def draw(self, player: str, count: int) -> list[str]:
        cards, self.stock = self.stock[:count], self.stock[count:]
        self.take(player, cards)
        return cards

    def take(self, player: str, cards: list[str]) -> None:
        self.hands[player] += cards
        for rank, count in Counter(self.hands[player]).items():
            if count == 4:
                self.hands[player] = [card for card in self.hands[player] if card != rank]
                self.books[player].append(rank)
                self.news.append(f"{player} has all four {rank}.")


async def play(client: Client, players: int | None) -> None:
    async with client:
        events = client.events()  # keeps from now on what comes, in its order
        if players is not None:
            await client.create_game("table 1", options={"players": players})
        elif client.game is None:  # or else this player's program was started again
            await client.join_game("table 1")
        print("Ctrl-D leaves.", flush=True)
        async for event in events:
            if isinstance(event, StateChanged) and client.game is not None:
                print(describe(client.get_state(Table)), flush=True)
            elif isinstance(event, Question):
                with event.scope:  # is cancelled when the time is up
                    await answer(client, event)
            elif isinstance(event, Left):
                print(event.message)
                return


async def answer(client: Client, question: Question[Any]) -> None:
    others = [player for player in client.players if player != client.username]
    while True:
        example = "a rank" if len(others) == 1 else f"a rank and a name, such as: 7 {others[0]}"
        line = await ainput(f"Ask for {example}, in {question.seconds_left:.0f} seconds> ")
        rank, _, other = line.strip().partition(" ")
        try:
            await question.answer(Ask(other or others[0], rank.upper()))
        except RequestFailed as error:
            print(error.response.message, flush=True)
        else:
            return


def describe(table: Table) -> str:
    lines = ["", *table.news]
    for player, count in table.cards.items():
        lines.append(f"{player}: {count} cards, {len(table.books[player])} books")
    lines.append(f"{table.stock} cards are left. Your hand: {' '.join(table.hand)}")
    return "\n".join(lines)


async def serve(port: int, listen_globally: bool) -> None:
    # With the same key after a restart, the players' programs need not be told of it.
    server = Server(GoFish, port=port, listen_globally=listen_globally, key_file="go_fish.key")
    async with trio.open_nursery() as nursery:
        actual_port = await nursery.start(server.serve)
        print(f"The table is ready on port {actual_port}. Ctrl-C ends it.", flush=True)


def main() -> None:
    enable_logging(level="WARNING")  # a mistake in the rules shows, with its traceback
    parser = argparse.ArgumentParser(description="Go Fish, for two to six.")
    commands = parser.add_subparsers(dest="command", required=True)
    hosting = commands.add_parser("serve", help="host the game")
    hosting.add_argument("--port", type=int, default=DEFAULT_PORT)
    hosting.add_argument("--globally", action="store_true", help="for other machines too")
    joining = commands.add_parser("play", help="play on a server")
    joining.add_argument("name")
    joining.add_argument("address", nargs="?", default="localhost")
    joining.add_argument("--open", type=int, metavar="PLAYERS", help="open a table for so many")
    options = parser.parse_args()
    problem = None
    try:
        if options.command == "serve":
            trio.run(serve, options.port, options.globally)
        else:
            client = Client.remote(address=options.address, username=options.name)
            trio.run(play, client, options.open)
    except* (KeyboardInterrupt, EOFError):
        pass
    except* PGNetError as errors:
        problem = str(errors.exceptions[0])
    sys.exit(problem)


if __name__ == "__main__":
    main()
