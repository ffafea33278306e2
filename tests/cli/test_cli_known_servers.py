"""Trust on first use: what is remembered, asked, refused, and that nothing is said before."""

from __future__ import annotations

import functools
import logging
import os
import re
import socket
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from pgnet_trio.cli import known_servers, main
from pgnet_trio.cli.known_servers import KnownServers, KnownServersError, server_name
from pgnet_trio.client.address import parse_address
from pgnet_trio.client.server_key import ServerKey, fetch_server_key, fingerprint
from pgnet_trio.crypto import KeyPair
from pgnet_trio.errors import ConnectFailed, CryptoError
from pgnet_trio.testing import hosting
from pgnet_trio.transport import choose
from tests.kit.hosting import Recorder
from tests.kit.original_peer import OriginalServer, PeerError
from tests.kit.subprocesses import run_program, start_in_terminal
from tests.kit.transports import accept

KEY = KeyPair(bytes(range(32))).pubkey
OTHER = KeyPair(bytes(32)).pubkey

NAME = "localhost:38929"


@pytest.fixture(autouse=True)
def nothing_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for variable in ("PGNET_PASSWORD", "PGNET_INVITE_CODE"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "known"


@pytest.fixture
def servers(path: Path) -> KnownServers:
    return KnownServers(path)


# The file.


def test_servers_are_remembered_and_forgotten(servers: KnownServers, path: Path) -> None:
    assert servers.find(NAME) is None
    servers.add(NAME, KEY)
    servers.add("[::1]:5", OTHER)
    # Another program was faster.
    servers.add(NAME, KEY)
    assert path.read_text() == f"{NAME} {KEY}\n[::1]:5 {OTHER}\n"
    known = KnownServers(path).find("[::1]:5")
    assert known is not None
    assert (known.pubkey, known.line) == (OTHER, 2)
    assert servers.forget(NAME)
    assert not servers.forget(NAME)
    assert path.read_text() == f"[::1]:5 {OTHER}\n"


def test_what_is_not_there_is_not_forgotten_and_makes_no_file(
    servers: KnownServers, path: Path
) -> None:
    assert not servers.forget(NAME)
    assert list(path.parent.iterdir()) == []


def test_the_file_is_for_its_owner_only(path: Path) -> None:
    path = path / "deep" / "known"
    KnownServers(path).add(NAME, KEY)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.chmod(0o644)
    KnownServers(path).add("other:1", KEY)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_stays_a_link(servers: KnownServers, path: Path) -> None:
    path.symlink_to(path.with_name("elsewhere"))
    servers.add(NAME, KEY)
    assert path.is_symlink()
    assert path.read_text() == f"{NAME} {KEY}\n"


def test_a_key_that_another_program_remembered_meanwhile_is_not_overwritten(
    servers: KnownServers, path: Path
) -> None:
    servers.add(NAME, KEY)
    with pytest.raises(KnownServersError, match="line 1: another key"):
        servers.add(NAME, OTHER)
    assert path.read_text() == f"{NAME} {KEY}\n"


def test_comments_and_empty_lines_stay(servers: KnownServers, path: Path) -> None:
    path.write_bytes(f"# friends\n\n{NAME} {KEY}\r\n# end".encode())
    servers.add("other:1", OTHER)
    assert path.read_bytes() == f"# friends\n\n{NAME} {KEY}\n# end\nother:1 {OTHER}\n".encode()
    assert servers.forget(NAME)
    assert path.read_text() == f"# friends\n\n# end\nother:1 {OTHER}\n"


def test_an_editor_may_have_put_a_byte_order_mark_before_the_first_server(
    servers: KnownServers, path: Path
) -> None:
    path.write_text(f"{NAME} {KEY}\n", "utf-8-sig")
    found = servers.find(NAME)
    assert found is not None
    assert found.pubkey == KEY


DAMAGED = [
    (b"\xff\n", "is damaged: expected text in UTF-8"),
    (b"# fine\nhost:1\n", "line 2 is damaged: expected host:port and a public key"),
    (b"host:1 AAAA\n", "line 1 is damaged"),
    (b"host:1 " + KEY.encode()[:-1] + b"\n", "line 1 is damaged"),
    (b"host:1  " + KEY.encode() + b"\n", "line 1 is damaged"),
    (b"\0\0\0\0\0\0", "line 1 is damaged"),
    (b"a:1 " + KEY.encode() + b"\na:1 " + OTHER.encode() + b"\n", "line 2 is damaged: a:1 is"),
]


@pytest.mark.parametrize(("content", "problem"), DAMAGED)
def test_a_damaged_file_is_refused_and_kept(
    servers: KnownServers, path: Path, content: bytes, problem: str
) -> None:
    path.write_bytes(content)
    actions: list[Callable[[], object]] = [
        lambda: servers.find(NAME),
        lambda: servers.add(NAME, KEY),
        lambda: servers.forget(NAME),
    ]
    for action in actions:
        with pytest.raises(KnownServersError) as raised:
            action()
        assert problem in str(raised.value)
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)
    assert path.read_bytes() == content


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_file_that_cannot_be_written_stays_as_it_was(
    servers: KnownServers, path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    servers.add(NAME, KEY)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, name, fail)
        with pytest.raises(KnownServersError, match=r"cannot write .*known: No space left"):
            servers.add("other:1", OTHER)
    assert path.read_text() == f"{NAME} {KEY}\n"
    assert {each.name for each in path.parent.iterdir()} == {"known", ".known.lock"}


