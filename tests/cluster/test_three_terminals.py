"""As people do it: three terminals with a server each, and two with a player at a prompt.

Real processes, with PostgreSQL and with SQLite.
"""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from tests.cluster import postgres
from tests.cluster.conftest import ENGINES
from tests.kit.subprocesses import Program, run_program, start_program

GAME = """\
import attrs

from pgnet_trio import Game, PlayerLeft


@attrs.frozen
class Choose:
    board: str


@attrs.frozen
class Square:
    square: int


@attrs.frozen
class Saved:
    board: str = "123456789"
    names: tuple[str, ...] = ()


class TicTacToe(Game):
    persistent = True
    max_players = 2

    def __init__(self, name, save_string=None):
        self.saved = self.room.saved(Saved) or Saved()

    def get_save_string(self):
        return self.saved

    def view(self, player):
        return self.saved

    def user_joined(self, username):
        if username not in self.saved.names:
            self.saved = attrs.evolve(self.saved, names=(*self.saved.names, username))

    async def run(self):
        while any(square.isdigit() for square in self.saved.board):
            await self.room.wait_players(2)
            moves = sum(square in "XO" for square in self.saved.board)
            player, mark = self.saved.names[moves % 2], "XO"[moves % 2]
            try:
                answer = await self.room.ask(player, Choose(self.saved.board), Square, timeout=600)
            except PlayerLeft:
                continue
            board = self.saved.board.replace(str(answer.square), mark)
            self.saved = attrs.evolve(self.saved, board=board)
            await self.room.save()
"""


@attrs.define
class Table:
    """Three servers and two players.

    Attributes:
        cluster: What the servers share.
        addresses: Where clients find the servers.
        servers: The servers that run, by their addresses.
    """

    folder: Path
    cluster: str
    addresses: list[str]
    stack: AsyncExitStack
    servers: dict[str, Program] = attrs.field(factory=dict)

    async def serve(self, address: str) -> None:
        self.servers[address] = program = await self.stack.enter_async_context(
            start_program(
                *("serve", "tictactoe.py:TicTacToe", "--cluster"),
                *("--port", address.rpartition(":")[2], "--key-file", "shared.key"),
                cwd=self.folder,
                # Not as an argument: those are for all users to see.
                env={"PGNET_CLUSTER": self.cluster},
            )
        )
        await program.err.wait_for("Serving")

    async def connect(self, username: str, first: str) -> Program:
        others = [address for address in self.addresses if address != first]
        program = await self.stack.enter_async_context(
            start_program(
                *("connect", ",".join([first, *others]), "--username", username),
                *("--known-servers", f"{username}.known", "--accept-new-key"),
                cwd=self.folder,
                env={"PGNET_PASSWORD": "secret"},
            )
        )
        await program.out.wait_for(f"Logged in as {username}")
        return program

    async def find(self) -> str:
        """Return the address of the server that has the game."""
        status, out, _ = await run_program(
            "cluster", "status", cwd=self.folder, env={"PGNET_CLUSTER": self.cluster}
        )
        assert status == 0
        rows = [re.split(r"  +", line) for line in out.splitlines()[1:]]
        column = rows[0].index("ROOMS")
        (found,) = [row[0] for row in rows[1:] if row[column] == "1"]
        return found


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.create_server(("", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in found]


@pytest.fixture(params=[engine for engine in ENGINES if engine != "memory"])
def cluster(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "sqlite":
        yield "game.sqlite"
        return
    data: Path = request.getfixturevalue("postgres_data")
    with postgres.new_server(data) as server:
        yield f"postgresql://postgres@/postgres?host={server.folder}"


@asynccontextmanager
async def three_servers(folder: Path, cluster: str) -> AsyncIterator[Table]:
    async with AsyncExitStack() as stack:
        addresses = [f"localhost:{port}" for port in free_ports(3)]
        table = Table(folder, cluster, addresses, stack)
        for address in addresses:
            await table.serve(address)
        yield table


@asynccontextmanager
async def told(program: Program) -> AsyncIterator[None]:
    """Show all that a program has said, where the block fails."""
    try:
        yield
    except BaseException:
        print(program.out.text, program.err.text, sep="\n---\n")
        raise


@pytest.mark.no_cover
async def test_two_play_while_one_server_is_drained_and_one_is_killed(
    cluster: str, tmp_path: Path
) -> None:
    await trio.Path(tmp_path / "tictactoe.py").write_text(GAME, "utf-8")
    async with three_servers(tmp_path, cluster) as table:
        await play(table)


async def play(table: Table) -> None:
    ann = await table.connect("ann", table.addresses[0])
    bob = await table.connect("bob", table.addresses[1])
    async with told(ann), told(bob):
        await ann.type(".join_game;name=table\n")
        await ann.out.wait_for("You are in the game 'table'")
        await bob.type(".join_game;name=table\n")
        await ann.out.wait_for("Question: Choose board='123456789'")
        # In the middle of a question.
        first = await table.find()
        status, out, _ = await run_program(
            *("cluster", "drain", first), cwd=table.folder, env={"PGNET_CLUSTER": table.cluster}
        )
        assert status == 0
        assert "is to give its games to the others" in out
        assert await table.servers[first].exit_status() == 0
        await ann.out.wait_for("Goes on at localhost:")
        await ann.type("/answer Square;square=5\n")
        await bob.out.wait_for("Question: Choose board='1234X6789'")
        assert ann.out.text.count("Question") == 1
        await bob.type("/answer Square;square=1\n")
        await ann.out.wait_for("Question: Choose board='O234X6789'")
        await table.serve(first)
        second = await table.find()
        assert second != first
        table.servers[second].process.kill()
        # From the last save: after bob's answer. It takes what is left of a lease, and a little.
        await ann.out.wait_for("Online again")
        await bob.out.wait_for("Online again")
        await ann.out.wait_for("Question: Choose board='O234X6789'")
        await ann.type("/answer Square;square=2\n")
        await bob.out.wait_for("Question: Choose board='OX34X6789'")
