"""The server of the benchmark `monitor`: tables that tick and show a state, and a monitor.

``python -m tests.benchmarks.watched TABLES`` prints the server's port and its monitor's.
"""

from __future__ import annotations

import sys
from typing import Any

import attrs
import trio

from pgnet_trio import Game, Monitor, Server, on
from tests.kit.hosting import cheap_environment

__all__ = ["Move", "Watched"]


@attrs.frozen
class Move:
    square: int


@attrs.frozen
class Board:
    turn: int
    squares: list[int]
    hand: list[str]


class Watched(Game):
    """A table of ten, whose state changes every few seconds."""

    update_rate = 0.2

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.turn = 0
        self.squares = [0] * 64

    def update(self) -> None:
        self.turn += 1

    @on(Move)
    def move(self, player: str, message: Move) -> None:
        self.squares[message.square] += 1

    def view(self, player: str | None) -> Board:
        return Board(self.turn, list(self.squares), [f"{player} {card}" for card in range(5)])

    async def run(self) -> None:
        await trio.sleep_forever()


async def main(tables: int) -> None:
    """Run until the process is ended."""
    unlimited: dict[str, Any] = dict.fromkeys(
        ["max_connections", "max_connections_per_address", "max_logins_per_address"]
    )
    server = Server(
        Watched,
        port=0,
        monitor=Monitor("127.0.0.1:0"),
        rooms=[f"table {number}" for number in range(tables)],
        environment=cheap_environment(),
        registrations_per_address=None,
        # On a busy machine they take their time, all at once.
        login_timeout=None,
        **unlimited,
    )
    async with trio.open_nursery() as nursery:
        port = await nursery.start(server.serve)
        print(port, server.monitor_port, flush=True)


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]))
