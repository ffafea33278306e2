"""Behind proxies: whose connection it is, who is believed, and what limits then hold for whom."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from pgnet_trio import Client, Disconnected, Server
from pgnet_trio.errors import ConnectFailed
from pgnet_trio.server.proxies import TrustedProxies
from pgnet_trio.testing import HostedServer, hosting
from tests.kit.hosting import Recorder, socket_client
from tests.kit.proxy import intercepting
from tests.kit.transports import REQUEST

IMPLEMENTATIONS = ["websockets", "trio-websocket"]
LOOPBACK = ["127.0.0.1"]

every_library = pytest.mark.parametrize("library", IMPLEMENTATIONS)

# Who is believed


@pytest.mark.parametrize(
    ("forwarded_for", "client"),
    [
        (["203.0.113.7"], "203.0.113.7"),
        (["203.0.113.7, 10.0.0.2"], "203.0.113.7"),
        (["203.0.113.7", "10.0.0.2, 10.1.2.3"], "203.0.113.7"),
        # What a client says of itself stands before what the proxies say.
        (["192.0.2.1, 203.0.113.7"], "203.0.113.7"),
        (["10.0.0.9, 203.0.113.7"], "203.0.113.7"),
        (["203.0.113.7:4711"], "203.0.113.7"),
        (["[2001:db8::1]:4711"], "2001:db8::1"),
        (["[2001:db8::1]"], "2001:db8::1"),
        (["2001:DB8:0::1"], "2001:db8::1"),
        (["::ffff:203.0.113.7"], "203.0.113.7"),
        (["203.0.113.7, ::ffff:10.0.0.2"], "203.0.113.7"),
        ([], "10.0.0.1"),
        ([""], "10.0.0.1"),
        (["unknown"], "10.0.0.1"),
        (["203.0.113.7, unknown"], "10.0.0.1"),
        (["203.0.113.7,"], "10.0.0.1"),
        (["203.0.113.7, unknown, 10.0.0.2"], "10.0.0.2"),
        (["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        (["fe80::1%eth0"], "10.0.0.1"),
        (["fe80::1%\n2026-01-01 admin"], "10.0.0.1"),
        (["203.0.113.7\x1b[2J"], "10.0.0.1"),
        (["1.2.3"], "10.0.0.1"),
        (["203.0.113.7:4711:1"], "10.0.0.1"),
        (["203.0.113.07"], "10.0.0.1"),
    ],
)
def test_the_client_is_the_last_address_that_is_no_proxys(
    forwarded_for: list[str], client: str
) -> None:
    assert TrustedProxies(["10.0.0.0/8"]).client_of("10.0.0.1", forwarded_for) == client


def test_a_header_of_somebody_who_is_no_trusted_proxy_is_ignored() -> None:
    assert TrustedProxies(["10.0.0.1"]).client_of("10.0.0.2", ["203.0.113.7"]) == "10.0.0.2"
    assert TrustedProxies().client_of("10.0.0.2", ["203.0.113.7"]) == "10.0.0.2"


def test_a_proxy_is_known_by_every_form_of_its_address() -> None:
    proxies = TrustedProxies(["10.0.0.1", "fe80::/64", "2001:db8::1"])
    assert "10.0.0.1" in proxies
    assert "::ffff:10.0.0.1" in proxies
    assert "fe80::2%eth0" in proxies
    assert "2001:db8:0:0::1" in proxies
    assert "10.0.0.2" not in proxies
    assert "somebody" not in proxies


def test_so_is_one_that_is_listed_as_an_address_of_ipv4_within_ipv6() -> None:
    proxies = TrustedProxies(["::ffff:10.0.0.1", "::ffff:192.168.0.0/112"])
    for address in ("10.0.0.1", "::ffff:10.0.0.1", "192.168.7.8"):
        assert address in proxies
    for address in ("10.0.0.2", "192.169.0.1", "::1"):
        assert address not in proxies
    assert "10.0.0.1" not in TrustedProxies(["::/0"])


ADDRESSES = st.ip_addresses().map(str)


@given(
    st.lists(st.text(max_size=30) | ADDRESSES, max_size=5),
    st.ip_addresses(v=4).filter(lambda address: address not in ipaddress.ip_network("10.0.0.0/8")),
    st.lists(st.ip_addresses(v=4, network="10.0.0.0/8").map(str), max_size=3),
)
def test_nothing_that_a_client_writes_changes_what_the_proxies_say(
    invented: list[str], client: ipaddress.IPv4Address, proxies: list[str]
) -> None:
    lines = [*invented, ", ".join([str(client), *proxies])]
    assert TrustedProxies(["10.0.0.0/8"]).client_of("10.0.0.1", lines) == str(client)


@given(st.lists(st.text(max_size=50), max_size=4))
def test_what_comes_out_is_an_address_whatever_goes_in(lines: list[str]) -> None:
    found = TrustedProxies(["0.0.0.0/0", "::/0"]).client_of("10.0.0.1", lines)
    assert str(ipaddress.ip_address(found)) == found


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"trusted_proxies": "127.0.0.1"}, TypeError, "expected a list of addresses"),
        ({"trusted_proxies": 1}, TypeError, "expected a list of addresses"),
        ({"trusted_proxies": [1]}, TypeError, "expected addresses as text"),
        ({"trusted_proxies": ["*"]}, ValueError, "such as '127.0.0.1' or '10.0.0.0/8', got '*'"),
        ({"trusted_proxies": ["localhost"]}, ValueError, "got 'localhost'"),
        ({"trusted_proxies": ["10.0.0.1/8"]}, ValueError, "host bits set"),
        ({"trusted_proxies": LOOPBACK, "proxy_protocol": 1}, TypeError, "True or False"),
        ({"proxy_protocol": True}, ValueError, "trusted_proxies"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message.replace("*", r"\*")):
        Server(Recorder, **options)


# A server behind a proxy


class Front:
    """A proxy before a server, which says of each connection what `says` holds at that time."""

    def __init__(self, server: HostedServer, port: int) -> None:
        self.port = port
        self.says = b""
        self._server = server

    def client(self, username: str, **options: Any) -> Client:
        address = f"127.0.0.1:{self.port}"
        return Client.remote(address=address, username=username, password="pw", **options)

    def add_header(self, data: bytes) -> bytes:
        first, end, rest = data.partition(b"\r\n")
        return first + end + self.says + rest if first.startswith(b"GET ") else data

    def add_before(self, data: bytes) -> bytes:
        return self.says + data if data.startswith(b"GET ") else data


@asynccontextmanager
async def behind_a_proxy(
    library: str | None, edit: Callable[[Front, bytes], bytes], **options: Any
) -> AsyncIterator[tuple[HostedServer, Front]]:
    options = {"trusted_proxies": LOOPBACK, **options}
    async with (
        hosting(Recorder, port=0, transport=library, **options) as server,
        intercepting(server.port) as proxy,
    ):
        front = Front(server, proxy.port)
        proxy.to_server = lambda data: edit(front, data)
        yield server, front


def forwarded_for(address: str) -> bytes:
    return f"X-Forwarded-For: {address}\r\n".encode()


@every_library
async def test_a_player_behind_a_trusted_proxy_has_an_address_of_their_own(
    library: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "pgnet_trio")
    async with behind_a_proxy(library, Front.add_header) as (_, front):
        front.says = forwarded_for("192.0.2.1, 203.0.113.7")
        async with front.client("ann"):
            pass
    assert "ann logged in from 203.0.113.7" in caplog.messages


@every_library
async def test_whoever_is_no_trusted_proxy_says_nothing_of_their_address(
    library: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "pgnet_trio")
    options: list[dict[str, Any]] = [{"trusted_proxies": []}, {"trusted_proxies": ["10.0.0.1"]}]
    for number, option in enumerate(options):
        async with behind_a_proxy(library, Front.add_header, **option) as (_, front):
            front.says = forwarded_for("203.0.113.7")
            async with front.client(f"ann{number}"):
                pass
        assert f"ann{number} logged in from 127.0.0.1" in caplog.messages


async def test_limits_hold_for_the_address_of_the_player_and_not_for_the_proxys() -> None:
    async with behind_a_proxy(None, Front.add_header, max_connections_per_address=1) as (
        server,
        front,
    ):
        front.says = forwarded_for("203.0.113.7")
        async with front.client("ann"):
            with pytest.raises(ConnectFailed, match="Too many connections from your address"):
                await front.client("bob", reconnect_for=0).run()
            front.says = forwarded_for("203.0.113.8")
            async with front.client("eve"):
                assert server.stats().connections.total == 2
    assert server.stopped.is_set()


async def test_failed_log_ins_count_for_the_address_of_the_player() -> None:
    async with behind_a_proxy(
        None, Front.add_header, failed_logins_per_account=None, failed_logins_per_address=1
    ) as (_, front):
        async with front.client("ann"):
            pass
        front.says = forwarded_for("203.0.113.7")
        for expected in ("The password is not right", "Too many failed log-ins"):
            guess = Client.remote(
                address=f"127.0.0.1:{front.port}", username="ann", password="guessed"
            )
            with pytest.raises(ConnectFailed, match=expected):
                await guess.run()
        front.says = forwarded_for("203.0.113.8")
        async with front.client("ann"):
            pass


async def test_a_proxy_that_names_nobody_is_limited_like_anybody() -> None:
    async with behind_a_proxy(None, Front.add_header, max_connections_per_address=1) as (
        _,
        front,
    ):
        async with front.client("ann"):
            with pytest.raises(ConnectFailed, match="Too many connections"):
                await front.client("bob", reconnect_for=0).run()


async def test_connections_whose_address_is_not_known_yet_fill_the_server_too() -> None:
    async with hosting(
        Recorder, port=0, trusted_proxies=LOOPBACK, max_connections=2, max_logins_per_address=1
    ) as server:
        streams = [await trio.open_tcp_stream("127.0.0.1", server.port or 0) for _ in range(3)]
        # The third is closed at once, and the others are waited for.
        assert await streams[2].receive_some() == b""
        connections = server.stats().connections
        assert (connections.total, connections.logging_in) == (2, 2)
        for stream in streams:
            await stream.aclose()


# PROXY protocol


V1 = b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\x0a\0\0\x01\x12\x67\x01\xbb"
V2_LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"


@every_library
@pytest.mark.parametrize(
    ("header", "address"),
    [(V1, "203.0.113.7"), (V2, "203.0.113.7"), (V2_LOCAL, "127.0.0.1")],
    ids=["version 1", "version 2", "the proxy itself"],
)
async def test_a_proxy_may_speak_the_proxy_protocol(
    library: str, header: bytes, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "pgnet_trio")
    async with behind_a_proxy(library, Front.add_before, proxy_protocol=True) as (_, front):
        front.says = header
        async with front.client("ann"):
            pass
    assert f"ann logged in from {address}" in caplog.messages


async def test_limits_hold_for_the_address_in_the_proxy_protocol() -> None:
    async with behind_a_proxy(
        None, Front.add_before, proxy_protocol=True, max_connections_per_address=1
    ) as (_, front):
        front.says = V1
        async with front.client("ann"):
            with pytest.raises(ConnectFailed):
                await front.client("bob", reconnect_for=0).run()
            front.says = V1.replace(b".7 ", b".8 ")
            async with front.client("eve"):
                pass


def both_proxies(front: Front, data: bytes) -> bytes:
    """Do what a proxy of HTTP and one that speaks the PROXY protocol do in a row."""
    return V1 + front.add_header(data) if data.startswith(b"GET ") else data


async def test_a_proxy_of_http_may_stand_before_one_that_speaks_the_proxy_protocol(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "pgnet_trio")
    async with behind_a_proxy(
        None, both_proxies, trusted_proxies=["127.0.0.1", "203.0.113.7"], proxy_protocol=True
    ) as (_, front):
        front.says = forwarded_for("198.51.100.1")
        async with front.client("ann"):
            pass
    assert "ann logged in from 198.51.100.1" in caplog.messages


async def test_a_header_that_a_client_adds_does_not_count_behind_the_proxy_protocol(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "pgnet_trio")
    async with behind_a_proxy(None, both_proxies, proxy_protocol=True) as (_, front):
        front.says = forwarded_for("198.51.100.1")
        async with front.client("ann"):
            pass
    assert "ann logged in from 203.0.113.7" in caplog.messages


async def test_a_trusted_proxy_without_the_header_is_refused_and_the_log_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "pgnet_trio")
    async with hosting(Recorder, port=0, trusted_proxies=LOOPBACK, proxy_protocol=True) as server:
        with pytest.raises((ConnectFailed, Disconnected)):
            await socket_client(server, "ann").run()
    assert (
        "The connection from 127.0.0.1 failed: expected the header of the PROXY protocol, "
        "got b'GET / HTTP/1.1\\r\\n'"
    ) in caplog.messages


async def test_whoever_is_no_trusted_proxy_cannot_speak_the_proxy_protocol(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "pgnet_trio")
    async with hosting(
        Recorder, port=0, trusted_proxies=["10.0.0.1"], proxy_protocol=True
    ) as server:
        async with socket_client(server, "ann"):
            pass
        async with await trio.open_tcp_stream("127.0.0.1", server.port or 0) as stream:
            await stream.send_all(V1 + REQUEST)
            assert b" 400 " in await stream.receive_some()
    assert "ann logged in from 127.0.0.1" in caplog.messages


async def test_a_header_that_stops_halfway_holds_a_place_for_as_long_as_a_log_in_may_take(
    socket_clock: trio.testing.MockClock,
) -> None:
    async with hosting(
        Recorder, port=0, trusted_proxies=LOOPBACK, proxy_protocol=True, login_timeout=3
    ) as server:
        for start in (b"", V1[:10], V2[:20]):
            async with await trio.open_tcp_stream("127.0.0.1", server.port or 0) as stream:
                await stream.send_all(start)
                begun = trio.current_time()
                try:
                    assert await stream.receive_some() == b""
                except trio.BrokenResourceError:
                    pass
                assert 3 <= trio.current_time() - begun < 4
        await trio.testing.wait_all_tasks_blocked()
        assert server.stats().connections.total == 0


async def test_a_header_in_pieces_takes_nothing_of_the_handshake() -> None:
    async with hosting(Recorder, port=0, trusted_proxies=LOOPBACK, proxy_protocol=True) as server:
        for header in (V1, V2):
            async with await trio.open_tcp_stream("127.0.0.1", server.port or 0) as stream:
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
                for piece in (header[:3], header[3:14], header[14:20], header[20:] + REQUEST):
                    await stream.send_all(piece)
                    await trio.testing.wait_all_tasks_blocked(0.01)
                assert b" 101 " in await stream.receive_some()
