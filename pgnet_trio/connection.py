"""One protocol over one transport: reading, writing several messages at once, keepalive.

It is a little long: reading, writing and silence each end a connection, and which of them ends it
first is only seen with all three side by side.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, TypeVar

import trio

from pgnet_trio.errors import CryptoError, Disconnected, ProtocolError
from pgnet_trio.timers import Timer
from pgnet_trio.transport.rules import GOING_AWAY, POLICY_VIOLATION
from pgnet_trio.transport.streams import close_at_once

if TYPE_CHECKING:
    from pgnet_trio.transport import Transport
    from pgnet_trio.transport.rounds import Round

__all__ = ["CLOSE_DEADLINE", "GOING_AWAY", "POLICY_VIOLATION", "Connection", "WireProtocol"]

CLOSE_DEADLINE = 1.0
"""Seconds that a connection may take to write what still waits when it is closed."""

EventT_co = TypeVar("EventT_co", covariant=True)
EventT = TypeVar("EventT")


class WireProtocol(Protocol[EventT_co]):
    """What a connection needs of its Sans-I/O protocol."""

    @property
    def closing(self) -> bool:
        """Whether the connection is to be closed once everything that waits is written."""

    @property
    def waiting(self) -> bool:
        """Whether there may be something to send, or the connection is to be closed."""

    @property
    def emptied(self) -> bool:
        """Whether it is known that the latest message took all that waited, as `waiting` says."""

    @property
    def owes_flush(self) -> bool:
        """Whether what came has made something leave that nobody else writes, such as a pong."""

    @property
    def private(self) -> bool:
        """Whether the WebSocket close, which is not encrypted, must not say the reason."""

    def receive(self, message: str | bytes, /) -> Sequence[EventT_co]:
        """Take a message in, and return the events that it means.

        Raises:
            ProtocolError: The other side broke the rules.
            CryptoError: Somebody on the way altered the message.
        """

    def ping(self) -> bool:
        """Queue a ping; return False where the transport has to ping instead."""

    def next_message(self) -> str | bytes | None:
        """Return the next message to write, or None."""


class Connection(Generic[EventT]):
    """Runs one protocol over one transport.

    One task reads: it awaits `receive` in a loop. Any task may queue something in the protocol and
    then call `flush`, which writes at once where the transport has room. Most of the time there is
    no other task. One is started when something has to wait to be written, when the peer is
    silent, and to close the connection when the protocol has ended.

    Args:
        transport: The transport; the connection owns it from here on.
        protocol: The protocol.
        ping_interval: Seconds of silence after which the peer gets a ping; None for never.
        keepalive_timeout: Seconds of silence, or of a write without progress, after which the
            connection is closed; None for never.
        reads_while_stalled: Whether to go on reading while the peer reads nothing. One of the two
            sides has to, or both may wait for each other. The other side should not: it would take
            in more requests than it can answer.
        pace: Called after each message of the peer; returns how many seconds to wait before the
            next one is read. None for no waiting.

    Attributes:
        close_reason: Why the connection ended; empty while it is open.
        closed_by_peer: Whether it ended because the other side closed it in good order.
        pace: As above.
        writes_at_once: Whether `flush` asks nobody before it writes.
        blocked: Whether a message has to wait, in one direction at least: the peer does not read,
            the connection has ended or is broken, or `receive` has to go on first.
    """

    writes_at_once: ClassVar[bool] = True

    def __init__(
        self,
        transport: Transport,
        protocol: WireProtocol[EventT],
        *,
        ping_interval: float | None,
        keepalive_timeout: float | None,
        reads_while_stalled: bool = False,
        pace: Callable[[], float] | None = None,
    ) -> None:
        self.transport = transport
        self.close_reason = ""
        self.closed_by_peer = False
        self.blocked = False
        self._protocol = protocol
        self._ping_interval = math.inf if ping_interval is None else ping_interval
        self._keepalive_timeout = math.inf if keepalive_timeout is None else keepalive_timeout
        self._reads_while_stalled = reads_while_stalled
        self.pace = pace
        # Seconds to wait before the next message is read. The events of the one before have to be
        # handed out first, since a cancellation of the wait would lose them.
        self._pause = 0.0
        # The latest message was taken in a round of reading, and this is what came of it.
        self._taken = False
        self._taking_failed: BaseException | None = None
        self._take_events: Callable[[Sequence[EventT], Round], float] | None = None
        self._stalled = False
        self._write_failure = ""
        self._last_drained = -math.inf
        self._ended = False
        # Whether some task closes the connection already.
        self._closing = False
        # Where the task that helps is started, and its scope while it runs.
        self._helpers: trio.Nursery | None = None
        self._help_scope: trio.CancelScope | None = None
        # Set when that task has ended; made by who waits for that.
        self._help_ended: trio.Event | None = None
        # What it raised, though it must not.
        self._help_failure: Exception | None = None
        # When to look for silence; None where that is never.
        self._timer: Timer | None = None
        self._is_silent = self._pinged = False
        self._heard_before = -math.inf
        self._writable = trio.lowlevel.ParkingLot()

    def open(self, helpers: trio.Nursery) -> AbstractAsyncContextManager[object]:
        """Keep the connection alive while the block runs, and close it at the end of the block.

        When the block ends, also by an error or a cancellation, the connection is closed and no
        task is left. The end of the connection does not cancel the block: `receive` raises.

        Args:
            helpers: Where a task is started while one is needed. A nursery of the connection's
                own, which nobody needs most of the time, would take a kilobyte.
        """
        self._helpers = helpers
        return self

    async def __aenter__(self) -> None:
        self.transport.on_unsent = self._stall
        if min(self._ping_interval, self._keepalive_timeout) < math.inf:
            self._timer = Timer(self._notice_silence)
            self._set_timer()
        if self._needs_help:
            self._call_for_help()

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.aclose()
        finally:
            self.transport.on_unsent = None
            self._helpers = None
            if self._help_scope is not None:
                self._help_ended = trio.Event()
                self._help_scope.cancel()
                with trio.CancelScope(shield=True):
                    await self._help_ended.wait()
        if self._help_failure is not None:
            raise self._help_failure

    async def receive(self) -> Sequence[EventT]:
        """Wait for the next events; at least one.

        While the peer does not read what is written to it, this reads nothing from the peer, so
        that answers to it cannot pile up; unless `reads_while_stalled`. Cancellation loses nothing.

        Raises:
            Disconnected: Either side ended the connection, or it broke; the message says why.
            ProtocolError: The peer broke the rules. The connection is closed, and the peer knows.
        """
        while True:
            if self._protocol.closing and not self._closing:
                self._call_for_help()
            if self._pause:
                await self._wait_out_pause()
            while self._stalled and not (self._ended or self._reads_while_stalled):
                await self._writable.park()
            try:
                message = await self.transport.receive()
            except trio.EndOfChannel as error:
                self.closed_by_peer = True
                self._end(str(error) or "closed by the other side")
            except trio.BrokenResourceError as error:
                self._end(f"connection lost: {error or 'reset by the other side'}")
            except trio.ClosedResourceError:
                self._end("closed at this side")
            if self._ended:
                raise Disconnected(self.close_reason)
            try:
                events = self._take(message)
            except ProtocolError as error:
                self.flush()
                await self.aclose(POLICY_VIOLATION, str(error))
                raise
            except CryptoError as error:
                await self.aclose(POLICY_VIOLATION, str(error))
                raise Disconnected(f"connection lost: {error}") from None
            if self._protocol.waiting:
                # Whoever gets these events closes the connection if they are the last ones.
                self.flush(closes=not events)
            if self.pace is not None:
                self._pause = max(self._pause, self.pace())
            if events:
                return events

    @contextlib.contextmanager
    def taking_now(self, take: Callable[[Sequence[EventT], Round], float] | None) -> Iterator[None]:
        """Have events taken in rounds of reading, while the block awaits `receive`.

        Those events `receive` does not return. Whatever has to wait, and every error, is left to
        the task in `receive`.

        Args:
            take: Takes the events of one message at once; returns how many seconds to wait before
                the next one is read. None for no rounds.
        """
        self._take_events = take
        self.transport.take_message = None if take is None else self._take_now
        try:
            yield
        finally:
            self.transport.take_message = self._take_events = None

    def note_unwritten(self, error: Exception | None) -> None:
        """Note that a frame, written beside `flush`, is not out: it waits, or this was raised."""
        if error is None:
            self._stall()
        else:
            self._fail_to_write(error)

    def flush(self, *, closes: bool = True) -> None:
        """Write what waits in the protocol, as far as the transport has room; never waits.

        Args:
            closes: Whether to have the connection closed where the protocol has ended.
        """
        if self._stalled or self._ended or self._write_failure:
            return
        protocol = self._protocol
        try:
            while (message := protocol.next_message()) is not None:
                if not self.transport.send_nowait(message):
                    self._stall()
                    return
                if protocol.emptied or not protocol.waiting:
                    return
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._fail_to_write(error)
            return
        if closes and protocol.closing and not self._closing:
            self._call_for_help()

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Write what still waits, within `CLOSE_DEADLINE`, and close; idempotent.

        The connection is closed when this returns, and when it is cancelled.

        Args:
            code: A WebSocket close code.
            reason: Why; `receive` raises Disconnected with it. The other side is told too, unless
                the protocol is private.
        """
        self._closing = True
        self.flush()
        try:
            if self._stalled:
                with trio.move_on_after(CLOSE_DEADLINE):
                    while self._stalled and not self._ended:
                        await self._writable.park()
        finally:
            self._end(reason or "closed at this side")
            if self._timer is not None:
                self._timer.close()
            await self._close_transport(code, reason)

    def _take(self, message: str | bytes) -> Sequence[EventT]:
        """Return the events of a message, or raise what a round of reading has met in it."""
        if not self._taken:
            return self._protocol.receive(message)
        self._taken = False
        self._note_blocked()
        failure, self._taking_failed = self._taking_failed, None
        if failure is not None:
            raise failure
        return ()

    def _take_now(self, message: str | bytes, round: Round) -> bool:
        """Take a message in a round of reading; return False to have `receive` go on with it."""
        take = self._take_events
        if take is None or self._taken or self._stalled or self._ended:
            return False
        try:
            protocol = self._protocol
            events = protocol.receive(message)
            pause = take(events, round) if events else 0.0
            if self.pace is not None:
                pause = max(pause, self.pace())
            if not (pause or protocol.owes_flush):
                return True
            self.leave(pause)
        except BaseException as error:
            self.leave(error)
        return False

    def leave(self, what: float | BaseException) -> None:
        """Have the task in `receive` go on with a message that was taken in a round of reading.

        Args:
            what: How many seconds that task has to wait, or what was raised: the task that reads
                the sockets has no part in this.
        """
        if isinstance(what, BaseException):
            self._taking_failed = what
        else:
            self._pause = what
        self._taken = True
        self._note_blocked()

    def _note_blocked(self) -> None:
        self.blocked = bool(self._stalled or self._ended or self._write_failure or self._taken)

    async def _wait_out_pause(self) -> None:
        with trio.move_on_after(self._pause):
            while not self._ended:
                await self._writable.park()
        self._pause = 0.0

    def _stall(self) -> None:
        """Have what waits inside the transport written by the task that helps."""
        self._stalled = True
        self._note_blocked()
        self._call_for_help()

    def _fail_to_write(self, error: Exception) -> None:
        """Record that nothing more goes out; messages of the peer may still wait to be read."""
        self._write_failure = f"connection lost: {error or 'closed'}"
        self._stalled = False
        self._note_blocked()
        self._writable.unpark_all()
        self._call_for_help()

    def _end(self, reason: str) -> None:
        self._ended = True
        self._note_blocked()
        self.close_reason = self.close_reason or reason
        self._writable.unpark_all()

    def _call_for_help(self) -> None:
        """Start the task that helps, unless it runs already."""
        if self._helpers is not None and self._help_scope is None and not self._ended:
            self._help_scope = trio.CancelScope()
            self._helpers.start_soon(self._help_contained, self._help_scope)

    @property
    def _needs_help(self) -> bool:
        return bool(
            self._stalled or self._protocol.closing or self._write_failure or self._is_silent
        )

    async def _help_contained(self, scope: trio.CancelScope) -> None:
        """Help, in a nursery of others: what goes wrong here is for this connection alone."""
        try:
            with scope:
                await self._help()
        except Exception as error:
            self._help_failure = error
            self._end("an error at this side")
            # The task that reads finds out by this.
            await close_at_once(self.transport)
        finally:
            self._help_scope = None
            if self._help_ended is not None:
                self._help_ended.set()

    async def _help(self) -> None:
        """Write what had to wait, ping a silent peer, and close if it stays silent or has ended."""
        await trio.lowlevel.checkpoint()
        while self._needs_help and not self._ended:
            if self._stalled:
                await self._write_out()
            elif self._protocol.closing:
                await self.aclose()
                return
            elif self._write_failure:
                # The reading task gets an error of its own, unless only one direction is broken.
                # Then it never does, so end the connection for it.
                await trio.sleep(CLOSE_DEADLINE)
                self._end(self._write_failure)
            else:
                self._is_silent = False
                # It may have been heard since the timer fired.
                if self._last_heard <= self._heard_before:
                    self._break_silence()
        if self._ended:
            await self._close_transport(GOING_AWAY, self.close_reason)
            return
        # No await from here to the end of this task: what comes up afterwards starts another one.
        self._set_timer()

    def _set_timer(self) -> None:
        """Look for silence when nothing more has been heard for as long as that may be."""
        if self._timer is not None:
            timeout, heard = self._keepalive_timeout, self._last_heard
            if heard > self._heard_before:
                self._heard_before = heard
                self._pinged = False
            self._timer.set(
                heard + (timeout if self._pinged else min(self._ping_interval, timeout))
            )

    def _notice_silence(self) -> None:
        # While the task that helps writes, it sees to the timer afterwards.
        if self._help_scope is not None:
            return
        if self._last_heard > self._heard_before:
            self._set_timer()
        else:
            self._is_silent = True
            self._call_for_help()

    def _break_silence(self) -> None:
        """Ping a silent peer, or end the connection if that was tried."""
        timeout = self._keepalive_timeout
        if self._pinged or self._ping_interval >= timeout:
            self._end(f"nothing was heard of the other side for {timeout:g} s")
            return
        self._pinged = True
        if self._protocol.ping():
            self.flush()
        else:
            self.transport.ping()

    async def _close_transport(self, code: int, reason: str) -> None:
        await self.transport.aclose(code, "" if self._protocol.private else reason)

    @property
    def _last_heard(self) -> float:
        # A peer that takes bytes in is alive. While this side was stalled, it may have read nothing
        # of what the peer sent.
        return max(self.transport.last_received, self._last_drained)

    async def _write_out(self) -> None:
        drained = False

        async def drain() -> None:
            nonlocal drained
            try:
                await self.transport.drain()
                drained = True
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                self._fail_to_write(error)
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain)
            await self._wait_for_a_standstill()
            if not (drained or self._write_failure):
                # Record the reason before the cancellation below closes the transport: the reading
                # task would report another one.
                self._end(f"the other side read nothing for {self._keepalive_timeout:g} s")
            nursery.cancel_scope.cancel()
        if drained:
            self._last_drained = trio.current_time()
            self._stalled = False
            self.flush()
            if self.transport.unsent:
                # A pong found no room behind the message, or `flush` stalled again.
                self._stalled = True
            self._note_blocked()
            if not self._stalled:
                self._writable.unpark_all()

    async def _wait_for_a_standstill(self) -> None:
        """Wait until nothing has gone out for `keepalive_timeout` seconds.

        A slow peer takes a long message in pieces, and each of them counts.
        """
        latest = trio.current_time()
        while True:
            await trio.sleep_until(latest + self._keepalive_timeout)
            if self.transport.last_sent <= latest:
                return
            latest = self.transport.last_sent
