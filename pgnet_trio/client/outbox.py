"""What a client has asked, or is about to ask, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import attrs
import trio

from pgnet_trio.codec import plain
from pgnet_trio.errors import CodecError, PGNetError, SendQueueFull
from pgnet_trio.messages import Packet, Response
from pgnet_trio.protocol.v2.envelopes import encode_answer, encode_request

__all__ = ["MAX_QUEUED", "Callback", "Errand", "Outbox"]

MAX_QUEUED = 1024
"""Messages that may wait for their answers, or their callbacks; a client that keeps up has few."""

Callback = Callable[[Response], Any]


@attrs.define(eq=False)
class Errand:
    """One packet, and what becomes of it.

    Attributes:
        packet: What is asked.
        callback: What gets the answer; None where nothing does.
        done: Set when there is an answer or an error, where somebody waits for it.
        quiet: Whether nobody wants the answer.
        question: Which question of the game this answers; None for a request.
        response: The answer.
        error: Why there is none.
    """

    packet: Packet
    callback: Callback | None = None
    done: trio.Event | None = None
    quiet: bool = False
    question: int | None = None
    body: bytes = attrs.field(default=b"", repr=False)
    response: Response | None = None
    error: PGNetError | None = None

    def succeed(self, response: Response) -> None:
        """Give the answer to whoever waits."""
        self.response = response
        if self.done is not None:
            self.done.set()

    def fail(self, error: PGNetError) -> None:
        """Tell whoever waits that there will be no answer."""
        self.error = error
        if self.done is not None:
            self.done.set()


class Outbox:
    """Queues packets until they leave, and knows which of those that left have no answer yet.

    Attributes:
        version: The version of the protocol that they leave with.
        max_size: The longest request in bytes that the server takes; None where that is unknown.
    """

    def __init__(self) -> None:
        self.version = 2
        self.max_size: int | None = None
        self._queue: deque[Errand] = deque()
        self._asked: dict[int, Errand] = {}
        self._last_id = 0

    def __len__(self) -> int:
        return len(self._queue) + len(self._asked)

    def put(self, errand: Errand, *, do_next: bool, waiting_callbacks: int) -> None:
        """Queue a packet.

        Args:
            errand: The packet.
            do_next: Whether it goes before everything else that still waits.
            waiting_callbacks: How many callbacks have not run yet.

        Raises:
            SendQueueFull: Too many wait already.
            CodecError: The payload cannot travel, or is too long for the server.
        """
        if len(self) + waiting_callbacks >= MAX_QUEUED:
            raise SendQueueFull(
                f"{MAX_QUEUED} messages wait for their answers or callbacks already; wait for "
                "some of them before sending more."
            )
        if self.version == 1:
            # What leaves later would fail where nobody who can mend it hears of it.
            plain(errand.packet.payload)
        elif errand.question is not None:
            errand.body = encode_answer(errand.question, errand.packet)
        else:
            errand.body = encode_request(errand.packet, quiet=errand.quiet)
        if self.max_size is not None and len(errand.body) + 9 > self.max_size:
            raise CodecError(
                f"expected a request of at most {self.max_size - 9} bytes, which is what the "
                f"server takes, got one of {len(errand.body)}; send less at once"
            )
        if do_next:
            self._queue.appendleft(errand)
        else:
            self._queue.append(errand)

    def next_request(self) -> tuple[bytes, bool] | None:
        """Give the next packet for protocol 2, which leaves now, and whether it is quiet."""
        errand = self._next()
        return None if errand is None else (errand.body, errand.quiet)

    def next_packet(self) -> Packet | None:
        """Give the next packet for protocol 1, which leaves now."""
        errand = self._next()
        return None if errand is None else errand.packet

    def _next(self) -> Errand | None:
        if not self._queue:
            return None
        errand = self._queue.popleft()
        self._last_id += 1
        if not (errand.quiet and self.version == 2):
            self._asked[self._last_id] = errand
        return errand

    def take(self, request_id: int) -> Errand:
        """Give what was asked under this id; it is answered now."""
        return self._asked.pop(request_id)

    def withdraw(self, errand: Errand) -> None:
        """Forget a packet if it has not left yet; otherwise its answer will be thrown away."""
        if errand in self._queue:
            self._queue.remove(errand)

    def drop_unsent(self) -> int:
        """Forget what has not left yet and nobody waits for; gives how many those were."""
        kept = [errand for errand in self._queue if errand.done is not None]
        dropped = len(self._queue) - len(kept)
        self._queue = deque(kept)
        return dropped

    def fail_all(self, error: PGNetError) -> None:
        """Tell everybody who waits that there will be no answer, and start counting anew."""
        errands = [*self._asked.values(), *self._queue]
        self._asked.clear()
        self._queue.clear()
        self._last_id = 0
        for errand in errands:
            errand.fail(error)
