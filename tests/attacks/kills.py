"""Kills at random moments: what was answered has to be there when the server is started again."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import trio

from tests.attacks.games import ENDS, LOG_IN_TIMEOUT, join, user
from tests.attacks.honest import play
from tests.attacks.peer import Peer
from tests.attacks.processes import Place, ServerProcess, StartFailed, running_server

__all__ = ["KillRow", "kill_again_and_again"]

PLAYERS = 4
CADENCE = 0.01
LONGEST = 1.5
"""Seconds of play before a kill, at most."""


@attrs.frozen
class KillRow:
    """What was left after a kill.

    Attributes:
        store: The kind of save file.
        number: Which kill it was.
        after: Seconds of play before it.
        answered: Moves that were saved and answered, at all tables, since the beginning.
        found: Moves that the tables had after the restart.
        registered: Users whose registration was answered.
        problem: What went wrong; empty for nothing.
    """

    store: str
    number: int
    after: float
    answered: int
    found: int
    registered: int
    problem: str

    @property
    def well(self) -> bool:
        """Whether all was there."""
        return not self.problem

    def as_json(self) -> dict[str, Any]:
        """The row as plain data."""
        return {**attrs.asdict(self), "well": self.well}

    @staticmethod
    def head() -> list[str]:
        """The heads of the columns."""
        return ["save file", "kill", "after s", "moves answered", "found", "users", "lost"]

    def cells(self) -> list[str]:
        """The row as text."""
        return [
            self.store,
            str(self.number),
            f"{self.after:.2f}",
            f"{self.answered:,}",
            f"{self.found:,}",
            str(self.registered),
            self.problem or "nothing",
        ]


async def kill_again_and_again(
    where: Place, *, kills: int, seed: int, suffix: str
) -> AsyncIterator[KillRow]:
    """Play, kill, start again and look, so many times.

    Args:
        where: Where.
        kills: How often.
        seed: Chooses the moments.
        suffix: The end of the save file's name, which chooses its kind: ".json", or any other.
    """
    chance = random.Random(seed)
    save_file = where.folder / f"kills{suffix}"
    totals = [0] * PLAYERS
    registered: list[str] = []
    for number in range(1, kills + 1):
        after = chance.uniform(0.05, LONGEST)
        async with running_server(where, save_file=save_file) as server:
            await _play_until_killed(server, after, totals, registered)
        found, problem = await _look(where, save_file, totals, registered)
        yield KillRow(
            store=suffix,
            number=number,
            after=round(after, 2),
            answered=sum(totals),
            found=found,
            registered=len(registered),
            problem=problem,
        )
        if problem:
            return


async def _play_until_killed(
    server: ServerProcess, after: float, totals: list[int], registered: list[str]
) -> None:
    async def play_at(number: int) -> None:
        async with user(server.port, f"player{number}") as peer:
            await join(peer, f"table {number}")
            seated[number].set()
            played = await play(
                peer,
                after + 5,
                message="add and save",
                cadence=CADENCE,
                total=totals[number],
                until=killed,
            )
            totals[number] = max(totals[number], played.total)

    async def register() -> None:
        try:
            while True:
                name = f"user{len(registered)}"
                peer = Peer(server.port, name)
                await peer.log_in()
                registered.append(name)
                peer.drop()
        except ENDS:
            return

    seated = [trio.Event() for _ in totals]
    killed = trio.Event()
    async with trio.open_nursery() as nursery:
        for number in range(len(totals)):
            nursery.start_soon(play_at, number)
        for event in seated:
            await event.wait()
        nursery.start_soon(register)
        await trio.sleep(after)
        await server.kill()
        killed.set()


async def _look(
    where: Place, save_file: Path, totals: list[int], registered: list[str]
) -> tuple[int, str]:
    """Start the server once more; returns how many moves it has, and what it lacks."""
    problems = []
    all_found = 0
    try:
        async with running_server(where, save_file=save_file) as server:
            for number, total in enumerate(totals):
                async with user(server.port, f"player{number}") as peer:
                    with trio.fail_after(LOG_IN_TIMEOUT):
                        await join(peer, f"table {number}")
                        found: int = (await peer.request("look")).payload.get("total", 0)
                all_found += found
                if found < total:
                    problems.append(f"table {number} has {found} of {total}")
            if registered:
                # Another password is refused where the user is there, and registers otherwise.
                last = Peer(server.port, registered[-1], password="another")
                try:
                    with trio.fail_after(LOG_IN_TIMEOUT):
                        await last.log_in()
                    problems.append(f"{registered[-1]} is no user")
                except ENDS:
                    pass
                last.drop()
            await server.kill()
    except StartFailed as error:
        problems.append(f"it did not start: {error}")
    except ENDS as error:
        problems.append(f"{type(error).__name__} {error}")
    return all_found, "; ".join(problems)
