"""What a transport is: it carries whole messages both ways, and does not know what they mean."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgnet_trio.transport.rounds import TakeMessage

__all__ = ["Transport"]


class Transport(ABC):
    """A link that carries whole messages: ``str`` is a text message, ``bytes`` a binary one.

    One task receives. One task at a time may send: when `send_nowait` has returned False, `drain`
    has to return before anybody sends again. Errors are Trio's: ``trio.EndOfChannel`` (receiving:
    the peer closed in good order), ``trio.BrokenResourceError`` (the link broke, or the peer broke
    its rules; the message says which) and ``trio.ClosedResourceError`` (closed at this end).

    Attributes:
        peer: The peer's address without its port, for limits and logs; ``"memory"`` for a memory
            link that was given no other.
        subprotocol: The subprotocol that the WebSocket handshake agreed on, or None.
        offered_subprotocols: The subprotocols that the client offered in the handshake, in its
            order. Both ends have them, so that a protocol can detect that somebody on the way
            changed the offer.
        max_message_size: The longest message in bytes that `receive` accepts, or None. It may be
            assigned at any time, and holds from the next message on. A longer message closes the
            link (WebSocket close code 1009) and makes `receive` raise ``trio.BrokenResourceError``.
        last_received: When a byte last came in, in seconds of ``trio.current_time()``.
        on_unsent: Called when a ping or a pong finds no room, so that somebody awaits `drain`.
            Where it is None, the ping or pong leaves with the next write or read.
        take_message: Called with a message that comes while `receive` waits, in a round of reading
            (`pgnet_trio.transport.rounds`). If it returns True, `receive` waits on, and otherwise
            returns this message. None to have all messages returned. Many transports have no
            rounds, and never call it.
    """

    peer: str
    subprotocol: str | None
    offered_subprotocols: tuple[str, ...]
    max_message_size: int | None
    last_received: float
    on_unsent: Callable[[], None] | None = None
    take_message: TakeMessage | None = None

    @property
    def inside_process(self) -> bool:
        """Whether both ends are in this process, so that nobody can read or change what passes.

        A server trusts such a link: it neither encrypts nor limits it, and takes its user
        ``admin`` without a password. A link over any network has to return False, whatever
        its `peer` is.
        """
        return False

    @property
    def unsent(self) -> bool:
        """Whether something waits inside the transport to be written, pings and pongs included."""
        return False

    @property
    def round_trip(self) -> float | None:
        """Seconds from here to the other end and back, as the system measures it; None if unknown.

        Behind a proxy, the other end is the proxy.
        """
        return None

    @property
    def last_sent(self) -> float:
        """When a part of a message that waits for `drain` last went out, on the same clock.

        Minus infinity where none ever did, or the transport does not know.
        """
        return -math.inf

    @abstractmethod
    async def receive(self) -> str | bytes:
        """Wait for the next message.

        Cancellation changes nothing: no message is lost or cut.

        Raises:
            trio.EndOfChannel: The peer closed the link in good order.
            trio.BrokenResourceError: The link broke, or the peer sent a message over
                `max_message_size`.
            trio.ClosedResourceError: The link was closed at this end.
        """

    @abstractmethod
    def send_nowait(self, message: str | bytes) -> bool:
        """Take a message, and write as much of it as goes out without waiting.

        Returns:
            True when all of it is out. False when a part waits inside the transport: `drain` has
            to return before the next message.

        Raises:
            trio.BusyResourceError: An earlier message still waits for `drain`.
            trio.BrokenResourceError: The link is broken.
            trio.ClosedResourceError: The link was closed at this end.
        """

    @abstractmethod
    async def drain(self) -> None:
        """Wait until nothing is left inside the transport.

        Cancelling this closes the link, because half a message may be on the wire.

        Raises:
            trio.BrokenResourceError: The link broke.
            trio.ClosedResourceError: The link was closed at this end.
        """

    async def send(self, message: str | bytes) -> None:
        """Send one message: call `send_nowait`, and await `drain` where that returned False.

        Cancelling this closes the link, unless the whole message was out.
        """
        if not self.send_nowait(message):
            await self.drain()

    @abstractmethod
    def ping(self) -> None:
        """Send the peer a ping, without waiting; its pong shows in `last_received`.

        This does nothing on a link that is closed, or that cannot ping (memory).
        """

    @abstractmethod
    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close the link; idempotent.

        The peer is told the code and the reason, if it reads them within a second. The link is
        closed when this returns, and when it is cancelled.

        Args:
            code: A WebSocket close code (RFC 6455, section 7.4).
            reason: Text for the peer, of which it gets at most 123 bytes of UTF-8.
        """
