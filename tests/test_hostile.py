"""Peers that break the rules: they are refused or cut off, and nobody else notices."""

from __future__ import annotations

import base64
import json
import logging
import os
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pgnet_trio import Client, Packet, Server
from pgnet_trio.transport import Transport, choose
from tests.hosting import hosting, player
from tests.original_peer import OriginalClient, PeerError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

IMPLEMENTATIONS = ["websockets", "trio-websocket"]


def key_trade(pubkey: object) -> str:
    return json.dumps({"message": "key_trade", "payload": {"pubkey": pubkey}})


FIRST_MESSAGES: dict[str, str | bytes] = {
    "random bytes": os.urandom(100),
    "random text": base64.b85encode(os.urandom(100)).decode(),
    "nothing": "",
    "no packet": "[1, 2]",
    "wrong types": '{"message": 5}',
    "unknown keys": '{"message": "key_trade", "surprise": 1}',
    "no key": '{"message": "key_trade"}',
    "nested": "[" * 10_000,
    "nested payload": '{"message": "key_trade", "payload": ' + '{"a":' * 2_000 + "1" + "}" * 2_001,
    "zero key": key_trade(base64.b64encode(bytes(32)).decode()),
    "short key": key_trade(base64.b64encode(bytes(8)).decode()),
    "a number as key": key_trade(17),
    "one byte too long": "x" * (16 * 1024 + 1),
}


@pytest.fixture(params=IMPLEMENTATIONS)
async def server(request: pytest.FixtureRequest, nursery: trio.Nursery) -> AsyncIterator[Server]:
    async with hosting(port=0, transport=request.param, ping_interval=None) as server:
        yield server


@asynccontextmanager
async def link(server: Server) -> AsyncIterator[Transport]:
    connect = choose("websockets").connect
    async with connect("127.0.0.1", server.port or 0, max_message_size=None) as transport:
        yield transport


async def drain_until_closed(transport: Transport) -> list[str | bytes]:
    """Read until the server closes, and give what it said."""
    said = []
    with trio.fail_after(5):
        while True:
            try:
                said.append(await transport.receive())
            except (trio.EndOfChannel, trio.BrokenResourceError):
                return said


async def assert_serves(server: Server) -> None:
    async with player(server, "ann") as ann:
        await ann.create_game("table 1")
        assert (await ann.request(Packet("hello"))).message == "ann: hello"
    await wait_all_tasks_blocked(0.01)


@pytest.mark.parametrize("name", FIRST_MESSAGES)
async def test_a_senseless_first_message_ends_that_connection(
    name: str, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with link(server) as transport:
        await transport.send(FIRST_MESSAGES[name])
        said = await drain_until_closed(transport)
    if name not in ("one byte too long",):
        (refusal,) = said
        assert json.loads(refusal)["disconnecting"] is True
    await assert_serves(server)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("change", ["flip", "cut", "plain", "binary"])
async def test_an_altered_ciphertext_ends_that_connection(change: str, server: Server) -> None:
    peer = OriginalClient(username="bob", password="")
    async with link(server) as transport:
        await transport.send(peer.open())
        handshake = peer.receive(await transport.receive())
        assert handshake is not None
        data = bytearray(base64.b64decode(handshake))
        data[30] ^= 1
        altered: dict[str, str | bytes] = {
            "flip": base64.b64encode(data).decode(),
            "cut": handshake[:40],
            "plain": '{"message": "handshake"}',
            "binary": bytes(data),
        }
        await transport.send(altered[change])
        await drain_until_closed(transport)
    await assert_serves(server)


async def test_a_request_over_the_limit_ends_that_connection_only(server: Server) -> None:
    async with player(server, "bob", reconnect_for=0) as bob:
        # A client of ours knows the limit, and would not send it.
        bob._outbox.max_size = None
        with pytest.raises(Exception, match=r"clos|lost|over"):
            await bob.request(Packet("x", {"text": "x" * 70_000}))
        assert not bob.connected
    await assert_serves(server)


async def test_raw_bytes_instead_of_http(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    for data in (os.urandom(2000), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b""):
        stream = await trio.open_tcp_stream("127.0.0.1", server.port or 0)
        async with stream:
            await stream.send_all(data)
            await stream.send_eof()
            with trio.fail_after(5):
                while True:
                    try:
                        if not await stream.receive_some(65536):
                            break
                    except trio.BrokenResourceError:
                        break
    await assert_serves(server)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_an_abrupt_reset_frees_the_seat(server: Server) -> None:
    with trio.CancelScope() as scope:
        async with player(server, "bob") as bob:
            await bob.create_game("table 1")
            scope.cancel()
            await trio.lowlevel.checkpoint()
    await assert_frees_seat(server)


async def assert_frees_seat(server: Server) -> None:
    await wait_all_tasks_blocked(0.02)
    async with player(server, "bob") as bob:
        assert await bob.get_game_dir() == {}


async def test_those_who_say_nothing_are_dropped_in_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with hosting(
        port=0,
        login_timeout=10,
        max_connections_per_address=None,
        max_logins_per_address=None,
    ) as server:
        silent = []
        for _ in range(1000):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", server.port or 0))
            silent.append(one)
        await wait_all_tasks_blocked(0.05)
        assert server._host.counts.total == 1000
        await trio.sleep(11)
        await wait_all_tasks_blocked(0.05)
        assert server._host.counts.total == 0
        for one in silent:
            one.close()


async def test_too_many_from_one_address_are_turned_away() -> None:
    async with hosting(port=0, max_logins_per_address=3) as server:
        streams = [await trio.open_tcp_stream("127.0.0.1", server.port or 0) for _ in range(4)]
        with trio.fail_after(5):
            assert await streams[3].receive_some(1) == b""
        for stream in streams:
            await stream.aclose()
        await wait_all_tasks_blocked(0.02)
        await assert_serves(server)


async def test_a_flood_of_requests_waits_and_starves_nobody(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with hosting(port=0, requests_per_second=10) as server, player(server, "bob") as bob:
        start = trio.current_time()
        for _ in range(50):
            await bob.request(Packet("x"))
        assert trio.current_time() - start == pytest.approx(3, abs=0.2)
        async with player(server, "ann") as ann:
            now = trio.current_time()
            await ann.get_game_dir()
            assert trio.current_time() == pytest.approx(now, abs=0.1)


async def test_an_original_client_plays_on_our_server(server: Server) -> None:
    peer = OriginalClient(username="bob", password="pw")
    async with link(server) as transport:

        async def exchange(text: str) -> None:
            await transport.send(text)
            reply = peer.receive(await transport.receive())
            if reply is not None:
                await exchange(reply)

        await exchange(peer.open())
        await exchange(peer.request("__pgnet__.create_game", {"name": "table 1"}))
        assert peer.game == "table 1"
        await exchange(peer.request("hello", {"n": hash("x")}))
        with pytest.raises(PeerError):
            peer.receive("x")


async def test_a_half_open_peer_is_dropped(autojump_clock: trio.testing.MockClock) -> None:
    async with hosting(port=0, ping_interval=5, keepalive_timeout=8) as server:
        peer = OriginalClient(username="bob", password="pw")
        async with link(server) as transport:
            await transport.send(peer.open())
            handshake = peer.receive(await transport.receive())
            assert handshake is not None
            await transport.send(handshake)
            await transport.receive()
            # From here on it neither reads nor writes: pings stay unanswered.
            await trio.sleep(20)
            async with player(server, "bob", "pw") as bob:
                assert isinstance(bob, Client)
