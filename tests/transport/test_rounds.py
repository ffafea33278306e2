"""Rounds of reading: one task reads all sockets that are ready, and wakes a reader for the rest."""

from __future__ import annotations

import contextlib
import functools
import math
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock, wait_all_tasks_blocked

from pgnet_trio.connection import Connection
from pgnet_trio.errors import Disconnected, ProtocolError
from pgnet_trio.transport import Transport, rounds
from pgnet_trio.transport.pipes import SocketPipe
from pgnet_trio.transport.rounds import MOST_ROOMS, ROUNDS_BEFORE_DELAY, Round
from tests.kit.subprocesses import DEADLINE
from tests.kit.transports import RawPeer, frame, raw_client

if sys.platform == "linux":
    from pgnet_trio.transport import epoll

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there are no rounds")

BINARY, PING = 2, 9

LONG = 1 << 24
"""Bytes that no socket takes at once."""


@pytest.fixture(autouse=True)
def _switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGNET_SHORT_WAY", raising=False)


class Reader:
    """Reads a pipe, and notes what rounds have taken and what its own task had to read."""

    def __init__(self, take: Callable[[bytes, Round], bytes] | None = None) -> None:
        ours, self.peer = socket.socketpair()
        self.pipe = SocketPipe(ours, "local")
        self.taken: list[bytes] = []
        self.read: list[bytes | Exception] = []
        self._take = take

        def take_data(data: bytes, round: Round) -> bytes:
            self.taken.append(data)
            return b"" if self._take is None else self._take(data, round)

        self.pipe.take_data = take_data

    async def run(self) -> None:
        while True:
            try:
                data = await self.pipe.read()
            except trio.ClosedResourceError:
                return
            except Exception as error:
                self.read.append(error)
                return
            self.read.append(data)
            if not data:
                return


@asynccontextmanager
async def reading(*readers: Reader) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        for reader in readers:
            nursery.start_soon(reader.run)
        await wait_all_tasks_blocked()
        yield
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    for reader in readers:
        await reader.pipe.close()
        reader.peer.close()


async def test_what_a_round_takes_wakes_no_task() -> None:
    ann, bob = Reader(), Reader()
    async with reading(ann, bob):
        for text in (b"one", b"two"):
            ann.peer.send(text)
            bob.peer.send(text)
            await wait_all_tasks_blocked()
    assert ann.taken == bob.taken == [b"one", b"two"]
    assert ann.read == bob.read == []


async def test_what_a_round_leaves_its_task_reads_and_then_what_came_after() -> None:
    ann = Reader(lambda data, _: data[2:])
    async with reading(ann):
        ann.peer.send(b"12345")
        await wait_all_tasks_blocked()
        assert ann.read == [b"345"]
        ann.peer.send(b"67890")
    assert ann.read == [b"345", b"890"]


async def test_more_than_one_read_takes_is_taken_too() -> None:
    ann = Reader()
    async with reading(ann):
        ann.peer.send(bytes(100_000))
        await wait_all_tasks_blocked()
    assert sum(map(len, ann.taken)) == 100_000
    assert ann.read == []


async def test_the_end_is_for_the_task() -> None:
    ann = Reader()
    async with reading(ann):
        ann.peer.send(b"last")
        ann.peer.shutdown(socket.SHUT_WR)
    assert ann.taken == [b"last"]
    assert ann.read == [b""]


async def test_what_one_raises_its_own_task_raises_and_others_go_on() -> None:
    def fail(data: bytes, _: Round) -> bytes:
        raise ValueError("on purpose")

    ann, bob = Reader(fail), Reader()
    async with reading(ann, bob):
        ann.peer.send(b"bad")
        bob.peer.send(b"good")
        await wait_all_tasks_blocked()
        bob.peer.send(b"still good")
    assert [str(error) for error in ann.read] == ["on purpose"]
    assert bob.taken == [b"good", b"still good"]


async def test_what_is_taken_is_taken_in_the_context_of_its_task() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="nobody's")
    seen: list[str] = []

    def look(data: bytes, _: Round) -> bytes:
        seen.append(variable.get())
        variable.set(data.decode())
        return b""

    ann, bob = Reader(look), Reader(look)
    token = variable.set("the server's")
    async with reading(ann, bob):
        for reader, text in ((ann, b"ann's"), (bob, b"bob's"), (ann, b""), (bob, b"")):
            reader.peer.send(text or b"late")
            await wait_all_tasks_blocked()
    assert seen == ["the server's", "the server's", "ann's", "bob's"]
    assert variable.get() == "the server's"
    variable.reset(token)


