"""What happens to disks and save files: what was acknowledged must be kept, or not acknowledged."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import attrs
import trio

from tests.attacks.games import ENDS, end, join, user
from tests.attacks.honest import TABLE
from tests.attacks.misbehaving import SAVED
from tests.attacks.peer import OK, Peer
from tests.attacks.processes import Place, ServerProcess, StartFailed, running_server

__all__ = ["CASES", "DiskRow", "try_disk"]

AUTOSAVE = 0.5
PLAIN, CAREFUL = "add and save", "add and save, or not"
PATIENCE = 8.0
"""Seconds that a save may take: SQLite waits for 5 s where another program writes."""

# Less than what is in the log of SQLite by then, and more than what the server says.
FULL = 16 * 1024
FULL_FOR_JSON = 64


@attrs.frozen
class DiskRow:
    """What became of the moves that were acknowledged.

    Attributes:
        case: What happened.
        item: The number of the rule that it is about; 0 for none.
        acknowledged: Moves that were answered as saved.
        refused: How many were not, so that the player knows.
        found: Moves that were there after a new start; None where it did not start.
        outcome: What there is to say.
        well: Whether that is as it should be.
    """

    case: str
    item: int
    acknowledged: int
    refused: int
    found: int | None
    outcome: str
    well: bool

    def as_json(self) -> dict[str, Any]:
        """The row as plain data."""
        return attrs.asdict(self)

    @staticmethod
    def head() -> list[str]:
        """The heads of the columns."""
        return ["case", "item", "acknowledged", "refused", "found", "well", "outcome"]

    def cells(self) -> list[str]:
        """The row as text."""
        return [
            self.case,
            str(self.item or ""),
            str(self.acknowledged),
            str(self.refused),
            "-" if self.found is None else str(self.found),
            "yes" if self.well else "NO",
            self.outcome,
        ]


@attrs.define
class Trial:
    """One case, as it goes.

    Attributes:
        where: Where servers run.
        save_file: The save file, in a folder of its own.
        acknowledged: The highest number of moves that was answered as saved.
        refused: How many saves were refused.
    """

    where: Place
    save_file: Path
    acknowledged: int = 0
    refused: int = 0
    notes: list[str] = attrs.field(factory=list)

    @property
    def log_file(self) -> Path:
        """SQLite's log beside the save file."""
        return self.save_file.with_name(f"{self.save_file.name}-wal")

    @property
    def lock_file(self) -> Path:
        """What keeps other servers away today."""
        return self.save_file.with_name(f"{self.save_file.name}.lock")

    def server(self, save_file: Path | None = None) -> Any:
        """Run a server on the save file, or on another one."""
        return running_server(
            self.where, "--autosave-interval", str(AUTOSAVE), save_file=save_file or self.save_file
        )

    async def play(self, peer: Peer, moves: int, message: str = PLAIN) -> None:
        """Make moves that are saved, and note which of them are acknowledged."""
        for _ in range(moves):
            with trio.fail_after(PATIENCE):
                answer = await peer.request(message)
            if answer.status == OK:
                self.acknowledged = max(self.acknowledged, answer.payload["total"])
            else:
                self.refused += 1

    async def find(self, save_file: Path | None = None) -> int | None:
        """Start a server on the file; returns how many moves the table has, None if it does not.

        What it says where it does not start is noted.
        """
        try:
            async with self.server(save_file) as server, user(server.port, "honest") as honest:
                await join(honest, TABLE)
                found: int = (await honest.request("look")).payload.get("total", 0)
                await end(server, honest)
                return found
        except StartFailed as error:
            self.notes.append(f"does not start: {str(error).rpartition(chr(10))[2][-160:]}")
        except ENDS as error:
            self.notes.append(f"{type(error).__name__} {error}")
        return None

    async def table_lives(self, peer: Peer) -> bool:
        """Whether the table still answers who plays at it; who is out of it joins again."""
        answer = await peer.request("look")
        lives = answer.status == OK
        if not lives:
            self.notes.append("the table crashed")
            await join(peer, TABLE)
        return lives

    def result(self, case: str, item: int, found: int | None, *, well: bool) -> DiskRow:
        """The row for this case; where moves are lost, that is said."""
        if found is not None and found < self.acknowledged:
            self.notes.insert(0, f"{self.acknowledged - found} acknowledged moves LOST")
        return DiskRow(
            case=case,
            item=item,
            acknowledged=self.acknowledged,
            refused=self.refused,
            found=found,
            outcome="; ".join(self.notes),
            well=well,
        )

    def kept(self, found: int | None) -> bool:
        """Whether what was acknowledged was found."""
        return found is not None and found >= self.acknowledged


Case = Callable[[Trial], Awaitable[tuple[int | None, bool]]]
CASES: dict[str, tuple[Case, int, str]] = {}


def case(
    name: str, item: int = 0, suffixes: Iterable[str] = (".sqlite",)
) -> Callable[[Case], Case]:
    """Enter a case into the table, for each kind of save file."""

    def enter(function: Case) -> Case:
        for suffix in suffixes:
            full = name if suffix == ".sqlite" else f"{name} ({suffix[1:].upper()})"
            CASES[full] = (function, item, suffix)
        return function

    return enter


