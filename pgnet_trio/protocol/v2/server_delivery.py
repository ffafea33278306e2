"""The server's end of a session of protocol 2: what must arrive exactly once.

Connections come and go; this object stays. What the server must not lose (responses, pushes,
questions, changes of the game) is counted from 1 in the order of sending, and kept until the client
acknowledges it. After a dropped connection each side says how far it got, and the other goes on
from there. Of the state, only the latest is kept: `docs/design/protocol-2.md` says why.

Where too much waits, the oldest pushes of games are dropped, and nothing else: see `lost_pushes`.

The class is Sans-I/O. One `ServerProtocol` at a time sends what is in it. The file is a little
long: which state goes before which counted envelope is only seen with both side by side.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

from pgnet_trio.errors import CodecError, PGNetError, ProtocolError
from pgnet_trio.protocol.v2.envelopes import (
    ARRAY_OF_ONE,
    ARRAY_OF_TWO,
    Acknowledgement,
    GameEnvelope,
    encode,
    encode_game,
    encode_response,
    encode_state,
    frame_of,
    is_presence,
)
from pgnet_trio.protocol.v2.features import COLUMNS, LOST, NETCODE
from pgnet_trio.protocol.v2.lost_pushes import (
    ENTRY_OVERHEAD,
    GAME,
    LOST_PUSH,
    OTHER,
    PUSH,
    join_stand_ins,
    pushes_to_drop,
)
from pgnet_trio.protocol.v2.packed_delivery import PackedDelivery
from pgnet_trio.protocol.v2.states import ACKNOWLEDGE_AFTER, MAX_ENVELOPE_SIZE, WINDOW

if TYPE_CHECKING:
    from pgnet_trio.messages import Response

__all__ = ["DeliveryOverflow", "ServerDelivery", "Snapshot"]


class DeliveryOverflow(PGNetError):
    """More waits for the client's acknowledgement than may wait; the message says how much."""


class Snapshot(Protocol):
    """The state of a game, as one group of users may see it.

    Attributes:
        number: How many states of this game the group has seen by now. A whole state gets this as
            its version where it can, so that all who see the same have the same versions, and the
            same envelopes.
    """

    number: int

    @property
    def encoded(self) -> bytes:
        """The whole state, in msgpack."""

    def patch_from(self, earlier: Any, base: int, /, *, columns: bool) -> bytes | None:
        """Return the envelope that tells how it differs from an earlier snapshot.

        The patch is one of `patch.diff_columns` or, without columns, of `patch.diff`.

        Args:
            earlier: The snapshot that the client has.
            base: Its version; that of this snapshot is the next one.
            columns: Whether the patch may have columns.

        Returns:
            The envelope; None where nothing differs; empty where the whole state is shorter than
            the patch.
        """


