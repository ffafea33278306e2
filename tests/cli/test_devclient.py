"""The prompt: what a line means, what is shown, and what the exit status says."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

import pgnet_trio
from pgnet_trio import Leaderboard, Queue, Result, devclient, on
from pgnet_trio.client import Client
from pgnet_trio.devclient import (
    CommandError,
    DevClient,
    PlainConsole,
    describe_packet,
    parse_packet,
)
from pgnet_trio.errors import LoginRefused, PGNetError, Reject
from pgnet_trio.foreign_text import printable
from pgnet_trio.game import Game
from pgnet_trio.lines import shown_payload
from pgnet_trio.messages import Packet, Push, Response, Status
from pgnet_trio.server import Server
from pgnet_trio.terminal import LineReader
from pgnet_trio.testing import HostedServer, hosting
from tests.kit.subprocesses import run_program

SIGNATURES = {
    "__pgnet__.join_game": {"name": "str", "password": "str"},
    "__pgnet__.sleep": {"seconds": "float"},
    "__pgnet__.set_verbose": {"set_as": "bool"},
    "__pgnet__.write_profile": {"data": "dict", "version": "int"},
}


class Echo(Game):
    def handle_game_packet(self, packet: Packet, /) -> Response:
        if packet.message == "fail":
            return Response("It failed.", status=7)
        return Response(f"Echo of {packet.message}", packet.payload)


@attrs.frozen
class Note:
    """In the place of a line: the next one comes after a note with this text."""

    text: str


class Script:
    """A console whose lines are known beforehand; keeps what is shown."""

    is_interactive = False

    def __init__(self, lines: Iterable[str | Exception | Note]) -> None:
        self.lines = list(lines)
        self.sent: list[Packet] = []
        self.responses: list[Response] = []
        self.seconds: list[float] = []
        self.notes: list[str] = []
        self.errors: list[str] = []
        self.signatures: devclient.Signatures = {}
        self.waits_at_end = False
        self.is_waiting = trio.Event()
        self.news = trio.Event()

    async def read_line(self) -> str:
        await trio.lowlevel.checkpoint()
        if not self.lines and self.waits_at_end:
            self.is_waiting.set()
            await trio.sleep_forever()
        if not self.lines:
            raise EOFError
        line = self.lines.pop(0)
        if isinstance(line, Note):
            await wait_until(self, line.text)
            return await self.read_line()
        if isinstance(line, Exception):
            raise line
        return line

    def has_buffered(self) -> bool:
        return bool(self.lines)

    def offer(self, signatures: devclient.Signatures) -> None:
        self.signatures = signatures

    def show_sent(self, packet: Packet) -> None:
        self.sent.append(packet)

    def show_response(self, response: Response, seconds: float) -> None:
        assert seconds >= 0
        self.responses.append(response)
        self.seconds.append(seconds)

    def show_note(self, text: str) -> None:
        self.notes.append(text)
        self.news.set()
        self.news = trio.Event()

    def show_error(self, text: str) -> None:
        self.errors.append(text)


async def play(
    *lines: str | Exception | Note, username: str = "ann", game: type[Game] = Echo
) -> tuple[int, Script]:
    script = Script(lines)
    client = Client.local(game=game, username=username)
    with trio.fail_after(20):
        status = await devclient.run(client, script)
    return status, script


# What a line means.


@pytest.mark.parametrize(
    ("line", "message", "payload"),
    [
        ("hello", "hello", {}),
        ("  hello ", "hello", {}),
        ("two words", "two words", {}),
        (".help", "__pgnet__.help", {}),
        ("..help", ".help", {}),
        ("...help", "..help", {}),
        ("//help", "/help", {}),
        ("a.b", "a.b", {}),
        ("move;row=1;column=-2", "move", {"row": 1, "column": -2}),
        ("move; row=1; column=2", "move", {"row": 1, "column": 2}),
        ("a;x=1.5;y=-.5;z=2.;e=1e3", "a", {"x": 1.5, "y": -0.5, "z": 2.0, "e": 1000.0}),
        ("a;x=True;y=False;z=true", "a", {"x": True, "y": False, "z": "true"}),
        ("a;x=;y= text with spaces ", "a", {"x": "", "y": " text with spaces"}),
        ("a;x=b=c", "a", {"x": "b=c"}),
        ("a;x=nan;y=inf;z=1_000;n=None", "a", {"x": "nan", "y": "inf", "z": "1_000", "n": "None"}),
        ("a;x=١٢", "a", {"x": "١٢"}),
        ('a;x="1";y="";z=""quoted"";u="', "a", {"x": "1", "y": "", "z": '"quoted"', "u": '"'}),
        (f"a;x={2**63 - 1};y={-(2**63)}", "a", {"x": 2**63 - 1, "y": -(2**63)}),
    ],
)
def test_a_line_is_a_packet(line: str, message: str, payload: dict[str, Any]) -> None:
    packet = parse_packet(line)
    assert packet.message == message
    assert packet.payload == payload
    assert [*map(type, packet.payload.values())] == [*map(type, payload.values())]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("", "got no message"),
        (";x=1", "got no message"),
        ("a;", "got '' where key=value should be"),
        ("a;x", "got 'x' where key=value should be"),
        ("a;=1", "got '=1' where key=value should be"),
        ("a;x=1;x=2", "got 'x' twice"),
        (f"a;x={2**63}", "x: expected an integer of at most 64 bits"),
        ("a;x=" + "9" * 21, "x: expected an integer of at most 64 bits"),
        ("a;x=1e999", "x: expected a float that is not too large"),
    ],
)
def test_a_line_of_another_form_is_refused(line: str, problem: str) -> None:
    with pytest.raises(CommandError, match=problem) as raised:
        parse_packet(line)
    assert isinstance(raised.value, PGNetError)


@given(st.text())
def test_any_line_is_a_packet_that_can_be_sent_or_is_refused(line: str) -> None:
    try:
        packet = parse_packet(line)
    except PGNetError:
        return
    if line.isascii():
        packet.serialize()


@pytest.mark.parametrize(
    ("line", "payload"),
    [
        (".join_game;name=2048;password=True", {"name": "2048", "password": "True"}),
        ('.join_game;name="2048"', {"name": "2048"}),
        (".sleep;seconds=2", {"seconds": 2.0}),
        (".sleep;seconds=long", {"seconds": "long"}),
        (".set_verbose;set_as=True", {"set_as": True}),
        (".unknown;name=2048", {"name": 2048}),
        ('.write_profile;data={"level": 3};version=0', {"data": {"level": 3}, "version": 0}),
    ],
)
def test_the_types_that_the_server_names_are_kept(line: str, payload: dict[str, Any]) -> None:
    packet = parse_packet(line, SIGNATURES)
    assert packet.payload == payload
    assert [*map(type, packet.payload.values())] == [*map(type, payload.values())]


@pytest.mark.parametrize("text", ["5", '"a"', "{level: 3}", "{", ""])
def test_a_dict_that_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match=r'data: expected JSON such as \{"level": 3\}'):
        parse_packet(f".write_profile;data={text};version=0", SIGNATURES)


# What is shown.


def test_text_from_elsewhere_cannot_steer_the_terminal() -> None:
    steering = "\x1b[2J\x07\r\x9b1m\u202egnp\u2066"
    assert printable(f"a{steering}b\n\tc ü 漢 👩\u200d🚀") == (
        "a\\x1b[2J\\x07\\r\\x9b1m\\u202egnp\\u2066b\n\tc ü 漢 👩\u200d🚀"
    )


def test_a_password_is_not_shown() -> None:
    packet = Packet("join", {"name": "x", "password": "hidden", "Old_Password": "hidden"})
    assert describe_packet(packet) == "join name='x' password=*** Old_Password=***"


def test_the_plain_console_shows_an_answer_whole(capsys: pytest.CaptureFixture[str]) -> None:
    console = PlainConsole()
    payload = {
        "text": "two\nlines",
        "number": 2,
        "empty": {},
        "nested": {"a": ["\x1b"]},
        "long": {"b": ["x" * 40, "y" * 40]},
    }
    console.show_response(Response("Well \x1b[31mdone", payload, Status.UNEXPECTED), 0.0123)
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("RECEIVED  ")
    assert first.endswith("  UNEXPECTED, after 12.3 ms")
    assert rest == [
        "Well \\x1b[31mdone",
        "    text: two",
        "    lines",
        "    number: 2",
        "    empty: {}",
        '    nested: {"a": ["\\u001b"]}',
        "    long: {",
        '        "b": [',
        f'            "{"x" * 40}",',
        f'            "{"y" * 40}"',
        "        ]",
        "    }",
    ]


def test_the_plain_console_shows_a_status_of_the_game(capsys: pytest.CaptureFixture[str]) -> None:
    console = PlainConsole()
    console.offer(SIGNATURES)
    console.show_response(Response("", status=7), 0.0)
    console.show_note("something")
    console.show_error("wrong")
    out, err = capsys.readouterr()
    assert "  status 7, after" in out
    assert out.endswith("ms\n* something\n")
    assert err == "wrong\n"


@pytest.fixture
def standard_input(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Make a terminal standard input; yield the end that a person types on."""
    pty = pytest.importorskip("pty")
    person, program = pty.openpty()
    with (
        open(person, "wb", buffering=0),
        open(program, encoding="utf-8", closefd=False) as stream,
        open(program, "rb", buffering=0),
    ):
        reader = LineReader(program, encoding="utf-8")
        monkeypatch.setattr(sys, "stdin", stream)
        monkeypatch.setattr("pgnet_trio.console.standard_input", lambda: reader)
        yield person


