"""``pgnet-trio serve --dev``: mistakes in full, and the game's files loaded again."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import re
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pgnet_trio import Client, Packet, Response
from pgnet_trio.cli import serve
from pgnet_trio.cli.author_code import AuthorCodeError
from pgnet_trio.cli.development import GameFiles, reload_on_change
from pgnet_trio.errors import PGNetError
from pgnet_trio.testing import HostedServer, playing
from tests.kit.subprocesses import start_program

GAME = """\
from pgnet_trio import Game, Response
from rules_of_it import answer

class Counter(Game):
    persistent = True

    def __init__(self, name, save_string=None):
        self.count = int(save_string or 0)

    def handle_game_packet(self, packet):
        self.count += 1
        return Response(answer(self.count))

    def get_save_string(self):
        return str(self.count)
"""

RULES = 'def answer(count):\n    return f"{count}"\n'


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a game in two modules; nothing of them stays imported."""
    (tmp_path / "counter_game.py").write_text(GAME)
    (tmp_path / "rules_of_it.py").write_text(RULES)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name in ("counter_game", "rules_of_it"):
        sys.modules.pop(name, None)


def test_both_modules_are_the_authors_and_both_are_loaded_again(place: Path) -> None:
    files = GameFiles(f"{place}/counter_game.py:Counter")
    assert {path.name for path in files.paths} == {"counter_game.py", "rules_of_it.py"}
    assert not files.has_changed()
    (place / "rules_of_it.py").write_text(RULES.replace("{count}", "<{count}>"))
    assert files.has_changed()
    before = files.game
    assert files.reload() is files.game is not before
    texts = []
    for game in (before, files.game):
        response = game("a").handle_game_packet(Packet("x"))
        assert isinstance(response, Response)
        texts.append(response.message)
    assert texts == ["1", "<1>"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda text: text.replace("def answer(", "def answer"), r"rules_of_it.py, line 1: Syntax"),
        (lambda text: "1 / 0\n", "line 1: ZeroDivisionError"),
        (lambda text: "raise SystemExit\n", "SystemExit"),
        (lambda text: "import asyncio\nraise asyncio.CancelledError\n", "line 2: CancelledError"),
        (lambda text: "\0", r"counter_game.py: SyntaxError|counter_game.py, line 1: SyntaxError"),
        (lambda text: "", "ImportError: cannot import name 'answer'"),
    ],
)
def test_what_cannot_be_imported_leaves_the_modules_of_before(
    place: Path, change: Any, why: str
) -> None:
    files = GameFiles(f"{place}/counter_game.py:Counter")
    before = sys.modules["counter_game"], sys.modules["rules_of_it"]
    (place / "rules_of_it.py").write_text(change(RULES))
    with pytest.raises(AuthorCodeError, match=why):
        files.reload()
    assert (sys.modules["counter_game"], sys.modules["rules_of_it"]) == before
    (place / "rules_of_it.py").write_text(RULES)
    files.reload()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no such files")
def test_a_module_in_whose_place_is_a_pipe_has_changed(place: Path) -> None:
    files = GameFiles(f"{place}/counter_game.py:Counter")
    (place / "rules_of_it.py").unlink()
    os.mkfifo(place / "rules_of_it.py")
    assert files.has_changed()


def test_a_module_is_watched_by_its_package(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    files = GameFiles("counter_game:Counter")
    assert {path.name for path in files.paths} == {"counter_game.py", "rules_of_it.py"}


@contextlib.asynccontextmanager
async def watching(place: Path) -> AsyncIterator[HostedServer]:
    files = GameFiles(f"{place}/counter_game.py:Counter")
    server = HostedServer(files.game)
    async with server.running(), trio.open_nursery() as nursery:
        nursery.start_soon(reload_on_change, files, server)
        yield server
        nursery.cancel_scope.cancel()


async def touch(path: Path) -> None:
    """Write a file again and again: nobody knows when the system has begun to watch it."""
    while True:
        await trio.sleep(0.05)
        os.utime(path)


@contextlib.asynccontextmanager
async def touching(path: Path) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(touch, path)
        with trio.fail_after(20):
            yield
        nursery.cancel_scope.cancel()


class Heard(logging.Handler):
    """Lets a test wait for a line of the log."""

    def __init__(self) -> None:
        super().__init__()
        self._news = trio.lowlevel.ParkingLot()
        self._texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._texts.append(record.getMessage())
        self._news.unpark_all()

    async def wait_for(self, text: str) -> None:
        while not any(text in each for each in self._texts):
            await self._news.park()


@pytest.fixture
def heard() -> Iterator[Heard]:
    logger, handler = logging.getLogger("pgnet_trio.serve"), Heard()
    logger.setLevel("INFO")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


async def test_a_changed_file_is_loaded_and_tables_move_over(place: Path, heard: Heard) -> None:
    rules = place / "rules_of_it.py"
    async with watching(place) as server, playing(server, "ann", game="one") as ann:
        assert (await ann.request(Packet("add"))).message == "1"
        # As editors do: another file takes its place.
        (place / "new").write_text(RULES.replace("{count}", "<{count}>"))
        os.replace(place / "new", rules)
        async with touching(rules):
            await heard.wait_for("1 go on with it, and 0 as before")
        assert (await ann.request(Packet("add"))).message == "<2>"
        rules.write_text("def answer(:\n")
        async with touching(rules):
            await heard.wait_for("everything goes on as it was")
        assert (await ann.request(Packet("add"))).message == "<3>"


async def test_without_the_package_the_file_is_not_watched(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    async with watching(place):
        await wait_all_tasks_blocked()
    assert 'pip install "pgnet_trio[reload]"' in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        ["--listen-globally"],
        ["--workers", "2", "--save-file", "x.sqlite"],
        ["--cluster", "x.sqlite"],
    ],
)
def test_development_mode_is_for_one_process_on_this_machine(options: list[str]) -> None:
    parser = argparse.ArgumentParser()
    serve.set_up(parser)
    with pytest.raises(PGNetError, match=f"does not go together with {options[0]}"):
        parsed = parser.parse_args(["--dev", *options])
        parsed.arguments = []
        serve.run(parsed)


async def test_the_command_shows_mistakes_and_loads_again(place: Path) -> None:
    game, rules = f"{place}/counter_game.py:Counter", place / "rules_of_it.py"
    async with start_program("serve", game, "--dev", "--port", "0") as program:
        port = (await program.out.wait_for(r"port (\d+)"))[1]
        await program.err.wait_for("watching counter_game.py, rules_of_it.py")
        async with Client.remote(address=f"127.0.0.1:{port}", username="ann") as ann:
            await ann.create_game("one")
            assert (await ann.request(Packet("add"))).message == "1"
            rules.write_text("def answer(count):\n    return 1 // 0\n")
            async with touching(rules):
                await program.err.wait_for("1 go on with it")
            answer = await ann.request(Packet("add"))
            assert "return 1 // 0" in answer.message
            assert re.search("ZeroDivisionError", answer.message)
