"""Connections that one process passes on to another: over real sockets, in one process here."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from pgnet_trio import Client, Packet, Server
from pgnet_trio.errors import ProtocolError
from pgnet_trio.server.workers import passing
from pgnet_trio.server.workers.passed import (
    HEADER_SIZE,
    MAX_DATA,
    PassedConnection,
    message_size,
)
from pgnet_trio.server.workers.passing import CAN_PASS, NotPassed, Workers, node_path
from tests.kit.hosting import Recorder, cheap_environment
from tests.kit.subprocesses import DEADLINE
from tests.kit.transports import REQUEST, UNUSUAL_REQUEST

pytestmark = pytest.mark.skipif(not CAN_PASS, reason="this system passes no sockets")

HELLO = PassedConnection("203.0.113.7", 5.0, b"GET /node-2 HTTP/1.1\r\n\r\n")

# What is sent


@given(
    st.text(max_size=60),
    st.floats(min_value=0, allow_nan=False),
    st.binary(min_size=1, max_size=3000),
)
def test_a_message_says_what_was_put_into_it(peer: str, seconds: float, data: bytes) -> None:
    connection = PassedConnection(peer, seconds, data)
    message = connection.encode()
    assert message_size(message[:HEADER_SIZE]) == len(message)
    assert PassedConnection.decode(message) == connection


@given(st.binary(max_size=60) | st.binary(max_size=30).map(lambda rest: HELLO.encode()[:20] + rest))
def test_whatever_else_comes_is_refused_as_no_message(message: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        PassedConnection.decode(message)


@pytest.mark.parametrize(
    "connection",
    [
        PassedConnection("203.0.113.7", 5.0, bytes(MAX_DATA + 1)),
        PassedConnection("203.0.113.7", 5.0, b""),
        PassedConnection(256 * "x", 5.0, b"x"),
    ],
)
def test_too_much_is_not_sent(connection: PassedConnection) -> None:
    with pytest.raises(ProtocolError, match="expected 1 to 131072 bytes"):
        connection.encode()


def test_more_than_that_is_not_waited_for() -> None:
    message = bytearray(HELLO.encode())
    message[5:9] = (MAX_DATA + 1).to_bytes(4, "big")
    with pytest.raises(ProtocolError, match="got 131073"):
        message_size(bytes(message))


def test_only_the_path_of_another_process_asks_for_it() -> None:
    workers = Workers(2, 3, Path("nowhere"), [])
    assert node_path(3) == "/node-3"
    found = {
        path: workers.find_other(path)
        for path in ("/node-1", "/node-2", "/node-3", "/node-4", "/node-0", "/node-01", "/node-1/")
    }
    assert {path: number for path, number in found.items() if number} == {
        "/node-1": 1,
        "/node-3": 3,
    }


# Between two processes


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """The ends of a server and of a client."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=10)
        return listener.accept()[0], client


class Receiver:
    """Takes connections, and notes them."""

    def __init__(self, workers: Workers) -> None:
        self.workers = workers
        self.passed: list[PassedConnection] = []
        self._news = trio.Event()

    async def handle(self, source: socket.socket, connection: PassedConnection) -> None:
        # Not where the sender has cut the client off meanwhile.
        with source, contextlib.suppress(BrokenPipeError):
            source.send(b"taken")
            self.passed.append(connection)
            self._news.set()
        await trio.lowlevel.checkpoint()

    async def wait(self) -> None:
        await self._news.wait()
        self._news = trio.Event()


@asynccontextmanager
async def receiving(folder: Path) -> AsyncIterator[Receiver]:
    receiver = Receiver(Workers(2, 2, folder, []))
    async with trio.open_nursery() as connections, trio.open_nursery() as accept:
        await accept.start(receiver.workers.receive, receiver.handle, connections)
        yield receiver
        accept.cancel_scope.cancel()


async def test_a_socket_comes_with_all_that_was_read_of_it(tmp_path: Path) -> None:
    connection = PassedConnection("2001:db8::1", float("inf"), bytes(range(256)) * 400)
    before = open_files()
    with trio.fail_after(DEADLINE):
        async with receiving(tmp_path) as receiver:
            source, client = tcp_pair()
            with source, client:
                await Workers(1, 2, tmp_path, []).pass_on(2, source, connection)
                await receiver.wait()
                assert client.recv(10) == b"taken"
            assert receiver.passed == [connection]
            assert (tmp_path / "2").is_socket()
    assert not (tmp_path / "2").exists()
    assert open_files() == before


