"""A server inside a web application: Starlette on hypercorn's Trio worker, over real sockets."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute

from pgnet_trio import Client, Game, Packet, Server, on
from pgnet_trio.asgi import ASGIApp
from pgnet_trio.testing import HostedServer, hosting
from tests.kit.hosting import Recorder
from tests.kit.http_client import HttpClient, Reply
from tests.kit.proxy import intercepting
from tests.kit.subprocesses import DEADLINE
from tests.kit.transports import REQUEST

if TYPE_CHECKING:
    from starlette.requests import Request

REQUEST_2_1 = REQUEST.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: pgnet.2.1\r\n\r\n")


@attrs.frozen
class Site:
    """A web application that runs, and the server in it."""

    server: HostedServer
    port: int
    nursery: trio.Nursery

    def client(self, username: str, *, port: int | None = None) -> Client:
        address = f"ws://127.0.0.1:{port or self.port}/game"
        return Client.remote(address=address, username=username)


@asynccontextmanager
async def running(
    game: type[Game] = Recorder, *, allowed_origins: list[str] | None = None, **options: Any
) -> AsyncIterator[Site]:
    async def page(request: Request) -> PlainTextResponse:
        return PlainTextResponse("a page of the application")

    async with hosting(game, **options) as server, trio.open_nursery() as nursery:
        app = ASGIApp(server, allowed_origins=allowed_origins or [])
        routes = [Route("/", page), WebSocketRoute("/game", app), Mount("/mounted", app)]
        config = Config()
        config.bind = ["127.0.0.1:0"]
        config.errorlog = None
        [address] = await nursery.start(serve, Starlette(routes=routes), config)
        try:
            yield Site(server, int(address.rpartition(":")[2]), nursery)
        finally:
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def browsing(site: Site) -> AsyncIterator[HttpClient]:
    async with await trio.open_tcp_stream("127.0.0.1", site.port) as stream:
        yield HttpClient(stream)


@asynccontextmanager
async def opening(
    site: Site, request: bytes = REQUEST_2_1
) -> AsyncIterator[tuple[HttpClient, Reply]]:
    """Ask for a WebSocket, and tell what was answered."""
    async with browsing(site) as browser:
        await browser.stream.send_all(request.replace(b"GET / ", b"GET /game "))
        yield browser, await browser.read(has_body=False)


async def test_players_and_pages_share_the_application() -> None:
    async with running() as site, site.client("ann") as ann, browsing(site) as browser:
        await ann.create_game("table 1")
        assert (await ann.request(Packet("hello"))).message == "ann: hello"
        assert (await browser.ask("/")).body == b"a page of the application"
        assert site.server.stats().connections.total == 1


async def test_a_player_who_lost_the_connection_comes_back() -> None:
    async with running() as site, intercepting(site.port) as proxy:
        async with site.client("ann", port=proxy.port) as ann:
            await ann.create_game("table 1")
            again = trio.Event()
            ann.on_online = lambda online: again.set() if online else None
            await proxy.connections[-1].reset()
            with trio.fail_after(DEADLINE):
                await again.wait()
            assert (await ann.request(Packet("hello"))).message == "ann: hello"
            assert (ann.game, site.server.stats().away) == ("table 1", 0)


@attrs.frozen
class Repeat:
    text: str
    times: int


@attrs.frozen
class Repeated:
    text: str


class Long(Game):
    max_request_size = 100_000

    @on(Repeat)
    def repeat(self, player: str, repeat: Repeat) -> None:
        for number in range(repeat.times):
            self.room.push(Repeated(f"{number} {repeat.text}"))


async def test_long_messages_arrive_whole_and_in_order() -> None:
    async with running(Long) as site, site.client("ann") as ann:
        await ann.create_game("table 1")
        await ann.call(Repeat("x" * 60_000, 12))
        pushes = ann.pushes(Repeated)
        texts = [(await anext(pushes)).text for _ in range(12)]
        assert texts == [f"{number} {'x' * 60_000}" for number in range(12)]


async def test_what_the_server_limits_holds_here_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pgnet_trio")
    async with running(max_connections_per_address=1) as site, site.client("ann"):
        async with opening(site) as (browser, reply):
            assert reply.status == 101
            # A close frame with the code 1013, "try again later".
            with trio.fail_after(5):
                assert (await browser.stream.receive_some())[2:4] == b"\x03\xf5"
    assert "Refused a connection from 127.0.0.1: " in caplog.text


async def test_a_message_over_the_limit_ends_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "pgnet_trio")
    async with running(max_login_message_size=8192) as site, opening(site) as (browser, reply):
        assert reply.status == 101
        # A masked binary frame of 16,384 bytes, before anybody has logged in.
        await browser.stream.send_all(b"\x82\xfe\x40\x00" + b"\0" * (4 + 16_384))
        with trio.fail_after(5):
            assert (await browser.stream.receive_some())[2:4] == b"\x03\xf1"
    assert "message over the limit" in caplog.text


async def test_players_wait_for_a_server_that_restarts() -> None:
    async with running() as site, site.client("ann") as ann:
        await ann.create_game("table 1")
        site.server.shutdown(restarting=True)
        with trio.fail_after(DEADLINE):
            while ann.online:
                await trio.testing.wait_all_tasks_blocked(0.01)
        assert ann.connected


async def test_an_application_that_ends_drops_its_players() -> None:
    async with running() as site, site.client("ann") as ann:
        await ann.create_game("table 1")
        site.nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True), trio.fail_after(DEADLINE):
            while site.server.stats().away == 0:
                await trio.testing.wait_all_tasks_blocked(0.01)
            assert site.server.stats().connections.total == 0
            assert "ann" in site.server.stats().sessions


# Who may connect.

HERE = b"Host: play.example.org\r\nOrigin: https://play.example.org"
ELSEWHERE = b"Host: play.example.org\r\nOrigin: https://example.org"
TWO = b"Host: a\r\nOrigin: http://a\r\nOrigin: http://b"


@pytest.mark.parametrize(
    ("headers", "allowed", "status"),
    [
        (b"Host: x", [], 101),
        (HERE, [], 101),
        (ELSEWHERE, [], 403),
        (ELSEWHERE, ["https://example.org"], 101),
        (ELSEWHERE, ["*"], 101),
        (TWO, [], 403),
    ],
)
async def test_pages_of_other_origins_are_refused(
    headers: bytes, allowed: list[str], status: int
) -> None:
    async with running(allowed_origins=allowed) as site:
        async with opening(site, REQUEST_2_1.replace(b"Host: x", headers)) as (_, reply):
            assert reply.status == status


@pytest.mark.parametrize("protocols", [b"", b"\r\nSec-WebSocket-Protocol: chat"])
async def test_who_does_not_speak_protocol_2_is_refused(protocols: bytes) -> None:
    request = REQUEST.replace(b"\r\n\r\n", protocols + b"\r\n\r\n")
    async with running() as site, opening(site, request) as (_, reply):
        assert reply.status == 403


async def test_a_page_is_not_what_this_is_for() -> None:
    async with running() as site, browsing(site) as browser:
        reply = await browser.ask("/mounted/")
        assert (reply.status, reply.body) == (
            426,
            b"This is for WebSockets of pgnet_trio clients.\n",
        )


async def test_a_server_that_does_not_run_asks_to_come_later() -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        await trio.lowlevel.checkpoint()
        return {"type": "websocket.connect"}

    async def send(event: Any) -> None:
        await trio.lowlevel.checkpoint()
        sent.append(event)

    scope = {"type": "websocket", "subprotocols": ["pgnet.2.1"], "headers": [], "client": None}
    await ASGIApp(Server(Recorder))(scope, receive, send)
    assert sent == [
        {"type": "websocket.accept", "subprotocol": "pgnet.2.1"},
        {"type": "websocket.close", "code": 1013, "reason": "The server is not running."},
    ]
    with pytest.raises(ValueError, match="expected a WebSocket, got 'lifespan'; mount it"):
        await ASGIApp(Server(Recorder))({"type": "lifespan"}, receive, send)


def test_origins_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(TypeError, match="allowed_origins: expected a list"):
        ASGIApp(Server(Recorder), allowed_origins="https://example.org")
