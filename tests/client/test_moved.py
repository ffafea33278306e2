"""A client that a server sends to another address, and one that has several addresses."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pgnet_trio import (
    AddressError,
    Client,
    ConnectFailed,
    Disconnected,
    LoginRefused,
    Packet,
    ServerKeyMismatch,
)
from pgnet_trio.client.address import Address, parse_addresses, redirected
from pgnet_trio.client.connector import Connector, RemoteConnector
from pgnet_trio.client.route import MAX_LEARNED, MAX_MOVES, Route
from pgnet_trio.crypto import KeyPair
from pgnet_trio.testing import SimulatedNetwork
from pgnet_trio.transport import choose
from tests.kit.nodes import hosting_nodes
from tests.kit.seeds import seeds

if TYPE_CHECKING:
    from pgnet_trio.transport import Transport

OTHER_KEY = KeyPair(bytes(range(1, 33)))


@attrs.define
class Watched:
    """What a client's program is told."""

    client: Client
    calls: list[tuple[str, object]] = attrs.field(factory=list)
    statuses: list[str] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.client.on_connection = lambda is_in: self.calls.append(("connection", is_in))
        self.client.on_online = lambda is_online: self.calls.append(("online", is_online))
        self.client.on_game = lambda game: self.calls.append(("game", game))
        self.client.on_status = self.statuses.append


IN = ("connection", True)
OUT = ("connection", False)


@asynccontextmanager
async def watching(client: Client) -> AsyncIterator[tuple[Client, Watched]]:
    """Log a client in for the time of the block, and note what its program is told."""
    watched = Watched(client)
    async with client:
        yield client, watched


# In an open session


async def test_a_client_goes_where_its_session_goes_and_nobody_notices(
    autojump_clock: MockClock,
) -> None:
    async with hosting_nodes("a", "b", network=SimulatedNetwork(latency=0.01)) as nodes:
        async with watching(nodes.client("a")) as (ann, watched):
            session = nodes.sessions["ann"]
            session.join("table")
            session.ask(5, "choose")
            await ann.request(Packet("first"))
            question = await anext(ann.questions())
            since = trio.current_time()
            session.move("b")
            session.push("news")
            assert (await ann.request(Packet("second"))).message == "done"
            assert trio.current_time() - since < 0.15
            assert ann.online
            assert ann.game == "table"
            assert (await anext(ann.pushes())).message == "news"
            assert question.is_open
            await question.answer(Packet("chosen"))
            assert ann.status == "Goes on at b."
            assert nodes.log == ["a password", "b resume"]
        assert watched.calls == [IN, ("game", "table"), OUT]
        assert session.taken == ["first", "second", "chosen"]


@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize("step", range(0, 24, 2))
async def test_a_request_in_flight_is_taken_once(
    step: int, answers: bool, autojump_clock: MockClock
) -> None:
    """It is on its way to the node, or its answer is on its way back, or not there yet."""
    async with hosting_nodes("a", "b", network=SimulatedNetwork(latency=0.01)) as nodes:
        async with nodes.client("a") as ann, trio.open_nursery() as nursery:
            session = nodes.sessions["ann"]
            session.answers = answers

            async def ask() -> None:
                assert (await ann.request(Packet("ask"))).payload == {"was": "ask"}

            nursery.start_soon(ask)
            await trio.sleep(step / 1000)
            session.move("b")
            session.answers = True
            await trio.sleep(0.2)
            for request in session.unanswered:
                session.respond(request)
        assert session.taken == session.answered == ["ask"]


async def test_a_client_that_is_moved_to_and_fro_has_everything_done_once(
    autojump_clock: MockClock,
) -> None:
    network = SimulatedNetwork(latency=0.005, jitter=0.02)
    async with hosting_nodes("a", "b", "c", network=network) as nodes:
        async with watching(nodes.client("a")) as (ann, watched):
            session = nodes.sessions["ann"]

            async def ask() -> None:
                for number in range(200):
                    ann.send(Packet(str(number)))
                    await ann.request(Packet(f"ask {number}"))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                for round in range(40):
                    await trio.sleep(0.1)
                    if session.protocol is not None:
                        session.move("abc"[round % 3])
        expected = [text for number in range(200) for text in (str(number), f"ask {number}")]
        assert session.taken == expected
        assert watched.calls == [IN, OUT]