class ServerDelivery:
    """The server's end of a session: what was asked, and what waits to be sent or acknowledged.

    Args:
        max_messages: How many counted envelopes may wait for an acknowledgement; None for any
            number.
        max_bytes: How many bytes of them may wait; None for any number.
        window: How far a request's id may be beyond the oldest one that is not settled; None for
            any distance.

    Attributes:
        dropped: How many pushes were dropped because too much waited.
        features: The features that were in use when the session began; they stay as they are.
        last_request: The id of the last request that came.
        max_envelope_size: The longest envelope in bytes that the client takes; None for any.
    """

    __slots__ = (
        "_acknowledged",
        "_bytes",
        "_carried_out",
        "_carried_out_is_news",
        "_entries",
        "_kinds",
        "_max_bytes",
        "_max_messages",
        "_max_stand_ins",
        "_moment",
        "_moment_waits",
        "_next_version",
        "_quiet",
        "_sent",
        "_settled",
        "_shown",
        "_shown_after",
        "_snapshot",
        "_stand_ins",
        "_state_after",
        "_too_long",
        "_unsettled",
        "_version",
        "_window",
        "dropped",
        "features",
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
        self.dropped = 0
        self.features: frozenset[str] = frozenset()
        self.last_request = 0
        self.max_envelope_size: int | None = None
        self._max_messages = math.inf if max_messages is None else max_messages
        self._max_bytes = math.inf if max_bytes is None else max_bytes
        self._window = math.inf if window is None else window
        # The envelopes that are not acknowledged, and what each is. Two lists take less memory
        # than one of pairs, and than a deque, which is big even while nothing is in it.
        self._entries: list[bytes] = []
        self._kinds: list[int] = []
        self._bytes = 0
        # How many of them stand where pushes were: the limit of messages does not count these. With
        # so many that the client may still acknowledge, no more is sent until it does.
        self._stand_ins = 0
        self._max_stand_ins = max(2 * ACKNOWLEDGE_AFTER, self._max_bytes / (2 * ENTRY_OVERHEAD))
        self._acknowledged = 0
        self._sent = 0
        # The requests that are not settled, the oldest first: the window begins with it.
        self._unsettled: dict[int, None] = {}
        # The quiet requests, and whether each was carried out. One moves from here to `_settled`
        # when it and all quiet requests before it were carried out; the client is told next.
        self._quiet: dict[int, bool] = {}
        self._settled: list[int] = []
        # The last one that the client was told of, and whether a drop may have lost that message.
        self._carried_out = 0
        self._carried_out_is_news = False
        self._snapshot: Snapshot | None = None
        self._shown: Snapshot | None = None
        # A state that is not sent, because the client takes no envelope that long.
        self._too_long: Snapshot | None = None
        # How many counted envelopes were sent before the state that was shown last, and how many
        # have to be sent before the next state.
        self._shown_after = 0
        self._state_after = 0
        # Of which moment the state is that was shown last, and whether that is still to be sent.
        self._moment = b""
        self._moment_waits = False
        # The version of the last state, and of the one that `_next_state` has returned last.
        self._version = 0
        self._next_version = 0

    def export(self) -> PackedDelivery:
        """Return what another server needs to go on; the client resumes the session there.

        Up to there this one may go on sending what it has: all that counts is exported as if it
        had been sent, and none of it as if it had arrived. A state that waits is dropped, because
        the other server will use the next version for another state.
        """
        self._snapshot = self._shown = self._too_long = None
        self._moment, self._moment_waits = b"", False
        return PackedDelivery(
            features=tuple(sorted(self.features)),
            last_request=self.last_request,
            max_envelope_size=self.max_envelope_size,
            acknowledged=self._acknowledged,
            entries=tuple(self._entries),
            kinds=tuple(self._kinds),
            unsettled=tuple(self._unsettled),
            quiet=dict(self._quiet),
            settled=tuple(self._settled),
            carried_out=self._carried_out,
            state_after=self._state_after,
            version=self._version,
            dropped=self.dropped,
        )

    def adopt(self, packed: PackedDelivery) -> None:
        """Go on with what another server's delivery has exported; this one has to be new.

        Nothing leaves until the client has resumed the session.

        Raises:
            CodecError: It cannot be a delivery.
        """
        packed.check()
        self.features = frozenset(packed.features)
        self.last_request = packed.last_request
        self.max_envelope_size = packed.max_envelope_size
        self.dropped = packed.dropped
        self._acknowledged = packed.acknowledged
        self._entries, self._kinds = list(packed.entries), list(packed.kinds)
        self._bytes = sum(map(len, packed.entries)) + ENTRY_OVERHEAD * packed.count
        self._stand_ins = packed.stand_ins
        # Any of it may have been sent since, and so the client may say that it has it.
        self._sent = packed.count
        self._unsettled = dict.fromkeys(packed.unsettled)
        self._quiet = dict(packed.quiet)
        self._settled = list(packed.settled)
        self._carried_out = packed.carried_out
        self._state_after = packed.state_after
        self._version = packed.version

    @property
    def unacknowledged(self) -> int:
        """How many counted envelopes wait to be acknowledged, without what was dropped."""
        return len(self._entries) - self._stand_ins

    @property
    def unacknowledged_bytes(self) -> int:
        """How many bytes of memory the envelopes that wait to be acknowledged take."""
        return self._bytes

    @property
    def waiting(self) -> bool:
        """Whether there is something to send."""
        return (
            (self._sent < len(self._entries) and not self._is_full)
            or (self._snapshot is not self._shown and self._state_waits)
            or self._moment_waits
            or len(self._settled) >= ACKNOWLEDGE_AFTER
        )

    @property
    def _is_full(self) -> bool:
        """Whether so much was sent and dropped that the client has to acknowledge some first."""
        return self._max_stand_ins <= min(self._sent, self._stand_ins)

    @property
    def _state_waits(self) -> bool:
        snapshot = self._snapshot
        return snapshot is not self._shown and snapshot is not self._too_long

    def take_request(self, id: int, quiet: bool = False) -> None:
        """Record that a request came.

        Args:
            id: Its id.
            quiet: Whether the client wants no response to it.

        Raises:
            ProtocolError: The id is not the next one, or it is beyond the window.
        """
        if id != self.last_request + 1:
            raise ProtocolError(f"expected request {self.last_request + 1}, got request {id}")
        waiting = self._unsettled
        if waiting and id - next(iter(waiting)) >= self._window:
            raise ProtocolError(
                f"request {id} came while {next(iter(waiting))} is not settled; "
                f"at most {self._window} may be under way"
            )
        self.last_request = id
        waiting[id] = None
        if quiet:
            self._quiet[id] = False

    def respond(self, id: int, response: Response) -> bool:
        """Queue the response to a request.

        A quiet request gets none: the client only learns that it was carried out, after many of
        them, or with the next frame.

        Returns:
            Whether there is something to send now.

        Raises:
            CodecError: The response cannot travel, or it is too long; the request still waits for
                one.
            DeliveryOverflow: Too much waits to be acknowledged already.
        """
        quiet = self._quiet
        if id not in quiet:
            envelope = encode_response(id, response, self.features)
            size, entries, limit = len(envelope), self._entries, self.max_envelope_size
            if size > MAX_ENVELOPE_SIZE:
                raise CodecError(
                    f"expected a response of at most {MAX_ENVELOPE_SIZE:,} bytes, got one of "
                    f"{size:,}"
                )
            # As `_append`, without a call for each response that has room.
            after = self._bytes + size + ENTRY_OVERHEAD
            if (
                after <= self._max_bytes
                and len(entries) - self._stand_ins < self._max_messages
                and (limit is None or size <= limit)
            ):
                entries.append(envelope)
                self._kinds.append(id)
                self._bytes = after
            else:
                self._append(envelope, id)
            return True
        settled = self._settled
        if len(quiet) == 1:
            # As below, without a loop: nearly always the one before was carried out.
            quiet.clear()
            settled.append(id)
        else:
            quiet[id] = True
            while quiet and quiet[first := next(iter(quiet))]:
                del quiet[first]
                settled.append(first)
        return len(settled) >= ACKNOWLEDGE_AFTER

    def change_game(self, game: GameEnvelope) -> None:
        """Tell the client that the user is in another game now, or in none.

        The state of the game before is sent for the last time, where the client may not have it.

        Raises:
            DeliveryOverflow: Too much waits to be acknowledged already.
        """
        snapshot = self._snapshot
        limit = self.max_envelope_size
        if snapshot is not None:
            shown = snapshot is self._shown
            # States are not acknowledged. But a client that acknowledged something that was sent
            # after a state has that state too.
            if not shown or self._acknowledged <= self._shown_after:
                version = self._version if shown else self._version + 1
                last = encode_state(version, snapshot.encoded, last=True)
                if limit is None or len(last) <= limit:
                    self._version = version
                    # A state goes before the counted envelopes that wait to be sent.
                    at = max(self._sent, self._state_after - self._acknowledged)
                    self._append(last, OTHER, at)
        self._snapshot = self._shown = self._too_long = None
        self._moment, self._moment_waits = b"", False
        self._append(encode_game(game, limit), GAME)
        self._state_after = self._acknowledged + len(self._entries)

    def show(self, snapshot: Snapshot) -> None:
        """Replace the state that waits to be sent."""
        self._snapshot = snapshot

    def mark(self, moment: bytes) -> None:
        """Have the client told of which moment the state is that was shown last.

        Args:
            moment: The envelope. It takes the place of one that still waits.
        """
        if NETCODE in self.features:
            self._moment, self._moment_waits = moment, True

    def show_again(self) -> int:
        """Send the whole state next, and not a patch to the one before; return its size in bytes.

        The size is 0 where there is none to send.
        """
        self._shown = None
        self._moment_waits = bool(self._moment)
        return len(self._snapshot.encoded) if self._state_waits and self._snapshot else 0

    def add(self, envelope: bytes) -> None:
        """Queue a counted envelope.

        Raises:
            CodecError: The client takes no envelope that long.
            DeliveryOverflow: Too much waits to be acknowledged already.
        """
        self._append(envelope, OTHER)

    def push(self, envelope: bytes) -> None:
        """Queue a push; where too much waits already, the oldest pushes of games are dropped.

        Raises:
            CodecError: The client takes no envelope that long.
            DeliveryOverflow: It is the server's own, and too much else waits.
        """
        self._append(envelope, PUSH)

    def _append(self, envelope: bytes, kind: int, at: int | None = None) -> None:
        """Queue a counted envelope.

        Args:
            envelope: Its bytes.
            kind: What it is.
            at: Its place among the envelopes that are not acknowledged; None for the last.
        """
        limit = self.max_envelope_size
        if limit is not None and len(envelope) > limit:
            raise CodecError(
                f"expected at most {limit} bytes, which is what this client takes, "
                f"got {len(envelope)}"
            )
        entries = self._entries
        if at is None:
            entries.append(envelope)
            self._kinds.append(kind)
        else:
            entries.insert(at, envelope)
            self._kinds.insert(at, kind)
        self._bytes = size = self._bytes + len(envelope) + ENTRY_OVERHEAD
        if size > self._max_bytes or len(entries) - self._stand_ins > self._max_messages:
            self._drop_pushes()
            # Where nothing older can be dropped, a game's push is dropped itself.
            if kind != PUSH or is_presence(envelope):
                self._check_overflow()

    def _check_overflow(self) -> None:
        if self.unacknowledged > self._max_messages:
            raise DeliveryOverflow(
                f"more than {self._max_messages} messages wait to be acknowledged"
            )
        if self._bytes > self._max_bytes:
            raise DeliveryOverflow(f"more than {self._max_bytes} bytes wait to be acknowledged")

    def _drop_pushes(self) -> None:
        dropped = pushes_to_drop(
            self._entries,
            self._kinds,
            self._sent,
            messages=(self.unacknowledged, self._max_messages),
            size=(self._bytes, self._max_bytes),
        )
        for at in dropped:
            self._entries[at], self._kinds[at] = b"", LOST_PUSH
        self.dropped += len(dropped)
        self._join_stand_ins()

    def _join_stand_ins(self) -> None:
        self._entries, self._kinds, state_after = join_stand_ins(
            self._entries,
            self._kinds,
            self._sent,
            self._state_after - self._acknowledged,
            tells=LOST in self.features,
        )
        self._state_after = self._acknowledged + state_after
        self._bytes = sum(map(len, self._entries)) + ENTRY_OVERHEAD * len(self._entries)
        self._stand_ins = sum(kind <= LOST_PUSH for kind in self._kinds)

    def acknowledge(self, received: int) -> bool:
        """Forget the counted envelopes that the client has.

        Args:
            received: How many it has received since the session began.

        Returns:
            Whether something waits that may have had to wait for this.

        Raises:
            ProtocolError: It cannot have received that many.
        """
        count, sent = received - self._acknowledged, self._sent
        if count < 0 or count > sent:
            raise ProtocolError(
                f"expected an acknowledgement from {self._acknowledged} to "
                f"{self._acknowledged + sent}, got {received}"
            )
        entries, kinds, stand_ins = self._entries, self._kinds, self._stand_ins
        self._acknowledged = received
        if count == len(entries) and not stand_ins:
            # Nearly always: all that there is, and no push was dropped.
            for kind in kinds:
                if kind > 0:
                    del self._unsettled[kind]
            self._bytes = self._sent = 0
            entries.clear()
            kinds.clear()
            return False
        for kind in kinds[:count]:
            if kind > 0:
                del self._unsettled[kind]
            elif kind <= LOST_PUSH:
                self._stand_ins -= 1
        self._bytes -= sum(map(len, entries[:count])) + ENTRY_OVERHEAD * count
        del entries[:count], kinds[:count]
        self._sent = sent - count
        return stand_ins > 0 and self.waiting

    def resume(self, received: int) -> None:
        """Go on over a new connection: send again what the client does not have.

        Args:
            received: How many counted envelopes it has received since the session began.

        Raises:
            ProtocolError: It cannot have received that many.
        """
        self.acknowledge(received)
        self._sent = 0
        if self._stand_ins:
            self._join_stand_ins()
        self._shown = self._too_long = None
        self._moment_waits = bool(self._moment)
        self._carried_out_is_news = self._carried_out > 0

    def take_all(self, size: int) -> bytes | None:
        """Return all that waits, as `take` does, where it is the usual: one state, or envelopes.

        Args:
            size: How many bytes the frame has room for.

        Returns:
            The envelopes as an array; None where nothing is to be sent. Empty where only `take` can
            say what is next; then nothing was taken.
        """
        entries, sent = self._entries, self._sent
        if self._stand_ins:
            return b""
        if self._snapshot is self._shown:
            count = len(entries)
            out = entries[sent:]
            if self._moment_waits:
                return b""
            if count == sent:
                return None if len(self._settled) < ACKNOWLEDGE_AFTER else b""
            if count - sent > 1 and sum(map(len, out)) > size:
                return b""
            self._sent = count
        elif sent == len(entries) and self._snapshot is not self._too_long:
            envelope = self._next_state()
            if envelope is None:
                return b""
            if self._moment_waits and len(envelope) + len(self._moment) > size:
                return b""
            # As `_note_shown`, without a call for each state.
            self._version = self._next_version
            self._shown = self._snapshot
            self._shown_after = self._acknowledged + sent
            if not (self._settled or self._carried_out_is_news):
                if self._moment_waits:
                    self._moment_waits = False
                    return ARRAY_OF_TWO + envelope + self._moment
                return ARRAY_OF_ONE + envelope
            out = [envelope]
            if self._moment_waits:
                self._moment_waits = False
                out.append(self._moment)
        else:
            return b""
        if self._settled or self._carried_out_is_news:
            out.append(self._acknowledgement())
        return ARRAY_OF_ONE + out[0] if len(out) == 1 else frame_of(out)

    def take(self, size: int, *, joining: bool = False) -> list[bytes]:
        """Return the next envelopes to send, at most *size* bytes of them.

        An envelope that is longer than that leaves alone. An acknowledgement does not count.

        Args:
            size: How many bytes the frame has room for.
            joining: Whether the frame leaves anyway, because something else is in it. Then an
                envelope that is longer waits, and an acknowledgement goes along even where it is
                not urgent.
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
                    self._note_shown(sent)
            if sent == len(entries) or (sent >= self._max_stand_ins and self._is_full):
                break
            envelope = entries[sent]
            size -= len(envelope)
            if size < 0 and (out or joining):
                break
            out.append(envelope)
            sent += 1
        self._sent = sent
        if self._moment_waits and (size := size - len(self._moment)) >= 0:
            self._take_moment(out, sent)
        settled = self._settled
        if (settled or self._carried_out_is_news) and (
            out or joining or len(settled) >= ACKNOWLEDGE_AFTER
        ):
            out.append(self._acknowledgement())
        return out

    def _take_moment(self, out: list[bytes], sent: int) -> None:
        """Append the moment, unless it is that of a state that the client does not have yet."""
        has_state = self._snapshot is self._shown and self._snapshot is not None
        if has_state and self._acknowledged + sent >= self._state_after:
            out.append(self._moment)
            self._moment_waits = False
        elif self._snapshot is self._too_long:
            self._moment_waits = False

    def _acknowledgement(self) -> bytes:
        """Return what tells the client which quiet requests were carried out."""
        settled = self._settled
        if settled:
            self._carried_out = settled[-1]
            for id in settled:
                del self._unsettled[id]
            settled.clear()
        self._carried_out_is_news = False
        return encode(Acknowledgement(self._carried_out))

    def _note_shown(self, sent: int) -> None:
        """Note that the state that waited leaves behind so many envelopes, not acknowledged yet."""
        self._version = self._next_version
        self._shown = self._snapshot
        self._shown_after = self._acknowledged + sent

    def _next_state(self) -> bytes | None:
        """Return an envelope with the state that waits; None where the client has it already.

        The envelope may still have to wait for room, so it counts as sent only when `take` says so.
        """
        snapshot, shown, version = self._snapshot, self._shown, self._version
        assert snapshot is not None
        envelope: bytes | None = b""
        if shown is not None:
            envelope = snapshot.patch_from(shown, version, columns=COLUMNS in self.features)
            if envelope is None:
                self._shown = snapshot
                return None
        self._next_version = version + 1
        if not envelope:
            self._next_version = version = max(version + 1, snapshot.number)
            envelope = encode_state(version, snapshot.encoded)
        limit = self.max_envelope_size
        if limit is not None and len(envelope) > limit:
            self._too_long = snapshot
            return None
        return envelope
