"""TLS on the game's port: programs and browsers, renewed certificates, and files that do not do."""

from __future__ import annotations

import logging
import os
import re
import ssl
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import attrs
import pytest
import trio
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from pgnet_trio import Client, Packet, Server, ServerError, Site
from pgnet_trio.server.certificate import REST
from pgnet_trio.testing import hosting
from tests.kit.hosting import Recorder
from tests.kit.http_client import HttpClient
from tests.kit.subprocesses import start_program
from tests.kit.transports import REQUEST

if TYPE_CHECKING:
    from trio.testing import MockClock

NOW = datetime.now(UTC)

every_library = pytest.mark.parametrize("library", ["websockets", "trio-websocket"])


@attrs.frozen
class Files:
    """The files of a server's certificate, and who has signed it."""

    folder: Path
    authority: trustme.CA

    @property
    def certificate(self) -> Path:
        return self.folder / "fullchain.pem"

    @property
    def key(self) -> Path:
        return self.folder / "privkey.pem"

    def options(self) -> dict[str, Any]:
        return {"tls_certificate": self.certificate, "tls_key": str(self.key)}

    def issue(self, name: str = "localhost", **times: Any) -> None:
        """Issue a certificate that browsers would see as `name`, and put it into the files."""
        leaf = self.authority.issue_cert("localhost", "127.0.0.1", common_name=name, **times)
        self.put(self.certificate, b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        self.put(self.key, leaf.private_key_pem.bytes())

    def put(self, path: Path, content: bytes) -> None:
        """Put a file into the place of another, as programs that renew certificates do."""
        new = path.with_suffix(".new")
        new.write_bytes(content)
        new.chmod(0o600)
        new.replace(path)

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    """Files with a certificate that this process, and those that it starts, trust."""
    found = Files(tmp_path, trustme.CA())
    found.issue()
    found.authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    return found


@asynccontextmanager
async def browsing(port: int | None, files: Files) -> AsyncIterator[tuple[HttpClient, str]]:
    """Open a connection as browsers do, and tell what name is in the certificate."""
    plain = await trio.open_tcp_stream("127.0.0.1", port or 0)
    async with trio.SSLStream(
        plain, files.context(), server_hostname="localhost", https_compatible=True
    ) as stream:
        await stream.do_handshake()
        subject = dict(pair[0] for pair in stream.getpeercert()["subject"])
        # It asks, and reads, as over any other stream.
        yield HttpClient(cast(Any, stream)), subject["commonName"]


async def name_shown(port: int | None, files: Files) -> str:
    async with browsing(port, files) as (_, name):
        return name


def wss_client(server: Server, **options: Any) -> Client:
    return Client.remote(address=f"wss://localhost:{server.port}", username="ann", **options)


async def assert_plays(client: Client) -> None:
    await client.create_game("table 1")
    assert (await client.request(Packet("hello"))).message == "ann: hello"


@every_library
async def test_the_game_and_its_page_are_on_one_port(files: Files, library: str) -> None:
    (files.folder / "web").mkdir()
    (files.folder / "web" / "index.html").write_text("<h1>play</h1>")
    site = Site(files.folder / "web")
    async with hosting(Recorder, port=0, transport=library, site=site, **files.options()) as server:
        async with wss_client(server, transport=library) as ann:
            await assert_plays(ann)
            async with browsing(server.port, files) as (browser, _):
                reply = await browser.ask("/")
                assert (reply.status, reply.body) == (200, b"<h1>play</h1>")
                assert (await browser.ask("/healthz")).status == 200


async def test_certificate_and_key_may_be_in_one_file(files: Files) -> None:
    files.put(files.certificate, files.certificate.read_bytes() + files.key.read_bytes())
    async with hosting(Recorder, port=0, tls_certificate=files.certificate) as server:
        async with wss_client(server) as ann:
            await assert_plays(ann)


async def test_an_offer_of_http_2_is_answered_with_http_1(files: Files) -> None:
    async with hosting(Recorder, port=0, **files.options()) as server:
        context = files.context()
        context.set_alpn_protocols(["h2", "http/1.1"])
        stream = await trio.open_ssl_over_tcp_stream(
            "localhost", server.port or 0, ssl_context=context, https_compatible=True
        )
        async with stream:
            await stream.do_handshake()
            assert stream.selected_alpn_protocol() == "http/1.1"


async def test_a_player_comes_through_a_proxy_that_says_who_it_is(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "pgnet_trio")
    proxy: dict[str, Any] = {"trusted_proxies": ["127.0.0.1"], "proxy_protocol": True}
    async with hosting(Recorder, port=0, **proxy, **files.options()) as server:
        plain = await trio.open_tcp_stream("127.0.0.1", server.port or 0)
        await plain.send_all(b"PROXY TCP4 192.0.2.7 192.0.2.1 1234 443\r\n")
        async with trio.SSLStream(
            plain, files.context(), server_hostname="localhost", https_compatible=True
        ) as stream:
            await stream.send_all(REQUEST)
            assert b" 101 " in await stream.receive_some()
    assert "Somebody at 192.0.2.7 did not log in" in caplog.text


# Browsers over TLS.


async def asked(files: Files, *headers: str) -> int:
    async with hosting(Recorder, port=0, **files.options()) as server:
        async with browsing(server.port, files) as (browser, _):
            request = REQUEST.replace(b"Host: x\r\n", b"").decode().split("\r\n")[1:-2]
            return (await browser.ask("/", *headers, *request)).status


async def test_browsers_have_compared_the_name_already(files: Files) -> None:
    async with hosting(Recorder, port=0, **files.options()) as server:
        async with browsing(server.port, files) as (browser, _):
            assert (await browser.ask("/healthz", "Host: play.example.org")).status == 200
    own = ["Host: play.example.org", "Origin: https://play.example.org"]
    assert await asked(files, *own) == 101
    with_port = ["Host: play.example.org:38929", "Origin: https://play.example.org:38929"]
    assert await asked(files, *with_port) == 101


async def test_a_page_that_came_without_tls_is_another_one(files: Files) -> None:
    assert await asked(files, "Host: localhost:5", "Origin: http://localhost:5") == 403
    assert await asked(files, "Host: localhost:5", "Origin: https://example.org") == 403


# What is no TLS.


async def test_a_browser_without_https_is_told(files: Files) -> None:
    async with hosting(Recorder, port=0, **files.options()) as server:
        async with await trio.open_tcp_stream("127.0.0.1", server.port or 0) as stream:
            browser = HttpClient(stream)
            reply = await browser.ask("/")
            assert reply.status == 400
            assert reply.body == b"This server speaks TLS: the address begins https://.\n"
            assert await browser.is_closed()


@pytest.mark.parametrize("data", [b"\0" * 600, b"PROXY TCP4 192.0.2.7 192.0.2.1 1234 443\r\n", b""])
async def test_what_is_no_tls_is_closed_and_logged(
    files: Files, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pgnet_trio")
    async with hosting(Recorder, port=0, **files.options()) as server:
        async with await trio.open_tcp_stream("127.0.0.1", server.port or 0) as stream:
            await stream.send_all(data)
            await stream.send_eof()
            assert await HttpClient(stream).is_closed()
        async with wss_client(server) as ann:
            await assert_plays(ann)
        assert server.stats().connections.total == 0
    assert "The connection from 127.0.0.1 failed: the link broke: [SSL" in caplog.text
    assert "Traceback" not in caplog.text


async def test_half_a_handshake_ends_with_the_time_for_the_log_in(
    files: Files, mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pgnet_trio")
    async with hosting(Recorder, port=0, login_timeout=5, **files.options()) as server:
        async with await trio.open_tcp_stream("127.0.0.1", server.port or 0) as stream:
            await stream.send_all(b"\x16\x03\x01\x02\x00")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(HttpClient(stream).is_closed)
                while not server.stats().connections.total:
                    await trio.testing.wait_all_tasks_blocked(0.01)
                mock_clock.jump(6)
    assert "127.0.0.1 did not log in in time" in caplog.text


# Renewal.


async def test_a_renewed_certificate_holds_for_new_connections(
    files: Files, mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pgnet_trio")
    files.issue("first")
    async with hosting(Recorder, port=0, **files.options()) as server:
        async with wss_client(server) as ann:
            assert await name_shown(server.port, files) == "first"
            files.issue("second")
            mock_clock.jump(REST)
            assert await name_shown(server.port, files) == "second"
            await assert_plays(ann)
    assert caplog.text.count("New connections get the certificate that is in the file now") == 1


async def test_a_renewal_half_done_changes_nothing(
    files: Files, mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pgnet_trio")
    files.issue("first")
    old_key = files.key.read_bytes()
    async with hosting(Recorder, port=0, **files.options()) as server:
        files.issue("second")
        new_key = files.key.read_bytes()
        files.put(files.key, old_key)
        for _ in range(3):
            mock_clock.jump(REST)
            assert await name_shown(server.port, files) == "first"
        assert caplog.text.count("The certificate is the old one: tls_key: ") == 1
        assert "holds another key than that of the certificate" in caplog.text
        files.put(files.key, new_key)
        mock_clock.jump(REST)
        assert await name_shown(server.port, files) == "second"


async def test_files_that_are_gone_change_nothing(files: Files, mock_clock: MockClock) -> None:
    files.issue("first")
    async with hosting(Recorder, port=0, **files.options()) as server:
        files.certificate.unlink()
        mock_clock.jump(REST)
        assert await name_shown(server.port, files) == "first"


# Files that do not do, and those that will not do for long.


def refusal(files: Files, **options: Any) -> str:
    with pytest.raises(ServerError) as raised:
        Server(Recorder, **{**files.options(), **options})
    return str(raised.value)


def test_files_that_are_not_there(files: Files) -> None:
    missing = files.folder / "missing.pem"
    says = f"{missing} cannot be read: No such file or directory"
    assert refusal(files, tls_certificate=missing) == f"tls_certificate: {says}"
    assert refusal(files, tls_key=missing) == f"tls_key: {says}"
    assert "cannot be read: Is a directory" in refusal(files, tls_key=files.folder)


def test_a_file_that_may_not_be_read(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Path.read_text

    def read_text(path: Path, *arguments: Any) -> str:
        if path == files.key:
            raise PermissionError(13, "Permission denied")
        return before(path, *arguments)

    # Those who run tests may be allowed to read everything.
    monkeypatch.setattr(Path, "read_text", read_text)
    assert refusal(files) == f"tls_key: {files.key} cannot be read: Permission denied"


def test_another_key_than_that_of_the_certificate(files: Files) -> None:
    certificate = files.certificate.read_bytes()
    files.issue()
    files.put(files.certificate, certificate)
    assert refusal(files) == (
        f"tls_key: {files.key} holds another key than that of the certificate in "
        f"{files.certificate}; give the two that were made together"
    )


def test_files_that_hold_something_else(files: Files) -> None:
    assert refusal(files, tls_key=None) == (
        f"tls_key: expected a private key in PEM in {files.certificate}; name its file as tls_key "
        "too"
    )
    assert refusal(files, tls_key=files.certificate) == refusal(files, tls_key=None)
    files.put(files.certificate, b"\xff\0")
    says = f"tls_certificate: expected a certificate in PEM in {files.certificate}"
    assert refusal(files) == says
    files.put(files.certificate, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert f"{files.certificate} and {files.key} cannot be used: " in refusal(files)


def test_a_key_with_a_password_is_refused_and_nobody_is_asked(files: Files) -> None:
    key = load_pem_private_key(files.key.read_bytes(), None)
    encryption = BestAvailableEncryption(b"secret")
    files.put(files.key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    assert f"tls_key: {files.key} is encrypted with a password" in refusal(files)


def test_a_key_without_a_certificate(files: Files) -> None:
    with pytest.raises(ValueError, match="tls_key needs the certificate"):
        Server(Recorder, tls_key=files.key)


@pytest.mark.parametrize(
    ("times", "says"),
    [
        ({"not_after": NOW - timedelta(days=1)}, "certificate has expired"),
        ({"not_before": NOW + timedelta(days=1)}, "certificate is not yet valid"),
        ({}, None),
    ],
)
def test_a_certificate_out_of_its_time_gets_a_warning(
    files: Files, times: dict[str, Any], says: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    files.issue(**times)
    Server(Recorder, **files.options())
    told = [record.getMessage() for record in caplog.records]
    where = f"Browsers and other clients will refuse the certificate in {files.certificate}"
    assert told == ([] if says is None else [f"{where}: {says}"])


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_a_key_that_others_can_read_gets_a_warning(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    files.key.chmod(0o640)
    Server(Recorder, **files.options())
    assert caplog.text == ""
    files.key.chmod(0o640 | stat.S_IROTH)
    Server(Recorder, **files.options())
    assert f"Others can read the private key of the certificate: run chmod o= {files.key}" in (
        caplog.text
    )


# The command.


async def test_serve_speaks_tls(files: Files) -> None:
    options = ["--tls-certificate", "fullchain.pem", "--tls-key", "privkey.pem"]
    async with start_program("serve", "--port", "0", *options, cwd=files.folder) as program:
        line = await program.out.wait_for(r"Listening on localhost, port (\d+).*\n")
        async with browsing(int(line[1]), files) as (browser, _):
            assert (await browser.ask("/healthz")).status == 200


async def test_serve_says_what_is_wrong_with_the_files(files: Files) -> None:
    for options, says in (
        (
            ["--tls-certificate", "x.pem"],
            "pgnet-trio: tls_certificate: x.pem cannot be read: No su",
        ),
        (["--tls-key", "privkey.pem"], "pgnet-trio: --tls-key needs the certificate that it belon"),
    ):
        async with start_program("serve", "--port", "0", *options, cwd=files.folder) as program:
            assert await program.exit_status() == 1
            assert re.match(re.escape(says), program.err.text)
