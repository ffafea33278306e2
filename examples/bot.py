"""A client without a person: a bot that guesses a number, and needs no more tries than it must.

python examples/bot.py                                     with a local server of its own
pgnet-trio serve examples/bot.py:GuessingGame              hosts the game, and then
python examples/bot.py localhost                           plays it there
"""

from __future__ import annotations

import argparse
import random
import sys

import trio

from pgnet_trio import Client, Game, Packet, PGNetError, Response, Status, enable_logging

HIGHEST = 1000


class GuessingGame(Game):
    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.number = random.randint(1, HIGHEST)

    def handle_game_packet(self, packet: Packet) -> Response:
        guess = packet.payload.get("number")
        if packet.message != "guess" or not isinstance(guess, int):
            return Response("Expected guess with a number.", status=Status.UNEXPECTED)
        if guess == self.number:
            self.number = random.randint(1, HIGHEST)
            return Response("right")
        return Response("higher" if guess < self.number else "lower")


async def guess_number(client: Client) -> int:
    """Play one round, and return the number of tries."""
    low, high = 1, HIGHEST
    tries = 0
    while low <= high:
        tries += 1
        guess = (low + high) // 2
        response = await client.request(Packet("guess", {"number": guess}))
        print(f"{guess}? {response.raise_for_status().message}")
        if response.message == "right":
            return tries
        if response.message == "higher":
            low = guess + 1
        else:
            high = guess - 1
    raise PGNetError("The number is not where it has to be: is somebody else playing here too?")


async def play(client: Client) -> str | None:
    try:
        async with client:
            # A game of its own, so that nobody else guesses the same number.
            await client.create_game(f"guessing of {client.username}")
            print(f"Found in {await guess_number(client)} tries.")
    except PGNetError as error:
        return str(error)
    return None


def main() -> None:
    enable_logging(level="WARNING")  # a mistake in the rules shows, with its traceback
    parser = argparse.ArgumentParser(description="A bot that guesses a number.")
    parser.add_argument("address", nargs="?", help="without one: a local server of its own")
    parser.add_argument("--name", default="bot")
    options = parser.parse_args()
    if options.address is None:
        client = Client.local(game=GuessingGame, username=options.name)
    else:
        client = Client.remote(address=options.address, username=options.name)
    try:
        sys.exit(trio.run(play, client))
    except* KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
