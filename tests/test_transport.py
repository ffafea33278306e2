"""One suite for every transport: what holds for one link holds for all.

The WebSocket transports run over real sockets on loopback, in every combination of server and
client. Hostile peers are played by hand.
"""

from __future__ import annotations

import importlib
import logging
import os
import ssl
import sys
import tracemalloc
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from pgnet_trio.transport import MemoryTransport, Transport, choose, memory_pair
from pgnet_trio.transport.frames import FrameWatch
from pgnet_trio.transport.rules import MAX_FRAGMENTS
from tests import links
from tests.links import (
    ALL_LINKS,
    BINARY,
    CLOSE,
    PING,
    PONG,
    REQUEST,
    TEXT,
    WEBSOCKET_LINKS,
    Link,
    RawPeer,
    connected_sockets,
    frame,
    raw_client,
    raw_server,
)

LIBRARIES = ["trio-websocket", "websockets"]

every_link = pytest.mark.parametrize("link", ALL_LINKS, ids=lambda link: link.id)
every_websocket = pytest.mark.parametrize("link", WEBSOCKET_LINKS, ids=lambda link: link.id)
every_library = pytest.mark.parametrize("library", LIBRARIES)


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


def running_tasks() -> set[trio.lowlevel.Task]:
    """All of Trio's tasks at this moment."""
    found: set[trio.lowlevel.Task] = set()
    root = trio.lowlevel.current_root_task()
    waiting = [root] if root is not None else []
    while waiting:
        task = waiting.pop()
        found.add(task)
        waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found


@pytest.fixture(autouse=True)
def nothing_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What a peer does is no reason to fill the log."""
    with caplog.at_level(logging.INFO):
        yield
    assert [record.getMessage() for record in caplog.records if record.levelno > 20] == []


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No test leaves a socket open."""
    before = open_sockets()
    yield
    assert open_sockets() == before


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing does not wait a whole second for a peer that does not answer."""
    for name in ("websockets", "trio_websocket"):
        module = importlib.import_module(f"pgnet_trio.transport.{name}")
        monkeypatch.setattr(module, "CLOSE_TIMEOUT", 0.05)


@asynccontextmanager
async def stuck_drain(
    sender: Transport, message: str | bytes
) -> AsyncGenerator[tuple[int, trio.Event, trio.CancelScope], None]:
    """Send until the receiver, which does not receive, has room for no more.

    Gives how many messages went out or wait, an event for the last one's `drain` to return, and
    the scope around that `drain`.
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
    """Receive until the peer's close; gives what the error says."""
    with pytest.raises(trio.EndOfChannel) as caught:
        while True:
            await receiver.receive()
    return str(caught.value)


async def expect_broken(receiver: Transport) -> str:
    """Receive until the link is broken; gives what the error says."""
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
    @every_link
    async def test_arrive_as_they_were_sent(self, link: Link) -> None:
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
        async with link.open() as (one, other):
            for sender, receiver in [(one, other), (other, one)]:
                for message in sent:
                    await sender.send(message)
                received = [await receiver.receive() for _ in sent]
                assert received == sent
                assert [type(message) for message in received] == [type(each) for each in sent]

    @every_link
    async def test_keep_their_order_both_ways_at_once(self, link: Link) -> None:
        async with link.open() as (one, other), trio.open_nursery() as nursery:

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

    @every_link
    async def test_that_cannot_travel_are_refused_and_change_nothing(self, link: Link) -> None:
        async with link.open() as (one, other):
            with pytest.raises(UnicodeEncodeError):
                one.send_nowait("lone surrogate \ud800")
            with pytest.raises(TypeError, match="expected str or bytes, got int"):
                one.send_nowait(5)  # type: ignore[arg-type]
            await one.send("fine")
            assert await other.receive() == "fine"

    @every_link
    async def test_that_wait_leave_other_tasks_their_turn(self, link: Link) -> None:
        async with link.open() as (one, other), trio.open_nursery() as nursery:
            turns = 0

            async def count_turns() -> None:
                nonlocal turns
                while True:
                    await trio.lowlevel.checkpoint()
                    turns += 1

            for _ in range(60):
                await one.send("x")
            await trio.testing.wait_all_tasks_blocked(0.01)
            nursery.start_soon(count_turns)
            for _ in range(60):
                await other.receive()
            assert turns >= 1
            nursery.cancel_scope.cancel()

    @every_link
    async def test_receiving_one_that_is_there_can_be_cancelled(self, link: Link) -> None:
        async with link.open() as (one, other):
            await one.send("a")
            await one.send("b")
            assert await other.receive() == "a"
            with trio.CancelScope() as scope:
                scope.cancel()
                await other.receive()
            assert scope.cancelled_caught
            assert await other.receive() == "b"

    @every_link
    async def test_last_received_tells_when_something_came(self, link: Link) -> None:
        async with link.open() as (one, other):
            before = trio.current_time()
            await one.send("x")
            await other.receive()
            assert before <= other.last_received <= trio.current_time()