async def test_nothing_is_taken_from_a_task_that_was_cancelled() -> None:
    ann = Reader()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ann.run)
            await wait_all_tasks_blocked()
            ann.peer.send(b"for whoever reads next")
            scope.cancel()
    assert ann.taken == []
    async with reading(ann):
        pass
    assert ann.taken + ann.read == [b"for whoever reads next"]


async def test_an_interrupted_read_leaves_to_the_next_what_a_round_has_left() -> None:
    ann = Reader(lambda data, _: data)

    def interrupt(data: bytes, _: Round) -> bytes:
        ann.pipe.interrupt()
        return data

    ann._take = interrupt
    async with reading(ann):
        ann.peer.send(b"left")
        await wait_all_tasks_blocked()
        assert ann.read == []
        assert await ann.pipe.read() == b"left"


async def test_the_variable_leaves_all_reading_to_the_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGNET_SHORT_WAY", "0")
    ann = Reader()
    async with reading(ann):
        ann.peer.send(b"one")
    assert ann.taken == []
    assert ann.read == [b"one"]


# Limits.


async def test_other_tasks_get_their_turn_when_the_time_of_a_round_is_up() -> None:
    order: list[str] = []

    def work(data: bytes, round: Round) -> bytes:
        order.append("read")
        while not round.is_over():
            pass
        return b""

    readers = [Reader(work) for _ in range(4)]

    async def tick() -> None:
        for _ in range(20):
            order.append("tick")
            await trio.lowlevel.checkpoint()

    async with reading(*readers), trio.open_nursery() as nursery:
        for reader in readers:
            reader.peer.send(b"x")
        nursery.start_soon(tick)
    assert order.count("read") == 4
    # In each pass of Trio one read and one tick, in either order.
    assert "read read read" not in " ".join(order)


async def test_a_round_leaves_what_is_too_many_sockets_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rounds, "LONGEST_ROUND", 60.0)
    monkeypatch.setattr(epoll, "MOST_SOCKETS", 3)
    reads: list[Round] = []

    def take(data: bytes, round: Round) -> bytes:
        reads.append(round)
        return b""

    readers = [Reader(take) for _ in range(8)]
    async with reading(*readers):
        for reader in readers:
            # More than one read takes: it waits again, beside those that have not been read yet.
            reader.peer.send(bytes(20_000))
    assert [sum(map(len, reader.taken)) for reader in readers] == [20_000] * 8
    assert max(map(reads.count, reads)) == 3


async def test_what_many_games_have_said_is_written_over_several_rounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order: list[str] = []

    class Slow:
        """Writes for so long that nothing more is to be written before other tasks run."""

        def write(self) -> None:
            order.append("write")
            until = time.perf_counter() + 2.5 * rounds.LONGEST_ROUND
            while time.perf_counter() < until:
                pass

    def say(data: bytes, round: Round) -> bytes:
        order.append("read")
        round.after(writers[len(order) - 1 if len(order) <= 4 else 0].write)
        round.until = math.inf
        return b""

    writers = [Slow() for _ in range(4)]
    readers = [Reader(say) for _ in range(4)]

    async def tick() -> None:
        for _ in range(20):
            order.append("tick")
            await trio.lowlevel.checkpoint()

    async with reading(*readers), trio.open_nursery() as nursery:
        for reader in readers:
            reader.peer.send(b"x")
        nursery.start_soon(tick)
        await wait_all_tasks_blocked()
        # Nobody is read as long as something waits to be written.
        assert [each for each in order if each != "tick"] == ["read"] * 4 + ["write"] * 4
        # In each pass of Trio one write and one tick, in either order.
        assert "write write write" not in " ".join(order)


