"""Peers that do not read: they cost nobody else anything, and their server little."""

from __future__ import annotations

import gc
import math
import os
import tracemalloc
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pgnet_trio import Client, Game, Left, LostPushes, Packet, Push, Request, Response
from pgnet_trio.connection import Connection
from pgnet_trio.crypto import KeyPair
from pgnet_trio.environment import Environment
from pgnet_trio.errors import Disconnected
from pgnet_trio.protocol import v2
from pgnet_trio.protocol.events import LogIn
from pgnet_trio.protocol.v2.client_delivery import ClientDelivery
from pgnet_trio.protocol.v2.features import FEATURES, LOST
from pgnet_trio.protocol.v2.server_delivery import ServerDelivery
from pgnet_trio.testing import SimulatedNetwork, hosting, playing
from pgnet_trio.transport import MemoryTransport, Transport, memory_pair
from tests.attacks.peer import Peer
from tests.kit.hosting import socket_client
from tests.server.test_hostile import ANSWER, IMPLEMENTATIONS, stranger
from tests.server.test_hostile import request as ask


class Loud(Game):
    """Answers with what it got, and says what it is told to everybody."""

    def __init__(self, name: str, save_string: str | None = None) -> None:
        self.left: list[str] = []

    def user_left(self, username: str, /) -> None:
        self.left.append(username)

    def handle_game_packet(self, packet: Packet, /) -> Response:
        if packet.message == "kick":
            self.room.kick("ann", "You are out.")
        if packet.message == "say":
            for _ in range(packet.payload.get("times", 1)):
                text, to = packet.payload["text"], packet.payload.get("to")
                self.room.push("said", {"text": text}, to=to)
            return Response("")
        return Response(packet.message, packet.payload)


async def test_who_does_not_read_misses_the_oldest_pushes_and_nobody_waits(
    autojump_clock: MockClock,
) -> None:
    async with (
        hosting(Loud, max_unacknowledged_messages=500, requests_per_second=None) as server,
        playing(server, "ann", "bob", game="table 1") as (ann, bob),
    ):
        events = ann.events()
        await wait_all_tasks_blocked()
        server.network.stall("ann")
        start = trio.current_time()
        for number in range(600):
            await bob.request(Packet("say", {"text": f"{number} {'x' * 100}"}))
        assert trio.current_time() == start
        assert server.stats().sessions["ann"].dropped_pushes >= 100
        assert server.stats().sessions["ann"].unacknowledged <= 500
        server.network.heal("ann")
        await trio.sleep(5)
        heard = await hear_all(events)
        assert heard[-1] == 599
        assert sum(lost_or_heard(heard)) == 600
        assert ann.online


async def hear_all(events: AsyncIterator[Any]) -> list[int | str]:
    """Return the numbers of what was said, and how much was lost where."""
    heard: list[int | str] = []
    with trio.move_on_after(1):
        async for event in events:
            if isinstance(event, Push):
                heard.append(int(event.payload["text"].split()[0]))
            elif isinstance(event, LostPushes):
                heard.append(f"{event.count} lost")
            elif isinstance(event, Left):
                heard.append(event.reason)
    return heard


def lost_or_heard(heard: list[int | str]) -> list[int]:
    return [1 if isinstance(item, int) else int(item.split()[0]) for item in heard]