async def test_what_a_killed_process_has_left_is_in_nobodys_way(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "2"))
    source, client = tcp_pair()
    with trio.fail_after(DEADLINE), source, client:
        with pytest.raises(NotPassed, match="not there") as caught:
            await Workers(1, 2, tmp_path, []).pass_on(2, source, HELLO)
        assert caught.value.is_untouched
        async with receiving(tmp_path):
            await Workers(1, 2, tmp_path, []).pass_on(2, source, HELLO)


def send_raw(
    folder: Path, message: bytes, *descriptors: int, pieces: int = 1, ends: bool = True
) -> socket.socket:
    link = socket.socket(socket.AF_UNIX)
    link.connect(str(folder / "2"))
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))]
    size = -(-len(message) // pieces) or 1
    link.sendmsg([message[:size]], rights if descriptors else [])
    for start in range(size, len(message), size):
        link.sendmsg([message[start : start + size]], rights if descriptors else [])
    if ends:
        link.shutdown(socket.SHUT_WR)
    return link


@pytest.mark.parametrize(
    ("message", "count", "pieces"),
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1, 1, id="another protocol"),
        pytest.param(HELLO.encode()[:-1], 1, 1, id="not all of it"),
        pytest.param(HELLO.encode()[:3], 1, 1, id="not even a header"),
        pytest.param(b"", 0, 1, id="nothing"),
        pytest.param(HELLO.encode(), 0, 1, id="no socket"),
        pytest.param(HELLO.encode(), 2, 1, id="two sockets"),
        pytest.param(HELLO.encode(), 40, 1, id="many sockets"),
        pytest.param(HELLO.encode(), 1, 2, id="a socket with each piece"),
    ],
)
async def test_no_message_costs_an_open_file_or_another_message(
    message: bytes, count: int, pieces: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = open_files()
    source, client = tcp_pair()
    with trio.fail_after(DEADLINE), source, client:
        async with receiving(tmp_path) as receiver:
            with send_raw(tmp_path, message, *count * [source.fileno()], pieces=pieces) as link:
                link.setblocking(False)
                await trio.lowlevel.wait_readable(link)
                with contextlib.suppress(ConnectionResetError):
                    assert link.recv(1) == b""
            await Workers(1, 2, tmp_path, []).pass_on(2, source, HELLO)
            await receiver.wait()
        assert receiver.passed == [HELLO]
    assert caplog.messages[0].startswith("No connection came from another process: expected ")
    assert open_files() == before


async def test_what_is_no_socket_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = open_files()
    with trio.fail_after(DEADLINE):
        async with receiving(tmp_path) as receiver:
            # A file of its own, that is open already.
            listing = os.open(tmp_path, os.O_RDONLY)
            with send_raw(tmp_path, HELLO.encode(), listing) as link:
                os.close(listing)
                link.setblocking(False)
                await trio.lowlevel.wait_readable(link)
                assert link.recv(1) == b""
        assert receiver.passed == []
    assert "expected one socket" in caplog.text
    assert open_files() == before


async def test_a_sender_that_stops_halfway_holds_up_nobody(
    tmp_path: Path, socket_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    before = open_files()
    source, client = tcp_pair()
    with source, client:
        async with receiving(tmp_path) as receiver:
            fd = source.fileno()
            with contextlib.ExitStack() as links:
                # All that are received at once are taken by these.
                for _ in range(passing.MOST_AT_ONCE):
                    links.enter_context(send_raw(tmp_path, HELLO.encode()[:-1], fd, ends=False))
                first = trio.current_time()
                with pytest.raises(NotPassed, match="does not answer"):
                    await Workers(1, 2, tmp_path, []).pass_on(2, source, HELLO)
                second, other = tcp_pair()
                with second, other:
                    await Workers(1, 2, tmp_path, []).pass_on(2, second, HELLO)
                    await receiver.wait()
                assert trio.current_time() - first <= 2 * passing.PATIENCE
    assert "did not come in time" in caplog.text
    assert open_files() == before


async def test_a_process_that_does_not_answer_gets_no_client_later(
    tmp_path: Path, socket_clock: trio.testing.MockClock
) -> None:
    source, client = tcp_pair()
    with socket.socket(socket.AF_UNIX) as listener, source, client:
        listener.bind(str(tmp_path / "2"))
        listener.listen()
        with pytest.raises(NotPassed, match="does not answer") as caught:
            await Workers(1, 2, tmp_path, []).pass_on(2, source, HELLO)
        assert not caught.value.is_untouched
        source.close()
        # It wakes up now, and takes what still waits for it.
        link, _ = listener.accept()
        with link:
            _, (fd,), _, _ = socket.recv_fds(link, 1000, 1)
            with socket.socket(fileno=fd) as late:
                assert client.recv(10) == b""
                with pytest.raises(BrokenPipeError):
                    late.send(b"HTTP/1.1 101")


@pytest.mark.parametrize("answers", [False, True])
async def test_a_process_that_dies_with_a_socket_leaves_no_client_waiting(
    tmp_path: Path, answers: bool
) -> None:
    source, client = tcp_pair()
    with socket.socket(socket.AF_UNIX) as listener, source, client, trio.fail_after(10):
        listener.bind(str(tmp_path / "2"))
        listener.listen()
        listener.setblocking(False)

        async def die() -> None:
            await trio.lowlevel.wait_readable(listener)
            link, _ = listener.accept()
            with link:
                await trio.lowlevel.wait_readable(link)
                _, (fd,), _, _ = socket.recv_fds(link, 1000, 1)
                if answers:
                    link.send(b"\x01")
                os.close(fd)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(die)
            workers = Workers(1, 2, tmp_path, [])
            if answers:
                # Nobody is left who knows; the client sees the end of its connection.
                await workers.pass_on(2, source, HELLO)
            else:
                with pytest.raises(NotPassed, match="not there") as caught:
                    await workers.pass_on(2, source, HELLO)
                assert caught.value.is_untouched
                source.send(b"503")
                assert client.recv(10) == b"503"
        source.close()
        assert client.recv(10) == b""


async def test_a_process_that_others_wait_for_refuses_at_once(tmp_path: Path) -> None:
    source, client = tcp_pair()
    with contextlib.ExitStack() as stack, trio.fail_after(10), source, client:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(tmp_path / "2"))
        listener.listen(0)
        waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
        waiting.connect(str(tmp_path / "2"))
        with pytest.raises(NotPassed, match="busy") as caught:
            await Workers(1, 2, tmp_path, []).pass_on(2, source, HELLO)
        assert caught.value.is_untouched


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope before the given step of a task."""

    def __init__(self, scope: trio.CancelScope, steps: int) -> None:
        self._task = trio.lowlevel.current_task()
        self._scope = scope
        self.steps = steps

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self._task:
            self.steps -= 1
            if self.steps == 0:
                self._scope.cancel()


@pytest.mark.parametrize("cancelled", ["sender", "receiver"])
async def test_a_cancellation_at_any_await_leaves_no_open_file(
    cancelled: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    connection = PassedConnection("203.0.113.7", 5.0, bytes(MAX_DATA))
    workers = Workers(1, 2, tmp_path, [])
    tried = 0
    outcomes = set()
    while True:
        tried += 1
        assert tried < 200
        before = open_files()
        source, client = tcp_pair()
        source.setblocking(False)
        with trio.fail_after(DEADLINE), source, client:
            receiver = Receiver(Workers(2, 2, tmp_path, []))
            async with trio.open_nursery() as connections, trio.open_nursery() as accept:
                await accept.start(receiver.workers.receive, receiver.handle, connections)
                scope = trio.CancelScope() if cancelled == "sender" else accept.cancel_scope
                instrument = CancelAtStep(scope, tried)
                trio.lowlevel.add_instrument(instrument)
                outcome = "cancelled"
                with contextlib.nullcontext() if cancelled == "receiver" else scope:
                    try:
                        with trio.CancelScope(shield=cancelled == "receiver"):
                            await workers.pass_on(2, source, connection)
                        outcome = "passed"
                    except NotPassed as error:
                        outcome = "refused" if error.is_untouched else "cut off"
                trio.lowlevel.remove_instrument(instrument)
                outcomes.add(outcome)
                if outcome == "passed":
                    with trio.CancelScope(shield=True):
                        await receiver.wait()
                accept.cancel_scope.cancel()
            if outcome == "refused":
                assert receiver.passed == []
        assert open_files() == before, (tried, outcome)
        if instrument.steps > 0:
            break
    assert outcomes == {"cancelled" if cancelled == "sender" else "refused", "passed"}


def test_an_inherited_socket_blocks_nobody_who_is_too_late() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        with socket.socket(fileno=os.dup(listener.fileno())) as inherited:
            workers = Workers(1, 2, Path("nowhere"), [inherited])
            for copy in workers.open_listeners():
                with copy:
                    assert not os.get_blocking(copy.fileno())
            assert not os.get_blocking(listener.fileno())


# Servers


@asynccontextmanager
async def two_servers(folder: Path, **options: Any) -> AsyncIterator[tuple[Server, Server]]:
    """Two servers that pass connections to each other; each listens alone, on a port of its own."""
    async with trio.open_nursery() as nursery:
        servers = []
        with contextlib.ExitStack() as stack:
            for number in (1, 2):
                server = Server(Recorder, environment=cheap_environment(), port=0, **options)
                listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
                listener.setblocking(False)
                workers = Workers(number, 2, folder, [listener])
                # As in processes of their own: none waits for the other.
                await nursery.start(
                    lambda task_status, server=server, workers=workers: server.serve(
                        workers=workers, task_status=task_status
                    )
                )
                servers.append(server)
            first, second = servers
            yield first, second
            for server in servers:
                server.shutdown()


async def test_a_client_plays_with_the_process_that_its_path_names(tmp_path: Path) -> None:
    with trio.fail_after(30):
        async with two_servers(tmp_path) as (first, second):
            for path, server in (("/node-2", second), ("/node-1", first), ("/else", first)):
                address = f"ws://127.0.0.1:{first.port}{path}"
                async with Client.remote(address=address, username="ann") as ann:
                    await ann.join_game("table")
                    assert (await ann.request(Packet("hello"))).message == "ann: hello"
                    assert list(server.stats().sessions) == ["ann"]
                    assert first.stats().connections.total == (server is first)
                    assert server.stats().connections.total == 1


async def raw_client(server: Server) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", server.port or 0)


async def answer(stream: trio.SocketStream) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        data = await stream.receive_some()
        if not data:
            break
        received += data
    return received


@pytest.mark.parametrize("request_for", [REQUEST, UNUSUAL_REQUEST])
async def test_every_request_for_a_websocket_is_passed_on(
    request_for: bytes, tmp_path: Path
) -> None:
    with trio.fail_after(30):
        async with two_servers(tmp_path) as (first, second):
            async with await raw_client(first) as stream:
                head = request_for.replace(b"GET / ", b"GET /node-2?a=b ")
                # Pages come first, and a WebSocket after them; the head comes in two pieces.
                await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert (await answer(stream)).startswith(b"HTTP/1.1 200")
                await stream.send_all(head[:20])
                await trio.testing.wait_all_tasks_blocked()
                await stream.send_all(head[20:])
                assert (await answer(stream)).startswith(b"HTTP/1.1 101")
                assert second.stats().connections.total == 1
                assert first.stats().connections.http == 0


async def test_a_page_is_answered_by_whoever_is_asked(tmp_path: Path) -> None:
    with trio.fail_after(30):
        async with two_servers(tmp_path) as (first, second):
            async with await raw_client(first) as stream:
                await stream.send_all(b"GET /node-2 HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert (await answer(stream)).startswith(b"HTTP/1.1 404")
                assert second.stats().connections.http == 0


async def test_a_client_is_told_of_a_process_that_is_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pgnet_trio")
    before = open_files()
    with trio.fail_after(30):
        async with two_servers(tmp_path) as (first, _):
            (tmp_path / "2").unlink()
            async with await raw_client(first) as stream:
                await stream.send_all(REQUEST.replace(b"GET / ", b"GET /node-2 "))
                assert (await answer(stream)).startswith(b"HTTP/1.1 503")
    assert "it asked for process 2: this part of the server is not there" in caplog.text
    assert open_files() <= before


async def test_the_time_for_the_log_in_counts_from_the_first_process(
    tmp_path: Path, socket_clock: trio.testing.MockClock
) -> None:
    async with two_servers(tmp_path, login_timeout=10.0) as (first, second):
        async with await raw_client(first) as stream:
            await trio.testing.wait_all_tasks_blocked(0.01)
            begun = trio.current_time()
            await trio.sleep(7)
            await stream.send_all(REQUEST.replace(b"GET / ", b"GET /node-2 "))
            assert (await answer(stream)).startswith(b"HTTP/1.1 101")
            assert second.stats().connections.logging_in == 1
            with contextlib.suppress(trio.BrokenResourceError):
                while await stream.receive_some():
                    pass
            assert 9 < trio.current_time() - begun < 11


async def test_the_address_that_a_proxy_names_goes_along(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pgnet_trio")
    options = {
        "trusted_proxies": ["127.0.0.1"],
        "proxy_protocol": True,
        "max_logins_per_address": 1,
    }
    header = b"PROXY TCP4 203.0.113.7 127.0.0.1 4711 80\r\n"
    head = REQUEST.replace(b"GET / ", b"GET /node-2 ")
    with trio.fail_after(30):
        async with two_servers(tmp_path, **options) as (first, _):
            async with await raw_client(first) as stream, await raw_client(first) as other:
                await stream.send_all(header + head)
                assert (await answer(stream)).startswith(b"HTTP/1.1 101")
                await other.send_all(header + head)
                with contextlib.suppress(trio.BrokenResourceError):
                    assert await answer(other) == b""
    assert "Refused a connection from 203.0.113.7" in caplog.text
