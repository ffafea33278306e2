"""Packets, responses, and the names that go with them."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgnet_trio.codec import decode_json, encode_json, from_plain, to_plain
from pgnet_trio.errors import CodecError
from pgnet_trio.messages import (
    ADMIN_USERNAME,
    DEFAULT_PORT,
    GameInfo,
    Packet,
    Push,
    Request,
    RequestFailed,
    Response,
    Status,
    encode_message,
    explicit_time,
    is_gamename_allowed,
    is_username_allowed,
    wall_clock,
)

# A busy machine is no failure.

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
integers = st.integers(-(2**63), 2**63 - 1)
values = st.recursive(
    st.none() | st.booleans() | integers | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)
payloads = st.dictionaries(texts, values, max_size=4)
times = st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat)
packets = st.builds(Packet, texts, payloads, times, st.none() | texts)
responses = st.builds(Response, texts, payloads, integers, times, st.booleans(), st.none() | texts)


@contextmanager
def clock_at(moment: datetime) -> Iterator[None]:
    token = wall_clock.set(lambda: moment)
    try:
        yield
    finally:
        wall_clock.reset(token)


# Making them


def test_a_packet_takes_its_arguments_in_the_order_of_the_original() -> None:
    packet = Packet("move", {"x": 1}, "2020-01-01T00:00:00+00:00", "ann")
    assert packet.message == "move"
    assert packet.payload == {"x": 1}
    assert packet.created_on == "2020-01-01T00:00:00+00:00"
    assert packet.username == "ann"


def test_a_response_takes_its_arguments_in_the_order_of_the_original() -> None:
    response = Response("x", {"a": 1}, Status.UNEXPECTED, "2020-01-01", True, "table 1")
    assert response.payload == {"a": 1}
    assert response.status is Status.UNEXPECTED
    assert response.created_on == "2020-01-01"
    assert response.disconnecting is True
    assert response.game == "table 1"


def test_what_is_not_given_has_its_default() -> None:
    packet, response = Packet("move"), Response("ok")
    assert packet.payload == response.payload == {}
    assert packet.username is None
    assert response.status is Status.OK
    assert response.disconnecting is False
    assert response.game is None


@pytest.mark.parametrize("kind", [Packet, Response])
def test_no_payload_is_an_empty_dict_of_its_own(kind: type[Packet] | type[Response]) -> None:
    assert kind("x", None).payload == {}
    first, second = kind("x"), kind("x")
    first.payload["a"] = 1
    assert second.payload == {}


@pytest.mark.parametrize("kind", [Packet, Response])
def test_created_on_comes_from_the_clock_unless_it_is_given(
    kind: type[Packet] | type[Response],
) -> None:
    before = datetime.now(UTC)
    created_on = kind("x").created_on
    assert created_on is not None
    assert before <= datetime.fromisoformat(created_on) <= datetime.now(UTC)
    with clock_at(datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)):
        assert kind("x").created_on == "2030-01-02T03:04:05+00:00"
        assert kind("x", created_on="").created_on == "2030-01-02T03:04:05+00:00"
        assert kind("x", created_on="then").created_on == "then"


@pytest.mark.parametrize("kind", [Packet, Response])
def test_created_on_is_the_time_of_making_though_it_is_read_later(
    kind: type[Packet] | type[Response],
) -> None:
    first, second = datetime(2030, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)
    with clock_at(first):
        message, same = kind("x"), kind("x")
    with clock_at(second):
        later = kind("x")
        assert message.created_on == first.isoformat() == message.created_on
        assert json.loads(message.serialize())["created_on"] == first.isoformat()
        assert first.isoformat() in repr(message)
        assert message == same != later
        assert copy.copy(message) == copy.deepcopy(message) == attrs.evolve(message) == message


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-3, minutes=-30))])))
def test_created_on_is_what_isoformat_gives(moment: datetime) -> None:
    with clock_at(moment):
        assert Packet("x").created_on == moment.isoformat()


@pytest.mark.parametrize("kind", [Packet, Response])
def test_a_time_that_somebody_set_is_told_from_one_of_the_clock(
    kind: type[Packet] | type[Response],
) -> None:
    message = kind("x")
    assert explicit_time(message) is None
    assert message.created_on is not None
    repr(message)
    message.serialize()
    assert explicit_time(message) is None
    message.created_on = "then"
    assert explicit_time(message) == message.created_on == "then"
    assert explicit_time(kind("x", created_on="2020")) == "2020"
    assert explicit_time(kind.deserialize(kind("x", created_on="2020").serialize())) == "2020"
    assert explicit_time(kind.deserialize('{"message": "x"}')) is None
    message.created_on = None
    assert explicit_time(message) is message.created_on is None
    assert json.loads(message.serialize())["created_on"] is None


def test_a_packet_of_an_authors_own_class_still_tells_its_time_and_travels() -> None:
    @attrs.define
    class Move(Packet):
        row: int = 0

        def __attrs_post_init__(self) -> None:
            self.row += 1

    move = Move("move", row=2)
    assert explicit_time(move) is None
    with clock_at(datetime(2030, 1, 2, tzinfo=UTC)):
        assert Move("move").created_on == "2030-01-02T00:00:00+00:00"
    assert explicit_time(Move("move", created_on="then")) == "then"
    back = Move.deserialize(move.serialize())
    assert back.row == 4
    back.row = 3
    assert back == move


def test_they_are_mutable_and_compare_by_value() -> None:
    packet = Packet("a", created_on="now")
    packet.username = "ann"
    packet.payload = {"x": 1}
    assert packet == Packet("a", {"x": 1}, "now", "ann")
    response = Response("a", created_on="now")
    response.game, response.disconnecting, response.status = "table 1", True, 7
    assert response == Response("a", status=7, created_on="now", disconnecting=True, game="table 1")


def test_the_repr_leaves_the_payload_out_and_debug_repr_has_it() -> None:
    packet, response = Packet("log in", {"key": "hidden"}), Response("ok", {"key": "hidden"})
    for message in (packet, response):
        assert "hidden" not in repr(message)
        assert "hidden" not in str(message)
        assert message.message in message.debug_repr
        assert "hidden" in message.debug_repr


def test_a_push_is_a_message_with_a_payload_and_shows_both() -> None:
    push = Push("said", {"text": "hello"})
    assert (push.message, push.payload) == ("said", {"text": "hello"})
    assert (
        str(push)
        == repr(push)
        == push.debug_repr
        == ("Push(message='said', payload={'text': 'hello'})")
    )
    assert Push("said", None).payload == {} == Push("said").payload
    first, second = Push("a"), Push("a")
    assert first == second
    first.payload["x"] = 1
    assert first != second
    assert from_plain(to_plain(push), Push) == push
    with pytest.raises(TypeError, match=r"^Push\.payload\.x: "):
        to_plain(Push("said", {"x": {1}}))


# Over the wire


@given(packets)
def test_a_packet_comes_back_the_same(packet: Packet) -> None:
    back = Packet.deserialize(packet.serialize())
    assert back == packet
    assert repr(back.payload) == repr(packet.payload)
    assert Packet.deserialize(packet.serialize().encode()) == packet


@given(responses)
def test_a_response_comes_back_the_same(response: Response) -> None:
    back = Response.deserialize(response.serialize())
    assert back == response
    assert repr(back) == repr(response)


def test_the_wire_has_the_keys_of_the_original_and_no_other() -> None:
    packet = json.loads(Packet("a").serialize())
    response = json.loads(Response("b", status=Status.BAD).serialize())
    assert list(packet) == ["message", "payload", "created_on", "username"]
    assert list(response) == [
        "message",
        "payload",
        "status",
        "created_on",
        "disconnecting",
        "game",
    ]
    assert response["status"] == 1


def test_what_the_original_writes_is_read() -> None:
    data = {
        "message": "héllo",
        "payload": {"x": [1, 2.5, None, True]},
        "created_on": "2023-05-01T10:00:00.123456+02:00",
        "username": None,
    }
    packet = Packet.deserialize(json.dumps(data))
    assert packet.created_on == data["created_on"]
    assert (packet.message, packet.payload) == ("héllo", {"x": [1, 2.5, None, True]})
    assert Packet.deserialize('{"message": "a", "created_on": null}').created_on
    assert Packet.deserialize('{"message": "a"}').payload == {}


def test_a_request_travels_as_its_message() -> None:
    packet = Packet.deserialize(Packet(Request.GAME_DIR).serialize())
    assert packet.message == Request.GAME_DIR
    assert repr(packet.message) == "'__pgnet__.game_dir'"


@pytest.mark.parametrize("status", [7, -1, 2**63 - 1])
def test_a_status_of_the_game_stays_the_int_that_it_is(status: int) -> None:
    response = Response.deserialize(Response("x", status=status).serialize())
    assert response.status == status
    assert type(response.status) is int


def test_a_known_status_is_a_status_again() -> None:
    assert Response.deserialize(Response("x", status=2).serialize()).status is Status.UNEXPECTED


@pytest.mark.parametrize(
    ("payload", "place"),
    [
        ({"players": [{"x": 0}, {"x": math.nan}]}, r"^payload\.players\[1\]\.x: "),
        ({"x": b"bytes"}, r"^payload\.x: .*bytes"),
        ({"x": {1, 2}}, r"^payload\.x: .*set"),
        ({"x": 2**63}, r"^payload\.x: "),
        ({"x": "\ud800"}, r"^payload\.x: "),
        ([1, 2], r"^payload: expected a dict, got list"),
        ("text", r"^payload: expected a dict, got str"),
    ],
)
def test_a_payload_that_cannot_travel_is_a_type_error_that_says_where(
    payload: Any, place: str
) -> None:
    for message in (Packet("a", payload), Response("a", payload)):
        with pytest.raises(TypeError, match=place):
            message.serialize()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("message", 5),
        ("message", None),
        ("payload", None),
        ("status", "ok"),
        ("status", True),
        ("status", 1.5),
        ("created_on", 5),
        ("disconnecting", 1),
        ("game", 5),
    ],
)
def test_a_field_of_the_wrong_type_is_refused_by_the_sender_and_by_the_receiver(
    name: str, value: object
) -> None:
    response = Response("ok")
    data = to_plain(response)
    setattr(response, name, value)
    with pytest.raises(CodecError, match=f"^{name}: expected"):
        response.serialize()
    with pytest.raises(CodecError, match=f"^{name}: expected"):
        Response.deserialize(json.dumps({**data, name: value}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "^message: .*missing"),
        ("[]", "^data: expected a dict with the fields of Packet, got list"),
        ('"message"', "^data: expected a dict"),
        ('{"message": "a", "status": 0}', "got 'status'"),
        ('{"message": "a", "payload": []}', "^payload: expected a dict, got list"),
        ('{"message": "a", "payload": null}', "^payload: expected a dict, got None"),
        ('{"message": "a", "payload": {"x": NaN}}', "expected JSON"),
        ('{"message": "a", "payload": {"x": 9223372036854775808}}', r"^payload\.x: "),
        ('{"message": "a", "payload": {"x": ' + "[" * 2000 + "]" * 2000 + "}}", "nesting"),
        ('{"message": "a", "username": 1}', "^username: "),
        ("", "expected JSON"),
        (b"\xff\xfe", "expected JSON"),
    ],
)
def test_what_is_no_packet_is_refused(text: str | bytes, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        Packet.deserialize(text)


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_random_input_gives_no_other_error(text: str | bytes) -> None:
    for kind in (Packet, Response):
        with pytest.raises(CodecError):
            kind.deserialize(text)


# The short way through msgspec, held against the strict converter

numbers = st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63), 2**63, -(2**63) - 1, 2**64, 2**70]) | (
    integers | st.integers()
)
any_json = st.recursive(
    st.none()
    | st.booleans()
    | numbers
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.sampled_from(["message", "", 1.0, -0.0]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
deep_json = st.builds(
    lambda levels, leaf: json.loads('{"a":[' * levels + json.dumps(leaf) + "]}" * levels),
    st.sampled_from([2, 3, 4, 10, 49, 50, 51, 200]),
    any_json,
)
keys = ["message", "payload", "created_on", "username", "status", "disconnecting", "game"]
right_fields = st.fixed_dictionaries(
    {"message": texts},
    optional={
        "payload": st.dictionaries(texts, any_json, max_size=3) | deep_json,
        "created_on": texts,
        "username": st.none() | texts,
        "status": numbers,
        "disconnecting": st.booleans(),
        "game": st.none() | texts,
    },
)
wrong_fields = st.dictionaries(st.sampled_from(keys) | texts, any_json | deep_json, max_size=4)
objects = st.builds(
    lambda right, wrong: {**right, **wrong}, right_fields, wrong_fields | st.just({})
)


def outcome(function: Any, *arguments: Any) -> object:
    try:
        result = function(*arguments)
    except CodecError as error:
        return f"CodecError: {error}"
    if isinstance(result, bytes):
        return result
    # With the types: True is not 1, and 1 is not 1.0.
    return (
        result,
        repr(result),
        repr(result.payload),
        type(result.status if hasattr(result, "status") else 0),
    )


@given(objects | any_json | deep_json, st.sampled_from([Packet, Response]), st.booleans())
def test_what_arrives_is_taken_and_refused_as_by_the_strict_converter(
    data: object, kind: type[Packet] | type[Response], only_known: bool
) -> None:
    if only_known and isinstance(data, dict):
        known = {field.name for field in attrs.fields(kind)}
        data = {key: value for key, value in data.items() if key in known}
    text = json.dumps(data)
    with clock_at(datetime(2030, 1, 1, tzinfo=UTC)):
        assert outcome(kind.deserialize, text) == outcome(decode_json, text, kind, "")
        assert outcome(kind.deserialize, text.encode()) == outcome(decode_json, text, kind, "")


@pytest.mark.parametrize(
    "text",
    [
        '{"message": 5, "message": "x"}',
        '{"message": "x", "message": 5}',
        '{"message": "x", "payload": {"a": 1e400}}',
        '{"message": "x", "payload": {"a": 18446744073709551616}, "payload": {}}',
        '{"message": "x", "payload": {"a": 1, "a": 2}}',
        '{"message": "x", "status": 1.0}',
        '{"message": "x", "status": 1e2}',
        '{"message": "x", "status": -0}',
        '{"message": "x", "disconnecting": 1}',
        '{"message": "x", "disconnecting": null}',
        r'{"message": "\ud800"}',
        r'{"message": "x", "payload": {"\ud800": 1}}',
        '{"message": "x"} ',
        '{"message": "x"}}',
        '["x", {}]',
        "",
    ],
)
@pytest.mark.parametrize("kind", [Packet, Response])
def test_odd_json_is_taken_and_refused_as_by_the_strict_converter(
    kind: type[Packet] | type[Response], text: str
) -> None:
    with clock_at(datetime(2030, 1, 1, tzinfo=UTC)):
        assert outcome(kind.deserialize, text) == outcome(decode_json, text, kind, "")


class Word(StrEnum):
    HELLO = "hello"


any_object = st.recursive(
    st.none()
    | st.booleans()
    | numbers
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([b"", Word.HELLO, Status.BAD, Request.HELP, {1}, object]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=5) | st.integers() | st.booleans(), inner, max_size=3)
    ),
    max_leaves=8,
)
any_payload = st.dictionaries(texts, any_object, max_size=3) | deep_json | any_object


@given(
    st.builds(
        Packet,
        texts | any_object,
        any_payload,
        times | any_object,
        st.none() | texts | any_object,
    )
    | st.builds(
        Response,
        texts | st.just(Word.HELLO),
        any_payload,
        numbers | st.sampled_from(Status) | st.booleans() | st.floats(),
        times,
        st.booleans() | st.sampled_from([0, 1, None]),
        st.none() | texts | any_object,
    )
)
def test_what_is_sent_is_written_and_refused_as_by_the_strict_converter(
    message: Packet | Response,
) -> None:
    assert outcome(encode_message, message) == outcome(
        lambda: encode_json(to_plain(message, "")).encode()
    )


# Status, names


def test_raise_for_status_gives_back_what_is_ok_and_raises_the_rest() -> None:
    response = Response("fine")
    assert response.raise_for_status() is response
    assert Response("fine", status=0).raise_for_status().message == "fine"
    for message, status, text in (
        ("no such game", Status.UNEXPECTED, "no such game"),
        ("no such game", 2, "no such game"),
        ("", Status.UNEXPECTED, "(status UNEXPECTED)"),
        ("no such game", Status.BAD, "no such game (status BAD)"),
        ("no such game", 7, "no such game (status 7)"),
        ("no such game", -1, "no such game (status -1)"),
    ):
        refusal = Response(message, status=status)
        with pytest.raises(RequestFailed) as caught:
            refusal.raise_for_status()
        assert str(caught.value) == text
        assert caught.value.response is refusal


def test_status_and_requests_are_ints_and_strings_with_the_values_of_the_original() -> None:
    assert [Status.OK, Status.BAD, Status.UNEXPECTED] == [0, 1, 2]
    assert {request.name.lower() for request in Request} == {
        "game_dir",
        "join_game",
        "leave_game",
        "create_game",
        "find_game",
        "confirm_match",
        "leave_queue",
        "read_profile",
        "write_profile",
        "change_password",
        "leaderboard",
        "history",
        "heartbeat_update",
        "help",
        "shutdown",
        "set_registration",
        "create_invite",
        "delete_user",
        "destroy_game",
        "save",
        "users",
        "nodes",
        "announce",
        "invite",
        "kick",
        "ban",
        "unban",
        "bans",
        "reset_password",
        "set_role",
        "roles",
        "audit",
        "set_verbose",
        "debug",
        "sleep",
    }
    for request in Request:
        assert str(request) == f"__pgnet__.{request.name.lower()}"
    assert DEFAULT_PORT == 38929
    assert ADMIN_USERNAME == "admin"


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("ann", True),
        ("Ann123", True),
        ("a" * 20, True),
        ("123", True),
        ("an", False),
        ("a" * 21, False),
        ("", False),
        ("ann smith", False),
        ("ann\n", False),
        ("ann_", False),
        ("änn", False),
        ("ann²", False),
        ("١٢٣", False),
        ("admin", False),
        ("theADMINs", False),
    ],
)
def test_usernames_are_short_and_ascii(name: str, allowed: bool) -> None:
    assert is_username_allowed(name) is allowed


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("table 1", True),
        ("a  b", True),
        ("abc", True),
        ("a" * 50, True),
        ("ad min", True),
        ("ab", False),
        ("   ", False),
        ("a" * 51, False),
        (" table", False),
        ("table ", False),
        ("table\t1", False),
        ("table\n", False),
        ("table-1", False),
        ("tåble", False),
        ("my aDmin game", False),
    ],
)
def test_game_names_may_have_spaces_inside(name: str, allowed: bool) -> None:
    assert is_gamename_allowed(name) is allowed


def test_game_info_reads_what_the_original_lists_and_what_we_list() -> None:
    original = {"name": "a", "users": 2, "password_protected": False, "info": ""}
    assert from_plain(original, GameInfo) == GameInfo("a", 2, False, "")
    ours = GameInfo("a", 2, True, "chess", max_players=2, locked=True, options={"size": 8})
    assert from_plain(to_plain(ours), GameInfo) == ours
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        ours.users = 3  # type: ignore[misc]  # it is frozen: that is the test


def test_another_clock_reaches_only_its_own_context() -> None:
    token = wall_clock.set(lambda: datetime(2000, 1, 1, tzinfo=UTC))
    wall_clock.reset(token)
    created_on = Packet("x").created_on
    assert created_on is not None
    assert datetime.now(UTC) - datetime.fromisoformat(created_on) < timedelta(minutes=1)
