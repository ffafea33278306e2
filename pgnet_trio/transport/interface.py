"""What a transport is: whole messages both ways, and nothing about what they mean."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

__all__ = ["Transport"]


class Transport(ABC):
    """A link that carries whole messages: ``str`` is a text message, ``bytes`` a binary one.

    One task receives. Sending has one owner at a time: whoever called `send_nowait` and got
    False awaits `drain` before anybody sends again. Errors are Trio's:
    ``trio.EndOfChannel`` (receiving: the peer closed in good order), ``trio.BrokenResourceError``
    (the link broke, or the peer broke its rules; the message says which) and
    ``trio.ClosedResourceError`` (closed at this end).

    Attributes:
        peer: The peer's address without its port, for limits and logs; ``"memory"`` for a memory
            link that was given no other.
        subprotocol: What the WebSocket handshake agreed on, or None.
        offered_subprotocols: What the client offered in the handshake, in its order; the same at
            both ends, so that a protocol can make sure that nobody in between changed it.
        max_message_size: The longest message in bytes that `receive` accepts, or None. May be
            assigned at any time; it holds from the next message on. A longer message closes the
            link (WebSocket close code 1009) and makes `receive` raise ``trio.BrokenResourceError``.
        last_received: When any byte last came in, in seconds of ``trio.current_time()``.
        on_unsent: What to call when a ping or a pong finds no room, so that somebody awaits
            `drain`. None: it leaves with what is written or read next.
    """

    peer: str
    subprotocol: str | None
    offered_subprotocols: tuple[str, ...]
    max_message_size: int | None
    last_received: float
    on_unsent: Callable[[], None] | None = None

    @property
    def inside_process(self) -> bool:
        """Whether both ends are in this process, so that nobody can read or change what passes.

        A server trusts such a link: it neither encrypts nor limits it, and takes its user
        ``admin`` without a password. A link over any network has to say False, whatever its
        `peer` is called.
        """
        return False

    @property
    def unsent(self) -> bool:
        """Whether something waits inside the transport to be written, be it a ping or a pong."""
        return False

    @property
    def last_sent(self) -> float:
        """When some of a message that waits for `drain` last went out, as `last_received`.

        Long ago where that was never, or is not known.
        """
        return -math.inf

    @abstractmethod
    async def receive(self) -> str | bytes:
        """Wait for the next message.

        Cancellation leaves everything as it was: no message is lost, none is cut.

        Raises:
            trio.EndOfChannel: The peer closed the link in good order.
            trio.BrokenResourceError: The link broke, or a message was over `max_message_size`.
            trio.ClosedResourceError: The link was closed at this end.
        """

    @abstractmethod
    def send_nowait(self, message: str | bytes) -> bool:
        """Take a message, and write as much of it as is possible without waiting.

        Returns:
            True when all of it is out. False when some of it waits inside the transport; then
            `drain` has to be awaited before the next message.

        Raises:
            trio.BusyResourceError: An earlier message still waits for `drain`.
            trio.BrokenResourceError: The link is broken.
            trio.ClosedResourceError: The link was closed at this end.
        """

    @abstractmethod
    async def drain(self) -> None:
        """Write out what waits inside the transport.

        Cancelling this closes the link: half a message may be on the wire.

        Raises:
            trio.BrokenResourceError: The link broke.
            trio.ClosedResourceError: The link was closed at this end.
        """

    async def send(self, message: str | bytes) -> None:
        """Send one message: `send_nowait`, and `drain` where that is needed.

        Cancelling this closes the link, unless the message was out already.
        """
        if not self.send_nowait(message):
            await self.drain()

    @abstractmethod
    def ping(self) -> None:
        """Ask the peer for a sign of life, without waiting; it shows in `last_received`.

        Does nothing on a link that cannot ping (memory), or one that is closed.
        """

    @abstractmethod
    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close the link; idempotent.

        The peer is told the code and the reason if it can be told at once or within a second.
        The link is closed when this returns, also when this is cancelled.

        Args:
            code: A WebSocket close code (RFC 6455, section 7.4).
            reason: Text for the peer, at most 123 bytes of UTF-8; cut where it is longer.
        """