async def test_notes_appear_above_a_new_prompt(
    standard_input: int, capsys: pytest.CaptureFixture[str]
) -> None:
    console = PlainConsole()
    assert console.is_interactive
    assert not console.has_buffered()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(console.read_line)
        await trio.testing.wait_all_tasks_blocked()
        console.show_note("ann has left")
        os.write(standard_input, b"line\n")
    assert capsys.readouterr().out == ">> \n* ann has left\n>> "


async def test_a_prompt_that_ends_leaves_a_line_of_its_own(
    standard_input: int, capsys: pytest.CaptureFixture[str]
) -> None:
    console = PlainConsole()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(console.read_line)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert capsys.readouterr().out == ">> \n"


# A session.


async def test_lines_are_sent_in_order_and_all_is_well() -> None:
    status, script = await play(".join_game;name=2048", "", "  ", "a;x=1", "..b")
    assert status == 0
    assert [packet.message for packet in script.sent] == ["__pgnet__.join_game", "a", ".b"]
    assert [response.message for response in script.responses[1:]] == ["Echo of a", "Echo of .b"]
    assert script.responses[1].payload == {"x": 1}
    assert "In the game '2048'." in script.notes
    assert script.errors == []


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (".joingame;name=table", "no such request: .joingame; did you mean .join_game?"),
        (".xyzzy", "no such request: .xyzzy; .help lists them"),
        (".state", "no such request: .state; did you mean /state?"),
        ("/foo bar", "no such command: /foo; the commands are /state and /answer, and a message"),
        ("/anwser Throw;hand=rock", "no such command: /anwser; did you mean /answer?"),
        ("/join_game;name=table", "no such command: /join_game; did you mean .join_game?"),
        ("/quit", "no such command: /quit; did you mean quit?"),
    ],
)
async def test_what_there_is_none_of_is_not_sent(line: str, problem: str) -> None:
    status, script = await play(".join_game;name=table", line, "//foo", "..foo", "hello")
    assert status == 1
    (error,) = script.errors
    assert error.startswith(f"line 2: there is {problem}")
    assert [packet.message for packet in script.sent[1:]] == ["/foo", ".foo", "hello"]


