"""One suite for every transport: what holds for one link holds for all.

The WebSocket transports run over real sockets on loopback, in every combination of server and
client. Hostile peers are played by hand.
"""

from __future__ import annotations

import base64
import contextlib
import gc
import hashlib
import importlib
import logging
import os
import re
import ssl
import sys
import tracemalloc
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import WebSocketURI
from wsproto.connection import Connection as WebSocket
from wsproto.connection import ConnectionType

from pgnet_trio.transport import MemoryTransport, Transport, choose, memory_pair
from pgnet_trio.transport.frames import (
    FINAL_BINARY,
    FINAL_TEXT,
    FrameWatch,
    apply_mask,
    only_message,
    take_plain,
)
from pgnet_trio.transport.frames import frame as make_frame
from pgnet_trio.transport.handshake import make_host_header
from pgnet_trio.transport.pipes import SocketPipe
from pgnet_trio.transport.rules import MAX_FRAGMENTS
from pgnet_trio.transport.streams import broken, detach
from tests.kit import transports
from tests.kit.tasks import Bystander
from tests.kit.transports import (
    ALL_PAIRS,
    BINARY,
    CLOSE,
    ONE_LIBRARY_PAIRS,
    PING,
    PONG,
    REQUEST,
    TEXT,
    UNUSUAL_REQUEST,
    WEBSOCKET_PAIRS,
    RawPeer,
    TransportPair,
    connected_sockets,
    frame,
    raw_client,
    raw_server,
)

LIBRARIES = ["trio-websocket", "websockets"]

every_pair = pytest.mark.parametrize("pair", ALL_PAIRS, ids=lambda pair: pair.id)
every_websocket = pytest.mark.parametrize("pair", WEBSOCKET_PAIRS, ids=lambda pair: pair.id)
each_end = pytest.mark.parametrize("pair", ONE_LIBRARY_PAIRS, ids=lambda pair: pair.id)
each_websocket_end = pytest.mark.parametrize(
    "pair", ONE_LIBRARY_PAIRS[1:], ids=lambda pair: pair.id
)
every_library = pytest.mark.parametrize("library", LIBRARIES)


@st.composite
def masked_frames(draw: st.DrawFn) -> bytes:
    """A frame of a client's: most often an ordinary one, else one that is somehow special."""
    opcode = draw(st.sampled_from([TEXT, BINARY, TEXT, BINARY, 0, PING, PONG, CLOSE, 3]))
    payload = draw(
        st.binary(max_size=20)
        | st.text(max_size=20).map(str.encode)
        | st.integers(120, 160).map(bytes)
        | st.just(b"\x03\xe8bye")
    )
    key = draw(st.binary(min_size=4, max_size=4))
    first = opcode | draw(st.sampled_from([0x80, 0x80, 0x80, 0, 0xC0]))
    mask = draw(st.sampled_from([0x80] * 9 + [0]))
    if draw(st.integers(0, 9)) == 0:
        # A length in more bytes than it needs.
        head = bytes((first, mask | 126)) + len(payload).to_bytes(2)
    else:
        head = make_frame(first, payload)[: -len(payload) or None]
        head = bytes((head[0], head[1] | mask)) + head[2:]
    return head + key + apply_mask(payload, key) if mask else head + payload


FRAMES = masked_frames()


def open_sockets() -> int:
    """How many sockets this process has open; 0 where the system does not tell."""
    directory = Path("/proc/self/fd")
    if not directory.exists():
        return 0
    count = 0
    for entry in os.listdir(directory):
        try:
            count += os.readlink(directory / entry).startswith("socket:")
        except FileNotFoundError:
            continue
    return count


@pytest.fixture(autouse=True)
def nothing_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What a peer does is no reason to fill the log."""
    with caplog.at_level(logging.INFO):
        yield
    # `caplog.records` has only those of the teardown by now.
    assert [record.getMessage() for record in caplog.get_records("call")] == []


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No test leaves a socket open."""
    before = open_sockets()
    yield
    assert open_sockets() == before


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing does not wait a whole second for a peer that does not answer."""
    for name in ("handshake", "websocket"):
        module = importlib.import_module(f"pgnet_trio.transport.{name}")
        monkeypatch.setattr(module, "CLOSE_TIMEOUT", 0.05)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing waits for ever, so that what must not need the timeout is seen to do without."""
    for name in ("handshake", "websocket"):
        module = importlib.import_module(f"pgnet_trio.transport.{name}")
        monkeypatch.setattr(module, "CLOSE_TIMEOUT", float("inf"))


@asynccontextmanager
async def stuck_drain(
    sender: Transport, message: str | bytes
) -> AsyncGenerator[tuple[int, trio.Event, trio.CancelScope], None]:
    """Send until the receiver, which does not receive, has room for no more.

    Yields how many messages went out or wait, an event that is set when the last one's `drain`
    returns, and the scope around that `drain`.
    """
    count = 0
    while True:
        assert count < 400, "a link took whatever it was given"
        count += 1
        if sender.send_nowait(message):
            continue
        drained, scope = trio.Event(), trio.CancelScope()

        async def drain(drained: trio.Event, scope: trio.CancelScope) -> None:
            with scope:
                await sender.drain()
                drained.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain, drained, scope)
            await trio.testing.wait_all_tasks_blocked(0.01)
            if not drained.is_set():
                yield count, drained, scope
                return


async def expect_end(receiver: Transport) -> str:
    """Receive until the peer's close; return what the error says."""
    with pytest.raises(trio.EndOfChannel) as caught:
        while True:
            await receiver.receive()
    return str(caught.value)


async def expect_broken(receiver: Transport) -> str:
    """Receive until the link is broken; return what the error says."""
    with pytest.raises(trio.BrokenResourceError) as caught:
        while True:
            await receiver.receive()
    return str(caught.value)


async def expect_closed(transport: Transport) -> None:
    """A link that was closed at this end says so whatever is done with it."""
    with pytest.raises(trio.ClosedResourceError):
        await transport.receive()
    with pytest.raises(trio.ClosedResourceError):
        transport.send_nowait("x")
    with pytest.raises(trio.ClosedResourceError):
        await transport.drain()
    transport.ping()
    await transport.aclose()


class TestMessages:
    @every_pair
    async def test_arrive_as_they_were_sent(self, pair: TransportPair) -> None:
        sent: list[str | bytes] = [
            "a",
            b"b",
            "",
            b"",
            "grüße 🎲",
            b"\0\xff",
            "x" * 70_000,
            b"y" * 200,
        ]
        async with pair.open() as (one, other):
            for sender, receiver in [(one, other), (other, one)]:
                for message in sent:
                    await sender.send(message)
                received = [await receiver.receive() for _ in sent]
                assert received == sent
                assert [type(message) for message in received] == [type(each) for each in sent]

    @every_pair
    async def test_keep_their_order_both_ways_at_once(self, pair: TransportPair) -> None:
        async with pair.open() as (one, other), trio.open_nursery() as nursery:

            async def send(sender: Transport) -> None:
                for number in range(300):
                    await sender.send(f"{number}")

            async def receive(receiver: Transport) -> None:
                assert [await receiver.receive() for _ in range(300)] == [
                    f"{number}" for number in range(300)
                ]

            for end in (one, other):
                nursery.start_soon(send, end)
                nursery.start_soon(receive, end)

    @every_pair
    async def test_that_cannot_travel_are_refused_and_change_nothing(
        self, pair: TransportPair
    ) -> None:
        async with pair.open() as (one, other):
            with pytest.raises(UnicodeEncodeError):
                one.send_nowait("lone surrogate \ud800")
            with pytest.raises(TypeError, match="expected str or bytes, got int"):
                one.send_nowait(5)  # type: ignore[arg-type]  # wrong on purpose
            await one.send("fine")
            assert await other.receive() == "fine"

    @every_pair
    async def test_that_wait_leave_other_tasks_their_turn(self, pair: TransportPair) -> None:
        async with pair.open() as (one, other), trio.open_nursery() as nursery:
            bystander = Bystander()
            for _ in range(60):
                await one.send("x")
            await trio.testing.wait_all_tasks_blocked(0.01)
            nursery.start_soon(bystander.run)
            for _ in range(60):
                await other.receive()
            assert bystander.turns >= 1
            nursery.cancel_scope.cancel()

    @every_pair
    async def test_receiving_one_that_is_there_can_be_cancelled(self, pair: TransportPair) -> None:
        async with pair.open() as (one, other):
            await one.send("a")
            await one.send("b")
            assert await other.receive() == "a"
            with trio.CancelScope() as scope:
                scope.cancel()
                await other.receive()
            assert scope.cancelled_caught
            assert await other.receive() == "b"

    @every_pair
    async def test_last_received_tells_when_something_came(self, pair: TransportPair) -> None:
        async with pair.open() as (one, other):
            before = trio.current_time()
            await one.send("x")
            await other.receive()
            assert before <= other.last_received <= trio.current_time()