@pytest.mark.parametrize("seed", seeds(3))
async def test_moves_on_a_network_that_drops_lose_nothing_and_repeat_nothing(
    seed: int, autojump_clock: MockClock
) -> None:
    network = SimulatedNetwork(seed, latency=0.005, jitter=0.02, drop_rate=0.03)
    async with hosting_nodes("a", "b", "c", network=network) as nodes:
        chance = network.random("moves")
        async with nodes.client("a", "b", "c", reconnect_for=600) as ann:
            session = nodes.sessions["ann"]
            is_over = trio.Event()

            async def ask() -> None:
                for number in range(150):
                    assert (await ann.request(Packet(f"{number}"))).payload == {"was": f"{number}"}
                is_over.set()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                while not is_over.is_set():
                    with trio.move_on_after(chance.random()):
                        await is_over.wait()
                    # Some nodes are gone for a while, and some send on who comes by.
                    for node in nodes.at.values():
                        node.is_up = chance.random() < 0.8
                        node.sends_to = chance.choice("abc") if chance.random() < 0.3 else None
                    if session.protocol is not None:
                        session.move(chance.choice("abc"))
                for node in nodes.at.values():
                    node.is_up, node.sends_to = True, None
        assert session.taken == [f"{number}" for number in range(150)]
        assert network.dropped > 5


async def test_a_client_that_never_comes_back_after_a_drop_goes_where_it_is_sent(
    autojump_clock: MockClock,
) -> None:
    async with hosting_nodes("a", "b") as nodes:
        async with watching(nodes.client("a", reconnect_for=0)) as (ann, watched):
            nodes.sessions["ann"].move("b")
            await ann.request(Packet("ask"))
            nodes.sessions["ann"].move("nowhere")
            with pytest.raises(Disconnected, match="No server was reached at nowhere"):
                await ann.request(Packet("ask"))
        assert watched.calls == [IN, OUT]


@pytest.mark.parametrize(
    ("target", "why", "at_once"),
    [
        ("nowhere", "No server was reached at nowhere: nobody is there.", True),
        ("silent", "silent did not answer within 5 s.", False),
        ("busy", "The server did not log this client in: later.", True),
        ("other", "the server's public key is", True),
        ("ftp://b", "a sent this client where it does not go: 'ftp://b' is no address", True),
        ("//b", "a sent this client where it does not go: '//b' is no path", True),
    ],
)
async def test_a_client_that_is_not_let_in_where_it_is_sent_goes_back(
    target: str, why: str, at_once: bool, autojump_clock: MockClock
) -> None:
    async with hosting_nodes("a", "silent", "busy") as nodes:
        nodes.at["silent"].is_silent = True
        nodes.at["busy"].says_later = "later"
        other = nodes.add("other", OTHER_KEY)
        async with watching(nodes.client("a")) as (ann, watched):
            session = nodes.sessions["ann"]
            since = trio.current_time()
            session.move(target)
            assert (await ann.request(Packet("ask"))).message == "done"
            took = trio.current_time() - since
            assert took < 0.2 if at_once else 5 <= took < 5.2
            assert f"Not back yet: {why}" in "\n".join(watched.statuses)
            # An impostor gets nothing to know a user by.
            assert f"{other.address} resume" not in nodes.log
        assert watched.calls == [IN, ("online", False), ("online", True), OUT]
        assert session.taken == ["ask"]


async def test_a_session_that_is_not_known_where_it_should_be_begins_anew(
    autojump_clock: MockClock,
) -> None:
    async with hosting_nodes("a", "b") as nodes:
        async with watching(nodes.client("a")) as (ann, watched):
            nodes.sessions["ann"].token = bytes(32)
            nodes.sessions["ann"].move("b")
            await trio.sleep(1)
            assert nodes.log == ["a password", "b resume", "b token"]
            assert ann.online
        assert watched.calls == [IN, OUT, IN, OUT]