def test_a_folder_is_no_file(servers: KnownServers, path: Path) -> None:
    path.mkdir()
    with pytest.raises(KnownServersError, match=r"cannot read .*known: Is a directory"):
        servers.find(NAME)


def test_a_folder_that_cannot_be_made_is_named(path: Path) -> None:
    path.write_text("")
    with pytest.raises(KnownServersError, match=r"cannot write .*(Not a directory|File exists)"):
        KnownServers(path / "known").add(NAME, KEY)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("localhost", "localhost:38929"),
        ("LocalHost:5", "localhost:5"),
        ("::1", "[::1]:38929"),
        ("ws://play.example.org/", "play.example.org:80"),
        ("wss://play.example.org/chess game?x=1", "play.example.org:443/chess%20game?x=1"),
    ],
)
def test_the_name_of_a_server(address: str, name: str) -> None:
    assert server_name(parse_address(address, 38929)) == name


def test_the_file_lies_in_the_platforms_data_folder(tmp_path: Path) -> None:
    assert known_servers.default_path() == tmp_path / "data" / "pgnet-trio" / "known_servers"


# Fingerprints.


def test_a_fingerprint_is_what_openssh_would_make_of_these_bytes() -> None:
    # printf of 32 zero bytes | openssl dgst -sha256 -binary | base64
    zeros = "A" * 43 + "="
    assert fingerprint(zeros) == "SHA256:Zmh6rfhivXdsj8GLjp+OIAiXFIVu4jOzkCpZHQ1fKSU"
    assert ServerKey(zeros, 2).fingerprint == fingerprint(zeros)


@pytest.mark.parametrize("text", ["", "AAAA", "no base64", "A" * 44, "\N{SNOWMAN}"])
def test_what_is_no_key_has_no_fingerprint(text: str) -> None:
    with pytest.raises(CryptoError, match="expected a public key"):
        fingerprint(text)


# Asking a server for its key.


@asynccontextmanager
async def hosting_original(server: OriginalServer) -> AsyncIterator[int]:
    """Host what behaves like the original's server; yield its port."""

    async def handle(stream: trio.SocketStream) -> None:
        connection = server.connect()
        async with accept(choose(None), stream) as link:
            try:
                while True:
                    await link.send(connection.receive(await link.receive()))
            except (trio.EndOfChannel, trio.BrokenResourceError, PeerError):
                pass

    async with trio.open_nursery() as nursery:
        serve = functools.partial(trio.serve_tcp, handle, 0, host="127.0.0.1")
        listeners = await nursery.start(serve)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("transport", ["websockets", "trio-websocket"])
async def test_a_server_shows_its_key_to_anybody(
    transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "pgnet_trio.server"):
        async with hosting(Recorder, port=0) as server:
            key = await fetch_server_key(f"localhost:{server.port}", transport=transport)
            assert key == ServerKey(server.pubkey, 2)
    # Nobody logged in, or tried to.
    assert not any("log-in" in text or "logged in" in text for text in caplog.messages)