@pytest.mark.parametrize("limit", ["messages", "bytes"])
async def test_who_is_away_keeps_the_seat_whatever_others_say(
    limit: str, autojump_clock: MockClock
) -> None:
    limits: dict[str, Any] = {
        "messages": {"max_unacknowledged_messages": 50},
        "bytes": {"max_unacknowledged_bytes": 20_000},
    }[limit]
    async with (
        hosting(Loud, **limits) as server,
        playing(server, "ann", "bob", game="table 1") as (ann, bob),
    ):
        events, told = ann.events(), list[int]()
        ann.on_lost_pushes = told.append
        server.network.cut("ann")
        for number in range(100):
            await bob.request(Packet("say", {"text": f"{number} {'x' * 400}"}))
            assert server.stats().sessions["ann"].unacknowledged_bytes <= 50_000
        server.network.heal("ann")
        await trio.sleep(5)
        lost, *kept = await hear_all(events)
        first = 100 - len(kept)
        assert kept == [*range(first, 100)]
        assert lost == f"{first} lost"
        assert told == [first]
        assert ann.lost_pushes == first
        assert len(kept) >= 30
        # Its game goes on as if nothing had been.
        await bob.request(Packet("say", {"text": "100"}))
        assert await hear_all(events) == [100]
        assert (await ann.request(Packet("hello"))).message == "hello"
        assert server.games["table 1"].left == []


@pytest.mark.parametrize("fault", ["cut", "stall"])
@pytest.mark.no_cover
async def test_one_talker_at_the_default_rate_takes_nobody_s_seat(
    fault: str, autojump_clock: MockClock
) -> None:
    async with (
        hosting(Loud) as server,
        playing(server, "ann", "bob", game="table 1") as (ann, bob),
    ):
        pushes, lost = list[Push](), list[int]()
        ann.on_push, ann.on_lost_pushes = pushes.append, lost.append
        getattr(server.network, fault)("ann")
        start = trio.current_time()
        said = 0
        while trio.current_time() < start + 4:
            await bob.request(Packet("say", {"text": f"{said} {'x' * 4000}"}))
            said += 1
        assert server.stats().sessions["ann"].unacknowledged_bytes <= 1024 * 1024
        assert server.stats().sessions["ann"].dropped_pushes > 0
        server.network.heal("ann")
        await trio.sleep(6)
        assert pushes[-1].payload["text"].split()[0] == str(said - 1)
        assert len(pushes) + sum(lost) == said
        assert server.games["table 1"].left == []


@pytest.mark.parametrize("reads", ["pushes", "events", "on_push"])
async def test_as_much_as_a_server_keeps_is_read_when_the_client_is_back(
    reads: str, autojump_clock: MockClock
) -> None:
    heard: list[Push] = []

    async with (
        hosting(Loud, requests_per_second=None) as server,
        playing(server, "ann", "bob", game="table 1") as (ann, bob),
        trio.open_nursery() as nursery,
    ):

        async def read() -> None:
            events: AsyncIterator[Any] = ann.pushes() if reads == "pushes" else ann.events()
            async for event in events:
                heard.extend([event] if isinstance(event, Push) else [])

        if reads == "on_push":
            ann.on_push = heard.append
        else:
            nursery.start_soon(read)
        await wait_all_tasks_blocked()
        server.network.cut("ann")
        for _ in range(40):
            await bob.request(Packet("say", {"text": "x", "times": 100}))
        server.network.heal("ann")
        await trio.sleep(6)
        assert len(heard) == 4000
        assert ann.lost_pushes == 0
        # What it wants to say meets no queue that is full of what it heard.
        ann.send(Packet("hello"))
        nursery.cancel_scope.cancel()


