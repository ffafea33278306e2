"""The prompt of the extra ``cli``: completion, history, colours, and sessions in a terminal."""

from __future__ import annotations

import io
import os
import re
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput

from pgnet_trio.cli import prompt
from pgnet_trio.cli.prompt import (
    LineHistory,
    PromptConsole,
    RequestCompleter,
    is_confidential,
    state_folder,
)
from pgnet_trio.game import Game
from pgnet_trio.messages import Packet, Response
from pgnet_trio.server import Server
from tests.kit.subprocesses import COMMAND, WITHOUT_EXTRAS, Program, start_in_terminal

pytest.importorskip("pty")

SIGNATURES = {
    "__pgnet__.help": {},
    "__pgnet__.join_game": {"name": "str", "password": "str"},
    "__pgnet__.set_verbose": {"set_as": "bool"},
    "__pgnet__.set_registration": {"set_as": "bool"},
}


# Completion.


@pytest.mark.parametrize(
    ("text", "completions"),
    [
        ("", []),
        ("x", []),
        (".", [".help", ".join_game", ".set_registration", ".set_verbose"]),
        (".set", [".set_registration", ".set_verbose"]),
        ("qu", ["quit"]),
        ("/", ["/state", "/answer", "/answer Ready"]),
        ("/answer R", ["/answer Ready"]),
        (".join_game;", ["name=", "password="]),
        (".join_game; pa", ["password="]),
        (".join_game;name=x;", ["password="]),
        (".join_game;name=", []),
        (".set_verbose;set_as=", ["True", "False"]),
        (".set_verbose;set_as=T", ["True"]),
        ("move;", []),
    ],
)
def test_what_may_come_next_is_offered(text: str, completions: list[str]) -> None:
    completer = RequestCompleter()
    completer.signatures = SIGNATURES
    offered = list(completer.get_completions(Document(text), CompleteEvent()))
    assert [each.text for each in offered] == completions
    for each in offered:
        # What is completed begins with what was typed.
        assert each.text.startswith(text[len(text) + each.start_position :])


# History.


@pytest.mark.parametrize(
    ("line", "confidential"),
    [
        (".help", False),
        (".join_game;name=table 1", False),
        ("move;row=1", False),
        ("say;text=hello", False),
        (".join_game;name=x;password=hidden", True),
        (".join_game;name=x;pasword=hidden", True),
        (".join_gmae;name=x;pw=hidden", True),
        ("login;Password=hidden", True),
        ("unlock;token=hidden", True),
        ("password;x=hidden", True),
        ("half;a line with hidden", True),
    ],
)
def test_a_line_that_may_hold_a_secret_is_known(line: str, confidential: bool) -> None:
    assert is_confidential(line, SIGNATURES) is confidential


def test_history_is_there_in_the_next_session_without_secrets(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "history"
    history = LineHistory(path)
    history.signatures = SIGNATURES
    lines = [".help", ".join_game;name=x;password=hidden", "say;text=hi ☃"]
    for line in lines:
        history.append_string(line)
    assert history.get_strings() == lines
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "hidden" not in path.read_text("utf-8")
    assert list(LineHistory(path).load_history_strings()) == ["say;text=hi ☃", ".help"]


def test_a_long_history_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt, "MAX_HISTORY_LINES", 3)
    path = tmp_path / "history"
    path.write_text("".join(f"{number}\n" for number in range(7)))
    assert list(LineHistory(path).load_history_strings()) == ["6", "5", "4"]
    assert path.read_text() == "4\n5\n6\n"