async def test_a_server_of_the_original_shows_its_key_too() -> None:
    server = OriginalServer()
    async with hosting_original(server) as port:
        key = await fetch_server_key("127.0.0.1", port=port)
    assert key == ServerKey(server.pubkey, 1)
    assert [packet["message"] for packet in server.packets] == ["key_trade"]


async def test_who_is_not_there_has_no_key() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        port = closed_soon.getsockname()[1]
    with pytest.raises(ConnectFailed, match=f"No server was reached at 127.0.0.1:{port}: "):
        await fetch_server_key(f"127.0.0.1:{port}")
    with pytest.raises(ValueError, match="is no address"):
        await fetch_server_key("a:b:c:d")


@pytest.mark.parametrize(
    ("subprotocols", "answer", "problem"),
    [
        (["pgnet.2"], "a text", "expected a binary message"),
        (["pgnet.2"], b"too short", "the handshake failed"),
        ([], "no JSON", "did not show a key: "),
        ([], '{"message": "key_trade", "payload": {"pubkey": "AAAA"}}', "32 bytes"),
        ([], '{"message": "full", "status": 2, "disconnecting": true}', "^full$"),
        ([], None, "did not show a key: the peer closed"),
    ],
)
async def test_who_is_no_server_has_no_key(
    subprotocols: list[str], answer: str | bytes | None, problem: str
) -> None:
    async def handle(stream: trio.SocketStream) -> None:
        async with accept(choose(None), stream, tuple(subprotocols)) as link:
            await link.receive()
            if answer is not None:
                await link.send(answer)

    async with trio.open_nursery() as nursery:
        serve = functools.partial(trio.serve_tcp, handle, 0, host="127.0.0.1")
        listeners = await nursery.start(serve)
        port = listeners[0].socket.getsockname()[1]
        with pytest.raises(ConnectFailed, match=problem):
            await fetch_server_key(f"127.0.0.1:{port}")
        nursery.cancel_scope.cancel()


