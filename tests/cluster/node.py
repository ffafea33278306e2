"""A node as a process of its own: it wants one room, counts in its save, and says what it does.

Each line that it prints is ``WHAT NUMBER TIME``, by a clock that all processes share. It ends when
its input does.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import trio

from pgnet_trio.server.cluster.errors import EngineError, NodeGone
from pgnet_trio.server.cluster.records import Created, NewRoom, Restored, RoomSave

if TYPE_CHECKING:
    from pgnet_trio.server.cluster.engine import Engine

ROOM = "table 1"
PACE = 0.01


def say(what: str, number: int, when: float) -> None:
    print(what, number, when, flush=True)


def connect(address: str, lease: float) -> Engine:
    if address.startswith("sqlite:"):
        from pgnet_trio.server.cluster.sqlite_engine import SQLiteEngine

        return SQLiteEngine(address.removeprefix("sqlite:"), lease=lease)
    from pgnet_trio.server.cluster.postgres_engine import PostgresEngine

    return PostgresEngine(address, lease=lease, schema="processes")


class Node:
    """What one node does, in one task."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.engine = engine
        self.name = name
        self.node = 0
        self.deadline = 0.0
        self.epoch = 0
        self.count = 0

    async def run(self) -> None:
        while True:
            try:
                await self.act()
            except NodeGone:
                self.node = self.epoch = 0
            except EngineError as error:
                print(error, file=sys.stderr, flush=True)
            await trio.sleep(PACE)

    async def act(self) -> None:
        if self.engine.now() > self.deadline - 0.75 * self.engine.lease:
            await self.renew()
        elif not self.epoch:
            await self.claim()
        else:
            await self.play()

    async def renew(self) -> None:
        if not self.node:
            lease = await self.engine.register(f"{self.name} {time.monotonic()}", "")
            say("registered", lease.node, time.monotonic())
        else:
            lease = await self.engine.renew(self.node)
        if lease.rooms is not None and lease.rooms.get(ROOM) != self.epoch:
            self.epoch = 0
        self.node, self.deadline = lease.node, lease.deadline

    async def claim(self) -> None:
        found = await self.engine.claim(self.node, ROOM, new=NewRoom())
        if isinstance(found, Created | Restored):
            self.epoch = found.epoch
            self.count = int(found.data) if isinstance(found, Restored) else 0
            say("owns", self.epoch, time.monotonic())

    async def play(self) -> None:
        # The time is taken first: wherever this process is stopped, it was the owner then.
        when = time.monotonic()
        if self.engine.now() < self.deadline:
            say("holds", self.epoch, when)
        self.count += 1
        if await self.engine.save([RoomSave(ROOM, self.epoch, str(self.count))]):
            say("fenced", self.epoch, time.monotonic())
            self.epoch = 0
        else:
            say("saved", self.count, time.monotonic())


async def main(address: str, name: str, lease: float) -> None:
    engine = connect(address, lease)
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        nursery.start_soon(Node(engine, name).run)
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], float(sys.argv[3]))