async def test_a_login_token_that_comes_with_a_move_is_used(autojump_clock: MockClock) -> None:
    async with hosting_nodes("a", "b") as nodes:
        async with nodes.client("a"):
            session = nodes.sessions["ann"]
            session.token = bytes(32)
            nodes.login_tokens.clear()
            session.move("b", nodes.new_login_token())
            await trio.sleep(1)
            assert nodes.log == ["a password", "b resume", "b token"]


async def test_who_is_refused_where_they_are_sent_is_out(autojump_clock: MockClock) -> None:
    async with hosting_nodes("a", "b") as nodes:
        nodes.at["b"].refuses = "You are banned."
        async with nodes.client("a") as ann:
            nodes.sessions["ann"].move("b")
            with pytest.raises(Disconnected, match=r"You are banned\."):
                await ann.request(Packet("ask"))


async def test_nodes_that_pass_a_client_on_without_an_end_are_not_followed_without_a_pause(
    autojump_clock: MockClock,
) -> None:
    async with hosting_nodes("a", "b") as nodes:
        a, b = nodes.at["a"], nodes.at["b"]
        async with watching(nodes.client("a")) as (ann, watched):
            session = nodes.sessions["ann"]
            a.sends_on, b.sends_on = "b", "a"
            session.move("b")
            await trio.sleep(30)
            assert ("online", False) in watched.calls
            # 8 at once, and then as after any drop.
            quick = [time for time in nodes.times[1:] if time == nodes.times[1]]
            assert len(quick) == MAX_MOVES
            assert len(nodes.log) < 200
            a.sends_on = None
            assert (await ann.request(Packet("ask"))).message == "done"
        assert session.taken == ["ask"]


async def test_many_moves_are_followed_where_something_is_done_between(
    autojump_clock: MockClock,
) -> None:
    async with hosting_nodes("a", "b") as nodes:
        async with watching(nodes.client("a")) as (ann, watched):
            for _ in range(3 * MAX_MOVES):
                nodes.sessions["ann"].move("b")
                await ann.request(Packet("ask"))
        assert watched.calls == [IN, OUT]


@pytest.mark.parametrize("delay", range(0, 80, 5))
async def test_a_client_may_go_away_while_it_is_moved(
    delay: int, autojump_clock: MockClock
) -> None:
    async with hosting_nodes("a", "b", network=SimulatedNetwork(latency=0.01)) as nodes:
        async with watching(nodes.client("a")) as (ann, watched):
            nodes.sessions["ann"].move("b")
            await trio.sleep(delay / 1000)
            ann.disconnect()
            assert ann.close_reason == "disconnected by this client"
            await wait_all_tasks_blocked()
        assert watched.calls == [IN, OUT]


async def test_a_move_may_be_cancelled(autojump_clock: MockClock) -> None:
    async with hosting_nodes("a", "b") as nodes:
        nodes.at["b"].is_silent = True
        with trio.move_on_after(1) as scope:
            async with nodes.client("a"):
                nodes.sessions["ann"].move("b")
                await trio.sleep_forever()
        assert scope.cancelled_caught


async def test_a_link_in_memory_leads_nowhere_else(autojump_clock: MockClock) -> None:
    async with hosting_nodes("a", "b", network=SimulatedNetwork(encrypted=False)) as nodes:
        async with nodes.client("a") as ann:
            nodes.sessions["ann"].move("b")
            await ann.request(Packet("ask"))
            assert nodes.log == ["a password", "b resume"]


# At a log-in, and at a resume


async def test_a_log_in_at_the_wrong_node_leads_to_the_right_one(
    autojump_clock: MockClock,
) -> None:
    async with hosting_nodes("a", "b", "c") as nodes:
        nodes.at["a"].sends_to = "b"
        nodes.at["b"].sends_to = "c"
        async with watching(nodes.client("a")) as (ann, watched):
            # The password goes to one node alone.
            assert nodes.log == ["a password", "b token", "c token"]
            assert len(set(nodes.times)) == 1
            assert ann.status == "Logged in as ann at c, protocol 2."
        assert watched.calls == [IN, OUT]


