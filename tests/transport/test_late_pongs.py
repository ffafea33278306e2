"""What who pings relies on: the pong comes, also where there was no room for it at first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pgnet_trio.connection import Connection
from pgnet_trio.errors import Disconnected
from pgnet_trio.transport import Transport, choose
from pgnet_trio.transport.rules import FRAMES_PER_PASS
from tests.kit import transports
from tests.kit.tasks import Bystander
from tests.kit.transports import CLOSE, PING, PONG, REQUEST, SERVER_NAMES, TEXT, frame, raw_client

every_library = pytest.mark.parametrize("library", SERVER_NAMES)


class Narrow(trio.abc.Stream):
    """A peer who shakes hands, then sends what it is told, and takes in nothing without room."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.room = trio.Event()
        self._to_read, self._arrived = trio.open_memory_channel[bytes](100)
        self._to_read.send_nowait(REQUEST)

    def say(self, data: bytes) -> None:
        self._to_read.send_nowait(data)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        if self.sent:
            await self.room.wait()
        self.sent += data

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return await self._arrived.receive()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        self.room.set()

    def frames(self) -> list[tuple[int, bytes]]:
        """What came behind the handshake; no payload here is longer than a byte can tell."""
        data = self.sent.partition(b"\r\n\r\n")[2]
        frames = []
        while data:
            length = data[1]
            frames.append((data[0] & 0x0F, bytes(data[2 : 2 + length])))
            del data[: 2 + length]
        return frames


class Saying:
    """A protocol that says what it is told to, and takes what it hears as it is."""

    closing = False
    private = False
    owes_flush = False
    emptied = False

    def __init__(self) -> None:
        self.texts: list[str] = []

    @property
    def waiting(self) -> bool:
        return bool(self.texts)

    def receive(self, message: str | bytes) -> Sequence[str]:
        return [str(message)]

    def ping(self) -> bool:
        return False

    def next_message(self) -> str | None:
        return self.texts.pop(0) if self.texts else None


@asynccontextmanager
async def connected(
    library: str, *, keepalive_timeout: float | None = None
) -> AsyncIterator[tuple[Connection[str], Saying, Narrow]]:
    peer, protocol = Narrow(), Saying()
    async with transports.accept(choose(library), peer) as transport:
        connection = Connection(
            transport, protocol, ping_interval=None, keepalive_timeout=keepalive_timeout
        )
        async with trio.open_nursery() as helpers, connection.open(helpers):
            yield connection, protocol, peer


@every_library
async def test_a_pong_comes_once_there_is_room_for_it(
    library: str, autojump_clock: MockClock
) -> None:
    async with connected(library) as (connection, _, peer), trio.open_nursery() as nursery:
        nursery.start_soon(connection.receive)
        for number in range(10):
            peer.say(frame(PING, b"%d" % number))
        await wait_all_tasks_blocked()
        assert peer.frames() == []
        # Neither side says anything more.
        peer.room.set()
        await wait_all_tasks_blocked()
        assert peer.frames() == [(PONG, b"0"), (PONG, b"9")]
        nursery.cancel_scope.cancel()


@every_library
async def test_hundreds_of_pings_in_one_read_let_others_run_meanwhile(
    library: str, autojump_clock: MockClock
) -> None:
    bystander = Bystander()
    async with connected(library) as (connection, _, peer):
        peer.room.set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bystander.run)
            pings = [frame(PING, b"%d" % number) for number in range(600)]
            peer.say(b"".join(pings) + frame(TEXT, b"behind them"))
            assert await connection.receive() == ["behind them"]
            nursery.cancel_scope.cancel()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.receive)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        pongs = [payload for opcode, payload in peer.frames() if opcode == PONG]
    # Not to the last one: tasks of one pass run in any order.
    assert bystander.turns > 600 // FRAMES_PER_PASS // 2
    assert pongs == sorted(pongs, key=int)
    assert pongs[-1] == b"599"


@every_library
async def test_what_is_said_meanwhile_comes_behind_it(
    library: str, autojump_clock: MockClock
) -> None:
    async with connected(library) as (connection, protocol, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.receive)
            peer.say(frame(PING, b"0"))
            await wait_all_tasks_blocked()
            protocol.texts += ["one", "two"]
            connection.flush()
            peer.say(frame(PING, b"1"))
            await wait_all_tasks_blocked()
            peer.room.set()
            await wait_all_tasks_blocked()
            frames = peer.frames()
            assert frames[0] == (PONG, b"0")
            assert [each for each in frames if each[0] == TEXT] == [(TEXT, b"one"), (TEXT, b"two")]
            assert (PONG, b"1") in frames
            nursery.cancel_scope.cancel()
        protocol.texts.append("the last word")
    assert [each for each, _ in peer.frames()[-2:]] == [TEXT, CLOSE]


@every_library
async def test_who_pings_and_never_takes_the_pong_is_gone_in_the_end(
    library: str, autojump_clock: MockClock
) -> None:
    async def ping() -> None:
        while True:
            peer.say(frame(PING))
            await trio.sleep(5)

    async with connected(library, keepalive_timeout=20) as (connection, _, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ping)
            with trio.fail_after(100), pytest.raises(Disconnected, match="read nothing for 20 s"):
                await connection.receive()
            nursery.cancel_scope.cancel()


class Halved(Transport):
    """A link on which, after some of what is unsent, there is no room for the rest yet."""

    peer = "tester"
    last_received = 0.0

    def __init__(self, pieces: int) -> None:
        self.pieces = pieces

    @property
    def unsent(self) -> bool:
        return self.pieces > 0

    async def receive(self) -> str:
        await trio.sleep_forever()

    def send_nowait(self, message: str | bytes) -> bool:
        return True

    async def drain(self) -> None:
        await trio.lowlevel.checkpoint()
        self.pieces -= 1

    def ping(self) -> None:
        """Do nothing."""

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        await trio.lowlevel.checkpoint()


async def test_who_waited_for_room_waits_again_where_that_was_not_enough() -> None:
    transport = Halved(3)
    connection = Connection(transport, Saying(), ping_interval=None, keepalive_timeout=None)
    async with trio.open_nursery() as helpers, connection.open(helpers):
        assert transport.on_unsent is not None
        transport.on_unsent()
        await wait_all_tasks_blocked()
        assert transport.pieces == 0


@every_library
async def test_pings_one_after_the_other_hold_up_nothing_that_is_said(library: str) -> None:
    # Over sockets: there the kernel says when there is room, and for how much.
    said = [str(number) for number in range(200)]
    async with raw_client(library, small_buffers=True) as (server, raw):
        protocol = Saying()
        connection = Connection(server, protocol, ping_interval=None, keepalive_timeout=None)

        async def flood() -> None:
            while True:
                await raw.send(frame(PING, b"x" * 125) * 100)

        async def say() -> None:
            for text in said:
                protocol.texts.append(text)
                connection.flush()
                await trio.lowlevel.checkpoint()

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery, connection.open(nursery):
                nursery.start_soon(connection.receive)
                nursery.start_soon(flood)
                nursery.start_soon(say)
                heard: list[str] = []
                while len(heard) < len(said):
                    kind, payload = await raw.read_frame()
                    if kind == TEXT:
                        heard.append(payload.decode())
                assert heard == said
                nursery.cancel_scope.cancel()
