"""As people do it: terminals with a server each, and two with a player at a prompt.

Real processes, with PostgreSQL and with SQLite.
"""

from __future__ import annotations

import contextlib
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
    """Servers, and where players find them.

    Attributes:
        cluster: What the servers share.
        game: What they host, a file and a class.
        addresses: Where clients find the servers.
        servers: The servers that run, by their addresses.
    """

    folder: Path
    cluster: str
    game: str
    addresses: list[str]
    stack: AsyncExitStack
    servers: dict[str, Program] = attrs.field(factory=dict)

    async def serve(self, address: str) -> None:
        self.servers[address] = await self.stack.enter_async_context(
            start_program(
                *("serve", self.game, "--cluster"),
                *("--port", address.rpartition(":")[2], "--key-file", "shared.key"),
                cwd=self.folder,
                # Not as an argument: those are for all users to see.
                env={"PGNET_CLUSTER": self.cluster},
            )
        )

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
        return program

    async def where(self) -> str:
        """Return the address of the server where the game was made, once it has said so."""
        found: list[str] = []

        async def look(address: str, server: Program) -> None:
            await server.err.wait_for("The game 'table' has begun")
            found.append(address)
            nursery.cancel_scope.cancel()

        # Whoever has joined may know of the game before the server's words are read.
        async with trio.open_nursery() as nursery:
            for address, server in self.servers.items():
                nursery.start_soon(look, address, server)
        return found[0]


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
async def servers(
    count: int, folder: Path, cluster: str, game: str = "tictactoe.py:TicTacToe"
) -> AsyncIterator[Table]:
    async with AsyncExitStack() as stack:
        addresses = [f"localhost:{port}" for port in free_ports(count)]
        table = Table(folder, cluster, game, addresses, stack)
        # All at once: each takes a second, and more on a busy machine.
        for address in addresses:
            await table.serve(address)
        for server in table.servers.values():
            await server.err.wait_for("Serving")
        yield table


@asynccontextmanager
async def told(program: Program) -> AsyncIterator[None]:
    """Show all that a program has said, where the block fails."""
    try:
        yield
    except BaseException:
        print(program.out.text, program.err.text, sep="\n---\n")
        raise


@asynccontextmanager
async def two_players(table: Table) -> AsyncIterator[tuple[Program, Program]]:
    """Have two people log in at two servers, and sit down; the first one is asked."""
    ann = await table.connect("ann", table.addresses[0])
    bob = await table.connect("bob", table.addresses[1])
    async with told(ann), told(bob):
        await ann.out.wait_for("Logged in as ann")
        await bob.out.wait_for("Logged in as bob")
        await ann.type(".join_game;name=table\n")
        await ann.out.wait_for("You are in the game 'table'")
        await bob.type(".join_game;name=table\n")
        await ann.out.wait_for("Question: Choose board='123456789'")
        yield ann, bob


@pytest.mark.no_cover
async def test_two_play_while_a_server_is_drained_in_the_middle_of_a_question(
    cluster: str, tmp_path: Path
) -> None:
    await trio.Path(tmp_path / "tictactoe.py").write_text(GAME, "utf-8")
    async with servers(2, tmp_path, cluster) as table, two_players(table) as (ann, bob):
        first = await table.where()
        status, out, _ = await run_program(
            *("cluster", "drain", first), cwd=tmp_path, env={"PGNET_CLUSTER": cluster}
        )
        assert status == 0
        assert "is to give its games to the others" in out
        second = (await ann.out.wait_for(r"Goes on at (localhost:\d+)"))[1]
        assert second != first
        await ann.type("/answer Square;square=5\n")
        await bob.out.wait_for("Question: Choose board='1234X6789'")
        # It was the same question all the time.
        assert ann.out.text.count("Question") == 1
        assert await table.servers[first].exit_status() == 0


@pytest.mark.no_cover
async def test_two_go_on_from_the_last_save_when_a_server_is_killed(
    cluster: str, tmp_path: Path
) -> None:
    await trio.Path(tmp_path / "tictactoe.py").write_text(GAME, "utf-8")
    async with servers(2, tmp_path, cluster) as table, two_players(table) as (ann, bob):
        await ann.type("/answer Square;square=5\n")
        await bob.out.wait_for("Question: Choose board='1234X6789'")
        table.servers[await table.where()].process.kill()
        # It takes what is left of a lease, and a little.
        await ann.out.wait_for("Online again")
        await bob.out.wait_for("Question: Choose board='1234X6789'")
        await bob.type("/answer Square;square=1\n")
        await ann.out.wait_for("Question: Choose board='O234X6789'")
