"""A WebSocket that somebody else's server has accepted, as ASGI hands it to an application.

ASGI tells an application nothing of WebSocket's own pings, so this link carries protocol 2 alone,
which has pings of its own.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

import trio

from pgnet_trio.foreign_text import one_line
from pgnet_trio.transport.interface import Transport
from pgnet_trio.transport.rules import (
    BUSY_RECEIVING,
    BUSY_SENDING,
    CLOSE_TIMEOUT,
    CLOSED_HERE,
    MESSAGE_TOO_BIG,
    byte_size,
    check_close_code,
    closed_by_peer,
    cut_reason,
    too_big,
)

__all__ = ["ASGITransport", "Receive", "Scope", "Send"]

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_GONE = 1006
"""What stands for the close code of a peer that is gone without one."""

_NO_CODE = 1005
"""What stands for the close code of a peer that gave none."""


class ASGITransport(Transport):
    """The server's end of a WebSocket that is accepted already.

    Args:
        receive: ASGI's function that waits for what comes. Cancelling it has to lose nothing, as
            with every server on Trio.
        send: ASGI's function that sends.
        peer: The peer's address; see `Transport`.
        subprotocol: As in `Transport`.
        offered_subprotocols: As in `Transport`.

    Attributes:
        closed: Set when the link is closed at this end: the application may return.
    """

    def __init__(
        self,
        receive: Receive,
        send: Send,
        *,
        peer: str,
        subprotocol: str | None,
        offered_subprotocols: tuple[str, ...],
    ) -> None:
        self.peer = peer
        self.subprotocol = subprotocol
        self.offered_subprotocols = offered_subprotocols
        self.max_message_size = None
        self.last_received = trio.current_time()
        self.closed = trio.Event()
        self._receive = receive
        self._send = send
        self._receiving: trio.CancelScope | None = None
        self._sending: trio.CancelScope | None = None
        self._held: str | bytes | None = None
        self._last_sent = -math.inf
        self._closing = False
        # Why nothing more comes or goes, where this end was not closed: the exception for the
        # receiver, and its text.
        self._over: type[trio.EndOfChannel | trio.BrokenResourceError] | None = None
        self._over_text = ""

    @property
    def unsent(self) -> bool:
        """Whether a message waits for `drain`."""
        return self._held is not None

    @property
    def last_sent(self) -> float:
        """When a message last went out; see `Transport.last_sent`."""
        return self._last_sent

    async def receive(self) -> str | bytes:
        """Wait for the next message; see `Transport.receive`."""
        if self._receiving is not None:
            raise trio.BusyResourceError(BUSY_RECEIVING)
        await trio.lowlevel.checkpoint()
        self._check_open()
        try:
            with trio.CancelScope() as self._receiving:
                event = await self._receive()
        except Exception as error:
            raise self._break(error) from error
        finally:
            self._receiving = None
        self._check_open()
        if event["type"] == "websocket.disconnect":
            code = event.get("code", _NO_CODE)
            kind = trio.BrokenResourceError if code == _GONE else trio.EndOfChannel
            raise self._end(kind, closed_by_peer(code, event.get("reason") or ""))
        self.last_received = trio.current_time()
        data = event.get("bytes")
        message: str | bytes = event["text"] if data is None else data
        limit = self.max_message_size
        if limit is not None and byte_size(message) > limit:
            await self.aclose(MESSAGE_TOO_BIG, too_big(limit))
            raise trio.BrokenResourceError(f"the peer sent a {too_big(limit)}")
        return message

    def send_nowait(self, message: str | bytes) -> bool:
        """Take a message, which `drain` sends: ASGI cannot send without waiting."""
        self._check_open(for_sending=True)
        if self._held is not None:
            raise trio.BusyResourceError(BUSY_SENDING)
        if isinstance(message, str):
            # A text that UTF-8 cannot carry has to fail here, and not in somebody else's server.
            byte_size(message)
        elif not isinstance(message, bytes):
            raise TypeError(f"message: expected str or bytes, got {type(message).__name__}")
        self._held = message
        return False

    async def drain(self) -> None:
        """Send the message that waits; see `Transport.drain`."""
        if self._sending is not None:
            raise trio.BusyResourceError("another task is already draining this link")
        await trio.lowlevel.checkpoint()
        self._check_open(for_sending=True)
        if self._held is None:
            return
        kind = "text" if isinstance(self._held, str) else "bytes"
        try:
            with trio.CancelScope() as self._sending:
                await self._send({"type": "websocket.send", kind: self._held})
        except Exception as error:
            raise self._break(error) from error
        except BaseException:
            # Half a message may be on the wire.
            self.abandon()
            raise
        finally:
            self._sending = None
        self._check_open(for_sending=True)
        self._held = None
        self._last_sent = trio.current_time()

    def ping(self) -> None:
        """Do nothing: ASGI has no pings, and protocol 2 has its own."""

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close the link; see `Transport.aclose`."""
        check_close_code(code)
        # Behind half a message, nobody would understand that the link closes.
        is_told = not self._closing and self._over is None and self._sending is None
        self._interrupt()
        try:
            if is_told:
                with trio.move_on_after(CLOSE_TIMEOUT):
                    event = {"type": "websocket.close", "code": code, "reason": cut_reason(reason)}
                    await self._send(event)
            else:
                await trio.lowlevel.checkpoint()
        except Exception as error:
            # The peer is gone, or the server around this has closed: so it is closed.
            self._break(error)
        finally:
            self.closed.set()

    def abandon(self) -> None:
        """Close the link without telling the peer, which the server around it does."""
        self._interrupt()
        self.closed.set()

    def _interrupt(self) -> None:
        self._closing = True
        self._held = None
        for scope in (self._receiving, self._sending):
            if scope is not None:
                scope.cancel()

    def _check_open(self, *, for_sending: bool = False) -> None:
        if self._closing:
            raise trio.ClosedResourceError(CLOSED_HERE)
        if self._over is not None:
            raise (trio.BrokenResourceError if for_sending else self._over)(self._over_text)

    def _end(
        self, kind: type[trio.EndOfChannel | trio.BrokenResourceError], text: str
    ) -> trio.EndOfChannel | trio.BrokenResourceError:
        self._over, self._over_text = kind, text
        return kind(text)

    def _break(self, error: Exception) -> Exception:
        why = one_line(error) or type(error).__name__
        return self._end(trio.BrokenResourceError, f"the link broke: {why}")
