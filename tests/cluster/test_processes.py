"""Nodes as processes that are killed and stopped: no room is held by two, and no save is undone."""

from __future__ import annotations

import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import pytest
import trio

from pgnet_trio.storage.sqlite import SQLiteStore
from tests.cluster.conftest import ENGINES
from tests.kit.subprocesses import Program, start_program

ROOT = Path(__file__).parent.parent.parent
# On a busy machine, nodes renew shorter ones too late, and nobody takes a room for that time.
LEASE = 1.5


@pytest.fixture(params=[engine for engine in ENGINES if engine != "memory"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:{tmp_path / 'save.sqlite'}"
    conninfo: str = request.getfixturevalue("shared_postgres").conninfo
    return conninfo


@asynccontextmanager
async def node(address: str, name: str) -> AsyncIterator[Program]:
    command = (sys.executable, "-m", "tests.cluster.node")
    async with start_program(
        address, name, str(LEASE), command=command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}
    ) as program:
        yield program


async def stop(program: Program, address: str) -> None:
    """Stop a process as it stands, but not in the middle of a write to a file that others need."""
    while True:
        program.process.send_signal(signal.SIGSTOP)
        if not address.startswith("sqlite:") or await trio.to_thread.run_sync(may_write, address):
            return
        program.process.send_signal(signal.SIGCONT)
        await program.out.wait_for("saved")


def may_write(address: str) -> bool:
    path = address.removeprefix("sqlite:")
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0.5)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        connection.execute("ROLLBACK")
        return True


def history(*programs: Program) -> list[tuple[float, str, int]]:
    """What the nodes have said, in the order of the time."""
    # The last line of one that was killed may be cut off.
    texts = [program.out.text.rpartition("\n")[0] for program in programs]
    lines = [line.split() for text in texts for line in text.splitlines()]
    return sorted((float(when), what, int(number)) for what, number, when in lines)


@pytest.mark.no_cover
async def test_nodes_that_are_stopped_and_killed_never_hold_a_room_together(address: str) -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(node(address, "first"))
        await first.out.wait_for(r"saved 3 ")
        second = await stack.enter_async_context(node(address, "second"))

        # Stopped for longer than its lease: the other one takes the room.
        await second.out.wait_for("registered")
        await stop(first, address)
        await second.out.wait_for("owns")
        await second.out.wait_for("saved")
        first.process.send_signal(signal.SIGCONT)

        # Killed: the first one, which has found out that it was late, gets it back.
        await second.out.wait_for("saved")
        second.process.kill()
        await first.out.wait_for("owns")
        await first.out.wait_for("saved")
        first.process.kill()
        for program in (first, second):
            await program.exit_status()

    told = history(first, second)
    # Once another node holds the room, the one before does not hold it any more.
    holds = [epoch for _, what, epoch in told if what == "holds"]
    assert holds == sorted(holds)
    # On a busy machine a lease is over sooner than that too; each taking counts once.
    owns = [epoch for _, what, epoch in told if what == "owns"]
    assert len(set(owns)) == len(owns) >= 3
    # A save that was acknowledged is what the next one goes on from: none is counted twice.
    saved = [number for _, what, number in told if what == "saved"]
    assert len(set(saved)) == len(saved)
    if address.startswith("sqlite:"):
        # What a single server then finds.
        store = SQLiteStore(address.removeprefix("sqlite:"))
        assert int(store.load().games["table 1"].data) >= max(saved)
        store.close()
