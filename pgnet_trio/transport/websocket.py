"""A WebSocket after its handshake, without those rules of frames that a library knows.

It has no task of its own. The task that receives reads the pipe, and takes plain messages out of
the bytes; the task that sends writes to the pipe at once. Pings, fragments, the peer's close and
everything that breaks a rule go to a library. All writes go through the one pipe, behind what is
unsent, so that no frame is ever cut by another. The file is a little long: that is only seen with
every way to write a frame side by side.
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
    only_message,
    take_plain,
)
from pgnet_trio.transport.interface import Transport
from pgnet_trio.transport.rules import (
    BUSY_RECEIVING,
    BUSY_SENDING,
    CLOSE_TIMEOUT,
    CLOSED_HERE,
    FRAMES_PER_PASS,
    MESSAGES_PER_PASS,
    check_close_code,
    cut_reason,
)

if TYPE_CHECKING:
    from pgnet_trio.transport.pipes import BytePipe
    from pgnet_trio.transport.rounds import Round, TakeData, TakeMessage

__all__ = ["WebSocketTransport"]


class WebSocketTransport(Transport):
    """A WebSocket over a `BytePipe`, after its handshake.

    The task in `receive` drives it: that task answers pings, and notices the peer's close. While
    nobody receives, bytes wait in the kernel. So one task of a connection always has to receive,
    with little time between two calls. For a pong that finds the socket full, see
    `Transport.on_unsent`.

    A change of `max_message_size` holds for messages that begin to arrive after it. A message that
    came in the same read as the one before was judged already.

    Args:
        pipe: The connection's bytes. The transport closes it.
        is_client: Whether this is the client's end.
        peer: The peer's address; see `Transport`.
        subprotocol: As in `Transport`.
        offered_subprotocols: As in `Transport`.
        max_message_size: As in `Transport`.
        mask: Applies a masking key to a payload.

    Attributes:
        unmask: Takes the mask off the peer's frames; None where they have none.
        watch: Knows whether a message is under way.
        late_control: Pings and pongs that wait to be written, by the first bytes of their frames.
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
        self._take_message: TakeMessage | None = None
        self._is_client = is_client
        self._mask = mask
        self.unmask = None if is_client else mask
        self.watch = FrameWatch(max_message_size)
        # Not a deque, which is big even while nothing is in it, as nearly always.
        self._messages: list[str | bytes] = []
        self._taken_in_pass = 0
        self._receiving = False
        # What was read, and waits until other tasks have had their turn.
        self._rest = b""
        # Whether what the library answers waits for the end of what it is given.
        self._holds_answers = False
        # Whether send_nowait has returned False, and drain has not returned since.
        self._owes_drain = False
        # The latest ping and the latest pong that could not be written because half a frame was
        # unsent, or that answers one of several pings that came together. Earlier ones are
        # dropped, which RFC 6455, section 5.5.3, allows: so a peer that sends pings without end
        # costs no memory, and few writes.
        self.late_control: dict[int, bytes] = {}
        self._close_answered = False
        # Why nothing more comes in, and why nothing more goes out. They are two, because a
        # connection that takes no bytes may still hold messages to read, or the peer's close.
        self._receive_error: tuple[type[Exception], str, BaseException | None] | None = None
        self._send_error: str | None = None
        # Whether the peer sends no more, and all that it sent was read.
        self._at_end = False
        self._closed = False
        self._closing_done: trio.Event | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def last_sent(self) -> float:
        """When some of a message that waits last went out; see `Transport`."""
        return self._pipe.last_sent

    @property
    def round_trip(self) -> float | None:
        """Seconds from here to the other end and back, as the system measures it."""
        return self._pipe.round_trip

    @property
    def unsent(self) -> bool:
        """Whether something waits to be written; see `Transport`."""
        return self._pipe.unsent

    @property
    def take_message(self) -> TakeMessage | None:
        """What takes messages in rounds of reading; see `Transport`."""
        return self._take_message

    @take_message.setter
    def take_message(self, take: TakeMessage | None) -> None:
        self._take_message = take
        self._pipe.take_data = None if take is None else self.take_data

    def take_first(self, take: TakeData) -> None:
        """Have *take* see what comes in rounds of reading before `take_data`, which it may call.

        That lasts until `take_message` is set anew.
        """
        self._pipe.take_data = take

    @property
    def max_message_size(self) -> int | None:
        """The longest message in bytes that `receive` accepts, or None."""
        return self.watch.max_message_size

    @max_message_size.setter
    def max_message_size(self, limit: int | None) -> None:
        self.watch.max_message_size = limit

    async def receive(self) -> str | bytes:
        """Wait for the next message; see `Transport.receive`.

        Messages that arrived in one read pass through the scheduler only once in
        `MESSAGES_PER_PASS`. Once for each would cost as much as the messages do. Never would let a
        peer that sends fast keep all other tasks from running.
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
                if self.late_control or self._pipe.unsent:
                    self._write_late_control()
                self._taken_in_pass = 0
                if self._rest:
                    await trio.lowlevel.checkpoint()
                else:
                    try:
                        self._rest = await self._pipe.read()
                    except trio.BrokenResourceError as exc:
                        self._receive_error = (trio.BrokenResourceError, str(exc), exc.__cause__)
                        raise
                if self._closed:
                    # What is left is for `aclose`, which looks for the peer's close in it.
                    raise trio.ClosedResourceError(CLOSED_HERE)
                data, self._rest = self._rest, b""
                self.last_received = trio.current_time()
                self._take_in(data)
            return self._messages.pop(0)
        finally:
            self._receiving = False

    def send_nowait(self, message: str | bytes) -> bool:
        """Frame a message and write it to the socket at once; see `Transport.send_nowait`."""
        if isinstance(message, bytes):
            first, payload = FINAL_BINARY, message
        elif isinstance(message, str):
            first, payload = FINAL_TEXT, message.encode()
        else:
            raise TypeError(f"message: expected str or bytes, got {type(message).__name__}")
        if self._is_client:
            return self.send_frame(frame(first, payload, key=os.urandom(4), mask=self._mask))
        return self.send_frame(frame(first, payload))

    def send_frame(self, data: bytes) -> bool:
        """Write the frame of a whole message at once, as `send_nowait`, which makes it."""
        if self._closed or self._send_error is not None:
            self._check_sendable()
        if self._owes_drain:
            raise trio.BusyResourceError(BUSY_SENDING)
        if self.late_control:
            self._write_late_control()
        try:
            # As `_write`, without a call for each message.
            if self._pipe.write_nowait(data):
                return True
        except trio.BrokenResourceError as exc:
            self._send_error = str(exc)
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
            # Close: half a frame may be out, and the peer would read anything as its other half.
            await self._close_pipe()
            raise
        self._owes_drain = False
        if self.late_control:
            self._write_late_control()

    def ping(self) -> None:
        """Send a ping, behind the message that is on its way out; see `Transport.ping`."""
        if not self._closed and self._send_error is None:
            self.late_control[FINAL_PING] = frame(
                FINAL_PING, b"", key=NO_MASK if self._is_client else None
            )
            self._write_late_control()
            self._ask_for_drain()

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection; see `Transport.aclose`.

        This waits for the peer's answer, a second at most, and reads what comes meanwhile. If
        something were left to read when the socket is closed, the kernel would reset the
        connection, and the peer would lose the last messages and the reason.
        """
        check_close_code(code)
        if self._closing_done is not None:
            try:
                await self._closing_done.wait()
            finally:
                await self._close_pipe()
            return
        self._closing_done = trio.Event()
        try:
            if self._closed:
                await trio.lowlevel.checkpoint()
                return
            self._closed = True
            # Only `receive` waits in the way that is meant there: this reads too.
            self.take_message = None
            self._messages.clear()
            self._pipe.interrupt()
            if self._at_end and not self._pipe.unsent:
                await trio.lowlevel.checkpoint()
                return
            with trio.move_on_after(CLOSE_TIMEOUT):
                await self._close_in_good_order(code, cut_reason(reason))
        finally:
            await self._close_pipe()

    @property
    @abstractmethod
    def _library_is_idle(self) -> bool:
        """Whether the library has handled all the bytes that it got."""

    @abstractmethod
    async def _library_idle(self) -> None:
        """Wait until the library is idle, or there are messages; cancellation loses nothing."""

    @abstractmethod
    def _give_to_library(self, data: bytes) -> None:
        """Give bytes to the library.

        The subclass puts the library's messages into `_messages`, calls `_answer` with each frame
        that the library sends, and `_end` when the library finds that nothing more comes.
        """

    def _take_in(self, data: bytes) -> None:
        """Take in bytes of the peer; none means that it sends no more."""
        if not data:
            self._at_end = True
            self._end(trio.BrokenResourceError, "the connection ended without a WebSocket close")
            return
        watch, unmask = self.watch, self.unmask
        if watch.between_messages:
            limit = watch.max_message_size
            if unmask is not None:
                message = only_message(data, limit, unmask)
                if message is not None:
                    self._messages.append(message)
                    return
            taken = take_plain(data, self._messages, limit=limit, unmask=unmask)
            if taken == len(data):
                return
            data = data[taken:]
        passing = watch.passes(data, FRAMES_PER_PASS)
        if passing:
            self._holds_answers = True
            self._give_to_library(data[:passing])
            self._holds_answers = False
            if self.late_control:
                self._write_late_control()
                self._ask_for_drain()
        if watch.violation is None:
            self._rest = data[passing:]
        elif self._receive_error is None:
            code, text = watch.violation
            self._fail(code, text)

    def take_data(self, data: bytes, round: Round) -> bytes:
        """Take plain messages in a round of reading; return the bytes that `receive` has to see."""
        take, watch, unmask = self._take_message, self.watch, self.unmask
        if take is None or self.late_control or not watch.between_messages:
            return data
        self.last_received = round.now
        limit = watch.max_message_size
        if unmask is not None and (message := only_message(data, limit, unmask)) is not None:
            return b"" if take(message, round) else data
        messages: deque[str | bytes] = deque()
        for _ in range(MESSAGES_PER_PASS):
            taken = take_plain(data, messages, limit=limit, unmask=unmask, most=1)
            if not taken or not take(messages.popleft(), round):
                break
            data = data[taken:]
            if not data or round.is_over():
                break
        return data

    def _answer(self, data: bytes) -> None:
        """Send a frame of the library, behind the message that is on its way out."""
        if self._closed or self._send_error is not None:
            return
        if data[0] == FINAL_CLOSE:
            self._close_answered = True
            self._write(data)
            return
        if self._holds_answers:
            self.late_control[data[0]] = data
            return
        if self._pipe.unsent or self.late_control:
            # In the place of one that waits already, which would be written behind it.
            self.late_control[data[0]] = data
            self._write_late_control()
        else:
            self._write(data)
        self._ask_for_drain()

    def _fail(self, code: int, text: str) -> None:
        """End the connection because of what the peer sent, and tell the peer."""
        self._send_close(code, text)
        self._end(trio.BrokenResourceError, f"the peer sent a {text}")

    def _end(self, kind: type[Exception], text: str, cause: BaseException | None = None) -> None:
        """Record why nothing more comes in; nothing more goes out either."""
        if self._receive_error is None:
            self._receive_error = (kind, text, cause)
            self._send_error = self._send_error or text

    def _send_close(self, code: int, reason: str) -> None:
        if not self._close_answered and self._send_error is None:
            self._write(close_frame(code, reason, masked=self._is_client))

    async def _close_in_good_order(self, code: int, reason: str) -> None:
        self._send_close(code, reason)
        try:
            await trio.lowlevel.checkpoint()
            await self._pipe.flush()
            if not self._is_client:
                # Clients wait for the server to end the TCP connection (RFC 6455, section 7.1.1).
                self._pipe.half_close()
            self.watch.passes(self._rest)
            self._rest = b""
            while not self.watch.close_seen and (data := await self._pipe.read()):
                self.watch.passes(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # The peer is gone: there is nobody left to tell.
            return

    async def _close_pipe(self) -> None:
        self._closed = True
        self.take_message = None
        self._messages.clear()
        await self._pipe.close()
        if self._closing_done is not None:
            self._closing_done.set()

    def _check_sendable(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError(CLOSED_HERE)
        if self._send_error is not None:
            raise trio.BrokenResourceError(self._send_error)

    def _write(self, data: bytes) -> bool:
        """Write behind what is unsent.

        Returns:
            Whether everything is out; False also where the connection broke, which is recorded.
        """
        try:
            return self._pipe.write_nowait(data)
        except trio.BrokenResourceError as exc:
            self._send_error = str(exc)
            return False

    def _ask_for_drain(self) -> None:
        if self._pipe.unsent and self.on_unsent is not None:
            self.on_unsent()

    def _write_late_control(self) -> None:
        """Write the ping and the pong that wait, if nothing is unsent before them."""
        if self._send_error is not None or (self._pipe.unsent and not self._write(b"")):
            return
        late = b"".join(self.late_control.values())
        self.late_control.clear()
        if late:
            self._write(late)