class TestSizeLimit:
    @every_link
    @pytest.mark.parametrize(
        "message", ["é" * 50, b"x" * 100, "🎲" * 25], ids=["two", "binary", "four"]
    )
    async def test_counts_bytes_and_not_characters(self, link: Link, message: str | bytes) -> None:
        async with link.open(max_message_size=100) as (one, other):
            await one.send(message)
            assert await other.receive() == message
            await one.send(message + ("a" if isinstance(message, str) else b"a"))
            assert "over the limit of 100 bytes" in await expect_broken(other)
            assert "1009" in await expect_end(one)
            for end in (one, other):
                with pytest.raises(trio.BrokenResourceError, match="100 bytes"):
                    end.send_nowait("x")
                with pytest.raises(trio.BrokenResourceError, match="100 bytes"):
                    await end.send("x")

    @every_link
    async def test_may_change_while_the_link_is_open(self, link: Link) -> None:
        async with link.open(max_message_size=10) as (one, other):
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

    @every_link
    async def test_lets_what_came_before_pass(self, link: Link) -> None:
        async with link.open(max_message_size=10) as (one, other):
            for message in ["a", "b", "x" * 11]:
                await one.send(message)
            assert [await other.receive(), await other.receive()] == ["a", "b"]
            for _ in range(2):
                with pytest.raises(trio.BrokenResourceError, match="limit of 10 bytes"):
                    await other.receive()

    @every_link
    @pytest.mark.usefixtures("impatient")
    async def test_breaks_the_link_under_a_sender_that_does_not_stop(self, link: Link) -> None:
        async with link.open(max_message_size=1000) as (one, other):
            async with trio.open_nursery() as nursery:

                async def flood() -> None:
                    with pytest.raises(trio.BrokenResourceError):
                        while True:
                            await one.send(b"x" * 1_000_000)

                nursery.start_soon(flood)
                await expect_broken(other)
                await other.aclose()


class TestClosing:
    @every_link
    async def test_gives_the_peer_code_and_reason(self, link: Link) -> None:
        async with link.open() as (one, other):
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

    @every_link
    async def test_takes_only_what_a_close_frame_can_carry(self, link: Link) -> None:
        async with link.open() as (one, other), trio.open_nursery() as nursery:
            for code in (0, 999, 1005, 1006, 1015, 2000, 5000):
                with pytest.raises(ValueError, match=f"got {code}"):
                    await one.aclose(code)
            nursery.start_soon(one.aclose, 1001, "\x1b[2J" + "ü" * 100)
            text = await expect_end(other)
            assert text.endswith("?[2J" + "ü" * 59)

    @every_link
    async def test_by_both_at_once(self, link: Link) -> None:
        async with link.open() as (one, other), trio.open_nursery() as nursery:
            nursery.start_soon(one.aclose)
            nursery.start_soon(other.aclose)

    @every_link
    async def test_twice_at_once_is_closing_once(self, link: Link) -> None:
        async with link.open() as (one, other), trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(one.aclose, 4000, "enough")
            assert "4000: enough" in await expect_end(other)

    @every_link
    async def test_wakes_the_task_that_receives_here(self, link: Link) -> None:
        async with link.open() as (one, other), trio.open_nursery() as nursery:

            async def receive() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await one.receive()

            nursery.start_soon(receive)
            nursery.start_soon(expect_end, other)
            await trio.testing.wait_all_tasks_blocked()
            await one.aclose()

    @every_link
    async def test_wakes_the_task_that_drains_here(self, link: Link) -> None:
        async with link.open() as (one, other), trio.open_nursery() as nursery:

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

    @every_link
    async def test_that_is_cancelled_closes(self, link: Link) -> None:
        async with link.open() as (one, other):
            with trio.CancelScope() as scope:
                scope.cancel()
                await one.aclose()
            assert scope.cancelled_caught
            await expect_closed(one)
            with pytest.raises((trio.EndOfChannel, trio.BrokenResourceError)):
                await other.receive()

    @every_link
    async def test_throws_away_what_was_not_received(self, link: Link) -> None:
        async with link.open() as (one, other):
            for _ in range(10):
                await one.send("x")
            assert await other.receive() == "x"
            async with trio.open_nursery() as nursery:
                nursery.start_soon(other.aclose, 4000)
                assert "4000" in await expect_end(one)
            await expect_closed(other)


class TestCancellation:
    @every_link
    async def test_of_a_receive_loses_nothing(self, link: Link) -> None:
        async with link.open() as (one, other), trio.open_nursery() as nursery:
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

    @every_link
    async def test_of_a_drain_closes_the_link(self, link: Link) -> None:
        async with link.open() as (one, other):
            async with stuck_drain(one, b"x" * 1_000_000) as (_, drained, scope):
                scope.cancel()
            assert not drained.is_set()
            await expect_closed(one)
            await expect_broken(other)

    @every_link
    async def test_of_the_body_closes_the_link(self, link: Link) -> None:
        with trio.CancelScope() as scope:
            async with link.open() as (one, other):
                scope.cancel()
                await other.receive()
        await expect_closed(one)
        await expect_closed(other)


