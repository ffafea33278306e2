"""Waiting for a socket: Linux has a set of its own for it, all others have Trio's."""

from __future__ import annotations

import errno
import select
import socket
import sys
from collections.abc import AsyncGenerator

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pgnet_trio.transport import pipes
from pgnet_trio.transport.pipes import SocketPipe
from pgnet_trio.transport.readiness import Readiness
from tests.kit.subprocesses import DEADLINE


@pytest.fixture(params=["here", "anywhere"])
def _watch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "anywhere":
        monkeypatch.setattr(pipes, "watch", Readiness)


pytestmark = pytest.mark.usefixtures("_watch")


def _pair() -> tuple[SocketPipe, socket.socket]:
    ours, theirs = socket.socketpair()
    return SocketPipe(ours, "local"), theirs


async def test_what_was_there_before_anybody_watched_is_read() -> None:
    ours, theirs = socket.socketpair()
    theirs.send(b"early")
    pipe = SocketPipe(ours, "local")
    assert await pipe.read() == b"early"
    await pipe.close()
    theirs.close()


async def test_the_end_that_came_with_the_last_bytes_is_read_after_them() -> None:
    pipe, theirs = _pair()
    theirs.send(b"last")
    theirs.close()
    assert await pipe.read() == b"last"
    with trio.fail_after(DEADLINE):
        assert await pipe.read() == b""
        assert await pipe.read() == b""
    await pipe.close()


@pytest.mark.parametrize("size", [4095, 4096, 4097, 65536, 70_000])
async def test_all_of_something_long_is_read(size: int) -> None:
    pipe, theirs = _pair()
    theirs.sendall(bytes(size))
    read = 0
    with trio.fail_after(DEADLINE):
        while read < size:
            read += len(await pipe.read())
    assert read == size
    async with trio.open_nursery() as nursery:

        async def wait_for_more() -> None:
            assert await pipe.read() == b"more"

        nursery.start_soon(wait_for_more)
        await wait_all_tasks_blocked()
        theirs.send(b"more")
    await pipe.close()
    theirs.close()


async def test_a_cancelled_read_loses_nothing() -> None:
    pipe, theirs = _pair()
    with trio.move_on_after(0) as scope:
        await pipe.read()
    assert scope.cancelled_caught
    theirs.send(b"later")
    assert await pipe.read() == b"later"
    await pipe.close()
    theirs.close()


@pytest.mark.parametrize("ending", ["interrupt", "close"])
async def test_a_read_that_waits_is_ended(ending: str) -> None:
    pipe, theirs = _pair()
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await pipe.read()

        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        if ending == "interrupt":
            pipe.interrupt()
        else:
            await pipe.close()
    if ending == "interrupt":
        theirs.send(b"still there")
        assert await pipe.read() == b"still there"
    await pipe.close()
    await pipe.close()
    theirs.close()


async def test_sockets_that_take_the_numbers_of_closed_ones_are_watched_anew() -> None:
    for turn in range(3):
        pipe, theirs = _pair()
        theirs.send(bytes((turn,)))
        assert await pipe.read() == bytes((turn,))
        # What comes after that is for nobody.
        theirs.send(b"unread")
        await pipe.close()
        theirs.close()


async def test_one_that_never_reads_keeps_nobody_from_reading() -> None:
    silent, silent_peer = _pair()
    pipe, theirs = _pair()
    silent_peer.send(b"for nobody")
    await wait_all_tasks_blocked()
    theirs.send(b"for us")
    with trio.fail_after(DEADLINE):
        assert await pipe.read() == b"for us"
    for each in (silent, pipe):
        await each.close()
    for peer in (silent_peer, theirs):
        peer.close()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no set")
async def test_a_socket_is_read_where_the_system_has_no_room_for_a_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(select, "epoll", refuse)
    pipe, theirs = _pair()
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            assert await pipe.read() == b"all the same"

        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        theirs.send(b"all the same")
    await pipe.close()
    theirs.close()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no set")
async def test_a_socket_is_read_where_trio_has_no_room_for_the_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wait_readable = trio.lowlevel.wait_readable

    async def wait_for_sockets(source: int | socket.socket) -> None:
        if isinstance(source, int):
            raise OSError(errno.ENOSPC, "No space left on device")
        await wait_readable(source)

    monkeypatch.setattr("trio.lowlevel.wait_readable", wait_for_sockets)
    pipe, theirs = _pair()
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            assert await pipe.read() == b"one"
            assert await pipe.read() == b"two"
            with pytest.raises(trio.ClosedResourceError):
                await pipe.read()

        nursery.start_soon(read)
        for message in (b"one", b"two"):
            await wait_all_tasks_blocked()
            theirs.send(message)
        await wait_all_tasks_blocked()
        pipe.interrupt()
    other, others = _pair()
    others.send(b"three")
    assert await other.read() == b"three"
    for each in (pipe, other):
        await each.close()
    for peer in (theirs, others):
        peer.close()


@pytest.mark.parametrize("made", ["before", "then"])
@pytest.mark.parametrize("others", [0, 1])
def test_what_outlives_the_main_task_reads_to_its_end(made: str, others: int) -> None:
    read: list[bytes] = []
    alive: list[AsyncGenerator[None, None]] = []

    async def outlive() -> AsyncGenerator[None, None]:
        other = [_pair() for _ in range(others)]
        early = _pair() if made == "before" else None
        try:
            yield
        finally:
            with trio.CancelScope(shield=True), trio.fail_after(DEADLINE):
                pipe, theirs = early or _pair()
                theirs.send(b"last words")
                read.append(await pipe.read())
                for each, peer in [(pipe, theirs), *other]:
                    await each.close()
                    peer.close()

    async def main() -> None:
        generator = outlive()
        alive.append(generator)
        await anext(generator)

    trio.run(main)
    assert read == [b"last words"]