async def test_a_request_with_a_blank_where_a_semicolon_belongs_is_not_sent() -> None:
    _, script = await play(".join_game name=table")
    assert script.errors == [
        "line 1: expected .join_game;key=value, got '.join_game name=table'",
    ]


async def test_requests_of_the_admin_are_the_servers_to_refuse() -> None:
    status, script = await play(".shutdown", ".heartbeat_update")
    assert status == 1
    assert script.errors == []
    assert script.responses[0].message == "Only the admin may request '__pgnet__.shutdown'."


async def test_the_admin_announces_and_sees_who_is_there() -> None:
    status, script = await play(
        ".users", ".nodes", ".announce;text=at ten\x1b", Note("Announcement: "), username="admin"
    )
    assert status == 0
    assert script.responses[0].payload["users"] == {"admin": ""}
    assert script.responses[1].payload["nodes"][0]["users"] == 1
    assert "Announcement: at ten\\x1b" in script.notes


async def test_an_invitation_says_what_to_type() -> None:
    script = Script([])
    script.waits_at_end = True
    async with hosting(Echo) as server, trio.open_nursery() as nursery:
        nursery.start_soon(devclient.run, server.client("ann"), script)
        await script.is_waiting.wait()
        async with server.client("bob") as bob:
            await bob.join_game("table")
            await bob.invite("ann")
            text = "bob invites you to the game 'table' (Echo): .join_game;name=table;invited=True"
            await wait_until(script, text)
        nursery.cancel_scope.cancel()
    assert script.errors == []


