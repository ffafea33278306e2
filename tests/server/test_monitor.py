"""The monitor's listener: who is let in, and that nothing there reaches the players."""

from __future__ import annotations

import sys
from typing import Any

import h2.connection
import h2.events
import pytest
import trio
import trio.testing
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, LifespanState

from pgnet_trio import Monitor, Server, ServerError
from pgnet_trio.server.attempts import FailedLogins
from pgnet_trio.server.monitor import app, listener
from pgnet_trio.server.monitor.access import Access, Asked, Refusal, Role
from pgnet_trio.testing import hosting
from tests.kit.hosting import Recorder
from tests.kit.http_client import DEADLINE
from tests.kit.monitoring import READ, WRITE, look, looking, monitored


def access(**settings: Any) -> Access:
    settings = {"token": READ, "write_token": WRITE, **settings}
    monitor = Monitor("127.0.0.1:0", **settings)
    return Access(monitor, FailedLogins(3, 10), bytes(32), own_name="machine")


def asked(**changes: Any) -> Asked:
    usual: dict[str, Any] = {
        "method": "GET",
        "address": "127.0.0.1",
        "host": "localhost:1",
        "origin": None,
        "authorization": "",
        "cookie": "",
        "is_forwarded": False,
    }
    return Asked(**usual | changes)


def status(answer: object) -> int:
    return answer.status if isinstance(answer, Refusal) else 200


# Who is let in: the rules.


def test_a_token_says_what_one_may_do() -> None:
    rules = access()
    for token, role in ((READ, Role.READ), (WRITE, Role.WRITE)):
        assert rules.identify(asked(authorization=f"bearer {token}"), 0) is role
    assert status(rules.identify(asked(), 0)) == 401
    assert status(rules.identify(asked(authorization="Bearer wrong"), 0)) == 401
    assert status(rules.identify(asked(authorization=f"Basic {READ}"), 0)) == 401


def test_wrong_tokens_are_throttled_and_then_right_ones_too() -> None:
    rules = access()
    wrong, right = asked(authorization="Bearer x"), asked(authorization=f"Bearer {READ}")
    answers = [status(rules.identify(wrong, 0)) for _ in range(20)]
    assert answers[0] == 401
    assert answers[-1] == 429
    # Or else whoever guesses would be told which one is right.
    assert status(rules.identify(right, 1)) == 429
    assert status(rules.identify(asked(authorization=f"Bearer {READ}", address="::2"), 1)) == 200
    assert rules.identify(right, 61) is Role.READ


def test_a_cookie_stands_for_the_token_for_a_while() -> None:
    rules = access()
    for role in Role:
        cookie = rules.make_cookie(role, 100.5)
        assert rules.identify(asked(cookie=cookie), 101) is role
        assert status(rules.identify(asked(cookie=cookie), 101 + 12 * 3600)) == 401
    read = rules.make_cookie(Role.READ, 0)
    forged = [f"write{read.removeprefix('read')}", f"{read[:-1]}!", "x", "é", "read-1-", "--"]
    for cookie in forged:
        assert status(rules.identify(asked(cookie=cookie), 1)) == 401
    other = Access(Monitor("127.0.0.1:0", token=READ), FailedLogins(3, 10), bytes(31) + b"x")
    assert status(other.identify(asked(cookie=read), 1)) == 401


def test_without_a_token_this_machine_may_look_but_nobody_whom_a_proxy_brings() -> None:
    rules = access(token=None, write_token=None)
    assert rules.identify(asked(), 0) is Role.READ
    assert status(rules.identify(asked(is_forwarded=True), 0)) == 401


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 200),
        ({"host": "machine.local:38930"}, 200),
        ({"host": "evil.example"}, 421),
        ({"origin": "http://localhost:1"}, 200),
        # Another port of the same host is the same site to a browser, cookies and all.
        ({"origin": "http://localhost:2"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"method": "POST", "origin": "http://localhost:1"}, 200),
        ({"method": "POST"}, 403),
        ({"method": "POST", "authorization": "Bearer x"}, 200),
        ({"method": "POST", "authorization": "Bearer x", "origin": "http://evil"}, 403),
    ],
)
def test_pages_of_others_are_refused(changes: dict[str, Any], expected: int) -> None:
    assert status(access().check_source(asked(**changes))) == expected


