"""The command line as its users meet it: processes, signals, pipes, and wrong input."""

from __future__ import annotations

import base64
import gc
import inspect
import io
import json
import logging
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from pgnet_trio.cli import demo, main, serve
from pgnet_trio.client import Client
from pgnet_trio.errors import LoginRefused, StorageError
from pgnet_trio.game import Game
from pgnet_trio.messages import Packet
from pgnet_trio.server import Server, Site
from pgnet_trio.server.limits import Limits
from tests.kit.subprocesses import (
    COMMAND,
    DEADLINE,
    WITHOUT_EXTRAS,
    Program,
    run_program,
    start_program,
)

SIGNALS = [signal.SIGINT, signal.SIGTERM]
if sys.platform != "win32":
    SIGNALS.append(signal.SIGHUP)

COUNTER = """\
import signal

import trio

from pgnet_trio import Game, Response

started = []


class Counter(Game):
    persistent = True

    def __init__(self, name, save_string=None):
        self.total = int(save_string or 0)

    def get_save_string(self):
        return str(self.total)

    async def handle_game_packet(self, packet):
        if packet.message == "wait":
            print("waiting", flush=True)
            await trio.sleep_forever()
        if packet.message == "block":
            # Three times Ctrl-C while nothing else gets a turn.
            for _ in range(3):
                signal.raise_signal(signal.SIGINT)
                print("survived", flush=True)
        if packet.message == "raise":
            raise ValueError("out of cheese")
        self.total += packet.payload["by"]
        return Response("added", {"total": self.total})


class NoGame:
    pass


a_number = 5
"""


@pytest.fixture(autouse=True)
def nothing_remains(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Whatever `main` does to this process is undone, and it knows no servers."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    logger = logging.getLogger("pgnet_trio")
    level, modules = logger.level, set(sys.modules)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    for variable in ("PGNET_ADMIN_PASSWORD", "PGNET_PASSWORD", "PGNET_INVITE_CODE"):
        monkeypatch.delenv(variable, raising=False)
    yield
    logger.setLevel(level)
    for name in set(sys.modules) - modules:
        if getattr(sys.modules[name], "__file__", None) is None or name.startswith("its_"):
            del sys.modules[name]


@pytest.fixture
def counter(tmp_path: Path) -> str:
    path = tmp_path / "its_counter.py"
    path.write_text(COUNTER, "utf-8")
    return f"{path}:Counter"


# Help.


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 0
    return capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert re.fullmatch(r"pgnet-trio \d+\.\d+\.\d+\n", printed(capsys, "--version"))


def test_help_shows_the_commands_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--help")
    for words in (
        "serve",
        "connect",
        "key",
        "backup",
        "check",
        "load",
        "demo",
        "examples:\n  pgnet-trio demo\n",
    ):
        assert words in text


@pytest.mark.parametrize("command", ["serve", "connect", "key", "backup", "check", "load", "demo"])
def test_the_help_of_a_command_has_examples(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert re.search(rf"examples?:\n  pgnet-trio {command}", printed(capsys, command, "--help"))


def test_the_help_shows_defaults_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    shown = re.findall(r"default:\s+([0-9.e+]+)\)", printed(capsys, "serve", "--help"))
    assert {"1048576", "10000", "200", "0.25"} <= set(shown)
    assert not [number for number in shown if "e" in number]


def test_every_option_of_the_server_is_on_the_command_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = printed(capsys, "serve", "--help")
    parameters = inspect.signature(Server).parameters.values()
    names = {each.name for each in parameters if each.kind is each.KEYWORD_ONLY}
    names |= {field.name for field in attrs.fields(Limits)}
    elsewhere = {
        # Called by programs, not by people.
        "on_connection",
        "environment",
        # By another name.
        "admin_password",
        "registration_enabled",
        "verbose_logging",
        "development",
        "allowed_origins",
        "allowed_hosts",
        "rooms",
        "players_create",
    }
    for name in names - elsewhere:
        assert re.search(rf"  --{name.replace('_', '-')}\b", text), name
    for flag in (
        "--no-registration",
        "--room NAME",
        "--no-creating",
        "--verbose",
        "--admin-password-file FILE",
        "--allowed-origin ORIGIN",
        "--allowed-host HOST",
    ):
        assert flag in text


@pytest.mark.parametrize("command", ["serve", "connect", "load"])
def test_no_secret_is_an_argument(capsys: pytest.CaptureFixture[str], command: str) -> None:
    flags = re.findall(r"--[\w-]*(?:password|code)[\w-]*", printed(capsys, command, "--help"))
    assert flags
    for flag in flags:
        assert flag.endswith(("-file", "-prompt")) or flag == "--require-user-password"


# Arguments that make no sense: status 2, and one line beside the usage.


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("", "required: COMMAND"),
        ("play", "invalid choice: 'play'"),
        ("serve --prot 1", "serve: error: there is no option --prot; did you mean --port?"),
        ("serve x:Y --savefile=x", "there is no option --savefile; did you mean --save-file?"),
        ("serve --bogus", "there is no option --bogus; pgnet-trio serve --help shows them"),
        ("demo now", "unexpected argument 'now'; pgnet-trio demo --help shows what it takes"),
        ("serve --site none", "expected a folder, got 'none', which is none"),
        ("serve --allowed-origin a.example", "expected an origin such as 'https://example.org'"),
        ("serve --room a?", "expected the name of a game"),
        ("serve --allowed-host a.example:80", "expected a name such as 'play.example.org'"),
        ("serve --port 70000", "expected a port from 0 to 65535, got '70000'"),
        ("serve --port -1", "expected a port from 0 to 65535, got '-1'"),
        ("serve --port x", "expected a port from 0 to 65535, got 'x'"),
        ("serve --autosave-interval 0", "expected a number over 0, got '0'"),
        ("serve --resume-grace -1", "expected a number, 0 or more, got '-1'"),
        ("serve --resume-grace inf", "expected a number, 0 or more, got 'inf'"),
        ("serve --resume-grace long", "expected a number, 0 or more, got 'long'"),
        ("serve --port 99999", "expected a port from 0 to 65535, got '99999'"),
        ("serve --login-timeout nan", "expected a number over 0, got 'nan'"),
        ("serve --login-timeout soon", "expected a number over 0, got 'soon'"),
        ("serve --max-connections 0", "expected a whole number over 0, or none; got '0'"),
        ("serve --max-connections 1.5", "expected a whole number over 0, or none; got '1.5'"),
        ("serve --transport pigeon", "pigeon"),
        ("serve --trusted-proxies localhost", "such as '127.0.0.1' or '10.0.0.0/8', got"),
        ("serve --trusted-proxies 127.0.0.1,", "got ''"),
        ("serve --admin-password-file x --admin-password-prompt", "not allowed with argument"),
        ("connect localhost", "--username is needed where standard input is no terminal"),
        ("connect a:b:c:d --username ann", "is no address of a server"),
        ("connect ftp://x --username ann", "'ftp://x' is no address of a server"),
        ("connect localhost --game x:Y", "leave ADDRESS out, or --game"),
    ],
)
def test_arguments_that_make_no_sense(
    capsys: pytest.CaptureFixture[str], arguments: str, problem: str
) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments.split())
    assert raised.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("usage: pgnet-trio")
    assert problem in error.splitlines()[-1]
    # The screen is not full of options that are right.
    assert len(error.splitlines()) <= 4