async def test_the_help_lists_requests_as_they_are_typed() -> None:
    _, script = await play(".help")
    (response,) = script.responses
    assert ".join_game" in response.payload
    assert not any("__pgnet__" in name for name in response.payload)


async def test_commands_of_another_form_are_refused() -> None:
    status, script = await play("/state now", "/answer;x=1")
    assert status == 1
    assert script.errors == [
        "line 1: expected /state, got '/state now'",
        "line 2: expected /answer message;key=value;key2=value2, got '/answer;x=1'",
    ]


@pytest.mark.parametrize("interactive", [True, False])
async def test_a_person_is_told_how_to_begin(interactive: bool) -> None:
    script = Script([])
    script.is_interactive = interactive
    assert await devclient.run(Client.local(game=Echo, username="ann"), script) == 0
    assert (".help lists the requests; quit ends" in script.notes) is interactive


async def test_what_waits_for_the_connection_is_not_shown_as_sent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    script = Script([".join_game;name=table", Note("coming back"), "hello;password=hidden"])
    script.waits_at_end = True
    with trio.fail_after(1000):
        await _play_through_a_drop(script)


async def _play_through_a_drop(script: Script) -> None:
    async with hosting(Echo) as server, trio.open_nursery() as nursery:
        nursery.start_soon(devclient.run, server.client("ann"), script)
        await wait_until(script, "In the game 'table'")
        server.network.cut("ann")
        await wait_until(script, "this waits until it is back: hello password=***")
        await trio.sleep(3)
        assert [packet.message for packet in script.sent] == ["__pgnet__.join_game"]
        server.network.heal("ann")
        await script.is_waiting.wait()
        assert [packet.message for packet in script.sent[1:]] == ["hello"]
        assert script.responses[-1].message == "Echo of hello"
        # Since it was sent, and not since it was typed.
        assert script.seconds[-1] < 1
        nursery.cancel_scope.cancel()