async def test_a_client_that_knows_nothing_of_lost_pushes_keeps_the_seat_too(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = v2.ClientProtocol.__init__.__kwdefaults__
    assert options is not None
    monkeypatch.setitem(options, "features", FEATURES - {LOST})
    async with (
        hosting(Loud, max_unacknowledged_messages=50) as server,
        playing(server, "ann", "bob", game="table 1") as (ann, bob),
    ):
        events = ann.events()
        server.network.cut("ann")
        for number in range(100):
            await bob.request(Packet("say", {"text": str(number)}))
        server.network.heal("ann")
        await trio.sleep(5)
        heard = await hear_all(events)
        assert heard == [*range(100 - len(heard), 100)]
        assert ann.lost_pushes == 0


async def test_what_is_lost_of_a_game_is_told_to_who_reads_that_game(
    autojump_clock: MockClock,
) -> None:
    async with (
        hosting(Loud, max_unacknowledged_messages=20) as server,
        playing(server, "ann", "bob", game="table 1") as (ann, bob),
    ):
        events = ann.events()
        server.network.cut("ann")
        for number in range(30):
            await bob.request(Packet("say", {"text": str(number)}))
        await bob.request(Packet("kick"))
        server.network.heal("ann")
        await trio.sleep(5)
        await ann.join_game("table 2")
        assert ann.lost_pushes == 0
        await ann.request(Packet("say", {"text": "0"}))
        lost, *kept, left, first = await hear_all(events)
        assert lost == f"{kept[0]} lost"
        assert kept == [*range(30 - len(kept), 30)]
        assert (left, first) == ("kicked", 0)


async def test_an_answer_too_many_ends_the_session_and_not_the_game(
    autojump_clock: MockClock,
) -> None:
    async with (
        hosting(Loud, max_unacknowledged_bytes=20_000, requests_per_second=None) as server,
        playing(server, "bob", "ann", game="table 1") as (bob, ann),
    ):
        server.network.stall("ann")
        for _ in range(40):
            ann.send(Packet("x", {"x": "x" * 1000}), print)
        await wait_all_tasks_blocked()
        assert list(server.stats().sessions) == ["bob"]
        assert (await bob.request(Packet("hello"))).message == "hello"


async def test_a_game_that_ends_a_session_leaves_nothing_of_its_own_in_it(
    autojump_clock: MockClock,
) -> None:
    whose: ContextVar[str] = ContextVar("whose", default="the server's")
    seen: list[tuple[str, bool, str]] = []

    class Setting(Loud):
        def handle_game_packet(self, packet: Packet, /) -> Response:
            whose.set("the game's")
            return super().handle_game_packet(packet)

    async with (
        hosting(
            Setting,
            max_unacknowledged_bytes=20_000,
            requests_per_second=None,
            on_connection=lambda *args: seen.append((*args, whose.get())),
        ) as server,
        playing(server, "ann", game="table 1") as ann,
    ):
        server.network.stall("ann")
        for _ in range(40):
            ann.send(Packet("x", {"x": "x" * 1000}), print)
        await wait_all_tasks_blocked()
        assert server.stats().sessions == {}
    assert seen == [("ann", True, "the server's"), ("ann", False, "the server's")]


@pytest.mark.parametrize("transport", IMPLEMENTATIONS)
@pytest.mark.no_cover
async def test_what_a_stalled_client_costs_is_its_limit_and_little_more(
    transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 256 * 1024
    deliveries: list[ServerDelivery] = []

    def make_delivery(**options: Any) -> ServerDelivery:
        deliveries.append(ServerDelivery(**options))
        return deliveries[-1]

    monkeypatch.setattr("pgnet_trio.server.sessions.registry.ServerDelivery", make_delivery)
    async with hosting(
        Loud,
        port=0,
        transport=transport,
        requests_per_second=None,
        max_unacknowledged_messages=None,
        max_unacknowledged_bytes=limit,
    ) as server:
        async with stranger(server) as ann, socket_client(server, "eve") as eve:
            await ann.say_envelopes(ask(1, "__pgnet__.create_game", {"name": "table 1"}))
            await ann.hear_until(ANSWER)
            await eve.join_game("table 1")
            # The kernel takes some of it before anything waits here.
            delivery, _ = deliveries
            delivery._max_bytes = math.inf
            while True:
                before = delivery._sent
                await eve.request(Packet("say", {"text": "x" * 500, "times": 100, "to": "bob"}))
                if delivery._sent == before:
                    break
            # Forget what the kernel holds, as if it had been acknowledged.
            delivery.acknowledge(delivery._acknowledged + delivery._sent)
            held = delivery.unacknowledged_bytes
            delivery._max_bytes = limit
            gc.collect()
            tracemalloc.start()
            used = 0
            while delivery.dropped < 1000:
                used = max(used, tracemalloc.get_traced_memory()[0])
                await eve.request(Packet("say", {"text": "y" * 40, "times": 20, "to": "bob"}))
            tracemalloc.stop()
        assert used + held <= limit + 100 * 1024


@pytest.mark.parametrize("transport", IMPLEMENTATIONS)
@pytest.mark.no_cover
async def test_both_sides_may_have_much_to_say_at_once(
    transport: str, socket_clock: MockClock
) -> None:
    online: list[bool] = []
    text = "x" * 60_000
    async with hosting(
        Loud,
        port=0,
        transport=transport,
        requests_per_second=None,
        max_unacknowledged_bytes=None,
    ) as server:
        ann = Client.remote(address=f"127.0.0.1:{server.port}", username="ann", transport=transport)
        ann.on_online = online.append
        async with ann:
            await ann.create_game("table 1")
            answers: list[str] = []
            async with trio.open_nursery() as nursery:

                async def echo() -> None:
                    response = await ann.request(Packet("echo", {"text": text}))
                    answers.append(response.payload["text"])

                for _ in range(600):
                    nursery.start_soon(echo)
            assert answers == [text] * 600
        assert online == []


async def test_who_acknowledges_late_is_told_the_rest_there_and_then() -> None:
    options: dict[str, Any] = {"max_unacknowledged_bytes": 8192, "requests_per_second": None}
    async with hosting(Loud, port=0, **options) as server, socket_client(server, "bob") as bob:
        assert server.port is not None
        ann = Peer(server.port, "ann")
        await ann.log_in()
        await bob.create_game("table 1")
        await ann.request(Request.JOIN_GAME, {"name": "table 1"})
        # It reads all that comes, and does not say so.
        ann._told = math.inf  # type: ignore[assignment]  # more than ever comes
        texts: list[int] = []

        async def hear() -> None:
            while True:
                texts.extend(
                    envelope[2]["text"] for envelope in await ann.receive() if envelope[1] == "said"
                )

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear)
            for number in range(500):
                await bob.request(Packet("say", {"text": number, "to": "ann"}))
                await wait_all_tasks_blocked()
            assert 0 < len(texts) < 400
            await ann.say(ann.acknowledgement())
            await wait_all_tasks_blocked()
            assert texts[-1] == 499
            nursery.cancel_scope.cancel()
        ann.drop()


async def test_a_slow_network_is_no_reason_to_hang_up(autojump_clock: MockClock) -> None:
    network = SimulatedNetwork(bandwidth=2_000)
    online: list[bool] = []
    async with (
        hosting(Loud, network=network) as server,
        playing(server, "ann", "bob", game="table 1") as (ann, bob),
    ):
        ann.on_online = online.append
        # What waits is more than what passes in the time of a keepalive.
        for _ in range(4):
            await bob.request(Packet("say", {"text": "x" * 500, "times": 60}))
        await trio.sleep(200)
        assert online == []
        pushes = ann.pushes()
        for _ in range(240):
            await anext(pushes)


class Trickle(MemoryTransport):
    """The end of a link that takes a hundred seconds for a message, bit by bit."""

    sent_at = -math.inf
    messages = 0

    @property
    def last_sent(self) -> float:
        return self.sent_at

    def send_nowait(self, message: str | bytes) -> bool:
        self.messages += 1
        return False

    async def drain(self) -> None:
        for _ in range(10):
            await trio.sleep(10)
            self.sent_at = trio.current_time()


async def test_bytes_that_trickle_are_progress(autojump_clock: MockClock) -> None:
    transport = Trickle(1, "peer", v2.SUBPROTOCOL)
    protocol = v2.ServerProtocol(None, os.urandom, offered=[v2.SUBPROTOCOL], max_frame_size=None)
    connection = Connection(transport, protocol, ping_interval=None, keepalive_timeout=20)
    async with trio.open_nursery() as helpers, connection.open(helpers):
        connection.flush()
        await trio.sleep(110)
        # It was silent all the time, since it was not asked: now it would be, and has time for it.
        assert transport.messages == 1
        assert connection.close_reason == ""
        await trio.sleep(11)
        assert "nothing was heard" in connection.close_reason


@pytest.mark.parametrize("transport", IMPLEMENTATIONS)
async def test_a_write_without_progress_ends_the_connection(
    transport: str, socket_clock: MockClock
) -> None:
    async with hosting(
        Loud,
        port=0,
        transport=transport,
        requests_per_second=None,
        max_unacknowledged_messages=None,
        max_unacknowledged_bytes=None,
    ) as server:
        async with stranger(server) as ann, socket_client(server, "eve") as eve:
            await ann.say_envelopes(ask(1, "__pgnet__.create_game", {"name": "table 1"}))
            await ann.hear_until(ANSWER)
            await eve.join_game("table 1")
            for _ in range(40):
                await eve.request(Packet("say", {"text": "x" * 500, "times": 400}))
            assert server.stats().sessions["bob"].online
            await trio.sleep(22)
            # Its seat is kept as after any drop.
            assert not server.stats().sessions["bob"].online
            await trio.sleep(31)
            assert "bob" not in server.stats().sessions


async def test_an_idle_connection_is_kept_alive_by_envelopes(autojump_clock: MockClock) -> None:
    async with hosting(Loud) as server, playing(server, "ann") as ann:
        frames = len(server.network.records)
        await trio.sleep(150)
        assert ann.online
        # Both ask after 15 seconds of silence; what one asks is a sign of life to the other.
        assert 20 <= len(server.network.records) - frames <= 80


@pytest.mark.parametrize("transport", IMPLEMENTATIONS)
async def test_idle_connections_stay_over_sockets(transport: str, socket_clock: MockClock) -> None:
    online: list[bool] = []
    async with hosting(Loud, port=0, transport=transport) as server:
        for protocol in (1, 2):
            ann = socket_client(server, "ann", protocol=protocol)
            ann.on_online = online.append
            async with ann:
                await trio.sleep(65)
                assert ann.online
    assert online == []


@pytest.mark.parametrize("answers", [True, False])
async def test_pings_and_pongs_go_over_memory_too(answers: bool, autojump_clock: MockClock) -> None:
    near, far = memory_pair(v2.SUBPROTOCOL)
    random_bytes = Environment().random_bytes

    def connect(
        transport: Transport, protocol: Any, ping_interval: float | None = 5
    ) -> Connection[Any]:
        return Connection(transport, protocol, ping_interval=ping_interval, keepalive_timeout=8)

    client = connect(
        near,
        v2.ClientProtocol(
            username="ann",
            password="",
            invite_code="",
            encrypted=True,
            random_bytes=random_bytes,
            offered=near.offered_subprotocols,
            max_frame_size=None,
            delivery=ClientDelivery(lambda: None),
        ),
        ping_interval=5 if answers else None,
    )
    protocol = v2.ServerProtocol(
        KeyPair.generate(random_bytes),
        random_bytes,
        offered=far.offered_subprotocols,
        max_frame_size=None,
    )
    server = connect(far, protocol)

    async def read(connection: Connection[Any]) -> None:
        while True:
            for event in await connection.receive():
                if isinstance(event, LogIn):
                    protocol.accept("", bytes(32), ServerDelivery())
                    connection.flush()

    async with trio.open_nursery() as helpers, client.open(helpers), server.open(helpers):
        client.flush()
        with trio.move_on_after(1):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read, server)
                nursery.start_soon(read, client)
        start = trio.current_time()
        if answers:
            with trio.move_on_after(100):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(read, server)
                    nursery.start_soon(read, client)
            assert trio.current_time() - start >= 100
        else:
            # The client's end reads nothing any more, so nothing answers.
            with pytest.raises(Disconnected, match="nothing was heard"):
                await read(server)
            assert trio.current_time() - start == pytest.approx(7, abs=0.1)
