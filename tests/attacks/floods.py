"""Floods of cheap requests from eight accounts, while somebody honest plays at another table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any

import attrs
import trio

from tests.attacks.flooder import ACCOUNTS, AUDIENCE, FLOODS
from tests.attacks.games import join, user
from tests.attacks.honest import TABLE, Played, play
from tests.attacks.processes import TREE, Place, ServerProcess, running_server

if TYPE_CHECKING:
    from tests.attacks.peer import Peer

__all__ = ["IDLE", "FloodRow", "flood", "try_floods"]

IDLE = "idle"
GOAL = 20.0
"""Milliseconds that the p99 of somebody honest may be under any flood."""

SET_UP = 60.0


@attrs.frozen
class FloodRow:
    """What a flood did to somebody honest.

    Attributes:
        flood: Its name.
        played: How somebody at another table was served.
        control: How somebody was served at the same time by a server that nobody flooded; what
            else the machine had to do is in both.
        after: The same when it was over.
        done: What the flood did a second.
        refused: How often in all the server refused that.
        ended: How often in all it ended the session or the connection over that.
        cpu: Which part of a core the server used.
        memory: MiB that it had at the end.
        lived: Whether it was there at the end.
        to_idle: How many times the p99 of the same run without a flood this was.
    """

    flood: str
    played: Played
    control: Played
    after: Played
    done: float
    refused: int
    ended: int
    cpu: float
    memory: float
    lived: bool
    to_idle: float = 1.0

    @property
    def to_control(self) -> float:
        """How many times the p99 of the other server this was."""
        return round(self.played.p99 / self.control.p99, 1)

    @property
    def well(self) -> bool:
        """Whether the goal is met."""
        return self.lived and self.played.served and self.played.p99 <= GOAL

    def as_json(self) -> dict[str, Any]:
        """The row as plain data."""
        return {**attrs.asdict(self), "to_control": self.to_control, "well": self.well}

    @staticmethod
    def head() -> list[str]:
        """The heads of the columns."""
        return [
            "flood", "p50 ms", "p99 ms", "longest", "control p99", "to control", "to idle",
            "served", "p99 after", "a second", "refused", "ended", "CPU", "MiB",
        ]  # fmt: skip

    def cells(self) -> list[str]:
        """The row as text."""
        played = self.played
        return [
            self.flood,
            f"{played.p50:,.1f}",
            f"{played.p99:,.1f}",
            f"{played.longest:,.0f}",
            f"{self.control.p99:,.1f}",
            f"{self.to_control:,.1f}",
            f"{self.to_idle:,.1f}",
            f"{played.answered}/{played.asked}" + (" ENDED" if played.ended else ""),
            f"{self.after.p99:,.1f}",
            f"{self.done:,.0f}",
            f"{self.refused:,}",
            f"{self.ended:,}",
            f"{self.cpu:.0%}",
            f"{self.memory:,.0f}",
        ]


async def flood(
    where: Place,
    name: str,
    *,
    seconds: float,
    control: ServerProcess,
    accounts: int = ACCOUNTS,
    audience: int = AUDIENCE,
) -> FloodRow:
    """Run one flood, or none, against a server of its own.

    Args:
        where: Where servers run.
        name: The flood.
        seconds: How long.
        control: A server that is left alone.
        accounts: How many flood.
        audience: How many others are at the flooded table where that matters.
    """
    save_file = where.folder / f"flood-{name.replace(' ', '-')}.sqlite"
    done, refused, ended = 0.0, 0, 0
    undisturbed = None

    async def play_beside(other: Peer) -> None:
        nonlocal undisturbed
        undisturbed = await play(other, seconds)

    async with running_server(where, save_file=save_file) as server:
        async with user(server.port, "honest") as honest:
            await join(honest, TABLE)
            flooding = None
            if name != IDLE:
                flooding = await trio.lowlevel.open_process(
                    [sys.executable, "-m", "tests.attacks.flooder", name, f"{server.port}",
                     f"{seconds + 1.0}"],
                    stdout=subprocess.PIPE,
                    cwd=TREE,
                    env={
                        **os.environ,
                        "PYTHONPATH": str(TREE),
                        "ATTACKS_ACCOUNTS": str(accounts),
                        "ATTACKS_AUDIENCE": str(audience),
                    },
                )  # fmt: skip
            try:
                if flooding is not None:
                    assert flooding.stdout is not None
                    with trio.fail_after(SET_UP):
                        await _read_while_set_up(honest, flooding.stdout)
                    await trio.sleep(0.5)
                async with user(control.port, "control") as other:
                    await join(other, TABLE)
                    before, since = server.cpu(), trio.current_time()
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(play_beside, other)
                        played = await play(honest, seconds)
                if server.lives:
                    cpu = (server.cpu() - before) / (trio.current_time() - since)
                    memory = server.memory() / 2**20
                if flooding is not None:
                    assert flooding.stdout is not None
                    with trio.move_on_after(10):
                        output = b""
                        async for data in flooding.stdout:
                            output += data
                        counts = json.loads(output)
                        done = counts["done"] / (seconds + 1.0)
                        refused, ended = counts["refused"], counts["ended"]
            finally:
                if flooding is not None:
                    flooding.kill()
                    with trio.CancelScope(shield=True):
                        await flooding.wait()
                        assert flooding.stdout is not None
                        await flooding.stdout.aclose()
            after = played
            if not played.ended:
                after = await play(honest, min(seconds, 1.0), total=played.total)
        lived = server.lives
    assert undisturbed is not None
    return FloodRow(
        flood=name,
        played=played,
        control=undisturbed,
        after=after,
        done=round(done, 1),
        refused=refused,
        ended=ended,
        cpu=round(cpu, 3),
        memory=round(memory, 1),
        lived=lived,
    )


async def _read_while_set_up(honest: Peer, stdout: trio.abc.ReceiveStream) -> None:
    """Wait for the word of the flooding process; somebody honest answers pings meanwhile."""

    async def wait() -> None:
        word = b""
        while b"ready" not in word:
            data = await stdout.receive_some()
            if not data:
                raise RuntimeError("the flood did not begin")
            word += data
        nursery.cancel_scope.cancel()

    async def read() -> None:
        while True:
            await honest.receive()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        nursery.start_soon(wait)


async def try_floods(
    where: Place,
    names: Iterable[str] = FLOODS,
    *,
    seconds: float,
    accounts: int = ACCOUNTS,
    audience: int = AUDIENCE,
) -> AsyncIterator[FloodRow]:
    """Run floods one after the other; the first row is without any."""
    save_file = where.folder / "control.sqlite"
    async with running_server(where, save_file=save_file) as control:
        idle = await flood(where, IDLE, seconds=seconds, control=control)
        yield idle
        for name in names:
            row = await flood(
                where,
                name,
                seconds=seconds,
                control=control,
                accounts=accounts,
                audience=audience,
            )
            yield attrs.evolve(row, to_idle=round(row.played.p99 / idle.played.p99, 1))
