"""Tic-tac-toe for two, and for any number of people who watch.

python examples/tictactoe.py --local               two people at this terminal
python examples/tictactoe.py serve                 hosts it; with --globally for other machines too
python examples/tictactoe.py play ann              in another terminal, as ann
python examples/tictactoe.py play bob 192.0.2.7    from another machine, if that is where it is
python examples/tictactoe.py watch eve             looks on
"""

from __future__ import annotations

import argparse
import functools
import sys

import attrs
import trio

from pgnet_trio import (
    DEFAULT_PORT,
    Client,
    Game,
    PGNetError,
    Reject,
    RequestFailed,
    Server,
    SessionLost,
    ainput,
    enable_logging,
    on,
)

LINES = ["123", "456", "789", "147", "258", "369", "159", "357"]


@attrs.frozen
class Move:
    """A player's message: put my mark here."""

    square: int = attrs.field(validator=[attrs.validators.ge(1), attrs.validators.le(9)])


@attrs.frozen
class Again:
    """A player's message: another round."""


@attrs.frozen
class Table:
    """What everybody sees."""

    squares: list[str]  # "X", "O" or " "
    seats: dict[str, str]  # "X" and "O" -> username
    turn: str
    result: str  # empty while the round lasts


class TicTacToe(Game):
    """Whoever sits at the table alone plays both sides."""

    max_players = 2

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.seats: dict[str, str] = {}
        self.start()

    def start(self) -> None:
        self.squares = [" "] * 9
        self.turn = "X"
        self.result = ""

    def user_joined(self, username: str) -> None:
        self.seats["O" if "X" in self.seats else "X"] = username
        self.start()

    def user_left(self, username: str) -> None:
        self.seats = {mark: name for mark, name in self.seats.items() if name != username}

    def view(self) -> Table:
        return Table(self.squares, self.seats, self.turn, self.result)

    @on(Move)
    def move(self, player: str, move: Move) -> None:
        if self.result:
            raise Reject("The round is over; type: again")
        if len(self.seats) == 2 and self.seats[self.turn] != player:
            raise Reject(f"It is the turn of {self.seats[self.turn]}.")
        if self.squares[move.square - 1] != " ":
            raise Reject(f"Square {move.square} is taken.")
        self.squares[move.square - 1] = self.turn
        if any(all(self.squares[int(it) - 1] == self.turn for it in line) for line in LINES):
            self.result = f"{self.turn} wins."
        elif " " not in self.squares:
            self.result = "A draw."
        self.turn = "O" if self.turn == "X" else "X"

    @on(Again)
    def again(self, player: str, again: Again) -> None:
        if not self.result:
            raise Reject("Finish this round first.")
        self.start()


def draw(table: Table) -> str:
    # A free square shows its number.
    cells = [str(number) if mark == " " else mark for number, mark in enumerate(table.squares, 1)]
    rows = [" " + " | ".join(cells[start : start + 3]) for start in (0, 3, 6)]
    seats = ", ".join(f"{mark}: {name}" for mark, name in sorted(table.seats.items(), reverse=True))
    news = table.result or f"{table.turn} to move."
    return "\n".join(["", "\n---+---+---\n".join(rows), "", f"{seats}. {news}"])


def tell_connection(online: bool) -> None:
    print("Connected again." if online else "The connection dropped; reconnecting.", flush=True)


async def play(client: Client, *, spectate: bool = False) -> None:
    client.on_online = tell_connection
    async with client, trio.open_nursery() as nursery:
        if client.game is None:  # or else this player's program was started again
            await client.join_game("table 1", spectate=spectate)
        print("Type the number of a square. Ctrl-D leaves.", flush=True)
        nursery.start_soon(send_moves, client)
        await show_tables(client)
        nursery.cancel_scope.cancel()  # the game is over, so do not wait for another line
    if client.left is not None:
        print(client.left.message)


async def show_tables(client: Client) -> None:
    async for table in client.states(Table):
        print(draw(table), flush=True)


async def send_moves(client: Client) -> None:
    while True:
        line = (await ainput()).strip()
        try:
            await client.call(Again() if line == "again" else Move(int(line)))
        except ValueError:
            print("Expected the number of a square, 1 to 9.", flush=True)
        except RequestFailed as error:
            print(error.response.message, flush=True)
        except SessionLost:
            print("Look at the table: has your move arrived?", flush=True)


async def serve(port: int, listen_globally: bool) -> None:
    # With the same key after a restart, the players' programs come back by themselves.
    server = Server(TicTacToe, port=port, listen_globally=listen_globally, key_file="tictactoe.key")
    async with trio.open_nursery() as nursery:
        actual_port = await nursery.start(server.serve)
        print(f"The table is ready on port {actual_port}. Ctrl-C ends it.", flush=True)


def main() -> None:
    enable_logging(level="WARNING")  # a mistake in the rules shows, with its traceback
    parser = argparse.ArgumentParser(description="Tic-tac-toe for two.")
    parser.add_argument("--local", action="store_true", help="two people at this terminal")
    commands = parser.add_subparsers(dest="command")
    hosting = commands.add_parser("serve", help="host the game")
    hosting.add_argument("--port", type=int, default=DEFAULT_PORT)
    hosting.add_argument("--globally", action="store_true", help="for other machines too")
    for command, what in ("play", "play on a server"), ("watch", "look on"):
        joining = commands.add_parser(command, help=what)
        joining.add_argument("name")
        joining.add_argument("address", nargs="?", default="localhost")
    options = parser.parse_args()
    problem = None
    try:
        if options.command == "serve":
            trio.run(serve, options.port, options.globally)
        elif options.command is not None:
            client = Client.remote(address=options.address, username=options.name)
            trio.run(functools.partial(play, client, spectate=options.command == "watch"))
        elif options.local:
            trio.run(play, Client.local(game=TicTacToe, username="both"))
        else:
            parser.error("expected serve, play, watch or --local")
    except* (KeyboardInterrupt, EOFError):
        pass
    except* PGNetError as errors:
        problem = str(errors.exceptions[0])
    sys.exit(problem)


if __name__ == "__main__":
    main()