# What a monitor is made with.


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"address": "0.0.0.0:1"}, "needs a token"),
        ({"address": "0.0.0.0:1", "token": "short"}, "16 characters or more, got one of 5"),
        ({"address": "a.example:1", "token": READ, "write_token": "x"}, "16 characters"),
        ({"address": "localhost"}, "expected host:port"),
        ({"address": "localhost:99999"}, "expected host:port"),
        ({"token": "two words"}, "one word"),
        ({"token": ""}, "one word"),
        ({"token": "a", "write_token": "a"}, "another token"),
        ({"allowed_hosts": ["a/b"]}, "allowed_hosts"),
    ],
)
def test_a_monitor_that_makes_no_sense_is_refused(
    arguments: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        Monitor(**arguments)
    assert "short" not in str(caught.value)
    assert "two words" not in str(caught.value)


def test_no_token_is_shown() -> None:
    shown = repr(Monitor(token=READ, write_token=WRITE))
    assert READ not in shown
    assert WRITE not in shown


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ServerError, match=r"pip install 'pgnet_trio\[monitor\]'"):
        Monitor()


def test_something_else_is_no_monitor() -> None:
    wrong: Any = "127.0.0.1:38930"
    with pytest.raises(TypeError, match="expected a Monitor such as"):
        Server(Recorder, monitor=wrong)


# Over sockets.


async def test_a_browser_logs_in_by_a_form_and_out_again() -> None:
    async with monitored() as server:
        host = f"localhost:{server.monitor_port}"
        own = (f"Host: {host}", f"Origin: http://{host}")
        reply = await look(server, "/", "Accept: text/html")
        assert (reply.status, reply.headers["location"]) == (303, "/login")
        form = await look(server, "/login")
        assert (form.status, b'name="token"' in form.body) == (200, True)
        reply = await look(server, "/login", *own, method="POST", body="token=wrong")
        assert (reply.status, b"got another one" in reply.body) == (401, True)
        reply = await look(server, "/login", *own, method="POST", body=f"token={WRITE}")
        assert reply.status == 303
        cookie, *flags = reply.headers["set-cookie"].split("; ")
        assert {"HttpOnly", "SameSite=strict"} <= set(flags)
        assert WRITE not in cookie
        logged_in = (*own, f"Cookie: {cookie}")
        assert (await look(server, "/nothing", *logged_in)).status == 404
        assert (await look(server, "/nothing", *logged_in, method="POST")).status == 404
        reply = await look(server, "/logout", *logged_in, method="POST")
        assert "Max-Age=0" in reply.headers["set-cookie"]


async def test_each_bad_request_gets_its_answer() -> None:
    async with monitored() as server:
        assert (await look(server, "/healthz", "Host: anything")).body == b'{"status":"ok"}'
        assert (await look(server, "/nothing")).status == 401
        assert (await look(server, "/nothing", "Host: evil", token=READ)).status == 421
        foreign = await look(server, "/nothing", "Origin: http://evil", token=READ)
        assert foreign.status == 403
        assert (await look(server, "/nothing", token=READ)).status == 404
        refused = await look(server, "/nothing", token=READ, method="POST")
        assert (refused.status, b"write token" in refused.body) == (403, True)
        answers = [(await look(server, "/nothing", token="no")).status for _ in range(30)]
        assert answers[-1] == 429
        for reply in (foreign, refused):
            assert "default-src 'self'" in reply.headers["content-security-policy"]


async def test_a_port_that_is_taken_ends_the_start_with_a_sentence() -> None:
    async with monitored() as server:
        other = Monitor(f"127.0.0.1:{server.monitor_port}")
        with pytest.raises(ServerError, match="The monitor cannot listen on"):
            async with hosting(Recorder, monitor=other):
                pass


async def test_a_hundred_monitors_cost_nobody_else_a_thing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with monitored(port=0) as server:
        streams = [
            await trio.open_tcp_stream("127.0.0.1", server.monitor_port or 0) for _ in range(100)
        ]
        with trio.fail_after(10):
            for stream in streams[listener.MAX_CONNECTIONS :]:
                assert await stream.receive_some() == b""
        # Or whoever connects would fill the log.
        assert len([each for each in caplog.records if each.levelname == "WARNING"]) == 1
        async with server.client("ann") as ann:
            await ann.create_game("table 1")
        for stream in streams:
            await stream.aclose()


