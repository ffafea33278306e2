"""Inputs, moments and the time on the wire: small, never answered, and never sent again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgnet_trio.errors import CodecError, ProtocolError
from pgnet_trio.messages import Packet
from pgnet_trio.netcode import InputQueue, QueuedInput
from pgnet_trio.protocol.events import InputReceived, MomentTold, TimeRequested, TimeTold
from pgnet_trio.protocol.v2 import ClientProtocol, ServerProtocol
from pgnet_trio.protocol.v2.client_delivery import ClientDelivery
from pgnet_trio.protocol.v2.envelopes import (
    GameEnvelope,
    InputEnvelope,
    encode_moment,
    encode_request,
    moment_with,
)
from pgnet_trio.protocol.v2.features import FEATURES, NETCODE
from pgnet_trio.protocol.v2.input_stream import InputReader, InputWriter, check_input
from pgnet_trio.protocol.v2.server_delivery import ServerDelivery

TOKEN = bytes(range(32))


class State:
    """A state for the server's end of a session."""

    def __init__(self, number: int, data: bytes = b"\xa1x") -> None:
        self.number = number
        self.encoded = data

    def patch_from(self, earlier: Any, base: int, /, *, columns: bool) -> bytes | None:
        return b""


class Pair:
    """Both ends of a session, over one connection after the other."""

    def __init__(
        self, features: frozenset[str] = FEATURES, max_frame_size: int | None = None
    ) -> None:
        self.features = features
        self.max_frame_size = max_frame_size
        self.inputs = InputQueue()
        self.requests: list[bytes] = []
        self.to_server = ClientDelivery(self.next_request, self.inputs.take)
        self.to_client = ServerDelivery()
        self.connect(b"")
        self.server.accept("", TOKEN, self.to_client)
        self.exchange()
        self.to_client.change_game(GameEnvelope("table", 0.0, 0.0, "", ""))
        self.exchange()

    def next_request(self) -> tuple[bytes, bool] | None:
        return (self.requests.pop(0), False) if self.requests else None

    def connect(self, token: bytes) -> None:
        self.client = ClientProtocol(
            username="ann",
            password="",
            invite_code="",
            encrypted=False,
            random_bytes=bytes,
            offered=["pgnet.2.1"],
            max_frame_size=self.max_frame_size,
            subprotocol="pgnet.2.1",
            delivery=self.to_server,
            token=token,
        )
        self.server = ServerProtocol(
            None,
            bytes,
            offered=["pgnet.2.1"],
            max_frame_size=None,
            subprotocol="pgnet.2.1",
            features=self.features,
        )
        self.exchange()

    def resume(self) -> None:
        self.connect(TOKEN)
        self.server.resume(self.to_client, self.to_server.received)

    def exchange(self) -> tuple[list[Any], list[Any]]:
        """Let both ends say what they have; return what the server and the client heard."""
        heard: tuple[list[Any], list[Any]] = ([], [])
        for _ in range(10):
            while (message := self.client.next_message()) is not None:
                heard[0].extend(self.server.receive(message))
            while (message := self.server.next_message()) is not None:
                heard[1].extend(self.client.receive(message))
        return heard


def test_an_input_says_only_what_has_changed() -> None:
    writer, reader = InputWriter(), InputReader()
    sizes, found = [], []
    for number, payload in enumerate(
        [{"x": 0.5, "fire": False}, {"x": 0.5, "fire": True}, {"x": 0.5, "fire": True}], 1
    ):
        envelope = writer.write(QueuedInput(number, 81.4 + number / 30, payload))
        sizes.append(len(envelope))
        found.append(envelope)
    assert sizes[1] < 16
    assert sizes[2] <= 5
    read = [reader.read(as_envelope(envelope), 50) for envelope in found]
    assert [each.number for each in read] == [1, 2, 3]
    assert [each.payload["fire"] for each in read] == [False, True, True]
    assert read[2].payload is read[1].payload
    assert [each.seen for each in read] == pytest.approx([81.433, 81.467, 81.5])


def as_envelope(envelope: bytes) -> InputEnvelope:
    import msgspec

    return msgspec.msgpack.decode(envelope, type=InputEnvelope)


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([0.0, -0.0, 1.0, 0.5]),
    st.text(max_size=2),
    st.lists(st.sampled_from([1, 1.0, True]), max_size=2),
)


