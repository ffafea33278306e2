"""A server process ends when it is told to, whatever its games do: real processes and signals."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pgnet_trio import Client, Packet
from tests.kit.subprocesses import Program, start_program

GAME = """\
import ctypes
import time
import trio
from pgnet_trio import Game, Response

class Stubborn(Game):
    persistent = True

    def __init__(self, name, save_string=None):
        self.count = int(save_string or 0)
        self.last = ""

    async def handle_game_packet(self, packet):
        match packet.message:
            case "add":
                self.count += 1
            case "add and save":
                self.count += 1
                await self.room.save()
            case "compute":
                print("begun", flush=True)
                while True:
                    pass
            case "block":
                print("begun", flush=True)
                time.sleep(60)
            case "keep Python":
                print("begun", flush=True)
                # Called by way of PyDLL, C code keeps every other thread of Python waiting.
                ctypes.PyDLL(None).sleep(60)
            case "shield":
                print("begun", flush=True)
                with trio.CancelScope(shield=True):
                    await trio.sleep(60)
            case "swallow":
                print("begun", flush=True)
                while True:
                    try:
                        await trio.sleep_forever()
                    except BaseException:
                        await trio.lowlevel.cancel_shielded_checkpoint()
            case _:
                self.last = packet.message
        return Response("")

    async def run(self):
        try:
            await trio.sleep_forever()
        finally:
            if self.last == "compute in the last step":
                self.compute()

    def get_save_string(self):
        if self.last == "compute in the last save":
            self.compute()
        return str(self.count)

    def compute(self):
        print("begun", flush=True)
        while True:
            pass
"""


@pytest.fixture
def game(tmp_path: Path) -> str:
    (tmp_path / "stubborn.py").write_text(GAME, "utf-8")
    return f"{tmp_path / 'stubborn.py'}:Stubborn"


def client(port: str, username: str) -> Client:
    return Client.remote(address=f"127.0.0.1:{port}", username=username, reconnect_for=0)


async def port_of(program: Program) -> str:
    return (await program.out.wait_for(r"port (\d+);"))[1]


@asynccontextmanager
async def two_tables(program: Program, bob_says: str, ann_says: str) -> AsyncIterator[Client]:
    """Have bob say something at table 2 and, once it is answered, ann something at table 1."""
    port = await port_of(program)
    async with client(port, "ann") as ann, client(port, "bob") as bob:
        await bob.join_game("table 2")
        await bob.call(Packet(bob_says))
        await ann.join_game("table 1")
        ann.send(Packet(ann_says))
        yield ann


def saved_games(save_file: Path) -> dict[str, str]:
    saved = json.loads(save_file.read_text("utf-8"))
    return {game["name"]: game["data"] for game in saved["games"]}


# Two of the same might be one by the time that the process takes them.
@pytest.mark.parametrize(
    ("first", "second"), [(signal.SIGINT, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT)]
)
@pytest.mark.parametrize("how", ["compute", "block"])
async def test_the_second_signal_ends_a_process_that_a_game_holds_up(
    game: str, how: str, first: signal.Signals, second: signal.Signals
) -> None:
    async with start_program("serve", game, "--port", "0") as program:
        async with client(await port_of(program), "ann") as ann:
            await ann.join_game("table 1")
            ann.send(Packet(how))
            await program.out.wait_for("begun")
            program.process.send_signal(first)
            program.process.send_signal(second)
            assert await program.exit_status() in (128 + first, 128 + second)
    assert "Stopped at once" in program.err.text


@pytest.mark.parametrize("how", ["shield", "swallow"])
async def test_the_first_signal_saves_and_ends_a_process_although_a_game_goes_on(
    game: str, how: str, tmp_path: Path
) -> None:
    save_file = tmp_path / "save.json"
    arguments = ("serve", game, "--port", "0", "--save-file", str(save_file))
    async with start_program(*arguments, "--autosave-interval", "1000") as program:
        async with two_tables(program, "add", how):
            await program.out.wait_for("begun")
            program.process.send_signal(signal.SIGTERM)
            assert await program.exit_status() == 0
    assert "does not let itself be cancelled: 'table 1': It waits at " in program.err.text
    assert "stubborn.py:" in program.err.text
    assert saved_games(save_file)["table 2"] == "1"


@pytest.mark.parametrize("how", ["compute", "block"])
async def test_the_watchdog_ends_the_process_where_it_is_told_to(
    game: str, how: str, tmp_path: Path
) -> None:
    save_file = tmp_path / "save.json"
    arguments = ("serve", game, "--port", "0", "--save-file", str(save_file))
    async with start_program(*arguments, "--watchdog-exit", "1") as program:
        async with two_tables(program, "add and save", how):
            assert await program.exit_status() == 70
    assert (
        "this process ends with status 70. Saved, as they were at their last saves: 'table 2'."
        in (program.err.text)
    )
    assert "Not saved: 'table 1'" in program.err.text
    assert saved_games(save_file) == {"table 2": "1"}


@pytest.mark.parametrize("how", ["compute in the last step", "compute in the last save"])
async def test_the_watchdog_ends_a_process_that_a_game_does_not_let_end(
    game: str, how: str, tmp_path: Path
) -> None:
    save_file = tmp_path / "save.json"
    arguments = ("serve", game, "--port", "0", "--save-file", str(save_file))
    async with start_program(*arguments, "--watchdog-exit", "1") as program:
        async with two_tables(program, "add and save", how) as ann:
            await ann.get_game_dir()
            program.process.send_signal(signal.SIGTERM)
            assert await program.exit_status() == 70
    # Both were in the lobby until the server was about to end.
    assert "Saved, as they were at their last saves: 'table 2'." in program.err.text
    assert "Not saved: 'table 1'" in program.err.text
    assert saved_games(save_file) == {"table 2": "1"}


async def test_the_watchdog_ends_a_process_in_which_no_python_runs(game: str) -> None:
    arguments = ("serve", game, "--port", "0", "--watchdog-exit", "1")
    async with start_program(*arguments) as program:
        async with client(await port_of(program), "ann") as ann:
            await ann.join_game("table 1")
            ann.send(Packet("keep Python"))
            assert await program.exit_status() == 1
    assert "stubborn.py" in program.err.text
    assert "in handle_game_packet" in program.err.text


async def test_the_second_signal_ends_a_process_whose_words_nobody_reads(game: str) -> None:
    async with start_program("serve", game, "--port", "0") as program:
        async with client(await port_of(program), "ann") as ann:
            await ann.join_game("table 1")
            ann.send(Packet("compute"))
            await program.out.wait_for("begun")
            assert program.process.stderr is not None
            await program.process.stderr.aclose()
            program.process.send_signal(signal.SIGTERM)
            program.process.send_signal(signal.SIGINT)
            status = await program.exit_status()
    assert status in (128 + signal.SIGINT, 128 + signal.SIGTERM)