async def test_the_requests_of_the_server_are_offered_for_completion() -> None:
    _, script = await play()
    assert script.signatures["__pgnet__.join_game"] == {
        "name": "str",
        "password": "str",
        "spectate": "bool",
        "options": "dict",
        "unlisted": "bool",
        "rejoin": "bool",
        "invited": "bool",
    }
    assert script.signatures["__pgnet__.invite"] == {"username": "str"}
    assert "__pgnet__.shutdown" not in script.signatures
    _, script = await play(username="admin")
    assert "__pgnet__.shutdown" in script.signatures


class Starting(Game):
    """Asks whoever comes whether they are ready, and says whether they were."""

    async def run(self) -> None:
        await self.room.wait_players(1)
        self.room.close(str(await self.room.ready.check(timeout=30)))


@pytest.mark.parametrize(
    ("answer", "ready"), [("/answer Ready", "True"), ("/answer Ready;ready=False", "False")]
)
async def test_a_ready_check_is_answered_at_the_prompt(answer: str, ready: str) -> None:
    asked, told = Note("Question: ReadyCheck"), Note(f"closed: {ready}")
    _, script = await play(".create_game;unlisted=True", asked, answer, told, game=Starting)
    assert script.errors == []
    assert [response.status for response in script.responses] == [Status.OK, Status.OK]
    (question,) = [note for note in script.notes if note.startswith("Question: ")]
    assert question.endswith("; answer with /answer Ready, or /answer Ready;ready=False")


async def test_quit_ends_it_before_what_comes_after() -> None:
    status, script = await play(".game_dir", " quit ", "nonsense;")
    assert status == 0
    assert len(script.responses) == 1
    assert script.lines == ["nonsense;"]


async def test_a_bad_line_is_named_and_the_rest_is_sent() -> None:
    bad_bytes = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    status, script = await play(".game_dir", "a;b", bad_bytes, ".game_dir")
    assert status == 1
    assert [response.status for response in script.responses] == [Status.OK, Status.OK]
    first, second = script.errors
    assert first.startswith("line 2: expected message;key=value")
    assert first.endswith("got 'b' where key=value should be")
    assert second.startswith("line 3: 'utf-8' codec can't decode")


async def test_what_cannot_travel_is_said_and_the_rest_is_sent() -> None:
    status, script = await play(".join_game;name=table", "say;text=\udcff", "say;text=fine")
    assert status == 1
    (error,) = script.errors
    assert error.startswith("line 2: ")
    assert "surrogate" in error
    assert script.responses[-1].payload == {"text": "fine"}


@pytest.mark.parametrize("line", [".leave_game;x=1", ".shutdown", "fail"])
async def test_an_answer_that_is_not_ok_shows_in_the_exit_status(line: str) -> None:
    status, script = await play(".join_game;name=table", line, "fine", "quit")
    assert (status, script.errors) == (1, [])
    assert script.responses[-1].message == "Echo of fine"


async def test_asking_the_server_to_shut_down_is_no_failure() -> None:
    status, script = await play(".shutdown", username="admin")
    assert (status, script.errors) == (0, [])


async def test_a_line_after_the_shutdown_was_not_sent() -> None:
    status, script = await play(".shutdown", ".save", username="admin")
    assert status == 1
    assert script.errors == ["line 2: not sent: the server has closed the connection"]


async def serve_and_connect(script: Script, server: Server, nursery: trio.Nursery) -> int:
    port = await nursery.start(server.serve)
    client = Client.remote(address=f"localhost:{port}", username="ann")
    return await DevClient(client, console=script).run()


async def test_when_the_server_goes_away_the_prompt_ends_at_once() -> None:
    script = Script([".join_game;name=table"])
    script.waits_at_end = True
    server = Server(Echo, port=0)
    statuses: list[int] = []

    async def connect(nursery: trio.Nursery) -> None:
        statuses.append(await serve_and_connect(script, server, nursery))

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connect, nursery)
            await script.is_waiting.wait()
            server.shutdown()
    assert statuses == [1]
    (error,) = script.errors
    assert error.startswith("The connection ended: ")
    assert not any(note.startswith("Disconnected") for note in script.notes)


