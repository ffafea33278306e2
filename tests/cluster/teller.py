"""A server of a cluster as a process: each line of its input tells a user of all servers something.

`python -m tests.cluster.teller CLUSTER KEY_FILE PORT`. It says "ready", and after each line whether
that was done. It ends when its input does.
"""

from __future__ import annotations

import os
import sys

import trio

from pgnet_trio import Cluster, Game, Queue, Server
from tests.soak.server import Lines


class Table(Game):
    """Nothing happens in it."""

    matchmaking = Queue()


async def main(*arguments: str) -> None:
    cluster, key_file, port = arguments
    server = Server(
        Table,
        port=int(port),
        listen_globally=False,
        key_file=key_file,
        minimum_protocol=2,
        require_user_password=False,
        cluster=Cluster(cluster, node_address=f"127.0.0.1:{port}"),
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve)
        print("ready", flush=True)
        async with trio.lowlevel.FdStream(os.dup(0)) as stream:
            lines = Lines(stream)
            while (line := await lines.next()) is not None:
                what, _, rest = line.strip().partition(" ")
                print(what, await tell(server, what, rest), flush=True)
        server.shutdown()


async def tell(server: Server, what: str, rest: str) -> object:
    match what:
        case "push":
            return await server.push(rest, "hello", {"from": "afar"})
        case "announce":
            await server.announce(rest)
            return True
        case "kick":
            return await server.kick(rest, "Out.")
        case _:
            return sorted((user.username, user.node) for user in await server.users())


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