async def test_what_waits_to_be_written_is_written_where_the_last_socket_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rounds, "LONGEST_ROUND", 0.0)
    written: list[int] = []

    def say(data: bytes, round: Round) -> bytes:
        for number in range(3):
            round.after(functools.partial(written.append, number))
        return b""

    ann = Reader(say)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ann.run)
        await wait_all_tasks_blocked()
        ann.peer.send(b"x")
        while not written:
            await trio.lowlevel.checkpoint()
        assert len(written) < 3
        await ann.pipe.close()
    await wait_all_tasks_blocked()
    assert written == [0, 1, 2]
    ann.peer.close()


async def test_a_round_ends_well_before_a_millisecond() -> None:
    began = time.perf_counter()
    round = Round(0.0)
    while not round.is_over():
        pass
    assert rounds.LONGEST_ROUND <= 0.001
    assert time.perf_counter() - began >= rounds.LONGEST_ROUND


async def test_who_always_has_more_to_read_keeps_nobody_from_being_read() -> None:
    def send_again(data: bytes, _: Round) -> bytes:
        flood.peer.send(bytes(4096))
        return b""

    flood, ann = Reader(send_again), Reader()
    async with trio.open_nursery() as nursery:
        for reader in (flood, ann):
            nursery.start_soon(reader.run)
        await wait_all_tasks_blocked()
        flood.peer.send(bytes(4096))
        await trio.lowlevel.checkpoint()
        ann.peer.send(b"one")
        with trio.fail_after(DEADLINE):
            while not ann.taken:
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    for reader in (flood, ann):
        await reader.pipe.close()
        reader.peer.close()


@pytest.mark.parametrize("count", [MOST_ROOMS - 1, MOST_ROOMS])
async def test_what_was_said_leaves_after_the_round_or_before_it_is_too_much(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "LONGEST_ROUND", 60.0)
    order: list[str] = []

    def say(data: bytes, round: Round) -> bytes:
        order.append("read")
        # Twice, and each a flush of its own.
        flush = flushes[len(order) - 1] if len(order) <= count else flushes[0]
        round.after(flush)
        round.after(flush)
        return b""

    flushes = [lambda: order.append("write") for _ in range(count)]
    readers = [Reader(say) for _ in range(count + 1)]
    async with reading(*readers):
        for reader in readers:
            reader.peer.send(b"x")
    if count < MOST_ROOMS:
        assert order == ["read"] * (count + 1) + ["write"] * count
    else:
        assert order == ["read"] * count + ["write"] * count + ["read", "write"]


# What code that runs in a round may do to the task that reads.


@pytest.mark.parametrize("shield", [False, True])
async def test_a_scope_that_is_left_open_ends_no_reading(shield: bool) -> None:
    def leave_open(data: bytes, _: Round) -> bytes:
        scope = trio.CancelScope(shield=shield)
        scope.__enter__()
        if data == b"cancelled":
            scope.cancel()
        return b""

    ann, bob = Reader(leave_open), Reader()
    async with reading(ann, bob):
        for text in (b"open", b"cancelled"):
            ann.peer.send(text)
            await wait_all_tasks_blocked()
            bob.peer.send(b"on it goes")
            await wait_all_tasks_blocked()
    assert ann.taken == [b"open", b"cancelled"]
    assert bob.taken == [b"on it goes"] * 2
    assert bob.read == []


