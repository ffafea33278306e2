"""The short way of protocol 2 reads and writes what the general way does, and refuses the same."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from pgnet_trio.errors import PGNetError
from pgnet_trio.messages import Push, Response, Status, wall_clock
from pgnet_trio.protocol.events import QuestionAnswered, RequestReceived
from pgnet_trio.protocol.v2 import ServerProtocol
from pgnet_trio.protocol.v2 import envelopes as wire
from pgnet_trio.protocol.v2.server_delivery import ServerDelivery
from tests.kit.protocol_pair import SPOKEN, TOKEN, Seen, msgpack, random_bytes

COUNTED = {8, 9, 12, 13, 14, 16}


class General(ServerProtocol):
    """Takes nothing for checked, so that it looks up each kind of envelope in the tables."""

    __slots__ = ()

    @staticmethod
    def _decode(plaintext: bytes) -> list[Any]:
        return [
            wire.RequestEnvelope(*msgspec.structs.astuple(envelope))
            if isinstance(envelope, wire.ShallowRequest)
            else envelope
            for envelope in wire.read_from_client(plaintext)
        ]


class GeneralDelivery(ServerDelivery):
    """Never takes the short way."""

    __slots__ = ()

    def take_all(self, size: int) -> bytes | None:
        return b""


class Side:
    """A server's end of a session, and what came of all that was done to it."""

    def __init__(
        self, protocol: type[ServerProtocol], delivery: type[ServerDelivery], limit: int, most: int
    ) -> None:
        self.protocol = protocol(
            None, random_bytes, offered=[SPOKEN], max_frame_size=None, subprotocol=SPOKEN
        )
        self.delivery = delivery(max_messages=most, max_bytes=2000, window=6)
        self.seen: list[Any] = []
        self.open: list[int] = []
        self.counted = 0
        self.protocol.receive(msgpack([[0, limit, ["columns", "lost"]]]))
        self.protocol.receive(msgpack([[1, "ann", "password"]]))
        self.protocol.accept("welcome", TOKEN, self.delivery)
        self.write()

    def do(self, what: str, detail: Any) -> None:
        try:
            getattr(self, what)(detail)
        except PGNetError as error:
            self.seen.append(f"{type(error).__name__}: {error}")
        self.seen.append((self.protocol.waiting, self.protocol.uncharged, self.protocol.closing))

    def read(self, frame: Sequence[tuple[str, Any]]) -> None:
        id = self.delivery.last_request
        envelopes: list[Any] = []
        for kind, detail in frame:
            if kind == "request":
                skew, quiet, payload = detail
                id += 1
                envelopes.append([7, id + skew, "ask", payload, *([True] if quiet else [])])
            elif kind == "acknowledgement":
                envelopes.append([17, max(0, self.counted - detail)])
            elif kind == "answer":
                id += 1
                envelopes.append([15, id, 1, "yes", {}])
            else:
                envelopes.append([detail])
        events = self.protocol.receive(msgpack(envelopes))
        self.open += [
            event.id for event in events if isinstance(event, RequestReceived | QuestionAnswered)
        ]
        self.seen.append([repr(event) for event in events])

    def respond(self, payload: dict[str, Any]) -> None:
        if self.open:
            self.delivery.respond(self.open.pop(0), Response("yes", payload, Status.OK))

    def push(self, payload: dict[str, Any]) -> None:
        self.delivery.push(wire.encode_push(Push("news", payload)))

    def show(self, state: Any) -> None:
        self.delivery.show(Seen(state))

    def game(self, name: str | None) -> None:
        self.delivery.change_game(wire.GameEnvelope(name, 1.0, 2.0, "", ""))

    def write(self, _: object = None) -> None:
        while (message := self.protocol.next_message()) is not None:
            self.seen.append(message)
            self.counted += sum(envelope[0] in COUNTED for envelope in wire_arrays(message))


def wire_arrays(frame: bytes) -> list[list[Any]]:
    return msgspec.msgpack.decode(frame, type=list[list[Any]])


