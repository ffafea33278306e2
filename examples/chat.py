"""A chat room, for any number of people.

python examples/chat.py serve               hosts it; with --globally for other machines too
python examples/chat.py join ann            in another terminal, as ann
python examples/chat.py join bob 192.0.2.7  from another machine, if that is where it is hosted
"""

from __future__ import annotations

import argparse
import sys
from collections import deque

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

KEPT_LINES = 50
MAX_LINE_LENGTH = 500


@attrs.frozen
class Say:
    """From a player to the room."""

    line: str


@attrs.frozen
class Recent:
    """From a player's program that has forgotten what was said."""


@attrs.frozen
class Lines:
    """The answer to that."""

    lines: list[str]


@attrs.frozen
class Said:
    """From the room to everybody in it."""

    line: str


class ChatRoom(Game):
    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)

    def user_joined(self, username: str) -> None:
        for line in self.lines:
            self.room.push(Said(line), to=username)
        self.tell(f"* {username} comes in")

    def user_left(self, username: str) -> None:
        self.tell(f"* {username} goes")

    def player_dropped(self, username: str) -> None:
        self.tell(f"* {username} has lost the connection")

    def player_resumed(self, username: str) -> None:
        self.tell(f"* {username} is back")

    @on(Say)
    def say(self, player: str, message: Say) -> None:
        # Never trust what comes from players: a line could steer the terminals of the others.
        if not message.line.isprintable() or len(message.line) > MAX_LINE_LENGTH:
            raise Reject(f"Expected printable text of at most {MAX_LINE_LENGTH} characters.")
        self.tell(f"{player}: {message.line}")

    @on(Recent)
    def recent(self, player: str, message: Recent) -> Lines:
        return Lines(list(self.lines))

    def tell(self, line: str) -> None:
        self.lines.append(line)
        self.room.push(Said(line))


async def join(client: Client) -> None:
    client.on_lost_pushes = show_gap
    async with client, trio.open_nursery() as nursery:
        if client.game is None:  # or else this person's program was started again
            await client.join_game("chat")
        print("Each line that you type is said. Ctrl-D leaves.", flush=True)
        nursery.start_soon(talk, client)
        await show_lines(client)
        nursery.cancel_scope.cancel()  # the room is closed, so do not wait for another line
    if client.left is not None:
        print(client.left.message)


async def show_lines(client: Client) -> None:
    async for said in client.pushes(Said):
        print(said.line, flush=True)


def show_gap(count: int) -> None:
    print(f"({count} lines are missing: too much was said)", flush=True)


async def talk(client: Client) -> None:
    while True:
        try:
            await client.call(Say(await ainput()))
        except RequestFailed as error:
            print(error.response.message, flush=True)
        except SessionLost:
            print("That may not have been heard.", flush=True)


async def serve(port: int, listen_globally: bool) -> None:
    # With the same key after a restart, the players' programs come back by themselves.
    server = Server(ChatRoom, port=port, listen_globally=listen_globally, key_file="chat.key")
    async with trio.open_nursery() as nursery:
        actual_port = await nursery.start(server.serve)
        print(f"The chat is open on port {actual_port}. Ctrl-C ends it.", flush=True)


def main() -> None:
    enable_logging(level="WARNING")  # a mistake in the rules shows, with its traceback
    parser = argparse.ArgumentParser(description="A chat room, for any number of people.")
    commands = parser.add_subparsers(dest="command", required=True)
    hosting = commands.add_parser("serve", help="host the chat")
    hosting.add_argument("--port", type=int, default=DEFAULT_PORT)
    hosting.add_argument("--globally", action="store_true", help="for other machines too")
    joining = commands.add_parser("join", help="take part")
    joining.add_argument("name")
    joining.add_argument("address", nargs="?", default="localhost")
    options = parser.parse_args()
    problem = None
    try:
        if options.command == "serve":
            trio.run(serve, options.port, options.globally)
        else:
            trio.run(join, Client.remote(address=options.address, username=options.name))
    except* (KeyboardInterrupt, EOFError):
        pass
    except* PGNetError as errors:
        problem = str(errors.exceptions[0])
    sys.exit(problem)


if __name__ == "__main__":
    main()
