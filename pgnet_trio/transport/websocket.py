"""A WebSocket after its handshake: all but what only a library knows about frames.

There is no task beside the caller's. The task that receives reads the pipe, and takes the plain
messages out of it by itself; the task that sends writes to the pipe at once. Pings, fragments,
the peer's closing and all that breaks a rule go to a library, whose answers go out behind what
is unsent: so there is one writer, and no frame is ever cut by another.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Self

import trio

from pgnet_trio.transport.frames import (
    FINAL_BINARY,
    FINAL_CLOSE,
    FINAL_PING,
    FINAL_TEXT,
    NO_MASK,
    FrameWatch,
    Mask,
    apply_mask,
    close_frame,
    frame,
    take_plain,
)
from pgnet_trio.transport.interface import Transport
from pgnet_trio.transport.rules import (
    BUSY_RECEIVING,
    BUSY_SENDING,
    CLOSE_TIMEOUT,
    CLOSED_HERE,
    MESSAGES_PER_PASS,
    check_close_code,
    cut_reason,
)

if TYPE_CHECKING:
    from pgnet_trio.transport.pipes import BytePipe

__all__ = ["WebSocketLink"]


class WebSocketLink(Transport):
    """A WebSocket over a `BytePipe`, after its handshake.

    Reading is what drives it: pings are answered, and the peer's closing is noticed, by the task
    that is in `receive`. While nobody receives, all that waits in the kernel. So a connection's
    reader always receives, and nothing else waits for long between two calls. For a pong that
    finds the socket full, see `Transport.on_unsent`.

    A change of `max_message_size` holds for messages that begin to arrive after it: what came
    in the same read as the message before was judged then.

    Args:
        pipe: Where the bytes come from and go to. The link closes it.
        is_client: Which end this is.
        peer: What to say as `peer`.
        subprotocol: As in `Transport`.
        offered_subprotocols: As in `Transport`.
        max_message_size: As in `Transport`.
        mask: Applies a masking key.
    """

    def __init__(
        self,
        pipe: BytePipe,
        *,
        is_client: bool,
        peer: str,
        subprotocol: str | None,
        offered_subprotocols: tuple[str, ...],
        max_message_size: int | None,
        mask: Mask = apply_mask,
    ) -> None:
        self.peer = peer
        self.subprotocol = subprotocol
        self.offered_subprotocols = offered_subprotocols
        self.last_received = trio.current_time()
        self._pipe = pipe
        self._is_client = is_client
        self._mask = mask
        self._unmask = None if is_client else mask
        self._watch = FrameWatch(max_message_size)
        self._messages: deque[str | bytes] = deque()
        self._taken_in_pass = 0
        self._receiving = False
        # Whether send_nowait returned False, and drain has not returned since.
        self._owes_drain = False
        # The latest ping and pong that could not be written because half a frame was unsent.
        # More are not kept (RFC 6455, section 5.5.3, allows it), so pings without end cost nothing.
        self._late: dict[int, bytes] = {}
        self._close_answered = False
        # Why nothing more comes in, or goes out. A link that refuses bytes may still have
        # messages to read, and a peer's close among them: so these are two.
        self._receive_error: tuple[type[Exception], str, BaseException | None] | None = None
        self._send_error: str | None = None
        # Whether all that the peer sent was read, and no more comes.
        self._at_end = False
        self._closed = False
        self._gone: trio.Event | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def last_sent(self) -> float:
        """When some of a message that waits last went out; see `Transport`."""
        return self._pipe.last_sent

    @property
    def unsent(self) -> bool:
        """Whether something waits to be written; see `Transport`."""
        return self._pipe.unsent

    @property
    def max_message_size(self) -> int | None:
        """The longest message in bytes that `receive` accepts, or None."""
        return self._watch.max_message_size

    @max_message_size.setter
    def max_message_size(self, limit: int | None) -> None:
        self._watch.max_message_size = limit

    async def receive(self) -> str | bytes:
        """Wait for the next message; see `Transport.receive`.

        A message that arrived together with the one before costs no pass through the scheduler,
        except once in a while. Waiting for the socket is a checkpoint of its own; but a peer
        that sends short messages fast would otherwise be charged a pass for each, or, without
        any, could keep this task from ever letting others run.
        """
        if self._receiving:
            raise trio.BusyResourceError(BUSY_RECEIVING)
        self._receiving = True
        try:
            if self._messages:
                self._taken_in_pass += 1
                if self._taken_in_pass < MESSAGES_PER_PASS:
                    await trio.lowlevel.checkpoint_if_cancelled()
                else:
                    self._taken_in_pass = 0
                    await trio.lowlevel.checkpoint()
            while not self._messages:
                if self._closed:
                    raise trio.ClosedResourceError(CLOSED_HERE)
                if not self._library_is_idle:
                    await self._library_idle()
                    continue
                if self._receive_error is not None:
                    kind, text, cause = self._receive_error
                    raise kind(text) from cause
                if self._late or self._pipe.unsent:
                    self._write_late()
                self._taken_in_pass = 0
                try:
                    data = await self._pipe.read()
                except trio.BrokenResourceError as exc:
                    self._receive_error = (trio.BrokenResourceError, str(exc), exc.__cause__)
                    raise
                if self._closed:
                    raise trio.ClosedResourceError(CLOSED_HERE)
                self.last_received = trio.current_time()
                self._take(data)
            return self._messages.popleft()
        finally:
            self._receiving = False

    def send_nowait(self, message: str | bytes) -> bool:
        """Frame a message and write it to the socket at once; see `Transport.send_nowait`."""
        self._check_sendable()
        if self._owes_drain:
            raise trio.BusyResourceError(BUSY_SENDING)
        if isinstance(message, str):
            first, payload = FINAL_TEXT, message.encode()
        elif isinstance(message, bytes):
            first, payload = FINAL_BINARY, message
        else:
            raise TypeError(f"message: expected str or bytes, got {type(message).__name__}")
        if self._late:
            self._write_late()
        if self._is_client:
            data = frame(first, payload, key=os.urandom(4), mask=self._mask)
        else:
            data = frame(first, payload)
        if self._write(data):
            return True
        self._check_sendable()
        self._owes_drain = True
        return False

    async def drain(self) -> None:
        """Wait until the socket took all of the message that waits; see `Transport.drain`."""
        self._check_sendable()
        if not self._pipe.unsent:
            self._owes_drain = False
            await trio.lowlevel.checkpoint()
            return
        try:
            await self._pipe.flush()
        except trio.BrokenResourceError as exc:
            self._send_error = str(exc)
            raise
        except trio.Cancelled:
            # Half a frame may be out, so whatever came next would be read as its other half.
            await self._close_pipe()
            raise
        self._owes_drain = False
        if self._late:
            self._write_late()

    def ping(self) -> None:
        """Send a ping, after the message that is on its way out; see `Transport.ping`."""
        if not self._closed and self._send_error is None:
            self._late[FINAL_PING] = frame(
                FINAL_PING, b"", key=NO_MASK if self._is_client else None
            )
            self._write_late()
            self._call_for_drain()

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close the link; see `Transport.aclose`.

        The peer's answer is waited for, a second at most, and what it sends meanwhile is thrown
        away: closing a socket with something left to read would make the kernel reset the
        connection, and the peer lose the last messages and the reason.
        """
        check_close_code(code)
        if self._gone is not None:
            try:
                await self._gone.wait()
            finally:
                await self._close_pipe()
            return
        self._gone = trio.Event()
        try:
            if self._closed:
                await trio.lowlevel.checkpoint()
                return
            self._closed = True
            self._messages.clear()
            self._pipe.interrupt()
            if self._at_end and not self._pipe.unsent:
                await trio.lowlevel.checkpoint()
                return
            with trio.move_on_after(CLOSE_TIMEOUT):
                await self._say_goodbye(code, cut_reason(reason))
        finally:
            await self._close_pipe()

    @property
    @abstractmethod
    def _library_is_idle(self) -> bool:
        """Whether the library has made all that it will of what it was given."""

    @abstractmethod
    async def _library_idle(self) -> None:
        """Let the library work, until it is idle or there are messages.

        Cancellation loses nothing.
        """

    @abstractmethod
    def _give_to_library(self, data: bytes) -> None:
        """Give bytes to the library.

        Its messages go to `_messages`, what it wants to send to `_answer`, and `_end` is called
        when it finds that no more is to come.
        """

    def _take(self, data: bytes) -> None:
        """Take in what the peer sent; nothing means that it sends no more."""
        if not data:
            self._at_end = True
            self._end(trio.BrokenResourceError, "the connection ended without a WebSocket close")
            return
        watch = self._watch
        if watch.between_messages:
            taken = take_plain(
                data, self._messages, limit=watch.max_message_size, unmask=self._unmask
            )
            if taken == len(data):
                return
            data = data[taken:]
        passing = watch.passes(data)
        if passing:
            self._give_to_library(data[:passing])
        if watch.violation is not None and self._receive_error is None:
            code, text = watch.violation
            self._fail(code, text)

    def _answer(self, data: bytes) -> None:
        """Send a frame of the library's, after the message that is on its way out."""
        if self._closed or self._send_error is not None:
            return
        if data[0] == FINAL_CLOSE:
            self._close_answered = True
            self._write(data)
            return
        if self._pipe.unsent:
            self._late[data[0]] = data
            self._write_late()
        else:
            self._write(data)
        self._call_for_drain()

    def _fail(self, code: int, text: str) -> None:
        """Break the link because of what the peer sent, and tell the peer."""
        self._send_close(code, text)
        self._end(trio.BrokenResourceError, f"the peer sent a {text}")

    def _end(self, kind: type[Exception], text: str, cause: BaseException | None = None) -> None:
        """Note why nothing more comes in; nothing more goes out either."""
        if self._receive_error is None:
            self._receive_error = (kind, text, cause)
            self._send_error = self._send_error or text

    def _send_close(self, code: int, reason: str) -> None:
        if not self._close_answered and self._send_error is None:
            self._write(close_frame(code, reason, masked=self._is_client))

    async def _say_goodbye(self, code: int, reason: str) -> None:
        self._send_close(code, reason)
        try:
            await trio.lowlevel.checkpoint()
            await self._pipe.flush()
            if not self._is_client:
                # Clients wait for the server to end the TCP connection (RFC 6455, section 7.1.1).
                self._pipe.half_close()
            while not self._watch.close_seen and (data := await self._pipe.read()):
                self._watch.passes(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # Gone is gone: there is nobody left to tell.
            return

    async def _close_pipe(self) -> None:
        self._closed = True
        self._messages.clear()
        await self._pipe.close()
        if self._gone is not None:
            self._gone.set()

    def _check_sendable(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError(CLOSED_HERE)
        if self._send_error is not None:
            raise trio.BrokenResourceError(self._send_error)

    def _write(self, data: bytes) -> bool:
        """Write behind what is unsent; a link that breaks is noted, and False returned."""
        try:
            return self._pipe.write_nowait(data)
        except trio.BrokenResourceError as exc:
            self._send_error = str(exc)
            return False

    def _call_for_drain(self) -> None:
        if self._pipe.unsent and self.on_unsent is not None:
            self.on_unsent()

    def _write_late(self) -> None:
        """Write the ping and the pong that wait, once nothing is unsent before them."""
        if self._send_error is not None or (self._pipe.unsent and not self._write(b"")):
            return
        late = b"".join(self._late.values())
        self._late.clear()
        if late:
            self._write(late)