PAYLOADS: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.dictionaries(st.text(max_size=3), st.integers(-9, 9) | st.text(max_size=99), max_size=3),
    st.just({"deep": [[[[[[[[1]]]]]]]]}),
    st.just({"long": "x" * 600}),
)
USUAL_REQUESTS = st.tuples(st.just("request"), st.tuples(st.just(0), st.booleans(), PAYLOADS))
ENVELOPES = st.one_of(
    USUAL_REQUESTS,
    st.tuples(st.just("request"), st.tuples(st.integers(-1, 1), st.booleans(), PAYLOADS)),
    st.tuples(st.just("acknowledgement"), st.integers(-1, 3)),
    st.tuples(st.just("answer"), st.none()),
    st.tuples(st.just("other"), st.sampled_from([18, 19, 20, 99])),
)
USUAL = st.tuples(
    st.lists(st.tuples(st.just("acknowledgement"), st.just(0)), max_size=1),
    st.lists(USUAL_REQUESTS, min_size=1, max_size=3),
).map(lambda parts: [*parts[0], *parts[1]])
STEPS = st.one_of(
    st.tuples(st.just("read"), USUAL),
    st.tuples(st.just("read"), USUAL),
    st.tuples(st.just("read"), st.lists(ENVELOPES, max_size=4)),
    st.tuples(st.just("respond"), PAYLOADS),
    st.tuples(st.just("respond"), st.just({})),
    st.tuples(st.just("push"), PAYLOADS),
    st.tuples(st.just("show"), st.integers(0, 2) | PAYLOADS),
    st.tuples(st.just("game"), st.sampled_from(["table", None])),
    st.tuples(st.just("write"), st.none()),
    st.tuples(st.just("write"), st.none()),
)
ASK: tuple[str, Any] = ("request", (0, False, {"x": 1}))
QUIET: tuple[str, Any] = ("request", (0, True, {"x": 1}))


@given(st.lists(STEPS, max_size=25), st.sampled_from([1024, 1500, 100_000]), st.integers(2, 8))
@example([("read", [ASK, ASK]), ("respond", {}), ("write", None)], 1024, 8)
@example([("read", [ASK] * 7)], 1024, 8)
@example([("read", [ASK]), ("respond", {"x": "y" * 2000}), ("write", None)], 1024, 8)
@example([("show", 1), ("write", None), ("show", 2), ("push", {}), ("write", None)], 1024, 8)
@example([("read", [("request", (1, False, {}))]), ("read", [ASK])], 1024, 8)
@example([("read", [ASK] * 3), *[("respond", {"x": "y" * 400})] * 3, ("write", None)], 1024, 8)
@example([("read", [QUIET]), ("respond", {}), ("push", {}), ("write", None)], 1024, 8)
@example([("read", [QUIET]), ("respond", {}), ("show", 1), ("write", None)], 1024, 8)
@example([("read", [("other", 19)]), ("push", {}), ("write", None)], 1024, 8)
def test_the_short_way_reads_and_writes_as_the_general_one(
    steps: list[tuple[str, Any]], limit: int, most: int
) -> None:
    token = wall_clock.set(lambda: datetime(2026, 1, 1, tzinfo=UTC))
    try:
        short = Side(ServerProtocol, ServerDelivery, limit, most)
        general = Side(General, GeneralDelivery, limit, most)
        for what, detail in steps:
            short.do(what, detail)
            general.do(what, detail)
            assert short.seen == general.seen
            for name in ServerDelivery.__slots__:
                if name not in {"_snapshot", "_shown", "_too_long"}:
                    assert getattr(short.delivery, name) == getattr(general.delivery, name), name
    finally:
        wall_clock.reset(token)


def test_a_frame_of_the_short_way_is_known_to_be_the_last() -> None:
    side = Side(ServerProtocol, ServerDelivery, 1024, 8)
    side.do("read", [ASK])
    side.do("respond", {})
    assert side.protocol.next_message() is not None
    assert side.protocol.emptied
    assert not side.protocol.waiting
    side.protocol.ping()
    assert side.protocol.next_message() is not None
    assert not side.protocol.emptied
