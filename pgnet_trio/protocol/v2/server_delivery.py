"""What must arrive exactly once, whatever happens to connections: both ends of a session.

Requests carry ids that count up from 1. What the server sends and must not be lost (answers,
pushes, questions, changes of the game) is counted from 1 too, in the order of sending, and kept
until the client acknowledges it. After a dropped connection each side says how far it got, and
the other goes on from there. Of the state, only the latest is kept.

Both classes are Sans-I/O and outlive connections; a protocol of version 2 pumps one at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from pgnet_trio.errors import CodecError, PGNetError, ProtocolError
from pgnet_trio.protocol.v2.envelopes import (
    Acknowledgement,
    GameEnvelope,
    encode,
    encode_game,
    encode_patch,
    encode_response,
    encode_state,
    numbered,
)

if TYPE_CHECKING:
    from pgnet_trio.messages import Response

__all__ = ["WINDOW", "ClientDelivery", "DeliveryOverflow", "ServerDelivery", "Snapshot"]

WINDOW = 64
"""How far a request's id may be beyond the oldest that is not settled."""

ACKNOWLEDGE_AFTER = 32
"""Counted envelopes, or quiet requests, after which an acknowledgement leaves by itself.

Half a window, so that nobody waits for it; any other frame carries one along.
"""

ACKNOWLEDGE_AFTER_BYTES = 64 * 1024
"""The same for long envelopes: a sixteenth of what a server keeps by default."""


ENTRY_OVERHEAD = 64
"""Bytes of memory that an envelope takes beside its own, and that count as it: those of a Python
object, and of two places in queues."""


class DeliveryOverflow(PGNetError):
    """A client lets more wait for its acknowledgement than it may; the message says how much."""


class Snapshot(Protocol):
    """A state of a game as somebody may see it."""

    @property
    def encoded(self) -> bytes:
        """All of it, in msgpack."""

    def patch_from(self, earlier: Any, /) -> bytes | None:
        """How it differs from an earlier one, in msgpack.

        None where it does not; empty where all of it is shorter.
        """


