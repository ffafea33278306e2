"""What Trio's streams and sockets need around them: where they come from, and how they end."""

from __future__ import annotations

import socket
import sys
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from typing import Protocol

import trio

__all__ = ["broken", "close_at_once", "detach", "helper_nursery", "peer_address", "round_trip"]

_RTT_OFFSET = 68
"""Where ``tcp_info`` of Linux has the round trip, in microseconds: part of its interface."""


def broken(cause: Exception) -> trio.BrokenResourceError:
    """Return the error of a link that a stream or socket has found to be broken."""
    # For a TLS error, the text is in the cause: that of Trio's own error is empty.
    why = str(cause) or str(cause.__cause__ or "") or "the other end is gone"
    return trio.BrokenResourceError(f"the link broke: {why}")


def detach(stream: trio.SocketStream) -> socket.socket:
    """Return the socket of a stream, which cannot be used any more."""
    wrapped = stream.socket
    family, kind, protocol = wrapped.family, wrapped.type, wrapped.proto
    return socket.socket(family, kind, protocol, fileno=wrapped.detach())


class Closable(Protocol):
    """Anything that is closed by awaiting."""

    def aclose(self) -> Awaitable[None]:
        """Close; when this is cancelled, at once."""


async def close_at_once(resource: Closable) -> None:
    """Close without waiting, and without raising ``trio.Cancelled``, even when cancelled."""
    with trio.CancelScope(shield=True) as scope:
        scope.cancel()
        await resource.aclose()


@asynccontextmanager
async def helper_nursery() -> AsyncGenerator[trio.Nursery, None]:
    """Open a nursery for helper tasks, which must not raise; cancel them at exit.

    An exception of the body is raised as it is, never in a group.
    """
    error: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            except BaseException as exc:
                error = exc
            finally:
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        # A cancellation from outside reaches the helpers too: their part of it is no error.
        if error is None or group.split(trio.Cancelled)[1] is not None:
            raise
    if error is not None:
        try:
            raise error
        finally:
            del error


def peer_address(stream: socket.socket | trio.abc.Stream) -> str:
    """Return the address of the other end, without a port; "local" where there is none.

    Raises:
        trio.BrokenResourceError: The peer is gone already.
    """
    if isinstance(stream, trio.SSLStream):
        return peer_address(stream.transport_stream)
    if not isinstance(stream, socket.socket | trio.SocketStream):
        return "local"
    try:
        source = stream.socket if isinstance(stream, trio.SocketStream) else stream
        address = source.getpeername()
    except OSError as exc:
        raise broken(exc) from exc
    return str(address[0]) if isinstance(address, tuple) else "local"


def round_trip(source: socket.socket) -> float | None:
    """Return the seconds to the other end of a socket and back; None where the system does not say.

    The system measures it all the time, from what it sends and what is acknowledged.
    """
    if sys.platform != "linux":
        return None
    try:
        info = source.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RTT_OFFSET + 4)
    except OSError:
        # It is closed, or no TCP.
        return None
    return int.from_bytes(info[_RTT_OFFSET:], sys.byteorder) / 1e6 or None