async def test_who_does_not_answer_has_no_key(socket_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:
        serve = functools.partial(trio.serve_tcp, ignore, 0, host="127.0.0.1")
        listeners = await nursery.start(serve)
        port = listeners[0].socket.getsockname()[1]
        with pytest.raises(ConnectFailed, match="did not answer within 15 s"):
            await fetch_server_key(f"127.0.0.1:{port}")
        nursery.cancel_scope.cancel()


async def ignore(stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


# Scripts.


def connect(address: str, *more: str) -> tuple[str, ...]:
    return ("connect", address, "--username", "ann", *more)


async def test_a_script_is_refused_by_itself_and_let_in_by_an_option(tmp_path: Path) -> None:
    async with hosting(Recorder, port=0) as server:
        address = f"localhost:{server.port}"
        status, out, err = await run_program(*connect(address), stdin=".game_dir\n")
        assert (status, out) == (1, "")
        assert err.startswith(f"pgnet-trio: {address} is not known yet; its key has the fing")
        assert fingerprint(server.pubkey) in err
        assert "--accept-new-key" in err
        await run_program(*connect(address, "--accept-new-key"), stdin=".game_dir\n")
        # From here on it is known.
        status, out, err = await run_program(*connect(address), stdin=".game_dir\n")
        assert (status, err) == (0, "")
        assert "RECEIVED" in out
    text = known_servers.default_path().read_text()
    assert text == f"{address} {server.pubkey}\n"


async def test_a_given_key_goes_before_what_is_known(path: Path) -> None:
    async with hosting(Recorder, port=0) as server:
        address = f"localhost:{server.port}"
        KnownServers(path).add(address, OTHER)
        more = ("--known-servers", str(path), "--verify-server-pubkey", server.pubkey)
        status, _, err = await run_program(*connect(address, *more))
    assert (status, err) == (0, "")


async def test_a_changed_key_is_refused_until_it_is_forgotten(path: Path) -> None:
    secret = {"PGNET_PASSWORD": "a secret password"}
    file = ("--known-servers", str(path))
    async with hosting(Recorder, port=0) as server:
        address = f"localhost:{server.port}"
        KnownServers(path).add("other:1", KEY)
        KnownServers(path).add(address, OTHER)
        for more in ((), ("--accept-new-key",)):
            status, out, err = await run_program(*connect(address, *file, *more), env=secret)
            assert (status, out) == (1, "")
            assert f"the key of {address} has changed, so nothing was sent to it" in err
            assert f"known:  {fingerprint(OTHER)}  ({path}, line 2)" in err
            assert f"now:    {fingerprint(server.pubkey)}" in err
        command = f"pgnet-trio connect --forget {address} --known-servers {path}"
        assert command in err
        status, out, err = await run_program(*command.split()[1:])
        assert (status, err) == (0, "")
        assert out.startswith(f"Forgot {address}")
        status, _, err = await run_program(*connect(address, *file, "--accept-new-key"))
        assert status == 0
        assert fingerprint(server.pubkey) in err
    known = KnownServers(path).find(address)
    assert known is not None
    assert known.pubkey == server.pubkey


async def test_several_addresses_are_one_server_with_one_key(path: Path) -> None:
    file = ("--known-servers", str(path))
    known = KnownServers(path)

    def pubkey_of(name: str) -> str:
        found = known.find(name)
        return found.pubkey if found is not None else ""

    async with hosting(Recorder, port=0) as server:
        address = f"localhost:{server.port}"
        # Nobody is there, and the key is that of the server all the same.
        both = f"127.0.0.1:1,{address}"
        status, _, err = await run_program(*connect(both, *file), stdin=".game_dir\n")
        assert status == 1
        assert f"{both} is not known yet" in err
        arguments = connect(both, *file, "--accept-new-key")
        status, out, err = await run_program(*arguments, stdin=".game_dir\n")
        assert status == 0
        assert "RECEIVED" in out
        assert all(pubkey_of(name) == server.pubkey for name in both.split(","))
        # One more of a server that is known is not asked about, and remembered.
        arguments = connect(f"{both},127.0.0.1:2", *file)
        status, _, err = await run_program(*arguments, stdin=".game_dir\n")
        assert status == 0
        assert err == f"Remembered 127.0.0.1:2 in {path}\n"
        # Where one of them had another key, nobody is told anything.
        known.forget("127.0.0.1:2")
        known.add("127.0.0.1:2", OTHER)
        status, _, err = await run_program(*arguments, stdin=".game_dir\n")
        assert status == 1
        assert f"the key of {both},127.0.0.1:2 has changed" in err
        forget = f"connect --forget {both},127.0.0.1:2 --known-servers {path}"
        assert forget in err
        status, out, _ = await run_program(*forget.split())
        assert status == 0
        assert out.count("Forgot") == 3
        assert pubkey_of(address) == ""


async def test_protocol_1_is_never_spoken_with_a_known_server(path: Path) -> None:
    server = OriginalServer()
    file = ("--known-servers", str(path))
    async with hosting_original(server) as port:
        address = f"127.0.0.1:{port}"
        KnownServers(path).add(address, server.pubkey)
        status, _, err = await run_program(*connect(address, *file, "--accept-new-key"))
        assert status == 1
        assert "spoke protocol 2 before and now speaks only protocol 1" in err
        assert f"--forget {address}" in err
        more = ("--verify-server-pubkey", server.pubkey)
        status, _, err = await run_program(*connect(address, *file, *more))
        assert status == 1
        assert "does not speak protocol 2" in err
    assert {packet["message"] for packet in server.packets} == {"key_trade"}


async def test_a_server_of_the_original_is_played_on_and_not_remembered(path: Path) -> None:
    server = OriginalServer()
    file = ("--known-servers", str(path))
    async with hosting_original(server) as port:
        address = f"127.0.0.1:{port}"
        status, _, err = await run_program(*connect(address, *file))
        assert status == 1
        assert f"{address} speaks only protocol 1" in err
        modern = ("--minimum-protocol", "2")
        status, _, err = await run_program(*connect(address, *file, "--accept-new-key", *modern))
        assert (status, err) == (
            1,
            f"pgnet-trio: {address} speaks only protocol 1, so nothing was sent to it\n",
        )
        assert {packet["message"] for packet in server.packets} == {"key_trade"}
        arguments = connect(address, *file, "--accept-new-key")
        status, out, err = await run_program(*arguments, stdin=".game_dir\n")
        assert status == 0
        assert fingerprint(server.pubkey) in err
        assert ", protocol 1." in out
    assert not known_servers_in(path)


def known_servers_in(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize(("content", "problem"), DAMAGED[:2])
def test_a_damaged_file_is_one_line(
    path: Path, capsys: pytest.CaptureFixture[str], content: bytes, problem: str
) -> None:
    path.write_bytes(content)
    for more in ((), ("--forget",)):
        arguments = connect("localhost:1", "--known-servers", str(path), *more)
        assert main(arguments) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"pgnet-trio: {path}")
        assert problem in err
        assert err.count("\n") == 1
    assert path.read_bytes() == content


def test_what_is_not_known_cannot_be_forgotten(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["connect", "--forget", "localhost", "--known-servers", str(path)]) == 1
    assert "localhost:38929 is not among the known servers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("connect --forget", "--forget needs the ADDRESS"),
        ("connect --forget a:b:c:d", "is no address of a server"),
        ("connect a,b:x", "Address 2 of 2: 'b:x' is no address of a server"),
        ("connect x --verify-server-pubkey AAAA", "expected a public key, 32 bytes in base64"),
        (f"connect x --verify-server-pubkey {KEY} --accept-new-key", "not allowed with"),
    ],
)
def test_arguments_that_make_no_sense(
    capsys: pytest.CaptureFixture[str], arguments: str, problem: str
) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments.split())
    assert raised.value.code == 2
    assert problem in capsys.readouterr().err.splitlines()[-1]