BOTH = (".sqlite", ".json")


@contextlib.asynccontextmanager
async def _playing(trial: Trial, moves: int = 5) -> AsyncIterator[tuple[ServerProcess, Peer]]:
    async with trial.server() as server, user(server.port, "honest") as honest:
        await join(honest, TABLE)
        await trial.play(honest, moves)
        yield server, honest


async def _after_that(trial: Trial, server: ServerProcess, honest: Peer, *, kill: bool) -> None:
    await trial.play(honest, 5, CAREFUL)
    if kill:
        await server.kill()
    else:
        await end(server, honest)


@case("save file deleted", 17, BOTH)
async def _deleted(trial: Trial) -> tuple[int | None, bool]:
    return await _disturb(trial, _delete, kill=False)


@case("save file deleted, then kill -9", 17)
async def _deleted_and_killed(trial: Trial) -> tuple[int | None, bool]:
    return await _disturb(trial, _delete, kill=True)


@case("save file moved away", 17, BOTH)
async def _moved(trial: Trial) -> tuple[int | None, bool]:
    return await _disturb(trial, _move, kill=False)


@case("save file replaced by an older copy", 17, BOTH)
async def _replaced(trial: Trial) -> tuple[int | None, bool]:
    return await _put_back(trial, _replace)


@case("save file replaced by an older copy, its -wal removed", 17)
async def _replaced_alone(trial: Trial) -> tuple[int | None, bool]:
    return await _put_back(trial, _replace_all)


async def _put_back(trial: Trial, what: Callable[[Path], None]) -> tuple[int | None, bool]:
    async with _playing(trial, 1) as (server, honest):
        await end(server, honest)
    shutil.copy(trial.save_file, trial.save_file.with_name("older"))
    return await _disturb(trial, what, kill=False)


async def _disturb(
    trial: Trial, what: Callable[[Path], None], *, kill: bool
) -> tuple[int | None, bool]:
    async with _playing(trial) as (server, honest):
        what(trial.save_file)
        before = trial.acknowledged
        await _after_that(trial, server, honest, kill=kill)
    found = await trial.find()
    # What was saved before went with the file; what nobody acknowledged after it is not lost.
    stopped_taking = trial.acknowledged == before
    return found, trial.kept(found) or stopped_taking