# What cannot be used: status 1, and one line.


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("pgnet-trio: ")
    assert err.count("\n") == 1
    return err.removeprefix("pgnet-trio: ").removesuffix("\n")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("Counter", "expected MODULE:CLASS or path/to/file.py:CLASS, got 'Counter'"),
        (
            "its_counter.py",
            "expected its_counter.py:CLASS, got 'its_counter.py'; its games: Counter",
        ),
        (":Counter", "expected MODULE:CLASS"),
        ("its_counter.py:a-b", "expected MODULE:CLASS"),
        ("nowhere.py:Counter", "there is no file 'nowhere.py'"),
        ("its_nowhere:Counter", "there is no module 'its_nowhere'"),
        ("its_counter.inside:Counter", "there is no module 'its_counter.inside'"),
        ("its_counter.py:Missing", "its_counter.py has no 'Missing'; its games: Counter"),
        ("its_counter.py:NoGame", "its_counter.py:NoGame is no subclass of pgnet_trio.Game"),
        ("its_counter:a_number", "its_counter:a_number is no subclass of pgnet_trio.Game"),
        ("trio.py:Counter", "trio.py: there is a module 'trio' already; rename the file"),
        ("its_typo.py:Counter", "its_typo.py, line 2: SyntaxError: invalid syntax"),
        ("its_error.py:Counter", "its_error.py, line 2: ZeroDivisionError: division by zero"),
        ("its_error:Counter", "its_error.py, line 2: ZeroDivisionError: division by zero"),
        ("its_exit.py:Counter", "its_exit.py, line 2: SystemExit: 5"),
        ("its_import.py:Counter", "ModuleNotFoundError: No module named 'its_absence'"),
        ("its_import:Counter", "ModuleNotFoundError: No module named 'its_absence'"),
        ("its_hook.py:Hooked", "its_hook.py, line 4: TypeError: Hooked.user_join: nothing uses"),
        ("its_nul.py:Counter", "its_nul.py: "),
    ],
)
@pytest.mark.usefixtures("counter")
def test_a_game_class_that_cannot_be_used(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    problem: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trio.py").touch()
    (tmp_path / "its_typo.py").write_text("\nx = = 1\n")
    (tmp_path / "its_error.py").write_text("\nx = 1 / 0\n")
    (tmp_path / "its_exit.py").write_text("\nraise SystemExit(5)\n")
    (tmp_path / "its_import.py").write_text("\nimport its_absence\n")
    (tmp_path / "its_hook.py").write_text(
        "import pgnet_trio\n\n\nclass Hooked(pgnet_trio.Game):\n    def user_join(self): ...\n"
    )
    (tmp_path / "its_nul.py").write_text("x = 1\0\n")
    assert problem in complaint(capsys, "serve", name)
    assert problem in complaint(capsys, "connect", "--game", name, "--username", "ann")


def test_limits_that_do_not_fit_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    error = complaint(capsys, "serve", "--ping-interval", "30", "--keepalive-timeout", "20")
    assert "ping_interval" in error


def test_the_proxy_protocol_of_nobody_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--trusted-proxies" in complaint(capsys, "serve", "--proxy-protocol")


def test_a_port_in_use(capsys: pytest.CaptureFixture[str], counter: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        port = occupied.getsockname()[1]
        error = complaint(capsys, "serve", counter, "--port", str(port))
    assert f"ort {port} is in use" in error


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("save.json", b'{"users": ['),
        ("save.json", b"\x00\xff"),
        ("save.sqlite", b"this is no database, and long enough to be looked at" * 100),
    ],
)
def test_a_damaged_save_file_is_left_alone(
    capsys: pytest.CaptureFixture[str], counter: str, tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    error = complaint(capsys, "serve", counter, "--port", "0", "--save-file", str(path))
    assert name in error
    assert path.read_bytes() == content


def test_a_save_file_that_cannot_be_written(
    capsys: pytest.CaptureFixture[str], counter: str, tmp_path: Path
) -> None:
    path = tmp_path / "missing" / "save.sqlite"
    error = complaint(capsys, "serve", counter, "--port", "0", "--save-file", str(path))
    assert "missing" in error


def test_a_damaged_key_file_is_left_alone(
    capsys: pytest.CaptureFixture[str], counter: str, tmp_path: Path
) -> None:
    path = tmp_path / "key"
    path.write_text("not a key")
    assert "key" in complaint(capsys, "serve", counter, "--port", "0", "--key-file", str(path))
    assert path.read_text() == "not a key"


def test_a_server_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        port = closed_soon.getsockname()[1]
    assert main(["connect", f"127.0.0.1:{port}", "--username", "ann"]) == 1
    assert f"pgnet-trio: No server was reached at 127.0.0.1:{port}" in capsys.readouterr().err


def test_an_error_of_ours_is_not_hidden(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fail() -> int:
        raise LookupError("a mistake in the program")

    monkeypatch.setattr(demo, "_demonstrate", fail)
    with pytest.raises(LookupError, match="a mistake"):
        main(["demo"])


# Secrets.


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot read '{path}': No such file or directory"),
        (b"", "expected a secret in the first line of '{path}', got an empty one"),
        (b"\nsecond line", "expected a secret in the first line of '{path}', got an empty one"),
        (b"\xff", "cannot read '{path}': expected text in UTF-8"),
    ],
)
@pytest.mark.parametrize(
    "arguments",
    [
        ["serve", "--port", "0", "--admin-password-file"],
        ["connect", "localhost", "--username", "ann", "--password-file"],
        ["connect", "localhost", "--username", "ann", "--invite-code-file"],
    ],
)
def test_a_secret_that_cannot_be_read(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    content: bytes | None,
    problem: str,
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    error = complaint(capsys, *arguments, str(path))
    assert error == problem.format(path=path)


KEY = base64.b64encode(bytes(32)).decode()


class Observed:
    """Stands in for `Server`, and notes its options."""

    pubkey = KEY

    def __init__(self, game: type[Game], **options: Any) -> None:
        self.game = game
        self.environment = options.pop("environment")
        self.options = options

    async def serve(self, *, task_status: Any) -> int:
        task_status.started(1234)
        return 7


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> list[Observed]:
    made: list[Observed] = []

    def make(game: type[Game], **options: Any) -> Observed:
        made.append(Observed(game, **options))
        return made[-1]

    monkeypatch.setattr(serve, "Server", make)
    return made


def test_options_that_are_not_given_are_the_servers_own(
    servers: list[Observed], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve"]) == 7
    (server,) = servers
    assert server.game.__name__ == "ExampleGame"
    assert server.options.pop("key_file").name == "pgnet_trio.examples.key"
    assert server.options == {"admin_password": None, "verbose_logging": False}
    # The process is the command's own, so that it may end it.
    assert server.environment.end_process is not None
    assert capsys.readouterr().out == (
        f"Listening on localhost, port 1234; public key {KEY}\n"
        "Players are shown the key's fingerprint: "
        "SHA256:Zmh6rfhivXdsj8GLjp+OIAiXFIVu4jOzkCpZHQ1fKSU\n"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT for one process")
@pytest.mark.parametrize("named", ["by file", "by module"])
async def test_a_server_of_this_machine_keeps_its_key_without_a_save_file(
    counter: str, tmp_path: Path, named: str
) -> None:
    game, key_file = counter, tmp_path / "its_counter.py.key"
    if named == "by module":
        game, key_file = "its_counter:Counter", tmp_path / "data/pgnet-trio/its_counter.key"
    known = tmp_path / "known"
    arguments = ("connect", "--username", "ann", "--known-servers", str(known))
    outputs = []
    port = "0"
    for extra in (["--accept-new-key"], []):
        async with start_program(
            "serve", game, "--port", port, cwd=tmp_path, env={"XDG_DATA_HOME": f"{tmp_path}/data"}
        ) as server:
            line = await server.out.wait_for(r"port (\d+);.*\n.*fingerprint: (SHA256:\S+)\n")
            port = line[1]
            outputs.append(line[2])
            async with start_program(*arguments, *extra, f"localhost:{port}") as client:
                await client.input.aclose()
                assert await client.exit_status() == 0, client.err.text
            server.process.send_signal(signal.SIGINT)
            assert await server.exit_status() == 0
    assert outputs[0] == outputs[1]
    assert key_file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("option", ["--listen-globally", "--save-file x.json", "--key-file k"])
def test_a_server_that_others_reach_or_that_keeps_a_key_elsewhere_leaves_none_beside_the_game(
    servers: list[Observed], counter: str, option: str, tmp_path: Path
) -> None:
    assert main(["serve", counter, *option.split()]) == 7
    assert servers[0].options.get("key_file", "k") == "k"
    assert not list(tmp_path.rglob("*.key"))


def test_a_key_that_cannot_be_kept_stops_no_server(
    servers: list[Observed],
    counter: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise StorageError("cannot make its_counter.py.key: read-only file system")

    monkeypatch.setattr("pgnet_trio.cli.local_key.keep_key", refuse)
    assert main(["serve", counter]) == 7
    assert servers[0].options["key_file"] is None
    assert "new each time, since it cannot be kept: cannot make" in capsys.readouterr().err


def test_a_damaged_key_beside_the_game_is_not_passed_over(
    capsys: pytest.CaptureFixture[str], counter: str, tmp_path: Path
) -> None:
    (tmp_path / "its_counter.py.key").write_text("x\n")
    assert "a private key in base64" in complaint(capsys, "serve", counter)


def test_the_collector_looks_through_all_more_rarely_while_a_server_runs(
    servers: list[Observed], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def serve_and_look(self: Observed, *, task_status: Any) -> int:
        thresholds.append(gc.get_threshold())
        return 0

    monkeypatch.setattr(Observed, "serve", serve_and_look)
    path = tmp_path / "own_idea.py"
    path.write_text(f"import gc\ngc.set_threshold(5000, 5, 5)\n\n{COUNTER}")
    thresholds: list[tuple[int, int, int]] = []
    before = gc.get_threshold()
    try:
        gc.set_threshold(600, 9, 8)
        main(["serve"])
        assert gc.get_threshold() == (600, 9, 8)
        main(["serve", f"{path}:Counter"])
        assert gc.get_threshold() == (600, 9, 8)
        gc.set_threshold(600, 9, 200)
        main(["serve"])
    finally:
        gc.set_threshold(*before)
    assert thresholds == [(600, 9, 100), (5000, 5, 5), (600, 9, 200)]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_server_may_open_as_many_files_as_it_takes_connections(
    servers: list[Observed], monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    def allow(soft: int) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    async def serve_and_look(self: Observed, *, task_status: Any) -> int:
        limits.append(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        return 0

    monkeypatch.setattr(Observed, "serve", serve_and_look)
    limits: list[int] = []
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = hard if hard != resource.RLIM_INFINITY else 1 << 16
    try:
        for players, pages in (("1000", "50"), ("5", "5"), ("none", "5"), ("5", "none")):
            allow(300)
            main(["serve", "--max-connections", players, "--max-http-connections", pages])
    finally:
        allow(before)
    everything = min(1 << 16, most)
    assert limits == [min(1150, most), 300, everything, everything]


def test_options_reach_the_server(
    servers: list[Observed], capsys: pytest.CaptureFixture[str], counter: str
) -> None:
    arguments = "--listen-globally --port 0 --save-file a.json --key-file k --autosave-interval 2"
    arguments += " --no-registration --require-user-password --transport trio-websocket --verbose"
    arguments += " --max-connections 5 --max-message-size none --login-timeout 2.5"
    arguments += " --requests-per-second none"
    arguments += " --trusted-proxies 127.0.0.1,10.0.0.0/8 --proxy-protocol"
    assert main(["serve", counter, *arguments.split()]) == 7
    (server,) = servers
    assert server.game.__name__ == "Counter"
    assert server.options == {
        "listen_globally": True,
        "port": 0,
        "save_file": "a.json",
        "key_file": "k",
        "autosave_interval": 2.0,
        "registration_enabled": False,
        "require_user_password": True,
        "transport": "trio-websocket",
        "verbose_logging": True,
        "admin_password": None,
        "max_connections": 5,
        "max_message_size": None,
        "login_timeout": 2.5,
        "requests_per_second": None,
        "trusted_proxies": ["127.0.0.1", "10.0.0.0/8"],
        "proxy_protocol": True,
    }
    assert capsys.readouterr().out.startswith("Listening on all addresses, port 1234;")


def test_games_of_the_server_are_options_too(servers: list[Observed], counter: str) -> None:
    main(["serve", counter, "--room", "table 1", "--room", "KXQF", "--no-creating"])
    (server,) = servers
    assert server.options["rooms"] == ["table 1", "KXQF"]
    assert server.options["players_create"] is False


def test_pages_are_options_too(
    servers: list[Observed], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ["--allowed-origin", "https://a.example", "--allowed-origin", "null"]
    arguments += ["--allowed-host", "play.example.org", "--site", str(tmp_path)]
    main(["serve", *arguments])
    (server,) = servers
    assert server.options["site"] == Site(tmp_path)
    assert server.options["allowed_origins"] == ["https://a.example", "null"]
    assert server.options["allowed_hosts"] == ["play.example.org"]
    out = capsys.readouterr().out.splitlines()
    assert out[2:] == ["Open http://localhost:1234/ in a browser"]


@pytest.mark.parametrize("address", ["192.168.1.20", None])
def test_pages_for_others_are_at_the_machines_address(
    servers: list[Observed],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    address: str | None,
) -> None:
    class Probe(socket.socket):
        def connect(self, _: object) -> None:
            if address is None:
                raise OSError("there is no network")

        def getsockname(self) -> tuple[str | None, int]:
            return address, 0

    monkeypatch.setattr("pgnet_trio.cli.hosting.socket.socket", Probe)
    main(["serve", "--listen-globally", "--site", str(tmp_path)])
    out = capsys.readouterr().out.splitlines()
    assert out[2:] == [f"Open http://{address or 'localhost'}:1234/ in a browser"]


def test_where_the_admin_password_comes_from(
    servers: list[Observed], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "secret"
    path.write_text("from the file\r\nsecond line\n", "utf-8-sig")
    monkeypatch.setattr("getpass.getpass", lambda prompt: "typed")
    monkeypatch.setenv("PGNET_ADMIN_PASSWORD", "from the environment")
    main(["serve"])
    assert "PGNET_ADMIN_PASSWORD" not in os.environ
    main(["serve", "--admin-password-prompt"])
    monkeypatch.setenv("PGNET_ADMIN_PASSWORD", "from the environment")
    main(["serve", "--admin-password-file", str(path)])
    monkeypatch.setenv("PGNET_ADMIN_PASSWORD", "")
    main(["serve"])
    passwords = [server.options["admin_password"] for server in servers]
    assert passwords == ["from the environment", "typed", "from the file", None]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [("", "expected a password for admin, got an empty one"), (None, "the input ended before")],
)
def test_an_admin_password_that_is_not_typed(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: str | None,
    problem: str,
) -> None:
    def ask(prompt: str) -> str:
        if answer is None:
            raise EOFError
        return answer

    monkeypatch.setattr("getpass.getpass", ask)
    assert problem in complaint(capsys, "serve", "--admin-password-prompt")


def test_ctrl_c_at_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(prompt: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("getpass.getpass", interrupt)
    assert main(["serve", "--admin-password-prompt"]) == 130


# A server until its end.


def make_ending(
    monkeypatch: pytest.MonkeyPatch, at_start: Callable[[Server], None]
) -> tuple[list[Server], list[int]]:
    """Use servers that do something once they listen; return them, and what ended them."""
    made: list[Server] = []
    results: list[int] = []

    class Ending(Server):
        async def serve(self, *, task_status: Any = None, **options: Any) -> int:
            made.append(self)

            class Status:
                def started(self, port: int | None = None) -> None:
                    task_status.started(port)
                    at_start(made[-1])

            return await super().serve(task_status=Status(), **options)

        def shutdown(self, result: int = 0, /, *, restarting: bool = False) -> None:
            results.append(result)
            super().shutdown(result, restarting=restarting)

    monkeypatch.setattr(serve, "Server", Ending)
    return made, results


def test_a_reboot_starts_a_new_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], counter: str
) -> None:
    exit_codes = [-1, -1, 3]
    made, _ = make_ending(monkeypatch, lambda server: server.shutdown(exit_codes.pop(0)))
    assert main(["serve", counter, "--port", "0"]) == 3
    assert len(set(made)) == 3
    out, err = capsys.readouterr()
    assert out.count("Listening on localhost, port ") == 3
    assert err.count("asked for a reboot") == 2


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_shuts_down_also_after_a_reboot(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    counter: str,
    number: signal.Signals,
) -> None:
    handler = signal.getsignal(number)
    reboots = [True, False]

    def at_start(server: Server) -> None:
        if reboots.pop(0):
            server.shutdown(-1)
        else:
            signal.raise_signal(number)

    _, results = make_ending(monkeypatch, at_start)
    assert main(["serve", counter, "--port", "0"]) == 0
    # In good order, and not cancelled.
    assert results == [-1, 0]
    assert "Shutting down" in capsys.readouterr().err
    assert signal.getsignal(number) is handler


def test_a_signal_before_the_server_listens_ends_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Slow(Observed):
        async def serve(self, *, task_status: Any) -> int:
            signal.raise_signal(signal.SIGTERM)
            await trio.sleep_forever()
            raise AssertionError

    monkeypatch.setattr(serve, "Server", Slow)
    assert main(["serve"]) == 128 + signal.SIGTERM
    assert capsys.readouterr().out == ""


async def test_a_server_saves_at_ctrl_c_and_goes_on_where_it_was(
    counter: str, tmp_path: Path
) -> None:
    save_file = tmp_path / "save.json"
    arguments = ("serve", counter, "--port", "0", "--save-file", str(save_file))
    secret = "a very secret password"
    keys = []
    for number, total in ((signal.SIGINT, 2), (signal.SIGTERM, 4)):
        async with start_program(*arguments, env={"PGNET_ADMIN_PASSWORD": secret}) as program:
            line = await program.out.wait_for(
                r"^Listening on localhost, port (\d+); public key (.+)\n"
            )
            keys.append(line[2])
            async with Client.remote(
                address=f"localhost:{line[1]}",
                username="admin",
                password=secret,
                verify_server_pubkey=line[2],
            ) as client:
                await client.join_game("table 1")
                response = await client.request(Packet("add", {"by": 2}))
                assert response.payload == {"total": total}
                program.process.send_signal(number)
                assert await program.exit_status() == 0
            assert "Shutting down" in program.err.text
            assert "Traceback" not in program.err.text
            assert secret not in program.err.text
            assert program.out.text.count("\n") == 2
        (game,) = json.loads(save_file.read_text("utf-8"))["games"]
        assert (game["name"], game["data"]) == ("table 1", str(total))
    assert keys[0] == keys[1]


HANGS = """
import threading

from pgnet_trio.cli import signals
from pgnet_trio.server.games import saves
from pgnet_trio.storage import json_file

saves.LAST_WRITE_DEADLINE = 1.0
# Not before the last write is given up, on a busy machine too.
signals.LONGEST_END = 60.0


class Hanging(Counter):
    async def handle_game_packet(self, packet):
        if packet.message == "hang":
            json_file.JSONStore.write = lambda self, changes: threading.Event().wait()
        return await super().handle_game_packet(packet)
"""


@asynccontextmanager
async def player_of(program: Program) -> AsyncIterator[Client]:
    """Connect to a server that has just started, and play."""
    port = (await program.out.wait_for(r"port (\d+);"))[1]
    async with Client.remote(address=f"localhost:{port}", username="ann") as client:
        await client.join_game("table 1")
        yield client


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_who_plays_is_back_after_a_restart_by_the_service_manager(
    counter: str, tmp_path: Path, number: signal.Signals
) -> None:
    arguments = ("serve", counter, "--save-file", str(tmp_path / "save.sqlite"), "--port")
    statuses: list[str] = []
    async with trio.open_nursery() as nursery:
        async with start_program(*arguments, "0") as program:
            port = (await program.out.wait_for(r"port (\d+);"))[1]
            client = Client.remote(address=f"localhost:{port}", username="ann", reconnect_for=None)
            await nursery.start(client.run)
            await client.join_game("table 1")
            client.on_status = statuses.append
            back = trio.Event()
            client.on_online = lambda online: back.set() if online else None
            await client.request(Packet("add", {"by": 5}))
            program.process.send_signal(number)
            assert await program.exit_status() == 0
            assert "Shutting down" in program.err.text
        async with start_program(*arguments, port) as program:
            with trio.fail_after(DEADLINE):
                await back.wait()
            response = await client.request(Packet("add", {"by": 2}))
            assert response.payload == {"total": 7}
            program.process.send_signal(signal.SIGINT)
            assert await program.exit_status() == 0
    assert "The server restarts; coming back..." in statuses
    assert client.close_reason == "The server is shutting down."


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGHUP")
async def test_a_closed_terminal_loses_no_move(counter: str, tmp_path: Path) -> None:
    save_file = tmp_path / "save.json"
    arguments = ("serve", counter, "--save-file", str(save_file), "--port", "0")
    async with start_program(*arguments) as program:
        async with player_of(program) as client:
            await client.request(Packet("add", {"by": 5}))
            # Nobody reads what the server prints from here on.
            assert program.process.stderr is not None
            await program.process.stderr.aclose()
            for _ in range(3):
                # A shell passes the signal on that the terminal's end has sent already.
                program.process.send_signal(signal.SIGHUP)
            assert await program.process.wait() == 0
    (game,) = json.loads(save_file.read_text("utf-8"))["games"]
    assert game["data"] == "5"


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGHUP")
async def test_a_server_under_nohup_does_not_mind_a_closed_terminal(counter: str) -> None:
    nohup = ("sh", "-c", 'trap "" HUP; exec "$@"', "sh", *COMMAND)
    async with start_program("serve", counter, "--port", "0", command=nohup) as program:
        async with player_of(program) as client:
            program.process.send_signal(signal.SIGHUP)
            for total in 1, 2, 3:
                response = await client.request(Packet("add", {"by": 1}))
                assert response.payload == {"total": total}
            assert client.online
            program.process.send_signal(signal.SIGINT)
            assert await program.exit_status() == 0


@pytest.mark.parametrize("times", [1, 2])
async def test_a_server_whose_disk_hangs_ends_and_says_what_is_not_saved(
    tmp_path: Path, times: int
) -> None:
    path = tmp_path / "its_hanging.py"
    path.write_text(COUNTER + HANGS, "utf-8")
    save_file = tmp_path / "save.json"
    arguments = ("serve", f"{path}:Hanging", "--port", "0", "--save-file", str(save_file))
    async with start_program(*arguments) as program, player_of(program) as client:
        await client.request(Packet("hang", {"by": 5}))
        program.process.send_signal(signal.SIGINT)
        await program.err.wait_for("once more to stop at once")
        if times == 2:
            program.process.send_signal(signal.SIGINT)
        assert await program.exit_status() == (1 if times == 1 else 128 + signal.SIGINT)
        last = program.err.text.splitlines()[-1]
        assert last.startswith("pgnet-trio: the save file does not answer")
        assert last.endswith("not saved: 'table 1'")
        assert "Traceback" not in program.err.text


async def test_a_wrong_admin_password_is_refused(counter: str) -> None:
    async with start_program("serve", counter, "--port", "0") as program:
        port = (await program.out.wait_for(r"port (\d+);"))[1]
        with pytest.raises(LoginRefused):
            async with Client.remote(address=f"localhost:{port}", username="admin", password="x"):
                raise AssertionError("logged in")


async def test_the_second_ctrl_c_ends_a_server_that_waits_for_a_game(counter: str) -> None:
    async with start_program("serve", counter, "--port", "0") as program:
        port = (await program.out.wait_for(r"port (\d+);"))[1]
        async with Client.remote(address=f"localhost:{port}", username="ann") as client:
            await client.join_game("table 1")
            client.send(Packet("wait"))
            await program.out.wait_for("waiting")
            program.process.send_signal(signal.SIGINT)
            await program.err.wait_for("once more to stop at once")
            program.process.send_signal(signal.SIGINT)
            assert await program.exit_status() == 128 + signal.SIGINT
        assert "Traceback" not in program.err.text


async def test_the_third_ctrl_c_ends_a_server_that_a_game_blocks_at_once(counter: str) -> None:
    async with start_program("serve", counter, "--port", "0") as program:
        port = (await program.out.wait_for(r"port (\d+);"))[1]
        async with Client.remote(address=f"localhost:{port}", username="ann") as client:
            await client.join_game("table 1")
            client.send(Packet("block"))
            assert await program.exit_status() == 128 + signal.SIGINT
        assert program.out.text.count("survived") >= 2


# The prompt, driven by a script.


@pytest.mark.parametrize(
    ("script", "status"),
    [
        (".join_game;name=table 1\nadd;by=2\nquit\n", 0),
        ("nonsense;\n.join_game;name=table 1\nadd;by=2", 1),
    ],
)
async def test_a_script_drives_the_prompt(counter: str, script: str, status: int) -> None:
    arguments = ("connect", "--game", counter, "--username", "ann")
    got, out, err = await run_program(*arguments, stdin=script)
    assert got == status
    assert ("line 1: expected message;key=value" in err) == (status == 1)
    assert "    total: 2\n" in out
    assert ">>" not in out


async def test_a_script_in_a_file_on_a_server(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(".create_game;name=table 1;password=x\n.game_dir\nhello\n", "utf-8")
    password, code = tmp_path / "password", tmp_path / "code"
    password.write_text("a password\n", "utf-8")
    server = Server(Game, port=0, registration_enabled=False, admin_password="secret")
    async with trio.open_nursery() as nursery:
        port = await nursery.start(server.serve)
        async with Client.remote(
            address=f"localhost:{port}", username="admin", password="secret"
        ) as admin:
            invite = await admin.request(Packet("__pgnet__.create_invite"))
        code.write_text(invite.payload["code"], "utf-8")
        arguments = ["connect", f"localhost:{port}", "--username", "ann", "--verify-server-pubkey"]
        arguments += [
            server.pubkey,
            "--password-file",
            str(password),
            "--invite-code-file",
            str(code),
        ]
        with script.open("rb") as stdin, trio.fail_after(DEADLINE):
            run = await trio.run_process(
                [*COMMAND, *arguments], stdin=stdin, capture_stdout=True, check=False
            )
        server.shutdown()
    out = run.stdout.decode()
    assert run.returncode == 1
    assert "table 1" in out
    assert "password=***" in out
    assert "Game does not handle 'hello'" in out


async def test_a_script_on_a_server_with_another_key() -> None:
    server = Server(Game, port=0)
    async with trio.open_nursery() as nursery:
        port = await nursery.start(server.serve)
        arguments = (
            "connect",
            f"localhost:{port}",
            "--username",
            "ann",
            "--verify-server-pubkey",
            "A" * 43 + "=",
        )
        status, _, err = await run_program(*arguments, stdin=".game_dir\n")
        server.shutdown()
    assert status == 1
    assert "key" in err
    assert "Traceback" not in err


async def test_a_script_ends_when_its_server_goes_away() -> None:
    server = Server(Game, port=0)
    async with trio.open_nursery() as nursery:
        port = await nursery.start(server.serve)
        arguments = ("connect", f"localhost:{port}", "--username", "ann", "--accept-new-key")
        async with start_program(*arguments) as program:
            await program.type(".game_dir\n")
            await program.out.wait_for("RECEIVED")
            server.shutdown()
            # Its standard input is still open.
            assert await program.exit_status() == 1
            assert "\nThe connection ended: " in program.err.text


async def test_ctrl_c_ends_a_script_quietly() -> None:
    async with start_program("connect", "--username", "ann") as program:
        await program.type(".game_dir\n")
        await program.out.wait_for("RECEIVED")
        program.process.send_signal(signal.SIGINT)
        assert await program.exit_status() == 130
        assert program.err.text == ""


async def test_a_game_that_raises_is_shown_to_its_author(counter: str) -> None:
    arguments = ("connect", "--game", counter, "--username", "ann")
    status, _, err = await run_program(*arguments, stdin=".join_game;name=table 1\nraise\n")
    assert status == 1
    assert "ValueError: out of cheese" in err


# The demo.


def test_the_demo_plays_a_game(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo"]) == 0
    out = capsys.readouterr().out
    assert "bob tries to go first, and is told: It is ann's turn." in out
    assert "    X O O\n    X X .    ann: left\n    X . O\n" in out
    assert "ann sees that ann has won, and bob sees that ann has." in out


async def test_the_demo_needs_no_extras() -> None:
    status, out, err = await run_program("demo", command=WITHOUT_EXTRAS)
    assert (status, err) == (0, "")
    assert "ann has won" in out


def test_a_demo_that_hangs_is_ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def hang(*_: object) -> str:
        await trio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(demo, "_play", hang)
    monkeypatch.setattr(demo, "DEADLINE", 0.1)
    assert main(["demo"]) == 1
    assert "the demo did not end within 0.1 seconds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("username", "payload", "answer"),
    [
        ("bob", {"cell": 0}, "It is ann's turn."),
        ("ann", {"cell": 4}, "That is no free cell."),
        ("ann", {"cell": 9}, "That is no free cell."),
        ("ann", {"cell": "0"}, "That is no free cell."),
        ("ann", {}, "That is no free cell."),
        ("eve", {"cell": 0}, "You only watch."),
        ("ann", {"cell": 0}, "Placed."),
    ],
)
def test_the_rules_of_the_demo(username: str, payload: dict[str, Any], answer: str) -> None:
    game = demo.TicTacToe("table 1")
    assert game.turn == ""
    for player in ("ann", "bob", "eve"):
        game.user_joined(player)
    for player, cell in (("ann", 4), ("bob", 8)):
        game.handle_game_packet(Packet("place", {"cell": cell}, username=player))
    packet = Packet("place", payload, username=username)
    assert game.handle_game_packet(packet).message == answer


async def test_output_that_nobody_reads_is_no_error() -> None:
    async with start_program("demo") as program:
        assert program.process.stdout is not None
        await program.process.stdout.aclose()
        await program.process.wait()
        assert program.process.returncode == 1
        assert "Traceback" not in program.err.text


def test_text_that_the_terminal_cannot_show_is_escaped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Snowman(Game):
        pass

    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer, "ascii"))
    with pytest.raises(SystemExit):
        main(["--version"])
    print("\N{SNOWMAN}", flush=True)
    assert buffer.getvalue().endswith(b"\\u2603\n")
