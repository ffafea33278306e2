"""Nim against a bot that thinks hard, in a process of its own: no other game waits for it.

python examples/nim.py                             play at this terminal
pgnet-trio serve examples/nim.py:Nim               host it, for programs of your own
"""

from __future__ import annotations

import random

import attrs
import trio

from pgnet_trio import (
    Bot,
    Client,
    Game,
    Question,
    Reject,
    RequestFailed,
    ainput,
    enable_logging,
)

try:
    from trio_parallel import run_sync as think_elsewhere
except ImportError:
    # A thread delays nobody either, but shares its core with the games.
    from trio.to_thread import run_sync as think_elsewhere


@attrs.frozen
class Take:
    """A move: so many matches from one heap."""

    heap: int
    count: int


@attrs.frozen
class YourMove:
    heaps: list[int]


@attrs.frozen
class Table:
    heaps: list[int]
    said: str


def after(heaps: list[int], move: Take) -> list[int]:
    return [size - move.count * (number == move.heap) for number, size in enumerate(heaps)]


def moves(heaps: list[int]) -> list[Take]:
    return [Take(heap, count) for heap, size in enumerate(heaps) for count in range(1, size + 1)]


def wins(heaps: list[int]) -> bool:
    """Try everything, and remember nothing: slow on purpose."""
    return any(not wins(after(heaps, move)) for move in moves(heaps))


def best_move(heaps: list[int]) -> Take:
    options = moves(heaps)
    return next((move for move in options if not wins(after(heaps, move))), options[0])


class Thinker(Bot):
    async def play(self) -> None:
        async for question in self.questions(YourMove):
            await question.answer(await think_elsewhere(best_move, question.prompt.heaps))


class Nim(Game):
    """Whoever takes the last match wins."""

    max_players = 2

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.heaps = [3, self.room.random.randint(3, 4), 2]
        self.said = "Whoever takes the last match wins."
        self.room.add_bot(Thinker("the bot"))

    def view(self) -> Table:
        return Table(self.heaps, self.said)

    async def run(self) -> None:
        players = await self.room.wait_players(2)
        self.room.random.shuffle(players)
        turn = 0
        while any(self.heaps):
            player = players[turn % 2]
            question = YourMove(list(self.heaps))
            move = await self.room.ask(player, question, Take, check=self.check)
            self.heaps = after(self.heaps, move)
            self.said = f"{player} takes {move.count} of heap {move.heap}."
            turn += 1
        self.room.close(f"{player} wins!")

    def check(self, move: Take) -> None:
        if move not in moves(self.heaps):
            raise Reject("There are not so many matches there.")


async def ask_person(question: Question[YourMove]) -> None:
    line = await ainput(f"{question.prompt.heaps}  heap and count, as in 0 2: ")
    try:
        heap, count = map(int, line.split())
        await question.answer(Take(heap, count))
    except ValueError:
        print("Two numbers, please.")
    except RequestFailed as refused:
        print(refused.response.message)


async def play() -> None:
    username = f"you{random.randrange(1000)}"
    async with Client.local(game=Nim, username=username) as client:
        client.on_state = lambda table: print(table["said"])
        await client.create_game("nim")
        async for question in client.questions(YourMove):
            while question.is_open:
                await ask_person(question)
        assert client.left is not None
        print(client.left.message)


def main() -> None:
    enable_logging(level="WARNING")  # a mistake in the rules shows, with its traceback
    try:
        trio.run(play)
    except* (KeyboardInterrupt, EOFError):
        print()  # after the prompt


if __name__ == "__main__":
    main()
