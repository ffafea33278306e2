"""The server's end of a session as it travels to another server."""

from __future__ import annotations

from pgnet_trio.codec import Packed
from pgnet_trio.errors import CodecError
from pgnet_trio.protocol.v2.lost_pushes import LOST_PUSH

__all__ = ["PackedDelivery"]


class PackedDelivery(Packed, frozen=True):
    """What `ServerDelivery.export` returns.

    Nothing in here is known to have arrived, and all of it may have been sent.

    Attributes:
        features: The features in use, in order.
        last_request: The id of the last request that came.
        max_envelope_size: The longest envelope that the client takes; None for any.
        acknowledged: How many counted envelopes the client has acknowledged.
        entries: Those that it has not.
        kinds: What each of them is; see `lost_pushes`.
        unsettled: The ids of the requests that are not settled, the oldest first.
        quiet: The quiet requests that wait for one another, and whether each was carried out.
        settled: Those that were carried out, of which the client was not told.
        carried_out: The last one of which it was told.
        state_after: How many counted envelopes go before the next state.
        version: The version of the last state.
        dropped: How many pushes were dropped.
    """

    features: tuple[str, ...]
    last_request: int
    max_envelope_size: int | None
    acknowledged: int
    entries: tuple[bytes, ...]
    kinds: tuple[int, ...]
    unsettled: tuple[int, ...]
    quiet: dict[int, bool]
    settled: tuple[int, ...]
    carried_out: int
    state_after: int
    version: int
    dropped: int

    def check(self) -> None:
        """Check that this can be a delivery.

        Raises:
            CodecError: It cannot; the message says what is wrong.
        """
        unsettled, quiet = set(self.unsettled), self.quiet
        answers = [kind for kind in self.kinds if kind > 0]
        last = self.last_request
        for what, holds in (
            ("as many kinds as entries", len(self.kinds) == len(self.entries)),
            (
                "no negative numbers",
                min(last, self.acknowledged, self.carried_out, self.version, self.dropped) >= 0,
            ),
            ("unsettled requests in order", list(self.unsettled) == sorted(unsettled)),
            ("no requests that have not come", not unsettled or 0 < min(unsettled) <= last),
            ("no requests that have not come", max(unsettled, default=0) <= last),
            ("answers to requests that are not settled", unsettled.issuperset(answers)),
            ("one answer to each request", len(answers) == len(set(answers))),
            ("quiet requests among the unsettled ones", unsettled.issuperset(quiet)),
            ("settled requests among the unsettled ones", unsettled.issuperset(self.settled)),
            ("a request either settled or waiting", not set(quiet).intersection(self.settled)),
            ("quiet requests in order", list(quiet) == sorted(quiet)),
            ("settled requests in order", list(self.settled) == sorted(set(self.settled))),
            ("told of no request that has not come", self.carried_out <= last),
            ("room for envelopes", self.max_envelope_size is None or self.max_envelope_size > 0),
            ("a state after what there is", self.state_after <= self.acknowledged + self.count),
        ):
            if not holds:
                raise CodecError(f"expected a packed delivery with {what}, got another")

    @property
    def count(self) -> int:
        """How many envelopes are not acknowledged, stand-ins too."""
        return len(self.entries)

    @property
    def stand_ins(self) -> int:
        """How many of them stand where pushes were dropped."""
        return sum(kind <= LOST_PUSH for kind in self.kinds)
