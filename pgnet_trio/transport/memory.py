"""A transport between two tasks of one process: without a port, and without copies."""

from __future__ import annotations

from collections import deque

import trio

from pgnet_trio.transport.interface import Transport
from pgnet_trio.transport.rules import (
    BUSY_RECEIVING,
    BUSY_SENDING,
    CLOSED_HERE,
    MESSAGE_TOO_BIG,
    MESSAGES_PER_PASS,
    byte_size,
    check_close_code,
    closed_by_peer,
    cut_reason,
    too_big,
)

__all__ = ["MemoryTransport", "memory_pair"]


def memory_pair(
    subprotocol: str | None = None, *, max_messages: int = 64, peer: str | None = None
) -> tuple[MemoryTransport, MemoryTransport]:
    """Make the two ends of a link in memory.

    Args:
        subprotocol: The one subprotocol that both ends report as offered and agreed on, or None.
        max_messages: How many messages may wait at each end to be received; one more may wait at
            the sending end, for `drain`.
        peer: The address that both ends report as their `peer`. A server does not trust a link
            with an address: it carries on a connection from elsewhere. None stands for
            ``"memory"``, and makes both ends `inside_process`.

    Returns:
        Both ends; they are alike.

    Raises:
        ValueError: `max_messages` is below 1.
    """
    if max_messages < 1:
        raise ValueError(f"max_messages: expected 1 or more, got {max_messages}")
    one = MemoryTransport(max_messages, peer, subprotocol)
    other = MemoryTransport(max_messages, peer, subprotocol)
    one._other, other._other = other, one
    return one, other


class MemoryTransport(Transport):
    """One end of a link in memory; `memory_pair` makes both.

    The receiver gets the very object that was sent. Size limits hold as on a WebSocket, so that a
    message that would be too long there fails here too.

    Args:
        max_messages: How many messages may wait here to be received.
        peer: What to report as `peer`; None for ``"memory"`` and `inside_process`.
        subprotocol: What to report as `subprotocol`.
    """

    def __init__(self, max_messages: int, peer: str | None, subprotocol: str | None) -> None:
        self.peer = "memory" if peer is None else peer
        self.subprotocol = subprotocol
        self.offered_subprotocols = () if subprotocol is None else (subprotocol,)
        self.max_message_size = None
        self.last_received = trio.current_time()
        self._max_messages = max_messages
        self._other = self
        self._inbox: deque[str | bytes] = deque()
        self._held: str | bytes | None = None
        self._closed = False
        # Why nothing more comes in or goes out, where this end was not closed: the exception for
        # the receiver, and its text.
        self._over: type[trio.EndOfChannel | trio.BrokenResourceError] | None = None
        self._over_text = ""
        self._receiving = False
        self._receiver: trio.lowlevel.Task | None = None
        self._drainer: trio.lowlevel.Task | None = None
        self._taken_in_pass = 0
        self._inside_process = peer is None

    @property
    def inside_process(self) -> bool:
        """Whether a server may trust the link; see `Transport`."""
        return self._inside_process

    async def receive(self) -> str | bytes:
        """Wait for the next message; see `Transport.receive`."""
        if self._receiving:
            raise trio.BusyResourceError(BUSY_RECEIVING)
        self._receiving = True
        try:
            if self._inbox:
                self._taken_in_pass += 1
                if self._taken_in_pass < MESSAGES_PER_PASS:
                    await trio.lowlevel.checkpoint_if_cancelled()
                else:
                    self._taken_in_pass = 0
                    await trio.lowlevel.checkpoint()
            # Check again: another task may have closed this end meanwhile, and emptied the inbox.
            while not self._inbox:
                if self._closed:
                    raise trio.ClosedResourceError(CLOSED_HERE)
                if self._over is not None:
                    raise self._over(self._over_text)
                self._taken_in_pass = 0
                self._receiver = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._forget_receiver)
            message = self._inbox.popleft()
        finally:
            self._receiving = False
        self._other._send_held()
        limit = self.max_message_size
        if limit is not None and byte_size(message) > limit:
            self._inbox.clear()
            self._finish(trio.BrokenResourceError, f"the peer sent a {too_big(limit)}")
            self._other._finish(trio.EndOfChannel, closed_by_peer(MESSAGE_TOO_BIG, too_big(limit)))
            raise trio.BrokenResourceError(self._over_text)
        return message

    def send_nowait(self, message: str | bytes) -> bool:
        """Put a message into the peer's inbox where there is room; see `Transport.send_nowait`."""
        self._check_sendable()
        if self._held is not None:
            raise trio.BusyResourceError(BUSY_SENDING)
        if isinstance(message, str):
            # A text that a WebSocket could not carry has to fail here too.
            if not message.isascii():
                message.encode()
        elif not isinstance(message, bytes):
            raise TypeError(f"message: expected str or bytes, got {type(message).__name__}")
        other = self._other
        if len(other._inbox) >= other._max_messages:
            self._held = message
            return False
        other._deliver(message)
        return True

    async def drain(self) -> None:
        """Wait until the peer has room for the message that waits; see `Transport.drain`."""
        if self._drainer is not None:
            raise trio.BusyResourceError("another task is already draining this link")
        if self._held is None:
            self._check_sendable()
            await trio.lowlevel.checkpoint()
        while self._held is not None:
            self._check_sendable()
            self._drainer = trio.lowlevel.current_task()
            try:
                await trio.lowlevel.wait_task_rescheduled(self._forget_drainer)
            except BaseException:
                text = "the link broke: the peer's sending was cancelled in the middle of a message"
                self._shut(trio.BrokenResourceError, text)
                raise

    def ping(self) -> None:
        """Do nothing: a link in memory is alive as long as it is open."""

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close the link; see `Transport.aclose`. The peer is always told."""
        check_close_code(code)
        if not self._closed:
            self._shut(trio.EndOfChannel, closed_by_peer(code, cut_reason(reason)))
        await trio.lowlevel.checkpoint()

    def _check_sendable(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError(CLOSED_HERE)
        if self._over is not None:
            raise trio.BrokenResourceError(self._over_text)

    def _deliver(self, message: str | bytes) -> None:
        self._inbox.append(message)
        self.last_received = trio.current_time()
        self._wake_receiver()

    def _send_held(self) -> None:
        if self._held is not None and self._over is None and not self._closed:
            self._other._deliver(self._held)
            self._held = None
            self._wake_drainer()

    def _shut(self, told: type[trio.EndOfChannel | trio.BrokenResourceError], text: str) -> None:
        self._closed = True
        self._inbox.clear()
        self._wake_receiver()
        self._wake_drainer()
        self._other._finish(told, text)

    def _finish(self, error: type[trio.EndOfChannel | trio.BrokenResourceError], text: str) -> None:
        if self._over is None and not self._closed:
            self._over, self._over_text = error, text
            self._wake_receiver()
            self._wake_drainer()

    def _wake_receiver(self) -> None:
        if self._receiver is not None:
            trio.lowlevel.reschedule(self._receiver)
            self._receiver = None

    def _wake_drainer(self) -> None:
        if self._drainer is not None:
            trio.lowlevel.reschedule(self._drainer)
            self._drainer = None

    def _forget_receiver(self, _: object) -> trio.lowlevel.Abort:
        self._receiver = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _forget_drainer(self, _: object) -> trio.lowlevel.Abort:
        self._drainer = None
        return trio.lowlevel.Abort.SUCCEEDED
