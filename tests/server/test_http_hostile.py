"""Requests that are none, or that stop halfway: an answer or a closed connection, and no more."""

from __future__ import annotations

import itertools
import logging
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from trio.testing import wait_all_tasks_blocked

from pgnet_trio import Server, Site
from pgnet_trio.testing import HostedServer, hosting
from tests.kit.hosting import Recorder, cheap_environment
from tests.kit.http_client import HttpClient, ask, browsing
from tests.kit.transports import REQUEST
from tests.server.test_hostile import assert_serves

IMPLEMENTATIONS = ["websockets", "trio-websocket"]

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
LONG = b"".join(b"X-%d: %b\r\n" % (number, b"x" * 1000) for number in range(17))

# What is sent, and the statuses that may come back.
BAD: dict[str, tuple[bytes, set[int]]] = {
    "a head over 16 KiB": (GET + LONG + b"\r\n", {431}),
    "a line over 16 KiB": (b"GET /" + b"x" * 17_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", {431}),
    "no end of a line": (b"GET /" + b"x" * 17_000, {431}),
    "thousands of headers": (GET + b"a: b\r\n" * 4_000 + b"\r\n", {431}),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", {400}),
    "two hosts": (GET + b"Host: localhost\r\n\r\n", {400}),
    "a host of nothing": (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", {421}),
    "the path of another server": (
        b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        {421},
    ),
    "a path that is an address of something else": (
        b"GET ftp://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        {400},
    ),
    "a path that is an address of nobody": (
        b"GET http:/// HTTP/1.1\r\nHost: localhost\r\n\r\n",
        {400},
    ),
    "a path that is a broken address": (
        b"GET http://[::1/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        {421},
    ),
    "a path without a slash": (b"GET index.html HTTP/1.1\r\nHost: localhost\r\n\r\n", {400}),
    "a star": (b"GET * HTTP/1.1\r\nHost: localhost\r\n\r\n", {400}),
    "no path": (b"GET HTTP/1.1\r\nHost: localhost\r\n\r\n", {400}),
    "a path that is no text": (b"GET /%ff%fe HTTP/1.1\r\nHost: localhost\r\n\r\n", {400}),
    "a path with a zero": (b"GET /index.html%00 HTTP/1.1\r\nHost: localhost\r\n\r\n", {400}),
    "a path with an end of a line": (
        b"GET /%0d%0aX:%20y HTTP/1.1\r\nHost: localhost\r\n\r\n",
        {400},
    ),
    "a path with a fragment": (b"GET /index.html#x HTTP/1.1\r\nHost: localhost\r\n\r\n", {400}),
    "a path with raw bytes": (b"GET /\xfc HTTP/1.1\r\nHost: localhost\r\n\r\n", {400}),
    "a post": (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nabcd",
        {405},
    ),
    "a post that is announced": (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n",
        {405},
    ),
    "a method that nobody knows": (b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n", {405}),
    "a tunnel": (b"CONNECT evil.example:25 HTTP/1.1\r\nHost: evil.example:25\r\n\r\n", {405}),
    "a body": (GET + b"Content-Length: 4\r\n\r\nabcd", {400}),
    "a body that never comes": (GET + b"Content-Length: 999999999999\r\n\r\n", {400}),
    "a transfer encoding": (GET + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
    "a transfer encoding that nobody knows": (
        GET + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        {400, 501},
    ),
    "both": (
        GET + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        {400},
    ),
    "a length that is none": (GET + b"Content-Length: -1\r\n\r\n", {400}),
    "two lengths": (GET + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", {400}),
    "a space before a colon": (GET + b"Content-Length : 4\r\n\r\nabcd", {400}),
    "a line that goes on": (b"GET / HTTP/1.1\r\n Host: localhost\r\n\r\n", {400}),
    "a zero in a header": (GET + b"X: \0\r\n\r\n", {400}),
    "a later version": (b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", {505}),
    "the beginning of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 505}),
    "the oldest HTTP": (b"GET /\r\n\r\n", {400}),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n", {400}),
    "words": (b"hello there\r\n\r\n", {400}),
    "zeros": (bytes(200), {400}),
    "a WebSocket of another method": (REQUEST.replace(b"GET", b"PUT"), {400, 405, 426}),
    "a WebSocket of another version": (REQUEST.replace(b": 13", b": 12"), {400, 426}),
    "a WebSocket without a key": (
        b"".join(line for line in REQUEST.splitlines(True) if b"Key" not in line),
        {400},
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "index.html").write_text("<h1>play</h1>", "utf-8")
    with (tmp_path / "long.bin").open("wb") as file:
        file.truncate(20_000_000)
    return tmp_path


@pytest.fixture(params=IMPLEMENTATIONS)
async def server(
    request: pytest.FixtureRequest, nursery: trio.Nursery, folder: Path
) -> AsyncIterator[Server]:
    async with hosting(
        Recorder, port=0, transport=request.param, ping_interval=None, site=Site(folder)
    ) as server:
        yield server


def assert_quiet(caplog: pytest.LogCaptureFixture) -> None:
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("name", BAD)
async def test_what_is_no_request_for_a_page_gets_an_answer_and_nobody_notices(
    name: str, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    data, statuses = BAD[name]
    for size in (len(data), max(1, len(data) // 20)):
        async with browsing(server) as browser:
            for start in range(0, len(data), size):
                await browser.try_to_send(data[start : start + size])
                await wait_all_tasks_blocked()
            reply = await browser.read()
            assert reply.status in statuses, f"in pieces of {size}"
            await assert_serves(server)
    assert_quiet(caplog)


@pytest.mark.parametrize("size", [1, 20, len(GET), len(GET) + 1])
@pytest.mark.parametrize("how", ["end", "reset"])
async def test_half_a_head_and_then_no_more(
    size: int, how: str, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with browsing(server) as browser:
        await browser.stream.send_all((GET + b"\r\n")[:size])
        await wait_all_tasks_blocked(0.01)
        if how == "end":
            await browser.stream.send_eof()
            assert await browser.is_closed()
        else:
            browser.reset()
        await assert_serves(server)
    assert_quiet(caplog)


@pytest.mark.parametrize("earlier", [0, 1], ids=["the first", "a later one"])
async def test_a_slow_head_is_dropped_in_time(
    earlier: int, folder: Path, socket_clock: trio.testing.MockClock
) -> None:
    async with (
        hosting(Recorder, port=0, site=Site(folder), login_timeout=10) as server,
        browsing(server) as browser,
    ):
        for _ in range(earlier):
            assert (await browser.ask("/")).status == 200
        start = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):
            for letter in itertools.cycle(b"GET / HTTP/1.1\r\nx: " + b"x" * 1000):
                await browser.stream.send_all(bytes((letter,)))
                await trio.sleep(1)
        assert trio.current_time() - start <= 12
        await assert_serves(server)


async def test_a_head_of_many_small_pieces_is_refused(server: Server) -> None:
    async with browsing(server) as browser:
        for _ in range(70):
            await browser.try_to_send(b"G")
            await wait_all_tasks_blocked()
        reply = await browser.read()
        assert reply.status == 400
        assert b"pieces" in reply.body
        await assert_serves(server)


async def test_a_connection_that_asks_no_more_is_closed_in_time(
    folder: Path, socket_clock: trio.testing.MockClock
) -> None:
    async with (
        hosting(Recorder, port=0, site=Site(folder), http_keepalive_timeout=5) as server,
        browsing(server) as browser,
    ):
        for _ in range(3):
            assert (await browser.ask("/")).status == 200
            await trio.sleep(4)
        start = trio.current_time()
        assert await browser.is_closed()
        assert trio.current_time() - start <= 1.5


@pytest.mark.no_cover
async def test_players_are_served_beside_a_thousand_connections_that_ask_no_more(
    folder: Path, socket_clock: trio.testing.MockClock
) -> None:
    async with hosting(
        Recorder,
        port=0,
        site=Site(folder),
        max_http_connections_per_address=None,
        requests_per_second=None,
        max_logins_per_address=None,
        http_keepalive_timeout=60,
    ) as server:
        silent = []
        for _ in range(1000):
            one = await trio.open_tcp_stream("127.0.0.1", server.port or 0)
            silent.append(HttpClient(one))
            assert (await silent[-1].ask("/")).status == 200
        assert server.stats().connections.total == 0
        assert server.stats().connections.http == 1000
        await assert_serves(server)
        # The next one is one too many.
        async with browsing(server) as browser:
            assert (await browser.ask("/")).status == 503
        await trio.sleep(61)
        await wait_all_tasks_blocked(0.05)
        assert server.stats().connections.http == 0
        assert server.stats().tasks.connections == 0
        for each in silent:
            await each.stream.aclose()


async def test_a_browser_of_six_connections_is_no_crowd_that_logs_in(folder: Path) -> None:
    async with hosting(
        Recorder, port=0, site=Site(folder), max_logins_per_address=1, max_connections=2
    ) as server:
        browsers = []
        for _ in range(6):
            browsers.append(HttpClient(await trio.open_tcp_stream("127.0.0.1", server.port or 0)))
            assert (await browsers[-1].ask("/")).status == 200
        await assert_serves(server)
        for each in browsers:
            assert (await each.ask("/")).status == 200
            await each.stream.aclose()


async def test_one_address_may_have_so_many_connections_for_pages(folder: Path) -> None:
    async with hosting(
        Recorder, port=0, site=Site(folder), max_http_connections_per_address=2
    ) as server:
        async with browsing(server) as one, browsing(server) as two, browsing(server) as three:
            assert (await one.ask("/")).status == 200
            assert (await two.ask("/")).status == 200
            reply = await three.ask("/")
            assert reply.status == 503
            assert reply.body == b"Too many connections from your address ask for pages.\n"
            assert await three.is_closed()
            await two.stream.aclose()
            await wait_all_tasks_blocked(0.01)
        assert (await ask(server, "/")).status == 200


async def test_connections_that_are_refused_are_paced_like_those_of_players(
    folder: Path, socket_clock: trio.testing.MockClock
) -> None:
    async with (
        hosting(
            Recorder,
            port=0,
            site=Site(folder),
            max_http_connections_per_address=1,
            max_logins_per_address=2,
            http_keepalive_timeout=None,
        ) as server,
        browsing(server) as browser,
    ):
        assert (await browser.ask("/")).status == 200
        start = trio.current_time()
        for request in (b"nonsense\r\n\r\n", GET + b"\r\n"):
            for _ in range(6):
                async with browsing(server) as other:
                    await other.stream.send_all(request)
                    assert (await other.read()).status in {400, 503}
        # Four may come at once, and two a second after that.
        assert trio.current_time() - start == pytest.approx(4, abs=0.5)


async def test_an_address_that_asks_too_often_waits(
    folder: Path, socket_clock: trio.testing.MockClock
) -> None:
    async with (
        hosting(Recorder, port=0, site=Site(folder), requests_per_second=10) as server,
        browsing(server) as browser,
    ):
        start = trio.current_time()
        for _ in range(25):
            assert (await browser.ask("/")).status == 200
        # As a hundred ordinary requests, of which twenty may come at once.
        assert trio.current_time() - start == pytest.approx(8, abs=0.3)


async def test_requests_that_come_together_are_answered_in_turn(server: Server) -> None:
    async with browsing(server) as browser:
        await browser.stream.send_all((GET + b"\r\n") * 3 + GET + b"Connection: close\r\n\r\n")
        for _ in range(4):
            assert (await browser.read()).body == b"<h1>play</h1>"
        assert await browser.is_closed()


async def test_a_bad_request_behind_a_good_one_ends_the_connection(server: Server) -> None:
    async with browsing(server) as browser:
        await browser.stream.send_all(GET + b"\r\n" + b"nonsense\r\n\r\n" + GET + b"\r\n")
        assert (await browser.read()).status == 200
        assert (await browser.read()).status == 400
        assert await browser.is_closed()


async def test_the_old_http_gets_an_answer_and_no_more(server: Server) -> None:
    async with browsing(server) as browser:
        await browser.stream.send_all(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        reply = await browser.read()
        assert (reply.status, reply.body) == (200, b"<h1>play</h1>")
        assert reply.headers["Connection"] == "close"
        assert await browser.is_closed()


async def test_who_does_not_read_an_answer_is_dropped_in_time(
    folder: Path, socket_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        hosting(Recorder, port=0, site=Site(folder), login_timeout=10) as server,
        browsing(server) as browser,
    ):
        await browser.stream.send_all(GET.replace(b"/ ", b"/long.bin ") + b"\r\n")
        await trio.sleep(12)
        assert server.stats().connections.http == 0
        await assert_serves(server)
    assert_quiet(caplog)


@pytest.mark.parametrize("path", [b"/", b"/long.bin"])
async def test_who_goes_in_the_middle_of_an_answer_is_forgotten(
    path: bytes, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        async with browsing(server) as browser:
            await browser.stream.send_all(GET.replace(b"/ ", path + b" ") + b"\r\n")
            browser.reset()
    await wait_all_tasks_blocked(0.02)
    assert server.stats().connections.http == 0
    await assert_serves(server)
    assert_quiet(caplog)


@pytest.mark.parametrize("size", [5, 20_000_000], ids=["shorter", "as long"])
async def test_a_file_that_is_written_to_while_it_is_sent_is_cut_off(
    size: int, server: Server, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with browsing(server) as browser:
        await browser.stream.send_all(GET.replace(b"/ ", b"/long.bin ") + b"\r\n")
        await wait_all_tasks_blocked(0.05)
        (folder / "long.bin").write_bytes(b"x" * size)
        with pytest.raises(EOFError):
            await browser.read()
        await assert_serves(server)
    assert_quiet(caplog)


async def test_where_no_thread_can_be_started_there_are_no_pages_but_there_are_games(
    folder: Path,
) -> None:
    async def run_blocking(function: Any, *args: Any, **_: Any) -> Any:
        # What trio raises where the system lets this process have no more threads.
        if isinstance(function, partial):
            raise RuntimeError("can't start new thread")
        return function(*args)

    environment = attrs.evolve(cheap_environment(), run_blocking=run_blocking)
    async with hosting(Recorder, port=0, site=Site(folder), environment=environment) as server:
        async with browsing(server) as browser:
            assert (await browser.ask("/")).status == 503
            assert (await browser.ask("/healthz")).status == 200
        await assert_serves(server)


async def test_silent_connections_do_not_hold_up_a_shutdown(folder: Path) -> None:
    async with trio.open_nursery() as nursery:
        server = HostedServer(Recorder, port=0, site=Site(folder))
        async with server.running():
            said_nothing = HttpClient(await trio.open_tcp_stream("127.0.0.1", server.port or 0))
            asked = HttpClient(await trio.open_tcp_stream("127.0.0.1", server.port or 0))
            assert (await asked.ask("/")).status == 200
            await wait_all_tasks_blocked(0.01)
            start = trio.current_time()
        assert trio.current_time() - start < 1
        for each in (said_nothing, asked):
            assert await each.is_closed()
            await each.stream.aclose()
        nursery.cancel_scope.cancel()