class TestSizeLimit:
    @every_pair
    @pytest.mark.parametrize(
        "message", ["é" * 50, b"x" * 100, "🎲" * 25], ids=["two", "binary", "four"]
    )
    async def test_counts_bytes_and_not_characters(
        self, pair: TransportPair, message: str | bytes
    ) -> None:
        async with pair.open(max_message_size=100) as (one, other):
            await one.send(message)
            assert await other.receive() == message
            await one.send(message + "a" if isinstance(message, str) else message + b"a")
            assert "over the limit of 100 bytes" in await expect_broken(other)
            assert "1009" in await expect_end(one)
            for end in (one, other):
                with pytest.raises(trio.BrokenResourceError, match="100 bytes"):
                    end.send_nowait("x")
                with pytest.raises(trio.BrokenResourceError, match="100 bytes"):
                    await end.send("x")

    @every_pair
    async def test_may_change_while_the_link_is_open(self, pair: TransportPair) -> None:
        async with pair.open(max_message_size=10) as (one, other):
            assert other.max_message_size == 10
            other.max_message_size = 1000
            await one.send("x" * 1000)
            assert len(await other.receive()) == 1000
            other.max_message_size = None
            await one.send("x" * 100_000)
            assert len(await other.receive()) == 100_000
            other.max_message_size = 20
            await one.send("x" * 20)
            assert len(await other.receive()) == 20
            await one.send("x" * 21)
            assert "limit of 20 bytes" in await expect_broken(other)

    @every_pair
    async def test_lets_what_came_before_pass(self, pair: TransportPair) -> None:
        async with pair.open(max_message_size=10) as (one, other):
            for message in ["a", "b", "x" * 11]:
                await one.send(message)
            assert [await other.receive(), await other.receive()] == ["a", "b"]
            for _ in range(2):
                with pytest.raises(trio.BrokenResourceError, match="limit of 10 bytes"):
                    await other.receive()

    @each_end
    @pytest.mark.usefixtures("impatient")
    async def test_breaks_the_link_under_a_sender_that_does_not_stop(
        self, pair: TransportPair
    ) -> None:
        async with pair.open(max_message_size=1000) as (one, other):
            async with trio.open_nursery() as nursery:

                async def flood() -> None:
                    with pytest.raises(trio.BrokenResourceError):
                        while True:
                            await one.send(b"x" * 1_000_000)

                nursery.start_soon(flood)
                await expect_broken(other)
                await other.aclose()


class TestClosing:
    @every_pair
    async def test_gives_the_peer_code_and_reason(self, pair: TransportPair) -> None:
        async with pair.open() as (one, other):
            await one.send("last words")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.aclose, 4321, "grüße")
                assert await other.receive() == "last words"
                for _ in range(2):
                    with pytest.raises(trio.EndOfChannel, match="code 4321: grüße"):
                        await other.receive()
                with pytest.raises(trio.BrokenResourceError, match="code 4321: grüße"):
                    other.send_nowait("x")
                with pytest.raises(trio.BrokenResourceError, match="code 4321: grüße"):
                    await other.send("x")
                other.ping()
            await expect_closed(one)
            await other.aclose()
            await expect_closed(other)

    @every_pair
    async def test_takes_only_what_a_close_frame_can_carry(self, pair: TransportPair) -> None:
        async with pair.open() as (one, other), trio.open_nursery() as nursery:
            for code in (0, 999, 1005, 1006, 1015, 2000, 5000):
                with pytest.raises(ValueError, match=f"got {code}"):
                    await one.aclose(code)
            nursery.start_soon(one.aclose, 1001, "\x1b[2J" + "ü" * 100)
            text = await expect_end(other)
            assert text.endswith("\\x1b[2J" + "ü" * 59)

    @every_pair
    async def test_by_both_at_once(self, pair: TransportPair) -> None:
        async with pair.open() as (one, other), trio.open_nursery() as nursery:
            nursery.start_soon(one.aclose)
            nursery.start_soon(other.aclose)
        await expect_closed(one)
        await expect_closed(other)

    @every_pair
    async def test_twice_at_once_is_closing_once(self, pair: TransportPair) -> None:
        async with pair.open() as (one, other), trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(one.aclose, 4000, "enough")
            assert "4000: enough" in await expect_end(other)

    @every_pair
    async def test_wakes_the_task_that_receives_here(self, pair: TransportPair) -> None:
        async with pair.open() as (one, other), trio.open_nursery() as nursery:

            async def receive() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await one.receive()

            nursery.start_soon(receive)
            nursery.start_soon(expect_end, other)
            await trio.testing.wait_all_tasks_blocked()
            await one.aclose()

    @each_end
    async def test_wakes_the_task_that_drains_here(self, pair: TransportPair) -> None:
        async with pair.open() as (one, other), trio.open_nursery() as nursery:

            async def drain() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    while True:
                        await one.send(b"x" * 1_000_000)

            nursery.start_soon(drain)
            await trio.testing.wait_all_tasks_blocked(0.01)
            with trio.CancelScope() as scope:
                scope.cancel()
                await one.aclose()
            with pytest.raises((trio.EndOfChannel, trio.BrokenResourceError)):
                while True:
                    await other.receive()

    @every_pair
    async def test_that_is_cancelled_closes(self, pair: TransportPair) -> None:
        async with pair.open() as (one, other):
            with trio.CancelScope() as scope:
                scope.cancel()
                await one.aclose()
            assert scope.cancelled_caught
            await expect_closed(one)
            with pytest.raises((trio.EndOfChannel, trio.BrokenResourceError)):
                await other.receive()

    @every_pair
    async def test_throws_away_what_was_not_received(self, pair: TransportPair) -> None:
        async with pair.open() as (one, other):
            for _ in range(10):
                await one.send("x")
            assert await other.receive() == "x"
            async with trio.open_nursery() as nursery:
                nursery.start_soon(other.aclose, 4000)
                assert "4000" in await expect_end(one)
            await expect_closed(other)


class TestCancellation:
    @every_pair
    async def test_of_a_receive_loses_nothing(self, pair: TransportPair) -> None:
        async with pair.open() as (one, other), trio.open_nursery() as nursery:
            received: list[str | bytes] = []
            scope = trio.CancelScope()

            async def receive() -> None:
                nonlocal scope
                while len(received) < 200:
                    scope = trio.CancelScope()
                    with scope:
                        received.append(await other.receive())

            nursery.start_soon(receive)
            for number in range(200):
                await one.send(f"{number}")
                scope.cancel()
                if number % 3 == 0:
                    await trio.lowlevel.checkpoint()
                    scope.cancel()
            with trio.move_on_after(5):
                while len(received) < 200:
                    await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            assert received == [f"{number}" for number in range(200)]

    @each_end
    async def test_of_a_drain_closes_the_link(self, pair: TransportPair) -> None:
        async with pair.open() as (one, other):
            async with stuck_drain(one, b"x" * 1_000_000) as (_, drained, scope):
                scope.cancel()
            assert not drained.is_set()
            await expect_closed(one)
            await expect_broken(other)

    @every_library
    @pytest.mark.parametrize("last", ["close", "broken"])
    async def test_of_a_receive_hides_no_end(self, library: str, last: str) -> None:
        data = frame(CLOSE, b"\x0f\xa0bye") if last == "close" else frame(TEXT, bits=0x40)
        for passes in range(8):
            async with raw_client(library) as (server, raw), trio.open_nursery() as nursery:
                scope = trio.CancelScope()

                async def receive(server: Transport, scope: trio.CancelScope) -> None:
                    with scope, contextlib.suppress(trio.EndOfChannel, trio.BrokenResourceError):
                        await server.receive()

                nursery.start_soon(receive, server, scope)
                await trio.testing.wait_all_tasks_blocked()
                os.write(raw.number(), data)
                for _ in range(passes):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
                await trio.testing.wait_all_tasks_blocked()
                with trio.fail_after(5):
                    if last == "close":
                        assert "4000: bye" in await expect_end(server)
                    else:
                        assert "broke the rules" in await expect_broken(server)
                await raw.stream.aclose()

    @every_pair
    async def test_of_the_body_closes_the_link(self, pair: TransportPair) -> None:
        with trio.CancelScope() as scope:
            async with pair.open() as (one, other):
                scope.cancel()
                await other.receive()
        await expect_closed(one)
        await expect_closed(other)