@pytest.fixture
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is: rounds have time for all that a read has brought."""
    monkeypatch.setattr(rounds, "LONGEST_ROUND", 60.0)


# Messages.


@asynccontextmanager
async def receiving(
    library: str, take: Callable[[str | bytes, Round], bool]
) -> AsyncIterator[tuple[RawPeer, list[str | bytes]]]:
    received: list[str | bytes] = []
    async with raw_client(library, max_message_size=1000) as (transport, peer):
        transport.take_message = take

        async def receive() -> None:
            with contextlib.suppress(trio.EndOfChannel, trio.BrokenResourceError):
                while True:
                    received.append(await transport.receive())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await wait_all_tasks_blocked()
            yield peer, received
            nursery.cancel_scope.cancel()


@pytest.mark.usefixtures("_unhurried")
@pytest.mark.parametrize("library", ["websockets", "trio-websocket"])
async def test_plain_messages_are_taken_and_all_others_received_in_order(
    library: str, socket_clock: MockClock
) -> None:
    taken: list[str | bytes] = []

    def take(message: str | bytes, _: Round) -> bool:
        taken.append(message)
        return message != b"no"

    async with receiving(library, take) as (peer, received):
        await peer.send(frame(BINARY, b"one") + frame(BINARY, b"two"))
        await wait_all_tasks_blocked()
        assert (taken, received) == ([b"one", b"two"], [])
        await peer.send(frame(BINARY, b"three") + frame(BINARY, b"no") + frame(BINARY, b"four"))
        await wait_all_tasks_blocked()
        assert (taken[2:], received) == ([b"three", b"no"], [b"no", b"four"])
        # In pieces, and behind a ping.
        await peer.send(frame(PING, b"") + frame(BINARY, b"five"))
        await wait_all_tasks_blocked()
        assert received[2:] == [b"five"]
        data = frame(BINARY, b"six")
        await peer.send(frame(BINARY, b"taken") + data[:3])
        await wait_all_tasks_blocked()
        await peer.send(data[3:])
        await wait_all_tasks_blocked()
        assert (taken[4:], received[3:]) == ([b"taken"], [b"six"])
        await peer.send(frame(BINARY, bytes(1001)))
        await wait_all_tasks_blocked()
    assert len(taken) == 5


# Games whose inputs may wait.


@pytest.mark.parametrize("delay", [0.0, 0.002])
async def test_sockets_wait_after_rounds_in_a_row_that_let_them(
    delay: float, socket_clock: MockClock
) -> None:
    let = [delay]

    def take(data: bytes, round: Round) -> bytes:
        round.delay = min(round.delay, let[0])
        return b""

    ann = Reader(take)
    async with reading(ann):

        async def hear(count: int) -> None:
            ann.peer.send(b"x")
            await wait_all_tasks_blocked()
            assert len(ann.taken) == count

        for number in range(ROUNDS_BEFORE_DELAY):
            await hear(number + 1)
        if delay:
            await hear(ROUNDS_BEFORE_DELAY)
            socket_clock.jump(delay / 2)
            await hear(ROUNDS_BEFORE_DELAY)
            let[0] = 0.0
            socket_clock.jump(delay)
            await wait_all_tasks_blocked()
            # All of it at once.
            assert ann.taken[-1] == b"xx"
        # Somebody waits for an answer: from now on nobody waits for a round.
        for number in range(3):
            await hear(ROUNDS_BEFORE_DELAY + bool(delay) + number + 1)
    assert ann.read == []


async def test_what_a_task_has_to_read_lets_no_socket_wait(socket_clock: MockClock) -> None:
    def take(data: bytes, round: Round) -> bytes:
        round.delay = 0.002
        return data

    ann = Reader(take)
    async with reading(ann):
        for _ in range(2 * ROUNDS_BEFORE_DELAY):
            ann.peer.send(b"x")
            await wait_all_tasks_blocked()
    assert ann.read == [b"x"] * 2 * ROUNDS_BEFORE_DELAY


async def test_a_set_that_lets_its_sockets_wait_ends_with_the_last(socket_clock: MockClock) -> None:
    def take(data: bytes, round: Round) -> bytes:
        round.delay = 0.002
        return b""

    ann = Reader(take)
    async with reading(ann):
        for _ in range(ROUNDS_BEFORE_DELAY):
            ann.peer.send(b"x")
            await wait_all_tasks_blocked()
        watched = epoll._current.get()
    assert watched is not None
    assert not watched.ended
    socket_clock.jump(0.002)
    await wait_all_tasks_blocked()
    assert watched.ended


# Connections.


class Words:
    """A protocol that takes each message as one event, and has rules of its own."""

    closing = private = False

    def __init__(self) -> None:
        self.answers: list[bytes] = []

    @property
    def waiting(self) -> bool:
        return bool(self.answers)

    @property
    def emptied(self) -> bool:
        return False

    @property
    def owes_flush(self) -> bool:
        return bool(self.answers)

    def receive(self, message: str | bytes) -> list[bytes]:
        assert isinstance(message, bytes)
        if message == b"against the rules":
            raise ProtocolError("expected another word")
        if message == b"ping":
            self.answers.append(b"pong")
            return []
        return [message]

    def ping(self) -> bool:
        return False

    def next_message(self) -> bytes | None:
        return self.answers.pop(0) if self.answers else None


class Listening:
    """A connection's end of a test: what it took in rounds, received, and met at last."""

    def __init__(self, transport: Transport, take: Callable[[bytes], float]) -> None:
        self.taken: list[bytes] = []
        self.received: list[bytes] = []
        self.error: Exception | None = None
        self.words = Words()
        self.connection: Connection[bytes] = Connection(
            transport, self.words, ping_interval=None, keepalive_timeout=None
        )
        self._take = take

    def take(self, events: Sequence[bytes], _: Round) -> float:
        self.taken += events
        return self._take(events[0])

    async def run(self) -> None:
        try:
            with self.connection.taking_now(self.take):
                while True:
                    self.received += await self.connection.receive()
        except (Disconnected, ProtocolError, ValueError) as error:
            self.error = error


