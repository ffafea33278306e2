"""The smallest game: a player says hello, and the game answers.

python examples/hello.py
"""

from __future__ import annotations

import trio

from pgnet_trio import Client, Game, Packet, Response, enable_logging


class Greeter(Game):
    def handle_game_packet(self, packet: Packet) -> Response:
        return Response(f"Hello {packet.username}, you said {packet.message!r}.")


async def main() -> None:
    enable_logging(level="WARNING")  # a mistake in the rules shows, with its traceback
    # A local client carries its own server, in memory and without a port.
    async with Client.local(game=Greeter, username="ann") as client:
        await client.create_game("table 1")
        response = await client.request(Packet("good morning"))
        print(response.message)


if __name__ == "__main__":
    trio.run(main)