async def test_whose_seat_is_taken_over_is_told_so_in_a_sentence(
    autojump_clock: trio.testing.MockClock,
) -> None:
    script = Script([])
    script.waits_at_end = True
    async with hosting(Echo) as server, trio.open_nursery() as nursery:
        nursery.start_soon(devclient.run, server.client("ann"), script)
        await script.is_waiting.wait()
        async with server.client("ann"):
            pass
    assert script.errors == ["You logged in from elsewhere; this program is out of the game."]


async def test_when_the_connection_ends_during_a_request_the_prompt_ends() -> None:
    ended = trio.Event()

    class Slow(Echo):
        async def handle_packet(self, packet: Packet, /) -> Response:
            server.delete_user("ann")
            await ended.wait()
            return Response("too late")

    script = Script([".join_game;name=table", "slow", "never sent"])
    server = Server(Slow, port=0)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            status = await serve_and_connect(script, server, nursery)
            ended.set()
            server.shutdown()
    assert status == 1
    assert script.errors[-1].startswith("The connection ended: ")
    assert script.lines == ["never sent"]


async def test_a_refused_login_comes_out() -> None:
    with pytest.raises(LoginRefused):
        await play(username="x")


async def test_a_cancelled_session_is_over() -> None:
    script = Script([])
    script.waits_at_end = True
    client = Client.local(game=Echo, username="ann")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(devclient.run, client, script)
        await script.is_waiting.wait()
        nursery.cancel_scope.cancel()
    assert not client.connected


# What comes unasked.


@attrs.frozen
class Choose:
    when: str


@attrs.frozen
class Throw:
    what: str


class Talkative(Game):
    """Has a state, sends pushes, and asks."""

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.moves = 0

    def view(self, username: str, /) -> dict[str, Any]:
        return {"moves": self.moves, "you": username}

    def handle_game_packet(self, packet: Packet, /) -> Response:
        match packet.message:
            case "move":
                self.moves += 1
            case "say":
                self.room.push(Push("said", {**packet.payload, "password": "hidden"}))
            case "shout":
                self.room.push(Push("shouted", {"text": "x" * 5000}))
            case "ask":
                self.room.nursery.start_soon(self.ask, packet.username)
            case "kick":
                self.room.kick("ann", "cheating")
        return Response("done")

    async def ask(self, username: str) -> None:
        def check(answer: Throw) -> None:
            if answer.what != "rock":
                raise Reject("only rock is allowed")

        answer = await self.room.ask(username, Choose("now"), Throw, timeout=3600, check=check)
        self.room.push(answer)


async def wait_until(script: Script, *words: str) -> None:
    """Wait until notes with these words have come."""
    while not all(any(word in note for note in script.notes) for word in words):
        await script.news.wait()


async def test_what_a_game_sends_unasked_is_shown() -> None:
    status, script = await play(
        "/state",
        "/answer rock",
        ".join_game;name=table",
        "say;text=hi\x1b",
        "shout",
        "/state",
        "move",
        "/state",
        "ask",
        Note("Question: "),
        "/answer Throw;what=paper",
        "/answer Throw;who=ann",
        "/answer Throw;what=rock",
        "/answer Throw;what=rock",
        Note("Push: Throw"),
        "kick",
        Note("Out of the game"),
        game=Talkative,
    )
    assert status == 1
    assert script.errors == [
        "line 1: there is no state: join a game that has a view first",
        "line 2: there is no open question to answer",
        "line 13: there is no open question to answer",
    ]
    notes = "\n".join(script.notes)
    assert "Players: ann" in script.notes
    assert "Push: said text='hi\\x1b' password=***" in notes
    assert any(note.endswith("xxx...") and len(note) < 2100 for note in script.notes)
    assert script.notes.count("The game has a state; /state shows it") == 1
    states = [note for note in script.notes if note.startswith("State: ")]
    assert states == ['State: {"moves": 0, "you": "ann"}', 'State: {"moves": 1, "you": "ann"}']
    assert re.search(
        "Question: Choose when='now', (3600|3599) s left; answer with /answer message;key", notes
    )
    assert "Push: Throw what='rock'" in notes
    assert "Out of the game 'table', kicked: cheating" in notes
    assert "has left" not in notes
    refusals = [each.message for each in script.responses if each.status != Status.OK]
    assert refusals[0] == "only rock is allowed"
    assert "what" in refusals[1]


