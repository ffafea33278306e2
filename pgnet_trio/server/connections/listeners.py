"""Opens the ports that a server listens on, and accepts the connections that come."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import trio

from pgnet_trio.errors import ServerError
from pgnet_trio.foreign_text import one_line

__all__ = ["accept_connections", "open_listeners"]

logger = logging.getLogger("pgnet_trio.server")

HandleSocket: TypeAlias = Callable[[socket.socket, str], Awaitable[None]]
"""Called with a connected socket, which it owns from then on, and the address of its other end."""

LOOPBACK = ("127.0.0.1", "::1")
ANYWHERE = ("0.0.0.0", "::")  # for listen_globally
TRIES = 20
"""How often the server looks for a port that is free for IPv4 and for IPv6."""

MAX_NOT_SENT = 16 * 1024
"""Bytes that the kernel takes before it sends them: what comes later can still be left out."""

NOT_SENT: int | None = getattr(socket, "TCP_NOTSENT_LOWAT", None)

REST = 0.1
"""Seconds until the next try where no connection can be accepted, for want of memory, say."""

# The errors of machines without IPv6.
NO_SUCH_FAMILY = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.ENOPROTOOPT}


async def open_listeners(port: int, *, listen_globally: bool) -> list[socket.socket]:
    """Listen on one port by IPv4 and, where the machine has it, by IPv6.

    Cancellation leaves nothing open.

    Args:
        port: The port; 0 for any that is free.
        listen_globally: Whether to listen on all of the machine's addresses, or on loopback.

    Returns:
        One or two sockets that listen, and do not block, with the same port.

    Raises:
        ServerError: The port is in use, or may not be listened on.
    """
    hosts = ANYWHERE if listen_globally else LOOPBACK
    for remaining in reversed(range(TRIES)):
        listeners: list[trio.SocketListener] = []
        try:
            number = port
            for host in hosts:
                try:
                    listeners += await trio.open_tcp_listeners(number, host=host)
                except OSError as error:
                    if not listeners or error.errno not in NO_SUCH_FAMILY:
                        raise
                number = listeners[0].socket.getsockname()[1]
        except BaseException as error:
            for listener in listeners:
                with trio.CancelScope(shield=True):
                    await listener.aclose()
            if not isinstance(error, OSError):
                raise
            if port == 0 and error.errno == errno.EADDRINUSE and remaining:
                continue
            raise _explain(port, error) from error
        return [_bare(listener) for listener in listeners]
    raise AssertionError("the last try raises")


def _bare(listener: trio.SocketListener) -> socket.socket:
    bare = socket.socket(fileno=listener.socket.detach())
    bare.setblocking(False)
    return bare


async def accept_connections(
    listeners: Sequence[socket.socket], handle: HandleSocket, connections: trio.Nursery
) -> None:
    """Accept connections until cancelled, each in a task of its own; then close the listeners.

    Args:
        listeners: The sockets that listen.
        handle: Serves a connection.
        connections: The nursery for its tasks.
    """
    async with trio.open_nursery() as accepting:
        for listener in listeners:
            accepting.start_soon(_accept, listener, handle, connections)


async def _accept(listener: socket.socket, handle: HandleSocket, connections: trio.Nursery) -> None:
    with listener:
        while True:
            # Wait first: Trio's own socket would try in vain once for each connection.
            await trio.lowlevel.wait_readable(listener)
            try:
                source, address = listener.accept()
            except (BlockingIOError, ConnectionError):
                # The client has gone away again.
                continue
            except OSError as error:
                logger.error("No connection can be accepted: %s", one_line(error))
                await trio.sleep(REST)
                continue
            _send_in_time(source)
            connections.start_soon(handle, source, address[0])


def _send_in_time(source: socket.socket) -> None:
    """Have short messages leave at once, and few bytes wait in the kernel, as Trio's streams do."""
    # The client may be gone already.
    with contextlib.suppress(OSError):
        source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        if NOT_SENT is not None:
            source.setsockopt(socket.IPPROTO_TCP, NOT_SENT, MAX_NOT_SENT)


def _explain(port: int, error: OSError) -> ServerError:
    if error.errno == errno.EADDRINUSE:
        return ServerError(
            f"Port {port} is in use, perhaps by another server; stop that one, or choose another "
            "port (0 takes any that is free)."
        )
    return ServerError(f"Port {port} cannot be listened on: {error}.")