async def test_a_client_comes_back_by_way_of_another_node(autojump_clock: MockClock) -> None:
    async with hosting_nodes("a", "b", "c") as nodes:
        a, b = nodes.at["a"], nodes.at["b"]
        async with watching(nodes.client("a")) as (ann, watched):
            await ann.request(Packet("first"))
            a.sends_to, b.sends_to = "b", "c"
            nodes.network.drop()
            await ann.request(Packet("second"))
            assert nodes.log == ["a password", "a resume", "b resume", "c resume"]
        assert watched.calls == [IN, ("online", False), ("online", True), OUT]


async def test_after_a_drop_a_client_asks_first_where_it_was(autojump_clock: MockClock) -> None:
    async with hosting_nodes("a", "b") as nodes:
        a, b = nodes.at["a"], nodes.at["b"]
        a.sends_to = "b"
        async with nodes.client("a") as ann:
            nodes.network.drop()
            await ann.request(Packet("first"))
            assert nodes.log[2:] == ["b resume"]
            # And then at the address that it was given, since nobody is there any more.
            b.is_up, a.sends_to = False, None
            nodes.network.drop()
            await ann.request(Packet("second"))
            assert nodes.log[3:] == ["a resume"]


async def test_log_ins_that_are_sent_around_end(autojump_clock: MockClock) -> None:
    async with hosting_nodes("a", "b") as nodes:
        nodes.at["a"].sends_to = "b"
        nodes.at["b"].sends_to = "a"
        with pytest.raises(ConnectFailed, match="from one address to the next 8 times, and then"):
            async with nodes.client("a", reconnect_for=0):
                pass
        assert len(nodes.log) == MAX_MOVES + 1


async def test_a_client_that_is_sent_to_a_node_that_is_gone_asks_again_where_it_belongs(
    autojump_clock: MockClock,
) -> None:
    async with hosting_nodes("a", "b") as nodes:
        a, b = nodes.at["a"], nodes.at["b"]
        a.sends_to, b.is_up = "b", False
        since = trio.current_time()
        with pytest.raises(ConnectFailed, match="No server was reached at b"):
            async with nodes.client("a"):
                pass
        assert 59 < trio.current_time() - since < 61
        # The pauses grow.
        assert 10 < len(nodes.log) < 60

        async def let_the_other_one_take_over() -> None:
            await trio.sleep(10)
            a.sends_to = None

        nodes.log.clear()
        nodes.nursery.start_soon(let_the_other_one_take_over)
        async with nodes.client("a") as ann:
            assert ann.status == "Logged in as ann at a, protocol 2."
            # The password is said once.
            assert nodes.log[0] == "a password"
            assert set(nodes.log[1:]) == {"a token"}


@pytest.mark.parametrize("pinned", [True, False])
async def test_only_the_key_that_sent_a_client_away_is_taken_there(
    pinned: bool, autojump_clock: MockClock
) -> None:
    async with hosting_nodes("a") as nodes:
        nodes.at["a"].sends_to = "b"
        nodes.add("b", OTHER_KEY)
        known = nodes.key.pubkey if pinned else ""
        with pytest.raises(ServerKeyMismatch, match=f"expected {nodes.key.pubkey}"):
            async with nodes.client("a", verify_server_pubkey=known):
                pass
        assert nodes.log == ["a password"]


async def test_no_older_protocol_is_spoken_where_a_client_is_sent(
    autojump_clock: MockClock,
) -> None:
    async with hosting_nodes("a", "b") as nodes:
        nodes.at["a"].sends_to = "b"
        connector = nodes.network.connector("a", "ann")
        older = nodes.network.connector("b", "ann", protocol=1)
        connector.redirected = lambda address: older  # type: ignore[method-assign]  # replaced for this test
        with pytest.raises(ConnectFailed, match="does not speak protocol 2"):
            async with Client(connector, username="ann", reconnect_for=0):
                pass
        assert nodes.log == ["a password"]


