"""A node as a process: `python -m tests.cluster_chaos.node ENGINE KEY_FILE ADDRESS NAME RUN LEASE`.

It is hosted as by ``pgnet-trio serve``, signals and all. It prints its port as one line of JSON,
and answers each line of its input with one more. Where its input ends, so does it.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import attrs
import nacl.pwhash
import trio

from pgnet_trio import Cluster, Server
from pgnet_trio.cli.hosting import host
from pgnet_trio.crypto import PasswordHasher
from pgnet_trio.errors import bare
from pgnet_trio.server.cluster.engine import Engine
from pgnet_trio.server.cluster.errors import EngineError
from tests.cluster_chaos.game import Place
from tests.soak.server import Lines

if TYPE_CHECKING:
    from pgnet_trio.environment import Environment

AUTOSAVE = 1.0
"""Seconds from one save to the next."""

SCHEMA = "chaos"

NO_ENGINE = "Without its engine this is no node"

hasher = PasswordHasher(
    opslimit=nacl.pwhash.argon2id.OPSLIMIT_MIN, memlimit=nacl.pwhash.argon2id.MEMLIMIT_MIN
)


def open_engine(address: str, lease: float, environment: Environment | None = None) -> Engine:
    """Return an engine, by ``sqlite:PATH`` or what PostgreSQL's own library takes."""
    if address.startswith("sqlite:"):
        from pgnet_trio.server.cluster.sqlite_engine import SQLiteEngine

        path = address.removeprefix("sqlite:")
        return SQLiteEngine(path, lease=lease, environment=environment)
    from pgnet_trio.server.cluster.postgres_engine import PostgresEngine

    return PostgresEngine(address, schema=SCHEMA, lease=lease, environment=environment)


@attrs.define
class Announcer:
    """Says that the server serves; see `pgnet_trio.cli.hosting.Announcer`."""

    was_made: bool = False

    def started(self, port: int | None = None) -> None:
        self.was_made = True
        say({"port": port})

    def ending(self) -> None:
        pass

    def ended(self, exit_code: int) -> None:
        pass


def say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


@attrs.define
class Node:
    """What the process does.

    Args:
        arguments: The command line.
    """

    engine_address: str
    key_file: str
    address: str
    name: str
    run_number: str
    lease: float
    servers: list[Server] = attrs.field(factory=list)
    engines: list[Engine] = attrs.field(factory=list)

    def make_server(self, *, environment: Environment) -> Server:
        environment = attrs.evolve(environment, password_hasher=hasher)
        engine = open_engine(self.engine_address, self.lease, environment)
        place = Place(f"{self.name}.{self.run_number}", time.monotonic)
        place.watch(engine)
        server = Server(
            place.make_game,
            port=0,
            key_file=self.key_file,
            cluster=Cluster(engine, node_address=self.address, name=self.name, lease=self.lease),
            minimum_protocol=2,
            autosave_interval=AUTOSAVE,
            environment=environment,
            resume_grace=20.0,
            ping_interval=4.0,
            keepalive_timeout=8.0,
            max_connections_per_address=None,
            max_logins_per_address=None,
            failed_logins_per_address=None,
            failed_logins_per_account=None,
            registrations_per_address=None,
            # Where all of the machine is busy, a process waits for longer than the default.
            watchdog=2.0,
        )
        self.servers.append(server)
        self.engines.append(engine)
        return server

    async def run(self) -> int:
        status = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.obey)
            status = await host(self.make_server, lambda server: Announcer())
            nursery.cancel_scope.cancel()
        return status

    async def obey(self) -> None:
        async with trio.lowlevel.FdStream(os.dup(0)) as stream:
            lines = Lines(stream)
            while (line := await lines.next()) is not None:
                await self.tell(json.loads(line))
        self.servers[-1].shutdown()

    async def tell(self, asked: dict[str, Any]) -> None:
        """Say how it is, as far as it can be seen from outside, and how the others are.

        Or make an invite code, where that is asked for. An answer has the number of what was asked.
        """
        number = asked["number"]
        if "invite" in asked:
            try:
                is_done = await self.engines[-1].add_invite(asked["invite"], "") == "done"
            except EngineError:
                is_done = False
            say({"number": number, "invited": is_done})
            return
        stats = self.servers[-1].stats()
        nodes = await self.engines[-1].nodes()
        say(
            {
                "number": number,
                "sessions": len(stats.sessions),
                "games": sorted(stats.games),
                "alive": sorted(node.name for node in nodes if node.alive),
                "tasks": trio.lowlevel.current_statistics().tasks_living,
            }
        )


def main(arguments: list[str]) -> int:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("pgnet_trio").setLevel(logging.INFO)
    logging.getLogger("pgnet_trio").info("The process is there")
    engine, key_file, address, name, run_number, lease = arguments
    node = Node(engine, key_file, address, name, run_number, float(lease))
    status = 1
    try:
        status = trio.run(node.run)
    except* EngineError as group:
        print(f"{NO_ENGINE}: {bare(group)}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