# A person at a terminal.


async def test_a_person_is_asked_at_first_sight_and_never_again(path: Path) -> None:
    pytest.importorskip("pty")
    env = {"TERM": "dumb", "PGNET_PASSWORD": "a secret password"}
    async with hosting(Recorder, port=0) as server:
        arguments = connect(f"localhost:{server.port}", "--known-servers", str(path))
        async with start_in_terminal(*arguments, env=env) as program:
            await program.out.wait_for(re.escape(fingerprint(server.pubkey)))
            await program.out.wait_for(r"Go on\? ")
            await program.type("perhaps\n")
            await program.out.wait_for(r"Go on\? ")
            await program.type("yes\n")
            await program.out.wait_for("Logged in as ann")
            await program.type("quit\n")
            assert await program.exit_status() == 0
        async with start_in_terminal(*arguments, env=env) as program:
            await program.out.wait_for("Logged in as ann")
            await program.type("quit\n")
            assert await program.exit_status() == 0
        assert "Go on?" not in program.out.text


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("no", "was not accepted, so nothing was sent to it"),
        ("SHA256:something", "this is another fingerprint, so nothing was sent to the server"),
        ("\x04", "the input ended before everything was asked"),
    ],
)
async def test_a_server_that_a_person_does_not_accept(
    path: Path, answer: str, problem: str
) -> None:
    pytest.importorskip("pty")
    async with hosting(Recorder, port=0) as server:
        arguments = connect(f"localhost:{server.port}", "--known-servers", str(path))
        async with start_in_terminal(*arguments, env={"TERM": "dumb"}) as program:
            await program.out.wait_for(r"Go on\? ")
            await program.type(f"{answer}\n" if answer != "\x04" else answer)
            assert await program.exit_status() == 1
    assert problem in program.out.text
    assert "Password" not in program.out.text
    assert not known_servers_in(path)


async def test_a_fingerprint_that_a_person_knows_is_compared(path: Path) -> None:
    pytest.importorskip("pty")
    async with hosting(Recorder, port=0) as server:
        arguments = connect(f"localhost:{server.port}", "--known-servers", str(path))
        async with start_in_terminal(*arguments, env={"TERM": "dumb"}) as program:
            await program.out.wait_for(r"Go on\? ")
            await program.type(f"{fingerprint(server.pubkey)}\n")
            await program.out.wait_for("Password")
            await program.type("\n")
            await program.out.wait_for("Logged in as ann")
            await program.type("quit\n")
            assert await program.exit_status() == 0
        assert known_servers_in(path) == [f"localhost:{server.port} {server.pubkey}"]


async def test_a_person_is_warned_of_protocol_1(path: Path) -> None:
    pytest.importorskip("pty")
    server = OriginalServer()
    async with hosting_original(server) as port:
        arguments = connect(f"127.0.0.1:{port}", "--known-servers", str(path))
        async with start_in_terminal(*arguments, env={"TERM": "dumb"}) as program:
            await program.out.wait_for("Protocol 1 has no forward secrecy")
            await program.out.wait_for(r"Go on\? ")
            await program.type("no\n")
            assert await program.exit_status() == 1
    assert {packet["message"] for packet in server.packets} == {"key_trade"}
