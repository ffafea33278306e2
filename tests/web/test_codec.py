"""What the client for browsers reads and writes is what the client in Python reads and writes."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pgnet_trio.codec import MAX_DEPTH
from pgnet_trio.errors import CodecError, ProtocolError
from pgnet_trio.messages import Packet
from pgnet_trio.patch import apply, apply_columns, diff, diff_columns
from pgnet_trio.patch import growth as growth_of
from pgnet_trio.protocol.v2 import envelopes as wire
from tests.codec.test_columns import PLAYS, almost_columns
from tests.codec.test_patch import (
    ANYTHING,
    SCALARS,
    STATES,
    encoded,
    exact,
    sent,
)
from tests.web import node
from tests.web.node import Oracle, needs_node

pytestmark = needs_node

EXACT = 2**53


@pytest.fixture(scope="module")
def javascript() -> Iterator[Oracle]:
    yield from node.oracle("oracle.mjs")


def as_in_javascript(value: Any) -> Any:
    """Data with the whole floats as ints that JavaScript cannot tell from ints."""
    if isinstance(value, dict):
        return {key: as_in_javascript(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_in_javascript(item) for item in value]
    if type(value) is float and value.is_integer() and abs(value) < EXACT:
        return value if value == 0 and math.copysign(1, value) < 0 else int(value)
    return value


def decoded(text: str) -> Any:
    return msgspec.msgpack.decode(bytes.fromhex(text))


def agrees(answer: Any, value: Any) -> bool:
    return exact(decoded(answer)) == exact(as_in_javascript(value))


@given(STATES)
@example({"__proto__": {"x": 1}, "constructor": 1, "toString": None, "10": 1, "9": 2})
@example([2**63 - 1, -(2**63), 2**53, 2**53 + 1, -(2**53) - 1, 2**53 - 1])
@example([-0.0, 0.0, 1.5, 2.0**53, 2.0**63, 1e300, 5e-324, 1.7e308, 1.0])
@example([-1, -32, -33, -128, -129, -32768, -32769, -(2**31), -(2**31) - 1, -(2**32)])
@example([127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**40])
@example(
    ["\ufeffbom", "\U0001f3b2" * 9, "é" * 12, "x" * 31, "x" * 32, "x" * 256, "x" * 70_000, "\0"]
)
@example([[0] * 15, [0] * 16, [0] * 70_000])
@example({f"key {number}": number for number in range(17)})
@example([-0.0] * 40)
def test_data_comes_back_as_it_was(javascript: Oracle, value: Any) -> None:
    assert agrees(javascript.ask("recode", data=encoded(value))["answer"], value)


@given(STATES)
def test_what_javascript_writes_is_what_python_writes(javascript: Oracle, value: Any) -> None:
    """Byte for byte, but for whole floats, and keys that are digits, which come first."""
    plain = json.loads(json.dumps(value), parse_float=lambda text: as_in_javascript(float(text)))
    if not any(key.isdigit() for key in keys_of(plain)) and not has_large(plain):
        text = javascript.ask("json", json=json.dumps(plain))["answer"]
        assert bytes.fromhex(text) == encoded(plain)


def keys_of(value: Any) -> list[Any]:
    """The keys at all depths of what was decoded, which has no tuples."""
    if isinstance(value, dict):
        return [*value, *(key for item in value.values() for key in keys_of(item))]
    return [key for item in value for key in keys_of(item)] if isinstance(value, list) else []


def has_large(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(has_large, value.values()))
    if isinstance(value, list):
        return any(map(has_large, value))
    return type(value) is int and abs(value) >= EXACT


def nested(levels: int) -> Any:
    data: Any = []
    for _ in range(levels - 1):
        data = [data]
    return data


@pytest.mark.parametrize(
    "data",
    [
        encoded(b"bytes"),
        encoded(msgspec.msgpack.Ext(1, b"x")),
        encoded(math.nan),
        encoded(math.inf),
        encoded(2**63),
        encoded({1: 2}),
        encoded(nested(MAX_DEPTH + 1)),
        b"\xa1\xff",
        b"\xa3\xed\xa0\x80",
        b"\xbf" + b"x" * 31 + b"y",
        b"\xc1",
        b"",
        b"\x92\x01",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\x01\x01",
    ],
    ids=bytes.hex,
)
def test_what_is_no_plain_data_is_refused(javascript: Oracle, data: bytes) -> None:
    # Only read: the writer would refuse most of it too.
    assert javascript.ask("keys", data=data)["code"] == "codec"


def test_as_many_levels_as_python_takes_are_taken(javascript: Oracle) -> None:
    data = nested(MAX_DEPTH)
    assert agrees(javascript.ask("recode", data=encoded(data))["answer"], data)


@given(st.binary(max_size=60))
def test_any_bytes_are_data_or_an_error_of_the_codec(javascript: Oracle, data: bytes) -> None:
    reply = javascript.ask("recode", data=data)
    assert reply.get("code", "codec") == "codec"


# Patches.


def outcome(javascript: Oracle, old: Any, patch: Any, *, columns: bool) -> Any:
    """The new state, or None where the patch does not fit, or JavaScript cannot know."""
    reply = javascript.ask("apply", old=encoded(old), patch=encoded(patch), columns=columns)
    if "answer" not in reply:
        assert reply["code"] == "codec", reply
        return None if "may be an integer or a float" in reply["error"] else reply
    return reply["answer"]


@given(PLAYS)
@example(({"x": {"a": 1}}, {"x": {"a": 1.0}}))
@example(({"a": {"x": 2.0**53}, "b": {"x": 1.5}}, {"a": {"x": 2.0**53 + 2}, "b": {"x": 2.5}}))
@example(({"a": {"x": -(2**63)}, "b": {"x": 0}}, {"a": {"x": 2**63 - 1}, "b": {"x": 1}}))
@example(
    ({"\U0001f3b2": {"x": 1}, "\uffff": {"x": 1}}, {"\U0001f3b2": {"x": 2}, "\uffff": {"x": 5}})
)
@example(({"__proto__": {"x": 1}, "b": {"x": 1}}, {"__proto__": {"x": 2}, "b": {"x": 5}}))
@example(([{"x": 1.0}, {"x": 2}], [{"x": 2.0}, {"x": 2.0}]))
@example(
    ({"10": {"x": 1}, "9": {"x": 1}, "a": {"x": 1}}, {"10": {"x": 7}, "9": {"x": 8}, "a": {"x": 9}})
)
def test_patches_make_the_states_that_python_makes(
    javascript: Oracle, pair: tuple[Any, Any]
) -> None:
    old, new = pair
    made = outcome(javascript, old, diff(old, new), columns=False)
    assert agrees(made["next"], new)
    with_columns = diff_columns(old, new)
    made = outcome(javascript, old, with_columns, columns=True)
    if made is not None:
        assert agrees(made["next"], new)
        assert made["growth"] == growth_of(with_columns)


@given(almost_columns())
def test_a_patch_that_is_nearly_right_is_refused_as_in_python(
    javascript: Oracle, case: tuple[Any, Any]
) -> None:
    compare_patches(javascript, *case, columns=True)


@given(STATES, ANYTHING)
@example([], ({0: None},))
@example([], [({"a": ({None: 1},)},)])
def test_anything_is_refused_as_in_python(javascript: Oracle, old: Any, patch: Any) -> None:
    compare_patches(javascript, old, patch, columns=True)
    compare_patches(javascript, old, patch, columns=False)


def compare_patches(javascript: Oracle, old: Any, patch: Any, *, columns: bool) -> None:
    try:
        patch = sent(patch)
    except (TypeError, UnicodeError, OverflowError):
        return
    if not all(type(key) is str for key in keys_of(patch)):
        # Python makes texts of them, which the protocol does not ask for.
        return
    expected = None
    with contextlib.suppress(CodecError):
        # Wrapped, because None may be a state.
        expected = [(apply_columns if columns else apply)(old, patch)]
    made = outcome(javascript, old, patch, columns=columns)
    if made is not None:
        assert ("next" in made) == (expected is not None)
        if expected is not None:
            assert agrees(made["next"], expected[0])


# Envelopes.

TEXTS = st.text(max_size=20)
PAYLOADS = st.dictionaries(
    TEXTS, st.recursive(SCALARS, lambda it: st.lists(it, max_size=3)), max_size=3
)
NUMBERS = st.integers(0, EXACT - 1)
TIMES = st.floats(0, 1e9)

FROM_SERVER = st.one_of(
    st.builds(wire.Hello, st.none() | NUMBERS, st.none() | st.lists(TEXTS, max_size=3)),
    st.builds(wire.Welcome, TEXTS, st.binary(max_size=32)),
    st.builds(wire.Welcome, TEXTS, st.binary(max_size=32), st.binary(max_size=32), TIMES, TIMES),
    st.builds(wire.ResumedEnvelope, NUMBERS),
    st.builds(wire.SessionGone, TEXTS),
    st.builds(wire.Refusal, TEXTS),
    st.builds(
        wire.ResponseEnvelope, NUMBERS, st.integers(-5, 99), TEXTS, PAYLOADS, st.none() | TEXTS
    ),
    st.builds(wire.PushEnvelope, TEXTS, PAYLOADS),
    st.builds(wire.StateEnvelope, NUMBERS, STATES),
    st.builds(wire.LastState, NUMBERS, STATES),
    st.builds(wire.PatchEnvelope, NUMBERS, NUMBERS, STATES),
    st.builds(wire.ColumnPatchEnvelope, NUMBERS, NUMBERS, STATES),
    st.builds(wire.QuestionEnvelope, NUMBERS, TEXTS, PAYLOADS, st.none() | TIMES, TIMES),
    st.builds(wire.WithdrawalEnvelope, NUMBERS),
    st.builds(wire.GameEnvelope, st.none() | TEXTS, TIMES, TIMES, TEXTS, TEXTS),
    st.builds(wire.Acknowledgement, NUMBERS),
    st.builds(wire.Ping),
    st.builds(wire.Pong),
    st.builds(wire.GoodbyeEnvelope, TEXTS),
    st.builds(wire.RestartEnvelope, TEXTS),
    st.builds(wire.LostEnvelope, NUMBERS),
    st.builds(wire.MovedEnvelope, TEXTS, TEXTS),
    st.builds(wire.MovedEnvelope, TEXTS, TEXTS, st.binary(max_size=32)),
)

NAMES = {
    "max_frame_size": "maxFrameSize",
    "login_token": "loginToken",
    "last_request": "lastRequest",
    "created_on": "createdOn",
    "heartbeat_rate": "heartbeatRate",
}


@given(st.lists(FROM_SERVER, max_size=4))
def test_a_frame_of_a_server_is_read_as_in_python(javascript: Oracle, envelopes: list[Any]) -> None:
    frame = wire.array_head(len(envelopes)) + b"".join(map(wire.encode, envelopes))
    read = javascript.ask("frame", data=frame)["answer"]
    assert len(read) == len(envelopes)
    for got, envelope in zip(read, envelopes, strict=True):
        assert got["kind"] == type(envelope).__struct_config__.tag
        assert got["size"] == len(wire.encode(envelope))
        for field in envelope.__struct_fields__:
            value = getattr(envelope, field)
            if field in {"payload", "data"}:
                assert agrees(got[field], value)
            elif isinstance(value, bytes):
                assert got[NAMES.get(field, field)] == value.hex()
            elif field in {"grace", "reconnect_for"}:
                times = got["times"]
                told = times["grace" if field == "grace" else "reconnectFor"]
                assert told == value
            elif field != "patch":
                assert got[NAMES.get(field, field)] == value


@pytest.mark.parametrize(
    "frame",
    [
        [[26]],
        [[25, "m"]],
        [[7, 1, "m", {}]],
        [[19, 1]],
        [[8, 1, 0, "m"]],
        [[8, 1.0, 0, "m", {}]],
        [[8, "1", 0, "m", {}]],
        [[9, "m", [1]]],
        [[9, b"m", {}]],
        [[3, "m", "token"]],
        [[13, 1, "m", {}, math.inf, 0.0]],
        [[]],
        [5],
        5,
        {},
        [[21, None]],
    ],
    ids=repr,
)
def test_what_is_no_frame_of_a_server_is_a_broken_rule_as_in_python(
    javascript: Oracle, frame: Any
) -> None:
    with pytest.raises(ProtocolError):
        wire.read_from_server(encoded(frame))
    assert javascript.ask("frame", data=encoded(frame))["code"] == "protocol_error"


def test_a_frame_ends_where_its_array_does(javascript: Oracle) -> None:
    assert javascript.ask("frame", data=encoded([[19]]) + b"\xc0")["code"] == "protocol_error"
    assert javascript.ask("frame", data=encoded([[19], [20]])[:-1])["code"] == "protocol_error"


def test_players_keep_their_order_whatever_their_names_are(javascript: Oracle) -> None:
    players = {"zoe": True, "10": False, "9": True}
    push = [9, "__pgnet__.players", {"players": players, "all": True}]
    [read] = javascript.ask("frame", data=encoded([push]))["answer"]
    assert [*decoded(read["payload"])["players"]] == [*players]


@given(TEXTS, PAYLOADS, st.booleans(), NUMBERS)
def test_requests_are_those_of_python(
    javascript: Oracle, message: str, payload: dict[str, Any], quiet: bool, number: int
) -> None:
    request = javascript.ask(
        "request", message=message, payload=encoded(payload), quiet=quiet, id=number
    )["answer"]
    [read] = wire.read_from_client(wire.array_head(1) + bytes.fromhex(request))
    assert isinstance(read, wire.RequestEnvelope | wire.ShallowRequest)
    assert (read.id, read.message, read.quiet) == (number, message, quiet)
    assert exact(read.payload) == exact(as_in_javascript(payload))
    answer = javascript.ask(
        "answer", question=number, message=message, payload=encoded(payload), id=7
    )["answer"]
    [read_answer] = wire.read_from_client(wire.array_head(1) + bytes.fromhex(answer))
    assert isinstance(read_answer, wire.AnswerEnvelope | wire.ShallowAnswer)
    assert (read_answer.id, read_answer.question) == (7, number)


def test_a_log_in_is_that_of_python(javascript: Oracle) -> None:
    text = javascript.ask("logIn", username="ann", password="pä", inviteCode="")["answer"]
    assert bytes.fromhex(text) == wire.encode_log_in("ann", "pä", "")
    body = wire.encode_request(Packet("Move", {"square": 3}))
    text = javascript.ask(
        "request", message="Move", payload=encoded({"square": 3}), quiet=False, id=1
    )
    assert bytes.fromhex(text["answer"]) == wire.numbered(body, 1)


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("localhost", "ws://localhost:38929/"),
        ("localhost:80", "ws://localhost/"),
        ("127.0.0.1:5", "ws://127.0.0.1:5/"),
        ("[::1]:5", "ws://[::1]:5/"),
        ("[::1]", "ws://[::1]:38929/"),
        (" ws://example.org ", "ws://example.org/"),
        ("wss://example.org/games?x=1", "wss://example.org/games?x=1"),
        ("wss://example.org:444", "wss://example.org:444/"),
    ],
)
def test_addresses_are_read(javascript: Oracle, address: str, url: str) -> None:
    assert javascript.ask("url", address=address)["answer"] == url


@pytest.mark.parametrize(
    "address", ["", "http://example.org", "example.org/path", "ws://ann:x@example.org", "a b", ":5"]
)
def test_what_is_no_address_is_refused(javascript: Oracle, address: str) -> None:
    assert javascript.ask("url", address=address)["code"] == "address"


def test_several_addresses_are_read(javascript: Oracle) -> None:
    addresses = "a.example, wss://c.example/x ,[::1]:5,a.example"
    urls = ["ws://a.example:38929/", "wss://c.example/x", "ws://[::1]:5/"]
    assert javascript.ask("urls", addresses=addresses)["answer"] == urls
    for wrong in ("a.example,,b.example", "a.example,", "a.example,b.example:x"):
        assert javascript.ask("urls", addresses=wrong)["code"] == "address"


@pytest.mark.parametrize(
    ("url", "address", "there"),
    [
        ("ws://a.example:5/", "b.example:6", "ws://b.example:6/"),
        ("ws://a.example:5/", "b.example", "ws://b.example:38929/"),
        ("ws://a.example:5/x", "/node-3", "ws://a.example:5/node-3"),
        ("wss://a.example/x", "/node-3?y=1", "wss://a.example/node-3?y=1"),
        ("ws://a.example/", "wss://b.example/2", "wss://b.example/2"),
        ("wss://a.example/", "wss://b.example:7/", "wss://b.example:7/"),
        # No way to another host that looks like a path.
        ("wss://a.example/", "/\\b.example", "wss://a.example//b.example"),
        ("wss://a.example/", "/@b.example", "wss://a.example/@b.example"),
    ],
)
def test_where_a_server_may_send_a_page(
    javascript: Oracle, url: str, address: str, there: str
) -> None:
    assert javascript.ask("redirected", url=url, address=address) == {"answer": there}


@pytest.mark.parametrize(
    ("url", "address", "complaint"),
    [
        ("wss://a.example/", "ws://a.example", "it is without TLS"),
        ("wss://a.example/", "a.example:38929", "it is without TLS"),
        ("ws://a.example/", "//b.example", "it is no path"),
        ("ws://a.example/", "/x#y", "it is no path"),
        ("ws://a.example/", "https://b.example", "https:// is not spoken here"),
        ("ws://a.example/", "ann@b.example", "user names do not belong here"),
        ("ws://a.example/", "node-3/x", "there is something after the port"),
    ],
)
def test_where_no_server_may_send_a_page(
    javascript: Oracle, url: str, address: str, complaint: str
) -> None:
    refused = javascript.ask("redirected", url=url, address=address)
    assert refused["code"] == "address"
    assert complaint in refused["error"]
