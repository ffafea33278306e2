"""The client's end of a session of protocol 2: what must arrive exactly once.

Connections come and go; this object stays. Requests carry ids that count up from 1, and each is
kept until it is settled: when its response comes or, if it is quiet, when the server says that it
was carried out. After a dropped connection each side says how far it got, and the other goes on
from there.

The class is Sans-I/O. One `ClientProtocol` at a time sends what is in it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from pgnet_trio.errors import ProtocolError
from pgnet_trio.protocol.v2.envelopes import Acknowledgement, encode, numbered
from pgnet_trio.protocol.v2.states import ACKNOWLEDGE_AFTER, WINDOW

if TYPE_CHECKING:
    from pgnet_trio.netcode import QueuedInput

__all__ = ["ClientDelivery"]

ACKNOWLEDGE_AFTER_BYTES = 64 * 1024
"""Bytes of counted envelopes after which an acknowledgement gets a frame of its own.

That is a sixteenth of what a server keeps for a client by default.
"""


class ClientDelivery:
    """The client's end of a session: the requests under way, and how much was received.

    Args:
        next_request: Returns the next request that waits, as `encode_request` made it, and whether
            it is quiet; or None. It is called when there is room to send the request: a request
            that was not taken this way has not been sent.
        next_input: Returns the input that waits, once; or None. It is called when there is room to
            send it. What was taken this way is not sent again.

    Attributes:
        last_request: The id of the last request that was written.
        next_input: The same as the argument.
        received: How many counted envelopes have come since the session began.
        state_version: The version of the state that the client has; 0 where it needs a whole state
            before patches are of use.
    """

    __slots__ = (
        "_acknowledged",
        "_next_request",
        "_quiet",
        "_received_bytes",
        "_unsettled",
        "_unwritten",
        "last_request",
        "next_input",
        "received",
        "state_version",
    )

    def __init__(
        self,
        next_request: Callable[[], tuple[bytes, bool] | None],
        next_input: Callable[[], QueuedInput | None] = lambda: None,
    ) -> None:
        self.next_input = next_input
        self.last_request = 0
        self.received = 0
        self.state_version = 0
        self._next_request = next_request
        self._acknowledged = 0
        self._received_bytes = 0
        # The requests that are not settled, as they were written, by id: the oldest first.
        self._unsettled: dict[int, bytes] = {}
        self._quiet: set[int] = set()
        self._unwritten: deque[bytes] = deque()

    @property
    def unsettled(self) -> int:
        """How many requests were written and are not settled yet."""
        return len(self._unsettled)

    def count(self, envelopes: int, size: int) -> None:
        """Record that a frame of so many bytes came, with so many counted envelopes in it."""
        self.received += envelopes
        self._received_bytes += size

    def settle(self, id: int) -> None:
        """Record that the response to a request came.

        Raises:
            ProtocolError: No request of this id waits for a response.
        """
        if id in self._quiet or self._unsettled.pop(id, None) is None:
            raise ProtocolError(f"an answer came to {id}, which is no request that waits for one")

    def settle_quiet(self, last_request: int) -> None:
        """Record that the server has carried out all quiet requests up to this id.

        Raises:
            ProtocolError: No request of this id was written yet.
        """
        if last_request > self.last_request:
            raise ProtocolError(
                f"an acknowledgement of request {last_request} came; the last was "
                f"{self.last_request}"
            )
        for id in [id for id in self._quiet if id <= last_request]:
            self._quiet.remove(id)
            del self._unsettled[id]

    def resume(self, last_request: int) -> None:
        """Go on over a new connection: write again the requests that the server does not have.

        Args:
            last_request: The id of the last request that the server has.

        Raises:
            ProtocolError: No request of this id was written yet.
        """
        if last_request > self.last_request:
            raise ProtocolError(
                f"the server has request {last_request}; the last was {self.last_request}"
            )
        self._unwritten = deque(body for id, body in self._unsettled.items() if id > last_request)
        self._acknowledged = self.received
        self._received_bytes = 0

    def take(self, size: int, *, joining: bool = False) -> list[bytes]:
        """Return the next envelopes to send, at most *size* bytes: see `ServerDelivery.take`.

        Args:
            size: How many bytes the frame has room for.
            joining: Whether the frame leaves anyway, because something else is in it. Then an
                envelope that is longer waits, and an acknowledgement goes along even where it is
                not urgent.
        """
        out: list[bytes] = []
        while size > 0 and (envelope := self._next_envelope()) is not None:
            size -= len(envelope)
            if size < 0 and (out or joining):
                self._unwritten.appendleft(envelope)
                break
            out.append(envelope)
        if self.received != self._acknowledged and (
            out
            or joining
            or self.received - self._acknowledged >= ACKNOWLEDGE_AFTER
            or self._received_bytes >= ACKNOWLEDGE_AFTER_BYTES
        ):
            # The acknowledgement comes first, so that the server forgets what it answers before it
            # checks the requests against the window.
            out.insert(0, encode(Acknowledgement(self.received)))
            self._acknowledged = self.received
            self._received_bytes = 0
        return out

    def _next_envelope(self) -> bytes | None:
        if self._unwritten:
            return self._unwritten.popleft()
        unsettled = self._unsettled
        if unsettled and self.last_request + 1 - next(iter(unsettled)) >= WINDOW:
            return None
        request = self._next_request()
        if request is None:
            return None
        self.last_request = id = self.last_request + 1
        envelope = unsettled[id] = numbered(request[0], id)
        if request[1]:
            self._quiet.add(id)
        return envelope
