"""The rivals that are written in Python, each in a process of its own.

`python -m tests.benchmarks.peers.servers NAME` prints its port and serves until it is terminated.
They have rooms or broadcasts, but no state that syncs itself: each tick, the whole state goes out
as JSON with named fields, as authors who use them do it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import socket
from collections.abc import Callable
from typing import Any

from tests.benchmarks.peers.workload import WORKLOAD, World

__all__ = ["SERVERS"]


async def tick_for_ever(world: World, publish: Callable[[], Any]) -> None:
    """Ticks with absolute deadlines; each ends with `publish`."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        due += 1 / WORKLOAD.ticks_per_second
        # Where a tick was late by more than a whole one, those in between are skipped.
        due = max(due, loop.time())
        await asyncio.sleep(due - loop.time())
        world.tick()
        result = publish()
        if result is not None:
            await result


def serve_socketio() -> None:
    import socketio
    import uvicorn

    server = socketio.AsyncServer(async_mode="asgi")
    world = World()
    bodies: dict[str, int] = {}
    tasks: list[asyncio.Task[None]] = []

    def publish() -> Any:
        return server.emit("state", world.bodies, room="arena")

    async def echo(_session: str, data: Any) -> Any:
        return data

    async def join(session: str, room: str) -> None:
        await server.enter_room(session, room)

    async def leave(session: str, room: str) -> None:
        await server.leave_room(session, room)

    async def broadcast(_session: str, data: Any) -> None:
        await server.emit("broadcast", data, room="room")

    async def play(session: str, body: int) -> None:
        bodies[session] = body
        await server.enter_room(session, "arena")
        if not tasks:
            tasks.append(asyncio.create_task(tick_for_ever(world, publish)))

    async def steer(session: str, data: dict[str, int]) -> None:
        world.steer(bodies[session], data["number"], data["dx"], data["dy"])

    for handler in (echo, join, leave, broadcast, play, steer):
        server.on(handler.__name__, handler)
    listener = socket.create_server(("127.0.0.1", 0))
    configuration = uvicorn.Config(
        socketio.ASGIApp(server), log_level="warning", access_log=False, lifespan="off"
    )
    print(listener.getsockname()[1], flush=True)
    # `run` and not `serve`: this way it takes uvloop, as it does from its command line.
    uvicorn.Server(configuration).run(sockets=[listener])


def serve_websockets() -> None:
    from websockets.asyncio.server import ServerConnection, broadcast, serve
    from websockets.exceptions import ConnectionClosedError

    world = World()
    room: set[ServerConnection] = set()
    arena: set[ServerConnection] = set()
    tasks: list[asyncio.Task[None]] = []

    def publish() -> None:
        broadcast(arena, json.dumps(["state", world.bodies], separators=(",", ":")))

    async def talk(connection: ServerConnection) -> None:
        body = 0
        async for text in connection:
            kind, data = json.loads(text)
            if kind == "steer":
                world.steer(body, data["number"], data["dx"], data["dy"])
            elif kind == "broadcast":
                broadcast(room, json.dumps([kind, data], separators=(",", ":")))
            elif kind == "play":
                body = data
                arena.add(connection)
                if not tasks:
                    tasks.append(asyncio.create_task(tick_for_ever(world, publish)))
            else:
                if kind == "join":
                    room.add(connection)
                elif kind == "leave":
                    room.discard(connection)
                await connection.send(json.dumps([kind, data], separators=(",", ":")))

    async def handle(connection: ServerConnection) -> None:
        try:
            await talk(connection)
        except ConnectionClosedError:
            # Clients of the load generator hang up without a word.
            pass
        finally:
            room.discard(connection)
            arena.discard(connection)

    async def run() -> None:
        async with serve(handle, "127.0.0.1", 0, compression=None) as server:
            print(next(iter(server.sockets)).getsockname()[1], flush=True)
            await server.serve_forever()

    asyncio.run(run())


SERVERS: dict[str, Callable[[], None]] = {
    "socketio": serve_socketio,
    "websockets": serve_websockets,
}


def main() -> None:
    """Serve what is named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.peers.servers")
    parser.add_argument("name", choices=SERVERS)
    arguments = parser.parse_args()
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    SERVERS[arguments.name]()


if __name__ == "__main__":
    main()