async def test_leaving_by_oneself_is_no_news() -> None:
    _, script = await play(".join_game;name=table", ".leave_game", game=Talkative)
    assert not any(note.startswith("Out of the game") for note in script.notes)


async def test_who_comes_goes_drops_and_is_back_is_shown(
    autojump_clock: trio.testing.MockClock,
) -> None:
    script = Script([".join_game;name=table"])
    script.waits_at_end = True
    async with hosting(Talkative) as server:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(devclient.run, server.client("ann"), script)
            await script.is_waiting.wait()
            async with server.client("bob") as bob:
                await bob.join_game("table")
                await wait_until(script, "bob has joined")
                server.network.drop("bob")
                await wait_until(script, "bob has dropped", "bob is back")
                await bob.leave_game()
            await wait_until(script, "bob has left")
            nursery.cancel_scope.cancel()
    assert script.errors == []


async def test_a_session_that_the_server_forgot_is_told_and_the_prompt_goes_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    script = Script([".join_game;name=table"])
    script.waits_at_end = True
    statuses: list[int] = []

    async def connect(server: HostedServer) -> None:
        statuses.append(await devclient.run(server.client("ann"), script))

    async with trio.open_nursery() as nursery:
        async with hosting(Talkative) as server:
            nursery.start_soon(connect, server)
            await script.is_waiting.wait()
            server.network.cut("ann")
            await server.restart(crash=True)
            await trio.sleep(20)
            server.network.heal("ann")
            await wait_until(script, "Online again")
    assert statuses == [1]
    assert script.errors[0] == "The server does not know this session any more."
    assert script.errors[-1].startswith("The connection ended: ")
    # One of many tries is enough.
    assert sum(note.startswith("Not back yet: ") for note in script.notes) == 1


@pytest.mark.parametrize(
    ("module", "says"),
    [
        ("pgnet_trio.devclient", "open it with `pgnet-trio connect`"),
        ("pgnet_trio", "usage: pgnet-trio "),
    ],
)
async def test_a_module_that_is_run_says_what_there_is(module: str, says: str) -> None:
    status, out, err = await run_program(command=(sys.executable, "-m", module))
    assert status != 0
    assert says in err
    assert "Warning" not in err
    assert out == ""


def test_the_package_has_its_modules() -> None:
    assert pgnet_trio.devclient is devclient
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        pgnet_trio.nothing  # type: ignore[attr-defined]  # noqa: B018 - what is tested


# Looking for a game.


class Quick(Echo):
    matchmaking = Queue(min_size=1, wait=0.1)


class Slow(Echo):
    matchmaking = Queue()


async def test_a_line_looks_for_a_game_while_others_are_read() -> None:
    status, script = await play(
        ".find_game;mode=blitz",
        Note("Looking for a game: place 1, 0 s"),
        Note("A match is found"),
        Note("In the game"),
        "hello",
        game=Quick,
    )
    assert status == 0
    assert [response.message for response in script.responses] == ["Echo of hello"]
    assert script.signatures["__pgnet__.find_game"] == {"queue": "str"}


async def test_a_line_ends_a_search() -> None:
    status, script = await play(
        ".find_game",
        Note("Looking for a game"),
        ".leave_queue",
        ".leave_queue",
        ".create_game;name=table",
        game=Slow,
    )
    assert status == 1
    assert script.errors == ["line 3: you look for no game; .find_game does"]
    assert script.responses[-1].status == Status.OK


