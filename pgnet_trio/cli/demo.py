"""``pgnet-trio demo``: a server and two clients play tic-tac-toe, and print their moves."""

from __future__ import annotations

import argparse
from typing import Any

import trio

from pgnet_trio.client import Client
from pgnet_trio.errors import PGNetError
from pgnet_trio.game import Game
from pgnet_trio.messages import Packet, Response, Status
from pgnet_trio.server import Server

__all__ = ["TicTacToe", "run", "set_up"]

DEADLINE = 30.0
"""Seconds after which the demo gives up; it takes about one."""

LINES = ("012", "345", "678", "036", "147", "258", "048", "246")

CELLS = (
    *("top left", "top", "top right"),
    *("left", "centre", "right"),
    *("bottom left", "bottom", "bottom right"),
)

ANN = (4, 6, 0, 3)
BOB = (1, 2, 8)


class TicTacToe(Game):
    """The rules of one table."""

    heartbeat_rate = 30

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.players: list[str] = []
        self.board = "........."
        self.winner = ""

    def user_joined(self, username: str, /) -> None:
        """Seat a player: the first one has X."""
        self.players.append(username)

    def handle_game_packet(self, packet: Packet, /) -> Response:
        """Place a mark."""
        username, cell = packet.username, packet.payload.get("cell")
        if username not in self.players[:2]:
            return Response("You only watch.", status=Status.UNEXPECTED)
        if self.winner or username != self.turn:
            return Response(f"It is {self.turn or 'nobody'}'s turn.", status=Status.UNEXPECTED)
        if not isinstance(cell, int) or not 0 <= cell < 9 or self.board[cell] != ".":
            return Response("That is no free cell.", status=Status.UNEXPECTED)
        mark = "XO"[self.players.index(username)]
        self.board = self.board[:cell] + mark + self.board[cell + 1 :]
        if any(all(self.board[int(cell)] == mark for cell in line) for line in LINES):
            self.winner = username
        return Response("Placed.", self.state())

    def handle_heartbeat(self, packet: Packet, /) -> Response:
        """Return how the game stands."""
        return Response("The table.", self.state())

    @property
    def turn(self) -> str:
        """Whose turn it is; empty while somebody is missing, or once the game is over."""
        marks = 9 - self.board.count(".")
        is_on = len(self.players) >= 2 and not self.winner and marks < 9
        return self.players[marks % 2] if is_on else ""

    def state(self) -> dict[str, Any]:
        """Return what the players see."""
        return {"board": self.board, "turn": self.turn, "winner": self.winner}


def set_up(parser: argparse.ArgumentParser) -> None:
    """Add the function that runs the command; it has no arguments."""
    parser.description = (
        "Play a short game on this machine: a server and two clients, over real and encrypted\n"
        "connections. It needs no port of its own and leaves nothing behind."
    )
    parser.epilog = "example:\n  pgnet-trio demo\n"
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Play the game.

    Returns:
        0 if ann won, as she should, else 1.
    """
    try:
        return trio.run(_demonstrate)
    except* trio.TooSlowError:
        raise PGNetError(f"the demo did not end within {DEADLINE:g} seconds") from None


async def _demonstrate() -> int:
    server = Server(TicTacToe, port=0)
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(server.serve)
            print(f"A server for tic-tac-toe listens on localhost, port {port}.")
            winner = await _play(server, f"localhost:{port}")
            server.shutdown()
    print("The server has shut down.")
    return 0 if winner == "ann" else 1


async def _play(server: Server, address: str) -> str:
    def client(username: str) -> Client:
        return Client.remote(address=address, username=username, verify_server_pubkey=server.pubkey)

    async with client("ann") as ann, client("bob") as bob:
        print(f"ann and bob are logged in, both sure of the server's key {server.pubkey}")
        await ann.create_game("table 1")
        await bob.join_game("table 1")
        print('ann created the game "table 1", and bob joined it.')
        refusal = await bob.request(Packet("place", {"cell": BOB[0]}))
        print(f"bob tries to go first, and is told: {refusal.message}\n")
        seen: dict[str, str] = {}
        async with trio.open_nursery() as nursery:
            for number, (player, cells) in enumerate([(ann, ANN), (bob, BOB)]):
                nursery.start_soon(_play_one, player, number, cells, seen)
    print(f"ann sees that {seen['ann']} has won, and bob sees that {seen['bob']} has.")
    return seen["ann"]


async def _play_one(
    client: Client, number: int, cells: tuple[int, ...], seen: dict[str, str]
) -> None:
    """Place a player's marks, each when a heartbeat shows that it is their turn."""
    table: dict[str, Any] = {"board": "", "winner": ""}
    news = trio.lowlevel.ParkingLot()

    def look(heartbeat: Response) -> None:
        table.update(heartbeat.payload)
        news.unpark_all()

    async def wait_for_turn(turn: int) -> None:
        while not table["winner"] and len(table["board"].replace(".", "")) != turn:
            await news.park()

    client.on_heartbeat = look
    for turn, cell in enumerate(cells):
        await wait_for_turn(2 * turn + number)
        response = await client.request(Packet("place", {"cell": cell}))
        board = response.raise_for_status().payload["board"]
        rows = [" ".join(board[start : start + 3]) for start in (0, 3, 6)]
        rows[1] += f"    {client.username}: {CELLS[cell]}"
        print("    " + "\n    ".join(rows) + "\n")
    await wait_for_turn(9)
    seen[client.username] = table["winner"]