# Several addresses


async def first_tried(seed: int) -> str:
    async with hosting_nodes("a", "b", "c", network=SimulatedNetwork(seed)) as nodes:
        async with nodes.client("a", "b", "c"):
            return nodes.log[0]


async def test_addresses_are_tried_in_random_order(autojump_clock: MockClock) -> None:
    tried = [await first_tried(seed) for seed in range(12)]
    assert tried[:4] == [await first_tried(seed) for seed in range(4)]
    for address in "abc":
        assert tried.count(f"{address} password") >= 2


@pytest.mark.parametrize("seed", range(4))
async def test_a_client_gets_in_where_it_can(seed: int, autojump_clock: MockClock) -> None:
    async with hosting_nodes("a", "b", "d", network=SimulatedNetwork(seed)) as nodes:
        nodes.at["a"].is_up = False
        nodes.at["b"].says_later = "later"
        nodes.add("c", OTHER_KEY)
        key = nodes.key.pubkey
        async with nodes.client("a", "b", "c", "d", verify_server_pubkey=key) as ann:
            assert ann.status == "Logged in as ann at d, protocol 2."


class Nowhere(Connector):
    """A way on which packets vanish."""

    encrypted = True

    def __init__(self, real: Connector) -> None:
        self._real = real

    def __str__(self) -> str:
        return "nowhere"

    def connect(self, max_message_size: int | None) -> AbstractAsyncContextManager[Transport]:
        return self._connect(max_message_size)

    @asynccontextmanager
    async def _connect(self, max_message_size: int | None) -> AsyncIterator[Transport]:
        async with self._real.connect(max_message_size) as transport:
            await trio.sleep(10**6)
            yield transport


async def test_an_address_that_does_not_answer_does_not_take_long(
    autojump_clock: MockClock,
) -> None:
    took = set()
    for seed in range(8):
        async with hosting_nodes("a", network=SimulatedNetwork(seed)) as nodes:
            since = trio.current_time()
            environment = nodes.network.environment("client")
            way = nodes.network.connector("a", "ann")
            async with Client(Nowhere(way), way, username="ann", environment=environment):
                took.add(round(trio.current_time() - since))
    assert took == {0, 5}


async def test_where_nobody_answers_the_error_names_all(autojump_clock: MockClock) -> None:
    async with hosting_nodes("b") as nodes:
        nodes.at["b"].says_later = "later"
        with pytest.raises(ConnectFailed) as caught:
            async with nodes.client("a", "b", "c"):
                pass
        for text in ("reached at a: nobody is there", "reached at c: nobody", "in: later."):
            assert text in str(caught.value)
        assert caught.value.code == "busy"
        with pytest.raises(ServerKeyMismatch):
            nodes.add("c", OTHER_KEY)
            key = nodes.key.pubkey
            async with nodes.client("a", "c", verify_server_pubkey=key):
                pass


async def test_all_addresses_have_the_key_that_answered_first(autojump_clock: MockClock) -> None:
    async with hosting_nodes("a") as nodes:
        nodes.at["a"].says_later = "later"
        nodes.add("b", OTHER_KEY).says_later = "later"
        with pytest.raises(ServerKeyMismatch):
            async with nodes.client("a", "b"):
                pass
        # The password went to one of them.
        assert len(nodes.log) == 1


async def test_who_is_refused_at_one_address_is_refused(autojump_clock: MockClock) -> None:
    async with hosting_nodes() as nodes:
        for address in "ab":
            nodes.add(address).refuses = "You are banned."
        with pytest.raises(LoginRefused, match="banned"):
            async with nodes.client("a", "b"):
                pass
        assert len(nodes.log) == 1