class ServerDelivery:
    """The server's end of a session.

    Args:
        max_messages: How many counted envelopes may wait for their acknowledgement; None for any
            number.
        max_bytes: The same in bytes.
        window: How far a request's id may be beyond the oldest that is not settled; None for any.
    """

    __slots__ = (
        "_acknowledged",
        "_answers",
        "_bytes",
        "_done",
        "_done_is_news",
        "_entries",
        "_max_bytes",
        "_max_messages",
        "_open",
        "_quiet",
        "_sent",
        "_settled",
        "_shown",
        "_shown_after",
        "_snapshot",
        "_state_after",
        "_too_long",
        "_version",
        "_window",
        "last_request",
        "max_envelope_size",
    )

    def __init__(
        self,
        *,
        max_messages: int | None = None,
        max_bytes: int | None = None,
        window: int | None = WINDOW,
    ) -> None:
        self.last_request = 0
        self.max_envelope_size: int | None = None
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._window = window
        # Envelopes that are not acknowledged, and of each the request that it answers, or 0. Two
        # queues hold less memory than one of pairs.
        self._entries: deque[bytes] = deque()
        self._answers: deque[int] = deque()
        self._bytes = 0
        self._acknowledged = 0
        self._sent = 0
        # Requests that are not settled, and so count in the window.
        self._open: dict[int, None] = {}
        # Quiet requests that are under way, and whether each was carried out; and those that
        # were, with all before them, of which the client does not know yet.
        self._quiet: dict[int, bool] = {}
        self._settled: list[int] = []
        # The last of those that the client was told of, and whether it may have missed that.
        self._done = 0
        self._done_is_news = False
        self._snapshot: Snapshot | None = None
        self._shown: Snapshot | None = None
        # A state that the client does not get, since it takes no envelope that long.
        self._too_long: Snapshot | None = None
        # How many counted envelopes went before the state that was shown last, and how many have
        # to go before the next one.
        self._shown_after = 0
        self._state_after = 0
        self._version = 0

    @property
    def unacknowledged(self) -> int:
        """How many counted envelopes wait to be acknowledged."""
        return len(self._entries)

    @property
    def unacknowledged_bytes(self) -> int:
        """The same in bytes."""
        return self._bytes

    @property
    def waiting(self) -> bool:
        """Whether there is something to send."""
        return (
            self._sent < len(self._entries)
            or (self._snapshot is not self._shown and self._state_waits)
            or len(self._settled) >= ACKNOWLEDGE_AFTER
        )

    @property
    def _state_waits(self) -> bool:
        snapshot = self._snapshot
        return snapshot is not self._shown and snapshot is not self._too_long

    def take_request(self, id: int, quiet: bool = False) -> None:
        """Note a request that came.

        Raises:
            ProtocolError: It is not the next one, or beyond the window.
        """
        if id != self.last_request + 1:
            raise ProtocolError(f"expected request {self.last_request + 1}, got request {id}")
        waiting = self._open
        if self._window is not None and waiting and id - next(iter(waiting)) >= self._window:
            raise ProtocolError(
                f"request {id} came while {next(iter(waiting))} is not settled; "
                f"at most {self._window} may be under way"
            )
        self.last_request = id
        waiting[id] = None
        if quiet:
            self._quiet[id] = False

    def respond(self, id: int, response: Response) -> None:
        """Answer a request; of one that is quiet the client only learns that it was carried out.

        Raises:
            CodecError: The answer cannot travel, and the request still waits for one.
            DeliveryOverflow: Too much waits already.
        """
        quiet = self._quiet
        if id not in quiet:
            self.add(encode_response(id, response), id)
            return
        quiet[id] = True
        while quiet and quiet[first := next(iter(quiet))]:
            del quiet[first]
            self._settled.append(first)

    def change_game(self, game: GameEnvelope) -> None:
        """Tell that the user is in another game now, or in none; the state before is the last.

        Raises:
            DeliveryOverflow: Too much waits to be acknowledged already.
        """
        snapshot = self._snapshot
        limit = self.max_envelope_size
        if snapshot is not None:
            shown = snapshot is self._shown
            # States are not acknowledged, but what was sent after one is.
            if not shown or self._acknowledged <= self._shown_after:
                version = self._version if shown else self._version + 1
                last = encode_state(version, snapshot.encoded, last=True)
                if limit is None or len(last) <= limit:
                    self._version = version
                    # Before what waits to be sent, as it would have gone by itself.
                    self.add(last, at=max(self._sent, self._state_after - self._acknowledged))
        self._snapshot = self._shown = self._too_long = None
        self.add(encode_game(game, limit))
        self._state_after = self._acknowledged + len(self._entries)

    def show(self, snapshot: Snapshot) -> None:
        """Have this state sent instead of the one that waits."""
        self._snapshot = snapshot

    def show_again(self) -> None:
        """Have the whole state sent, whatever was sent before."""
        self._shown = None

    def add(self, envelope: bytes, request_id: int = 0, *, at: int | None = None) -> None:
        """Have a counted envelope sent.

        Args:
            envelope: It.
            request_id: Which request it answers; 0 for none.
            at: Its place among those that are not acknowledged; the last where there is none.

        Raises:
            CodecError: It is longer than the client takes.
            DeliveryOverflow: Too much waits to be acknowledged already.
        """
        limit = self.max_envelope_size
        if limit is not None and len(envelope) > limit:
            raise CodecError(
                f"expected at most {limit} bytes, which is what this client takes, "
                f"got {len(envelope)}"
            )
        if at is None:
            self._entries.append(envelope)
            self._answers.append(request_id)
        else:
            self._entries.insert(at, envelope)
            self._answers.insert(at, request_id)
        self._bytes += len(envelope) + ENTRY_OVERHEAD
        if self._max_messages is not None and len(self._entries) > self._max_messages:
            raise DeliveryOverflow(
                f"more than {self._max_messages} messages wait to be acknowledged"
            )
        if self._max_bytes is not None and self._bytes > self._max_bytes:
            raise DeliveryOverflow(f"more than {self._max_bytes} bytes wait to be acknowledged")

    def acknowledge(self, received: int) -> None:
        """Forget what the client has.

        Raises:
            ProtocolError: It cannot have that.
        """
        count = received - self._acknowledged
        if not 0 <= count <= self._sent:
            raise ProtocolError(
                f"expected an acknowledgement from {self._acknowledged} to "
                f"{self._acknowledged + self._sent}, got {received}"
            )
        entries, answers = self._entries, self._answers
        for _ in range(count):
            self._bytes -= len(entries.popleft()) + ENTRY_OVERHEAD
            request_id = answers.popleft()
            if request_id:
                del self._open[request_id]
        self._sent -= count
        self._acknowledged = received

    def resume(self, received: int) -> None:
        """Go on over a new connection; the client has this many envelopes.

        Raises:
            ProtocolError: It cannot have that.
        """
        self.acknowledge(received)
        self._sent = 0
        self._shown = self._too_long = None
        self._done_is_news = self._done > 0

    def take(self, size: int, *, joining: bool = False) -> list[bytes]:
        """Give the next envelopes to send, which together fit into *size* bytes.

        One that is longer comes alone. An acknowledgement comes beside them, and does not count.

        Args:
            size: How much room there is.
            joining: Whether the frame leaves anyway, with something else in it: then what is
                longer waits, and an acknowledgement comes whether or not it is urgent.
        """
        out: list[bytes] = []
        entries, sent = self._entries, self._sent
        while True:
            if (
                self._snapshot is not self._shown
                and self._state_waits
                and self._acknowledged + sent >= self._state_after
            ):
                envelope = self._next_state()
                if envelope is not None:
                    size -= len(envelope)
                    if size < 0 and (out or joining):
                        break
                    out.append(envelope)
                    self._version += 1
                    self._shown = self._snapshot
                    self._shown_after = self._acknowledged + sent
            if sent == len(entries):
                break
            envelope = entries[sent]
            size -= len(envelope)
            if size < 0 and (out or joining):
                break
            out.append(envelope)
            sent += 1
        self._sent = sent
        settled = self._settled
        if (settled or self._done_is_news) and (
            out or joining or len(settled) >= ACKNOWLEDGE_AFTER
        ):
            if settled:
                self._done = settled[-1]
                for id in settled:
                    del self._open[id]
                settled.clear()
            self._done_is_news = False
            out.append(encode(Acknowledgement(self._done)))
        return out

    def _next_state(self) -> bytes | None:
        """Give the envelope that shows the state that waits; None where there is nothing to show.

        What it leaves out of account is whether the envelope leaves.
        """
        snapshot, shown = self._snapshot, self._shown
        assert snapshot is not None
        patch = b"" if shown is None else snapshot.patch_from(shown)
        if patch is None:
            self._shown = snapshot
            return None
        version = self._version + 1
        if patch:
            envelope = encode_patch(self._version, version, patch)
        else:
            envelope = encode_state(version, snapshot.encoded)
        limit = self.max_envelope_size
        if limit is not None and len(envelope) > limit:
            self._too_long = snapshot
            return None
        return envelope