class TestSlowReader:
    @each_end
    async def test_makes_the_sender_wait_and_loses_nothing(self, pair: TransportPair) -> None:
        async with pair.open() as (one, other):
            message = b"x" * 1_000_000
            async with stuck_drain(one, message) as (count, drained, _):
                with pytest.raises(trio.BusyResourceError, match="drain"):
                    one.send_nowait("too early")
                for _ in range(count):
                    assert await other.receive() == message
                await drained.wait()
            await one.send("more")
            assert await other.receive() == "more"

    @each_end
    @pytest.mark.usefixtures("impatient")
    async def test_that_closes_breaks_the_sending(self, pair: TransportPair) -> None:
        async with pair.open() as (one, other), trio.open_nursery() as nursery:

            async def send() -> None:
                with pytest.raises(trio.BrokenResourceError):
                    while True:
                        await one.send(b"x" * 1_000_000)

            nursery.start_soon(send)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await other.aclose()

    @each_websocket_end
    async def test_still_gets_pings_and_pongs(self, pair: TransportPair) -> None:
        async with pair.open() as (one, other), trio.open_nursery() as nursery:
            before = one.last_received
            async with stuck_drain(one, b"x" * 1_000_000) as (count, drained, _):
                one.ping()
                one.ping()
                for _ in range(count):
                    await other.receive()
                await drained.wait()
                nursery.start_soon(other.receive)
                nursery.start_soon(one.receive)
                while one.last_received == before:
                    await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()


class TestOneTaskAtATime:
    @every_pair
    async def test_receives(self, pair: TransportPair) -> None:
        async with pair.open() as (one, other), trio.open_nursery() as nursery:
            got: list[str | bytes] = []

            async def receive() -> None:
                got.append(await one.receive())

            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError, match="already receiving"):
                await one.receive()
            await other.send("still there")
            while not got:
                await trio.testing.wait_all_tasks_blocked()
            assert got == ["still there"]

    @every_pair
    async def test_drain_without_need_returns(self, pair: TransportPair) -> None:
        async with pair.open() as (one, _):
            await one.drain()
            with trio.testing.assert_checkpoints():
                await one.drain()


class TestWebSockets:
    @every_websocket
    @pytest.mark.parametrize(
        ("accepts", "proposes", "agreed"),
        [
            ((), (), None),
            (("b", "a"), ("a", "b"), "b"),
            (("a",), (), None),
            ((), ("a",), None),
            (("a",), ("z",), None),
            (("a",), ("z", "a"), "a"),
        ],
    )
    async def test_agree_on_a_subprotocol(
        self,
        pair: TransportPair,
        accepts: tuple[str, ...],
        proposes: tuple[str, ...],
        agreed: str | None,
    ) -> None:
        async with pair.open(accepts=accepts, proposes=proposes) as (one, other):
            assert one.subprotocol == other.subprotocol == agreed
            assert one.offered_subprotocols == other.offered_subprotocols == proposes
            await one.send("either way")
            assert await other.receive() == "either way"

    @every_library
    async def test_offered_subprotocols_are_listed_as_they_came(self, library: str) -> None:
        async with connected_sockets() as (stream, client):
            offer = b"Sec-WebSocket-Protocol: z, b,a\r\n\r\n"
            await client.send_all(REQUEST[:-2] + offer)
            async with transports.accept(choose(library), stream, ("a", "b")) as server:
                assert server.offered_subprotocols == ("z", "b", "a")
                assert server.subprotocol == "a"
                assert b"Sec-WebSocket-Protocol: a" in await RawPeer(client).read_head()
                await client.aclose()

    @every_websocket
    async def test_name_the_peer_by_its_address(self, pair: TransportPair) -> None:
        async with pair.open() as (one, other):
            assert one.peer == other.peer == "127.0.0.1"
            assert not any(end.inside_process for end in (one, other))

    @every_websocket
    async def test_ping_shows_that_the_peer_lives(self, pair: TransportPair) -> None:
        async with pair.open() as (one, other), trio.open_nursery() as nursery:
            nursery.start_soon(one.receive)
            nursery.start_soon(other.receive)
            for _ in range(3):
                before = one.last_received
                one.ping()
                while one.last_received == before:
                    await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    @every_websocket
    async def test_speak_tls(self, pair: TransportPair) -> None:
        async with pair.open(tls=True) as (one, other), trio.open_nursery() as nursery:
            messages: list[str | bytes] = ["hello", b"x" * 200_000]
            for message in messages:
                nursery.start_soon(one.send, message)
                assert await other.receive() == message
                nursery.start_soon(other.send, message)
                assert await one.receive() == message
            nursery.start_soon(one.receive)
            nursery.start_soon(other.receive)
            before = one.last_received
            one.ping()
            while one.last_received == before:
                await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    @each_websocket_end
    async def test_over_tls_closing_wakes_the_task_that_drains_here(
        self, pair: TransportPair
    ) -> None:
        async with pair.open(tls=True) as (one, _):
            with pytest.RaisesGroup(trio.ClosedResourceError):
                async with stuck_drain(one, b"x" * 1_000_000):
                    with trio.CancelScope() as scope:
                        scope.cancel()
                        await one.aclose()

    @each_websocket_end
    async def test_over_tls_close_and_cancel_as_over_tcp(self, pair: TransportPair) -> None:
        async with pair.open(tls=True) as (one, other), trio.open_nursery() as nursery:
            nursery.start_soon(one.aclose, 4000, "bye")
            assert "4000: bye" in await expect_end(other)
        async with pair.open(tls=True) as (one, other):
            async with stuck_drain(one, b"x" * 1_000_000) as (_, _, scope):
                with pytest.raises(trio.BusyResourceError):
                    one.send_nowait("x")
                scope.cancel()
            await expect_closed(one)
            await expect_broken(other)

    @every_library
    async def test_distrust_a_certificate_of_unknown_origin(self, library: str) -> None:
        async with transports.listening() as (listener, port), trio.open_nursery() as nursery:

            async def serve() -> None:
                stream = transports.server_tls(await listener.accept())
                with pytest.raises(trio.BrokenResourceError):
                    async with transports.accept(choose(library), stream):
                        pytest.fail("a client that trusts nothing came in")

            nursery.start_soon(serve)
            context = ssl.create_default_context()
            with pytest.raises(trio.BrokenResourceError, match=r"(?i)certificate.verify"):
                async with choose(library).connect("127.0.0.1", port, ssl_context=context):
                    pytest.fail("connected to somebody unknown")

    @every_library
    async def test_hang_up_where_tls_cannot_begin(self, library: str) -> None:
        async with transports.listening() as (listener, port), trio.open_nursery() as nursery:

            async def serve() -> None:
                async with await listener.accept() as stream:
                    assert await stream.receive_some() == b""

            nursery.start_soon(serve)
            # One for servers, which no client can speak TLS with.
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            with trio.fail_after(5), pytest.raises(ssl.SSLError):
                async with choose(library).connect("127.0.0.1", port, ssl_context=context):
                    pytest.fail("connected without TLS")

    @every_websocket
    async def test_body_errors_come_out_bare_and_close_the_link(self, pair: TransportPair) -> None:
        async with transports.listening() as (listener, port), trio.open_nursery() as nursery:

            async def serve() -> None:
                stream = await listener.accept()
                with pytest.raises(KeyError, match="mine"):
                    async with transports.accept(choose(pair.server), stream) as transport:
                        await transport.receive()
                        raise KeyError("mine")
                await expect_closed(transport)

            nursery.start_soon(serve)
            with pytest.raises(ZeroDivisionError):
                async with choose(pair.client).connect("127.0.0.1", port) as transport:
                    await transport.send("go")
                    await expect_end(transport)
                    raise ZeroDivisionError
            await expect_closed(transport)


