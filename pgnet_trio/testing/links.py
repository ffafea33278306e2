"""Links that carry frames in virtual time, and break where a network would."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable

import attrs
import trio

from pgnet_trio.transport import Transport
from pgnet_trio.transport.rules import (
    BUSY_RECEIVING,
    BUSY_SENDING,
    CLOSED_HERE,
    MESSAGE_TOO_BIG,
    byte_size,
    check_close_code,
    closed_by_peer,
    cut_reason,
    too_big,
)

__all__ = ["Conditions", "Link", "LinkEnd", "Note"]

BUFFER_SIZE = 64 * 1024
"""Bytes on their way in one direction before the sender has to wait: about as many as the buffers
of two sockets hold together."""

Note = Callable[[str, str, "str | bytes"], None]
"""Records something that happened: on which link, what, and the frame or a text."""


def _check_seconds(_: object, field: attrs.Attribute[float], value: float) -> None:
    if not 0 <= value < math.inf:
        raise ValueError(f"{field.name}: expected 0 s or more, got {value!r}")


def _check_share(_: object, field: attrs.Attribute[float], value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"{field.name}: expected from 0 to below 1, got {value!r}")


def _check_bandwidth(_: object, field: attrs.Attribute[float | None], value: float | None) -> None:
    if value is not None and not value > 0:
        raise ValueError(f"{field.name}: expected bytes a second, or None; got {value!r}")


@attrs.define
class Conditions:
    """How a link carries what is sent over it.

    Attributes:
        latency: Seconds from one end to the other.
        jitter: Seconds more, at most, for each frame; frames stay in order.
        bandwidth: Bytes a second in each direction; None for any number.
        drop_rate: The share of frames, from 0 to 1, in the middle of which the link breaks.
        stall_rate: The share of frames, from 0 to 1, that are held up, as by a packet that is lost
            and sent again. The frames behind them wait too.
        stall: For how many seconds they are.

    Raises:
        ValueError: A figure makes no sense, here or where it is assigned later.
    """

    latency: float = attrs.field(default=0.0, validator=_check_seconds)
    jitter: float = attrs.field(default=0.0, validator=_check_seconds)
    bandwidth: float | None = attrs.field(default=None, validator=_check_bandwidth)
    drop_rate: float = attrs.field(default=0.0, validator=_check_share)
    stall_rate: float = attrs.field(default=0.0, validator=_check_share)
    stall: float = attrs.field(default=0.0, validator=_check_seconds)


class _Direction:
    """What is on its way from one end of a link to the other."""

    def __init__(self, name: str, link: Link) -> None:
        self.name = name
        self.held: str | bytes | None = None
        self.blocked = False
        self.receivable = trio.lowlevel.ParkingLot()
        self.sendable = trio.lowlevel.ParkingLot()
        self._link = link
        # Frames in order, each with the time of its arrival.
        self._frames: deque[tuple[float, str | bytes]] = deque()
        self._size = 0
        self._severed = False
        self.last_taken = -math.inf
        self._last_arrival = -math.inf
        self._line_free_at = -math.inf
        # When the receiver learns that nothing more comes, and how.
        self._end_at = math.inf
        self._end: type[trio.EndOfChannel | trio.BrokenResourceError] = trio.EndOfChannel
        self._end_text = ""

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way."""
        return not self._frames

    def put(self, message: str | bytes) -> bool:
        """Take a frame; return False where the sender has to wait until it is on its way."""
        size = byte_size(message)
        if self._size and self._size + size > BUFFER_SIZE:
            self.held = message
            return False
        self._send(message, size)
        return True

    def _send(self, message: str | bytes, size: int) -> None:
        link, now = self._link, trio.current_time()
        name = f"{link.name} {self.name}"
        self._size += size
        if self._severed:
            # Lost, and yet counted: the sender's buffer fills, as with a peer that is gone.
            link.note(name, "lose", message)
            return
        conditions = link.conditions
        if conditions.drop_rate and link.random.random() < conditions.drop_rate:
            link.break_in(self, message)
            return
        link.note(name, "send", message)
        departure = now
        if conditions.bandwidth is not None:
            departure = max(now, self._line_free_at) + size / conditions.bandwidth
            self._line_free_at = departure
        arrival = departure + conditions.latency
        if conditions.jitter:
            arrival += link.random.random() * conditions.jitter
        if conditions.stall_rate and link.random.random() < conditions.stall_rate:
            arrival += conditions.stall
        arrival = self._last_arrival = max(arrival, self._last_arrival)
        self._frames.append((arrival, message))
        self.receivable.unpark_all()

    def take(self) -> str | bytes | None:
        """Return the next frame that has arrived; None where there is none.

        Raises:
            trio.EndOfChannel: The sender has closed the link.
            trio.BrokenResourceError: The link broke.
        """
        if self.blocked:
            return None
        if self._frames and self._frames[0][0] <= trio.current_time():
            _, message = self._frames.popleft()
            self._shrink(byte_size(message))
            self._link.note(f"{self._link.name} {self.name}", "receive", message)
            return message
        self.check()
        return None

    def check(self) -> None:
        """Raise the end of the link, where the receiver may know of it by now."""
        if not self.blocked and self._end_at <= trio.current_time():
            raise self._end(self._end_text)

    def last_arrived(self) -> float:
        """Return the time of the latest arrival that the receiver has not taken."""
        latest = -math.inf
        if not self.blocked:
            for arrival, _ in self._frames:
                if arrival > trio.current_time():
                    break
                latest = arrival
        return latest

    def next_change(self) -> float:
        """Return the time at which the receiver has to look again, if nothing else happens."""
        if self.blocked:
            return math.inf
        return min(self._frames[0][0], self._end_at) if self._frames else self._end_at

    def end_time(self) -> float:
        """Return the time at which the receiver learns of the link's end; infinite for never."""
        return math.inf if self.blocked else self._end_at

    def finish(self, error: type[trio.EndOfChannel | trio.BrokenResourceError], text: str) -> None:
        """Tell the receiver that nothing more comes, behind what is on its way."""
        if self._end_at == math.inf:
            self._end, self._end_text = error, text
            latency = self._link.conditions.latency
            self._end_at = max(trio.current_time() + latency, self._last_arrival)

    def break_off(self, text: str, *, told: bool = True) -> None:
        """Lose what has not arrived yet, and tell the receiver of it at once, or never."""
        now = trio.current_time()
        while self._frames and (self.blocked or self._frames[-1][0] > now):
            _, message = self._frames.pop()
            self._link.note(f"{self._link.name} {self.name}", "lose", message)
        self.blocked = False
        if told and self._end_at > now:
            self._end, self._end_text, self._end_at = trio.BrokenResourceError, text, now

    def sever(self) -> None:
        """Lose everything that is sent from now on."""
        self._severed = True

    def drop_all(self) -> None:
        """Drop what nobody will read any more."""
        self._frames.clear()
        self._severed = True

    def wake(self) -> None:
        """Wake both ends, so that they look again."""
        self.receivable.unpark_all()
        self.sendable.unpark_all()

    def _shrink(self, size: int) -> None:
        self._size -= size
        self.last_taken = trio.current_time()
        held = self.held
        if held is not None and not self._severed:
            size = byte_size(held)
            if not self._size or self._size + size <= BUFFER_SIZE:
                self.held = None
                self._send(held, size)
                self.sendable.unpark_all()