async def test_a_search_that_is_refused_is_an_error() -> None:
    status, script = await play(
        ".find_game;queue=ranked", ".sleep;seconds=0.1", username="admin", game=Slow
    )
    assert status == 1
    assert script.errors == ["There is no queue 'ranked'; the queues are: one without a name."]


@attrs.define
class Win:
    points: int


class Scored(Echo):
    leaderboards = Leaderboard("sum")

    @on(Win)
    async def win(self, player: str, message: Win) -> None:
        await self.room.report(Result([player, ["bot 1", "bot 2"]], {player: message.points}))


async def test_standings_are_shown_as_lines() -> None:
    status, script = await play(
        ".create_game;name=table 1",
        "Win;points=7",
        ".leaderboard",
        ".leaderboard;around=ann;limit=1",
        ".history",
        ".leaderboard;name=other",
        ".leaderboard;around=bob",
        game=Scored,
    )
    assert status == 1
    page, around, history, refused, absent = script.responses[2:]
    assert page.payload == around.payload == {"1. ann": 7}
    assert page.message == "Players on this leaderboard: 1."
    ((game, result),) = history.payload.items()
    assert re.fullmatch(r"\d+, table 1", game)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d, 1\. ann 7, 2\. bot 1, 2\. bot 2", result)
    assert "There is no leaderboard 'other'" in refused.message
    assert absent.message == "'bob' is not on this leaderboard. Players on this leaderboard: 1."
    # What can be asked is known to whoever completes words.
    assert script.signatures["__pgnet__.leaderboard"] == {
        "name": "str",
        "around": "str",
        "offset": "int",
        "limit": "int",
    }


async def test_bans_and_what_was_done_are_shown_as_lines() -> None:
    status, script = await play(
        ".ban;username=Bob;reason=No insults",
        ".ban;network=192.0.2.7/24;seconds=60",
        ".bans",
        ".audit;limit=1",
        ".audit",
        username="admin",
    )
    assert status == 0
    bans, page, log = (response.payload for response in script.responses[2:])
    time = r"\d{4}-\d\d-\d\d \d\d:\d\d"
    assert list(bans) == ["192.0.2.0/24", "bob"]
    assert re.fullmatch(f"by admin on {time} until {time}", bans["192.0.2.0/24"])
    assert re.fullmatch(f"by admin on {time}: No insults", bans["bob"])
    assert page["more"] is True
    deeds = [re.fullmatch(f"{time}, admin: (.*)", line) for line in log.values()]
    assert [deed and deed[1] for deed in deeds] == [
        "ban network=192.0.2.7/24; seconds=60",
        "ban username=Bob; reason=No insults; seconds=0",
    ]
    assert script.signatures["__pgnet__.ban"] == {
        "username": "str",
        "network": "str",
        "reason": "str",
        "seconds": "int",
    }


def test_ratings_are_shown_and_what_is_no_answer_is_shown_as_it_is() -> None:
    played = {
        "number": 3,
        "name": "duel",
        "ended_at": "2026-05-01T12:00:00+00:00",
        "ranks": [["ann"], ["bob"]],
        "scores": {"ann": 3, "eve": 1},
        "boards": {"lap": {"ann": 61}},
        "ratings": {"ann": {"before": 1500.0, "after": 1579.1}},
    }
    shown = shown_payload("__pgnet__.history", {"games": [played]})
    assert shown["3, duel"].endswith("1. ann 3 (rating 1500 to 1579), 2. bob, eve 1, lap: ann 61")
    for message, payload in (
        ("__pgnet__.history", {"games": [{"number": "three"}]}),
        ("__pgnet__.leaderboard", {"entries": 3}),
        ("__pgnet__.bans", {"bans": [{"whom": "ann"}]}),
        ("__pgnet__.audit", {"entries": [1]}),
        ("hello", {"entries": []}),
    ):
        assert shown_payload(message, payload) == payload