def _delete(save_file: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        save_file.with_name(save_file.name + suffix).unlink(missing_ok=True)


def _move(save_file: Path) -> None:
    save_file.rename(save_file.with_name("elsewhere"))


def _replace(save_file: Path) -> None:
    save_file.with_name("older").replace(save_file)


def _replace_all(save_file: Path) -> None:
    _delete(save_file)
    _replace(save_file)


def _limit(server: ServerProcess, what: int, most: int) -> None:
    _, hard = resource.prlimit(server.pid, what)
    resource.prlimit(server.pid, what, (most, hard))


async def _fill_disk(trial: Trial, message: str) -> tuple[int | None, bool]:
    async with _playing(trial, 10) as (server, honest):
        most = FULL if trial.save_file.suffix != ".json" else FULL_FOR_JSON
        _limit(server, resource.RLIMIT_FSIZE, most)
        await trial.play(honest, 3, message)
        lives = await trial.table_lives(honest)
        await trio.sleep(2 * AUTOSAVE)
        served = server.lives
        _limit(server, resource.RLIMIT_FSIZE, resource.RLIM_INFINITY)
        await trial.play(honest, 3)
        ending = await end(server, honest)
    if not trial.refused:
        trial.notes.append("nothing was refused")
    found = await trial.find()
    return found, lives and served and ending.orderly and trial.kept(found)


@case("full disk, the author catches it", 18, BOTH)
async def _full_disk_caught(trial: Trial) -> tuple[int | None, bool]:
    return await _fill_disk(trial, CAREFUL)


@case("full disk, the author does not", 18, BOTH)
async def _full_disk(trial: Trial) -> tuple[int | None, bool]:
    return await _fill_disk(trial, PLAIN)


@case("full disk until after SIGTERM", 18)
async def _full_disk_at_the_end(trial: Trial) -> tuple[int | None, bool]:
    async with _playing(trial, 10) as (server, honest):
        _limit(server, resource.RLIMIT_FSIZE, FULL)
        await trial.play(honest, 3, CAREFUL)
        # Nobody was told that this is saved, and whoever runs the server has to hear of it.
        await honest.request("add")
        ending = await end(server, honest)
        told = "ERROR" in server.log_text
    if not told:
        trial.notes.append("the log says nothing")
    found = await trial.find()
    return found, ending.orderly and told and trial.kept(found)


@case("no more open files (EMFILE)", 18, BOTH)
async def _no_more_files(trial: Trial) -> tuple[int | None, bool]:
    async with _playing(trial) as (server, honest):
        open_files = len(os.listdir(f"/proc/{server.pid}/fd"))
        before, _ = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        _limit(server, resource.RLIMIT_NOFILE, open_files)
        await trial.play(honest, 3)
        with contextlib.suppress(*ENDS):
            with trio.fail_after(1):
                stranger = Peer(server.port, "stranger")
                await stranger.log_in()
        stranger.drop()
        lives = await trial.table_lives(honest)
        _limit(server, resource.RLIMIT_NOFILE, before)
        newcomer = False
        with contextlib.suppress(*ENDS):
            async with user(server.port, "newcomer", 5.0):
                newcomer = True
        if not newcomer:
            trial.notes.append("nobody can log in afterwards")
        await trial.play(honest, 3)
        ending = await end(server, honest)
    found = await trial.find()
    return found, lives and newcomer and ending.orderly and trial.kept(found)


@case("started again after kill -9, the lock file still there", 19, BOTH)
async def _stale_lock(trial: Trial) -> tuple[int | None, bool]:
    async with _playing(trial) as (server, _):
        await server.kill()
    found = await trial.find()
    return found, trial.kept(found)


@case("lock file deleted, a second server started", 19, BOTH)
async def _second_server(trial: Trial) -> tuple[int | None, bool]:
    async with _playing(trial) as (server, honest):
        for lock in trial.save_file.parent.glob("*lock*"):
            lock.unlink()
        second_started = False
        with contextlib.suppress(StartFailed):
            async with trial.server() as second:
                second_started = True
                async with user(second.port, "other") as other:
                    await join(other, "another table")
                    await trial.play(honest, 5)
                    await end(server, honest)
                    await other.request(PLAIN)
                await second.end()
        if second_started:
            trial.notes.append("two servers wrote one file")
        await end(server, honest)
    found = await trial.find()
    return found, not second_started and trial.kept(found)


@case("cp of the running server's file, after an autosave", 17, BOTH)
async def _copied(trial: Trial) -> tuple[int | None, bool]:
    copy = trial.save_file.parent / "copy" / trial.save_file.name
    copy.parent.mkdir()
    async with _playing(trial) as (server, honest):
        await trio.sleep(2.5 * AUTOSAVE)
        shutil.copy(trial.save_file, copy)
        await end(server, honest)
    found = await trial.find(copy)
    return found, trial.kept(found)


@case("backup put back after kill -9, the old -wal beside it", 17)
async def _restored(trial: Trial) -> tuple[int | None, bool]:
    backup = trial.save_file.with_name("backup")
    async with _playing(trial) as (server, honest):
        await end(server, honest)
    shutil.copy(trial.save_file, backup)
    in_backup = trial.acknowledged
    async with _playing(trial, 10) as (server, honest):
        await server.kill()
    shutil.copy(backup, trial.save_file)
    found = await trial.find()
    refused = found is None and any("-wal" in note for note in trial.notes)
    if found not in (None, in_backup):
        trial.notes.append(f"the backup has {in_backup} moves: the old -wal won")
    trial.acknowledged = in_backup
    return found, found == in_backup or refused


@case("one byte of a save flipped", 17)
async def _flipped(trial: Trial) -> tuple[int | None, bool]:
    async with _playing(trial) as (server, honest):
        await end(server, honest)
    good = f"{trial.acknowledged}{SAVED}".encode()
    wrong = f"{trial.acknowledged ^ 2}{SAVED}".encode()
    data = trial.save_file.read_bytes()
    if good not in data:
        trial.notes.append("the save is not found in the file")
        return None, False
    trial.save_file.write_bytes(data.replace(good, wrong))
    found = await trial.find()
    noticed = found != trial.acknowledged ^ 2
    trial.notes.append("noticed" if noticed else f"{found} moves, silently")
    return found, noticed


@case("another program holds the file", 7)
async def _held(trial: Trial) -> tuple[int | None, bool]:
    async with _playing(trial) as (server, honest), user(server.port, "known") as known:
        known.drop()
        with contextlib.closing(sqlite3.connect(trial.save_file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            lives = logged_in = False

            async def save() -> None:
                nonlocal lives
                await trial.play(honest, 1, CAREFUL)
                lives = await trial.table_lives(honest)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(save)
                with trio.move_on_after(2):
                    await trio.sleep(2 * AUTOSAVE)
                    await known.log_in()
                    logged_in = True
            ending = await end(server, honest)
            other.execute("ROLLBACK")
    if not logged_in:
        trial.notes.append("known users could not log in")
    if not ending.orderly:
        trial.notes.append(f"ended by {ending.how} in {ending.seconds:.1f} s")
    found = await trial.find()
    return found, lives and logged_in and ending.orderly and trial.kept(found)


async def try_disk(where: Place, names: Iterable[str] = ()) -> AsyncIterator[DiskRow]:
    """Try cases, one after the other."""
    for number, name in enumerate(names or CASES):
        function, item, suffix = CASES[name]
        folder = where.folder / f"disk{number}"
        folder.mkdir()
        trial = Trial(where, folder / f"save{suffix}")
        found, well = None, False
        try:
            with trio.fail_after(60):
                found, well = await function(trial)
        except (*ENDS, StartFailed) as error:
            trial.notes.append(f"{type(error).__name__} {error}")
        yield trial.result(name, item, found, well=well)
