"""Delivery: exactly once and in order, whatever is cut off where."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from pgnet_trio.codec import pack, unpack
from pgnet_trio.errors import CodecError, ProtocolError
from pgnet_trio.messages import PLAYERS, Packet, Push, Response
from pgnet_trio.patch import apply
from pgnet_trio.protocol.events import (
    FullStateRequested,
    GameChanged,
    LogIn,
    Moved,
    Patched,
    Pushed,
    PushesMissing,
    QuietAck,
    RequestReceived,
    ResponseReceived,
    Resume,
    StateShown,
)
from pgnet_trio.protocol.v2 import ClientProtocol, ServerProtocol, State
from pgnet_trio.protocol.v2 import envelopes as wire
from pgnet_trio.protocol.v2.client_delivery import ClientDelivery
from pgnet_trio.protocol.v2.features import FEATURES, LOST
from pgnet_trio.protocol.v2.packed_delivery import PackedDelivery
from pgnet_trio.protocol.v2.server_delivery import DeliveryOverflow, ServerDelivery
from pgnet_trio.protocol.v2.states import WINDOW
from tests.kit.protocol_pair import TOKEN, Requests, Seen, make_client, make_server

LARGE = 100_000


def push(number: int = 0) -> bytes:
    return wire.encode_push(Push("news", {"number": number}))


def question(number: int = 0) -> bytes:
    return wire.encode_question(number, Packet("Ask"), None, 0.0)


def asked(delivery: ServerDelivery, count: int, *, quiet: bool = False) -> None:
    for _ in range(count):
        delivery.take_request(delivery.last_request + 1, quiet)


def asking(count: int, *, quiet: bool = False) -> ClientDelivery:
    requests = Requests()
    for _ in range(count):
        requests.put(Packet("ask"), quiet=quiet)
    return ClientDelivery(requests.next)


# The server's end


def test_what_is_acknowledged_is_forgotten() -> None:
    delivery = ServerDelivery()
    for number in range(5):
        delivery.add(push(number))
    assert delivery.unacknowledged == 5
    # What it costs to keep them may be counted too.
    assert delivery.unacknowledged_bytes >= 5 * len(push())
    assert delivery.take(LARGE) == [push(number) for number in range(5)]
    delivery.acknowledge(3)
    assert delivery.unacknowledged == 2
    assert delivery.take(LARGE) == []
    delivery.resume(4)
    assert delivery.take(LARGE) == [push(4)]
    delivery.acknowledge(5)
    assert (delivery.unacknowledged, delivery.unacknowledged_bytes) == (0, 0)


@pytest.mark.parametrize("count", [-1, 3, 10])
def test_what_was_not_sent_cannot_be_acknowledged(count: int) -> None:
    delivery = ServerDelivery()
    for number in range(5):
        delivery.add(push(number))
    delivery.take(2 * len(push()))
    for acknowledge in (delivery.acknowledge, delivery.resume):
        with pytest.raises(ProtocolError, match="from 0 to 2"):
            acknowledge(count)
    assert delivery.unacknowledged == 5


def test_too_much_that_nobody_acknowledges_is_an_error() -> None:
    delivery = ServerDelivery(max_messages=3)
    for number in range(3):
        delivery.add(question(number))
    with pytest.raises(DeliveryOverflow, match="more than 3 messages"):
        delivery.add(question())
    delivery = ServerDelivery(max_bytes=100)
    with pytest.raises(DeliveryOverflow, match="more than 100 bytes"):
        for number in range(50):
            delivery.add(question(number))


# Pushes, where too much waits


def limited(count: int, *, size: int | None = None, tells: bool = True) -> ServerDelivery:
    delivery = ServerDelivery(max_messages=count, max_bytes=size)
    if tells:
        delivery.features = frozenset({LOST})
    return delivery


def written(delivery: ServerDelivery) -> list[Any]:
    """Return what a client is sent next, in short."""
    taken = delivery.take(LARGE)
    envelopes = wire.read_from_server(wire.array_head(len(taken)) + b"".join(taken))
    return [*map(in_short, envelopes)]


def in_short(envelope: Any) -> Any:
    match envelope:
        case wire.PushEnvelope(payload={"number": number}):
            return number
        case wire.LostEnvelope(count=count):
            return f"{count} lost"
        case _:
            return type(envelope).__name__


def test_the_oldest_pushes_make_room_and_the_client_is_told_how_many() -> None:
    delivery = limited(10)
    for number in range(11):
        delivery.push(push(number))
    assert written(delivery) == ["2 lost", *range(2, 11)]
    assert delivery.dropped == 2
    delivery.acknowledge(10)
    assert (delivery.unacknowledged, delivery.unacknowledged_bytes) == (0, 0)


def test_who_knows_nothing_of_lost_pushes_just_misses_them() -> None:
    delivery = limited(10, tells=False)
    for number in range(11):
        delivery.push(push(number))
    assert written(delivery) == [*range(2, 11)]


def test_nothing_but_pushes_is_dropped() -> None:
    delivery = limited(10)
    asked(delivery, 2)
    delivery.push(push(0))
    assert delivery.respond(1, Response("yes"))
    delivery.add(question())
    delivery.push(wire.encode_push(Push(PLAYERS, {"players": {"bob": True}, "all": True})))
    for number in range(1, 101):
        delivery.push(push(number))
        if number == 50:
            delivery.respond(2, Response("no"))
    *before, answer, eldest = [*written(delivery)][:6]
    lost, *others = before
    assert others == ["ResponseEnvelope", "QuestionEnvelope", "PushEnvelope"]
    assert (answer, lost) == ("ResponseEnvelope", f"{eldest} lost")


def test_a_push_is_dropped_itself_where_nothing_else_can_be() -> None:
    delivery = limited(3)
    for number in range(3):
        delivery.add(question(number))
    for number in range(1000):
        delivery.push(push(number))
    assert delivery.unacknowledged_bytes < 4 * (len(question()) + 64)
    assert written(delivery) == ["QuestionEnvelope"] * 3 + ["1000 lost"]


def test_the_servers_own_pushes_are_never_dropped() -> None:
    delivery = limited(3)
    with pytest.raises(DeliveryOverflow, match="more than 3 messages"):
        for _ in range(4):
            delivery.push(wire.encode_push(Push(PLAYERS, {"players": {}, "all": False})))


def test_a_long_push_takes_no_more_of_the_others_than_it_needs() -> None:
    long = wire.encode_push(Push("news", {"number": 100, "x": "x" * 9000}))
    delivery = limited(1000, size=10_000)
    for number in range(50):
        delivery.push(push(number))
    delivery.push(long)
    lost, *kept = written(delivery)
    assert kept == [*range(int(lost.split()[0]), 50), 100]
    assert len(kept) > 3
    delivery.acknowledge(1 + len(kept))
    assert delivery.unacknowledged_bytes == 0


@pytest.mark.parametrize("received", [0, 5, 8])
def test_what_was_sent_may_have_arrived_so_it_keeps_its_number(received: int) -> None:
    delivery = limited(10)
    for number in range(8):
        delivery.push(push(number))
    assert written(delivery) == [*range(8)]
    for number in range(8, 30):
        delivery.push(push(number))
    # All that was sent has made room, and what came later for the most part.
    delivery.resume(received)
    lost, *kept = written(delivery)
    assert kept == [*range(received + int(lost.split()[0]), 30)]
    assert len(kept) >= 9
    delivery.acknowledge(received + 1 + len(kept))
    assert (delivery.unacknowledged, delivery.unacknowledged_bytes) == (0, 0)


def test_a_client_that_got_everything_after_all_has_lost_nothing() -> None:
    delivery = limited(10)
    heard = []
    for number in range(100):
        delivery.push(push(number))
        heard += written(delivery)
    assert heard == [*range(100)]
    delivery.acknowledge(100)
    assert (delivery.unacknowledged, delivery.unacknowledged_bytes) == (0, 0)
    delivery.resume(100)
    assert written(delivery) == []


def test_what_is_lost_of_one_game_is_told_before_the_next() -> None:
    delivery = limited(10)
    for name in ("first", "second"):
        delivery.change_game(wire.GameEnvelope(name, 0.0, 0.0, "", ""))
        for number in range(20):
            delivery.push(push(number))
    delivery.show(Seen({"turn": 1}))
    *told, lost, eldest = written(delivery)[:6]
    assert told == ["GameEnvelope", "20 lost", "GameEnvelope", "StateEnvelope"]
    assert lost == f"{eldest} lost"


def test_what_was_dropped_does_not_fill_the_room_by_itself() -> None:
    delivery = limited(1000, size=20_000)
    for number in range(5000):
        delivery.push(push(number))
        # The link takes all of it in, and the client says nothing.
        written(delivery)
    assert delivery.unacknowledged_bytes <= 20_000 + 100
    delivery.resume(0)
    lost, *kept = written(delivery)
    assert kept == [*range(int(lost.split()[0]), 5000)]
    assert len(kept) > 0


def test_states_do_not_pile_up() -> None:
    delivery = ServerDelivery(max_messages=1, max_bytes=100)
    for turn in range(1000):
        delivery.show(Seen({"turn": turn}))
    assert delivery.unacknowledged == 0
    (state,) = delivery.take(LARGE)
    assert wire.read_from_server(wire.array_head(1) + state) == [
        wire.StateEnvelope(1, {"turn": 999})
    ]


def test_a_window_can_be_of_any_size_or_none() -> None:
    delivery = ServerDelivery(window=2)
    asked(delivery, 2)
    with pytest.raises(ProtocolError, match="at most 2 may be under way"):
        asked(delivery, 1)
    delivery = ServerDelivery(window=None)
    asked(delivery, 1000)


def test_a_window_opens_when_an_answer_is_acknowledged_and_not_before() -> None:
    delivery = ServerDelivery(window=2)
    asked(delivery, 2)
    delivery.respond(1, Response("ok"))
    delivery.take(LARGE)
    with pytest.raises(ProtocolError, match="under way"):
        delivery.take_request(3)
    delivery.acknowledge(1)
    delivery.take_request(3)


def test_an_answer_that_cannot_travel_leaves_the_request_open() -> None:
    delivery = ServerDelivery()
    asked(delivery, 1)
    with pytest.raises(CodecError):
        delivery.respond(1, Response("ok", {"x": object()}))
    delivery.respond(1, Response("sorry"))
    assert len(delivery.take(LARGE)) == 1


def test_quiet_requests_are_acknowledged_in_order_and_only_once() -> None:
    delivery = ServerDelivery()
    asked(delivery, 3, quiet=True)
    assert not delivery.respond(2, Response("ignored"))
    assert delivery.take(LARGE, joining=True) == []
    assert not delivery.respond(1, Response("ignored"))
    assert delivery.take(LARGE, joining=True) == [wire.encode(wire.Acknowledgement(2))]
    assert delivery.take(LARGE, joining=True) == []


def test_half_a_window_of_done_quiet_requests_is_made_known_by_itself() -> None:
    delivery = ServerDelivery()
    asked(delivery, WINDOW, quiet=True)
    for id in range(1, WINDOW // 2):
        assert not delivery.respond(id, Response("ignored"))
        assert delivery.take(LARGE) == []
    assert delivery.respond(WINDOW // 2, Response("ignored"))
    assert delivery.take(LARGE) == [wire.encode(wire.Acknowledgement(WINDOW // 2))]


# The client's end


def test_a_request_leaves_when_it_is_asked_for() -> None:
    requests = Requests()
    delivery = ClientDelivery(requests.next)
    assert delivery.take(LARGE) == []
    requests.put(Packet("ask"))
    (envelope,) = delivery.take(LARGE)
    assert len(requests.waiting) == 0
    assert (delivery.last_request, delivery.unsettled) == (1, 1)
    assert delivery.take(LARGE) == []
    delivery.resume(0)
    assert delivery.take(LARGE) == [envelope]
    delivery.settle(1)
    delivery.resume(1)
    assert delivery.take(LARGE) == []


def test_what_was_not_asked_for_did_not_happen() -> None:
    delivery = asking(3 * WINDOW)
    assert len(delivery.take(LARGE)) == WINDOW
    assert delivery.take(LARGE) == []
    assert delivery.last_request == WINDOW


def test_half_a_window_of_envelopes_is_acknowledged_by_itself() -> None:
    delivery = asking(0)
    delivery.count(31, 1000)
    assert delivery.take(LARGE) == []
    delivery.count(1, 1000)
    assert delivery.take(LARGE) == [wire.encode(wire.Acknowledgement(32))]
    delivery.count(1, 64 * 1024)
    assert delivery.take(LARGE) == [wire.encode(wire.Acknowledgement(33))]
    assert delivery.take(LARGE) == []


def test_an_acknowledgement_rides_along_and_comes_first() -> None:
    delivery = asking(1)
    delivery.count(1, 10)
    first, _request = delivery.take(LARGE)
    assert first == wire.encode(wire.Acknowledgement(1))
    delivery.count(1, 10)
    assert delivery.take(LARGE, joining=True) == [wire.encode(wire.Acknowledgement(2))]


@pytest.mark.parametrize("id", [-1, 0, 2, 3])
def test_only_requests_that_wait_are_settled(id: int) -> None:
    delivery = asking(1)
    delivery.take(LARGE)
    with pytest.raises(ProtocolError, match="no request that waits for one"):
        delivery.settle(id)


def test_a_server_cannot_have_what_was_not_written() -> None:
    delivery = asking(1, quiet=True)
    delivery.take(LARGE)
    with pytest.raises(ProtocolError, match="the last was 1"):
        delivery.settle_quiet(2)
    with pytest.raises(ProtocolError, match="the last was 1"):
        delivery.resume(2)


# Both ends, with connections that are cut


class Drops(RuleBasedStateMachine):
    """A session over connections that lose what is on its way, at any moment.

    What the users of both ends see is compared with what the other end's user did.
    """

    features: Collection[str] = FEATURES

    @initialize(
        client_limit=st.sampled_from([None, 1024, 1500, 4000]),
        server_limit=st.sampled_from([None, 1024, 2000]),
        window=st.sampled_from([WINDOW, None]),
        logged_in=st.booleans(),
    )
    def start(
        self,
        client_limit: int | None,
        server_limit: int | None,
        window: int | None,
        logged_in: bool,
    ) -> None:
        self.limits = client_limit, server_limit
        self.requests = Requests()
        self.to_client = self.make_delivery(window)
        self.to_server = ClientDelivery(self.requests.next)
        # What users did, and what users saw.
        self.asked: list[bool] = []
        self.taken: list[int] = []
        self.unanswered: list[int] = []
        self.answered: list[int] = []
        self.told: list[Any] = []
        self.heard: list[Any] = []
        self.quiet_done = 0
        # What the game shows, and what the player sees of it.
        self.turn = 0
        self.shown: Any = None
        self.in_game = False
        self.seen: tuple[int, Any] = (0, None)
        self.newest = 0
        self.thrown_away = False
        self.session_open = False
        # How many clients that ask to be let in are sent to another address next.
        self.sent_away = 0
        self.connect()
        if logged_in:
            self.everything_arrives()

    def make_delivery(self, window: int | None) -> ServerDelivery:
        return ServerDelivery(window=window)

    def connect(self) -> None:
        client_limit, server_limit = self.limits
        self.up: deque[bytes] = deque()
        self.down: deque[bytes] = deque()
        self.client: ClientProtocol = make_client(
            self.to_server,
            encrypted=False,
            max_frame_size=client_limit,
            token=TOKEN if self.session_open else b"",
            features=self.features,
        )
        self.server: ServerProtocol = make_server(encrypted=False, max_frame_size=server_limit)

    # What users do.

    @rule(quiet=st.booleans(), size=st.integers(0, 600))
    def ask(self, quiet: bool, size: int) -> None:
        self.asked.append(quiet)
        self.requests.put(Packet("ask", {"number": len(self.asked), "x": "x" * size}), quiet=quiet)

    @rule(count=st.integers(30, 100), quiet=st.booleans())
    def ask_much(self, count: int, quiet: bool) -> None:
        for _ in range(count):
            self.ask(quiet, 0)

    @precondition(lambda self: self.unanswered)
    @rule(data=st.data(), size=st.integers(0, 600))
    def answer(self, data: st.DataObject, size: int) -> None:
        id = data.draw(st.sampled_from(self.unanswered))
        self.unanswered.remove(id)
        self.to_client.respond(id, Response("answer", {"number": id, "x": "x" * size}))
        if not self.asked[id - 1]:
            self.told.append(("answer", id))

    @precondition(lambda self: self.unanswered)
    @rule()
    def answer_all(self) -> None:
        while self.unanswered:
            id = self.unanswered.pop()
            self.to_client.respond(id, Response("answer", {"number": id}))
            if not self.asked[id - 1]:
                self.told.append(("answer", id))

    @rule(size=st.integers(0, 600))
    def push(self, size: int) -> None:
        number = len(self.told)
        self.to_client.push(wire.encode_push(Push("news", {"number": number, "x": "x" * size})))
        self.told.append(("push", number))

    @rule(size=st.integers(0, 600))
    def show(self, size: int) -> None:
        if not self.in_game:
            self.change_game()
        self.turn += 1
        self.shown = {"turn": self.turn, "board": "x" * size}
        self.to_client.show(Seen(self.shown))

    @rule()
    def change_game(self) -> None:
        self.in_game = not self.in_game
        name = "table" if self.in_game else None
        self.to_client.change_game(wire.GameEnvelope(name, 0.0, 0.0, "", ""))
        # With it the player has to see the last state of the game before.
        self.told.append(("game", name, self.shown))
        self.shown = None

    @rule(by_client=st.booleans())
    def ping(self, by_client: bool) -> None:
        (self.client if by_client else self.server).ping()

    # What servers do that look like one.

    @precondition(lambda self: self.server.state is State.OPEN)
    @rule(then_away=st.integers(0, 2))
    def move(self, then_away: int) -> None:
        self.server.moved("/node-2", "moving")
        self.sent_away = then_away

    # What the network does.

    @rule(count=st.integers(1, 3))
    def carry(self, count: int) -> None:
        for _ in range(count):
            for sender, queue, limit in (
                (self.client, self.up, self.limits[1]),
                (self.server, self.down, self.limits[0]),
            ):
                waiting = sender.waiting
                message = sender.next_message()
                if message is not None:
                    # Whoever pumps a side does not ask it for messages unless it says so.
                    assert waiting
                    assert limit is None or len(message) <= limit
                    queue.append(message)

    @precondition(lambda self: self.up)
    @rule()
    def arrive_at_the_server(self) -> None:
        message = self.up.popleft()
        if self.server.closing:
            # It has moved the client, and reads no more.
            return
        for event in self.server.receive(message):
            if isinstance(event, LogIn | Resume) and self.sent_away:
                self.sent_away -= 1
                self.server.moved("/node-3", "not here")
            elif isinstance(event, RequestReceived):
                self.taken.append(event.packet.payload["number"])
                self.unanswered.append(event.id)
                assert event.quiet == self.asked[event.id - 1]
            elif isinstance(event, LogIn):
                self.server.accept("welcome", TOKEN, self.to_client)
                self.session_open = True
            elif isinstance(event, Resume):
                self.server.resume(self.to_client, event.received)
            else:
                assert isinstance(event, FullStateRequested)
                self.to_client.show_again()

    @precondition(lambda self: self.down)
    @rule()
    def arrive_at_the_client(self) -> None:
        for event in self.client.receive(self.down.popleft()):
            if isinstance(event, ResponseReceived):
                assert event.id == event.response.payload["number"]
                self.heard.append(("answer", event.id))
            elif isinstance(event, Pushed):
                self.heard.append(("push", event.push.payload["number"]))
            elif isinstance(event, PushesMissing):
                self.heard.append(("lost", event.count))
            elif isinstance(event, GameChanged):
                self.heard.append(("game", event.name, self.seen[1]))
                self.seen = (self.seen[0], None)
            elif isinstance(event, StateShown):
                self.see(event.version, event.data)
                self.thrown_away = False
            elif isinstance(event, Patched):
                if event.base == self.seen[0]:
                    self.see(event.version, apply(self.seen[1], event.patch))
            elif isinstance(event, Moved):
                assert self.client.closing
                assert not self.down
                self.connect()
            elif isinstance(event, QuietAck):
                assert event.id >= self.quiet_done
                self.quiet_done = event.id

    def see(self, version: int, data: Any) -> None:
        # What was thrown away may come once more.
        assert version > self.newest or (version == self.newest and self.thrown_away)
        self.newest = version
        assert self.seen[1] is None or data["turn"] >= self.seen[1]["turn"]
        self.seen = (version, data)

    @rule()
    def everything_arrives(self) -> None:
        for _ in range(4):
            self.carry(3)
            while self.up:
                self.arrive_at_the_server()
            while self.down:
                self.arrive_at_the_client()

    # Before the log-in there is no session that a connection could outlive.
    @precondition(lambda self: self.client.state in {State.OPEN, State.RETURN})
    @rule(while_both_speak=st.booleans(), then=st.sampled_from(["wait", "game", "return"]))
    def cut(self, while_both_speak: bool, then: str) -> None:
        if while_both_speak:
            self.carry(3)
        self.connect()
        if then == "game":
            self.change_game()
        elif then == "return":
            self.everything_arrives()

    # A game's room goes along, and shows its state anew.
    @precondition(lambda self: self.session_open)
    @rule(carried=st.integers(0, 3), arrives=st.booleans())
    def move_to_another_delivery(self, carried: int, arrives: bool) -> None:
        packed = unpack(pack(self.to_client.export(), 1), PackedDelivery, 1)
        # The server before says what it has, and then where the session is; or it does not get
        # that far.
        self.carry(carried)
        while arrives and self.down:
            self.arrive_at_the_client()
        self.to_client = self.make_delivery(WINDOW)
        self.to_client.adopt(packed)
        self.connect()
        if self.shown is not None:
            self.to_client.show(Seen(self.shown))

    @rule()
    def throw_the_state_away(self) -> None:
        # As a client that got a patch that does not fit; the state heals.
        if self.client.state is State.OPEN and self.seen[1] is not None:
            self.client.request_full_state()
            self.thrown_away = True

    # What users rely on.

    @invariant()
    def requests_are_taken_once_and_in_order(self) -> None:
        assert self.taken == list(range(1, len(self.taken) + 1))

    @invariant()
    def answers_and_pushes_are_heard_once_and_in_order(self) -> None:
        assert self.heard == self.told[: len(self.heard)]

    @invariant()
    def the_window_is_never_exceeded(self) -> None:
        assert self.to_server.unsettled <= WINDOW
        assert len(self.unanswered) <= WINDOW

    def check_that_all_was_heard(self) -> None:
        assert self.heard == self.told

    def teardown(self) -> None:
        if not hasattr(self, "requests"):
            return
        # Now the network works, and everybody does their part.
        for _ in range(len(self.asked) + self.to_client.unacknowledged + 20):
            self.carry(3)
            while self.up:
                self.arrive_at_the_server()
            while self.down:
                self.arrive_at_the_client()
            self.answer_all()
            self.ping(by_client=False)
            self.ping(by_client=True)
        assert self.taken == list(range(1, len(self.asked) + 1))
        self.check_that_all_was_heard()
        assert self.seen[1] == self.shown
        quiet = [id for id, is_quiet in enumerate(self.asked, 1) if is_quiet]
        assert self.quiet_done == (quiet[-1] if quiet else 0)
        # Nothing is kept for anybody.
        assert self.to_server.unsettled == 0
        assert (self.to_client.unacknowledged, self.to_client.unacknowledged_bytes) == (0, 0)
        assert not self.to_client._unsettled
        assert not self.to_client._quiet
        assert not self.to_server._quiet


@pytest.mark.no_cover
def test_everything_arrives_once_and_in_order_whatever_is_cut() -> None:
    run_state_machine_as_test(Drops, settings=settings(stateful_step_count=50))


class Overflows(Drops):
    """The same, where so much is said to the client that pushes are dropped."""

    max_messages = 300
    max_bytes = 100_000

    def make_delivery(self, window: int | None) -> ServerDelivery:
        delivery = ServerDelivery(max_messages=self.max_messages, max_bytes=self.max_bytes)
        # Users may do something here before the client is let in.
        delivery.features = frozenset(self.features)
        return delivery

    @rule(count=st.integers(20, 200), size=st.integers(0, 600))
    def push_much(self, count: int, size: int) -> None:
        for _ in range(count):
            self.push(size)

    @invariant()
    def answers_and_pushes_are_heard_once_and_in_order(self) -> None:
        heard, told = iter(self.heard), iter(self.told)
        assert all(item in told for item in heard if item[0] != "lost")

    @invariant()
    def no_more_is_kept_than_may_be(self) -> None:
        assert self.to_client.unacknowledged_bytes <= self.max_bytes + 100

    def check_that_all_was_heard(self) -> None:
        for heard, told in zip(by_game(self.heard), by_game(self.told), strict=True):
            assert [item for item in heard if item[0] not in {"push", "lost"}] == [
                item for item in told if item[0] != "push"
            ]
            pushed = [item for item in told if item[0] == "push"]
            received = [item for item in heard if item[0] == "push"]
            lost = [count for kind, count, *_ in heard if kind == "lost"]
            self.compare(received, pushed, lost)

    def compare(self, received: list[Any], pushed: list[Any], lost: list[int]) -> None:
        assert len(received) + sum(lost) == len(pushed)


class SilentOverflows(Overflows):
    """The same, where the client knows nothing of lost pushes."""

    features = FEATURES - {LOST}

    def compare(self, received: list[Any], pushed: list[Any], lost: list[int]) -> None:
        assert lost == []


def by_game(items: list[Any]) -> list[list[Any]]:
    """Return what came in each game, from one change of it to the next."""
    games: list[list[Any]] = [[]]
    for item in items:
        games[-1].append(item)
        if item[0] == "game":
            games.append([])
    return games


@pytest.mark.no_cover
@pytest.mark.parametrize("machine", [Overflows, SilentOverflows])
def test_all_but_pushes_arrives_once_and_in_order_however_much_is_said(
    machine: type[Drops],
) -> None:
    run_state_machine_as_test(machine, settings=settings(max_examples=60, stateful_step_count=50))
