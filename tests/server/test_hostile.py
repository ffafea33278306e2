"""Peers that break the rules: they are refused or cut off, and nobody else notices."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import random
import re
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pgnet_trio import (
    Client,
    ConnectFailed,
    LoginRefused,
    Packet,
    Request,
    Response,
    SendQueueFull,
    Server,
)
from pgnet_trio.client.outbox import MAX_QUEUED
from pgnet_trio.codec import MAX_DEPTH
from pgnet_trio.crypto import PasswordHasher
from pgnet_trio.protocol import v2
from pgnet_trio.protocol.v2.client_delivery import ClientDelivery
from pgnet_trio.protocol.v2.states import WINDOW
from pgnet_trio.testing import SimulatedNetwork, hosting
from pgnet_trio.transport import Transport, choose
from tests.kit.hosting import SLOWER_HASHER, Recorder, cheap_environment, socket_client
from tests.kit.original_peer import OriginalClient, PeerError
from tests.kit.protocol_pair import logged_in
from tests.kit.proxy import InterceptingProxy, intercepting
from tests.kit.transports import accept

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

IMPLEMENTATIONS = ["websockets", "trio-websocket"]


# Decoders stop there by themselves, with a RecursionError, before our own limit is looked at.
DEEPER_THAN_DECODERS_GO = 2_000


def nested_json(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


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
    "nested": "[" * DEEPER_THAN_DECODERS_GO,
    "too deep": '{"message": "key_trade", "payload": ' + nested_json(MAX_DEPTH + 1) + "}",
    "far too deep": '{"message": "x", "payload": ' + nested_json(DEEPER_THAN_DECODERS_GO) + "}",
    "zero key": key_trade(base64.b64encode(bytes(32)).decode()),
    "short key": key_trade(base64.b64encode(bytes(8)).decode()),
    "a number as key": key_trade(17),
    "one byte too long": "x" * (16 * 1024 + 1),
}


@pytest.fixture(params=IMPLEMENTATIONS)
async def server(request: pytest.FixtureRequest, nursery: trio.Nursery) -> AsyncIterator[Server]:
    async with hosting(Recorder, port=0, transport=request.param, ping_interval=None) as server:
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
    async with socket_client(server, "ann") as ann:
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
    async with socket_client(server, "bob", reconnect_for=0) as bob:
        # A client of ours knows the limit, and would not send it.
        bob._run.outbox.max_size = None
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
        async with socket_client(server, "bob") as bob:
            await bob.create_game("table 1")
            scope.cancel()
            await trio.lowlevel.checkpoint()
    await assert_frees_seat(server)


async def assert_frees_seat(server: Server) -> None:
    await wait_all_tasks_blocked(0.02)
    async with socket_client(server, "bob") as bob:
        assert await bob.get_game_dir() == {}


async def test_those_who_say_nothing_are_dropped_in_time(
    socket_clock: trio.testing.MockClock,
) -> None:
    async with hosting(
        Recorder,
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
        assert server.stats().connections.total == 1000
        await trio.sleep(11)
        await wait_all_tasks_blocked(0.05)
        assert server.stats().connections.total == 0
        for one in silent:
            one.close()


async def test_too_many_from_one_address_are_turned_away() -> None:
    async with hosting(Recorder, port=0, max_logins_per_address=3) as server:
        streams = [await trio.open_tcp_stream("127.0.0.1", server.port or 0) for _ in range(4)]
        with trio.fail_after(5):
            assert await streams[3].receive_some(1) == b""
        for stream in streams:
            await stream.aclose()
        await wait_all_tasks_blocked(0.02)
        await assert_serves(server)


async def test_a_flood_of_requests_waits_and_starves_nobody(
    socket_clock: trio.testing.MockClock,
) -> None:
    async with (
        hosting(Recorder, port=0, requests_per_second=10) as server,
        socket_client(server, "bob") as bob,
    ):
        start = trio.current_time()
        for _ in range(50):
            await bob.request(Packet("x"))
        assert trio.current_time() - start == pytest.approx(3, abs=0.2)
        async with socket_client(server, "ann") as ann:
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


async def test_a_half_open_peer_is_dropped(socket_clock: trio.testing.MockClock) -> None:
    async with hosting(Recorder, port=0, ping_interval=5, keepalive_timeout=8) as server:
        peer = OriginalClient(username="bob", password="pw")
        async with link(server) as transport:
            await transport.send(peer.open())
            handshake = peer.receive(await transport.receive())
            assert handshake is not None
            await transport.send(handshake)
            await transport.receive()
            # From here on it neither reads nor writes: pings stay unanswered.
            await trio.sleep(20)
            async with socket_client(server, "bob", "pw") as bob:
                assert isinstance(bob, Client)


# Somebody in the middle.


STRIPPED = b"Sec-WebSocket-Protocol"


def strip(data: bytes) -> bytes:
    """Take the header with the subprotocols out, in whichever case a library writes it."""
    lines = data.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.lower().startswith(STRIPPED.lower()))


def through(proxy: InterceptingProxy, transport: str, **options: Any) -> Client:
    return Client.remote(
        address=f"127.0.0.1:{proxy.port}",
        username="ann",
        password="pw",
        transport=transport,
        environment=cheap_environment(),
        **options,
    )


@pytest.mark.parametrize("side", ["to_server", "to_client"])
@pytest.mark.parametrize("transport", IMPLEMENTATIONS)
async def test_who_strips_the_subprotocol_gets_nothing_from_who_knows_better(
    transport: str, side: str
) -> None:
    async with (
        hosting(Recorder, port=0, transport=transport) as server,
        intercepting(server.port) as eve,
    ):
        setattr(eve, side, strip)
        for options in ({"verify_server_pubkey": server.pubkey}, {"minimum_protocol": 2}):
            with pytest.raises(ConnectFailed, match="does not speak protocol 2"):
                await through(eve, transport, **options).run()
        assert server.stats().users == 0
        if side == "to_server":
            # At a first contact without a key to compare with, nobody can know. It shows.
            async with through(eve, transport) as ann:
                assert ann.protocol == 1


@pytest.mark.parametrize("seen", [b"pgnet.2", b"pgnet.2.1", b"pgnet.2, pgnet.2.1", b"pgnet.2.1, x"])
@pytest.mark.parametrize("transport", IMPLEMENTATIONS)
async def test_who_names_other_subprotocols_breaks_the_handshake(
    transport: str, seen: bytes
) -> None:
    # Also where the server then selects what the client takes as well.
    offer = re.compile(rb"(?i)(sec-websocket-protocol: )pgnet[^\r]*")
    async with (
        hosting(Recorder, port=0, transport=transport) as server,
        intercepting(server.port) as eve,
    ):
        eve.to_server = lambda data: offer.sub(rb"\g<1>" + seen, data)
        with pytest.raises(ConnectFailed, match="handshake failed"):
            await through(eve, transport).run()
        assert server.stats().users == 0


@pytest.mark.parametrize("gone", [True, False])
@pytest.mark.parametrize("transport", IMPLEMENTATIONS)
async def test_a_client_that_comes_back_speaks_protocol_2_or_not_at_all(
    transport: str, gone: bool, socket_clock: trio.testing.MockClock
) -> None:
    statuses: list[str] = []
    async with (
        hosting(Recorder, port=0, transport=transport, resume_grace=2) as server,
        intercepting(server.port) as eve,
    ):
        ann = through(eve, transport, reconnect_for=20)
        async with trio.open_nursery() as nursery:
            await nursery.start(ann.run)
            ann.on_status = statuses.append
            first = len(eve.connections)
            if gone:
                # As where it was told so, and the connection broke before it was in again.
                ann.on_online = lambda online: setattr(ann._run.session, "_token", b"")
            eve.to_server = strip
            await eve.reset()
        assert "does not speak protocol 2" in ann.close_reason
        assert any("does not speak protocol 2" in status for status in statuses)
        assert len(eve.connections) > first + 2
        for connection in eve.connections[first:]:
            assert b"\r\n\r\n" in connection.sent
            # Nothing but the WebSocket's own handshake and its end.
            assert len(connection.sent.partition(b"\r\n\r\n")[2]) < 140


@pytest.mark.parametrize("transport", IMPLEMENTATIONS)
async def test_another_server_at_a_reconnect_is_told_nothing(
    transport: str, socket_clock: trio.testing.MockClock
) -> None:
    async with (
        hosting(Recorder, port=0, transport=transport, resume_grace=1000) as server,
        hosting(Recorder, network=SimulatedNetwork(1), port=0, transport=transport) as other,
        intercepting(server.port) as eve,
        through(eve, transport, reconnect_for=None) as ann,
    ):
        await ann.create_game("table 1")
        eve.target = other.port or 0
        await eve.reset()
        await trio.sleep(30)
        assert (ann.connected, ann.online) == (True, False)
        assert "public key" in ann.status
        assert other.stats().users == 0
        eve.target = server.port or 0
        await trio.sleep(6)
        assert ann.online
        assert (await ann.request(Packet("hello"))).message == "ann: hello"


@pytest.mark.parametrize("transport", IMPLEMENTATIONS)
async def test_a_replayed_resume_takes_nothing(
    transport: str, socket_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        hosting(Recorder, port=0, transport=transport) as server,
        intercepting(server.port) as eve,
        through(eve, transport) as ann,
    ):
        await ann.create_game("table 1")
        await eve.reset()
        await trio.sleep(1)
        assert ann.online
        for recorded in [bytes(connection.sent) for connection in eve.connections]:
            async with await trio.open_tcp_stream("127.0.0.1", server.port or 0) as stream:
                await stream.send_all(recorded)
                await read_to_the_end(stream)
        assert ann.online
        assert (await ann.request(Packet("calls"))).payload["calls"] == ["ann joined"]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def read_to_the_end(stream: trio.SocketStream) -> None:
    with trio.fail_after(60):
        try:
            while await stream.receive_some(65536):
                pass
        except trio.BrokenResourceError:
            return


@pytest.mark.parametrize("transport", IMPLEMENTATIONS)
async def test_altered_bytes_cost_the_connection_and_not_the_session(
    transport: str, socket_clock: trio.testing.MockClock
) -> None:
    chance = random.Random(4)
    async with (
        hosting(Recorder, port=0, transport=transport, resume_grace=10_000) as server,
        intercepting(server.port) as eve,
        through(eve, transport, reconnect_for=None) as ann,
    ):
        await ann.create_game("table 1")

        def alter(data: bytes) -> bytes:
            # Behind the frame's head, so that it is no matter of the WebSocket.
            if len(data) < 20 or data.startswith((b"GET", b"HTTP")) or chance.random() < 0.85:
                return data
            position = chance.randrange(14, len(data))
            return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]

        eve.to_server = eve.to_client = alter
        for n in range(25):
            assert (await ann.request(Packet("hello", {"n": n}))).payload == {"n": n}
        assert len(eve.connections) > 5
        eve.to_server = eve.to_client = bytes
        assert (await ann.request(Packet("calls"))).payload["calls"] == ["ann joined"]


@pytest.mark.parametrize("transport", IMPLEMENTATIONS)
async def test_resets_in_the_middle_of_frames_lose_and_repeat_nothing(
    transport: str, socket_clock: trio.testing.MockClock
) -> None:
    class Counting(Recorder):
        def handle_game_packet(self, packet: Packet, /) -> Response:
            self.calls.append(str(packet.payload["n"]))
            return Response("", {"n": packet.payload["n"], "padding": "x" * 500})

    chance = random.Random(5)
    async with (
        hosting(
            Counting, port=0, transport=transport, requests_per_second=None, resume_grace=10_000
        ) as server,
        intercepting(server.port) as eve,
        through(eve, transport, reconnect_for=None) as ann,
    ):
        await ann.create_game("table 1")

        def cut_now_and_then(data: bytes) -> bytes:
            if data.startswith((b"GET", b"HTTP")) or chance.random() < 0.85:
                return data
            eve.connections[-1].client.socket.shutdown(socket.SHUT_RDWR)
            return data[: chance.randrange(len(data))]

        eve.to_server = eve.to_client = cut_now_and_then
        answers: list[int] = []
        for n in range(60):
            if n % 3:
                ann.send(
                    Packet("count", {"n": n}),
                    lambda response: answers.append(response.payload["n"]),
                )
            else:
                await ann.request(Packet("count", {"n": n}))
        eve.to_server = eve.to_client = bytes
        await ann.request(Packet("count", {"n": 60}))
        await wait_all_tasks_blocked(0.01)
        assert len(eve.connections) > 5
        assert server.games["table 1"].calls[1:] == [str(n) for n in range(61)]
        assert answers == [n for n in range(60) if n % 3]


# Clients of protocol 2 that are logged in, and then break the rules.


WELCOME, SESSION_GONE, ANSWER, STATE, GAME, GOODBYE = 3, 5, 8, 10, 16, 21
"""Kinds of envelopes."""


class ScriptedPeer:
    """A client that is logged in by the rules, and then says what a test has it say."""

    def __init__(self, transport: Transport, username: str = "bob") -> None:
        self.transport = transport
        self.endpoint = v2.ClientProtocol(
            username=username,
            password="",
            invite_code="",
            encrypted=True,
            random_bytes=os.urandom,
            offered=transport.offered_subprotocols,
            max_frame_size=None,
            delivery=ClientDelivery(lambda: None),
        )

    async def log_in(self) -> None:
        await self.shake_hands()
        await self.transport.send(self.endpoint.next_message() or b"")
        await self.hear_until(WELCOME)

    async def shake_hands(self) -> None:
        await self.transport.send(self.endpoint.next_message() or b"")
        self.endpoint.receive(await self.transport.receive())

    async def say(self, plaintext: bytes) -> None:
        link = self.endpoint._cipher
        assert link is not None
        await self.transport.send(link.encrypt_frame(plaintext))

    async def say_envelopes(self, *envelopes: list[Any]) -> None:
        await self.say(msgspec.msgpack.encode(envelopes))

    async def hear(self) -> list[list[Any]]:
        """Give the envelopes of the next frame."""
        link, message = self.endpoint._cipher, await self.transport.receive()
        assert link is not None
        assert isinstance(message, bytes)
        return msgspec.msgpack.decode(link.decrypt_frame(message), type=list[list[Any]])

    async def hear_until(self, kind: int) -> list[list[Any]]:
        """Give the frame that has an envelope of this kind."""
        while True:
            heard = await self.hear()
            if any(envelope[0] == kind for envelope in heard):
                return heard

    async def hear_to_the_end(self) -> list[list[Any]]:
        heard: list[list[Any]] = []
        with trio.fail_after(5):
            while True:
                try:
                    heard += await self.hear()
                except (trio.EndOfChannel, trio.BrokenResourceError):
                    return heard


@asynccontextmanager
async def stranger(server: Server, username: str = "bob") -> AsyncIterator[ScriptedPeer]:
    async with choose("websockets").connect(
        "127.0.0.1", server.port or 0, subprotocols=[v2.SUBPROTOCOL], max_message_size=None
    ) as transport:
        bob = ScriptedPeer(transport, username)
        await bob.log_in()
        yield bob


def request(id: int, message: str = "x", payload: object = None, *more: object) -> list[Any]:
    return [7, id, message, {} if payload is None else payload, *more]


def nested(depth: int) -> bytes:
    return b"\x91\x94\x07\x01\xa1x\x81\xa1x" + b"\x91" * depth + b"\xc0"


BROKEN_FRAMES: dict[str, bytes] = {
    "no msgpack": b"\xc1",
    "random": random.Random(1).randbytes(300),
    "cut": msgspec.msgpack.encode([request(1)])[:-1],
    "more behind": msgspec.msgpack.encode([request(1)]) + b"\xc0",
    "no array": msgspec.msgpack.encode({"x": 1}),
    "no envelope": msgspec.msgpack.encode([1]),
    "an empty envelope": msgspec.msgpack.encode([[]]),
    "an unknown kind": msgspec.msgpack.encode([[99]]),
    "a kind that is text": msgspec.msgpack.encode([["7", 1, "x", {}]]),
    "too few fields": msgspec.msgpack.encode([[7, 1]]),
    "too many fields": msgspec.msgpack.encode([[*request(1), False, None, 1]]),
    "an id that is text": msgspec.msgpack.encode([[7, "1", "x", {}]]),
    "an id that is none": msgspec.msgpack.encode([[7, None, "x", {}]]),
    "a payload that is none": msgspec.msgpack.encode([[7, 1, "x", None]]),
    "a payload with other keys": msgspec.msgpack.encode([[7, 1, "x", {1: 2, b"x": 3}]]),
    "a payload with bytes": msgspec.msgpack.encode([request(1, "x", {"x": b"x"})]),
    "a payload that is no number": msgspec.msgpack.encode([request(1, "x", {"x": float("nan")})]),
    "bad text": b"\x91\x94\x07\x01\xa1\xff\x80",
    "too deep": nested(MAX_DEPTH + 1),
    "far too deep": nested(DEEPER_THAN_DECODERS_GO),
    "a claim of four billion": b"\xdd\xff\xff\xff\xff",
    "the second request first": msgspec.msgpack.encode([request(2)]),
    "request zero": msgspec.msgpack.encode([request(0)]),
    "a negative request": msgspec.msgpack.encode([request(-1)]),
    "the same request twice": msgspec.msgpack.encode([request(1), request(1)]),
    "an enormous request": msgspec.msgpack.encode([request(2**64 - 1)]),
    "an acknowledgement of nothing": msgspec.msgpack.encode([[17, 5]]),
    "a negative acknowledgement": msgspec.msgpack.encode([[17, -1]]),
    "a second hello": msgspec.msgpack.encode([[0, None]]),
    "a second log-in": msgspec.msgpack.encode([[1, "bob", ""]]),
    "a resume": msgspec.msgpack.encode([[2, "bob", bytes(32), 0]]),
    "what servers say": msgspec.msgpack.encode([[8, 1, 0, "x", {}]]),
    "a welcome": msgspec.msgpack.encode([[3, "x", bytes(32)]]),
    "something after goodbye": msgspec.msgpack.encode([[21, "x"], request(1)]),
    "an answer without a number": msgspec.msgpack.encode([[15, 5, 1, "x", {}]]),
}


@pytest.mark.parametrize("name", BROKEN_FRAMES)
async def test_a_broken_frame_ends_the_session_with_a_reason(
    name: str, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with socket_client(server, "eve") as eve:
        await eve.create_game("table 2")
        tasks = server.stats().tasks
        async with stranger(server) as bob:
            await bob.say(BROKEN_FRAMES[name])
            heard = await bob.hear_to_the_end()
        if name != "something after goodbye":
            kind, reason = heard[-1]
            assert kind == GOODBYE
            assert reason
        await wait_all_tasks_blocked(0.01)
        assert list(server.stats().sessions) == ["eve"]
        assert server.stats().tasks == tasks
        assert (await eve.request(Packet("hello"))).message == "eve: hello"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_what_joining_and_leaving_tell_leaves_with_the_answer(server: Server) -> None:
    async with socket_client(server, "eve") as eve, stranger(server) as bob:
        await eve.create_game("table 2")
        for number in (1, 3):
            await bob.say_envelopes(request(number, Request.JOIN_GAME, {"name": "table 2"}))
            kinds = [envelope[0] for envelope in await bob.hear()]
            assert kinds[0] == GAME
            assert kinds[-1] == ANSWER
            await bob.say_envelopes(request(number + 1, Request.LEAVE_GAME))
            assert [envelope[0] for envelope in await bob.hear()] == [GAME, ANSWER]


async def test_why_a_connection_ends_is_said_where_nobody_else_can_read_it(
    server: Server,
) -> None:
    async with stranger(server) as bob:
        await bob.say_envelopes(request(1, "x", {"confidential": b"x"}))
        *_, goodbye = await bob.hear_until(GOODBYE)
        assert "confidential" in goodbye[1]
        # The close of a WebSocket is not encrypted.
        with pytest.raises(trio.EndOfChannel) as ended:
            await bob.transport.receive()
        assert str(ended.value) == "the peer closed the link with code 1008"


@pytest.mark.parametrize("message", ["text", b"", b"x", bytes(100), bytes(60_000)])
async def test_what_is_not_from_the_client_ends_the_connection_but_not_the_session(
    message: str | bytes, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with stranger(server) as bob:
        await bob.transport.send(message)
        heard = await bob.hear_to_the_end()
    await wait_all_tasks_blocked(0.01)
    if isinstance(message, bytes):
        assert not heard
        assert "bob" in server.stats().sessions
    await assert_serves(server)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


class Stuck(Recorder):
    """A game that is stuck in its first turn, until it is let go on."""

    gate: trio.Event
    turns: int

    async def handle_packet(self, packet: Packet, /) -> Response:
        type(self).turns += packet.message == "x"
        await self.gate.wait()
        return Response("at last")


def stuck() -> type[Stuck]:
    return type("JustStuck", (Stuck,), {"gate": trio.Event(), "turns": 0})


@pytest.mark.parametrize("quiet", [True, False])
async def test_more_requests_than_the_window_end_the_session(quiet: bool) -> None:
    game = stuck()
    async with hosting(game, port=0, requests_per_second=None) as server:
        async with stranger(server) as bob:
            await bob.say_envelopes(request(1, "__pgnet__.create_game", {"name": "table 1"}))
            await bob.hear_until(ANSWER)
            # It was told of the game, of the players, and that all is well.
            await bob.say_envelopes([17, 3], *(request(n, "x", {}, quiet) for n in range(2, 66)))
            await wait_all_tasks_blocked(0.01)
            assert server.stats().sessions["bob"].unanswered == 64
            await bob.say_envelopes(request(66, "x", {}, quiet))
            heard = await bob.hear_to_the_end()
            kind, reason = heard[-1]
            assert kind == GOODBYE
            assert "at most 64" in reason
        await wait_all_tasks_blocked(0.01)
        assert not server.stats().sessions
        game.gate.set()
        await wait_all_tasks_blocked(0.01)
        # What came in before that is the game's; what came too much is nobody's.
        assert game.turns == 64
        assert not server.stats().games


async def test_a_flood_of_quiet_messages_stays_in_bounds() -> None:
    game = stuck()
    async with hosting(game, port=0, requests_per_second=None) as server:
        async with socket_client(server, "bob") as bob:
            await bob.create_game("table 1")
            sent = 0
            with pytest.raises(SendQueueFull):
                while True:
                    bob.send(Packet("x", {"x": "x" * 100}))
                    sent += 1
            assert sent == WINDOW + MAX_QUEUED
            await wait_all_tasks_blocked(0.02)
            assert server.stats().sessions["bob"].unanswered == WINDOW
            game.gate.set()
            await wait_all_tasks_blocked(0.02)
            await bob.request(Packet("last"))
            assert game.turns == sent


async def test_fewer_in_flight_than_the_window_break_no_client() -> None:
    async with hosting(
        Recorder, port=0, max_requests_in_flight=2, requests_per_second=None
    ) as server:
        async with socket_client(server, "bob") as bob:
            await bob.create_game("table 1")
            found: list[str] = []

            async def look() -> None:
                found.extend(await bob.get_game_dir())

            async with trio.open_nursery() as nursery:
                for _ in range(200):
                    nursery.start_soon(look)
            assert found == ["table 1"] * 200
        async with socket_client(server, "bob", protocol=1) as bob:
            assert bob.connected
            await bob.get_game_dir()


async def test_asking_for_the_state_again_and_again_shows_it_once_a_message() -> None:
    class Seen(Recorder):
        def view(self) -> str:
            return "x" * 10_000

    async with hosting(Seen, port=0) as server, stranger(server) as bob:
        await bob.say_envelopes(request(1, "__pgnet__.create_game", {"name": "table 1"}))
        await bob.hear_until(ANSWER)
        await bob.say_envelopes(*([[18]] * 500))
        await bob.say_envelopes([21, ""])
        heard = await bob.hear_to_the_end()
        assert [envelope[0] for envelope in heard] == [STATE]


PING, ACKNOWLEDGEMENT, FULL_STATE_REQUEST = [19], [17, 0], [18]


@pytest.mark.parametrize("said", [PING, ACKNOWLEDGEMENT, FULL_STATE_REQUEST])
async def test_what_is_said_beside_requests_waits_like_requests(
    said: list[int], socket_clock: trio.testing.MockClock
) -> None:
    async with hosting(Recorder, port=0) as server, stranger(server) as bob:
        await bob.say_envelopes(*[said] * 1000)
        start = trio.current_time()
        # Each of them is in a frame of its own, and so is the request.
        await bob.say_envelopes(*[said] * 1000)
        await bob.say_envelopes(request(1))
        await bob.hear_until(ANSWER)
        assert trio.current_time() - start == pytest.approx((2000 - 400) / 200, abs=0.5)


async def test_pings_before_the_log_in_wait_too(socket_clock: trio.testing.MockClock) -> None:
    async with hosting(Recorder, port=0) as server:
        async with choose("websockets").connect(
            "127.0.0.1", server.port or 0, subprotocols=[v2.SUBPROTOCOL], max_message_size=None
        ) as transport:
            bob = ScriptedPeer(transport)
            await bob.shake_hands()
            start = trio.current_time()
            await bob.say_envelopes([0, None], *[PING] * 1000)
            await bob.say_envelopes([1, "bob", ""])
            await bob.hear_until(WELCOME)
            assert trio.current_time() - start == pytest.approx((1001 - 400) / 200, abs=0.5)


async def test_an_acknowledgement_beside_each_request_costs_nothing(
    socket_clock: trio.testing.MockClock,
) -> None:
    async with hosting(Recorder, port=0) as server, stranger(server) as bob:
        start = trio.current_time()
        for id in range(1, 400):
            await bob.say_envelopes(ACKNOWLEDGEMENT if id == 1 else [17, id - 1], request(id))
            await bob.hear_until(ANSWER)
        assert trio.current_time() - start < 0.5


async def test_an_address_that_connects_again_and_again_waits(
    socket_clock: trio.testing.MockClock,
) -> None:
    async with hosting(Recorder, port=0, max_logins_per_address=2) as server:
        start = trio.current_time()
        for _ in range(8):
            async with stranger(server):
                pass
        # Four at once, and two a second.
        assert trio.current_time() - start == pytest.approx(2, abs=0.5)


async def test_who_gives_up_while_waiting_for_a_place_leaves_nothing(
    socket_clock: trio.testing.MockClock,
) -> None:
    async with hosting(
        Recorder,
        port=0,
        max_logins_per_address=1,
        max_connections_per_address=None,
        login_timeout=5,
    ) as server:
        for _ in range(30):
            stream = await trio.open_tcp_stream("127.0.0.1", server.port or 0)
            await stream.aclose()
        await trio.sleep(6)
        await wait_all_tasks_blocked(0.02)
        assert server.stats().connections.total == 0


async def test_a_goodbye_right_behind_the_log_in_leaves_nobody_in_the_seat() -> None:
    async with hosting(Recorder, port=0) as server:
        async with choose("websockets").connect(
            "127.0.0.1", server.port or 0, subprotocols=[v2.SUBPROTOCOL], max_message_size=None
        ) as transport:
            bob = ScriptedPeer(transport)
            await bob.shake_hands()
            await bob.say_envelopes([0, None], [1, "bob", ""], [21, "no, rather not"])
            await bob.hear_to_the_end()
        await wait_all_tasks_blocked(0.01)
        assert not server.stats().sessions


async def test_resumes_by_guessing_end_with_the_time_to_log_in(
    socket_clock: trio.testing.MockClock,
) -> None:
    async with hosting(Recorder, port=0) as server, socket_client(server, "ann") as ann:
        async with choose("websockets").connect(
            "127.0.0.1", server.port or 0, subprotocols=[v2.SUBPROTOCOL], max_message_size=None
        ) as transport:
            bob = ScriptedPeer(transport)
            start = trio.current_time()
            await bob.shake_hands()
            await bob.say_envelopes([0, None], [2, "ann", os.urandom(32), 0])
            for _ in range(10):
                assert [envelope[0] for envelope in await bob.hear()] == [SESSION_GONE]
                await bob.say_envelopes([2, "ann", os.urandom(32), 0])
            await bob.hear()
            with pytest.raises(trio.EndOfChannel):
                await transport.receive()
            assert trio.current_time() - start == pytest.approx(10, abs=1.5)
        assert ann.online


# Which protocol is spoken.


async def test_clients_of_both_protocols_play_in_the_same_game(server: Server) -> None:
    peer = OriginalClient(username="bob", password="pw")
    async with link(server) as transport, socket_client(server, "ann") as ann:

        async def exchange(text: str) -> None:
            await transport.send(text)
            reply = peer.receive(await transport.receive())
            if reply is not None:
                await exchange(reply)

        await ann.create_game("table 1")
        await exchange(peer.open())
        await exchange(peer.request("__pgnet__.join_game", {"name": "table 1"}))
        assert (ann.protocol, peer.game) == (2, "table 1")
        await wait_all_tasks_blocked(0.01)
        assert ann.players == {"ann": True, "bob": True}
        await exchange(peer.request("hello", {"n": 1}))
        assert peer.received[-1]["payload"] == {"n": 1}
        assert (await ann.request(Packet("calls"))).payload["calls"] == ["ann joined", "bob joined"]
        await exchange(peer.request("__pgnet__.leave_game"))
        await wait_all_tasks_blocked(0.01)
        assert ann.players == {"ann": True}
        # A game that pushes is nothing for it, and it is told so.
        await exchange(peer.request("__pgnet__.help"))
        assert peer.received[-1]["status"] == 0


async def test_a_server_may_want_protocol_2_and_tells_others_so() -> None:
    async with hosting(Recorder, port=0, minimum_protocol=2) as server:
        peer = OriginalClient(username="bob", password="pw")
        async with link(server) as transport:
            await transport.send(peer.open())
            peer.receive(await transport.receive())
            assert peer.stage.name == "CLOSED"
        assert "protocol 2" in peer.received[-1]["message"]
        assert peer.received[-1]["disconnecting"] is True
        with pytest.raises(LoginRefused, match="protocol 2"):
            await socket_client(server, "bob", protocol=1).run()
        async with socket_client(server, "bob") as bob:
            assert bob.protocol == 2
            assert list(server.stats().sessions) == ["bob"]
        # And nobody else was registered.
        assert server.stats().users == 1


@pytest.mark.parametrize("transport", IMPLEMENTATIONS)
async def test_an_original_server_is_spoken_to_in_its_words_unless_that_is_ruled_out(
    transport: str,
) -> None:
    """A server that offers no subprotocol is one of the original's, as far as a client can see."""
    told: list[str | bytes] = []

    async def serve(stream: trio.SocketStream) -> None:
        async with accept(choose(transport), stream) as link:
            with contextlib.suppress(trio.EndOfChannel, trio.BrokenResourceError):
                while True:
                    told.append(await link.receive())

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        address = f"127.0.0.1:{listener.socket.getsockname()[1]}"
        for options in (
            {"minimum_protocol": 2},
            {"verify_server_pubkey": base64.b64encode(bytes(32)).decode()},
        ):
            client = Client.remote(
                address=address, username="ann", password="pw", transport=transport, **options
            )
            with pytest.raises(ConnectFailed, match="does not speak protocol 2"):
                await client.run()
        assert told == []
        client = Client.remote(address=address, username="ann", transport=transport)
        with trio.move_on_after(0.1):
            await client.run()
        assert isinstance(told[0], str)
        assert json.loads(told[0])["message"] == "key_trade"
        nursery.cancel_scope.cancel()


