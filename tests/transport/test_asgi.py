"""A WebSocket that an ASGI server has accepted, as a link: messages, limits and how it ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from trio.testing import wait_all_tasks_blocked

from pgnet_trio.transport.asgi import ASGITransport

if TYPE_CHECKING:
    from trio.testing import MockClock

DISCONNECT, SEND, CLOSE = "websocket.disconnect", "websocket.send", "websocket.close"


class Link:
    """A transport, and the server around it, which a test plays."""

    def __init__(self) -> None:
        self.put, self._come = trio.open_memory_channel[dict[str, Any]](100)
        self.sent: list[Any] = []
        self.stuck: set[str] = set()
        self.failure: Exception | None = None
        self.end = ASGITransport(
            self._receive,
            self._send,
            peer="192.0.2.7",
            subprotocol="x",
            offered_subprotocols=("x", "y"),
        )

    async def _receive(self) -> Any:
        if self.failure is not None:
            raise self.failure
        return await self._come.receive()

    async def _send(self, event: Any) -> None:
        if event["type"] in self.stuck:
            await trio.sleep_forever()
        if self.failure is not None:
            raise self.failure
        self.sent.append(event)

    def come(self, kind: str, **content: Any) -> None:
        self.put.send_nowait({"type": kind, **content})


@pytest.fixture
async def link() -> Link:
    return Link()


async def test_messages_come_and_go(link: Link, autojump_clock: MockClock) -> None:
    link.come("websocket.receive", bytes=b"one", text=None)
    link.come("websocket.receive", text="two")
    link.come("websocket.receive", bytes=b"")
    assert [await link.end.receive() for _ in range(3)] == [b"one", "two", b""]
    assert link.end.last_sent < 0
    await link.end.send(b"three")
    await link.end.send("vier ä")
    assert link.sent == [
        {"type": SEND, "bytes": b"three"},
        {"type": SEND, "text": "vier ä"},
    ]
    assert link.end.last_sent == trio.current_time()
    link.end.ping()
    assert (link.end.inside_process, link.end.unsent, link.end.peer) == (False, False, "192.0.2.7")


async def test_what_comes_shows_when_it_came(link: Link, autojump_clock: MockClock) -> None:
    await trio.sleep(5)
    link.come("websocket.receive", bytes=b"one")
    await link.end.receive()
    assert link.end.last_received == trio.current_time()


async def test_one_message_at_a_time_waits(link: Link) -> None:
    assert link.end.send_nowait(b"one") is False
    assert link.end.unsent
    with pytest.raises(trio.BusyResourceError):
        link.end.send_nowait(b"two")
    await link.end.drain()
    await link.end.drain()
    assert len(link.sent) == 1


async def test_one_task_receives_and_one_drains(link: Link) -> None:
    link.stuck = {SEND}
    link.end.send_nowait(b"one")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.end.receive)
        nursery.start_soon(link.end.drain)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await link.end.receive()
        with pytest.raises(trio.BusyResourceError):
            await link.end.drain()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("message", [5, None, bytearray(b"x"), "\ud800"])
async def test_what_is_no_message_is_refused(link: Link, message: Any) -> None:
    with pytest.raises((TypeError, UnicodeEncodeError)):
        link.end.send_nowait(message)
    assert not link.end.unsent


async def test_a_message_over_the_limit_closes_the_link(link: Link) -> None:
    link.end.max_message_size = 4
    link.come("websocket.receive", text="ää")
    link.come("websocket.receive", text="ääx")
    assert await link.end.receive() == "ää"
    with pytest.raises(trio.BrokenResourceError, match="message over the limit of 4 bytes"):
        await link.end.receive()
    assert link.sent == [
        {"type": CLOSE, "code": 1009, "reason": "message over the limit of 4 bytes"}
    ]
    assert link.end.closed.is_set()


@pytest.mark.parametrize(
    ("event", "kind", "says"),
    [
        ({"code": 1000, "reason": "bye"}, trio.EndOfChannel, "closed the link with code 1000: bye"),
        ({"code": 1001, "reason": None}, trio.EndOfChannel, "closed the link with code 1001"),
        ({}, trio.EndOfChannel, "closed the link with code 1005"),
        ({"code": 1006}, trio.BrokenResourceError, "closed the link with code 1006"),
    ],
)
async def test_the_peer_goes(
    link: Link, event: dict[str, Any], kind: type[Exception], says: str
) -> None:
    link.end.send_nowait(b"one")
    link.come(DISCONNECT, **event)
    for _ in range(2):
        with pytest.raises(kind, match=says):
            await link.end.receive()
    with pytest.raises(trio.BrokenResourceError, match=says):
        await link.end.drain()
    assert not link.end.closed.is_set()
    await link.end.aclose()
    assert link.end.closed.is_set()
    # Nobody is there to whom one could say goodbye.
    assert link.sent == []


@pytest.mark.parametrize("call", ["receive", "drain"])
async def test_a_server_that_raises_breaks_the_link(link: Link, call: str) -> None:
    link.failure = OSError("no more")
    link.end.send_nowait(b"one")
    with pytest.raises(trio.BrokenResourceError, match="the link broke: no more"):
        await getattr(link.end, call)()
    with pytest.raises(trio.BrokenResourceError):
        await link.end.receive()
    await link.end.aclose()
    assert link.end.closed.is_set()


async def test_closing_tells_the_peer_once(link: Link) -> None:
    await link.end.aclose(1001, "ä" * 100)
    await link.end.aclose()
    assert link.sent == [{"type": CLOSE, "code": 1001, "reason": "ä" * 61}]
    for call in (link.end.receive, link.end.drain):
        with trio.testing.assert_checkpoints(), pytest.raises(trio.ClosedResourceError):
            await call()
    with pytest.raises(trio.ClosedResourceError):
        link.end.send_nowait(b"one")
    with pytest.raises(ValueError, match="expected a close code"):
        await link.end.aclose(1006)


async def test_closing_survives_a_server_that_raises_or_hangs(
    link: Link, autojump_clock: MockClock
) -> None:
    link.failure = RuntimeError("closed already")
    await link.end.aclose()
    assert link.end.closed.is_set()
    other = Link()
    other.stuck = {CLOSE}
    start = trio.current_time()
    await other.end.aclose()
    assert other.end.closed.is_set()
    assert trio.current_time() == start + 1


@pytest.mark.parametrize("close", ["aclose", "abandon"])
async def test_closing_ends_what_waits(link: Link, close: str) -> None:
    link.stuck = {SEND}
    link.end.send_nowait(b"one")
    ended: list[str] = []

    async def wait(call: Callable[[], Awaitable[Any]]) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await call()
        ended.append(call.__name__)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, link.end.receive)
        nursery.start_soon(wait, link.end.drain)
        await wait_all_tasks_blocked()
        result = getattr(link.end, close)()
        if result is not None:
            await result
    assert sorted(ended) == ["drain", "receive"]
    # Behind half a message nothing is said.
    assert link.sent == []
    assert link.end.closed.is_set()


async def test_a_cancelled_receive_loses_nothing(link: Link, autojump_clock: MockClock) -> None:
    with trio.move_on_after(1):
        await link.end.receive()
    link.come("websocket.receive", bytes=b"one")
    with trio.CancelScope() as scope:
        scope.cancel()
        await link.end.receive()
    assert await link.end.receive() == b"one"


async def test_a_cancelled_drain_closes_the_link(link: Link, autojump_clock: MockClock) -> None:
    link.stuck = {SEND}
    link.end.send_nowait(b"one")
    with trio.move_on_after(1):
        await link.end.drain()
    assert link.end.closed.is_set()
    with pytest.raises(trio.ClosedResourceError):
        await link.end.receive()
