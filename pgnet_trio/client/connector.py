"""The ways from a client to its server: over the network, or in memory to a server of its own."""

from __future__ import annotations

import logging
import os
import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import trio

from pgnet_trio.client.address import redirected
from pgnet_trio.errors import AddressError, ConnectFailed
from pgnet_trio.messages import DEFAULT_PORT
from pgnet_trio.protocol.v2 import SUBPROTOCOLS

if TYPE_CHECKING:
    from pgnet_trio.client.address import Address
    from pgnet_trio.transport import Transport, WebSocketImplementation

__all__ = [
    "MAX_MESSAGE_SIZE",
    "Connector",
    "LocalConnector",
    "LocalServer",
    "RemoteConnector",
    "unreached",
]

MAX_MESSAGE_SIZE = 1024 * 1024
"""Bytes of the longest message that a client takes from a server."""


class Connector(ABC):
    """A way to a server.

    Attributes:
        encrypted: Whether the protocol has to encrypt what goes this way.
        status_level: The level at which the log says how things are with the client.
    """

    encrypted: bool
    status_level: int = logging.INFO

    @abstractmethod
    def __str__(self) -> str:
        """Return where it leads, for people."""

    @abstractmethod
    def connect(self, max_message_size: int | None) -> Any:
        """Return an async context manager around a `Transport` that is open.

        Args:
            max_message_size: Bytes of the longest message to take; None for any.

        Raises:
            OSError: Nobody is there.
            trio.BrokenResourceError: Whoever is there does not speak WebSocket.
        """

    def redirected(self, address: str) -> Connector:
        """Return the way to where a server that was reached this way sends the client.

        Args:
            address: Where to, as the server says it.

        Raises:
            AddressError: No way leads there, or none that the client may go.
        """
        raise AddressError(f"{address!r}: there is no way to another server from {self}")

    def cause_of(self, refusal: str) -> BaseException | None:
        """Return the error of a game behind a refusal, where the server is in this process."""
        return None


class RemoteConnector(Connector):
    """The way to a server over the network."""

    encrypted = True

    def __init__(
        self,
        address: Address,
        implementation: WebSocketImplementation,
        subprotocols: Sequence[str] = SUBPROTOCOLS,
    ) -> None:
        self._address = address
        self._implementation = implementation
        self._subprotocols = subprotocols

    def __str__(self) -> str:
        resource = self._address.resource
        return f"{self._address}{'' if resource == '/' else resource}"

    def connect(self, max_message_size: int | None) -> Any:
        """Return an async context manager around a WebSocket."""
        return self._implementation.connect(
            self._address.host,
            self._address.port,
            resource=self._address.resource,
            ssl_context=ssl.create_default_context() if self._address.tls else None,
            subprotocols=self._subprotocols,
            max_message_size=max_message_size,
        )

    def redirected(self, address: str) -> RemoteConnector:
        """Return the way to another address, or to another path at this one."""
        return RemoteConnector(
            redirected(self._address, address, DEFAULT_PORT),
            self._implementation,
            self._subprotocols,
        )


class LocalServer(Protocol):
    """What a client needs of a server that it runs itself."""

    async def serve(self, *, port: int | None, task_status: trio.TaskStatus[int | None]) -> int:
        """Host games until `shutdown`."""

    def connect_in_memory(self) -> Transport:
        """Return the client's end of a connection inside the process."""

    def cause_of(self, refusal: str) -> BaseException | None:
        """Return the error of a game behind a refusal."""

    def shutdown(self, result: int = 0, /) -> None:
        """Tell the server to end."""


class LocalConnector(Connector):
    """The way to a server that runs for as long as the client is connected."""

    encrypted = False

    def __init__(self, server: LocalServer, port: int | None) -> None:
        self._server = server
        self._port = port

    def __str__(self) -> str:
        return "a server of its own"

    @asynccontextmanager
    async def connect(self, max_message_size: int | None) -> AsyncIterator[Transport]:
        """Start the server and connect to it; at the end of the block, shut the server down."""
        async with trio.open_nursery() as nursery:
            serve: Callable[..., Any] = self._serve
            await nursery.start(serve)
            transport = self._server.connect_in_memory()
            transport.max_message_size = max_message_size
            try:
                yield transport
            finally:
                await transport.aclose()
                self._server.shutdown()

    def cause_of(self, refusal: str) -> BaseException | None:
        """Return the error of a game behind a refusal."""
        return self._server.cause_of(refusal)

    async def _serve(self, *, task_status: trio.TaskStatus[int | None]) -> None:
        await self._server.serve(port=self._port, task_status=task_status)


def unreached(connector: Connector, error: BaseException) -> ConnectFailed:
    """Return the error for a client that found no server, from what `Connector.connect` raised."""
    # Trio tries each address of a name; only a group says what went wrong with each.
    tries = error.__cause__
    errors = tries.exceptions if isinstance(tries, BaseExceptionGroup) else (error,)
    reasons = "; ".join(dict.fromkeys(map(_why, errors))).rstrip(".")
    hint = ""
    if any(isinstance(each, ConnectionRefusedError) and each.errno for each in errors):
        hint = " Is a server running there?"
    elif any(isinstance(each, socket.gaierror) for each in errors):
        hint = " Is the name right?"
    failure = ConnectFailed(f"No server was reached at {connector}: {reasons}.{hint}")
    failure.__cause__ = errors[0] if len(errors) == 1 else None
    # The message tells all of it: several tracebacks would only repeat it.
    failure.__suppress_context__ = True
    return failure


def _why(error: BaseException) -> str:
    # An error without a number is not the operating system's, and its own text says more. TLS and
    # name look-ups have numbers of their own, which `os.strerror` would misread.
    if not isinstance(error, OSError) or isinstance(error, ssl.SSLError) or not error.errno:
        return str(error)
    if isinstance(error, socket.gaierror):
        return (error.strerror or str(error)).lower()
    return os.strerror(error.errno).lower()
