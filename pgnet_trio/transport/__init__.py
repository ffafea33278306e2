"""Transports: links that carry whole messages, in memory and over WebSockets."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol

import attrs

from pgnet_trio.transport.interface import Transport
from pgnet_trio.transport.memory import MemoryTransport, memory_pair

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from pgnet_trio.transport.pipes import BytePipe
    from pgnet_trio.transport.upgrade import Upgrade

__all__ = ["MemoryTransport", "Transport", "WebSocketImplementation", "choose", "memory_pair"]


class Accept(Protocol):
    """Accepts a client's connection as a WebSocket, and closes it at exit."""

    def __call__(
        self,
        pipe: BytePipe,
        data: bytes,
        upgrade: Upgrade | None = None,
        *,
        subprotocols: Sequence[str] = (),
        max_message_size: int | None,
    ) -> AbstractAsyncContextManager[Transport]: ...


class Connect(Protocol):
    """Connects to a WebSocket server, and closes the connection at exit."""

    def __call__(
        self,
        host: str,
        port: int,
        *,
        resource: str = "/",
        host_header: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        subprotocols: Sequence[str] = (),
        max_message_size: int | None = None,
    ) -> AbstractAsyncContextManager[Transport]: ...


@attrs.frozen
class WebSocketImplementation:
    """The transports of one WebSocket library.

    Attributes:
        name: The name for `choose`.
        accept: Makes the server's end.
        connect: Makes the client's end.
    """

    name: str
    accept: Accept
    connect: Connect


def choose(name: str | None) -> WebSocketImplementation:
    """Return a WebSocket implementation.

    Args:
        name: "trio-websocket", "websockets" (faster; the extra ``speed``), or None for the
            fastest that is installed.

    Raises:
        ImportError: The library that was named is not installed.
        ValueError: There is no implementation of this name.
    """
    if name not in ("trio-websocket", "websockets", None):
        raise ValueError(
            f'transport: expected "trio-websocket", "websockets" or None, got {name!r}'
        )
    if name != "trio-websocket":
        try:
            from pgnet_trio.transport import websockets
        except ImportError as exc:
            if name is not None:
                raise ImportError(
                    'transport "websockets" needs the package websockets: '
                    "pip install 'pgnet_trio[speed]'"
                ) from exc
        else:
            return WebSocketImplementation("websockets", websockets.accept, websockets.connect)
    from pgnet_trio.transport import trio_websocket

    return WebSocketImplementation("trio-websocket", trio_websocket.accept, trio_websocket.connect)