class ClientDelivery:
    """The client's end of a session.

    Args:
        next_request: Gives the next request that waits, as `encode_request` made it, and whether
            it is quiet; or None. It is asked when the request leaves, so what was not asked for
            did not happen.

    Attributes:
        last_request: The id of the last request that was written.
        received: How many counted envelopes came.
        state_version: The version of the state that came last; 0 where the next patch is of no use.
    """

    __slots__ = (
        "_next_request",
        "_quiet",
        "_received_bytes",
        "_told",
        "_unsettled",
        "_unwritten",
        "last_request",
        "received",
        "state_version",
    )

    def __init__(self, next_request: Callable[[], tuple[bytes, bool] | None]) -> None:
        self.last_request = 0
        self.received = 0
        self.state_version = 0
        self._next_request = next_request
        self._told = 0
        self._received_bytes = 0
        # Requests that are not settled: as they were written, by id.
        self._unsettled: dict[int, bytes] = {}
        self._quiet: set[int] = set()
        self._unwritten: deque[bytes] = deque()

    @property
    def unsettled(self) -> int:
        """How many requests were written and are neither answered nor, quiet, taken."""
        return len(self._unsettled)

    def count(self, envelopes: int, size: int) -> None:
        """Note that counted envelopes came, in a frame of so many bytes."""
        self.received += envelopes
        self._received_bytes += size

    def settle(self, id: int) -> None:
        """Note that a request was answered.

        Raises:
            ProtocolError: There is no such request.
        """
        if id in self._quiet or self._unsettled.pop(id, None) is None:
            raise ProtocolError(f"an answer came to {id}, which is no request that waits for one")

    def settle_quiet(self, last_request: int) -> None:
        """Note that the server has carried out all quiet requests so far.

        Raises:
            ProtocolError: It cannot have that.
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
        """Go on over a new connection; the server has all requests up to this one.

        Raises:
            ProtocolError: It cannot have that.
        """
        if last_request > self.last_request:
            raise ProtocolError(
                f"the server has request {last_request}; the last was {self.last_request}"
            )
        self._unwritten = deque(body for id, body in self._unsettled.items() if id > last_request)
        self._told = self.received
        self._received_bytes = 0

    def take(self, size: int, *, joining: bool = False) -> list[bytes]:
        """Give the next envelopes to send, which together fit into *size* bytes.

        One that is longer comes alone. An acknowledgement comes beside them, and does not count.

        Args:
            size: How much room there is.
            joining: Whether the frame leaves anyway, with something else in it: then what is
                longer waits, and an acknowledgement comes whether or not it is urgent.
        """
        out: list[bytes] = []
        while size > 0 and (envelope := self._next_envelope()) is not None:
            size -= len(envelope)
            if size < 0 and (out or joining):
                self._unwritten.appendleft(envelope)
                break
            out.append(envelope)
        if self.received != self._told and (
            out
            or joining
            or self.received - self._told >= ACKNOWLEDGE_AFTER
            or self._received_bytes >= ACKNOWLEDGE_AFTER_BYTES
        ):
            # First, since it opens the window for the requests.
            out.insert(0, encode(Acknowledgement(self.received)))
            self._told = self.received
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