@given(st.lists(st.fixed_dictionaries({"a": values}, optional={"b": values}), max_size=20))
def test_what_is_read_is_what_was_written_with_its_types(payloads: list[dict[str, Any]]) -> None:
    writer, reader = InputWriter(), InputReader()
    for number, payload in enumerate(payloads, 1):
        envelope = writer.write(QueuedInput(number, number / 20, payload))
        read = reader.read(as_envelope(envelope), len(envelope))
        assert read.number == number
        # As texts, in which 1, 1.0 and True differ, and 0.0 and -0.0.
        assert str(sorted(read.payload.items())) == str(sorted(payload.items()))


def test_inputs_reach_the_server_and_leave_nothing_behind() -> None:
    pair = Pair()
    pair.inputs.put({"x": 1}, 2.0, 2.0)
    heard, answered = pair.exchange()
    assert heard == [InputReceived(1, 2.0, {"x": 1})]
    assert answered == []
    assert pair.to_server.unsettled == 0
    assert pair.to_server.last_request == 0


def test_what_has_not_left_is_replaced() -> None:
    pair = Pair()
    for x in range(5):
        pair.inputs.put({"x": x}, 2.0, 2.0)
    heard, _ = pair.exchange()
    assert [(each.number, each.payload) for each in heard] == [(5, {"x": 4})]


def test_after_a_drop_only_the_latest_is_sent_and_all_of_it() -> None:
    pair = Pair()
    pair.inputs.put({"x": 1, "y": 1}, 2.0, 2.0)
    pair.exchange()
    pair.inputs.put({"x": 2, "y": 1}, 2.0, 2.0)
    # It leaves, and the drop loses it.
    assert pair.client.next_message() is not None
    pair.inputs.put({"x": 3, "y": 1}, 2.0, 2.0)
    pair.inputs.put({"x": 4, "y": 1}, 2.0, 2.0)
    pair.resume()
    heard, _ = pair.exchange()
    assert heard == [InputReceived(4, 2.0, {"x": 4, "y": 1})]


def test_an_input_leaves_with_the_requests_that_wait() -> None:
    pair = Pair()
    pair.requests.append(encode_request(Packet("ask")))
    pair.inputs.put({"x": 1}, 2.0, 2.0)
    message = pair.client.next_message()
    assert message is not None
    kinds = [type(each).__name__ for each in pair.server.receive(message)]
    assert kinds == ["RequestReceived", "InputReceived"]


def test_a_state_and_its_moment_are_one_frame() -> None:
    pair = Pair()
    for tick in (1, 2):
        pair.to_client.show(State(tick))
        pair.to_client.mark(moment_with(encode_moment(tick, tick / 20), 7 * tick))
        message = pair.server.next_message()
        assert message is not None
        _, moment = pair.client.receive(message)
        assert moment == MomentTold(tick, tick / 20, 7 * tick)
        assert pair.server.next_message() is None


def test_a_moment_comes_alone_where_the_state_has_not_changed() -> None:
    pair = Pair()
    pair.to_client.show(State(1))
    pair.to_client.mark(encode_moment(1, 0.05))
    pair.exchange()
    pair.to_client.mark(encode_moment(2, 0.1))
    assert pair.to_client.waiting
    assert pair.exchange()[1] == [MomentTold(2, 0.1, 0)]
    assert not pair.to_client.waiting


def test_a_moment_waits_for_its_state_and_for_its_game() -> None:
    pair = Pair()
    pair.to_client.change_game(GameEnvelope("other", 0.0, 0.0, "", ""))
    pair.to_client.show(State(1))
    pair.to_client.mark(encode_moment(1, 0.05))
    kinds = [type(each).__name__ for each in pair.exchange()[1]]
    assert kinds == ["GameChanged", "StateShown", "MomentTold"]


def test_a_moment_does_not_overtake_its_state() -> None:
    pair = Pair()
    pair.to_client.show(State(1))
    pair.to_client.mark(encode_moment(1, 0.05))
    pair.exchange()
    pair.server.ping()
    pair.to_client.show(State(2, b"\xda\x9c\x40" + bytes(40_000)))
    pair.to_client.mark(encode_moment(2, 0.1))
    message = pair.server.next_message()
    assert message is not None
    assert pair.client.receive(message) == []
    kinds = [type(each).__name__ for each in pair.exchange()[1]]
    assert kinds == ["StateShown", "MomentTold"]