class LinkEnd(Transport):
    """One end of a link."""

    def __init__(
        self,
        link: Link,
        inbound: _Direction,
        outbound: _Direction,
        peer: str,
        subprotocols: tuple[str, ...],
        inside_process: bool,
    ) -> None:
        self.peer = peer
        self.subprotocol = subprotocols[0] if subprotocols else None
        self.offered_subprotocols = subprotocols
        self.max_message_size = None
        self.closed = False
        self._link = link
        self._inbound = inbound
        self._outbound = outbound
        self._heard = trio.current_time()
        self._receiving = False
        self._inside_process = inside_process

    @property
    def inside_process(self) -> bool:
        """Whether a server is to trust the link; see `Transport`."""
        return self._inside_process

    @property
    def last_sent(self) -> float:
        """When the other end last took a frame; see `Transport`."""
        return self._outbound.last_taken

    @property
    def last_received(self) -> float:
        """When any byte last came in; see `Transport`."""
        self._heard = max(self._heard, self._inbound.last_arrived())
        return self._heard

    @last_received.setter
    def last_received(self, time: float) -> None:
        self._heard = time

    async def receive(self) -> str | bytes:
        """Wait for the next message; see `Transport.receive`."""
        if self._receiving:
            raise trio.BusyResourceError(BUSY_RECEIVING)
        self._receiving = True
        inbound = self._inbound
        try:
            await trio.lowlevel.checkpoint()
            while True:
                if self.closed:
                    raise trio.ClosedResourceError(CLOSED_HERE)
                message = inbound.take()
                if message is not None:
                    break
                with trio.move_on_at(inbound.next_change()):
                    await inbound.receivable.park()
        finally:
            self._receiving = False
        self._heard = trio.current_time()
        limit = self.max_message_size
        if limit is not None and byte_size(message) > limit:
            await self.aclose(MESSAGE_TOO_BIG, too_big(limit))
            raise trio.BrokenResourceError(f"the peer sent a {too_big(limit)}")
        return message

    def send_nowait(self, message: str | bytes) -> bool:
        """Put a message on its way; see `Transport.send_nowait`."""
        self._check_sendable()
        if self._outbound.held is not None:
            raise trio.BusyResourceError(BUSY_SENDING)
        return self._outbound.put(message)

    async def drain(self) -> None:
        """Wait until the message that waits is on its way; see `Transport.drain`."""
        outbound = self._outbound
        if outbound.held is None:
            await trio.lowlevel.checkpoint()
        try:
            while outbound.held is not None:
                self._check_sendable()
                with trio.move_on_at(self._inbound.end_time()):
                    await outbound.sendable.park()
        except trio.Cancelled:
            self._link.abort(self)
            raise
        self._check_sendable()

    def ping(self) -> None:
        """Do nothing: the protocols over a link have pings of their own."""

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close the link; see `Transport.aclose`."""
        check_close_code(code)
        if not self.closed:
            self.closed = True
            self._link.close(self, closed_by_peer(code, cut_reason(reason)))
        await trio.lowlevel.checkpoint()

    def _check_sendable(self) -> None:
        if self.closed:
            raise trio.ClosedResourceError(CLOSED_HERE)
        try:
            self._inbound.check()
        except trio.EndOfChannel as error:
            raise trio.BrokenResourceError(str(error)) from None


class Link:
    """A connection between a client and a server, as long as it lasts.

    Args:
        name: The link's name in traces.
        conditions: How the link carries frames; the caller may change them at any time.
        target: The server that the link leads to.
        peer: What the server sees as the client's address.
        subprotocols: What the client offers, the best first; the server takes the first.
        random: Decides on jitter and drops.
        note: Called with what happens.
        on_end: Called once, when nothing more will pass.
        inside_process: What both ends say: whether a server is to trust the link.

    Attributes:
        client: The client's end.
        server: The server's end.
    """

    def __init__(
        self,
        name: str,
        conditions: Conditions,
        *,
        target: object,
        peer: str,
        subprotocols: tuple[str, ...],
        random: random.Random,
        note: Note,
        on_end: Callable[[Link], None],
        inside_process: bool = False,
    ) -> None:
        self.name = name
        self.conditions = conditions
        self.target = target
        self.random = random
        self.note = note
        self._on_end = on_end
        self._ended = False
        self.to_server = _Direction("->", self)
        self.to_client = _Direction("<-", self)
        self.client = LinkEnd(
            self, self.to_client, self.to_server, "server", subprotocols, inside_process
        )
        self.server = LinkEnd(
            self, self.to_server, self.to_client, peer, subprotocols, inside_process
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}{', ended' if self._ended else ''}>"

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way."""
        return self.to_server.idle and self.to_client.idle

    def block(self, *, to_server: bool, to_client: bool) -> None:
        """Let nothing pass for now, in these directions: frames wait, and nobody is told."""
        self.to_server.blocked = to_server
        self.to_client.blocked = to_client
        self._wake()

    def cut(self) -> None:
        """Break the link now: lose what has not arrived, and tell both ends."""
        if self._ended:
            return
        self.note(self.name, "cut", "")
        for direction in (self.to_server, self.to_client):
            direction.break_off("the link was cut")
        self._end()

    def break_in(self, direction: _Direction, message: str | bytes) -> None:
        """Break the link in the middle of this frame, which is lost.

        Frames before it in the same direction arrive; in the other direction, only those that
        have arrived already. Now and then one end is not told, as when a router forgets a
        connection: that end has to find out by itself.
        """
        told = self.random.random()
        self.note(f"{self.name} {direction.name}", "break", message)
        if told >= 0.1:
            direction.finish(trio.BrokenResourceError, "the link broke")
        other = self.to_client if direction is self.to_server else self.to_server
        other.break_off("the link broke", told=not 0.1 <= told < 0.2)
        self._end()

    def close(self, end: LinkEnd, text: str) -> None:
        """Close the link: the other end reads what is on its way, and then that this end closed."""
        self.note(self.name, "close", text)
        outbound, inbound = self.to_server, self.to_client
        if end is self.server:
            outbound, inbound = inbound, outbound
        outbound.held = None
        if not self._ended:
            outbound.finish(trio.EndOfChannel, text)
        inbound.drop_all()
        self._end()

    def abort(self, end: LinkEnd) -> None:
        """Break the link, because this end stopped in the middle of a frame."""
        end.closed = True
        (self.to_client if end is self.server else self.to_server).held = None
        self.cut()
        self._wake()

    def _end(self) -> None:
        self.to_server.sever()
        self.to_client.sever()
        self._wake()
        if not self._ended:
            self._ended = True
            self._on_end(self)

    def _wake(self) -> None:
        self.to_server.wake()
        self.to_client.wake()
