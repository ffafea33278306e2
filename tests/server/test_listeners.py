"""Accepting connections, also while that fails for a while."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any

import trio

from pgnet_trio.server.connections import listeners
from pgnet_trio.server.connections.listeners import accept_connections
from tests.kit.subprocesses import DEADLINE

if TYPE_CHECKING:
    import pytest


class Failing(socket.socket):
    """A listening socket that fails to accept before it does."""

    failures: tuple[OSError, ...] = ()

    def accept(self) -> tuple[socket.socket, Any]:
        if self.failures:
            failure, *rest = self.failures
            self.failures = tuple(rest)
            raise failure
        return super().accept()


async def test_no_failure_to_accept_ends_the_listening(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listeners, "REST", 0.01)
    served: list[tuple[bool, str]] = []
    done = trio.Event()

    async def serve(source: socket.socket, address: str) -> None:
        with source:
            nodelay = source.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            served.append((bool(nodelay), address))
        await trio.lowlevel.checkpoint()
        done.set()

    listener = Failing()
    listener.setblocking(False)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    listener.failures = (
        BlockingIOError(),
        ConnectionAbortedError(),
        OSError(errno.EMFILE, "Too many open files"),
    )
    with trio.fail_after(DEADLINE), socket.create_connection(listener.getsockname()):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_connections, [listener], serve, nursery)
            await done.wait()
            nursery.cancel_scope.cancel()
    assert served == [(True, "127.0.0.1")]
    # Who has gone again is nothing to speak of.
    assert caplog.messages == ["No connection can be accepted: [Errno 24] Too many open files"]
    assert listener.fileno() == -1