@pytest.mark.usefixtures("impatient")
class TestHostileClient:
    """A server's end, against a client that is played by hand."""

    @every_library
    async def test_fragments_are_put_together(self, library: str) -> None:
        text = "grüße 🎲 " * 10
        data = text.encode()
        async with raw_client(library, max_message_size=len(data)) as (server, raw):
            for opcode, expected in [(TEXT, text), (BINARY, data)]:
                await raw.send(frame(opcode, data[:1], final=False))
                for position in range(1, len(data)):
                    await raw.send(frame(0, data[position : position + 1], final=False))
                    await raw.send(frame(0, final=False))
                await raw.send(frame(PING, b"in between"))
                await raw.send(frame(0))
                assert await server.receive() == expected
                assert await raw.read_frame() == (PONG, b"in between")

    @every_library
    async def test_fragments_count_together_towards_the_limit(self, library: str) -> None:
        async with raw_client(library, max_message_size=100) as (server, raw):
            await raw.send(frame(TEXT, b"x" * 50, final=False) + frame(0, b"x" * 50))
            assert await server.receive() == "x" * 100
            await raw.send(frame(TEXT, b"x" * 50, final=False) + frame(0, "é".encode() * 25))
            assert len(await server.receive()) == 75
            await raw.send(frame(TEXT, b"x" * 50, final=False) + frame(0, b"x" * 51, final=False))
            assert "limit of 100 bytes" in await expect_broken(server)
            assert (await raw.read_close())[0] == 1009

    @every_library
    async def test_announcing_a_message_over_the_limit_is_enough(self, library: str) -> None:
        async with raw_client(library, max_message_size=100) as (server, raw):
            await raw.send(frame(BINARY, b"x" * 101)[:6])
            assert "limit of 100 bytes" in await expect_broken(server)
            assert (await raw.read_close())[0] == 1009

    @every_library
    async def test_a_message_in_the_most_fragments_passes(self, library: str) -> None:
        async with raw_client(library) as (server, raw):
            await raw.send(frame(TEXT, b"a", final=False))
            await raw.send(frame(0, b"b", final=False) * (MAX_FRAGMENTS - 2) + frame(0, b"c"))
            assert await server.receive() == "a" + "b" * (MAX_FRAGMENTS - 2) + "c"
            await raw.send(frame(TEXT, b"a", final=False))
            await raw.send(frame(0, b"b", final=False) * (MAX_FRAGMENTS - 1) + frame(0, b"c"))
            assert f"{MAX_FRAGMENTS} fragments" in await expect_broken(server)
            assert (await raw.read_close())[0] == 1008

    @every_library
    async def test_what_follows_too_many_empty_fragments_is_not_kept(self, library: str) -> None:
        # A limit of bytes leaves empty fragments free, and a library that has no other limit keeps
        # each of them. Ours counts them.
        async with raw_client(library) as (server, raw), trio.open_nursery() as nursery:

            async def send() -> None:
                await raw.send(frame(TEXT, final=False) + frame(0, final=False) * MAX_FRAGMENTS)
                with contextlib.suppress(trio.BrokenResourceError):
                    for _ in range(80):
                        await raw.send(frame(0, b"x" * 100_000, final=False))

            tracemalloc.start()
            try:
                nursery.start_soon(send)
                assert "fragments" in await expect_broken(server)
                await server.aclose()
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert peak < 2_000_000

    @every_library
    async def test_pings_while_there_is_no_room_get_one_pong(self, library: str) -> None:
        # A library that queues a pong for each ping lets a peer who reads nothing fill its memory.
        # Ours keeps the latest only.
        message = b"x" * 1_000_000
        async with (
            raw_client(library, small_buffers=True) as (server, raw),
            trio.open_nursery() as nursery,
        ):
            assert not server.send_nowait(message)
            nursery.start_soon(server.receive)
            for number in range(3):
                await raw.send(frame(PING, b"%d" % number))
                await trio.testing.wait_all_tasks_blocked(0.01)
            nursery.start_soon(server.drain)
            assert await raw.read_frame() == (BINARY, message)
            assert await raw.read_frame() == (PONG, b"2")
            await server.send("still well framed")
            assert await raw.read_frame() == (TEXT, b"still well framed")
            nursery.cancel_scope.cancel()

    @every_library
    async def test_of_the_pongs_that_find_no_room_the_latest_is_sent(self, library: str) -> None:
        pings = [frame(PING, b"%d" % number) for number in range(4)]
        stream = Stuck([REQUEST, *pings, frame(TEXT, b"hello")])
        async with transports.accept(choose(library), stream) as server:
            assert await server.receive() == "hello"
            stream.room.set()
            await server.send("hello yourself")
        raw = RawPeer(Recording([bytes(stream.sent)]))
        await raw.read_head()
        sent = [await raw.read_frame() for _ in range(4)]
        assert sent[:3] == [(PONG, b"0"), (TEXT, b"hello yourself"), (PONG, b"3")]
        assert sent[3][0] == CLOSE
        assert raw.buffer == b""

    @every_library
    async def test_pings_are_answered_as_soon_as_somebody_receives(self, library: str) -> None:
        async with raw_client(library) as (server, raw), trio.open_nursery() as nursery:
            await raw.send(frame(PING, b"hello"))
            await trio.testing.wait_all_tasks_blocked(0.01)
            nursery.start_soon(server.receive)
            assert await raw.read_frame() == (PONG, b"hello")
            nursery.cancel_scope.cancel()

    @every_library
    @pytest.mark.parametrize(
        "broken",
        [
            frame(TEXT, b"x", masked=False),
            frame(TEXT, b"x", bits=0x40),
            frame(3, b"x"),
            frame(11, b""),
            frame(0, b"nothing to continue"),
            frame(TEXT, b"x", final=False) + frame(TEXT, b"y"),
            frame(TEXT, b"\xff\xfe"),
            frame(TEXT, b"\xc3", final=False) + frame(0, b"("),
            frame(PING, b"x", final=False),
            frame(PING, b"x" * 126),
            frame(CLOSE, b"x"),
            frame(CLOSE, (1005).to_bytes(2)),
        ],
        ids=[
            "unmasked",
            "reserved bit",
            "unknown opcode",
            "unknown control opcode",
            "stray continuation",
            "message in a message",
            "no UTF-8",
            "no UTF-8 in fragments",
            "fragmented ping",
            "long ping",
            "half a close code",
            "close code for nobody to send",
        ],
    )
    async def test_breaking_the_rules_breaks_the_link(self, library: str, broken: bytes) -> None:
        async with raw_client(library) as (server, raw):
            await raw.send(frame(TEXT, b"fine") + frame(PING) + broken)
            assert await server.receive() == "fine"
            text = await expect_broken(server)
            assert "the peer broke the rules" in text or "not UTF-8" in text
            with pytest.raises(trio.BrokenResourceError):
                await server.send("x")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server.aclose)
                assert (await raw.read_close())[0] in (1002, 1007)
                assert await raw.read_to_end() == b""
                await raw.stream.aclose()

    @every_library
    @given(data=st.binary(min_size=1, max_size=300), close=st.booleans())
    async def test_random_bytes_are_messages_or_a_broken_link(
        self, library: str, data: bytes, close: bool
    ) -> None:
        one, other = trio.testing.memory_stream_pair()
        raw = RawPeer(other)
        await raw.send(REQUEST)
        async with transports.accept(choose(library), one, max_message_size=1000) as server:
            await raw.read_head()
            await raw.send(data + (frame(CLOSE) if close else b""))
            await other.send_eof()
            with pytest.raises((trio.BrokenResourceError, trio.EndOfChannel)):
                while True:
                    await server.receive()

    @every_library
    @pytest.mark.parametrize(
        "request_bytes",
        [
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
            REQUEST.replace(b"Version: 13", b"Version: 12"),
            REQUEST.replace(b"Upgrade: websocket", b"Upgrade: h2c"),
            REQUEST.replace(b"GET", b"PUT"),
            b"hello there\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n",
            b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 10_000,
            b"GET /" + b"x" * 20_000,
        ],
        ids=["page", "old", "post", "version", "upgrade", "put", "text", "tls", "many", "long"],
    )
    async def test_no_websocket_gets_an_http_error(
        self, library: str, request_bytes: bytes
    ) -> None:
        async with connected_sockets() as (stream, other), trio.open_nursery() as nursery:
            answer = b""

            async def ask() -> None:
                nonlocal answer
                try:
                    await other.send_all(request_bytes)
                    answer = await RawPeer(other).read_to_end()
                except trio.BrokenResourceError:
                    pass
                await other.aclose()

            nursery.start_soon(ask)
            with pytest.raises(trio.BrokenResourceError, match="did not open a WebSocket") as error:
                async with transports.accept(choose(library), stream):
                    pytest.fail("that was no WebSocket")
            assert re.search("HTTP (4|505)", str(error.value))
            assert str(error.value).isprintable()
        assert re.match(b"HTTP/1.1 (4|505)", answer)

    @every_library
    async def test_stopping_in_the_handshake_is_ended_by_the_callers_scope(
        self, library: str
    ) -> None:
        async with connected_sockets() as (stream, other):
            await other.send_all(REQUEST[:50])
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:

                    async def accept() -> None:
                        async with transports.accept(choose(library), stream):
                            pytest.fail("there was half a handshake")

                    nursery.start_soon(accept)
                    await trio.testing.wait_all_tasks_blocked(0.01)
                    scope.cancel()
            assert await RawPeer(other).read_to_end() == b""

    @every_library
    async def test_going_while_its_handshake_is_cancelled_is_one_or_the_other(
        self, library: str
    ) -> None:
        stream, other = trio.testing.memory_stream_pair()
        broken = False
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def accept() -> None:
                nonlocal broken
                try:
                    with scope:
                        async with transports.accept(choose(library), stream):
                            pytest.fail("there was no handshake")
                except trio.BrokenResourceError:
                    broken = True

            nursery.start_soon(accept)
            await trio.testing.wait_all_tasks_blocked()
            # Without a checkpoint between them, the handshake meets both in one pass.
            await trio.aclose_forcefully(other)
            scope.cancel()
        assert broken or scope.cancelled_caught

    @every_library
    @pytest.mark.parametrize("how", ["end", "reset", "reset before"])
    async def test_vanishing_in_the_handshake(self, library: str, how: str) -> None:
        async with connected_sockets() as (stream, other), trio.open_nursery() as nursery:
            await other.send_all(REQUEST[:50])
            if how == "reset before":
                RawPeer(other).reset()

            async def vanish() -> None:
                await trio.testing.wait_all_tasks_blocked(0.01)
                if how == "end":
                    await other.aclose()
                elif how == "reset":
                    RawPeer(other).reset()

            nursery.start_soon(vanish)
            with pytest.raises(trio.BrokenResourceError):
                async with transports.accept(choose(library), stream):
                    pytest.fail("nobody is there")
            assert stream.socket.fileno() == -1

    @every_library
    @pytest.mark.parametrize(
        "early",
        [frame(TEXT, b"x"), frame(PING), frame(CLOSE), b"\0\0", REQUEST],
        ids=["text", "ping", "close", "broken", "request"],
    )
    async def test_that_does_not_wait_for_the_answer_is_refused(
        self, library: str, early: bytes
    ) -> None:
        async with connected_sockets() as (stream, other), trio.open_nursery() as nursery:
            await other.send_all(REQUEST + early)

            async def read() -> None:
                answer = await RawPeer(other).read_to_end()
                assert answer.startswith(b"HTTP/1.1 400")
                assert answer.endswith(b"something came with the handshake\n")
                await other.aclose()

            nursery.start_soon(read)
            with pytest.raises(trio.BrokenResourceError, match="HTTP 400"):
                async with transports.accept(choose(library), stream):
                    pytest.fail("it did not wait")

    @every_library
    async def test_ending_without_a_close_breaks_the_link(self, library: str) -> None:
        async with raw_client(library) as (server, raw):
            await raw.send(frame(TEXT, b"last") + frame(TEXT, b"half a message")[:5])
            await raw.send_eof()
            assert await server.receive() == "last"
            assert "without a WebSocket close" in await expect_broken(server)
            with pytest.raises(trio.BrokenResourceError, match="without a WebSocket close"):
                await server.send("x")

    @every_library
    async def test_a_reset_breaks_the_link(self, library: str) -> None:
        async with raw_client(library) as (server, raw):
            raw.reset()
            assert "broke" in await expect_broken(server)
            with pytest.raises(trio.BrokenResourceError):
                while True:
                    await server.send("x")
            await server.aclose()
            await expect_closed(server)

    @every_library
    async def test_a_reset_breaks_sending(self, library: str) -> None:
        async with raw_client(library) as (server, raw):
            with pytest.RaisesGroup(trio.BrokenResourceError):
                async with stuck_drain(server, b"x" * 1_000_000):
                    raw.reset()
            with pytest.raises(trio.BrokenResourceError):
                await server.send("x")
            await expect_broken(server)

    @every_library
    async def test_what_came_before_a_failing_send_is_received(self, library: str) -> None:
        async with raw_client(library) as (server, raw):
            await raw.send(frame(TEXT, b"parting words") + frame(CLOSE, b"\x0f\xa0bye"))
            await raw.stream.aclose()
            with pytest.raises(trio.BrokenResourceError):
                while True:
                    await server.send("x")
            assert await server.receive() == "parting words"
            assert "4000: bye" in await expect_end(server)

    @every_library
    async def test_that_never_answers_a_close_is_left(self, library: str) -> None:
        async with raw_client(library) as (server, raw):
            await server.aclose(4000, "bye")
            assert await raw.read_close() == (4000, "bye")
            await raw.read_to_end()

    @every_library
    async def test_that_pings_and_talks_while_it_is_closed(self, library: str) -> None:
        async with raw_client(library) as (server, raw), trio.open_nursery() as nursery:
            nursery.start_soon(server.aclose)
            assert (await raw.read_close())[0] == 1000
            await raw.send(frame(PING) + frame(TEXT, b"x" * 1000) * 50 + frame(PING))
            await raw.read_to_end()

    @every_library
    async def test_close_without_a_code(self, library: str) -> None:
        async with raw_client(library) as (server, raw):
            await raw.send(frame(CLOSE))
            assert "code 1005" in await expect_end(server)
            assert (await raw.read_frame())[0] == CLOSE

    @every_library
    @pytest.mark.parametrize("code", [1000, 1001, 1013, 3000, 3999, 4000, 4999])
    async def test_close_with_each_code_of_browsers_and_others(
        self, library: str, code: int
    ) -> None:
        async with raw_client(library) as (server, raw):
            await raw.send(frame(CLOSE, code.to_bytes(2) + b"bye"))
            assert f"code {code}: bye" in await expect_end(server)
            assert (await raw.read_close())[0] == code

    @every_library
    async def test_that_offers_compression_is_answered_without(self, library: str) -> None:
        offer = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
        async with connected_sockets() as (stream, other):
            raw = RawPeer(other)
            await raw.send(REQUEST[:-2] + offer)
            async with transports.accept(choose(library), stream) as server:
                head = await raw.read_head()
                assert b" 101 " in head
                assert b"extensions" not in head.lower()
                # Nor does it take what is compressed all the same.
                await raw.send(frame(BINARY, b"x", bits=0x40))
                with pytest.raises(trio.BrokenResourceError):
                    await server.receive()
                assert (await raw.read_close())[0] == 1002

    @every_library
    async def test_that_pings_and_closes_while_it_is_closed(self, library: str) -> None:
        async with raw_client(library) as (server, raw), trio.open_nursery() as nursery:
            nursery.start_soon(server.aclose)
            await raw.read_close()
            await raw.send(frame(PING, b"x") + frame(CLOSE))
            assert await raw.read_to_end() == b""

    async def test_trio_websocket_crashing_in_the_handshake_refuses_the_client(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def crash(*_: object) -> None:
            raise ZeroDivisionError("of the library's")

        monkeypatch.setattr("wsproto.WSConnection.receive_data", crash)
        async with connected_sockets() as (stream, other):
            await other.send_all(REQUEST)
            with pytest.raises(trio.BrokenResourceError, match=r"of the library's"):
                async with transports.accept(choose("trio-websocket"), stream):
                    pytest.fail("there was no handshake")
            assert await RawPeer(other).read_to_end() == b""

    async def test_trio_websocket_crashing_breaks_the_link_and_nothing_else(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def crash(*_: object) -> bytes:
            raise ZeroDivisionError

        monkeypatch.setattr("wsproto.frame_protocol.FrameProtocol.pong", crash)
        async with raw_client("trio-websocket") as (server, raw):
            await raw.send(frame(TEXT, b"fine") + frame(PING, b"x"))
            assert await server.receive() == "fine"
            assert "library failed" in await expect_broken(server)
            await raw.stream.aclose()
            await trio.lowlevel.checkpoint()


async def close_at_alarm(server: Transport, alarm: trio.SocketStream, closing: trio.Event) -> None:
    """Close a link when something comes, and say so first."""
    # It waits as the server does, so that neither is a pass behind.
    pipe = SocketPipe(detach(alarm), "local")
    await pipe.read()
    closing.set()
    await server.aclose()
    await pipe.close()


class SlowToEnd(trio.abc.Stream):
    """A stream whose reads take a few passes of the scheduler to end, as those of TLS do."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._busy = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self._busy:
            raise trio.BusyResourceError("another task is receiving")
        self._busy = True
        try:
            return await self._stream.receive_some(max_bytes)
        finally:
            for _ in range(6):
                await trio.lowlevel.cancel_shielded_checkpoint()
            self._busy = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


@pytest.mark.usefixtures("patient")
class TestFriendlyClient:
    """What a client that keeps to the rules need not wait for."""

    @every_library
    async def test_that_answers_a_refusal_and_waits_for_the_end(self, library: str) -> None:
        with trio.fail_after(5):
            async with raw_client(library, max_message_size=10) as (server, raw):
                await raw.send(frame(TEXT, b"x" * 11))
                await expect_broken(server)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(server.aclose)
                    assert (await raw.read_close())[0] == 1009
                    await raw.send(frame(CLOSE))
                    assert await raw.read_to_end() == b""
                    await raw.stream.aclose()

    @every_library
    async def test_that_closes_at_the_very_moment_when_the_server_does(self, library: str) -> None:
        for _ in range(20):
            with trio.fail_after(5):
                async with (
                    raw_client(library) as (server, raw),
                    connected_sockets() as (one, other),
                    trio.open_nursery() as nursery,
                ):

                    async def receive(server: Transport) -> None:
                        with pytest.raises((trio.ClosedResourceError, trio.EndOfChannel)):
                            await server.receive()

                    nursery.start_soon(receive, server)
                    nursery.start_soon(close_at_alarm, server, one, trio.Event())
                    await trio.testing.wait_all_tasks_blocked()
                    # Without a checkpoint between them, both wake in one pass of the scheduler.
                    os.write(raw.number(), frame(CLOSE))
                    os.write(other.socket.fileno(), b"x")
                    await raw.read_close()
                    assert await raw.read_to_end() == b""

    @every_library
    async def test_that_sends_in_pieces_while_the_server_closes(self, library: str) -> None:
        pieces = frame(TEXT, b"be", final=False) + frame(0, b"gin")
        for _ in range(20):
            with trio.fail_after(5):
                async with (
                    raw_client(library) as (server, raw),
                    connected_sockets() as (one, other),
                    trio.open_nursery() as nursery,
                ):

                    async def receive(server: Transport, closing: trio.Event) -> None:
                        with pytest.raises(trio.ClosedResourceError):
                            while True:
                                assert await server.receive() == "begin"
                                assert not closing.is_set()

                    closing = trio.Event()
                    nursery.start_soon(receive, server, closing)
                    nursery.start_soon(close_at_alarm, server, one, closing)
                    await trio.testing.wait_all_tasks_blocked()
                    # Without a checkpoint between them, both wake in one pass of the scheduler.
                    os.write(raw.number(), pieces * 300)
                    os.write(other.socket.fileno(), b"x")
                    await raw.read_close()
                    await raw.send(pieces + frame(CLOSE))
                    assert await raw.read_to_end() == b""

    @every_library
    async def test_over_a_stream_that_is_slow_to_end_a_read(self, library: str) -> None:
        stream, other = trio.testing.memory_stream_pair()
        raw = RawPeer(other)
        await raw.send(REQUEST)
        with trio.fail_after(5):
            async with (
                transports.accept(choose(library), SlowToEnd(stream)) as server,
                trio.open_nursery() as nursery,
            ):
                await raw.read_head()

                async def receive() -> None:
                    with pytest.raises(trio.ClosedResourceError):
                        await server.receive()

                nursery.start_soon(receive)
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(server.aclose, 4000, "bye \ud800")
                assert await raw.read_close() == (4000, "bye ?")
                await raw.send(frame(CLOSE))

    @every_library
    async def test_that_sends_no_more_gets_what_is_on_its_way(self, library: str) -> None:
        message = b"x" * 1_000_000
        with trio.fail_after(5):
            async with raw_client(library, small_buffers=True) as (server, raw):
                assert not server.send_nowait(message)
                await raw.send_eof()
                await expect_broken(server)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(server.aclose)
                    assert await raw.read_frame() == (BINARY, message)
                    assert await raw.read_to_end() == b""


@pytest.mark.parametrize("request_", [REQUEST, UNUSUAL_REQUEST], ids=["usual", "unusual"])
async def test_nothing_of_the_handshake_is_kept_or_left_to_the_collector(request_: bytes) -> None:
    def of_the_library() -> list[object]:
        return [each for each in gc.get_objects() if type(each).__module__ in modules]

    modules = {"websockets.server", "websockets.http11", "websockets.datastructures"}
    gc.collect()
    before = len(of_the_library())
    gc.disable()
    try:
        async with raw_client("websockets", request=request_) as (server, raw):
            await raw.send(frame(TEXT, b"plain"))
            assert await server.receive() == "plain"
            assert len(of_the_library()) == before
    finally:
        gc.enable()


@every_library
@pytest.mark.parametrize("last", [frame(CLOSE), frame(PING) + frame(CLOSE), b""])
async def test_a_connection_leaves_nothing_to_the_collector(library: str, last: bytes) -> None:
    packages = ("pgnet_trio", "trio", "websockets")

    async def connect() -> None:
        async with raw_client(library) as (server, raw):
            await raw.send(frame(TEXT, b"plain") + last)
            assert await server.receive() == "plain"
            if last:
                # What `pytest.raises` keeps would be found too.
                with contextlib.suppress(trio.EndOfChannel):
                    await server.receive()
            await raw.stream.aclose()

    await connect()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        await connect()
        gc.collect()
        # Python 3.12 and later find a few small parts of wsproto besides.
        found = [each for each in gc.garbage if type(each).__module__.startswith(packages)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert found == []


@pytest.mark.usefixtures("impatient")
class TestHostileServer:
    """A client's end, against a server that is played by hand."""

    @staticmethod
    async def upgrade(raw: RawPeer, head: bytes, first: bytes = b"") -> None:
        [key] = [line[19:] for line in head.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key")]
        token = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()  # noqa: S324 - what RFC 6455 asks for
        await raw.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(token) + b"\r\n\r\n" + first
        )

    @every_library
    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            (b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno", "HTTP 503"),
            (b"HTTP/1.1 404 Not Found\r\n\r\nsomething without a length", "HTTP 404"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "HTTP 200"),
            (b"HTTP/1.1 301 \x1b[2J\r\nContent-Length: 0\r\n\r\n", ""),
            (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", ""),
            (b"", ""),
            (b"HTTP/1.1 101 Switching", ""),
            (b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", ""),
            (b"\n\n", ""),
        ],
        ids=["503", "404", "200", "escape", "ssh", "nothing", "half", "no key", "empty"],
    )
    async def test_no_websocket_server(self, library: str, answer: bytes, said: str) -> None:
        async def serve(raw: RawPeer, head: bytes) -> None:
            assert head.startswith(b"GET / HTTP/1.1")
            await raw.send(answer)

        async with raw_server(library, serve) as connecting:
            with pytest.raises(trio.BrokenResourceError, match="did not open a WebSocket") as error:
                async with connecting:
                    pytest.fail("that was no WebSocket server")
            assert said in str(error.value)
            assert str(error.value).isprintable()

    @every_library
    async def test_nobody_there(self, library: str) -> None:
        async with transports.listening() as (_, port):
            pass
        with pytest.raises(OSError, match=r"(?i)connect"):
            async with choose(library).connect("127.0.0.1", port):
                pytest.fail("nobody listens")

    @every_library
    async def test_silence_is_ended_by_the_callers_scope(self, library: str) -> None:
        async def serve(raw: RawPeer, head: bytes) -> None:
            asked.set()
            assert await raw.read_to_end() == b""

        asked = trio.Event()
        async with raw_server(library, serve) as connecting, trio.open_nursery() as nursery:

            async def connect() -> None:
                async with connecting:
                    pytest.fail("the server said nothing")

            nursery.start_soon(connect)
            await asked.wait()
            nursery.cancel_scope.cancel()

    @every_library
    async def test_what_comes_with_the_handshake_is_received(self, library: str) -> None:
        async def serve(raw: RawPeer, head: bytes) -> None:
            first = frame(TEXT, b"hello", masked=False) + frame(TEXT, b"x" * 11, masked=False)
            await self.upgrade(raw, head, first)
            assert (await raw.read_close())[0] == 1009

        async with raw_server(library, serve, max_message_size=10) as connecting:
            async with connecting as client:
                assert await client.receive() == "hello"
                assert "limit of 10 bytes" in await expect_broken(client)

    @every_library
    async def test_a_handshake_in_pieces(self, library: str) -> None:
        async def serve(raw: RawPeer, head: bytes) -> None:
            stream = raw.stream
            pieces = RawPeer(Pieces(stream))
            await self.upgrade(pieces, head, frame(TEXT, b"hello", masked=False))
            await pieces.send(frame(TEXT, b"x" * 11, masked=False))
            assert (await raw.read_close())[0] == 1009

        async with raw_server(library, serve, max_message_size=10) as connecting:
            async with connecting as client:
                assert await client.receive() == "hello"
                assert "limit of 10 bytes" in await expect_broken(client)

    @every_library
    async def test_too_many_empty_fragments(self, library: str) -> None:
        async def serve(raw: RawPeer, head: bytes) -> None:
            await self.upgrade(raw, head, frame(TEXT, final=False, masked=False))
            await raw.send(frame(0, final=False, masked=False) * MAX_FRAGMENTS)
            assert (await raw.read_close())[0] == 1008

        async with raw_server(library, serve) as connecting, connecting as client:
            assert "fragments" in await expect_broken(client)

    @every_library
    async def test_breaking_the_rules(self, library: str) -> None:
        async def serve(raw: RawPeer, head: bytes) -> None:
            broken = frame(TEXT, b"fine", masked=False) + frame(TEXT, b"masked")
            await self.upgrade(raw, head, broken)
            for _ in range(100):
                await raw.send(frame(BINARY, b"x" * 10_000, masked=False))

        async with raw_server(library, serve) as connecting, connecting as client:
            assert await client.receive() == "fine"
            assert "broke the rules" in await expect_broken(client)

    @every_library
    async def test_what_follows_a_broken_rule_is_not_kept(self, library: str) -> None:
        async def serve(raw: RawPeer, head: bytes) -> None:
            await self.upgrade(raw, head, frame(TEXT, b"masked"))
            for _ in range(80):
                await raw.send(frame(BINARY, b"x" * 100_000, masked=False))

        async with raw_server(library, serve) as connecting, connecting as client:
            tracemalloc.start()
            try:
                await trio.testing.wait_all_tasks_blocked(0.05)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert peak < 2_000_000
            assert "broke the rules" in await expect_broken(client)

    @every_library
    async def test_request_names_resource_and_host(self, library: str) -> None:
        heads: list[bytes] = []
        connect = choose(library).connect
        async with transports.listening() as (listener, port), trio.open_nursery() as nursery:

            async def read_head() -> None:
                async with await listener.accept() as stream:
                    heads.append(await RawPeer(stream).read_head())

            for connecting in [
                connect("127.0.0.1", port),
                connect("127.0.0.1", port, resource="/play?x=1", host_header="example.org"),
            ]:
                nursery.start_soon(read_head)
                with pytest.raises(trio.BrokenResourceError):
                    async with connecting:
                        pytest.fail("nobody answered")
            assert heads[0].startswith(b"GET / HTTP/1.1\r\n")
            assert b"Host: 127.0.0.1:%d\r\n" % port in heads[0] + b"\r\n"
            assert heads[1].startswith(b"GET /play?x=1 HTTP/1.1\r\n")
            assert b"Host: example.org\r\n" in heads[1] + b"\r\n"


@pytest.mark.parametrize(
    ("host", "port", "tls", "header"),
    [
        ("example.org", 38929, False, "example.org:38929"),
        ("example.org", 80, False, "example.org"),
        ("example.org", 443, True, "example.org"),
        ("example.org", 443, False, "example.org:443"),
        ("::1", 5, True, "[::1]:5"),
        # The zone is of this machine alone, and no part of an address in HTTP.
        ("fe80::1%eth0", 5, False, "[fe80::1]:5"),
    ],
)
def test_the_host_of_a_request_has_its_port_and_no_zone(
    host: str, port: int, tls: bool, header: str
) -> None:
    assert make_host_header(host, port, tls=tls) == header


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (trio.BrokenResourceError("no route"), "the link broke: no route"),
        (trio.BrokenResourceError(), "the link broke: the other end is gone"),
    ],
)
def test_an_error_of_a_link_says_what_it_knows(error: Exception, says: str) -> None:
    assert str(broken(error)) == says


class TestTheShortWay:
    """Plain messages pass the library by, and nobody can tell."""

    @every_library
    @given(frames=st.lists(FRAMES, max_size=12), cuts=st.lists(st.integers(0, 800), max_size=6))
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    async def test_ends_where_the_library_alone_would_end(
        self,
        library: str,
        monkeypatch: pytest.MonkeyPatch,
        frames: list[bytes],
        cuts: list[int],
    ) -> None:
        stream = b"".join(frames)
        cuts = sorted(cuts)
        pieces = [
            stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        ]
        short = await self.outcome(library, pieces)
        with monkeypatch.context() as patch:
            patch.setattr("pgnet_trio.transport.websocket.take_plain", lambda *_, **__: 0)
            long = await self.outcome(library, pieces)
        assert short == long

    @staticmethod
    async def outcome(
        library: str, pieces: list[bytes]
    ) -> tuple[list[str | bytes], type[Exception], str, list[bytes]]:
        """What is received, what ends it, and which close frames are sent."""
        stream = Recording([REQUEST, *filter(None, pieces)])
        received: list[str | bytes] = []
        async with transports.accept(choose(library), stream, max_message_size=150) as server:
            with pytest.raises((trio.EndOfChannel, trio.BrokenResourceError)) as caught:
                while True:
                    received.append(await server.receive())
        raw = RawPeer(Recording([bytes(stream.sent)]))
        await raw.read_head()
        closes = []
        while raw.buffer:
            opcode, payload = await raw.read_frame()
            if opcode == CLOSE:
                closes.append(payload)
        return received, caught.type, str(caught.value), closes

    @given(frames=st.lists(FRAMES, max_size=12), end=st.integers(0, 800), limit=st.integers(0, 150))
    def test_takes_whole_messages_and_no_more(
        self, frames: list[bytes], end: int, limit: int
    ) -> None:
        data = b"".join(frames)[:end]
        taken: deque[str | bytes] = deque()
        size = take_plain(data, taken, limit=limit, unmask=apply_mask)
        server = ServerProtocol(state=State.OPEN, max_size=limit)
        server.receive_data(data[:size])
        events = [event for event in server.events_received() if isinstance(event, Frame)]
        assert all(event.fin and event.opcode in (TEXT, BINARY) for event in events)
        assert list(taken) == [
            event.data.decode() if event.opcode == TEXT else event.data  # type: ignore[union-attr]  # a text has bytes
            for event in events
        ]
        assert server.state is State.OPEN
        assert server.data_to_send() == []
        # What follows is no plain message, or not all of one.
        server.receive_data(data[size:])
        following = server.events_received()[:1]
        for event in following:
            assert isinstance(event, Frame)
            assert (
                not event.fin
                or event.opcode not in (TEXT, BINARY)
                or not is_utf8(event.data)
                or data[size + 1] & 0x7F >= 126
            )

    @given(frames=st.lists(FRAMES, max_size=2), end=st.integers(-8, -1), limit=st.integers(0, 150))
    def test_the_short_reading_of_one_message_is_that_of_many(
        self, frames: list[bytes], end: int, limit: int
    ) -> None:
        whole = b"".join(frames)
        for data in (whole, whole[:end]):
            taken: deque[str | bytes] = deque()
            size = take_plain(data, taken, limit=limit, unmask=apply_mask)
            is_usual = len(taken) == 1 and 0 < size == len(data) < 65536
            found = only_message(data, limit, apply_mask)
            assert found == (taken[0] if is_usual else None)

    @pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535])
    def test_the_short_reading_takes_every_length_of_a_usual_message(self, size: int) -> None:
        payload = bytes(range(256)) * (size // 256 + 1)
        data = make_frame(FINAL_BINARY, payload[:size], key=b"\x01\x80\xff\x7e")
        assert only_message(data, None, apply_mask) == payload[:size]
        assert only_message(data, size, apply_mask) == payload[:size]
        for other in (data[:-1], data + b"\x82", data[:5], b"\x01" + data[1:]):
            assert only_message(other, None, apply_mask) is None
        text = make_frame(FINAL_TEXT, b"x" * size, key=b"\x01\x80\xff\x7e")
        assert only_message(text, None, apply_mask) == "x" * size
        no_text = make_frame(FINAL_TEXT, b"\xff" * size, key=b"\x01\x80\xff\x7e")
        if size:
            assert only_message(no_text, None, apply_mask) is None
        if size:
            assert only_message(data, size - 1, apply_mask) is None

    def test_takes_nothing_of_an_unmasked_message_from_a_client(self) -> None:
        taken: deque[str | bytes] = deque()
        data = frame(TEXT, b"x", masked=False)
        assert take_plain(data, taken, limit=None, unmask=apply_mask) == 0
        assert take_plain(data, taken, limit=None, unmask=None) == len(data)
        assert take_plain(frame(TEXT, b"x"), taken, limit=None, unmask=None) == 0
        assert list(taken) == ["x"]

    @pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 200_001])
    def test_frames_are_what_the_libraries_read(self, size: int) -> None:
        payload = bytes(range(256)) * (size // 256 + 1)
        payload = payload[:size]
        for key in (b"\x01\x80\xff\x7e", None):
            data = make_frame(FINAL_BINARY, payload, key=key)
            side = ClientProtocol(WebSocketURI(False, "", 0, "", ""), state=State.OPEN)
            protocol = side if key is None else ServerProtocol(state=State.OPEN)
            protocol.receive_data(data)
            assert protocol.events_received() == [Frame(Opcode.BINARY, payload)]
            kind = ConnectionType.CLIENT if key is None else ConnectionType.SERVER
            connection = WebSocket(kind, trailing_data=data)
            got = b"".join(event.data for event in connection.events())  # type: ignore[attr-defined]  # all of them are messages
            assert got == payload
            taken: deque[str | bytes] = deque()
            unmask = None if key is None else apply_mask
            assert take_plain(data, taken, limit=size, unmask=unmask) == len(data)
            assert list(taken) == [payload]

    async def test_a_client_never_uses_a_masking_key_twice(self) -> None:
        async def serve(raw: RawPeer, head: bytes) -> None:
            await TestHostileServer.upgrade(raw, head)
            while len(raw.buffer) < 200:
                raw.buffer += await raw.stream.receive_some()
            keys.update(raw.buffer[start + 2 : start + 6] for start in range(0, 200, 10))
            await raw.send(frame(CLOSE, masked=False))

        for library in LIBRARIES:
            keys: set[bytes] = set()
            async with raw_server(library, serve) as connecting, connecting as client:
                for _ in range(20):
                    await client.send("abcd")
                await expect_end(client)
            assert len(keys) == 20


def is_utf8(data: bytes | bytearray | memoryview) -> bool:
    try:
        str(data, "utf-8")
    except UnicodeDecodeError:
        return False
    return True


class Recording(trio.abc.Stream):
    """Gives the next piece at each read, then the end; keeps what is sent."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces
        self.sent = bytearray()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        self.sent += data

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        return self.pieces.pop(0) if self.pieces else b""

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


class Stuck(Recording):
    """Has room for the answer to the handshake, and for more only when it is told."""

    def __init__(self, pieces: list[bytes]) -> None:
        super().__init__(pieces)
        self.room = trio.Event()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.sent:
            await self.room.wait()
        await super().send_all(data)


class Pieces(trio.abc.HalfCloseableStream):
    """Sends every byte apart."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        for byte in bytes(data):
            await self.stream.send_all(bytes((byte,)))
            await trio.testing.wait_all_tasks_blocked()

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        raise NotImplementedError

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self.stream.aclose()


class TestMemory:
    async def test_needs_room_for_a_message(self) -> None:
        with pytest.raises(ValueError, match="got 0"):
            memory_pair(max_messages=0)

    async def test_takes_as_many_messages_as_it_was_told(self) -> None:
        one, other = memory_pair(max_messages=2, peer="tester")
        assert (one.peer, other.peer) == ("tester", "tester")
        assert [one.send_nowait("a"), one.send_nowait("b"), one.send_nowait("c")] == [
            True,
            True,
            False,
        ]
        assert await other.receive() == "a"
        await one.drain()
        assert one.send_nowait("d") is False
        assert [await other.receive() for _ in range(3)] == ["b", "c", "d"]

    async def test_says_which_subprotocol_it_was_told(self) -> None:
        for end in memory_pair():
            assert (end.subprotocol, end.offered_subprotocols) == (None, ())
        for end in memory_pair("pgnet.2"):
            assert (end.subprotocol, end.offered_subprotocols) == ("pgnet.2", ("pgnet.2",))

    async def test_is_trusted_unless_it_speaks_for_somebody_elsewhere(self) -> None:
        assert all(end.inside_process for end in memory_pair())
        for peer in ("10.0.0.1", "memory"):
            assert not any(end.inside_process for end in memory_pair(peer=peer))

    async def test_message_is_not_copied(self) -> None:
        one, other = memory_pair()
        message = "x" * 1000
        assert one.send_nowait(message)
        assert await other.receive() is message

    async def test_one_task_drains(self) -> None:
        one, _ = memory_pair(max_messages=1)
        one.send_nowait("a")
        one.send_nowait("b")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.drain)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError, match="draining"):
                await one.drain()
            nursery.cancel_scope.cancel()

    async def test_is_two_ends_of_one_kind(self) -> None:
        assert all(isinstance(end, MemoryTransport) for end in memory_pair())


