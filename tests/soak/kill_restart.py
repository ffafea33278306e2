"""Kill the server at random moments under load, and look whether anything that it promised is lost.

`python -m tests.soak.kill_restart --kills 30 --seed 1` does that with both kinds of save file.
What was answered has to be there after the restart: each registration, each invite, each use of an
invite, and the game as it was at the last answered `save`. What was under way at the kill may be
there or not, but whole. The save file is read from a copy first, and then by the server that is
started again. The exit status is 0 when nothing was lost.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import random
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from pgnet_trio import ADMIN_USERNAME, Client, Packet, PGNetError, Request
from pgnet_trio.storage import SavedState, open_store
from tests.soak.kill_restart_server import ledger_total

__all__ = ["STORES", "Summary", "kill_and_restart"]

STORES = {"sqlite": "save.db", "json": "save.json"}

REGISTRARS = 4
GAME = "ledger"

# How many of the users who were registered last log in again.
USERS_TRIED = 5

# Generous: they only keep a run that went wrong from hanging.
START_TIMEOUT = 30.0
LOAD_TIMEOUT = 60.0


@attrs.define
class Promises:
    """What the server has answered, and what it may have done besides.

    Attributes:
        users: Name to password of registrations that were answered.
        codes: Invite codes that were answered and never used.
        used_codes: Invite codes with which a registration was answered.
        saved_total: The total of the game that is safe.
        highest_total: The total that the game can have at most.
    """

    users: dict[str, str] = attrs.field(factory=dict)
    codes: set[str] = attrs.field(factory=set)
    used_codes: set[str] = attrs.field(factory=set)
    saved_total: int = 0
    highest_total: int = 0

    def broken_by(self, state: SavedState) -> list[str]:
        """What a save file lacks, or has too much."""
        problems = [f"user {name} is lost" for name in self.users if name not in state.users]
        problems += [
            f"an unused invite ({code[:4]}...) is lost"
            for code in self.codes
            if code not in state.invite_codes
        ]
        problems += [
            f"a used invite ({code[:4]}...) is back"
            for code in self.used_codes
            if code in state.invite_codes
        ]
        total = ledger_total(state.games[GAME].data) if GAME in state.games else 0
        if not self.saved_total <= total <= self.highest_total:
            problems.append(
                f"the game's total is {total}; {self.saved_total} was saved, and "
                f"{self.highest_total} the most that was asked for"
            )
        return problems


@attrs.define
class Summary:
    """What a run did, and what went wrong."""

    store: str
    kills: int = 0
    kills_at_start: int = 0
    registrations: int = 0
    invites: int = 0
    invites_used: int = 0
    saves: int = 0
    problems: list[str] = attrs.field(factory=list)

    def __str__(self) -> str:
        return (
            f"{self.store}: {self.kills} kills, {self.kills_at_start} of them while it started; "
            f"answered: {self.registrations} registrations, {self.invites} invites, "
            f"{self.invites_used} of them used, {self.saves} saves; "
            + (f"{len(self.problems)} PROBLEMS" if self.problems else "nothing lost")
        )


@attrs.frozen
class ServerProcess:
    """A server that may be killed."""

    process: trio.Process
    save_file: Path

    async def started(self) -> tuple[int, str]:
        """Wait until it serves; returns its port and its public key."""
        assert self.process.stdout is not None
        line = b""
        with trio.fail_after(START_TIMEOUT):
            while not line.endswith(b"\n"):
                part = await self.process.stdout.receive_some()
                if not part:
                    raise RuntimeError(f"the server did not start: {self.complaint()}")
                line += part
        announcement = json.loads(line)
        return announcement["port"], announcement["pubkey"]

    def complaint(self) -> str:
        """What it last wrote to standard error."""
        return self.log_file(self.save_file).read_text("utf-8", "replace")[-2000:].strip()

    @staticmethod
    def log_file(save_file: Path) -> Path:
        """Where a server's standard error goes."""
        return save_file.parent.parent / f"{save_file.name}.log"

    async def kill(self) -> None:
        """Kill it, as `kill -9` does."""
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def server_process(save_file: Path, admin_password: str) -> AsyncIterator[ServerProcess]:
    """Run a server while the block lasts."""
    with ServerProcess.log_file(save_file).open("wb") as log:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "tests.soak.kill_restart_server", str(save_file)],
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "ADMIN_PASSWORD": admin_password},
        )
    try:
        yield ServerProcess(process, save_file)
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()
            assert process.stdout is not None
            await process.stdout.aclose()