@pytest.mark.skipif(sys.platform == "win32", reason="buffers of sockets are others there")
async def test_hypercorn_heeds_no_cancellation_while_a_client_reads_nothing() -> None:
    # Why the monitor's listener uses what is below `hypercorn.trio.serve`, and all that it uses of
    # it; where this fails because the task ends, `serve` will do.
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 50_000_000})

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with (
        listener,
        await trio.testing.open_stream_to_socket_listener(listener) as client,
        await listener.accept() as stream,
    ):
        state = ConnectionState(LifespanState())
        wrapped: Any = answer
        server = TCPServer(ASGIWrapper(wrapped), Config(), WorkerContext(None), state, stream)  # type: ignore[arg-type]  # it is typed for TLS alone
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.run)
            await client.send_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert await client.receive_some()
            await trio.testing.wait_all_tasks_blocked(0.05)
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await trio.testing.wait_all_tasks_blocked(0.05)
                assert nursery.child_tasks
                await client.aclose()


async def test_who_does_not_read_holds_up_neither_the_monitor_nor_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # More than any buffer takes.
    monkeypatch.setattr(app, "LOGIN_PAGE", "x" * 50_000_000)
    async with monitored() as server:
        async with looking(server) as client:
            await client.stream.send_all(b"GET /login HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert await client.stream.receive_some()
            assert (await look(server, "/healthz")).status == 200
            with trio.fail_after(5):
                server.shutdown()
                await server.stopped.wait()


@pytest.mark.parametrize("header", ["X-Real-IP: 203.0.113.7", "via: 1.1 x", "Forwarded: for=_x"])
async def test_whoever_a_proxy_brings_needs_a_token_whatever_the_proxy_says(header: str) -> None:
    async with monitored(monitor=Monitor("127.0.0.1:0")) as server:
        assert (await look(server, "/metrics")).status == 200
        assert (await look(server, "/metrics", header)).status == 401


async def test_who_guesses_behind_a_trusted_proxy_locks_out_nobody_else_there(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    async with monitored(trusted_proxies=["127.0.0.1"]) as server:
        guesser, host = "X-Forwarded-For: 203.0.113.7", "X-Forwarded-For: 203.0.113.8"
        answers = [(await look(server, "/metrics", guesser, token="no")).status for _ in range(30)]
        assert answers[-1] == 429
        assert (await look(server, "/metrics", host, token=READ)).status == 200
        body = '{"text": "hello"}'
        json = "Content-Type: application/json"
        await look(server, "/actions/announce", host, json, token=WRITE, method="POST", body=body)
    assert "By the monitor, from 203.0.113.8" in caplog.text


async def test_who_goes_in_the_middle_of_a_form_is_not_worth_a_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with monitored() as server:
        async with looking(server) as client:
            origin = f"Origin: http://localhost:{server.monitor_port}\r\nContent-Length: 500"
            await client.stream.send_all(
                f"POST /login HTTP/1.1\r\nHost: localhost:{server.monitor_port}\r\n"
                f"{origin}\r\n\r\ntok".encode()
            )
        assert (await look(server, "/healthz")).status == 200
    assert [each for each in caplog.records if each.levelname in ("WARNING", "ERROR")] == []


async def test_http_2_is_not_spoken_as_its_slow_readers_have_no_deadline() -> None:
    async with monitored() as server, looking(server) as client:
        connection = h2.connection.H2Connection()
        connection.initiate_connection()
        connection.send_headers(
            1,
            [
                (":method", "GET"),
                (":path", "/events"),
                (":scheme", "http"),
                (":authority", "localhost"),
                ("authorization", f"Bearer {READ}"),
            ],
            end_stream=True,
        )
        await client.stream.send_all(connection.data_to_send())
        with trio.fail_after(DEADLINE):
            found: list[Any] = []
            while not any(isinstance(each, h2.events.StreamEnded) for each in found):
                found += connection.receive_data(await client.stream.receive_some())
        (answer,) = (each for each in found if isinstance(each, h2.events.ResponseReceived))
        assert dict(answer.headers)[b":status"] == b"505"
