"""The programs in examples/ run as they stand, and the example game and client do what they say."""

from __future__ import annotations

import contextlib
import functools
import re
import signal
import socket as stdlib_socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

import pgnet_trio
from examples import web_app
from pgnet_trio import Client, Packet, Request, Response, Server, Status
from pgnet_trio.examples import ExampleClient, ExampleGame
from tests.kit.subprocesses import CHEAP_PASSWORDS, environment

FOLDER = Path(__file__).parent.parent.parent / "examples"

TIME_LIMIT = 60.0
"""Seconds for each step of a program. A busy machine takes some for each start of Python, so that a
limit on a whole game between five programs would be one on the machine."""


class Program:
    """An example that runs in a process of its own."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.output = ""

    async def read_until(self, pattern: str) -> str:
        """Read on until the unread output has the pattern; return what it matched."""
        assert self.process.stdout is not None
        with trio.fail_after(TIME_LIMIT):
            while not (match := re.search(pattern, self.output)):
                chunk = await self.process.stdout.receive_some()
                assert chunk, f"expected {pattern!r}, got the end after {self.output!r}"
                self.output += chunk.decode()
        self.output = self.output[match.end() :]
        return match[0]

    async def type(self, line: str) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.send_all(f"{line}\n".encode())

    async def end_input(self) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.aclose()

    async def read_to_the_end(self) -> tuple[int, str]:
        """Return the exit status and the rest of the output."""
        assert self.process.stdout is not None
        with trio.fail_after(TIME_LIMIT):
            async for chunk in self.process.stdout:
                self.output += chunk.decode()
            return await self.process.wait(), self.output


@contextlib.asynccontextmanager
async def run(*arguments: str, folder: Path | None = None) -> AsyncIterator[Program]:
    """Run Python in a folder, where a server leaves its key; in one of its own by default."""
    arguments = tuple(re.sub(r"^examples\b", str(FOLDER), argument) for argument in arguments)
    with tempfile.TemporaryDirectory() as own_folder:
        async with trio.open_nursery() as nursery:
            start = functools.partial(
                trio.run_process,
                [sys.executable, "-W", "error", *CHEAP_PASSWORDS, *arguments],
                cwd=folder or own_folder,
                # What they run of the package is measured where it is tested.
                env=environment({"COVERAGE_PROCESS_CONFIG": None}),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
            process: trio.Process = await nursery.start(start)
            yield Program(process)
            nursery.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def serve(
    example: str, *, port: int = 0, folder: Path | None = None
) -> AsyncIterator[tuple[Program, str]]:
    """Run an example's server; give it, and its address."""
    command = (f"examples/{example}.py", "serve", "--port", str(port))
    async with run(*command, folder=folder) as server:
        line = await server.read_until(r".*port \d+\. Ctrl-C ends it\.\n")
        yield server, "localhost:" + re.findall(r"\d+", line)[-1]


async def check_that_a_port_that_is_taken_is_one_clear_line(example: str, address: str) -> None:
    async with run(
        f"examples/{example}.py", "serve", "--port", address.rpartition(":")[2]
    ) as second_server:
        status, output = await second_server.read_to_the_end()
    assert (status, output.count("\n")) == (1, 1)


async def check_that_control_c_ends_all(server: Program, one: Program, other: Program) -> None:
    """Ctrl-C for a player's program, and then for the server."""
    one.process.send_signal(signal.SIGINT)
    status, output = await one.read_to_the_end()
    assert (status, "Traceback" in output) == (0, False)
    server.process.send_signal(signal.SIGINT)
    assert await server.read_to_the_end() == (0, "")
    # The other's program waits for a line, and sees at once that nobody will answer.
    _, output = await other.read_to_the_end()
    assert "Traceback" not in output
    assert output.endswith("The server is shutting down.\n")


