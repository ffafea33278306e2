"""A delivery that goes to another server, and what is none."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgnet_trio.codec import pack, unpack
from pgnet_trio.errors import CodecError
from pgnet_trio.messages import Packet, Push, Response
from pgnet_trio.protocol.v2 import envelopes as wire
from pgnet_trio.protocol.v2.features import FEATURES
from pgnet_trio.protocol.v2.packed_delivery import PackedDelivery
from pgnet_trio.protocol.v2.server_delivery import ServerDelivery
from tests.kit.protocol_pair import Seen

LARGE = 100_000


def question(number: int) -> bytes:
    return wire.encode_question(number, Packet("Ask"), None, 0.0)


def delivery() -> ServerDelivery:
    made = ServerDelivery()
    made.features = FEATURES
    return made


def moved(before: ServerDelivery) -> ServerDelivery:
    after = ServerDelivery()
    after.adopt(unpack(pack(before.export(), 1), PackedDelivery, 1))
    return after


def test_a_client_may_have_all_that_was_exported() -> None:
    before = delivery()
    before.add(question(1))
    after = moved(before)
    after.add(question(2))
    # It leaves after the export, as a delivery's last words do.
    assert before.take(LARGE) == [question(1)]
    after.resume(1)
    assert after.take(LARGE) == [question(2)]


def test_no_version_of_a_state_is_used_twice() -> None:
    before = delivery()
    before.show(Seen({"turn": 1}))
    before.take(LARGE)
    before.show(Seen({"turn": 2}))
    after = moved(before)
    assert before.take(LARGE) == []
    after.show(Seen({"turn": 3}))
    after.resume(0)
    assert after.take(LARGE) == [wire.encode_state(2, Seen({"turn": 3}).encoded)]


def test_requests_stay_open_and_are_answered_there() -> None:
    before = delivery()
    before.take_request(1)
    before.take_request(2, quiet=True)
    after = moved(before)
    after.respond(1, Response("done"))
    after.respond(2, Response(""))
    after.resume(0)
    sent = wire.read_from_server(wire.array_head(2) + b"".join(after.take(LARGE)))
    assert [type(envelope) for envelope in sent] == [wire.ResponseEnvelope, wire.Acknowledgement]
    after.take_request(3)
    assert after.last_request == 3


def test_an_idle_delivery_is_small() -> None:
    assert len(pack(delivery().export(), 1)) < 150
    full = delivery()
    for number in range(64):
        full.push(wire.encode_push(Push("news", {"number": number, "x": "x" * 80})))
    assert len(pack(full.export(), 1)) < 8_000


GOOD = delivery().export()


@pytest.mark.parametrize(
    "changes",
    [
        {"last_request": -1},
        {"kinds": (0,)},
        {"entries": (b"x",)},
        {"unsettled": (1,)},
        {"last_request": 2, "unsettled": (2, 1)},
        {"entries": (b"x",), "kinds": (1,)},
        {"last_request": 1, "quiet": {1: True}},
        {"last_request": 1, "settled": (1,)},
        {"carried_out": 1},
        {"max_envelope_size": 0},
        {"state_after": 1},
        {"version": -1},
    ],
)
def test_what_can_be_no_delivery_is_refused_and_changes_nothing(changes: dict[str, Any]) -> None:
    after = ServerDelivery()
    with pytest.raises(CodecError, match="expected a packed delivery with"):
        after.adopt(msgspec.structs.replace(GOOD, **changes))
    assert after.export() == ServerDelivery().export()


@given(st.binary(max_size=200))
def test_other_bytes_are_a_clear_error(data: bytes) -> None:
    with pytest.raises(CodecError, match="expected a packed delivery"):
        unpack(data, PackedDelivery, 1)


@given(st.data())
def test_bytes_with_a_slip_are_an_error_or_a_delivery(data: st.DataObject) -> None:
    before = delivery()
    before.take_request(1)
    before.add(question(1))
    packed = bytearray(pack(before.export(), 1))
    packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    after = ServerDelivery()
    try:
        after.adopt(unpack(bytes(packed), PackedDelivery, 1))
    except CodecError:
        assert after.last_request == 0
    else:
        after.resume(after.export().acknowledged)
        after.take(LARGE)


def test_another_version_is_named() -> None:
    with pytest.raises(CodecError, match="of version 1, got version 2"):
        unpack(pack(GOOD, 2), PackedDelivery, 1)


def test_nothing_deep_overflows_the_stack() -> None:
    with pytest.raises(CodecError):
        unpack(b"\x92\x01" + b"\x91" * 100_000, PackedDelivery, 1)


def test_nothing_of_it_is_shown() -> None:
    before = delivery()
    before.add(wire.encode_push(Push("secret", {})))
    assert "secret" not in repr(before.export())
