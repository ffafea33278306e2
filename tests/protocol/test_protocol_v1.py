"""Protocol 1: whole conversations, with ourselves and with the original, and hostile ones."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from pgnet_trio.crypto import Box, KeyPair
from pgnet_trio.errors import CodecError, ProtocolError, ServerKeyMismatch
from pgnet_trio.messages import Packet, Response, Status, wall_clock
from pgnet_trio.protocol.events import (
    LoggedIn,
    LogIn,
    LoginRefusal,
    RequestReceived,
    ResponseReceived,
)
from pgnet_trio.protocol.v1 import (
    CLIENT_TRANSITIONS,
    SERVER_TRANSITIONS,
    ClientProtocol,
    MessageKind,
    ServerProtocol,
    State,
)
from tests.kit.original_peer import (
    BAD,
    OK,
    PACKET_KEYS,
    RESPONSE_KEYS,
    OriginalClient,
    OriginalServer,
    PeerError,
    Stage,
)

SERVER_KEY = KeyPair(bytes(range(32)))
CLIENT_KEY = KeyPair(bytes(range(1, 33)))
OTHER_KEY = KeyPair(bytes(range(2, 34)))

# How long an example takes says nothing on a busy machine.

ENCRYPTED = pytest.mark.parametrize("encrypted", [True, False], ids=["encrypted", "clear"])


def make_server(*, encrypted: bool = True) -> ServerProtocol:
    return ServerProtocol(SERVER_KEY if encrypted else None, secrets.token_bytes)


def make_client(
    *, encrypted: bool = True, invite_code: str = "", verify_server_pubkey: str = ""
) -> ClientProtocol:
    return ClientProtocol(
        username="ann",
        password="hunter2",
        invite_code=invite_code,
        key=CLIENT_KEY if encrypted else None,
        random_bytes=secrets.token_bytes,
        verify_server_pubkey=verify_server_pubkey,
    )


def take(side: ServerProtocol | ClientProtocol) -> str:
    """The next message of a side that has one, and no more."""
    message = side.next_message()
    assert isinstance(message, str)
    return message


def exchange(client: ClientProtocol, server: ServerProtocol) -> list[object]:
    """Carry messages both ways until neither side has any; give what they meant, in order."""
    events: list[object] = []
    while True:
        if (message := client.next_message()) is not None:
            events += server.receive(message)
        elif (message := server.next_message()) is not None:
            events += client.receive(message)
        else:
            return events


def logged_in(*, encrypted: bool = True) -> tuple[ClientProtocol, ServerProtocol]:
    client, server = make_client(encrypted=encrypted), make_server(encrypted=encrypted)
    exchange(client, server)
    server.accept("welcome")
    exchange(client, server)
    return client, server


def server_in(state: State) -> ServerProtocol:
    """A server that is this far with a client of ours."""
    client, server = make_client(), make_server()
    if state is not State.KEY_TRADE:
        server.receive(take(client))
        client.receive(take(server))
    if state in {State.VERDICT, State.OPEN}:
        server.receive(take(client))
    if state is State.OPEN:
        server.accept("welcome")
        take(server)
    if state is State.CLOSED:
        server.refuse("no")
        take(server)
    assert server.state is state
    assert server.next_message() is None
    return server


def client_in(state: State) -> ClientProtocol:
    """A client that is this far with a server of ours, and, when it is in, awaits an answer."""
    client, server = make_client(), make_server()
    if state is not State.KEY_TRADE:
        exchange(client, server)
    if state is State.OPEN:
        server.accept("welcome")
        exchange(client, server)
        client.request(Packet("move"))
    if state is State.CLOSED:
        server.refuse("no")
        exchange(client, server)
    while client.next_message() is not None:
        pass
    assert client.state is state
    return client


# What a peer that holds the right keys could say.
def as_client(text: str) -> str:
    return Box(CLIENT_KEY, SERVER_KEY.pubkey, secrets.token_bytes).encrypt(text)


def as_server(text: str) -> str:
    return Box(SERVER_KEY, CLIENT_KEY.pubkey, secrets.token_bytes).encrypt(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3)
    ),
    max_leaves=8,
)
payloads = st.dictionaries(
    st.text(max_size=10),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=10),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3)
        ),
        max_leaves=8,
    ),
    max_size=4,
)
# From bytes that mean nothing to messages that are almost right.
nearly_messages = st.fixed_dictionaries(
    {"message": st.sampled_from(["key_trade", "handshake", "x"]) | json_values},
    optional={
        "payload": st.fixed_dictionaries(
            {},
            optional={
                "pubkey": st.sampled_from([OTHER_KEY.pubkey, "", "A" * 43 + "="]) | json_values,
                "username": json_values,
                "password": json_values,
                "invite_code": json_values,
                "more": json_values,
            },
        )
        | json_values,
        "created_on": json_values,
        "username": json_values,
        "status": json_values,
        "disconnecting": json_values,
        "game": json_values,
        "more": json_values,
    },
)
noise = (
    st.binary(max_size=200)
    | st.text(max_size=200)
    | st.binary(max_size=200).map(lambda data: base64.b64encode(data).decode())
    | json_values.map(json.dumps)
    | nearly_messages.map(json.dumps)
    | st.sampled_from(["[" * 2000, '{"a":' * 2000, "null", '{"message":"\\ud800"}'])
)


# Conversations


@ENCRYPTED
def test_a_conversation(encrypted: bool) -> None:
    client = make_client(encrypted=encrypted, invite_code="lucky")
    server = make_server(encrypted=encrypted)
    assert exchange(client, server) == [LogIn("ann", "hunter2", "lucky")]
    assert server.state is client.state is State.VERDICT
    server.accept("welcome")
    assert exchange(client, server) == [LoggedIn("welcome")]
    assert client.server_pubkey == (SERVER_KEY.pubkey if encrypted else None)

    for id in (1, 2, 3):
        packet = Packet("move", {"x": id})
        assert client.request(packet) == id
        assert client.unanswered == 1
        assert exchange(client, server) == [RequestReceived(id, packet)]
        assert server.unanswered == 1
        response = Response("moved", {"y": [id, None, 0.5, "é"]}, 7, game="table")
        server.respond(id, response)
        assert exchange(client, server) == [ResponseReceived(id, response)]
        assert (client.unanswered, server.unanswered) == (0, 0)
    assert not client.closing
    assert not server.closing


@ENCRYPTED
def test_a_refused_log_in_ends_it(encrypted: bool) -> None:
    client, server = make_client(encrypted=encrypted), make_server(encrypted=encrypted)
    exchange(client, server)
    server.refuse("not today")
    assert server.closing
    assert exchange(client, server) == [LoginRefusal("not today")]
    assert client.closing
    assert client.unanswered == 0


def test_a_server_may_refuse_whoever_has_not_said_anything() -> None:
    client, server = make_client(), make_server()
    server.refuse("full")
    assert exchange_refusal(server, client) == [LoginRefusal("full")]

    client, server = make_client(), make_server()
    server.receive(take(client))
    client.receive(take(server))
    server.refuse("too slow")
    assert exchange_refusal(server, client) == [LoginRefusal("too slow")]


def exchange_refusal(server: ServerProtocol, client: ClientProtocol) -> list[object]:
    events: list[object] = []
    while (message := server.next_message()) is not None:
        events += client.receive(message)
    return events


def test_a_server_that_disconnects_refuses_whatever_its_status() -> None:
    client = client_in(State.VERDICT)
    text = Response("later", disconnecting=True).serialize()
    assert client.receive(as_server(text)) == [LoginRefusal("later")]
    assert client.closing


def test_the_last_answer_ends_it() -> None:
    client, server = logged_in()
    client.request(Packet("bye"))
    exchange(client, server)
    server.respond(1, Response("gone", disconnecting=True))
    assert server.closing
    (answer,) = exchange(client, server)
    assert isinstance(answer, ResponseReceived)
    assert answer.response.disconnecting
    assert client.closing


@ENCRYPTED
@given(payload=payloads)
def test_payloads_arrive_as_they_were_sent(encrypted: bool, payload: dict[str, Any]) -> None:
    client, server = logged_in(encrypted=encrypted)
    client.request(Packet("there", payload))
    (request,) = exchange(client, server)
    assert isinstance(request, RequestReceived)
    assert request.packet.payload == payload
    server.respond(1, Response("back", request.packet.payload))
    (answer,) = exchange(client, server)
    assert isinstance(answer, ResponseReceived)
    assert answer.response.payload == payload


def test_requests_that_came_together_are_answered_in_order() -> None:
    server = server_in(State.OPEN)
    for id in (1, 2, 3):
        packet = Packet(f"move {id}")
        assert server.receive(as_client(packet.serialize())) == [RequestReceived(id, packet)]
    assert server.unanswered == 3
    for wrong in (0, 2, 3, 4):
        with pytest.raises(RuntimeError, match=rf"answer to request 1 of 3, got one to {wrong}"):
            server.respond(wrong, Response("no"))
    server.respond(1, Response("first"))
    with pytest.raises(RuntimeError, match="answer to request 2 of 3, got one to 1"):
        server.respond(1, Response("again"))
    server.respond(2, Response("second"))
    server.respond(3, Response("third"))
    with pytest.raises(RuntimeError, match="got one to 4"):
        server.respond(4, Response("no"))
    reader = Box(CLIENT_KEY, SERVER_KEY.pubkey, secrets.token_bytes)
    answers = [json.loads(reader.decrypt(take(server)))["message"] for _ in range(3)]
    assert answers == ["first", "second", "third"]
    assert server.next_message() is None


def test_what_cannot_travel_is_refused_and_may_be_said_otherwise() -> None:
    client, server = logged_in()
    with pytest.raises(CodecError, match=r"payload\.x"):
        client.request(Packet("move", {"x": object()}))
    assert client.unanswered == 0
    assert client.next_message() is None
    assert client.request(Packet("move", {"x": 1})) == 1
    exchange(client, server)
    with pytest.raises(CodecError, match=r"payload\.y"):
        server.respond(1, Response("moved", {"y": {1, 2}}))
    assert server.unanswered == 1
    assert server.next_message() is None
    server.respond(1, Response("moved", {"y": [1, 2]}))
    (answer,) = exchange(client, server)
    assert isinstance(answer, ResponseReceived)


def test_a_last_answer_that_cannot_travel_ends_nothing() -> None:
    server = server_in(State.OPEN)
    server.receive(as_client('{"message": "move"}'))
    with pytest.raises(CodecError):
        server.respond(1, Response("gone", {"x": object()}, disconnecting=True))
    assert server.state is State.OPEN
    server.respond(1, Response("gone", disconnecting=True))
    assert server.closing
    assert take(server)


def test_credentials_that_cannot_travel_are_refused_at_once() -> None:
    with pytest.raises(CodecError, match=r"payload\.password: .*surrogate"):
        ClientProtocol(
            username="ann",
            password="\ud800",
            invite_code="",
            key=CLIENT_KEY,
            random_bytes=secrets.token_bytes,
        )


# What is on the wire


def moment() -> datetime:
    return datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


MOMENT = "2024-05-06T07:08:09+00:00"


@pytest.fixture
def clock() -> Any:
    token = wall_clock.set(moment)
    yield
    wall_clock.reset(token)


@pytest.mark.usefixtures("clock")
def test_the_wire_is_that_of_the_original_to_the_byte() -> None:
    client, server = make_client(invite_code="lucky"), make_server()
    to_server = Box(SERVER_KEY, CLIENT_KEY.pubkey, secrets.token_bytes)
    to_client = Box(CLIENT_KEY, SERVER_KEY.pubkey, secrets.token_bytes)

    def compact(data: dict[str, Any]) -> str:
        return json.dumps(data, separators=(",", ":"))

    def packet(message: str, payload: dict[str, Any]) -> str:
        values = (message, payload, MOMENT, None)
        return compact(dict(zip(PACKET_KEYS, values, strict=True)))

    def response(message: str, payload: dict[str, Any], status: int, *rest: object) -> str:
        values = (message, payload, status, MOMENT, *rest)
        return compact(dict(zip(RESPONSE_KEYS, values, strict=True)))

    message = take(client)
    assert message == packet("key_trade", {"pubkey": CLIENT_KEY.pubkey})
    server.receive(message)
    message = take(server)
    assert message == response("key_trade", {"pubkey": SERVER_KEY.pubkey}, 0, False, None)
    client.receive(message)
    message = take(client)
    credentials = {"username": "ann", "password": "hunter2", "invite_code": "lucky"}
    assert to_server.decrypt(message) == packet("handshake", credentials)
    server.receive(message)
    server.accept("welcome")
    message = take(server)
    assert to_client.decrypt(message) == response("welcome", {}, 0, False, None)
    client.receive(message)
    client.request(Packet("move", {"x": 1}))
    message = take(client)
    assert to_server.decrypt(message) == packet("move", {"x": 1})
    server.receive(message)
    server.respond(1, Response("moved", {"y": 2}, Status.UNEXPECTED, game="table"))
    message = take(server)
    assert to_client.decrypt(message) == response("moved", {"y": 2}, 2, False, "table")


@pytest.mark.usefixtures("clock")
def test_a_refusal_on_the_wire_is_that_of_the_original() -> None:
    server = make_server()
    with pytest.raises(ProtocolError):
        server.receive('{"message": "key_trade"}')
    refusal = json.loads(take(server))
    assert tuple(refusal) == RESPONSE_KEYS
    assert (refusal["status"], refusal["disconnecting"], refusal["game"]) == (BAD, True, None)


def test_each_message_is_encrypted_when_it_is_taken_and_never_twice_alike() -> None:
    server = server_in(State.OPEN)
    for id in (1, 2):
        server.receive(as_client('{"message": "move"}'))
        server.respond(id, Response("moved", created_on=MOMENT))
    first, second = take(server), take(server)
    reader = Box(CLIENT_KEY, SERVER_KEY.pubkey, secrets.token_bytes)
    assert reader.decrypt(first) == reader.decrypt(second)
    assert first != second


def test_no_secret_shows() -> None:
    client, server = make_client(invite_code="lucky"), make_server()
    (event,) = exchange(client, server)
    for thing in (client, server, event):
        assert "hunter2" not in repr(thing)
        assert "lucky" not in repr(thing)
    assert "hunter2" not in take(make_client())


# With the original


def drive(client: OriginalClient, server: ServerProtocol, message: str) -> list[object]:
    """Carry messages both ways until neither side has any; give what the server heard."""
    events: list[object] = []
    pending: str | None = message
    while True:
        if pending is not None:
            events += server.receive(pending)
            pending = None
        elif (answer := server.next_message()) is not None:
            pending = client.receive(answer)
        else:
            return events


def test_an_original_client_plays_on_our_server() -> None:
    client = OriginalClient("ann", "hunter2", "lucky", verify_server_pubkey=SERVER_KEY.pubkey)
    server = make_server()
    assert drive(client, server, client.open()) == [LogIn("ann", "hunter2", "lucky")]
    server.accept("welcome")
    client.receive(take(server))

    (request,) = drive(client, server, client.request("__pgnet__.create_game", {"name": "table"}))
    assert isinstance(request, RequestReceived)
    assert request.packet.message == "__pgnet__.create_game"
    assert request.packet.payload == {"name": "table"}
    server.respond(1, Response("created", {"heartbeat_rate": 4.0}, game="table"))
    client.receive(take(server))
    assert client.game == "table"
    assert client.heartbeat_interval == 0.25

    (request,) = drive(client, server, client.request("move", {"x": (1, 2), "y": {"z": None}}))
    assert isinstance(request, RequestReceived)
    assert request.packet.payload == {"x": [1, 2], "y": {"z": None}}
    server.respond(2, Response("moved", {"n": 2**63 - 1, "f": 0.1, "t": "é\x00"}, 7, game="table"))
    client.receive(take(server))
    assert client.received[-1]["payload"] == {"n": 2**63 - 1, "f": 0.1, "t": "é\x00"}
    assert client.received[-1]["status"] == 7

    drive(client, server, client.request("bye"))
    server.respond(3, Response("kicked", disconnecting=True))
    client.receive(take(server))
    assert client.stage is Stage.CLOSED
    assert client.status == "kicked"
    assert server.closing
    # Not one message more than was asked for, and all keys each time.
    assert server.next_message() is None
    assert len(client.received) == 5
    assert {tuple(response) for response in client.received} == {RESPONSE_KEYS}


def test_the_first_original_clients_knew_no_invites() -> None:
    client, server = OriginalClient("ann", "hunter2", None), make_server()
    assert drive(client, server, client.open()) == [LogIn("ann", "hunter2", "")]


def test_an_original_client_hears_why_it_is_refused() -> None:
    client, server = OriginalClient("ann", "wrong"), make_server()
    drive(client, server, client.open())
    server.refuse("not the password")
    client.receive(take(server))
    assert client.stage is Stage.CLOSED
    assert client.status == "not the password"
    assert server.next_message() is None


def test_an_original_client_that_pins_another_key_goes_away() -> None:
    client, server = OriginalClient("ann", verify_server_pubkey=OTHER_KEY.pubkey), make_server()
    assert drive(client, server, client.open()) == []
    assert client.stage is Stage.CLOSED


def play(client: ClientProtocol, server: Any) -> list[object]:
    """Carry messages both ways until our client has no more to say; give what it heard."""
    events: list[object] = []
    while (message := client.next_message()) is not None:
        events += client.receive(server.receive(message))
    return events


def test_our_client_plays_on_an_original_server() -> None:
    server = OriginalServer()
    connection = server.connect()
    client = make_client(verify_server_pubkey=server.pubkey)
    assert play(client, connection) == [LoggedIn("logged in")]
    assert client.server_pubkey == server.pubkey
    assert connection.username == "ann"

    def ask(message: str, payload: dict[str, Any] | None = None) -> Response:
        id = client.request(Packet(message, payload, username="somebody else"))
        (event,) = play(client, connection)
        assert isinstance(event, ResponseReceived)
        assert event.id == id
        return event.response

    assert ask("move").status == Status.UNEXPECTED
    response = ask("__pgnet__.join_game", {"name": "table"})
    assert (response.status, response.game) == (OK, "table")
    assert response.payload == {"heartbeat_rate": 10}
    assert ask("__pgnet__.join_game", {"name": "a", "password": ""}).status == Status.UNEXPECTED
    assert ask("__pgnet__.game_dir").payload["games"]["table"]["users"] == 1
    response = ask("move", {"x": [1, {"y": 2.5}], "ä": None})
    assert (response.message, response.payload) == ("move", {"x": [1, {"y": 2.5}], "ä": None})
    assert ask("__pgnet__.leave_game").game is None
    server.kicked.add("ann")
    assert ask("move").disconnecting
    assert client.closing
    assert connection.stage is Stage.CLOSED
    assert {tuple(packet) for packet in server.packets} == {PACKET_KEYS}
    assert tuple(server.packets[0]["payload"]) == ("pubkey",)
    assert server.packets[1]["payload"] == {
        "username": "ann",
        "password": "hunter2",
        "invite_code": "",
    }


def test_our_client_hears_why_an_original_server_refuses_it() -> None:
    server = OriginalServer(passwords={"ann": "something else"})
    client = make_client()
    assert play(client, server.connect()) == [LoginRefusal("not the password")]
    assert client.closing


def test_our_client_leaves_an_original_server_with_another_key() -> None:
    server = OriginalServer()
    client = make_client(verify_server_pubkey=SERVER_KEY.pubkey)
    with pytest.raises(ServerKeyMismatch, match="expected " + SERVER_KEY.pubkey[:8]):
        play(client, server.connect())
    assert client.next_message() is None
    assert len(server.packets) == 1
    assert "hunter2" not in str(server.packets)


def test_the_original_peers_are_as_strict_as_the_original() -> None:
    client = OriginalClient("ann")
    client.open()
    with pytest.raises(PeerError, match="unexpected keyword"):
        client.receive('{"message": "key_trade", "payload": {}, "status": 0, "push": 1}')
    with pytest.raises(PeerError, match="nobody asked"):
        client.receive('{"message": "key_trade", "payload": {}, "status": 0}')
    with pytest.raises(PeerError, match="unexpected keyword"):
        OriginalServer().connect().receive('{"message": "key_trade", "payload": {}, "id": 1}')
    with pytest.raises(PeerError, match="no JSON"):
        OriginalServer().connect().receive(b"\x00")


# Keys


def test_a_pinned_key_is_verified_before_anything_secret_is_said() -> None:
    client, server = make_client(verify_server_pubkey=OTHER_KEY.pubkey), make_server()
    server.receive(take(client))
    with pytest.raises(ServerKeyMismatch) as caught:
        client.receive(take(server))
    assert OTHER_KEY.pubkey in str(caught.value)
    assert SERVER_KEY.pubkey in str(caught.value)
    assert client.closing
    assert client.server_pubkey is None
    assert client.next_message() is None


def test_a_pinned_key_that_fits_changes_nothing() -> None:
    client, server = make_client(verify_server_pubkey=SERVER_KEY.pubkey), make_server()
    assert exchange(client, server) == [LogIn("ann", "hunter2", "")]


def test_a_key_cannot_be_verified_where_there_is_none() -> None:
    with pytest.raises(ValueError, match="verify_server_pubkey"):
        make_client(encrypted=False, verify_server_pubkey=SERVER_KEY.pubkey)


BAD_KEYS = [
    "",
    "A" * 43 + "=",
    base64.b64encode(bytes(31)).decode(),
    base64.b64encode(bytes(33)).decode(),
    "?" * 44,
    None,
    5,
    [SERVER_KEY.pubkey],
]


@pytest.mark.parametrize("pubkey", BAD_KEYS)
def test_a_server_refuses_a_bad_key_in_the_clear(pubkey: object) -> None:
    server = make_server()
    with pytest.raises(ProtocolError, match=r"pubkey|public key") as caught:
        server.receive(json.dumps({"message": "key_trade", "payload": {"pubkey": pubkey}}))
    assert server.closing
    refusal = json.loads(take(server))
    assert refusal["message"] == str(caught.value)
    assert (refusal["status"], refusal["disconnecting"]) == (BAD, True)
    assert server.next_message() is None


@pytest.mark.parametrize("pubkey", BAD_KEYS)
def test_a_client_gives_up_on_a_bad_key_and_says_nothing(pubkey: object) -> None:
    client = make_client()
    take(client)
    with pytest.raises(ProtocolError, match=r"pubkey|public key"):
        client.receive(json.dumps({"message": "key_trade", "payload": {"pubkey": pubkey}}))
    assert client.closing
    assert client.next_message() is None


# Broken rules

# Where the peer is, what it says, whether in its box, and a part of the reason.
SERVER_FAULTS: list[tuple[State, str | bytes, bool, str]] = [
    (State.KEY_TRADE, b"{}", False, "text message"),
    (State.KEY_TRADE, "", False, "JSON"),
    (State.KEY_TRADE, "[]", False, "Packet"),
    (State.KEY_TRADE, "{}", False, "message: .*missing"),
    (State.KEY_TRADE, '{"message": "key_trade"}', False, "pubkey: .*missing"),
    (
        State.KEY_TRADE,
        '{"message": "key_trade", "payload": {"pubkey": "x", "more": 1}}',
        False,
        "only the keys pubkey",
    ),
    (State.KEY_TRADE, '{"message": "key_trade", "status": 0}', False, "only the keys message"),
    (State.KEY_TRADE, '{"message": "handshake"}', False, "key_trade, got 'handshake'"),
    (
        State.KEY_TRADE,
        '{"message": "key_trade", "payload": {"pubkey": ' + "[" * 150 + "]" * 150 + "}}",
        False,
        "nesting",
    ),
    (State.LOG_IN, '{"message": "handshake"}', False, "ciphertext"),
    (State.LOG_IN, "{}", True, "message: .*missing"),
    (State.LOG_IN, '{"message": "key_trade"}', True, "handshake, got 'key_trade'"),
    (State.LOG_IN, '{"message": "handshake"}', True, "username: .*missing"),
    (
        State.LOG_IN,
        '{"message": "handshake", "payload": {"username": "ann", "password": 5}}',
        True,
        "password: expected a str",
    ),
    (State.VERDICT, '{"message": "move"}', True, "accept or refuse"),
    (State.OPEN, "x", True, "JSON"),
    (State.OPEN, '{"message": "move", "payload": []}', True, "payload: expected a dict"),
    (State.OPEN, '{"message": "move"}', False, "ciphertext"),
    (State.OPEN, b'{"message": "move"}', False, "text message"),
    (State.CLOSED, '{"message": "move"}', True, "has ended"),
]


def fault_ids(faults: list[tuple[State, str | bytes, bool, str]]) -> list[str]:
    return [f"{state.name}-{reason}" for state, _, _, reason in faults]


@pytest.mark.parametrize(
    ("state", "message", "in_box", "reason"), SERVER_FAULTS, ids=fault_ids(SERVER_FAULTS)
)
def test_a_client_that_breaks_a_rule_is_told_and_out(
    state: State, message: str | bytes, in_box: bool, reason: str
) -> None:
    server = server_in(state)
    if in_box:
        message = as_client(str(message))
    with pytest.raises(ProtocolError, match=reason) as caught:
        server.receive(message)
    assert server.closing
    assert len(str(caught.value)) <= 200
    if state in {State.KEY_TRADE, State.LOG_IN, State.VERDICT}:
        text = take(server)
        if state is not State.KEY_TRADE:
            text = Box(CLIENT_KEY, SERVER_KEY.pubkey, secrets.token_bytes).decrypt(text)
        refusal = json.loads(text)
        assert refusal["message"] == str(caught.value)
        assert (refusal["status"], refusal["disconnecting"]) == (BAD, True)
    # Whoever is logged in counts on one answer for each request, and no message more.
    assert server.next_message() is None
    with pytest.raises(ProtocolError, match="has ended"):
        server.receive('{"message": "move"}')


def test_answers_after_the_end_go_nowhere() -> None:
    server = server_in(State.OPEN)
    server.receive(as_client('{"message": "move"}'))
    server.receive(as_client('{"message": "move"}'))
    server.respond(1, Response("moved"))
    with pytest.raises(ProtocolError):
        server.receive("junk")
    server.respond(2, Response("moved"))
    assert server.unanswered == 0
    assert take(server)
    assert server.next_message() is None
    with pytest.raises(RuntimeError, match="got one to 3"):
        server.respond(3, Response("moved"))

    server = server_in(State.VERDICT)
    with pytest.raises(ProtocolError):
        server.receive("junk")
    take(server)
    server.accept("welcome")
    server.refuse("no")
    assert server.next_message() is None
    assert server.state is State.CLOSED


CLIENT_FAULTS: list[tuple[State, str | bytes, bool, str]] = [
    (State.KEY_TRADE, b"{}", False, "text message"),
    (State.KEY_TRADE, "x", False, "JSON"),
    (State.KEY_TRADE, '{"message": "x"}', False, "pubkey: .*missing"),
    (
        State.KEY_TRADE,
        '{"message": "x", "payload": {"pubkey": "x", "more": 1}}',
        False,
        "only the keys pubkey",
    ),
    (State.VERDICT, '{"message": "x"}', False, "ciphertext"),
    (State.VERDICT, '{"message": "x", "push": 1}', True, "only the keys message"),
    (State.OPEN, "x" * 41, False, "ciphertext"),
    (State.OPEN, '{"message": "x", "status": "0"}', True, "status: expected an int"),
    (State.OPEN, b'{"message": "x"}', False, "text message"),
    (State.CLOSED, '{"message": "x"}', True, "has ended"),
]


@pytest.mark.parametrize(
    ("state", "message", "in_box", "reason"), CLIENT_FAULTS, ids=fault_ids(CLIENT_FAULTS)
)
def test_a_server_that_breaks_a_rule_is_left(
    state: State, message: str | bytes, in_box: bool, reason: str
) -> None:
    client = client_in(state)
    if in_box:
        message = as_server(str(message))
    with pytest.raises(ProtocolError, match=reason) as caught:
        client.receive(message)
    assert client.closing
    assert len(str(caught.value)) <= 200
    assert client.next_message() is None
    with pytest.raises(RuntimeError):
        client.request(Packet("move"))


def test_a_server_that_speaks_unasked_is_left() -> None:
    client, server = logged_in()
    client.request(Packet("move"))
    exchange(client, server)
    server.respond(1, Response("moved"))
    message = take(server)
    client.receive(message)
    with pytest.raises(ProtocolError, match="no request"):
        client.receive(message)
    assert client.closing


def test_reasons_stay_short() -> None:
    deep: object = float("1e400")
    for number in range(20):
        deep = {f"{'k' * 40}{number}": deep}
    text = json.dumps({"message": "x", "payload": deep}).replace("Infinity", str(2**70))
    for side in (make_server(), make_client()):
        with pytest.raises(ProtocolError) as caught:
            side.receive(text)
        assert len(str(caught.value)) == 200
    with pytest.raises(ProtocolError) as caught:
        make_server().receive(json.dumps({"message": "x" * 100_000}))
    assert len(str(caught.value)) <= 200


def test_a_password_in_the_wrong_place_is_not_in_the_reason() -> None:
    payload = {"username": ["hunter2"], "password": {"hunter2": "hunter2"}}
    server = server_in(State.LOG_IN)
    with pytest.raises(ProtocolError) as caught:
        server.receive(as_client(json.dumps({"message": "handshake", "payload": payload})))
    assert "hunter2" not in str(caught.value)


@given(message=noise, state=st.sampled_from(State), in_box=st.booleans())
def test_noise_makes_a_server_raise_nothing_but_its_own_errors(
    message: str | bytes, state: State, in_box: bool
) -> None:
    server = server_in(state)
    if in_box and isinstance(message, str) and message.isascii():
        message = as_client(message)
    try:
        server.receive(message)
    except ProtocolError:
        assert server.closing
    while server.next_message() is not None:
        pass


@given(
    message=noise,
    state=st.sampled_from([State.KEY_TRADE, State.VERDICT, State.OPEN, State.CLOSED]),
    in_box=st.booleans(),
)
def test_noise_makes_a_client_raise_nothing_but_its_own_errors(
    message: str | bytes, state: State, in_box: bool
) -> None:
    client = client_in(state)
    if in_box and isinstance(message, str) and message.isascii():
        message = as_server(message)
    try:
        client.receive(message)
    except ProtocolError:
        assert client.closing
    while client.next_message() is not None:
        pass


def test_every_flipped_bit_of_a_request_ends_it() -> None:
    data = base64.b64decode(as_client('{"message": "move"}'))
    for bit in range(len(data) * 8):
        altered = bytearray(data)
        altered[bit // 8] ^= 1 << bit % 8
        server = server_in(State.OPEN)
        with pytest.raises(ProtocolError, match="altered"):
            server.receive(base64.b64encode(altered).decode())
        assert server.unanswered == 0


# The tables


@pytest.mark.parametrize(
    "transitions", [SERVER_TRANSITIONS, CLIENT_TRANSITIONS], ids=["server", "client"]
)
def test_every_state_is_reached_and_leads_to_the_end(
    transitions: dict[State, dict[MessageKind, State]],
) -> None:
    def reachable(start: State) -> set[State]:
        found, rest = {start}, [start]
        while rest:
            new = set(transitions[rest.pop()].values()) - found
            found |= new
            rest += new
        return found

    assert reachable(State.KEY_TRADE) == set(transitions)
    for state in transitions:
        assert State.CLOSED in reachable(state)
    assert not transitions[State.CLOSED]


class Conversation(RuleBasedStateMachine):
    """Our client and our server, with messages in flight between them.

    Every transition of the tables is taken whenever it may be, and tried when it may not; what each
    side reports is held against the simplest model: how many requests were made, heard,
    answered, and known to be answered.
    """

    def __init__(self) -> None:
        super().__init__()
        self.client = make_client()
        self.server = make_server()
        self.to_server: list[str] = []
        self.to_client: list[str] = []
        self.requested = self.heard = self.answered = self.delivered = 0

    @initialize(is_logged_in=st.booleans())
    def begin(self, is_logged_in: bool) -> None:
        if is_logged_in:
            self.client, self.server = logged_in()

    @rule()
    def carry_to_server(self) -> None:
        while (text := self.client.next_message()) is not None:
            assert isinstance(text, str)
            self.to_server.append(text)
        if not self.to_server:
            return
        message, state = self.to_server.pop(0), self.server.state
        if state is State.CLOSED:
            with pytest.raises(ProtocolError):
                self.server.receive(message)
            return
        events = self.server.receive(message)
        if state is State.KEY_TRADE:
            assert events == []
        elif state is State.LOG_IN:
            assert events == [LogIn("ann", "hunter2", "")]
        else:
            self.heard += 1
            (event,) = events
            assert isinstance(event, RequestReceived)
            assert event.id == event.packet.payload["id"] == self.heard

    @rule()
    def carry_to_client(self) -> None:
        while (text := self.server.next_message()) is not None:
            assert isinstance(text, str)
            self.to_client.append(text)
        if not self.to_client:
            return
        message, state = self.to_client.pop(0), self.client.state
        events = self.client.receive(message)
        if state is State.OPEN:
            self.delivered += 1
            (event,) = events
            assert isinstance(event, ResponseReceived)
            assert event.id == event.response.payload["id"] == self.delivered
        elif self.client.closing:
            assert events == [LoginRefusal("no")]
        else:
            assert events == ([LoggedIn("welcome")] if state is State.VERDICT else [])

    @precondition(lambda self: MessageKind.REFUSAL in SERVER_TRANSITIONS[self.server.state])
    @rule(seldom=st.integers(0, 7))
    def decide(self, seldom: int) -> None:
        if seldom == 7:
            self.server.refuse("no")
            assert self.server.state is State.CLOSED
        elif self.server.state is State.VERDICT:
            self.server.accept("welcome")
            assert self.server.state is SERVER_TRANSITIONS[State.VERDICT][MessageKind.ACCEPTANCE]

    @precondition(lambda self: self.client.state is State.OPEN and not self.client.unanswered)
    @rule()
    def request(self) -> None:
        self.requested += 1
        assert self.client.request(Packet("move", {"id": self.requested})) == self.requested

    @precondition(lambda self: self.server.unanswered)
    @rule(seldom=st.integers(0, 7))
    def respond(self, seldom: int) -> None:
        last = seldom == 7
        closing = self.server.closing
        self.answered += 1
        response = Response("moved", {"id": self.answered}, disconnecting=last)
        self.server.respond(self.answered, response)
        assert self.server.closing == (closing or last)

    @invariant()
    def nothing_is_done_out_of_order(self) -> None:
        # After its end the server lets everything pass, since whoever answers cannot know.
        server, before = self.server, (self.server.state, self.client.state)
        attempts: list[Callable[[], object]] = [
            lambda: server.respond(self.answered + 2, Response("moved"))
        ]
        if not server.unanswered:
            attempts.append(lambda: server.respond(self.answered + 1, Response("moved")))
        if MessageKind.ACCEPTANCE not in SERVER_TRANSITIONS[server.state] and not server.closing:
            attempts.append(lambda: server.accept("welcome"))
        if MessageKind.REFUSAL not in SERVER_TRANSITIONS[server.state] and not server.closing:
            attempts.append(lambda: server.refuse("no"))
        if self.client.state is not State.OPEN or self.client.unanswered:
            attempts.append(lambda: self.client.request(Packet("move")))
        for attempt in attempts:
            with pytest.raises(RuntimeError):
                attempt()
        assert (self.server.state, self.client.state) == before

    @invariant()
    def counts_fit(self) -> None:
        assert self.server.unanswered == self.heard - self.answered
        assert self.client.unanswered == self.requested - self.delivered <= self.client.window
        assert self.client.closing == (self.client.state is State.CLOSED)
        assert self.server.closing == (self.server.state is State.CLOSED)


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=60, stateful_step_count=40)