@pytest.mark.parametrize("seed", range(4))
async def test_a_client_comes_back_at_another_of_its_addresses(
    seed: int, autojump_clock: MockClock
) -> None:
    async with hosting_nodes("a", "b", "c", network=SimulatedNetwork(seed)) as nodes:
        by_address = dict(nodes.at)
        async with watching(nodes.client("a", "b", "c")) as (ann, watched):
            first = nodes.log[0][0]
            by_address.pop(first).is_up = False
            nodes.network.drop()
            await ann.request(Packet("ask"))
            second = nodes.log[1][0]
            assert second != first
            by_address.pop(second).is_up = False
            nodes.network.drop()
            await ann.request(Packet("ask"))
            assert nodes.log[2][0] == next(iter(by_address))
            assert nodes.log[1:] == [f"{second} resume", f"{next(iter(by_address))} resume"]
        assert watched.calls == [IN, *[("online", False), ("online", True)] * 2, OUT]


@pytest.mark.parametrize("seed", range(4))
async def test_an_address_at_which_nobody_is_costs_no_pause_as_long_as_there_are_others(
    seed: int, autojump_clock: MockClock
) -> None:
    names = list("abcdefgh")
    async with hosting_nodes(*names, network=SimulatedNetwork(seed, latency=0.01)) as nodes:
        async with nodes.client(*names) as ann:
            first = nodes.log[0][0]
            last = next(name for name in names if name != first)
            for name in names:
                nodes.at[name].is_up = name == last
            nodes.network.drop()
            since = trio.current_time()
            await ann.request(Packet("ask"))
            assert trio.current_time() - since < 0.5


async def test_who_is_sent_to_a_node_that_is_gone_asks_again_every_few_seconds(
    autojump_clock: MockClock,
) -> None:
    async with hosting_nodes("a", "b") as nodes:
        async with nodes.client("a") as ann:
            nodes.at["a"].sends_to, nodes.at["b"].is_up = "b", False
            nodes.network.drop()
            start = len(nodes.log)
            await trio.sleep(50)
            times = nodes.times[start:]
            assert max(later - time for time, later in itertools.pairwise(times)) < 2.6
            # It does not ask more often than it has to.
            assert len(times) < 60
            nodes.at["a"].sends_to = None
            await ann.request(Packet("ask"))


async def test_a_client_comes_back_at_addresses_that_it_was_moved_to(
    autojump_clock: MockClock,
) -> None:
    async with hosting_nodes("a", "b", "c", network=SimulatedNetwork(latency=0.01)) as nodes:
        async with watching(nodes.client("a")) as (ann, watched):
            for address in ("b", "c"):
                nodes.sessions["ann"].move(address)
                await ann.request(Packet("ask"))
            nodes.at["a"].is_up = nodes.at["c"].is_up = False
            nodes.network.drop()
            await ann.request(Packet("ask"))
            assert nodes.log == ["a password", "b resume", "c resume", "b resume"]
        assert watched.calls == [IN, ("online", False), ("online", True), OUT]


async def test_only_the_same_key_is_taken_at_an_address_that_a_client_was_moved_to(
    autojump_clock: MockClock,
) -> None:
    async with hosting_nodes("a", "b", network=SimulatedNetwork(latency=0.01)) as nodes:
        with pytest.raises(ServerKeyMismatch):
            async with nodes.client("a", reconnect_for=3.0) as ann:
                nodes.sessions["ann"].move("b")
                await ann.request(Packet("ask"))
                nodes.at["a"].is_up = False
                nodes.at["b"].key = OTHER_KEY
                nodes.network.drop()
                with pytest.raises(Disconnected):
                    await ann.request(Packet("ask"))
        assert nodes.log == ["a password", "b resume"]


# What is an address, and what leads where


def test_several_addresses_are_read() -> None:
    found = parse_addresses("a.example, b.example:5 ,wss://c.example/x,[::1]:7,a.example", 38929)
    assert found == (
        Address("a.example", 38929),
        Address("b.example", 5),
        Address("c.example", 443, "/x", tls=True),
        Address("::1", 7),
    )
    client = Client.remote(address="a.example,wss://c.example/x", username="ann")
    assert "'ann' at a.example:38929,c.example:443/x, not connected" in repr(client)