def test_pings_pile_up_no_pongs_where_nothing_can_be_written() -> None:
    session = logged_in()
    for sender, receiver in ((session.client, session.server), (session.server, session.client)):
        for _ in range(100):
            assert sender.ping()
            receiver.receive(sender.next_message() or b"")
        assert sender.receive(receiver.next_message() or b"") == []
        assert receiver.next_message() is None


async def test_a_log_in_that_ran_out_of_time_holds_its_place_until_its_hash_is_done(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    running = most = 0

    async def hash_for_a_minute() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(60)
        running -= 1

    async with trio.open_nursery() as threads:

        async def run(
            function: Callable[..., Any],
            *args: Any,
            abandon_on_cancel: bool,
            limiter: trio.CapacityLimiter | None = None,
        ) -> Any:
            if not isinstance(getattr(function, "__self__", None), PasswordHasher):
                return function(*args)
            # A thread cannot be stopped: who is cancelled waits for its end, or leaves it behind.
            threads.start_soon(hash_for_a_minute)
            with trio.CancelScope(shield=not abandon_on_cancel):
                await trio.sleep(61)
            return function(*args)

        async def log_in(client: Client) -> None:
            with pytest.raises(ConnectFailed):
                async with client:
                    raise AssertionError("there was no time to log in")

        environment = attrs.evolve(
            cheap_environment(), run_blocking=run, password_hasher=SLOWER_HASHER
        )
        async with (
            hosting(Recorder, environment=environment, login_timeout=5) as hosted,
            trio.open_nursery() as nursery,
        ):
            for name in "ann", "bob", "eve":
                nursery.start_soon(log_in, hosted.client(name))
                await trio.sleep(1)
    assert most == 1
