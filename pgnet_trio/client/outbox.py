"""What a client has asked, or is about to ask, in order."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from typing import Any

import attrs
import trio

from pgnet_trio.codec import plain
from pgnet_trio.errors import CodecError, PGNetError, SendQueueFull
from pgnet_trio.messages import Packet, Response
from pgnet_trio.netcode import InputQueue
from pgnet_trio.protocol.v2.envelopes import encode_answer, encode_request

__all__ = ["MAX_QUEUED", "Callback", "Outbox", "PendingRequest"]

MAX_QUEUED = 1024
"""Messages that may wait for their responses or callbacks; a client that keeps up has few."""

Callback = Callable[[Response], Any]


@attrs.define(eq=False)
class PendingRequest:
    """One packet that was not sent yet, or that has no response yet.

    Attributes:
        packet: What is asked.
        callback: Called with the response; None where there is nothing to call.
        done: Set when there is a response or an error; None where nobody waits for either.
        quiet: Whether nobody wants the response.
        question: Which question of the game this answers; None for a request.
        was_late: Whether that question was no longer open when the response came.
        body: The packet as protocol 2 sends it, encoded when it was queued.
        response: The response, once it is there.
        error: Why there will be none.
    """

    packet: Packet
    callback: Callback | None = None
    done: trio.Event | None = None
    quiet: bool = False
    question: int | None = None
    was_late: bool = False
    body: bytes = attrs.field(default=b"", repr=False)
    response: Response | None = None
    error: PGNetError | None = None

    def succeed(self, response: Response) -> None:
        """Hand the response to whoever waits."""
        self.response = response
        if self.done is not None:
            self.done.set()

    def fail(self, error: PGNetError) -> None:
        """Tell whoever waits that there will be no response."""
        self.error = error
        if self.done is not None:
            self.done.set()


class Outbox:
    """Queues packets until they are sent, and knows which of those sent have no response yet.

    Attributes:
        version: The version of the protocol that packets are sent with.
        max_size: The longest request in bytes that the server takes; None where that is unknown.
        inputs: The input that waits, beside the packets.
        is_held: Whether nothing is sent, because something that is not queued yet goes first.
    """

    def __init__(self) -> None:
        self.version = 2
        self.max_size: int | None = None
        self.is_held = False
        self.inputs = InputQueue()
        self._queue: deque[PendingRequest] = deque()
        # How many of them, at the front, are done before the others.
        self._urgent = 0
        self._sent: dict[int, PendingRequest] = {}
        self._last_id = 0

    def __len__(self) -> int:
        return len(self._queue) + len(self._sent)

    @property
    def unsent(self) -> int:
        """How many packets wait to be sent that nobody awaits the answer of."""
        return sum(request.done is None for request in self._queue)

    @property
    def owed(self) -> int:
        """The same, and those with no answer yet."""
        return self.unsent + sum(request.done is None for request in self._sent.values())

    def adapt(self, version: int, max_size: int | None) -> None:
        """Encode and limit what is queued from here on as this connection's server takes it."""
        self.version = version
        self.max_size = max_size

    def put(
        self,
        request: PendingRequest,
        *,
        do_next: bool,
        waiting_callbacks: int,
        is_first: bool = False,
    ) -> None:
        """Queue a packet.

        Args:
            request: The packet.
            do_next: Whether it goes before everything else that still waits; several of these keep
                their order.
            waiting_callbacks: How many callbacks have not run yet.
            is_first: Whether it goes before all others, those too.

        Raises:
            SendQueueFull: Too many wait already.
            CodecError: The payload cannot travel, or is too long for the server.
        """
        if len(self) + waiting_callbacks >= MAX_QUEUED:
            raise SendQueueFull(
                f"{MAX_QUEUED} messages wait for their answers or callbacks already; wait for "
                "some of them before sending more."
            )
        # Validate now: at send time the caller is no longer there to see the error.
        if self.version == 1:
            plain(request.packet.payload)
        elif request.question is not None:
            request.body = encode_answer(request.question, request.packet)
        else:
            request.body = encode_request(request.packet, quiet=request.quiet)
        if self.max_size is not None and len(request.body) + 9 > self.max_size:
            raise CodecError(
                f"expected a request of at most {self.max_size - 9} bytes, which is what the "
                f"server takes, got one of {len(request.body)}; send less at once"
            )
        if do_next or is_first:
            self._queue.insert(0 if is_first else self._urgent, request)
            self._urgent += 1
        else:
            self._queue.append(request)

    def next_request(self) -> tuple[bytes, bool] | None:
        """Return the next packet for protocol 2, which is sent now, and whether it is quiet."""
        request = self._take_next()
        return None if request is None else (request.body, request.quiet)

    def next_packet(self) -> Packet | None:
        """Return the next packet for protocol 1, which is sent now."""
        request = self._take_next()
        return None if request is None else request.packet

    def _take_next(self) -> PendingRequest | None:
        if self.is_held or not self._queue:
            return None
        request = self._queue.popleft()
        self._urgent = max(0, self._urgent - 1)
        # Counted in step with the protocol, which numbers requests in the order of sending.
        self._last_id += 1
        if not (request.quiet and self.version == 2):
            self._sent[self._last_id] = request
        return request

    def take(self, request_id: int) -> PendingRequest:
        """Return the request with this id, and forget it: its response is there."""
        return self._sent.pop(request_id)

    def withdraw(self, request: PendingRequest) -> None:
        """Forget a packet if it was not sent yet; otherwise its response will be thrown away."""
        if request in self._queue:
            self._urgent -= self._queue.index(request) < self._urgent
            self._queue.remove(request)

    def drop_unsent(self) -> int:
        """Forget what was not sent yet and nobody waits for; return how many those were."""
        kept = [request for request in self._queue if request.done is not None]
        dropped = len(self._queue) - len(kept)
        urgent = itertools.islice(self._queue, self._urgent)
        self._urgent = sum(request.done is not None for request in urgent)
        self._queue = deque(kept)
        return dropped

    def fail_all(self, error: PGNetError) -> None:
        """Tell everybody who waits that there will be no response, and start counting anew."""
        requests = [*self._sent.values(), *self._queue]
        # Emptied first: whoever is told may queue more, which belongs to what comes next.
        self._sent.clear()
        self._queue.clear()
        self._urgent = 0
        self._last_id = 0
        for request in requests:
            request.fail(error)