@pytest.fixture
def free_tcp_port() -> int:
    """A port that is free, most probably still when it is used."""
    with stdlib_socket.create_server(("localhost", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


async def test_hello() -> None:
    async with run("examples/hello.py") as hello:
        assert await hello.read_to_the_end() == (0, "Hello ann, you said 'good morning'.\n")


async def test_bot_with_a_server_of_its_own() -> None:
    async with run("examples/bot.py") as bot:
        await bot.read_until(r"\? right\nFound in \d+ tries\.\n")
        assert await bot.read_to_the_end() == (0, "")


async def test_bot_on_a_server(tmp_path: Path) -> None:
    # Without a key file, the server would keep its key beside the example.
    game, key_file = "examples/bot.py:GuessingGame", str(tmp_path / "key")
    command = ("-m", "pgnet_trio", "serve", game, "--port", "0", "--key-file", key_file)
    async with run(*command) as server:
        address = "localhost:" + (await server.read_until(r"port \d+")).removeprefix("port ")
        async with run("examples/bot.py", address) as bot:
            await bot.read_until(r"Found in \d+ tries\.\n")
            assert await bot.read_to_the_end() == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT for one process")
async def test_chat() -> None:
    async with (
        serve("chat") as (server, address),
        run("examples/chat.py", "join", "ann", address) as ann,
    ):
        await ann.read_until("ann comes in")
        async with run("examples/chat.py", "join", "bob", address) as bob:
            await ann.read_until("bob comes in")
            await bob.type("good morning")
            await ann.read_until("bob: good morning\n")
            await ann.type("and \x1b[2J to you")
            await ann.read_until("Expected printable text")
            await ann.type("and to you")
            # Bob sees all of it in order, and nothing twice.
            heard = "* ann comes in\n* bob comes in\nbob: good morning\nann: and to you\n"
            text = await bob.read_until(r"(?s).*ann: and to you\n")
            assert text.partition("leaves.\n")[2] == heard
            await check_that_a_port_that_is_taken_is_one_clear_line("chat", address)
            await ann.end_input()
            assert (await ann.read_to_the_end())[0] == 0
            await bob.read_until("ann goes")
            async with run("examples/chat.py", "join", "eve", address) as eve:
                # Who comes later sees what was said before.
                await eve.read_until(re.escape(heard))
                await bob.read_until("eve comes in")
                # A program that ends without a word may be back soon.
                eve.process.kill()
                await bob.read_until("eve has lost the connection\n")
            async with run("examples/chat.py", "join", "dan", address) as dan:
                await bob.read_until("dan comes in")
                await check_that_control_c_ends_all(server, dan, bob)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT for one process")
async def test_tictactoe_on_a_server() -> None:
    program = "examples/tictactoe.py"
    async with (
        serve("tictactoe") as (server, address),
        run(program, "play", "ann", address) as ann,
    ):
        await ann.read_until(r"X: ann\. X to move\.")
        async with (
            run(program, "play", "bob", address) as bob,
            run(program, "watch", "eve", address) as eve,
        ):
            players = "X: ann, O: bob"
            await ann.read_until(rf"{players}\. X to move\.")
            await eve.read_until("Ctrl-D leaves")
            await bob.type("1")
            await bob.read_until(r"It is the turn of ann\.")
            await eve.type("1")
            await eve.read_until("You only watch")
            for x, o in ("14", "25"):
                await ann.type(x)
                await bob.read_until(r"O to move\.")
                await bob.type(o)
                await ann.read_until(r"X to move\.")
            await ann.type("5")
            await ann.read_until(r"Square 5 is taken\.")
            await ann.type("3")
            for player in (ann, bob, eve):
                await player.read_until(rf" X \| X \| X\n[^:]*{players}\. X wins\.")
            await bob.type("9")
            await bob.read_until("The round is over; type: again")
            await bob.type("again")
            await ann.read_until(r" 1 \| 2 \| 3\n")
            await check_that_a_port_that_is_taken_is_one_clear_line("tictactoe", address)
            async with run(program, "play", "dan", address) as dan:
                status, output = await dan.read_to_the_end()
                assert (status, "takes 2 players" in output) == (1, True)
            await check_that_control_c_ends_all(server, bob, ann)


async def test_tictactoe_says_when_the_connection_is_gone() -> None:
    async with (
        serve("tictactoe") as (server, address),
        run("examples/tictactoe.py", "play", "ann", address) as ann,
    ):
        await ann.read_until(r"X: ann\. X to move\.")
        server.process.kill()
        await ann.read_until("The connection dropped; reconnecting\\.\n")


@contextlib.asynccontextmanager
async def serve_anew(
    example: str, command: str, news: str, port: int, folder: Path
) -> AsyncIterator[Program]:
    """Run a server and ann's program until that has the news; then start the server anew."""
    async with (
        serve(example, port=port, folder=folder) as (server, address),
        run(f"examples/{example}.py", command, "ann", address) as ann,
    ):
        await ann.read_until(news)
        server.process.kill()
        await server.process.wait()
        async with serve(example, port=port, folder=folder):
            yield ann


async def test_players_go_on_when_their_server_was_started_anew(
    tmp_path: Path, free_tcp_port: int
) -> None:
    news = r"X: ann\. X to move"
    async with serve_anew("tictactoe", "play", news, free_tcp_port, tmp_path) as ann:
        await ann.read_until(rf"(?s)Connected again.*{news}")
        await ann.type("1")
        await ann.read_until(r"O to move\.")
    news = "ann comes in"
    async with serve_anew("chat", "join", news, free_tcp_port, tmp_path) as ann:
        await ann.read_until(news)
        await ann.type("hello")
        await ann.read_until("ann: hello")


async def test_a_match_begins_anew_when_its_server_was_started_anew(
    tmp_path: Path, free_tcp_port: int
) -> None:
    example, news = "rock_paper_scissors", r"Ctrl-D leaves\.\n"
    async with (
        serve_anew(example, "play", news, free_tcp_port, tmp_path) as ann,
        run(f"examples/{example}.py", "play", "bob", f"localhost:{free_tcp_port}") as bob,
    ):
        for player in ann, bob:
            await player.read_until("3 points win")
            await player.type("rock")
        await ann.read_until("0 to 0")


async def test_tictactoe_at_one_terminal() -> None:
    async with run("examples/tictactoe.py", "--local") as table:
        for line in "1", "x", "0", "again", "1", "2", "3", "5", "4", "6", "8", "7", "9":
            await table.type(line)
        await table.end_input()
        status, output = await table.read_to_the_end()
    assert status == 0
    assert "Square 1 is taken." in output
    assert output.count("Expected the number of a square, 1 to 9.") == 2
    assert "Finish this round first." in output
    assert "A draw." in output


async def test_rock_paper_scissors() -> None:
    program = "examples/rock_paper_scissors.py"
    async with (
        serve("rock_paper_scissors") as (_, address),
        run(program, "play", "ann", address) as ann,
    ):
        await ann.read_until(r"Ctrl-D leaves\.")
        async with run(program, "play", "bob", address) as bob:
            for number in range(3):
                await ann.read_until("in 20 seconds")
                await bob.read_until("in 20 seconds")
                if number == 0:
                    await ann.type("lizard")
                    await ann.read_until("seconds")
                await ann.type("paper")
                await bob.type("rock")
                news = f"ann: paper, bob: rock. {number + 1} to 0."
                for player in ann, bob:
                    await player.read_until(re.escape(news))
            for player in ann, bob:
                assert await player.read_to_the_end() == (0, " ann wins.\n")


async def test_who_leaves_rock_paper_scissors_ends_it() -> None:
    program = "examples/rock_paper_scissors.py"
    async with (
        serve("rock_paper_scissors") as (_, address),
        run(program, "play", "ann", address) as ann,
    ):
        await ann.read_until(r"Ctrl-D leaves\.")
        async with run(program, "play", "bob", address) as bob:
            await ann.read_until("seconds")
            await bob.end_input()
            assert (await bob.read_to_the_end())[0] == 0
        status, output = await ann.read_to_the_end()
        assert (status, "bob left the game" in output) == (0, True)


async def test_the_league_ends_with_its_standings() -> None:
    async with run("examples/league.py", "12") as program:
        status, output = await program.read_to_the_end()
    assert status == 0, output
    head, *lines = output.splitlines()
    assert head == "Final standings"
    found = [re.fullmatch(r"(\d)\. (\w+) +(\d+) points, rating (\d+)", line) for line in lines]
    assert all(found), output
    points = [int(line[3]) for line in found if line]
    assert points == sorted(points, reverse=True)
    # At least 12 games, with 2 or 3 points in each; one more may have ended in that moment.
    assert sum(points) >= 24


async def test_a_race_is_watched_again(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    async with run("examples/watch_again.py", str(folder), "--pause", "0") as program:
        status, output = await program.read_to_the_end()
    assert status == 0, output
    assert re.search(r"After \d\.\d\d s, 'Throw' from (ann|bob): \{\}:\n  ann \.*>\n", output)
    assert re.search(r"the game is over: (ann|bob) is there first\.\n$", output)
    (recording,) = folder.iterdir()
    assert recording.name.startswith("the_race-")


async def test_go_fish() -> None:
    program = "examples/go_fish.py"
    hands = {"ann": "", "bob": ""}
    prompt = re.compile(r"(?s)(.*?)Ask for a rank, in \d+ seconds> |.*wins with \d+ books\.\n")

    async def play_on(name: str, player: Program) -> None:
        """Ask for one's ranks by turns, until the game is over."""
        turn = 0
        while "wins" not in (text := await player.read_until(prompt.pattern)):
            for found in re.finditer(r"Your hand: (.*)", text):
                hands[name] = found[1]
            assert "yourself" not in text
            hand = hands[name].split()
            turn += 1
            await player.type(hand[turn % len(hand)])

    async with (
        serve("go_fish") as (_, address),
        run(program, "play", "ann", address, "--open", "2") as ann,
    ):
        await ann.read_until(r"Your hand: \n")
        async with run(program, "play", "bob", address) as bob:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(play_on, "ann", ann)
                nursery.start_soon(play_on, "bob", bob)
            for player in ann, bob:
                assert await player.read_to_the_end() == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT for one process")
@pytest.mark.parametrize("way", ["Ctrl-C", "Ctrl-D"])
async def test_nim_is_left_without_a_traceback(way: str) -> None:
    async with run("examples/nim.py") as nim:
        await nim.read_until("as in 0 2: ")
        await nim.type("none")
        await nim.read_until(r"Two numbers, please\.\n.*as in 0 2: ")
        if way == "Ctrl-C":
            nim.process.send_signal(signal.SIGINT)
        else:
            await nim.end_input()
        assert await nim.read_to_the_end() == (0, "\n")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT for one process")
async def test_a_game_inside_a_web_application() -> None:
    async with run("examples/web_app.py", "--port", "0") as site:
        line = await site.read_until(r"Open http://\S+\. Ctrl-C ends it\.\n")
        address = line.removeprefix("Open http://").partition(". ")[0]
        ann = Client.remote(address=f"ws://{address}/game", username="ann")
        async with ann:
            await ann.join_game("table 1")
            await ann.call(web_app.Click())
            seen = await ann.wait_state(web_app.Table, lambda table: bool(table.clicks))
            assert seen.clicks == {"ann": 1}
            for path, says in (
                ("/tables", '{"table 1":["ann"]}'),
                ("/", "<button disabled>Click</button>"),
            ):
                assert says in await page(address, path)
        site.process.send_signal(signal.SIGINT)
        status, output = await site.read_to_the_end()
        assert (status, output) == (0, "")


async def page(address: str, path: str) -> str:
    host, _, port = address.rpartition(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        return b"".join([data async for data in stream]).decode()


async def test_the_arena_without_a_window() -> None:
    async with run("examples/arena.py", "--headless", "1", "--bots", "3") as arena:
        status, output = await arena.read_to_the_end()
    # A busy machine may get less than the 20.
    assert re.fullmatch(r"\d+ states a second\. Gems: bot. \d+, bot. \d+, bot. \d+\n", output)
    assert status == 0


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT for one process")
async def test_the_arena_in_a_window_that_nobody_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    async with (
        serve("arena") as (_, address),
        run("examples/arena.py", "play", "ann", address) as ann,
    ):
        await ann.read_until(r"The window is open\.\n")
        ann.process.send_signal(signal.SIGINT)
        assert await ann.read_to_the_end() == (0, "")


async def test_the_arena_without_pygame_says_how_to_install_it(tmp_path: Path) -> None:
    # What stands for the program and hides pygame from it.
    path = tmp_path / "hidden.py"
    path.write_text(
        "import runpy, sys, importlib.util as util\n"
        "find_spec = util.find_spec\n"
        "util.find_spec = lambda name: None if name == 'pygame' else find_spec(name)\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    async with run(str(path), str(FOLDER / "arena.py")) as arena:
        status, output = await arena.read_to_the_end()
    assert (status, output.count("\n"), "pip install pygame-ce" in output) == (1, 1, True)


@pytest.fixture
def first_page(tmp_path: Path) -> Path:
    """The README's game, in a file."""
    page = (FOLDER.parent / "README.md").read_text("utf-8")
    (text,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[:1]
    assert len(text.splitlines()) < 40
    path = tmp_path / "game.py"
    path.write_text(text, "utf-8")
    return path


async def test_the_game_of_the_first_page(first_page: Path) -> None:
    """Two people play the README's game, on a server of the command line."""

    async def keep_guessing(person: Program) -> None:
        while True:
            await person.read_until(r"your guess\? ")
            await person.type("1")

    command = ("-m", "pgnet_trio", "serve", f"{first_page}:ClosestGuess", "--port", "0")
    async with run(*command) as server:
        address = "localhost:" + (await server.read_until(r"port \d+")).removeprefix("port ")
        async with run(str(first_page), "ann", address) as ann:
            # Until bob is there, ann is asked alone.
            await ann.read_until(r"Your guess\? ")
            await ann.type("1")
            async with run(str(first_page), "bob", address) as bob:
                await bob.read_until("You are in")
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(keep_guessing, ann)
                    await bob.read_until(r"guess\? ")
                    await bob.type("x")
                    await bob.read_until(r"(?s)A number, please.*guess\? ")
                    await bob.type("100")
                    news = await bob.read_until(r"It was \d+, and \w+ was closest\.")
                    nursery.cancel_scope.cancel()
                number = int(re.findall(r"\d+", news)[0])
                assert ("ann" in news) == (number <= 50)
                server.process.send_signal(signal.SIGINT)
                for person in ann, bob:
                    _, output = await person.read_to_the_end()
                    assert output.endswith("The server is shutting down.\n")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT for one process")
async def test_the_game_of_the_first_page_ends_with_one_line(first_page: Path) -> None:
    async with (
        run(str(first_page)) as alone,
        run(str(first_page), "ann", "localhost:1") as ann,
    ):
        await alone.read_until(r"Your guess\? ")
        alone.process.send_signal(signal.SIGINT)
        for program in alone, ann:
            _, output = await program.read_to_the_end()
            assert output.count("\n") == 1
        assert "No server was reached at localhost:1" in output


@pytest.fixture
def first_page_with_a_mistake(first_page: Path) -> Path:
    text = first_page.read_text("utf-8")
    first_page.write_text(text.replace("best = min(", "best = least("), "utf-8")
    return first_page


async def test_a_mistake_in_the_game_of_the_first_page_shows(
    first_page_with_a_mistake: Path,
) -> None:
    async with run(str(first_page_with_a_mistake)) as program:
        await program.read_until(r"Your guess\? ")
        await program.type("40")
        _, output = await program.read_to_the_end()
    assert "Game 'table 1' raised" in output
    assert "NameError: name 'least' is not defined" in output
    # The player may quote that id, and the log has it.
    said = re.search(
        r"The game 'table 1' crashed; .* says why, as (error [0-9A-F]{6}-[0-9A-F]{6})\.\n$", output
    )
    assert said is not None
    assert f"raised, and is closed, as {said[1]}" in output


async def test_no_server_is_one_clear_line() -> None:
    async with (
        run("examples/chat.py", "join", "ann", "localhost:1") as chat,
        run("examples/tictactoe.py", "play", "ann", "localhost:1") as player,
        run("examples/bot.py", "localhost:1") as bot,
        run("examples/rock_paper_scissors.py", "play", "ann", "localhost:1") as thrower,
        run("examples/go_fish.py", "play", "ann", "localhost:1") as fisher,
        run("examples/arena.py", "play", "ann", "localhost:1") as runner,
    ):
        for program in chat, player, bot, thrower, fisher, runner:
            status, output = await program.read_to_the_end()
            assert status == 1
            assert output.startswith("No server was reached at ")
            assert output.count("\n") == 1


def test_the_code_of_the_tutorial_is_that_of_the_examples() -> None:
    page = (FOLDER.parent / "docs" / "tutorial.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    examples = [path.read_text("utf-8") for path in sorted(FOLDER.glob("*.py"))]
    assert blocks
    for block in blocks:
        assert any(block in example for example in examples), block


@pytest.mark.parametrize(
    ("program", "begin", "end"),
    [
        ("tictactoe", "\n## What players say\n", "\n## Play\n"),
        ("rock_paper_scissors", "\n## A game that asks\n", "\n## Where to go next\n"),
    ],
)
async def test_the_blocks_of_the_tutorial_one_after_the_other_are_a_program(
    program: str, begin: str, end: str, tmp_path: Path
) -> None:
    page = (FOLDER.parent / "docs" / "tutorial.md").read_text("utf-8")
    part = page[page.index(begin) : page.index(end)]
    assert f"`{program}.py`" in part
    pasted = "".join(re.findall(r"^```python\n(.*?)^```$", part, re.MULTILINE | re.DOTALL))
    example = (FOLDER / f"{program}.py").read_text("utf-8").partition('"""\n\n')[2]

    def lines(text: str) -> list[str]:
        return [line for line in text.splitlines() if line]

    assert lines(pasted) == lines(example)
    path = tmp_path / f"{program}.py"
    path.write_text(pasted, "utf-8")
    async with run(str(path), "serve", "--port", "0", folder=tmp_path) as server:
        await server.read_until(r"The table is ready on port \d+\.")


def test_the_modules_of_the_original_are_there() -> None:
    assert pgnet_trio.examples.ExampleGame is ExampleGame
    assert callable(pgnet_trio.devclient.run)


async def test_the_example_game_keeps_a_log() -> None:
    async with Client.local(game=ExampleGame, username="ann") as client:
        await client.create_game("test")
        for number in range(12):
            assert (await client.request(Packet(f"line {number}"))).status == Status.OK
        heartbeat = await client.request(Packet(Request.HEARTBEAT_UPDATE))
        expected = [f"ann says: 'line {number}'" for number in range(2, 12)]
        assert heartbeat.payload == {"log": expected}
        refusal = await client.request(Packet("x" * 201))
        assert refusal.status == Status.UNEXPECTED
        assert "at most 200" in refusal.message
        games = await client.get_game_dir()
        assert games["test"].info == "14 entries in the log"


def test_the_example_game_is_as_it_was_after_a_restart() -> None:
    game = ExampleGame("test")
    game.user_joined("ann")
    game.handle_game_packet(Packet("two\nlines\u2028and\x85more", username="ann"))
    game.user_left("ann")
    assert ExampleGame("test", save_string=game.get_save_string()).log == game.log
    assert len(game.log) == 4
    assert game.persistent


def test_the_log_of_the_example_game_has_an_end() -> None:
    game = ExampleGame("test")
    for number in range(2000):
        game.handle_game_packet(Packet(str(number), username="ann"))
    assert len(game.log) == 1000
    assert game.log[-1] == "ann says: '1999'"


async def test_the_example_client_joins_and_prints(capsys: pytest.CaptureFixture[str]) -> None:
    arrived = trio.Event()

    class Waiting(ExampleClient):
        def on_heartbeat(self, heartbeat: Response, /) -> None:
            super().on_heartbeat(heartbeat)
            if any("hello" in entry for entry in self.log):
                arrived.set()

    async with trio.open_nursery() as nursery:
        server = Server(ExampleGame, port=0)
        address = f"127.0.0.1:{await nursery.start(server.serve)}"
        # The game is created by the first, and joined by the second.
        async with (
            Client.remote(address=address, username="bob") as bob,
            Waiting.remote(address=address, username="ann"),
        ):
            await bob.join_game("test")
            await bob.request(Packet("hello"))
            with trio.fail_after(TIME_LIMIT):
                await arrived.wait()
        server.shutdown()
    printed = capsys.readouterr().out
    assert ">> CONNECTION: True\n" in printed
    assert ">> STATUS: Logged in as ann" in printed
    assert ">> GAME: test\n" in printed
    assert "New log:\n-- Game started\n" in printed
    assert printed.count("-- bob says: 'hello'\n") == 1
    assert ">> CONNECTION: False\n" in printed