@pytest.mark.parametrize(
    ("addresses", "complaint"),
    [
        ("a.example,b.example:x", "Address 2 of 2: 'b.example:x' is no address of a server"),
        ("a.example,,b.example", "Address 2 of 3: '' is no address of a server"),
        ("a.example,", "Address 2 of 2: '' is no address"),
        ("ftp://a", "^'ftp://a' is no address"),
    ],
)
def test_the_address_that_is_wrong_is_named(addresses: str, complaint: str) -> None:
    with pytest.raises(AddressError, match=complaint):
        Client.remote(address=addresses, username="ann")


@pytest.mark.parametrize(
    ("current", "to", "leads_to"),
    [
        ("a.example:5", "b.example:6", "b.example:6"),
        ("a.example:5", "b.example", "b.example:38929"),
        ("a.example:5", "/node-3", "ws://a.example:5/node-3"),
        ("wss://a.example/x", "/node-3?y=1", "wss://a.example/node-3?y=1"),
        ("a.example", "wss://b.example/2", "wss://b.example/2"),
        ("wss://a.example", "wss://b.example:7/", "wss://b.example:7"),
        ("ws://a.example/x", "ws://b.example/y", "ws://b.example/y"),
    ],
)
def test_where_a_server_may_send_a_client(current: str, to: str, leads_to: str) -> None:
    (here,), (there,) = parse_addresses(current, 38929), parse_addresses(leads_to, 38929)
    assert redirected(here, to, 38929) == there
    way = RemoteConnector(here, choose(None)).redirected(to)
    assert way._address == there


@pytest.mark.parametrize(
    ("current", "to", "complaint"),
    [
        ("wss://a.example", "ws://a.example", "'ws://a.example' is without TLS, and a.example:443"),
        ("wss://a.example", "a.example:38929", "is without TLS"),
        ("a.example", "//b.example/x", "is no path"),
        ("a.example", "/x#y", "is no path"),
        ("a.example", "ftp://b.example", "ftp:// is not spoken here"),
        ("a.example", "ann@b.example", "user names do not belong here"),
        ("a.example", "b.example,c.example", "is no address"),
        ("a.example", "b.example:99999", "is no address"),
        ("a.example", "node-3/x", "there is something after the port"),
    ],
)
def test_where_no_server_may_send_a_client(current: str, to: str, complaint: str) -> None:
    (here,) = parse_addresses(current, 38929)
    with pytest.raises(AddressError, match=complaint):
        redirected(here, to, 38929)


def test_a_bot_and_a_local_client_go_nowhere_else() -> None:
    network = SimulatedNetwork()
    with pytest.raises(AddressError):
        network.connector("a", "ann").redirected("//b")


def test_a_route_tries_each_of_its_ways_before_it_tries_one_again() -> None:
    network = SimulatedNetwork()
    ways = [network.connector(name, "ann") for name in "abcd"]
    for seed in range(50):
        route = Route(ways, SimulatedNetwork(seed).random("route").randbytes)
        tried = [route.current]
        for _ in range(11):
            route.go_back()
            tried.append(route.current)
        for round in (tried[:4], tried[4:8], tried[8:]):
            assert set(round) == set(ways)
        assert all(one is not other for one, other in itertools.pairwise(tried))


def test_a_route_tries_where_it_led_before_after_what_it_was_given() -> None:
    network = SimulatedNetwork()
    route = Route([network.connector(name, "ann") for name in "ab"], network.random("r").randbytes)
    for number in range(MAX_LEARNED + 2):
        route.follow(f"moved{number}")
        route.note_let_in()
        route.note_progress()
    for address in ("moved5", "nobody"):
        route.follow(address)
        if address != "nobody":
            route.note_let_in()
    for _ in range(2):
        while route.has_others:
            route.go_back()
        tried = []
        for _ in range(MAX_LEARNED + 2):
            route.go_back()
            tried.append(str(route))
        assert set(tried[:2]) == {"a", "b"}
        assert tried[2:] == [f"moved{number}" for number in (5, 9, 8, 7, 6, 4, 3, 2)]