@attrs.define(eq=False)
class Load:
    """Clients that keep a server writing, until it dies.

    Attributes:
        client: Makes a client of that server, given a username, a password and an invite code.
        promises: What is answered is written down here.
        killed: Whether the server was killed; from then on clients may fail.
        in_full_swing: Set when there was an answer of each kind.
        new_users: Whose registration was answered.
    """

    client: Callable[[str, str, str], Client]
    promises: Promises
    summary: Summary
    chance: random.Random
    admin_password: str
    killed: bool = False
    in_full_swing: trio.Event = attrs.field(factory=trio.Event)
    new_users: list[str] = attrs.field(factory=list)
    _total: int = 0
    _answered: set[str] = attrs.field(factory=set)

    async def run(self) -> None:
        """Ask for things until the server dies; raises what fails before that."""
        async with trio.open_nursery() as nursery:
            for _ in range(REGISTRARS):
                nursery.start_soon(self._until_killed, self._register)
            nursery.start_soon(self._until_killed, self._play)
            nursery.start_soon(self._until_killed, self._administrate)

    async def _until_killed(self, task: Callable[[], Awaitable[None]]) -> None:
        try:
            await task()
        except PGNetError:
            if not self.killed:
                raise

    def _count(self, what: str) -> None:
        setattr(self.summary, what, getattr(self.summary, what) + 1)
        self._answered.add(what)
        if self._answered >= {"registrations", "invites", "saves"}:
            self.in_full_swing.set()

    async def _register(self) -> None:
        promises = self.promises
        while True:
            name = f"u{secrets.token_hex(8)}"
            password = secrets.token_hex(8)
            # While it is under way, nobody knows whether the code is used already.
            code = promises.codes.pop() if promises.codes and self.chance.random() < 0.5 else ""
            async with self.client(name, password, code):
                promises.users[name] = password
                self.new_users.append(name)
                self._count("registrations")
                if code:
                    promises.used_codes.add(code)
                    self._count("invites_used")

    async def _play(self) -> None:
        promises = self.promises
        async with self.client("scribe", "scribe", "") as client:
            promises.users["scribe"] = "scribe"
            await client.join_game(GAME)
            self._total = await ask(client, "show", "total")
            promises.highest_total = self._total
            while True:
                promises.highest_total += 1
                self._total = await ask(client, "add", "total")

    async def _administrate(self) -> None:
        promises = self.promises
        async with self.client(ADMIN_USERNAME, self.admin_password, "") as client:
            while True:
                total = self._total
                (await client.request(Packet(Request.SAVE))).raise_for_status()
                promises.saved_total = max(promises.saved_total, total)
                self._count("saves")
                promises.codes.add(await ask(client, Request.CREATE_INVITE, "code"))
                self._count("invites")


async def ask(client: Client, message: str, key: str) -> Any:
    """Make a request that has to succeed; returns one value of its answer."""
    response = await client.request(Packet(message))
    return response.raise_for_status().payload[key]


def read_copy(save_file: Path) -> SavedState:
    """Read a save file as it lies there after a kill, and leave it alone."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "copy")
        shutil.copytree(save_file.parent, copy)
        store = open_store(copy / save_file.name)
        try:
            return store.load()
        finally:
            store.close()


async def kill_and_restart(
    folder: Path,
    *,
    store: str,
    kills: int,
    seed: int,
    seconds: float = 1.0,
    progress: Callable[[str], None] = lambda _: None,
) -> Summary:
    """Kill a server again and again, and check after each kill what is left.

    Args:
        folder: An empty folder to work in.
        store: A name in `STORES`.
        kills: How often to kill.
        seed: Chooses the moments.
        seconds: A kill comes at most so long after all kinds of requests are being answered.
        progress: Called with a line of text after each kill.

    Returns:
        What was done; it ends at the first kill after which something is wrong.
    """
    chance = random.Random(seed)
    admin_password = secrets.token_hex(8)
    save_file = folder / "save" / STORES[store]
    save_file.parent.mkdir()
    promises = Promises()
    summary = Summary(store)
    pubkey = ""
    newest: list[str] = []

    async def restart_and_kill() -> None:
        nonlocal pubkey, newest
        async with server_process(save_file, admin_password) as server:
            if 0 < summary.kills < kills and chance.random() < 0.2:
                await trio.sleep(chance.uniform(0.0, 0.6))
                await server.kill()
                summary.kills += 1
                summary.kills_at_start += 1
                return
            port, its_pubkey = await server.started()
            # A key that changed would be refused by every client.
            pubkey = pubkey or its_pubkey

            def client(username: str, password: str, invite_code: str) -> Client:
                return Client.remote(
                    address="127.0.0.1",
                    port=port,
                    username=username,
                    password=password,
                    invite_code=invite_code,
                    verify_server_pubkey=pubkey,
                    # What was under way at the kill must not be asked again of the next server.
                    reconnect_for=0,
                )

            for name in newest:
                async with client(name, promises.users[name], ""):
                    pass
            if summary.kills == kills:
                return
            load = Load(client, promises, summary, chance, admin_password)
            with trio.fail_after(LOAD_TIMEOUT):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(load.run)
                    await load.in_full_swing.wait()
                    await trio.sleep(chance.uniform(0.0, seconds))
                    load.killed = True
                    await server.kill()
            summary.kills += 1
            newest = load.new_users[-USERS_TRIED:]

    # Once more than it is killed: the last time it only has to come back.
    for _ in range(kills + 1):
        try:
            await restart_and_kill()
            problems = promises.broken_by(read_copy(save_file))
        except* (PGNetError, RuntimeError, ValueError, trio.TooSlowError) as group:
            problems = [f"{type(error).__name__}: {error}" for error in leaves(group)]
        summary.problems += [f"{problem} (after kill {summary.kills})" for problem in problems]
        if problems:
            break
        progress(str(summary))
    return summary


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The exceptions in a group, however deep."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def main() -> int:
    """Do as the command line says; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak.kill_restart", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--kills", type=int, default=30, help="for each store (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="chooses the moments (%(default)s)")
    parser.add_argument("--store", choices=STORES, action="append", help="only this one")
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="of load before a kill, at most (%(default)s)"
    )
    arguments = parser.parse_args()
    status = 0
    for store in arguments.store or STORES:
        with tempfile.TemporaryDirectory() as folder:
            summary = trio.run(
                functools.partial(
                    kill_and_restart,
                    Path(folder),
                    store=store,
                    kills=arguments.kills,
                    seed=arguments.seed,
                    seconds=arguments.seconds,
                    progress=functools.partial(print, file=sys.stderr),
                )
            )
        print(summary)
        for problem in summary.problems:
            print(f"  {problem}")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