@pytest.mark.parametrize("content", [None, b"\xff\n"])
def test_a_history_that_cannot_be_used_is_done_without(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "history"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    history = LineHistory(path)
    assert list(history.load_history_strings()) == []
    history.append_string("line")
    history.append_string("\udcff")


def test_where_the_history_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_folder() == tmp_path / "pgnet-trio"


# The console, with keys from a pipe.


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[PipeInput]:
    # In a dumb terminal `connect` makes no such console, and the prompt is another one.
    monkeypatch.setenv("TERM", "xterm")
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        yield keys


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    return stream


@pytest.fixture
def console(keyboard: PipeInput, shown: io.StringIO, tmp_path: Path) -> PromptConsole:
    return PromptConsole(LineHistory(tmp_path / "history"))


async def test_lines_are_typed(console: PromptConsole, keyboard: PipeInput) -> None:
    console.offer(SIGNATURES)
    assert console.is_interactive
    assert not console.has_buffered()
    keyboard.send_text("hello\r")
    assert await console.read_line() == "hello"
    keyboard.send_text("hello\x7f agin\x1b[D\x1b[Da\r")
    assert await console.read_line() == "hell again"


@pytest.mark.parametrize(("key", "error"), [("\x03", KeyboardInterrupt), ("\x04", EOFError)])
async def test_keys_that_end_the_prompt(
    console: PromptConsole, keyboard: PipeInput, key: str, error: type[BaseException]
) -> None:
    keyboard.send_text(key)
    with pytest.raises(error):
        await console.read_line()


async def test_cancellation_ends_the_prompt_at_once(
    console: PromptConsole, keyboard: PipeInput
) -> None:
    for moment in (0.0, 0.05):
        with trio.fail_after(20), trio.move_on_after(moment) as scope:
            await console.read_line()
        assert scope.cancelled_caught
    # Nobody else reads the keys.
    keyboard.send_text("next\r")
    assert await console.read_line() == "next"


async def test_what_is_printed_meanwhile_is_shown(
    console: PromptConsole, keyboard: PipeInput, shown: io.StringIO
) -> None:
    with console:
        async with trio.open_nursery() as nursery:
            console.show_note("before the prompt")
            nursery.start_soon(console.read_line)
            await trio.testing.wait_all_tasks_blocked(0.1)
            console.show_note("a note")
            console.show_error("an error")
            print("a game \x1b[2Jprints", "this")
            print("and this, to its own stream", file=sys.stderr)
            keyboard.send_text("x\r")
    text = shown.getvalue()
    assert text.splitlines() == [
        "* before the prompt",
        "* a note",
        "an error",
        "a game \\x1b[2Jprints this",
        "and this, to its own stream",
    ]


async def test_answers_are_shown_whole(console: PromptConsole, shown: io.StringIO) -> None:
    console.show_sent(Packet("go\x1b", {"x": 1, "password": "hidden"}))
    payload: dict[str, Any] = {"name\x1b": "[red]text\x1b", "list": [1, {"a": "\x1b"}]}
    console.show_response(Response("done [bold]", payload), 0.001)
    console.show_response(Response("", status=7), 0.002)
    lines = [re.sub(r"^[\d:.]{12} ", "TIME ", line) for line in shown.getvalue().splitlines()]
    assert [line.rstrip() for line in lines] == [
        "TIME  sent      go\\x1b x=1 password=***",
        "TIME  received  OK  after 1.0 ms",
        "done [bold]",
        "  name\\x1b  [red]text\\x1b",
        "  list      [1, {'a': '\\x1b'}]",
        "TIME  received  status 7  after 2.0 ms",
    ]


# Whole sessions, in a terminal.


async def log_in(program: Program) -> None:
    await program.out.wait_for("Username: ")
    # Nothing is not a name.
    await program.type("\n")
    await program.out.wait_for("Username: ")
    await program.type("ann\n")
    await program.out.wait_for(r"Password \(Enter for none\): ")
    await program.type("hidden\n")
    await program.out.wait_for("Logged in as ann")


@pytest.mark.parametrize(
    ("term", "command", "has_history"),
    [
        ("xterm-256color", COMMAND, True),
        ("xterm-256color", WITHOUT_EXTRAS, False),
        ("dumb", COMMAND, False),
    ],
    ids=["prompt", "without the extra", "dumb terminal"],
)
async def test_a_session_in_a_terminal(
    term: str, command: Sequence[str], has_history: bool, tmp_path: Path
) -> None:
    env = {"TERM": term, "XDG_STATE_HOME": str(tmp_path)}
    async with start_in_terminal("connect", command=command, env=env) as program:
        await log_in(program)
        await program.out.wait_for(">>")
        await program.type(".create_game;name=table 1\r")
        await program.out.wait_for("heartbeat_rate")
        await program.out.wait_for(">>")
        await program.type("quit\r")
        assert await program.exit_status() == 0
    assert "In the game 'table 1'" in program.out.text
    assert "hidden" not in program.out.text
    assert (tmp_path / "pgnet-trio" / "history").exists() is has_history


@pytest.mark.parametrize("term", ["xterm-256color", "dumb"])
async def test_the_prompt_ends_when_the_server_goes_away(term: str, tmp_path: Path) -> None:
    env = {"TERM": term, "XDG_STATE_HOME": str(tmp_path)}
    server = Server(Game, port=0)
    async with trio.open_nursery() as nursery:
        port = await nursery.start(server.serve)
        arguments = ("connect", f"localhost:{port}", "--verify-server-pubkey", server.pubkey)
        async with start_in_terminal(*arguments, env=env) as program:
            await log_in(program)
            await program.out.wait_for(">>")
            await program.type("half a li")
            await program.out.wait_for("li")
            server.shutdown()
            await program.out.wait_for("The connection ended: ")
            assert await program.exit_status() == 1


async def test_ctrl_c_at_the_prompt(tmp_path: Path) -> None:
    env = {"TERM": "xterm-256color", "XDG_STATE_HOME": str(tmp_path)}
    async with start_in_terminal("connect", env=env) as program:
        await log_in(program)
        await program.out.wait_for(">>")
        await program.type("\x03")
        assert await program.exit_status() == 130
    assert "Traceback" not in program.out.text


async def test_who_needs_an_invite_code_reads_how_to_give_it(tmp_path: Path) -> None:
    server = Server(Game, port=0, registration_enabled=False)
    async with trio.open_nursery() as nursery:
        port = await nursery.start(server.serve)
        arguments = ["connect", f"localhost:{port}", "--username", "ann"]
        arguments += ["--verify-server-pubkey", server.pubkey]
        env = {"XDG_STATE_HOME": str(tmp_path), "PGNET_PASSWORD": "hidden", "TERM": "dumb"}
        async with start_in_terminal(*arguments, env=env) as program:
            await program.out.wait_for("If you have one, add --invite-code-prompt.")
            assert await program.exit_status() == 1
        server.shutdown()


async def test_an_invite_code_is_asked_for(tmp_path: Path) -> None:
    server = Server(Game, port=0, registration_enabled=False)
    async with trio.open_nursery() as nursery:
        port = await nursery.start(server.serve)
        arguments = ["connect", f"localhost:{port}", "--username", "ann", "--invite-code-prompt"]
        arguments += ["--verify-server-pubkey", server.pubkey]
        env = {"XDG_STATE_HOME": str(tmp_path), "PGNET_PASSWORD": "hidden", "TERM": "dumb"}
        async with start_in_terminal(*arguments, env=env) as program:
            await program.out.wait_for("Invite code: ")
            await program.type("not a code\n")
            await program.out.wait_for("pgnet-trio: ")
            assert await program.exit_status() == 1
        server.shutdown()
    assert os.fspath(tmp_path) not in program.out.text
    assert "not a code" not in program.out.text