def test_of_a_state_that_is_too_long_nothing_is_said() -> None:
    pair = Pair(max_frame_size=1024)
    pair.to_client.show(State(1, b"\xda\x04\x00" + bytes(1024)))
    pair.to_client.mark(encode_moment(1, 0.05))
    assert pair.exchange()[1] == []
    assert not pair.to_client.waiting
    pair.to_client.show(State(2))
    pair.to_client.mark(encode_moment(2, 0.1))
    kinds = [type(each).__name__ for each in pair.exchange()[1]]
    assert kinds == ["StateShown", "MomentTold"]


def test_a_game_without_ticks_says_no_moment_of_the_game_before() -> None:
    pair = Pair()
    pair.to_client.show(State(1))
    pair.to_client.mark(encode_moment(1, 0.05))
    pair.to_client.change_game(GameEnvelope("chess", 0.0, 0.0, "", ""))
    pair.to_client.show(State(1))
    assert "MomentTold" not in [type(each).__name__ for each in pair.exchange()[1]]


def test_the_end_of_a_game_is_the_end_of_its_moments() -> None:
    pair = Pair()
    pair.to_client.show(State(1))
    pair.to_client.mark(encode_moment(1, 0.05))
    pair.exchange()
    pair.to_client.mark(encode_moment(2, 0.1))
    pair.to_client.change_game(GameEnvelope(None, 0.0, 0.2, "left", ""))
    assert "MomentTold" not in [type(each).__name__ for each in pair.exchange()[1]]


def test_a_full_state_that_is_asked_for_and_one_after_a_drop_have_their_moment() -> None:
    pair = Pair()
    pair.to_client.show(State(1))
    pair.to_client.mark(encode_moment(1, 0.05))
    pair.exchange()
    pair.to_client.show_again()
    assert [type(each).__name__ for each in pair.exchange()[1]] == ["StateShown", "MomentTold"]
    pair.resume()
    kinds = [type(each).__name__ for each in pair.exchange()[1]]
    assert kinds == ["Resumed", "StateShown", "MomentTold"]


def test_the_time_is_told_and_only_the_latest_question_is_answered() -> None:
    pair = Pair()
    assert pair.client.request_time(1)
    assert pair.client.request_time(2)
    heard, _ = pair.exchange()
    assert heard == [TimeRequested(1), TimeRequested(2)]
    pair.server.tell_time(1, 5.0, 20)
    pair.server.tell_time(2, 5.5, 20)
    assert pair.exchange()[1] == [TimeTold(2, 5.5, 20)]


def test_without_the_feature_nothing_of_it_is_sent() -> None:
    pair = Pair(FEATURES - {NETCODE})
    pair.inputs.put({"x": 1}, 2.0, 2.0)
    assert not pair.client.request_time(1)
    assert pair.exchange() == ([], [])
    pair.to_client.show(State(1))
    pair.to_client.mark(encode_moment(1, 0.05))
    assert [type(each).__name__ for each in pair.exchange()[1]] == ["StateShown"]


@pytest.mark.parametrize(
    ("envelopes", "words"),
    [
        ([InputEnvelope(2**62, 0)], "53 bits"),
        ([InputEnvelope(0, -(2**53))], "53 bits"),
        ([InputEnvelope(1, 0, {"x": "x" * 901})], "at most 900 bytes"),
        ([InputEnvelope(1, 0, {f"x{n}": n}) for n in range(65)], "at most 64 fields"),
        ([InputEnvelope(1, 0, dict.fromkeys(map(str, range(65)), 0), True)], "at most 64 fields"),
    ],
)
def test_more_than_an_input_may_be_breaks_the_rules(
    envelopes: list[InputEnvelope], words: str
) -> None:
    reader = InputReader()
    with pytest.raises(ProtocolError, match=words):
        for envelope in envelopes:
            reader.read(envelope, 5000)


def test_a_client_hears_of_an_input_that_is_too_large() -> None:
    with pytest.raises(CodecError, match="at most 900 bytes"):
        check_input({"x": "x" * 901})
    with pytest.raises(CodecError, match="at most 64 fields"):
        check_input(dict.fromkeys(map(str, range(65)), 0))
    with pytest.raises(CodecError, match="expected"):
        check_input({"x": float("nan")})
    assert check_input({"x": (1, 2)}) in ({"x": [1, 2]}, {"x": (1, 2)})