class TestSlowReader:
    @every_link
    async def test_makes_the_sender_wait_and_loses_nothing(self, link: Link) -> None:
        async with link.open() as (one, other):
            message = b"x" * 1_000_000
            async with stuck_drain(one, message) as (count, drained, _):
                with pytest.raises(trio.BusyResourceError, match="drain"):
                    one.send_nowait("too early")
                for _ in range(count):
                    assert await other.receive() == message
                await drained.wait()
            await one.send("more")
            assert await other.receive() == "more"

    @every_link
    @pytest.mark.usefixtures("impatient")
    async def test_that_closes_breaks_the_sending(self, link: Link) -> None:
        async with link.open() as (one, other), trio.open_nursery() as nursery:

            async def send() -> None:
                with pytest.raises(trio.BrokenResourceError):
                    while True:
                        await one.send(b"x" * 1_000_000)

            nursery.start_soon(send)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await other.aclose()

    @every_websocket
    async def test_still_gets_pings_and_pongs(self, link: Link) -> None:
        async with link.open() as (one, other), trio.open_nursery() as nursery:
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
    @every_link
    async def test_receives(self, link: Link) -> None:
        async with link.open() as (one, other), trio.open_nursery() as nursery:
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

    @every_link
    async def test_drain_without_need_returns(self, link: Link) -> None:
        async with link.open() as (one, other):
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
        ],
    )
    async def test_agree_on_a_subprotocol(
        self, link: Link, accepts: tuple[str, ...], proposes: tuple[str, ...], agreed: str | None
    ) -> None:
        async with link.open(accepts=accepts, proposes=proposes) as (one, other):
            assert one.subprotocol == other.subprotocol == agreed

    @every_websocket
    async def test_name_the_peer_by_its_address(self, link: Link) -> None:
        async with link.open() as (one, other):
            assert one.peer == other.peer == "127.0.0.1"

    @every_websocket
    async def test_ping_shows_that_the_peer_lives(self, link: Link) -> None:
        async with link.open() as (one, other), trio.open_nursery() as nursery:
            nursery.start_soon(one.receive)
            nursery.start_soon(other.receive)
            for _ in range(3):
                before = one.last_received
                one.ping()
                while one.last_received == before:
                    await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    @every_websocket
    async def test_speak_tls(self, link: Link) -> None:
        async with link.open(tls=True) as (one, other), trio.open_nursery() as nursery:
            for message in ["hello", b"x" * 200_000]:
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

    @every_websocket
    async def test_over_tls_close_and_cancel_as_over_tcp(self, link: Link) -> None:
        async with link.open(tls=True) as (one, other), trio.open_nursery() as nursery:
            nursery.start_soon(one.aclose, 4000, "bye")
            assert "4000: bye" in await expect_end(other)
        async with link.open(tls=True) as (one, other):
            async with stuck_drain(one, b"x" * 1_000_000) as (_, _, scope):
                with pytest.raises(trio.BusyResourceError):
                    one.send_nowait("x")
                scope.cancel()
            await expect_closed(one)
            await expect_broken(other)

    @every_library
    async def test_distrust_a_certificate_of_unknown_origin(self, library: str) -> None:
        async with links.listening() as (listener, port), trio.open_nursery() as nursery:

            async def serve() -> None:
                stream = links.server_tls(await listener.accept())
                with pytest.raises(trio.BrokenResourceError):
                    async with links.accept(choose(library), stream):
                        pytest.fail("a client that trusts nothing came in")

            nursery.start_soon(serve)
            context = ssl.create_default_context()
            with pytest.raises(trio.BrokenResourceError, match=r"(?i)certificate.verify"):
                async with choose(library).connect("127.0.0.1", port, ssl_context=context):
                    pytest.fail("connected to somebody unknown")

    @every_websocket
    async def test_body_errors_come_out_bare_and_close_the_link(self, link: Link) -> None:
        with pytest.RaisesGroup(pytest.RaisesGroup(ZeroDivisionError), allow_unwrapped=False):
            async with trio.open_nursery() as outer:
                ready, ends = trio.Event(), dict[str, Transport]()
                async with links.listening() as (listener, port):

                    async def serve() -> None:
                        stream = await listener.accept()
                        with pytest.raises(KeyError) as caught:
                            async with links.accept(choose(link.server), stream) as transport:
                                ends["server"] = transport
                                await ready.wait()
                                raise KeyError("mine")
                        assert caught.value.__cause__ is None
                        await expect_closed(ends["server"])

                    outer.start_soon(serve)
                    try:
                        async with choose(link.client).connect("127.0.0.1", port) as transport:
                            ready.set()
                            await expect_end(transport)
                            1 / 0  # noqa: B018
                    except ZeroDivisionError as error:
                        raise ExceptionGroup("it was bare", [error]) from None
