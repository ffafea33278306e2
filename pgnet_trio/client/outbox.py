"""What a client has asked, or is about to ask, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
import trio

from pgnet_trio.codec import plain
from pgnet_trio.errors import CodecError, Disconnected, PGNetError, SendQueueFull
from pgnet_trio.messages import Packet, Response

if TYPE_CHECKING:
    from pgnet_trio.protocol.v1 import ClientProtocol

__all__ = ["MAX_QUEUED", "Errand", "Outbox"]

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
        response: The answer.
        error: Why there is none.
    """

    packet: Packet
    callback: Callback | None = None
    done: trio.Event | None = None
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
    """Queues packets, and hands them to the protocol as its window allows."""

    def __init__(self, protocol: ClientProtocol, flush: Callable[[], None]) -> None:
        self._protocol = protocol
        self._flush = flush
        self._queue: deque[Errand] = deque()
        self._asked: dict[int, Errand] = {}

    def __len__(self) -> int:
        return len(self._queue) + len(self._asked)

    def put(self, errand: Errand, *, do_next: bool, waiting_callbacks: int) -> None:
        """Queue a packet; it leaves at once where the protocol allows.

        Args:
            errand: The packet.
            do_next: Whether it goes before everything else that still waits.
            waiting_callbacks: How many callbacks have not run yet.

        Raises:
            SendQueueFull: Too many wait already.
            CodecError: The payload cannot travel.
        """
        if len(self) + waiting_callbacks >= MAX_QUEUED:
            raise SendQueueFull(
                f"{MAX_QUEUED} messages wait for their answers or callbacks already; wait for "
                "some of them before sending more."
            )
        if self._queue or self._protocol.unanswered >= self._protocol.window:
            # What leaves later would fail where nobody who can mend it hears of it.
            plain(errand.packet.payload)
        if do_next:
            self._queue.appendleft(errand)
        else:
            self._queue.append(errand)
        self.pump()
        if isinstance(errand.error, CodecError):
            raise errand.error

    def pump(self) -> None:
        """Hand what waits to the protocol, as far as its window allows."""
        while self._queue and self._protocol.unanswered < self._protocol.window:
            errand = self._queue.popleft()
            try:
                self._asked[self._protocol.request(errand.packet)] = errand
            except CodecError as error:
                errand.fail(error)
        self._flush()

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

    def fail_all(self, reason: str) -> None:
        """Tell everybody who waits that the connection is gone."""
        errands = [*self._asked.values(), *self._queue]
        self._asked.clear()
        self._queue.clear()
        for errand in errands:
            errand.fail(Disconnected(reason))