@asynccontextmanager
async def listening(
    take: Callable[[bytes], float] = lambda word: 0.0,
) -> AsyncIterator[tuple[Listening, RawPeer]]:
    async with raw_client("websockets") as (transport, peer):
        found = Listening(transport, take)
        async with trio.open_nursery() as nursery, found.connection.open(nursery):
            nursery.start_soon(found.run)
            await wait_all_tasks_blocked()
            yield found, peer
            nursery.cancel_scope.cancel()


async def test_who_sends_too_fast_is_read_no_further_until_the_pause_is_over(
    socket_clock: MockClock,
) -> None:
    async with listening(lambda word: 10.0 if word == b"dear" else 0.0) as (found, peer):
        began = trio.current_time()
        await peer.send(frame(BINARY, b"dear") + frame(BINARY, b"one"))
        await wait_all_tasks_blocked()
        await peer.send(frame(BINARY, b"two"))
        await wait_all_tasks_blocked()
        assert found.taken + found.received == [b"dear"]
        await trio.sleep_until(began + 9)
        assert found.taken + found.received == [b"dear"]
        await trio.sleep_until(began + 11)
        assert found.taken + found.received == [b"dear", b"one", b"two"]


@pytest.mark.usefixtures("_unhurried")
async def test_who_does_not_read_is_read_no_further_until_all_is_written() -> None:
    words = [b"one", b"two", b"three"]
    async with listening() as (found, peer):
        # Its reader waits meanwhile, as where another player's move is shown.
        found.words.answers.append(bytes(LONG))
        found.connection.flush()
        for word in words:
            await peer.send(frame(BINARY, word))
            await wait_all_tasks_blocked()
        assert found.taken == []
        # That one woke the reader, which has read no more since.
        assert found.received == [b"one"]
        with trio.fail_after(DEADLINE):
            left = len(frame(BINARY, bytes(LONG), masked=False))
            while left:
                left -= len(await peer.stream.receive_some(1 << 20))
            while found.received + found.taken != words:
                await trio.lowlevel.checkpoint()


@pytest.mark.usefixtures("_unhurried")
@pytest.mark.parametrize("word", [b"against the rules", b"bad"])
async def test_an_error_is_raised_in_the_task_of_its_connection(word: bytes) -> None:
    def take(word: bytes) -> float:
        if word == b"bad":
            raise ValueError("on purpose")
        return 0.0

    async with listening(take) as (found, peer):
        await peer.send(frame(BINARY, b"good") + frame(BINARY, word) + frame(BINARY, b"late"))
        await wait_all_tasks_blocked()
        if word == b"bad":
            assert str(found.error) == "on purpose"
        else:
            with trio.fail_after(DEADLINE):
                assert await peer.read_close() == (1008, "expected another word")
            await peer.stream.aclose()
        await wait_all_tasks_blocked()
    assert found.taken == [b"good", b"bad"][: 2 if word == b"bad" else 1]
    assert found.received == []
    assert found.error is not None


async def test_a_pong_leaves_at_once_and_what_comes_next_is_taken_again() -> None:
    async with listening() as (found, peer):
        await peer.send(frame(BINARY, b"one"))
        await peer.send(frame(BINARY, b"ping"))
        with trio.fail_after(DEADLINE):
            assert await peer.read_frame() == (BINARY, b"pong")
        await wait_all_tasks_blocked()
        await peer.send(frame(BINARY, b"two"))
        await wait_all_tasks_blocked()
    assert found.taken == [b"one", b"two"]
    assert found.received == []
