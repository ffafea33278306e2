"""Tic-tac-toe for two.

python examples/tictactoe.py --local               two people at this terminal
python examples/tictactoe.py serve                 hosts it; with --globally for other machines too
python examples/tictactoe.py play ann              in another terminal, as ann
python examples/tictactoe.py play bob 192.0.2.7    from another machine, if that is where it is
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import trio

from pgnet_trio import (
    DEFAULT_PORT,
    Client,
    Game,
    Packet,
    PGNetError,
    Response,
    Server,
    Status,
    ainput,
)

LINES = ["123", "456", "789", "147", "258", "369", "159", "357"]


class TicTacToe(Game):
    """Whoever sits at the table alone plays both sides; a third player only watches."""

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.players: dict[str, str] = {}  # "X" and "O" -> username
        self.start()

    def start(self) -> None:
        self.squares = dict.fromkeys("123456789", " ")
        self.turn = "X"
        self.result = ""

    def user_joined(self, username: str) -> None:
        free = [mark for mark in "XO" if mark not in self.players]
        if free:
            self.players[free[0]] = username
            self.start()

    def user_left(self, username: str) -> None:
        self.players = {mark: name for mark, name in self.players.items() if name != username}

    def handle_game_packet(self, packet: Packet) -> Response:
        problem = self.find_problem(packet.message, packet.username)
        if problem:
            return Response(problem, status=Status.UNEXPECTED)
        if packet.message == "again":
            self.start()
        else:
            self.mark(packet.message)
        return Response("done", self.state())

    def handle_heartbeat(self, packet: Packet) -> Response:
        return Response("the table", self.state())

    def find_problem(self, message: str, username: str | None) -> str:
        if username not in self.players.values():
            return "You only watch: two others play."
        if (message == "again") != bool(self.result):
            return "The round is over; type: again" if self.result else "Finish this round first."
        if message == "again":
            return ""
        if message not in self.squares:
            return f"Expected the number of a square, 1 to 9; got {message!r}."
        if len(self.players) == 2 and self.players[self.turn] != username:
            return f"It is the turn of {self.players[self.turn]}."
        return "" if self.squares[message] == " " else f"Square {message} is taken."

    def mark(self, square: str) -> None:
        self.squares[square] = self.turn
        if any(all(self.squares[it] == self.turn for it in line) for line in LINES):
            self.result = f"{self.turn} wins."
        elif " " not in self.squares.values():
            self.result = "A draw."
        self.turn = "O" if self.turn == "X" else "X"

    def state(self) -> dict[str, Any]:
        news = self.result or f"{self.turn} to move."
        return {"squares": self.squares, "players": self.players, "news": news}


class Player(Client):
    state: dict[str, Any] | None = None

    def on_heartbeat(self, response: Response) -> None:
        self.show(response.payload)

    def show(self, state: dict[str, Any]) -> None:
        if state != self.state:
            self.state = state
            print(draw(state), flush=True)


def draw(state: dict[str, Any]) -> str:
    # A free square shows its number.
    cells = [mark if mark != " " else number for number, mark in state["squares"].items()]
    rows = [" " + " | ".join(cells[start : start + 3]) for start in (0, 3, 6)]
    seats = ", ".join(f"{mark}: {name}" for mark, name in state["players"].items())
    return "\n".join(["", "\n---+---+---\n".join(rows), "", f"{seats}. {state['news']}"])


async def play(player: Player) -> str | None:
    playing = trio.CancelScope()

    def on_connection(connected: bool) -> None:
        if not connected:
            playing.cancel()  # the server has gone, so do not wait for another line

    player.on_connection = on_connection
    try:
        async with player:
            await player.join_game("table 1")
            print("Type the number of a square. Ctrl-D leaves.", flush=True)
            with playing:
                while True:
                    response = await player.request(Packet((await ainput()).strip()))
                    if response.status == Status.OK:
                        player.show(response.payload)
                    else:
                        print(response.message, flush=True)
    except EOFError:
        return None
    except PGNetError as error:
        return str(error)
    return f"The connection has ended: {player.close_reason}."


async def serve(port: int, listen_globally: bool) -> str | None:
    server = Server(TicTacToe, port=port, listen_globally=listen_globally)
    async with trio.open_nursery() as nursery:
        try:
            actual_port = await nursery.start(server.serve)
        except PGNetError as error:
            return str(error)
        print(f"The table is ready on port {actual_port}. Ctrl-C ends it.", flush=True)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description="Tic-tac-toe for two.")
    parser.add_argument("--local", action="store_true", help="two people at this terminal")
    commands = parser.add_subparsers(dest="command")
    hosting = commands.add_parser("serve", help="host the game")
    hosting.add_argument("--port", type=int, default=DEFAULT_PORT)
    hosting.add_argument("--globally", action="store_true", help="for other machines too")
    playing = commands.add_parser("play", help="play on a server")
    playing.add_argument("name")
    playing.add_argument("address", nargs="?", default="localhost")
    options = parser.parse_args()
    try:
        if options.command == "serve":
            sys.exit(trio.run(serve, options.port, options.globally))
        if options.command == "play":
            sys.exit(trio.run(play, Player.remote(address=options.address, username=options.name)))
        if not options.local:
            parser.error("expected serve, play or --local")
        sys.exit(trio.run(play, Player.local(game=TicTacToe, username="both")))
    except* KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
