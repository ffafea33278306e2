"""How protocol 2 grows: what each side names, what is in use, and that nothing else is sent."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from pgnet_trio.errors import ProtocolError
from pgnet_trio.messages import Packet, Response, Status, explicit_time, note_code
from pgnet_trio.patch import apply, apply_columns, diff, diff_columns
from pgnet_trio.protocol.events import (
    GameChanged,
    Goodbye,
    LoggedIn,
    LogIn,
    LoginRefusal,
    Moved,
    Patched,
    ResponseReceived,
    Restarting,
    Resume,
    Resumed,
    ResumeRefusal,
    StateShown,
)
from pgnet_trio.protocol.v2 import (
    SUBPROTOCOL,
    SUBPROTOCOL_2_1,
    SUBPROTOCOLS,
    ClientProtocol,
    ServerProtocol,
)
from pgnet_trio.protocol.v2 import envelopes as wire
from pgnet_trio.protocol.v2.client_delivery import ClientDelivery
from pgnet_trio.protocol.v2.features import (
    CODES,
    COLUMNS,
    FEATURES,
    GRACE,
    MAX_FEATURE_NAME,
    MAX_FEATURES,
    MOVED,
    RESTART,
    agree,
)
from pgnet_trio.protocol.v2.server_delivery import ServerDelivery
from pgnet_trio.protocol.v2.states import MAX_ADDRESS
from pgnet_trio.reason_codes import ReasonCode
from tests.kit.protocol_pair import (
    SERVER_KEY,
    TOKEN,
    Requests,
    ScriptedPeer,
    Seen,
    exchange,
    random_bytes,
)

OTHERS = frozenset({"a feature of tomorrow"})


def make_pair(
    *,
    client: Collection[str] = FEATURES,
    server: Collection[str] = FEATURES,
    client_takes: str = SUBPROTOCOL_2_1,
    server_selects: str = SUBPROTOCOL_2_1,
    encrypted: bool = True,
    delivery: ClientDelivery | None = None,
    token: bytes = b"",
    login_token: bytes = b"",
) -> tuple[ClientProtocol, ServerProtocol]:
    """Both ends; what the server selects may be changed on the way to the client."""
    return (
        ClientProtocol(
            username="ann",
            password="secret",
            invite_code="",
            encrypted=encrypted,
            random_bytes=random_bytes,
            offered=SUBPROTOCOLS,
            max_frame_size=None,
            subprotocol=client_takes,
            features=client,
            delivery=delivery or ClientDelivery(Requests().next),
            token=token,
            login_token=login_token,
        ),
        ServerProtocol(
            SERVER_KEY if encrypted else None,
            random_bytes,
            offered=SUBPROTOCOLS,
            max_frame_size=None,
            subprotocol=server_selects,
            features=server,
        ),
    )


def log_in(client: ClientProtocol, server: ServerProtocol) -> ServerDelivery:
    assert exchange(client, server) == [LogIn("ann", "secret", "")]
    delivery = ServerDelivery()
    server.accept("Welcome.", TOKEN, delivery)
    assert exchange(client, server) == [LoggedIn("Welcome.", TOKEN)]
    return delivery


@pytest.mark.parametrize("encrypted", [True, False])
@pytest.mark.parametrize(
    ("client", "server", "both"),
    [
        (FEATURES, FEATURES, FEATURES),
        (FEATURES | OTHERS, FEATURES, FEATURES),
        (FEATURES, OTHERS, frozenset()),
        (frozenset(), FEATURES, frozenset()),
    ],
)
def test_a_feature_is_in_use_where_both_sides_have_named_it(
    client: Collection[str], server: Collection[str], both: frozenset[str], encrypted: bool
) -> None:
    pair = make_pair(client=client, server=server, encrypted=encrypted)
    log_in(*pair)
    assert [each.features for each in pair] == [both, both]


@pytest.mark.parametrize("encrypted", [True, False])
def test_the_subprotocol_of_0_1_has_no_features(encrypted: bool) -> None:
    pair = make_pair(client_takes=SUBPROTOCOL, server_selects=SUBPROTOCOL, encrypted=encrypted)
    log_in(*pair)
    assert [each.features for each in pair] == [frozenset(), frozenset()]


@pytest.mark.parametrize(
    ("client_takes", "server_selects"),
    [(SUBPROTOCOL, SUBPROTOCOL_2_1), (SUBPROTOCOL_2_1, SUBPROTOCOL)],
)
def test_who_changes_the_selection_on_the_way_makes_the_handshake_fail(
    client_takes: str, server_selects: str
) -> None:
    client, server = make_pair(client_takes=client_takes, server_selects=server_selects)
    with pytest.raises(ProtocolError, match="the handshake failed"):
        exchange(client, server)


def test_features_in_a_hello_of_0_1_break_the_rules() -> None:
    client, server = make_pair(server_selects=SUBPROTOCOL, encrypted=False)
    message = client.next_message()
    assert message is not None
    with pytest.raises(ProtocolError, match="names no features"):
        server.receive(message)


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        ([str(number) for number in range(MAX_FEATURES + 1)], "at most 64 features, got 65"),
        (["x" * (MAX_FEATURE_NAME + 1)], "at most 40 characters, got one of 41"),
    ],
)
def test_a_hello_with_too_much_in_it_breaks_the_rules(names: list[str], complaint: str) -> None:
    with pytest.raises(ProtocolError, match=complaint):
        agree(FEATURES, names)
    client, server = make_pair(client=names, encrypted=False)
    message = client.next_message()
    assert message is not None
    with pytest.raises(ProtocolError, match=complaint):
        server.receive(message)


def test_as_many_features_as_may_be_named_are_taken() -> None:
    names = ["x" * MAX_FEATURE_NAME, *(str(number) for number in range(MAX_FEATURES - 2)), RESTART]
    assert agree(FEATURES, names) == {RESTART}


def resume(
    delivery: ServerDelivery, *, client_delivery: ClientDelivery, features: Collection[str]
) -> list[Any]:
    client, server = make_pair(client=features, delivery=client_delivery, token=TOKEN)
    (event,) = exchange(client, server)
    assert isinstance(event, Resume)
    server.resume(delivery, event.received)
    return exchange(client, server)


def test_a_session_keeps_its_features() -> None:
    client_delivery = ClientDelivery(Requests().next)
    client, server = make_pair(delivery=client_delivery)
    delivery = log_in(client, server)
    assert resume(delivery, client_delivery=client_delivery, features=FEATURES) == [Resumed()]
    with pytest.raises(ProtocolError, match="the same features as when the session began"):
        resume(delivery, client_delivery=client_delivery, features=())


@pytest.mark.parametrize(
    ("features", "event"),
    [(FEATURES, Restarting("Back in a minute.")), ((), Goodbye("Back in a minute."))],
)
def test_a_restart_is_a_goodbye_to_who_does_not_know_it(
    features: Collection[str], event: object
) -> None:
    client, server = make_pair(client=features)
    log_in(client, server)
    server.restart("Back in a minute.")
    assert exchange(client, server) == [event]
    assert client.closing
    assert server.closing


def test_what_belongs_to_a_feature_breaks_the_rules_where_it_is_not_in_use() -> None:
    client, server = make_pair(client=(), encrypted=False)
    log_in(client, server)
    # As a server would that does not look at what the client has named.
    server._features = FEATURES
    server.restart("Back in a minute.")
    message = server.next_message()
    assert message is not None
    with pytest.raises(ProtocolError, match="is not in use"):
        client.receive(message)


# Going to another address

ELSEWHERE = Moved("/node-2", "Your game goes on there.")


@pytest.mark.parametrize("encrypted", [True, False])
def test_a_session_goes_on_at_another_address(encrypted: bool) -> None:
    client_delivery = ClientDelivery(Requests().next)
    client, server = make_pair(delivery=client_delivery, encrypted=encrypted)
    delivery = log_in(client, server)
    delivery.show(Seen({"turn": 1}))
    server.moved(ELSEWHERE.address, ELSEWHERE.reason)
    # What waited comes before it.
    assert exchange(client, server) == [StateShown(1, {"turn": 1}), ELSEWHERE]
    assert client.closing
    assert server.closing
    assert client.next_message() is None
    # What the session says from here on waits for its next connection.
    delivery.change_game(wire.GameEnvelope(None, 0.0, 0.0, "left", ""))
    assert server.next_message() is None
    assert resume(delivery, client_delivery=client_delivery, features=FEATURES) == [
        Resumed(),
        GameChanged(None, 0.0, 0.0, "left", ""),
    ]


@pytest.mark.parametrize("encrypted", [True, False])
@pytest.mark.parametrize(("token", "login_token"), [(b"", b""), (TOKEN, b""), (b"", bytes(32))])
def test_a_client_is_sent_to_another_address_in_place_of_a_verdict(
    token: bytes, login_token: bytes, encrypted: bool
) -> None:
    client, server = make_pair(encrypted=encrypted, token=token, login_token=login_token)
    assert len(exchange(client, server)) == 1
    server.moved("wss://b.example/2", "Your game is there.", bytes(range(32)))
    (event,) = exchange(client, server)
    assert event == Moved("wss://b.example/2", "Your game is there.", bytes(range(32)))
    assert repr(bytes(range(32))) not in repr(event)
    assert client.closing
    assert server.closing


def test_a_client_without_the_feature_is_told_goodbye() -> None:
    for features, code in ((FEATURES - {MOVED}, "moved"), ((), "")):
        pair = make_pair(client=features)
        exchange(*pair)
        pair[1].moved("/node-2", "not here", bytes(32))
        assert exchange(*pair) == [Goodbye("not here", code)]
        pair = make_pair(client=features)
        log_in(*pair)
        pair[1].moved("/node-2", "not here", bytes(32))
        assert exchange(*pair) == [Goodbye("not here", code)]


def test_nobody_is_sent_away_who_has_not_logged_in() -> None:
    client, server = make_pair(token=TOKEN)
    exchange(client, server)
    server.refuse_resume("gone")
    server.moved("/node-2", "not here")
    assert exchange(client, server) == [ResumeRefusal("gone"), Goodbye("not here", "moved")]
    _, server = make_pair()
    server.moved("/node-2", "not here")
    assert server.closing
    assert server.next_message() is None


def test_after_the_end_nobody_is_sent_away() -> None:
    client, server = make_pair()
    log_in(client, server)
    server.goodbye("over")
    server.moved("/node-2", "not here")
    assert exchange(client, server) == [Goodbye("over")]


def test_no_token_goes_along_where_tokens_are_not_known() -> None:
    client, server = make_pair(client=FEATURES - {"token"})
    exchange(client, server)
    server.moved("/node-2", "not here", bytes(32))
    assert exchange(client, server) == [Moved("/node-2", "not here")]


def test_a_move_fits_into_the_shortest_frame() -> None:
    client, server = make_pair()
    client = ClientProtocol(
        username="ann",
        password="secret",
        invite_code="",
        encrypted=True,
        random_bytes=random_bytes,
        offered=SUBPROTOCOLS,
        max_frame_size=1024,
        subprotocol=SUBPROTOCOL_2_1,
        delivery=ClientDelivery(Requests().next),
    )
    exchange(client, server)
    address, reason = "x" * MAX_ADDRESS, "\N{SNOWMAN}" * 200
    server.moved(address, reason, bytes(32))
    message = server.next_message()
    assert message is not None
    assert len(message) <= 1024
    assert client.receive(message) == [Moved(address, "", bytes(32))]


BAD_ADDRESSES = [
    "",
    "a b.example",
    "x" * (MAX_ADDRESS + 1),
    "a.example\n",
    "b\xfccher.example",
    "a\x1b[2J",
]


@pytest.mark.parametrize("address", BAD_ADDRESSES)
def test_what_can_be_no_address_is_neither_sent_nor_taken(address: str) -> None:
    client, server = make_pair(encrypted=False)
    log_in(client, server)
    with pytest.raises(ValueError, match="address: expected 1 to 500 visible ASCII characters"):
        server.moved(address, "not here")
    assert not server.closing
    with pytest.raises(ProtocolError, match="expected an address of 1 to 500"):
        client.receive(ScriptedPeer(None).say([25, address, "not here"]))


@pytest.mark.parametrize(
    ("features", "envelope", "complaint"),
    [
        ([], [25, "/b", "why"], "'moved' is not in use"),
        (["moved"], [25, "/b", "why", bytes(32)], "'token' is not in use"),
        (["moved", "token"], [25, "/b", "why", bytes(31)], "a log-in token of 32 bytes"),
        (["moved"], [25, "/b"], "expected an array of envelopes"),
        (["moved"], [25, "/b", "why", b"", 1], "expected an array of envelopes"),
        (["moved"], [25, None, "why"], "expected an array of envelopes"),
    ],
)
def test_a_move_that_may_not_come_breaks_the_rules(
    features: Collection[str], envelope: list[object], complaint: str
) -> None:
    client, server = make_pair(server=features, encrypted=False)
    log_in(client, server)
    with pytest.raises(ProtocolError, match=complaint):
        client.receive(ScriptedPeer(None).say(envelope))


@pytest.mark.parametrize("count", [0, -1])
def test_fewer_lost_pushes_than_one_break_the_rules(count: int) -> None:
    client, server = make_pair(encrypted=False)
    log_in(client, server)
    with pytest.raises(ProtocolError, match=f"expected 1 push or more, got {count}"):
        client.receive(ScriptedPeer(None).say(wire.LostEnvelope(count)))


# Codes beside texts

CODE = ReasonCode.TAKEN_OVER


def refusals(client: Collection[str], server: Collection[str]) -> list[object]:
    """What a client hears that is refused, in each of the ways."""
    heard = []
    for name in ("refuse", "refuse_resume", "goodbye"):
        pair = make_pair(client=client, server=server, login_token=LOGIN_TOKEN)
        assert len(exchange(*pair)) == 1
        getattr(pair[1], name)("no", CODE)
        heard += exchange(*pair)
    pair = make_pair(client=client, server=server)
    log_in(*pair)
    pair[1].goodbye("no", CODE)
    return heard + exchange(*pair)


def test_each_refusal_has_a_code() -> None:
    reason = "no", "taken_over"
    kinds = LoginRefusal, ResumeRefusal, Goodbye, Goodbye
    assert refusals(FEATURES, FEATURES) == [kind(*reason) for kind in kinds]
    for pair in [(FEATURES - {CODES}, FEATURES), (FEATURES, FEATURES - {CODES})]:
        assert refusals(*pair) == [kind("no") for kind in kinds]


def refused_response(features: Collection[str], created_on: str | None, code: str) -> Response:
    requests = Requests()
    client, server = make_pair(client=features, delivery=ClientDelivery(requests.next))
    delivery = log_in(client, server)
    requests.put(Packet("move"))
    assert len(exchange(client, server)) == 1
    response = Response("no", {"a": 1}, Status.UNEXPECTED, created_on)
    delivery.respond(1, note_code(response, code) if code else response)
    (event,) = exchange(client, server)
    assert isinstance(event, ResponseReceived)
    received = event.response
    assert (received.message, received.payload, received.status) == ("no", {"a": 1}, 2)
    assert (explicit_time(received) or None) == created_on
    return received


@pytest.mark.parametrize("created_on", [None, "2026-01-01T00:00:00+00:00"])
@pytest.mark.parametrize("code", ["", CODE])
def test_a_response_has_a_code(created_on: str | None, code: str) -> None:
    assert refused_response(FEATURES, created_on, code).code == code
    assert refused_response(FEATURES - {CODES}, created_on, code).code == ""


def test_a_broken_rule_has_its_code() -> None:
    for together, code in ((True, []), (False, ["protocol_error"])):
        _, server = make_pair()
        peer = ScriptedPeer.client_of(server)
        hello = [0, None, ["codes"]]
        if not together:
            server.receive(peer.say(hello))
        # A frame that cannot be read says nothing, and names no features either.
        with pytest.raises(ProtocolError):
            server.receive(peer.say(hello, [99]) if together else peer.say([99]))
        (refusal,) = peer.hear(server.next_message())
        assert (refusal[0], refusal[2:]) == (6, code)


@pytest.mark.parametrize(
    ("envelope", "code", "complaint"),
    [
        (6, "x" * 41, "a code of at most 40 characters, got one of 41"),
        (21, "x" * 41, "a code of at most 40 characters, got one of 41"),
        (6, 5, "expected an array of envelopes"),
        (21, None, "expected an array of envelopes"),
        (21, b"taken_over", "expected an array of envelopes"),
    ],
)
def test_what_is_no_code_breaks_the_rules(envelope: int, code: object, complaint: str) -> None:
    client, _ = make_pair()
    peer = ScriptedPeer.server_of(client)
    with pytest.raises(ProtocolError, match=complaint):
        client.receive(peer.say([envelope, "no", code]))
    client, _ = make_pair()
    peer = ScriptedPeer.server_of(client)
    client.receive(peer.say([3, "Welcome.", TOKEN]))
    with pytest.raises(ProtocolError, match=complaint):
        client.receive(peer.say([21, "no", code]))


def test_a_code_breaks_the_rules_where_the_feature_is_not_in_use() -> None:
    for said in ([6, "no", "busy"], [21, "no", "busy"]):
        client, _ = make_pair(client=FEATURES - {CODES})
        peer = ScriptedPeer.server_of(client)
        with pytest.raises(ProtocolError, match="'codes' is not in use"):
            client.receive(peer.say(said))
    requests = Requests()
    client, _ = make_pair(client=FEATURES - {CODES}, delivery=ClientDelivery(requests.next))
    peer = ScriptedPeer.server_of(client)
    client.receive(peer.say([3, "Welcome.", TOKEN]))
    requests.put(Packet("move"))
    client.next_message()
    with pytest.raises(ProtocolError, match="'codes' is not in use"):
        client.receive(peer.say([8, 1, 2, "no", {}, None, "busy"]))
    _, server = make_pair()
    peer = ScriptedPeer.client_of(server)
    with pytest.raises(ProtocolError, match="'codes' is not in use"):
        server.receive(peer.say([0, None, []], [21, "bye", "busy"]))


def test_a_code_is_one_printable_line() -> None:
    client, _ = make_pair()
    peer = ScriptedPeer.server_of(client)
    (event,) = client.receive(peer.say([6, "no", "a\nb\x1b[2J"]))
    assert isinstance(event, LoginRefusal)
    assert event.code.isprintable()


# How long a session is kept, and how long to try

INFINITE = float("inf")


def welcome(client: ClientProtocol, server: ServerProtocol, times: tuple[float, float]) -> object:
    exchange(client, server)
    server.accept("Welcome.", TOKEN, ServerDelivery(), times=times)
    (event,) = exchange(client, server)
    return event


@pytest.mark.parametrize("times", [(30.0, 60.0), (0.0, 60.0), (INFINITE, INFINITE)])
def test_the_welcome_tells_how_long_a_session_is_kept(times: tuple[float, float]) -> None:
    assert welcome(*make_pair(), times) == LoggedIn("Welcome.", TOKEN, b"", *times)
    assert welcome(*make_pair(client=FEATURES - {GRACE}), times) == LoggedIn("Welcome.", TOKEN)
    assert welcome(*make_pair(server=()), times) == LoggedIn("Welcome.", TOKEN)


@pytest.mark.parametrize(
    ("features", "more", "complaint"),
    [
        ((), [b"", 30.0, 60.0], "a grace came, and the feature 'grace' is not in use"),
        ((), [b"", None, None], "a grace came, and the feature 'grace' is not in use"),
        (["grace"], [b"", 30.0], "expected a grace and how long to try, of 0 s or more each"),
        (["grace"], [b"", 30.0, -5.0], "of 0 s or more each, or nil; got 30 and -5"),
        (["grace"], [b"", INFINITE, 60.0], "expected an array of envelopes"),
        (["grace"], [b"", "30", 60.0], "expected an array of envelopes"),
        (["grace"], [b"", 30.0, 60.0, 1], "expected an array of envelopes"),
    ],
)
def test_a_welcome_with_wrong_times_breaks_the_rules(
    features: Collection[str], more: list[object], complaint: str
) -> None:
    client, server = make_pair(server=features, encrypted=False)
    message = server.next_message()
    assert message is not None
    assert client.receive(message) == []
    with pytest.raises(ProtocolError, match=complaint):
        client.receive(ScriptedPeer(None).say([3, "Welcome.", TOKEN, *more]))


# Tables column by column

SHIPS = {f"ship {number}": {"x": number, "y": number * 3} for number in range(20)}
MOVED_SHIPS = {key: {"x": ship["x"] + 1, "y": ship["y"] - 2} for key, ship in SHIPS.items()}


def patch_of(features: Collection[str]) -> Patched:
    client, server = make_pair(client=features)
    delivery = log_in(client, server)
    delivery.show(Seen(SHIPS))
    assert exchange(client, server) == [StateShown(1, SHIPS)]
    delivery.show(Seen(MOVED_SHIPS))
    (event,) = exchange(client, server)
    assert isinstance(event, Patched)
    return event


def test_a_patch_has_columns_where_both_know_them() -> None:
    event = patch_of(FEATURES)
    assert event == Patched(1, 2, diff_columns(SHIPS, MOVED_SHIPS), columns=True)
    assert apply_columns(SHIPS, event.patch) == MOVED_SHIPS


@pytest.mark.parametrize("features", [(), FEATURES - {COLUMNS}])
def test_a_patch_has_none_for_who_does_not_know_them(features: Collection[str]) -> None:
    event = patch_of(features)
    assert event == Patched(1, 2, diff(SHIPS, MOVED_SHIPS), columns=False)
    assert apply(SHIPS, event.patch) == MOVED_SHIPS


def test_a_column_patch_breaks_the_rules_where_the_feature_is_not_in_use() -> None:
    client, server = make_pair(client=FEATURES - {COLUMNS})
    delivery = log_in(client, server)
    # As a server would that does not look at what the client has named.
    delivery.features = FEATURES
    delivery.show(Seen(SHIPS))
    exchange(client, server)
    delivery.show(Seen(MOVED_SHIPS))
    with pytest.raises(ProtocolError, match="'columns' is not in use"):
        exchange(client, server)


# The token that stands for the password

LOGIN_TOKEN = bytes(range(200, 232))


@pytest.mark.parametrize("encrypted", [True, False])
def test_a_token_is_given_with_the_welcome(encrypted: bool) -> None:
    client, server = make_pair(encrypted=encrypted)
    exchange(client, server)
    assert server.takes_tokens
    server.accept("Welcome.", TOKEN, ServerDelivery(), LOGIN_TOKEN)
    assert exchange(client, server) == [LoggedIn("Welcome.", TOKEN, LOGIN_TOKEN)]


def test_a_log_in_with_a_token_says_no_password() -> None:
    client, server = make_pair(login_token=LOGIN_TOKEN)
    assert exchange(client, server) == [LogIn("ann", "", "", LOGIN_TOKEN)]
    server.accept("Welcome.", TOKEN, ServerDelivery())
    assert exchange(client, server) == [LoggedIn("Welcome.", TOKEN)]


@pytest.mark.parametrize("token", [TOKEN, b""])
def test_a_token_that_is_not_taken_leaves_the_password(token: bytes) -> None:
    client, server = make_pair(token=token, login_token=LOGIN_TOKEN)
    if token:
        assert isinstance(exchange(client, server)[0], Resume)
        server.refuse_resume("gone")
        assert exchange(client, server) == [ResumeRefusal("gone")]
        client.log_in(ClientDelivery(Requests().next))
    assert exchange(client, server) == [LogIn("ann", "", "", LOGIN_TOKEN)]
    server.refuse_resume("not taken")
    assert exchange(client, server) == [ResumeRefusal("not taken")]
    client.log_in(ClientDelivery(Requests().next))
    log_in(client, server)


def test_without_encryption_the_first_log_in_has_the_password() -> None:
    client, server = make_pair(encrypted=False, login_token=LOGIN_TOKEN)
    log_in(client, server)


@pytest.mark.parametrize("features", [(), (RESTART,)])
def test_no_token_travels_where_the_feature_is_not_in_use(features: Collection[str]) -> None:
    client, server = make_pair(server=features, login_token=LOGIN_TOKEN)
    log_in(client, server)
    assert not server.takes_tokens


def test_a_token_breaks_the_rules_where_the_feature_is_not_in_use() -> None:
    client, server = make_pair(client=())
    exchange(client, server)
    # As a server would that does not look at what the client has named.
    server.accept("Welcome.", TOKEN, ServerDelivery(), LOGIN_TOKEN)
    with pytest.raises(ProtocolError, match="'token' is not in use"):
        exchange(client, server)
    _, server = make_pair(server=())
    peer = ScriptedPeer.client_of(server)
    with pytest.raises(ProtocolError, match="'token' is not in use"):
        server.receive(peer.say([0, None, ["token"]], [1, "ann", "", "", LOGIN_TOKEN]))


def test_a_token_has_its_length() -> None:
    client, server = make_pair()
    exchange(client, server)
    server.accept("Welcome.", TOKEN, ServerDelivery(), LOGIN_TOKEN + b"x")
    with pytest.raises(ProtocolError, match="a log-in token of 32 bytes"):
        exchange(client, server)
    _, server = make_pair()
    peer = ScriptedPeer.client_of(server)
    with pytest.raises(ProtocolError, match="a log-in token of 32 bytes"):
        server.receive(peer.say([0, None, ["token"]], [1, "ann", "", "", LOGIN_TOKEN[1:]]))