class TestChoose:
    def test_by_name(self) -> None:
        for name in LIBRARIES:
            assert choose(name).name == name

    def test_takes_the_fastest_that_is_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert choose(None).name == "websockets"
        monkeypatch.delattr("pgnet_trio.transport.websockets")
        monkeypatch.delitem(sys.modules, "pgnet_trio.transport.websockets")
        monkeypatch.setitem(sys.modules, "websockets", None)
        monkeypatch.setitem(sys.modules, "websockets.client", None)
        assert choose(None).name == "trio-websocket"
        with pytest.raises(ImportError, match=r"pip install 'pgnet_trio\[speed\]'"):
            choose("websockets")

    def test_knows_no_other(self) -> None:
        with pytest.raises(ValueError, match="got 'aiohttp'"):
            choose("aiohttp")


class TestFrameWatch:
    @given(
        sizes=st.lists(st.lists(st.integers(0, 200), min_size=1, max_size=4), max_size=8),
        cuts=st.lists(st.integers(0, 3000), max_size=8),
        limit=st.integers(0, 400),
        masked=st.booleans(),
    )
    def test_finds_the_first_message_over_the_limit_however_the_bytes_come(
        self, sizes: list[list[int]], cuts: list[int], limit: int, masked: bool
    ) -> None:
        stream, allowed = b"", None
        for fragments in sizes:
            total = 0
            for index, size in enumerate(fragments):
                total += size
                if total > limit and allowed is None:
                    allowed = len(stream)
                final = index == len(fragments) - 1
                stream += frame(TEXT if index == 0 else 0, b"x" * size, final=final, masked=masked)
                stream += frame(PING, b"y" * min(size, 125), masked=masked)
        watch = FrameWatch(limit)
        passed = 0
        for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(stream)], strict=True):
            passed += watch.passes(stream[start:end])
        if allowed is None:
            assert watch.violation is None
            assert passed == len(stream)
            assert watch.between_messages
            assert watch.messages == len(sizes)
        else:
            assert watch.violation == (1009, f"message over the limit of {limit} bytes")
            assert not watch.between_messages
            # Bytes of the header that came before its end have passed; the frame has not.
            assert allowed <= passed < allowed + 14

    def test_counts_a_message_when_its_last_byte_has_passed(self) -> None:
        stream = (
            frame(TEXT, b"abc", final=False) + frame(PING, b"x") + frame(0, b"def") + frame(BINARY)
        )
        watch = FrameWatch(None)
        seen = []
        for byte in stream:
            watch.passes(bytes((byte,)))
            seen.append((watch.messages, watch.between_messages))
        ends = [len(stream) - len(frame(BINARY)) - 1, len(stream) - 1]
        assert [index for index, (_, between) in enumerate(seen) if between] == ends
        assert [seen[index][0] for index in ends] == [1, 2]
        assert [count for count, _ in seen].count(1) == len(frame(BINARY))

    def test_looks_at_nothing_after_a_close(self) -> None:
        watch = FrameWatch(1)
        data = frame(CLOSE) + frame(TEXT, b"xx")
        assert watch.passes(data) == len(data)
        assert watch.passes(data) == len(data)
        assert watch.close_seen
        assert watch.violation is None
        assert not watch.between_messages
