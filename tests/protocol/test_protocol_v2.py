"""Protocol 2: whole conversations without a socket, hostile ones, and what nobody gets to see."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgnet_trio.crypto import KeyPair
from pgnet_trio.errors import CodecError, CryptoError, ProtocolError, ServerKeyMismatch
from pgnet_trio.messages import Packet, Push, Response, Status
from pgnet_trio.patch import apply, apply_columns, diff_columns
from pgnet_trio.protocol.events import (
    FullStateRequested,
    GameChanged,
    Goodbye,
    LoggedIn,
    LogIn,
    LoginRefusal,
    Patched,
    Pushed,
    QuestionAnswered,
    QuestionAsked,
    QuietAck,
    RequestReceived,
    ResponseReceived,
    Resume,
    Resumed,
    ResumeRefusal,
    StateShown,
    Withdrawn,
)
from pgnet_trio.protocol.v2 import (
    CLIENT_TRANSITIONS,
    COUNTED,
    MAX_FRAME_SIZE,
    MIN_FRAME_SIZE,
    SERVER_TRANSITIONS,
    ClientProtocol,
    ServerProtocol,
    State,
    prove,
)
from pgnet_trio.protocol.v2 import envelopes as wire
from pgnet_trio.protocol.v2.client_delivery import ClientDelivery
from pgnet_trio.protocol.v2.envelopes import (
    Acknowledgement,
    AnswerEnvelope,
    ColumnPatchEnvelope,
    FullStateRequestEnvelope,
    GameEnvelope,
    GoodbyeEnvelope,
    Hello,
    InputEnvelope,
    LastState,
    LogInEnvelope,
    LostEnvelope,
    MomentEnvelope,
    MovedEnvelope,
    PatchEnvelope,
    Ping,
    Pong,
    PushEnvelope,
    QuestionEnvelope,
    Refusal,
    RequestEnvelope,
    ResponseEnvelope,
    RestartEnvelope,
    ResumedEnvelope,
    ResumeEnvelope,
    SearchEnvelope,
    SessionGone,
    StateEnvelope,
    TimeEnvelope,
    TimeRequestEnvelope,
    Welcome,
    WithdrawalEnvelope,
)
from pgnet_trio.protocol.v2.features import FEATURES
from pgnet_trio.protocol.v2.server_delivery import ServerDelivery
from pgnet_trio.protocol.v2.states import WINDOW
from tests.kit.protocol_pair import (
    INVITE_CODE,
    OTHER_KEY,
    PASSWORD,
    SERVER_KEY,
    TOKEN,
    USERNAME,
    Requests,
    ScriptedPeer,
    Seen,
    Session,
    exchange,
    logged_in,
    make_client,
    make_server,
    msgpack,
    random_bytes,
)
from tests.kit.seeds import seeds
from tests.protocol import protocol_example
from tests.protocol.fuzz_protocol import fuzz

ENCRYPTED = pytest.mark.parametrize("encrypted", [True, False], ids=["encrypted", "clear"])

# How long an example takes says nothing on a busy machine.

PAGE = protocol_example.PAGE.read_text("utf-8")

LOG_IN = LogIn(USERNAME, PASSWORD, INVITE_CODE)
TABLE = GameEnvelope("table", 0.0, 1.5, "", "")
LOBBY = GameEnvelope(None, 0.0, 2.5, "closed", "The game is over.")
IN_TABLE = GameChanged("table", 0.0, 1.5)
IN_LOBBY = GameChanged(None, 0.0, 2.5, "closed", "The game is over.")


def push(message: str, **payload: Any) -> bytes:
    return wire.encode_push(Push(message, payload))


def take(side: ServerProtocol | ClientProtocol) -> bytes:
    """The next message of a side that has one."""
    message = side.next_message()
    assert message is not None
    return message


def all_of(side: ServerProtocol | ClientProtocol) -> list[bytes]:
    """All that a side has to say."""
    return list(iter(side.next_message, None))


# Conversations


@ENCRYPTED
def test_a_conversation(encrypted: bool) -> None:
    session = Session(encrypted)
    assert session.exchange() == [LOG_IN]
    assert {session.server.state, session.client.state} == {State.VERDICT}
    session.server.accept("welcome", TOKEN, session.to_client)
    assert session.exchange() == [LoggedIn("welcome", TOKEN)]
    assert {session.server.state, session.client.state} == {State.OPEN}
    assert session.client.server_pubkey == (SERVER_KEY.pubkey if encrypted else None)
    assert session.client.handshake_hash == session.server.handshake_hash
    assert bool(session.client.handshake_hash) is encrypted

    for id in (1, 2, 3):
        packet = Packet("move", {"x": id, "deep": [[[[[[[[id]]]]]]]]}, "2026-11-24T10:00:00+00:00")
        session.requests.put(packet)
        assert session.exchange() == [RequestReceived(id, packet)]
        response = Response("moved", {"y": [id, None, 0.5, "é"]}, 7, "2026-11-24T10:00:01+00:00")
        session.to_client.respond(id, response)
        assert session.exchange() == [ResponseReceived(id, response)]
    assert not session.client.closing
    assert not session.server.closing


@ENCRYPTED
def test_a_refused_log_in_ends_it(encrypted: bool) -> None:
    session = Session(encrypted)
    session.exchange()
    session.server.refuse("not today")
    assert session.exchange() == [LoginRefusal("not today")]
    assert session.client.closing
    assert session.server.closing


def test_a_server_may_refuse_whoever_has_not_logged_in() -> None:
    session = Session(encrypted=False)
    session.server.refuse("full")
    assert session.client.receive(take(session.server)) == [LoginRefusal("full")]

    session = Session()
    session.server.receive(take(session.client))
    session.server.refuse("too slow")
    for message in all_of(session.server):
        events = session.client.receive(message)
    assert events == [LoginRefusal("too slow")]


@ENCRYPTED
def test_a_session_goes_on_over_another_connection(encrypted: bool) -> None:
    session = logged_in(encrypted=encrypted)
    session.requests.put(Packet("first"))
    session.requests.put(Packet("second"))
    first, second = session.server.receive(take(session.client))
    assert isinstance(first, RequestReceived)
    assert isinstance(second, RequestReceived)
    assert [(it.id, it.packet.message) for it in (first, second)] == [(1, "first"), (2, "second")]
    session.to_client.respond(1, Response("done"))
    session.to_client.add(push("news", number=1))
    lost = take(session.server)
    assert lost

    events = session.resume()
    assert [type(event) for event in events] == [ResponseReceived, Pushed]
    session.to_client.respond(2, Response("done too"))
    (answer,) = session.exchange()
    assert isinstance(answer, ResponseReceived)
    assert (answer.id, answer.response.message) == (2, "done too")
    # Nothing came twice, and what had arrived was not sent again.
    assert session.resume() == []


def test_a_request_that_never_arrived_is_sent_again() -> None:
    session = logged_in()
    session.requests.put(Packet("first"))
    assert take(session.client)
    session.requests.put(Packet("second"))
    assert take(session.client)
    events = session.resume()
    assert [
        (event.id, event.packet.message) for event in events if isinstance(event, RequestReceived)
    ] == [
        (1, "first"),
        (2, "second"),
    ]


@ENCRYPTED
def test_a_session_that_is_gone_is_followed_by_a_log_in(encrypted: bool) -> None:
    session = logged_in(encrypted=encrypted)
    session.requests.put(Packet("never taken"))
    assert take(session.client)
    session.connect(TOKEN)
    (asked,) = session.exchange()
    assert isinstance(asked, Resume)
    assert asked.username == USERNAME
    session.server.refuse_resume("This session is over.")
    assert session.exchange() == [ResumeRefusal("This session is over.")]
    assert session.client.state is session.server.state is State.LOG_IN

    requests = Requests()
    session.client.log_in(ClientDelivery(requests.next))
    assert session.exchange() == [LOG_IN]
    session.server.accept("welcome again", TOKEN, ServerDelivery())
    assert session.exchange() == [LoggedIn("welcome again", TOKEN)]
    requests.put(Packet("first of its session"))
    (event,) = session.exchange()
    assert isinstance(event, RequestReceived)
    assert event.id == 1


def test_only_a_session_that_is_gone_can_be_followed_by_a_log_in() -> None:
    with pytest.raises(RuntimeError, match="no time to log in"):
        logged_in().client.log_in(ClientDelivery(Requests().next))


@given(st.data())
def test_many_requests_are_under_way_and_answers_come_in_any_order(data: st.DataObject) -> None:
    session = logged_in(encrypted=False)
    count = data.draw(st.integers(1, WINDOW))
    for number in range(1, count + 1):
        session.requests.put(Packet("ask", {"number": number}))
    asked = session.exchange()
    assert [event.id for event in asked if isinstance(event, RequestReceived)] == list(
        range(1, count + 1)
    )
    order = data.draw(st.permutations(range(1, count + 1)))
    for id in order:
        session.to_client.respond(id, Response("answer", {"number": id}))
    answers = [event for event in session.exchange() if isinstance(event, ResponseReceived)]
    assert [answer.id for answer in answers] == list(order)
    assert all(answer.response.payload == {"number": answer.id} for answer in answers)
    assert session.to_server.unsettled == 0


def test_a_client_asks_no_more_than_the_window_allows() -> None:
    session = logged_in()
    for number in range(3 * WINDOW):
        session.requests.put(Packet("ask", {"number": number}))
    assert len(session.exchange()) == WINDOW
    session.to_client.respond(2, Response("ok"))
    assert [type(event) for event in session.exchange()] == [ResponseReceived]
    # The oldest one opens the window, by all that was answered behind it.
    session.to_client.respond(1, Response("ok"))
    assert [type(event) for event in session.exchange()] == [
        ResponseReceived,
        RequestReceived,
        RequestReceived,
    ]


def test_quiet_requests_get_no_answer_and_are_acknowledged_when_carried_out() -> None:
    session = logged_in()
    for number in range(WINDOW + 10):
        session.requests.put(Packet("look", {"number": number}), quiet=True)
    events = session.exchange()
    assert [event.quiet for event in events if isinstance(event, RequestReceived)] == [
        True
    ] * WINDOW
    for id in range(2, WINDOW + 1):
        session.to_client.respond(id, Response("ignored"))
    # The first is not done yet, so the client learns nothing.
    assert session.exchange() == []
    session.to_client.respond(1, Response("ignored"))
    taken, *more = session.exchange()
    assert taken == QuietAck(WINDOW)
    assert len(more) == 10


def test_done_quiet_requests_are_made_known_again_after_a_drop() -> None:
    session = logged_in()
    for _ in range(WINDOW + 1):
        session.requests.put(Packet("look"), quiet=True)
    session.exchange()
    for id in range(1, WINDOW + 1):
        session.to_client.respond(id, Response("ignored"))
    # The only word of it is lost; without another one the client could never ask again.
    assert take(session.server)
    taken, asked = session.resume()
    assert taken == QuietAck(WINDOW)
    assert isinstance(asked, RequestReceived)
    assert asked.id == WINDOW + 1


def test_few_done_quiet_requests_are_made_known_beside_anything_else() -> None:
    session = logged_in()
    session.requests.put(Packet("look"), quiet=True)
    session.exchange()
    session.to_client.respond(1, Response("ignored"))
    assert session.exchange() == []
    session.to_client.add(push("news"))
    assert [type(event) for event in session.exchange()] == [Pushed, QuietAck]


def test_pushes_come_in_order() -> None:
    session = logged_in()
    for number in range(300):
        session.to_client.add(push("news", number=number))
    events = session.exchange()
    assert events == [Pushed(Push("news", {"number": number})) for number in range(300)]


def test_questions_are_asked_answered_and_withdrawn() -> None:
    session = logged_in()
    question = Packet("choose", {"from": [1, 2]})
    session.to_client.add(wire.encode_question(5, question, 30.0, 10.0))
    session.to_client.add(wire.encode_question(6, question, None, 10.0))
    session.to_client.add(wire.encode(WithdrawalEnvelope(6)))
    first, second, withdrawn = session.exchange()
    assert isinstance(first, QuestionAsked)
    assert isinstance(second, QuestionAsked)
    assert (first.id, first.packet.message, first.packet.payload) == (5, "choose", {"from": [1, 2]})
    assert (first.deadline, first.time, second.deadline) == (30.0, 10.0, None)
    assert withdrawn == Withdrawn(6)

    session.requests.put_answer(5, Packet("chosen", {"it": 2}))
    (answered,) = session.exchange()
    assert isinstance(answered, QuestionAnswered)
    assert (answered.id, answered.question, answered.packet.payload) == (1, 5, {"it": 2})
    session.to_client.respond(1, Response("thanks"))
    (answer,) = session.exchange()
    assert isinstance(answer, ResponseReceived)


@ENCRYPTED
def test_pings_are_answered(encrypted: bool) -> None:
    session = Session(encrypted)
    session.exchange()
    assert session.client.ping()
    assert session.server.ping()
    assert session.exchange() == []
    session.server.accept("welcome", TOKEN, session.to_client)
    session.exchange()
    assert session.server.ping()
    message = take(session.server)
    assert session.client.receive(message) == []
    message = take(session.client)
    assert len(message) < 24
    assert session.server.receive(message) == []
    assert session.server.next_message() is None


def test_before_the_handshake_and_after_the_end_there_is_no_ping() -> None:
    assert not make_client().ping()
    session = logged_in()
    session.client.goodbye("bye")
    assert not session.client.ping()


@ENCRYPTED
def test_a_goodbye_is_the_last_message_after_all_that_waits(encrypted: bool) -> None:
    session = logged_in(encrypted=encrypted)
    for number in range(100):
        session.to_client.add(push("news", text="x" * 1000, number=number))
    session.to_client.show(Seen({"over": True}))
    session.server.ping()
    session.server.goodbye("The server is shutting down.")
    messages = all_of(session.server)
    assert len(messages) > 3
    *before, last = messages
    events = [event for message in before for event in session.client.receive(message)]
    assert [type(event) for event in events].count(Pushed) == 100
    assert StateShown(1, {"over": True}) in events
    assert session.client.receive(last) == [Goodbye("The server is shutting down.")]
    assert session.client.closing
    assert session.server.next_message() is None


@ENCRYPTED
def test_a_client_says_goodbye(encrypted: bool) -> None:
    session = logged_in(encrypted=encrypted)
    session.client.goodbye("no time" * 100)
    assert session.exchange() == [Goodbye(("no time" * 100)[:200])]
    assert session.server.closing


def test_who_leaves_before_the_log_in_is_judged_has_only_left() -> None:
    server = make_server(encrypted=False)
    events = server.receive(
        ScriptedPeer(None).say(
            Hello(None), LogInEnvelope(USERNAME, PASSWORD), GoodbyeEnvelope("changed my mind")
        )
    )
    assert events == [Goodbye("changed my mind")]
    server.accept("welcome", TOKEN, ServerDelivery())
    assert server.closing


def test_a_reason_travels_whatever_is_in_it() -> None:
    session = logged_in()
    session.server.goodbye("\ud800 is no text")
    assert session.exchange() == [Goodbye("? is no text")]


# State


def test_a_state_comes_whole_and_then_as_patches() -> None:
    session = logged_in()
    first, second = {"board": "x" * 50, "turn": 1}, {"board": "x" * 50, "turn": 2}
    session.to_client.show(Seen(first))
    assert session.exchange() == [StateShown(1, first)]
    session.to_client.show(Seen(second))
    (patched,) = session.exchange()
    assert isinstance(patched, Patched)
    assert (patched.base, patched.version) == (1, 2)
    assert apply(first, patched.patch) == second
    # What looks the same is not sent.
    session.to_client.show(Seen(second))
    assert session.exchange() == []


def test_a_whole_state_has_its_number_in_the_game_as_its_version() -> None:
    session = logged_in()
    first, second = {"board": "x" * 50, "turn": 1}, {"board": "x" * 50, "turn": 2}
    session.to_client.show(Seen(first, number=70))
    assert session.exchange() == [StateShown(70, first)]
    # A patch is for the next version, whether or not states were left out.
    session.to_client.show(Seen(second, number=75))
    (patched,) = session.exchange()
    assert isinstance(patched, Patched)
    assert (patched.base, patched.version) == (70, 71)
    # But no version comes twice, nor a lower one.
    session.to_client.change_game(LOBBY)
    session.to_client.show(Seen(first, number=3))
    assert session.exchange()[-1] == StateShown(72, first)


def test_only_the_latest_state_is_sent() -> None:
    session = logged_in()
    for turn in range(10):
        session.to_client.show(Seen({"turn": turn}))
    assert session.exchange() == [StateShown(1, {"turn": 9})]


def test_a_state_comes_before_the_response_of_its_turn() -> None:
    session = logged_in()
    session.requests.put(Packet("move"))
    session.exchange()
    session.to_client.add(push("moved"))
    session.to_client.respond(1, Response("ok"))
    session.to_client.show(Seen({"turn": 1}))
    assert [type(event) for event in session.exchange()] == [StateShown, Pushed, ResponseReceived]


def test_a_state_comes_after_the_change_of_the_game_that_it_belongs_to() -> None:
    session = logged_in()
    session.to_client.add(push("before"))
    session.to_client.change_game(TABLE)
    session.to_client.show(Seen({"turn": 1}))
    session.to_client.add(push("after"))
    types = [type(event) for event in session.exchange()]
    assert types == [Pushed, GameChanged, StateShown, Pushed]


def test_the_last_state_and_pushes_come_before_the_end_of_the_game() -> None:
    session = logged_in()
    session.to_client.change_game(TABLE)
    session.to_client.show(Seen({"turn": 1}))
    assert session.exchange() == [IN_TABLE, StateShown(1, {"turn": 1})]
    session.to_client.show(Seen({"turn": 2}))
    session.to_client.add(push("won"))
    session.to_client.change_game(LOBBY)
    # A state of the next game has to wait until this one is over.
    session.to_client.change_game(TABLE)
    session.to_client.show(Seen({"turn": 0}))
    events = session.exchange()
    assert events == [
        StateShown(2, {"turn": 2}),
        Pushed(Push("won")),
        IN_LOBBY,
        IN_TABLE,
        StateShown(3, {"turn": 0}),
    ]


def test_a_last_state_that_was_lost_on_the_way_comes_again() -> None:
    session = logged_in()
    session.to_client.change_game(TABLE)
    session.to_client.show(Seen({"turn": 1}))
    session.exchange()
    session.to_client.show(Seen({"turn": 2}))
    assert take(session.server)
    session.to_client.change_game(LOBBY)
    assert session.resume() == [StateShown(2, {"turn": 2}), IN_LOBBY]


def test_a_last_state_that_arrived_is_not_seen_twice() -> None:
    session = logged_in()
    session.to_client.show(Seen({"turn": 1}))
    session.exchange()
    session.to_client.change_game(LOBBY)
    assert session.exchange() == [IN_LOBBY]


def test_a_last_state_is_not_even_sent_where_what_came_after_it_was_acknowledged() -> None:
    session = logged_in()
    session.to_client.show(Seen({"board": "x" * 1000}))
    session.to_client.add(push("after it"))
    session.exchange()
    session.requests.put(Packet("acknowledges by the way"))
    session.exchange()
    session.to_client.change_game(LOBBY)
    assert len(take(session.server)) < 100


def test_a_client_that_could_not_use_a_state_gets_it_again() -> None:
    session = logged_in()
    session.to_client.show(Seen({"turn": 1}))
    session.exchange()
    session.client.request_full_state()
    assert session.exchange() == [FullStateRequested()]
    session.to_client.show_again()
    assert session.exchange() == [StateShown(2, {"turn": 1})]
    # It threw away even the last one.
    session.client.request_full_state()
    session.exchange()
    session.to_client.change_game(LOBBY)
    assert session.exchange() == [StateShown(2, {"turn": 1}), IN_LOBBY]


def test_versions_go_on_after_a_drop_and_the_state_is_whole() -> None:
    session = logged_in()
    session.to_client.show(Seen({"turn": 1}))
    session.exchange()
    assert session.resume() == [StateShown(2, {"turn": 1})]


# Sizes


def test_frames_stop_at_what_the_client_takes() -> None:
    session = logged_in(client_limit=2000)
    for number in range(100):
        session.to_client.add(push("news", text="x" * number * 3))
    session.to_client.show(Seen({"x": "y" * 1500}))
    session.server.ping()
    messages = all_of(session.server)
    assert max(map(len, messages)) <= 2000
    events = [event for message in messages for event in session.client.receive(message)]
    assert len(events) == 101


def test_frames_stop_at_what_the_server_takes() -> None:
    session = logged_in(server_limit=MIN_FRAME_SIZE)
    for number in range(WINDOW):
        session.requests.put(Packet("ask", {"text": "x" * number * 10}))
    session.client.ping()
    messages = all_of(session.client)
    assert len(messages) > WINDOW // 3
    assert max(map(len, messages)) <= MIN_FRAME_SIZE
    events = [event for message in messages for event in session.server.receive(message)]
    assert len(events) == WINDOW


def test_frames_stay_short_for_those_who_take_any() -> None:
    session = logged_in(client_limit=None)
    assert session.server.max_envelope_size is None
    for _ in range(100):
        session.to_client.add(push("news", text="x" * 2000))
    assert max(map(len, all_of(session.server))) <= MAX_FRAME_SIZE


@ENCRYPTED
def test_a_long_envelope_goes_alone(encrypted: bool) -> None:
    session = logged_in(encrypted=encrypted)
    session.to_client.add(push("short"))
    session.to_client.add(push("long", text="x" * 200_000))
    session.to_client.add(push("short"))
    messages = all_of(session.server)
    assert [len(message) > 200_000 for message in messages] == [False, True, False]
    events = [event for message in messages for event in session.client.receive(message)]
    assert [event.push.message for event in events if isinstance(event, Pushed)] == [
        "short",
        "long",
        "short",
    ]


@ENCRYPTED
@pytest.mark.parametrize("limit", [MIN_FRAME_SIZE, 40_000, 65_534, 65_535, 65_536, 200_000])
def test_the_longest_envelope_fits_whatever_goes_with_it(encrypted: bool, limit: int) -> None:
    session = logged_in(encrypted=encrypted, client_limit=limit, server_limit=limit)
    longest = session.server.max_envelope_size
    assert longest == session.client.max_envelope_size
    assert longest is not None
    body = push("long", text="")
    text = "x" * (longest - len(body) - 4)
    long = push("long", text=text)
    long = push("long", text=text + "x" * (longest - len(long)))
    assert len(long) == longest

    # Acknowledgements of large numbers, a pong, a state: none of them goes over the limit.
    for _ in range(300):
        session.requests.put(Packet("look"), quiet=True)
        session.to_client.add(push("news"))
        for event in session.exchange():
            if isinstance(event, RequestReceived):
                session.to_client.respond(event.id, Response("ignored"))
    session.requests.put(Packet("look"), quiet=True)
    (asked,) = session.exchange()
    assert isinstance(asked, RequestReceived)
    session.to_client.respond(asked.id, Response("ignored"))
    session.to_client.add(long)
    session.to_client.show(Seen({"x": "y" * (longest - 100)}))
    session.client.ping()
    session.server.receive(take(session.client))
    messages = all_of(session.server)
    assert max(map(len, messages)) <= limit
    types = [type(event) for message in messages for event in session.client.receive(message)]
    assert types.count(Pushed) == types.count(StateShown) == 1

    request = Packet("ask", {"text": ""})
    size = longest - 9 - len(wire.encode_request(request)) - 4
    session.requests.put(Packet("ask", {"text": "x" * size}))
    session.server.ping()
    session.client.receive(take(session.server))
    messages = all_of(session.client)
    assert max(map(len, messages)) <= limit
    assert [type(event) for it in messages for event in session.server.receive(it)] == [
        RequestReceived
    ]


def test_an_envelope_that_the_client_does_not_take_fails_at_the_sender() -> None:
    session = logged_in(client_limit=2000)
    session.requests.put(Packet("ask"))
    session.exchange()
    with pytest.raises(CodecError, match="expected at most 1968 bytes"):
        session.to_client.add(push("long", text="x" * 2000))
    with pytest.raises(CodecError, match="expected at most"):
        session.to_client.respond(1, Response("long" * 1000))
    # The request still waits for its answer.
    session.to_client.respond(1, Response("ok"))
    assert [type(event) for event in session.exchange()] == [ResponseReceived]


def test_a_state_that_the_client_does_not_take_stays_away_until_it_is_short() -> None:
    session = logged_in(client_limit=2000)
    session.to_client.change_game(TABLE)
    session.to_client.show(Seen({"board": "x" * 1000}))
    session.exchange()
    session.to_client.show(Seen({"board": "x" * 3000}))
    session.to_client.add(push("goes on"))
    assert session.exchange() == [Pushed(Push("goes on"))]
    assert session.server.next_message() is None
    session.to_client.show(Seen({"board": "y"}))
    assert [type(event) for event in session.exchange()] == [Patched]
    session.to_client.show(Seen({"board": "x" * 3000}))
    session.to_client.change_game(LOBBY)
    assert session.exchange() == [IN_LOBBY]


def test_the_end_of_a_game_is_told_whatever_was_said_about_it() -> None:
    session = logged_in(client_limit=MIN_FRAME_SIZE)
    session.to_client.change_game(GameEnvelope(None, 0.0, 0.0, "closed", "why? " * 1000))
    session.to_client.change_game(GameEnvelope(None, 0.0, 0.0, "closed", "\ud800"))
    assert [event.message for event in session.exchange() if isinstance(event, GameChanged)] == [
        "why? " * 40,
        "?",
    ]


@pytest.mark.parametrize("limit", [-1, 0, 100, MIN_FRAME_SIZE - 1])
def test_nobody_may_announce_a_limit_that_nothing_fits_into(limit: int) -> None:
    server = make_server(encrypted=False)
    with pytest.raises(ProtocolError, match="at least 1024 bytes"):
        server.receive(ScriptedPeer(None).say(Hello(limit)))
    client = make_client(encrypted=False)
    with pytest.raises(ProtocolError, match="at least 1024 bytes"):
        client.receive(ScriptedPeer(None).say(Hello(limit)))


# What may come when: the tables.

FROM_CLIENT: dict[type, Any] = {
    Hello: Hello(5000),
    LogInEnvelope: LogInEnvelope(USERNAME, PASSWORD),
    ResumeEnvelope: ResumeEnvelope(USERNAME, bytes(32), 0),
    RequestEnvelope: RequestEnvelope(1, "ask", {}),
    AnswerEnvelope: AnswerEnvelope(1, 5, "chosen", {}),
    Acknowledgement: Acknowledgement(0),
    FullStateRequestEnvelope: FullStateRequestEnvelope(),
    Ping: Ping(),
    Pong: Pong(),
    GoodbyeEnvelope: GoodbyeEnvelope("bye"),
    InputEnvelope: InputEnvelope(1, 0, {"x": 1}),
    TimeRequestEnvelope: TimeRequestEnvelope(1),
}
FROM_SERVER: dict[type, Any] = {
    Hello: Hello(5000),
    Welcome: Welcome("welcome", TOKEN),
    ResumedEnvelope: ResumedEnvelope(0),
    SessionGone: SessionGone("gone"),
    Refusal: Refusal("no"),
    ResponseEnvelope: ResponseEnvelope(1, 0, "ok", {}),
    PushEnvelope: PushEnvelope("news", {}),
    StateEnvelope: StateEnvelope(1, None),
    PatchEnvelope: PatchEnvelope(0, 1, {}),
    ColumnPatchEnvelope: ColumnPatchEnvelope(0, 1, {}),
    LastState: LastState(1, None),
    QuestionEnvelope: QuestionEnvelope(5, "choose", {}, None, 0.0),
    WithdrawalEnvelope: WithdrawalEnvelope(5),
    GameEnvelope: TABLE,
    Acknowledgement: Acknowledgement(0),
    Ping: Ping(),
    Pong: Pong(),
    GoodbyeEnvelope: GoodbyeEnvelope("bye"),
    RestartEnvelope: RestartEnvelope("restarting"),
    LostEnvelope: LostEnvelope(3),
    MovedEnvelope: MovedEnvelope("/node-2", "moving"),
    SearchEnvelope: SearchEnvelope(1, "waiting", 3, 4.5),
    TimeEnvelope: TimeEnvelope(1, 2.5, 20.0),
    MomentEnvelope: MomentEnvelope(50, 2.5, 7),
}


def server_in(state: State, *, encrypted: bool) -> tuple[ServerProtocol, ScriptedPeer]:
    server = make_server(encrypted=encrypted)
    peer = ScriptedPeer.client_of(server, encrypted=encrypted)
    if state in {State.LOG_IN, State.VERDICT, State.OPEN}:
        named = sorted(FEATURES) if state is State.OPEN else None
        server.receive(peer.say(Hello(None, named)))
    if state in {State.VERDICT, State.OPEN}:
        server.receive(peer.say(FROM_CLIENT[LogInEnvelope]))
    if state is State.OPEN:
        server.accept("welcome", TOKEN, ServerDelivery())
    if state is State.CLOSED:
        server.goodbye("over")
    assert server.state is state
    return server, peer


def client_in(state: State, *, encrypted: bool) -> tuple[ClientProtocol, ScriptedPeer]:
    requests = Requests()
    requests.put(Packet("ask"))
    delivery = ClientDelivery(requests.next)
    token = TOKEN if state in {State.RETURN, State.LOG_IN, State.RECOGNITION} else b""
    login_token = TOKEN if state is State.RECOGNITION else b""
    client = make_client(delivery, encrypted=encrypted, token=token, login_token=login_token)
    if state is State.HELLO:
        return client, ScriptedPeer(None)
    peer = ScriptedPeer.server_of(client, encrypted=encrypted)
    if state in {State.LOG_IN, State.RECOGNITION}:
        client.receive(peer.say(FROM_SERVER[SessionGone]))
    if state is State.RECOGNITION:
        client.log_in(delivery)
    if state is State.OPEN:
        client.receive(peer.say(FROM_SERVER[Welcome]))
        all_of(client)
    if state is State.CLOSED:
        client.goodbye("over")
    assert client.state is state
    return client, peer


def test_the_tables_leave_no_kind_and_no_state_out() -> None:
    assert set(FROM_CLIENT) == set(get_args(wire.FromClient))
    assert set(FROM_SERVER) == set(get_args(wire.FromServer))
    assert {kind for row in SERVER_TRANSITIONS.values() for kind in row} == {
        bytes,
        *FROM_CLIENT,
    }
    assert {kind for row in CLIENT_TRANSITIONS.values() for kind in row} == {
        bytes,
        *FROM_SERVER,
    }
    assert set(CLIENT_TRANSITIONS) == set(State)
    assert set(SERVER_TRANSITIONS) == set(State) - {State.RETURN, State.RECOGNITION}


def states_after_the_handshake(steps: Iterable[State]) -> list[State]:
    # In one order, so that a test has its place and its name in every run.
    return [state for state in steps if state is not State.HANDSHAKE]


@ENCRYPTED
@pytest.mark.parametrize(
    "state", states_after_the_handshake(SERVER_TRANSITIONS), ids=lambda it: it.name
)
@pytest.mark.parametrize("kind", FROM_CLIENT, ids=lambda it: it.__name__)
def test_a_server_takes_what_its_table_says(encrypted: bool, state: State, kind: type) -> None:
    server, peer = server_in(state, encrypted=encrypted)
    after = SERVER_TRANSITIONS[state].get(kind)
    message = peer.say(FROM_CLIENT[kind])
    if after is None:
        with pytest.raises(ProtocolError, match="while the conversation"):
            server.receive(message)
        assert server.state is State.CLOSED
        # Nothing is taken any more, whatever it is.
        with pytest.raises(ProtocolError):
            server.receive(peer.say(Ping()))
    else:
        server.receive(message)
        assert server.state is after


@ENCRYPTED
@pytest.mark.parametrize(
    "state", states_after_the_handshake(CLIENT_TRANSITIONS), ids=lambda it: it.name
)
@pytest.mark.parametrize("kind", FROM_SERVER, ids=lambda it: it.__name__)
def test_a_client_takes_what_its_table_says(encrypted: bool, state: State, kind: type) -> None:
    # The hello comes with the handshake where there is one.
    client, peer = client_in(state, encrypted=encrypted and state is not State.HELLO)
    after = CLIENT_TRANSITIONS[state].get(kind)
    message = peer.say(FROM_SERVER[kind])
    if after is None:
        with pytest.raises(ProtocolError, match="while the conversation"):
            client.receive(message)
        assert client.state is State.CLOSED
    else:
        client.receive(message)
        assert client.state is after


@pytest.mark.parametrize("kind", FROM_SERVER, ids=lambda it: it.__name__)
def test_a_handshake_carries_a_hello_or_a_refusal_and_nothing_else(kind: type) -> None:
    client, server = make_client(), make_server()
    # What stands in the handshake's second message is this, in the place of the hello.
    server.control[:] = [msgpack(FROM_SERVER[kind])]
    server.receive(take(client))
    after = CLIENT_TRANSITIONS[State.HELLO].get(kind)
    if after is None:
        with pytest.raises(ProtocolError, match="handshake failed"):
            client.receive(take(server))
        assert client.next_message() is None
    else:
        assert client.receive(take(server)) == ([LoginRefusal("no")] if kind is Refusal else [])
        assert client.state is after


@pytest.mark.parametrize("message", [b"", b"\0", bytes(32), bytes(48), b"\x90", "text"])
def test_a_handshake_that_is_none_ends_it(message: bytes | str) -> None:
    client = make_client()
    take(client)
    for side in (client, make_server()):
        with pytest.raises(ProtocolError, match="handshake failed"):
            side.receive(message)
        assert side.closing
        assert side.next_message() is None


def test_nothing_may_come_with_the_first_message_which_all_can_read() -> None:
    first = take(make_client())
    with pytest.raises(ProtocolError, match="where all can read it"):
        make_server().receive(first + b"\x90")


# Broken rules


def assert_breaks(session: Session, *envelopes: Any, match: str) -> None:
    """The client breaks a rule, is told so, and has no session any more."""
    with pytest.raises(ProtocolError, match=match) as caught:
        session.server.receive(ScriptedPeer(None).say(*envelopes))
    messages = all_of(session.server)
    events = [event for message in messages for event in session.client.receive(message)]
    assert events[-1] == Goodbye(str(caught.value), "protocol_error")


@pytest.mark.parametrize("id", [-1, 0, 2, 2**63, 2**64 - 1])
@pytest.mark.parametrize("kind", ["request", "answer"])
def test_requests_count_up_from_1(id: int, kind: str) -> None:
    session = logged_in(encrypted=False)
    request = RequestEnvelope(id, "ask", {})
    answer = AnswerEnvelope(id, 5, "chosen", {})
    envelope = request if kind == "request" else answer
    assert_breaks(session, envelope, match="expected request 1, got request")


def test_a_request_does_not_come_twice() -> None:
    session = logged_in(encrypted=False)
    request = RequestEnvelope(1, "ask", {})
    assert_breaks(session, request, request, match="expected request 2, got request 1")


@pytest.mark.parametrize("quiet", [True, False])
def test_a_client_that_overruns_the_window_is_cut_off(quiet: bool) -> None:
    session = logged_in(encrypted=False)
    requests = [RequestEnvelope(id, "ask", {}, quiet) for id in range(1, WINDOW + 2)]
    assert_breaks(session, *requests, match="request 65 came while 1 is not settled")


@pytest.mark.parametrize("received", [-1, 3, 2**64 - 1])
def test_nobody_acknowledges_what_was_not_sent(received: int) -> None:
    session = logged_in(encrypted=False)
    session.to_client.add(push("one"))
    session.to_client.add(push("two"))
    session.exchange()
    session.to_client.add(push("not sent yet"))
    envelope = Acknowledgement(received)
    assert_breaks(session, envelope, match="expected an acknowledgement from 0 to 2")


def test_nobody_takes_an_acknowledgement_back() -> None:
    session = logged_in(encrypted=False)
    session.to_client.add(push("one"))
    session.exchange()
    envelopes = [Acknowledgement(1), Acknowledgement(0)]
    assert_breaks(session, *envelopes, match="expected an acknowledgement from 1 to 1")


@pytest.mark.parametrize("received", [1, 2**64 - 1, -1])
def test_who_resumes_with_more_than_was_sent_is_refused(received: int) -> None:
    server, peer = server_in(State.LOG_IN, encrypted=True)
    (event,) = server.receive(peer.say(ResumeEnvelope(USERNAME, bytes(32), received)))
    assert isinstance(event, Resume)
    with pytest.raises(ProtocolError, match="expected an acknowledgement from 0 to 0"):
        server.resume(ServerDelivery(), event.received)
    assert server.closing
    assert [it[0] for it in peer.hear(server.next_message())] == [6]


@pytest.mark.parametrize(
    ("envelope", "match"),
    [
        (ResponseEnvelope(2, 0, "", {}), "no request that waits for one"),
        (ResponseEnvelope(0, 0, "", {}), "no request that waits for one"),
        (Acknowledgement(2), "an acknowledgement of request 2 came; the last was 1"),
        (Welcome("again", TOKEN), "Welcome came"),
    ],
)
def test_a_server_that_breaks_a_rule_is_told_so(envelope: Any, match: str) -> None:
    client, peer = client_in(State.OPEN, encrypted=False)
    with pytest.raises(ProtocolError, match=match) as caught:
        client.receive(peer.say(envelope))
    assert peer.hear(client.next_message()) == [[21, str(caught.value), "protocol_error"]]
    assert client.next_message() is None


def test_an_answer_does_not_come_twice() -> None:
    client, peer = client_in(State.OPEN, encrypted=False)
    with pytest.raises(ProtocolError, match="no request that waits for one"):
        client.receive(peer.say(*[ResponseEnvelope(1, 0, "", {})] * 2))


def test_a_quiet_request_gets_no_answer() -> None:
    session = logged_in(encrypted=False)
    session.requests.put(Packet("look"), quiet=True)
    session.exchange()
    with pytest.raises(ProtocolError, match="no request that waits for one"):
        session.client.receive(ScriptedPeer(None).say(ResponseEnvelope(1, 0, "", {})))


def test_a_server_cannot_have_requests_that_were_not_sent() -> None:
    client, peer = client_in(State.RETURN, encrypted=False)
    with pytest.raises(ProtocolError, match="the server has request 1; the last was 0"):
        client.receive(peer.say(ResumedEnvelope(1)))


@pytest.mark.parametrize("token", [b"", bytes(31), bytes(33)])
def test_a_token_has_its_length(token: bytes) -> None:
    client, peer = client_in(State.VERDICT, encrypted=False)
    with pytest.raises(ProtocolError, match="token of 32 bytes"):
        client.receive(peer.say(Welcome("hi", token)))


NOT_FRAMES = {
    "nothing": b"",
    "nil": b"\xc0",
    "a map": b"\x80",
    "an envelope alone": msgpack(Ping()),
    "an empty envelope": b"\x91\x90",
    "an unknown kind": msgpack([[99]]),
    "a kind as text": msgpack([["ping"]]),
    "a server's kind": msgpack([[3, "hi", TOKEN]]),
    "a field too many": msgpack([[19, 1]]),
    "a field too few": msgpack([[7, 1, "ask"]]),
    "a wrong type": msgpack([[7, "1", "ask", {}]]),
    "a float for an id": msgpack([[7, 1.0, "ask", {}]]),
    "a bool for an id": msgpack([[7, True, "ask", {}]]),
    "more behind it": msgpack([Ping()]) + b"\xc0",
    "a frame behind it": msgpack([Ping()]) * 2,
    "an end too early": msgpack([RequestEnvelope(1, "ask", {"x": 1})])[:-1],
    "a count too high": b"\xdd\xff\xff\xff\xff",
    "a payload of a wrong type": msgpack([[7, 1, "ask", []]]),
    "bytes in it": msgpack([[7, 1, "ask", {"x": b"bytes"}]]),
    "infinity in it": msgpack([[7, 1, "ask", {"x": float("inf")}]]),
    "NaN in it": msgpack([[7, 1, "ask", {"x": float("nan")}]]),
    "a number too large": msgpack([[7, 1, "ask", {"x": 2**63}]]),
    "an extension": b"\x91\x94\x07\x01\xa1x\x81\xa1k\xd4\x05\x00",
    "a time": b"\x91\x94\x07\x01\xa1x\x81\xa1k\xd6\xff\0\0\0\0",
    "a list as a key": b"\x91\x94\x07\x01\xa1x\x81\xa1k\x81\x91\x00\x00",
    "a map as a key": b"\x91\x94\x07\x01\xa1x\x81\xa1k\x81\x80\x00",
    "no UTF-8": b"\x91\x94\x07\x01\xa1\xff\x80",
    "a byte that is never used": b"\x91\xc1",
    "much nesting": b"\x91\x94\x07\x01\xa1x\x81\xa1k" + b"\x91" * 100 + b"\xc0",
    "far too much nesting": b"\x91\x94\x07\x01\xa1x\x81\xa1k" + b"\x91" * 2000 + b"\xc0",
    "nesting without an end": b"\x91" * 2000,
}


@pytest.mark.parametrize(
    ("name", "encrypted"),
    # An encrypted frame cannot be empty.
    [(name, False) for name in NOT_FRAMES]
    + [(name, True) for name in NOT_FRAMES if name != "nothing"],
)
def test_what_is_no_frame_ends_it_with_a_reason(name: str, encrypted: bool) -> None:
    server, server_peer = server_in(State.OPEN, encrypted=encrypted)
    server_peer.hear(take(server))
    with pytest.raises(ProtocolError) as caught:
        server.receive(server_peer.frame(NOT_FRAMES[name]))
    assert [it[:1] for it in server_peer.hear(server.next_message())] == [[21]]
    assert 10 < len(str(caught.value)) <= 200

    client, client_peer = client_in(State.OPEN, encrypted=encrypted)
    if "server" not in name:
        with pytest.raises(ProtocolError):
            client.receive(client_peer.frame(NOT_FRAMES[name]))


def test_a_text_is_no_frame() -> None:
    session = logged_in()
    for side in (session.client, session.server):
        with pytest.raises(ProtocolError, match="binary"):
            side.receive("[]")


@pytest.mark.parametrize("state", [State.HELLO, State.LOG_IN, State.VERDICT])
def test_who_breaks_a_rule_before_the_log_in_is_refused(state: State) -> None:
    server, peer = server_in(state, encrypted=True)
    with pytest.raises(ProtocolError):
        server.receive(peer.frame(b"\xc0"))
    (refusal,) = peer.hear(server.next_message())
    assert refusal[0] == 6
    assert server.next_message() is None


# Somebody in between


@given(st.data())
def test_an_altered_frame_leaves_the_session_to_be_resumed(data: st.DataObject) -> None:
    session = logged_in()
    session.requests.put(Packet("first", {"x": 1}))
    session.to_client.add(push("news"))
    frames: list[tuple[bytes, ServerProtocol | ClientProtocol]] = [
        (take(session.client), session.server),
        (take(session.server), session.client),
    ]
    for frame, side in frames:
        bit = data.draw(st.integers(0, 8 * len(frame) - 1))
        altered = bytearray(frame)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CryptoError):
            side.receive(bytes(altered))
        assert side.closing
        # It neither knows to whom it would speak, nor could it.
        session.to_client.add(push("more"))
        side.ping()
        side.goodbye("bye")
        assert side.next_message() is None
    types = [type(event) for event in session.resume()]
    assert (types.count(RequestReceived), types.count(Pushed), len(types)) == (1, 3, 4)


@pytest.mark.parametrize("trick", ["twice", "left out", "sent back", "cut", "joined"])
def test_frames_of_others_are_not_taken(trick: str) -> None:
    session = logged_in()
    frames = []
    for number in range(3):
        session.to_client.add(push("news", number=number))
        frames.append(take(session.server))
    if trick == "twice":
        bad = [frames[0], frames[0]]
    elif trick == "left out":
        bad = [frames[1]]
    elif trick == "cut":
        bad = [frames[0][:-1]]
    elif trick == "joined":
        bad = [frames[0] + frames[1]]
    else:
        session.client.ping()
        bad = [take(session.client)]
    with pytest.raises(CryptoError):
        for frame in bad:
            session.client.receive(frame)


def test_a_long_frame_that_was_cut_between_its_noise_messages_is_not_taken() -> None:
    session = logged_in()
    session.to_client.add(push("long", text="x" * 100_000))
    frame = take(session.server)
    # Encryption does not notice this cut; that an array of envelopes has its end does.
    with pytest.raises(ProtocolError, match="truncated"):
        session.client.receive(frame[:65_535])


@pytest.mark.parametrize("seen", [[], ["pgnet.3", "pgnet.2"], ["pgnet.2", ""], ["PGNET.2"]])
def test_who_changes_the_offered_subprotocols_makes_the_handshake_fail(seen: list[str]) -> None:
    client, server = make_client(), make_server(offered=seen)
    said = [take(client)]
    server.receive(said[0])
    with pytest.raises(ProtocolError, match="handshake failed"):
        client.receive(take(server))
    assert client.closing
    assert client.next_message() is None
    assert_nothing_secret_in(said)


def assert_nothing_secret_in(messages: list[bytes]) -> None:
    everything = b"".join(messages)
    for secret in (USERNAME, PASSWORD, INVITE_CODE):
        assert secret.encode() not in everything
    for secret_bytes in (TOKEN, prove(TOKEN, bytes(32))):
        assert secret_bytes not in everything


@pytest.mark.parametrize("token", [b"", TOKEN], ids=["log-in", "resume"])
def test_a_server_with_another_key_gets_nothing(token: bytes) -> None:
    client = make_client(token=token, verify_server_pubkey=OTHER_KEY.pubkey)
    server = make_server()
    said = [take(client)]
    server.receive(said[0])
    with pytest.raises(ServerKeyMismatch, match=SERVER_KEY.pubkey[:10]):
        client.receive(take(server))
    assert client.server_pubkey is None
    assert not client.ping()
    client.goodbye("bye")
    said += all_of(client)
    assert len(said) == 1
    assert len(said[0]) == 32


def test_the_right_key_is_taken() -> None:
    session = Session()
    session.client = make_client(session.to_server, verify_server_pubkey=SERVER_KEY.pubkey)
    session.log_in()
    assert session.client.state is State.OPEN


def test_a_key_cannot_be_verified_where_there_is_none() -> None:
    with pytest.raises(ValueError, match="not encrypted"):
        make_client(encrypted=False, verify_server_pubkey=SERVER_KEY.pubkey)


def test_nothing_secret_is_ever_in_the_clear() -> None:
    session = Session()
    said = []
    for token in (b"", TOKEN):
        session.connect(token)
        client, server = session.client, session.server
        opened = False
        while True:
            if (message := client.next_message()) is not None:
                said.append(message)
                for event in server.receive(message):
                    if isinstance(event, LogIn):
                        server.accept("welcome", TOKEN, session.to_client)
                    elif isinstance(event, Resume):
                        said.append(event.proof) if not server.proves(event.proof, TOKEN) else None
                        server.resume(session.to_client, event.received)
            elif (message := server.next_message()) is not None:
                said.append(message)
                for answer in client.receive(message):
                    opened = opened or isinstance(answer, LoggedIn | Resumed)
            else:
                break
        assert opened
    assert_nothing_secret_in(said)


def test_a_proof_is_of_no_use_on_another_connection() -> None:
    session = logged_in()
    session.connect(TOKEN)
    (genuine,) = session.exchange()
    assert isinstance(genuine, Resume)
    assert session.server.proves(genuine.proof, TOKEN)

    server, peer = server_in(State.LOG_IN, encrypted=True)
    (replayed,) = server.receive(peer.say(ResumeEnvelope(USERNAME, genuine.proof, 0)))
    assert isinstance(replayed, Resume)
    assert not server.proves(replayed.proof, TOKEN)


def test_a_recorded_connection_cannot_be_played_again() -> None:
    client, server = make_client(), make_server()
    recorded = [take(client)]
    server.receive(recorded[0])
    client.receive(take(server))
    recorded.append(take(client))
    assert server.receive(recorded[1]) == [LOG_IN]

    again = make_server()
    again.receive(recorded[0])
    with pytest.raises(CryptoError):
        again.receive(recorded[1])


def test_other_tokens_prove_nothing() -> None:
    server, _ = server_in(State.LOG_IN, encrypted=True)
    proof = prove(TOKEN, server.handshake_hash)
    assert server.proves(proof, TOKEN)
    assert not server.proves(proof, bytes(32))
    assert not server.proves(b"", TOKEN)
    assert not server.proves(proof[:-1], TOKEN)
    # A session that cannot be resumed has no token, and this anybody could make.
    assert not server.proves(prove(b"", server.handshake_hash), b"")


def test_a_connection_that_was_replaced_says_nothing_more() -> None:
    session = logged_in()
    session.to_client.add(push("for the new connection"))
    session.server.detach()
    assert session.server.closing
    assert session.server.next_message() is None
    assert [type(event) for event in session.resume()] == [Pushed]


# What things cost


def test_few_bytes_cost_one_whatever_they_are() -> None:
    server, peer = server_in(State.OPEN, encrypted=True)
    payloads: list[dict[str, Any]] = [{}, {"x": "x" * 400}, {"x": [[]] * 300}]
    for id, payload in enumerate(payloads, start=1):
        (asked,) = server.receive(peer.say(RequestEnvelope(id, "ask", payload)))
        assert isinstance(asked, RequestReceived)
        assert (asked.cost, asked.size, asked.packed) == (1, 0, b"")


@pytest.mark.parametrize(
    ("payload", "cost"),
    [
        ({"x": "x" * 10_000}, 1 + 9),
        ({"x": [1] * 10_000}, 1 + 9),
        ({"x": [[]] * 10_000}, 1 + 9 + 500),
        ({"x": [{}] * 10_000}, 1 + 9 + 500),
        # No list begins with these bytes.
        ({"x": "\u65e5\u672c" * 2_000}, 1 + 11),
        # More levels than the fast parser takes.
        ({"x": [[[[[[[[[]] * 10_000]]]]]]]}, 1 + 9 + 500),
    ],
)
def test_bytes_dicts_and_lists_cost_something(payload: dict[str, Any], cost: int) -> None:
    server, peer = server_in(State.OPEN, encrypted=True)
    for kind in (RequestEnvelope(1, "ask", payload), AnswerEnvelope(2, 7, "it", payload)):
        (asked,) = server.receive(peer.say(kind))
        assert isinstance(asked, RequestReceived | QuestionAnswered)
        assert asked.cost == cost
        assert asked.packet.payload == payload
        assert abs(asked.size - len(msgpack(payload))) < 10
        assert asked.packed == msgpack(payload)


def test_what_comes_beside_requests_is_counted() -> None:
    server, peer = server_in(State.OPEN, encrypted=True)
    server.uncharged = 0
    request = iter(RequestEnvelope(id, "ask", {}) for id in itertools.count(1))
    for envelopes, counted in (
        ([next(request)], 0),
        ([Acknowledgement(0), next(request)], 0),
        ([Acknowledgement(0), Ping(), next(request)], 2),
        ([Ping()] * 10, 10),
        ([Pong()], 1),
        ([FullStateRequestEnvelope()], 0),
        ([FullStateRequestEnvelope()] * 10, 9),
        ([], 1),
    ):
        server.receive(peer.say(*envelopes))
        assert server.uncharged == counted
        server.uncharged = 0


def test_only_text_can_be_a_key_on_any_level() -> None:
    for payload in ({1: 2}, {"x": [[[[[[[{1: 2}]]]]]]]}):
        server, peer = server_in(State.OPEN, encrypted=True)
        with pytest.raises(ProtocolError):
            server.receive(peer.say(RequestEnvelope(1, "ask", payload)))  # type: ignore[arg-type]  # wrong on purpose


# What nobody gets to see


def test_no_repr_shows_a_secret() -> None:
    secrets = [PASSWORD, INVITE_CODE, "0123456789abcdef"]
    token = secrets[2].encode() * 2
    payload = {"password": PASSWORD, "code": INVITE_CODE}
    shown: list[object] = [
        LogInEnvelope(USERNAME, PASSWORD, INVITE_CODE),
        LogInEnvelope(USERNAME, "", "", token),
        ResumeEnvelope(USERNAME, token, 0),
        Welcome("hi", token),
        Welcome("hi", token, token),
        RequestEnvelope(1, "join", payload),
        *wire.read_from_client(msgpack([RequestEnvelope(1, "join", payload)])),
        AnswerEnvelope(1, 1, "it", payload),
        ResponseEnvelope(1, 0, "code", payload),
        PushEnvelope("news", payload),
        QuestionEnvelope(1, "which", payload, None, 0.0),
        StateEnvelope(1, payload),
        LastState(1, payload),
        PatchEnvelope(1, 2, payload),
        ColumnPatchEnvelope(1, 2, payload),
        LOG_IN,
        Resume(USERNAME, token, 0),
        LoggedIn("hi", token),
        LoggedIn("hi", token, token),
        LogIn(USERNAME, "", "", token),
        RequestReceived(1, Packet("join", payload)),
        QuestionAnswered(1, 1, Packet("it", payload)),
        ResponseReceived(1, Response("code", payload)),
        Pushed(Push("news", payload)),
        QuestionAsked(1, Packet("which", payload), None, 0.0),
        make_client(token=token, login_token=token),
        make_server(),
    ]
    for thing in shown:
        for text in (repr(thing), str(thing), f"{thing}"):
            assert type(thing).__name__ in text
            assert not any(secret in text for secret in secrets)
    assert repr(RequestEnvelope(1, "join", payload)) == (
        "RequestEnvelope(id=1, message='join', quiet=False, created_on=None)"
    )
    shown_names = [name for name, _ in Welcome("hi", token, token).__rich_repr__()]
    assert shown_names == ["message", "grace", "reconnect_for"]


def test_a_broken_rule_is_told_without_what_was_said() -> None:
    server, peer = server_in(State.LOG_IN, encrypted=True)
    with pytest.raises(ProtocolError) as caught:
        server.receive(peer.say([1, USERNAME, [PASSWORD]]))
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("name", ["username", "password", "invite_code"])
@pytest.mark.parametrize("value", ["\ud800", b"bytes", 5, None])
def test_credentials_that_cannot_travel_fail_at_the_client(name: str, value: Any) -> None:
    credentials = {"username": USERNAME, "password": PASSWORD, "invite_code": "", name: value}
    with pytest.raises(CodecError, match=f"{name}: expected"):
        ClientProtocol(
            **credentials,
            encrypted=True,
            random_bytes=random_bytes,
            offered=[],
            max_frame_size=None,
            delivery=ClientDelivery(Requests().next),
        )


# Encoding


@pytest.mark.parametrize("status", [2**63, -(2**63) - 1, 2**64, None, 0.5])
def test_a_status_that_cannot_travel_fails_at_the_sender(status: Any) -> None:
    with pytest.raises(CodecError, match="status: expected an int"):
        wire.encode_response(1, Response("ok", status=status))


def test_a_status_may_be_any_kind_of_int() -> None:
    body = wire.encode_response(1, Response("no", status=Status.UNEXPECTED))
    assert wire.read_from_server(wire.array_head(1) + body) == [ResponseEnvelope(1, 2, "no", {})]


@pytest.mark.parametrize("created_on", [None, "2026-11-24T10:00:00+00:00"])
@pytest.mark.parametrize(
    "payload", [{"x": "\ud800"}, {"x": b""}, {"x": {1, 2}}, {"x": float("nan")}, [], "x"]
)
def test_a_payload_that_cannot_travel_fails_at_the_sender(
    payload: Any, created_on: str | None
) -> None:
    response = Response("ok", payload, created_on=created_on)
    packet = Packet("ask", payload, created_on)
    with pytest.raises(CodecError):
        wire.encode_response(1, response)
    if isinstance(payload, dict):
        for encode in (wire.encode_request, lambda it: wire.encode_answer(1, it)):
            with pytest.raises(CodecError):
                encode(packet)
        with pytest.raises(CodecError):
            wire.encode_push(Push("news", payload))
        with pytest.raises(CodecError):
            wire.encode_question(1, packet, None, 0.0)


@pytest.mark.parametrize("id", [1, 127, 128, 255, 256, 65_535, 65_536, 2**32, 2**63])
def test_a_request_gets_its_id_when_it_leaves(id: int) -> None:
    time = "2026-11-24T10:00:00+00:00"
    for packet, quiet in itertools.product(
        (Packet("ask", {"x": 1}), Packet("ask", {"x": 1}, time)), (False, True)
    ):
        body = wire.encode_request(packet, quiet=quiet)
        (request,) = wire.read_from_client(wire.array_head(1) + wire.numbered(body, id))
        expected = (id, "ask", {"x": 1}, quiet, time if packet.created_on == time else None)
        assert isinstance(request, wire.ShallowRequest)
        assert expected == (
            request.id,
            request.message,
            request.payload,
            request.quiet,
            request.created_on,
        )
    body = wire.encode_answer(7, Packet("chosen", {"x": 1}))
    assert wire.read_from_client(wire.array_head(1) + wire.numbered(body, id)) == [
        wire.ShallowAnswer(id, 7, "chosen", {"x": 1})
    ]


@pytest.mark.parametrize("count", [0, 15, 16, 65_535, 65_536])
def test_heads_of_arrays_are_what_msgpack_writes(count: int) -> None:
    assert wire.array_head(count) == msgpack([None] * count)[: -count or None]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_times_are_finite(number: float) -> None:
    client, peer = client_in(State.OPEN, encrypted=False)
    with pytest.raises(ProtocolError):
        client.receive(peer.say(QuestionEnvelope(1, "which", {}, number, 0.0)))
    client, peer = client_in(State.OPEN, encrypted=False)
    with pytest.raises(ProtocolError):
        client.receive(peer.say(GameEnvelope("table", number, 0.0, "", "")))


def test_keys_are_made_of_the_entropy_that_is_given() -> None:
    ephemeral = KeyPair(bytes(range(50, 82)))
    client = ClientProtocol(
        username=USERNAME,
        password=PASSWORD,
        invite_code="",
        encrypted=True,
        random_bytes=lambda size: bytes(range(50, 50 + size)),
        offered=["pgnet.2"],
        max_frame_size=None,
        delivery=ClientDelivery(Requests().next),
    )
    assert take(client) == ephemeral.public


# The page that describes all this.


def test_the_page_shows_a_conversation_as_it_is() -> None:
    # `python -m tests.protocol.protocol_example` writes it anew.
    assert protocol_example.shown(PAGE) == protocol_example.example()


def test_the_page_lists_each_envelope() -> None:
    listed = {}
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[0].isdigit():
            names = re.findall(r"(\w+)\??: ", cells[2])
            listed[int(cells[0])] = (cells[1], names, cells[3], cells[4])
    kinds = {*get_args(wire.FromClient), *get_args(wire.FromServer)}
    assert len(listed) == len(kinds)
    for kind in kinds:
        name, names, side, counted = listed[kind.__struct_config__.tag]
        assert names == list(kind.__struct_fields__)
        sides = [
            letter
            for letter, union in (("C", wire.FromClient), ("S", wire.FromServer))
            if kind in get_args(union)
        ]
        assert side == ", ".join(sides)
        assert counted == ("yes" if kind in COUNTED else "")
        words = name.replace("-", "").replace(" ", "")
        assert words == kind.__name__.removesuffix("Envelope").lower()


def test_the_page_explains_patches_as_they_are() -> None:
    old, patch, new = (
        json.loads(re.sub(r"\s+", " ", text))
        for text in re.search(
            r"^old (.*?)^patch (.*?)^new (.*?)^```", PAGE, re.MULTILINE | re.DOTALL
        ).groups()  # type: ignore[union-attr]  # the page has it
    )
    assert apply(old, patch) == new


def test_the_page_explains_column_patches_as_they_are() -> None:
    found = re.search(
        r"^old ([^`]*?)^columns (.*?)^new (.*?)^```.*?^```text(.*?)^```",
        PAGE,
        re.MULTILINE | re.DOTALL,
    )
    assert found is not None
    old, patch, new = (json.loads(re.sub(r"\s+", " ", text)) for text in found.groups()[:3])
    assert diff_columns(old, new) == patch
    assert apply_columns(old, patch) == new
    envelope = bytes.fromhex(found[4])
    assert envelope == wire.encode_patch(4, 5, msgpack(patch), columns=True)
    assert wire.read_from_server(wire.array_head(1) + envelope) == [
        ColumnPatchEnvelope(4, 5, patch)
    ]


# The fuzz test, in its short form.


@pytest.mark.parametrize("seed", seeds(2))
def test_hostile_frames_end_conversations_and_nothing_else(seed: int) -> None:
    report = fuzz(frames=500, seed=seed)
    assert report.frames == 500
    assert report.refused > 100
    assert report.taken > 50


def test_frames_are_exchanged_until_nobody_has_anything_to_say() -> None:
    session = logged_in()
    assert exchange(session.client, session.server) == []
