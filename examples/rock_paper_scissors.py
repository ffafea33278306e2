"""Rock, paper, scissors for two, against the clock: whoever is too slow throws rock.

python examples/rock_paper_scissors.py ann --host      ann hosts the game and plays
python examples/rock_paper_scissors.py bob             in another terminal, as bob
python examples/rock_paper_scissors.py bob 192.0.2.7   from another machine, if ann's is that one
"""

from __future__ import annotations

import argparse
import sys
from enum import StrEnum
from typing import Any

import attrs
import trio

from pgnet_trio import (
    DEFAULT_PORT,
    Client,
    Game,
    PGNetError,
    PlayerLeft,
    Question,
    RequestFailed,
    Server,
    ainput,
)

SECONDS = 20
POINTS_TO_WIN = 3


class Hand(StrEnum):
    ROCK = "rock"
    PAPER = "paper"
    SCISSORS = "scissors"


BEATS = {Hand.ROCK: Hand.SCISSORS, Hand.SCISSORS: Hand.PAPER, Hand.PAPER: Hand.ROCK}


@attrs.frozen
class Choose:
    """The game's question."""

    news: str


@attrs.frozen
class Throw:
    """A player's answer."""

    hand: Hand


class RockPaperScissors(Game):
    max_players = 2

    async def run(self) -> None:
        ann, bob = players = await self.room.wait_players(2)
        points = dict.fromkeys(players, 0)
        news = f"{ann} against {bob}: {POINTS_TO_WIN} points win."
        while POINTS_TO_WIN not in points.values():
            try:
                throws = await self.room.ask_all(
                    players, Choose(news), Throw, timeout=SECONDS, default=Throw(Hand.ROCK)
                )
            except PlayerLeft as left:
                self.room.close(f"{left}.")
                return
            hands = {player: throw.hand for player, throw in throws.items()}
            if BEATS[hands[ann]] == hands[bob]:
                points[ann] += 1
            elif BEATS[hands[bob]] == hands[ann]:
                points[bob] += 1
            news = f"{ann}: {hands[ann]}, {bob}: {hands[bob]}. {points[ann]} to {points[bob]}."
        self.room.close(f"{news} {ann if points[ann] == POINTS_TO_WIN else bob} wins.")


async def play(client: Client) -> None:
    async with client:
        if client.game is None:  # or else this player's program was started again
            await client.join_game("table 1")
        print("Ctrl-D leaves.", flush=True)
        async for question in client.questions(Choose):
            print(question.prompt.news, flush=True)
            with question.scope:  # is cancelled when the time is up
                await answer(question)
            if question.scope.cancelled_caught:
                print(flush=True)
        if client.left is not None:
            print(client.left.message)


async def answer(question: Question[Choose]) -> None:
    while True:
        line = await ainput(f"rock, paper or scissors, in {question.seconds_left:.0f} seconds? ")
        try:
            await question.answer(Throw(Hand(line.strip())))
        except ValueError:
            continue  # ask again
        except RequestFailed as error:
            print(error.response.message, flush=True)
        return


def make_server(game: type[Game], **options: Any) -> Server:
    """Make the server of whoever hosts: others may come, from other machines too."""
    return Server(game, **{**options, "listen_globally": True})


def main() -> None:
    parser = argparse.ArgumentParser(description="Rock, paper, scissors for two.")
    parser.add_argument("name", help="who plays")
    parser.add_argument("address", nargs="?", default="localhost", help="where it is hosted")
    parser.add_argument("--host", action="store_true", help="host it as well, for others to join")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    options = parser.parse_args()
    if options.host:
        client = Client.local(
            game=RockPaperScissors,
            username=options.name,
            port=options.port,
            server_factory=make_server,
        )
    else:
        client = Client.remote(address=options.address, port=options.port, username=options.name)
    problem = None
    try:
        trio.run(play, client)
    except* (KeyboardInterrupt, EOFError):
        pass
    except* PGNetError as errors:
        problem = str(errors.exceptions[0])
    sys.exit(problem)


if __name__ == "__main__":
    main()
