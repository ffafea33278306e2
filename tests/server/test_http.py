"""Pages on the game's port: what is shown to whom, and who may open a WebSocket."""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trio
import trio.testing

from pgnet_trio import Packet, Response, Server, Site
from pgnet_trio.server.http import router
from pgnet_trio.testing import HostedServer, hosting
from tests.kit.hosting import Recorder, socket_client
from tests.kit.http_client import ask, browsing
from tests.kit.transports import REQUEST

IMPLEMENTATIONS = ["websockets", "trio-websocket"]

every_library = pytest.mark.parametrize("library", IMPLEMENTATIONS)


async def assert_serves(server: Server) -> None:
    async with socket_client(server, "ann") as ann:
        await ann.create_game("table 1")
        assert (await ann.request(Packet("hello"))).message == "ann: hello"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of pages, and files around it that nobody may see."""
    site = tmp_path / "web"
    (site / "art").mkdir(parents=True)
    (site / ".git").mkdir()
    files = {
        "index.html": "<h1>play</h1>",
        "script.js": "export const answer = 42;\n" * 200,
        "art/index.html": "<h1>art</h1>",
        "art/a b.svg": "<svg/>",
        "noise": "?",
        ".env": "secret",
        ".git/config": "secret",
        "../secret.txt": "secret",
    }
    for name, text in files.items():
        (site / name).write_text(text, "utf-8")
    return site


@asynccontextmanager
async def showing(folder: Path, **options: Any) -> AsyncIterator[Server]:
    async with hosting(Recorder, port=0, site=Site(folder), **options) as server:
        yield server


@every_library
async def test_a_page_and_a_game_share_a_port(folder: Path, library: str) -> None:
    async with showing(folder, transport=library) as server:
        reply = await ask(server, "/")
        assert (reply.status, reply.body) == (200, b"<h1>play</h1>")
        assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
        await assert_serves(server)


@every_library
async def test_a_server_without_a_site_says_what_it_is(library: str) -> None:
    async with hosting(Recorder, port=0, transport=library) as server:
        reply = await ask(server, "/")
        assert reply.status == 200
        assert b"pgnet_trio" in reply.body
        assert (await ask(server, "/index.html")).status == 404
        await assert_serves(server)


# What is shown


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/index.html", b"<h1>play</h1>", "text/html; charset=utf-8"),
        ("/?table=1", b"<h1>play</h1>", "text/html; charset=utf-8"),
        ("http://localhost/", b"<h1>play</h1>", "text/html; charset=utf-8"),
        ("http://localhost", b"<h1>play</h1>", "text/html; charset=utf-8"),
        ("/art/", b"<h1>art</h1>", "text/html; charset=utf-8"),
        ("/art/a%20b.svg", b"<svg/>", "image/svg+xml"),
        ("/noise", b"?", "application/octet-stream"),
    ],
)
async def test_files_are_shown_with_the_type_of_their_suffix(
    folder: Path, path: str, body: bytes, kind: str
) -> None:
    async with showing(folder) as server:
        reply = await ask(server, path)
    assert (reply.status, reply.body, reply.headers["Content-Type"]) == (200, body, kind)


@pytest.mark.parametrize(
    "path",
    [
        "/.env",
        "/.git/config",
        "/%2eenv",
        "/art/../.env",
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/art/..%2f..%2fsecret.txt",
        "/..%5csecret.txt",
        "//etc/passwd",
        "//",
        "/art//",
        "/./index.html",
        "/index.html/",
        "/script.js::$DATA",
        "/C:/windows",
        "/pgnet/",
        "/pgnet/index.html",
        "/pgnet/../index.html",
        "/none",
        "/art/none.svg",
        "/" + "x" * 5000,
    ],
)
async def test_nothing_else_is_shown(folder: Path, path: str) -> None:
    async with showing(folder) as server:
        reply = await ask(server, path)
    assert reply.status == 404
    assert b"secret" not in reply.body


async def test_no_link_leads_out_of_the_folder_or_to_what_is_hidden(folder: Path) -> None:
    links = {"out.txt": "../secret.txt", "up": "..", "hidden": ".env", "loop": "loop"}
    for name, target in links.items():
        (folder / name).symlink_to(target)
    (folder / "in.html").symlink_to("index.html")
    async with showing(folder) as server:
        for path in ("/out.txt", "/up/secret.txt", "/hidden", "/loop"):
            assert (await ask(server, path)).status == 404, path
        assert (await ask(server, "/in.html")).status == 200


async def test_the_folder_itself_may_be_a_link_that_is_changed(
    folder: Path, tmp_path: Path
) -> None:
    current, later = tmp_path / "current", tmp_path / "later"
    current.symlink_to(folder)
    later.mkdir()
    (later / "index.html").write_text("<h1>later</h1>", "utf-8")
    async with showing(current) as server:
        assert (await ask(server, "/")).body == b"<h1>play</h1>"
        current.unlink()
        current.symlink_to(later)
        assert (await ask(server, "/")).body == b"<h1>later</h1>"


async def test_a_site_without_a_first_page_says_so(folder: Path) -> None:
    (folder / "index.html").unlink()
    async with showing(folder) as server:
        reply = await ask(server, "/")
        assert (reply.status, reply.body) == (404, b"this site has no index.html\n")


@pytest.mark.skipif(sys.platform == "win32", reason="no file has such a name there")
@pytest.mark.parametrize("name", ["a:b", "..\\secret.txt", "what?", 'x"y'])
async def test_a_name_that_means_something_else_elsewhere_is_shown_nowhere(
    folder: Path, name: str
) -> None:
    (folder / name).write_text("secret", "utf-8")
    async with showing(folder) as server:
        assert (await ask(server, f"/{quote(name)}")).status == 404


@pytest.mark.skipif(sys.platform == "win32", reason="there are no named pipes in folders")
async def test_what_is_no_file_is_not_opened(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    async with showing(folder) as server:
        assert (await ask(server, "/pipe")).status == 404


async def test_a_folder_itself_leads_to_its_own_page(folder: Path) -> None:
    (folder / "ü b").mkdir()
    async with showing(folder) as server:
        assert (await ask(server, "/art")).headers["Location"] == "/art/"
        reply = await ask(server, "/%c3%bc%20b")
        assert (reply.status, reply.headers["Location"]) == (308, "/%C3%BC%20b/")
        # What an address says to the page's script goes along.
        reply = await ask(server, "/art?table=a%20b&x=/")
        assert reply.headers["Location"] == "/art/?table=a%20b&x=/"
        reply = await ask(server, "http://localhost/art?x")
        assert reply.headers["Location"] == "/art/?x"
        # A folder without a page of its own is not listed.
        assert (await ask(server, "/%c3%bc%20b/")).status == 404


async def test_a_page_that_has_not_changed_is_not_sent_again(folder: Path) -> None:
    async with showing(folder) as server, browsing(server) as browser:
        first = await browser.ask("/")
        known = f'If-None-Match: "x", W/{first.headers["ETag"]}'
        again = await browser.ask("/", known)
        assert (again.status, again.body) == (304, b"")
        assert again.headers["ETag"] == first.headers["ETag"]
        (folder / "index.html").write_text("<h1>play again</h1>", "utf-8")
        assert (await browser.ask("/", known)).body == b"<h1>play again</h1>"


async def test_what_was_deleted_is_gone(folder: Path) -> None:
    async with showing(folder) as server:
        assert (await ask(server, "/script.js")).status == 200
        (folder / "script.js").unlink()
        assert (await ask(server, "/script.js")).status == 404


async def test_the_head_of_a_page_says_what_the_page_would(folder: Path) -> None:
    async with showing(folder) as server, browsing(server) as browser:
        head = await browser.ask("/script.js", method="HEAD")
        page = await browser.ask("/script.js")
    assert head.headers["Content-Length"] == str(len(page.body))
    assert {**head.headers, "Date": ""} == {**page.headers, "Date": ""}


async def test_text_is_compressed_for_those_who_take_it(folder: Path) -> None:
    text = (folder / "script.js").read_bytes()
    async with showing(folder) as server, browsing(server) as browser:
        packed = await browser.ask("/script.js", "Accept-Encoding: br, gzip")
        assert packed.headers["Content-Encoding"] == "gzip"
        assert len(packed.body) < len(text) / 10
        assert gzip.decompress(packed.body) == text
        plain = await browser.ask("/script.js", "Accept-Encoding: gzip;q=0, br")
        assert plain.body == text
        assert packed.headers["ETag"] != plain.headers["ETag"]
        assert packed.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"
        # Too short for it to pay.
        assert "Content-Encoding" not in (await browser.ask("/", "Accept-Encoding: gzip")).headers


async def test_a_long_file_comes_whole(folder: Path) -> None:
    content = bytes(range(256)) * 40_000
    (folder / "film.mp4").write_bytes(content)
    async with showing(folder) as server, browsing(server) as browser:
        assert (await browser.ask("/film.mp4", method="HEAD")).headers["Content-Length"] == str(
            len(content)
        )
        assert (await browser.ask("/film.mp4")).body == content
        assert (await browser.ask("/")).status == 200


async def test_pages_have_a_strict_policy_or_the_one_that_the_author_gave(folder: Path) -> None:
    async with showing(folder) as server:
        headers = (await ask(server, "/")).headers
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert "connect-src 'self'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
    site = Site(folder, content_security_policy="default-src https://cdn.example.org")
    async with hosting(Recorder, port=0, site=site) as server:
        headers = (await ask(server, "/")).headers
        assert headers["Content-Security-Policy"] == "default-src https://cdn.example.org"


async def test_the_client_is_served_once_it_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(router, "BUNDLE", tmp_path / "bundle")
    async with hosting(Recorder, port=0) as server:
        reply = await ask(server, "/pgnet/client.js")
        assert reply.status == 503
        assert b"install it again" in reply.body
        (tmp_path / "bundle").mkdir()
        (tmp_path / "bundle" / "client.js").write_text("export class Client {}", "utf-8")
        (tmp_path / "bundle" / "client.d.ts").write_text("export class Client {}", "utf-8")
        reply = await ask(server, "/pgnet/client.js")
        assert (reply.status, reply.body) == (200, b"export class Client {}")
        assert reply.headers["Content-Type"] == "text/javascript; charset=utf-8"
        assert (await ask(server, "/pgnet/client.d.ts")).status == 200


async def test_pages_without_a_client_are_warned_of(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(router, "BUNDLE", tmp_path / "bundle")
    for site, count in ((None, 0), (Site(folder), 1)):
        async with hosting(Recorder, port=0, site=site):
            assert caplog.text.count("No page can play here: the client for browsers is") == count


async def test_a_browser_that_looks_for_an_icon_finds_none_without_an_error(folder: Path) -> None:
    for site in (None, Site(folder)):
        async with hosting(Recorder, port=0, site=site) as server:
            reply = await ask(server, "/favicon.ico")
            assert (reply.status, reply.body) == (204, b"")
            assert "Content-Length" not in reply.headers
            # Another request over the same connection: nothing was left over of this one.
            async with browsing(server) as browser:
                assert (await browser.ask("/favicon.ico")).status == 204
                assert (await browser.ask("/healthz")).status == 200
    (folder / "favicon.ico").write_bytes(b"icon")
    async with hosting(Recorder, port=0, site=Site(folder)) as server:
        assert (await ask(server, "/favicon.ico")).body == b"icon"


# Who may ask


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST.:38929", 200),
        ("127.0.0.1:38929", 200),
        ("[::1]:38929", 200),
        ("192.168.1.20", 200),
        ("play.example.org", 200),
        ("Play.Example.Org:443", 200),
        ("evil.example", 421),
        ("play.example.org.evil.example", 421),
        ("localhost.evil.example", 421),
        ("0x7f.1", 421),
        ("user@localhost", 421),
        ("", 421),
        ("localhost:port", 421),
        ("[::1", 421),
    ],
)
async def test_pages_are_shown_to_those_who_ask_for_this_server(
    folder: Path, host: str, status: int
) -> None:
    async with showing(folder, allowed_hosts=["Play.example.org"]) as server:
        assert (await ask(server, "/", f"Host: {host}")).status == status
        assert (await ask(server, "/pgnet/x", f"Host: {host}")).status == (
            404 if status == 200 else status
        )
        # Those who look after a server may ask it by any name.
        assert (await ask(server, "/healthz", f"Host: {host}")).status == 200


async def test_the_machine_answers_to_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "Table.lan")
    async with hosting(Recorder, port=0) as server:
        for host, status in (
            ("table", 200),
            ("table.local:38929", 200),
            ("table.lan", 200),
            ("lan", 421),
            ("chair.local", 421),
        ):
            assert (await ask(server, "/", f"Host: {host}")).status == status, host


def handshake(host: str, origin: str | None, *, usual: bool = True) -> bytes:
    request = REQUEST.replace(b"Host: x", f"Host: {host}".encode())
    if origin is not None:
        request = request[:-2] + f"Origin: {origin}\r\n\r\n".encode()
    # One that is too long for the quick way.
    return request if usual else request[:-2] + b"Cookie: " + b"x" * 5000 + b"\r\n\r\n"


@every_library
@pytest.mark.parametrize("usual", [True, False], ids=["usual", "unusual"])
@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("anything.example", None, 101),
        ("localhost:38929", "http://localhost:38929", 101),
        ("192.168.1.20:38929", "http://192.168.1.20:38929", 101),
        ("localhost", "http://LOCALHOST", 101),
        ("play.example.org", "https://play.example.org", 101),
        ("play.example.org:443", "https://play.example.org", 101),
        ("localhost:38929", "https://friend.example", 101),
        ("localhost:38929", "http://friend.example", 403),
        ("localhost:38929", "https://friend.example:444", 403),
        ("localhost:38929", "http://localhost:8000", 403),
        ("localhost:38929", "http://127.0.0.1:38929", 403),
        ("localhost:38929", "http://evil.example", 403),
        ("localhost:38929", "null", 403),
        ("localhost:38929", "", 403),
        ("localhost:38929", "file://", 403),
        # A name of the page's own that leads here.
        ("evil.example:38929", "http://evil.example:38929", 403),
        ("evil.example:38929", "https://friend.example", 403),
    ],
)
async def test_a_page_opens_a_websocket_only_where_it_comes_from_here_or_is_listed(
    library: str, usual: bool, host: str, origin: str | None, status: int
) -> None:
    async with (
        hosting(
            Recorder,
            port=0,
            transport=library,
            allowed_origins=["https://friend.example:443"],
            allowed_hosts=["play.example.org"],
        ) as server,
        browsing(server) as browser,
    ):
        await browser.stream.send_all(handshake(host, origin, usual=usual))
        assert (await browser.read()).status == status


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "file://"])
async def test_a_server_may_take_every_page(origin: str) -> None:
    async with hosting(Recorder, port=0, allowed_origins=["*"]) as server:
        async with browsing(server) as browser:
            await browser.stream.send_all(handshake("localhost", origin))
            assert (await browser.read()).status == 101


async def test_a_server_may_take_pages_that_are_files() -> None:
    async with hosting(Recorder, port=0, allowed_origins=["null"]) as server:
        for origin, status in (("null", 101), ("http://evil.example", 403)):
            async with browsing(server) as browser:
                await browser.stream.send_all(handshake("localhost", origin))
                assert (await browser.read()).status == status


async def test_the_log_says_which_page_was_refused(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "pgnet_trio")
    async with hosting(Recorder, port=0) as server, browsing(server) as browser:
        await browser.stream.send_all(handshake("localhost", "http://evil.example"))
        assert (await browser.read()).status == 403
    assert "http://evil.example" in caplog.text


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"site": "web"}, TypeError, r"Site\('web'\)"),
        ({"allowed_origins": "https://a.example"}, TypeError, "expected a list"),
        ({"allowed_origins": ["a.example"]}, ValueError, "such as 'https://example.org'"),
        ({"allowed_origins": ["https://a.example/"]}, ValueError, "without a path"),
        ({"allowed_origins": [7]}, TypeError, "expected texts"),
        ({"allowed_hosts": "a.example"}, TypeError, "expected a list"),
        ({"allowed_hosts": ["a.example:80"]}, ValueError, "without a port"),
        ({"allowed_hosts": ["https://a.example"]}, ValueError, "such as 'play.example.org'"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Server(Recorder, **options)


def test_a_site_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a folder, got '.*none', which is none"):
        Site(tmp_path / "none")
    with pytest.raises(ValueError, match="one line of text"):
        Site(tmp_path, content_security_policy="default-src\r\nSet-Cookie: x")


# How the server is


async def test_a_server_says_that_it_takes_players() -> None:
    async with hosting(Recorder, port=0) as server:
        reply = await ask(server, "/healthz")
    assert (reply.status, json.loads(reply.body)) == (200, {"status": "ok"})
    assert reply.headers["Content-Type"] == "application/json"


async def test_a_server_says_that_it_cannot_save(socket_clock: trio.testing.MockClock) -> None:
    async with hosting(Recorder, port=0, autosave_interval=5) as server:
        async with socket_client(server, "ann") as ann:
            server.store.full = True
            server.registration_enabled = False
            await trio.sleep(6)
            reply = await ask(server, "/healthz")
            assert (reply.status, json.loads(reply.body)) == (503, {"status": "cannot save"})
            # Games go on, and so do players.
            assert await ann.get_game_dir() == {}
            server.store.full = False
            await trio.sleep(6)
            assert (await ask(server, "/healthz")).status == 200


class Slow(Recorder):
    """Takes its time with everything."""

    async def handle_game_packet(self, packet: Packet, /) -> Response:  # type: ignore[override]  # async where the other is not
        await trio.sleep(3)
        return Response("done")


async def test_a_server_says_that_it_shuts_down(socket_clock: trio.testing.MockClock) -> None:
    server = HostedServer(Slow, port=0)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve)
        async with browsing(server) as browser, socket_client(server, "ann") as ann:
            assert (await browser.ask("/healthz")).status == 200
            await ann.create_game("table 1")
            nursery.start_soon(ann.request, Packet("wait"))
            await trio.testing.wait_all_tasks_blocked(0.02)
            server.shutdown()
            await trio.testing.wait_all_tasks_blocked(0.02)
            reply = await browser.ask("/healthz")
            assert (reply.status, json.loads(reply.body)) == (503, {"status": "shutting down"})
            assert await browser.is_closed()


# Over one connection, and through proxies


@every_library
@pytest.mark.parametrize("proxies", [[], ["127.0.0.1"]], ids=["no proxy", "a proxy"])
async def test_a_websocket_may_follow_pages_over_one_connection(
    library: str, proxies: list[str], folder: Path
) -> None:
    async with (
        showing(folder, transport=library, trusted_proxies=proxies) as server,
        browsing(server) as browser,
    ):
        for _ in range(2):
            assert (await browser.ask("/")).status == 200
            assert server.stats().connections.http == 1
        await browser.stream.send_all(handshake("localhost", "http://localhost"))
        assert (await browser.read()).status == 101
        connections = server.stats().connections
        assert (connections.total, connections.logging_in, connections.http) == (1, 1, 0)


async def test_a_websocket_of_another_page_that_follows_pages_is_refused(folder: Path) -> None:
    async with showing(folder) as server, browsing(server) as browser:
        assert (await browser.ask("/")).status == 200
        await browser.stream.send_all(handshake("localhost", "http://evil.example"))
        assert (await browser.read()).status == 403
        assert await browser.is_closed()


async def test_those_behind_a_proxy_are_limited_by_themselves(
    folder: Path, socket_clock: trio.testing.MockClock
) -> None:
    async with (
        showing(
            folder,
            trusted_proxies=["127.0.0.1"],
            requests_per_second=5,
            max_http_connections_per_address=1,
        ) as server,
        browsing(server) as one,
        browsing(server) as two,
    ):
        start = trio.current_time()
        for number in range(100):
            for browser in (one, two):
                reply = await browser.ask("/", f"X-Forwarded-For: 203.0.113.{number}")
                assert reply.status == 200
        assert trio.current_time() == start
        for _ in range(10):
            assert (await one.ask("/", "X-Forwarded-For: 203.0.113.200")).status == 200
        assert trio.current_time() - start == pytest.approx(6, abs=0.2)


async def test_a_proxy_may_say_upgrade_in_every_request(folder: Path) -> None:
    # As nginx does that was set up for WebSockets alone.
    async with showing(folder) as server, browsing(server) as browser:
        for _ in range(2):
            assert (await browser.ask("/", "Connection: upgrade")).status == 200
        assert (await browser.ask("/", "Connection: upgrade", "Upgrade: h2c")).status == 200
