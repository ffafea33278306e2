"""A chat room, for any number of people.

python examples/chat.py serve               hosts it; with --globally for other machines too
python examples/chat.py join ann            in another terminal, as ann
python examples/chat.py join bob 192.0.2.7  from another machine, if that is where it is hosted
"""

from __future__ import annotations

import argparse
import sys

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

KEPT_LINES = 50
MAX_LINE_LENGTH = 500


class ChatRoom(Game):
    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.lines: list[str] = []  # only the last ones are kept
        self.count = 0  # how many there were

    def user_joined(self, username: str) -> None:
        self.add(f"* {username} comes in")

    def user_left(self, username: str) -> None:
        self.add(f"* {username} goes")

    def handle_game_packet(self, packet: Packet) -> Response:
        # Never trust what comes from players: a line could steer the terminals of the others.
        line = packet.message
        if not line.isprintable() or len(line) > MAX_LINE_LENGTH:
            problem = f"Expected printable text of at most {MAX_LINE_LENGTH} characters."
            return Response(problem, status=Status.UNEXPECTED)
        self.add(f"{packet.username}: {line}")
        return Response("said")

    def handle_heartbeat(self, packet: Packet) -> Response:
        seen = packet.payload.get("seen")
        new = self.count - seen if isinstance(seen, int) else len(self.lines)
        lines = self.lines[-new:] if new > 0 else []
        return Response("news", {"lines": lines, "count": self.count})

    def add(self, line: str) -> None:
        self.count += 1
        self.lines = [*self.lines, line][-KEPT_LINES:]


class ChatClient(Client):
    seen = 0

    def heartbeat_payload(self) -> dict[str, int]:
        return {"seen": self.seen}

    def on_heartbeat(self, response: Response) -> None:
        self.seen = response.payload["count"]
        for line in response.payload["lines"]:
            print(line, flush=True)


async def serve(port: int, listen_globally: bool) -> str | None:
    server = Server(ChatRoom, port=port, listen_globally=listen_globally)
    async with trio.open_nursery() as nursery:
        try:
            actual_port = await nursery.start(server.serve)
        except PGNetError as error:
            return str(error)
        print(f"The chat is open on port {actual_port}. Ctrl-C ends it.", flush=True)
    return None


async def join(name: str, address: str) -> str | None:
    talking = trio.CancelScope()

    def on_connection(connected: bool) -> None:
        if not connected:
            talking.cancel()  # nobody listens any more, so do not wait for another line

    client = ChatClient.remote(address=address, username=name)
    client.on_connection = on_connection
    try:
        async with client:
            await client.join_game("chat")
            print("Each line that you type is said. Ctrl-D leaves.", flush=True)
            with talking:
                while True:
                    response = await client.request(Packet(await ainput()))
                    if response.status != Status.OK:
                        print(response.message, flush=True)
    except EOFError:
        return None
    except PGNetError as error:
        return str(error)
    return f"The connection has ended: {client.close_reason}."


def main() -> None:
    parser = argparse.ArgumentParser(description="A chat room, for any number of people.")
    commands = parser.add_subparsers(dest="command", required=True)
    hosting = commands.add_parser("serve", help="host the chat")
    hosting.add_argument("--port", type=int, default=DEFAULT_PORT)
    hosting.add_argument("--globally", action="store_true", help="for other machines too")
    joining = commands.add_parser("join", help="take part")
    joining.add_argument("name")
    joining.add_argument("address", nargs="?", default="localhost")
    options = parser.parse_args()
    try:
        if options.command == "serve":
            sys.exit(trio.run(serve, options.port, options.globally))
        sys.exit(trio.run(join, options.name, options.address))
    except* KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
